//! A roll-out: a version on its way from ring to ring. The state machine, without a store and
//! without a clock of its own.
//!
//! ```text
//!              gate passed, or by command
//!                 ┌──────────┐
//!                 ▼          │     the last ring's gate passed
//!   started ──► rolling ─────┴──────────────────────────────────► completed
//!                 │  ▲
//!    failures, or │  │ by command; the ring's count begins anew
//!      by command ▼  │
//!               paused
//!                 │    from either: more failures, by command, or the version was revoked
//!                 └──────────────────────────────────────────────► rolled_back
//! ```
//!
//! A ring's *epoch* begins when the ring opens, and again when a paused roll-out is resumed: the
//! gate counts what was heard of since. A pause keeps what the opened rings have; a roll-back
//! gives all of them the version of before.

use crate::access::Tenant;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::event::EventType;
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// The longest time that a gate may ask for, seconds: 90 days.
const MAX_SOAK_S: u32 = 90 * 86_400;

/// The most jobs or robots that a gate may count.
const MAX_COUNT: u32 = 1_000_000;

/// When a ring is good, and when it is bad.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Gate {
    /// Jobs that the ring's robots must have completed; 5 unless given.
    pub(crate) jobs: u32,
    /// This many failed jobs pause the roll-out; 1 unless given.
    pub(crate) pause_at: u32,
    /// Robots that must have completed one; 1 unless given.
    pub(crate) robots: u32,
    /// This many failed jobs roll it back; 3 unless given.
    pub(crate) roll_back_at: u32,
    /// Seconds that the ring must have been open; 3600 unless given.
    pub(crate) soak_s: u32,
}

impl Default for Gate {
    fn default() -> Self {
        Self { jobs: 5, pause_at: 1, robots: 1, roll_back_at: 3, soak_s: 3600 }
    }
}

impl Gate {
    /// What is wrong with it, if anything is.
    pub(crate) fn fault(&self) -> Option<String> {
        let Self { jobs, pause_at, robots, roll_back_at, soak_s } = *self;
        if !(1..=roll_back_at).contains(&pause_at) || roll_back_at > MAX_COUNT {
            return Some(format!(
                "1 <= pause_at <= roll_back_at <= {MAX_COUNT} does not hold: \
                 {pause_at}, {roll_back_at}"
            ));
        }
        if robots > jobs || jobs > MAX_COUNT {
            return Some(format!("robots <= jobs <= {MAX_COUNT} does not hold: {robots}, {jobs}"));
        }
        (soak_s > MAX_SOAK_S).then(|| format!("soak_s is {soak_s}, must be 0 to {MAX_SOAK_S}"))
    }
}

/// A ring of a roll-out, as it was when the roll-out began.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage {
    pub(crate) gate: Gate,
    pub(crate) ring: String,
}

/// Where a roll-out stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Completed,
    Paused,
    RolledBack,
    Rolling,
}

impl State {
    const ALL: [Self; 4] = [Self::Completed, Self::Paused, Self::RolledBack, Self::Rolling];

    /// As in the API and the store.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Paused => "paused",
            Self::RolledBack => "rolled_back",
            Self::Rolling => "rolling",
        }
    }

    /// Nothing changes it any more.
    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word of the store that is no state.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no state of a roll-out")]
pub(crate) struct NoState(String);

impl FromStr for State {
    type Err = NoState;
    fn from_str(text: &str) -> Result<Self, NoState> {
        let found = Self::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| NoState(text.to_owned()))
    }
}

/// What may be done to a roll-out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Opens the next ring; of the last one it completes the roll-out.
    Advance,
    Pause,
    Resume,
    RollBack,
}

/// A step that the state does not take.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the roll-out is {state}: it is not possible to {step}")]
pub(crate) struct Refused {
    pub(crate) state: State,
    pub(crate) step: &'static str,
}

/// What was heard from the robots in one epoch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Tally {
    /// Jobs that failed, of robots of any ring.
    pub(crate) failed: u32,
    /// Robots of the ring that completed one.
    pub(crate) robots: u32,
    /// Jobs that robots of the ring completed.
    pub(crate) succeeded: u32,
}

