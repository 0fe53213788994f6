//! The gate itself: one pure call per tick.

mod believed;
mod exchange;
mod modes;
pub(crate) mod open;

use crate::arbitrate::{Charge, Latch, Wishes, age, arbitrate};
use crate::conditions::{Conditions, Moment, WaysIn};
use crate::endurance::Endurance;
use crate::gated::Gated;
use crate::law::{Axes, Breach, Law, Step};
use crate::look_ahead::{Ahead, CLIMB_DOUBT_MPS, DOUBT, Judge, Memory, Place, drift_m, larger};
use crate::planar::Planar;
use crate::privacy::{Curtain, Privacy, Sensors};
use crate::proximity::{Keeper, Reactions};
use crate::verdict::Verdicts;
use crate::verified::VerifiedPolicy;
use crate::zones::{ROUNDING_M, Uncertainty, ZoneMap};
use believed::{
    MAX_UNCERTAINTY_M, SIGMAS, in_frame_of, is_believable, is_known, is_still, measured, seed,
    turned,
};
use modes::Laws;
use nooterra_protocol::command::{Command, Source, StopProfile};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::{RobotId, ZoneId};
use nooterra_protocol::observation::{Flying, JointStates};
use nooterra_protocol::policy::{BatteryReserve, Vehicle};
use nooterra_protocol::time::MonoNanos;
use open::{Climb, swept};

pub use exchange::{Action, Inputs, Outcome};
use std::sync::Arc;
use std::time::Duration;

/// The longest time between two ticks; beyond it the loop was not running, and stops.
pub const MAX_TICK_GAP: Duration = Duration::from_millis(250);

/// What counts as the time since the last tick when there was none.
const FIRST_STEP_S: f64 = 0.01;

/// The fastest way back from beyond an edge, m/s: slow enough to walk away from, and to notice
/// within a hand's breadth that the pose was wrong.
pub const CRAWL_MPS: f64 = 0.1;

/// Turns wishes into setpoints that hold the policy it was made from.
#[derive(Debug)]
pub struct Gate {
    battery: Option<BatteryReserve>,
    command_age: Duration,
    conditions: Conditions,
    curtain: Option<Curtain>,
    emergency_stop: Latch,
    endurance: Endurance,
    journal_age: Duration,
    /// A stop of what flies that lasts longer ends on the ground.
    land_after: Option<Duration>,
    /// Last setpoint; `None` after a stop, when only the measurement says how the robot moves.
    last: Option<Axes>,
    /// How it speeded up in the last tick, m/s².
    last_accel_mps2: f64,
    laws: Arc<Laws>,
    margin_m: f64,
    memory: Memory,
    mode: Option<u8>,
    odometry_age: Duration,
    /// A slowly sinking maximum of the time between ticks, seconds.
    period_s: f64,
    previous: Option<MonoNanos>,
    proximity: Option<Keeper>,
    robot: Arc<RobotId>,
    stop: StopProfile,
    stopped_since: Option<MonoNanos>,
    veto: Latch,
    zone_ids: Vec<ZoneId>,
    zones: ZoneMap,
}

/// What is the same for every rule of a tick.
struct Tick<'a> {
    charge: &'a Charge,
    inputs: &'a Inputs,
    law: &'a Law,
    /// What is known of time and height; `None` where every zone is always in force.
    moment: Option<Moment>,
    /// How the robot moves, in the frame of its law's setpoints.
    moving: Planar,
    step_s: f64,
}

impl Gate {
    /// A gate that holds `policy`. Allocates all that it will ever need.
    #[must_use]
    pub fn new(policy: &VerifiedPolicy) -> Self {
        let document = policy.document();
        let millis = |ms: u32| Duration::from_millis(u64::from(ms));
        let land_after = match &document.vehicle {
            Vehicle::Multirotor(flight) => flight.land_after_s.map(Duration::from_secs_f64),
            _ => None,
        };
        Self {
            battery: document.battery,
            command_age: millis(document.freshness.command_ms),
            conditions: policy.conditions().clone(),
            curtain: policy.curtain().cloned(),
            emergency_stop: Latch::new(document.latches.emergency_stop),
            endurance: Endurance::new(document.motion),
            journal_age: millis(document.freshness.journal_ms),
            land_after,
            last: None,
            last_accel_mps2: 0.0,
            laws: Arc::new(Laws::new(document)),
            margin_m: document.footprint.margin_m,
            memory: Memory::new(),
            mode: None,
            odometry_age: millis(document.freshness.odometry_ms),
            period_s: 0.0,
            previous: None,
            proximity: document.proximity.map(Keeper::new),
            robot: Arc::new(document.robot.clone()),
            stop: document.stop,
            stopped_since: None,
            veto: Latch::new(document.latches.veto),
            zone_ids: policy.zone_ids().to_vec(),
            zones: policy.zones().clone(),
        }
    }

