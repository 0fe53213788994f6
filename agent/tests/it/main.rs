//! The agent from outside: its command line, its daemon, and the parts of it that meet a journal
//! or a cloud.
//!
//! One crate, so that it is linked once, and so that what waits for a process leaves the processor
//! to the next. What counts allocations, replaces the C library's names, or must have its ticks to
//! itself is beside it.

// clippy.toml allows it in test functions; what they share is no less a test.
#![allow(clippy::unwrap_used)]

mod activation;
mod arm;
mod authority;
mod backtest;
mod blackbox;
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod control;
mod daemon;
mod downlink;
mod ending;
mod erase;
mod flight;
mod import;
mod incident;
mod install;
mod masks;
mod merge;
mod over_mosquitto;
mod own_cases;
mod pictures;
mod sensors;
mod skill;
mod skill_graph;
mod systemd;
mod trust;
