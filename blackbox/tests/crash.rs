//! What is left after `kill -9`, and what happens when the disk is full. Both run the writer
//! in a child process: this test binary, called again for one test.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, Dice, HandClock, Key, fact, log, seed};
use nooterra_blackbox::{AppendError, Journal, Options, TailFrom, tail, verify};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::keys::Signer as _;
use nooterra_protocol::time::MonoNanos;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "NOOTERRA_TEST_DIR";

fn options() -> Options {
    Options::new(Arc::new(HandClock::default()), Key::new(7), Digest::of(b"policy"))
}

fn me(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    [&program, "--exact", test, "--nocapture", "--test-threads=1"].map(str::to_owned).to_vec()
}

/// The child of the test below; without the variable there is nothing for it to do.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let opened = Journal::open(&PathBuf::from(dir), options()).unwrap();
    let handle = opened.journal.handle();
    let mut out = std::io::stdout();
    for i in 0_u64.. {
        for _ in 0..i % 7 {
            handle.append(log("filler", 900)).unwrap();
        }
        let text = format!("{i}-{}", opened.boot);
        let seq = handle.append_durable(fact(&text)).unwrap();
        writeln!(out, "ACK {seq} {text}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let (bench, mut dice) = (Bench::new(), Dice(seed()));
    let mut acknowledged: Vec<(u64, String)> = Vec::new();
    for round in 1..=12 {
        let arguments = me("child_that_writes_until_it_is_killed");
        let mut child = Command::new(&arguments[0])
            .args(&arguments[1..])
            .env(DIR, bench.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wanted = 1 + dice.roll(60);
        for line in lines {
            let line = line.unwrap();
            // The test harness may have printed the beginning of the line.
            let Some((_, ack)) = line.split_once("ACK ") else {
                continue;
            };
            let (seq, text) = ack.split_once(' ').unwrap();
            acknowledged.push((seq.parse().unwrap(), text.to_owned()));
            if wanted == 1 {
                std::thread::sleep(Duration::from_micros(dice.roll(4000)));
                child.kill().unwrap();
            }
            wanted = wanted.saturating_sub(1);
        }
        assert!(!child.wait().unwrap().success());
        let key = Key::new(7).verifying_key();
        let found = verify(&bench.path(), Some(&key), &mut |_| {}).unwrap();
        assert!(found.is_intact(), "round {round}: {found}");
        let records: Vec<_> = tail(&bench.path(), TailFrom::Seq(1)).unwrap().collect();
        for (seq, text) in &acknowledged {
            let record = &records[usize::try_from(*seq).unwrap() - 1];
            let entry = record.record.as_ref().unwrap().entry().unwrap();
            assert_eq!(entry, Some(fact(text)), "round {round}: record {seq}");
        }
    }
    let opened = Journal::open(&bench.path(), options()).unwrap();
    assert!(!opened.clean && opened.quarantined.is_none());
    assert_eq!(opened.boot, 13);
    println!("{} acknowledged records, none lost", acknowledged.len());
}

/// The child of the test below: its files cannot grow beyond a limit.
#[test]
fn child_that_fills_its_disk() {
    let Ok(dir) = std::env::var(DIR) else { return };
    // So that one file is to hold more than the limit allows.
    let options = Options { segment_bytes: 256 * 1024 * 1024, ..options() };
    let opened = Journal::open(&PathBuf::from(dir), options).unwrap();
    let handle = opened.journal.handle();
    // Near its end small ones, so that each finds room ahead of it or does not.
    let (limit, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_FSIZE)
        .expect("the limit is known");
    let large = (limit - 200_000) / 20_300;
    let error = (0..)
        .find_map(|i| {
            let size = if i < large { 20_000 } else { 300 };
            let written = handle.append_durable(log(&format!("{i}"), size));
            match &written {
                Ok(seq) => println!("ACK {seq}"),
                Err(error) => println!("STOPPED {error}"),
            }
            written.err()
        })
        .expect("the disk fills");
    assert!(matches!(error, AppendError::Poisoned(_)), "{error:?}");
    assert!(error.to_string().contains("free space"), "{error}");
    assert!(handle.poisoned().is_some());
    assert_eq!(handle.oldest_uncommitted_age(MonoNanos(0)), Duration::MAX);
    assert_eq!(handle.append(fact("x")), Err(error.clone()));
    assert_eq!(handle.append_durable(fact("x")), Err(error));
    assert!(handle.put_state("x", b"x").is_err());
    assert!(opened.journal.close().is_err());
    let log = PathBuf::from(std::env::var(DIR).unwrap()).join("store/log-0000000000000001");
    let length = std::fs::metadata(log).unwrap().len();
    assert!(length > limit - 1000, "{length} of {limit} bytes: it ends before the disk does");
    println!("ENDED IN ORDER");
}

#[test]
fn a_full_disk_poisons_the_journal_and_keeps_what_was_acknowledged() {
    let bench = Bench::new();
    // RLIMIT_FSIZE with SIGXFSZ ignored makes write(2) fail with EFBIG, as ENOSPC would; no
    // mount and no privilege is needed. `ulimit -f` counts 512-byte blocks in POSIX shells,
    // 1024-byte ones in some: 20 or 40 MB.
    let script = "trap '' XFSZ; ulimit -f 40000; exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .args(me("child_that_fills_its_disk"))
        .env(DIR, bench.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("ENDED IN ORDER"), "{text}\n{errors}");
    let acknowledged = text.lines().filter(|line| line.contains("ACK ")).count() as u64;
    assert!(acknowledged > 50, "{text}");

    // With room again the journal goes on where it stopped.
    let opened = Journal::open(&bench.path(), options()).unwrap();
    assert!(opened.quarantined.is_none(), "{:?}", opened.quarantine_reason);
    assert!(!opened.clean);
    assert!(opened.journal.handle().records() >= acknowledged);
    opened.journal.handle().append_durable(fact("again")).unwrap();
    opened.journal.close().unwrap();
    let key = Key::new(7).verifying_key();
    let found = verify(&bench.path(), Some(&key), &mut |_| {}).unwrap();
    assert!(found.is_intact(), "{found}");
}