    /// Judges one tick.
    pub fn tick(&mut self, inputs: &Inputs) -> Outcome {
        // Filled in place: it is large, for every rule has room in it.
        let mut outcome = Outcome {
            action: Action::Stop(self.stop),
            allowed: Command::Drive(Twist::ZERO),
            asked: Command::Drive(Twist::ZERO),
            limit_mps: 0.0,
            privacy: Privacy { allowed: Sensors::NONE, keep_s: None },
            source: Source::Idle,
            verdicts: Verdicts::none(),
        };
        self.judge(inputs, &mut outcome);
        outcome
    }

    fn judge(&mut self, inputs: &Inputs, outcome: &mut Outcome) {
        let rests = self.rests(inputs);
        let Wishes { acknowledged, .. } = inputs.wishes;
        let stopped = self.emergency_stop.holds(
            inputs.wishes.emergency_stop,
            acknowledged,
            rests,
            inputs.now,
        );
        let vetoed = self.veto.holds(inputs.wishes.veto, acknowledged, rests, inputs.now);
        let charge =
            arbitrate(&inputs.wishes, &inputs.grants, stopped, inputs.now, self.command_age);
        let verdicts = &mut outcome.verdicts;
        let step_s = self.step(inputs.now, verdicts);
        if inputs.mode != self.mode {
            // The ramps of the new mode begin at what is measured.
            self.mode = inputs.mode;
            self.last = None;
        }
        let laws = Arc::clone(&self.laws);
        let law = laws.in_mode(inputs.mode);
        if vetoed {
            verdicts.note(Rule::Veto, 0.0, None);
        }
        self.note_stops(inputs, &charge, law, verdicts);
        outcome.source = charge.source();
        outcome.asked = charge.asked().unwrap_or_else(|| law.command(&Axes::ZERO));
        let wish = match &charge {
            Charge::Fresh(_, wish) => law.axes(&wish.command),
            _ => Some(Axes::ZERO),
        };
        if wish.is_none() {
            verdicts.note(Rule::CommandKind, 0.0, None);
        }
        let moment = self.moment(inputs, law);
        outcome.privacy = self.privacy(inputs, &moment);
        let moment = moment.filter(|_| !self.conditions.is_empty());
        if let Some(moment) = &moment {
            self.zones.select(self.conditions.in_force(moment));
            if self.zones.is_closed() && self.conditions.ways_in(moment) == WaysIn::NONE {
                verdicts.note(Rule::ZoneClosed, 0.0, self.zones.first_keep_in());
            }
        }
        self.look_around(inputs, law, step_s);
        outcome.limit_mps = limit_at(&self.zones, inputs.pose.value, &self.unsure(inputs), law);
        let (Some(wish), true) = (wish, verdicts.is_empty()) else {
            self.halt(inputs, law, outcome);
            return;
        };
        let moving = in_frame_of(law, inputs);
        let tick = Tick { charge: &charge, inputs, law, moment, moving, step_s };
        let allowed = self.setpoint(&tick, wish, verdicts);
        // As it was asked, down to the signs of its zeros.
        let allowed = if allowed == wish { wish } else { allowed };
        // What fails here is a fault in this crate; the robot must not pay for it. A mode that
        // has just begun may still be on its way down to its own limits.
        if !laws.widest.holds_speed(&allowed) {
            let limits = law.limits();
            let (rule, limit) = if allowed.is_finite() {
                (Rule::SpeedLinear, limits.max_linear_mps)
            } else {
                (Rule::InputNan, 0.0)
            };
            verdicts.note(rule, limit, None);
            self.halt(inputs, law, outcome);
            return;
        }
        self.keep(inputs.now, allowed, law, step_s);
        outcome.allowed = law.command(&allowed);
        outcome.action =
            Action::Write(Gated::new(outcome.allowed, Arc::clone(&self.robot), inputs.tick));
    }

