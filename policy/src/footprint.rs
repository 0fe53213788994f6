//! What of the robot is judged: a few discs that cover its outline.
//!
//! A disc is what a distance answers at once. One disc around all would refuse a long robot
//! every gap that is narrower than it is long. So the outline, which is convex, is cut into
//! columns along its longer side, and these across where that helps; each piece gets the
//! smallest disc around it. Whatever the cuts, the discs together contain the outline; which
//! cuts are used is the choice with the least that sticks out.
//!
//! A robot that is nearly round keeps one disc.

use crate::planar::{Heading, Planar};
use nooterra_protocol::geometry::Point;
use nooterra_protocol::policy::Footprint;

/// The most discs of a robot.
pub const MAX_DISCS: usize = 8;

/// Nearly round is what its circle exceeds by no more than this part of the radius: from a
/// hexagon on.
const ROUND: f64 = 0.15;

/// One disc more must make what sticks out smaller by more than this factor to be worth its
/// time.
const WORTH: f64 = 0.8;

/// Directions in which what sticks out is measured.
const WAYS: u32 = 16;

/// Widths that are tried for the columns at both ends.
const WIDTHS: u32 = 8;

/// Part of what is judged, in the body frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disc {
    /// Of the centre from `base_link`, metres.
    pub arm_m: f64,
    /// From `base_link`.
    pub center: Point,
    /// Metres.
    pub radius_m: f64,
}

impl Disc {
    fn new(center: Point, radius_m: f64) -> Self {
        Self { arm_m: center.x.hypot(center.y), center, radius_m }
    }

    fn touches_all(&self, points: &[Point]) -> bool {
        points.iter().all(|point| point.distance(self.center) <= self.radius_m + 1e-12)
    }
}

/// A robot as it is judged: outline and margin, and what is added for the steps of a walk.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    added_m: f64,
    arm_m: f64,
    circle_m: f64,
    discs: Vec<Disc>,
}

impl Body {
    /// The circle around `base_link`: for a base that cannot drive backward. Where it has no
    /// room to turn it could do nothing else; so it never goes where it has none.
    #[must_use]
    pub fn circle(footprint: &Footprint, slack_m: f64) -> Self {
        let arms = footprint.outline.iter().map(|corner| corner.x.hypot(corner.y));
        let radius_m = arms.fold(0.0, f64::max) + footprint.margin_m + slack_m;
        let center = Point::default();
        let added_m = footprint.margin_m + slack_m;
        Self { added_m, arm_m: 0.0, circle_m: radius_m, discs: vec![Disc::new(center, radius_m)] }
    }

    /// Discs over an outline that was checked, each larger by the margin and by `slack_m`.
    #[must_use]
    pub fn covering(footprint: &Footprint, slack_m: f64) -> Self {
        let Some(mut discs) = cover(&footprint.outline) else {
            return Self::circle(footprint, slack_m);
        };
        let (mut arm_m, mut circle_m) = (0.0_f64, 0.0_f64);
        let added_m = footprint.margin_m + slack_m;
        for disc in &mut discs {
            // The last is rounding.
            disc.radius_m += added_m + 1e-9;
            circle_m = circle_m.max(disc.arm_m + disc.radius_m);
            arm_m = arm_m.max(disc.arm_m);
        }
        Self { added_m, arm_m, circle_m, discs }
    }

    /// Radius of the circle around `base_link` that contains the discs at any heading, metres:
    /// where it is clear, they are.
    #[must_use]
    pub const fn circle_m(&self) -> f64 {
        self.circle_m
    }

    /// What was added to the outline, metres: an edge that is crossed by no more is grazed.
    pub(crate) fn added_m(&self) -> f64 {
        self.added_m
    }

    /// Of the disc furthest out, metres.
    pub(crate) fn arm_m(&self) -> f64 {
        self.arm_m
    }

    /// The discs: at least one.
    #[must_use]
    pub fn discs(&self) -> &[Disc] {
        &self.discs
    }

    /// The robot is that circle: its heading does not count.
    #[must_use]
    pub fn is_circle(&self) -> bool {
        matches!(&self.discs[..], [disc] if disc.center == Point::default())
    }

    /// The centres of the discs at a place; as many as there are discs.
    pub(crate) fn centers(&self, at: Point, heading: Heading) -> [Point; MAX_DISCS] {
        let Heading { cos, sin } = heading;
        let mut centers = [Point::default(); MAX_DISCS];
        for (center, Disc { center: from, .. }) in centers.iter_mut().zip(&self.discs) {
            *center =
                Point::new(at.x + from.x * cos - from.y * sin, at.y + from.x * sin + from.y * cos);
        }
        centers
    }

