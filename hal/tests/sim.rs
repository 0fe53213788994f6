//! The simulated base against what it claims, driven through a gate as everything is.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "sim")]

mod common;

use common::{close, document, rectangle, robot, verified};
use nooterra_hal::conformance;
use nooterra_hal::sim::config::{BatteryConfig, DockConfig};
use nooterra_hal::sim::{ConfigError, SimBase, SimConfig, WRITE_WATCHDOG};
use nooterra_hal::{HalError, Robot};
use nooterra_policy::{Action, Gate, Gated, Grants, Inputs, VerifiedPolicy, Wish, Wishes};
use nooterra_protocol::command::{Command, StopProfile};
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::ids::{RobotId, ZoneId};
use nooterra_protocol::observation::{Observation, Timed};
use nooterra_protocol::policy::{PolicyDocument, Zone, ZoneRule};
use nooterra_protocol::time::MonoNanos;
use proptest::prelude::{any, prop, prop_assert, proptest};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(20);

/// The hall of 12 by 8 m, with the dock in a corner.
fn hall() -> SimConfig {
    let mut config = SimConfig::room(rectangle((0.0, 0.0), (12.0, 8.0)), Pose::default());
    config.start = None;
    let pose = Pose { x: 1.0, y: 1.0, yaw: 0.0 };
    config.dock = Some(DockConfig { pose, reach_m: 0.15 });
    config
}

fn hall_from(x: f64, y: f64, yaw: f64) -> SimConfig {
    SimConfig { start: Some(Pose { x, y, yaw }), ..hall() }
}

fn policy(zones: Vec<Zone>) -> VerifiedPolicy {
    verified(PolicyDocument { zones, ..document() })
}

/// A base with its gate and its clock.
struct Drive {
    base: SimBase,
    gate: Gate,
    now: MonoNanos,
    tick: u64,
}

impl Drive {
    fn new(config: SimConfig, zones: Vec<Zone>) -> Self {
        let base = SimBase::new(robot(), config, 1).unwrap();
        Self { base, gate: Gate::new(&policy(zones)), now: MonoNanos(1_000_000_000), tick: 0 }
    }

    fn gated(&mut self, wish: Twist) -> Gated<Command> {
        self.now = self.now.plus(STEP);
        self.tick += 1;
        let seen = self.base.read(self.now).unwrap();
        let until = self.now.plus(STEP);
        let twist = Timed { at: seen.twist.at, value: seen.twist.value.into() };
        let wish = Wish { at: self.now, command: wish.into(), until };
        let outcome = self.gate.tick(&Inputs {
            grants: Grants::ALL,
            wishes: Wishes { skill: Some(wish), ..Wishes::default() },
            ..Inputs::new(self.tick, self.now, seen.pose, twist)
        });
        match outcome.action {
            Action::Write(gated) => gated,
            Action::Stop(_) => panic!("{:?}", outcome.verdicts),
        }
    }

    fn tick(&mut self, wish: Twist) {
        let gated = self.gated(wish);
        self.base.write(self.now, self.tick, gated).unwrap();
    }

    fn run(&mut self, seconds: f64, wish: Twist) {
        let end = self.now.plus(Duration::from_secs_f64(seconds));
        while self.now < end {
            self.tick(wish);
        }
    }

    /// Lets time pass without a write.
    fn wait(&mut self, span: Duration) -> Observation {
        self.now = self.now.plus(span);
        self.base.read(self.now).unwrap()
    }
}

#[test]
fn it_drives_as_far_as_speed_and_time_say() {
    let mut drive = Drive::new(hall_from(1.0, 4.0, 0.0), vec![]);
    drive.run(10.0, Twist::new(0.5, 0.0));
    let seen = drive.wait(Duration::from_millis(100));
    // 0.5 m/s for 10 s, less the ramp (v²/2a = 0.208 m); delay and wait are 40 and 100 ms.
    close(drive.base.truth().x, 1.0 + 5.0 - 0.208 + 0.03, 0.03);
    close(drive.base.truth().y, 4.0, 1e-3);
    close(seen.twist.value.linear, 0.5, 0.006);
}

