//! What the flight recorder and the inputs of skills are told by: read back bit for bit, and
//! no bytes make their readers panic.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::command::{Asked, Command, JointVelocities, MAX_JOINTS, PerJoint, Source};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::flight::{
    BlockDraft, FlightBlock, FlightJoints, FlightScan, FlightTick, FlightVerdict, FlightVerdicts,
    MAX_TICK_BYTES, MAX_TICKS, SECTORS, TICK_BYTES, VERDICTS,
};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::{JobId, SkillId, StepId};
use nooterra_protocol::input::{InputDraft, MAX_BEAMS, MAX_STEPS, SkillInput};
use nooterra_protocol::observation::{Battery, JointStates, Observation, Scan, Timed};
use nooterra_protocol::time::MonoNanos;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

/// A number as it comes: any bits but those of "no number", which equal nothing.
fn number() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("equal to itself", |number| !number.is_nan())
}

/// The gate lets only finite numbers through, and a wish is recorded without the others.
fn commands() -> impl Strategy<Value = Command> {
    let finite = || number().prop_filter("finite", |number| number.is_finite());
    prop_oneof![
        (finite(), finite()).prop_map(|(a, b)| Command::Drive(Twist::new(a, b))),
        vec(finite(), 8).prop_map(|joints| {
            Command::Joints(JointVelocities { joints: PerJoint::new(&joints).unwrap() })
        }),
    ]
}

fn verdicts() -> impl Strategy<Value = FlightVerdicts> {
    let one = (0..Rule::ALL.len(), number(), proptest::option::of(0_u16..1000));
    vec(one, 0..12).prop_map(|all| {
        let mut verdicts = FlightVerdicts::default();
        for (rule, limit, zone) in all {
            verdicts.push(FlightVerdict { limit, rule: Rule::ALL[rule], zone });
        }
        verdicts
    })
}

fn ticks() -> impl Strategy<Value = FlightTick> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), number(), [number(), number()]);
    let places = proptest::option::of((any::<u64>(), [number(), number(), number()]));
    let scan = proptest::option::of((any::<u64>(), any::<[u16; 8]>()));
    let flags = any::<[bool; 3]>();
    let battery = proptest::option::of(number());
    let joints = proptest::option::of((any::<u64>(), arms()));
    (numbers, places, scan, flags, battery, commands(), commands(), verdicts(), joints).prop_map(
        |(numbers, place, scan, flags, battery, asked, allowed, verdicts, joints)| {
            let (tick, at, journal_ms, limit_mps, [linear, angular]) = numbers;
            let [docked, emergency_stop, stopped] = flags;
            FlightTick {
                allowed,
                asked: Asked::from(asked),
                at: MonoNanos(at),
                battery,
                docked,
                emergency_stop,
                joints: joints
                    .map(|(at, value)| FlightJoints::of(&Timed { at: MonoNanos(at), value })),
                journal_ms,
                limit_mps,
                pose: place.map(|(at, [x, y, yaw])| (MonoNanos(at), Pose { x, y, yaw })),
                scan: scan.map(|(at, some)| {
                    let nearest_mm = std::array::from_fn(|sector| some[sector % 8]);
                    FlightScan { at: MonoNanos(at), nearest_mm }
                }),
                source: Source::Skill,
                stopped,
                tick,
                twist: Twist { linear, angular },
                verdicts,
            }
        },
    )
}

fn arms() -> impl Strategy<Value = JointStates> {
    let each = || vec(number(), 0..=MAX_JOINTS).prop_map(|all| PerJoint::new(&all).unwrap());
    (each(), each(), each()).prop_map(|(effort, position, velocity)| JointStates {
        effort,
        position,
        velocity,
    })
}

