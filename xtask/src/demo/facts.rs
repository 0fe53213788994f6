//! From what the cloud answers to what the report shows: clamps, samples, the job's moments.

use super::summary::{Clamp, Moment, SAME_RUN_S};
use anyhow::{Context as _, Result};
use nooterra_protocol::entry::{Sample, Verdict, VerdictPhase};
use nooterra_protocol::event::EventType;
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::job::{self, JobState, Step};
use nooterra_protocol::time::{Stamp, WallMillis};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A journal record as the cloud shows it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Record<T> {
    /// When.
    pub(crate) at: Stamp,
    /// What.
    pub(crate) body: T,
    /// In the robot's journal.
    pub(crate) seq: u64,
}

/// Reads records of one kind.
pub(crate) fn records<T: DeserializeOwned>(values: Vec<Value>) -> Result<Vec<Record<T>>> {
    values
        .into_iter()
        .map(|value| {
            let seq = value["seq"].clone();
            serde_json::from_value(value).with_context(|| format!("record {seq} at the cloud"))
        })
        .collect()
}

/// Places both clocks on one axis: seconds since the job began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// Wall clock at the origin.
    origin: WallMillis,
    /// Both clocks at one moment.
    reference: Stamp,
}

impl Axis {
    pub(crate) const fn new(origin: WallMillis, reference: Stamp) -> Self {
        Self { origin, reference }
    }

    /// Of a wall-clock time.
    pub(crate) fn of_wall(&self, at: WallMillis) -> f64 {
        seconds(at.millis_since(self.origin))
    }

    /// Of the robot's monotonic clock.
    pub(crate) fn of_mono(&self, mono_ns: u64) -> f64 {
        let since = i128::from(mono_ns) - i128::from(self.reference.mono.0);
        // A run lasts minutes; an f64 holds years in nanoseconds.
        self.of_wall(self.reference.wall) + since as f64 / 1e9
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1e3
}

/// Joins verdicts to runs: a rule that acts for many ticks is one clamp.
pub(crate) fn clamps(verdicts: &[Record<Verdict>], axis: &Axis) -> Vec<Clamp> {
    let mut clamps: Vec<Clamp> = Vec::new();
    for record in verdicts {
        let verdict = &record.body;
        let t_s = axis.of_mono(record.at.mono.0);
        let last = clamps.iter_mut().rfind(|clamp| is_same(clamp, verdict));
        let acts = verdict.phase != VerdictPhase::Ended;
        match last.filter(|clamp| is_under_way(clamp, t_s)) {
            Some(clamp) if acts => {
                clamp.held_s = None;
                clamp.least_allowed_mps =
                    clamp.least_allowed_mps.min(verdict.allowed.forward_mps().abs());
            }
            Some(clamp) => clamp.held_s = Some(t_s - clamp.t_s),
            None if acts => {
                // Another wish meets the same rule: what held for the one before is over.
                let before = clamps
                    .iter_mut()
                    .rfind(|clamp| clamp.rule == verdict.rule && clamp.zone == verdict.zone);
                if let Some(before) = before {
                    before.held_s.get_or_insert(t_s - before.t_s);
                }
                clamps.push(Clamp {
                    allowed: verdict.allowed,
                    asked: verdict.asked,
                    at: record.at.wall.to_string(),
                    command: verdict.command.clone(),
                    held_s: None,
                    least_allowed_mps: verdict.allowed.forward_mps().abs(),
                    limit: verdict.limit,
                    pose: verdict.pose,
                    rule: verdict.rule,
                    seq: record.seq,
                    source: verdict.source,
                    t_s,
                    unit: verdict.rule.unit(),
                    zone: verdict.zone.clone(),
                });
            }
            // An end whose beginning was never seen has nothing to show.
            None => {}
        }
    }
    clamps
}

/// The end of a run may carry the wish that follows it: only rule and zone are sure then.
fn is_same(clamp: &Clamp, verdict: &Verdict) -> bool {
    let same_wish = clamp.source == verdict.source && clamp.command == verdict.command;
    clamp.rule == verdict.rule
        && clamp.zone == verdict.zone
        && (same_wish || verdict.phase == VerdictPhase::Ended)
}

fn is_under_way(clamp: &Clamp, t_s: f64) -> bool {
    clamp.held_s.is_none_or(|held| t_s - (clamp.t_s + held) <= SAME_RUN_S)
}

/// Samples on the axis.
pub(crate) fn samples(records: &[Record<Sample>], axis: &Axis) -> Vec<(f64, Sample)> {
    records.iter().map(|record| (axis.of_mono(record.at.mono.0), record.body)).collect()
}

/// An event of a job, as far as it is shown.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JobEvent {
    pub(crate) actor: JobActor,
    pub(crate) at: Stamp,
    #[serde(rename = "type")]
    pub(crate) kind: EventType,
    pub(crate) late: bool,
    pub(crate) payload: Value,
    pub(crate) seq: u64,
}