    /// What it allowed last did not come to pass: the robot was stopped past it, or did not take
    /// it. The next ramps begin at what is measured, as after a stop of its own.
    pub const fn interrupted(&mut self) {
        self.last = None;
        self.last_accel_mps2 = 0.0;
    }

    /// The name of a zone that a verdict gives by number.
    #[must_use]
    pub fn zone_id(&self, zone: u16) -> Option<&ZoneId> {
        self.zone_ids.get(usize::from(zone))
    }

    /// Told to stand, and measured to stand.
    fn rests(&self, inputs: &Inputs) -> bool {
        let law = self.laws.in_mode(inputs.mode);
        let told = self.last.is_none_or(|axes| law.is_rest(&axes));
        let joints = inputs.joints.as_ref().map(|joints| joints.value.velocity);
        let joints_rest =
            joints.is_none_or(|joints| joints.as_slice().iter().all(|v| v.abs() < DOUBT.angular));
        let climb = inputs.flying.map_or(0.0, |flying| flying.value.climb_mps);
        told && is_still(inputs.twist.value) && joints_rest && climb.abs() < CLIMB_DOUBT_MPS
    }

    /// The seconds since the last tick; a clock that jumped is noted and forgets the past.
    fn step(&mut self, now: MonoNanos, verdicts: &mut Verdicts) -> f64 {
        let before = self.previous.replace(now);
        let Some(before) = before else {
            return FIRST_STEP_S;
        };
        match now.since(before) {
            Some(gap) if !gap.is_zero() && gap <= MAX_TICK_GAP => {
                let step_s = gap.as_secs_f64();
                self.period_s = step_s.max(self.period_s * 0.95);
                step_s
            }
            _ => {
                verdicts.note(Rule::ClockJump, MAX_TICK_GAP.as_secs_f64(), None);
                self.memory.clear();
                FIRST_STEP_S
            }
        }
    }

    fn note_stops(&self, inputs: &Inputs, charge: &Charge, law: &Law, verdicts: &mut Verdicts) {
        if *charge == Charge::EmergencyStop {
            verdicts.note(Rule::EmergencyStop, 0.0, None);
        }
        // Of whoever may not ask, not even a number that is none changes anything.
        let denied = matches!(charge, Charge::Denied(..));
        if !denied && charge.asked().is_some_and(|command| !command.is_finite()) {
            verdicts.note(Rule::InputNan, 0.0, None);
        }
        let fresh = |at| age(at, inputs.now).is_some_and(|age| age <= self.odometry_age);
        let (mut believed, mut recent);
        if let Some(arm) = law.arm() {
            match &inputs.joints {
                Some(joints) => {
                    let JointStates { effort, position, velocity } = &joints.value;
                    let all = [effort, position, velocity].map(|values| values.as_slice());
                    believed = all.iter().all(|values| {
                        values.len() == arm.count() && values.iter().all(|v| v.is_finite())
                    });
                    recent = fresh(joints.at);
                    if let Some(breach) = arm.overload(effort.as_slice()) {
                        verdicts.note(breach.rule, breach.limit, None);
                    }
                }
                None => (believed, recent) = (true, false),
            }
        } else {
            believed = is_believable(inputs.pose.value, inputs.twist.value);
            recent = fresh(inputs.pose.at) && fresh(inputs.twist.at);
        }
        if let Some(band) = law.band() {
            match &inputs.flying {
                Some(flying) => {
                    let Flying { above_ground_m, above_takeoff_m, climb_mps, tilt_rad } =
                        flying.value;
                    let numbers =
                        [above_ground_m.unwrap_or(0.0), above_takeoff_m, climb_mps, tilt_rad];
                    believed &= numbers.iter().all(|number| number.is_finite());
                    recent &= fresh(flying.at);
                    if tilt_rad.abs() > band.max_tilt_rad {
                        verdicts.note(Rule::Tilt, band.max_tilt_rad, None);
                    }
                }
                None => recent = false,
            }
        }
        if !believed {
            verdicts.note(Rule::InputNan, 0.0, None);
        }
        if !recent {
            verdicts.note(Rule::InputStale, self.odometry_age.as_secs_f64() * 1e3, None);
        }
        if !is_known(inputs) {
            verdicts.note(Rule::InputUncertain, MAX_UNCERTAINTY_M, None);
        }
        if inputs.journal_age > self.journal_age {
            verdicts.note(Rule::JournalBehind, self.journal_age.as_secs_f64() * 1e3, None);
        }
    }

