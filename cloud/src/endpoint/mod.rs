//! The MQTT 5 endpoint: robots' side of the cloud.
//!
//! Not a broker. Nobody subscribes to what robots publish but the cloud itself, and what it
//! sends goes to one robot. So a connection may publish to two topics and subscribe to two,
//! all four made from its certificate, and every other name is refused with `Not authorized`.
//! Quality of service is at most 1; nothing is retained; there is no session to resume: what
//! is undelivered is in the store, and is sent again on the next connection.
//!
//! A robot is online while it is connected: a last will is checked (it may only go to the
//! robot's own `state`) and then has nothing to add, since the connection itself is the news.
//!
//! With a broker in between ([`broker`]) the same rules hold: the broker checks certificates and
//! topics, and what robots send is judged and kept by the same functions.
//!
//! `PUBACK` and the acknowledgement on `ack` leave only after the commit. The acknowledgement
//! itself is sent with QoS 0: it is cumulative, and a lost connection brings a new one.

mod answers;
pub(crate) mod broker;
mod intake;
mod quota;
mod registry;
mod session;
mod wire;

pub(crate) use registry::{End, Registry};
pub(crate) use session::serve;
