//! One connection of a robot, from CONNECT to its end.

use super::quota::Quota;
use super::registry::{End, Registration};
use super::wire;
use crate::core::Core;
use crate::standing::Admission;
use crate::store::{StoreError, robots, standings};
use crate::tls::{self, Accepted, Identity};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{Event, TimerKind};
use mqtt_protocol_core::mqtt::packet::{
    GenericPacketTrait as _, MaximumQos, Packet, Properties, Property, ReasonString,
    RetainAvailable, ServerKeepAlive, SharedSubscriptionAvailable, SubscriptionIdentifierAvailable,
    WildcardSubscriptionAvailable, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode, MqttError};
use mqtt_protocol_core::mqtt::{Connection, role};
use nooterra_protocol::topic::{Channel, Topic};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

/// What is read at once. A connection keeps it, and most of them are quiet.
const READ_BYTES: usize = 4 * 1024;

/// How long a connection may take to say CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a write may stall before the connection is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest keep-alive, seconds: half as much again may pass until a dead robot is noticed.
const MAX_KEEP_ALIVE_S: u16 = 60;

/// A sleeping machine's timers stop: the certificate's end is looked at this often at least.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Over {
    #[error("the certificate's time is over")]
    Certificate,
    #[error("the robot disconnected")]
    Disconnected,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not MQTT 5 as agreed: {0:?}")]
    Mqtt(MqttError),
    #[error("no CONNECT in time")]
    NoConnect,
    #[error("{0}")]
    Refused(&'static str),
    #[error("the robot's journal cannot be kept: {0}")]
    Store(#[from] StoreError),
    #[error("the cloud is stopping")]
    Stopping,
    #[error("the robot does not read")]
    Stalled,
}

impl From<MqttError> for Over {
    fn from(error: MqttError) -> Self {
        Self::Mqtt(error)
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(core: Arc<Core>, accepted: Accepted, stop: watch::Receiver<bool>) {
    let Accepted { identity, peer, stream, .. } = accepted;
    let Some(identity) = identity else {
        tracing::warn!(%peer, "certificate names no robot; connection closed");
        return;
    };
    let robot = identity.robot.clone();
    let mut session = Session::new(core.clone(), identity, peer, stream);
    let over = session.run(stop).await;
    let number = session.registration.take().map(|registration| registration.number());
    session.close(&over).await;
    tracing::info!(%robot, %peer, reason = %over, "robot disconnected");
    if let Some(number) = number {
        let now = core.clock.wall();
        let seen = core.store.write(move |tx| robots::disconnected(tx, &robot, number, now)).await;
        if let Err(error) = seen {
            tracing::warn!(%error, "cannot note when the robot was last seen");
        }
    }
}

pub(super) struct Session {
    pub(super) acks: bool,
    pub(super) commands: bool,
    pub(super) core: Arc<Core>,
    pub(super) identity: Identity,
    pub(super) in_flight: usize,
    keep_alive: Option<Instant>,
    pub(super) mqtt: Connection<role::Server>,
    pub(super) out: Vec<u8>,
    peer: SocketAddr,
    pub(super) quota: Quota,
    registration: Option<Registration>,
    /// Number of the last command that this connection was sent.
    pub(super) sent_through: i64,
    stream: TlsStream<TcpStream>,
}

impl Session {
    fn new(
        core: Arc<Core>,
        identity: Identity,
        peer: SocketAddr,
        stream: TlsStream<TcpStream>,
    ) -> Self {
        Self {
            acks: false,
            commands: false,
            core,
            identity,
            in_flight: 0,
            keep_alive: None,
            mqtt: wire::server(),
            out: Vec::new(),
            peer,
            quota: Quota::new(Instant::now()),
            registration: None,
            sent_through: 0,
            stream,
        }
    }

    async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Over {
        let connect_by = Instant::now() + CONNECT_TIMEOUT;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let left = self.identity.not_after.millis_since(self.core.clock.wall());
            let Ok(left @ 1..) = u64::try_from(left) else {
                return Over::Certificate;
            };
            let recheck = Duration::from_millis(left).min(CLOCK_CHECK);
            let wakes = self.commands;
            let registration = &mut self.registration;
            let connected = registration.is_some();
            // Beyond its rate a robot is not read from: what it sends waits in the socket.
            let hold = self.quota.wait(Instant::now());
            let next = tokio::select! {
                () = tls::stopping(&mut stop) => return Over::Stopping,
                signal = signalled(registration, wakes) => match signal {
                    Signal::Commands => Next::Commands,
                    Signal::End(end) => {
                        let (code, why) = match end {
                            End::Reenrolled => (
                                DisconnectReasonCode::AdministrativeAction,
                                "the robot was enrolled again with another key",
                            ),
                            End::Revoked => (
                                DisconnectReasonCode::AdministrativeAction,
                                "the robot's key was revoked",
                            ),
                            End::TakenOver => (
                                DisconnectReasonCode::SessionTakenOver,
                                "a newer connection of the robot took over",
                            ),
                        };
                        self.disconnect(code, why);
                        return Over::Refused(why);
                    }
                },
                () = tokio::time::sleep(recheck) => Next::Recheck,
                () = until(self.keep_alive) => Next::KeepAlive,
                () = tokio::time::sleep_until(connect_by), if !connected => {
                    return Over::NoConnect;
                }
                () = until(hold) => continue,
                read = self.stream.read(&mut buffer), if hold.is_none() => match read {
                    Ok(0) => return Over::Disconnected,
                    Ok(n) => Next::Bytes(n),
                    Err(error) => return error.into(),
                },
            };
            let done = match next {
                Next::Bytes(n) => self.receive(buffer.get(..n).unwrap_or_default()).await,
                Next::Commands => self.send_commands().await,
                Next::Recheck => self.recheck().await,
                Next::KeepAlive => {
                    let events = self.mqtt.notify_timer_fired(TimerKind::PingreqRecv);
                    self.work(events).await
                }
            };
            let flushed = self.flush().await;
            if let Err(over) = done.and(flushed) {
                return over;
            }
        }
    }

    async fn receive(&mut self, bytes: &[u8]) -> Result<(), Over> {
        let mut cursor = Cursor::new(bytes);
        while let Some(events) = wire::take(&mut self.mqtt, &mut cursor)? {
            self.work(events).await?;
        }
        Ok(())
    }

    /// Does what the protocol's state machine asks for, and answers what it received.
    async fn work(&mut self, events: Vec<Event>) -> Result<(), Over> {
        let mut queue = VecDeque::from(events);
        while let Some(event) = queue.pop_front() {
            match event {
                Event::NotifyPacketReceived(packet) => {
                    self.quota.take(Instant::now());
                    queue.extend(self.answer(packet).await?);
                }
                Event::RequestSendPacket { packet, .. } => {
                    self.out.extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::RequestTimerReset { kind: TimerKind::PingreqRecv, duration_ms } => {
                    self.keep_alive = Some(Instant::now() + Duration::from_millis(duration_ms));
                }
                Event::RequestTimerCancel(TimerKind::PingreqRecv) => self.keep_alive = None,
                Event::NotifyError(error) => {
                    // What is still to be sent tells the robot why.
                    for event in queue {
                        if let Event::RequestSendPacket { packet, .. } = event {
                            self.out.extend_from_slice(&packet.to_continuous_buffer());
                        }
                    }
                    return Err(error.into());
                }
                Event::RequestClose => return Err(Over::Disconnected),
                Event::NotifyPacketIdReleased(_)
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_) => {}
            }
        }
        Ok(())
    }

    async fn answer(&mut self, packet: Packet) -> Result<Vec<Event>, Over> {
        match packet {
            Packet::V5_0Connect(connect) => self.connect(&connect).await,
            _ if self.registration.is_none() => {
                Err(Over::Refused("the first packet was not CONNECT"))
            }
            Packet::V5_0Publish(publish) => self.publish(&publish).await,
            Packet::V5_0Puback(_) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                self.send_commands().await?;
                Ok(Vec::new())
            }
            Packet::V5_0Subscribe(subscribe) => self.subscribe(&subscribe).await,
            Packet::V5_0Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe),
            Packet::V5_0Pingreq(_) => Ok(Vec::new()),
            Packet::V5_0Disconnect(_) => Err(Over::Disconnected),
            _ => {
                let why = "a packet that a robot does not send";
                self.disconnect(DisconnectReasonCode::ProtocolError, why);
                Err(Over::Refused(why))
            }
        }
    }

    async fn connect(&mut self, connect: &v5_0::Connect) -> Result<Vec<Event>, Over> {
        let (robot, core) = (self.identity.robot.clone(), self.core.clone());
        let own_state = Topic::new(robot.clone(), Channel::State).to_string();
        let will_is_kept = connect.will_retain();
        let will_fits = connect.will_topic().is_none_or(|topic| topic == own_state);
        let asked = match connect {
            connect if connect.client_id() != robot.as_str() => Err((
                ConnectReasonCode::ClientIdentifierNotValid,
                "client id is not the robot's id",
            )),
            _ if !will_fits => {
                Err((ConnectReasonCode::NotAuthorized, "its last will is not for its own state"))
            }
            _ if will_is_kept => {
                Err((ConnectReasonCode::RetainNotSupported, "nothing is retained"))
            }
            _ => Ok(()),
        };
        let begun = match self.admission(asked.is_ok()).await? {
            (Admission::Revoked, _) => Err((
                ConnectReasonCode::Banned,
                "the robot's key was revoked; it needs another key and a new claim code",
            )),
            (Admission::Unknown, _) => {
                Err((ConnectReasonCode::NotAuthorized, "the robot is not enrolled with this key"))
            }
            (Admission::Admitted, number) => asked.map(|()| number),
        };
        let number = match begun {
            Ok(number) => number,
            Err((code, why)) => {
                tracing::warn!(%robot, peer = %self.peer, why, "CONNECT refused");
                let connack = v5_0::Connack::builder().session_present(false).reason_code(code);
                let connack = connack.props(said(why)).build()?;
                let events = self.mqtt.checked_send(connack);
                // Only the CONNACK leaves; the refusal is what ends the connection.
                let _ = self.send_only(events).await;
                return Err(Over::Refused(why));
            }
        };
        let mut props: Properties = vec![
            MaximumQos::new(1)?.into(),
            RetainAvailable::new(0)?.into(),
            SharedSubscriptionAvailable::new(0)?.into(),
            SubscriptionIdentifierAvailable::new(0)?.into(),
            WildcardSubscriptionAvailable::new(0)?.into(),
        ];
        if !(1..=MAX_KEEP_ALIVE_S).contains(&connect.keep_alive()) {
            props.push(Property::from(ServerKeepAlive::new(MAX_KEEP_ALIVE_S)?));
        }
        let connack = v5_0::Connack::builder()
            .session_present(false)
            .reason_code(ConnectReasonCode::Success)
            .props(props)
            .build()?;
        self.registration = Some(core.registry.begin(&robot, number));
        tracing::info!(%robot, peer = %self.peer, "robot connected");
        Ok(self.mqtt.checked_send(connack))
    }

    /// Whether the robot is let in, and if so, the number of its connection, where it begins one:
    /// in one transaction, so that a revocation finds it or is found by it.
    async fn admission(&self, begins: bool) -> Result<(Admission, i64), StoreError> {
        let (robot, key) = (self.identity.robot.clone(), self.identity.key.clone());
        let (now, process) = (self.core.clock.wall(), self.core.process.clone());
        let look = move |tx: &_| {
            let admission = standings::admission(tx, &robot, Some(&key))?;
            let mut number = 0;
            if admission == Admission::Admitted && begins {
                number = robots::connected(tx, &robot, &process, now)?;
            } else if admission == Admission::Admitted {
                robots::seen(tx, &robot, None, now)?;
            }
            Ok((admission, number))
        };
        self.core.store.write(look).await
    }

    /// Who says nothing is looked up now and then: another process on the same store may have
    /// closed its key, and the news of it been missed.
    async fn recheck(&mut self) -> Result<(), Over> {
        if self.registration.is_none() {
            return Ok(());
        }
        let (robot, key) = (self.identity.robot.clone(), self.identity.key.clone());
        let look = move |tx: &_| standings::admission(tx, &robot, Some(&key));
        if self.core.store.read(look).await? == Admission::Admitted {
            return Ok(());
        }
        let why = "the robot's key is revoked, or another one is enrolled";
        self.disconnect(DisconnectReasonCode::NotAuthorized, why);
        Err(Over::Refused(why))
    }

    /// Handles events of which none brings a received packet.
    pub(super) async fn send_only(&mut self, events: Vec<Event>) -> Result<(), Over> {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.out.extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::NotifyError(error) => return Err(error.into()),
                _ => {}
            }
        }
        self.flush().await
    }

    /// Queues a DISCONNECT with a reason, where the protocol allows one now.
    pub(super) fn disconnect(&mut self, code: DisconnectReasonCode, why: &str) {
        let Ok(packet) = v5_0::Disconnect::builder().reason_code(code).props(said(why)).build()
        else {
            return;
        };
        for event in self.mqtt.checked_send(packet) {
            if let Event::RequestSendPacket { packet, .. } = event {
                self.out.extend_from_slice(&packet.to_continuous_buffer());
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Over> {
        if self.out.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        let written = tokio::time::timeout(WRITE_TIMEOUT, write).await;
        self.out.clear();
        match written {
            Ok(written) => Ok(written?),
            Err(_) => Err(Over::Stalled),
        }
    }

    /// Says why, where that helps, and closes the socket.
    async fn close(&mut self, over: &Over) {
        match over {
            Over::Certificate => {
                let why = "the certificate's time is over";
                self.disconnect(DisconnectReasonCode::NotAuthorized, why);
            }
            Over::Stopping => {
                let why = "the cloud is stopping; connect again";
                self.disconnect(DisconnectReasonCode::ServerShuttingDown, why);
            }
            // Nothing leaves where the state machine has said it already.
            Over::Mqtt(error) => {
                self.disconnect((*error).into(), "not MQTT 5 as it was agreed");
            }
            Over::Stalled | Over::Io(_) => self.out.clear(),
            _ => {}
        }
        let _ = self.flush().await;
        let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.shutdown()).await;
    }
}

/// A reason in words, for whoever reads the robot's log.
fn said(why: &str) -> Properties {
    ReasonString::new(why).map(|reason| vec![reason.into()]).unwrap_or_default()
}

enum Next {
    Bytes(usize),
    Commands,
    KeepAlive,
    Recheck,
}

pub(super) enum Signal {
    Commands,
    End(End),
}

/// Waits for what the registry has to say; for ever before CONNECT.
pub(super) async fn signalled(registration: &mut Option<Registration>, commands: bool) -> Signal {
    let Some(registration) = registration else {
        return std::future::pending().await;
    };
    if !commands {
        return Signal::End(registration.ended().await);
    }
    let wake = registration.wake();
    tokio::select! {
        end = registration.ended() => Signal::End(end),
        () = wake.notified() => Signal::Commands,
    }
}

pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
