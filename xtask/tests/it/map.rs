//! The demo on maps from outside: a small one that the test draws, and ones that are refused.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Cells of the hall, 5 cm each: 11 m by 9 m.
const SIDES: (usize, usize) = (220, 180);

/// Writes `NAME.yaml` and `NAME.pgm`.
fn write(dir: &Path, name: &str, mode: (&str, f64, f64), grey: impl Fn(usize, usize) -> u8) {
    let (width, height) = SIDES;
    let mut image = format!("P5\n# drawn by a test\n{width} {height}\n255\n").into_bytes();
    image.extend((0..width * height).map(|at| grey(at % width, at / width)));
    std::fs::write(dir.join(name).with_extension("pgm"), image).unwrap();
    let (mode, free, occupied) = mode;
    let text = format!(
        "image: {name}.pgm\nmode: {mode}\nresolution: 0.05\norigin: [-3.0, 2.0, 0.5]\nnegate: 0\n\
         occupied_thresh: {occupied:?}\nfree_thresh: {free:?}\n"
    );
    std::fs::write(dir.join(name).with_extension("yaml"), text).unwrap();
}

/// A hall with a pillar, a corner that is kept out of and a slow stripe, turned by half a
/// radian.
fn hall(dir: &Path) -> PathBuf {
    let (width, height) = SIDES;
    let wall = |x: usize, y: usize| x < 3 || y < 3 || x >= width - 3 || y >= height - 3;
    let pillar = |x: usize, y: usize| (104..114).contains(&x) && (84..94).contains(&y);
    let map = |x, y| if wall(x, y) || pillar(x, y) { 0 } else { 254 };
    let trinary = ("trinary", 0.25, 0.65);
    write(dir, "hall", trinary, map);
    write(dir, "hall_keepout", trinary, |x, y| if x > 180 && y < 30 { 0 } else { map(x, y) });
    let stripe = |x: usize, _: usize| if (100..118).contains(&x) { 127 } else { 255 };
    write(dir, "hall_speed", ("scale", 0.0, 1.0), stripe);
    dir.join("hall.yaml")
}

fn demo(map: &Path, out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nooterra-xtask"))
        .args(["demo", "--headless", "--seed", "3", "--map"])
        .arg(map)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

fn said(run: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr))
}

#[test]
fn a_map_from_outside_is_patrolled_and_every_claim_holds() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("demo");
    let run = demo(&hall(dir.path()), &out);
    assert!(run.status.success(), "{}", said(&run));
    let summary = std::fs::read_to_string(out.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["job"]["state"], "COMPLETED");
    assert_eq!(summary["zone_exits"], 0);
    let clearance = summary["zones"]["keep_out_clearance_m"].as_f64().unwrap();
    assert!(clearance > 0.0, "{clearance}");
    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    for layer in ["hall: occupied", "hall_keepout: keep out", "hall_speed: slow"] {
        assert!(report.contains(layer), "the report does not draw `{layer}`");
    }
}

#[test]
fn a_map_without_its_image_or_with_absurd_numbers_is_refused_in_one_line_before_anything_is_built()
{
    let dir = tempfile::tempdir().unwrap();
    let map = hall(dir.path());
    let text = std::fs::read_to_string(&map).unwrap();
    let refused = |text: &str, expected: &str| {
        std::fs::write(&map, text).unwrap();
        let out = dir.path().join("demo");
        let run = demo(&map, &out);
        let errors = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(1));
        assert!(errors.contains(expected), "{errors:?} does not say {expected:?}");
        assert_eq!(errors.trim_end().lines().count(), 1, "{errors:?}");
        assert!(!out.exists(), "something was begun");
    };
    refused(&text.replace("hall.pgm", "none.pgm"), "none.pgm: No such file");
    refused(&text.replace("0.05", "1e6"), "`resolution` is `1e6`; write a number from 0.001");
    refused(&text.replace("0.05", "0.001"), "no tour is possible");
    std::fs::write(dir.path().join("hall.pgm"), "P5\n10000 10000\n255\n").unwrap();
    refused(&text, "10000 x 10000 cells");
    std::fs::write(dir.path().join("hall.pgm"), "P5\n220 180\n255\nxxxx").unwrap();
    refused(&text, "has 4 of its 220 x 180 pixels");
}
