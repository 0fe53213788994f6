//! The life of a job: one transition table, used by the cloud to fold and by the robot to know
//! what it may report.

use crate::event::{ActorKind, EventType};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a job stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)] // The names are the vocabulary; the table below is their meaning.
pub enum JobState {
    Created,
    Quoted,
    Booked,
    Matched,
    Reserved,
    EnRoute,
    AccessGranted,
    Executing,
    Assisted,
    Stalled,
    AbortingSafeExit,
    Completed,
    Aborted,
    Settled,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 14] = [
        Self::Created,
        Self::Quoted,
        Self::Booked,
        Self::Matched,
        Self::Reserved,
        Self::EnRoute,
        Self::AccessGranted,
        Self::Executing,
        Self::Assisted,
        Self::Stalled,
        Self::AbortingSafeExit,
        Self::Completed,
        Self::Aborted,
        Self::Settled,
    ];

    /// The robot has nothing more to do for this job.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Aborted | Self::Settled)
    }

    /// As on the wire: `EN_ROUTE`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Quoted => "QUOTED",
            Self::Booked => "BOOKED",
            Self::Matched => "MATCHED",
            Self::Reserved => "RESERVED",
            Self::EnRoute => "EN_ROUTE",
            Self::AccessGranted => "ACCESS_GRANTED",
            Self::Executing => "EXECUTING",
            Self::Assisted => "ASSISTED",
            Self::Stalled => "STALLED",
            Self::AbortingSafeExit => "ABORTING_SAFE_EXIT",
            Self::Completed => "COMPLETED",
            Self::Aborted => "ABORTED",
            Self::Settled => "SETTLED",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

use EventType as E;
use JobState as S;

/// Every transition that there is: event, the states that take it, the state that follows.
/// A pair that is not listed is refused at append.
pub const TRANSITIONS: &[(EventType, &[JobState], JobState)] = &[
    (E::QuoteProposed, &[S::Created], S::Quoted),
    (E::Booked, &[S::Quoted], S::Booked),
    (E::Matched, &[S::Booked], S::Matched),
    (E::Reserved, &[S::Matched], S::Reserved),
    (E::EnRoute, &[S::Reserved], S::EnRoute),
    (E::AccessGranted, &[S::EnRoute], S::AccessGranted),
    (E::ExecutionStarted, &[S::AccessGranted], S::Executing),
    (E::AssistStarted, &[S::Executing], S::Assisted),
    (E::AssistEnded, &[S::Assisted], S::Executing),
    (E::ExecutionStalled, &[S::Executing, S::Assisted], S::Stalled),
    (E::ExecutionResumed, &[S::Stalled], S::Executing),
    (E::ExecutionCompleted, &[S::Executing, S::Assisted, S::Stalled], S::Completed),
    (
        E::ExecutionAborted,
        &[S::Executing, S::Assisted, S::Stalled, S::AbortingSafeExit],
        S::Aborted,
    ),
    (E::Rescheduled, &[S::Booked, S::Matched, S::Reserved], S::Booked),
    (E::Cancelled, BEFORE_EN_ROUTE, S::Aborted),
    (E::Cancelled, UNDER_WAY, S::AbortingSafeExit),
    (E::AccessRevoked, BEFORE_EN_ROUTE, S::Aborted),
    (E::AccessRevoked, UNDER_WAY, S::AbortingSafeExit),
    (E::AccessExpired, BEFORE_EN_ROUTE, S::Aborted),
    (E::AccessExpired, UNDER_WAY, S::AbortingSafeExit),
    // An approval that ends takes the right to go on, not the job: one that nobody has begun waits
    // where it was, and is sent no more.
    (E::ApprovalRevoked, &[S::Created], S::Created),
    (E::ApprovalRevoked, &[S::Quoted], S::Quoted),
    (E::ApprovalRevoked, &[S::Booked, S::Matched, S::Reserved], S::Booked),
    (E::ApprovalRevoked, UNDER_WAY, S::AbortingSafeExit),
    (E::ApprovalExpired, &[S::Created], S::Created),
    (E::ApprovalExpired, &[S::Quoted], S::Quoted),
    (E::ApprovalExpired, &[S::Booked, S::Matched, S::Reserved], S::Booked),
    (E::ApprovalExpired, UNDER_WAY, S::AbortingSafeExit),
    (E::Settled, &[S::Completed, S::Aborted], S::Settled),
];

const BEFORE_EN_ROUTE: &[JobState] = &[S::Created, S::Quoted, S::Booked, S::Matched, S::Reserved];
const UNDER_WAY: &[JobState] =
    &[S::EnRoute, S::AccessGranted, S::Executing, S::Assisted, S::Stalled];

