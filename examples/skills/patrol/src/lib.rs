//! Undock, patrol waypoints, look around, return to the dock.
//!
//! | action    | parameters                                                          |
//! |-----------|---------------------------------------------------------------------|
//! | `undock`  | `distance_m` (default 1.0; negative drives off backwards)           |
//! | `patrol`  | `waypoints` (points, 1 to 64), `speed_mps` (default 2.0)            |
//! | `inspect` | `turn_rad` (default one full turn; negative turns clockwise)        |
//! | `return`  | `dock` (one point), `dock_yaw_rad` (default 0: which way the dock   |
//! |           | faces, away from its wall), `nose_first` (default false: backwards  |
//! |           | onto the dock, so that `undock` drives off forwards), `approach_m`  |
//! |           | (default 1.0: where the last straight piece begins), `speed_mps`    |
//! |           | (default 0.8)                                                       |
//!
//! It knows no map and plans no path: it goes straight, backs off a little from what holds it,
//! and gives up what comes no nearer for 20 s. What must not be is the business of the owner's
//! policy; that is also why it simply asks for the speed it likes.

mod inspect;

use nooterra_skill::docking::{Docked, Docking};
use nooterra_skill::prelude::*;

/// A waypoint counts as reached this near to it, metres.
const REACHED_M: f64 = 0.3;

/// Off the dock, m/s.
const UNDOCKING_MPS: f64 = 0.3;

enum Round {
    Inspect(inspect::Inspect),
    Patrol { nearing: Nearing, next: usize, speed_mps: f64, waypoints: Vec<Point> },
    Return(Docking),
    Undock { distance_m: f64, from: Option<Point> },
}

impl Skill for Round {
    fn init(action: &str, params: &mut Params) -> Result<Self, String> {
        Ok(match action {
            "undock" => Self::Undock {
                distance_m: params.number("distance_m", 1.0, -5.0..=5.0)?,
                from: None,
            },
            "patrol" => Self::Patrol {
                nearing: Nearing::default(),
                next: 0,
                speed_mps: params.number("speed_mps", 2.0, 0.05..=5.0)?,
                waypoints: params.points("waypoints", 1..=64)?,
            },
            "inspect" => {
                let turn_rad = params.number("turn_rad", std::f64::consts::TAU, -12.6..=12.6)?;
                Self::Inspect(inspect::Inspect::new(turn_rad))
            }
            "return" => Self::Return(Docking::new(
                params.point("dock")?,
                params.number("dock_yaw_rad", 0.0, -6.3..=6.3)?,
                params.number("approach_m", 1.0, 0.3..=5.0)?,
                params.flag("nose_first", false)?,
                params.number("speed_mps", 0.8, 0.05..=5.0)?,
            )),
            other => return Err(format!("there is no action `{other}`")),
        })
    }

    fn step(&mut self, seen: &Observation) -> (Request, Status) {
        match self {
            Self::Inspect(inspect) => inspect.step(seen),
            Self::Patrol { nearing, next, speed_mps, waypoints } => {
                patrol(seen, waypoints, next, nearing, *speed_mps)
            }
            Self::Return(docking) => match docking.step(seen) {
                Docked::Yes => {
                    // The name is written here and short: a refusal would be a fault of this file.
                    let _ = checkpoint("docked");
                    (Request::Stop, Status::Done)
                }
                Docked::Blocked => failed("the dock comes no nearer: something is in the way"),
                Docked::Never => failed("the dock does not answer where the plan says it is"),
                Docked::NotYet(request, fraction, note) => (request, running(fraction, note)),
            },
            Self::Undock { distance_m, from } => undock(seen, *distance_m, from),
        }
    }

    /// The other actions do better to begin anew where they stand.
    fn suspend(&self) -> Vec<u8> {
        match self {
            Self::Patrol { next, .. } => Writer::new(1).u64(*next as u64).end(),
            _ => Vec::new(),
        }
    }

    fn resume(&mut self, state: &[u8]) -> Result<(), String> {
        let mut state = Reader::new(state, 1)?;
        if let Self::Patrol { next, waypoints, .. } = self {
            *next = usize::try_from(state.u64()?).unwrap_or(usize::MAX).min(waypoints.len());
        }
        state.end()
    }
}

/// Straight off the dock.
fn undock(seen: &Observation, distance_m: f64, from: &mut Option<Point>) -> (Request, Status) {
    let here = position(seen);
    let start = *from.get_or_insert_with(|| {
        log(&format!("undocking from {:.2}, {:.2}", here.x, here.y));
        here
    });
    let (driven, wanted) = (distance(start, here), distance_m.abs());
    if driven >= wanted && !seen.docked {
        return (Request::Stop, Status::Done);
    }
    let note = format!("{driven:.2} of {wanted:.2} m off the dock");
    (drive(UNDOCKING_MPS.copysign(distance_m), 0.0), running(driven / wanted, note))
}

fn patrol(
    seen: &Observation,
    waypoints: &[Point],
    next: &mut usize,
    nearing: &mut Nearing,
    speed_mps: f64,
) -> (Request, Status) {
    let here = position(seen);
    if waypoints.get(*next).is_some_and(|to| distance(here, *to) <= REACHED_M) {
        *next += 1;
        nearing.reset();
        // As above.
        let _ = checkpoint(&format!("waypoint-{next}"));
    }
    let Some(&to) = waypoints.get(*next) else {
        return (Request::Stop, Status::Done);
    };
    let (left, number) = (distance(here, to), *next + 1);
    let Some(request) = nearing.onward(seen, to, speed_mps) else {
        return failed(format!(
            "waypoint {number} came no nearer for 20 s: something is in the way"
        ));
    };
    let note = format!("waypoint {number} of {}, {left:.1} m to go", waypoints.len());
    (request, running(*next as f64 / waypoints.len() as f64, note))
}

nooterra_skill::export!(Round);

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_skill::testing::Robot;

    fn route(points: &[(f64, f64)]) -> Param {
        points.iter().map(|&(x, y)| Point { x, y }).collect::<Vec<_>>().into()
    }

    #[test]
    fn every_waypoint_is_a_checkpoint() {
        let mut robot = Robot::at(0.0, 0.0, 0.0);
        let waypoints = route(&[(2.0, 0.0), (2.0, 2.0)]);
        let ran = robot.run::<Round>("patrol", &[("waypoints", waypoints)]);
        assert_eq!((ran.end, ran.heard.checkpoints.len()), (Status::Done, 2));
    }

    #[test]
    fn a_patrol_goes_on_where_it_was() {
        let mut robot = Robot::at(0.0, 0.0, 0.0);
        let params = || Params::new(vec![("waypoints".into(), route(&[(2.0, 0.0), (2.0, 2.0)]))]);
        let mut first = Round::init("patrol", &mut params()).unwrap();
        while first.suspend() == Writer::new(1).u64(0).end() {
            let (request, _) = first.step(&robot.sees());
            robot.obey(&request);
        }
        let mut second = Round::init("patrol", &mut params()).unwrap();
        second.resume(&first.suspend()).unwrap();
        assert_eq!(second.step(&robot.sees()).0, go_to(Point { x: 2.0, y: 2.0 }, 2.0));
        assert!(second.resume(&[9]).is_err());
    }
}
