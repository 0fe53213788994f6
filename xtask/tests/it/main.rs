//! The developer's commands from outside: what they show holds, and what the guides say works.
//!
//! One crate, so that a demo that waits for its robot leaves the processor to the next test.

// clippy.toml allows it in test functions; what they share is no less a test.
#![allow(clippy::unwrap_used)]

mod console;
mod demo;
mod docs;
mod map;
mod running;
