//! The tick allocates nothing, counted by the allocator itself.
#![allow(unsafe_code)]

mod common;

use common::{STEP, document, inputs, owner, polygon, robot, signed, skill, zone};
use nooterra_policy::{Action, Gate, VerifiedPolicy, Wishes};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::grid::{Frame, Grid};
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::keys::Signer as _;
use nooterra_protocol::policy::{Mask, MaskRule, ZoneRule};
use nooterra_protocol::time::MonoNanos;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

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

#[test]
fn no_tick_allocates_or_frees() {
    let mut document = document();
    let comb: Vec<(f64, f64)> = (0_u8..40)
        .map(|i| (8.0 + f64::from(i) * 0.05, if i % 2 == 0 { 6.0 } else { 6.5 }))
        .chain([(10.0, 7.5), (8.0, 7.5)])
        .collect();
    document.zones.push(zone("comb", polygon(&comb), ZoneRule::KeepOut));
    let slow = ZoneRule::Speed { max_linear_mps: 0.3 };
    document.zones.push(zone("slow", polygon(&[(0.5, 5.0), (3.0, 5.0), (1.0, 7.0)]), slow));
    let frame =
        Frame { cell_m: 0.1, height: 80, origin: Pose { x: 0.0, y: 0.0, yaw: 0.0 }, width: 120 };
    let cells = (0..frame.cells()).map(|cell| u8::from(cell % 997 == 0) * 50).collect();
    let file = Grid::new(frame, cells).unwrap().encode();
    let speed = MaskRule::Speed { base_percent: 0.0, multiplier: 1.0 };
    document.masks = [("dots", MaskRule::KeepOut), ("slow-dots", speed)]
        .map(|(id, rule)| {
            let id = ZoneId::new(id).unwrap();
            Mask { id, rule, sha256: Digest::of(&file) }
        })
        .to_vec();
    let key = owner().verifying_key();
    let read = |_: &Mask| Ok(file.clone());
    let policy = VerifiedPolicy::verify_with_masks(&signed(document), &key, &robot(), read);
    let mut gate = Gate::new(&policy.unwrap());
    let robot = robot();
    let before = calls();
    assert!(before > 0, "the counter counts");
    let (mut now, mut moving, mut writes, mut stops) = (MonoNanos(1), Twist::ZERO, 0, 0);
    for tick in 1_u32..=5_000 {
        now = now.plus(STEP);
        let turn = f64::from(tick);
        let pose = Pose {
            x: 6.0 + 7.0 * (turn / 97.0).sin(),
            y: 4.0 + 5.0 * (turn / 71.0).cos(),
            yaw: turn,
        };
        let mut wishes = skill(now, Twist::new(1.5 * (turn / 13.0).sin(), (turn / 17.0).cos()));
        if tick % 7 == 0 {
            wishes = Wishes::default();
        }
        if tick % 83 == 0 {
            now = MonoNanos(now.0 + 1_000_000_000);
        }
        let mut inputs = inputs(u64::from(tick), now, pose, moving, wishes);
        inputs.journal_age = Duration::from_millis(if tick % 41 == 0 { 200 } else { 0 });
        let outcome = gate.tick(&inputs);
        moving = outcome.allowed_twist();
        match outcome.action {
            Action::Write(gated) => writes += u32::from(gated.open(&robot, tick.into()).is_ok()),
            Action::Stop(_) => stops += 1,
        }
    }
    assert_eq!(calls() - before, 0);
    assert!(writes > 4_000 && stops > 100, "{writes} writes, {stops} stops");
}
