//! One connection to the cloud, from the handshake to its end.

use super::Channel;
use super::uplink::{Uplink, WINDOW};
use crate::identity::{self, EnrollError, Identity};
use nooterra_protocol::codec::{self, Blob};
use nooterra_protocol::entry::Link as LinkEntry;
use nooterra_protocol::topic::{Channel as Lane, Topic};
use nooterra_protocol::uplink::{Ack, Batch, MAX_BATCH_BYTES, Since, State};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, PubAckReason, Publish, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

/// Handshake, CONNACK and SUBACK within this.
const SETUP_WITHIN: Duration = Duration::from_secs(10);

/// Health is told this often.
const STATE_EVERY: Duration = Duration::from_secs(10);

/// The largest packet that is read: a signed command is smaller.
const MAX_PACKET_BYTES: u32 = 512 * 1024;

/// A batch of more than this is full: the next record did not fit, or hardly would have.
const FULL_BATCH_BYTES: usize = MAX_BATCH_BYTES / 4 * 3;

/// Packets between the poller and the session.
const PACKETS: usize = 64;

/// Why a connection ended.
pub(super) enum End {
    /// In one line.
    Lost(String),
    /// There is a new certificate to connect with.
    Renewed(Box<Identity>),
    /// The agent stops.
    Stopped,
}

/// Connects and stays connected as long as it lasts; tells whether it was ever up.
/// `renewal_tried` is when the certificate's renewal was last tried, in whichever session.
pub(super) async fn hold(
    channel: &Channel,
    mut stop: watch::Receiver<bool>,
    renewal_tried: &mut Option<Instant>,
) -> (End, bool) {
    let mut session = match timeout(SETUP_WITHIN, Session::open(channel)).await {
        Ok(Ok(session)) => session,
        Ok(Err(reason)) => return (End::Lost(reason), false),
        Err(_) => return (End::Lost(format!("no connection within {SETUP_WITHIN:?}")), false),
    };
    info!(cloud = channel.identity.cloud().mqtt, "the channel is up");
    channel.record(LinkEntry { reason: None, up: true });
    let end = session.live(&mut stop, renewal_tried).await.unwrap_or_else(End::Lost);
    if matches!(end, End::Stopped) {
        session.leave().await;
    }
    (end, true)
}

