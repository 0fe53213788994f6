//! The checks that the invariants of jobs rest on, each with a name, so that a test can leave
//! one out and see that somebody notices.
//!
//! Outside tests there is nothing to switch: [`Guard::on`] is the constant `true`, and no guard
//! can be left out by configuration, by a request or at run time. In the tests of this crate one
//! guard may be off on one thread, for as long as `Off` lives; the test of the model
//! (`crate::model`) leaves out each in turn.

/// A check that something rests on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Guard {
    /// A key or a robot that was revoked is not let in.
    Admission,
    /// An approval ends with its time.
    ApprovalEnds,
    /// An approval is of the plan that the job has, and of no other.
    ApprovalOfPlan,
    /// An approval does not pass to another robot.
    ApprovalOfRobot,
    /// The start of a job whose approval ended is withdrawn.
    ApprovalWithdraws,
    /// A job that lacks an approval is not sent.
    ApprovedDispatch,
    /// A robot that may have a job is told that it was cancelled.
    CancelReachesRobot,
    /// Each place names the hash of the one before.
    Chain,
    /// A job whose access is over is not sent.
    DispatchInWindow,
    /// A stall calls a person once.
    EscalateOnce,
    /// A heartbeat changes nothing of a job that is over.
    HeartbeatAfterEnd,
    /// A heartbeat's progress is a share.
    HeartbeatRange,
    /// What the state does not take is marked late.
    LateMark,
    /// Only a heartbeat that was stated after all others ends a silence.
    LaterBeat,
    /// An event has one place, however often it comes.
    OnePlace,
    /// A robot speaks in its own name only.
    OwnName,
    /// A robot moves its own jobs only.
    OwnJob,
    /// No heartbeat ends what a person holds.
    PauseHolds,
    /// A quarantined robot is called back from what it has begun.
    QuarantineRecalls,
    /// Only the refusal of the start that a job waits for moves the job.
    RefusalOfThisStart,
    /// A start that was scheduled anew is withdrawn, and its robot called back.
    RescheduleWithdraws,
    /// Only what somebody holds is asked to go on.
    ResumeOfPaused,
    /// Access that was not given as revocable is not revoked.
    Revocable,
    /// A revoked robot comes back by another key only.
    RevokedForGood,
    /// What a fact makes of a job is shown.
    Shown,
    /// A fact is signed by a key of its robot. The check is not ours to leave out: without it,
    /// every robot's key is good for each.
    #[cfg(test)]
    Signature,
    /// Event types have signers; a fact's parts agree with each other.
    SignerPolicy,
    /// A plan names skills that are published.
    SkillsPublished,
    /// Only silence for as long as it is said is a stall.
    StallAfterSilence,
    /// What a robot's standing bars is not signed.
    Standing,
    /// The server states what the table of transitions takes.
    Table,
    /// What a robot may no longer be told is withdrawn.
    Withdrawal,
}

impl Guard {
    /// It is not left out.
    #[cfg(not(test))]
    pub(crate) const fn on(self) -> bool {
        true
    }
}

#[cfg(test)]
pub(crate) use switch::Off;

#[cfg(test)]
mod switch {
    use super::Guard;
    use std::cell::Cell;

    thread_local! {
        static OFF: Cell<Option<Guard>> = const { Cell::new(None) };
    }

    impl Guard {
        /// Every guard.
        pub(crate) const ALL: &'static [Self] = &[
            Self::Admission,
            Self::ApprovalEnds,
            Self::ApprovalOfPlan,
            Self::ApprovalOfRobot,
            Self::ApprovalWithdraws,
            Self::ApprovedDispatch,
            Self::CancelReachesRobot,
            Self::Chain,
            Self::DispatchInWindow,
            Self::EscalateOnce,
            Self::HeartbeatAfterEnd,
            Self::HeartbeatRange,
            Self::LateMark,
            Self::LaterBeat,
            Self::OnePlace,
            Self::OwnName,
            Self::OwnJob,
            Self::PauseHolds,
            Self::QuarantineRecalls,
            Self::RefusalOfThisStart,
            Self::RescheduleWithdraws,
            Self::ResumeOfPaused,
            Self::Revocable,
            Self::RevokedForGood,
            Self::Shown,
            Self::Signature,
            Self::SignerPolicy,
            Self::SkillsPublished,
            Self::StallAfterSilence,
            Self::Standing,
            Self::Table,
            Self::Withdrawal,
        ];

        /// It is not left out on this thread.
        pub(crate) fn on(self) -> bool {
            OFF.get() != Some(self)
        }
    }

    /// A guard that is left out on this thread until this is dropped.
    #[derive(Debug)]
    pub(crate) struct Off(());

    impl Off {
        pub(crate) fn new(guard: Guard) -> Self {
            OFF.set(Some(guard));
            Self(())
        }
    }

    impl Drop for Off {
        fn drop(&mut self) {
            OFF.set(None);
        }
    }
}
