//! Fences as drones have them: areas to stay in and areas to stay out of, by latitude and
//! longitude, and what becomes of them on a robot's plane.
//!
//! [`read`] tells the formats apart by their content: QGroundControl's plans,
//! MAVLink's mission text and ArduPilot's older list. A [`Fence`] is still
//! as it was drawn; [`Fence::on_plane`] makes polygons of it in metres.
//!
//! # What is conservative
//! A circle becomes a polygon of [`CIRCLE_CORNERS`] corners: within the circle where the robot
//! is to stay in, around it where it is to stay out. Where several areas to stay in could mean
//! "in any of them" or "in all of them", the file is refused until somebody says which.

use super::geodesy::{Geodetic, TangentPlane};
use super::{mavlink, qgc};
use nooterra_protocol::geometry::Point;
use std::f64::consts::{PI, TAU};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The furthest that a fence may reach from its datum, metres. Beyond it a plane is no map, and
/// most probably the fence is of another place.
pub const MAX_EXTENT_M: f64 = 100_000.0;

/// The corners of a polygon that stands for a circle: 64 differ from it by 0.12 % of the radius.
pub const CIRCLE_CORNERS: u32 = 64;

/// The largest file that is read, bytes; a fence of a thousand corners has 100 KiB.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The most areas of one fence.
pub const MAX_AREAS: usize = 1_000;

/// The most corners of all areas together.
pub const MAX_CORNERS: usize = 100_000;

/// Why a file is not a fence. [`read`] puts the file's name in front.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// A number that is no place: out of range, or latitude and longitude swapped.
    #[error("{at}: {what}")]
    Coordinate {
        /// Where in the file.
        at: String,
        /// What is wrong.
        what: String,
    },
    /// It ends, or an area does, before what it announces is there.
    #[error("{at}: {what}; the file was cut, copy it again")]
    Cut {
        /// Where in the file.
        at: String,
        /// What is missing.
        what: String,
    },
    /// Nothing is fenced: a mission without a fence, or an empty file.
    #[error("holds no fence: {0}")]
    Empty(&'static str),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// Another format.
    #[error(
        "is no fence file; QGroundControl's .plan, `QGC WPL 110` and ArduPilot's rows of latitude \
         and longitude are read"
    )]
    Foreign,
    /// An area of a shape, size or frame that no fence has.
    #[error("{at}: {what}")]
    Shape {
        /// Where in the file.
        at: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// Text that is not as its format is written.
    #[error("line {line}, column {column}: {what}")]
    Syntax {
        /// From 1.
        column: usize,
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Too far from the datum for a plane, and probably of another place.
    #[error("{at} is {distance_km:.0} km from the datum; at most 100 km are handled{hint}")]
    TooFar {
        /// Where in the file.
        at: String,
        /// How far.
        distance_km: f64,
        /// What is probably wrong.
        hint: &'static str,
    },
    /// More areas or corners than are handled.
    #[error("has {found} {what}; at most {most} are handled")]
    TooMany {
        /// How many.
        found: usize,
        /// How many are handled.
        most: usize,
        /// Areas or corners.
        what: &'static str,
    },
    /// Several areas to stay in, and autopilots that read them differently.
    #[error(
        "has {0} areas to stay in; PX4 stays in any one of them and ArduPilot, by default, in all \
         of them at once: say --any-of if any one will do, otherwise draw what they have in common"
    )]
    Ambiguous(usize),
}

/// Why a file is not a fence, and which file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct FenceFileError {
    /// What is wrong.
    pub fault: FenceError,
    /// The file.
    pub path: PathBuf,
}

/// The formats.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// ArduPilot's older list: the return point, then the corners, the first one again at the
    /// end.
    FencePoints,
    /// MAVLink's mission text, `QGC WPL 110`.
    MissionText,
    /// QGroundControl's plan.
    Plan,
}

impl Format {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FencePoints => "ArduPilot fence points",
            Self::MissionText => "QGC WPL 110",
            Self::Plan => "QGroundControl plan",
        }
    }
}

/// A fence as it was drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Fence {
    /// Any one of several areas to stay in is enough; `false` where the file does not say.
    pub any_of: bool,
    /// In the order of the file; at least one.
    pub areas: Vec<Area>,
    /// How it was written.
    pub format: Format,
    /// The planned home position, where the file has one.
    pub home: Option<Geodetic>,
    /// Where a vehicle returns to that left the fence, where the file says.
    pub return_point: Option<Geodetic>,
}

