//! Which robots are connected, and how to reach their connections.

use nooterra_protocol::ids::RobotId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Why a live connection is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// The robot enrolled again: its older certificates are closed.
    Reenrolled,
    /// Its key was revoked.
    Revoked,
    /// The robot connected again; the newer connection stays.
    TakenOver,
}

/// The live connections, one for each robot at most.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    live: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// Connections that were told to end, or would have been, had they been there.
    ends: u64,
    robots: HashMap<RobotId, Live>,
    next: u64,
}

#[derive(Debug)]
struct Live {
    end: watch::Sender<Option<End>>,
    number: u64,
    wake: Arc<Notify>,
}

/// A connection's place in the registry; it is vacated on drop, however the connection ended.
#[derive(Debug)]
pub(crate) struct Registration {
    end: watch::Receiver<Option<End>>,
    live: Arc<Mutex<Table>>,
    number: u64,
    robot: RobotId,
    wake: Arc<Notify>,
}

impl Registry {
    /// To be asked before a robot is looked up, and given to [`Self::begin`] afterwards.
    pub(crate) fn ends(&self) -> u64 {
        lock(&self.live).ends
    }

    /// Registers a connection of `robot`; an older one is told that it was taken over. `None`
    /// when connections were ended since `ends`: what the store said before may be over, and
    /// the end would have missed this connection.
    pub(crate) fn begin(&self, robot: &RobotId, ends: u64) -> Option<Registration> {
        let (sender, end) = watch::channel(None);
        let wake = Arc::new(Notify::new());
        let mut table = lock(&self.live);
        if table.ends != ends {
            return None;
        }
        table.next += 1;
        let number = table.next;
        let live = Live { end: sender, number, wake: wake.clone() };
        if let Some(older) = table.robots.insert(robot.clone(), live) {
            older.end.send_replace(Some(End::TakenOver));
        }
        drop(table);
        Some(Registration { end, live: self.live.clone(), number, robot: robot.clone(), wake })
    }

    /// The robot is connected now.
    pub(crate) fn is_online(&self, robot: &RobotId) -> bool {
        lock(&self.live).robots.contains_key(robot)
    }

    /// How many robots are connected now.
    pub(crate) fn online(&self) -> usize {
        lock(&self.live).robots.len()
    }

    /// There may be commands for `robot` in the store. Wake-ups do not add up: one is enough.
    pub(crate) fn wake(&self, robot: &RobotId) {
        if let Some(live) = lock(&self.live).robots.get(robot) {
            live.wake.notify_one();
        }
    }

    /// Ends the connection of `robot`, if there is one.
    pub(crate) fn end(&self, robot: &RobotId, why: End) {
        let mut table = lock(&self.live);
        table.ends += 1;
        if let Some(live) = table.robots.get(robot) {
            live.end.send_replace(Some(why));
        }
    }
}

impl Registration {
    /// Waits until the connection is to end.
    pub(crate) async fn ended(&mut self) -> End {
        match self.end.wait_for(Option::is_some).await {
            Ok(end) => end.unwrap_or(End::TakenOver),
            // The sender went away with the entry: a newer connection has the place.
            Err(_) => End::TakenOver,
        }
    }

    /// Rings when there may be commands.
    pub(crate) fn wake(&self) -> Arc<Notify> {
        self.wake.clone()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = lock(&self.live);
        // A newer connection may have the place by now; it keeps it.
        if table.robots.get(&self.robot).is_some_and(|live| live.number == self.number) {
            table.robots.remove(&self.robot);
        }
    }
}

/// Nothing under this lock can panic half way: an entry is there or not.
fn lock(live: &Mutex<Table>) -> MutexGuard<'_, Table> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_connection_takes_over_and_the_first_leaving_changes_nothing() {
        let registry = Registry::default();
        let robot = RobotId::new("amr-1").unwrap();
        let mut first = registry.begin(&robot, 0).unwrap();
        let second = registry.begin(&robot, 0).unwrap();
        assert_eq!(first.ended().await, End::TakenOver);
        drop(first);
        assert!(registry.is_online(&robot));
        drop(second);
        assert!(!registry.is_online(&robot));
    }

    #[tokio::test]
    async fn a_connection_that_was_looked_up_before_an_end_does_not_begin() {
        let registry = Registry::default();
        let robot = RobotId::new("amr-1").unwrap();
        let seen = registry.ends();
        registry.end(&robot, End::Revoked);
        assert!(registry.begin(&robot, seen).is_none());
        let mut live = registry.begin(&robot, registry.ends()).unwrap();
        registry.end(&robot, End::Revoked);
        assert_eq!(live.ended().await, End::Revoked);
    }

    #[tokio::test]
    async fn a_wake_up_before_the_wait_is_not_lost() {
        let registry = Registry::default();
        let robot = RobotId::new("amr-1").unwrap();
        let live = registry.begin(&robot, 0).unwrap();
        registry.wake(&robot);
        registry.wake(&robot);
        tokio::time::timeout(std::time::Duration::from_secs(5), live.wake().notified())
            .await
            .unwrap();
    }
}