struct Session<'c> {
    channel: &'c Channel,
    client: AsyncClient,
    packets: mpsc::Receiver<Result<Packet, ConnectionError>>,
    poller: JoinHandle<()>,
    uplink: Uplink,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl<'c> Session<'c> {
    async fn open(channel: &'c Channel) -> Result<Self, String> {
        let options = options(channel)?;
        let (client, mut events) = AsyncClient::new(options, 4 * WINDOW);
        let (sender, packets) = mpsc::channel(PACKETS);
        let poller = tokio::spawn(async move {
            loop {
                let packet = match events.poll().await {
                    Ok(Event::Incoming(packet)) => Ok(packet),
                    Ok(Event::Outgoing(_)) => continue,
                    Err(error) => Err(error),
                };
                let over = packet.is_err();
                if sender.send(packet).await.is_err() || over {
                    return;
                }
            }
        });
        let journal = &channel.journal;
        let uplink = Uplink::new(|class| journal.acked(class));
        let mut session = Self { channel, client, packets, poller, uplink };
        session.expect_connack().await?;
        session.subscribe().await?;
        session.tell_state()?;
        Ok(session)
    }

    async fn packet(&mut self) -> Result<Packet, String> {
        match self.packets.recv().await {
            Some(Ok(Packet::Disconnect(disconnect))) => {
                Err(format!("the cloud disconnected: {:?}", disconnect.reason_code))
            }
            Some(Ok(packet)) => Ok(packet),
            Some(Err(error)) => Err(in_words(&error)),
            None => Err("the MQTT client ended".to_owned()),
        }
    }

    async fn expect_connack(&mut self) -> Result<(), String> {
        match self.packet().await? {
            Packet::ConnAck(_) => Ok(()),
            other => Err(format!("expected CONNACK, the cloud sent {other:?}")),
        }
    }

    async fn subscribe(&mut self) -> Result<(), String> {
        for lane in [Lane::Ack, Lane::Command] {
            let topic = self.topic(lane);
            self.client
                .try_subscribe(topic.as_str(), QoS::AtLeastOnce)
                .map_err(|error| error.to_string())?;
            loop {
                match self.packet().await? {
                    Packet::SubAck(ack) => {
                        let granted = |code: &SubscribeReasonCode| {
                            matches!(code, SubscribeReasonCode::Success(_))
                        };
                        if ack.return_codes.iter().all(granted) {
                            break;
                        }
                        return Err(format!("the cloud refused {topic}: {:?}", ack.return_codes));
                    }
                    Packet::Publish(publish) => self.take(publish).await?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    async fn live(
        &mut self,
        stop: &mut watch::Receiver<bool>,
        renewal_tried: &mut Option<Instant>,
    ) -> Result<End, String> {
        let news = Arc::clone(&self.channel.news);
        let silence = Duration::from_secs(u64::from(self.channel.config.keep_alive_s)) * 5 / 2;
        let mut heard = Instant::now();
        let mut state_due = Instant::now() + STATE_EVERY;
        let mut renewal = Renewal::default();
        loop {
            let more_at = self.pump().await?;
            let now = Instant::now();
            if now.duration_since(heard) > silence {
                return Err(format!("nothing heard from the cloud for {silence:?}"));
            }
            if self.uplink.is_stuck(now) {
                return Err("the cloud acknowledges nothing".to_owned());
            }
            renewal.begin_if_due(self.channel, now, renewal_tried);
            if now >= state_due {
                state_due = now + STATE_EVERY;
                self.tell_state()?;
            }
            tokio::select! {
                packet = self.packets.recv() => {
                    heard = Instant::now();
                    match packet {
                        Some(Ok(Packet::Publish(publish))) => self.take(publish).await?,
                        Some(Ok(Packet::Disconnect(disconnect))) => {
                            let code = disconnect.reason_code;
                            return Err(format!("the cloud disconnected: {code:?}"));
                        }
                        // A broker that is there without the cloud behind it.
                        Some(Ok(Packet::PubAck(ack)))
                            if ack.reason == PubAckReason::NoMatchingSubscribers =>
                        {
                            return Err("the broker is there, the cloud is not".to_owned());
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(in_words(&error)),
                        None => return Err("the MQTT client ended".to_owned()),
                    }
                }
                renewed = renewal.done() => match renewed {
                    Ok(identity) => return Ok(End::Renewed(Box::new(identity))),
                    Err(error) => warn!(
                        %error,
                        not_after = %self.channel.identity.not_after(),
                        "the certificate was not renewed; when it ends, enroll this robot again"
                    ),
                },
                () = news.notified() => {}
                () = sleep_until(more_at.min(state_due)) => {}
                _ = stop.changed() => return Ok(End::Stopped),
            }
        }
    }

    /// Sends what is due; tells when to look again.
    async fn pump(&mut self) -> Result<Instant, String> {
        let mut empty = BTreeSet::new();
        loop {
            let now = Instant::now();
            let Some((class, after)) = self.uplink.due(now, |class| empty.contains(&class)) else {
                return Ok(self.uplink.next_due(now));
            };
            let journal = self.channel.journal.clone();
            let records = blocking(move || journal.read_from(class, after, MAX_BATCH_BYTES))
                .await?
                .map_err(|error| format!("the journal cannot be read: {error}"))?;
            let Some((through_seq, _)) = records.last() else {
                empty.insert(class);
                continue;
            };
            let through_seq = *through_seq;
            let bytes: usize = records.iter().map(|(_, bytes)| bytes.len()).sum();
            let full = bytes > FULL_BATCH_BYTES;
            let batch = Batch {
                journal: self.channel.journal.journal_id().clone(),
                records: records.into_iter().map(|(_, bytes)| Blob(bytes)).collect(),
                since: Some(Since { acked: self.channel.journal.acked(class), after }),
            };
            self.publish(Lane::Up(class), &batch)?;
            self.uplink.sent(class, through_seq, full, now);
        }
    }

    async fn take(&mut self, publish: Publish) -> Result<(), String> {
        let name = String::from_utf8_lossy(&publish.topic).into_owned();
        match Topic::parse(&name).map(|topic| topic.channel) {
            Some(Lane::Ack) => match codec::from_slice::<Ack>(&publish.payload) {
                Ok(ack) => {
                    self.acknowledge(&ack);
                    Ok(())
                }
                Err(error) => {
                    warn!(%error, "an acknowledgement of the cloud cannot be read");
                    Ok(())
                }
            },
            Some(Lane::Command) => {
                let downlink = Arc::clone(&self.channel.downlink);
                let bytes = publish.payload.to_vec();
                blocking(move || downlink.take(&bytes)).await.map(drop)
            }
            _ => {
                warn!(topic = name, "a message on a topic that is not ours was dropped");
                Ok(())
            }
        }
    }

    fn acknowledge(&mut self, ack: &Ack) {
        if ack.journal != *self.channel.journal.journal_id() {
            return;
        }
        if !self.uplink.acknowledged(ack.class, ack.through_seq) {
            warn!(class = ack.class.name(), seq = ack.through_seq, "acknowledged but never sent");
            return;
        }
        self.channel.journal.set_acked(ack.class, ack.through_seq);
    }

    fn tell_state(&self) -> Result<(), String> {
        let robot = self.channel.identity.cloud().robot.clone();
        let state = State { health: Some((self.channel.health)()), online: true, robot };
        self.publish(Lane::State, &state)
    }

    fn publish<T: serde::Serialize>(&self, lane: Lane, message: &T) -> Result<(), String> {
        let bytes = codec::to_vec(message).map_err(|error| error.to_string())?;
        // The request queue is larger than our window, so it is full only when the poller is
        // stuck; then the connection is given up and everything is read again.
        self.client
            .try_publish(self.topic(lane), QoS::AtLeastOnce, false, bytes)
            .map_err(|error| format!("the MQTT client takes no more: {error}"))
    }

    /// Ends the connection in order, so that the cloud does not send our last will.
    async fn leave(&mut self) {
        let robot = self.channel.identity.cloud().robot.clone();
        let _ = self.publish(Lane::State, &State { health: None, online: false, robot });
        let _ = self.client.try_disconnect();
        let drained = async { while self.packets.recv().await.is_some_and(|p| p.is_ok()) {} };
        let _ = timeout(Duration::from_millis(500), drained).await;
    }

    fn topic(&self, lane: Lane) -> String {
        Topic::new(self.channel.identity.cloud().robot.clone(), lane).to_string()
    }
}

/// An attempt to renew the certificate, beside the session that it is made in.
#[derive(Default)]
struct Renewal {
    task: Option<JoinHandle<Result<Identity, EnrollError>>>,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Renewal {
    fn begin_if_due(&mut self, channel: &Channel, now: Instant, tried: &mut Option<Instant>) {
        if self.task.is_some() {
            return;
        }
        let Some(pause) = channel.renewal_pause() else { return };
        if tried.is_none_or(|at| now >= at + pause) {
            *tried = Some(now);
            let identity = channel.identity.clone();
            self.task = Some(tokio::spawn(async move { identity::renew(&identity).await }));
        }
    }

    /// Waits for the attempt under way; for ever when there is none.
    async fn done(&mut self) -> Result<Identity, String> {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        let result = task.await;
        self.task = None;
        match result {
            Ok(renewed) => renewed.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn options(channel: &Channel) -> Result<MqttOptions, String> {
    let cloud = channel.identity.cloud();
    let bad = || format!("`{}` is not host:port; enroll again", cloud.mqtt);
    let (host, port) = cloud.mqtt.rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().map_err(|_| bad())?;
    let tls = identity::client_config(&channel.identity).map_err(|error| error.to_string())?;
    let host = host.trim_matches(['[', ']']);
    let mut options = MqttOptions::new(cloud.robot.as_str(), host, port);
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
    options.set_keep_alive(Duration::from_secs(u64::from(channel.config.keep_alive_s)));
    options.set_clean_start(true);
    options.set_connection_timeout(SETUP_WITHIN.as_secs());
    options.set_max_packet_size(Some(MAX_PACKET_BYTES));
    options.set_outgoing_inflight_upper_limit(u16::try_from(2 * WINDOW).unwrap_or(u16::MAX));
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let gone = State { health: None, online: false, robot: cloud.robot.clone() };
    let gone = codec::to_vec(&gone).map_err(|error| error.to_string())?;
    let topic = Topic::new(cloud.robot.clone(), Lane::State).to_string();
    options.set_last_will(LastWill::new(topic, gone, QoS::AtLeastOnce, false, None));
    Ok(options)
}

/// A connection error as one line.
fn in_words(error: &ConnectionError) -> String {
    error.to_string().replace('\n', " ")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}
