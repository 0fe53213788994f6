//! Robots as a storm needs them: TLS with a certificate, a little MQTT 5, nothing else.

use nooterra_protocol::codec;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::uplink::State;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// As the agent: how often it tells how it is, and its pauses between two attempts.
const STATE_EVERY: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

const PUBLISH: u8 = 3;
const SUBACK: u8 = 9;

/// A robot that is enrolled.
#[derive(Clone)]
pub(crate) struct Robot {
    id: RobotId,
    tls: Arc<ClientConfig>,
}

impl Robot {
    pub(crate) fn topic(&self, end: &str) -> String {
        format!("noot/1/{}/{end}", self.id)
    }
}

/// The cloud's API, as far as enrolment needs it.
pub(crate) struct Api {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Api {
    pub(crate) fn new(http: SocketAddr, root: &str, token: &str) -> Self {
        let root = Certificate::from_pem(root.as_bytes()).unwrap().to_owned();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(vec![root])))
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        let agent = ureq::Agent::config_builder().tls_config(tls).proxy(None).build().new_agent();
        Self { agent, base: format!("https://{http}"), token: token.to_owned() }
    }

    pub(crate) fn enrol(&self, name: &str, root: &str) -> Robot {
        let claim = self.post("/v1/claim-codes", &json!({ "robot": name }));
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let enrolled =
            self.post("/v1/enrolments", &json!({ "code": claim["code"], "csr_pem": csr }));
        let certificate = enrolled["certificate_pem"].as_str().unwrap();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .unwrap();
        Robot { id: RobotId::new(name).unwrap(), tls: Arc::new(tls) }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.agent.post(format!("{}{path}", self.base));
        let request = request.header("Authorization", format!("Bearer {}", self.token));
        let text = request.send_json(body).unwrap().into_body().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

/// One connection.
pub(crate) struct Link {
    stream: BufReader<TlsStream<TcpStream>>,
    packet_id: u16,
}

impl Link {
    /// Connected, and subscribed to both of its topics.
    pub(crate) async fn connect(robot: &Robot, cloud: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect(cloud).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(cloud.ip());
        let stream = TlsConnector::from(robot.tls.clone()).connect(name, tcp).await?;
        let mut link = Self { stream: BufReader::with_capacity(1024, stream), packet_id: 0 };
        let mut connect = text("MQTT");
        connect.extend(b"\x05\x02\x00\x1e\x00");
        connect.extend(text(robot.id.as_str()));
        link.send(0x10, &connect).await?;
        let (_, connack) = link.receive().await?;
        if connack.get(1) != Some(&0) {
            return Err(io::Error::other(format!("CONNACK {connack:x?}")));
        }
        let mut subscribe = b"\xff\xff\x00".to_vec();
        for end in ["ack", "cmd"] {
            subscribe.extend(text(&robot.topic(end)));
            subscribe.push(1);
        }
        link.send(0x82, &subscribe).await?;
        while link.receive().await?.0 != SUBACK {}
        Ok(link)
    }

    /// Publishes with QoS 1; does not wait for its PUBACK.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) -> io::Result<()> {
        self.packet_id = self.packet_id % 60_000 + 1;
        let mut body = text(topic);
        body.extend(self.packet_id.to_be_bytes());
        body.push(0);
        body.extend(payload);
        self.send(0x32, &body).await
    }

    /// Waits for the cloud's acknowledgement of what is durable.
    pub(crate) async fn acknowledged(&mut self) -> io::Result<()> {
        while self.receive().await?.0 != PUBLISH {}
        Ok(())
    }

    async fn send(&mut self, head: u8, body: &[u8]) -> io::Result<()> {
        let mut packet = vec![head];
        let mut left = body.len();
        while left >= 128 {
            packet.push(u8::try_from(left % 128).unwrap() | 0x80);
            left /= 128;
        }
        packet.push(u8::try_from(left).unwrap());
        packet.extend(body);
        self.stream.get_mut().write_all(&packet).await?;
        self.stream.get_mut().flush().await
    }

    /// The type and the body of the next packet. Not to be cancelled half way.
    async fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let head = self.stream.read_u8().await?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.stream.read_u8().await?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((head >> 4, body))
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// Robots that connect, tell how they are, and come back when they are cut off.
pub(crate) struct Fleet {
    cloud: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    lost: AtomicUsize,
    told: AtomicUsize,
    up: AtomicUsize,
}

impl Fleet {
    pub(crate) fn new(cloud: SocketAddr) -> Self {
        Self { cloud, counts: Arc::default() }
    }

    /// All at once.
    pub(crate) fn connect(&self, robots: Vec<Robot>) {
        for (n, robot) in robots.into_iter().enumerate() {
            let (cloud, counts) = (self.cloud, self.counts.clone());
            tokio::spawn(async move { live(&robot, n, cloud, &counts).await });
        }
    }

    pub(crate) fn up(&self) -> usize {
        self.counts.up.load(Ordering::SeqCst)
    }

    /// States that the cloud has acknowledged, or will.
    pub(crate) fn told(&self) -> usize {
        self.counts.told.load(Ordering::SeqCst)
    }

    /// Connections that ended.
    pub(crate) fn lost(&self) -> usize {
        self.counts.lost.load(Ordering::SeqCst)
    }
}

async fn live(robot: &Robot, n: usize, cloud: SocketAddr, counts: &Counts) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        if let Ok(link) = Link::connect(robot, cloud).await {
            counts.up.fetch_add(1, Ordering::SeqCst);
            backoff = FIRST_BACKOFF;
            let _ = stay(robot, link, counts).await;
            counts.up.fetch_sub(1, Ordering::SeqCst);
            counts.lost.fetch_add(1, Ordering::SeqCst);
        }
        // Half to all of it, each its own part.
        let part = 0.5 + (n as f64 * 0.618_033_988_75).fract() / 2.0;
        tokio::time::sleep(backoff.mul_f64(part)).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

async fn stay(robot: &Robot, mut link: Link, counts: &Counts) -> io::Result<()> {
    let state = State { health: None, online: true, robot: robot.id.clone() };
    let state = codec::to_vec(&state).unwrap();
    let topic = robot.topic("state");
    loop {
        link.publish(&topic, &state).await?;
        link.receive().await?;
        counts.told.fetch_add(1, Ordering::SeqCst);
        // A robot that is cut off notices at once, as it would by its reader.
        let quiet = tokio::time::timeout(STATE_EVERY, link.receive()).await;
        if let Ok(received) = quiet {
            received?;
        }
    }
}
