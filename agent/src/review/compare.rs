//! What a new policy allows that the old one did not, and the reverse.
//!
//! First every number that differs, and whether the new one is looser. Numbers do not show what
//! zones do together, so both gates are then asked about the same thousands of states, drawn from
//! a seed: a motion that one lets go on and the other holds back is an example.

use super::explain::{Acting, acting, body_twist};
use super::{ReviewError, Reviewed, State};
use nooterra_policy::{Action, Planar};
use nooterra_protocol::command::{Command, JointVelocities, PerJoint, Steer, Velocity};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::observation::{Flying, JointStates};
use nooterra_protocol::policy::{PolicyDocument, Vehicle, Zone};
use nooterra_protocol::schedule::WEEK_MS;
use nooterra_protocol::time::{MonoNanos, WallMillis};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// What a number's change does to the envelope.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It allows more.
    Looser,
    /// It cannot be told from the number alone; the examples tell.
    Other,
    /// It allows less.
    Tighter,
}

/// A key whose value differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// What it does.
    pub effect: Effect,
    /// As in the file: `limits.max_linear_mps`; zones by their name.
    pub key: String,
    /// In the new policy; none where it is gone.
    pub new: Option<Value>,
    /// In the old policy; none where it was not there.
    pub old: Option<Value>,
}

/// A motion that one policy lets go on and the other does not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// What the stricter one makes of it.
    pub held_to: Command,
    /// By which rule.
    pub rule: Acting,
    /// To put to `policy explain`.
    pub state: State,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What only the new one lets go on, one for each rule of the old.
    pub allows: Vec<Example>,
    /// Every key that differs.
    pub changed: Vec<Changed>,
    /// What only the old one lets go on.
    pub forbids: Vec<Example>,
    /// Of the states.
    pub seed: u64,
    /// How many states both were asked about.
    pub states: u32,
}

impl Comparison {
    /// The new policy allows something that the old one did not: by its numbers or by an
    /// example.
    #[must_use]
    pub fn is_looser(&self) -> bool {
        !self.allows.is_empty()
            || self.changed.iter().any(|changed| changed.effect == Effect::Looser)
    }

    /// Nothing differs that an envelope could show.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.allows.is_empty() && self.forbids.is_empty() && self.changed.is_empty()
    }
}

/// Compares two policies for the same kind of vehicle.
///
/// # Errors
/// [`ReviewError::Kinds`].
pub fn compare(
    old: &Reviewed,
    new: &Reviewed,
    states: u32,
    seed: u64,
) -> Result<Comparison, ReviewError> {
    let kind = |reviewed: &Reviewed| std::mem::discriminant(&reviewed.document().vehicle);
    if kind(old) != kind(new) {
        return Err(ReviewError::Kinds);
    }
    let mut draw = Draw(seed);
    let (mut allows, mut forbids) = (Examples::default(), Examples::default());
    let place = Place::of(&[old.document(), new.document()]);
    let times =
        |reviewed: &Reviewed| reviewed.document().zones.iter().any(|zone| !zone.windows.is_empty());
    let timed = times(old) || times(new);
    for _ in 0..states {
        let mut state = draw.state(new.document(), &place);
        state.clock = timed.then(|| draw.moment());
        let (before, after) = (judge(old, &state)?, judge(new, &state)?);
        match (before, after) {
            (Some(held), None) => allows.take(state, held),
            (None, Some(held)) => forbids.take(state, held),
            _ => {}
        }
    }
    let (allows, forbids) = (allows.found, forbids.found);
    Ok(Comparison {
        allows,
        changed: changed(old.document(), new.document()),
        forbids,
        seed,
        states,
    })
}

