//! The laws of private fields: a commitment binds its record to one value at one place, hides
//! it, and says in each case why it cannot be shown.
#![allow(clippy::unwrap_used)]

use nooterra_evidence::absence::{self, Statement as _};
use nooterra_evidence::{
    Checkpoint, Erase, Found, GENESIS, Openings, Record, Seal, Tree, Verifier, checkpoint,
    leaf_hash, link, open, record,
};
use nooterra_protocol::codec::{self, Blob, Digest, Value};
use nooterra_protocol::entry::{Class, CommandReceived, Entry, SkillLog, SkillStep};
use nooterra_protocol::ids::{EnvelopeId, JobId, JournalId, SkillId, StepId};
use nooterra_protocol::keys::{Es256Key, Signer as _};
use nooterra_protocol::private::{Opening, Place, PrivateError, SALT_BYTES, Salts, placeholders};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// 00.., 01.., 02..
#[derive(Default)]
struct Counted(AtomicU8);

impl Salts for Counted {
    fn salt(&self) -> Result<[u8; SALT_BYTES], PrivateError> {
        Ok([self.0.fetch_add(1, Ordering::SeqCst); SALT_BYTES])
    }
}

struct Dry;

impl Salts for Dry {
    fn salt(&self) -> Result<[u8; SALT_BYTES], PrivateError> {
        Err(PrivateError::Salt("none".to_owned()))
    }
}

fn stamp() -> Stamp {
    let wall = WallMillis(1_795_219_199_999);
    Stamp { mono: MonoNanos(1_234_567_890), trust: ClockTrust::Network, wall }
}

fn journal() -> JournalId {
    JournalId::new("jr_00112233445566778899aabbccddeeff").unwrap()
}

fn skill() -> SkillId {
    SkillId::new("patrol").unwrap()
}

fn log(text: &str) -> Entry {
    Entry::SkillLog(SkillLog { message: text.into(), skill: skill() })
}

/// A record of an entry, and what opens it.
fn sealed(mut entry: Entry, seq: u64, salts: &dyn Salts) -> (Record, Vec<Opening>) {
    let openings = entry.seal(&journal(), seq, salts).unwrap();
    let record = Record::of_entry(&entry, entry.class(), seq, 3, stamp()).unwrap();
    (Record::decode(&record.encode().unwrap()).unwrap(), openings)
}

fn given(openings: &[Opening]) -> Openings {
    let mut all = Openings::new(journal());
    openings.iter().cloned().for_each(|opening| all.add(opening));
    all
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let lines = bytes
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    let text: String = lines.collect();
    if std::env::var_os("NOOTERRA_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{name} has changed");
}

#[test]
fn a_sealed_record_and_its_opening_have_the_bytes_of_the_golden_files() {
    let (record, openings) = sealed(log("somebody is at the door"), 7, &Counted::default());
    golden("record_sealed.hex", &record.encode().unwrap());
    golden("opening.hex", &codec::to_vec(&openings[0]).unwrap());
}

#[test]
fn the_commitment_is_the_documented_sha_256() {
    let (record, openings) = sealed(log("hi"), 7, &Counted::default());
    // [journal, 7, "skill_log", "message", "hi"] in canonical CBOR, by hand.
    let mut bytes = b"\x02nooterra/private/1".to_vec();
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(b"\x85\x78\x23jr_00112233445566778899aabbccddeeff\x07");
    bytes.extend_from_slice(b"\x69skill_log\x67message\x62hi");
    assert_eq!(openings[0].sealed, Digest::of(&bytes));
    assert_eq!(placeholders(&record.body)[0].1.sealed, Digest::of(&bytes));
}

#[test]
fn every_private_field_of_every_kind_is_sealed_and_opens_again() {
    let job = JobId::new("job_1").unwrap();
    let step = SkillStep {
        job,
        request: "stop".to_owned(),
        skill: skill(),
        status: "done".into(),
        step: StepId::new("s1").unwrap(),
    };
    let command = CommandReceived {
        ask: "drive".to_owned(),
        id: EnvelopeId::new("env_1").unwrap(),
        signed: Blob(vec![1, 2, 3]).into(),
    };
    let all = [
        (log("a line"), "message", text("a line")),
        (Entry::SkillStep(step), "status", text("done")),
        (Entry::CommandReceived(command), "signed", Value::Bytes(vec![1, 2, 3])),
    ];
    for (entry, path, value) in all {
        assert!(entry.body().is_err(), "{} is written in the clear", entry.kind());
        let (record, openings) = sealed(entry.clone(), 9, &Counted::default());
        let fields = open(&record, &given(&openings));
        assert_eq!(fields.len(), 1);
        assert_eq!((&fields[0].path[..], &fields[0].found), (path, &Found::Opened(value)));
        let shown = given(&openings).show(&record);
        assert_eq!(shown.entry().unwrap(), Some(entry));
        // What is shown is no record any more.
        let written = shown.entry().unwrap().unwrap().body();
        assert!(written.is_err() && shown.encode().unwrap() != record.encode().unwrap());
        let withheld = record.entry().unwrap().unwrap();
        assert!(withheld.body().is_ok(), "a sealed entry reads and writes as it stands");
    }
}

