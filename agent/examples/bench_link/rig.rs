//! An embedded cloud, a client of its API, and a robot made of the agent's parts.

use crate::measure::Samples;
use nooterra_agent::authority::{self, Authority};
use nooterra_agent::clock::{SystemClock, mono};
use nooterra_agent::config::Config;
use nooterra_agent::control::{ControlLoop, ControlThread, Desk, Goal, Lease, View};
use nooterra_agent::identity::{self, Identity};
use nooterra_agent::jobs::{Inbox, Jobs};
use nooterra_agent::link::{Channel, Downlink, DownlinkParts};
use nooterra_blackbox::{Clock, Journal, JournalHandle, Options};
use nooterra_cloud::Cloud;
use nooterra_hal::HalError;
use nooterra_policy::Gated;
use nooterra_protocol::command::{Command, StopProfile};
use nooterra_protocol::entry::Class;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::{EnvelopeId, RobotId};
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use nooterra_protocol::observation::{Capabilities, Observation, Timed};
use nooterra_protocol::policy::PolicyDocument;
use nooterra_protocol::time::MonoNanos;
use nooterra_protocol::uplink::Health;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

/// For anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The cloud, and a folder for everything.
pub(crate) struct Rig {
    client: ureq::Agent,
    cloud: Cloud,
    dir: tempfile::TempDir,
    runtime: Runtime,
    token: String,
}

impl Rig {
    pub(crate) fn start(dir: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let config = nooterra_cloud::Config::for_test(dir.path().join("cloud"));
        let cloud = runtime.block_on(Cloud::start(config)).unwrap();
        let root = ureq::tls::Certificate::from_pem(cloud.root_pem().as_bytes()).unwrap();
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::Specific(Arc::new(vec![root.to_owned()])))
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        // Connections are kept, as an operator's console keeps its own.
        let client = ureq::Agent::config_builder().tls_config(tls).proxy(None).build().new_agent();
        let token = cloud.admin_token().to_owned();
        let rig = Self { client, cloud, dir, runtime, token };
        rig.make_robot();
        rig
    }

    pub(crate) fn stop(self) {
        self.runtime.block_on(self.cloud.stop());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let request = self.client.get(self.url(path)).header("authorization", self.bearer());
        request.call().unwrap().body_mut().read_json().unwrap()
    }

    /// Sends a command that is void after two seconds, so that none is remembered for long.
    pub(crate) fn command(&self, robot: &str, ask: &Value) -> Value {
        let path = format!("/v1/robots/{robot}/commands");
        self.post(&path, &json!({ "ask": ask, "ttl_ms": 2000 }))
    }

    /// Gives a robot an identity, in a folder of its name.
    pub(crate) fn enroll(&self, robot: &str) -> Identity {
        let code = self.post("/v1/claim-codes", &json!({ "robot": robot }))["code"].clone();
        let code = code.as_str().unwrap().parse().unwrap();
        let dir = self.path(robot).join("state/identity");
        std::fs::create_dir_all(dir.parent().unwrap()).unwrap();
        let robot = RobotId::new(robot).unwrap();
        let url = self.url("");
        self.runtime.block_on(identity::enroll(&dir, &robot, &url, &code)).unwrap()
    }

    /// MQTT PINGREQ to PINGRESP over a robot's own connection: what the endpoint needs for
    /// anything at all.
    pub(crate) fn echo(&self, robot: &str, rounds: usize) -> Samples {
        let identity = self.enroll(robot);
        let tls = identity::client_config(&identity).unwrap();
        let address = self.cloud.mqtt_addr();
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::from(address.ip());
        let mut stream = StreamOwned::new(ClientConnection::new(tls, name).unwrap(), tcp);
        // CONNECT of MQTT 5: clean start, keep alive 60 s, no properties, the client id.
        let mut connect = vec![0x10, 0, 0, 4];
        connect.extend(b"MQTT\x05\x02\x00\x3c\x00\x00");
        connect.push(u8::try_from(robot.len()).unwrap());
        connect.extend(robot.as_bytes());
        connect[1] = u8::try_from(connect.len() - 2).unwrap();
        stream.write_all(&connect).unwrap();
        let mut head = [0; 2];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 0x20, "not a CONNACK");
        stream.read_exact(&mut vec![0; usize::from(head[1])]).unwrap();
        let mut echoes = Samples::default();
        for round in 0..rounds + rounds / 10 {
            let begun = Instant::now();
            stream.write_all(&[0xc0, 0]).unwrap();
            stream.read_exact(&mut head).unwrap();
            if round >= rounds / 10 {
                echoes.push(begun.elapsed());
            }
            assert_eq!(head, [0xd0, 0], "not a PINGRESP");
        }
        stream.write_all(&[0xe0, 0]).unwrap();
        echoes
    }

    /// The example robot's folder, with a policy that is signed.
    fn make_robot(&self) {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots/amr");
        let robot = self.path("amr-1");
        std::fs::create_dir(&robot).unwrap();
        std::fs::create_dir(robot.join("skill-keys")).unwrap();
        for file in ["agent.toml", "policy.json", "world.toml"] {
            std::fs::copy(example.join(file), robot.join(file)).unwrap();
        }
        let owner = Ed25519Key::from_seed([9; 32]);
        std::fs::write(robot.join("owner.pub"), owner.verifying_key().to_string()).unwrap();
        let text = std::fs::read_to_string(robot.join("policy.json")).unwrap();
        let document: PolicyDocument = serde_json::from_str(&text).unwrap();
        let signed = Signed::sign(document, &owner).unwrap();
        std::fs::write(robot.join("policy.cbor"), signed.bytes()).unwrap();
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(self.url(path)).header("authorization", self.bearer());
        request.send_json(body).unwrap().body_mut().read_json().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.cloud.http_addr())
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

