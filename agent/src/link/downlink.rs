//! What arrives for this robot: each message is verified, judged, journalled, and only then
//! acted on.

use crate::authority::{Authority, Denied};
use crate::clock::{SystemClock, mono};
use crate::control::{Desk, Goal, Lease};
use crate::incident::Incidents;
use crate::jobs::Jobs;
use nooterra_blackbox::{AppendError, JournalHandle, StateError};
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::entry::{CommandReceived, CommandRefused, Entry, IncidentCause};
use nooterra_protocol::envelope::{Refusal, Signed, SignedError};
use nooterra_protocol::ids::{EnvelopeId, ModeId, RobotId};
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::plan::PlanError;
use nooterra_protocol::time::WallMillis;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::{error, info, warn};

/// Commands that are remembered against replay, at most, while they have not expired. One
/// takes about 50 bytes of the journal's state.
const MAX_REMEMBERED: usize = 256;

/// The longest words about a job's privacy.
const MAX_PRIVACY_BYTES: usize = 128;

/// Where the memory against replay is kept in the journal's state.
const REPLAY_KEY: &str = "downlink.seen";

/// Why a message is not acted on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Whoever asks may not ask this now.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Another job is under way, or the job is unknown.
    #[error("{0}")]
    Job(String),
    /// A lease of no time, or a longer one than this robot grants.
    #[error("a lease of {asked} ms is outside 1 to {most} ms")]
    Lease {
        /// Asked for.
        asked: u32,
        /// `link.max_lease_ms`.
        most: u32,
    },
    /// The policy has no such mode.
    #[error("the policy has no mode `{asked}`; it has {}", if known.is_empty() { "none" } else { known.as_str() })]
    NoMode {
        /// What was asked for.
        asked: ModeId,
        /// Those that it has.
        known: String,
    },
    /// A number that is no number.
    #[error("`{0}` is not a finite number")]
    NotFinite(&'static str),
    /// Genuine, but void or for another robot.
    #[error(transparent)]
    Envelope(#[from] Refusal),
    /// The plan makes no sense.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It was acted on before.
    #[error("it was received before; a command counts once")]
    Replayed,
    /// Not genuine.
    #[error(transparent)]
    Signature(#[from] SignedError),
    /// Larger than a record of the journal.
    #[error("it is too large to be recorded: {0}")]
    TooLarge(String),
    /// An access that ends before it begins.
    #[error("the access ends before it begins; send `to` after `from`")]
    Window,
    /// More words about privacy than are remembered.
    #[error("`privacy` has {0} bytes, at most {MAX_PRIVACY_BYTES} are remembered; shorten it")]
    Privacy(usize),
    /// More unexpired commands than are remembered.
    #[error("{MAX_REMEMBERED} commands are still unexpired; send shorter validities")]
    TooMany,
}

/// What became of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Taken {
    /// Journalled and acted on.
    Accepted(EnvelopeId),
    /// Not acted on because it could not be journalled.
    NotRecorded,
    /// Refused, with the reason that is in the journal.
    Refused(String),
}

/// What the door works with.
#[derive(Debug)]
pub struct DownlinkParts {
    /// Who may ask for what.
    pub authority: Arc<Authority>,
    /// Time.
    pub clock: Arc<SystemClock>,
    /// Whose signature is believed.
    pub command_key: VerifyingKey,
    /// Takes operators' wishes.
    pub desk: Arc<Desk>,
    /// Takes what somebody will ask about.
    pub incidents: Incidents,
    /// Takes jobs.
    pub jobs: Jobs,
    /// Keeps what was received.
    pub journal: JournalHandle,
    /// `link.max_lease_ms`.
    pub max_lease_ms: u32,
    /// Whose door it is.
    pub robot: RobotId,
}

/// The door for commands.
pub struct Downlink {
    parts: DownlinkParts,
    seen: Mutex<Vec<(EnvelopeId, WallMillis)>>,
}

impl std::fmt::Debug for Downlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Downlink").field("robot", &self.parts.robot).finish_non_exhaustive()
    }
}

impl Downlink {
    /// A door. What was received before a restart is still known.
    #[must_use]
    pub fn new(parts: DownlinkParts) -> Self {
        let stored = parts.journal.get_state(REPLAY_KEY).ok().flatten();
        let seen = stored.and_then(|bytes| codec::from_slice(&bytes).ok()).unwrap_or_default();
        Self { parts, seen: Mutex::new(seen) }
    }

