//! What a job's stream says beside its state: when its robot was last heard of, whether it stands
//! still and why, and the access plan. A part of the fold: a function of facts and of when they
//! came.

use crate::guard::Guard;
use nooterra_protocol::access::AccessPlan;
use nooterra_protocol::codec;
use nooterra_protocol::event::{ActorKind, EventType, Fact};
use nooterra_protocol::ids::{EventId, JournalId};
use nooterra_protocol::job::JobState;
use nooterra_protocol::oversight::{IncidentReported, StallCause, Stalled};
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};

/// It is kept as one JSON text beside the job.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Care {
    /// The plan in force; none before one is issued, or after dispatch started over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access: Option<AccessPlan>,
    /// The newest heartbeat: its journal and its actor's count.
    #[serde(skip_serializing_if = "Option::is_none")]
    beat: Option<(JournalId, u64)>,
    /// When a fact of the robot last came in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) heard_at: Option<WallMillis>,
    /// While the job stands still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stall: Option<Stall>,
}

/// A job that stands still.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stall {
    pub(crate) cause: StallCause,
    /// When a person was called.
    pub(crate) escalated_at: Option<WallMillis>,
    pub(crate) reason: Option<String>,
    pub(crate) since: WallMillis,
}

impl Care {
    /// A fact came in time, and left the job in `state`.
    pub(crate) fn note(&mut self, state: JobState, fact: &Fact, at: WallMillis) {
        if fact.actor.kind == ActorKind::Robot && !state.is_over() {
            self.heard_at = Some(at);
        }
        // What a later release wrote into a payload may be more than this one reads.
        match fact.kind {
            EventType::AccessPlanIssued => {
                if let Ok(plan) = codec::from_value(fact.payload.clone()) {
                    self.access = Some(plan);
                }
            }
            EventType::ExecutionStalled => {
                let said = codec::from_value::<Stalled>(fact.payload.clone()).ok();
                let (cause, reason) = said.map_or((StallCause::Silence, None), |said| {
                    let Stalled { cause, reason, .. } = said;
                    (cause, reason)
                });
                self.stall = Some(Stall { cause, escalated_at: None, reason, since: at });
            }
            EventType::Heartbeat if self.is_newer(fact) => {
                self.beat = Some((fact.journal.clone(), fact.actor_seq));
            }
            EventType::IncidentReported => {
                let said = codec::from_value::<IncidentReported>(fact.payload.clone());
                if let (Some(stall), true) =
                    (&mut self.stall, said.is_ok_and(|said| said.escalates))
                {
                    stall.escalated_at = Some(at);
                }
            }
            EventType::Rescheduled => self.access = None,
            _ => {}
        }
        if state != JobState::Stalled {
            self.stall = None;
        }
    }

    /// A heartbeat that was stated after every one that came so far.
    fn is_newer(&self, fact: &Fact) -> bool {
        self.beat.as_ref().is_none_or(|(journal, count)| {
            *journal != fact.journal || *count < fact.actor_seq || !Guard::LaterBeat.on()
        })
    }

    /// The heartbeat that ends a silence, if `fact` is one that meets a job in `state`.
    pub(crate) fn ends_silence(&self, state: JobState, fact: &Fact) -> Option<EventId> {
        let silent = self
            .stall
            .as_ref()
            .is_some_and(|stall| stall.cause == StallCause::Silence || !Guard::PauseHolds.on());
        let ends = state == JobState::Stalled
            && silent
            && fact.kind == EventType::Heartbeat
            && self.is_newer(fact);
        ends.then(|| fact.id.clone())
    }

    /// When the access of a job in `state` will be over.
    pub(crate) fn access_until(&self, state: JobState) -> Option<WallMillis> {
        let counts = !state.is_over() && state != JobState::AbortingSafeExit;
        self.access.as_ref().filter(|_| counts).map(|plan| plan.valid_to)
    }
}
