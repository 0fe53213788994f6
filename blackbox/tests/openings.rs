//! Private fields on the disk: sealed in the journal, opened with the keys, erased for ever, and
//! never a reason for a record not to verify.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, copy_dir, eventually, fact, picture, private};
use nooterra_blackbox::{
    Clock as _, Context, EraseError, Erasure, Quota, Record, TailFrom, erasable, read_openings,
    read_picture, tail, verify,
};
use nooterra_evidence::absence::Statement as _;
use nooterra_evidence::{Erase, Found};
use nooterra_protocol::codec::{Blob, Digest, Value};
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::entry::{Class, CommandReceived, Entry};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, RobotId};
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use nooterra_protocol::time::WallMillis;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SECRET: &str = "somebody is at the door";

/// The records that can be read.
fn records(dir: &Path) -> BTreeMap<u64, Record> {
    let all = tail(dir, TailFrom::Seq(1)).unwrap();
    all.filter_map(|found| Some((found.seq, found.record.ok()?))).collect()
}

/// What is known of each private field of the journal.
fn found(dir: &Path) -> BTreeMap<u64, Found> {
    let read = read_openings(dir).unwrap().with_erased(dir).unwrap();
    let fields = records(dir).into_iter().flat_map(|(seq, record)| {
        read.openings.open(&record).into_iter().map(move |field| (seq, field.found))
    });
    fields.collect()
}

fn opened(text: &str) -> Found {
    Found::Opened(Value::Text(text.to_owned()))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn beside(bench: &Bench, end: &str) -> PathBuf {
    bench.dir.path().join(format!("journal.{end}"))
}

fn assert_intact(bench: &Bench) {
    let key = bench.key.verifying_key();
    let found = verify(&bench.path(), Some(&key), &mut |_| {}).unwrap();
    assert!(found.is_intact(), "{found}");
}

fn by(who: &str) -> Erasure {
    Erasure { by: who.to_owned(), ..Erasure::default() }
}

#[test]
fn a_private_value_is_in_no_file_and_opens_for_whoever_has_the_keys() {
    let bench = Bench::new();
    let opened_journal = bench.open();
    let handle = opened_journal.journal.handle();
    let seq = handle.append_durable(private(SECRET)).unwrap();
    // While the journal is in use, too.
    assert_eq!(found(&bench.path()), [(seq, opened(SECRET))].into());
    opened_journal.journal.close().unwrap();
    assert_eq!(found(&bench.path()), [(seq, opened(SECRET))].into());
    assert_intact(&bench);

    let mut all = vec![bench.dir.path().to_owned()];
    while let Some(path) = all.pop() {
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let text = SECRET.as_bytes();
            assert!(!bytes.windows(text.len()).any(|part| part == text), "{}", path.display());
        }
    }
    for end in ["keys", "openings"] {
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&beside(&bench, end)), 0o700);
        let own = files(&beside(&bench, end));
        assert_eq!(own.iter().map(|path| mode(path)).collect::<Vec<_>>(), [0o600]);
    }
    // A copy of the journal is one without openings.
    let copy = bench.dir.path().join("copy");
    copy_dir(&bench.path(), &copy);
    assert_eq!(found(&copy), [(seq, Found::Withheld)].into());
}

#[test]
fn erasing_by_time_takes_what_is_older_and_says_so() {
    let bench = Bench::new();
    let journal = bench.open().journal;
    let handle = journal.handle();
    let old = handle.append_durable(private("old")).unwrap();
    bench.clock.advance(Duration::from_secs(60));
    let before = Some(WallMillis(1_795_000_000_000 + 60_000));
    let new = handle.append_durable(private("new")).unwrap();
    let erasure = Erasure { before, why: Some("kept long enough".to_owned()), ..by("op_7") };
    let preview = erasable(&bench.path(), None, &erasure).unwrap();
    assert_eq!((preview.openings, preview.first_seq, preview.last_seq), (1, Some(old), Some(old)));
    assert_eq!(preview.kinds, [("skill_log".to_owned(), 1)].into());
    let copy = bench.dir.path().join("before");
    copy_dir(&beside(&bench, "openings"), &copy);

    assert_eq!(handle.erase(erasure.clone()).unwrap(), preview);
    let said_in = handle.records() - 1;
    let expected = [(old, Found::Erased { said_in }), (new, opened("new"))].into();
    assert_eq!(found(&bench.path()), expected);
    // Again there is nothing to do, and nothing is said.
    assert_eq!(handle.erase(erasure).unwrap().openings, 0);
    journal.close().unwrap();
    assert_eq!(found(&bench.path()), expected);
    assert_intact(&bench);
    let key = bench.key.verifying_key();
    let said = Erase::read(&records(&bench.path())[&said_in].body, Some(&key)).unwrap();
    assert_eq!((said.by.as_str(), said.spans, said.before), ("op_7", vec![(old, old)], before));

    // Who kept the encrypted files has nothing either.
    std::fs::remove_dir_all(beside(&bench, "openings")).unwrap();
    copy_dir(&copy, &beside(&bench, "openings"));
    let read = read_openings(&bench.path()).unwrap();
    assert!(read.openings.is_empty() && read.notes[0].contains("no key"), "{:?}", read.notes);
}