#[test]
fn it_turns_as_far_as_rate_and_time_say_and_bends_its_path() {
    let mut drive = Drive::new(hall_from(3.0, 3.0, 0.0), vec![]);
    drive.run(2.0, Twist::new(0.0, 1.0));
    // Less the ramp (ω²/2α = 0.125 rad) and the delay.
    close(drive.base.truth().yaw, 2.0 - 0.125 - 0.04, 0.03);
    close(drive.base.truth().point().distance(Point::new(3.0, 3.0)), 0.0, 1e-3);
    let mut drive = Drive::new(hall_from(3.0, 3.0, 0.0), vec![]);
    drive.run(2.0, Twist::new(0.4, 0.4));
    // Half a turn later it is across the circle, of 1 m radius.
    let before = drive.base.truth().point();
    drive.run(std::f64::consts::PI / 0.4, Twist::new(0.4, 0.4));
    close(drive.base.truth().point().distance(before), 2.0, 0.01);
}

#[test]
fn silence_beyond_the_watchdog_brings_it_to_rest() {
    let mut drive = Drive::new(hall_from(1.0, 4.0, 0.0), vec![]);
    drive.run(3.0, Twist::new(0.8, 0.0));
    drive.wait(WRITE_WATCHDOG);
    assert!(!drive.base.is_watchdog_tripped());
    close(drive.base.truth_twist().linear, 0.8, 0.01);
    drive.wait(Duration::from_millis(10));
    assert!(drive.base.is_watchdog_tripped());
    drive.wait(Duration::from_secs(1));
    assert_eq!(drive.base.truth_twist(), Twist::ZERO);
    drive.gate = Gate::new(&policy(vec![]));
    drive.run(1.0, Twist::new(0.2, 0.0));
    assert!(!drive.base.is_watchdog_tripped());
    close(drive.base.truth_twist().linear, 0.2, 0.01);
}

#[test]
fn a_write_takes_effect_after_the_reaction_time_and_no_sooner() {
    let mut drive = Drive::new(hall_from(1.0, 4.0, 0.0), vec![]);
    drive.tick(Twist::new(0.5, 0.0));
    drive.wait(Duration::from_millis(35));
    assert_eq!(drive.base.truth_twist(), Twist::ZERO);
    drive.wait(Duration::from_millis(10));
    assert!(drive.base.truth_twist().linear > 0.0);
}

#[test]
fn a_wall_and_an_obstacle_stop_it() {
    for obstacles in [vec![], vec![rectangle((10.0, 3.0), (11.0, 5.0))]] {
        let face = if obstacles.is_empty() { 12.0 } else { 10.0 };
        let mut drive = Drive::new(SimConfig { obstacles, ..hall_from(8.0, 4.0, 0.0) }, vec![]);
        drive.run(10.0, Twist::new(0.8, 0.0));
        close(drive.base.truth().x, face - 0.25, 0.02);
        close(drive.base.truth_twist().linear, 0.0, 0.05);
    }
}

#[test]
fn the_same_seed_and_the_same_calls_are_the_same_run() {
    let run = |seed| {
        let mut drive = Drive::new(hall_from(1.0, 4.0, 0.3), vec![]);
        drive.base = SimBase::new(robot(), hall_from(1.0, 4.0, 0.3), seed).unwrap();
        let mut seen = Vec::new();
        for turn in 0_u32..300 {
            drive.tick(Twist::new(0.6, (f64::from(turn) / 20.0).sin()));
            seen.push(drive.wait(Duration::ZERO));
        }
        (drive.base.truth(), seen)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).1, run(6).1);
}

#[test]
fn a_beam_reads_the_distance_to_the_wall_or_to_what_stands_before_it() {
    let mut config = hall_from(3.0, 4.0, 0.0);
    config.obstacles = vec![rectangle((5.0, 3.5), (6.0, 4.5))];
    let mut drive = Drive::new(config, vec![]);
    let scan = drive.wait(Duration::ZERO).scan.unwrap().value;
    assert_eq!(scan.ranges.len(), 90);
    // The beams point backward first, then right, ahead and left, 4° apart.
    close(f64::from(scan.ranges[0]), 3.0, 0.011);
    close(f64::from(scan.ranges[45]), 2.0, 0.011);
    let right = (22.0 * 4.0 - 90.0_f64).to_radians();
    close(f64::from(scan.ranges[22]), 4.0 / right.cos(), 0.011);
    let later = drive.wait(Duration::from_millis(150)).scan.unwrap();
    assert_eq!(later.at, MonoNanos(1_100_000_000), "ten scans per second");
}

