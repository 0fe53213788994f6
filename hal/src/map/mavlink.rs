//! Fences in the text files of MAVLink's tools.
//!
//! - `QGC WPL 110`: a header and one item a line, twelve columns: index, current, frame,
//!   command, four parameters, latitude, longitude, altitude, autocontinue. Of a fence are the
//!   commands 5000 to 5004 (`MAV_CMD_NAV_FENCE_*` in MAVLink's common message set); a corner
//!   names in its first parameter how many corners its polygon has, a circle its radius.
//! - ArduPilot's older list: rows of latitude and longitude, first the return point, then the
//!   corners of one area to stay in, the first of them again at the end. `#` begins a comment.
//!
//! Both say how much belongs to an area, so a cut file is noticed; of the first, only when it
//! is cut within an area.

use super::fence::{Area, Fence, FenceError, Format, MAX_CORNERS, Outline, open_ring};
use super::geodesy::Geodetic;

/// `MAV_FRAME`s of latitude and longitude: global, relative to home, above terrain, each also
/// with whole numbers.
const GLOBAL_FRAMES: [f64; 6] = [0.0, 3.0, 5.0, 6.0, 10.0, 11.0];

/// The columns of an item.
const COLUMNS: usize = 12;

/// `MAV_CMD_NAV_WAYPOINT`; the first item of a file is the home position, written so.
const WAYPOINT: u32 = 16;

/// A corner of an area under way.
#[derive(Debug)]
struct Ring {
    announced: usize,
    begins: usize,
    corners: Vec<Geodetic>,
    inclusive: bool,
}

impl Ring {
    fn at(&self) -> String {
        format!("polygon at line {}", self.begins)
    }

    fn cut(&self) -> FenceError {
        let (found, announced) = (self.corners.len(), self.announced);
        FenceError::Cut { at: self.at(), what: format!("has {found} of its {announced} corners") }
    }
}

/// Reads `QGC WPL 110`.
pub(super) fn parse_mission(text: &str) -> Result<Fence, FenceError> {
    let mut lines = text.lines().zip(1_usize..).filter(|(line, _)| !line.trim().is_empty());
    let header = lines.next().map_or("", |(line, _)| line.trim());
    if header.split_whitespace().ne(["QGC", "WPL", "110"]) {
        let what = format!("`{header}` is not `QGC WPL 110`; save it with a newer tool");
        return Err(FenceError::Syntax { column: 1, line: 1, what });
    }
    let (mut areas, mut home, mut return_point) = (Vec::new(), None, None);
    let mut ring: Option<Ring> = None;
    let mut corners = 0;
    for (index, (line, number)) in lines.enumerate() {
        let item = Item::parse(line, number)?;
        if item.index != index {
            let what = format!("item {} stands where item {index} is due", item.index);
            return Err(FenceError::Cut { at: format!("line {number}"), what });
        }
        let vertex = matches!(item.command, 5001 | 5002);
        if let Some(begun) = ring.take_if(|_| !vertex) {
            return Err(begun.cut());
        }
        match item.command {
            WAYPOINT if index == 0 => home = Some(item.place()?).filter(|home| home.was_set()),
            5000 if return_point.is_some() => return Err(item.wrong("is a second return point")),
            5000 => return_point = Some(item.place()?),
            5001 | 5002 => {
                let begun = item.corner(ring.take())?;
                corners += 1;
                if corners > MAX_CORNERS {
                    let most = MAX_CORNERS;
                    return Err(FenceError::TooMany { found: corners, most, what: "corners" });
                }
                if begun.corners.len() < begun.announced {
                    ring = Some(begun);
                } else {
                    areas.push(Area {
                        at: begun.at(),
                        inclusive: begun.inclusive,
                        outline: Outline::Polygon(open_ring(begun.corners)),
                    });
                }
            }
            5003 | 5004 => areas.push(Area {
                at: format!("circle at line {number}"),
                inclusive: item.command == 5003,
                outline: Outline::Circle { centre: item.place()?, radius_m: item.parameter },
            }),
            // Items of the mission or rally points beside the fence.
            _ => {}
        }
    }
    if let Some(begun) = ring {
        return Err(begun.cut());
    }
    if areas.is_empty() {
        return Err(FenceError::Empty("there are no items 5001 to 5004 in it, it is a mission"));
    }
    Ok(Fence { any_of: false, areas, format: Format::MissionText, home, return_point })
}

