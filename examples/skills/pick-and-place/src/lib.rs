//! `pick_and_place`: takes things from the table one by one and puts them down elsewhere, with an
//! arm of two links, a lift and a gripper. `from` are the points of the things (1 to 16, `map`
//! frame), `to` as many points to put them; `speed` is of what the owner allows (0.05 to 1, default
//! 0.5). Of the arm: `upper_m` and `fore_m` (default 0.4 and 0.3), and `shoulder_rad` and
//! `elbow_rad`, how far the owner lets these turn to either side (default 2.6); heights over the
//! table: `lift_m` to travel at (default 0.15) and `grasp_m` to grasp at (default 0.01); `open_m`
//! how far the jaws open (default 0.08). The checkpoint `placed-N` tells that the Nth thing is where
//! it belongs.

use nooterra_skill::arm::{self, ArmSkill, Observation, Request, Scara};
use nooterra_skill::geometry::distance;
use nooterra_skill::types::{Point, Status};
use nooterra_skill::{Params, checkpoint, log, running, state};
use std::f64::consts::TAU;

/// Nearer than this a joint has arrived, radians or metres, and by this much it comes nearer.
const NEAR: f64 = 0.004;
const NEARER: f64 = 0.001;

/// Jaws that are no further open have nothing between them, metres.
const CLOSED_M: f64 = 0.008;

/// Closing jaws that move no more for so long have come to their end; so long without progress
/// anything is given up, nanoseconds.
const SETTLED_NS: u64 = 700_000_000;
const PATIENCE_NS: u64 = 10_000_000_000;

/// For each thing one after the other.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Rise,
    Over,
    Open,
    Down,
    Close,
    Lift,
    Carry,
    Lower,
    Release,
    Leave,
}

use Phase::*;

const PHASES: [Phase; 10] = [Rise, Over, Open, Down, Close, Lift, Carry, Lower, Release, Leave];

struct PickAndPlace {
    from: Vec<Point>,
    grasp_m: f64,
    lift_m: f64,
    /// What was left at the least, and when that was.
    nearest: Option<(f64, u64)>,
    open_m: f64,
    phase: usize,
    scara: Scara,
    speed: f64,
    thing: usize,
    to: Vec<Point>,
    tries: u64,
}

impl ArmSkill for PickAndPlace {
    fn init(_action: &str, params: &mut Params) -> Result<Self, String> {
        let from = params.points("from", 1..=16)?;
        let to = params.points("to", from.len()..=from.len())?;
        let open_m = params.number("open_m", 0.08, 0.01..=0.5)?;
        for (nth, place) in to.iter().enumerate() {
            // What is not taken yet, and what was put down before.
            let mut lies = from[nth + 1..].iter().chain(&to[..nth]);
            if lies.any(|at| distance(*at, *place) < open_m) {
                return Err(format!("at ({:.2}, {:.2}) something lies then", place.x, place.y));
            }
        }
        let mut turn = |name| params.number(name, 2.6, 0.1..=TAU);
        let turn = [turn("shoulder_rad")?, turn("elbow_rad")?];
        Ok(Self {
            to,
            from,
            grasp_m: params.number("grasp_m", 0.01, 0.0..=1.0)?,
            lift_m: params.number("lift_m", 0.15, 0.0..=1.0)?,
            nearest: None,
            open_m,
            phase: 0,
            scara: Scara {
                fore_m: params.number("fore_m", 0.3, 0.01..=5.0)?,
                max_position: turn,
                min_position: turn.map(|turn| -turn),
                upper_m: params.number("upper_m", 0.4, 0.01..=5.0)?,
            },
            speed: params.number("speed", 0.5, 0.05..=1.0)?,
            thing: 0,
            tries: 0,
        })
    }

    fn step(&mut self, seen: &Observation) -> (Request, Status) {
        self.next(seen).unwrap_or_else(arm::failed)
    }

    fn suspend(&self) -> Vec<u8> {
        let row = state::Writer::new(1).u64(self.thing as u64).u64(self.phase as u64);
        row.u64(self.tries).end()
    }

    fn resume(&mut self, state: &[u8]) -> Result<(), String> {
        let mut row = state::Reader::new(state, 1)?;
        (self.thing, self.phase) = (row.u64()? as usize, row.u64()? as usize);
        self.tries = row.u64()?;
        if self.thing >= self.from.len() || self.phase >= PHASES.len() {
            return Err("the state is of another job".to_owned());
        }
        row.end()
    }
}

