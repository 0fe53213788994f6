//! Signed skill bundles and the sandbox that runs them.
//!
//! A *skill* is a WebAssembly component written by somebody whom the robot's owner need not
//! know. It is a pure step: it turns an *observation* into a *request* and a *status*, once
//! per *period*. The request is its only way to ask for motion, and it is only a wish: what
//! becomes of it is decided in `nooterra-policy`.
//!
//! - A [`Bundle`] is what is installed: manifest, policy graph and component in one file, signed in the
//!   minisign format by one of the [`TrustedKeys`].
//! - A [`Trust`] says whose signatures make a bundle of which tier, and what was revoked: a
//!   document and a list, signed by the fleet's own keys (`docs/skill-bundle.md`).
//! - A *capability* is something that a skill may do beyond computing. In effect is what its
//!   manifest asks for and the local configuration grants; a skill that is not granted all
//!   that it asks for is not started.
//! - A [`Host`] is the engine that all skills share. [`Host::start`] puts an action of a
//!   skill on its own thread: a [`Running`].
//! - [`Ports`] is where a skill's calls go: checkpoints, evidence, pictures, log lines. The agent
//!   supplies it.
//! - A *state* is what a skill remembers between two instances: its `suspend` gives it after
//!   each step, its `resume` takes it. What overran its time is ended and goes on from it.
//! - A *policy graph* is a part of a bundle that says, as data, which of the component's actions
//!   runs when ([`Graph`]); a bundle without one does what its component does.
//! - An *epoch tick* is how time passes for deadlines: the agent calls [`Host::epoch_tick`]
//!   every 10 ms.
//!
//! The WIT worlds in `wit/skill.wit`, one for bases and one for arms, are the manual for authors of
//! skills; the capability `joints` says of which a component is. `examples/skills`
//! has skills to begin from.
//!
//! # Who runs where
//!
//! ```text
//! control loop --observe()--> [one slot, latest wins] --> skill's thread: step()
//!              <--latest()--- [one slot]              <--     |
//!                                                             +--> Ports (agent's queue)
//! any thread   --epoch_tick() every 10 ms--> deadlines of all skills
//! ```
//! Nothing of this makes the control loop wait for a skill. A skill that does not return
//! leaves its last request behind, which grows old and is then a stop.
//!
//! # What it never does
//! It reads no clock, opens no socket and no file but those of its own compiled code
//! ([`CompiledCode`]), and draws no randomness; only the developer's tools (feature `tools`) draw
//! some, for keys. It gives a skill nothing of WASI. It accepts no compiled code from outside. It does not judge motion: numbers of a request
//! that are not finite are passed on for the gate to refuse.

mod allowance;
mod bundle;
mod compiled;
mod course;
mod engine;
mod graph;
mod guest;
mod host;
mod imports;
mod limits;
#[cfg(feature = "tools")]
mod pack;
mod pictures;
mod ports;
mod reference;
mod run;
#[cfg(feature = "tools")]
mod sbom;
mod session;
mod signature;
mod trust;
mod world;

pub use bundle::{Bundle, BundleError, MAX_MANIFEST_BYTES, parse_manifest};
pub use compiled::CompiledCode;
pub use course::{GOES_ON, Session};
pub use graph::{
    Child, Decision, Graph, GraphError, MAX_ATTEMPTS, MAX_DEPTH, MAX_KEEPING, MAX_NODES, NodeKind,
    Ticked, Told, Tree, parse as parse_graph,
};
pub use host::{Host, HostError, HostOptions, Recompiled, StartError};
#[cfg(feature = "tools")]
pub use pack::{Beside, Keys, PackError, keygen, pack, pack_with, sign};
pub use pictures::{MAX_FRAME_HANDLES, MAX_FRAMES_PER_STEP, MAX_PIXELS_PER_STEP};
pub use ports::{
    GraphMove, MAX_ASSIST_BYTES, MAX_CALLS_PER_STEP, MAX_EVIDENCE_BYTES, MAX_LOG_BYTES,
    MAX_NAME_BYTES, NoPorts, Ports,
};
pub use run::{End, MAX_RESTARTS, RunState, Running, Stepped};
#[cfg(feature = "tools")]
pub use sbom::{Licences, LockError, MAX_LOCK_BYTES, bill_of_materials};
pub use session::{INIT_LIMIT, MAX_STATE_BYTES, STEP_PATIENCE, SkillError, Usage, capability_name};
pub use signature::{
    KeyError, KeyId, MAX_KEYS, MAX_SIGNATURES, SignatureError, SignedBy, TrustedKeys,
};
pub use trust::{Back, DistrustError, Now, Origin, Standing, Trust, TrustError, without_document};
pub use world::{MAX_NOTE_BYTES, MAX_REASON_BYTES, Request, Status};
