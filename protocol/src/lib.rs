//! The vocabulary that the robot and the cloud share, and its one form on the wire.
//!
//! What lives here: typed ids ([`ids`]), time as two clocks that are never mixed ([`time`]),
//! plane geometry ([`geometry`]), what a robot is asked ([`command`]) and sees
//! ([`observation`]), jobs and their one state table ([`job`]), plans ([`plan`]), the owner's
//! policy document ([`policy`]) and the grids that it may name ([`grid`]), who may ask for what
//! ([`grant`]), when a robot may be let in ([`access`]), who let a job be carried out
//! ([`approval`]), what its stream says of it in the end ([`report`]), what the cloud says of a job under way
//! ([`oversight`]), the skill manifest ([`skill`]), whose skills are taken ([`trust`]), facts
//! ([`event`]), what the
//! journal holds ([`entry`]; the gate's [`rule`]s) and what of it is private ([`private`]), of the flight recorder
//! ([`flight`]) and of what skills saw ([`input`], as differences: [`delta`]; pictures: [`frame`]), what travels
//! between robot and cloud ([`uplink`], [`topic`]),
//! keys ([`keys`]), and signed objects ([`envelope`]) over canonical CBOR ([`codec`]).
//!
//! # What it never does
//! It opens no file and no socket, reads no clock and draws no randomness: time and entropy
//! are arguments. It decides nothing about motion (that is `nooterra-policy`) and nothing
//! about storage (that is `nooterra-blackbox`). It also builds for `wasm32-unknown-unknown`,
//! so its cryptography is RustCrypto's.
//!
//! # Frames and units
//! Metres, radians, seconds, unless a name says otherwise (`_ms` milliseconds). The `map`
//! frame is x east, y north, yaw counter-clockwise from x (REP 103); a body twist is linear
//! along the robot's x axis (forward) and angular about z.

pub mod access;
pub mod approval;
pub mod codec;
pub mod command;
pub mod delta;
pub mod entry;
pub mod envelope;
pub mod event;
pub mod flight;
pub mod frame;
pub mod geometry;
pub mod grant;
pub mod grid;
pub mod ids;
pub mod input;
pub mod job;
pub mod keys;
pub mod observation;
pub mod oversight;
pub mod plan;
pub mod policy;
pub mod policy_part;
pub mod private;
pub mod report;
pub mod rule;
pub mod sbom;
pub mod schedule;
pub mod shadow;
pub mod skill;
pub mod skill_graph;
pub mod skill_install;
pub mod start;
pub mod time;
pub mod topic;
pub mod trust;
pub mod uplink;

/// The protocol's major version: the `1` of every topic, and the `v` of every signed object.
pub const VERSION: u32 = 1;
