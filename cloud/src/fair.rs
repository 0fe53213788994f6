//! Who may shake hands now, and how many connections one host may have.
//!
//! A host that opens connections and says nothing must not keep others out: each has its own
//! share of the handshakes, and waits for its own. A whole fleet behind one address goes
//! through that share too, a few milliseconds for each robot.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How much one host may have, and all together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// Connections of one host.
    pub(crate) connections_of_one: usize,
    /// Handshakes under way at once.
    pub(crate) handshakes: usize,
    /// Those of one host.
    pub(crate) handshakes_of_one: usize,
}

/// The hosts that are connected.
#[derive(Debug)]
pub(crate) struct Hosts {
    handshakes: Arc<Semaphore>,
    shares: Shares,
    table: Mutex<HashMap<IpAddr, Host>>,
}

#[derive(Debug)]
struct Host {
    handshakes: Arc<Semaphore>,
    open: usize,
}

/// A connection's place; given back on drop.
#[derive(Debug)]
pub(crate) struct Seat {
    handshakes: Arc<Semaphore>,
    host: IpAddr,
    hosts: Arc<Hosts>,
}

/// The right to shake hands; given back on drop.
#[derive(Debug)]
pub(crate) struct Turn {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Hosts {
    pub(crate) fn new(shares: Shares) -> Arc<Self> {
        let handshakes = Arc::new(Semaphore::new(shares.handshakes));
        Arc::new(Self { handshakes, shares, table: Mutex::default() })
    }

    /// A place for one more connection of `peer`; none when its host has its share.
    pub(crate) fn seat(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let host = host(peer);
        let mut table = self.table();
        let entry = table.entry(host).or_insert_with(|| Host {
            handshakes: Arc::new(Semaphore::new(self.shares.handshakes_of_one)),
            open: 0,
        });
        if entry.open >= self.shares.connections_of_one {
            return None;
        }
        entry.open += 1;
        let handshakes = entry.handshakes.clone();
        drop(table);
        Some(Seat { handshakes, host, hosts: self.clone() })
    }

    /// Nothing under this lock can panic half way.
    fn table(&self) -> MutexGuard<'_, HashMap<IpAddr, Host>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits for a turn: first among its own host's, then among all, so that those who wait
    /// hold nothing that others need.
    pub(crate) async fn turn(&self) -> Option<Turn> {
        // The semaphores are never closed.
        let own = self.handshakes.clone().acquire_owned().await.ok()?;
        let all = self.hosts.handshakes.clone().acquire_owned().await.ok()?;
        Some(Turn { _all: all, _own: own })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.hosts.table();
        let Some(host) = table.get_mut(&self.host) else { return };
        host.open -= 1;
        if host.open == 0 {
            table.remove(&self.host);
        }
    }
}

/// An IPv6 network is given out by the 64 bits at least: they are one host.
fn host(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ready(seat: &Seat) -> Option<Turn> {
        let turn = pin!(seat.turn());
        match turn.poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(turn) => turn,
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn one_host_takes_its_share_and_leaves_the_rest_to_others() {
        let hosts =
            Hosts::new(Shares { connections_of_one: 3, handshakes: 3, handshakes_of_one: 2 });
        let seats: Vec<_> = (0..3).map(|_| hosts.seat(address("192.0.2.1")).unwrap()).collect();
        assert!(hosts.seat(address("::ffff:192.0.2.1")).is_none());
        let turns: Vec<_> = seats.iter().filter_map(ready).collect();
        assert_eq!(turns.len(), 2);
        let other = hosts.seat(address("192.0.2.2")).unwrap();
        let other_turn = ready(&other).unwrap();
        // All together is a limit too.
        let third = hosts.seat(address("192.0.2.3")).unwrap();
        assert!(ready(&third).is_none());
        drop(turns);
        assert!(ready(&third).is_some() && ready(&seats[2]).is_some());
        drop((other_turn, seats, other, third));
        assert!(hosts.table().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_host() {
        assert_eq!(host(address("2001:db8::1")), host(address("2001:db8::ffff:1")));
        assert_ne!(host(address("2001:db8::1")), host(address("2001:db8:0:1::1")));
    }
}
