//! Both ports' TLS: 1.3 only, aws-lc-rs only, no tickets and no session storage (a resumed
//! session would skip the check of the client's certificate), and who is at the other end.

use crate::ca::{Ca, CaError, ROBOT_URI};
use crate::clock::Clock;
use crate::fair::{Hosts, Shares};
use crate::services::{Authorities, Service, ServicesError, Vouched};
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::time::WallMillis;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;

/// How long a peer may take to finish its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may wait for its turn to shake hands: what a thousand robots need that
/// come back together, on a slow machine.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// What one host may take of a port. A fleet may be behind one address.
const SHARES: Shares =
    Shares { connections_of_one: MAX_CONNECTIONS / 2, handshakes: 256, handshakes_of_one: 64 };

/// Connections open at once on one port; further ones wait in the system's backlog.
const MAX_CONNECTIONS: usize = 4096;

/// How long connections may take to end when the cloud stops.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// A robot, as its certificate names it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) key: VerifyingKey,
    pub(crate) not_after: WallMillis,
    pub(crate) robot: RobotId,
}

impl Identity {
    /// Reads a certificate that was already verified; `None` when it is not one of a robot.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
            return None;
        };
        let robot = RobotId::new(uri.strip_prefix(ROBOT_URI)?).ok()?;
        let point = &certificate.public_key().subject_public_key.data;
        let key = VerifyingKey::from_p256_sec1(point).ok()?;
        let not_after = certificate.validity().not_after.timestamp().saturating_mul(1000);
        Some(Self { key, not_after: WallMillis(not_after), robot })
    }
}

/// The server's own certificate, which can be replaced while connections come in.
pub(crate) struct ServerCertificate {
    current: RwLock<Arc<CertifiedKey>>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerCertificate")
    }
}

impl ServerCertificate {
    /// The first one.
    pub(crate) fn new(ca: &Ca, hosts: &[String], now: WallMillis) -> Result<Self, CaError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = RwLock::new(certify(ca, hosts, now, &provider)?);
        Ok(Self { current, provider })
    }

    /// A new key and certificate, for handshakes from now on.
    pub(crate) fn renew(&self, ca: &Ca, hosts: &[String], now: WallMillis) -> Result<(), CaError> {
        let fresh = certify(ca, hosts, now, &self.provider)?;
        // A poisoned lock holds a whole value: it is replaced in one assignment.
        *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
        Ok(())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
    }
}

fn certify(
    ca: &Ca,
    hosts: &[String],
    now: WallMillis,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, CaError> {
    let (chain, key) = ca.certify_server(hosts, now)?;
    CertifiedKey::from_der(chain, key, provider)
        .map(Arc::new)
        .map_err(|error| CaError::Make(error.to_string()))
}

/// Whether a port takes connections without a client certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ClientAuth {
    Demanded,
    Optional,
}

/// One port, as connections are accepted on it.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    /// None where certificates are robots' only.
    authorities: Option<Arc<Authorities>>,
    config: Arc<ServerConfig>,
}

impl Port {
    /// Who vouches for services, if anybody does.
    pub(crate) fn authorities(&self) -> Option<Arc<Authorities>> {
        self.authorities.clone()
    }

    /// Who is at the other end by a chain that the handshake let in.
    fn peer(&self, chain: &[CertificateDer<'_>]) -> (Option<Identity>, Option<Service>) {
        let Some(leaf) = chain.first() else { return (None, None) };
        let vouched = match &self.authorities {
            Some(authorities) => authorities.vouched(chain),
            None => Some(Vouched::ByCloud),
        };
        match vouched {
            Some(Vouched::ByCloud) => (Identity::of(leaf), None),
            Some(Vouched::ByServices) => (None, Service::of(chain)),
            None => (None, None),
        }
    }
}

/// One port, to which robots connect, and with `services`, the files of an authority and of its
/// revocation lists, services too.
pub(crate) fn port(
    ca: &Ca,
    clock: &Arc<dyn Clock>,
    certificate: &Arc<ServerCertificate>,
    auth: ClientAuth,
    services: Option<(&Path, Option<&Path>)>,
) -> Result<Port, PortError> {
    let make = |error: &dyn fmt::Display| CaError::Make(error.to_string());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.root().clone()).map_err(|e| make(&e))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = match auth {
        ClientAuth::Demanded => verifier,
        ClientAuth::Optional => verifier.allow_unauthenticated(),
    };
    let verifier = verifier.build().map_err(|e| make(&e))?;
    let authorities = match services {
        Some((path, lists)) => {
            let (robots, clock) = (verifier.clone(), clock.clone());
            let all = Authorities::read(path, lists, ca.root(), robots, provider.clone(), clock)?;
            Some(Arc::new(all))
        }
        None => None,
    };
    let verifier = match &authorities {
        Some(authorities) => authorities.clone() as Arc<dyn ClientCertVerifier>,
        None => verifier,
    };
    let time = Arc::new(TlsTime(clock.clone()));
    let mut config = ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| make(&e))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate.clone());
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Port { authorities, config: Arc::new(config) })
}