/// A command about a job, as it is recorded when it was received.
fn received(id: &str, body: Ask) -> Entry {
    let now = WallMillis(1_795_000_000_000);
    let command = RemoteCommand {
        audience: RobotId::new("amr-1").unwrap(),
        body,
        expires_at: now.plus(Duration::from_secs(60)),
        id: EnvelopeId::new(id).unwrap(),
        issued_at: now,
        issuer: ActorId::new("anna").unwrap(),
        v: 1,
    };
    let (id, ask) = (command.id.clone(), command.body.name().to_owned());
    let signed = Signed::sign(command, &Ed25519Key::from_seed([1; 32])).unwrap();
    let signed = Blob(signed.bytes().to_vec()).into();
    Entry::CommandReceived(CommandReceived { ask, id, signed })
}

#[test]
fn a_command_about_a_job_is_erased_with_that_job_and_not_with_the_one_under_way() {
    let bench = Bench::new();
    let journal = bench.open().journal;
    let handle = journal.handle();
    let job = |id: &str| JobId::new(id).unwrap();
    handle.set_context(Context {
        job: Some(job("job_1")),
        operator_command: None,
        policy_hash: Digest::of(b"policy"),
        zones: Vec::new(),
    });
    let plan = Ask::PlanAccess {
        from: None,
        job: job("job_2"),
        needs_review: true,
        privacy: Some("no pictures of the children".to_owned()),
        to: None,
    };
    let review = Ask::ReviewJob { job: job("job_2"), plan: Digest::of(b"plan") };
    let drive = Ask::ReleaseStop;
    for (id, ask) in [("env_1", plan), ("env_2", review), ("env_3", drive)] {
        handle.append_durable(received(id, ask)).unwrap();
    }
    let erased = |id: &str| {
        let erasure = Erasure { job: Some(job(id)), ..by("op_7") };
        handle.erase(erasure).unwrap().openings
    };
    assert_eq!((erased("job_2"), erased("job_1")), (2, 1));
}

#[test]
fn erasing_a_job_leaves_the_others() {
    let bench = Bench::new();
    let journal = bench.open().journal;
    let handle = journal.handle();
    let of_job = |job: &str, text: &str| {
        handle.set_context(Context {
            job: JobId::new(job).ok(),
            operator_command: None,
            policy_hash: Digest::of(b"policy"),
            zones: Vec::new(),
        });
        handle.append_durable(private(text)).unwrap()
    };
    let seqs = [("job_1", "a"), ("job_1", "b"), ("job_2", "c"), ("job_1", "d"), ("", "e")]
        .map(|(job, text)| of_job(job, text));
    let job = JobId::new("job_1").ok();
    assert_eq!(handle.erase(Erasure { job, ..by("op_7") }).unwrap().openings, 3);
    let said_in = handle.records() - 1;
    let gone = Found::Erased { said_in };
    let expected: BTreeMap<_, _> = seqs
        .into_iter()
        .zip([gone.clone(), gone.clone(), opened("c"), gone, opened("e")])
        .collect();
    assert_eq!(found(&bench.path()), expected);
    journal.close().unwrap();
    assert_intact(&bench);
    let body = &records(&bench.path())[&said_in].body;
    let said = Erase::read(body, None).unwrap();
    assert_eq!(said.spans, [(seqs[0], seqs[1]), (seqs[3], seqs[3])]);
}

