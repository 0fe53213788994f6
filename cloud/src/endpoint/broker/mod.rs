//! The same link over a broker: mosquitto stands between robots and cloud, and the cloud is one
//! of its clients.
//!
//! The broker checks certificates and topics, by the configuration that this crate ships; who a
//! message is from is read from its topic. What robots send is judged and kept as if it had come
//! to the endpoint ([`super::intake`]). Each robot has a task of its own, so that its messages
//! are kept in their order and a slow one holds up nobody. Its queue is short; what does not fit
//! is not acknowledged, and the robot's journal sends it again.
//!
//! A robot that is revoked, or that has another key by now, is still connected there: the cloud takes
//! its place for a moment, which ends that connection ([`evict`]), and the broker's revocation list
//! keeps the next one out.
//!
//! A robot is online from its first message until its last will, or until the broker is lost.
//! Nothing is kept in the broker: on both sides the session begins anew.

pub(crate) mod evict;
mod robots;

use super::session::until;
use crate::ca::Identity;
use crate::config::Broker;
use crate::core::Core;
use crate::tls;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind};
use mqtt_protocol_core::mqtt::packet::{
    GenericPacketTrait as _, Packet, Qos, SubEntry, SubOpts, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, DisconnectReasonCode, MqttError, PubackReasonCode,
};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use robots::Robots;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The cloud's name at the broker: upper case, which no robot's id has.
pub(crate) const NAME: &str = "CLOUD";

/// What is asked for; the broker's rules let only the cloud have it.
const FILTERS: [&str; 2] = ["noot/1/+/up/+", "noot/1/+/state"];

/// Messages of all robots that the broker may have under way to the cloud.
const RECEIVE_MAXIMUM: u16 = 512;

/// As of the endpoint.
const MAX_PACKET_BYTES: u32 = 128 * 1024;

/// Packets on their way to the broker; who has more waits.
const OUTGOING: usize = 1024;

const KEEP_ALIVE_S: u16 = 20;

/// Connection, handshake, CONNACK and SUBACK within this; a write too.
const WITHIN: Duration = Duration::from_secs(10);

const FIRST_BACKOFF: Duration = Duration::from_millis(250);

const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// Why there is no link to the broker.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("certificate authority: {0}")]
    Ca(#[from] crate::ca::CaError),
    #[error("the broker ended the connection: {0:?}")]
    Disconnected(Option<DisconnectReasonCode>),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the broker does not answer as MQTT 5 has it: {0:?}")]
    Mqtt(MqttError),
    #[error(
        "the broker refused the cloud: {0:?}; it needs the `acl` and `mosquitto.conf` that `nooterra-cloud broker` writes"
    )]
    Refused(ConnectReasonCode),
    #[error("the broker does not answer in time")]
    Silent,
    #[error("the broker refused the cloud's subscriptions: {0:x?}")]
    Subscriptions(Vec<u8>),
}

impl From<MqttError> for Lost {
    fn from(error: MqttError) -> Self {
        Self::Mqtt(error)
    }
}

/// Keeps the link to the broker up until the cloud stops.
pub(crate) async fn keep(core: Arc<Core>, broker: Broker, mut stop: watch::Receiver<bool>) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let begun = Instant::now();
        // It watches for the stop by itself, to take leave of the broker.
        let Err(error) = hold(&core, &broker, stop.clone()).await else { return };
        tracing::warn!(%broker, %error, retry_in = ?backoff, "no link to the broker");
        if begun.elapsed() > LONGEST_BACKOFF {
            backoff = FIRST_BACKOFF;
        }
        tokio::select! {
            () = tls::stopping(&mut stop) => return,
            () = sleep(backoff) => {}
        }
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// One connection to the broker; `Ok` when the cloud stops.
async fn hold(core: &Arc<Core>, broker: &Broker, stop: watch::Receiver<bool>) -> Result<(), Lost> {
    let (out, outgoing) = mpsc::channel(OUTGOING);
    let opened = timeout(WITHIN, Client::open(core, broker)).await;
    let mut client = opened.map_err(|_| Lost::Silent)??;
    tracing::info!(%broker, "linked to the broker");
    let mut robots = Robots::new(core.clone(), out);
    // Dropped with it: robots are offline when the broker is lost.
    client.live(&mut robots, outgoing, stop).await
}

