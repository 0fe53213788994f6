//! The journal on disk: every fact on the robot is appended here, and all else reads it.
//!
//! # Vocabulary
//! A *record* (`nooterra-evidence`) is an entry with its place and time. A *commit* is what the
//! writer makes durable at once: one *block* of records, at most every 10 ms or 48 KiB, at the
//! end of the *log*, then an fdatasync. Small states are kept in a sled store beside it. A
//! *checkpoint* is a signed record over all before it. A *cursor* is how far the cloud has
//! acknowledged a class. A journal is *clean* when it was closed in order, *poisoned* when a
//! write failed, and *put aside* (renamed, all its bytes kept) when it is damaged: one that goes
//! on with what can still be read takes its place. What is missing then is *lost*; what was
//! removed to keep within the *quota* is *pruned*. Both are said by signed records. What opens a
//! record's private fields is an *opening*; the writer keeps it encrypted beside the journal, and
//! *erases* it when it is asked.
//!
//! # Tasks and queues
//! One thread writes. It owns the order of records and the store's write side. Where records come
//! faster than a block holds them, a second one syncs a block while the next is made; no block is
//! written before the one in front of it is durable.
//!
//! ```text
//! control thread ── ControlQueue (lock-free, 1024 fixed-size records) ──┐
//! other threads ─── inbox (4096 entries, 4 MiB) ────────────────────────┴─ writer ── store
//! uplink ────────── read_from, told by the notify callback ─────────────────────────┘
//! ```
//! Full control queue: the record is dropped and counted, a record of kind `gap` says how
//! many, and `oldest_uncommitted_age` grows until that is durable, so that the gate stops the
//! robot. Full inbox: `append` refuses with `AppendError::Full` and stores nothing,
//! `append_durable` waits for room. A failed write poisons the journal: every append is
//! refused with the reason and the age is `Duration::MAX`; nothing is retried, because after
//! a failed sync nobody knows what the disk holds. Start the agent again to reopen it. A full
//! quota: the oldest records go, bulk first, what the cloud has not acknowledged and is critical
//! last.
//!
//! # What it never does
//! It never acknowledges what is not synced, never panics out of `open` whatever the bytes,
//! never deletes a journal that it cannot read, never removes a record without saying so, never
//! uses a number twice, and never writes to a journal that it looks at: `verify`, `tail`, `prove`
//! and `excerpt` open a copy of its states, and all else is only read.

mod age;
mod aside;
mod block;
mod control;
mod excerpt;
pub mod flight;
mod follow;
#[cfg(test)]
#[allow(clippy::unwrap_used)] // What is unexpected fails the test.
mod forged;
mod frames;
mod handle;
mod image;
mod index;
mod journal;
mod leaves;
mod log;
mod logtail;
mod openings;
mod place;
mod prove;
mod prune;
mod rebuild;
mod recover;
mod roots;
mod salvage;
mod scan;
mod state;
mod store;
mod verify;
mod writer;

pub use aside::{Aside, asides};
pub use control::{
    CONTEXTS_KEPT, Context, ContextId, ControlQueue, ControlRecord, SampleRecord, SensorsRecord,
    StopRecord, VerdictRecord,
};
pub use excerpt::{
    ExcerptError, Lost, Taken, excerpt, is_always_taken, verify_each, verify_excerpt,
};
pub use follow::Follow;
pub use frames::{Frames, FramesAt, FramesError, read_picture};
pub use handle::{AppendError, JournalHandle, MAX_STATE_BYTES, ReadError, StateError};
pub use journal::{Clock, Journal, OpenError, Opened, Options};
pub use nooterra_evidence::{Bad, Missing, Record, Verification};
pub use openings::{EraseError, Erased, Erasure, OsSalts, ReadOpenings, erasable, read_openings};
pub use place::is_locked;
pub use prove::{ProveError, prove, prove_consistency};
pub use prune::{Quota, Usage};
pub use salvage::{SalvageError, Salvaged, salvage};
pub use verify::{Location, Tail, TailFrom, TailRecord, VerifyError, locate, tail, verify};
