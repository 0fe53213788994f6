//! `charge`: onto the dock at `dock` (facing `dock_yaw_rad`, default 0), until the battery is
//! at `until` (0.1 to 1, default 0.95), off it again, and back to where the action began.

use nooterra_skill::docking::{Docked, Docking};
use nooterra_skill::prelude::*;

struct Charge {
    began_at: Option<Point>,
    docking: Docking,
    is_charged: bool,
    until: f64,
}

impl Skill for Charge {
    fn init(_action: &str, params: &mut Params) -> Result<Self, String> {
        let (dock, faces) =
            (params.point("dock")?, params.number("dock_yaw_rad", 0.0, -6.3..=6.3)?);
        let docking = Docking::new(dock, faces, 1.0, false, 0.8);
        let until = params.number("until", 0.95, 0.1..=1.0)?;
        Ok(Self { began_at: None, docking, is_charged: false, until })
    }

    fn step(&mut self, seen: &Observation) -> (Request, Status) {
        let began_at = *self.began_at.get_or_insert(position(seen));
        let Some(battery) = seen.battery else { return failed("this robot has no battery") };
        if self.is_charged {
            let left = distance(position(seen), began_at);
            let note = format!("charged, {left:.1} m to where it began");
            return match (seen.docked, left < 0.3) {
                (true, _) => (drive(0.3, 0.0), running(0.9, note)),
                (false, true) => (Request::Stop, Status::Done),
                (false, false) => (go_to(began_at, 0.8), running(0.9, note)),
            };
        }
        match self.docking.step(seen) {
            Docked::Yes if battery.fraction >= self.until => {
                self.is_charged = true;
                let _ = checkpoint("charged");
                (Request::Stop, running(0.9, "charged"))
            }
            Docked::Yes => (Request::Stop, running(battery.fraction * 0.9, "charging")),
            Docked::Blocked | Docked::Never => {
                let _ = request_assist("I do not get onto the dock; please put me there");
                failed("the dock is blocked, or does not answer where the plan says it is")
            }
            Docked::NotYet(request, _, note) => (request, running(0.0, note)),
        }
    }

    fn suspend(&self) -> Vec<u8> {
        let Some(Point { x, y }) = self.began_at else { return Vec::new() };
        Writer::new(1).f64(x).f64(y).u64(u64::from(self.is_charged)).end()
    }

    fn resume(&mut self, state: &[u8]) -> Result<(), String> {
        let mut state = Reader::new(state, 1)?;
        self.began_at = Some(Point { x: state.f64()?, y: state.f64()? });
        self.is_charged = state.u64()? == 1;
        state.end()
    }
}

nooterra_skill::export!(Charge);

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_skill::testing::Robot;

    #[test]
    fn it_charges_and_comes_back() {
        let mut robot = Robot::at(0.0, 0.0, 0.0);
        (robot.pose.x, robot.pose.y) = (4.0, 2.0);
        let dock = Param::Points(vec![Point { x: 0.0, y: 0.0 }]);
        // The robot of these tests always has 0.8.
        let ran = robot.run::<Charge>("charge", &[("dock", dock), ("until", 0.5.into())]);
        assert_eq!((ran.end, ran.heard.checkpoints), (Status::Done, vec!["charged".to_owned()]));
        assert!(distance(Point { x: 4.0, y: 2.0 }, position(&robot.sees())) < 0.4);
    }
}