/// For the broker.
#[derive(Debug)]
enum Out {
    Publish { payload: Vec<u8>, qos: Qos, topic: String },
    Taken { code: PubackReasonCode, id: u16 },
}

/// The cloud as a client of the broker.
struct Client {
    mqtt: Connection<role::Client>,
    out: Vec<u8>,
    ping: Option<Instant>,
    stream: TlsStream<TcpStream>,
    /// Publications that the broker has no room for yet; as many as come from `OUTGOING`.
    waiting: VecDeque<(String, Vec<u8>)>,
}

impl Client {
    /// Connected as who `identity` says, which is `name`, and nothing yet asked for.
    async fn connect(
        core: &Core,
        broker: &Broker,
        name: &str,
        identity: Identity,
    ) -> Result<Self, Lost> {
        let config = tls::client_config(&core.ca, &core.clock, identity)?;
        let tcp = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
        tcp.set_nodelay(true)?;
        let host = rustls::pki_types::ServerName::try_from(broker.host.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(host, tcp).await?;
        let options = ConnectionOptions::new()
            .maximum_packet_size_recv(MAX_PACKET_BYTES)
            .receive_maximum(RECEIVE_MAXIMUM);
        let mqtt = Connection::with_options(Version::V5_0, options);
        let mut client =
            Self { mqtt, out: Vec::new(), ping: None, stream, waiting: VecDeque::new() };
        let connect = v5_0::Connect::builder()
            .client_id(name)?
            .clean_start(true)
            .keep_alive(KEEP_ALIVE_S)
            .build()?;
        let events = client.mqtt.checked_send(connect);
        client.queue(events)?;
        client.flush().await?;
        match client.packet().await? {
            Packet::V5_0Connack(connack) if connack.reason_code() == ConnectReasonCode::Success => {
                Ok(client)
            }
            Packet::V5_0Connack(connack) => Err(Lost::Refused(connack.reason_code())),
            _ => Err(Lost::Mqtt(MqttError::ProtocolError)),
        }
    }

    /// Connected as the cloud, and told what all robots say.
    async fn open(core: &Core, broker: &Broker) -> Result<Self, Lost> {
        let identity = core.ca.certify_client(NAME, core.clock.wall())?;
        let mut client = Self::connect(core, broker, NAME, identity).await?;
        let id = client.mqtt.acquire_packet_id()?;
        let entries = FILTERS
            .iter()
            .map(|filter| SubEntry::new(*filter, SubOpts::new().set_qos(Qos::AtLeastOnce)))
            .collect::<Result<Vec<_>, _>>()?;
        let subscribe = v5_0::Subscribe::builder().packet_id(id).entries(entries).build()?;
        let events = client.mqtt.checked_send(subscribe);
        client.queue(events)?;
        client.flush().await?;
        // Whatever a robot says before is not acknowledged, and comes again.
        let codes: Vec<u8> = loop {
            if let Packet::V5_0Suback(suback) = client.packet().await? {
                break suback.reason_codes().into_iter().map(|code| code as u8).collect();
            }
        };
        if codes.iter().any(|code| *code != 1) {
            return Err(Lost::Subscriptions(codes));
        }
        Ok(client)
    }

    async fn live(
        &mut self,
        robots: &mut Robots,
        mut outgoing: mpsc::Receiver<Out>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Lost> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            // With publications that wait for the broker, no more are taken.
            let room = self.waiting.is_empty();
            tokio::select! {
                () = tls::stopping(&mut stop) => {
                    let _ = self.leave().await;
                    return Ok(());
                }
                read = self.stream.read(&mut buffer) => match read? {
                    0 => return Err(Lost::Disconnected(None)),
                    n => {
                        for packet in self.received(buffer.get(..n).unwrap_or_default())? {
                            self.take(packet, robots)?;
                        }
                    }
                },
                out = outgoing.recv(), if room => match out {
                    Some(out) => self.send(out)?,
                    // `robots` holds a sender as long as this runs.
                    None => return Ok(()),
                },
                () = until(self.ping) => {
                    let events = self.mqtt.notify_timer_fired(TimerKind::PingreqSend);
                    self.queue(events)?;
                }
                () = robots.ended() => {}
            }
            self.flush().await?;
        }
    }

