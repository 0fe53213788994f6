//! What arrives for this robot: each message is verified, judged, journalled, and only then
//! acted on. A stop waits for no disk: it is acted on before its record.

use crate::authority::{Authority, Denied};
use crate::clock::{SystemClock, mono};
use crate::control::{Desk, Goal, Lease};
use crate::incident::Incidents;
use crate::jobs::Jobs;
use nooterra_blackbox::{AppendError, Clock as _, JournalHandle, MAX_STATE_BYTES, StateError};
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::entry::{CommandReceived, CommandRefused, Entry, IncidentCause};
use nooterra_protocol::envelope::{Refusal, Signed, SignedError};
use nooterra_protocol::ids::{EnvelopeId, ModeId, RobotId};
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::plan::PlanError;
use nooterra_protocol::time::{ClockTrust, MonoNanos, WallMillis};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::{error, info, warn};

/// Commands that are remembered against replay, at most, while they have not expired.
const MAX_REMEMBERED: usize = 256;

/// Stops that are remembered also once they have expired, at most; the oldest is forgotten first.
const MAX_STOPS: usize = 32;

/// What they may take of the journal's state, bytes. One takes about 50; an id may be longer.
const MAX_REMEMBERED_BYTES: usize = MAX_STATE_BYTES - 1024;

/// What one takes beside its id: its end, and what begins each of both.
const REMEMBERED_BYTES: usize = 12;

/// Refusals that are recorded at once, of what is not genuine and of the rest. Records of
/// refusals are kept longest: whoever carries messages must not drive out all others with them.
const MOST_REFUSALS: u32 = 128;

/// And then one in so long.
const REFUSAL_EVERY: Duration = Duration::from_secs(10);

/// The longest words about a job's privacy.
const MAX_PRIVACY_BYTES: usize = 128;

/// Where the memory against replay is kept in the journal's state.
pub(crate) const REPLAY_KEY: &str = "downlink.seen";

/// Where the last stops are kept in the journal's state, by their ids.
const STOPS_KEY: &str = "downlink.stops";

/// Until when commands may have been received that are not in that memory, once that is known.
const FORGOTTEN_KEY: &str = "downlink.forgotten";

/// Why a message is not acted on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Whoever asks may not ask this now.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What was received before is not known any more, and this may be a part of it.
    #[error(
        "the memory of received commands was lost, and this one is from before {0}; send it anew"
    )]
    Forgotten(WallMillis),
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
    /// A stop from long ago that was obeyed then, whoever brings it again.
    #[error("this stop was obeyed before, and it expired; a stop counts late, but once")]
    ReplayedStop,
    /// Not genuine.
    #[error(transparent)]
    Signature(#[from] SignedError),
    /// Larger than a record of the journal.
    #[error("it is too large to be recorded: {0}")]
    TooLarge(String),
    /// The same of what only ends motion.
    #[error("it is too large to be recorded, and was acted on all the same: {0}")]
    TooLargeAndDone(String),
    /// An access that ends before it begins.
    #[error("the access ends before it begins; send `to` after `from`")]
    Window,
    /// More words about privacy than are remembered.
    #[error("`privacy` has {0} bytes, at most {MAX_PRIVACY_BYTES} are remembered; shorten it")]
    Privacy(usize),
    /// More unexpired commands than are remembered.
    #[error("{0} commands are still unexpired; send shorter validities")]
    TooMany(usize),
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

/// What was received and has not expired.
type Seen = Vec<(EnvelopeId, WallMillis)>;

/// When the memory against replay was lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Before this moment of this run. What time that was follows from the clock, which may be set
    /// only later.
    Now(MonoNanos),
    /// In an earlier run, before this time.
    Then(WallMillis),
}