    fn halt(&mut self, inputs: &Inputs, law: &Law, outcome: &mut Outcome) {
        self.last = None;
        self.last_accel_mps2 = 0.0;
        self.endurance.note(inputs.now, is_still(inputs.twist.value));
        let moving = if inputs.twist.value.is_finite() && inputs.pose.value.is_finite() {
            seed(law, inputs, in_frame_of(law, inputs))
        } else {
            Axes::ZERO
        };
        self.memory.note(inputs.now, moving);
        let since = *self.stopped_since.get_or_insert(inputs.now);
        let lasted = inputs.now.since(since).unwrap_or_default();
        let land = self.land_after.is_some_and(|after| lasted >= after);
        outcome.action = Action::Stop(if land { StopProfile::Land } else { self.stop });
        outcome.allowed = law.command(&Axes::ZERO);
    }

    /// Remembers what is written.
    fn keep(&mut self, now: MonoNanos, allowed: Axes, law: &Law, step_s: f64) {
        let before = self.last.map_or(0.0, |last| law.planar(&last).speed());
        self.last_accel_mps2 = ((law.planar(&allowed).speed() - before) / step_s).max(0.0);
        self.last = Some(allowed);
        self.memory.note(now, allowed);
        self.endurance.note(now, law.is_rest(&allowed));
        self.stopped_since = None;
    }

    /// The wish of the source in charge, held to every rule in turn.
    fn setpoint(&mut self, tick: &Tick<'_>, wish: Axes, verdicts: &mut Verdicts) -> Axes {
        let Tick { charge, inputs, law, moving, step_s, .. } = *tick;
        match charge {
            Charge::Stale(..) => {
                verdicts.note(Rule::SourceStale, self.command_age.as_secs_f64() * 1e3, None);
            }
            Charge::Denied(..) => verdicts.note(Rule::Grant, 0.0, None),
            Charge::EmergencyStop | Charge::Fresh(..) | Charge::Idle => {}
        }
        let mut target = law.limit_speed(&wish, verdicts);
        let (here, unsure) = (inputs.pose.value, self.unsure(inputs));
        let last = self.last.unwrap_or_else(|| seed(law, inputs, moving));
        // The next tick may take twice as long as the slowest of the last ones.
        let hold_s = 2.0 * self.period_s.max(step_s);
        if let Some(moment) = &tick.moment {
            let brake = law.brake(&last, step_s);
            // Where braking leads out of all that is open, nothing is.
            let least = swept(moment, law, [&brake, &brake], hold_s);
            self.zones.select(self.conditions.in_force(&least));
            if self.zones.is_closed() {
                let held = self.inward(tick, moment, [&brake, &target], hold_s);
                if held != target {
                    verdicts.note(Rule::ZoneClosed, 0.0, self.zones.first_keep_in());
                    target = held;
                }
            }
            // It slows down for a zone that it will climb or sink into.
            let ahead = swept(moment, law, [&target, &last], hold_s);
            self.zones.select(self.conditions.in_force(&ahead));
        }
        if let Some((limit, zone)) = self.zones.speed_limit(here, &unsure) {
            let by = Breach { limit, rule: Rule::ZoneSpeed, zone: Some(zone) };
            target = slowed(law, target, limit, by, verdicts);
        }
        target = self.spare(tick, target, verdicts);
        let step =
            Step { accel_mps2: accel_mps2(self.last_accel_mps2, law, step_s), seconds: step_s };
        let noted = verdicts.len();
        let mut ramped = law.ramp(&last, &target, step, verdicts);
        if self.leads_over_open_ground(tick, [&last, &ramped], hold_s, &unsure)
            && law.breach(&ramped).is_none()
        {
            return ramped;
        }
        let brake = law.brake(&last, step_s);
        let measured = measured(inputs, law, moving);
        let ahead = Ahead::new(&measured, &self.memory, law);
        if let Some(moment) = &tick.moment {
            let least = swept(moment, law, [&brake, &brake], hold_s);
            self.zones.select(self.conditions.in_force(&least));
        }
        let reach_m = way_m(law, law.planar(&last), hold_s, step_s);
        let near = self.zones.near(ahead.start, reach_m, &unsure);
        let mut standing = self.zones.standing_in(&near, &unsure);
        let mut worst = standing.worst();
        // What stands still is there already.
        if worst.is_none() && here != ahead.start {
            worst = self.zones.standing(here, &unsure).worst();
        }
        if let Some(edge) = worst {
            // It is ramped again, to what is slower.
            verdicts.keep_first(noted);
            let limit = self.zones.clearance_m(edge.rule, edge.zone, here, &unsure);
            let by = Breach { limit, rule: edge.rule, zone: Some(edge.zone) };
            target = slowed(law, target, CRAWL_MPS, by, verdicts);
            if tick.is_fast(&brake) && target.0[2].abs() > 0.0 {
                verdicts.note(by.rule, by.limit, by.zone);
                target.0[2] = 0.0;
            }
            ramped = law.ramp(&last, &target, step, verdicts);
        }
        if let Some(moment) = &tick.moment {
            let climb = Climb { ahead: &ahead, brake: &brake, hold_s, law, moment, unsure };
            (ramped, standing) = self.hold_height(&climb, ramped, verdicts);
        }
        let reach_m = ahead.reach_m(law, [&brake, &ramped], hold_s);
        let wider;
        let near = if near.serves(&self.zones, reach_m) {
            &near
        } else {
            wider = self.zones.near(ahead.start, reach_m, &unsure);
            &wider
        };
        let place = Place { standing: &standing, unsure, zones: &self.zones };
        let judge = Judge::new(law, place, &ahead, near, hold_s);
        let (axes, broken) = judge.nearest(&brake, &ramped);
        // What was at rest anyway was not held back, though the measured motion leads out.
        if let Some(breach) = broken.filter(|_| axes != ramped) {
            let limit = match (breach.rule, breach.zone) {
                (Rule::ZoneSpeed, Some(zone)) => self.zones.speed_limit_of(zone),
                (rule, Some(zone)) => self.zones.clearance_near(rule, zone, here, near, &unsure),
                (_, None) => breach.limit,
            };
            verdicts.note(breach.rule, limit, breach.zone);
        }
        axes
    }