    /// Takes leave in order.
    async fn leave(&mut self) -> Result<(), Lost> {
        let code = DisconnectReasonCode::NormalDisconnection;
        let disconnect = v5_0::Disconnect::builder().reason_code(code).build()?;
        let events = self.mqtt.checked_send(disconnect);
        self.queue(events)?;
        self.flush().await
    }

    /// A packet of the broker.
    fn take(&mut self, packet: Packet, robots: &mut Robots) -> Result<(), Lost> {
        match packet {
            Packet::V5_0Publish(publish) => {
                let code = robots.take(&publish);
                if let (Err(code), Some(id)) = (code, publish.packet_id()) {
                    self.send(Out::Taken { code, id })?;
                }
                Ok(())
            }
            Packet::V5_0Puback(_) => {
                while let Some((topic, payload)) = self.waiting.pop_front() {
                    if !self.publish(&topic, &payload)? {
                        self.waiting.push_front((topic, payload));
                        break;
                    }
                }
                Ok(())
            }
            Packet::V5_0Disconnect(disconnect) => Err(Lost::Disconnected(disconnect.reason_code())),
            _ => Ok(()),
        }
    }

    fn send(&mut self, out: Out) -> Result<(), Lost> {
        let events = match out {
            Out::Publish { payload, qos: Qos::AtMostOnce, topic } => {
                let publish = v5_0::Publish::builder().topic_name(topic)?.payload(payload);
                self.mqtt.checked_send(publish.build()?)
            }
            Out::Publish { payload, topic, .. } => {
                if !self.publish(&topic, &payload)? {
                    self.waiting.push_back((topic, payload));
                }
                return Ok(());
            }
            Out::Taken { code, id } => {
                let puback = v5_0::Puback::builder().packet_id(id).reason_code(code).build()?;
                self.mqtt.checked_send(puback)
            }
        };
        self.queue(events)
    }

    /// Publishes with QoS 1; false while the broker has no room.
    fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<bool, Lost> {
        if self.mqtt.get_receive_maximum_vacancy_for_send() == Some(0) {
            return Ok(false);
        }
        let id = self.mqtt.acquire_packet_id()?;
        let publish = v5_0::Publish::builder()
            .topic_name(topic)?
            .qos(Qos::AtLeastOnce)
            .packet_id(id)
            .payload(payload)
            .build()?;
        let events = self.mqtt.checked_send(publish);
        self.queue(events)?;
        Ok(true)
    }

    /// The next packet, while nothing else goes on.
    async fn packet(&mut self) -> Result<Packet, Lost> {
        let mut byte = [0];
        loop {
            self.stream.read_exact(&mut byte).await?;
            if let Some(packet) = self.received(&byte)?.into_iter().next() {
                return Ok(packet);
            }
        }
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Vec<Packet>, Lost> {
        let mut packets = Vec::new();
        let mut cursor = Cursor::new(bytes);
        let end = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        while cursor.position() < end {
            for event in self.mqtt.recv(&mut cursor) {
                match event {
                    Event::NotifyPacketReceived(packet) => packets.push(packet),
                    other => self.queue(vec![other])?,
                }
            }
        }
        Ok(packets)
    }

    fn queue(&mut self, events: Vec<Event>) -> Result<(), Lost> {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.out.extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::RequestTimerReset { kind: TimerKind::PingreqSend, duration_ms } => {
                    self.ping = Some(Instant::now() + Duration::from_millis(duration_ms));
                }
                Event::NotifyError(error) => return Err(error.into()),
                Event::RequestClose => return Err(Lost::Disconnected(None)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Lost> {
        if self.out.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        let written = timeout(WITHIN, write).await;
        self.out.clear();
        Ok(written.map_err(|_| Lost::Silent)??)
    }
}
