//! What the control thread hands over costs it no allocation, counted by the allocator itself.
#![allow(clippy::unwrap_used, unsafe_code)] // What is unexpected fails the test.

mod common;

use common::{Bench, sample_at};
use nooterra_blackbox::flight::{FlightOptions, recorder};
use nooterra_blackbox::{ControlRecord, SampleRecord};
use nooterra_protocol::command::{Asked, Source};
use nooterra_protocol::flight::{FlightJoints, FlightTick, FlightVerdicts, Trigger};
use nooterra_protocol::geometry::Twist;
use nooterra_protocol::observation::{JointStates, Timed};
use nooterra_protocol::time::MonoNanos;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system allocator unchanged; the counter is a
// thread-local that needs neither allocation nor destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promise about `pointer` and `layout` is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls() -> u64 {
    CALLS.with(Cell::get)
}

fn tick(nth: u64) -> FlightTick {
    FlightTick {
        allowed: Twist::new(0.5, 0.1).into(),
        asked: Asked::from(Twist::new(0.6, 0.1)),
        at: MonoNanos(nth),
        battery: Some(0.5),
        docked: false,
        emergency_stop: false,
        joints: Some(FlightJoints::of(&Timed {
            at: MonoNanos(nth),
            value: JointStates::default(),
        })),
        journal_ms: 0,
        limit_mps: 0.8,
        pose: None,
        scan: None,
        source: Source::Skill,
        stopped: false,
        tick: nth,
        twist: Twist::ZERO,
        verdicts: FlightVerdicts::default(),
    }
}

#[test]
fn neither_a_tick_nor_a_trigger_nor_a_record_allocates_also_when_its_queue_is_full() {
    let bench = Bench::new();
    let opened = bench.open();
    let mut control = opened.journal.handle().control_queue();
    let options = FlightOptions::default();
    let many = 2 * options.queue_ticks() as u64;
    let (recorder, mut flight, triggers) = recorder(options);
    let before = calls();
    for nth in 0..many {
        flight.push(tick(nth));
        flight.pull(Trigger::Stop, MonoNanos(nth));
        triggers.pull(Trigger::Incident, MonoNanos(nth));
    }
    let sample = SampleRecord { at: MonoNanos(1), sample: sample_at(1.0) };
    let queued = (0..500).filter(|_| control.push(ControlRecord::Sample(sample))).count();
    assert_eq!(calls() - before, 0);
    assert_eq!(queued, 500);
    assert_eq!(recorder.state().lost, many / 2, "what did not fit is counted");
}
