//! The formats, held by golden files: a byte that changes here is a box that an older or a
//! newer release cannot verify. `NOOTERRA_BLESS=1` writes the files anew.
#![allow(clippy::unwrap_used)]

use nooterra_evidence::absence::{self, Statement as _};
use nooterra_evidence::{
    Checkpoint, GENESIS, Horizons, Loss, Prune, Record, Seal, Session, Span, checkpoint, leaf_hash,
    link, record,
};
use nooterra_protocol::codec::{Digest, Value};
use nooterra_protocol::command::StopProfile;
use nooterra_protocol::entry::{Class, Entry, Stop};
use nooterra_protocol::envelope::{Signable as _, Signed};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::{Es256Key, Signer as _};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::path::Path;
use std::sync::Arc;

fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let hex: Vec<String> = bytes
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let text = hex.join("\n") + "\n";
    if std::env::var_os("NOOTERRA_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{name} has changed");
}

fn stamp() -> Stamp {
    let wall = WallMillis(1_795_219_199_999);
    Stamp { mono: MonoNanos(1_234_567_890), trust: ClockTrust::Network, wall }
}

fn key() -> Es256Key {
    Es256Key::from_seed([7; 32]).unwrap()
}

fn seal() -> Seal {
    Seal::Device(Arc::new(key()))
}

fn stop() -> Record {
    let reason = "the gate saw a stale pose".to_owned();
    let entry = Entry::Stop(Stop { profile: StopProfile::ControlledHold, reason });
    Record::of_entry(&entry, Class::Critical, 1, 3, stamp()).unwrap()
}

fn a_checkpoint() -> Checkpoint {
    Checkpoint {
        boot: 3,
        head: link(&GENESIS, &leaf_hash(&stop().encode().unwrap())),
        journal: JournalId::new("jr_00112233445566778899aabbccddeeff").unwrap(),
        policy_hash: Digest::of(b"policy"),
        root: leaf_hash(&stop().encode().unwrap()),
        size: 1,
        stamp: stamp(),
        v: checkpoint::VERSION,
    }
}

#[test]
fn a_record_has_the_bytes_of_the_golden_file() {
    let bytes = stop().encode().unwrap();
    golden("record.hex", &bytes);
    assert_eq!(Record::decode(&bytes).unwrap(), stop());
}

#[test]
fn a_checkpoint_has_the_bytes_of_the_golden_file() {
    // ES256 here is RFC 6979: the signature is deterministic too.
    let signed = Signed::sign(a_checkpoint(), &key()).unwrap();
    golden("checkpoint.hex", signed.bytes());
    let read = Checkpoint::read(signed.bytes(), Some(&key().verifying_key())).unwrap();
    assert_eq!(read, a_checkpoint());
    assert_eq!(Checkpoint::read(signed.bytes(), None).unwrap(), a_checkpoint());
}

fn bytes_of(body: Value) -> Vec<u8> {
    let Value::Bytes(bytes) = body else { panic!("{body:?}") };
    bytes
}

#[test]
fn a_session_and_what_it_signs_have_the_bytes_of_the_golden_file() {
    let journal = a_checkpoint().journal;
    let session = Seal::session(&key(), [9; 32], 3, journal, stamp()).unwrap();
    let bytes = session.sign(a_checkpoint()).unwrap();
    golden("session.hex", &bytes);
    let read = Checkpoint::read(&bytes, Some(&key().verifying_key())).unwrap();
    assert_eq!(read, a_checkpoint());
    // Not of another device, another start, another journal, nor by the session key alone.
    let stranger = Es256Key::from_seed([8; 32]).unwrap();
    assert!(Checkpoint::read(&bytes, Some(&stranger.verifying_key())).is_err());
    let later = session.sign(Checkpoint { boot: 4, ..a_checkpoint() }).unwrap();
    let refused = Checkpoint::read(&later, Some(&key().verifying_key())).unwrap_err();
    assert!(refused.to_string().contains("start 3"), "{refused}");
    let other = JournalId::new("jr_other").unwrap();
    let foreign = session.sign(Checkpoint { journal: other, ..a_checkpoint() }).unwrap();
    assert!(Checkpoint::read(&foreign, Some(&key().verifying_key())).is_err());
    let Seal::Session { key: own, .. } = &session else { panic!("{session:?}") };
    let alone = Seal::Device(own.clone()).sign(a_checkpoint()).unwrap();
    assert!(Checkpoint::read(&alone, Some(&key().verifying_key())).is_err());
    // Nor with any bit of it flipped.
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(Checkpoint::read(&altered, Some(&key().verifying_key())).is_err(), "byte {at}");
    }
}

#[test]
fn a_loss_has_the_bytes_of_the_golden_file() {
    let loss = Loss {
        aside: "journal.bad-1".to_owned(),
        boot: 4,
        journal: a_checkpoint().journal,
        known_to: 950,
        spans: vec![
            Span { before: Digest::of(b"12"), first: 13, last: 13 },
            Span { before: Digest::of(b"900"), first: 901, last: 4_294_968_246 },
        ],
        stamp: stamp(),
        v: absence::VERSION,
        why: "record 13 was altered".to_owned(),
    };
    let body = loss.clone().into_body(&seal()).unwrap();
    assert_eq!(Loss::read(&body, Some(&key().verifying_key())).unwrap(), loss);
    golden("loss.hex", &bytes_of(body));
}

#[test]
fn a_prune_has_the_bytes_of_the_golden_file() {
    let prune = Prune {
        boot: 4,
        forced: Some((7, 60)),
        head: Digest::of(b"6"),
        horizons: Horizons { bulk: 900, critical: 60, normal: 300 },
        journal: a_checkpoint().journal,
        stamp: stamp(),
        subtrees: vec![Digest::of(b"1 to 4"), Digest::of(b"5 and 6")],
        through: 6,
        v: absence::VERSION,
    };
    let body = prune.clone().into_body(&seal()).unwrap();
    assert_eq!(Prune::read(&body, Some(&key().verifying_key())).unwrap(), prune);
    golden("prune.hex", &bytes_of(body));
}

#[test]
fn a_link_has_the_bytes_of_the_golden_file() {
    golden("link.hex", a_checkpoint().head.as_bytes());
}

#[test]
fn a_record_of_a_later_kind_is_kept_and_one_of_a_later_format_is_refused() {
    let later = Record { kind: "hologram".to_owned(), ..stop() };
    let read = Record::decode(&later.encode().unwrap()).unwrap();
    assert_eq!(read.entry().unwrap(), None);
    let later = Record { v: record::VERSION + 1, ..stop() };
    let refused = Record::decode(&later.encode().unwrap()).unwrap_err();
    assert!(refused.to_string().contains("newer release"), "{refused}");
}

#[test]
fn the_specification_names_every_golden_file_and_every_content_type() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(dir.join("../docs/record-format.md")).unwrap();
    for entry in std::fs::read_dir(dir.join("tests/golden")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&format!("`{name}`")), "{name} is missing");
    }
    for name in
        [Checkpoint::CONTENT_TYPE, Loss::CONTENT_TYPE, Prune::CONTENT_TYPE, Session::CONTENT_TYPE]
    {
        assert!(text.contains(&format!("`{name}`")), "{name} is missing");
    }
}
