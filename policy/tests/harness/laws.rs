//! Laws of single setpoints.

use super::claim;
use super::draw::Draw;
use super::vehicles::{
    ARM, KINDS, OPEN, START, axes, beyond, bits, command, follow, gate, policies, policy, settle,
    standing, told,
};
use crate::common::{STEP, rectangle, verified, zone};
use nooterra_policy::proximity::SECTORS;
use nooterra_policy::{Action, Gate, Surroundings, VerifiedPolicy};
use nooterra_protocol::command::{Command, PerJoint, Source};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Planar, Pose};
use nooterra_protocol::observation::{Flying, JointStates, Timed};
use nooterra_protocol::policy::{
    Clear, Latches, MotionLimit, PolicyDocument, Proximity, Vehicle, ZoneRule,
};
use nooterra_protocol::time::MonoNanos;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

fn kind(draw: &mut Draw<'_>) -> usize {
    draw.below(KINDS)
}

const PROXIMITY: Proximity = Proximity {
    human_mps: 1.6,
    intrusion_m: 0.1,
    release_ms: 100,
    sensor_ms: 200,
    slow_m: 1.0,
    slow_mps: 0.2,
    stop_m: 0.3,
    uncertainty_m: 0.1,
};

/// Each kind's policy with every rule that it may have.
fn strict(kind: usize) -> Gate {
    static POLICIES: OnceLock<Vec<VerifiedPolicy>> = OnceLock::new();
    let policies = POLICIES.get_or_init(|| {
        let all = policies().into_iter().map(|mut document| {
            document.motion = Some(MotionLimit { max_s: 1.0, rest_s: 0.1 });
            if !matches!(document.vehicle, Vehicle::Joints { .. }) {
                document.proximity = Some(PROXIMITY);
            }
            verified(document)
        });
        all.collect()
    });
    Gate::new(&policies[kind])
}

/// Any bits in every input, tick after tick on one gate: what goes out is finite and within
/// every limit; it is what was asked, bit for bit, or there is a reason.
pub fn anything(draw: &mut Draw<'_>) -> Result<(), String> {
    let kind = kind(draw);
    let document = policy(kind).0;
    let mut gate = strict(kind);
    let mut now = START;
    for tick in 0..=draw.below(16) as u64 {
        let [flag, odd] = [draw.flag(), draw.flag()];
        now = if draw.byte() == 255 {
            // At the very end of time every lease has ended.
            MonoNanos(draw.bits() >> 1)
        } else {
            MonoNanos(now.0.wrapping_add(u64::from(draw.byte() % 60) * 1_000_000))
        };
        // Half of the ticks are sane but for the wish, so that not all end in a stop.
        let wish = command(document, draw.numbers());
        let mut inputs = standing(tick, now, OPEN, Some(wish));
        if draw.flag() {
            let at = |number: f64| if odd { MonoNanos(number.to_bits()) } else { now };
            let [x, y, yaw, vx, vy, turn, battery, sigma] = draw.numbers();
            inputs.pose = Timed { at: at(x), value: Pose { x, y, yaw } };
            inputs.twist = Timed { at: at(y), value: Planar::new(vx, vy, turn) };
            inputs.battery = Some(battery);
            inputs.pose_sigma_m = if flag { sigma } else { 0.0 };
            inputs.yaw_sigma_rad = if odd { sigma } else { 0.0 };
            inputs.mode = draw.flag().then(|| draw.byte());
            let [height, ground, climb, tilt, p, q, v, effort] = draw.numbers();
            inputs.flying = flag.then_some(Timed {
                at: at(height),
                value: Flying {
                    above_ground_m: odd.then_some(ground),
                    above_takeoff_m: height,
                    climb_mps: climb,
                    tilt_rad: tilt,
                },
            });
            let per = |a, b| PerJoint::new(&[a, b, a]).unwrap();
            inputs.joints = draw.flag().then_some(Timed {
                at: at(p),
                value: JointStates {
                    effort: per(effort, 0.0),
                    position: per(p, q),
                    velocity: per(v, 0.0),
                },
            });
        }
        #[allow(clippy::cast_possible_truncation)] // Any range will do.
        let near = draw.number() as f32;
        let seen = Surroundings { at: now, nearest_m: [near; SECTORS] };
        inputs.surroundings = draw.flag().then_some(seen);
        let outcome = gate.tick(&inputs);
        let allowed = outcome.allowed;
        claim!(allowed.is_finite(), "{allowed:?}");
        claim!(beyond(document, allowed).is_none(), "{allowed:?} is beyond {document:?}");
        let stops = matches!(outcome.action, Action::Stop(_));
        let altered = stops || bits(allowed) != bits(wish);
        let reasons = outcome.verdicts.as_slice();
        claim!(altered != reasons.is_empty(), "{wish:?} became {allowed:?} by {reasons:?}");
    }
    Ok(())
}