/// A roll-out as it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Rollout {
    /// What the fleet had before; nothing for the first.
    pub(crate) baseline: Option<Digest>,
    pub(crate) created_at: WallMillis,
    /// Grows with each ring that opens and each resumption.
    pub(crate) epoch: u32,
    pub(crate) id: String,
    /// When the epoch began.
    pub(crate) opened_at: WallMillis,
    /// Of the last change.
    pub(crate) reason: String,
    pub(crate) skill: SkillId,
    /// The last ring that is open, by its place in `stages`.
    pub(crate) stage: usize,
    pub(crate) stages: Vec<Stage>,
    pub(crate) state: State,
    pub(crate) target: Digest,
    /// Whose robots it is for.
    pub(crate) tenant: Tenant,
    pub(crate) updated_at: WallMillis,
}

impl Rollout {
    /// Whether the robots of `ring` have its version: never once it was rolled back.
    pub(crate) fn has_opened(&self, ring: &str) -> bool {
        self.state != State::RolledBack
            && self.stages.iter().take(self.stage + 1).any(|stage| stage.ring == ring)
    }

    /// The ring that is watched.
    pub(crate) fn watched(&self) -> Option<&Stage> {
        self.stages.get(self.stage)
    }

    /// What the reports of the epoch ask for, and why; nothing to wait on. A paused roll-out is
    /// rolled back where the failures ask for it, and otherwise stays.
    pub(crate) fn judge(&self, heard: &Tally, now: WallMillis) -> Option<(Step, String)> {
        let Stage { gate, ring } = self.watched()?;
        if self.state.is_over() {
            return None;
        }
        if heard.failed >= gate.roll_back_at {
            let bound = gate.roll_back_at;
            let why = format!(
                "{} jobs failed since ring `{ring}` opened, {bound} roll it back",
                heard.failed
            );
            return Some((Step::RollBack, why));
        }
        if self.state == State::Paused {
            return None;
        }
        if heard.failed >= gate.pause_at {
            let bound = gate.pause_at;
            let why = format!(
                "{} jobs failed since ring `{ring}` opened, {bound} pause it",
                heard.failed
            );
            return Some((Step::Pause, why));
        }
        let soaked = now.millis_since(self.opened_at) >= i64::from(gate.soak_s) * 1000;
        (soaked && heard.succeeded >= gate.jobs && heard.robots >= gate.robots).then(|| {
            let Tally { robots, succeeded, .. } = heard;
            let why = format!(
                "ring `{ring}` is good: {succeeded} jobs of {robots} robots completed, open for \
                 {} s",
                gate.soak_s
            );
            (Step::Advance, why)
        })
    }

    /// Takes a step, and says which fact it is.
    pub(crate) fn take(
        &mut self,
        step: Step,
        reason: &str,
        now: WallMillis,
    ) -> Result<EventType, Refused> {
        let refused = |step| Err(Refused { state: self.state, step });
        let event = match (step, self.state) {
            (Step::Advance, State::Rolling) if self.stage + 1 < self.stages.len() => {
                self.stage += 1;
                self.begin_epoch(now);
                EventType::RolloutAdvanced
            }
            (Step::Advance, State::Rolling) => {
                self.state = State::Completed;
                EventType::RolloutCompleted
            }
            (Step::Pause, State::Rolling) => {
                self.state = State::Paused;
                EventType::RolloutPaused
            }
            (Step::Resume, State::Paused) => {
                self.state = State::Rolling;
                self.begin_epoch(now);
                EventType::RolloutResumed
            }
            (Step::RollBack, State::Rolling | State::Paused) => {
                self.state = State::RolledBack;
                EventType::RolloutRolledBack
            }
            (Step::Advance, _) => return refused("advance it"),
            (Step::Pause, _) => return refused("pause it"),
            (Step::Resume, _) => return refused("resume it"),
            (Step::RollBack, _) => return refused("roll it back"),
        };
        reason.clone_into(&mut self.reason);
        self.updated_at = now;
        Ok(event)
    }

