//! The bytes of a connection as packets: MQTT 5 as the endpoint speaks it, without a socket.

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use mqtt_protocol_core::mqtt::{Connection, Version, role};

/// The largest packet that is read: a batch of 32 KiB that a record of 48 KiB may overrun.
pub(crate) const MAX_PACKET_BYTES: u32 = 128 * 1024;

/// QoS 1 publications of a robot that may be unacknowledged at once.
pub(crate) const RECEIVE_MAXIMUM: u16 = 16;

/// The state of a connection before its first byte.
pub(crate) fn server() -> Connection<role::Server> {
    let options = ConnectionOptions::new()
        .maximum_packet_size_recv(MAX_PACKET_BYTES)
        .receive_maximum(RECEIVE_MAXIMUM);
    let mut mqtt = Connection::with_options(Version::V5_0, options);
    mqtt.set_auto_ping_response(true);
    mqtt
}

/// Takes the next bytes, up to the end of a packet: what follows from them, or `None` when all
/// were taken before.
///
/// # Errors
/// [`MqttError`] when nothing was taken of what is there, which would go on for ever.
pub(crate) fn take(
    mqtt: &mut Connection<role::Server>,
    bytes: &mut Cursor<&[u8]>,
) -> Result<Option<Vec<Event>>, MqttError> {
    let before = bytes.position();
    if before >= u64::try_from(bytes.get_ref().len()).unwrap_or(u64::MAX) {
        return Ok(None);
    }
    let events = mqtt.recv(bytes);
    if bytes.position() <= before && events.is_empty() {
        return Err(MqttError::ProtocolError);
    }
    Ok(Some(events))
}
