//! TLS and MQTT by hand: a client that does what it is told, sensible or not.

use super::{Device, Kind, PATIENCE, Rig, RigOn};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{
    GenericPacketTrait as _, Packet, Properties, Property, Qos, SubEntry, SubOpts, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, DisconnectReasonCode, PubackReasonCode,
};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use nooterra_protocol::codec::{self};
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::uplink::{Ack, State};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest that the cloud agrees to: a test may be held up for longer than a robot would be.
const KEEP_ALIVE_S: u16 = 60;

/// Within this a connection is closed that is to be closed: longer than anything takes, and
/// shorter than the keep-alive, which would close it too.
const CLOSED_WITHIN: Duration = Duration::from_secs(80);
pub(crate) fn tls_config(root_pem: &str, device: Option<&Device>) -> Arc<ClientConfig> {
    let identity = device.map(|device| {
        let certificate = CertificateDer::from_pem_slice(device.certificate_pem.as_bytes());
        let key = PrivateKeyDer::try_from(device.pair.serialize_der()).unwrap();
        (vec![certificate.unwrap()], key)
    });
    tls_config_with(root_pem, identity)
}

pub(crate) fn tls_config_with(
    root_pem: &str,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn dial(address: SocketAddr, config: &Arc<ClientConfig>) -> Tls {
    try_dial(address, config).unwrap()
}

pub(super) fn try_dial(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Tls> {
    tls(TcpStream::connect(address)?, address, config)
}

fn tls(tcp: TcpStream, address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Tls> {
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::from(address.ip());
    Ok(StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), tcp))
}

/// An MQTT 5 client that does what it is told, sensible or not.
pub(crate) struct Mqtt {
    /// The reason string of the last CONNACK or DISCONNECT.
    pub(crate) words: String,
    /// Of the last DISCONNECT.
    pub(crate) code: Option<DisconnectReasonCode>,
    inbox: VecDeque<Packet>,
    mqtt: Connection<role::Client>,
    tls: Tls,
}

impl Mqtt {
    /// TLS done, CONNECT not yet sent.
    pub(crate) fn dial(rig: &RigOn<impl Kind>, device: &Device) -> Self {
        Self::dial_to(rig.mqtt, rig, device)
    }

    /// As [`Self::dial`], somewhere else.
    pub(crate) fn dial_to(address: SocketAddr, rig: &RigOn<impl Kind>, device: &Device) -> Self {
        Self::over(dial(address, &tls_config(&rig.root_pem, Some(device))))
    }

    /// As [`Self::dial`], from another address of this machine.
    pub(crate) fn dial_from(own: IpAddr, rig: &Rig, device: &Device) -> Self {
        let tcp = rig.runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((own, 0).into()).unwrap();
            socket.connect(rig.mqtt).await.unwrap().into_std().unwrap()
        });
        tcp.set_nonblocking(false).unwrap();
        Self::over(tls(tcp, rig.mqtt, &tls_config(&rig.root_pem, Some(device))).unwrap())
    }

    fn over(tls: Tls) -> Self {
        let (inbox, mqtt) = (VecDeque::new(), Connection::new(Version::V5_0));
        Self { code: None, words: String::new(), inbox, mqtt, tls }
    }

    /// Connected, and subscribed to both of its topics.
    pub(crate) fn connect(rig: &RigOn<impl Kind>, device: &Device) -> Self {
        let mut client = Self::dial(rig, device);
        let code = client.hello(device.robot.as_str(), None);
        assert_eq!(code, Some(ConnectReasonCode::Success));
        let codes = client.subscribe(&[&device.topic("ack"), &device.topic("cmd")]);
        assert!(codes.iter().all(|code| *code < 0x80), "{codes:?}");
        client
    }

    /// Sends CONNECT; the answer's code, or `None` when the connection was closed.
    pub(crate) fn hello(
        &mut self,
        client_id: &str,
        will: Option<&str>,
    ) -> Option<ConnectReasonCode> {
        self.hello_with(client_id, will, KEEP_ALIVE_S)
    }

    fn hello_with(
        &mut self,
        client_id: &str,
        will: Option<&str>,
        keep_alive_s: u16,
    ) -> Option<ConnectReasonCode> {
        let mut connect = v5_0::Connect::builder()
            .client_id(client_id)
            .unwrap()
            .clean_start(true)
            .keep_alive(keep_alive_s);
        if let Some(topic) = will {
            let gone = RobotId::new(client_id).map_or(b"x".to_vec(), |robot| {
                codec::to_vec(&State { health: None, online: false, robot }).unwrap()
            });
            connect = connect.will_message(topic, gone, Qos::AtLeastOnce, false).unwrap();
        }
        let events = self.mqtt.checked_send(connect.build().unwrap());
        self.send(events);
        match self.next(PATIENCE)? {
            Packet::V5_0Connack(connack) => {
                self.words = words(connack.props());
                Some(connack.reason_code())
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn subscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        self.subscribe_all(filters).expect("no SUBACK")
    }

    /// Asks for one filter; `None` when the connection was closed.
    pub(crate) fn try_subscribe(&mut self, filter: &str) -> Option<u8> {
        Some(self.subscribe_all(&[filter])?[0])
    }

    fn subscribe_all(&mut self, filters: &[&str]) -> Option<Vec<u8>> {
        let id = self.mqtt.acquire_packet_id().unwrap();
        let entries = filters
            .iter()
            .map(|f| SubEntry::new(*f, SubOpts::new().set_qos(Qos::AtLeastOnce)).unwrap())
            .collect::<Vec<_>>();
        let packet = v5_0::Subscribe::builder().packet_id(id).entries(entries).build().unwrap();
        let events = self.mqtt.checked_send(packet);
        self.send(events);
        self.until(|packet| match packet {
            Packet::V5_0Suback(suback) => {
                Some(suback.reason_codes().into_iter().map(|code| code as u8).collect())
            }
            _ => None,
        })
    }

    /// Publishes with QoS 1; the code of the PUBACK, or `None` when the connection was closed.
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8]) -> Option<PubackReasonCode> {
        let id = self.mqtt.acquire_packet_id().unwrap();
        let packet = v5_0::Publish::builder()
            .topic_name(topic)
            .unwrap()
            .qos(Qos::AtLeastOnce)
            .packet_id(id)
            .payload(payload)
            .build()
            .unwrap();
        let events = self.mqtt.checked_send(packet);
        self.send(events);
        self.until(|packet| match packet {
            Packet::V5_0Puback(puback) => {
                Some(puback.reason_code().unwrap_or(PubackReasonCode::Success))
            }
            _ => None,
        })
    }

    pub(crate) fn publish_qos0(&mut self, topic: &str, payload: &[u8]) {
        let packet = v5_0::Publish::builder().topic_name(topic).unwrap().payload(payload);
        let events = self.mqtt.checked_send(packet.build().unwrap());
        self.send(events);
    }

    /// The next acknowledgement of the cloud.
    pub(crate) fn ack(&mut self) -> Ack {
        self.until(|packet| match packet {
            Packet::V5_0Publish(publish) if publish.topic_name().ends_with("/ack") => {
                Some(codec::from_slice(publish.payload().as_slice()).unwrap())
            }
            _ => None,
        })
        .expect("no ack")
    }

    /// The next command, acknowledged to the cloud.
    pub(crate) fn command(&mut self) -> Vec<u8> {
        let (id, payload) = self
            .until(|packet| match packet {
                Packet::V5_0Publish(publish) if publish.topic_name().ends_with("/cmd") => {
                    let payload = publish.payload().as_slice().to_vec();
                    Some((publish.packet_id().unwrap(), payload))
                }
                _ => None,
            })
            .expect("no command");
        let puback = v5_0::Puback::builder().packet_id(id).build().unwrap();
        let events = self.mqtt.checked_send(puback);
        self.send(events);
        payload
    }

    /// Reads to the end of the connection; the code of the cloud's DISCONNECT, if it sent one.
    pub(crate) fn farewell(&mut self) -> Option<DisconnectReasonCode> {
        while self.next(PATIENCE).is_some() {}
        self.code
    }

    /// How much is published to it: at least so much, and then until nothing comes for a while.
    /// Nothing of it is acknowledged.
    pub(crate) fn unacknowledged(&mut self, at_least: usize, quiet: Duration) -> usize {
        let publications = |inbox: &VecDeque<Packet>| {
            inbox.iter().filter(|packet| matches!(packet, Packet::V5_0Publish(_))).count()
        };
        while publications(&self.inbox) < at_least && self.read(PATIENCE).is_some() {}
        while self.read(quiet).is_some() {}
        publications(&self.inbox)
    }

    /// As [`Self::hello`], with a keep-alive of so many seconds.
    pub(crate) fn hello_for(&mut self, keep_alive_s: u16) -> Option<ConnectReasonCode> {
        self.hello_with("bad", None, keep_alive_s)
    }

    /// Sends as much as the cloud takes without reading anything; how the connection ended.
    pub(crate) fn push_until_closed(&mut self, bytes: &[u8], patience: Duration) -> bool {
        self.tls.sock.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let start = Instant::now();
        while start.elapsed() < patience {
            match self.tls.write_all(bytes).and_then(|()| self.tls.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
        }
        false
    }

    /// Whether the cloud ends the connection; what it sends before is dropped.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.is_closed_within(CLOSED_WITHIN)
    }

    /// As [`Self::is_closed`], in so much time.
    pub(crate) fn is_closed_within(&mut self, patience: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < patience {
            if self.next(patience).is_none() {
                return start.elapsed() < patience;
            }
        }
        false
    }

    /// Whether nothing comes for a while.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.inbox.is_empty() && self.read(time).is_none() && self.inbox.is_empty()
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.tls.write_all(bytes);
        let _ = self.tls.flush();
    }

    fn send(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    let bytes = packet.to_continuous_buffer();
                    self.send_raw(&bytes);
                }
                Event::NotifyPacketReceived(packet) => self.inbox.push_back(packet),
                Event::NotifyError(error) => panic!("{error:?}"),
                _ => {}
            }
        }
    }

    /// Takes the first packet that `wanted` likes; others stay.
    fn until<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> Option<T> {
        loop {
            if let Some((at, found)) =
                self.inbox.iter().enumerate().find_map(|(at, p)| Some((at, wanted(p)?)))
            {
                self.inbox.remove(at);
                return Some(found);
            }
            self.read(PATIENCE)?;
        }
    }

    fn next(&mut self, patience: Duration) -> Option<Packet> {
        loop {
            if let Some(packet) = self.inbox.pop_front() {
                return Some(packet);
            }
            self.read(patience)?;
        }
    }

    /// Reads once; `None` when the connection is over or nothing came in time.
    fn read(&mut self, patience: Duration) -> Option<()> {
        self.tls.sock.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 16 * 1024];
        let n = match self.tls.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => n,
        };
        let mut cursor = Cursor::new(&buffer[..n]);
        while cursor.position() < n as u64 {
            for event in self.mqtt.recv(&mut cursor) {
                if let Event::NotifyPacketReceived(packet) = event {
                    if let Packet::V5_0Disconnect(disconnect) = &packet {
                        self.words = disconnect.props().as_ref().map(words).unwrap_or_default();
                        self.code = disconnect.reason_code();
                    }
                    self.inbox.push_back(packet);
                }
            }
        }
        Some(())
    }
}

fn words(props: &Properties) -> String {
    let found = props.iter().find_map(|property| match property {
        Property::ReasonString(reason) => Some(reason.val().to_owned()),
        _ => None,
    });
    found.unwrap_or_default()
}

/// An identity that another authority made, for the same name.
pub(crate) fn foreign_identity(
    dir: &Path,
    device: &Device,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let other = Rig::on(TempDir::new_in(dir).unwrap(), None, |_| {});
    let twin = other.enrol(device.robot.as_str());
    let certificate = CertificateDer::from_pem_slice(twin.certificate_pem.as_bytes()).unwrap();
    (vec![certificate], PrivateKeyDer::try_from(twin.pair.serialize_der()).unwrap())
}