#[test]
fn a_command_for_another_robot_or_tick_is_refused_and_moves_nothing() {
    let mut drive = Drive::new(hall_from(3.0, 4.0, 0.0), vec![]);
    let wish = Twist::new(0.5, 0.0);
    let gated = drive.gated(wish);
    let wrong = drive.base.write(drive.now, drive.tick + 1, gated);
    assert!(matches!(wrong, Err(HalError::Gated(_))));
    drive.tick(wish);
    drive.tick -= 1;
    let gated = drive.gated(wish);
    let again = drive.base.write(drive.now, drive.tick, gated);
    assert!(matches!(again, Err(HalError::Tick { found: 2, last: 2 })), "{again:?}");
    let other = RobotId::new("sim-2").unwrap();
    let mut stranger = SimBase::new(other, hall(), 1).unwrap();
    let gated = drive.gated(wish);
    let refused = stranger.write(drive.now, drive.tick, gated);
    assert!(matches!(refused, Err(HalError::Gated(_))));
    stranger.read(drive.now.plus(Duration::from_millis(200))).unwrap();
    assert_eq!(stranger.truth_twist(), Twist::ZERO);
}

#[test]
fn time_that_goes_back_is_refused_and_a_stop_counts_all_the_same() {
    let mut drive = Drive::new(hall_from(1.0, 4.0, 0.0), vec![]);
    drive.run(3.0, Twist::new(0.8, 0.0));
    let earlier = MonoNanos(drive.now.0 - 1);
    assert!(matches!(drive.base.read(earlier), Err(HalError::Clock(1))));
    assert!(drive.base.stop(earlier, StopProfile::ControlledHold).is_err());
    // 40 ms of delay and 0.8 / 1.5 s of braking.
    drive.wait(Duration::from_millis(600));
    assert_eq!(drive.base.truth_twist(), Twist::ZERO);
    assert!(!drive.base.is_watchdog_tripped());
}

#[test]
fn the_button_takes_the_power_and_releasing_it_moves_nothing() {
    let mut drive = Drive::new(hall_from(1.0, 4.0, 0.0), vec![]);
    drive.run(3.0, Twist::new(0.8, 0.0));
    drive.base.press_emergency_stop(true);
    assert!(drive.wait(Duration::from_millis(1_100)).emergency_stop);
    assert_eq!(drive.base.truth_twist(), Twist::ZERO);
    drive.base.press_emergency_stop(false);
    assert!(!drive.wait(Duration::from_secs(1)).emergency_stop);
    assert_eq!(drive.base.truth_twist(), Twist::ZERO);
}

#[test]
fn the_battery_charges_on_the_dock_drains_off_it_and_ends_the_drive() {
    let mut config = hall();
    config.battery = BatteryConfig { capacity_wh: 1.0, start_fraction: 0.5, ..config.battery };
    let mut drive = Drive::new(config, vec![]);
    let docked = drive.wait(Duration::ZERO);
    assert!(docked.docked && docked.battery.unwrap().value.charging);
    let charged = drive.wait(Duration::from_secs(5)).battery.unwrap().value.fraction;
    assert!(charged > 0.7, "{charged}");
    drive.gate = Gate::new(&policy(vec![]));
    drive.run(5.0, Twist::new(0.8, 0.0));
    let seen = drive.wait(Duration::ZERO);
    assert!(!seen.docked && !seen.battery.unwrap().value.charging);
    assert!(seen.battery.unwrap().value.fraction < charged);
    drive.wait(Duration::from_secs(3_600));
    close(drive.wait(Duration::ZERO).battery.unwrap().value.fraction, 0.0, 1e-12);
    drive.gate = Gate::new(&policy(vec![]));
    drive.run(1.0, Twist::new(0.8, 0.0));
    assert_eq!(drive.base.truth_twist(), Twist::ZERO);
}

#[test]
fn measured_and_true_pose_differ_by_no_more_than_stated() {
    let mut drive = Drive::new(hall_from(3.0, 4.0, 1.0), vec![]);
    for _ in 0..500 {
        let seen = drive.wait(STEP).pose.value;
        let truth = drive.base.truth();
        assert!(seen.point().distance(truth.point()) <= 0.004 + 1e-9);
        assert!((seen.yaw - truth.yaw).abs() <= 0.003 + 1e-9);
    }
}