fn observations() -> impl Strategy<Value = Observation> {
    let battery = proptest::option::of((any::<u64>(), any::<bool>(), number(), number()));
    let ranges = vec(any::<f32>().prop_filter("a number", |range| !range.is_nan()), 0..40);
    let scan = proptest::option::of((any::<u64>(), number(), ranges));
    let places = (any::<[u64; 2]>(), [number(), number(), number(), number(), number()]);
    let joints = proptest::option::of((any::<u64>(), arms()));
    let parts = (battery, any::<[bool; 3]>(), places, scan, joints);
    parts.prop_map(|(battery, flags, places, scan, joints)| {
        let ([pose_at, twist_at], [x, y, yaw, linear, angular]) = places;
        Observation {
            battery: battery.map(|(at, charging, fraction, volts)| Timed {
                at: MonoNanos(at),
                value: Battery { charging, fraction, volts },
            }),
            docked: flags[0],
            emergency_stop: flags[1],
            gripper: flags[2],
            joints: joints.map(|(at, value)| Timed { at: MonoNanos(at), value }),
            pose: Timed { at: MonoNanos(pose_at), value: Pose { x, y, yaw } },
            scan: scan.map(|(at, angle_min, ranges)| Timed {
                at: MonoNanos(at),
                value: Scan { angle_min, angle_step: 0.1, range_max: 8.0, ranges },
            }),
            twist: Timed { at: MonoNanos(twist_at), value: Twist { linear, angular } },
        }
    })
}

/// Of the most joints.
fn joints(value: f64) -> JointStates {
    let of_each = |value: f64| PerJoint::new(&[value; MAX_JOINTS]).unwrap();
    JointStates { effort: of_each(-value), position: of_each(value), velocity: of_each(1.0) }
}

fn inputs(draft: &mut InputDraft) -> SkillInput {
    let (count, rows) = draft.take();
    SkillInput {
        action: "patrol".to_owned(),
        bundle: Digest::ZERO,
        count,
        first: 1,
        job: JobId::new("job_1").unwrap(),
        rows,
        skill: SkillId::new("patrol").unwrap(),
        step: StepId::new("s1").unwrap(),
        withheld: false,
    }
}

proptest! {
    #[test]
    fn ticks_are_read_back_bit_for_bit(all in vec(ticks(), 1..20)) {
        let mut draft = BlockDraft::default();
        for tick in &all {
            draft.push(tick);
        }
        let block = draft.finish(1, 0, Digest::ZERO, true);
        let bytes = codec::to_vec(&block).unwrap();
        let block: FlightBlock = codec::from_slice(&bytes).unwrap();
        prop_assert_eq!(block.ticks().unwrap(), all);
    }

    #[test]
    fn inputs_are_read_back_bit_for_bit(all in vec((any::<u64>(), observations()), 1..10)) {
        let mut draft = InputDraft::default();
        for (at, seen) in &all {
            draft.push(MonoNanos(*at), seen);
        }
        let expected: Vec<_> = all.into_iter().map(|(at, seen)| (MonoNanos(at), seen)).collect();
        prop_assert_eq!(inputs(&mut draft).inputs().unwrap(), expected);
    }

    #[test]
    fn no_bytes_make_their_readers_panic(
        rows in vec(any::<u8>(), 0..600),
        count in prop_oneof![0_u32..5, Just(u32::MAX)],
    ) {
        let (last, previous, rules) = (false, Digest::ZERO, vec![Rule::Tilt]);
        let rows = Blob(rows);
        let block = FlightBlock { count, dump: 1, index: 0, last, previous, rows, rules };
        let ticks = block.ticks();
        prop_assert!(ticks.is_ok() || ticks.is_err());
        let mut input = inputs(&mut InputDraft::default());
        (input.count, input.rows) = (count, block.rows);
        let steps = input.inputs();
        prop_assert!(steps.is_err() || count == 0);
    }

    #[test]
    fn a_flipped_bit_in_a_block_never_panics(all in vec(ticks(), 1..4), at: usize, bit in 0..8) {
        let mut draft = BlockDraft::default();
        for tick in &all {
            draft.push(tick);
        }
        let mut block = draft.finish(1, 0, Digest::ZERO, true);
        let length = block.rows.0.len();
        block.rows.0[at % length] ^= 1_u8 << bit;
        let read = block.ticks();
        prop_assert!(read.is_err() || read.is_ok_and(|read| read.len() == all.len()));
    }
}