/// What the gate let through is not changed when it comes again in the same state.
pub fn twice(draw: &mut Draw<'_>) -> Result<(), String> {
    let kind = kind(draw);
    let wish = command(policy(kind).0, draw.all_within(-2.0, 2.0));
    let ticks = draw.below(60) as u64;
    let (mut one, mut other) = (gate(kind), gate(kind));
    let (first, now) = settle(&mut one, wish, ticks);
    let _ = settle(&mut other, wish, ticks);
    let now = now.plus(STEP);
    let next =
        |gate: &mut Gate, wish| gate.tick(&told(ticks + 1, now, first.allowed, Some(wish))).allowed;
    let allowed = next(&mut one, wish);
    let again = next(&mut other, allowed);
    claim!(bits(again) == bits(allowed), "{wish:?} became {allowed:?}, which became {again:?}");
    Ok(())
}

/// A command that holds every limit comes out bit for bit once the ramps are over; any other
/// comes out changed, with a reason.
pub fn compliant(draw: &mut Draw<'_>) -> Result<(), String> {
    let kind = kind(draw);
    let document = policy(kind).0;
    let wish = command(document, draw.all_within(-1.2, 1.2));
    let (outcome, _) = settle(&mut gate(kind), wish, 200);
    let (allowed, reasons) = (outcome.allowed, outcome.verdicts.as_slice());
    if reasons.is_empty() {
        claim!(bits(allowed) == bits(wish), "{wish:?} became {allowed:?} without a reason");
        claim!(beyond(document, wish).is_none(), "{wish:?} passed");
    } else {
        claim!(bits(allowed) != bits(wish), "{wish:?} passed, and {reasons:?} acted");
        // Well within every limit there is nothing that could have acted.
        let small = axes(wish).iter().all(|axis| axis.abs() < 0.2);
        claim!(!small, "{wish:?} became {allowed:?} by {reasons:?}");
    }
    Ok(())
}

/// Whatever changed a wish either kept its shape (the curvature of a path, the course of what
/// goes sideways, the proportion of the joints) or is named: ramps and steering bend, speed
/// limits do not.
pub fn shape(draw: &mut Draw<'_>) -> Result<(), String> {
    let kind = kind(draw);
    let document = policy(kind).0;
    let wish = command(document, draw.all_within(-3.0, 3.0));
    let (outcome, _) = settle(&mut gate(kind), wish, draw.below(300) as u64);
    let bends = |rule: Rule| {
        !matches!(
            rule,
            Rule::AccelLateral
                | Rule::SpeedAngular
                | Rule::SpeedJoint
                | Rule::SpeedLateral
                | Rule::SpeedLinear
                | Rule::SpeedVertical
                | Rule::ZoneSpeed
        )
    };
    if outcome.verdicts.iter().any(|verdict| bends(verdict.rule)) {
        return Ok(());
    }
    let (asked, allowed) = (axes(wish), axes(outcome.allowed));
    if let Command::Ackermann(_) = wish {
        claim!(asked[1] == allowed[1], "steered {} rad, not {}", allowed[1], asked[1]);
        claim!(asked[0] * allowed[0] >= 0.0, "the other way");
        return Ok(());
    }
    for (a, b) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        let apart = asked[a] * allowed[b] - asked[b] * allowed[a];
        claim!(apart.abs() < 1e-9, "{asked:?} became {allowed:?} by {:?}", outcome.verdicts);
    }
    let along: f64 = asked.iter().zip(allowed).map(|(a, b)| a * b).sum();
    claim!(along >= 0.0, "{asked:?} was turned round: {allowed:?}");
    Ok(())
}