    /// Finds out whether all that this tick can lead to is open ground: then no rule about zones
    /// has to look at any.
    fn look_around(&mut self, inputs: &Inputs, law: &Law, step_s: f64) {
        let told = self.last.map_or(Planar::ZERO, |last| law.planar(&last));
        let reaction_s = f64::from(law.limits().reaction_ms) / 1e3;
        let held_s = reaction_s + 4.0 * self.period_s.max(step_s);
        let way_m = [told, inputs.twist.value].map(|twist| way_m(law, twist, held_s, step_s));
        let way_m = way_m[0].max(way_m[1]);
        let unsure = self.unsure(inputs).unsure();
        let body = self.zones.body();
        let radius_m = way_m + body.circle_m() + unsure.at(way_m + body.arm_m());
        self.zones.look_around(inputs.pose.value.point(), radius_m);
    }

    /// Wherever the robot is when a new setpoint takes effect, neither the last one nor this one,
    /// held and then braked, leads out of what is known to be open: what the rules about zones
    /// would find is known without them. Never known of what flies or has joints, nor where
    /// the robot does not do as it was told.
    fn leads_over_open_ground(
        &self,
        tick: &Tick<'_>,
        candidates: [&Axes; 2],
        hold_s: f64,
        unsure: &Uncertainty,
    ) -> bool {
        let Tick { inputs, law, moving, .. } = *tick;
        if tick.moment.is_some() || law.arm().is_some() || law.band().is_some() {
            return false;
        }
        let times = [inputs.pose.at, inputs.now];
        let Some(drift_m) = drift_m(moving, times, &self.memory, law) else {
            return false;
        };
        // As `Ahead::reach_m`: what is braked goes no faster and brakes no longer.
        let twists = candidates.map(|axes| law.planar(axes));
        let [speeds, brakes_s] =
            [twists.map(Planar::speed), twists.map(|twist| law.brake_seconds(twist))];
        let (speed, brake_s) = (larger(speeds[0], speeds[1]), larger(brakes_s[0], brakes_s[1]));
        let reach_m = speed * (hold_s + brake_s / 2.0);
        let (body, unsure) = (self.zones.body(), unsure.unsure());
        let circle_m = body.circle_m() + unsure.at(reach_m + body.arm_m());
        let way_m = drift_m + reach_m + ROUNDING_M;
        self.zones.is_open(inputs.pose.value.point(), way_m + circle_m)
    }