    /// How fast the centres of the discs move, m/s, the fastest last: the same all along an
    /// arc.
    pub(crate) fn paces(&self, twist: Planar) -> ([f64; MAX_DISCS], f64) {
        let (mut paces, mut most) = ([0.0; MAX_DISCS], 0.0_f64);
        for (pace, Disc { center, .. }) in paces.iter_mut().zip(&self.discs) {
            let ahead = twist.x - twist.angular * center.y;
            let aside = twist.y + twist.angular * center.x;
            *pace = (ahead * ahead + aside * aside).sqrt();
            // Not `max`, which drops what is no number.
            most = if most.is_nan() || *pace <= most { most } else { *pace };
        }
        (paces, most)
    }
}

/// The discs for an outline, `None` when the circle around `base_link` is as good as any.
fn cover(outline: &[Point]) -> Option<Vec<Disc>> {
    let whole = around(outline);
    let circle_m = outline.iter().map(|corner| corner.x.hypot(corner.y)).fold(0.0, f64::max);
    let alone = excess(&[whole], outline);
    if alone <= ROUND * whole.radius_m {
        return (circle_m > 1.02 * whole.radius_m).then(|| vec![whole]);
    }
    // For each number of discs the cover of which least sticks out.
    let mut best: Vec<Option<(f64, Vec<Disc>)>> = vec![None; MAX_DISCS + 1];
    let frame = Frame::of(outline);
    for (end_rows, middle_rows, columns) in layouts() {
        for step in 1..=if columns == 0 { 1 } else { WIDTHS } {
            let part =
                if columns == 0 { 0.5 } else { 0.5 * f64::from(step) / f64::from(WIDTHS + 1) };
            let discs = frame.cut(outline, part, end_rows, middle_rows, columns);
            let sticks_out = excess(&discs, outline);
            if let Some(slot) = best.get_mut(discs.len())
                && slot.as_ref().is_none_or(|(least, _)| sticks_out < *least)
            {
                *slot = Some((sticks_out, discs));
            }
        }
    }
    let mut chosen = (alone, vec![whole]);
    for (sticks_out, discs) in best.into_iter().flatten() {
        if sticks_out < WORTH * chosen.0 {
            chosen = (sticks_out, discs);
        }
    }
    Some(chosen.1)
}

/// Rows of the columns at both ends, rows of those between, and how many are between.
fn layouts() -> impl Iterator<Item = (u32, u32, u32)> {
    let all = (1..=3).flat_map(|ends| {
        (1..=2).flat_map(move |rows| (0..=6).map(move |columns| (ends, rows, columns)))
    });
    all.filter(|(ends, rows, columns)| (2 * ends + rows * columns) as usize <= MAX_DISCS)
}

/// The box around an outline, along one of its sides: the one with the least area.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// The direction of its longer side.
    ahead: Point,
    from: Point,
    length: f64,
    width: f64,
}

impl Frame {
    fn of(outline: &[Point]) -> Self {
        let turned = (0..outline.len()).map(|side| {
            let (from, to) = (outline[side], outline[(side + 1) % outline.len()]);
            let length = from.distance(to);
            Self::along(outline, Point::new((to.x - from.x) / length, (to.y - from.y) / length))
        });
        let least = turned.min_by(|a, b| (a.length * a.width).total_cmp(&(b.length * b.width)));
        let frame = least.unwrap_or_else(|| Self::along(outline, Point::new(1.0, 0.0)));
        if frame.length >= frame.width {
            return frame;
        }
        Self::along(outline, Point::new(-frame.ahead.y, frame.ahead.x))
    }

    fn along(outline: &[Point], ahead: Point) -> Self {
        let span = |way: Point| {
            outline
                .iter()
                .map(|p| p.x * way.x + p.y * way.y)
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), at| {
                    (least.min(at), most.max(at))
                })
        };
        let (back, front) = span(ahead);
        let (right, left) = span(Point::new(-ahead.y, ahead.x));
        Self { ahead, from: Point::new(back, right), length: front - back, width: left - right }
    }

    /// The smallest discs around the pieces, columns first, then their rows.
    fn cut(&self, outline: &[Point], part: f64, ends: u32, middle: u32, columns: u32) -> Vec<Disc> {
        let Self { ahead, from, length, width } = *self;
        let left = Point::new(-ahead.y, ahead.x);
        let end = part * length;
        let each = (length - 2.0 * end) / f64::from(columns.max(1));
        let mut cuts = vec![(from.x, from.x + end, ends)];
        for column in 0..columns {
            let begin = from.x + end + each * f64::from(column);
            cuts.push((begin, begin + each, middle));
        }
        cuts.push((from.x + length - end, from.x + length, ends));
        let mut discs = Vec::new();
        for (begin, finish, rows) in cuts {
            let column = clipped(&clipped(outline, ahead, begin, 1.0), ahead, finish, -1.0);
            for row in 0..rows {
                let height = width / f64::from(rows);
                let low = from.y + height * f64::from(row);
                // The outer rows are not cut on the outside: no rounding leaves a sliver over.
                let above =
                    if row == 0 { column.clone() } else { clipped(&column, left, low, 1.0) };
                let last = row + 1 == rows;
                let piece = if last { above } else { clipped(&above, left, low + height, -1.0) };
                if !piece.is_empty() {
                    discs.push(around(&piece));
                }
            }
        }
        discs
    }
}