/// One line.
#[derive(Debug)]
struct Item {
    command: u32,
    frame: f64,
    index: usize,
    lat_deg: f64,
    line: usize,
    lon_deg: f64,
    alt_m: f64,
    parameter: f64,
}

impl Item {
    fn parse(text: &str, line: usize) -> Result<Self, FenceError> {
        let columns: Vec<&str> = text.split_whitespace().collect();
        if columns.len() < COLUMNS {
            let what = format!("has {} of its {COLUMNS} columns", columns.len());
            return Err(FenceError::Cut { at: format!("line {line}"), what });
        }
        let wrong = |column: usize, what: &str| FenceError::Syntax {
            column: columns.get(column).map_or(1, |word| column_of(text, word)),
            line,
            what: what.to_owned(),
        };
        if columns.len() > COLUMNS {
            return Err(wrong(COLUMNS, "there are more than twelve columns"));
        }
        let mut numbers = [0.0; COLUMNS];
        for (at, (number, word)) in numbers.iter_mut().zip(&columns).enumerate() {
            *number = word.parse().map_err(|_| wrong(at, &format!("`{word}` is no number")))?;
        }
        Ok(Self {
            alt_m: numbers[10],
            command: whole(numbers[3]).ok_or_else(|| wrong(3, "is no command"))?,
            frame: numbers[2],
            index: whole(numbers[0]).ok_or_else(|| wrong(0, "is no index"))? as usize,
            lat_deg: numbers[8],
            line,
            lon_deg: numbers[9],
            parameter: numbers[4],
        })
    }

    fn at(&self) -> String {
        format!("line {}", self.line)
    }

    fn wrong(&self, what: &str) -> FenceError {
        FenceError::Shape { at: self.at(), what: what.to_owned() }
    }

    fn place(&self) -> Result<Geodetic, FenceError> {
        // Equal or not: these are small whole numbers as they were written.
        if !GLOBAL_FRAMES.iter().any(|frame| (frame - self.frame).abs() < f64::EPSILON) {
            let what = format!("frame {} is no global one; save it in frame 0 or 3", self.frame);
            return Err(self.wrong(&what));
        }
        Geodetic::new(&self.at(), self.lat_deg, self.lon_deg, self.alt_m)
    }

    /// The ring under way with this corner, or a new one.
    fn corner(&self, ring: Option<Ring>) -> Result<Ring, FenceError> {
        let announced = whole(self.parameter).filter(|count| (3..=100_000).contains(count));
        let Some(announced) = announced else {
            let what = format!("announces {} corners; a polygon has 3 to 100000", self.parameter);
            return Err(self.wrong(&what));
        };
        let (announced, inclusive) = (announced as usize, self.command == 5001);
        let mut ring = match ring {
            Some(ring) if ring.announced == announced && ring.inclusive == inclusive => ring,
            Some(ring) => return Err(ring.cut()),
            None => Ring { announced, begins: self.line, corners: Vec::new(), inclusive },
        };
        ring.corners.push(self.place()?);
        Ok(ring)
    }
}

/// A whole number that is small enough for what it counts.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked to be one.
fn whole(number: f64) -> Option<u32> {
    ((0.0..=1e9).contains(&number) && number.fract().abs() < f64::EPSILON).then_some(number as u32)
}

/// Where a word of a line begins, counted from 1.
fn column_of(line: &str, word: &str) -> usize {
    // `word` is a part of `line`.
    let at = (word.as_ptr() as usize).saturating_sub(line.as_ptr() as usize);
    line.get(..at).map_or(1, |before| before.chars().count() + 1)
}

