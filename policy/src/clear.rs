//! Open space: a circle on the ground that was found clear of every edge.
//!
//! Most ticks find the robot far from all edges, near where the last tick found it. Edges do not
//! move: what lies within a circle that was once found clear still is, and is told by a distance
//! alone. So open ground costs a tick next to nothing, and the answer is the same as without:
//! where all that the last setpoint and the next one can lead to lies within the circle, nothing
//! is foreseen and nothing is looked for (`Gate::leads_over_open_ground`).
#![allow(clippy::neg_cmp_op_on_partial_ord)] // What is no number must not pass for clear.

use crate::zones::ZoneMap;
use nooterra_protocol::geometry::Point;

/// The circle is smaller than what was found by this, so that rounding decides nothing, metres.
const SLACK_M: f64 = 1e-6;

/// What lies within so many times the distance that is asked for is looked for, so that the
/// next ticks need not look.
const GENEROUS: f64 = 2.0;

/// A circle that no edge comes into, and of which zones that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clear {
    at: Point,
    /// Of these it is clear: a bit for each.
    clear_of: u128,
    /// An edge is no further from its middle than this, metres: a larger circle there is none.
    edge_m: f64,
    /// The zone to be kept in that holds it; none where there was nothing to be kept in.
    held_by: u128,
    /// Metres; negative where there is no circle.
    radius_m: f64,
}

impl Clear {
    /// Nothing was looked at yet.
    pub(crate) const UNKNOWN: Self = Self {
        at: Point::new(0.0, 0.0),
        clear_of: 0,
        edge_m: f64::INFINITY,
        held_by: 0,
        radius_m: -1.0,
    };

    /// A circle around `at` lies within this one.
    fn contains(&self, at: Point, radius_m: f64) -> bool {
        let (dx, dy) = (at.x - self.at.x, at.y - self.at.y);
        let left_m = self.radius_m - radius_m;
        // False also for what is no number.
        left_m >= 0.0 && dx * dx + dy * dy <= left_m * left_m
    }

    /// No circle around `at` that is so large can be clear.
    fn rules_out(&self, at: Point, radius_m: f64) -> bool {
        let (dx, dy) = (at.x - self.at.x, at.y - self.at.y);
        let nearer_m = radius_m - self.edge_m;
        nearer_m >= 0.0 && dx * dx + dy * dy <= nearer_m * nearer_m
    }
}

impl ZoneMap {
    /// A circle around `at` is known to lie within one zone to be kept in, if there are any, and
    /// to touch no other zone: of those that are in force.
    pub(crate) fn is_open(&self, at: Point, radius_m: f64) -> bool {
        self.is_of_those_in_force() && self.clear.contains(at, radius_m)
    }

    fn is_of_those_in_force(&self) -> bool {
        let Self { clear, keep_ins, keep_outs, speeds, .. } = self;
        (keep_outs | speeds) & !clear.clear_of == 0
            && (*keep_ins == 0 || keep_ins & clear.held_by != 0)
    }

    /// Finds out whether a circle around `at` is open, unless that is known. A mask is never:
    /// the distance in its grid is less than the true one, by more here and by less there.
    pub(crate) fn look_around(&mut self, at: Point, radius_m: f64) {
        if self.is_of_those_in_force()
            && (self.clear.contains(at, radius_m) || self.clear.rules_out(at, radius_m))
        {
            return;
        }
        self.clear = self.measure(at, radius_m).unwrap_or(Clear::UNKNOWN);
    }