/// The part of a convex polygon on one side of a line: where `sign * (p · way - at) >= 0`.
fn clipped(polygon: &[Point], way: Point, at: f64, sign: f64) -> Vec<Point> {
    let depth = |p: &Point| sign * (p.x * way.x + p.y * way.y - at);
    let mut kept = Vec::with_capacity(polygon.len() + 1);
    for (index, to) in polygon.iter().enumerate() {
        let from = &polygon[(index + polygon.len() - 1) % polygon.len()];
        let (before, after) = (depth(from), depth(to));
        if (before < 0.0) != (after < 0.0) {
            let part = before / (before - after);
            kept.push(Point::new(from.x + part * (to.x - from.x), from.y + part * (to.y - from.y)));
        }
        if after >= 0.0 {
            kept.push(*to);
        }
    }
    kept
}

/// The smallest disc around points: grown from a point to two to three that it must touch.
fn around(points: &[Point]) -> Disc {
    let mut disc = Disc::new(points.first().copied().unwrap_or_default(), 0.0);
    for (i, a) in points.iter().enumerate() {
        if disc.touches_all(&[*a]) {
            continue;
        }
        disc = Disc::new(*a, 0.0);
        for (j, b) in points[..i].iter().enumerate() {
            if disc.touches_all(&[*b]) {
                continue;
            }
            disc = through(*a, *b);
            for c in &points[..j] {
                if !disc.touches_all(&[*c]) {
                    disc = through_three(*a, *b, *c).unwrap_or(disc);
                }
            }
        }
    }
    // Whatever rounding did, it contains them.
    let reach = points.iter().map(|point| point.distance(disc.center)).fold(0.0, f64::max);
    Disc { radius_m: reach, ..disc }
}

fn through(a: Point, b: Point) -> Disc {
    let center = Point::new(f64::midpoint(a.x, b.x), f64::midpoint(a.y, b.y));
    Disc::new(center, a.distance(b) / 2.0)
}

/// `None` where they are on a line.
fn through_three(a: Point, b: Point, c: Point) -> Option<Disc> {
    let (bx, by, cx, cy) = (b.x - a.x, b.y - a.y, c.x - a.x, c.y - a.y);
    let twice = 2.0 * (bx * cy - by * cx);
    let (b2, c2) = (bx * bx + by * by, cx * cx + cy * cy);
    let (x, y) = ((cy * b2 - by * c2) / twice, (bx * c2 - cx * b2) / twice);
    let disc = Disc::new(Point::new(a.x + x, a.y + y), x.hypot(y));
    disc.radius_m.is_finite().then_some(disc)
}