/// What holds a motion back that is already under way; `None` where it goes on.
fn judge(policy: &Reviewed, state: &State) -> Result<Option<(Command, Acting)>, ReviewError> {
    let mut gate = policy.gate();
    let outcome = gate.tick(&state.inputs(policy.document(), 0, MonoNanos(1_000_000_000))?);
    let first = acting(&gate, &outcome).into_iter().next();
    let goes_on = matches!(outcome.action, Action::Write(_)) && first.is_none();
    Ok(if goes_on { None } else { first.map(|rule| (outcome.allowed, rule)) })
}

/// One example for each rule and zone.
#[derive(Default)]
struct Examples {
    found: Vec<Example>,
    known: BTreeSet<(Rule, Option<ZoneId>)>,
}

impl Examples {
    fn take(&mut self, state: State, (held_to, rule): (Command, Acting)) {
        if self.known.insert((rule.rule, rule.zone.clone())) {
            self.found.push(Example { held_to, rule, state });
        }
    }
}

/// Where to look: around the zones of all policies.
struct Place {
    least: Point,
    most: Point,
}

impl Place {
    fn of(documents: &[&PolicyDocument]) -> Self {
        let corners =
            documents.iter().flat_map(|document| document.zones.iter()).flat_map(Zone::corners);
        let none =
            (Point::new(f64::INFINITY, f64::INFINITY), Point::new(-f64::INFINITY, -f64::INFINITY));
        let (least, most) = corners.fold(none, |(least, most), at| {
            (
                Point::new(least.x.min(at.x), least.y.min(at.y)),
                Point::new(most.x.max(at.x), most.y.max(at.y)),
            )
        });
        if least.x > most.x {
            return Self { least: Point::new(-5.0, -5.0), most: Point::new(5.0, 5.0) };
        }
        Self {
            least: Point::new(least.x - 1.0, least.y - 1.0),
            most: Point::new(most.x + 1.0, most.y + 1.0),
        }
    }
}

/// States from a seed: the same for the same seed, on any machine (SplitMix64).
struct Draw(u64);