/// The door for commands.
pub struct Downlink {
    /// What was issued until then may have been received before: the memory of it is lost.
    forgotten: Option<Loss>,
    /// Held while the memory against replay is written down.
    keeping: Mutex<()>,
    /// What [`Self::forgotten`] said last.
    latest: Mutex<WallMillis>,
    parts: DownlinkParts,
    /// Of what is not genuine, and of the rest.
    refusals: [Mutex<Refusals>; 2],
    seen: Mutex<Seen>,
    /// The last stops that were obeyed. A stop counts late, so its end does not keep it from being
    /// brought again.
    stops: Mutex<Vec<EnvelopeId>>,
}

impl std::fmt::Debug for Downlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Downlink").field("robot", &self.parts.robot).finish_non_exhaustive()
    }
}

impl Downlink {
    /// A door. What was received before a restart is still known; where it is not, nothing counts
    /// that was issued before.
    #[must_use]
    pub fn new(parts: DownlinkParts) -> Self {
        let (seen, forgotten) = match remembered(&parts.journal) {
            Ok(seen) => (seen, lost_before(&parts.journal)),
            Err(why) => {
                error!(
                    why,
                    "which commands were received is not known; earlier ones count no more"
                );
                (Seen::new(), Some(Loss::Now(mono())))
            }
        };
        let stops = Mutex::new(obeyed_stops(&parts.journal));
        let refusals = [(); 2].map(|()| Mutex::new(Refusals::new(mono())));
        let (keeping, latest) = (Mutex::new(()), Mutex::new(WallMillis(i64::MIN)));
        let seen = Mutex::new(seen);
        let door = Self { forgotten, keeping, latest, parts, refusals, seen, stops };
        // Noted now, by a clock that may be put back later.
        let _ = door.forgotten();
        door
    }

    /// Until when commands may have been received that are not known any more, by the clock as it
    /// is now. Of a clock that is not to be trusted the latest that it ever said: it may stand.
    fn forgotten(&self) -> Option<WallMillis> {
        let at = match self.forgotten? {
            Loss::Now(at) => at,
            Loss::Then(until) => return Some(until),
        };
        let ago = mono().since(at).unwrap_or_default();
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        let until = WallMillis(self.parts.clock.judged_wall().0.saturating_sub(ago));
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if self.parts.clock.stamp().trust != ClockTrust::Untrusted || *latest < until {
            *latest = until;
        }
        Some(*latest)
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
        // Neither a stop nor a veto needs a record to be right, and a stop does not wait for it.
        let is_stop = matches!(command.body, Ask::EmergencyStop { .. });
        if is_stop {
            self.parts.desk.press_emergency_stop();
        }
        if let Err(error) = self.accept(&signed) {
            let is_veto = matches!(command.body, Ask::Veto { .. });
            if is_veto {
                self.parts.authority.asked(&command.issuer, &command.body);
                self.parts.desk.end_operator();
            }
            let refused = match error {
                Unkept::Replayed => Refused::Replayed,
                Unkept::State(StateError::Append(error @ AppendError::TooLarge(_))) => {
                    let why = error.to_string();
                    let done = is_stop || is_veto;
                    if done { Refused::TooLargeAndDone(why) } else { Refused::TooLarge(why) }
                }
                Unkept::State(error) => {
                    error!(%error, id = %command.id, "a command is not acted on: it cannot be recorded");
                    return Taken::NotRecorded;
                }
            };
            return self.refuse(bytes, Some(command.id.clone()), &refused);
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
            Err(Refusal::Expired(_)) if is_stop && self.has_obeyed(&command.id) => {
                return Err(Refused::ReplayedStop);
            }
            Err(Refusal::Expired(_) | Refusal::FromTheFuture(_)) if is_stop => {}
            other => other?,
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|(id, _)| *id == command.id) {
            return Err(Refused::Replayed);
        }
        let unexpired = seen.iter().filter(|(_, expires)| *expires > now);
        let count = unexpired.clone().count();
        let bytes: usize = unexpired.map(|(id, _)| weight(id)).sum();
        let full = count >= MAX_REMEMBERED || bytes + weight(&command.id) > MAX_REMEMBERED_BYTES;
        if full && !is_stop {
            return Err(Refused::TooMany(count));
        }
        drop(seen);
        let ends_motion = is_stop || matches!(command.body, Ask::Veto { .. });
        let before = |since: &WallMillis| command.issued_at <= *since && !ends_motion;
        if let Some(since) = self.forgotten().filter(before) {
            return Err(Refused::Forgotten(since));
        }
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
    /// a record and lets the cloud's second sending act, as any failure does. Meanwhile it counts
    /// as received, whichever session brings it again.
    fn accept(&self, signed: &Signed<RemoteCommand>) -> Result<(), Unkept> {
        let command = signed.body();
        let now = self.parts.clock.judged_wall();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|(id, _)| *id == command.id) {
            return Err(Unkept::Replayed);
        }
        seen.retain(|(_, expires)| *expires > now);
        seen.push((command.id.clone(), command.expires_at.max(command.issued_at)));
        // Only stops come here when it is full.
        while seen.len() > MAX_REMEMBERED
            || seen.iter().map(|(id, _)| weight(id)).sum::<usize>() > MAX_REMEMBERED_BYTES
        {
            seen.remove(0);
        }
        drop(seen);
        let is_stop = matches!(command.body, Ask::EmergencyStop { .. });
        if is_stop {
            let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
            stops.push(command.id.clone());
            let surplus = stops.len().saturating_sub(MAX_STOPS);
            stops.drain(..surplus);
        }
        let kept = self.keep(signed);
        if kept.is_err() {
            let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
            stops.retain(|id| *id != command.id);
            drop(stops);
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.retain(|(id, _)| *id != command.id);
        }
        kept.map_err(Unkept::State)
    }

