//! The daemon on the robot: composes gate, driver, journal and sandbox, and holds the channel
//! to the cloud.
//!
//! - [`authority`] — who may ask for what.
//! - [`config`] — `agent.toml`.
//! - [`identity`] — device key, certificate, enrolment.
//! - [`control`] — the loop that alone moves the robot.
//! - [`incident`] — what somebody will ask about.
//! - [`installed`] — versions of skills: on trial, active, the one before, given up.
//! - [`jobs`] — plans, skills, facts.
//! - [`link`] — the channel; what goes up is read from the journal, what comes down is
//!   verified, journalled and then acted on.
//! - [`recording`] — what is kept of it all, how much, how long.
//! - [`status`] — what the running agent says of itself.
//! - [`trust`] — whose skills are taken, and what was revoked.
//! - [`run`] — which threads there are and where they meet.
//! - [`cli`] — the commands.
//! - [`policy_file`] — an owner's policy before it is signed.
//! - `backtest` — a policy against a recording; a developer's tool, feature `tools`.
//! - `export` — a black box as MCAP; a developer's tool, too.
//! - `rehearsal` — a skill in the simulator before it is signed; a developer's tool, too.
//! - [`review`] — what a policy would do before it is in force.
//!
//! # What it never does
//! It decides nothing about motion: every command passes the gate of `nooterra-policy`. It
//! moves nothing that it cannot record. It believes nothing that is not signed by a key from
//! its enrolment or its configuration. It loads no policy, key or code over the channel
//! except skills, which run in the sandbox.

pub mod activation;
pub mod authority;
#[cfg(feature = "tools")]
pub mod backtest;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod driver;
pub mod ending;
pub mod envelope;
#[cfg(feature = "tools")]
pub mod export;
mod files;
mod flight;
pub mod http;
pub mod identity;
pub mod incident;
pub mod installed;
pub mod jobs;
pub mod link;
mod own_cases;
pub mod policy_file;
pub mod recording;
#[cfg(feature = "sim")]
pub mod rehearsal;
pub mod review;
pub mod run;
mod start;
pub mod status;
mod systemd;
pub mod trust;
pub mod versions;