#[test]
fn with_the_gate_before_it_the_true_footprint_stays_out_of_the_island() {
    let island = rectangle((4.0, 2.6), (7.5, 5.0));
    let zone = |id: &str, polygon, rule| Zone::new(ZoneId::new(id).unwrap(), polygon, rule);
    let zones = vec![
        zone("room", rectangle((0.0, 0.0), (12.0, 8.0)), ZoneRule::KeepIn),
        zone("island", island.clone(), ZoneRule::KeepOut),
    ];
    let edge = nooterra_policy::polygon::Polygon::new(&island).unwrap();
    for (x, y, yaw, turn) in
        [(1.0, 3.8, 0.0, 0.0), (10.5, 6.5, -2.6, 0.05), (2.0, 6.8, -0.8, 0.0), (6.0, 1.2, 1.2, 0.3)]
    {
        let mut drive = Drive::new(hall_from(x, y, yaw), zones.clone());
        for _ in 0..750 {
            drive.tick(Twist::new(1.5, turn));
            let truth = drive.base.truth();
            let (sin, cos) = truth.yaw.sin_cos();
            // The square's corners and the middles of its sides; the island's are blunt.
            for (ahead, aside) in (-1..=1).flat_map(|i| (-1..=1).map(move |j| (i, j))) {
                let (ahead, aside) = (0.2 * f64::from(ahead), 0.2 * f64::from(aside));
                let at = Point::new(
                    truth.x + ahead * cos - aside * sin,
                    truth.y + ahead * sin + aside * cos,
                );
                let clearance = edge.signed_distance(at);
                assert!(clearance > 0.0, "from ({x}, {y}): {clearance} m");
            }
        }
        assert!(drive.base.truth_twist().linear < 0.02, "at rest before the edge");
    }
}

#[test]
fn it_conforms_to_the_contract_of_drivers() {
    let mut base = SimBase::new(robot(), hall_from(3.0, 4.0, 0.0), 3).unwrap();
    conformance::check(&mut base, &policy(vec![]), MonoNanos(5), |_| ()).unwrap();
}

#[test]
fn a_room_that_makes_no_sense_is_refused_by_key() {
    let refusal = |change: fn(&mut SimConfig)| {
        let mut config = hall();
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    assert_eq!(hall().check(), Ok(()));
    assert!(refusal(|c| c.base.radius_m = f64::NAN).contains("`base.radius_m` is NaN"));
    assert!(refusal(|c| c.room.swap(0, 1)).starts_with("`room` is no polygon"));
    assert!(refusal(|c| c.dock = None).contains("`start` nor `dock`"));
    assert!(refusal(|c| c.obstacles = vec![vec![]]).contains("`obstacles[0]`"));
    assert!(refusal(|c| c.start = Some(Pose { x: 0.1, y: 4.0, yaw: 0.0 })).starts_with("`start`"));
    let error = SimBase::new(robot(), SimConfig { room: vec![], ..hall() }, 1).unwrap_err();
    assert!(matches!(error, ConfigError::Polygon { .. }));
}

#[test]
fn a_configuration_file_needs_only_the_room_and_refuses_unknown_keys() {
    let text = "room = [{x=0.0,y=0.0},{x=12.0,y=0.0},{x=12.0,y=8.0},{x=0.0,y=8.0}]\n\
                [dock]\npose = {x=1.0,y=1.0,yaw=0.0}\n";
    let config: SimConfig = toml::from_str(text).unwrap();
    assert_eq!(config, hall());
    let again: SimConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    let unknown = toml::from_str::<SimConfig>(&format!("{text}[lidar]\nbeam = 3\n"));
    assert!(unknown.unwrap_err().to_string().contains("beam"));
}

proptest! {
    #[test]
    fn no_numbers_in_a_configuration_make_it_panic(
        corners in prop::collection::vec(any::<(f64, f64)>(), 0..6),
        numbers in any::<[f64; 6]>(),
    ) {
        let mut config = hall();
        config.obstacles = vec![corners.into_iter().map(|(x, y)| Point::new(x, y)).collect()];
        config.base.radius_m = numbers[0];
        config.lidar.rate_hz = numbers[1];
        config.odometry.pose_noise_m = numbers[2];
        config.start = Some(Pose { x: numbers[3], y: numbers[4], yaw: numbers[5] });
        if let Ok(mut base) = SimBase::new(robot(), config, 1) {
            prop_assert!(base.read(MonoNanos(1)).is_ok());
        }
    }
}
