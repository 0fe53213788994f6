//! Three small actions, and `graph.json` that makes rounds of them.
//!
//! | action   | parameters                                                             |
//! |----------|------------------------------------------------------------------------|
//! | `rounds` | by the graph: `waypoints`, `dock`, `dock_yaw_rad`, `until` as below    |
//! | `route`  | `waypoints` (points, 1 to 64), `speed_mps` (default 0.8)               |
//! | `charge` | `dock` (one point), `dock_yaw_rad` (default 0), `until` (0.1 to 1,     |
//! |          | default 0.95)                                                          |
//! | `undock` | none: half a metre straight off the dock                               |

use nooterra_skill::docking::{Docked, Docking};
use nooterra_skill::prelude::*;

/// A waypoint counts as reached this near to it, metres.
const REACHED_M: f64 = 0.3;

enum Part {
    Charge { docking: Docking, until: f64 },
    Route { nearing: Nearing, next: usize, speed_mps: f64, waypoints: Vec<Point> },
    Undock { from: Option<Point> },
}

impl Skill for Part {
    fn init(action: &str, params: &mut Params) -> Result<Self, String> {
        Ok(match action {
            "charge" => {
                let dock = params.point("dock")?;
                let faces = params.number("dock_yaw_rad", 0.0, -6.3..=6.3)?;
                let until = params.number("until", 0.95, 0.1..=1.0)?;
                Self::Charge { docking: Docking::new(dock, faces, 1.0, false, 0.8), until }
            }
            "route" => Self::Route {
                nearing: Nearing::default(),
                next: 0,
                speed_mps: params.number("speed_mps", 0.8, 0.05..=5.0)?,
                waypoints: params.points("waypoints", 1..=64)?,
            },
            "undock" => Self::Undock { from: None },
            other => return Err(format!("`{other}` is carried out by graph.json")),
        })
    }

    fn step(&mut self, seen: &Observation) -> (Request, Status) {
        let here = position(seen);
        match self {
            Self::Charge { docking, until } => charge(seen, docking, *until),
            Self::Route { nearing, next, speed_mps, waypoints } => {
                if waypoints.get(*next).is_some_and(|to| distance(here, *to) <= REACHED_M) {
                    *next += 1;
                    nearing.reset();
                    let _ = checkpoint(&format!("waypoint-{next}"));
                }
                let Some(&to) = waypoints.get(*next) else { return (Request::Stop, Status::Done) };
                let left = distance(here, to);
                let Some(request) = nearing.onward(seen, to, *speed_mps) else {
                    return failed(format!("waypoint {} comes no nearer", *next + 1));
                };
                let done = *next as f64 / waypoints.len() as f64;
                (request, running(done, format!("{left:.1} m to go")))
            }
            Self::Undock { from } => {
                let driven = distance(here, *from.get_or_insert(here));
                if driven >= 0.5 && !seen.docked {
                    return (Request::Stop, Status::Done);
                }
                (drive(0.3, 0.0), running(driven / 0.5, "off the dock"))
            }
        }
    }

    /// Of a route, how far it has come; the others do better to begin anew where they stand.
    fn suspend(&self) -> Vec<u8> {
        match self {
            Self::Route { next, .. } => Writer::new(1).u64(*next as u64).end(),
            _ => Vec::new(),
        }
    }

    fn resume(&mut self, state: &[u8]) -> Result<(), String> {
        let mut state = Reader::new(state, 1)?;
        if let Self::Route { next, waypoints, .. } = self {
            *next = usize::try_from(state.u64()?).unwrap_or(usize::MAX).min(waypoints.len());
        }
        state.end()
    }
}

fn charge(seen: &Observation, docking: &mut Docking, until: f64) -> (Request, Status) {
    let Some(battery) = seen.battery else { return failed("this robot has no battery") };
    match docking.step(seen) {
        Docked::Yes if battery.fraction >= until => {
            let _ = checkpoint("charged");
            (Request::Stop, Status::Done)
        }
        Docked::Yes => (Request::Stop, running(battery.fraction, "charging")),
        Docked::Blocked | Docked::Never => {
            let _ = request_assist("I do not get onto the dock; please put me there");
            failed("the dock is blocked, or does not answer where the plan says it is")
        }
        Docked::NotYet(request, _, note) => (request, running(0.0, note)),
    }
}

nooterra_skill::export!(Part);

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_skill::testing::Robot;

    #[test]
    fn every_part_ends_by_itself() {
        let mut robot = Robot::at(0.0, 0.0, 0.0);
        let dock = Param::Points(vec![Point { x: 0.0, y: 0.0 }]);
        let way = Param::Points(vec![Point { x: 2.0, y: 0.0 }, Point { x: 2.0, y: 2.0 }]);
        for (action, params, checkpoints) in [
            ("undock", vec![], 0),
            ("route", vec![("waypoints", way)], 2),
            ("charge", vec![("dock", dock), ("until", 0.5.into())], 1),
        ] {
            let ran = robot.run::<Part>(action, &params);
            assert_eq!(ran.end, Status::Done, "{action}");
            assert_eq!(ran.heard.checkpoints.len(), checkpoints, "{action}");
        }
        assert!(Robot::refusal::<Part>("rounds", &[]).contains("graph.json"));
    }
}
