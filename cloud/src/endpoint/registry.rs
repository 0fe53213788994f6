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
    /// Below which number a robot's connections are over, and why: also those that are still on
    /// their way here. One entry for each robot at most.
    ended: HashMap<RobotId, (i64, End)>,
    robots: HashMap<RobotId, Live>,
}

#[derive(Debug)]
struct Live {
    end: watch::Sender<Option<End>>,
    /// Of two connections the later has the higher one, wherever they are.
    number: i64,
    wake: Arc<Notify>,
}

/// A connection's place in the registry; it is vacated on drop, however the connection ended.
#[derive(Debug)]
pub(crate) struct Registration {
    end: watch::Receiver<Option<End>>,
    live: Arc<Mutex<Table>>,
    number: i64,
    robot: RobotId,
    wake: Arc<Notify>,
}

impl Registry {
    /// Registers a connection of `robot`; of two the older is told that it was taken over, and one
    /// that was ended before it came here is told so at once.
    pub(crate) fn begin(&self, robot: &RobotId, number: i64) -> Registration {
        let (sender, end) = watch::channel(None);
        let wake = Arc::new(Notify::new());
        let live = Live { end: sender, number, wake: wake.clone() };
        let mut table = lock(&self.live);
        if let Some((_, why)) = table.ended.get(robot).filter(|(below, _)| number < *below) {
            live.end.send_replace(Some(*why));
        } else if table.robots.get(robot).is_some_and(|newer| newer.number > number) {
            live.end.send_replace(Some(End::TakenOver));
        } else if let Some(older) = table.robots.insert(robot.clone(), live) {
            older.end.send_replace(Some(End::TakenOver));
        }
        drop(table);
        Registration { end, live: self.live.clone(), number, robot: robot.clone(), wake }
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

    /// There may be commands for every robot.
    pub(crate) fn wake_all(&self) {
        for live in lock(&self.live).robots.values() {
            live.wake.notify_one();
        }
    }

    /// Ends the connection of `robot` with a lower number, if there is one; and one that comes
    /// to say so only later.
    pub(crate) fn end_older(&self, robot: &RobotId, number: i64, why: End) {
        let mut table = lock(&self.live);
        let ended = table.ended.entry(robot.clone()).or_insert((number, why));
        if ended.0 < number {
            *ended = (number, why);
        }
        if let Some(live) = table.robots.get(robot).filter(|live| live.number < number) {
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

    /// Its number.
    pub(crate) const fn number(&self) -> i64 {
        self.number
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
        let mut first = registry.begin(&robot, 1);
        let second = registry.begin(&robot, 3);
        assert_eq!(first.ended().await, End::TakenOver);
        drop(first);
        // One that connected between the two, and comes to say so only now.
        assert_eq!(registry.begin(&robot, 2).ended().await, End::TakenOver);
        assert!(registry.is_online(&robot));
        drop(second);
        assert!(!registry.is_online(&robot));
    }

    #[tokio::test]
    async fn a_wake_up_before_the_wait_is_not_lost() {
        let registry = Registry::default();
        let robot = RobotId::new("amr-1").unwrap();
        let mut live = registry.begin(&robot, 1);
        registry.wake(&robot);
        registry.wake(&robot);
        tokio::time::timeout(std::time::Duration::from_secs(5), live.wake().notified())
            .await
            .unwrap();
        // A connection elsewhere ends this one if it is the later.
        registry.end_older(&robot, 1, End::Reenrolled);
        registry.end_older(&robot, 2, End::TakenOver);
        assert_eq!(live.ended().await, End::TakenOver);
    }

    #[tokio::test]
    async fn a_connection_that_was_revoked_on_its_way_here_is_told_so() {
        let registry = Registry::default();
        let robot = RobotId::new("amr-1").unwrap();
        registry.end_older(&robot, 3, End::Revoked);
        registry.end_older(&robot, 2, End::TakenOver);
        assert_eq!(registry.begin(&robot, 2).ended().await, End::Revoked);
        assert!(!registry.is_online(&robot));
        let _live = registry.begin(&robot, 3);
        assert!(registry.is_online(&robot));
    }
}
