//! Nav2's map files: what a pixel means by mode, thresholds and `negate`.

use super::MapError;
use super::pgm::{self, Image};
use super::yaml::{self, Value};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::grid::{Frame, Grid, GridError, MOST, UNKNOWN};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A map's text is a few lines.
const MAX_TEXT: u64 = 64 * 1024;

/// How a pixel becomes a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// The grey itself, 0 to 100.
    Raw,
    /// Between the thresholds in proportion.
    Scale,
    /// Free, occupied or unknown.
    Trinary,
}

/// What a map's text says.
#[derive(Clone, Debug, PartialEq)]
struct Text {
    cell_m: f64,
    free_below: f64,
    image: PathBuf,
    mode: Mode,
    negate: bool,
    occupied_above: f64,
    origin: Pose,
}

pub(super) fn read(path: &Path) -> Result<Grid, MapError> {
    let file_error = |path: &Path| {
        let path = path.to_owned();
        move |source| MapError::File { path, source }
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_TEXT).read_to_end(&mut bytes))
        .map_err(file_error(path))?;
    // Not only UTF-8 is YAML, but nothing else is a map: what is none fails as a key or value.
    let text = parse(&String::from_utf8_lossy(&bytes), path)?;
    let image = path.parent().unwrap_or(Path::new(".")).join(&text.image);
    let file = File::open(&image).map_err(file_error(&image))?;
    let image_error = |fault| match fault {
        pgm::Fault::File(source) => MapError::File { path: image.clone(), source },
        pgm::Fault::Size(width, height) => {
            MapError::Grid { path: image.clone(), source: GridError::Size { width, height } }
        }
        pgm::Fault::What(what) => MapError::Image { path: image.clone(), what },
    };
    let image = pgm::read(file).map_err(image_error)?;
    grid(&text, &image).map_err(|source| MapError::Grid { path: path.to_owned(), source })
}

fn parse(text: &str, path: &Path) -> Result<Text, MapError> {
    let path = || path.to_owned();
    let entries = yaml::parse(text).map_err(|yaml::Fault { line, what }| MapError::Syntax {
        line,
        path: path(),
        what,
    })?;
    let wrong = |key, what: String| MapError::Key { key, path: path(), what };
    let find = |key: &'static str| entries.iter().find(|(found, _)| found == key).map(|(_, v)| v);
    let scalar = |key: &'static str, write: &str| match find(key) {
        Some(Value::Scalar(text)) if !text.is_empty() => Ok(text.as_str()),
        Some(_) => Err(wrong(key, format!("has no single value; write {write}"))),
        None => Err(wrong(key, format!("is missing; write {write}"))),
    };
    let number = |key: &'static str, (least, most): (f64, f64)| {
        let write = format!("a number from {least} to {most}");
        let text = scalar(key, &write)?;
        match text.parse() {
            // `contains` is false for NaN.
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(wrong(key, format!("is `{text}`; write {write}"))),
        }
    };
    let mode = match find("mode") {
        None => Mode::Trinary,
        Some(_) => match scalar("mode", "trinary, scale or raw")? {
            "raw" => Mode::Raw,
            "scale" => Mode::Scale,
            "trinary" => Mode::Trinary,
            other => {
                let what = format!("is `{other}`; write trinary, scale or raw");
                return Err(wrong("mode", what));
            }
        },
    };
    let negate = match scalar("negate", "0 or 1")? {
        "0" | "false" | "False" | "FALSE" | "no" | "off" => false,
        "1" | "true" | "True" | "TRUE" | "yes" | "on" => true,
        other => return Err(wrong("negate", format!("is `{other}`; write 0 or 1"))),
    };
    let free_below = number("free_thresh", (0.0, 1.0))?;
    let occupied_above = number("occupied_thresh", (0.0, 1.0))?;
    if free_below >= occupied_above {
        let what = format!("is {free_below}; it must be below `occupied_thresh`, {occupied_above}");
        return Err(wrong("free_thresh", what));
    }
    let origin = match find("origin") {
        Some(Value::List(items)) => items.iter().map(|item| item.parse().ok()).collect(),
        _ => None,
    };
    let origin: Vec<f64> = origin.unwrap_or_default();
    let [x, y, yaw] = origin[..] else {
        return Err(wrong("origin", "is not three numbers; write [x, y, yaw]".to_owned()));
    };
    Ok(Text {
        cell_m: number("resolution", nooterra_protocol::grid::CELL_RANGE_M)?,
        free_below,
        image: scalar("image", "the name of a PGM file")?.into(),
        mode,
        negate,
        occupied_above,
        origin: Pose { x, y, yaw },
    })
}

