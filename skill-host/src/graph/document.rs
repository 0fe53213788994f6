//! `graph.json` as it is written: every key known, each once, every number within its range, and
//! what is wrong told with its line and column.

use super::condition::{Condition, Place, Test};
use super::{Limit, Run};
use crate::ports::is_name;
use nooterra_protocol::geometry::Point;
use nooterra_protocol::plan::Param;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// The most attempts of one retry.
const MAX_TIMES: u32 = 1_000;

/// The longest timeout: that of a plan's step.
const MAX_TIMEOUT_S: f64 = 86_400.0;

/// The most corners of an area.
const MAX_CORNERS: usize = 64;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(deserialize_with = "each_once")]
    pub(super) actions: BTreeMap<String, Draft>,
    pub(super) v: u32,
}

/// A node and what is below it.
#[derive(Deserialize)]
#[serde(try_from = "Raw")]
pub(super) enum Draft {
    Check(Condition),
    Fallback(Vec<Draft>),
    Retry { below: Box<Draft>, times: u32 },
    Run(Run),
    Sequence(Vec<Draft>),
    Timeout { below: Box<Draft>, limit: Limit },
    While { below: Box<Draft>, condition: Condition },
}

/// A parameter of a leaf.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, untagged)]
pub(crate) enum Given {
    /// The plan's, where it has it.
    Plan {
        /// By this name.
        param: String,
    },
    /// This.
    Value(Param),
}

/// Of a battery, 0 to 1.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "f64")]
pub(crate) struct Fraction(pub(super) f64);

/// A distance that a sensor may see.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "f64")]
pub(crate) struct Metres(pub(super) f64);

/// A polygon: here, or the points of a parameter of the plan.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, untagged)]
pub(crate) enum Area {
    /// A parameter.
    Plan {
        /// By this name.
        param: String,
    },
    /// In order around it.
    Corners(Corners),
}

/// Of a polygon, in order around it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "Vec<Point>")]
pub(crate) struct Corners(pub(super) Vec<Point>);

/// A parameter of the plan, and what is asked of it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "RawTest")]
pub(crate) struct ParamTest {
    pub(super) name: String,
    pub(super) test: Test,
}

impl Given {
    pub(super) fn of_plan(&self) -> Option<&str> {
        match self {
            Self::Plan { param } => Some(param),
            Self::Value(_) => None,
        }
    }
}

/// Of these keys one says what a node is; `do` and those of `run` go with it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    #[serde(deserialize_with = "given")]
    check: Option<Condition>,
    #[serde(deserialize_with = "given", rename = "do")]
    below: Option<Box<Draft>>,
    #[serde(deserialize_with = "given")]
    fallback: Option<Vec<Draft>>,
    #[serde(deserialize_with = "given")]
    keep: Option<bool>,
    #[serde(deserialize_with = "given")]
    name: Option<String>,
    #[serde(deserialize_with = "given_once")]
    params: Option<BTreeMap<String, Given>>,
    #[serde(deserialize_with = "given")]
    retry: Option<u32>,
    #[serde(deserialize_with = "given")]
    run: Option<String>,
    #[serde(deserialize_with = "given")]
    sequence: Option<Vec<Draft>>,
    #[serde(deserialize_with = "given")]
    timeout_s: Option<f64>,
    #[serde(deserialize_with = "given")]
    timeout_ticks: Option<u32>,
    #[serde(deserialize_with = "given", rename = "while")]
    condition: Option<Condition>,
}

