//! What the processes on one database tell each other, and a process itself: that there is
//! something to look for. What it is stands in the database.

use super::StoreError;
use nooterra_protocol::ids::RobotId;
use std::fmt;

/// One piece of news.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum News {
    /// There are commands for the robot.
    Commands(RobotId),
    /// The robot connected again: connections with a lower number are over.
    Connected(RobotId, i64),
    /// The robot enrolled again, with another key: connections with a lower number are over.
    Enrolled(RobotId, i64),
    /// There are events to be told, or somebody more to tell them. It is for this process only and
    /// never sent to others, of which an earlier release would take it for what it missed: the form
    /// is for logs only, and is not read.
    Events,
    /// Something may have been missed.
    Missed,
    /// The robot's key was revoked: connections with a lower number are over.
    Revoked(RobotId, i64),
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commands(robot) => write!(f, "commands {robot}"),
            Self::Connected(robot, number) => write!(f, "connected {robot} {number}"),
            Self::Enrolled(robot, number) => write!(f, "enrolled {robot} {number}"),
            Self::Events => write!(f, "events"),
            Self::Missed => write!(f, "missed"),
            Self::Revoked(robot, number) => write!(f, "revoked {robot} {number}"),
        }
    }
}

impl std::str::FromStr for News {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let mut words = text.split(' ');
        let mut word = || words.next();
        let kind = word();
        let robot = word().and_then(|name| RobotId::new(name).ok());
        let mut numbered = |robot| Some((robot, word()?.parse().ok()?));
        let news = match (kind, robot) {
            (Some("commands"), Some(robot)) => Some(Self::Commands(robot)),
            (Some("connected"), Some(robot)) => numbered(robot).map(|(r, n)| Self::Connected(r, n)),
            (Some("enrolled"), Some(robot)) => numbered(robot).map(|(r, n)| Self::Enrolled(r, n)),
            (Some("revoked"), Some(robot)) => numbered(robot).map(|(r, n)| Self::Revoked(r, n)),
            _ => None,
        };
        news.filter(|_| words.next().is_none()).ok_or_else(|| StoreError::damaged("news", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_read_as_they_are_written_and_nothing_else_is() {
        let robot = RobotId::new("amr-1").unwrap();
        for news in [
            News::Commands(robot.clone()),
            News::Connected(robot.clone(), 7),
            News::Enrolled(robot.clone(), -1),
            News::Revoked(robot, 9),
        ] {
            assert_eq!(news.to_string().parse::<News>().unwrap(), news);
        }
        for bad in
            ["", "events", "commands", "commands amr-1 2", "connected amr-1 x", "a later release"]
        {
            assert!(bad.parse::<News>().is_err(), "{bad}");
        }
    }
}
