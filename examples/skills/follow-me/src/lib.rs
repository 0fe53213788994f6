//! `follow`: stays `separation_m` (0.5 to 3, default 1.2) behind the nearest thing that its
//! range sensor sees within 25 degrees of straight ahead and 4 m, for `seconds` (1 to 3600,
//! default 60). It takes a wall for a leader too: stand in front of it before you start it.
//!
//! Separation is a wish like any other. What keeps the robot away from people is the owner's
//! policy; this only asks for less than that would ever allow.

use nooterra_skill::prelude::*;

/// Nothing further away is followed, metres; nor what is further to a side, radians.
const REACH_M: f64 = 4.0;
const SIDE_RAD: f64 = 0.44;

struct Follow {
    began: Option<u64>,
    seconds: f64,
    separation_m: f64,
}

impl Skill for Follow {
    fn init(_action: &str, params: &mut Params) -> Result<Self, String> {
        let separation_m = params.number("separation_m", 1.2, 0.5..=3.0)?;
        let seconds = params.number("seconds", 60.0, 1.0..=3600.0)?;
        Ok(Self { began: None, seconds, separation_m })
    }

    fn step(&mut self, seen: &Observation) -> (Request, Status) {
        let began = *self.began.get_or_insert(seen.at_nanos);
        let passed = (seen.at_nanos - began) as f64 / 1e9;
        if passed >= self.seconds {
            return (Request::Stop, Status::Done);
        }
        let fraction = passed / self.seconds;
        let Some((bearing, range)) = leader(seen) else {
            return (Request::Stop, running(fraction, "nobody to follow"));
        };
        // Never backwards: who comes nearer is waited for.
        let speed = (0.8 * (range - self.separation_m)).clamp(0.0, 1.0);
        let note = format!("{range:.1} m behind");
        (drive(speed * bearing.cos(), 1.5 * bearing), running(fraction, note))
    }
}

/// Bearing and range of the nearest thing in front.
fn leader(seen: &Observation) -> Option<(f64, f64)> {
    let scan = seen.scan.as_ref()?;
    let beams = scan.ranges.iter().enumerate().map(|(beam, range)| {
        (wrap(scan.angle_min + beam as f64 * scan.angle_step), f64::from(*range))
    });
    let near = |(bearing, range): &(f64, f64)| {
        bearing.abs() <= SIDE_RAD && *range > 0.0 && *range <= REACH_M && *range < scan.range_max
    };
    beams.filter(near).min_by(|a, b| a.1.total_cmp(&b.1))
}

nooterra_skill::export!(Follow);

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_skill::testing::Robot;

    #[test]
    fn it_keeps_its_separation_to_what_is_in_front() {
        let mut robot = Robot::at(7.0, 0.0, 0.0);
        let ran = robot.run::<Follow>("follow", &[("separation_m", 1.5.into())]);
        assert_eq!(ran.end, Status::Done);
        // The wall is at 10 m.
        assert!((robot.pose.x - 8.5).abs() < 0.1, "{:?}", robot.pose);
    }

    #[test]
    fn nobody_in_front_is_a_stop() {
        let mut robot = Robot::at(0.0, 0.0, 0.0);
        let ran = robot.run::<Follow>("follow", &[("seconds", 2.0.into())]);
        assert!(ran.requests.iter().all(|request| *request == Request::Stop));
    }
}