/// From any motion a wish to stand still slows every axis on every tick, down to none; and a
/// limit of the jerk changes not a bit of it.
pub fn rest(draw: &mut Draw<'_>) -> Result<(), String> {
    static WITHOUT_JERK: OnceLock<VerifiedPolicy> = OnceLock::new();
    let kind = kind(draw);
    let document = policy(kind).0;
    let wish = command(document, draw.all_within(-2.0, 2.0));
    // From an even motion jerk has nothing left to ramp, and both gates begin alike.
    let even = draw.flag();
    let ticks = if even { 250 } else { 1 + draw.below(80) as u64 };
    let mut gate = gate(kind);
    let (moving, mut now) = settle(&mut gate, wish, ticks);
    let mut other = (even && document.limits.max_linear_jerk_mps3.is_some()).then(|| {
        let mut document = document.clone();
        document.limits.max_linear_jerk_mps3 = None;
        Gate::new(WITHOUT_JERK.get_or_init(|| verified(document)))
    });
    if let Some(other) = &mut other {
        let (begins, _) = settle(other, wish, ticks);
        claim!(bits(begins.allowed) == bits(moving.allowed), "{begins:?} without jerk");
    }
    let mut last = moving.allowed;
    let zero = command(document, [0.0; 4]);
    for tick in 0..200 {
        now = now.plus(STEP);
        let inputs = told(ticks + tick + 1, now, last, Some(zero));
        let next = gate.tick(&inputs).allowed;
        for (before, after) in axes(last).into_iter().zip(axes(next)) {
            claim!(after.abs() <= before.abs() + 1e-12, "{last:?}, then {next:?}");
        }
        if let Some(other) = &mut other {
            let then = other.tick(&inputs).allowed;
            claim!(bits(then) == bits(next), "{next:?}, and without jerk {then:?}");
        }
        last = next;
    }
    claim!(axes(last)[0] == 0.0, "{last:?} after 4 s");
    // The wheels of what steers stay as they are.
    let steers = matches!(document.vehicle, Vehicle::Ackermann { .. });
    claim!(steers || axes(last) == [0.0; 4], "{last:?} after 4 s");
    Ok(())
}

/// What a source asks that may not ask, or that does not hold the lease, changes no bit of
/// what goes out, on no tick.
pub fn denied(draw: &mut Draw<'_>) -> Result<(), String> {
    let kind = kind(draw);
    let document = policy(kind).0;
    let [before, first, second] =
        [draw.all_within(-1.0, 1.0), draw.numbers(), draw.numbers()].map(|n| command(document, n));
    let (operator, ticks) = (draw.flag(), draw.below(20) as u64);
    let ends = |wish| {
        let mut gate = gate(kind);
        let (outcome, mut now) = settle(&mut gate, before, ticks);
        let mut last = outcome.allowed;
        let mut seen = Vec::new();
        for tick in 1..20 {
            now = now.plus(STEP);
            let mut inputs = told(ticks + tick, now, last, Some(wish));
            if operator {
                inputs.wishes.operator = inputs.wishes.skill.take();
                inputs.grants.operator_until = START;
            } else {
                inputs.grants.skill_until = START;
            }
            let outcome = gate.tick(&inputs);
            last = outcome.allowed;
            let stop = matches!(outcome.action, Action::Stop(_));
            let named = outcome.verdicts.iter().any(|verdict| verdict.rule == Rule::Grant);
            seen.push((bits(last), stop, named, outcome.source));
        }
        seen
    };
    let (one, other) = (ends(first), ends(second));
    claim!(one == other, "{first:?} and {second:?} were denied and made a difference");
    let source = if operator { Source::Operator } else { Source::Skill };
    for (_, stop, named, asked) in &one {
        claim!(!stop && *named && *asked == source, "denied: {one:?}");
    }
    Ok(())
}

/// A policy that is tighter anywhere makes nothing faster: the way in the plane, the climb, no
/// joint.
pub fn tightening(draw: &mut Draw<'_>) -> Result<(), String> {
    let kind = kind(draw);
    let (document, _) = policy(kind);
    let wish = command(document, draw.all_within(-2.0, 2.0));
    let ticks = draw.below(120) as u64;
    let which = draw.below(10);
    // Verifying and loading a policy takes a hundred times what the ticks do.
    let (tighter, what) = if draw.byte().is_multiple_of(64) {
        let (tighter, what) = tightened(document, which, draw.within(0.1, 1.0));
        (Arc::new(verified(tighter)), what)
    } else {
        tightened_before(kind, which, draw.below(FACTORS))
    };
    let speeds = |gate: &mut Gate| {
        let allowed = settle(gate, wish, ticks).0.allowed;
        let [a, b, c, _] = axes(allowed).map(f64::abs);
        match allowed {
            Command::Joints(_) => [a, b, c],
            Command::Fly(_) => [a.hypot(b), c, 0.0],
            other => [follow(other).speed(), 0.0, 0.0],
        }
    };
    let (loose, tight) = (speeds(&mut gate(kind)), speeds(&mut Gate::new(&tighter)));
    for (loose, tight) in loose.into_iter().zip(tight) {
        claim!(tight <= loose + 1e-9, "{wish:?}: {tight} > {loose} after tightening {what}");
    }
    Ok(())
}

