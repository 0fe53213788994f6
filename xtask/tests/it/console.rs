//! The console in a real browser: `cargo xtask console` does what a person does, and fails when
//! the page does not show what happens or the browser complains.

use std::path::Path;
use std::process::Command;

#[test]
fn a_person_signs_in_watches_a_robot_be_held_back_and_stops_it() {
    if !Path::new("/usr/bin/chromium").exists() {
        println!("SKIPPED: the console in a browser: no Chromium; apt-get install chromium");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("console");
    let run = Command::new(env!("CARGO_BIN_EXE_nooterra-xtask"))
        .args(["console", "--screenshots"])
        .arg(&folder)
        .output()
        .unwrap();
    let said = format!(
        "{}\n{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(run.status.success(), "{said}");
    for name in ["signin", "fleet", "live", "live-dark", "phone", "job", "stop", "stopped"] {
        let picture = std::fs::read(folder.join(format!("{name}.png"))).unwrap();
        assert!(picture.starts_with(b"\x89PNG"), "{name}");
    }
    // Neither the programs nor the browser outlive it.
    let folder = folder.to_string_lossy().into_owned();
    crate::running::none_has(&folder);
}
