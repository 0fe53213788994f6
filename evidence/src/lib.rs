//! What a stranger needs to verify a black box: the record, the chain, the checkpoint and the
//! verifier that reads them in one pass.
//!
//! # Vocabulary
//! A *record* is one entry of a journal with its place and time ([`record`]). Its *leaf hash*
//! and the *link* before it make the next link; the last link is the *head* ([`chain`]). A
//! *checkpoint* is a signed statement of size, head and tree, stored as a record that covers
//! every record before it ([`checkpoint`]), by the device key or one that it certified
//! ([`seal`]). What a journal no longer holds, because it was lost or pruned, it says in signed
//! statements ([`absence`]); of a *tree*'s pruned beginning the roots stay, which prove what
//! somebody else kept of it ([`tree`]). A *proof* shows one record, or an older checkpoint, to be
//! under a checkpoint without any other record ([`proof`]). What a record commits to and does not
//! tell is shown with its *opening* ([`openings`]), until that is erased, which the journal says,
//! too ([`erase`]). The *verifier* takes records in order and says how far they are proved, and
//! which is the first that is not as it was written ([`verify`], [`verification`]).
//!
//! # What it never does
//! It opens no file, reads no clock, allocates no more than a record and the holes need, and
//! never says "valid" of a box whose key it was not given. It knows nothing of the store beneath
//! (`nooterra-blackbox`) and builds for `wasm32-unknown-unknown`, so that a browser can verify
//! what a robot wrote.

pub mod absence;
pub mod chain;
pub mod checkpoint;
pub mod cose;
pub mod erase;
mod hash;
pub mod head;
pub mod openings;
pub mod proof;
pub mod record;
pub mod seal;
pub mod tree;
pub mod verification;
pub mod verify;

pub use absence::{Horizons, Loss, Prune, Span};
pub use chain::{GENESIS, leaf_hash, link};
pub use checkpoint::Checkpoint;
pub use erase::Erase;
pub use head::Head;
pub use openings::{Field, Found, Openings, open};
pub use proof::{Consistency, Inclusion, Proof};
pub use record::{MAX_RECORD_BYTES, Record, RecordError};
pub use seal::{Seal, Session};
pub use tree::Tree;
pub use verification::{Bad, Missing, Verification};
pub use verify::{Examined, Verifier};
