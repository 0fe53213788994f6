//! Commands: signed, expiring envelopes. They wait in the store; a connection sends them.

use crate::jobs::{Server, new_id};
use crate::standing::{self, Barred};
use crate::store::{Connection, StoreError, commands};
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::envelope::{Envelope, MAX_VALIDITY_MS, Signed, SignedError};
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, RobotId};
use std::time::Duration;

/// The largest signed command: the robot's journal keeps it in one record of 48 KiB.
pub(crate) const MAX_COMMAND_BYTES: usize = 40 * 1024;

/// The longest text in a command that is only for the record.
pub(crate) const MAX_REASON_BYTES: usize = 512;

/// Why a command is not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Barred(#[from] Barred),
    #[error("no random bytes: {0}")]
    Entropy(#[from] getrandom::Error),
    #[error("a command is valid for 1 ms to {MAX_VALIDITY_MS} ms")]
    Lifetime,
    #[error("`{0}` is not a finite number")]
    NotFinite(&'static str),
    #[error("the command cannot be signed: {0}")]
    Sign(#[from] SignedError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the command has {0} bytes, at most {MAX_COMMAND_BYTES} are sent; shorten the plan")]
    TooLarge(usize),
}

/// Signs a command in the cloud's own name and keeps it for sending; its id.
pub(crate) fn issue(
    tx: &Connection,
    server: &Server,
    robot: &RobotId,
    ask: &Ask,
    ttl: Duration,
    job: Option<&JobId>,
) -> Result<EnvelopeId, CommandError> {
    issue_for(tx, server, &server.actor().id.clone(), robot, ask, ttl, job)
}

/// As [`issue`], in the name of an operator, for whom the cloud's signature vouches.
pub(crate) fn issue_for(
    tx: &Connection,
    server: &Server,
    issuer: &ActorId,
    robot: &RobotId,
    ask: &Ask,
    ttl: Duration,
    job: Option<&JobId>,
) -> Result<EnvelopeId, CommandError> {
    check(ask)?;
    standing::permit(tx, robot, ask)??;
    let now = server.now();
    let expires_at = now.plus(ttl);
    if !(1..=MAX_VALIDITY_MS).contains(&expires_at.millis_since(now)) {
        return Err(CommandError::Lifetime);
    }
    let id = EnvelopeId::new(new_id("cmd")?).map_err(|e| StoreError::damaged("an id", e))?;
    let envelope: RemoteCommand = Envelope {
        audience: robot.clone(),
        body: ask.clone(),
        expires_at,
        id: id.clone(),
        issued_at: now,
        issuer: issuer.clone(),
        v: nooterra_protocol::VERSION,
    };
    let signed = Signed::sign(envelope, server.key())?;
    let bytes = signed.bytes();
    if bytes.len() > MAX_COMMAND_BYTES {
        return Err(CommandError::TooLarge(bytes.len()));
    }
    commands::add(tx, &id, robot, job, bytes, (now, expires_at))?;
    tracing::info!(%robot, command = %id, ask = ask.name(), "command issued");
    Ok(id)
}

/// What the types do not hold. The robot checks again: it trusts nobody's care but its own.
fn check(ask: &Ask) -> Result<(), CommandError> {
    let finite = |name, ok: bool| {
        if ok { Ok(()) } else { Err(CommandError::NotFinite(name)) }
    };
    match ask {
        Ask::Drive { twist, .. } => finite("twist", twist.is_finite()),
        Ask::DriveTo { speed_mps, to, .. } => {
            finite("speed_mps", speed_mps.is_finite())?;
            finite("to", to.is_finite())
        }
        Ask::CancelJob { .. }
        | Ask::Disconnect { .. }
        | Ask::EmergencyStop { .. }
        | Ask::LiftVeto
        | Ask::MarkIncident { .. }
        | Ask::PauseJob { .. }
        | Ask::PlanAccess { .. }
        | Ask::Reconnect
        | Ask::ReleaseStop
        | Ask::ResumeJob { .. }
        | Ask::ReviewJob { .. }
        | Ask::SetLimits { .. }
        | Ask::SetMode { .. }
        | Ask::StartJob { .. }
        | Ask::Veto { .. } => Ok(()),
    }
}
