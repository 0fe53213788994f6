//! The thin cloud: one process beside a fleet of robots, and a library that a test embeds in
//! three lines.
//!
//! ```no_run
//! # async fn example(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
//! let cloud = nooterra_cloud::Cloud::start(nooterra_cloud::Config::for_test(dir)).await?;
//! println!("https://{} and mqtt {}", cloud.http_addr(), cloud.mqtt_addr());
//! cloud.stop().await;
//! # Ok(()) }
//! ```
//!
//! # What it is made of
//! - `ca`: the private root, and the certificates of robots and of the server itself.
//! - `services`: who vouches for services that come with a certificate instead of a token.
//! - `tls`: both ports' TLS 1.3, who is at the other end, and the accept loop.
//! - `endpoint`: MQTT 5 for robots. Topics come from the certificate, never from the client.
//! - [`broker_files()`]: what mosquitto needs to stand between robots and the cloud. `broker_crl`
//!   keeps the list of certificates that it is to refuse.
//! - [`api`]: HTTP and JSON for people and programs. Its text is the contract.
//! - `access`: who may ask what of it: tokens, scopes, limits, one table of routes.
//! - `console`: the page for people, of the same API as anybody's.
//! - `jobs`: event-sourced jobs. A stream of signed facts per job, hash-chained; the state is
//!   a fold (`fold`) with the one transition table of `nooterra_protocol::job`.
//! - `watch`: what follows from time alone: stalls after silence, escalation, the end of access.
//!   `access_plan` and `course` are what people change about a job on its way.
//! - [`replay()`]: reads the streams again, and compares what they say with what is shown.
//! - [`backup()`], [`restore()`]: all of a cloud in one file, and a cloud from it.
//! - [`verify_report()`]: a job's completion report, checked without any cloud.
//! - `ingest`: what robots send: journal records, kept as they are, and what follows from them.
//! - `skill_registry`: whose a skill is, who may have it, and how a version reaches robots.
//! - `standing`: whether a robot is in service, in maintenance, quarantined or revoked.
//! - `commands`: signed, expiring envelopes to robots, sent until the robot's journal names them.
//! - `traces`: spans of requests, writes and dispatch, for OpenTelemetry, where configured.
//! - `webhooks`: subscribers that are called, each told every event at least once.
//! - `store`: one SQLite file, or a Postgres server that several clouds share; one thread that
//!   writes, readers beside it.
//!
//! # Who owns what
//! Each TLS connection is one task; it owns its socket and its protocol state. Everything
//! durable is written by one thread, which commits what waits together; reads have connections
//! of their own, on blocking threads. A live
//! MQTT connection is reached through a registry that holds a wake-up and an end signal for
//! each robot, nothing else: commands wait in the store, so there is no outbound queue to
//! overflow. A robot that does not read is disconnected when a write stalls. What a commit means
//! for live connections comes to the registry as news from the store, whichever process
//! committed it.
//!
//! # What it never does
//! It never acknowledges a record that is not durable, takes a topic or a name from what a
//! client says of itself, drops a genuine fact because it came late, or holds a robot's
//! private key. It decides nothing about motion: what it sends, the robot's gate judges.
//! Records are kept for ever; there is no retention yet.

pub mod api;

mod access;
mod access_plan;
mod approval;
mod backup;
mod broker_crl;
mod broker_files;
mod ca;
mod care;
mod clock;
mod cloud;
mod commands;
mod config;
mod console;
mod core;
mod course;
mod endpoint;
mod fair;
mod files;
mod fold;
mod guard;
mod ingest;
mod jobs;
#[cfg(feature = "measure")]
#[doc(hidden)]
pub mod measure;
#[cfg(test)]
mod model;
mod outgoing;
mod replay;
mod report;
mod services;
mod skill_registry;
mod standing;
mod store;
mod tls;
mod traces;
mod watch;
mod webhooks;

pub use backup::{BackupError, backup, restore};
pub use broker_files::{BrokerFilesError, broker_files};
pub use ca::CaError;
pub use clock::{Clock, SystemClock};
pub use cloud::{Cloud, StartError};
pub use config::{
    Broker, Config, DEFAULT_API_PER_S, DEFAULT_HTTP_PORT, DEFAULT_MQTT_PORT, DEFAULT_WEBHOOK_ROOTS,
    NoBroker,
};
pub use replay::{
    Difference, Options as ReplayOptions, Replay, ReplayError, replay, report as replay_report,
};
pub use report::verify::{
    ReportError, ShownBy, Statement, UnprovenFact, VerifiedReport, verify_report,
};
pub use services::ServicesError;
pub use store::StoreError;
pub use traces::{TARGET as TRACES_TARGET, Traces, TracesError};
pub use webhooks::{Network, NoNetwork, Patience as WebhookPatience};