/// What an event does to a job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The job moves on.
    To(JobState),
    /// The event runs beside the state: a heartbeat, a checkpoint, an incident.
    Beside,
}

/// An event that the state does not take.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{event} is not possible in state {state}")]
pub struct NotPossible {
    /// The event.
    pub event: EventType,
    /// The state it met.
    pub state: JobState,
}

/// What `event` does to a job in `state`.
///
/// # Errors
/// [`NotPossible`] when the table does not list the pair.
pub fn step(state: JobState, event: EventType) -> Result<Step, NotPossible> {
    let mut moves_the_job = false;
    for (listed, from, to) in TRANSITIONS {
        if *listed == event {
            moves_the_job = true;
            if from.contains(&state) {
                return Ok(Step::To(*to));
            }
        }
    }
    if moves_the_job { Err(NotPossible { event, state }) } else { Ok(Step::Beside) }
}

/// Whose signature an event needs.
#[must_use]
pub const fn signers(event: EventType) -> &'static [ActorKind] {
    use ActorKind::{Operator, Requester, Robot, Server};
    match event {
        E::EnRoute
        | E::ExecutionStarted
        | E::ExecutionCompleted
        | E::CheckpointReached
        | E::Heartbeat
        | E::IncidentDetected
        | E::AssistRequested
        | E::EnteredSpace
        | E::LeftSpace => &[Robot],
        E::AssistStarted | E::AssistEnded | E::AssistAccepted | E::AssistDeclined => &[Operator],
        E::AccessGranted | E::AccessDenied | E::SkillUsed => &[Robot, Operator],
        E::IncidentReported | E::ClaimTriaged => &[Server, Operator],
        E::EvidenceCaptured | E::ExecutionAborted | E::ExecutionResumed => &[Server, Robot],
        E::ApprovalGranted | E::ApprovalRevoked | E::ComplaintFiled => &[Requester],
        _ => &[Server],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The happy path of the vocabulary, event by event.
    #[test]
    fn a_job_goes_from_created_to_settled() {
        let path = [
            E::QuoteProposed,
            E::Booked,
            E::Matched,
            E::Reserved,
            E::EnRoute,
            E::AccessGranted,
            E::ExecutionStarted,
            E::CheckpointReached,
            E::ExecutionCompleted,
            E::Settled,
        ];
        let mut state = S::Created;
        for event in path {
            if let Step::To(next) = step(state, event).unwrap() {
                state = next;
            }
        }
        assert_eq!(state, S::Settled);
    }

    #[test]
    fn no_event_leads_to_two_states_from_the_same_state() {
        for (i, (event, from, _)) in TRANSITIONS.iter().enumerate() {
            for (other, also_from, _) in &TRANSITIONS[i + 1..] {
                let shared = from.iter().any(|state| also_from.contains(state));
                assert!(event != other || !shared, "{event} is listed twice");
            }
        }
    }

    #[test]
    fn nothing_leaves_a_settled_job_and_only_settlement_leaves_a_finished_one() {
        for (event, from, _) in TRANSITIONS {
            assert!(!from.contains(&S::Settled), "{event} leaves SETTLED");
            let leaves_a_finished_job = from.contains(&S::Completed) || from.contains(&S::Aborted);
            assert!(!leaves_a_finished_job || *event == E::Settled, "{event}");
        }
    }

    #[test]
    fn revoking_access_under_way_ends_in_a_safe_exit_and_completion_is_then_refused() {
        assert_eq!(step(S::Executing, E::AccessRevoked), Ok(Step::To(S::AbortingSafeExit)));
        assert_eq!(
            step(S::AbortingSafeExit, E::ExecutionCompleted),
            Err(NotPossible { event: E::ExecutionCompleted, state: S::AbortingSafeExit })
        );
    }

    #[test]
    fn the_end_of_an_approval_stops_what_is_under_way_and_keeps_what_has_not_begun() {
        for event in [E::ApprovalRevoked, E::ApprovalExpired] {
            for state in UNDER_WAY {
                assert_eq!(step(*state, event), Ok(Step::To(S::AbortingSafeExit)));
            }
            for state in [S::Created, S::Quoted, S::Booked] {
                assert_eq!(step(state, event), Ok(Step::To(state)));
            }
            assert_eq!(step(S::Reserved, event), Ok(Step::To(S::Booked)));
            for state in [S::AbortingSafeExit, S::Completed, S::Aborted, S::Settled] {
                assert_eq!(step(state, event), Err(NotPossible { event, state }));
            }
        }
    }

    #[test]
    fn every_state_is_reached() {
        for state in S::ALL {
            let reached = TRANSITIONS.iter().any(|(_, _, to)| *to == state);
            assert!(reached || state == S::Created, "{state} is unreachable");
        }
    }
}
