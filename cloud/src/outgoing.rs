//! How this process calls others over HTTP: webhooks and traces.
//!
//! Other machines are trusted by the roots of one file. No redirect is followed and no proxy is
//! asked, so that what leaves goes to the address that somebody configured.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::config::Config;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The roots in a file of PEM; what else it holds is passed over.
pub(crate) fn roots(file: &Path) -> io::Result<Vec<Certificate<'static>>> {
    let pem = std::fs::read(file)?;
    let root = |item| match item {
        Ok(PemItem::Certificate(root)) => Some(root),
        _ => None,
    };
    Ok(parse_pem(&pem).filter_map(root).collect())
}

/// Of a client that trusts `roots` and waits for an answer for `patience`.
pub(crate) fn config(roots: Vec<Certificate<'static>>, patience: Duration) -> Config {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(patience))
        .user_agent(concat!("nooterra-cloud/", env!("CARGO_PKG_VERSION")))
        .build()
}