/// Who stated it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JobActor {
    pub(crate) id: String,
}

impl JobEvent {
    /// Reads one.
    pub(crate) fn read(value: Value) -> Result<Self> {
        serde_json::from_value(value).context("an event at the cloud")
    }

    /// The name of the checkpoint that it reports.
    pub(crate) fn checkpoint(&self) -> Option<&str> {
        if self.kind == EventType::CheckpointReached { self.payload["name"].as_str() } else { None }
    }

    /// What it says, in a few words.
    fn note(&self) -> Option<String> {
        let word = |key: &str| self.payload[key].as_str().map(str::to_owned);
        match self.kind {
            EventType::CheckpointReached => word("name"),
            EventType::ExecutionAborted | EventType::Cancelled => word("reason"),
            EventType::Heartbeat => word("stage"),
            EventType::SkillUsed => {
                let step = word("step")?;
                Some(format!("{} {} for {step}", word("skill")?, word("version")?))
            }
            EventType::ExecutionCompleted => {
                let count = self.payload["interventions"].as_u64()?;
                Some(format!("{count} interventions of the gate"))
            }
            _ => None,
        }
    }
}

/// The life of a job, its state folded here from the events with the one table.
pub(crate) fn moments(events: &[JobEvent], axis: &Axis) -> Vec<Moment> {
    let mut state = JobState::Created;
    events
        .iter()
        .map(|event| {
            if let (false, Ok(Step::To(next))) = (event.late, job::step(state, event.kind)) {
                state = next;
            }
            Moment {
                at: event.at.wall.to_string(),
                event: event.kind.name().to_owned(),
                late: event.late,
                note: event.note(),
                pose: serde_json::from_value::<Pose>(event.payload["pose"].clone()).ok(),
                signed_by: event.actor.id.clone(),
                state: state.name().to_owned(),
                t_s: axis.of_wall(event.at.wall),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::entry::Rule;
    use nooterra_protocol::time::{ClockTrust, MonoNanos};
    use serde_json::json;

    fn stamp(mono_s: u64) -> Stamp {
        let wall = WallMillis(1_000_000 + i64::try_from(mono_s).unwrap() * 1_000);
        Stamp { mono: MonoNanos(mono_s * 1_000_000_000), trust: ClockTrust::Network, wall }
    }

    fn axis() -> Axis {
        Axis::new(stamp(2).wall, stamp(5))
    }

    fn verdict(mono_s: u64, rule: &str, phase: &str, zone: Option<&str>) -> Record<Verdict> {
        let body = serde_json::from_value(json!({
            "allowed": {"type": "drive", "linear": 1.2, "angular": 0.0},
            "asked": {"type": "drive", "linear": 2.0, "angular": null},
            "command": null, "job": "job-1", "limit": 1.2, "phase": phase,
            "policy_hash": "00".repeat(32), "pose": {"x": 1.0, "y": 2.0, "yaw": 0.0},
            "rule": rule, "source": "skill", "tick": 5, "zone": zone
        }));
        Record { at: stamp(mono_s), body: body.unwrap(), seq: mono_s }
    }

    #[test]
    fn both_clocks_meet_on_one_axis() {
        assert!((axis().of_wall(stamp(5).wall) - 3.0).abs() < 1e-9);
        assert!((axis().of_mono(7_500_000_000) - 5.5).abs() < 1e-9);
        assert!((axis().of_mono(1_000_000_000) + 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_rule_that_holds_for_many_ticks_is_one_clamp() {
        let verdicts = [
            verdict(3, "speed.linear", "began", None),
            verdict(4, "zone.keep_out", "began", Some("pit")),
            verdict(5, "speed.linear", "holds", None),
            verdict(6, "speed.linear", "ended", None),
            verdict(9, "speed.linear", "began", None),
        ];
        let clamps = clamps(&verdicts, &axis());
        let shown: Vec<(Rule, Option<f64>)> = clamps.iter().map(|c| (c.rule, c.held_s)).collect();
        assert_eq!(
            shown,
            [(Rule::SpeedLinear, Some(3.0)), (Rule::ZoneKeepOut, None), (Rule::SpeedLinear, None)]
        );
        assert_eq!(clamps[0].seq, 3);
    }

    #[test]
    fn rules_that_take_turns_are_one_run_each_and_another_wish_is_another_run() {
        let mut verdicts = [
            verdict(3, "zone.keep_out", "began", Some("press")),
            verdict(4, "zone.keep_out", "ended", Some("press")),
            verdict(4, "zone.keep_out", "began", Some("press")),
            verdict(5, "zone.keep_out", "ended", Some("press")),
            verdict(5, "zone.keep_out", "began", Some("press")),
            verdict(6, "zone.keep_out", "ended", Some("press")),
        ];
        verdicts[2].body.allowed = nooterra_protocol::geometry::Twist::new(0.25, 0.0).into();
        verdicts[4].body.source = nooterra_protocol::command::Source::Operator;
        // The end of the first wish's run was not recorded: the second wish ends it.
        let without_an_end = [&verdicts[..3], &verdicts[4..]].concat();
        assert_eq!(clamps(&without_an_end, &axis())[0].held_s, Some(2.0));
        let clamps = clamps(&verdicts, &axis());
        let held: Vec<Option<f64>> = clamps.iter().map(|clamp| clamp.held_s).collect();
        assert_eq!(held, [Some(2.0), Some(1.0)]);
        assert!((clamps[0].least_allowed_mps - 0.25).abs() < 1e-9);
    }

    #[test]
    fn an_intervention_whose_beginning_was_lost_is_still_shown() {
        let verdicts = [
            verdict(3, "estop", "ended", None),
            verdict(4, "zone.keep_in", "holds", Some("hall")),
            verdict(6, "zone.keep_in", "ended", Some("hall")),
        ];
        let clamps = clamps(&verdicts, &axis());
        assert_eq!(clamps.len(), 1);
        assert_eq!(clamps[0].held_s, Some(2.0));
    }

    #[test]
    fn the_state_follows_the_table_and_a_late_event_does_not_move_it() {
        let event = |kind: &str, mono_s: u64, late: bool| {
            JobEvent::read(json!({
                "actor": {"type": "server", "id": "cloud"}, "type": kind, "late": late, "seq": 1,
                "at": {"mono": mono_s * 1_000_000_000, "trust": "network", "wall": 1_000_000 + mono_s * 1_000},
                "payload": {"name": "waypoint-1", "pose": {"x": 1.0, "y": 2.0, "yaw": 0.5}},
                "hash": "ignored"
            }))
            .unwrap()
        };
        let events = [
            event("JOB_CREATED", 2, false),
            event("QUOTE_PROPOSED", 3, false),
            event("CHECKPOINT_REACHED", 4, false),
            event("BOOKED", 5, true),
        ];
        let moments = moments(&events, &axis());
        let states: Vec<&str> = moments.iter().map(|moment| moment.state.as_str()).collect();
        assert_eq!(states, ["CREATED", "QUOTED", "QUOTED", "QUOTED"]);
        assert_eq!(moments[2].note.as_deref(), Some("waypoint-1"));
        assert!(moments[3].late && moments[3].note.is_none());
    }
}