    /// Takes one message, whoever carried it. Blocks until its record is on the disk.
    pub fn take(&self, bytes: &[u8]) -> Taken {
        let key_id = self.parts.command_key.key_id();
        let verified: Result<Signed<RemoteCommand>, SignedError> =
            Signed::verify(bytes, |id| (id == key_id).then_some(&self.parts.command_key));
        let signed = match verified {
            Ok(signed) => signed,
            Err(error) => return self.refuse(bytes, None, &error.into()),
        };
        let command = signed.body();
        if let Err(refused) = self.judge(command) {
            return self.refuse(bytes, Some(command.id.clone()), &refused);
        }
        match self.accept(&signed) {
            Ok(()) => {}
            Err(StateError::Append(error @ AppendError::TooLarge(_))) => {
                let refused = Refused::TooLarge(error.to_string());
                return self.refuse(bytes, Some(command.id.clone()), &refused);
            }
            Err(error) => {
                error!(%error, id = %command.id, "a command is not acted on: it cannot be recorded");
                // Neither a stop nor a veto needs a record to be right.
                match command.body {
                    Ask::EmergencyStop { .. } => self.parts.desk.press_emergency_stop(),
                    Ask::Veto { .. } => {
                        self.parts.authority.asked(&command.issuer, &command.body);
                        self.parts.desk.end_operator();
                    }
                    _ => {}
                }
                return Taken::NotRecorded;
            }
        }
        info!(id = %command.id, ask = command.body.name(), "command accepted");
        if self.parts.authority.asked(&command.issuer, &command.body) {
            self.parts.desk.end_operator();
        }
        self.act(command);
        Taken::Accepted(command.id.clone())
    }

    fn judge(&self, command: &RemoteCommand) -> Result<(), Refused> {
        let now = self.parts.clock.judged_wall();
        let is_stop = matches!(command.body, Ask::EmergencyStop { .. });
        match command.check(&self.parts.robot, now) {
            // Stop beats everything that only a clock says: a genuine stop for this robot
            // counts late or early.
            Err(Refusal::Expired(_) | Refusal::FromTheFuture(_)) if is_stop => {}
            other => other?,
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|(id, _)| *id == command.id) {
            return Err(Refused::Replayed);
        }
        let unexpired = seen.iter().filter(|(_, expires)| *expires > now).count();
        if unexpired >= MAX_REMEMBERED && !is_stop {
            return Err(Refused::TooMany);
        }
        drop(seen);
        self.judge_ask(&command.body)?;
        Ok(self.parts.authority.judge_ask(&command.issuer, &command.body)?)
    }

    fn judge_ask(&self, ask: &Ask) -> Result<(), Refused> {
        let lease = |asked: u32| {
            let most = self.parts.max_lease_ms;
            if (1..=most).contains(&asked) { Ok(()) } else { Err(Refused::Lease { asked, most }) }
        };
        match ask {
            Ask::Disconnect { .. }
            | Ask::EmergencyStop { .. }
            | Ask::LiftVeto
            | Ask::MarkIncident { .. }
            | Ask::Reconnect
            | Ask::ReleaseStop
            | Ask::ReviewJob { .. }
            | Ask::SetMode { .. }
            | Ask::Veto { .. } => Ok(()),
            Ask::SetLimits { mode } => {
                let known = self.parts.desk.modes();
                match mode.as_ref().filter(|mode| !known.contains(mode)) {
                    None => Ok(()),
                    Some(mode) => {
                        let known: Vec<&str> = known.iter().map(ModeId::as_str).collect();
                        let (asked, known) = (mode.clone(), known.join(", "));
                        Err(Refused::NoMode { asked, known })
                    }
                }
            }
            Ask::PlanAccess { from: Some(from), to: Some(to), .. } if from >= to => {
                Err(Refused::Window)
            }
            Ask::PlanAccess { privacy: Some(words), .. } if words.len() > MAX_PRIVACY_BYTES => {
                Err(Refused::Privacy(words.len()))
            }
            Ask::PlanAccess { .. } => Ok(()),
            Ask::Drive { lease_ms, twist } => {
                lease(*lease_ms)?;
                if twist.is_finite() { Ok(()) } else { Err(Refused::NotFinite("twist")) }
            }
            Ask::DriveTo { lease_ms, speed_mps, to } => {
                lease(*lease_ms)?;
                if !speed_mps.is_finite() {
                    return Err(Refused::NotFinite("speed_mps"));
                }
                if to.is_finite() { Ok(()) } else { Err(Refused::NotFinite("to")) }
            }
            Ask::CancelJob { job, .. } | Ask::PauseJob { job, .. } => {
                self.parts.jobs.can_cancel(job).map_err(Refused::Job)
            }
            Ask::ResumeJob { job } => self.parts.jobs.can_resume(job).map_err(Refused::Job),
            Ask::StartJob { job, plan } => {
                plan.check()?;
                self.parts.jobs.can_start(job).map_err(Refused::Job)
            }
        }
    }

