//! Did the robot stay where its owner said? Asked of the simulator's true poses with polygon
//! code of its own: nothing here is shared with the gate that is being judged.

use crate::truth::Truth;
use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::policy::{PolicyDocument, ZoneRule};
use serde::Serialize;

/// What the true path says about the zones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ZoneCheck {
    /// Samples at which the outline touched a keep-out zone or left the keep-in zones.
    pub(crate) exits: usize,
    /// The first of them.
    pub(crate) first_exit: Option<Exit>,
    /// Smallest distance from the outline to the edge of a keep-in zone, m.
    pub(crate) keep_in_clearance_m: Option<f64>,
    /// Smallest distance from the outline to a keep-out zone, m; 0 where it touched.
    pub(crate) keep_out_clearance_m: Option<f64>,
    /// Samples looked at.
    pub(crate) samples: usize,
    /// For each speed zone, the fastest that any part of the robot was inside.
    pub(crate) speed_zones: Vec<SpeedZone>,
}

/// The first moment outside.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Exit {
    /// On the robot's monotonic clock.
    pub(crate) mono_ns: u64,
    /// Where.
    pub(crate) pose: Pose,
    /// Which zone; none when it lay in no keep-in zone.
    pub(crate) zone: Option<ZoneId>,
}

/// A speed zone and what was driven in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SpeedZone {
    /// m/s.
    pub(crate) limit_mps: f64,
    /// m/s; 0 when it was never entered.
    pub(crate) max_mps: f64,
    /// Which.
    pub(crate) zone: ZoneId,
}

/// Checks every sample.
pub(crate) fn check(policy: &PolicyDocument, truth: &[Truth]) -> ZoneCheck {
    let mut result = ZoneCheck {
        exits: 0,
        first_exit: None,
        keep_in_clearance_m: None,
        keep_out_clearance_m: None,
        samples: truth.len(),
        speed_zones: Vec::new(),
    };
    for sample in truth {
        let robot = outline_at(&policy.footprint.outline, sample.pose);
        let (mut keep_ins, mut inside_one, mut exit) = (0_u32, false, None);
        for zone in &policy.zones {
            match zone.rule {
                ZoneRule::KeepIn => {
                    keep_ins += 1;
                    if contains(&zone.corners(), &robot) {
                        inside_one = true;
                        lower(&mut result.keep_in_clearance_m, gap(&zone.corners(), &robot));
                    }
                }
                ZoneRule::KeepOut => {
                    let touches = touch(&zone.corners(), &robot);
                    let clearance = if touches { 0.0 } else { gap(&zone.corners(), &robot) };
                    lower(&mut result.keep_out_clearance_m, clearance);
                    if touches {
                        exit = Some(Some(zone.id.clone()));
                    }
                }
                ZoneRule::Speed { max_linear_mps } => {
                    let speed =
                        if touch(&zone.corners(), &robot) { sample.linear_mps.abs() } else { 0.0 };
                    note_speed(&mut result.speed_zones, &zone.id, max_linear_mps, speed);
                }
            }
        }
        if keep_ins > 0 && !inside_one {
            exit = Some(None);
        }
        if let Some(zone) = exit {
            result.exits += 1;
            result.first_exit.get_or_insert(Exit {
                mono_ns: sample.mono_ns,
                pose: sample.pose,
                zone,
            });
        }
    }
    result
}

/// The outline of a body at a pose, in the `map` frame.
pub(crate) fn outline_at(outline: &[Point], pose: Pose) -> Vec<Point> {
    let (sin, cos) = pose.yaw.sin_cos();
    outline
        .iter()
        .map(|corner| {
            Point::new(
                pose.x + corner.x * cos - corner.y * sin,
                pose.y + corner.x * sin + corner.y * cos,
            )
        })
        .collect()
}

fn note_speed(zones: &mut Vec<SpeedZone>, id: &ZoneId, limit_mps: f64, speed_mps: f64) {
    match zones.iter_mut().find(|zone| zone.zone == *id) {
        Some(zone) => zone.max_mps = zone.max_mps.max(speed_mps),
        None => zones.push(SpeedZone { limit_mps, max_mps: speed_mps, zone: id.clone() }),
    }
}