/// Of the control loop, by the robot's configuration: 50 Hz.
pub(crate) const PERIOD: Duration = Duration::from_millis(20);

/// What the driver was last told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Motion {
    Moving,
    Still,
    Stopped,
}

/// The agent's parts, composed as the daemon composes them, around a robot that stands.
pub(crate) struct Robot {
    control: ControlThread,
    desk: Arc<Desk>,
    _inbox: Inbox,
    journal: Journal,
    link: JoinHandle<()>,
    motions: Receiver<(Motion, MonoNanos)>,
    stop: watch::Sender<bool>,
}

impl Robot {
    /// Enrolls `amr-1`, starts it and waits until it is online.
    pub(crate) fn start(rig: &Rig) -> Self {
        let identity = rig.enroll("amr-1");
        let config = Config::load(&rig.path("amr-1").join("agent.toml")).unwrap();
        let policy = nooterra_agent::envelope::load(&config).unwrap();
        let clock = Arc::new(SystemClock::new(identity.not_before()));
        let stamps: Arc<dyn Clock> = Arc::<SystemClock>::clone(&clock);
        let options = Options::new(stamps, identity.signer(), policy.digest());
        let journal = Journal::open(&config.state.journal_dir(), options).unwrap().journal;
        let handle = journal.handle();
        let (desk, view) =
            (Arc::new(Desk::new(handle.clone(), &policy)), Arc::new(View::default()));
        let (jobs, inbox) = Jobs::new(&rig.path("amr-1"));
        let (sender, motions) = channel();
        let robot = Standing { id: config.robot.id.clone(), motion: Motion::Still, sender };
        let capabilities = nooterra_hal::Robot::capabilities(&robot);
        let (queue, boxed) = (handle.control_queue(), Box::new(robot));
        let control = ControlLoop::new(boxed, &policy, Arc::clone(&desk), queue, view);
        let control = ControlThread::spawn(control, &config.control).unwrap();
        let news = Arc::new(Notify::new());
        let waker = Arc::clone(&news);
        handle.set_notify(Box::new(move || waker.notify_one()));
        let rules = authority::signed::load(&config).unwrap().rules;
        let authority =
            authority::signed::authority(&config, rules, Arc::clone(&clock), &handle).unwrap();
        let told = Arc::clone(&desk);
        authority.listen(move |grants, now| told.set_authority(grants, now.vetoed.is_some()));
        let authority = Arc::new(authority);
        let downlink = Downlink::new(DownlinkParts {
            authority: Arc::clone(&authority),
            clock: Arc::clone(&clock),
            command_key: identity.cloud().command_key.clone(),
            desk: Arc::clone(&desk),
            incidents: nooterra_agent::incident::Incidents::new(handle.clone(), None),
            jobs,
            journal: handle.clone(),
            max_lease_ms: config.link.max_lease_ms,
            robot: config.robot.id.clone(),
        });
        let health = Health {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            battery: None,
            capabilities,
            emergency_stop: false,
            job: None,
            journal_bound_bytes: None,
            journal_bytes: None,
            journal_records: 0,
            key_store: identity.key_store().to_owned(),
            mode: None,
            policy: policy.document().id.clone(),
            policy_hash: policy.digest(),
            pose: None,
            vetoed: false,
        };
        let channel = Channel {
            clock,
            config: config.link,
            downlink: Arc::new(downlink),
            health: Arc::new(move || health.clone()),
            identity,
            journal: handle,
            news,
        };
        let (stop, stopped) = watch::channel(false);
        let link = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    _ = channel.run(stopped) => (),
                    () = refreshed(&authority) => (),
                }
            });
        });
        let give_up = Instant::now() + PATIENCE;
        while rig.get("/v1/robots/amr-1")["online"] != true {
            assert!(Instant::now() < give_up, "the robot is not online");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { control, desk, _inbox: inbox, journal, link, motions, stop }
    }

    pub(crate) fn stop(self) {
        self.control.end();
        self.stop.send_replace(true);
        self.link.join().unwrap();
        self.journal.close().unwrap();
    }

    /// Lays down an operator's wish for a moment; when.
    pub(crate) fn wish(&self) -> MonoNanos {
        let at = mono();
        let until = at.plus(Duration::from_millis(60));
        let lease =
            Lease { goal: Goal::Drive(Twist::new(0.3, 0.0)), holds: true, renewed: at, until };
        self.desk.set_operator(lease, EnvelopeId::new("cmd_bench").unwrap());
        at
    }

    pub(crate) fn journal(&self) -> JournalHandle {
        self.journal.handle()
    }

    /// What the driver was told so far does not count.
    pub(crate) fn forget(&self) {
        while self.motions.try_recv().is_ok() {}
    }

    /// When the driver was first told so.
    pub(crate) fn wait_for(&self, wanted: Motion) -> MonoNanos {
        loop {
            let (motion, at) = self.motions.recv_timeout(PATIENCE).unwrap();
            if motion == wanted {
                return at;
            }
        }
    }

    pub(crate) fn wait_for_ack(&self, class: Class, seq: u64) {
        let (journal, give_up) = (self.journal.handle(), Instant::now() + PATIENCE);
        while journal.acked(class) < seq {
            assert!(Instant::now() < give_up, "record {seq} is not acknowledged");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// What may be asked is judged again and again, as the daemon does: no grant outlives its horizon.
async fn refreshed(authority: &Authority) {
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    loop {
        beat.tick().await;
        authority.refresh();
    }
}

/// A robot in the middle of the hall that stays there whatever it is told, and notes when it
/// was told something new.
struct Standing {
    id: RobotId,
    motion: Motion,
    sender: Sender<(Motion, MonoNanos)>,
}

impl Standing {
    fn told(&mut self, motion: Motion) {
        if motion != self.motion {
            self.motion = motion;
            // Nobody listens any more once the figures are taken.
            let _ = self.sender.send((motion, mono()));
        }
    }
}

impl nooterra_hal::Robot for Standing {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            names: vec!["drive".to_owned()],
            max_linear_mps: 2.0,
            max_angular_radps: 2.0,
            model: "bench".to_owned(),
        }
    }

    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        Ok(Observation {
            battery: None,
            docked: false,
            emergency_stop: false,
            gripper: false,
            joints: None,
            pose: Timed { at: now, value: Pose { x: 9.7, y: 4.0, yaw: 0.0 } },
            scan: None,
            twist: Timed { at: now, value: Twist::ZERO },
        })
    }

    fn stop(&mut self, _: MonoNanos, _: StopProfile) -> Result<(), HalError> {
        self.told(Motion::Stopped);
        Ok(())
    }

    fn write(&mut self, _: MonoNanos, tick: u64, command: Gated<Command>) -> Result<(), HalError> {
        let twist = command.open(&self.id, tick)?.twist().ok_or(HalError::Command)?;
        let moves = twist.linear.abs() > 1e-9 || twist.angular.abs() > 1e-9;
        self.told(if moves { Motion::Moving } else { Motion::Still });
        Ok(())
    }
}
