//! `tests/cases.json`: what a skill must do in the simulator, from where and in spite of what. Here
//! it is read; what came of a case is judged in `verdict`.

use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::plan::Param;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most cases of a file.
pub const MAX_CASES: usize = 256;

/// Why a file of cases is refused.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// Not JSON, or with missing or unknown keys.
    #[error("cases: {0}")]
    Json(String),
    /// A value that makes no sense.
    #[error("case `{case}`: `{key}` {why}")]
    Value {
        /// Its name.
        case: String,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// In order.
    pub cases: Vec<Case>,
    /// Format, 1.
    pub v: u32,
}

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// One of the manifest's.
    pub action: String,
    /// State of charge at the start.
    #[serde(default)]
    pub battery: Option<f64>,
    /// What must come of it.
    pub expect: Expect,
    /// What happens meanwhile.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// The run is given up after so long, seconds.
    #[serde(default = "minute")]
    pub limit_s: f64,
    /// Unique.
    pub name: String,
    /// What else stands in the room.
    #[serde(default)]
    pub obstacles: Vec<Vec<Point>>,
    /// Of the action.
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    /// Of the sensors' noise.
    #[serde(default = "one")]
    pub seed: u64,
    /// Where the robot begins; otherwise as its world says.
    #[serde(default)]
    pub start: Option<Pose>,
}

/// What happens to the robot from outside.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins, seconds.
    pub at_s: f64,
    /// How long it lasts, seconds; a restart takes no time.
    #[serde(default)]
    pub for_s: f64,
    /// What.
    pub fault: FaultKind,
}

/// Which.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The button on the robot is pressed, then released and acknowledged.
    EmergencyStop,
    /// The camera is off, as in a privacy zone.
    NoCamera,
    /// The range sensor is not granted, as in a privacy zone.
    NoScan,
    /// The agent starts anew: the instance is gone, its last state is not.
    Restart,
    /// Somebody's veto holds the robot, then is lifted and acknowledged.
    Veto,
}

/// What must come of a case. What is left out may be anything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Where the robot must stand at the end.
    pub at: Option<Place>,
    /// The checkpoints, all of them and in this order.
    pub checkpoints: Option<Vec<String>>,
    /// Pieces of evidence that must be attached, by name.
    pub evidence: Vec<String>,
    /// The steps of the policy graph that ran, all of them and in this order.
    pub graph: Option<Vec<String>>,
    /// `done`, `failed`, `crashed` or `timed_out`.
    pub outcome: String,
    /// A part of the reason.
    pub reason: Option<String>,
    /// Rules of the policy that must act, such as `zone.keep_out`.
    pub rules: Vec<Rule>,
    /// Rules that must not.
    pub rules_not: Vec<Rule>,
    /// Places on the table where a thing must lie at the end, of an arm that moves things.
    pub things: Vec<Place>,
    /// By when, seconds.
    pub within_s: Option<f64>,
}

/// A disc.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its radius.
    pub within_m: f64,
    /// Its middle.
    pub x: f64,
    /// See `x`.
    pub y: f64,
}

const fn minute() -> f64 {
    60.0
}

const fn one() -> u64 {
    1
}

/// Reads and checks a file of cases.
///
/// # Errors
/// [`CasesError`]
pub fn parse(json: &str) -> Result<Vec<Case>, CasesError> {
    let Cases { cases, v } =
        serde_json::from_str(json).map_err(|error| CasesError::Json(error.to_string()))?;
    if v != 1 {
        return Err(CasesError::Json(format!("`v` is {v}, this release reads 1")));
    }
    if cases.is_empty() || cases.len() > MAX_CASES {
        let found = cases.len();
        return Err(CasesError::Json(format!("{found} cases; write 1 to {MAX_CASES}")));
    }
    for (nth, case) in cases.iter().enumerate() {
        case.check(&cases[..nth])?;
    }
    Ok(cases)
}

