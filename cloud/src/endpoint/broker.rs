//! The same link over a broker: mosquitto stands between robots and cloud, and the cloud is one
//! of its clients.
//!
//! The broker checks certificates and topics, by the configuration that this crate ships; who a
//! message is from is read from its topic. What robots send is judged and kept as if it had come
//! to the endpoint ([`super::intake`]). Each robot has a task of its own, so that its messages
//! are kept in their order and a slow one holds up nobody. Its queue is short; what does not fit
//! is not acknowledged, and the robot's journal sends it again.
//!
//! A robot is online from its first message until its last will, or until the broker is lost.
//! Nothing is kept in the broker: on both sides the session begins anew.

use super::intake::{self, Sender, Taken};
use super::registry::Registration;
use super::session::{Signal, signalled, until};
use crate::config::Broker;
use crate::core::Core;
use crate::standing::Admission;
use crate::store::{StoreError, commands, standings};
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
use nooterra_protocol::codec;
use nooterra_protocol::entry::Class;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::topic::{Channel, Topic};
use nooterra_protocol::uplink::State;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
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

/// Messages of one robot that wait to be kept; a robot has fewer batches under way.
const QUEUE: usize = 16;

/// Packets on their way to the broker; who has more waits.
const OUTGOING: usize = 1024;

/// Commands that are read from the store at once.
const COMMANDS: usize = 32;

/// A command that the robot's journal has not named is sent again after this.
const SEND_AGAIN: Duration = Duration::from_secs(15);

/// A robot's task without messages ends after this; it begins again with the next.
const QUIET: Duration = Duration::from_secs(120);

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
    let mut robots =
        Robots { core: core.clone(), out, tasks: JoinSet::new(), table: HashMap::new() };
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
    async fn open(core: &Core, broker: &Broker) -> Result<Self, Lost> {
        let config = tls::client_config(&core.ca, &core.clock, NAME)?;
        let tcp = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
        tcp.set_nodelay(true)?;
        let name = rustls::pki_types::ServerName::try_from(broker.host.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let options = ConnectionOptions::new()
            .maximum_packet_size_recv(MAX_PACKET_BYTES)
            .receive_maximum(RECEIVE_MAXIMUM);
        let mqtt = Connection::with_options(Version::V5_0, options);
        let mut client =
            Self { mqtt, out: Vec::new(), ping: None, stream, waiting: VecDeque::new() };
        let connect = v5_0::Connect::builder()
            .client_id(NAME)?
            .clean_start(true)
            .keep_alive(KEEP_ALIVE_S)
            .build()?;
        let events = client.mqtt.checked_send(connect);
        client.queue(events)?;
        client.flush().await?;
        match client.packet().await? {
            Packet::V5_0Connack(connack) if connack.reason_code() == ConnectReasonCode::Success => {
            }
            Packet::V5_0Connack(connack) => return Err(Lost::Refused(connack.reason_code())),
            _ => return Err(Lost::Mqtt(MqttError::ProtocolError)),
        }
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
                    let code = DisconnectReasonCode::NormalDisconnection;
                    let disconnect = v5_0::Disconnect::builder().reason_code(code).build()?;
                    let events = self.mqtt.checked_send(disconnect);
                    self.queue(events)?;
                    let _ = self.flush().await;
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
                Some(_) = robots.tasks.join_next() => {}
            }
            self.flush().await?;
        }
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

/// The robots that speak through the broker.
struct Robots {
    core: Arc<Core>,
    out: mpsc::Sender<Out>,
    table: HashMap<RobotId, mpsc::Sender<Message>>,
    tasks: JoinSet<()>,
}

/// Something that a robot published.
struct Message {
    channel: Channel,
    id: Option<u16>,
    payload: Vec<u8>,
}

impl Robots {
    /// Hands a publication to its robot's task, which answers it; otherwise says why not.
    fn take(&mut self, publish: &v5_0::Publish) -> Result<(), PubackReasonCode> {
        let topic = Topic::parse(publish.topic_name()).filter(|it| it.channel.is_from_robot());
        let Some(Topic { channel, robot }) = topic else {
            // Not by the rules that this crate ships.
            tracing::warn!(topic = publish.topic_name(), "the broker let a foreign topic pass");
            return Err(PubackReasonCode::NotAuthorized);
        };
        let payload = publish.payload().as_slice().to_vec();
        let mut message = Message { channel, id: publish.packet_id(), payload };
        if let Some(queue) = self.table.get(&robot) {
            match queue.try_send(message) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    tracing::warn!(%robot, "more than is kept in time; not acknowledged");
                    return Err(PubackReasonCode::QuotaExceeded);
                }
                Err(mpsc::error::TrySendError::Closed(back)) => message = back,
            }
        }
        // Tasks that ended leave their place in the table; there is one for each robot at most.
        let (queue, messages) = mpsc::channel(QUEUE);
        let first = queue.try_send(message);
        self.table.insert(robot.clone(), queue);
        let robot = Robot {
            core: self.core.clone(),
            out: self.out.clone(),
            registration: None,
            sender: Sender { key: None, robot },
            sent_at: Instant::now(),
            sent_through: 0,
        };
        self.tasks.spawn(robot.run(messages));
        first.map_err(|_| PubackReasonCode::QuotaExceeded)
    }
}

