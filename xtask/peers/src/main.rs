//! What others need for what our gate and our black box do, for `cargo xtask bench gate` and
//! `bench blackbox`. `--area gate|blackbox` says which, `--dir DIR` names the disk.
//!
//! It knows nothing of ours: it prints how long a peer takes, and the command sets that beside
//! the figure of the same run.

#[path = "../../bench/measure.rs"]
mod measure;

mod cedar;
mod questions;
mod rego;
mod sqlite;

use measure::{Samples, Unit, argument, figure};
use std::path::PathBuf;

fn main() {
    match argument("--area").as_deref() {
        Some("blackbox") => {
            sqlite::measure(&PathBuf::from(argument("--dir").unwrap_or_else(|| ".".to_owned())));
        }
        _ => {
            let questions = questions::of_a_drive();
            cedar::measure(&questions);
            rego::measure(&questions);
        }
    }
}

/// Prints a peer's time; it stands in the place of the floor too.
fn peer(row: &str, what: &str, took: &Samples) {
    figure(row, Unit::Micros, took, (what, took));
}
