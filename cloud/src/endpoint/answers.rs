//! What a connected robot's packets are answered with.

use super::intake::{self, Sender, Taken};
use super::session::{Over, Session};
use crate::store::{StoreError, commands};
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait as _, Qos, v5_0};
use mqtt_protocol_core::mqtt::result_code::{
    DisconnectReasonCode, MqttError, PubackReasonCode, SubackReasonCode, UnsubackReasonCode,
};
use nooterra_protocol::codec;
use nooterra_protocol::topic::{Channel, Topic};
use nooterra_protocol::uplink::Ack;

/// Commands that may be unacknowledged at once by a robot.
const COMMAND_WINDOW: usize = 8;

impl Session {
    pub(super) async fn publish(&mut self, publish: &v5_0::Publish) -> Result<Vec<Event>, Over> {
        // Both were said in CONNACK; MQTT answers who did not listen with the end.
        let offered = match publish.qos() {
            _ if publish.retain() => {
                Err((DisconnectReasonCode::RetainNotSupported, "nothing is retained"))
            }
            Qos::ExactlyOnce => Err((DisconnectReasonCode::QosNotSupported, "QoS is 0 or 1")),
            _ => Ok(()),
        };
        if let Err((code, why)) = offered {
            self.disconnect(code, why);
            return Err(Over::Refused(why));
        }
        let own = Topic::parse(publish.topic_name())
            .filter(|topic| topic.robot == self.identity.robot && topic.channel.is_from_robot());
        let payload = publish.payload().as_slice();
        let taken = match own.map(|topic| topic.channel) {
            Some(Channel::State) => intake::state(&self.core, &self.sender(), payload).await,
            Some(Channel::Up(class)) => {
                intake::batch(&self.core, &self.sender(), class, payload).await
            }
            _ => {
                let (robot, topic) = (&self.identity.robot, publish.topic_name());
                tracing::warn!(%robot, topic, "publication to a topic that is not the robot's");
                Ok(Taken::NotIts)
            }
        };
        let (code, ack) = match taken {
            Ok(Taken::Kept(ack)) => (PubackReasonCode::Success, ack),
            Ok(Taken::NotIts) => (PubackReasonCode::NotAuthorized, None),
            // Never here, where batches come in order.
            Ok(Taken::OutOfOrder) => (PubackReasonCode::ImplementationSpecificError, None),
            Ok(Taken::Unreadable) => (PubackReasonCode::PayloadFormatInvalid, None),
            Ok(Taken::Barred) => {
                let why = "the robot's key is revoked, or another one is enrolled";
                self.disconnect(DisconnectReasonCode::NotAuthorized, why);
                return Err(Over::Refused(why));
            }
            Err(error) => {
                let why = "the message could not be kept";
                self.disconnect(DisconnectReasonCode::UnspecifiedError, why);
                return Err(error.into());
            }
        };
        let mut events = match publish.packet_id() {
            Some(id) => {
                let puback = v5_0::Puback::builder().packet_id(id).reason_code(code).build()?;
                self.mqtt.checked_send(puback)
            }
            None if code == PubackReasonCode::NotAuthorized => {
                let why = "published to a topic that is not the robot's";
                self.disconnect(DisconnectReasonCode::NotAuthorized, why);
                return Err(Over::Refused(why));
            }
            None => Vec::new(),
        };
        if code != PubackReasonCode::Success {
            self.count_refusal(&events)?;
        }
        if let Some(ack) = ack.filter(|_| self.acks) {
            events.extend(self.acknowledge(&ack)?);
        }
        Ok(events)
    }

    fn sender(&self) -> Sender {
        Sender { key: Some(self.identity.key.clone()), robot: self.identity.robot.clone() }
    }

    /// Ends the connection after one refusal too many; the last answer still leaves.
    fn count_refusal(&mut self, answer: &[Event]) -> Result<(), Over> {
        if !self.quota.refuse() {
            return Ok(());
        }
        for event in answer {
            if let Event::RequestSendPacket { packet, .. } = event {
                self.out.extend_from_slice(&packet.to_continuous_buffer());
            }
        }
        let why = "too much of what was sent had to be refused";
        self.disconnect(DisconnectReasonCode::QuotaExceeded, why);
        Err(Over::Refused(why))
    }