fn lower(least: &mut Option<f64>, value: f64) {
    *least = Some(least.map_or(value, |before| before.min(value)));
}

fn edges(polygon: &[Point]) -> impl Iterator<Item = (Point, Point)> + '_ {
    polygon.iter().copied().zip(polygon.iter().copied().cycle().skip(1))
}

/// Twice the signed area of a triangle: positive when `c` lies left of a → b.
fn turn(a: Point, b: Point, c: Point) -> f64 {
    (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x)
}

/// The two have a point in common, their borders included.
fn touch(a: &[Point], b: &[Point]) -> bool {
    edges(a).any(|(p, q)| edges(b).any(|(r, s)| segment_gap(p, q, r, s) <= 0.0))
        || a.first().is_some_and(|point| is_inside(*point, b))
        || b.first().is_some_and(|point| is_inside(*point, a))
}

/// `inner` lies in `outer`; it may touch its border from inside.
fn contains(outer: &[Point], inner: &[Point]) -> bool {
    inner.iter().all(|point| is_inside(*point, outer) || border_gap(*point, outer) <= 0.0)
        && !edges(outer).any(|(p, q)| edges(inner).any(|(r, s)| cross_properly(p, q, r, s)))
}

/// Crossing number; the border itself counts either way.
fn is_inside(point: Point, polygon: &[Point]) -> bool {
    let crossed = edges(polygon).filter(|(a, b)| {
        (a.y > point.y) != (b.y > point.y)
            && point.x < a.x + (point.y - a.y) / (b.y - a.y) * (b.x - a.x)
    });
    crossed.count() % 2 == 1
}

fn cross_properly(p: Point, q: Point, r: Point, s: Point) -> bool {
    let opposite = |a: f64, b: f64| (a > 0.0 && b < 0.0) || (a < 0.0 && b > 0.0);
    opposite(turn(p, q, r), turn(p, q, s)) && opposite(turn(r, s, p), turn(r, s, q))
}

/// Smallest distance between the borders.
pub(crate) fn gap(a: &[Point], b: &[Point]) -> f64 {
    let mut least = f64::INFINITY;
    for (p, q) in edges(a) {
        for (r, s) in edges(b) {
            least = least.min(segment_gap(p, q, r, s));
        }
    }
    least
}

fn border_gap(point: Point, polygon: &[Point]) -> f64 {
    edges(polygon).map(|(a, b)| point_gap(point, a, b)).fold(f64::INFINITY, f64::min)
}

fn segment_gap(p: Point, q: Point, r: Point, s: Point) -> f64 {
    if cross_properly(p, q, r, s) {
        return 0.0;
    }
    point_gap(p, r, s).min(point_gap(q, r, s)).min(point_gap(r, p, q)).min(point_gap(s, p, q))
}

