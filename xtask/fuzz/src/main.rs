//! Every reader of bytes that somebody else may have written, one target for each, for
//! libFuzzer. `cargo xtask prove fuzz` builds and runs it.
//!
//! One program holds all targets; `NOOTERRA_FUZZ` names the one, or `list` for their names.
//! Before it begins it writes inputs that are well formed into the folder that
//! `NOOTERRA_FUZZ_SEEDS` names, so that mutation starts behind the first checks.
//!
//! Readers that a crate keeps to itself are compiled in by their path. They are then the same
//! source, and neither wasmtime nor TLS, which the crates around them need, is built for this.
//! The laws of the gate are compiled in the same way: they are functions of bytes.
#![no_main]
// Of the modules that are included: here only their readers are called.
#![allow(dead_code, unused_imports)]

#[path = "../../../agent/src/backtest/mod.rs"]
mod backtest;
#[path = "../../../blackbox/src/block.rs"]
mod block;
#[path = "../../../skill-host/src/bundle.rs"]
mod bundle;
#[path = "../../../agent/src/rehearsal/cases.rs"]
mod cases;
#[path = "../../../policy/tests/common/mod.rs"]
mod common;
#[path = "../../../agent/src/config.rs"]
mod config;
mod export;
#[path = "../../../skill-host/src/graph/mod.rs"]
mod graph;
mod graphs;
#[path = "../../../policy/tests/harness/mod.rs"]
mod harness;
#[path = "../../../blackbox/src/log.rs"]
mod log;
#[path = "../../../skill-host/src/sbom.rs"]
mod materials;
#[path = "../../../skill-host/src/signature.rs"]
mod minisig;
#[path = "../../../blackbox/src/openings/format.rs"]
mod openings;
#[path = "../../../blackbox/src/frames/format.rs"]
mod picture;
#[path = "../../../agent/src/policy_file.rs"]
mod policy_file;
#[path = "../../../agent/src/recording.rs"]
mod recording;
#[path = "../../../blackbox/src/scan.rs"]
mod scan;
mod seeds;
#[path = "../../../blackbox/src/state.rs"]
mod state;
mod targets;
#[path = "../../../skill-host/src/trust/mod.rs"]
mod trust;
#[path = "../../../cloud/src/endpoint/wire.rs"]
mod wire;

/// What the included modules ask of the crates that they come from.
mod ports {
    pub(crate) fn is_name(name: &str) -> bool {
        !name.is_empty() && name.len() <= 64
    }
}

/// In the place of signatures on bundles, trust documents and revocation lists: everybody whose
/// key is known has signed, so that what lies behind is reached.
mod signature {
    use crate::minisig;
    pub(crate) use crate::minisig::{KeyError, KeyId, SignatureError, SignedBy, key_material};

    #[derive(Clone, Debug, Default)]
    pub(crate) struct TrustedKeys(pub(crate) minisig::TrustedKeys);

    impl TrustedKeys {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn add(&mut self, text: &str) -> Result<KeyId, KeyError> {
            self.0.add(text)
        }

        pub(crate) fn check(&self, _: &[u8], _: &str) -> Result<KeyId, SignatureError> {
            self.0.ids().next().ok_or(SignatureError::Malformed)
        }

        pub(crate) fn check_all(&self, _: &[u8], _: &str) -> Result<SignedBy, SignatureError> {
            Ok(SignedBy { good: self.0.ids().collect(), ..SignedBy::default() })
        }
    }
}

/// As in the journal's store.
mod store {
    pub(crate) const DB_FILE: &str = "db";
    pub(crate) const SEGMENT_BYTES: usize = 4 * 1024 * 1024;
}

use std::path::PathBuf;
use std::sync::OnceLock;
use targets::{TARGETS, Target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();

/// Runs before the corpus is read.
fn begin() {
    let name = std::env::var("NOOTERRA_FUZZ").unwrap_or_default();
    if name == "list" {
        TARGETS.iter().for_each(|target| println!("{}\t{}", target.name, target.reads));
        std::process::exit(0);
    }
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        eprintln!("NOOTERRA_FUZZ names no target; NOOTERRA_FUZZ=list prints their names");
        std::process::exit(2);
    };
    if let Some(folder) = std::env::var_os("NOOTERRA_FUZZ_SEEDS").map(PathBuf::from) {
        for (nth, seed) in (target.seeds)().into_iter().enumerate() {
            let path = folder.join(format!("seed-{nth}"));
            std::fs::write(&path, seed).expect("the folder of seeds can be written");
        }
    }
    CHOSEN.get_or_init(|| target);
}

libfuzzer_sys::fuzz_target!(init: begin(), |bytes: &[u8]| {
    if let Some(target) = CHOSEN.get() {
        (target.run)(bytes);
    }
});
