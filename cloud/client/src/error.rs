//! Why there is no answer, or which.

use crate::token::TokenError;
use crate::types::Problem;
use std::fmt;

/// A call that did not come to what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The answer has not the form that the document gives it: another server answered, or one of
    /// another release.
    #[error("{call} answered what it never does: {why} (request {request_id})")]
    Answer {
        /// Method and path.
        call: String,
        /// As the audit trail and the cloud's log name it.
        request_id: String,
        /// What does not fit.
        why: String,
    },
    /// A body that has no JSON form, such as one with a number that JSON does not have.
    #[error("what is asked has no JSON form: {0}; send finite numbers")]
    Ask(String),
    /// A certificate or key that was configured is not readable.
    #[error("{what} cannot be read: {why}; give PEM, as the cloud's ca.pem")]
    Certificate {
        /// Which.
        what: &'static str,
        /// In which way.
        why: String,
    },
    /// The system gave no random bytes, with which requests are named.
    #[error("no random bytes: {0}")]
    Entropy(#[from] getrandom::Error),
    /// The cloud answered, and said no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// There is no token to present.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No answer came, however often a call that may be repeated was sent. What it was to change
    /// may have been changed; `request_id` finds it in the audit trail.
    #[error("cannot reach {url}: {source} (request {request_id})")]
    Unreachable {
        /// As the audit trail and the cloud's log name it.
        request_id: String,
        /// What the connection came to.
        source: Box<ureq::Error>,
        /// Where the cloud was looked for.
        url: String,
    },
    /// The address is not `https`.
    #[error("`{0}` is not an address of a cloud; write https://HOST:PORT")]
    Url(String),
}

/// What the cloud said no to, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Method and path.
    pub call: String,
    /// Its problem (RFC 9457), whose `code` is stable.
    pub problem: Problem,
    /// As the audit trail and the cloud's log name it.
    pub request_id: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, problem, request_id } = self;
        write!(f, "{call}: {}", problem.detail)?;
        if !problem.hint.is_empty() {
            write!(f, "; {}", problem.hint)?;
        }
        write!(f, " ({}, request {request_id})", problem.code)
    }
}

impl ClientError {
    /// The stable code of a refusal, such as `wrong_state`; none of what is no refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => Some(&refusal.problem.code),
            _ => None,
        }
    }
}
