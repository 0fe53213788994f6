//! What is asked of the cloud over a file, once more over a real Postgres.
#![allow(clippy::duplicate_mod)] // The same tests with another rig.

mod rig {
    pub(crate) use crate::rig::*;
    pub(crate) type Rig = crate::rig::RigOn<crate::rig::Postgres>;
}

#[path = "access.rs"]
mod access;
#[path = "api.rs"]
mod api;
#[path = "approvals.rs"]
mod approvals;
#[path = "commands.rs"]
mod commands;
#[path = "course.rs"]
mod course;
#[path = "enrol.rs"]
mod enrol;
#[path = "fuzz.rs"]
mod fuzz;
#[path = "jobs.rs"]
mod jobs;
#[path = "link.rs"]
mod link;
#[path = "registry.rs"]
mod registry;
#[path = "report.rs"]
mod report;
#[path = "rollouts.rs"]
mod rollouts;
#[path = "streams.rs"]
mod streams;
#[path = "webhooks.rs"]
mod webhooks;
