//! What others need for what our gate, our black box and our sandbox do, for `cargo xtask bench
//! gate`, `bench blackbox` and `bench skills`. `--area gate|blackbox|skills` says which, `--dir
//! DIR` names the disk, `--component FILE.wasm` an example skill.
//!
//! It knows nothing of ours: it prints how long a peer takes, and the command sets that beside
//! the figure of the same run.

#[path = "../../bench/measure.rs"]
mod measure;

mod cedar;
mod questions;
mod rego;
mod sqlite;
mod wasmi;

use measure::{Samples, Unit, argument, figure};
use std::path::PathBuf;

fn main() {
    match argument("--area").as_deref() {
        Some("blackbox") => {
            sqlite::measure(&PathBuf::from(argument("--dir").unwrap_or_else(|| ".".to_owned())));
        }
        Some("skills") => {
            let component = argument("--component").expect("--component FILE");
            wasmi::measure(&std::fs::read(component).expect("the component"));
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
