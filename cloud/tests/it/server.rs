//! A real Postgres in a temporary directory: no port, a socket beside its data, one database for
//! each test. It is stopped when the last test that uses it ends.
#![allow(dead_code)] // Tests and the benchmark each use their part.

use nix::unistd::{User, chown, geteuid};
use std::fs::Permissions;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to start on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(180);

/// A database of one's own.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    name: String,
    server: Arc<Server>,
}

#[derive(Debug)]
struct Server {
    child: Child,
    dir: TempDir,
    /// Part of the socket's name, whether it is listened on or not.
    port: u16,
}

impl Database {
    /// An empty one; or why there can be none on this machine.
    pub(crate) fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let server = Server::shared()?;
        server.run(&format!("CREATE DATABASE {name}"));
        Ok(Self { name, server })
    }

    /// One on a server of its own that syncs its disk, to be measured.
    pub(crate) fn durable() -> Result<Self, String> {
        let server = Arc::new(Server::start(&["fsync=on"], None)?);
        Ok(Self { name: "postgres".to_owned(), server })
    }

    /// One on a server of its own that speaks TLS on a port of this machine, with a certificate
    /// and its key in PEM; and the port.
    pub(crate) fn encrypted(certificate: &str, key: &str) -> Result<(Self, u16), String> {
        // Another program may take the port before the server does.
        let mut why = String::new();
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            match Server::start(&["fsync=off", "ssl=on"], Some((port, certificate, key))) {
                Ok(server) => {
                    let database = Self { name: "postgres".to_owned(), server: Arc::new(server) };
                    return Ok((database, port));
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// What `--store` takes.
    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// What was in it is gone; nobody may be connected.
    pub(crate) fn lose(&self) {
        self.server.run(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
        self.server.run(&format!("CREATE DATABASE {}", self.name));
    }

    /// Ends every connection to it, as a server does that is started anew.
    pub(crate) fn cut(&self) {
        self.server.run(&format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{}'",
            self.name
        ));
    }

    /// One value of it as text.
    pub(crate) fn ask(&self, sql: &str) -> String {
        let mut client = connect(&self.url()).unwrap();
        client.query_one(sql, &[]).unwrap().get(0)
    }
}

impl Server {
    fn shared() -> Result<Arc<Self>, String> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        // Who kills a process here leaves what was written to the system.
        let server = Arc::new(Self::start(&["fsync=off"], None)?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    fn start(settings: &[&str], tls: Option<(u16, &str, &str)>) -> Result<Self, String> {
        let programs = programs().ok_or("Postgres is not installed (apt install postgresql)")?;
        let dir = tempfile::tempdir().unwrap();
        // It refuses to run as root.
        let user = if geteuid().is_root() {
            let user = User::from_name("postgres").ok().flatten();
            let user = user.ok_or("there is no user `postgres` to run Postgres as")?;
            chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
            Some(user)
        } else {
            None
        };
        let run = |program: &str| {
            let program = programs.join(program);
            let mut command = match &user {
                None => Command::new(program),
                Some(user) => {
                    let mut command = Command::new("setpriv");
                    command.arg(format!("--reuid={}", user.uid));
                    command.arg(format!("--regid={}", user.gid)).arg("--clear-groups");
                    command.arg(program);
                    command
                }
            };
            command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
            command
        };
        let data = dir.path().join("data");
        let mut init = run("initdb");
        init.args(["--auth=trust", "--username=nooterra", "--encoding=UTF8", "--locale=C"]);
        init.args(["--no-sync", "-D"]).arg(&data);
        let done = init.stderr(Stdio::piped()).output().map_err(|e| format!("initdb: {e}"))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            let said = said.lines().next().unwrap_or_default();
            return Err(format!("initdb does not run here: {said}"));
        }
        let mut serve = run("postgres");
        serve.arg("-D").arg(&data).arg("-k").arg(dir.path());
        for setting in ["listen_addresses=", "max_connections=400"].iter().chain(settings) {
            serve.args(["-c", setting]);
        }
        let port = tls.map_or(5432, |(port, ..)| port);
        serve.args(["-p", &port.to_string()]);
        if let Some((_, certificate, key)) = tls {
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                let path = data.join(name);
                std::fs::write(&path, text).unwrap();
                std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
                if let Some(user) = &user {
                    chown(&path, Some(user.uid), Some(user.gid)).unwrap();
                }
            }
            serve.args(["-c", "listen_addresses=127.0.0.1"]);
        }
        let child = serve.stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { child, dir, port };
        let start = Instant::now();
        while connect(&server.url("postgres")).is_err() {
            if let Some(status) = server.child.try_wait().unwrap() {
                return Err(format!("Postgres ended while it started: {status}"));
            }
            assert!(start.elapsed() < PATIENCE, "Postgres does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    fn url(&self, database: &str) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://nooterra@{socket}:{}/{database}", self.port)
    }

    fn run(&self, sql: &str) {
        connect(&self.url("postgres")).unwrap().batch_execute(sql).unwrap();
    }
}

impl Drop for Server {
    /// A fast shutdown: it ends its own children.
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        let _ = kill(pid, Signal::SIGINT);
        let _ = self.child.wait();
    }
}

pub(crate) fn connect(url: &str) -> Result<postgres::Client, postgres::Error> {
    postgres::Client::connect(url, postgres::NoTls)
}

/// Where Debian and others keep them.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = debian.map(|version| version.path().join("bin")).collect();
    found.sort();
    found.extend(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    let has = |dir: &PathBuf| ["initdb", "postgres"].iter().all(|name| has(dir, name));
    found.into_iter().rev().find(has)
}

fn has(dir: &Path, program: &str) -> bool {
    dir.join(program).exists()
}

/// Says that the running test shows nothing here. Past the harness, which keeps to itself what
/// a test prints that passes; `cargo xtask test` counts these lines.
pub(crate) fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("\nSKIPPED: {test}: {why}\n");
    // Nobody listens: then it cannot be said.
    let _ = std::io::stdout().write_all(line.as_bytes());
}
