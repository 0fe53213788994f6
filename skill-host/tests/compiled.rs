//! Compiled code on the disk: what is used of it, and what is not.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

mod common;

use common::{Toy, bundle, everything};
use nooterra_skill_host::{CompiledCode, Host, HostOptions, NoPorts, StartError};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn compiled_code_on_the_disk_is_used_by_the_next_host_and_what_was_changed_is_made_anew_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let host = |key: u8| {
        let code = CompiledCode::new(dir.path().to_owned(), [key; 32], 64 << 20);
        Host::new(HostOptions::default()).unwrap().with_disk(code)
    };
    let entry = || {
        let mut entries: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(entries.len(), 1);
        entries.remove(0)
    };
    let bundle = bundle("patrol");
    let runs = |host: &Host| {
        let params = BTreeMap::new();
        let opened =
            host.open(&bundle, &everything(), "undock", &params, Box::new(NoPorts), &[]).unwrap();
        let toy = Toy::docked_at(0.0, 0.0, 0.0);
        opened.unwrap().step(toy.at(), &toy.seen()).unwrap();
        let told = host.take_recompiled().into_iter().map(|told| told.reason);
        told.collect::<Vec<_>>()
    };
    assert!(runs(&host(1)).is_empty(), "there was nothing");
    let made = std::fs::read(entry()).unwrap();
    assert!(runs(&host(1)).is_empty(), "it was used");
    // What says so: the entry is not written again.
    let put = std::fs::metadata(entry()).unwrap().modified().unwrap();
    assert!(runs(&host(1)).is_empty());
    assert_eq!(std::fs::metadata(entry()).unwrap().modified().unwrap(), put);
    let mut changed = made.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    for (what, bytes) in [("made by this robot", &changed[..]), ("cut short", &made[..20])] {
        std::fs::write(entry(), bytes).unwrap();
        let told = runs(&host(1));
        assert!(told.len() == 1 && told[0].contains(what), "{told:?}");
        assert!(runs(&host(1)).is_empty(), "and put in its place");
    }
    assert!(runs(&host(2))[0].contains("made by this robot"), "another robot's is foreign");
    // Whoever counts fuel runs other code.
    let counting = HostOptions { counts_fuel: true, ..HostOptions::default() };
    let code = CompiledCode::new(dir.path().to_owned(), [2; 32], 64 << 20);
    assert!(runs(&Host::new(counting).unwrap().with_disk(code)).is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn what_cannot_be_instantiated_is_known_before_it_is_started() {
    let host = Host::new(HostOptions::default()).unwrap();
    assert!(host.try_out(&bundle("patrol"), &everything()).unwrap().is_ok());
    let refused = host.try_out(&bundle("patrol"), &BTreeSet::new()).unwrap_err();
    assert!(matches!(refused, StartError::Capability { .. }));
}