/// One area.
#[derive(Clone, Debug, PartialEq)]
pub struct Area {
    /// Where in the file.
    pub at: String,
    /// To stay in; otherwise to stay out of.
    pub inclusive: bool,
    /// Its edge.
    pub outline: Outline,
}

/// The edge of an area.
#[derive(Clone, Debug, PartialEq)]
pub enum Outline {
    /// A circle.
    Circle {
        /// Its middle.
        centre: Geodetic,
        /// Metres over ground.
        radius_m: f64,
    },
    /// Corners in order, at least three, the first not again at the end.
    Polygon(Vec<Geodetic>),
}

/// A fence on a robot's plane.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaneFence {
    /// In the order of the file.
    pub areas: Vec<PlaneArea>,
    /// Where the plane has its origin; the robot's `map` frame must have it there too.
    pub datum: Geodetic,
    /// Which place of the file became the datum.
    pub datum_from: DatumFrom,
    /// Where a vehicle returns to that left the fence, where the file says.
    pub return_point: Option<Point>,
}

/// One area as a polygon.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaneArea {
    /// It stands for a circle.
    pub circle: bool,
    /// To stay in; otherwise to stay out of.
    pub inclusive: bool,
    /// Corners in order, metres east and north of the datum.
    pub polygon: Vec<Point>,
}

/// Where a datum comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DatumFrom {
    /// The caller named it.
    Caller,
    /// The first corner or centre in the file: it says nothing better.
    FirstPoint,
    /// The planned home position.
    Home,
    /// The return point.
    ReturnPoint,
}

impl DatumFrom {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "as given",
            Self::FirstPoint => "the first point of the fence",
            Self::Home => "the planned home position",
            Self::ReturnPoint => "the return point",
        }
    }
}

/// Reads a fence file, whichever format it has.
///
/// # Errors
/// [`FenceFileError`].
pub fn read(path: &Path) -> Result<Fence, FenceFileError> {
    let named = |fault| FenceFileError { fault, path: path.to_owned() };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| named(error.into()))?;
    parse(&bytes).map_err(named)
}

/// Reads the bytes of a fence file.
///
/// # Errors
/// Every variant of [`FenceError`] except `File`, `TooFar` and `Ambiguous`.
pub fn parse(bytes: &[u8]) -> Result<Fence, FenceError> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(FenceError::TooMany {
            found: bytes.len(),
            most: usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX),
            what: "bytes",
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| FenceError::Foreign)?;
    let text = text.trim_start_matches('\u{feff}');
    let begin = text.trim_start();
    let fence = if begin.is_empty() {
        return Err(FenceError::Empty("there is nothing in the file"));
    } else if begin.starts_with('{') {
        qgc::parse(text)?
    } else if begin.starts_with("QGC WPL") {
        mavlink::parse_mission(text)?
    } else {
        mavlink::parse_points(text)?
    };
    check(&fence)?;
    Ok(fence)
}

impl Fence {
    /// The fence on the plane at `datum`; without one at the file's home position, its return
    /// point, or its first point, in this order. Heights are left out: each place is taken at
    /// the height of the datum. `any_of` says that any one of several areas to stay in is
    /// enough, where the file does not.
    ///
    /// # Errors
    /// [`FenceError::TooFar`] and [`FenceError::Ambiguous`].
    pub fn on_plane(
        &self,
        datum: Option<Geodetic>,
        any_of: bool,
    ) -> Result<PlaneFence, FenceError> {
        let inclusive = self.areas.iter().filter(|area| area.inclusive).count();
        if inclusive > 1 && !self.any_of && !any_of {
            return Err(FenceError::Ambiguous(inclusive));
        }
        let (datum, datum_from) = self.datum(datum)?;
        let plane = TangentPlane::at(datum);
        let areas =
            self.areas.iter().map(|area| area.on_plane(&plane)).collect::<Result<_, _>>()?;
        // A return point that is far away does not make the areas wrong; it is left out.
        let return_point =
            self.return_point.and_then(|place| flat(&plane, place, "the return point", 0.0).ok());
        Ok(PlaneFence { areas, datum, datum_from, return_point })
    }

