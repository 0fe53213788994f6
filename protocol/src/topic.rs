//! Where messages travel: the MQTT topics, made and read in one place.
//!
//! ```text
//! noot/1/{robot}/up/{class}   robot -> cloud   journal records, QoS 1 (uplink::Batch)
//! noot/1/{robot}/state        robot -> cloud   presence and health, QoS 1 (uplink::State)
//! noot/1/{robot}/ack          cloud -> robot   what is durable there (uplink::Ack)
//! noot/1/{robot}/cmd          cloud -> robot   signed commands (command::RemoteCommand)
//! ```
//! A robot's certificate names the robot; it may publish to its own first two and subscribe
//! to its own last two, and nothing else.

use crate::entry::Class;
use crate::ids::RobotId;
use std::fmt;

/// A topic of one robot.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Topic {
    /// What travels on it.
    pub channel: Channel,
    /// Whose it is.
    pub robot: RobotId,
}

/// What travels on a topic.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Channel {
    /// Acknowledgements to the robot.
    Ack,
    /// Signed commands to the robot.
    Command,
    /// Presence and health from the robot.
    State,
    /// Journal records from the robot, by priority class.
    Up(Class),
}

impl Channel {
    /// The robot publishes here; otherwise it subscribes.
    #[must_use]
    pub const fn is_from_robot(self) -> bool {
        matches!(self, Self::State | Self::Up(_))
    }
}

impl Topic {
    /// The topic of `robot` for `channel`.
    #[must_use]
    pub const fn new(robot: RobotId, channel: Channel) -> Self {
        Self { channel, robot }
    }

    /// Reads a topic name; `None` for any that is not ours, wildcards included.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("noot/1/")?;
        let (robot, channel) = rest.split_once('/')?;
        let channel = match channel {
            "ack" => Channel::Ack,
            "cmd" => Channel::Command,
            "state" => Channel::State,
            other => Channel::Up(Class::from_name(other.strip_prefix("up/")?)?),
        };
        Some(Self { channel, robot: RobotId::new(robot).ok()? })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "noot/1/{}/", self.robot)?;
        match self.channel {
            Channel::Ack => f.write_str("ack"),
            Channel::Command => f.write_str("cmd"),
            Channel::State => f.write_str("state"),
            Channel::Up(class) => write!(f, "up/{}", class.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_reads_back_as_itself() {
        let robot = RobotId::new("amr-1").unwrap();
        let channels = [Channel::Ack, Channel::Command, Channel::State]
            .into_iter()
            .chain(Class::ALL.map(Channel::Up));
        for channel in channels {
            let topic = Topic::new(robot.clone(), channel);
            assert_eq!(Topic::parse(&topic.to_string()), Some(topic));
        }
    }

    #[test]
    fn a_filter_or_a_foreign_topic_is_not_a_topic() {
        for name in [
            "noot/1/+/cmd",
            "noot/1/amr-1/#",
            "noot/2/amr-1/cmd",
            "noot/1/amr-1/cmd/x",
            "$SYS/x",
            "noot/1//cmd",
            "noot/1/amr-1/up/",
            "noot/1/amr-1/up/any",
        ] {
            assert_eq!(Topic::parse(name), None, "{name}");
        }
    }
}
