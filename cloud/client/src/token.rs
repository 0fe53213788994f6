//! Tokens that a client presents, and where the next one comes from when one is over.

use crate::client::Client;
use crate::types::TokenRequest;
use std::fmt;
use std::path::PathBuf;

/// Where tokens come from.
///
/// A client asks for one before its first call, keeps it, and asks again when the cloud says that
/// it is over (`token_expired`, `token_revoked`, `unauthorized`): such a call did nothing, so it
/// is sent once more with the new token, and refused in the cloud's words when that is no better.
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// The token to present from now on. `over` is the one that is no longer taken.
    ///
    /// # Errors
    /// [`TokenError`], where there is none.
    fn token(&self, over: Option<&str>) -> Result<String, TokenError>;
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the token in {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Whoever makes tokens made none.
    #[error("no token was made: {0}")]
    NotMade(String),
}

/// One token, which nothing replaces.
pub(crate) struct Fixed(pub(crate) String);

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fixed")
    }
}

impl TokenSource for Fixed {
    fn token(&self, _: Option<&str>) -> Result<String, TokenError> {
        Ok(self.0.clone())
    }
}

/// The first line of a file, read again when its token is over: whoever makes tokens replaces it.
#[derive(Clone, Debug)]
pub struct TokenFile(pub PathBuf);

impl TokenSource for TokenFile {
    fn token(&self, _: Option<&str>) -> Result<String, TokenError> {
        let text = std::fs::read_to_string(&self.0)
            .map_err(|source| TokenError::File { path: self.0.clone(), source })?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }
}

/// Short-lived tokens, each made with another client when the one before is over.
///
/// That client has what lasts: a certificate of a service, or a token that may make tokens.
#[derive(Debug)]
pub struct MadeTokens {
    /// Who makes them.
    pub maker: Client,
    /// What each of them is for.
    pub request: TokenRequest,
}

impl TokenSource for MadeTokens {
    fn token(&self, _: Option<&str>) -> Result<String, TokenError> {
        let made = self.maker.create_token(&self.request).send();
        let made = made.map_err(|error| TokenError::NotMade(error.to_string()))?;
        let none = || TokenError::NotMade("it was made for a certificate".to_owned());
        made.body.token.ok_or_else(none)
    }
}
