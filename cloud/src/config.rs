//! What can be chosen when a cloud starts.

use crate::clock::{Clock, SystemClock};
use crate::traces::Traces;
use crate::webhooks::{Network, Patience};
use rustls::pki_types::ServerName;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Requests a second to the HTTP API for each caller, unless told otherwise.
pub const DEFAULT_API_PER_S: u32 = 100;

/// The roots of the system, as Debian and its kin keep them.
pub const DEFAULT_WEBHOOK_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where the HTTP API listens unless told otherwise.
pub const DEFAULT_HTTP_PORT: u16 = 8443;

/// Where the MQTT endpoint listens unless told otherwise: the port registered for MQTT over TLS.
pub const DEFAULT_MQTT_PORT: u16 = 8883;

/// How a cloud is started. The fields may be set one by one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Requests a second to the HTTP API for each token and each robot; twice as many at once
    /// after a while of fewer. The token of the data directory has no limit.
    pub api_per_s: u32,
    /// The broker through which robots reach this cloud; none where they connect to it directly.
    pub broker: Option<Broker>,
    /// Where the revocation list is kept that the broker reads; without, nowhere.
    pub broker_crl: Option<PathBuf>,
    /// How long a claim code is good for.
    pub claim_code_lifetime: Duration,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Everything that outlives the process. One process at a time may use it.
    pub data_dir: PathBuf,
    /// A stall that lasts so long calls a person: an incident is reported in the job's stream.
    pub escalate_after: Duration,
    /// A robot at work is expected to be heard of at least so often; three times that without a
    /// word is a stall. 30 seconds suits homes, a minute places that are looked after.
    pub heartbeat_interval: Duration,
    /// Names and addresses by which robots reach this cloud; the server certificate carries
    /// them, and the first is what robots are told to connect to.
    pub hosts: Vec<String>,
    /// Where the HTTP API listens; port 0 takes a free one.
    pub http: SocketAddr,
    /// Where the MQTT endpoint listens; port 0 takes a free one.
    pub mqtt: SocketAddr,
    /// How long a robot's certificate is valid. Days: a stolen one dies by itself.
    pub robot_certificate_lifetime: Duration,
    /// Streams without an end, of events and of live robots, that one tenant's tokens follow at the
    /// same time; 256 unless changed. The token of the data directory has no limit.
    pub streams_of_tenant: usize,
    /// Certificates of the authority that makes services' client certificates, PEM; without, only
    /// robots have certificates.
    pub service_ca: Option<PathBuf>,
    /// Revocation lists of that authority, PEM; without, none of its certificates is revoked. Read
    /// again when it changes.
    pub service_crl: Option<PathBuf>,
    /// A Postgres server for several processes, `postgres://USER@HOST/DATABASE`; without, one
    /// SQLite file in the data directory. Each process has a data directory of its own, with
    /// the same keys in it.
    pub store: Option<String>,
    /// Where traces go; the program's subscriber has [`Traces::layer`]. None unless configured.
    pub traces: Option<Traces>,
    /// Networks that are not public, in which webhooks may be called all the same, also by
    /// `http`; none unless given.
    pub webhook_networks: Vec<Network>,
    /// How long a webhook's server is waited for: ten seconds, and one for whoever is prompt.
    pub webhook_patience: Patience,
    /// The roots that a webhook's server must lead to, PEM; the system's unless given.
    pub webhook_roots: PathBuf,
}

/// Where an MQTT 5 broker is, which takes certificates of this cloud's authority.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broker {
    /// Name or address; the broker's certificate carries it.
    pub host: String,
    /// Such as 8883.
    pub port: u16,
}

/// Why a text names no broker.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` names no broker; write mqtts://HOST or mqtts://HOST:PORT")]
pub struct NoBroker(String);

impl FromStr for Broker {
    type Err = NoBroker;
    fn from_str(text: &str) -> Result<Self, NoBroker> {
        let no = || NoBroker(text.to_owned());
        let rest = text.strip_prefix("mqtts://").ok_or_else(no)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(no)?,
            None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| no())?,
            None if port.is_empty() => DEFAULT_MQTT_PORT,
            None => return Err(no()),
        };
        ServerName::try_from(host).map_err(|_| no())?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Broker {
    /// As robots are told to dial it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl Config {
    /// On this machine only, on the usual ports.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            api_per_s: DEFAULT_API_PER_S,
            broker: None,
            broker_crl: None,
            claim_code_lifetime: Duration::from_secs(15 * 60),
            clock: Arc::new(SystemClock::default()),
            data_dir: data_dir.into(),
            escalate_after: Duration::from_secs(5 * 60),
            heartbeat_interval: Duration::from_secs(30),
            hosts: Vec::new(),
            http: local(DEFAULT_HTTP_PORT),
            mqtt: local(DEFAULT_MQTT_PORT),
            robot_certificate_lifetime: Duration::from_secs(7 * 24 * 3600),
            service_ca: None,
            service_crl: None,
            streams_of_tenant: 256,
            store: None,
            traces: None,
            webhook_networks: Vec::new(),
            webhook_patience: Patience::default(),
            webhook_roots: PathBuf::from(DEFAULT_WEBHOOK_ROOTS),
        }
    }

    /// On this machine only, on free ports.
    pub fn for_test(data_dir: impl Into<PathBuf>) -> Self {
        let mut config = Self::new(data_dir);
        config.http.set_port(0);
        config.mqtt.set_port(0);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_named_by_a_url_and_told_to_robots_as_host_and_port() {
        for (text, told) in [
            ("mqtts://broker.example", "broker.example:8883"),
            ("mqtts://broker.example:1/", "broker.example:1"),
            ("mqtts://192.0.2.7:18883", "192.0.2.7:18883"),
            ("mqtts://[2001:db8::7]", "[2001:db8::7]:8883"),
            ("mqtts://[2001:db8::7]:9", "[2001:db8::7]:9"),
        ] {
            assert_eq!(text.parse::<Broker>().unwrap().to_string(), told);
        }
        for bad in [
            "mqtt://x",
            "mqtts://",
            "mqtts://x:",
            "mqtts://x:99999",
            "mqtts://a b",
            "x:1",
            "mqtts://[::1]x",
        ] {
            assert!(bad.parse::<Broker>().is_err(), "{bad}");
        }
    }
}