    fn begin_epoch(&mut self, now: WallMillis) {
        self.epoch += 1;
        self.opened_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const GATE: Gate = Gate { jobs: 2, pause_at: 1, robots: 2, roll_back_at: 3, soak_s: 60 };

    fn rollout() -> Rollout {
        let stage = |ring: &str| Stage { gate: GATE, ring: ring.to_owned() };
        Rollout {
            baseline: None,
            created_at: WallMillis(0),
            epoch: 0,
            id: "rollout_1".to_owned(),
            opened_at: WallMillis(0),
            reason: String::new(),
            skill: SkillId::new("patrol").unwrap(),
            stage: 0,
            stages: ["canary", "all"].map(stage).to_vec(),
            state: State::Rolling,
            target: Digest::of(b"b"),
            tenant: Tenant::default(),
            updated_at: WallMillis(0),
        }
    }

    fn judged(rollout: &Rollout, succeeded: u32, robots: u32, failed: u32, s: u64) -> Option<Step> {
        let now = WallMillis(0).plus(Duration::from_secs(s));
        rollout.judge(&Tally { failed, robots, succeeded }, now).map(|(step, _)| step)
    }

    #[test]
    fn a_ring_is_good_only_after_its_jobs_its_robots_and_its_time() {
        let rollout = rollout();
        assert_eq!(judged(&rollout, 2, 2, 0, 60), Some(Step::Advance));
        for (succeeded, robots, seconds) in [(1, 1, 60), (2, 1, 60), (2, 2, 59), (0, 0, 9999)] {
            assert_eq!(judged(&rollout, succeeded, robots, 0, seconds), None);
        }
        // A clock that went back makes nothing good.
        let back = WallMillis(-1_000_000);
        assert_eq!(rollout.judge(&Tally { failed: 0, robots: 9, succeeded: 9 }, back), None);
    }

    #[test]
    fn failures_pause_at_one_bound_and_roll_back_at_the_other_however_good_the_rest_is() {
        let mut rollout = rollout();
        assert_eq!(judged(&rollout, 100, 9, 1, 9999), Some(Step::Pause));
        assert_eq!(judged(&rollout, 100, 9, 3, 9999), Some(Step::RollBack));
        rollout.take(Step::Pause, "why", WallMillis(1)).unwrap();
        assert_eq!(judged(&rollout, 100, 9, 0, 9999), None);
        assert_eq!(judged(&rollout, 100, 9, 2, 9999), None);
        assert_eq!(judged(&rollout, 100, 9, 3, 9999), Some(Step::RollBack));
    }

    #[test]
    fn every_state_takes_its_steps_and_no_others() {
        let steps = [Step::Advance, Step::Pause, Step::Resume, Step::RollBack];
        for state in State::ALL {
            let allowed: &[Step] = match state {
                State::Rolling => &[Step::Advance, Step::Pause, Step::RollBack],
                State::Paused => &[Step::Resume, Step::RollBack],
                State::Completed | State::RolledBack => &[],
            };
            for step in steps {
                let mut rollout = Rollout { state, ..rollout() };
                let before = rollout.clone();
                let taken = rollout.take(step, "why", WallMillis(1));
                assert_eq!(taken.is_ok(), allowed.contains(&step), "{state} {step:?}");
                assert!(taken.is_ok() || rollout == before);
            }
            assert_eq!(state.name().parse::<State>().unwrap(), state);
        }
        assert!("Rolling".parse::<State>().is_err());
    }

    #[test]
    fn rings_open_one_by_one_and_none_is_open_after_a_roll_back() {
        let mut rollout = rollout();
        let open = |rollout: &Rollout| ["canary", "all"].map(|ring| rollout.has_opened(ring));
        assert_eq!(open(&rollout), [true, false]);
        let advanced = rollout.take(Step::Advance, "why", WallMillis(5));
        assert_eq!(advanced, Ok(EventType::RolloutAdvanced));
        assert_eq!((open(&rollout), rollout.epoch), ([true, true], 1));
        assert_eq!(rollout.opened_at, WallMillis(5));
        let completed = rollout.clone().take(Step::Advance, "why", WallMillis(6));
        assert_eq!(completed, Ok(EventType::RolloutCompleted));
        rollout.take(Step::RollBack, "why", WallMillis(6)).unwrap();
        assert_eq!(open(&rollout), [false, false]);
        assert!(!rollout.has_opened("elsewhere"));
    }

    #[test]
    fn a_gate_that_can_never_pass_or_never_fail_is_refused() {
        assert_eq!(Gate::default().fault(), None);
        for bad in [
            Gate { pause_at: 0, ..GATE },
            Gate { pause_at: 4, ..GATE },
            Gate { robots: 3, ..GATE },
            Gate { roll_back_at: u32::MAX, ..GATE },
            Gate { soak_s: u32::MAX, ..GATE },
        ] {
            assert!(bad.fault().is_some(), "{bad:?}");
        }
    }
}