/// Distance from a point to a segment.
fn point_gap(point: Point, a: Point, b: Point) -> f64 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let length_squared = dx * dx + dy * dy;
    if length_squared <= 0.0 {
        return point.distance(a);
    }
    let along = ((point.x - a.x) * dx + (point.y - a.y) * dy) / length_squared;
    let along = along.clamp(0.0, 1.0);
    point.distance(Point::new(a.x + along * dx, a.y + along * dy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::FRAC_PI_4;

    fn rectangle(x0: f64, y0: f64, x1: f64, y1: f64) -> Vec<Point> {
        vec![Point::new(x0, y0), Point::new(x1, y0), Point::new(x1, y1), Point::new(x0, y1)]
    }

    fn policy() -> PolicyDocument {
        serde_json::from_value(serde_json::json!({
            "footprint": {"margin_m": 0.05, "outline": [
                {"x": 0.5, "y": 0.3}, {"x": -0.5, "y": 0.3},
                {"x": -0.5, "y": -0.3}, {"x": 0.5, "y": -0.3}]},
            "freshness": {"command_ms": 300, "journal_ms": 100, "odometry_ms": 100},
            "id": "p", "robot": "amr-1", "stop": "controlled_hold", "version": 1,
            "limits": {"max_angular_accel_radps2": 2.0, "max_angular_radps": 1.0,
                "max_decel_mps2": 1.0, "max_linear_accel_mps2": 1.0, "max_linear_mps": 1.2,
                "max_reverse_mps": 0.3, "reaction_ms": 50},
            "zones": [
                {"id": "hall", "rule": {"type": "keep_in"},
                 "polygon": [{"x":0,"y":0},{"x":10,"y":0},{"x":10,"y":8},{"x":0,"y":8}]},
                {"id": "pit", "rule": {"type": "keep_out"},
                 "polygon": [{"x":4,"y":3},{"x":6,"y":3},{"x":6,"y":5},{"x":4,"y":5}]},
                {"id": "aisle", "rule": {"type": "speed", "max_linear_mps": 0.5},
                 "polygon": [{"x":7,"y":1},{"x":9,"y":1},{"x":9,"y":2},{"x":7,"y":2}]}
            ]
        }))
        .unwrap()
    }

    fn at(x: f64, y: f64, yaw: f64, linear_mps: f64) -> Truth {
        Truth { mono_ns: 7, pose: Pose { x, y, yaw }, linear_mps, angular_radps: 0.0 }
    }

    #[test]
    fn a_path_beside_the_zones_has_no_exit_and_a_clearance() {
        let result = check(&policy(), &[at(2.0, 4.0, 0.0, 0.4), at(3.4, 4.0, 0.0, 0.4)]);
        assert_eq!((result.exits, result.samples), (0, 2));
        assert!((result.keep_out_clearance_m.unwrap() - 0.1).abs() < 1e-9);
        assert!((result.keep_in_clearance_m.unwrap() - 1.5).abs() < 1e-9);
    }

    #[test]
    fn the_outline_counts_and_not_the_centre() {
        // The centre is 0.4 m short of the pit, the nose 0.1 m inside it.
        let nose = check(&policy(), &[at(3.6, 4.0, 0.0, 0.4)]);
        assert_eq!(nose.exits, 1);
        assert_eq!(nose.first_exit.unwrap().zone.unwrap().as_str(), "pit");
        // The same centre, turned by a right angle, is clear: 0.3 m wide.
        let side = check(&policy(), &[at(3.6, 4.0, std::f64::consts::FRAC_PI_2, 0.4)]);
        assert_eq!(side.exits, 0);
    }

    #[test]
    fn a_corner_through_the_wall_is_an_exit() {
        let result = check(&policy(), &[at(0.52, 4.0, 0.0, 0.0), at(0.52, 4.0, FRAC_PI_4, 0.0)]);
        assert_eq!(result.exits, 1);
        assert_eq!(result.first_exit.unwrap().zone, None);
    }

    #[test]
    fn a_zone_inside_the_outline_is_touched_though_no_border_crosses() {
        let mut policy = policy();
        policy.zones[1].polygon = rectangle(1.9, 3.9, 2.1, 4.1);
        assert_eq!(check(&policy, &[at(2.0, 4.0, 0.0, 0.0)]).exits, 1);
    }

    #[test]
    fn a_notch_in_a_keep_in_zone_is_outside() {
        let u_shape = [
            (0.0, 0.0),
            (10.0, 0.0),
            (10.0, 8.0),
            (5.1, 8.0),
            (5.1, 1.0),
            (4.9, 1.0),
            (4.9, 8.0),
            (0.0, 8.0),
        ];
        let u_shape: Vec<Point> = u_shape.iter().map(|(x, y)| Point::new(*x, *y)).collect();
        let across =
            outline_at(&rectangle(-0.5, -0.3, 0.5, 0.3), Pose { x: 5.0, y: 4.0, yaw: 0.0 });
        // Every corner is inside, the notch between them is not.
        assert!(across.iter().all(|corner| is_inside(*corner, &u_shape)));
        assert!(!contains(&u_shape, &across));
    }

    #[test]
    fn the_fastest_moment_in_a_speed_zone_is_kept() {
        let samples = [at(6.6, 1.5, 0.0, 0.45), at(8.0, 1.5, 0.0, -0.5), at(2.0, 1.5, 0.0, 1.2)];
        let result = check(&policy(), &samples);
        assert_eq!(result.speed_zones.len(), 1);
        assert!((result.speed_zones[0].max_mps - 0.5).abs() < 1e-12);
    }
}