/// How far the discs reach beyond a convex outline, metres.
fn excess(discs: &[Disc], outline: &[Point]) -> f64 {
    let turn = crate::simple::area(outline).signum();
    let beyond = |at: Point| {
        let (mut inside, mut nearest) = (true, f64::INFINITY);
        for [from, to] in crate::simple::sides(outline) {
            let (ex, ey) = (to.x - from.x, to.y - from.y);
            let (px, py) = (at.x - from.x, at.y - from.y);
            inside &= (ex * py - ey * px) * turn >= 0.0;
            let along = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
            nearest = nearest.min((px - along * ex).hypot(py - along * ey));
        }
        if inside { 0.0 } else { nearest }
    };
    let mut most = 0.0_f64;
    for way in 0..WAYS {
        let (sin, cos) = (std::f64::consts::TAU * f64::from(way) / f64::from(WAYS)).sin_cos();
        for Disc { center, radius_m, .. } in discs {
            most =
                most.max(beyond(Point::new(center.x + radius_m * cos, center.y + radius_m * sin)));
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, prop, prop_assert, proptest};
    use std::f64::consts::TAU;

    fn rectangle(back: f64, front: f64, half: f64) -> Vec<Point> {
        [(back, -half), (front, -half), (front, half), (back, half)]
            .map(|(x, y)| Point::new(x, y))
            .to_vec()
    }

    fn body(outline: Vec<Point>, margin_m: f64) -> Body {
        Body::covering(&Footprint { margin_m, outline }, 0.005)
    }

    fn ring(corners: u32, radius: f64) -> Vec<Point> {
        (0..corners)
            .map(|corner| {
                let turn = TAU * f64::from(corner) / f64::from(corners);
                Point::new(radius * turn.cos(), radius * turn.sin())
            })
            .collect()
    }

    /// Points on an ellipse, in order: convex.
    fn outlines() -> impl Strategy<Value = Vec<Point>> {
        let turns = prop::collection::btree_set(0_u16..360, 3..20);
        (turns, 0.2..3.0, 0.2..3.0, -1.0..1.0).prop_map(|(turns, length, width, off)| {
            let corner = |turn: u16| {
                let (sin, cos) = f64::from(turn).to_radians().sin_cos();
                Point::new(off + length * cos, width * sin)
            };
            turns.into_iter().map(corner).collect()
        })
    }

    proptest! {
        #[test]
        fn the_discs_contain_the_outline_and_the_margin(
            outline in outlines(), margin in 0.0..0.2, parts in prop::collection::vec(0.01..1.0, 20)
        ) {
            let body = body(outline.clone(), margin);
            prop_assert!((1..=MAX_DISCS).contains(&body.discs().len()));
            // Any mean of the corners is in the outline, and so are the corners.
            let total: f64 = parts[..outline.len()].iter().sum();
            let mean = |axis: fn(&Point) -> f64| {
                outline.iter().zip(&parts).map(|(p, part)| axis(p) * part / total).sum::<f64>()
            };
            let inner = Point::new(mean(|p| p.x), mean(|p| p.y));
            for at in outline.iter().copied().chain([inner]) {
                let room = body.discs().iter().map(|disc| disc.radius_m - at.distance(disc.center));
                let room = room.fold(f64::NEG_INFINITY, f64::max) - margin - 0.005;
                prop_assert!(room >= -1e-12, "{room} m at {at:?}: {body:?}");
                let reach = body.discs().iter().map(|disc| disc.arm_m + disc.radius_m);
                prop_assert!(reach.fold(0.0, f64::max) <= body.circle_m() + 1e-12);
                prop_assert!(at.x.hypot(at.y) + margin + 0.005 <= body.circle_m() + 1e-9);
            }
        }

        #[test]
        fn the_smallest_disc_contains_its_points_and_is_no_larger_than_it_must_be(
            points in prop::collection::vec((-1.0..1.0, -1.0..1.0), 1..30)
        ) {
            let points: Vec<Point> = points.iter().map(|(x, y)| Point::new(*x, *y)).collect();
            let disc = around(&points);
            prop_assert!(disc.touches_all(&points));
            let apart = points.iter().flat_map(|a| points.iter().map(move |b| a.distance(*b)));
            // Jung's theorem.
            let diameter = apart.fold(0.0, f64::max);
            prop_assert!(disc.radius_m <= diameter / 3_f64.sqrt() + 1e-9);
        }
    }

    #[test]
    fn a_robot_that_is_nearly_round_keeps_one_disc() {
        let round = body(ring(12, 0.3), 0.05);
        assert!(round.is_circle());
        assert!((round.circle_m() - 0.355).abs() < 1e-9);
        // Round, but not around its wheels.
        let ahead = ring(12, 0.3).into_iter().map(|p| Point::new(p.x + 0.2, p.y)).collect();
        let ahead = body(ahead, 0.05);
        assert!(!ahead.is_circle() && ahead.discs().len() == 1, "{ahead:?}");
    }

    #[test]
    fn a_long_robot_is_hardly_wider_than_it_is() {
        for (outline, most) in [
            (rectangle(-0.5, 0.5, 0.25), 0.06),
            (rectangle(-0.2, 1.0, 0.3), 0.08),
            (rectangle(-0.25, 0.25, 0.2), 0.05),
            (rectangle(-1.0, 1.0, 0.2), 0.09),
        ] {
            let circle = Body::circle(&Footprint { margin_m: 0.0, outline: outline.clone() }, 0.0);
            let covering =
                Body::covering(&Footprint { margin_m: 0.0, outline: outline.clone() }, 0.0);
            let (before, after) =
                (excess(circle.discs(), &outline), excess(covering.discs(), &outline));
            assert!(after < most && after < before / 2.0, "{before} m, {after} m: {covering:?}");
        }
    }

    #[test]
    fn the_fastest_disc_of_a_turn_is_the_furthest_out() {
        let long = body(rectangle(-0.2, 1.0, 0.3), 0.0);
        let most = long.discs().iter().map(|disc| disc.arm_m).fold(0.0, f64::max);
        assert!((long.paces(Planar::new(0.0, 0.0, 2.0)).1 - 2.0 * most).abs() < 1e-12);
        assert!((long.paces(Planar::new(3.0, 4.0, 0.0)).1 - 5.0).abs() < 1e-12);
        assert!(long.paces(Planar::new(f64::NAN, 0.0, 0.0)).1.is_nan());
    }
}
