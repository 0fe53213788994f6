//! Evidence for the orchestrator: long random runs of people's commands and robots' reports
//! (late, doubled, reordered, forged, or never to come), each step held against a small model
//! that was written a second time.
//!
//! [`spec`] is the model: plain values, from the vocabulary alone. [`world`] does the same with
//! the cloud's own functions over a database in memory, through the reader of batches that
//! robots' connections use. [`act`] draws what happens. After each step what is shown must be
//! what should be; after each run no genuine fact is lost, each has its one place, marked late
//! where it was, the server's count has no gap, and projections equal their replay.
//!
//! A model that notices nothing proves nothing: every [guard](crate::guard::Guard) is left out in
//! turn, and a run must fail then.

mod act;
mod spec;
mod tests;
mod world;

use act::Act;
use world::World;

/// One run; how many steps it had, or what did not fit.
fn run(acts: &[Act]) -> Result<u64, String> {
    let mut world = World::new()?;
    for (at, act) in acts.iter().enumerate() {
        world.step(act).map_err(|why| format!("step {at}, {act:?}: {why}"))?;
    }
    world.end().map_err(|why| format!("at the end: {why}"))?;
    Ok(acts.len() as u64)
}