/// Factors of the tightened policies that are kept.
const FACTORS: u16 = 32;

/// One of the tightened policies of a kind, verified when it is first asked for.
fn tightened_before(kind: usize, which: usize, step: usize) -> (Arc<VerifiedPolicy>, &'static str) {
    type Kept = HashMap<(usize, usize, usize), (Arc<VerifiedPolicy>, &'static str)>;
    static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);
    let mut kept = KEPT.lock().unwrap();
    let (policy, what) = kept.entry((kind, which, step)).or_insert_with(|| {
        let factor = 0.1 + 0.9 * step as f64 / f64::from(FACTORS);
        let (tighter, what) = tightened(policy(kind).0, which, factor);
        (Arc::new(verified(tighter)), what)
    });
    (Arc::clone(policy), what)
}

/// The document with something of it tighter by a factor below one, and what.
fn tightened(
    document: &PolicyDocument,
    which: usize,
    factor: f64,
) -> (PolicyDocument, &'static str) {
    let mut document = document.clone();
    match (which, &mut document.vehicle) {
        (0..5, Vehicle::Joints { joints, .. }) => {
            joints[which % 3].max_velocity *= factor;
            return (document, "a joint's velocity");
        }
        (_, Vehicle::Joints { joints, .. }) => {
            joints.iter_mut().for_each(|joint| joint.max_accel *= factor);
            return (document, "the joints' acceleration");
        }
        (0, Vehicle::Multirotor(flight)) => {
            flight.max_climb_mps *= factor;
            return (document, "the climb");
        }
        (1, Vehicle::Multirotor(flight)) => {
            flight.max_descent_mps *= factor;
            return (document, "the descent");
        }
        (0, Vehicle::Omnidirectional { max_lateral_mps }) => {
            *max_lateral_mps *= factor;
            return (document, "the speed sideways");
        }
        _ => {}
    }
    let limits = &mut document.limits;
    let what = match which {
        0 | 1 => {
            limits.max_linear_mps *= factor;
            "the speed"
        }
        2 => {
            limits.max_angular_radps *= factor;
            "the turning"
        }
        3 => {
            limits.max_linear_accel_mps2 *= factor;
            "the acceleration"
        }
        4 => {
            limits.max_reverse_mps *= factor;
            "the reverse speed"
        }
        5 => {
            document.zones.push(zone(
                "slow",
                rectangle((1.0, 6.0), (3.0, 7.0)),
                ZoneRule::Speed { max_linear_mps: 0.8 * factor },
            ));
            "a speed zone"
        }
        6 => {
            document.motion = Some(MotionLimit { max_s: 1.0 + factor, rest_s: 0.1 });
            "the time in motion"
        }
        7 => {
            // Nothing was seen yet: an obstacle.
            document.proximity = Some(PROXIMITY);
            "the range sensor"
        }
        8 => {
            document.zones[0].polygon = rectangle((0.0, 0.0), (12.0, 6.9 + factor));
            "the fence"
        }
        _ => {
            let curve = limits.max_lateral_accel_mps2.unwrap_or(1.0);
            limits.max_lateral_accel_mps2 = Some(curve * factor);
            "what a curve may pull"
        }
    };
    (document, what)
}

