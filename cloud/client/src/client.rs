//! A client of one cloud: where it is, who asks, and how often.

use crate::call::Call;
use crate::error::ClientError;
use crate::retry::Retry;
use crate::token::{Fixed, TokenFile, TokenSource};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// A connection that was not used for so long is not used again: the cloud closes it at ten
/// seconds, and a call sent at that moment would be lost.
const MAX_IDLE: Duration = Duration::from_secs(8);

/// A stream that is silent for so long is dead: the cloud says something every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// A client of one cloud. It may be shared by threads; each call is a request of its own.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) base: String,
    pub(crate) calls: ureq::Agent,
    pub(crate) retry: Retry,
    pub(crate) streams: ureq::Agent,
    source: Option<Arc<dyn TokenSource>>,
    token: Mutex<Option<String>>,
}

/// What a client is made of.
#[derive(Clone)]
pub struct Builder {
    identity: Option<(String, String)>,
    in_the_clear: bool,
    retry: Retry,
    root_pem: Option<String>,
    source: Option<Arc<dyn TokenSource>>,
    timeout: Duration,
    url: String,
}

impl Client {
    /// Of the cloud at `url`, such as `https://cloud.example:8443`.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder {
            identity: None,
            in_the_clear: false,
            retry: Retry::default(),
            root_pem: None,
            source: None,
            timeout: Duration::from_secs(60),
            url: url.into(),
        }
    }

    /// Where the cloud is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.base
    }

    /// Reads a path that begins with `/`, as whatever it answers.
    pub fn get<T>(&self, path: impl Into<String>) -> Call<'_, T> {
        Call::get(self, path.into())
    }

    /// The token that is presented now; none for a client that has a certificate only.
    pub(crate) fn token(&self) -> Result<Option<String>, ClientError> {
        let Some(source) = &self.inner.source else { return Ok(None) };
        // A poisoned lock holds a whole value: it is replaced in one assignment.
        let mut token = self.inner.token.lock().unwrap_or_else(PoisonError::into_inner);
        if token.is_none() {
            *token = Some(source.token(None)?);
        }
        Ok(token.clone())
    }

    /// Another token in place of `over`; false where there is none.
    pub(crate) fn refresh(&self, over: Option<&str>) -> Result<bool, ClientError> {
        let (Some(source), Some(over)) = (&self.inner.source, over) else { return Ok(false) };
        let mut token = self.inner.token.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have asked meanwhile.
        if token.as_deref() != Some(over) {
            return Ok(true);
        }
        let fresh = source.token(Some(over))?;
        let other = fresh != over;
        *token = Some(fresh);
        Ok(other)
    }
}

impl fmt::Debug for Client {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.inner.base).finish_non_exhaustive()
    }
}

impl Builder {
    /// The cloud's root certificate, the only one that its server must lead to: the text of its
    /// `ca.pem`.
    #[must_use]
    pub fn root_pem(mut self, pem: impl Into<String>) -> Self {
        self.root_pem = Some(pem.into());
        self
    }

    /// A certificate with its key, both PEM, which the cloud knows as a service's.
    #[must_use]
    pub fn identity(mut self, chain_pem: impl Into<String>, key_pem: impl Into<String>) -> Self {
        self.identity = Some((chain_pem.into(), key_pem.into()));
        self
    }

    /// The token to present.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Self {
        self.tokens(Arc::new(Fixed(token.into())))
    }

    /// A file with the token to present, read again when it is over.
    #[must_use]
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        self.tokens(Arc::new(TokenFile(path.into())))
    }

    /// Where tokens come from.
    #[must_use]
    pub fn tokens(mut self, source: Arc<dyn TokenSource>) -> Self {
        self.source = Some(source);
        self
    }

    /// How often a call that may be repeated is sent, and how long to wait between.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How long one request may take; a minute unless given. Streams have no end.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// By `http`, to a server that a test made.
    #[cfg(test)]
    pub(crate) const fn in_the_clear(mut self) -> Self {
        self.in_the_clear = true;
        self
    }

    /// The client; it connects when it is first asked.
    ///
    /// # Errors
    /// An address that is not `https`, no root, or certificates that cannot be read.
    pub fn build(self) -> Result<Client, ClientError> {
        let base = self.url.trim_end_matches('/').to_owned();
        let known = base.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        if !known && !self.in_the_clear {
            return Err(ClientError::Url(base));
        }
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ));
        if known {
            let what = "the root certificate";
            let Some(pem) = &self.root_pem else {
                let why = "none was given".to_owned();
                return Err(ClientError::Certificate { what, why });
            };
            tls = tls.root_certs(RootCerts::new_with_certs(&[certificate(what, pem)?]));
        }
        if let Some((chain, key)) = &self.identity {
            let chain = chain_of(chain)?;
            let key = PrivateKey::from_pem(key.as_bytes()).map_err(|error| {
                ClientError::Certificate { what: "the client's key", why: error.to_string() }
            })?;
            fitting(&chain, key.der())?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
        let tls = tls.build();
        let config = || {
            ureq::Agent::config_builder()
                .tls_config(tls.clone())
                .proxy(None)
                .http_status_as_error(false)
                .max_redirects(0)
                .max_idle_age(MAX_IDLE)
                .timeout_connect(Some(CONNECT))
        };
        let calls = config().timeout_global(Some(self.timeout)).build().new_agent();
        let streams = config()
            .timeout_recv_response(Some(self.timeout))
            .timeout_per_read(Some(SILENCE))
            .build()
            .new_agent();
        Ok(Client {
            inner: Arc::new(Inner {
                base,
                calls,
                retry: self.retry,
                source: self.source,
                streams,
                token: Mutex::new(None),
            }),
        })
    }
}

impl fmt::Debug for Builder {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("url", &self.url).finish_non_exhaustive()
    }
}

fn certificate(what: &'static str, pem: &str) -> Result<Certificate<'static>, ClientError> {
    Certificate::from_pem(pem.as_bytes())
        .map_err(|error| ClientError::Certificate { what, why: error.to_string() })
}

/// Refuses a key that is not the certificate's, which would fail at the first call.
fn fitting(chain: &[Certificate<'static>], key: &[u8]) -> Result<(), ClientError> {
    let refused = |why: String| ClientError::Certificate { what: "the client's key", why };
    let chain = chain.iter().map(|one| CertificateDer::from(one.der().to_vec())).collect();
    let key = PrivateKeyDer::try_from(key.to_vec()).map_err(|why| refused(why.to_owned()))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider)
        .map(|_| ())
        .map_err(|error| refused(error.to_string()))
}

fn chain_of(pem: &str) -> Result<Vec<Certificate<'static>>, ClientError> {
    let what = "the client's certificate";
    let mut chain = Vec::new();
    for item in ureq::tls::parse_pem(pem.as_bytes()) {
        match item {
            Ok(ureq::tls::PemItem::Certificate(one)) => chain.push(one),
            Ok(_) => {}
            Err(error) => {
                return Err(ClientError::Certificate { what, why: error.to_string() });
            }
        }
    }
    if chain.is_empty() {
        let why = "there is none in it".to_owned();
        return Err(ClientError::Certificate { what, why });
    }
    Ok(chain)
}