fn grid(text: &Text, image: &Image) -> Result<Grid, GridError> {
    let frame = Frame {
        cell_m: text.cell_m,
        height: image.height,
        origin: text.origin,
        width: image.width,
    };
    frame.check()?;
    // Each grey once; an image has millions of pixels and few greys.
    let greys: Vec<u8> = (0..=image.white).map(|grey| cell(text, grey, image.white)).collect();
    // An image begins at the top, a grid at the origin.
    let rows = image.pixels.chunks(image.width as usize).rev();
    Grid::new(frame, rows.flatten().map(|pixel| greys[usize::from(*pixel)]).collect())
}

/// A pixel's cell, as Nav2's `map_io` computes it.
fn cell(text: &Text, grey: u16, white: u16) -> u8 {
    let shade = f64::from(grey) / f64::from(white);
    let occupied = if text.negate { shade } else { 1.0 - shade };
    match text.mode {
        Mode::Raw => {
            // Of an image of any depth, as if it had 256 greys. `negate` does not count here.
            let value = (shade * 255.0).round();
            if value <= f64::from(MOST) { byte(value) } else { UNKNOWN }
        }
        Mode::Scale | Mode::Trinary if occupied > text.occupied_above => MOST,
        Mode::Scale | Mode::Trinary if occupied < text.free_below => 0,
        Mode::Trinary => UNKNOWN,
        Mode::Scale => {
            let part = (occupied - text.free_below) / (text.occupied_above - text.free_below);
            byte((part * f64::from(MOST)).round_ties_even())
        }
    }
}

