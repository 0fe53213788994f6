//! Incidents: what happened on this robot that somebody will ask about.
//!
//! | cause | when |
//! |---|---|
//! | `skill_crash` | a skill crashed, or was ended because it used up a limit |
//! | `job_aborted` | the robot gave up a job, for any other reason than that somebody cancelled it |
//! | `marked` | a person who may (`mark_incident`, by the owner's rules) said so |
//!
//! Each is a critical record, and pulls the flight recorder's trigger `incident`: what was seen
//! before it and after it is kept, where that trigger is configured. The gate's own stops have
//! triggers of their own.
//!
//! # What it never does
//! It moves and stops nothing: a robot goes on as if nobody had marked anything.

use nooterra_blackbox::JournalHandle;
use nooterra_blackbox::flight::FlightTriggers;
use nooterra_protocol::entry::{Entry, Incident, IncidentCause};
use nooterra_protocol::flight::Trigger;
use nooterra_protocol::ids::{EnvelopeId, JobId, StepId};
use nooterra_protocol::time::MonoNanos;
use tracing::{error, warn};

/// Where incidents are reported.
#[derive(Clone, Debug)]
pub struct Incidents {
    flight: Option<FlightTriggers>,
    journal: JournalHandle,
}

impl Incidents {
    /// Reported to a journal, and to a flight recorder where there is one.
    #[must_use]
    pub const fn new(journal: JournalHandle, flight: Option<FlightTriggers>) -> Self {
        Self { flight, journal }
    }

    /// Keeps what was seen around `at`, and says why. Blocks until the record is on the disk;
    /// where it cannot be, the ticks are kept all the same.
    pub fn report(
        &self,
        at: MonoNanos,
        cause: IncidentCause,
        (job, step): (Option<JobId>, Option<StepId>),
        command: Option<&EnvelopeId>,
    ) {
        warn!(cause = cause.name(), job = job.as_ref().map(JobId::as_str), "an incident");
        if let Some(flight) = &self.flight {
            if cause == IncidentCause::SkillCrash {
                flight.pull(Trigger::SkillCrash, at);
            }
            flight.pull(Trigger::Incident, at);
        }
        let incident = Incident { cause, command: command.cloned(), job, step };
        if let Err(error) = self.journal.append_durable(Entry::Incident(incident)) {
            error!(%error, cause = cause.name(), "an incident is not in the journal");
        }
    }
}
