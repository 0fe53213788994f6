//! A typed client of the cloud's HTTP API.
//!
//! ```no_run
//! use nooterra_client::{Client, types::ListQuery};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("https://cloud.example:8443")
//!     .root_pem(std::fs::read_to_string("ca.pem")?)
//!     .token_file("token")
//!     .build()?;
//! for job in client.list_jobs(&ListQuery::default()).items() {
//!     let job = job?;
//!     println!("{} {:?}", job.id, job.state);
//! }
//! # Ok(()) }
//! ```
//!
//! # What it is made of
//! - [`Client`] has a method for each operation of `cloud/openapi.json`, under the same name; a
//!   test goes over the document. A method gives a [`Call`], which is sent by [`Call::send`].
//! - [`types`]: what is asked and answered.
//! - [`Answer`]: what was asked for, its `ETag`, the request's id. [`Call::if_match`] changes
//!   something only as it was last seen; [`Call::send_if_changed`] reads it only when it changed.
//! - [`Items`]: lists, whose pages are asked for as they are used up.
//! - [`Follow`]: streams, which connect again by themselves and miss nothing.
//! - [`ClientError`]: a refusal is the cloud's problem (RFC 9457) with its stable `code`; every
//!   error of a request names it as the cloud's log and audit trail do.
//! - [`Retry`]: what is sent again, and how often. [`TokenSource`]: where tokens come from.
//!
//! Calls block; a program with an async runtime makes them where blocking is allowed.
//!
//! # What it never does
//! It trusts no root but the one that it was given, follows no redirect, goes through no proxy,
//! shows no secret in its errors or `Debug`, and never sends a call again that could do something
//! twice.

mod answer;
mod call;
mod client;
mod error;
mod operations;
mod pages;
mod retry;
mod stream;
mod token;
pub mod types;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod tests;

pub use answer::{Answer, FromBody, NoTag, Tag};
pub use call::{Call, Repeat, encoded};
pub use client::{Builder, Client};
pub use error::{ClientError, Refusal};
pub use operations::{OPERATIONS, Operation};
pub use pages::{Items, Page};
pub use retry::{Pause, Retry};
pub use stream::{Follow, FromEvent, Live};
pub use token::{MadeTokens, TokenError, TokenFile, TokenSource};
