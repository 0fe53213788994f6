//! What a graph may ask of an observation: a few comparisons, each with a name.
//!
//! What is not known holds neither way: without a battery it is neither above nor below anything,
//! and so the branch for the unusual case is the one that a fallback ends in.

use super::document::{Area, Fraction, Metres, ParamTest};
use nooterra_protocol::geometry::Point;
use nooterra_protocol::observation::Observation;
use nooterra_protocol::plan::Param;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// A comparison; `docs/skill-bundle.md` says what each means.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    BatteryAbove(Fraction),
    BatteryBelow(Fraction),
    Charging(bool),
    Docked(bool),
    EmergencyStop(bool),
    Far(Place),
    Inside(Area),
    Near(Place),
    Outside(Area),
    Param(ParamTest),
    RangeAboveM(Metres),
    RangeBelowM(Metres),
}

/// A disc.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// Its middle: here, or the one point of a parameter of the plan.
    pub(super) at: Result<Point, String>,
    /// Its radius, metres.
    pub(super) within_m: f64,
}

/// What is asked of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// A number above this.
    Above(f64),
    /// A number below this.
    Below(f64),
    /// A flag or a text that is this.
    Is(Param),
}

impl Condition {
    /// Whether it holds, of what is seen and of the action's parameters.
    pub(super) fn holds(&self, seen: &Observation, params: &BTreeMap<String, Param>) -> bool {
        let here = seen.pose.value.point();
        let charge = seen.battery.map(|battery| battery.value);
        let is = |known: Option<bool>| known == Some(true);
        match self {
            Self::BatteryAbove(Fraction(limit)) => is(charge.map(|b| b.fraction > *limit)),
            Self::BatteryBelow(Fraction(limit)) => is(charge.map(|b| b.fraction < *limit)),
            Self::Charging(wanted) => is(charge.map(|b| b.charging == *wanted)),
            Self::Docked(wanted) => seen.docked == *wanted,
            Self::EmergencyStop(wanted) => seen.emergency_stop == *wanted,
            Self::Far(place) => is(place.off(here, params).map(|off| off > place.within_m)),
            Self::Inside(area) => is(area.holds(here, params)),
            Self::Near(place) => is(place.off(here, params).map(|off| off <= place.within_m)),
            Self::Outside(area) => is(area.holds(here, params).map(|inside| !inside)),
            Self::Param(ParamTest { name, test }) => {
                is(params.get(name).map(|value| test.holds(value)))
            }
            Self::RangeAboveM(Metres(limit)) => is(nearest(seen).map(|m| m > *limit)),
            Self::RangeBelowM(Metres(limit)) => is(nearest(seen).map(|m| m < *limit)),
        }
    }

    pub(super) const fn needs_scan(&self) -> bool {
        matches!(self, Self::RangeAboveM(_) | Self::RangeBelowM(_))
    }

    /// The parameter of the plan that it asks for.
    pub(super) fn of_plan(&self) -> Option<&str> {
        match self {
            Self::Far(place) | Self::Near(place) => place.at.as_ref().err().map(String::as_str),
            Self::Inside(Area::Plan { param }) | Self::Outside(Area::Plan { param }) => Some(param),
            Self::Param(test) => Some(&test.name),
            _ => None,
        }
    }
}

impl Place {
    fn off(&self, here: Point, params: &BTreeMap<String, Param>) -> Option<f64> {
        let middle = match &self.at {
            Ok(point) => *point,
            Err(param) => match params.get(param) {
                Some(Param::Points(points)) if points.len() == 1 => points[0],
                _ => return None,
            },
        };
        Some(middle.distance(here)).filter(|off| off.is_finite())
    }
}

impl Area {
    fn holds(&self, here: Point, params: &BTreeMap<String, Param>) -> Option<bool> {
        let corners = match self {
            Self::Corners(corners) => &corners.0,
            Self::Plan { param } => match params.get(param) {
                Some(Param::Points(points)) if points.len() >= 3 => points,
                _ => return None,
            },
        };
        here.is_finite().then(|| is_inside(corners, here))
    }
}

impl Test {
    fn holds(&self, value: &Param) -> bool {
        match (self, value) {
            (Self::Above(limit), Param::Number(number)) => number > limit,
            (Self::Below(limit), Param::Number(number)) => number < limit,
            (Self::Is(wanted), value) => wanted == value,
            _ => false,
        }
    }
}

/// The nearest thing that the range sensor sees, metres.
fn nearest(seen: &Observation) -> Option<f64> {
    let ranges = &seen.scan.as_ref()?.value.ranges;
    let seen = ranges.iter().copied().filter(|range| range.is_finite() && *range >= 0.0);
    seen.reduce(f32::min).map(f64::from)
}

/// By how often a ray from `here` to the east crosses the sides.
fn is_inside(corners: &[Point], here: Point) -> bool {
    let mut inside = false;
    for (nth, a) in corners.iter().enumerate() {
        let b = corners[(nth + 1) % corners.len()];
        if (a.y > here.y) != (b.y > here.y) {
            let x = a.x + (here.y - a.y) / (b.y - a.y) * (b.x - a.x);
            inside ^= here.x < x;
        }
    }
    inside
}

/// A sentence that is true where it holds.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |wanted: bool| if wanted { "" } else { "not " };
        match self {
            Self::BatteryAbove(Fraction(limit)) => {
                write!(f, "the battery is above {} %", percent(*limit))
            }
            Self::BatteryBelow(Fraction(limit)) => {
                write!(f, "the battery is below {} %", percent(*limit))
            }
            Self::Charging(wanted) => write!(f, "the battery is {}charging", not(*wanted)),
            Self::Docked(wanted) => write!(f, "the robot is {}on its dock", not(*wanted)),
            Self::EmergencyStop(wanted) => {
                write!(f, "the emergency stop is {}pressed", not(*wanted))
            }
            Self::Far(place) => write!(f, "the robot is farther than {place}"),
            Self::Inside(area) => write!(f, "the robot is inside {area}"),
            Self::Near(place) => write!(f, "the robot is within {place}"),
            Self::Outside(area) => write!(f, "the robot is outside {area}"),
            Self::Param(ParamTest { name, test }) => match test {
                Test::Above(limit) => write!(f, "parameter `{name}` is above {limit}"),
                Test::Below(limit) => write!(f, "parameter `{name}` is below {limit}"),
                Test::Is(Param::Text(text)) => write!(f, "parameter `{name}` is {text:?}"),
                Test::Is(Param::Flag(flag)) => write!(f, "parameter `{name}` is {flag}"),
                Test::Is(_) => write!(f, "parameter `{name}` is as given"),
            },
            Self::RangeAboveM(Metres(limit)) => write!(f, "nothing is seen within {limit} m"),
            Self::RangeBelowM(Metres(limit)) => write!(f, "something is seen within {limit} m"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Ok(at) => write!(f, "{} m of ({}, {})", self.within_m, at.x, at.y),
            Err(param) => write!(f, "{} m of `{param}`", self.within_m),
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corners(corners) => {
                let points = corners.0.iter().map(|corner| format!("({}, {})", corner.x, corner.y));
                f.write_str(&points.collect::<Vec<_>>().join(" "))
            }
            Self::Plan { param } => write!(f, "`{param}`"),
        }
    }
}

/// Without the digits that a binary fraction has beyond what was written.
fn percent(fraction: f64) -> f64 {
    (fraction * 1e4).round() / 1e2
}
