//! Each robot behind the broker: its task, its queue, its commands.

use super::Out;
use crate::core::Core;
use crate::endpoint::intake::{self, Order, Sender, Taken};
use crate::endpoint::registry::Registration;
use crate::endpoint::session::{Signal, signalled};
use crate::standing::Admission;
use crate::store::{StoreError, commands, robots, standings};
use mqtt_protocol_core::mqtt::packet::{Qos, v5_0};
use mqtt_protocol_core::mqtt::result_code::PubackReasonCode;
use nooterra_protocol::codec;
use nooterra_protocol::entry::Class;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::topic::{Channel, Topic};
use nooterra_protocol::uplink::State;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Messages of one robot that wait to be kept; a robot has fewer batches under way.
const QUEUE: usize = 16;

/// Commands that are read from the store at once.
const COMMANDS: usize = 32;

/// A command that the robot's journal has not named is sent again after this.
const SEND_AGAIN: Duration = Duration::from_secs(15);

/// A robot's task without messages ends after this; it begins again with the next.
const QUIET: Duration = Duration::from_secs(120);

/// The robots that speak through the broker.
pub(super) struct Robots {
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
    pub(super) fn new(core: Arc<Core>, out: mpsc::Sender<Out>) -> Self {
        Self { core, out, table: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Ready when a robot's task has ended, which is then forgotten; never without tasks.
    pub(super) async fn ended(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Hands a publication to its robot's task, which answers it; otherwise says why not.
    pub(super) fn take(&mut self, publish: &v5_0::Publish) -> Result<(), PubackReasonCode> {
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
            order: Order::default(),
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
    order: Order,
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
            Ok(Taken::OutOfOrder) => PubackReasonCode::ImplementationSpecificError,
            Ok(Taken::Unreadable) => PubackReasonCode::PayloadFormatInvalid,
            Err(_) => PubackReasonCode::UnspecifiedError,
        };
        match id {
            Some(id) => self.out.send(Out::Taken { code, id }).await.map_err(|_| Gone),
            None => Ok(()),
        }
    }

    async fn batch(&mut self, class: Class, payload: &[u8]) -> Result<Taken, StoreError> {
        let taken =
            intake::batch_in_order(&self.core, &self.sender, class, payload, &mut self.order)
                .await?;
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
            self.absent().await?;
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
        if self.registration.is_some() {
            return Ok(());
        }
        let (robot, process) = (self.sender.robot.clone(), self.core.process.clone());
        let now = self.core.clock.wall();
        let begin = move |tx: &_| match standings::admission(tx, &robot, None)? {
            Admission::Admitted => robots::connected(tx, &robot, &process, now).map(Some),
            Admission::Revoked | Admission::Unknown => Ok(None),
        };
        let number: Option<i64> = self.core.store.write::<_, StoreError, _>(begin).await?;
        if let Some(number) = number {
            self.registration = Some(self.core.registry.begin(&self.sender.robot, number));
            self.sent_through = 0;
            self.core.registry.wake(&self.sender.robot);
        }
        Ok(())
    }

    /// The robot is gone, as far as the broker knows.
    async fn absent(&mut self) -> Result<(), StoreError> {
        let Some(number) = self.registration.take().map(|live| live.number()) else {
            return Ok(());
        };
        let (robot, now) = (self.sender.robot.clone(), self.core.clock.wall());
        self.core.store.write(move |tx| robots::disconnected(tx, &robot, number, now)).await
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
