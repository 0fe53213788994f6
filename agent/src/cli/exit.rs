//! Exit codes, documented in `--help`.

use crate::activation::ActivationError;
use crate::authority::signed::AuthorityError;
use crate::envelope::EnvelopeError;
use crate::http::HttpError;
use crate::identity::{EnrollError, IdentityError};
use crate::run::RunError;
use nooterra_blackbox::OpenError;
use nooterra_policy::{MaskError, PolicyError};
use std::process::ExitCode;

/// What a script can tell from the exit code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Code {
    /// Done.
    Done = 0,
    /// For another reason.
    Failed = 1,
    /// Configuration, policy or world.
    Configuration = 3,
    /// Not enrolled.
    NotEnrolled = 4,
    /// Altered, unsigned, or signed by a stranger.
    NotVerified = 5,
    /// The cloud refused or was not reached.
    Cloud = 6,
    /// Taken by another.
    Taken = 7,
    /// In order, and yet records are missing: the journal itself says so, or they cannot be read.
    Loss = 8,
    /// Not to be read at all.
    Unreadable = 9,
    /// In order, and nothing shows whose it is.
    Unproven = 10,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// An error that says its code.
#[derive(Debug)]
struct Coded {
    code: Code,
    error: anyhow::Error,
}

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // With its causes: to whoever prints, this is one error.
        write!(f, "{:#}", self.error)
    }
}

impl std::error::Error for Coded {}

/// Gives an error its code.
pub(super) fn coded(code: Code, error: impl Into<anyhow::Error>) -> anyhow::Error {
    Coded { code, error: error.into() }.into()
}

/// The code of an error: its own, or what its kind implies.
pub(super) fn of(error: &anyhow::Error) -> Code {
    if let Some(coded) = error.downcast_ref::<Coded>() {
        return coded.code;
    }
    if let Some(error) = error.downcast_ref::<RunError>() {
        return match error {
            RunError::Activation(error) => activation(error),
            RunError::Authority(error) => authority(error),
            RunError::Driver(_) | RunError::StopInput(_) => Code::Configuration,
            RunError::Envelope(error) => envelope(error),
            RunError::Identity(error) => identity(error),
            RunError::Journal(OpenError::Locked(_)) => Code::Taken,
            _ => Code::Failed,
        };
    }
    if let Some(error) = error.downcast_ref::<AuthorityError>() {
        return authority(error);
    }
    if let Some(error) = error.downcast_ref::<ActivationError>() {
        return activation(error);
    }
    if let Some(error) = error.downcast_ref::<EnvelopeError>() {
        return envelope(error);
    }
    if let Some(error) = error.downcast_ref::<EnrollError>() {
        return match error {
            EnrollError::Http(HttpError::Url(_)) | EnrollError::OtherRobot { .. } => {
                Code::Configuration
            }
            EnrollError::Answer(_) => Code::NotVerified,
            EnrollError::Http(_) => Code::Cloud,
            EnrollError::Identity(error) => identity(error),
            _ => Code::Failed,
        };
    }
    if error.downcast_ref::<crate::driver::DriverError>().is_some() {
        return Code::Configuration;
    }
    Code::Failed
}

fn envelope(error: &EnvelopeError) -> Code {
    match error {
        // A file is missing: not what was signed is wrong, but where it was put.
        EnvelopeError::Policy {
            source: PolicyError::Mask { fault: MaskError::Unread(_), .. },
            ..
        } => Code::Configuration,
        EnvelopeError::Policy { .. } | EnvelopeError::Older { .. } => Code::NotVerified,
        EnvelopeError::File { .. } | EnvelopeError::OwnerKey { .. } => Code::Configuration,
        EnvelopeError::Versions(_) => Code::Failed,
    }
}

fn activation(error: &ActivationError) -> Code {
    match error {
        ActivationError::Envelope(error) => envelope(error),
        ActivationError::Older { .. } => Code::NotVerified,
        ActivationError::File { .. } | ActivationError::Nothing(_) => Code::Failed,
    }
}

fn authority(error: &AuthorityError) -> Code {
    match error {
        AuthorityError::File { .. } => Code::Configuration,
        AuthorityError::Owner(error) => envelope(error),
        AuthorityError::State(_) | AuthorityError::Versions(_) => Code::Failed,
        AuthorityError::Gone(_)
        | AuthorityError::Older { .. }
        | AuthorityError::Robot { .. }
        | AuthorityError::Rules { .. }
        | AuthorityError::Signed { .. } => Code::NotVerified,
    }
}

const fn identity(error: &IdentityError) -> Code {
    match error {
        IdentityError::NotEnrolled => Code::NotEnrolled,
        IdentityError::OtherRobot { .. } => Code::Configuration,
        _ => Code::Failed,
    }
}
