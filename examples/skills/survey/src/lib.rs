//! `survey`: drives over a rectangle between two corners (`area`: two points) in lanes
//! `lane_m` apart (0.3 to 5, default 1), and attaches what it saw: at each end of a lane the
//! nearest thing around.

use nooterra_skill::prelude::*;

struct Survey {
    nearing: Nearing,
    next: usize,
    report: String,
    way: Vec<Point>,
}

impl Skill for Survey {
    fn init(_action: &str, params: &mut Params) -> Result<Self, String> {
        let area = params.points("area", 2..=2)?;
        let way = lanes(area[0], area[1], params.number("lane_m", 1.0, 0.3..=5.0)?);
        if way.len() > 200 {
            return Err(format!("{} lanes are too many: raise `lane_m`", way.len() / 2));
        }
        Ok(Self { nearing: Nearing::default(), next: 0, report: "x,y,nearest_m\n".to_owned(), way })
    }

    fn step(&mut self, seen: &Observation) -> (Request, Status) {
        let Point { x, y } = position(seen);
        if self.way.get(self.next).is_some_and(|&to| distance(position(seen), to) < 0.3) {
            let ranges = seen.scan.iter().flat_map(|scan| &scan.ranges);
            let nearest = ranges.copied().fold(f32::INFINITY, f32::min);
            self.report += &format!("{x:.2},{y:.2},{nearest:.2}\n");
            self.next += 1;
            self.nearing.reset();
            let _ = checkpoint(&format!("end-{}", self.next));
        }
        let Some(&to) = self.way.get(self.next) else {
            return match evidence("survey.csv", "text/csv", self.report.as_bytes()) {
                Ok(()) => (Request::Stop, Status::Done),
                Err(refusal) => failed(format!("the survey was not taken: {refusal:?}")),
            };
        };
        let Some(request) = self.nearing.onward(seen, to, 1.0) else {
            return failed(format!("the end of lane {} cannot be reached", self.next / 2 + 1));
        };
        let note = format!("lane {} of {}", self.next / 2 + 1, self.way.len() / 2);
        (request, running(self.next as f64 / self.way.len() as f64, note))
    }
}

/// There and back, lane by lane.
fn lanes(a: Point, b: Point, lane_m: f64) -> Vec<Point> {
    let count = ((b.y - a.y).abs() / lane_m).ceil().max(1.0);
    let lane = |nth: usize| {
        let y = a.y + (b.y - a.y) * nth as f64 / count;
        let ends = if nth.is_multiple_of(2) { [a.x, b.x] } else { [b.x, a.x] };
        ends.map(|x| Point { x, y })
    };
    (0..=count as usize).flat_map(lane).collect()
}

nooterra_skill::export!(Survey);

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_skill::testing::Robot;

    #[test]
    fn every_lane_is_driven_and_the_report_attached() {
        let mut robot = Robot::at(0.0, 0.0, 0.0);
        let area = Param::Points(vec![Point { x: -3.0, y: -2.0 }, Point { x: 3.0, y: 2.0 }]);
        let ran = robot.run::<Survey>("survey", &[("area", area), ("lane_m", 2.0.into())]);
        assert_eq!((ran.end, ran.heard.checkpoints.len()), (Status::Done, 6));
        let report = String::from_utf8(ran.heard.evidence[0].2.clone()).unwrap();
        assert_eq!(report.lines().count(), 7, "{report}");
    }
}