    fn datum(&self, given: Option<Geodetic>) -> Result<(Geodetic, DatumFrom), FenceError> {
        if let Some(datum) = given {
            return Ok((datum, DatumFrom::Caller));
        }
        if let Some(home) = self.home {
            return Ok((home, DatumFrom::Home));
        }
        if let Some(place) = self.return_point {
            return Ok((place, DatumFrom::ReturnPoint));
        }
        let first = self.areas.first().and_then(|area| match &area.outline {
            Outline::Circle { centre, .. } => Some(*centre),
            Outline::Polygon(corners) => corners.first().copied(),
        });
        first.map(|place| (place, DatumFrom::FirstPoint)).ok_or(FenceError::Empty("it has no area"))
    }
}

impl Area {
    fn on_plane(&self, plane: &TangentPlane) -> Result<PlaneArea, FenceError> {
        let polygon = match &self.outline {
            Outline::Circle { centre, radius_m } => {
                let middle = flat(plane, *centre, &self.at, *radius_m)?;
                let half_step = PI / f64::from(CIRCLE_CORNERS);
                // Corners on the circle lie within it, sides that touch it lie around it.
                let reach = if self.inclusive { *radius_m } else { *radius_m / half_step.cos() };
                let corner = |number: u32| {
                    let turn = TAU * f64::from(number) / f64::from(CIRCLE_CORNERS);
                    Point::new(middle.x + reach * turn.cos(), middle.y + reach * turn.sin())
                };
                (0..CIRCLE_CORNERS).map(corner).collect()
            }
            Outline::Polygon(corners) => corners
                .iter()
                .enumerate()
                .map(|(number, corner)| {
                    flat(plane, *corner, &format!("{}, corner {}", self.at, number + 1), 0.0)
                })
                .collect::<Result<_, _>>()?,
        };
        let circle = matches!(self.outline, Outline::Circle { .. });
        Ok(PlaneArea { circle, inclusive: self.inclusive, polygon })
    }
}

/// A place on the plane, if all that is within `radius_m` of it is near enough.
fn flat(
    plane: &TangentPlane,
    place: Geodetic,
    at: &str,
    radius_m: f64,
) -> Result<Point, FenceError> {
    let datum = plane.datum();
    let distance = |place: Geodetic| {
        let [east, north, up] = plane.enu(place.at_height_of(datum));
        (Point::new(east, north), east.hypot(north).hypot(up) + radius_m)
    };
    let (point, distance_m) = distance(place);
    if distance_m <= MAX_EXTENT_M {
        return Ok(point);
    }
    let near =
        |place: Option<Geodetic>| place.is_some_and(|place| distance(place).1 <= MAX_EXTENT_M);
    let hint = if near(place.swapped()) {
        "; with latitude and longitude swapped it would be near: they are swapped"
    } else {
        "; give the fence's own place with --datum"
    };
    Err(FenceError::TooFar { at: at.to_owned(), distance_km: distance_m / 1_000.0, hint })
}

/// What holds of every format.
fn check(fence: &Fence) -> Result<(), FenceError> {
    let too_many = |what, found, most| Err(FenceError::TooMany { found, most, what });
    if fence.areas.is_empty() {
        return Err(FenceError::Empty("it has no area to stay in or out of"));
    }
    if fence.areas.len() > MAX_AREAS {
        return too_many("areas", fence.areas.len(), MAX_AREAS);
    }
    let mut corners = 0;
    for area in &fence.areas {
        let shape = |what: String| Err(FenceError::Shape { at: area.at.clone(), what });
        let unset = |place: &Geodetic| !place.was_set();
        let lost = match &area.outline {
            Outline::Circle { centre, radius_m } => {
                // `contains` is false for NaN.
                if !(0.1..=MAX_EXTENT_M).contains(radius_m) {
                    return shape(format!("a radius of {radius_m} m is not in 0.1 to 100000 m"));
                }
                unset(centre)
            }
            Outline::Polygon(polygon) => {
                corners += polygon.len();
                if polygon.len() < 3 {
                    return shape(format!(
                        "has {} corners; at least 3 make an area",
                        polygon.len()
                    ));
                }
                polygon.iter().any(unset)
            }
        };
        if lost {
            return shape("has a point at 0, 0, which was never set".to_owned());
        }
    }
    if corners > MAX_CORNERS { too_many("corners", corners, MAX_CORNERS) } else { Ok(()) }
}

