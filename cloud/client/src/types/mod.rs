//! What is asked and what is answered, by the names of the OpenAPI document.
//!
//! A field that may be missing or null is an `Option`. A test compares every structure here with
//! `cloud/openapi.json`: no field too many, none too few. What `protocol` has a type for has that
//! type; fields that an answer has beyond these are passed over, so that a client goes on with a
//! cloud of a later release.

mod access;
mod events;
mod jobs;
mod queries;
mod robots;
mod skills;

pub use access::*;
pub use events::*;
pub use jobs::*;
pub use queries::*;
pub use robots::*;
pub use skills::*;

use serde::{Deserialize, Serialize};

/// Structures of the wire, with what a test compares with the document.
macro_rules! wire {
    ($($(#[$attr:meta])* pub struct $name:ident {
        $($(#[$of:meta])* pub $field:ident: $type:ty,)*
    })*) => {
        $($(#[$attr])*
        #[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
        pub struct $name {
            $($(#[$of])* pub $field: $type,)*
        }

        impl $crate::answer::FromBody for $name {
            fn from_body(body: Vec<u8>) -> Result<Self, String> {
                $crate::answer::json(&body)
            }
        })*

        #[cfg(test)]
        pub(super) const STRUCTURES: &[super::Structure] = &[
            $((stringify!($name), &[$((stringify!($field), stringify!($type))),*])),*
        ];
    };
}
use wire;

/// A structure's name, and its fields with their types.
#[cfg(test)]
pub(crate) type Structure = (&'static str, &'static [(&'static str, &'static str)]);

/// All of them.
#[cfg(test)]
pub(crate) const STRUCTURES: [&[Structure]; 5] = [
    access::STRUCTURES,
    events::STRUCTURES,
    jobs::STRUCTURES,
    robots::STRUCTURES,
    skills::STRUCTURES,
];

/// Enumerations that are one word on the wire.
macro_rules! words {
    ($($(#[$doc:meta])* pub enum $name:ident { $($(#[$of:meta])* $variant:ident,)* })*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name {
            $($(#[$of])* $variant,)*
        }

        impl $name {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
        })*
    };
}

words! {
    /// A kind of resources, to which a token gives a right.
    pub enum Family {
        /// Who did what.
        Audit,
        /// Signed commands to robots.
        Commands,
        /// What happened, over all streams.
        Events,
        /// Jobs.
        Jobs,
        /// Figures of the process.
        Metrics,
        /// What robots' journals say, their policies and boxes.
        Records,
        /// Robots: enrolment and standing.
        Robots,
        /// Skill bundles.
        Skills,
        /// Tokens of the API.
        Tokens,
        /// Subscribers that are called.
        Webhooks,
    }

    /// Which right a token gives to its families.
    pub enum Role {
        /// To see.
        Viewer,
        /// To see and to work.
        Operator,
        /// All of it.
        Admin,
    }
}

/// A problem of RFC 9457: why the cloud refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// Stable; for programs.
    pub code: String,
    /// What is wrong; for people.
    pub detail: String,
    /// What to do; for people.
    #[serde(default)]
    pub hint: String,
    /// The scope that the token lacks, such as `robots:write`; with `scope_missing` only.
    pub scope: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// What the status is called.
    #[serde(default)]
    pub title: String,
    /// `urn:nooterra:problem:` and the code.
    #[serde(default, rename = "type")]
    pub kind: String,
}