    fn measure(&self, at: Point, radius_m: f64) -> Option<Clear> {
        let others = self.keep_outs | self.speeds;
        let masked = (others | self.keep_ins) & self.unbounded != 0;
        if masked || !at.is_finite() || !radius_m.is_finite() {
            return None;
        }
        let mut free_m = f64::INFINITY;
        if others != 0 {
            free_m = GENEROUS * radius_m;
            for area in self.of(self.within(at, free_m) & others) {
                let distance_m = area.distance_m(false, at, free_m);
                if distance_m.is_nan() {
                    return None;
                }
                free_m = free_m.min(distance_m);
            }
        }
        let mut held_by = 0;
        if self.keep_ins != 0 {
            let mut held_m = f64::NEG_INFINITY;
            for area in self.of(self.keep_ins) {
                let distance_m = area.distance_m(true, at, radius_m);
                if distance_m > held_m {
                    (held_m, held_by) = (distance_m, 1 << area.index);
                }
            }
            free_m = free_m.min(held_m);
        }
        // What is less than was asked for is exact.
        let edge_m = if free_m < radius_m { free_m } else { f64::INFINITY };
        Some(Clear { at, clear_of: others, edge_m, held_by, radius_m: free_m - SLACK_M })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint::Body;
    use crate::path::Path;
    use crate::planar::Planar;
    use crate::shape::Shape;
    use crate::zones::{SLACK_M as WALK_SLACK_M, Uncertainty};
    use nooterra_protocol::geometry::Pose;
    use nooterra_protocol::policy::{Footprint, ZoneRule};
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
    use proptest::prop_oneof;

    fn rectangle(x: f64, y: f64, wide: f64, high: f64) -> Vec<Point> {
        [(x, y), (x + wide, y), (x + wide, y + high), (x, y + high)]
            .map(|(x, y)| Point::new(x, y))
            .to_vec()
    }

    fn zones() -> impl Strategy<Value = Vec<(ZoneRule, Shape)>> {
        let rule = prop_oneof![
            Just(ZoneRule::KeepIn),
            Just(ZoneRule::KeepOut),
            Just(ZoneRule::Speed { max_linear_mps: 0.3 }),
        ];
        let zone = (rule, any::<bool>(), -6.0..6.0, -6.0..6.0, 0.2..1.5, 0.2..1.5).prop_map(
            |(rule, round, x, y, wide, high)| {
                // What is to be kept in is large, so that there is open ground.
                let size = if rule == ZoneRule::KeepIn { 6.0 } else { 1.0 };
                let shape = if round {
                    Shape::circle(Point::new(x, y), size * wide)
                } else {
                    Shape::polygon(&rectangle(x, y, size * wide, size * high), &[])
                };
                (rule, shape.unwrap())
            },
        );
        prop::collection::vec(zone, 0..6)
    }

    /// Steps of a robot: how far, whither, and how large a circle it asks for.
    fn steps() -> impl Strategy<Value = Vec<(f64, f64, f64)>> {
        prop::collection::vec((0.0..0.6, -3.2..3.2, 0.0..3.0), 1..40)
    }

    fn map(zones: Vec<(ZoneRule, Shape)>) -> ZoneMap {
        let footprint = Footprint { margin_m: 0.05, outline: rectangle(-0.4, -0.2, 0.9, 0.4) };
        ZoneMap::new(Body::covering(&footprint, WALK_SLACK_M), zones)
    }

    proptest! {
        #[test]
        fn with_what_was_found_open_every_answer_is_the_same(
            zones in zones(), steps in steps(), closed in any::<u8>(), from in (-5.0..5.0, -5.0..5.0),
        ) {
            let fresh = map(zones);
            let (mut kept, mut at) = (fresh.clone(), Pose { x: from.0, y: from.1, yaw: 0.0 });
            for (step, (way_m, yaw, radius_m)) in steps.into_iter().enumerate() {
                at = Pose { x: at.x + way_m * yaw.cos(), y: at.y + way_m * yaw.sin(), yaw };
                // Now and then other zones count.
                let in_force = if step % 5 == 4 { u128::from(closed) } else { u128::MAX };
                let mut fresh = fresh.clone();
                fresh.select(in_force);
                kept.select(in_force);
                kept.look_around(at.point(), radius_m);
                let unsure = Uncertainty { place_m: 0.1 * way_m, yaw_rad: 0.05 * way_m };
                let twist = Planar::new(0.6, 0.0, 0.4);
                let path = Path { brake_s: 0.8, hold_s: 0.3 * radius_m, start: at, twist };
                let [ours, theirs] = [&kept, &fresh].map(|map| {
                    let near = map.near(at, path.length_m(), &unsure);
                    let standing = map.standing(at, &unsure);
                    let broken = map.broken_by(&path, &near, &standing, &unsure);
                    (near.zones, near.keep_in, standing, map.speed_limit(at, &unsure), broken)
                });
                prop_assert_eq!(ours, theirs);
            }
        }

        #[test]
        fn a_circle_that_is_called_open_touches_no_edge(
            zones in zones(), steps in steps(), from in (-5.0..5.0, -5.0..5.0),
        ) {
            let (mut map, mut at) = (map(zones.clone()), Point::new(from.0, from.1));
            for (way_m, turn, radius_m) in steps {
                at = Point::new(at.x + way_m * turn.cos(), at.y + way_m * turn.sin());
                map.look_around(at, radius_m);
                let distances = |keep_in: bool| {
                    zones.iter().filter(move |(rule, _)| (*rule == ZoneRule::KeepIn) == keep_in)
                        .map(move |(_, shape)| shape.signed_distance(at))
                };
                let out = distances(false).all(|distance_m| distance_m >= radius_m);
                let within = |distance_m: f64| -distance_m >= radius_m;
                let held = distances(true).count() == 0 || distances(true).any(within);
                prop_assert!(!map.is_open(at, radius_m) || (out && held), "{at:?}, {radius_m} m");
            }
        }
    }

    #[test]
    fn open_ground_is_looked_at_once() {
        let hall = Shape::polygon(&rectangle(-50.0, -50.0, 100.0, 100.0), &[]).unwrap();
        let mut map = map(vec![(ZoneRule::KeepIn, hall)]);
        map.look_around(Point::default(), 1.0);
        let found = map.clear;
        for step in 1..100 {
            let at = Point::new(0.2 * f64::from(step), 0.0);
            map.look_around(at, 1.0);
            assert!(map.is_open(at, 1.0), "{at:?}");
        }
        assert_eq!(map.clear.at, found.at);
    }

    #[test]
    fn of_what_is_no_place_or_no_size_nothing_is_open() {
        for zones in
            [vec![], vec![(ZoneRule::KeepOut, Shape::circle(Point::new(9.0, 0.0), 1.0).unwrap())]]
        {
            let mut map = map(zones);
            let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            for number in odd {
                map.look_around(Point::new(number, 0.0), 1.0);
                assert!(!map.is_open(Point::new(number, 0.0), 1.0), "at {number}");
                map.look_around(Point::default(), number);
                let open = map.is_open(Point::default(), number);
                assert!(!open || number == f64::NEG_INFINITY, "{number} m");
            }
        }
    }
}