/// A whole number from 0 to 100.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const fn byte(number: f64) -> u8 {
    number as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, proptest};

    const TEXT: &str = "image: hall.pgm\nmode: trinary\nresolution: 0.05\n\
                        origin: [-1.0, -2.0, 0.5]\nnegate: 0\noccupied_thresh: 0.65\n\
                        free_thresh: 0.25\n";

    fn text() -> Text {
        parse(TEXT, Path::new("hall.yaml")).unwrap()
    }

    fn refused(from: &str, to: &str) -> String {
        assert!(TEXT.contains(from));
        parse(&TEXT.replace(from, to), Path::new("hall.yaml")).unwrap_err().to_string()
    }

    #[test]
    fn a_text_is_read_and_the_mode_may_be_left_out() {
        let read = text();
        assert_eq!(read.origin, Pose { x: -1.0, y: -2.0, yaw: 0.5 });
        let short = TEXT.replace("mode: trinary\n", "");
        assert_eq!(parse(&short, Path::new("hall.yaml")).unwrap(), read);
    }

    #[test]
    fn each_refusal_names_the_key_and_says_what_to_write() {
        for (found, expected) in [
            (
                refused("resolution: 0.05", "resolution: 0"),
                "hall.yaml: `resolution` is `0`; write a number from 0.001 to 10",
            ),
            (
                refused("resolution: 0.05", "resolution: .nan"),
                "hall.yaml: `resolution` is `.nan`; write a number from 0.001 to 10",
            ),
            (
                refused("resolution: 0.05", "resolution: 1e9"),
                "hall.yaml: `resolution` is `1e9`; write a number from 0.001 to 10",
            ),
            (
                refused("image: hall.pgm\n", ""),
                "hall.yaml: `image` is missing; write the name of a PGM file",
            ),
            (
                refused("trinary", "ternary"),
                "hall.yaml: `mode` is `ternary`; write trinary, scale or raw",
            ),
            (
                refused("[-1.0, -2.0, 0.5]", "[-1.0, -2.0]"),
                "hall.yaml: `origin` is not three numbers; write [x, y, yaw]",
            ),
            (refused("negate: 0", "negate: 2"), "hall.yaml: `negate` is `2`; write 0 or 1"),
            (
                refused("free_thresh: 0.25", "free_thresh: 0.7"),
                "hall.yaml: `free_thresh` is 0.7; it must be below `occupied_thresh`, 0.65",
            ),
            (refused("negate: 0", "negate 0"), "hall.yaml:5: neither `key: value` nor a comment"),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn pixels_mean_what_they_mean_to_nav2() {
        let cells =
            |text: &Text| [0_u16, 50, 90, 100, 205, 254, 255].map(|grey| cell(text, grey, 255));
        let trinary = text();
        assert_eq!(cells(&trinary), [100, 100, UNKNOWN, UNKNOWN, 0, 0, 0]);
        let narrow = Text { free_below: 0.1, ..text() };
        assert_eq!(cell(&narrow, 205, 255), UNKNOWN);
        let scale = Text { mode: Mode::Scale, free_below: 0.0, occupied_above: 1.0, ..text() };
        assert_eq!(cells(&scale), [100, 80, 65, 61, 20, 0, 0]);
        let raw = Text { mode: Mode::Raw, negate: true, ..text() };
        assert_eq!(cells(&raw), [0, 50, 90, 100, UNKNOWN, UNKNOWN, UNKNOWN]);
        let negated = Text { negate: true, ..text() };
        assert_eq!(cells(&negated), [0, 0, UNKNOWN, UNKNOWN, 100, 100, 100]);
    }

    #[test]
    fn the_lowest_row_of_the_image_is_the_first_of_the_grid() {
        let image = pgm::read(&b"P5 2 2 255\n\x00\xff\xff\xff"[..]).unwrap();
        let grid = grid(&text(), &image).unwrap();
        assert_eq!(grid.cells(), [0, 0, 100, 0]);
        assert_eq!(grid.cell(0, 1), 100);
    }

    #[test]
    fn a_missing_image_is_named() {
        let dir = std::env::temp_dir().join(format!("nooterra-map-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let map = dir.join("hall.yaml");
        std::fs::write(&map, TEXT).unwrap();
        let error = read(&map).unwrap_err().to_string();
        std::fs::write(dir.join("hall.pgm"), "P5\n10000 10000\n255\n").unwrap();
        let huge = read(&map).unwrap_err().to_string();
        std::fs::write(dir.join("hall.pgm"), b"P5 2 1 255\n\x00\xff").unwrap();
        let grid = read(&map);
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(error.contains("hall.pgm: "), "{error}");
        assert!(huge.contains("10000 x 10000 cells; 1 to 40000000"), "{huge}");
        assert_eq!(grid.unwrap().cells(), [100, 0]);
    }

    proptest! {
        #[test]
        fn no_text_and_no_image_makes_it_panic(
            at in any::<prop::sample::Index>(),
            letter in "[\\PC\n\t]{0,3}",
            image in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut altered = TEXT.to_owned();
            let at = at.index(TEXT.len());
            altered.replace_range(at..(at + 1), &letter);
            if let Ok(text) = parse(&altered, Path::new("hall.yaml")) {
                let file = [&b"P5 3 2 255\n"[..], &image].concat();
                if let Ok(image) = pgm::read(&file[..]) {
                    let _ = grid(&text, &image);
                }
            }
            let file = [&b"P"[..], &image].concat();
            prop_assert!(pgm::read(&file[..]).is_err());
        }

        #[test]
        fn an_altered_header_is_read_or_refused(
            at in 0_usize..14, byte in any::<u8>(), keep in 0_usize..40
        ) {
            let mut file = b"P2 #c\n3 2 255\n 1 2 3 4 5 255\n".to_vec();
            file[at] = byte;
            file.truncate(keep);
            if let Ok(image) = pgm::read(&file[..]) {
                prop_assert!(image.pixels.len() == (image.width * image.height) as usize);
            }
        }
    }
}
