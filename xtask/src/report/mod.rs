//! `report.html`: one file, nothing loaded from anywhere, made to be looked at.
//!
//! Without scripts it is complete: every clamp is on the map, in the chart and in the table.
//! The script adds a time slider, links the three and filters them.

mod chart;
mod map;
mod page;
mod timeline;

use crate::demo::summary::{Clamp, Summary};
use crate::demo::survey::Drawn;
use crate::truth::Truth;
use crate::world::World;
use nooterra_protocol::entry::{Rule, Sample};
use nooterra_protocol::geometry::Point;
use nooterra_protocol::policy::PolicyDocument;
use std::fmt::Write as _;

pub(crate) use page::render;

/// A run of the demo. Times are seconds since the robot's departure.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Of a map from outside.
    pub(crate) layers: Vec<Drawn>,
    /// The envelope.
    pub(crate) policy: PolicyDocument,
    /// The robot's state as it journalled it.
    pub(crate) samples: Vec<(f64, Sample)>,
    /// The facts.
    pub(crate) summary: Summary,
    /// The simulator's own account.
    pub(crate) truth: Vec<(f64, Truth)>,
    /// Of the plan.
    pub(crate) waypoints: Vec<(String, Point)>,
    /// The room.
    pub(crate) world: World,
}

impl Run {
    /// True poses that were checked.
    pub(crate) const fn zone_samples(&self) -> usize {
        self.summary.zones.samples
    }

    /// What is shown: from the robot's departure to a moment after its job's last event.
    pub(crate) fn span(&self) -> (f64, f64) {
        let job = self.summary.job.timeline.iter().map(|moment| moment.t_s);
        let path = self.truth.last().map(|(t, _)| *t);
        let end = job.fold(f64::NEG_INFINITY, f64::max);
        let end = if end.is_finite() { end + 1.0 } else { path.unwrap_or(1.0) };
        (-1.0, end.max(1.0))
    }

    /// The true path while the job ran, thinned to what can be seen.
    pub(crate) fn path(&self) -> Vec<(f64, Truth)> {
        const MOVED_M: f64 = 0.03;
        const TURNED_RAD: f64 = 0.05;
        const AT_LEAST_EACH_S: f64 = 0.4;
        let (from, to) = self.span();
        let mut kept: Vec<(f64, Truth)> = Vec::new();
        for (t, truth) in self.truth.iter().filter(|(t, _)| (from..=to).contains(t)) {
            let is_new = kept.last().is_none_or(|(before, last)| {
                t - before >= AT_LEAST_EACH_S
                    || last.pose.point().distance(truth.pose.point()) >= MOVED_M
                    || (last.pose.yaw - truth.pose.yaw).abs() >= TURNED_RAD
            });
            if is_new {
                kept.push((*t, *truth));
            }
        }
        kept
    }
}

/// What kind of rule acted: it decides colour and shape.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    Accel,
    Other,
    Speed,
    Zone,
}

impl Family {
    pub(crate) const ALL: [Self; 4] = [Self::Zone, Self::Speed, Self::Accel, Self::Other];

    pub(crate) const fn of(rule: Rule) -> Self {
        match rule {
            Rule::Altitude
            | Rule::JointPosition
            | Rule::ProximitySeparation
            | Rule::ProximitySlow
            | Rule::ProximityStop
            | Rule::ZoneClosed
            | Rule::ZoneKeepIn
            | Rule::ZoneKeepOut
            | Rule::ZoneSpeed => Self::Zone,
            Rule::SpeedAngular
            | Rule::SpeedJoint
            | Rule::SpeedLateral
            | Rule::SpeedLinear
            | Rule::SpeedVertical
            | Rule::SteeringAngle => Self::Speed,
            Rule::AccelAngular
            | Rule::AccelJoint
            | Rule::AccelLateral
            | Rule::AccelLinear
            | Rule::AccelVertical
            | Rule::JerkLinear
            | Rule::SteeringRate => Self::Accel,
            Rule::BatteryReserve
            | Rule::ClockJump
            | Rule::CommandKind
            | Rule::EmergencyStop
            | Rule::Grant
            | Rule::InputNan
            | Rule::InputStale
            | Rule::InputUncertain
            | Rule::JointEffort
            | Rule::JournalBehind
            | Rule::MotionDuration
            | Rule::SourceStale
            | Rule::Tilt
            | Rule::Veto => Self::Other,
        }
    }