    /// What is not known of the pose, beyond the margin that the document gives for it.
    fn unsure(&self, inputs: &Inputs) -> Uncertainty {
        Uncertainty {
            place_m: (SIGMAS * inputs.pose_sigma_m - self.margin_m).max(0.0),
            yaw_rad: SIGMAS * inputs.yaw_sigma_rad,
        }
    }

    /// Holds a target to what stands in the way, to the battery, and to the time in motion.
    fn spare(&mut self, tick: &Tick<'_>, mut target: Axes, verdicts: &mut Verdicts) -> Axes {
        let Tick { inputs, law, step_s, .. } = *tick;
        let yaw = inputs.pose.value.yaw;
        if let Some(keeper) = &mut self.proximity {
            let reaction_s = f64::from(law.limits().reaction_ms) / 1e3;
            let reactions = Reactions {
                decel_mps2: law.limits().max_decel_mps2,
                radius_m: self.zones.radius_m(),
                reaction_s: reaction_s + 2.0 * self.period_s.max(step_s),
            };
            let course = if law.is_body_frame() {
                law.planar(&target)
            } else {
                turned(law.planar(&target), -yaw)
            };
            let seen = inputs.surroundings.as_ref();
            let doing = self.last.map_or(course, |last| match law.planar(&last) {
                planar if law.is_body_frame() => planar,
                planar => turned(planar, -yaw),
            });
            let courses = [doing, course];
            if let Some(allowed) = keeper.allow(seen, courses, inputs.now, &reactions) {
                let by = Breach::of(allowed.rule, allowed.limit);
                target = slowed(law, target, allowed.speed_mps, by, verdicts);
            }
        }
        if let Some(reserve) = &self.battery {
            let home = [reserve.home.x - inputs.pose.value.x, reserve.home.y - inputs.pose.value.y];
            let needed = reserve.reserve + reserve.fraction_per_m * home[0].hypot(home[1]);
            let velocity = match law.planar(&target) {
                planar if law.is_body_frame() => turned(planar, yaw),
                planar => planar,
            };
            let away = velocity.x * home[0] + velocity.y * home[1] <= 0.0;
            // A charge that is no number, or is not told, is none.
            let enough = inputs.battery.is_some_and(|fraction| fraction >= needed);
            if !enough && away && velocity.speed() > 0.0 {
                verdicts.note(Rule::BatteryReserve, needed, None);
                target = law.on_the_spot(&target);
            }
        }
        if let Some(limit_s) = self.endurance.exhausted(inputs.now)
            && !law.is_rest(&target)
        {
            verdicts.note(Rule::MotionDuration, limit_s, None);
            target = law.slowed(&target, 0.0);
        }
        target
    }
}

/// Speeding up in this tick, m/s², after what it was in the last.
fn accel_mps2(last: f64, law: &Law, step_s: f64) -> f64 {
    let limits = law.limits();
    limits.max_linear_jerk_mps3.map_or(limits.max_linear_accel_mps2, |jerk| {
        (last + jerk * step_s).min(limits.max_linear_accel_mps2)
    })
}

/// How far a motion may lead that this tick makes of one, held and then braked, metres; what it
/// is compared with says whether that was enough.
fn way_m(law: &Law, twist: Planar, held_s: f64, step_s: f64) -> f64 {
    let speed = twist.speed() + law.limits().max_linear_accel_mps2 * step_s;
    speed * (held_s + (law.brake_seconds(twist) + 4.0 * step_s) / 2.0)
}

fn limit_at(zones: &ZoneMap, pose: Pose, unsure: &Uncertainty, law: &Law) -> f64 {
    if !pose.is_finite() {
        return 0.0;
    }
    let zone = zones.speed_limit(pose, unsure).map_or(f64::INFINITY, |(limit, _)| limit);
    zone.min(law.limits().max_linear_mps)
}

/// At most so fast on the same path, with a verdict where that changes it.
fn slowed(law: &Law, target: Axes, speed_mps: f64, by: Breach, verdicts: &mut Verdicts) -> Axes {
    let (held, changed) = law.at_most(&target, speed_mps);
    if changed {
        verdicts.note(by.rule, by.limit, by.zone);
    }
    held
}