impl Case {
    fn check(&self, before: &[Self]) -> Result<(), CasesError> {
        let refuse = |key, why: &str| {
            Err(CasesError::Value { case: self.name.clone(), key, why: why.to_owned() })
        };
        if self.name.is_empty() || before.iter().any(|case| case.name == self.name) {
            return refuse("name", "is empty or there twice");
        }
        if !(0.1..=3600.0).contains(&self.limit_s) {
            return refuse("limit_s", "must be 0.1 to 3600");
        }
        if self.battery.is_some_and(|battery| !(0.0..=1.0).contains(&battery)) {
            return refuse("battery", "must be 0 to 1");
        }
        let day = 0.0..=86_400.0;
        if self.faults.iter().any(|f| !day.contains(&f.at_s) || !day.contains(&f.for_s)) {
            return refuse("faults", "must have times of 0 s or more");
        }
        let place = self.expect.at.map(|at| [at.x, at.y, at.within_m]);
        if place.into_iter().flatten().any(|number| !number.is_finite()) {
            return refuse("expect.at", "must hold numbers");
        }
        let places = self.expect.things.iter().flat_map(|at| [at.x, at.y, at.within_m]);
        if places.into_iter().any(|number| !number.is_finite()) {
            return refuse("expect.things", "must hold numbers");
        }
        if self.expect.things.iter().any(|at| at.within_m < 0.0) {
            return refuse("expect.things", "must have distances of 0 m or more");
        }
        let known = ["crashed", "done", "failed", "timed_out"];
        if !known.contains(&self.expect.outcome.as_str()) {
            return refuse("expect.outcome", "must be done, failed, crashed or timed_out");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, proptest};

    const GOOD: &str = r#"{ "v": 1, "cases": [ { "name": "a", "action": "go",
        "params": { "to": [{ "x": 1, "y": 2 }], "fast": true },
        "start": { "x": 1, "y": 1, "yaw": 0 },
        "faults": [ { "at_s": 1, "for_s": 2, "fault": "veto" }, { "at_s": 3, "fault": "restart" } ],
        "expect": { "outcome": "done", "rules": ["speed.linear"], "at": { "x": 1, "y": 2, "within_m": 0.5 } } } ] }"#;

    #[test]
    fn a_case_says_all_that_a_run_needs() {
        let cases = parse(GOOD).unwrap();
        assert_eq!((cases[0].limit_s, cases[0].seed, cases[0].faults.len()), (60.0, 1, 2));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        for (good, bad, key) in [
            (r#""for_s": 2"#, r#""for_s": -2"#, "faults"),
            (r#""outcome": "done""#, r#""outcome": "fine""#, "expect.outcome"),
            (r#""action": "go""#, r#""action": "go", "limit_s": 0"#, "limit_s"),
            (r#""action": "go""#, r#""action": "go", "battery": 2"#, "battery"),
            (r#""name": "a""#, r#""name": """#, "name"),
            (r#""fault": "veto""#, r#""fault": "rain""#, "rain"),
            (r#""v": 1"#, r#""v": 2"#, "`v`"),
            ("speed.linear", "speed.of_light", "speed.of_light"),
            (r#""name": "a""#, r#""nmae": "a""#, "nmae"),
        ] {
            let text = GOOD.replace(good, bad);
            assert_ne!(text, GOOD, "{good}");
            let refused = parse(&text).unwrap_err().to_string();
            assert!(refused.contains(key), "{key}: {refused}");
        }
        assert!(parse(r#"{ "v": 1, "cases": [] }"#).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn no_change_to_a_file_of_cases_makes_its_reader_panic(
            at in 0..GOOD.len(), byte in any::<u8>(), cut in 0..GOOD.len(),
        ) {
            let mut text = GOOD.as_bytes().to_vec();
            text[at] = byte;
            let _ = parse(&String::from_utf8_lossy(&text));
            let _ = parse(&GOOD[..cut]);
        }
    }
}