/// Reads ArduPilot's older list.
pub(super) fn parse_points(text: &str) -> Result<Fence, FenceError> {
    let mut rows = Vec::new();
    for (line, number) in text.lines().zip(1_usize..) {
        let content = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = content.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let row: Option<Vec<f64>> = words.iter().map(|word| word.parse().ok()).collect();
        let at = format!("line {number}");
        match row.as_deref() {
            Some([lat, lon]) => rows.push((Geodetic::new(&at, *lat, *lon, 0.0)?, number)),
            Some([_]) if !rows.is_empty() => {
                return Err(FenceError::Cut { at, what: "has a latitude only".to_owned() });
            }
            // Before the first row it is another format; after it, something is in the way.
            _ if rows.is_empty() => return Err(FenceError::Foreign),
            _ => {
                let what = "is not a latitude and a longitude".to_owned();
                return Err(FenceError::Syntax { column: 1, line: number, what });
            }
        }
        if rows.len() > MAX_CORNERS + 2 {
            let most = MAX_CORNERS;
            return Err(FenceError::TooMany { found: rows.len(), most, what: "corners" });
        }
    }
    let Some(((return_point, _), ring)) = rows.split_first() else {
        return Err(FenceError::Empty("there are only comments in the file"));
    };
    let (Some((first, begins)), Some((last, ends))) = (ring.first(), ring.last()) else {
        let what = "there is a return point and no corner".to_owned();
        return Err(FenceError::Cut { at: "line 1".to_owned(), what });
    };
    if first != last || ring.len() < 4 {
        let what = format!("the first corner, of line {begins}, is not there again at the end");
        return Err(FenceError::Cut { at: format!("line {ends}"), what });
    }
    let corners = open_ring(ring.iter().map(|(place, _)| *place).collect());
    let at = format!("polygon at line {begins}");
    let areas = vec![Area { at, inclusive: true, outline: Outline::Polygon(corners) }];
    Ok(Fence {
        any_of: false,
        areas,
        format: Format::FencePoints,
        home: None,
        return_point: Some(*return_point).filter(|place| place.was_set()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fence::parse;
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    /// A triangle to stay in, a square and a circle to stay out of, and where to return to.
    const MISSION: &str = "QGC WPL 110\n\
        0\t1\t0\t16\t0\t0\t0\t0\t47.3980\t8.5450\t488\t1\n\
        1\t0\t0\t5000\t0\t0\t0\t0\t47.3981\t8.5451\t0\t1\n\
        2\t0\t0\t5001\t3\t0\t0\t0\t47.3970\t8.5440\t0\t1\n\
        3\t0\t0\t5001\t3\t0\t0\t0\t47.3990\t8.5440\t0\t1\n\
        4\t0\t0\t5001\t3\t0\t0\t0\t47.3980\t8.5470\t0\t1\n\
        5\t0\t3\t5002\t4\t0\t0\t0\t47.3978\t8.5442\t0\t1\n\
        6\t0\t3\t5002\t4\t0\t0\t0\t47.3979\t8.5442\t0\t1\n\
        7\t0\t3\t5002\t4\t0\t0\t0\t47.3979\t8.5444\t0\t1\n\
        8\t0\t3\t5002\t4\t0\t0\t0\t47.3978\t8.5444\t0\t1\n\
        9\t0\t0\t5004\t7.5\t0\t0\t0\t47.3980\t8.5460\t0\t1\n";

    const POINTS: &str = "# where to return to\n-33.9000 18.4000\n\n\
        -33.9010 18.3990\n-33.8990\t18.3990 # the gate\n-33.9000 18.4020\n-33.9010 18.3990\n";

    fn refused(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_mission_text_gives_its_areas_home_and_return_point() {
        let fence = parse(MISSION.as_bytes()).unwrap();
        assert_eq!(fence.format, Format::MissionText);
        let kinds: Vec<bool> = fence.areas.iter().map(|area| area.inclusive).collect();
        assert_eq!(kinds, [true, false, false]);
        assert_eq!(fence.home, Some(Geodetic::new("", 47.398, 8.545, 488.0).unwrap()));
        assert_eq!(fence.return_point, Some(Geodetic::new("", 47.3981, 8.5451, 0.0).unwrap()));
        let plane = fence.on_plane(None, false).unwrap();
        let corner = plane.areas[0].polygon[0];
        // A thousandth of a degree is 111.2 m of latitude and 75.4 m of longitude here.
        assert!((corner.x + 75.5).abs() < 0.2 && (corner.y + 111.2).abs() < 0.2, "{corner:?}");
        let windows = MISSION.replace('\n', "\r\n").replace('\t', "  ");
        assert_eq!(parse(windows.as_bytes()).unwrap(), fence);
    }

    #[test]
    fn an_older_list_gives_its_area_and_return_point() {
        let fence = parse(POINTS.as_bytes()).unwrap();
        assert_eq!(fence.format, Format::FencePoints);
        let Outline::Polygon(corners) = &fence.areas[0].outline else { panic!("no polygon") };
        assert_eq!(corners.len(), 3);
        assert_eq!(fence.return_point, Some(Geodetic::new("", -33.9, 18.4, 0.0).unwrap()));
    }

    #[test]
    fn a_file_that_was_cut_within_an_area_says_where() {
        let lines: Vec<&str> = MISSION.lines().collect();
        for (keep, part) in [
            (5, "polygon at line 4: has 2 of its 3 corners"),
            (8, "polygon at line 7: has 2 of its 4 corners"),
            (3, "no items 5001 to 5004"),
        ] {
            assert!(
                refused(&lines[..keep].join("\n")).contains(part),
                "{}",
                refused(&lines[..keep].join("\n"))
            );
        }
        assert!(
            refused(&MISSION[..MISSION.len() - 3]).contains("line 11: has 11 of its 12 columns")
        );
        let lost: Vec<&str> = lines.iter().copied().filter(|line| !line.starts_with('3')).collect();
        assert!(refused(&lost.join("\n")).contains("item 4 stands where item 3 is due"));
        let open: Vec<&str> = POINTS.lines().take(6).collect();
        assert!(refused(&open.join("\n")).contains("is not there again at the end"));
        assert!(refused("-33.9 18.4\n").contains("a return point and no corner"));
        assert!(refused("-33.9 18.4\n-33.9").contains("line 2: has a latitude only"));
    }

    #[test]
    fn what_no_fence_says_is_refused_with_its_line() {
        for (from, to, part) in [
            ("110", "120", "line 1, column 1: `QGC WPL 120`"),
            ("47.3990", "97.3990", "line 5: latitude 97.399 is not in"),
            ("47.3990\t8.5440", "8.5440\t247.399", "line 5: longitude 247.399"),
            ("47.3990", "north", "line 5, column 20: `north` is no number"),
            ("47.3990", "nan", "line 5: latitude NaN"),
            ("2\t0\t0\t5001\t3", "2\t0\t0\t5001\t2.5", "line 4: announces 2.5 corners"),
            ("3\t0\t0\t5001\t3", "3\t0\t0\t5001\t4", "polygon at line 4: has 1 of its 3"),
            ("3\t0\t0\t5001", "3\t0\t1\t5001", "line 5: frame 1 is no global one"),
            ("5004\t7.5", "5004\t-7.5", "circle at line 11: a radius of -7.5 m"),
            ("4\t0\t0\t5001\t3", "4\t0\t0\t5000\t3", "polygon at line 4: has 2 of its 3"),
        ] {
            let text = MISSION.replacen(from, to, 1);
            assert!(refused(&text).contains(part), "{from}: {}", refused(&text));
        }
        assert!(refused(&POINTS.replace("18.4020", "18.4020 5")).contains("line 6, column 1"));
        assert!(refused(&POINTS.replace("-33.9000 18.4020", "118.4 -33.9")).contains("swapped"));
    }

    proptest! {
        #[test]
        fn no_mutation_makes_it_panic(
            mission in any::<bool>(), at in any::<prop::sample::Index>(),
            letters in "[\\PC\n\t]{0,4}", keep in any::<prop::sample::Index>(),
        ) {
            let mut text = if mission { MISSION } else { POINTS }.to_owned();
            let at = at.index(text.len());
            text.replace_range(at..=at, &letters);
            let keep = keep.index(text.len() + 1);
            let cut = &text.as_bytes()[..keep];
            for bytes in [cut, text.as_bytes()] {
                if let Ok(fence) = parse(bytes) {
                    let _ = fence.on_plane(None, true);
                }
            }
        }

        #[test]
        fn noise_makes_no_fence(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse(&[b"QGC WPL 110\n".as_slice(), &bytes].concat());
        }
    }
}
