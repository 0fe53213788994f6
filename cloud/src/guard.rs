//! The checks that the invariants of jobs rest on, each with a name, so that a test can leave
//! one out and see that somebody notices.
//!
//! Outside tests there is nothing to switch: [`Guard::on`] is the constant `true`, and no guard
//! can be left out by configuration, by a request or at run time. In the tests of this crate one
//! guard may be off on one thread, for as long as [`Off`] lives; the test of the model
//! (`crate::model`) leaves out each in turn.

/// A check that something rests on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Guard {
    /// A key or a robot that was revoked is not let in.
    Admission,
    /// A robot that may have a job is told that it was cancelled.
    CancelReachesRobot,
    /// Each place names the hash of the one before.
    Chain,
    /// A heartbeat changes nothing of a job that is over.
    HeartbeatAfterEnd,
    /// A heartbeat's progress is a share.
    HeartbeatRange,
    /// What the state does not take is marked late.
    LateMark,
    /// An event has one place, however often it comes.
    OnePlace,
    /// A robot speaks in its own name only.
    OwnName,
    /// A robot moves its own jobs only.
    OwnJob,
    /// A quarantined robot is called back from what it has begun.
    QuarantineRecalls,
    /// Only the refusal of the start that a job waits for moves the job.
    RefusalOfThisStart,
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
            Self::CancelReachesRobot,
            Self::Chain,
            Self::HeartbeatAfterEnd,
            Self::HeartbeatRange,
            Self::LateMark,
            Self::OnePlace,
            Self::OwnName,
            Self::OwnJob,
            Self::QuarantineRecalls,
            Self::RefusalOfThisStart,
            Self::RevokedForGood,
            Self::Shown,
            Self::Signature,
            Self::SignerPolicy,
            Self::SkillsPublished,
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