/// Why a port has no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Services(#[from] ServicesError),
}

/// The configuration with which this cloud dials its broker, as who `identity` says.
pub(crate) fn client_config(
    ca: &Ca,
    clock: &Arc<dyn Clock>,
    (chain, key): crate::ca::Identity,
) -> Result<ClientConfig, CaError> {
    let make = |error: rustls::Error| CaError::Make(error.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(ca.root().clone()).map_err(make)?;
    let time = Arc::new(TlsTime(clock.clone()));
    ClientConfig::builder_with_details(Arc::new(aws_lc_rs::default_provider()), time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(make)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(make)
}

#[derive(Debug)]
struct TlsTime(Arc<dyn Clock>);

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0.wall().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

/// A connection whose handshake is done.
pub(crate) struct Accepted {
    /// The robot at the other end, where it showed a certificate.
    pub(crate) identity: Option<Identity>,
    pub(crate) peer: SocketAddr,
    /// The service at the other end, where it showed a certificate.
    pub(crate) service: Option<Service>,
    pub(crate) stream: TlsStream<TcpStream>,
}

/// Waits until the cloud stops, or is gone.
pub(crate) async fn stopping(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Accepts connections until `stop` says so, and hands each to `serve` on a task of its own.
/// Handshakes run there too, so that a slow one holds up nobody else.
pub(crate) async fn accept<F, S>(
    port: &'static str,
    listener: TcpListener,
    tls: Port,
    mut stop: watch::Receiver<bool>,
    serve: F,
) where
    F: Fn(Accepted) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = ()> + Send,
{
    let acceptor = TlsAcceptor::from(tls.config.clone());
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let hosts = Hosts::new(SHARES);
    let mut tasks = JoinSet::new();
    loop {
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(port, %error, "a connection's task failed");
            }
        }
        let next = async {
            let connection = connections.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, connection))
        };
        let (accepted, connection) = tokio::select! {
            () = stopping(&mut stop) => break,
            // The semaphore is never closed.
            next = next => match next { Some(next) => next, None => break },
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: let some connections end first.
                tracing::warn!(port, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(seat) = hosts.seat(peer.ip()) else {
            tracing::debug!(port, %peer, "the host has its share of the connections; closed");
            continue;
        };
        let (acceptor, serve, tls) = (acceptor.clone(), serve.clone(), tls.clone());
        let mut stopped = stop.clone();
        tasks.spawn(async move {
            let _connection = connection;
            let _ = stream.set_nodelay(true);
            let turn = tokio::select! {
                () = stopping(&mut stopped) => return,
                turn = tokio::time::timeout(TURN_TIMEOUT, seat.turn()) => turn,
            };
            let Ok(Some(turn)) = turn else {
                tracing::info!(port, %peer, "too many handshakes of that host; closed");
                return;
            };
            let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            drop(turn);
            match shaken {
                Ok(Ok(stream)) => {
                    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let (identity, service) = tls.peer(chain);
                    serve(Accepted { identity, peer, service, stream }).await;
                }
                Ok(Err(error)) => tracing::info!(port, %peer, %error, "handshake refused"),
                Err(_) => tracing::info!(port, %peer, "handshake took too long"),
            }
        });
    }
    drop(listener);
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, all).await.is_err() {
        tracing::warn!(port, "some connections did not end in time and were cut");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Request;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::pem::PemObject as _;

    const NOW: WallMillis = WallMillis(1_795_000_000_000);

    fn robot_certificate() -> (CertificateDer<'static>, KeyPair) {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::open(dir.path(), NOW).unwrap();
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let robot = RobotId::new("amr-07.hall_b").unwrap();
        let request = Request::parse(&csr).unwrap();
        let issued = ca.certify_robot(&robot, &request, NOW, Duration::from_secs(3600)).unwrap();
        (CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap(), key)
    }

    #[test]
    fn a_robots_certificate_names_the_robot_its_key_and_its_end() {
        let (certificate, key) = robot_certificate();
        let identity = Identity::of(&certificate).unwrap();
        assert_eq!(identity.robot.as_str(), "amr-07.hall_b");
        assert_eq!(identity.not_after, NOW.plus(Duration::from_secs(3600)));
        use rcgen::PublicKeyData as _;
        assert_eq!(identity.key, VerifyingKey::from_p256_sec1(key.der_bytes()).unwrap());
    }

    #[test]
    fn a_certificate_of_no_robot_is_no_identity() {
        let key = KeyPair::generate().unwrap();
        for names in [vec![], vec!["amr-1".to_owned()]] {
            let other = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
            assert!(Identity::of(other.der()).is_none());
        }
        let (certificate, _) = robot_certificate();
        for end in 0..certificate.len() {
            assert!(Identity::of(&CertificateDer::from(&certificate[..end])).is_none());
        }
    }
}
