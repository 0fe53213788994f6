//! What can be chosen when a cloud starts.

use crate::clock::{Clock, SystemClock};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the HTTP API listens unless told otherwise.
pub const DEFAULT_HTTP_PORT: u16 = 8443;

/// Where the MQTT endpoint listens unless told otherwise: the port registered for MQTT over TLS.
pub const DEFAULT_MQTT_PORT: u16 = 8883;

/// How a cloud is started. The fields may be set one by one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// How long a claim code is good for.
    pub claim_code_lifetime: Duration,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Everything that outlives the process. One process at a time may use it.
    pub data_dir: PathBuf,
    /// Names and addresses by which robots reach this cloud; the server certificate carries
    /// them, and the first is what robots are told to connect to.
    pub hosts: Vec<String>,
    /// Where the HTTP API listens; port 0 takes a free one.
    pub http: SocketAddr,
    /// Where the MQTT endpoint listens; port 0 takes a free one.
    pub mqtt: SocketAddr,
    /// How long a robot's certificate is valid. Days: a stolen one dies by itself.
    pub robot_certificate_lifetime: Duration,
    /// A Postgres server for several processes, `postgres://USER@HOST/DATABASE`; without, one
    /// SQLite file in the data directory. Each process has a data directory of its own, with
    /// the same keys in it.
    pub store: Option<String>,
}

impl Config {
    /// On this machine only, on the usual ports.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            claim_code_lifetime: Duration::from_secs(15 * 60),
            clock: Arc::new(SystemClock::default()),
            data_dir: data_dir.into(),
            hosts: Vec::new(),
            http: local(DEFAULT_HTTP_PORT),
            mqtt: local(DEFAULT_MQTT_PORT),
            robot_certificate_lifetime: Duration::from_secs(7 * 24 * 3600),
            store: None,
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