    fn keep(&self, signed: &Signed<RemoteCommand>) -> Result<(), StateError> {
        let command = signed.body();
        self.parts.journal.append_durable(Entry::CommandReceived(CommandReceived {
            ask: command.body.name().to_owned(),
            id: command.id.clone(),
            signed: Blob(signed.bytes().to_vec()).into(),
        }))?;
        // In turn, and without the memory itself: a stop looks into it.
        let _in_turn = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        // A memory that begins anew says nothing of what was before it.
        if let (Some(Loss::Now(_)), Some(until)) = (self.forgotten, self.forgotten()) {
            let bytes = codec::to_vec(&until).unwrap_or_default();
            self.parts.journal.put_state(FORGOTTEN_KEY, &bytes)?;
        }
        if matches!(command.body, Ask::EmergencyStop { .. }) {
            let stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = codec::to_vec(&*stops).unwrap_or_default();
            drop(stops);
            self.parts.journal.put_state(STOPS_KEY, &bytes)?;
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = codec::to_vec(&*seen).unwrap_or_default();
        drop(seen);
        self.parts.journal.put_state(REPLAY_KEY, &bytes)
    }

    fn has_obeyed(&self, stop: &EnvelopeId) -> bool {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).contains(stop)
    }

    fn act(&self, command: &RemoteCommand) {
        let now = mono();
        let lease = |goal, lease_ms: u32| {
            let until = now.plus(Duration::from_millis(u64::from(lease_ms)));
            Lease { goal, holds: true, renewed: now, until }
        };
        match &command.body {
            // It is in force by now.
            Ask::EmergencyStop { reason } => warn!(reason, "emergency stop from afar"),
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
        // A replay of what was accepted is the cloud making sure; its acceptance is on record.
        if matches!(refused, Refused::Replayed) {
            return Taken::Refused(reason);
        }
        let [strangers, others] = &self.refusals;
        let is_genuine = !matches!(refused, Refused::Signature(_));
        let refusals = if is_genuine { others } else { strangers };
        let mut refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = refusals.take(mono());
        drop(refusals);
        if let Some(untold) = untold {
            warn!(reason, untold, id = id.as_ref().map(EnvelopeId::as_str), "command refused");
            let said = match untold {
                0 => reason.clone(),
                more => format!("{reason} (and {more} refused before it, which are not recorded)"),
            };
            let entry = CommandRefused { digest: Digest::of(bytes), id, reason: said };
            if let Err(error) = self.parts.journal.append(Entry::CommandRefused(entry)) {
                error!(%error, "a refusal is not in the journal");
            }
        }
        Taken::Refused(reason)
    }
}

/// How many more refusals are recorded.
struct Refusals {
    left: u32,
    /// The last moment at which one more was let through.
    since: MonoNanos,
    /// Not recorded since the last that was.
    untold: u64,
}

impl Refusals {
    const fn new(now: MonoNanos) -> Self {
        Self { left: MOST_REFUSALS, since: now, untold: 0 }
    }