#[test]
fn without_randomness_nothing_is_sealed() {
    let refused = log("x").seal(&journal(), 1, &Dry).unwrap_err();
    assert!(refused.to_string().contains("randomness"), "{refused}");
}

fn key() -> Es256Key {
    Es256Key::from_seed([7; 32]).unwrap()
}

fn erase(spans: Vec<(u64, u64)>) -> Erase {
    Erase {
        before: Some(WallMillis(1_795_219_200_000)),
        boot: 3,
        by: "op_7".to_owned(),
        class: None,
        job: JobId::new("job_1").ok(),
        journal: journal(),
        openings: 4,
        spans,
        stamp: stamp(),
        v: absence::VERSION,
        why: Some("asked by the tenant".to_owned()),
    }
}

#[test]
fn an_erase_has_the_bytes_of_the_golden_file_and_says_what_it_covers() {
    let seal = Seal::Device(Arc::new(key()));
    let said = erase(vec![(2, 4), (9, 9)]);
    let Value::Bytes(bytes) = said.clone().into_body(&seal).unwrap() else { panic!() };
    golden("erase.hex", &bytes);
    let body = Value::Bytes(bytes);
    assert_eq!(Erase::read(&body, Some(&key().verifying_key())).unwrap(), said);
    let covered: Vec<u64> = (1..12).filter(|seq| said.covers(*seq, Class::Normal)).collect();
    assert_eq!(covered, [2, 3, 4, 9]);
    let only = Erase { class: Some(Class::Critical), ..said };
    assert!(only.covers(2, Class::Critical) && !only.covers(2, Class::Normal));
}

#[test]
fn a_field_is_opened_withheld_erased_or_forged() {
    let (record, openings) = sealed(log("a"), 7, &Counted::default());
    let found = |openings: &Openings| open(&record, openings)[0].found.clone();
    let mut given = given(&openings);
    assert_eq!(found(&given), Found::Opened(text("a")));
    given.add_erased(12, erase(vec![(7, 7)]));
    assert_eq!(found(&given), Found::Opened(text("a")), "somebody kept a copy, and it holds");

    let mut none = Openings::new(journal());
    assert_eq!(found(&none), Found::Withheld);
    none.add_erased(11, erase(vec![(8, 9)]));
    assert_eq!(found(&none), Found::Withheld);
    none.add_erased(12, erase(vec![(1, 9)]));
    assert_eq!(found(&none), Found::Erased { said_in: 12 });
    none.add(Opening { value: text("b"), ..openings[0].clone() });
    assert_eq!(found(&none), Found::Forged);
    none.add(openings[0].clone());
    assert_eq!(found(&none), Found::Opened(text("a")), "the true one takes its place");
    none.add(Opening { value: text("b"), ..openings[0].clone() });
    assert_eq!(found(&none), Found::Opened(text("a")), "and keeps it");

    let mut other = Openings::new(JournalId::new("jr_other").unwrap());
    other.add(openings[0].clone());
    assert_eq!(found(&other), Found::Forged);
}

#[test]
fn a_commitment_that_was_copied_to_another_place_does_not_open_there() {
    let (record, openings) = sealed(log("a"), 7, &Counted::default());
    for copy in [
        Record { seq: 8, ..record.clone() },
        Record { kind: "skill_note".to_owned(), ..record.clone() },
        Record { body: Value::Array(vec![record.body.clone()]), ..record },
    ] {
        assert_eq!(open(&copy, &given(&openings))[0].found, Found::Forged, "{copy:?}");
    }
}

