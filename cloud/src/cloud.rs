//! Starting and stopping.

use crate::access::{Limit, Limits, Streams};
use crate::api;
use crate::broker_crl;
use crate::ca::{Ca, CaError};
use crate::config::Config;
use crate::core::Core;
use crate::endpoint::broker::evict;
use crate::endpoint::{self, End, Registry};
use crate::files;
use crate::jobs::{JobError, Server, new_id};
use crate::services::ServicesError;
use crate::store::{Address, News, Store, StoreError, robots, rollouts};
use crate::tls::{self, ClientAuth, PortError, ServerCertificate};
use crate::traces::Traces;
use crate::watch::{self as jobs_watch, Attention};
use crate::webhooks;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{ActorId, JournalId};
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use std::fmt;
use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;

/// How often the server's certificate is made anew.
const RENEWAL: Duration = Duration::from_secs(24 * 3600);

/// How often roll-outs are looked after that wait for time to pass.
const TENDING: Duration = Duration::from_secs(1);

/// Between two looks at files that may change.
const REFRESH: Duration = Duration::from_secs(5);

/// Connections that wait for the accept loop: a fleet that comes back at once.
const BACKLOG: u32 = 4096;

/// What waits in the system for one robot to read; a window of ordinary commands is smaller.
const MQTT_SEND_BYTES: u32 = 64 * 1024;

/// The name under which the cloud acts, on facts and envelopes.
const ACTOR: &str = "cloud";

