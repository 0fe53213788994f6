//! The cloud from outside: real TLS on both ports, nothing of its inside but its start.
//!
//! One crate, so that it is linked once.

// clippy.toml allows it in test functions; what they share is no less a test.
#![allow(clippy::unwrap_used)]

mod access;
mod api;
mod approvals;
mod backup;
mod cli;
mod client;
mod commands;
mod console;
mod course;
mod enrol;
mod fleet;
mod fuzz;
mod hostile;
mod invariants;
mod jobs;
mod kill;
mod link;
mod mosquitto;
mod ports;
mod postgres;
mod registry;
mod registry_docs;
mod replay;
mod report;
mod rig;
mod rollouts;
mod schemathesis;
mod server;
mod services;
mod several;
mod skill_trust;
mod streams;
mod systemd;
mod traces;
mod webhooks;
mod world;
