//! Figures, printed and hardly judged: a shared machine is no bench.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, fact, log, sample_at};
use nooterra_blackbox::{AppendError, ControlRecord, SampleRecord, verify};
use nooterra_protocol::keys::Signer as _;
use std::time::{Duration, Instant};

#[test]
fn appending_keeps_up_with_a_robot() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    let (count, since) = (20_000_u32, Instant::now());
    for i in 0..count {
        while handle.append(log(&format!("{i}"), 380)) == Err(AppendError::Full) {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    handle.append_durable(fact("end")).unwrap();
    let rate = f64::from(count) / since.elapsed().as_secs_f64();
    println!("append: {rate:.0} records of about 512 bytes per second");

    let mut waits: Vec<Duration> = (0..200)
        .map(|i| {
            let since = Instant::now();
            handle.append_durable(fact(&format!("{i}"))).unwrap();
            since.elapsed()
        })
        .collect();
    waits.sort();
    println!("append_durable: p50 {:?}, p99 {:?}", waits[100], waits[198]);

    let mut queue = handle.control_queue();
    let mut pushes: Vec<Duration> = (0..2000_u32)
        .map(|i| {
            if i % 200 == 0 {
                // The queue is bounded, and the disk takes its time.
                let later = bench.clock.now().plus(Duration::from_secs(1));
                while handle.oldest_uncommitted_age(later) > Duration::ZERO {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            let sample = sample_at(f64::from(i));
            let at = bench.clock.now();
            let since = Instant::now();
            assert!(queue.push(ControlRecord::Sample(SampleRecord { at, sample })));
            since.elapsed()
        })
        .collect();
    pushes.sort();
    println!("control push: p50 {:?}, p99 {:?}", pushes[1000], pushes[1980]);
    opened.journal.close().unwrap();

    let since = Instant::now();
    let key = bench.key.verifying_key();
    let found = verify(&bench.path(), Some(&key), &mut |_| {}).unwrap();
    println!("verify: {} records in {:?}", found.records, since.elapsed());
    let since = Instant::now();
    let again = bench.open();
    println!("open: {:?}", since.elapsed());
    assert!(again.clean && found.is_intact());
    // Two orders of magnitude below what is measured on an idle machine.
    assert!(rate > 200.0);
}