/// Why the cloud does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificate authority's files, or a host name that no certificate can carry.
    #[error("certificate authority: {0}")]
    Ca(#[from] CaError),
    /// The data directory cannot be made, read or written.
    #[error("{path}: {source}; choose a data directory that this user can write")]
    DataDir {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gave no random bytes.
    #[error("no random bytes: {0}")]
    Entropy(#[from] getrandom::Error),
    /// Another process runs on the same data directory.
    #[error("{0} is in use by another nooterra-cloud; stop it, or choose another directory")]
    InUse(PathBuf),
    /// A file of ours holds something else than we write there.
    #[error("{path}: {why}; restore it from a backup")]
    Key {
        /// Which file.
        path: PathBuf,
        /// In which way.
        why: String,
    },
    /// Another program listens there, or the port needs rights that this user lacks.
    #[error(
        "cannot listen for {port} on {address}: {source}; choose another address with --{port}"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// `http` or `mqtt`.
        port: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The processes on one database share the keys of the data directory.
    #[error(
        "{0} is used with another root or command key; copy ca.pem, ca_key.pem, command_key.pem \
         and admin_token from the data directory that it was first used with"
    )]
    OtherKeys(String),
    /// The authority of services.
    #[error(transparent)]
    Services(#[from] ServicesError),
    /// The database.
    #[error("{database}: {source}")]
    Store {
        /// Which one.
        database: String,
        /// What is wrong.
        source: StoreError,
    },
}

/// A running cloud. Dropping it stops it too, without waiting for connections to end.
pub struct Cloud {
    admin_token: String,
    admin_token_file: PathBuf,
    /// Has files looked at that may change.
    files: Arc<Notify>,
    http_addr: SocketAddr,
    /// Held as long as this process uses the data directory.
    _lock: Lock,
    mqtt_addr: SocketAddr,
    root_pem: String,
    root_sha256: Digest,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Cloud {
    /// Opens the data directory, makes what is missing there, and listens on both ports.
    ///
    /// # Errors
    /// [`StartError`], with what to do about it.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let dir = &config.data_dir;
        files::make_private_dir(dir).map_err(|e| data_dir(dir, e))?;
        let lock = lock(dir)?;
        let now = config.clock.wall();

        let ca = Ca::open(dir, now)?;
        let key = command_key(&dir.join("command_key.pem"))?;
        let admin_token_file = dir.join("admin_token");
        let admin_token = admin_token(&admin_token_file)?;
        let process = new_id("process")?;
        let (store, journal) = open_store(&config, &ca, &key, &process).await?;

        let (http, http_addr) = listen("http", config.http, None)?;
        let (mqtt, mqtt_addr) = listen("mqtt", config.mqtt, Some(MQTT_SEND_BYTES))?;
        let hosts = hosts(&config, [http_addr, mqtt_addr]);
        let certificate = Arc::new(ServerCertificate::new(&ca, &hosts, now)?);
        let port = |auth, services| tls::port(&ca, &config.clock, &certificate, auth, services);
        let services = config.service_ca.as_deref().map(|ca| (ca, config.service_crl.as_deref()));
        let http_tls = port(ClientAuth::Optional, services)?;
        let mqtt_tls = port(ClientAuth::Demanded, None)?;

        let actor = ActorId::new(ACTOR).map_err(|e| key_error(&dir.join("cloud.sqlite"), &e))?;
        let server = Server::new(actor, journal, key, config.clock.clone());
        let (root_sha256, root_pem) = (ca.fingerprint(), ca.root_pem().to_owned());
        let core = Arc::new(Core {
            admin: Digest::of(admin_token.as_bytes()),
            ca,
            caller: webhooks::Caller::new(
                &config.webhook_roots,
                &config.webhook_networks,
                config.webhook_patience,
            ),
            claim_code_lifetime: config.claim_code_lifetime,
            clock: config.clock.clone(),
            figures: api::Figures::new(config.traces.as_ref().map(Traces::figures)),
            limits: Limits::new(Limit::new(config.api_per_s)),
            mqtt: match &config.broker {
                Some(broker) => broker.to_string(),
                None => advertised(&config, mqtt_addr),
            },
            process,
            registry: Registry::default(),
            robot_certificate_lifetime: config.robot_certificate_lifetime,
            server: Arc::new(server),
            services: http_tls.authorities(),
            store,
            streams: Streams::new(config.streams_of_tenant),
            webhooks_in_the_clear: !config.webhook_networks.is_empty(),
        });

        // Before anyone connects who could tell some.
        let news = core.store.news();
        let (stop, stopped) = watch::channel(false);
        let files = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        let (shared, until) = (core.clone(), stopped.clone());
        tasks.spawn(tls::accept("mqtt", mqtt, mqtt_tls, stopped.clone(), move |it| {
            endpoint::serve(shared.clone(), it, until.clone())
        }));
        let (shared, until, router) = (core.clone(), stopped.clone(), api::router(core.clone()));
        tasks.spawn(tls::accept("http", http, http_tls, stopped.clone(), move |it| {
            api::serve(shared.clone(), router.clone(), it, until.clone())
        }));
        if let Some(broker) = config.broker {
            let news = core.store.news();
            tasks.spawn(evict::keep(core.clone(), broker.clone(), news, stopped.clone()));
            tasks.spawn(endpoint::broker::keep(core.clone(), broker, stopped.clone()));
        }
        if let Some(path) = config.broker_crl {
            let news = core.store.news();
            tasks.spawn(broker_crl::keep(core.clone(), path, news, stopped.clone()));
        }
        tasks.spawn(webhooks::deliver(core.clone(), stopped.clone()));
        tasks.spawn(hear(core.clone(), news, stopped.clone()));
        let attention = Attention::new(config.heartbeat_interval, config.escalate_after, now);
        tasks.spawn(jobs_watch::keep(core.clone(), attention, stopped.clone()));
        tasks.spawn(tend(core.clone(), stopped.clone()));
        tasks.spawn(refresh(core.clone(), files.clone(), stopped.clone()));
        tasks.spawn(renew(core, certificate, hosts, stopped));
        tracing::info!(%http_addr, %mqtt_addr, root_sha256 = %root_sha256, "cloud started");
        Ok(Self {
            admin_token,
            admin_token_file,
            files,
            http_addr,
            _lock: lock,
            mqtt_addr,
            root_pem,
            root_sha256,
            stop,
            tasks,
        })
    }

    /// What `Authorization: Bearer` takes.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Where the token is kept.
    #[must_use]
    pub fn admin_token_file(&self) -> &Path {
        &self.admin_token_file
    }

    /// Where the HTTP API listens.
    #[must_use]
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where the MQTT endpoint listens.
    #[must_use]
    pub const fn mqtt_addr(&self) -> SocketAddr {
        self.mqtt_addr
    }

    /// The root certificate, PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// SHA-256 over the root certificate's DER; every claim code ends with it.
    #[must_use]
    pub const fn root_sha256(&self) -> Digest {
        self.root_sha256
    }

    /// Looks at once at the files that may change while the cloud runs, which is the revocation
    /// lists of services; a few seconds later it would anyway.
    pub fn reload(&self) {
        self.files.notify_one();
    }

    /// Tells every connection, waits a few seconds for them to end, and returns when the data
    /// directory is free.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(done) = self.tasks.join_next().await {
            if let Err(error) = done {
                tracing::error!(%error, "a task of the cloud failed");
            }
        }
        tracing::info!("cloud stopped");
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud")
            .field("http_addr", &self.http_addr)
            .field("mqtt_addr", &self.mqtt_addr)
            .finish_non_exhaustive()
    }
}