impl PickAndPlace {
    fn next(&mut self, seen: &Observation) -> Result<(Request, Status), String> {
        let ([shoulder, elbow, _], Some(jaws)) = (joints(seen)?, seen.gripper) else {
            return Err("the arm has no gripper".to_owned());
        };
        // Of all things, before any is touched.
        let here = [shoulder, elbow];
        for &point in self.from.iter().chain(&self.to) {
            self.scara.joints_for(seen.pose, point, here)?;
        }
        let (phase, nth) = (PHASES[self.phase], self.thing + 1);
        // While they hold still, jaws that lost it stay as wide as it was.
        if matches!(phase, Lift | Carry | Lower) && !arm::is_holding(seen, CLOSED_M) {
            return Err(format!("thing {nth} was lost on the way"));
        }
        let place = |point, height| -> Result<_, String> {
            let [shoulder, elbow] = self.scara.joints_for(seen.pose, point, here)?;
            Ok([shoulder, elbow, height])
        };
        let (from, to) = (self.from[self.thing], self.to[self.thing]);
        let jaws_to = |opening: f64| (arm::grip(opening, self.speed), jaws.position - opening);
        let (request, left) = match phase {
            Open | Release => jaws_to(self.open_m),
            Close => jaws_to(0.0),
            Rise => self.way(seen, [shoulder, elbow, self.lift_m]),
            Over | Lift => self.way(seen, place(from, self.lift_m)?),
            Down => self.way(seen, place(from, self.grasp_m)?),
            Carry | Leave => self.way(seen, place(to, self.lift_m)?),
            Lower => self.way(seen, place(to, self.grasp_m)?),
        };
        let waited = self.waited(left.abs(), seen.at_nanos);
        // What is held lets the jaws no nearer; what only stops them, such as somebody's emergency
        // stop, does not push.
        let settled = waited >= SETTLED_NS;
        let missed = settled && phase == Close && jaws.position <= CLOSED_M;
        if missed {
            self.tries += 1;
            if self.tries == 2 {
                return Err(format!("there is nothing to grasp at ({:.2}, {:.2})", from.x, from.y));
            }
            log(&format!("nothing grasped at ({:.2}, {:.2}), once more", from.x, from.y));
            (self.phase, self.nearest) = (0, None);
        } else if phase == Close && settled && arm::is_holding(seen, CLOSED_M)
            || phase != Close && left.abs() <= NEAR
        {
            (self.phase, self.nearest) = (self.phase + 1, None);
        } else if waited >= PATIENCE_NS {
            return Err(format!("thing {nth}: the arm comes no nearer to where it shall be"));
        }
        if self.phase == PHASES.len() {
            // Refused it is told by nobody, and the thing is in its place all the same.
            let _ = checkpoint(&format!("placed-{nth}"));
            (self.phase, self.thing, self.tries) = (0, self.thing + 1, 0);
            if self.thing == self.from.len() {
                return Ok((Request::Stop, Status::Done));
            }
        }
        let steps = self.thing * PHASES.len() + self.phase;
        let fraction = steps as f64 / (self.from.len() * PHASES.len()) as f64;
        Ok((request, running(fraction, format!("thing {nth} of {}", self.from.len()))))
    }

    fn way(&self, seen: &Observation, to: [f64; 3]) -> (Request, f64) {
        (arm::move_to(&to, self.speed), arm::furthest(seen, &to))
    }

    /// For how long it has come no nearer, nanoseconds.
    fn waited(&mut self, left: f64, at_nanos: u64) -> u64 {
        let (_, since) = *self.nearest.get_or_insert((left, at_nanos));
        if self.nearest.is_some_and(|(nearest, _)| left <= nearest - NEARER) {
            self.nearest = Some((left, at_nanos));
            return 0;
        }
        at_nanos.saturating_sub(since)
    }
}

fn joints(seen: &Observation) -> Result<[f64; 3], String> {
    let positions: Vec<f64> = seen.joints.iter().map(|joint| joint.position).collect();
    positions.try_into().map_err(|of: Vec<f64>| {
        format!(
            "it is for an arm with shoulder, elbow and lift, and this one has {} joints",
            of.len()
        )
    })
}

nooterra_skill::export_arm!(PickAndPlace);

#[cfg(test)]
mod tests;
