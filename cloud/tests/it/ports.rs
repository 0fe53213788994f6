//! A port for a server that is started later, or again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below these are ports of well-known services.
const FIRST: u16 = 10_000;

/// Where the system begins by itself, where it does not say so.
const SYSTEMS: u16 = 32_768;

/// An address of this machine on which nothing listens. The system gives its port to no
/// connection of its own accord: one that it gave may belong to an outgoing connection, of
/// another program or of the client that keeps asking for the server, just when the server
/// wants it.
pub(crate) fn free() -> SocketAddr {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let systems = range.ok().and_then(|range| range.split_whitespace().next()?.parse().ok());
    let span = systems.filter(|begin| *begin > FIRST + 1000).unwrap_or(SYSTEMS) - FIRST;
    // Each process of tests begins elsewhere.
    let own = u16::try_from(std::process::id() % u32::from(span)).unwrap();
    for _ in 0..span {
        let at = u32::from(own) * 97 + u32::from(COUNT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from(at % u32::from(span)).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("every port from {FIRST} on is taken");
}
