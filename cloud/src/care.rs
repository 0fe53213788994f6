//! What a job's stream says beside its state: when its robot was last heard of, whether it stands
//! still and why, and the access plan. A part of the fold: a function of facts and of when they
//! came.

use crate::guard::Guard;
use nooterra_protocol::access::AccessPlan;
use nooterra_protocol::approval::{ApprovalEnded, ApprovalGranted};
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::event::{ActorKind, EventType, Fact};
use nooterra_protocol::ids::{ActorId, EventId, JournalId};
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
    /// Who approved it with its plan, oldest first; those that ended too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) approvals: Vec<Approval>,
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

/// That somebody lets a job be carried out.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    pub(crate) at: WallMillis,
    pub(crate) by: ActorId,
    /// None while it holds.
    pub(crate) ended: Option<Ended>,
    pub(crate) plan: Digest,
    pub(crate) until: Option<WallMillis>,
}

/// How an approval ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ended {
    pub(crate) at: WallMillis,
    /// None where its time was over.
    pub(crate) by: Option<ActorId>,
    pub(crate) reason: String,
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
            EventType::ApprovalExpired | EventType::ApprovalRevoked => {
                let by = matches!(fact.actor.kind, ActorKind::Requester);
                let said = codec::from_value::<ApprovalEnded>(fact.payload.clone());
                let reason = said.map_or_else(|_| String::new(), |said| said.reason);
                self.end_approvals(&Ended { at, by: by.then(|| fact.actor.id.clone()), reason });
            }
            EventType::ApprovalGranted => {
                if let Ok(granted) = codec::from_value::<ApprovalGranted>(fact.payload.clone()) {
                    self.approve(&fact.actor.id, granted, at);
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

    /// Whoever approves again says so anew.
    fn approve(&mut self, by: &ActorId, granted: ApprovalGranted, at: WallMillis) {
        let renewed = Ended { at, by: Some(by.clone()), reason: "granted anew".to_owned() };
        for own in self.approvals.iter_mut().filter(|it| it.by == *by && it.ended.is_none()) {
            own.ended = Some(renewed.clone());
        }
        let ApprovalGranted { plan, until } = granted;
        self.approvals.push(Approval { at, by: by.clone(), ended: None, plan, until });
    }

    /// The end of one is the end of all: nobody goes on where one of them says no.
    pub(crate) fn end_approvals(&mut self, end: &Ended) {
        for approval in self.approvals.iter_mut().filter(|it| it.ended.is_none()) {
            approval.ended = Some(end.clone());
        }
    }

    /// The approvals that hold.
    pub(crate) fn approved(&self) -> impl Iterator<Item = &Approval> {
        self.approvals.iter().filter(|it| it.ended.is_none())
    }

    /// It may not be carried out before somebody approves it: its access plan says so, or an
    /// approval that it had ended.
    pub(crate) fn lacks_approval(&self) -> bool {
        let needed =
            !self.approvals.is_empty() || self.access.as_ref().is_some_and(|it| it.needs_review);
        needed && self.approved().next().is_none()
    }

    /// When the first of the approvals that hold ends.
    pub(crate) fn approved_until(&self) -> Option<WallMillis> {
        self.approved().filter_map(|it| it.until).min()
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
        self.access.as_ref().filter(|_| is_open(state)).map(|plan| plan.valid_to)
    }

    /// When the right of a job in `state` to go on will be over: its access or an approval.
    pub(crate) fn right_until(&self, state: JobState) -> Option<WallMillis> {
        let approved = self.approved_until().filter(|_| is_open(state));
        self.access_until(state).into_iter().chain(approved).min()
    }
}

/// There is still something to end.
const fn is_open(state: JobState) -> bool {
    !state.is_over() && !matches!(state, JobState::AbortingSafeExit)
}