#[test]
fn nothing_is_erased_when_the_journal_cannot_say_so() {
    let mut bench = Bench::new();
    bench.options.checkpoint_every = Duration::from_secs(1 << 30);
    let journal = bench.open().journal;
    let handle = journal.handle();
    let seq = handle.append_durable(private(SECRET)).unwrap();
    journal.close().unwrap();
    assert!(matches!(handle.erase(by("op_7")), Err(EraseError::Append(_))));
    assert_eq!(found(&bench.path()), [(seq, opened(SECRET))].into());
}

#[test]
fn openings_go_with_their_records() {
    let mut bench = Bench::new();
    bench.options.checkpoint_every_records = 20;
    bench.options.openings_bytes = 256 * 1024;
    bench.options.quota = Quota { normal_bytes: Some(20_000), ..Quota::default() };
    let journal = bench.open().journal;
    let handle = journal.handle();
    for i in 0..300 {
        handle.append_durable(private(&format!("{i} {}", ".".repeat(400)))).unwrap();
    }
    eventually("records are pruned", || handle.usage().unwrap().normal_bytes < 20_000);
    handle.append_durable(fact("x")).unwrap();
    journal.close().unwrap();
    let read = read_openings(&bench.path()).unwrap();
    assert!(read.openings.len() < 200, "{} openings are left", read.openings.len());
    let found = found(&bench.path());
    assert!(!found.is_empty() && found.values().all(|found| matches!(found, Found::Opened(_))));
    assert_eq!(files(&beside(&bench, "keys")).len(), files(&beside(&bench, "openings")).len());
    assert_intact(&bench);
}

#[test]
fn the_bound_takes_the_oldest_and_spares_what_is_critical() {
    let mut bench = Bench::new();
    bench.options.openings_bytes = 0;
    let journal = bench.open().journal;
    let handle = journal.handle();
    let signed = nooterra_protocol::entry::CommandReceived {
        ask: "drive".to_owned(),
        id: "env_1".parse().unwrap(),
        signed: nooterra_protocol::codec::Blob(vec![7; 2000]).into(),
    };
    let command = nooterra_protocol::entry::Entry::CommandReceived(signed);
    let first = handle.append_durable(command).unwrap();
    for i in 0..400 {
        handle.append_durable(private(&format!("{i} {}", ".".repeat(2000)))).unwrap();
    }
    journal.close().unwrap();
    let sealed = files(&beside(&bench, "openings"));
    let bytes: u64 = sealed.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes <= 300 * 1024, "{bytes} bytes");
    let found = found(&bench.path());
    assert!(matches!(found[&first], Found::Opened(_)), "{:?}", found[&first]);
    assert!(matches!(found[&(first + 1)], Found::Erased { .. }), "{:?}", found[&(first + 1)]);
    assert!(found.values().all(|found| !matches!(found, Found::Withheld | Found::Forged)));
    let records = records(&bench.path());
    let said = records.values().filter(|record| record.kind == Erase::KIND);
    let said: Vec<_> = said.map(|record| Erase::read(&record.body, None).unwrap()).collect();
    assert!(!said.is_empty());
    assert!(said.iter().all(|said| said.by == "robot" && said.class == Some(Class::Normal)));
    assert_intact(&bench);
}