/// Three sealed records, an erase over `spans`, a checkpoint.
fn journal_with(spans: Vec<(u64, u64)>, class: Class) -> Verifier {
    let (salts, seal) = (Counted::default(), Seal::Device(Arc::new(key())));
    let mut verifier = Verifier::new(Some(key().verifying_key()));
    let (mut head, mut tree) = (GENESIS, Tree::default());
    let mut push = |record: Record| {
        let bytes = record.encode().unwrap();
        let leaf = leaf_hash(&bytes);
        head = link(&head, &leaf);
        tree.push(leaf);
        verifier.push(&bytes, Some(&head));
        (head, tree.root())
    };
    for seq in 1..=3 {
        push(sealed(log("a"), seq, &salts).0);
    }
    let body = erase(spans).into_body(&seal).unwrap();
    let kind = Erase::KIND.to_owned();
    let record = Record { body, boot: 3, class, kind, seq: 4, stamp: stamp(), v: record::VERSION };
    let (head, root) = push(record);
    let checkpoint = Checkpoint {
        boot: 3,
        head,
        journal: journal(),
        policy_hash: Digest::of(b"policy"),
        root,
        size: 4,
        stamp: stamp(),
        v: checkpoint::VERSION,
    };
    let entry = checkpoint.into_entry(&seal).unwrap();
    push(Record::of_entry(&entry, Class::Normal, 5, 3, stamp()).unwrap());
    verifier
}

#[test]
fn a_journal_with_sealed_records_and_an_erase_verifies() {
    let found = journal_with(vec![(1, 1), (3, 3)], Class::Critical).finish();
    assert!(found.is_intact() && found.verified_through == Some(5), "{found}");
}

#[test]
fn an_erase_that_says_otherwise_than_it_may_is_bad() {
    for spans in [vec![(1, 4)], vec![(3, 2)], vec![(2, 3), (1, 1)], vec![(0, 1)]] {
        let found = journal_with(spans.clone(), Class::Critical).finish();
        assert_eq!(found.first_bad.as_ref().map(|bad| bad.seq), Some(4), "{spans:?}: {found}");
    }
    assert!(!journal_with(vec![(1, 1)], Class::Normal).finish().is_intact());
}

proptest! {
    #[test]
    fn any_other_value_salt_or_place_fails(
        value in "\\PC{0,40}",
        other in "\\PC{0,40}",
        seq in 1_u64..1 << 60,
        salt in any::<[u8; SALT_BYTES]>(),
        bit in 0_usize..128,
    ) {
        let (kind, path) = ("skill_log", "message");
        let place = Place { journal: &journal(), kind, path, seq };
        let sealed = place.commitment(&salt, &text(&value)).unwrap();
        let (kind, path, salt_blob) = (kind.to_owned(), path.to_owned(), Blob(salt.to_vec()));
        let opening = Opening { kind, path, salt: salt_blob, sealed, seq, value: text(&value) };
        prop_assert!(opening.holds(&journal()));
        let with = opening.clone();
        let mut altered = vec![
            // The same characters as bytes are another value.
            Opening { value: Value::Bytes(value.clone().into_bytes()), ..with.clone() },
            Opening { seq: seq + 1, ..with.clone() },
            // Nor where the border between kind and path lies elsewhere.
            Opening { kind: "skill_logm".into(), path: "essage".into(), ..with.clone() },
        ];
        if other != value {
            altered.push(Opening { value: text(&other), ..with.clone() });
        }
        let mut flipped = salt;
        flipped[bit / 8] ^= 1 << (bit % 8);
        for salt in [flipped.to_vec(), salt[..15].to_vec(), [&salt[..], &[0]].concat()] {
            altered.push(Opening { salt: Blob(salt), ..with.clone() });
        }
        for altered in altered {
            prop_assert!(!altered.holds(&journal()), "{:?}", altered);
        }
        prop_assert!(!opening.holds(&JournalId::new("jr_1").unwrap()));
    }

    #[test]
    fn the_same_value_twice_has_two_commitments_of_one_form(value in "\\PC{0,200}") {
        let salts = Counted::default();
        let (one, _) = sealed(log(&value), 7, &salts);
        let (two, _) = sealed(log(&value), 7, &salts);
        prop_assert_ne!(&one.body, &two.body);
        // Nothing of the value, its length included, is in the record.
        let (empty, _) = sealed(log(""), 7, &salts);
        prop_assert_eq!(one.encode().unwrap().len(), empty.encode().unwrap().len());
    }

    #[test]
    fn no_bytes_make_the_reader_of_openings_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..200, byte: u8
    ) {
        let _ = codec::from_slice::<Opening>(&noise).map(|opening| opening.holds(&journal()));
        let (_, openings) = sealed(log("a"), 7, &Counted::default());
        let mut bytes = codec::to_vec(&openings[0]).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = codec::from_slice::<Opening>(&bytes).map(|opening| opening.holds(&journal()));
    }
}