    /// As a CSS class and in the id of its filter.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Accel => "accel",
            Self::Other => "other",
            Self::Speed => "speed",
            Self::Zone => "zone",
        }
    }

    /// For people.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Accel => "acceleration",
            Self::Other => "stale, missing, stop",
            Self::Speed => "speed",
            Self::Zone => "zone",
        }
    }

    /// A shape around (x, y): colour alone does not tell them apart.
    pub(crate) fn glyph(self, x: f64, y: f64) -> String {
        match self {
            Self::Zone => format!(
                r#"<path d="M{} {}L{} {}L{} {}Z"/>"#,
                px(x),
                px(y - 8.0),
                px(x + 7.5),
                px(y + 5.5),
                px(x - 7.5),
                px(y + 5.5)
            ),
            Self::Speed => format!(r#"<circle cx="{}" cy="{}" r="6"/>"#, px(x), px(y)),
            Self::Accel => {
                format!(r#"<rect x="{}" y="{}" width="6" height="6"/>"#, px(x - 3.0), px(y - 3.0))
            }
            Self::Other => format!(
                r#"<path d="M{} {}L{} {}L{} {}L{} {}Z"/>"#,
                px(x),
                px(y - 7.0),
                px(x + 7.0),
                px(y),
                px(x),
                px(y + 7.0),
                px(x - 7.0),
                px(y)
            ),
        }
    }
}

/// A clamp in one sentence, for titles, screen readers and the detail panel.
pub(crate) fn sentence(number: usize, clamp: &Clamp) -> String {
    let mut text = format!("{number}. {}", clamp.rule);
    if let Some(zone) = &clamp.zone {
        let _ = write!(text, " ({zone})");
    }
    let _ = write!(
        text,
        " at {} s: asked {}, allowed {}, limit {} {}",
        fixed(clamp.t_s, 1),
        asked(clamp),
        twist(clamp.allowed.forward_mps(), clamp.allowed.turning_radps()),
        fixed(clamp.limit, 2),
        clamp.unit,
    );
    if let Some(held) = clamp.held_s {
        let _ = write!(text, ", held {} s", fixed(held, 1));
    }
    if goes_down(clamp) {
        let _ = write!(text, ", down to {} m/s", fixed(clamp.least_allowed_mps, 2));
    }
    text
}

/// Less was allowed later than at its beginning, so much that it shows.
pub(crate) fn goes_down(clamp: &Clamp) -> bool {
    clamp.allowed.forward_mps().abs() - clamp.least_allowed_mps >= 0.005
}

/// What was asked, as text.
fn asked(clamp: &Clamp) -> String {
    let part = |number: Option<f64>, unit: &str| {
        number.map_or_else(
            || format!("no number for {unit}"),
            |number| format!("{} {unit}", fixed(number, 2)),
        )
    };
    format!(
        "{}, {}",
        part(clamp.asked.forward_mps(), "m/s"),
        part(clamp.asked.turning_radps(), "rad/s")
    )
}

/// A twist as text.
fn twist(linear: f64, angular: f64) -> String {
    format!("{} m/s, {} rad/s", fixed(linear, 2), fixed(angular, 2))
}

/// Text for HTML and for attributes.
pub(crate) fn esc(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Control characters are not allowed in SVG.
            control if control.is_control() && !control.is_whitespace() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A number with a fixed count of decimals and no minus before a zero.
pub(crate) fn fixed(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let is_zero = text.chars().all(|digit| matches!(digit, '-' | '0' | '.'));
    if is_zero { text.trim_start_matches('-').to_owned() } else { text }
}

/// A coordinate in an SVG: a tenth of a pixel is enough, and what is no number is 0.
pub(crate) fn px(coordinate: f64) -> String {
    if !coordinate.is_finite() {
        return "0".to_owned();
    }
    let text = fixed(coordinate, 1);
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A small run with one of everything, and with names that try to break out.
    pub(crate) fn small_run() -> Run {
        let policy: PolicyDocument = serde_json::from_value(json!({
            "footprint": {"margin_m": 0.05, "outline": [
                {"x": 0.35, "y": 0.25}, {"x": -0.35, "y": 0.25},
                {"x": -0.35, "y": -0.25}, {"x": 0.35, "y": -0.25}]},
            "freshness": {"command_ms": 400, "journal_ms": 100, "odometry_ms": 200},
            "id": "p", "robot": "amr-1", "stop": "controlled_hold", "version": 1,
            "limits": {"max_angular_accel_radps2": 2.0, "max_angular_radps": 1.0,
                "max_decel_mps2": 1.0, "max_linear_accel_mps2": 1.0, "max_linear_mps": 1.2,
                "max_reverse_mps": 0.3, "reaction_ms": 50},
            "zones": [
                {"id": "hall", "rule": {"type": "keep_in"},
                 "polygon": [{"x":0,"y":0},{"x":10,"y":0},{"x":10,"y":8},{"x":0,"y":8}]},
                {"id": "press", "rule": {"type": "keep_out"},
                 "polygon": [{"x":4,"y":3},{"x":6,"y":3},{"x":6,"y":5},{"x":4,"y":5}]},
                {"id": "crossing", "rule": {"type": "speed", "max_linear_mps": 0.6},
                 "polygon": [{"x":7,"y":1},{"x":9,"y":1},{"x":9,"y":2},{"x":7,"y":2}]}
            ]
        }))
        .unwrap();
        let truth: Vec<(f64, Truth)> = (0..200_u32)
            .map(|i| {
                let t = f64::from(i) * 0.05;
                let pose = nooterra_protocol::geometry::Pose { x: 1.0 + t * 0.5, y: 1.5, yaw: 0.0 };
                (
                    t,
                    Truth {
                        mono_ns: u64::from(i) * 50_000_000,
                        pose,
                        linear_mps: t / 8.0,
                        angular_radps: 0.0,
                    },
                )
            })
            .collect();
        let samples = (0..40_u32)
            .map(|i| {
                let sample = serde_json::from_value(json!({
                    "allowed": {"type": "drive", "linear": 1.2, "angular": 0.0},
                    "asked": {"type": "drive", "linear": 2.0, "angular": if i == 3 { None } else { Some(0.0) }},
                    "battery": 0.9, "limit_mps": if i > 20 { 0.6 } else { 1.2 },
                    "pose": {"x": 1.0, "y": 1.5, "yaw": 0.0}, "source": "skill",
                    "twist": {"linear": 1.1, "angular": 0.0}
                }))
                .unwrap();
                (f64::from(i) * 0.25, sample)
            })
            .collect();
        let clamp = |rule: Rule, t_s: f64, zone: Option<&str>| Clamp {
            allowed: nooterra_protocol::geometry::Twist::new(1.2, 0.0).into(),
            asked: nooterra_protocol::geometry::Twist::new(2.0, 0.1).into(),
            at: "2026-11-21T08:00:00.000Z".to_owned(),
            command: None,
            held_s: (t_s < 5.0).then_some(1.5),
            least_allowed_mps: 0.4,
            limit: 1.2,
            pose: nooterra_protocol::geometry::Pose { x: 1.0 + t_s, y: 1.5, yaw: 0.0 },
            rule,
            seq: 40,
            source: nooterra_protocol::command::Source::Skill,
            t_s,
            unit: rule.unit(),
            zone: zone.map(|zone| nooterra_protocol::ids::ZoneId::new(zone).unwrap()),
        };
        let clamps = vec![
            clamp(Rule::AccelLinear, 0.5, None),
            clamp(Rule::SpeedLinear, 2.0, None),
            clamp(Rule::ZoneKeepOut, 6.0, Some("press")),
        ];
        let moment =
            |event: &str, state: &str, t_s: f64, note: Option<&str>| crate::demo::summary::Moment {
                at: "2026-11-21T08:00:00.000Z".to_owned(),
                event: event.to_owned(),
                late: false,
                note: note.map(str::to_owned),
                pose: note.map(|_| nooterra_protocol::geometry::Pose { x: 3.0, y: 1.5, yaw: 0.0 }),
                signed_by: "amr-1".to_owned(),
                state: state.to_owned(),
                t_s,
            };
        let timeline = vec![
            moment("JOB_CREATED", "CREATED", -0.4, None),
            moment("EN_ROUTE", "EN_ROUTE", 0.0, None),
            moment("EXECUTION_STARTED", "EXECUTING", 0.3, None),
            moment("CHECKPOINT_REACHED", "EXECUTING", 4.0, Some("<script>alert(1)</script>")),
            moment("HEARTBEAT", "EXECUTING", 5.0, None),
            moment("EXECUTION_COMPLETED", "COMPLETED", 9.0, None),
        ];
        let path: Vec<Truth> = truth.iter().map(|(_, truth)| *truth).collect();
        let zones = crate::zones::check(&policy, &path);
        let mut summary = Summary {
            agent: crate::demo::summary::Agent { arch: "aarch64", emulator: Some("qemu-aarch64") },
            blackbox: crate::demo::summary::BlackBox {
                checkpoints: Some(4),
                flipped_in: 512,
                records: 1_000,
                tamper_found_at: Some(512),
                tamper_message: "record 512 is not the one that was \"sealed\" & <b>signed</b>"
                    .to_owned(),
                verified: true,
                verified_through: Some(990),
            },
            claims: Vec::new(),
            clamps,
            control: None,
            durations: [("total_after_build".to_owned(), 44.0)].into(),
            job: crate::demo::summary::Job {
                id: "job_1".to_owned(),
                state: "COMPLETED".to_owned(),
                timeline,
            },
            max_speed_limit_mps: 1.2,
            max_speed_mps: 1.19,
            policy_hash: Some("ab".repeat(32)),
            robot: "amr-1".to_owned(),
            seed: 7,
            skill: crate::demo::summary::Skill {
                digest: nooterra_protocol::codec::Digest::of(b"x"),
                id: "patrol".to_owned(),
                reason: "the signature is not of this file".to_owned(),
                tampered_refused: true,
                version: "0.1.0".to_owned(),
            },
            zone_exits: zones.exits,
            zones,
        };
        summary.judge();
        let world = World {
            dock: Some(nooterra_protocol::geometry::Pose { x: 1.0, y: 1.5, yaw: 0.0 }),
            shapes: vec![crate::world::Shape {
                name: "wall\"><img src=x>".to_owned(),
                points: vec![Point::new(0.0, 0.0), Point::new(10.0, 0.0)],
            }],
        };
        Run {
            layers: Vec::new(),
            policy,
            samples,
            summary,
            truth,
            waypoints: vec![("A".to_owned(), Point::new(9.0, 1.2))],
            world,
        }
    }

    /// Every tag that is opened is closed, in order. Not an HTML parser: it knows the void
    /// elements that are used here, and that scripts and styles hold no tags.
    pub(crate) fn assert_well_formed(html: &str) {
        const VOID: [&str; 4] = ["meta", "input", "br", "hr"];
        let mut open: Vec<&str> = Vec::new();
        let mut rest = html;
        while let Some(start) = rest.find('<') {
            rest = &rest[start + 1..];
            if rest.starts_with('!') {
                rest = &rest[rest.find('>').expect("an open declaration")..];
                continue;
            }
            let end = rest.find('>').unwrap_or_else(|| panic!("unclosed tag: {:.60}", rest));
            let tag = &rest[..end];
            assert_eq!(tag.matches('"').count() % 2, 0, "odd quotes in <{tag}>");
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "</{name}> closes another; open: {open:?}");
                continue;
            }
            let name = tag.split([' ', '\n', '/']).next().unwrap();
            if tag.ends_with('/') || VOID.contains(&name) {
                continue;
            }
            if matches!(name, "script" | "style") {
                let close = format!("</{name}>");
                rest = &rest[rest.find(&close).expect("unclosed script") + close.len()..];
                continue;
            }
            open.push(name);
        }
        assert!(open.is_empty(), "never closed: {open:?}");
    }

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(esc("<a b='c'>&\"\u{7}"), "&lt;a b=&#39;c&#39;&gt;&amp;&quot;\u{fffd}");
    }

    #[test]
    fn a_zero_has_no_minus_and_a_coordinate_is_always_a_number() {
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(fixed(-0.01, 2), "-0.01");
        assert_eq!(px(12.0), "12");
        assert_eq!(px(12.34), "12.3");
        assert_eq!(px(f64::NAN), "0");
    }

    #[test]
    fn the_path_is_thinned_but_keeps_its_ends() {
        let run = small_run();
        let path = run.path();
        assert!(path.len() < run.truth.len() && path.len() > 50, "{}", path.len());
        assert!(path[0].0 <= 0.0 + f64::EPSILON);
    }

    #[test]
    fn a_sentence_says_what_was_asked_and_what_was_allowed() {
        let run = small_run();
        let text = sentence(3, &run.summary.clamps[2]);
        for part in ["3. zone.keep_out (press)", "asked 2.00 m/s", "allowed 1.20 m/s", "1.20 m"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