    /// Makes the command durable, and then the memory of it: a crash between the two leaves
    /// a record and lets the cloud's second sending act.
    fn accept(&self, signed: &Signed<RemoteCommand>) -> Result<(), StateError> {
        let command = signed.body();
        self.parts.journal.append_durable(Entry::CommandReceived(CommandReceived {
            ask: command.body.name().to_owned(),
            id: command.id.clone(),
            signed: Blob(signed.bytes().to_vec()).into(),
        }))?;
        let now = self.parts.clock.judged_wall();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|(_, expires)| *expires > now);
        seen.push((command.id.clone(), command.expires_at.max(command.issued_at)));
        if seen.len() > MAX_REMEMBERED {
            seen.remove(0);
        }
        let bytes = codec::to_vec(&*seen).unwrap_or_default();
        self.parts.journal.put_state(REPLAY_KEY, &bytes)
    }

    fn act(&self, command: &RemoteCommand) {
        let now = mono();
        let lease = |goal, lease_ms: u32| {
            let until = now.plus(Duration::from_millis(u64::from(lease_ms)));
            Lease { goal, holds: true, renewed: now, until }
        };
        match &command.body {
            Ask::EmergencyStop { reason } => {
                warn!(reason, "emergency stop from afar");
                self.parts.desk.press_emergency_stop();
            }
            Ask::ReleaseStop => self.parts.desk.release_emergency_stop(now),
            Ask::Drive { lease_ms, twist } => {
                self.parts
                    .desk
                    .set_operator(lease(Goal::Drive(*twist), *lease_ms), command.id.clone());
            }
            Ask::DriveTo { lease_ms, speed_mps, to } => {
                let goal = Goal::GoTo { speed_mps: *speed_mps, to: *to, yaw: None };
                self.parts.desk.set_operator(lease(goal, *lease_ms), command.id.clone());
            }
            Ask::CancelJob { job, reason } => self.parts.jobs.cancel(job, reason),
            Ask::MarkIncident { reason } => {
                warn!(reason, "an incident was marked from afar");
                let Downlink { parts: DownlinkParts { desk, incidents, .. }, .. } = self;
                incidents.report(now, IncidentCause::Marked, (desk.job(), None), Some(&command.id));
            }
            Ask::PauseJob { job, reason } => self.parts.jobs.pause(job, reason),
            Ask::ResumeJob { job } => self.parts.jobs.resume(job),
            // What they say about the situation holds by now.
            Ask::Disconnect { .. }
            | Ask::LiftVeto
            | Ask::PlanAccess { .. }
            | Ask::Reconnect
            | Ask::ReviewJob { .. }
            | Ask::SetLimits { .. }
            | Ask::SetMode { .. }
            | Ask::Veto { .. } => {}
            Ask::StartJob { job, plan } => self.parts.jobs.start(job.clone(), plan.clone()),
        }
    }

    fn refuse(&self, bytes: &[u8], id: Option<EnvelopeId>, refused: &Refused) -> Taken {
        let reason = refused.to_string();
        warn!(reason, id = id.as_ref().map(EnvelopeId::as_str), "command refused");
        // A replay of what was accepted is the cloud making sure; its acceptance is on record.
        if !matches!(refused, Refused::Replayed) {
            let entry = CommandRefused { digest: Digest::of(bytes), id, reason: reason.clone() };
            if let Err(error) = self.parts.journal.append(Entry::CommandRefused(entry)) {
                error!(%error, "a refusal is not in the journal");
            }
        }
        Taken::Refused(reason)
    }
}