/// A clock that stands, jumps or goes back is a stop, and any other step is none.
pub fn clock(draw: &mut Draw<'_>) -> Result<(), String> {
    let kind = kind(draw);
    let document = policy(kind).0;
    let mut gate = gate(kind);
    let (_, now) = settle(&mut gate, command(document, [0.2; 4]), draw.below(20) as u64);
    let jump = match draw.byte() % 4 {
        0 => draw.bits(),
        1 => 250_000_000 - 2 + u64::from(draw.byte() % 5),
        2 => u64::from(draw.byte() % 4).wrapping_sub(2),
        _ => draw.bits() % 300_000_000,
    };
    let later = MonoNanos(now.0.wrapping_add(jump));
    let gap = later.0.checked_sub(now.0);
    let ordinary = gap.is_some_and(|gap| (1..=250_000_000).contains(&gap));
    let outcome = gate.tick(&standing(21, later, OPEN, None));
    let stops = matches!(outcome.action, Action::Stop(_));
    claim!(stops != ordinary, "a step of {gap:?} ns: {:?}", outcome.verdicts);
    let named = outcome.verdicts.iter().any(|verdict| verdict.rule == Rule::ClockJump);
    claim!(named != ordinary, "a step of {gap:?} ns: {:?}", outcome.verdicts);
    Ok(())
}

/// Emergency stop and veto, pressed and let go, acknowledged too early, in time and by a broken
/// clock, on a robot that rests or is pushed: in force from the first press to the first tick
/// at which the owner's condition is met.
pub fn latches(draw: &mut Draw<'_>) -> Result<(), String> {
    let kind = kind(draw);
    let clears = [Clear::Acknowledged, Clear::Released];
    let clear = [clears[usize::from(draw.flag())], clears[usize::from(draw.flag())]];
    let mut gate = latching(kind, clear);
    let document = policy(kind).0;
    let wish = command(document, [0.1; 4]);
    let (mut now, mut last) = (START, command(document, [0.0; 4]));
    // When the cause of each was last there.
    let mut pressed: [Option<MonoNanos>; 2] = [None; 2];
    for tick in 0..=draw.below(24) as u64 {
        now = now.plus(STEP);
        let mut inputs = told(tick, now, last, Some(wish));
        let causes = [draw.byte().is_multiple_of(4), draw.byte().is_multiple_of(4)];
        let said = match draw.byte() % 6 {
            0 | 1 => Some(now),
            2 => Some(START),
            3 => Some(MonoNanos(draw.bits())),
            _ => None,
        };
        let pushed = draw.byte().is_multiple_of(4);
        if pushed && kind == ARM {
            let joints = inputs.joints.as_mut().unwrap();
            joints.value.velocity = PerJoint::new(&[0.2, 0.0, 0.0]).unwrap();
        } else if pushed {
            inputs.twist.value.x = 0.2;
        }
        [inputs.wishes.emergency_stop, inputs.wishes.veto] = causes;
        inputs.wishes.acknowledged = said;
        // At rest is what was told to stand, and is measured to.
        let rests = !pushed && axes(last) == [0.0; 4];
        for ((cause, since), clear) in causes.into_iter().zip(&mut pressed).zip(clear) {
            if cause {
                *since = Some(now);
            } else if let Some(at) = *since {
                let lead = said.map(|said| said.0.saturating_sub(now.0));
                let reset = match clear {
                    Clear::Released => true,
                    Clear::Acknowledged => {
                        said.is_some_and(|said| said >= at)
                            && lead.is_some_and(|lead| lead <= 20_000_000)
                    }
                };
                if reset && rests {
                    *since = None;
                }
            }
        }
        let outcome = gate.tick(&inputs);
        let stops = matches!(outcome.action, Action::Stop(_));
        let held = pressed.map(|since| since.is_some());
        let named = [Rule::EmergencyStop, Rule::Veto]
            .map(|rule| outcome.verdicts.iter().any(|verdict| verdict.rule == rule));
        claim!(stops == held.contains(&true), "tick {tick}: {held:?}, {:?}", outcome.verdicts);
        claim!(named == held, "tick {tick}: {held:?}, {:?}", outcome.verdicts);
        last = outcome.allowed;
    }
    Ok(())
}

/// Of each kind with each choice of what lifts its stops.
fn latching(kind: usize, [emergency_stop, veto]: [Clear; 2]) -> Gate {
    static POLICIES: [OnceLock<VerifiedPolicy>; 4 * KINDS as usize] =
        [const { OnceLock::new() }; 4 * KINDS as usize];
    let choice = [emergency_stop, veto].map(|clear| usize::from(clear == Clear::Released));
    let policy = POLICIES[4 * kind + 2 * choice[0] + choice[1]].get_or_init(|| {
        let latches = Latches { emergency_stop, veto };
        verified(PolicyDocument { latches, ..policy(kind).0.clone() })
    });
    Gate::new(policy)
}