    /// Whether one at `now` is recorded; how many before it were not.
    fn take(&mut self, now: MonoNanos) -> Option<u64> {
        let waited = now.since(self.since).unwrap_or_default();
        let more = waited.as_nanos() / REFUSAL_EVERY.as_nanos();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(MOST_REFUSALS);
            self.since = self.since.plus(REFUSAL_EVERY.saturating_mul(more));
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.untold))
            }
            None => {
                self.untold = self.untold.saturating_add(1);
                None
            }
        }
    }
}

/// Why a command is not kept.
enum Unkept {
    /// It was received meanwhile.
    Replayed,
    /// It cannot be recorded, or not be remembered.
    State(StateError),
}

/// What was received before this start, or why that is not known.
fn remembered(journal: &JournalHandle) -> Result<Seen, String> {
    match journal.get_state(REPLAY_KEY) {
        Ok(Some(bytes)) => codec::from_slice(&bytes).map_err(|error| error.to_string()),
        Ok(None) => Ok(Seen::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// The stops that were obeyed before this start. Where that is not known each counts again: stop
/// beats everything.
fn obeyed_stops(journal: &JournalHandle) -> Vec<EnvelopeId> {
    let kept = journal.get_state(STOPS_KEY).ok().flatten();
    let stops: Option<Vec<EnvelopeId>> = kept.and_then(|bytes| codec::from_slice(&bytes).ok());
    stops.unwrap_or_default()
}

/// Before when the memory was lost in an earlier run; what cannot be read was lost before now.
fn lost_before(journal: &JournalHandle) -> Option<Loss> {
    let kept = journal.get_state(FORGOTTEN_KEY).map_err(|error| error.to_string());
    let read = |bytes: &[u8]| codec::from_slice(bytes).map_err(|error| error.to_string());
    match kept.and_then(|bytes| bytes.map(|bytes| read(&bytes)).transpose()) {
        Ok(until) => until.map(Loss::Then),
        Err(why) => {
            error!(
                why,
                "until when commands were forgotten is not known; earlier ones count no more"
            );
            Some(Loss::Now(mono()))
        }
    }
}

/// What a command takes of what is remembered, at most.
fn weight(id: &EnvelopeId) -> usize {
    id.as_str().len() + REMEMBERED_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_recorded_up_to_a_bound_and_then_now_and_then_with_how_many_were_not() {
        let at = |seconds: u64| MonoNanos(seconds * 1_000_000_000);
        let mut refusals = Refusals::new(at(100));
        let told = (0..1000).filter_map(|_| refusals.take(at(101))).count();
        assert_eq!(told, 128);
        assert_eq!(refusals.take(at(109)), None);
        assert_eq!(refusals.take(at(110)), Some(873));
        assert_eq!(refusals.take(at(119)), None);
        assert_eq!(refusals.take(at(120)), Some(1));
        // After a day it is as at the beginning.
        let told = (0..1000).filter_map(|_| refusals.take(at(86_500))).count();
        assert_eq!(told, 128);
        assert_eq!(refusals.take(at(0)), None, "a clock that went back gives nothing");
    }
}