impl TryFrom<Raw> for Draft {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw {
            check,
            below,
            fallback,
            keep,
            name,
            params,
            retry,
            run,
            sequence,
            timeout_s,
            timeout_ticks,
            condition,
        } = raw;
        let kinds = [
            check.is_some(),
            fallback.is_some(),
            retry.is_some(),
            run.is_some(),
            sequence.is_some(),
            timeout_s.is_some(),
            timeout_ticks.is_some(),
            condition.is_some(),
        ];
        if kinds.iter().filter(|kind| **kind).count() != 1 {
            return Err("a node has exactly one of `check`, `fallback`, `retry`, `run`, \
                        `sequence`, `timeout_s`, `timeout_ticks`, `while`"
                .to_owned());
        }
        let holds = retry.is_some() || timeout_s.is_some() || timeout_ticks.is_some();
        let wanted = holds || condition.is_some();
        if wanted != below.is_some() {
            return Err("`do` goes with `retry`, `timeout_s`, `timeout_ticks` and `while`, and \
                        with nothing else"
                .to_owned());
        }
        if run.is_none() && (keep.is_some() || name.is_some() || params.is_some()) {
            return Err("`keep`, `name` and `params` go with `run` alone".to_owned());
        }
        if let Some(condition) = check {
            return Ok(Self::Check(condition));
        }
        if let Some(action) = run {
            let name = name.unwrap_or_else(|| action.clone());
            if !is_name(&name) {
                return Err("`name` must be 1 to 64 of a-z A-Z 0-9 _ . + / -".to_owned());
            }
            let params = params.unwrap_or_default();
            return Ok(Self::Run(Run { action, keeps: keep.unwrap_or(false), name, params }));
        }
        if let Some(drafts) = fallback {
            return Ok(Self::Fallback(some(drafts, "fallback")?));
        }
        if let Some(drafts) = sequence {
            return Ok(Self::Sequence(some(drafts, "sequence")?));
        }
        let below = below.ok_or("`do` is missing")?;
        if let Some(condition) = condition {
            return Ok(Self::While { below, condition });
        }
        if let Some(times) = retry {
            let why = || format!("`retry` is {times}, must be 1 to {MAX_TIMES}");
            let within = (1..=MAX_TIMES).contains(&times);
            return within.then_some(Self::Retry { below, times }).ok_or_else(why);
        }
        let limit = match (timeout_s, timeout_ticks) {
            (Some(seconds), _) if (0.1..=MAX_TIMEOUT_S).contains(&seconds) => {
                Limit::Time(Duration::from_secs_f64(seconds))
            }
            (_, Some(ticks)) if (1..=1_000_000).contains(&ticks) => Limit::Ticks(ticks),
            (Some(_), _) => return Err(format!("`timeout_s` must be 0.1 to {MAX_TIMEOUT_S}")),
            _ => return Err("`timeout_ticks` must be 1 to 1000000".to_owned()),
        };
        Ok(Self::Timeout { below, limit })
    }
}

fn some(drafts: Vec<Draft>, key: &str) -> Result<Vec<Draft>, String> {
    if drafts.is_empty() { Err(format!("`{key}` is empty")) } else { Ok(drafts) }
}

impl TryFrom<f64> for Fraction {
    type Error = &'static str;

    fn try_from(fraction: f64) -> Result<Self, Self::Error> {
        (0.0..=1.0).contains(&fraction).then_some(Self(fraction)).ok_or("a charge is 0 to 1")
    }
}

impl TryFrom<f64> for Metres {
    type Error = &'static str;

    fn try_from(metres: f64) -> Result<Self, Self::Error> {
        let within = (0.01..=1_000.0).contains(&metres);
        within.then_some(Self(metres)).ok_or("a range is 0.01 to 1000 m")
    }
}

impl TryFrom<Vec<Point>> for Corners {
    type Error = String;

    fn try_from(corners: Vec<Point>) -> Result<Self, String> {
        let fits = (3..=MAX_CORNERS).contains(&corners.len());
        let finite = corners.iter().all(|corner| corner.is_finite());
        if fits && finite {
            Ok(Self(corners))
        } else {
            Err(format!("an area has 3 to {MAX_CORNERS} corners"))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlace {
    #[serde(default)]
    param: Option<String>,
    within_m: f64,
    #[serde(default)]
    x: Option<f64>,
    #[serde(default)]
    y: Option<f64>,
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RawPlace { param, within_m, x, y } = RawPlace::deserialize(deserializer)?;
        let at = match (param, x, y) {
            (None, Some(x), Some(y)) => Ok(Point::new(x, y)),
            (Some(param), None, None) => Err(param),
            _ => return Err(D::Error::custom("a place has `x` and `y`, or `param`")),
        };
        if !(0.01..=100_000.0).contains(&within_m) {
            return Err(D::Error::custom("`within_m` must be 0.01 to 100000"));
        }
        Ok(Self { at, within_m })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTest {
    #[serde(default)]
    above: Option<f64>,
    #[serde(default)]
    below: Option<f64>,
    #[serde(default)]
    is: Option<Param>,
    name: String,
}

impl TryFrom<RawTest> for ParamTest {
    type Error = &'static str;

    fn try_from(raw: RawTest) -> Result<Self, Self::Error> {
        let test = match (raw.above, raw.below, raw.is) {
            (Some(limit), None, None) => Test::Above(limit),
            (None, Some(limit), None) => Test::Below(limit),
            (None, None, Some(is @ (Param::Flag(_) | Param::Text(_)))) => Test::Is(is),
            _ => {
                return Err("a parameter is `above` or `below` a number, or `is` a text, true or \
                            false");
            }
        };
        Ok(Self { name: raw.name, test })
    }
}

/// A key that is there has a value: `null` is none.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

fn given_once<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<BTreeMap<String, T>>, D::Error> {
    each_once(from).map(Some)
}

/// A map in which no key stands twice.
fn each_once<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    struct Once<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Once<T> {
        type Value = BTreeMap<String, T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                if all.contains_key(&key) {
                    let key = key.escape_debug();
                    return Err(A::Error::custom(format!("`{key}` stands there twice")));
                }
                let value = map.next_value()?;
                all.insert(key, value);
            }
            Ok(all)
        }
    }

    from.deserialize_map(Once(PhantomData))
}