#[test]
fn damaged_openings_are_named_and_leave_the_journal_as_it_is() {
    let bench = Bench::new();
    let mut seqs = Vec::new();
    for text in ["one", "two", "three", "four"] {
        let journal = bench.open().journal;
        seqs.push(journal.handle().append_durable(private(text)).unwrap());
        journal.close().unwrap();
    }
    let flip = |path: &Path, at: usize| {
        let mut bytes = std::fs::read(path).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let (sealed, keys) = (files(&beside(&bench, "openings")), files(&beside(&bench, "keys")));
    flip(&sealed[0], 9);
    flip(&sealed[1], 150);
    flip(&keys[2], 20);
    for _ in 0..2 {
        let read = read_openings(&bench.path()).unwrap();
        let notes = read.notes.join("\n");
        for (note, path) in ["header", "torn", "no key"].iter().zip(&sealed) {
            assert!(notes.contains(note) && notes.contains(path.to_str().unwrap()), "{notes}");
        }
        let found = found(&bench.path());
        assert_eq!(found[&seqs[3]], opened("four"));
        assert!(seqs[..3].iter().all(|seq| found[seq] == Found::Withheld), "{found:?}");
        assert_intact(&bench);
        // Nor does it keep the journal from going on.
        let opened = bench.open();
        assert!(opened.clean && opened.quarantined.is_none());
        opened.journal.handle().append_durable(private("more")).unwrap();
        opened.journal.close().unwrap();
    }
}

#[test]
fn a_journal_without_private_records_makes_no_files_for_them() {
    let bench = Bench::new();
    let journal = bench.open().journal;
    journal.handle().append_durable(fact("x")).unwrap();
    journal.close().unwrap();
    assert!(!beside(&bench, "keys").exists() && !beside(&bench, "openings").exists());
}

#[test]
fn pictures_are_erased_by_the_rule_of_openings_and_the_journal_says_of_which_records() {
    let bench = Bench::new().with_frames();
    let opened_journal = bench.open();
    let (journal, frames) = (opened_journal.journal, opened_journal.frames.unwrap().unwrap());
    let handle = journal.handle();
    let keep = |job: &str, pixels: &[u8]| {
        let job = JobId::new(job).unwrap();
        let digest = frames.keep(pixels, Some(&job), Duration::MAX, bench.clock.stamp()).unwrap();
        (digest, handle.append_durable(picture(pixels)).unwrap())
    };
    let (old, old_seq) = keep("job_1", b"old");
    let said_seq = handle.append_durable(private(SECRET)).unwrap();
    let (other, other_seq) = keep("job_2", b"other");
    bench.clock.advance(Duration::from_secs(60));
    let minute = bench.now();
    let (new, new_seq) = keep("job_1", b"new");
    let (stays, _) = keep("job_2", b"stays");
    let dir = bench.dir.path().join("frames");
    let copy = bench.dir.path().join("before");
    copy_dir(&dir, &copy);

    // Older than a minute: of both jobs, and the opening with them.
    let erasure = Erasure { before: Some(minute), ..by("op_7") };
    let preview = erasable(&bench.path(), Some(&dir), &erasure).unwrap();
    assert_eq!((preview.openings, preview.first_seq), (3, Some(old_seq)));
    assert_eq!(preview.kinds, [("skill_frame".to_owned(), 2), ("skill_log".to_owned(), 1)].into());
    assert_eq!(handle.erase(erasure).unwrap(), preview);
    let said_in = handle.records() - 1;
    assert_eq!((frames.find(old), frames.find(other)), (None, None));
    assert!(frames.find(new).is_some() && frames.find(stays).is_some());
    assert_eq!(found(&bench.path())[&said_seq], Found::Erased { said_in });
    let said = Erase::read(&records(&bench.path())[&said_in].body, None).unwrap();
    assert_eq!((said.openings, said.spans), (3, vec![(old_seq, other_seq)]));

    // Of one job.
    let erasure = Erasure { job: JobId::new("job_1").ok(), ..by("op_7") };
    assert_eq!(handle.erase(erasure).unwrap().openings, 1);
    assert!(frames.find(new).is_none() && frames.find(stays).is_some());
    let said_in = handle.records() - 1;
    let said = Erase::read(&records(&bench.path())[&said_in].body, None).unwrap();
    assert_eq!(said.spans, [(new_seq, new_seq)]);
    journal.close().unwrap();
    assert_intact(&bench);

    // Who kept the encrypted files has nothing.
    std::fs::remove_dir_all(&dir).unwrap();
    copy_dir(&copy, &dir);
    for (digest, is_there) in [(old, false), (other, false), (new, false), (stays, true)] {
        assert_eq!(read_picture(&dir, digest).unwrap().is_some(), is_there);
    }
}

#[test]
fn a_picture_that_two_records_name_keeps_both_until_its_last_copy_goes() {
    let bench = Bench::new().with_frames();
    let opened_journal = bench.open();
    let (journal, frames) = (opened_journal.journal, opened_journal.frames.unwrap().unwrap());
    let handle = journal.handle();
    let jobs = ["job_1", "job_2"].map(|job| JobId::new(job).ok());
    let mut digest = Digest::ZERO;
    for job in &jobs {
        digest = frames.keep(b"same", job.as_ref(), Duration::MAX, bench.clock.stamp()).unwrap();
        handle.append_durable(picture(b"same")).unwrap();
    }
    for (job, left) in jobs.into_iter().zip([1, 0]) {
        assert_eq!(handle.erase(Erasure { job, ..by("op_7") }).unwrap().openings, 1);
        assert_eq!((frames.size().0, frames.find(digest).is_some()), (left, left > 0));
        let said = &records(&bench.path())[&(handle.records() - 1)];
        let named: u64 =
            Erase::read(&said.body, None).unwrap().spans.iter().map(|(a, b)| b - a + 1).sum();
        assert_eq!(named == 0, left > 0, "while one copy is left, both records have it");
    }
    journal.close().unwrap();
    assert_intact(&bench);
}

/// Keeps a picture as an earlier agent did, in the clear.
fn plain(bench: &Bench, pixels: &[u8], until: i64) -> (PathBuf, Digest) {
    let (dir, digest) = (bench.dir.path().join("frames"), Digest::of(pixels));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(format!("{until:016x}-{digest}.frame"));
    std::fs::write(&path, pixels).unwrap();
    (path, digest)
}

#[test]
fn pictures_that_an_earlier_agent_kept_are_erased_by_the_job_that_their_records_name() {
    let bench = Bench::new().with_frames();
    let plain = |pixels| plain(&bench, pixels, i64::MAX).1;
    let [goes, stays] = [&b"recorded"[..], b"pruned"].map(plain);
    let dir = bench.dir.path().join("frames");
    let opened_journal = bench.open();
    let (journal, frames) = (opened_journal.journal, opened_journal.frames.unwrap().unwrap());
    let handle = journal.handle();
    // It names `job_1`; of the other one the record is gone.
    let seq = handle.append_durable(picture(b"recorded")).unwrap();
    assert_eq!(frames.size().0, 2);
    let erase = |job: &str| Erasure { job: JobId::new(job).ok(), ..by("op_7") };
    assert_eq!(handle.erase(erase("job_2")).unwrap().openings, 0);
    let preview = erasable(&bench.path(), Some(&dir), &erase("job_1")).unwrap();
    assert_eq!((preview.openings, preview.first_seq), (1, Some(seq)));
    assert_eq!(handle.erase(erase("job_1")).unwrap(), preview);
    assert_eq!(frames.find(goes), None);
    assert!(frames.find(stays).is_some(), "nobody knows of which job it is");
    assert_eq!(handle.erase(by("op_7")).unwrap().openings, 1);
    assert_eq!((frames.find(stays), frames.size()), (None, (0, 0)));
    journal.close().unwrap();
    assert_intact(&bench);
}

#[test]
fn pictures_that_the_disk_does_not_take_encrypted_end_and_are_erased_all_the_same() {
    let bench = Bench::new().with_frames();
    let pictures = [(&b"over"[..], bench.now().0), (b"recorded", i64::MAX), (b"stays", i64::MAX)];
    let pictures = pictures.map(|(pixels, until)| plain(&bench, pixels, until));
    let is_there = || pictures.each_ref().map(|(path, _)| path.exists());
    // Here nobody makes a file, as on a disk that is full.
    let keys = bench.dir.path().join("frames.keys");
    std::os::unix::fs::symlink("/proc/self/fdinfo", &keys).unwrap();
    let opened_journal = bench.open();
    let (journal, frames) = (opened_journal.journal, opened_journal.frames.unwrap().unwrap());
    assert_eq!((is_there(), frames.size().0), ([false, true, true], 2));
    let handle = journal.handle();
    handle.append_durable(picture(b"recorded")).unwrap();
    let dir = bench.dir.path().join("frames");
    assert!(read_picture(&dir, pictures[1].1).unwrap().is_some());
    std::fs::remove_file(&keys).unwrap();
    std::fs::create_dir(&keys).unwrap();
    let erasure = Erasure { job: JobId::new("job_1").ok(), ..by("op_7") };
    let preview = erasable(&bench.path(), Some(&dir), &erasure).unwrap();
    assert_eq!((preview.openings, &handle.erase(erasure).unwrap()), (1, &preview));
    assert_eq!((is_there(), frames.size().0), ([false, false, true], 1));
    journal.close().unwrap();

    // The next start has room.
    let opened_journal = bench.open();
    let frames = opened_journal.frames.unwrap().unwrap();
    assert_eq!((is_there(), frames.find(pictures[1].1)), ([false; 3], None));
    assert_eq!(frames.find(pictures[2].1).as_deref(), Some(&b"stays"[..]));
    opened_journal.journal.close().unwrap();
    assert_intact(&bench);
}
