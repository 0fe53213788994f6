//! A box that is full to its bound of 1 GiB: what opening it after a crash takes, what it
//! occupies in memory then, and what was written for a byte of payload until it was full.
//!
//! It is opened in a process of its own, so that nothing that made it is counted.

use super::{Bench, TEXT_BYTES, append, argument, samples};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Rounds of appending, each of so many records of 512 bytes: a quarter more than fits.
const ROUNDS: usize = 80;
const RECORDS: usize = 20_000;

/// The process that only opens: says how long it took, and what it occupies.
pub(crate) fn opens(bench: &Bench, name: &str) {
    let begun = Instant::now();
    let opened = bench.open(name);
    let took = begun.elapsed();
    println!("{} {} {}", took.as_secs_f64(), pss(), opened.journal.handle().records());
    // As kill -9: the next one finds a crash again.
    std::process::exit(0);
}

pub(crate) fn measure(bench: &Bench) {
    let opened = bench.open("large");
    let handle = opened.journal.handle();
    let (before, mut payload) = (written(), 0);
    for _ in 0..samples(ROUNDS) {
        let (_, bytes) = append(&handle, RECORDS, TEXT_BYTES);
        payload += bytes;
    }
    let after = written();
    let usage = handle.usage().unwrap();
    eprintln!("large: {} of {} bytes on the disk", usage.disk_bytes, usage.disk_quota_bytes);
    drop(handle);
    drop(opened.journal);
    line("blackbox.written", "bytes", (after - before) as f64 / payload as f64, 1, None);

    drop(bench.open("empty").journal);
    let look = |name| (0..5).map(|_| child(&bench.dir, name)).collect::<Vec<_>>();
    let (large, empty) = (look("large"), look("empty"));
    let seconds = |all: &[(f64, f64)]| middle(all.iter().map(|(seconds, _)| *seconds));
    let bytes = |all: &[(f64, f64)]| middle(all.iter().map(|(_, bytes)| *bytes));
    let floor = ("an empty box", seconds(&empty) * 1e3);
    line("blackbox.open_large", "ms", seconds(&large) * 1e3, large.len(), Some(floor));
    let beyond = (bytes(&large) - bytes(&empty)) / f64::from(1 << 20);
    line("blackbox.resident_large", "MiB", beyond, large.len(), None);
}

fn child(dir: &Path, name: &str) -> (f64, f64) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.arg("--dir").arg(dir).args(["--open", name]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut numbers = said.split_whitespace().map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

pub(crate) fn opening() -> Option<String> {
    argument("--open")
}

fn middle(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn line(name: &str, unit: &str, value: f64, samples: usize, floor: Option<(&str, f64)>) {
    let floor = floor.map_or(String::new(), |(name, value)| {
        format!(r#","floor":{{"name":"{name}","value":{value}}}"#)
    });
    println!(r#"{{"figure":"{name}","unit":"{unit}","value":{value},"samples":{samples}{floor}}}"#);
}

fn pss() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// What this process has handed to the layer below the file system, bytes: whole pages, and
/// again where a page is written again.
fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:")).unwrap();
    line.trim().parse().unwrap()
}