/// One robot behind the broker.
struct Robot {
    core: Arc<Core>,
    out: mpsc::Sender<Out>,
    registration: Option<Registration>,
    sender: Sender,
    sent_at: Instant,
    sent_through: i64,
}

/// The link to the broker is over, and with it this task.
struct Gone;

impl Robot {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            let done = tokio::select! {
                message = timeout(QUIET, messages.recv()) => match message {
                    Ok(Some(message)) => self.message(message).await,
                    // The link to the broker is over, or the robot's to it without a will.
                    Ok(None) | Err(_) => return,
                },
                signal = signalled(&mut self.registration, true) => match signal {
                    Signal::Commands => self.commands().await,
                    Signal::End(end) => {
                        // A newer connection has its place, or its key is closed: what it still
                        // says is judged anew.
                        tracing::info!(robot = %self.sender.robot, ?end, "no longer through the broker");
                        self.registration = None;
                        Ok(())
                    }
                },
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn message(&mut self, message: Message) -> Result<(), Gone> {
        let Message { channel, id, payload } = message;
        let taken = match channel {
            Channel::Up(class) => self.batch(class, &payload).await,
            _ => self.state(&payload).await,
        };
        let code = match taken {
            Ok(Taken::Kept(ack)) => {
                if let Some(ack) = ack {
                    // An id, a name and a number always have a canonical form.
                    let payload = codec::to_vec(&ack).map_err(|_| Gone)?;
                    self.publish(Channel::Ack, payload, Qos::AtMostOnce).await?;
                }
                PubackReasonCode::Success
            }
            Ok(Taken::Barred | Taken::NotIts) => PubackReasonCode::NotAuthorized,
            Ok(Taken::Unreadable) => PubackReasonCode::PayloadFormatInvalid,
            Err(_) => PubackReasonCode::UnspecifiedError,
        };
        match id {
            Some(id) => self.out.send(Out::Taken { code, id }).await.map_err(|_| Gone),
            None => Ok(()),
        }
    }

    async fn batch(&mut self, class: Class, payload: &[u8]) -> Result<Taken, StoreError> {
        let taken = intake::batch(&self.core, &self.sender, class, payload).await?;
        if matches!(taken, Taken::Kept(_)) {
            self.present().await?;
        }
        Ok(taken)
    }

    async fn state(&mut self, payload: &[u8]) -> Result<Taken, StoreError> {
        let taken = intake::state(&self.core, &self.sender, payload).await?;
        if !matches!(taken, Taken::Kept(_)) {
            return Ok(taken);
        }
        if codec::from_slice::<State>(payload).is_ok_and(|state| !state.online) {
            self.registration = None;
            return Ok(taken);
        }
        self.present().await?;
        if self.sent_at.elapsed() > SEND_AGAIN {
            self.sent_through = 0;
            // The loop hears it and sends.
            self.core.registry.wake(&self.sender.robot);
        }
        Ok(taken)
    }

    /// The robot is there; a new connection of it is sent what it has not answered.
    async fn present(&mut self) -> Result<(), StoreError> {
        while self.registration.is_none() {
            let ends = self.core.registry.ends();
            let robot = self.sender.robot.clone();
            let admission =
                self.core.store.read(move |tx| standings::admission(tx, &robot, None)).await?;
            if admission != Admission::Admitted {
                return Ok(());
            }
            self.registration = self.core.registry.begin(&self.sender.robot, ends);
            self.sent_through = 0;
            self.core.registry.wake(&self.sender.robot);
        }
        Ok(())
    }

    async fn commands(&mut self) -> Result<(), Gone> {
        loop {
            let (robot, after) = (self.sender.robot.clone(), self.sent_through);
            let now = self.core.clock.wall();
            let due = self
                .core
                .store
                .read(move |tx| commands::unanswered(tx, &robot, after, now, COMMANDS))
                .await;
            let due = match due {
                Ok(due) if due.is_empty() => return Ok(()),
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(robot = %self.sender.robot, %error, "commands wait");
                    return Ok(());
                }
            };
            for command in due {
                self.sent_through = command.n;
                self.sent_at = Instant::now();
                self.publish(Channel::Command, command.signed, Qos::AtLeastOnce).await?;
            }
        }
    }

    async fn publish(&self, channel: Channel, payload: Vec<u8>, qos: Qos) -> Result<(), Gone> {
        let topic = Topic::new(self.sender.robot.clone(), channel).to_string();
        self.out.send(Out::Publish { payload, qos, topic }).await.map_err(|_| Gone)
    }
}
