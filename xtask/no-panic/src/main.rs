//! Links only where no tick of the gate can panic, and then runs one.
//!
//! `no-panic` calls a function that does not exist where a panic would leave the function that
//! it is put on. Where the optimiser finds that no panic can, the call is dropped; where it
//! does not, the linker says which function it was. So a build is the proof, for this compiler
//! and whatever comes in.

use nooterra_policy::{Gate, Inputs, Outcome, VerifiedPolicy};
use nooterra_protocol::geometry::{Planar, Pose};
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use nooterra_protocol::observation::Timed;
use nooterra_protocol::time::MonoNanos;
use std::hint::black_box;
use std::process::ExitCode;

/// One tick, whatever is in the gate and whatever comes in.
#[cfg_attr(feature = "proof", no_panic::no_panic)]
#[inline(never)]
fn tick(gate: &mut Gate, inputs: &Inputs) -> Outcome {
    gate.tick(inputs)
}

/// A policy is signed, and this program has none: it is here so that the optimiser keeps the
/// tick, and knows nothing of the gate that it is given.
fn main() -> ExitCode {
    let key = Ed25519Key::from_seed([7; 32]).verifying_key();
    let Ok(robot) = "amr-1".parse() else {
        return ExitCode::SUCCESS;
    };
    let Ok(policy) = VerifiedPolicy::verify(black_box(&[]), &key, &robot) else {
        return ExitCode::SUCCESS;
    };
    let mut gate = Gate::new(&policy);
    let now = MonoNanos(1);
    let at = |value| Timed { at: now, value };
    let inputs = Inputs::new(0, now, at(Pose::default()), Timed { at: now, value: Planar::ZERO });
    let outcome = tick(black_box(&mut gate), black_box(&inputs));
    drop(black_box(outcome));
    ExitCode::SUCCESS
}