#[test]
fn a_tick_has_the_size_that_is_stated() {
    let mut draft = BlockDraft::default();
    let seen = Timed { at: MonoNanos(1), value: Twist::new(0.5, 0.1) };
    let mut verdicts = FlightVerdicts::default();
    for _ in 0..VERDICTS + 3 {
        verdicts.push(FlightVerdict { limit: 1.0, rule: Rule::Tilt, zone: Some(3) });
    }
    assert_eq!(usize::from(verdicts.acting), VERDICTS + 3);
    let tick = FlightTick {
        allowed: seen.value.into(),
        asked: Asked::from(Twist::new(f64::NAN, 0.1)),
        at: seen.at,
        battery: None,
        docked: false,
        emergency_stop: false,
        joints: None,
        journal_ms: 0,
        limit_mps: 1.0,
        pose: None,
        scan: Some(FlightScan { at: seen.at, nearest_mm: [u16::MAX; SECTORS] }),
        source: Source::Idle,
        stopped: true,
        tick: 7,
        twist: seen.value,
        verdicts,
    };
    draft.push(&tick);
    assert_eq!(TICK_BYTES, 460, "as docs/record-format.md has it");
    assert!(draft.bytes() < TICK_BYTES, "{} of {TICK_BYTES}", draft.bytes());
    let block = draft.finish(1, 0, Digest::ZERO, false);
    assert_eq!(block.ticks().unwrap(), [tick]);
    let measured = Timed { at: seen.at, value: joints(0.25) };
    let arm = FlightTick { joints: Some(FlightJoints::of(&measured)), ..tick };
    for tick in [arm, tick, arm] {
        draft.push(&tick);
    }
    assert_eq!(MAX_TICK_BYTES, 567, "as docs/record-format.md has it");
    assert!(draft.bytes() < 2 * MAX_TICK_BYTES, "{}", draft.bytes());
    let mixed = draft.finish(1, 1, Digest::ZERO, false);
    assert_eq!(mixed.ticks().unwrap(), [arm, tick, arm]);
    let too_many = FlightBlock { count: MAX_TICKS + 1, ..block };
    assert!(too_many.ticks().unwrap_err().to_string().contains("at most 4096"));
    let mut draft = InputDraft::default();
    let scan = Scan { ranges: vec![1.5; MAX_BEAMS], ..Scan::default() };
    let at = seen.at;
    let full = Observation {
        battery: Some(Timed { at, value: Battery { charging: true, fraction: 0.5, volts: 24.0 } }),
        docked: true,
        emergency_stop: true,
        gripper: true,
        joints: Some(Timed { at, value: joints(0.25) }),
        pose: Timed { at, value: Pose::default() },
        scan: Some(Timed { at, value: scan }),
        twist: seen,
    };
    draft.push(at, &full);
    assert_eq!(inputs(&mut draft).inputs().unwrap(), [(at, full)], "the longest row there is");
    let mut input = inputs(&mut InputDraft::default());
    input.count = MAX_STEPS + 1;
    assert!(input.inputs().unwrap_err().to_string().contains("at most 4096"));
}

#[test]
fn a_beam_is_kept_in_its_direction_as_the_nearest_of_its_neighbours() {
    let ranges = vec![9.0, 1.2345, 2.0, f32::NAN, f32::INFINITY];
    let scan = Scan { angle_min: -0.02, angle_step: 0.02, range_max: 9.0, ranges };
    let FlightScan { nearest_mm, .. } = FlightScan::of(MonoNanos(1), &scan);
    // Straight ahead is the middle: the first beam lies in the sector to the right of it.
    assert_eq!((nearest_mm[SECTORS / 2 - 1], nearest_mm[SECTORS / 2]), (9000, 1234));
    assert_eq!(nearest_mm.iter().filter(|nearest| **nearest < u16::MAX).count(), 2);
}