impl From<PortError> for StartError {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Ca(error) => Self::Ca(error),
            PortError::Services(error) => Self::Services(error),
        }
    }
}

fn data_dir(path: &Path, source: std::io::Error) -> StartError {
    StartError::DataDir { path: path.to_owned(), source }
}

fn key_error(path: &Path, why: &dyn fmt::Display) -> StartError {
    StartError::Key { path: path.to_owned(), why: why.to_string() }
}

/// The lock of a data directory: one process at a time has it, and the system releases it when
/// that process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would not do: a child that another thread is just starting holds it,
        // too, until it has become another program.
        let _ = self.0.unlock();
    }
}

/// Takes the lock.
pub(crate) fn lock(dir: &Path) -> Result<Lock, StartError> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| data_dir(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(data_dir(&path, error)),
    }
}

fn command_key(path: &Path) -> Result<Ed25519Key, StartError> {
    if let Some(pem) = files::read(path).map_err(|e| data_dir(path, e))? {
        return Ed25519Key::from_pem(&pem).map_err(|e| key_error(path, &e));
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let key = Ed25519Key::from_seed(seed);
    let pem = key.to_pem().map_err(|e| key_error(path, &e))?;
    files::write_private(path, &pem).map_err(|e| data_dir(path, e))?;
    Ok(key)
}

fn admin_token(path: &Path) -> Result<String, StartError> {
    if let Some(text) = files::read(path).map_err(|e| data_dir(path, e))? {
        let token = text.trim();
        return if token.len() >= 32 {
            Ok(token.to_owned())
        } else {
            Err(key_error(path, &"holds no token of at least 32 characters"))
        };
    }
    let token = new_id("admin")?;
    files::write_private(path, &format!("{token}\n")).map_err(|e| data_dir(path, e))?;
    Ok(token)
}

async fn open_store(
    config: &Config,
    ca: &Ca,
    key: &Ed25519Key,
    process: &str,
) -> Result<(Store, JournalId), StartError> {
    let unnamed = |source| StartError::Store { database: "--store".to_owned(), source };
    let path = config.data_dir.join("cloud.sqlite");
    let address = Address::new(config.store.as_deref(), path.clone(), process).map_err(unnamed)?;
    let name = address.to_string();
    let shared = matches!(address, Address::Postgres(_));
    if !shared {
        // SQLite gives its other files the mode of the first.
        files::touch_private(&path).map_err(|e| data_dir(&path, e))?;
    }
    let fresh = new_id("cloud")?;
    let keys = format!("{} {}", ca.fingerprint(), key.verifying_key());
    // To wait for a server is to block.
    let opened = tokio::task::spawn_blocking(move || {
        let store = Store::at(address)?;
        let journal = store.setting("journal", || fresh)?;
        let first = if shared { store.setting("keys", || keys.clone())? } else { keys.clone() };
        Ok((store, journal, first == keys))
    });
    let opened = opened.await.unwrap_or(Err(StoreError::Panicked));
    let failed = |source| StartError::Store { database: name.clone(), source };
    let (store, journal, same) = opened.map_err(failed)?;
    if !same {
        return Err(StartError::OtherKeys(name));
    }
    let journal = JournalId::new(journal)
        .map_err(|error| failed(StoreError::damaged("its own journal id", error)))?;
    Ok((store, journal))
}

/// `send` bounds what waits in the system for each peer to read, bytes.
fn listen(
    port: &'static str,
    address: SocketAddr,
    send: Option<u32>,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // So that a cloud that was killed can be started again at once.
        socket.set_reuseaddr(true)?;
        if let Some(send) = send {
            socket.set_send_buffer_size(send)?;
        }
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listener().map_err(|source| StartError::Listen { address, port, source })
}

/// Every name under which a client on this machine or one that was told `--host` may dial.
fn hosts(config: &Config, listening: [SocketAddr; 2]) -> Vec<String> {
    let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let addresses = listening
        .iter()
        .map(SocketAddr::ip)
        .filter(|address| !address.is_unspecified())
        .map(|address| address.to_string());
    let mut hosts = Vec::new();
    for host in config.hosts.iter().cloned().chain(local).chain(addresses) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// Where robots are told to connect: the first `--host`, else the address listened on.
fn advertised(config: &Config, mqtt: SocketAddr) -> String {
    match config.hosts.first() {
        Some(host) if host.contains(':') => format!("[{host}]:{}", mqtt.port()),
        Some(host) => format!("{host}:{}", mqtt.port()),
        None if mqtt.ip().is_unspecified() => format!("localhost:{}", mqtt.port()),
        None => mqtt.to_string(),
    }
}

/// Tells the live connections what was committed about them, here or in another process.
async fn hear(
    core: Arc<Core>,
    mut news: broadcast::Receiver<News>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let heard = tokio::select! {
            () = tls::stopping(&mut stop) => return,
            heard = news.recv() => heard,
        };
        match heard {
            Ok(News::Commands(robot)) => core.registry.wake(&robot),
            Ok(News::Connected(robot, number)) => {
                core.registry.end_older(&robot, number, End::TakenOver);
            }
            Ok(News::Enrolled(robot, number)) => {
                core.registry.end_older(&robot, number, End::Reenrolled);
            }
            Ok(News::Events) => {}
            Ok(News::Revoked(robot, number)) => {
                core.registry.end_older(&robot, number, End::Revoked);
            }
            Ok(News::Missed) | Err(RecvError::Lagged(_)) => {
                core.registry.wake_all();
                match core.store.read(robots::connections).await {
                    Ok(numbers) => {
                        for (robot, number) in numbers {
                            core.registry.end_older(&robot, number, End::TakenOver);
                        }
                    }
                    Err(error) => tracing::warn!(%error, "who is connected where is not known"),
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Moves roll-outs as time goes by; what robots report moves them at once.
async fn tend(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tls::stopping(&mut stop) => return,
            () = tokio::time::sleep(TENDING) => {}
        }
        let server = core.server.clone();
        let waits = core.store.read(rollouts::any_waits).await;
        let tended: Result<(), JobError> = match waits {
            Ok(true) => core.store.write(move |tx| server.tend_rollouts(tx, None)).await,
            Ok(false) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = tended {
            tracing::warn!(%error, "the roll-outs were not looked after");
        }
    }
}

/// Reads files again that changed.
async fn refresh(core: Arc<Core>, asked: Arc<Notify>, mut stop: watch::Receiver<bool>) {
    let Some(services) = core.services.clone() else { return };
    loop {
        tokio::select! {
            () = tls::stopping(&mut stop) => return,
            () = tokio::time::sleep(REFRESH) => {}
            () = asked.notified() => {}
        }
        let services = services.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || services.refresh()).await {
            tracing::error!(%error, "the revocation lists of services were not looked at");
        }
    }
}

async fn renew(
    core: Arc<Core>,
    certificate: Arc<ServerCertificate>,
    hosts: Vec<String>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = tls::stopping(&mut stop) => return,
            () = tokio::time::sleep(RENEWAL) => {}
        }
        if let Err(error) = certificate.renew(&core.ca, &hosts, core.clock.wall()) {
            tracing::error!(%error, "the server's certificate was not renewed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn robots_are_told_an_address_that_they_can_dial() {
        let mut config = Config::new("x");
        let any: SocketAddr = "0.0.0.0:8883".parse().unwrap();
        assert_eq!(advertised(&config, any), "localhost:8883");
        assert_eq!(advertised(&config, "10.0.0.7:1".parse().unwrap()), "10.0.0.7:1");
        config.hosts = vec!["fd00::7".to_owned()];
        assert_eq!(advertised(&config, any), "[fd00::7]:8883");
        config.hosts = vec!["cloud.example".to_owned()];
        assert_eq!(advertised(&config, any), "cloud.example:8883");
        assert_eq!(hosts(&config, [any, any])[0], "cloud.example");
    }
}
