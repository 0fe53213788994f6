//! A run as it goes on, in a terminal: the room from above, drawn over itself.

use crate::rehearsal::{ArmFrame, Frame, Stage};
use nooterra_hal::sim::ArmTruth;
use nooterra_policy::polygon::Polygon;
use nooterra_protocol::geometry::Point;
use nooterra_protocol::policy::{Zone, ZoneRule};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;

const COLUMNS: u16 = 72;

/// A character is about twice as high as it is wide.
const HIGH: f64 = 2.0;

/// Drawn each so many ticks.
const EVERY: u64 = 5;

pub(super) struct Live {
    cell_m: f64,
    drawn: u64,
    ground: Vec<Vec<char>>,
    left: f64,
    top: f64,
    track: BTreeSet<(usize, usize)>,
}

impl Live {
    pub(super) fn new(stage: &Stage) -> Self {
        let room = &stage.world.room;
        let least = |get: fn(&Point) -> f64| room.iter().map(get).fold(f64::INFINITY, f64::min);
        let most = |get: fn(&Point) -> f64| room.iter().map(get).fold(f64::NEG_INFINITY, f64::max);
        let (left, top) = (least(|p| p.x), most(|p| p.y));
        let cell_m = ((most(|p| p.x) - left) / f64::from(COLUMNS)).max(0.01);
        let mut live =
            Self { cell_m, drawn: 0, ground: Vec::new(), left, top, track: BTreeSet::new() };
        let shape = |corners: &[Point]| Polygon::new(corners).ok();
        let walls = shape(room);
        let solid: Vec<Polygon> =
            stage.world.obstacles.iter().filter_map(|corners| shape(corners)).collect();
        let zones: Vec<(char, Polygon)> = stage
            .policy
            .zones
            .iter()
            .filter_map(|zone| Some((mark(zone)?, shape(&zone.corners())?)))
            .collect();
        let mut y = top - cell_m;
        while y > least(|p| p.y) && live.ground.len() < 60 {
            let row = (0..COLUMNS).map(|column| {
                let at = Point::new(left + (f64::from(column) + 0.5) * cell_m, y);
                let is_in = |polygon: &Polygon| polygon.signed_distance(at) < 0.0;
                match () {
                    () if !walls.as_ref().is_some_and(is_in) => ' ',
                    () if solid.iter().any(is_in) => '#',
                    () => zones.iter().find(|(_, zone)| is_in(zone)).map_or('.', |(mark, _)| *mark),
                }
            });
            live.ground.push(row.collect());
            y -= cell_m * HIGH;
        }
        live
    }

    /// Draws the frame over the one before.
    pub(super) fn show(&mut self, frame: &Frame) {
        // Of an arm it is the tool that goes anywhere.
        let at = frame.arm.as_ref().map_or(frame.pose.point(), |arm| arm.truth.tool);
        let place = self.place(at);
        self.track.extend(place);
        self.drawn += 1;
        if self.drawn % EVERY != 1 {
            return;
        }
        let mut text = String::new();
        if self.drawn > 1 {
            // Up to where the last one began.
            let _ = write!(text, "\u{1b}[{}A", self.ground.len() + 3);
        }
        let arm = self.arm(frame);
        for (row, cells) in self.ground.iter().enumerate() {
            let drawn = cells.iter().enumerate().map(|(column, ground)| match place {
                Some(here) if here == (row, column) && frame.arm.is_some() => '@',
                Some(here) if here == (row, column) => arrow(frame.pose.yaw),
                _ => match arm.get(&(row, column)) {
                    Some(mark) => *mark,
                    None if self.track.contains(&(row, column)) => '+',
                    None => *ground,
                },
            });
            text.extend(drawn);
            text.push_str("\u{1b}[K\n");
        }
        let rules: Vec<&str> = frame.rules.iter().map(|(rule, ..)| rule.name()).collect();
        let held = if rules.is_empty() { "-".to_owned() } else { rules.join(", ") };
        let does = match &frame.arm {
            Some(arm) => {
                let ArmTruth { lift_m, opening_m, .. } = arm.truth;
                format!("is {lift_m:.3} m up, its jaws {opening_m:.3} m open")
            }
            None => {
                format!("does {:.2} m/s, {:.2} rad/s", frame.twist.linear, frame.twist.angular)
            }
        };
        let _ = write!(
            text,
            "{:6.1} s  {:3.0} %  {}\u{1b}[K\n  asks {}\u{1b}[K\n  {does}; held by {held}\u{1b}[K\n",
            frame.t_s,
            frame.progress * 100.0,
            frame.note,
            frame.request,
        );
        // A terminal that is gone ends the program by itself.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    /// Where an arm and the things around it are drawn; nothing of a base.
    fn arm(&self, frame: &Frame) -> BTreeMap<(usize, usize), char> {
        let Some(ArmFrame { truth, .. }) = &frame.arm else { return BTreeMap::new() };
        let mut drawn = BTreeMap::new();
        for (from, to) in [(truth.shoulder, truth.elbow), (truth.elbow, truth.tool)] {
            for part in 0..=20 {
                let part = f64::from(part) / 20.0;
                let at =
                    Point::new(from.x + (to.x - from.x) * part, from.y + (to.y - from.y) * part);
                drawn.extend(self.place(at).map(|place| (place, '·')));
            }
        }
        let joints = [(truth.shoulder, 'A'), (truth.elbow, 'o')];
        let things = truth.things.iter().map(|thing| (thing.at, '■'));
        let marks = joints.into_iter().chain(things);
        drawn.extend(marks.filter_map(|(at, mark)| Some((self.place(at)?, mark))));
        drawn
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked to be on it.
    fn place(&self, at: Point) -> Option<(usize, usize)> {
        let column = ((at.x - self.left) / self.cell_m).floor();
        let row = ((self.top - at.y) / (self.cell_m * HIGH)).floor();
        let on = |number: f64| (0.0..10_000.0).contains(&number);
        (on(column) && on(row)).then_some((row as usize, column as usize))
    }
}

fn mark(zone: &Zone) -> Option<char> {
    match zone.rule {
        ZoneRule::KeepIn => None,
        ZoneRule::KeepOut => Some('x'),
        ZoneRule::Speed { .. } => Some('~'),
    }
}

/// Which way it looks.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 7.
fn arrow(yaw: f64) -> char {
    let eighth = (yaw.rem_euclid(std::f64::consts::TAU) / std::f64::consts::FRAC_PI_4).round();
    ['→', '↗', '↑', '↖', '←', '↙', '↓', '↘'][eighth as usize % 8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    #[test]
    fn the_room_is_drawn_with_its_zones_and_the_robot_looks_where_it_goes() {
        let live = Live::new(&Stage::example().unwrap());
        let all: String = live.ground.iter().flatten().collect();
        assert!(all.contains('#') && all.contains('x') && all.contains('~') && all.contains('.'));
        assert_eq!((arrow(0.0), arrow(PI), arrow(-0.01), arrow(-PI / 2.0)), ('→', '←', '→', '↓'));
        assert_eq!(live.place(Point::new(f64::NAN, 1.0)), None);
    }
}