    fn acknowledge(&mut self, ack: &Ack) -> Result<Vec<Event>, Over> {
        let topic = Topic::new(self.identity.robot.clone(), Channel::Ack).to_string();
        // An id, a name and a number always have a canonical form.
        let payload = codec::to_vec(ack).map_err(|e| StoreError::damaged("an ack", e))?;
        let publish =
            v5_0::Publish::builder().topic_name(topic)?.qos(Qos::AtMostOnce).payload(payload);
        Ok(self.mqtt.checked_send(publish.build()?))
    }

    pub(super) async fn subscribe(
        &mut self,
        subscribe: &v5_0::Subscribe,
    ) -> Result<Vec<Event>, Over> {
        let mut codes = Vec::new();
        let mut asks_for_commands = false;
        let mut refused = false;
        for entry in subscribe.entries() {
            let own = Topic::parse(entry.topic_filter())
                .filter(|topic| topic.robot == self.identity.robot)
                .map(|topic| topic.channel);
            codes.push(match own {
                Some(Channel::Ack) => {
                    self.acks = true;
                    SubackReasonCode::GrantedQos0
                }
                Some(Channel::Command) => {
                    asks_for_commands = true;
                    SubackReasonCode::GrantedQos1
                }
                _ => {
                    let (robot, filter) = (&self.identity.robot, entry.topic_filter());
                    tracing::warn!(%robot, filter, "subscription that is not the robot's");
                    refused = true;
                    SubackReasonCode::NotAuthorized
                }
            });
        }
        let suback =
            v5_0::Suback::builder().packet_id(subscribe.packet_id()).reason_codes(codes).build()?;
        let events = self.mqtt.checked_send(suback);
        if refused {
            self.count_refusal(&events)?;
        }
        if asks_for_commands {
            self.commands = true;
            self.sent_through = 0;
            // The SUBACK leaves first.
            self.send_only(events).await?;
            self.send_commands().await?;
            return Ok(Vec::new());
        }
        Ok(events)
    }

    pub(super) fn unsubscribe(
        &mut self,
        unsubscribe: &v5_0::Unsubscribe,
    ) -> Result<Vec<Event>, Over> {
        let mut codes = Vec::new();
        for filter in unsubscribe.entries() {
            let own = Topic::parse(filter.as_str())
                .filter(|topic| topic.robot == self.identity.robot)
                .map(|topic| topic.channel);
            codes.push(match own {
                Some(Channel::Ack) if self.acks => {
                    self.acks = false;
                    UnsubackReasonCode::Success
                }
                Some(Channel::Command) if self.commands => {
                    self.commands = false;
                    UnsubackReasonCode::Success
                }
                _ => UnsubackReasonCode::NoSubscriptionExisted,
            });
        }
        let unsuback = v5_0::Unsuback::builder()
            .packet_id(unsubscribe.packet_id())
            .reason_codes(codes)
            .build()?;
        Ok(self.mqtt.checked_send(unsuback))
    }

    /// Sends what the robot has not answered, as far as the window allows; the rest follows as
    /// it acknowledges.
    pub(super) async fn send_commands(&mut self) -> Result<(), Over> {
        let vacancy =
            self.mqtt.get_receive_maximum_vacancy_for_send().map_or(usize::MAX, usize::from);
        let room = COMMAND_WINDOW.saturating_sub(self.in_flight).min(vacancy);
        if !self.commands || room == 0 {
            return Ok(());
        }
        let (robot, after) = (self.identity.robot.clone(), self.sent_through);
        let now = self.core.clock.wall();
        let due = self
            .core
            .store
            .read(move |tx| commands::unanswered(tx, &robot, after, now, room))
            .await?;
        let topic = Topic::new(self.identity.robot.clone(), Channel::Command).to_string();
        for command in due {
            self.sent_through = command.n;
            let id = self.mqtt.acquire_packet_id()?;
            let publish = v5_0::Publish::builder()
                .topic_name(topic.as_str())?
                .qos(Qos::AtLeastOnce)
                .packet_id(id)
                .payload(command.signed)
                .build()?;
            let events = self.mqtt.checked_send(publish);
            let too_large = events
                .iter()
                .any(|event| matches!(event, Event::NotifyError(MqttError::PacketTooLarge)));
            if too_large {
                let robot = &self.identity.robot;
                tracing::warn!(%robot, command = %command.id,
                    "the command is larger than the packets that the robot takes; not sent");
                self.mqtt.release_packet_id(id);
                continue;
            }
            self.in_flight += 1;
            self.send_only(events).await?;
        }
        Ok(())
    }
}