impl Draw {
    fn part(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper 53 bits are a whole number that a double holds exactly.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn within(&mut self, least: f64, most: f64) -> f64 {
        least + self.part() * (most - least)
    }

    /// A robot that already moves as it is asked to, anywhere near the zones.
    /// Some time of some week.
    fn moment(&mut self) -> WallMillis {
        // A week fits, and its fractions do not count.
        #[allow(clippy::cast_possible_truncation)]
        let in_week = self.within(0.0, f64::from(WEEK_MS)) as i64;
        // 2026-11-16, a Monday.
        WallMillis(1_794_787_200_000 + in_week)
    }

    fn state(&mut self, document: &PolicyDocument, place: &Place) -> State {
        let command = self.command(document);
        let yaw = self.within(-std::f64::consts::PI, std::f64::consts::PI);
        let pose = Pose {
            x: self.within(place.least.x, place.most.x),
            y: self.within(place.least.y, place.most.y),
            yaw,
        };
        let mut state = State {
            battery: Some(1.0),
            pose,
            twist: body_twist(document, command, yaw),
            ..State::new(command)
        };
        match (&document.vehicle, command) {
            (Vehicle::Joints { joints, .. }, Command::Joints(velocities)) => {
                state.twist = Planar::ZERO;
                let mut limits = joints.iter();
                let position = velocities.joints.map(|_| {
                    let (least, most) = limits
                        .next()
                        .map_or((0.0, 0.0), |joint| (joint.min_position, joint.max_position));
                    self.within(least, most)
                });
                let effort = velocities.joints.map(|_| 0.0);
                state.joints = Some(JointStates { effort, position, velocity: velocities.joints });
            }
            (Vehicle::Multirotor(flight), Command::Fly(velocity)) => {
                let height = self.within(flight.min_altitude_m, flight.max_altitude_m);
                state.flying = Some(Flying {
                    above_ground_m: Some(height),
                    above_takeoff_m: height,
                    climb_mps: velocity.z,
                    tilt_rad: 0.0,
                });
            }
            _ => {}
        }
        state
    }

    fn command(&mut self, document: &PolicyDocument) -> Command {
        let limits = &document.limits;
        let mut to = |limit: f64| self.within(-1.1, 1.1) * limit;
        match &document.vehicle {
            Vehicle::Ackermann { max_steering_rad, .. } => Command::Ackermann(Steer {
                speed_mps: to(limits.max_linear_mps),
                steering_rad: to(*max_steering_rad),
            }),
            Vehicle::Differential => {
                Command::Drive(Twist::new(to(limits.max_linear_mps), to(limits.max_angular_radps)))
            }
            Vehicle::Joints { joints, .. } => {
                let velocities: Vec<f64> =
                    joints.iter().map(|joint| to(joint.max_velocity)).collect();
                let joints = PerJoint::new(&velocities).unwrap_or_default();
                Command::Joints(JointVelocities { joints })
            }
            Vehicle::Multirotor(flight) => Command::Fly(Velocity {
                x: to(limits.max_linear_mps),
                y: to(limits.max_linear_mps),
                yaw_rate: to(limits.max_angular_radps),
                z: to(flight.max_climb_mps.min(flight.max_descent_mps)),
            }),
            Vehicle::Omnidirectional { max_lateral_mps } => Command::Omni(Planar::new(
                to(limits.max_linear_mps),
                to(*max_lateral_mps),
                to(limits.max_angular_radps),
            )),
        }
    }
}

/// Keys whose larger value allows more, by the last part of the key.
const LOOSER_WHEN_LARGER: &[&str] = &[
    "command_ms",
    "journal_ms",
    "odometry_ms",
    "max_s",
    "sensor_ms",
    "slow_mps",
    "land_after_s",
    "keep_s",
];

/// Keys whose smaller value allows more.
const LOOSER_WHEN_SMALLER: &[&str] = &[
    "margin_m",
    "reaction_ms",
    "human_mps",
    "intrusion_m",
    "release_ms",
    "slow_m",
    "stop_m",
    "uncertainty_m",
    "rest_s",
    "reserve",
    "fraction_per_m",
];

fn changed(old: &PolicyDocument, new: &PolicyDocument) -> Vec<Changed> {
    let mut changes = Vec::new();
    // A document is a map of text keys; it always has a form in JSON.
    let value = |document: &PolicyDocument| {
        let mut value = serde_json::to_value(document).unwrap_or_default();
        // By name, so that one more zone does not rename the others.
        for list in ["zones", "masks", "modes", "privacy"] {
            if let Some(items) = value.get_mut(list).map(Value::take)
                && let Value::Array(items) = items
            {
                let named = items.into_iter().map(|mut item| {
                    let id = item.as_object_mut().and_then(|item| item.remove("id"));
                    (id.and_then(|id| id.as_str().map(str::to_owned)).unwrap_or_default(), item)
                });
                value[list] = Value::Object(named.collect());
            }
        }
        for key in ["id", "version"] {
            value.as_object_mut().and_then(|object| object.remove(key));
        }
        value
    };
    walk("", Some(&value(old)), Some(&value(new)), &mut changes);
    changes
}

fn walk(key: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Changed>) {
    if old == new {
        return;
    }
    if let (Some(Value::Object(before)), Some(Value::Object(after))) = (old, new) {
        let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for part in keys {
            let key = if key.is_empty() { part.clone() } else { format!("{key}.{part}") };
            walk(&key, before.get(part), after.get(part), changes);
        }
        return;
    }
    let effect = effect(key, old, new);
    changes.push(Changed { effect, key: key.to_owned(), new: new.cloned(), old: old.cloned() });
}

fn effect(key: &str, old: Option<&Value>, new: Option<&Value>) -> Effect {
    let last = key.rsplit('.').next().unwrap_or(key);
    let by_size = |larger: Effect, smaller: Effect| match (old, new) {
        (Some(old), Some(new)) => match (old.as_f64(), new.as_f64()) {
            (Some(old), Some(new)) if new > old => larger,
            (Some(_), Some(_)) => smaller,
            _ => Effect::Other,
        },
        // An optional limit that came or went.
        (None, Some(_)) => Effect::Tighter,
        (Some(_), None) => Effect::Looser,
        (None, None) => Effect::Other,
    };
    match key.split('.').collect::<Vec<_>>()[..] {
        ["zones", _] => return of_zone(old, new),
        ["masks" | "modes" | "privacy", _] | ["proximity" | "battery" | "motion"] => {
            return by_size(Effect::Other, Effect::Other);
        }
        // More of an exclusion is less room, more of an inclusion is more.
        ["zones" | "privacy", _, "altitude", ..] => return Effect::Other,
        _ => {}
    }
    if last.starts_with("max_") || LOOSER_WHEN_LARGER.contains(&last) {
        by_size(Effect::Looser, Effect::Tighter)
    } else if last.starts_with("min_") || LOOSER_WHEN_SMALLER.contains(&last) {
        by_size(Effect::Tighter, Effect::Looser)
    } else {
        Effect::Other
    }
}

/// A zone that came or went. Of several to be kept in, one more gives more room.
fn of_zone(old: Option<&Value>, new: Option<&Value>) -> Effect {
    let kind = old.or(new).and_then(|zone| zone["rule"]["type"].as_str());
    match (old, new, kind) {
        (None, Some(_), Some("keep_out" | "speed")) => Effect::Tighter,
        (Some(_), None, Some("keep_out" | "speed")) => Effect::Looser,
        _ => Effect::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy_file;
    use nooterra_protocol::policy::ZoneRule;
    use std::path::Path;

    fn document() -> PolicyDocument {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots/turtlebot/policy.toml");
        policy_file::load(&path).unwrap()
    }

    fn compared(change: impl FnOnce(&mut PolicyDocument)) -> Comparison {
        let (old, mut new) = (document(), document());
        change(&mut new);
        let reviewed = |document| Reviewed::new(document, Path::new(".")).unwrap();
        compare(&reviewed(&old), &reviewed(&new), 4_000, 1).unwrap()
    }

    #[test]
    fn a_policy_is_the_same_as_itself_whatever_its_version() {
        let comparison = compared(|new| new.version += 1);
        assert!(comparison.is_same() && !comparison.is_looser(), "{comparison:?}");
    }

    #[test]
    fn a_higher_limit_is_looser_and_an_example_shows_it() {
        let comparison = compared(|new| new.limits.max_linear_mps = 0.8);
        assert_eq!(comparison.changed.len(), 1);
        assert_eq!(comparison.changed[0].key, "limits.max_linear_mps");
        assert_eq!(comparison.changed[0].effect, Effect::Looser);
        let example = comparison.allows.iter().find(|e| e.rule.rule == Rule::SpeedLinear);
        let speed = example.expect("an example").state.command.forward_mps();
        assert!((0.55..=0.8).contains(&speed), "{speed}");
        assert!(comparison.is_looser() && comparison.forbids.is_empty());
    }

    #[test]
    fn a_zone_more_is_tighter_and_the_example_names_it() {
        let comparison = compared(|new| {
            let mut pit = new.zones[0].clone();
            pit.id = "pit".parse().unwrap();
            pit.rule = ZoneRule::KeepOut;
            pit.polygon = [(0.0, -2.0), (4.0, -2.0), (4.0, 1.0), (0.0, 1.0)]
                .map(|(x, y)| Point::new(x, y))
                .to_vec();
            new.zones.push(pit);
        });
        assert!(!comparison.is_looser(), "{:?}", comparison.allows);
        assert_eq!(comparison.changed[0].effect, Effect::Tighter);
        let names: Vec<String> = comparison
            .forbids
            .iter()
            .filter_map(|example| example.rule.zone.as_ref().map(ToString::to_string))
            .collect();
        assert_eq!(names, ["pit"]);
    }
}