/// Corners of a ring without the first one again at the end.
pub(super) fn open_ring(mut corners: Vec<Geodetic>) -> Vec<Geodetic> {
    if corners.len() > 3 && corners.first() == corners.last() {
        corners.pop();
    }
    corners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lat: f64, lon: f64) -> Geodetic {
        Geodetic::new("here", lat, lon, 0.0).unwrap()
    }

    fn circle(inclusive: bool, radius_m: f64) -> Area {
        let outline = Outline::Circle { centre: place(47.0, 8.0), radius_m };
        Area { at: "circle 1".to_owned(), inclusive, outline }
    }

    fn fence(areas: Vec<Area>) -> Fence {
        Fence { any_of: false, areas, format: Format::Plan, home: None, return_point: None }
    }

    #[test]
    fn a_circle_to_stay_in_shrinks_and_one_to_stay_out_of_grows() {
        let plane = fence(vec![circle(true, 50.0), circle(false, 50.0)]).on_plane(None, false);
        let areas = plane.unwrap().areas;
        for (area, least, most) in [(&areas[0], 49.9, 50.0), (&areas[1], 50.0, 50.1)] {
            assert_eq!(area.polygon.len(), 64);
            let next = area.polygon.iter().cycle().skip(1);
            for (corner, next) in area.polygon.iter().zip(next) {
                let middle = Point::new((corner.x + next.x) / 2.0, (corner.y + next.y) / 2.0);
                let (edge, side) =
                    (corner.distance(Point::default()), middle.distance(Point::default()));
                assert!(side >= least - 1e-9 && edge <= most + 1e-9, "{side} {edge}");
            }
        }
    }

    #[test]
    fn several_areas_to_stay_in_need_somebody_to_say_which_is_meant() {
        let two = fence(vec![circle(true, 50.0), circle(true, 60.0)]);
        let error = two.on_plane(None, false).unwrap_err().to_string();
        assert!(error.contains("2 areas to stay in") && error.contains("--any-of"), "{error}");
        assert_eq!(two.on_plane(None, true).unwrap().areas.len(), 2);
        assert!(fence(vec![circle(true, 50.0), circle(false, 9.0)]).on_plane(None, false).is_ok());
    }

    #[test]
    fn a_fence_of_another_place_is_refused_and_a_swap_is_seen() {
        let fence = fence(vec![circle(true, 50.0)]);
        let error =
            |lat, lon| fence.on_plane(Some(place(lat, lon)), false).unwrap_err().to_string();
        assert!(
            error(48.0, 8.0).contains("circle 1 is 111 km from the datum"),
            "{}",
            error(48.0, 8.0)
        );
        assert!(error(8.0, 47.0).contains("they are swapped"));
        // On the other side of the Earth it lies below the plane, not near it.
        assert!(error(-47.0, -172.0).contains("from the datum"));
        assert!(fence.on_plane(Some(place(47.5, 8.5)), false).is_ok());
    }

    #[test]
    fn what_is_no_fence_file_says_so() {
        let text = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
        assert!(text(b"").contains("nothing in the file"));
        assert!(text(b" \n\t\n").contains("nothing in the file"));
        assert!(text(b"\x89PNG\r\n\x1a\n").contains("is no fence file"));
        assert!(text(b"<kml></kml>").contains("is no fence file"));
        assert!(text(b"PK\x03\x04").contains("is no fence file"));
        let huge = vec![b' '; usize::try_from(MAX_FILE_BYTES).unwrap() + 1];
        assert!(text(&huge).contains("bytes; at most"));
        let missing = read(Path::new("no/such.plan")).unwrap_err().to_string();
        assert!(missing.starts_with("no/such.plan: "), "{missing}");
    }

    #[test]
    fn circles_of_no_size_and_points_that_were_never_set_are_refused() {
        for radius_m in [0.0, -5.0, f64::NAN, f64::INFINITY, 1e9] {
            let error = check(&fence(vec![circle(true, radius_m)])).unwrap_err().to_string();
            assert!(error.contains("a radius of"), "{error}");
        }
        let outline = Outline::Circle { centre: place(0.0, 0.0), radius_m: 5.0 };
        let area = Area { at: "circle 1".to_owned(), inclusive: true, outline };
        assert!(check(&fence(vec![area])).unwrap_err().to_string().contains("never set"));
    }
}
