//! A tour of a map nobody has seen before: a dock, places to visit, and straight legs between
//! them that stay clear.
//!
//! Found on a lattice of places with room around them, by A* and Dijkstra of the crate
//! `pathfinding`. The seed picks among what is possible.

use nooterra_policy::field::Field;
use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::grid::Frame;
use pathfinding::prelude::{astar, dijkstra_all};

/// Between two places of the lattice, metres, where the cells are smaller.
const STEP_M: f64 = 0.15;

/// Beyond the disc that the gate judges, for a leg: waypoints count as reached 0.3 m away, and
/// the way there is not quite straight.
const LEG_ROOM_M: f64 = 0.4;

/// For the dock: driving off it, aligning before it and coming back.
const DOCK_ROOM_M: f64 = 1.0;

/// How long the tour shall be, and what is short or long enough, metres.
const LENGTH_M: f64 = 25.0;
const ENOUGH_M: (f64, f64) = (17.0, 31.0);
const LEAST_M: f64 = 5.0;

/// No place of the tour is further from its dock than this, metres.
const REACH_M: f64 = 11.0;

const ATTEMPTS: u32 = 60;

/// A tour.
#[derive(Clone, Debug)]
pub(crate) struct Tour {
    /// Where it begins and ends; the robot drives off it forwards.
    pub(crate) dock: Pose,
    /// A point behind an edge that must not be crossed. Who drives towards it from
    /// `forbidden_at` is held, and has a free way to the waypoint after that.
    pub(crate) forbidden: Point,
    /// Index of a waypoint.
    pub(crate) forbidden_at: usize,
    /// From the dock to the dock, metres.
    pub(crate) length_m: f64,
    /// Each in sight of the one before it, with room.
    pub(crate) waypoints: Vec<Point>,
}

/// Repeatable choices (SplitMix64).
#[derive(Debug)]
struct Choice(u64);

impl Choice {
    fn of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The remainder is below the length.
        &from[usize::try_from(mixed % from.len() as u64).unwrap_or(0)]
    }
}

type Node = (i32, i32);

/// What lies around the ways of a map.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// What must be kept out of.
    pub(crate) forbidden: Vec<Field>,
    /// Where a limit holds: a tour that shows it is preferred.
    pub(crate) slow: Option<Field>,
    /// Where the limit is so low that a tour would not end: left aside.
    pub(crate) too_slow: Option<Field>,
}

/// A map with room to drive in.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    around: &'a Surroundings,
    columns: i32,
    frame: Frame,
    /// Cells from node to node.
    pitch: f64,
    /// Of the disc that the gate judges, metres.
    radius_m: f64,
    /// For each node its clearance, metres.
    room: Vec<f64>,
}

impl<'a> Ground<'a> {
    /// The ground within these surroundings, for a disc.
    pub(crate) fn new(frame: &Frame, around: &'a Surroundings, radius_m: f64) -> Self {
        let pitch = (STEP_M / frame.cell_m).round().max(1.0);
        let (columns, rows) = (nodes(frame.width, pitch), nodes(frame.height, pitch));
        let mut ground = Self { around, columns, frame: *frame, pitch, radius_m, room: Vec::new() };
        ground.room = (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (column, row)))
            .map(|node| ground.spare(ground.place(node)))
            .collect();
        ground
    }

    /// A tour with all that the demo needs; `None` where there is none.
    pub(crate) fn tour(&self, seed: u64) -> Option<Tour> {
        let mut choice = Choice(seed);
        let docks = self.nodes(self.radius_m + DOCK_ROOM_M);
        let mut best: Option<Tour> = None;
        if docks.is_empty() {
            return None;
        }
        for _ in 0..ATTEMPTS {
            let Some(tour) = self.attempt(*choice.of(&docks), &mut choice) else {
                continue;
            };
            let is_slowed = self.is_slowed(tour.dock.point(), &tour.waypoints);
            if is_slowed && (ENOUGH_M.0..ENOUGH_M.1).contains(&tour.length_m) {
                return Some(tour);
            }
            let off = |tour: &Tour| (tour.length_m - LENGTH_M).abs();
            if tour.length_m >= LEAST_M && best.as_ref().is_none_or(|best| off(&tour) < off(best)) {
                best = Some(tour);
            }
        }
        best
    }

    fn attempt(&self, dock: Node, choice: &mut Choice) -> Option<Tour> {
        let home = self.place(dock);
        let near = |node: &Node| self.place(*node).distance(home) <= REACH_M;
        let reached = dijkstra_all(&dock, |node| {
            self.neighbours(*node).filter(|(node, _)| near(node)).collect::<Vec<_>>()
        });
        let mut far: Vec<Node> = reached
            .iter()
            .filter(|(_, (_, cost))| f64::from(*cost) * self.pitch * self.frame.cell_m / 10.0 > 1.5)
            .map(|(node, _)| *node)
            .collect();
        // The order of a hash map is not repeatable.
        far.sort_unstable();
        if far.is_empty() {
            return None;
        }
        // The one of some triples whose way round, as the crow flies, is nearest to the wish,
        // and whose places are not all in one corner; ways are longer than the crow's.
        let off = |stops: &[Node; 3]| {
            let [a, b, c] = stops.map(|node| self.place(node));
            let legs = [home.distance(a), a.distance(b), b.distance(c), c.distance(home)];
            let least = legs.into_iter().fold(a.distance(c), f64::min);
            let round: f64 = legs.iter().sum();
            (round - 0.9 * LENGTH_M).abs() + 3.0 * (4.0 - least).max(0.0)
        };
        let stops = (0..40)
            .map(|_| [*choice.of(&far), *choice.of(&far), *choice.of(&far)])
            .min_by(|a, b| off(a).total_cmp(&off(b)))?;
        let mut legs = Vec::new();
        let mut from = dock;
        for to in stops.into_iter().chain([dock]) {
            let points = self.way(from, to)?.into_iter().map(|node| self.place(node)).collect();
            legs.push(self.straightened(points));
            from = to;
        }
        let first = *legs.first()?.get(1)?;
        let yaw = (first.y - home.y).atan2(first.x - home.x);
        let corners: Vec<Point> = legs.iter().flat_map(|leg| leg.iter().skip(1).copied()).collect();
        let waypoints = corners[..corners.len() - 1].to_vec();
        let along = [home].into_iter().chain(corners.iter().copied());
        let length_m = along.zip(&corners).map(|(from, to)| from.distance(*to)).sum();
        if waypoints.len() > 60 {
            return None;
        }
        let dock = Pose { x: home.x, y: home.y, yaw };
        // The last piece of the way back begins in front of the dock.
        let front = Point::new(home.x + 0.45 * yaw.cos(), home.y + 0.45 * yaw.sin());
        if !self.is_clear(*waypoints.last()?, front, self.radius_m + 0.2) {
            return None;
        }
        let (forbidden_at, forbidden) = self.forbidden(&waypoints)?;
        Some(Tour { dock, forbidden, forbidden_at, length_m, waypoints })
    }

    /// The cheapest way along the lattice.
    fn way(&self, from: Node, to: Node) -> Option<Vec<Node>> {
        let left = |node: &Node| {
            let (dx, dy) = ((node.0 - to.0).unsigned_abs(), (node.1 - to.1).unsigned_abs());
            10 * dx.max(dy) + 4 * dx.min(dy)
        };
        let next = |node: &Node| self.neighbours(*node).collect::<Vec<_>>();
        astar(&from, next, left, |node| *node == to).map(|(way, _)| way)
    }

    /// Leaves out the corners that straight legs with room do without.
    fn straightened(&self, points: Vec<Point>) -> Vec<Point> {
        let mut kept = vec![points[0]];
        let mut at = 0;
        while at + 1 < points.len() {
            let seen = (at + 2..points.len())
                .rev()
                .find(|to| self.is_clear(points[at], points[*to], self.radius_m + LEG_ROOM_M));
            at = seen.unwrap_or(at + 1);
            kept.push(points[at]);
        }
        kept
    }

    /// The first waypoint from which some direction leads to an edge, and a point behind it.
    fn forbidden(&self, waypoints: &[Point]) -> Option<(usize, Point)> {
        let pairs = waypoints.iter().zip(waypoints.iter().skip(1)).enumerate();
        for (index, (from, next)) in pairs {
            for direction in 0..48 {
                let angle = f64::from(direction) * std::f64::consts::TAU / 48.0;
                let (sin, cos) = angle.sin_cos();
                let ahead = |at: Point, by: f64| Point::new(at.x + by * cos, at.y + by * sin);
                let Some(edge_m) = self.edge(*from, |by| ahead(*from, by)) else {
                    continue;
                };
                if !(0.6..=1.8).contains(&edge_m) {
                    continue;
                }
                let target = ahead(*from, edge_m + self.radius_m + 0.6);
                // The robot may be 0.3 m off the waypoint when it is sent, on any side.
                let around = [(0.0, 0.0), (0.3, 0.0), (-0.3, 0.0), (0.0, 0.3), (0.0, -0.3)];
                let free = around.iter().all(|(dx, dy)| {
                    self.is_free_from(Point::new(from.x + dx, from.y + dy), target, *next)
                });
                if free {
                    return Some((index, target));
                }
            }
        }
        None
    }

    /// On the way towards `target` there is an edge, and from all along it a way to `next`.
    fn is_free_from(&self, from: Point, target: Point, next: Point) -> bool {
        let whole = from.distance(target);
        let part = |by: f64| {
            let part = by / whole;
            Point::new(from.x + part * (target.x - from.x), from.y + part * (target.y - from.y))
        };
        let Some(edge_m) = self.edge(from, part) else {
            return false;
        };
        // The lease of the command ends before a slow robot is there.
        let is_slow = |by: f64| {
            let slow = self.around.slow.as_ref().map(|slow| slow.signed_distance(part(by)));
            slow.is_some_and(|clear_m| clear_m < self.radius_m + 0.05)
        };
        if (0..=10).any(|tenth| is_slow(f64::from(tenth) / 10.0 * edge_m)) {
            return false;
        }
        let held = part(edge_m);
        let onward = held.distance(next);
        // Away from the edge, at an angle: along it every error of the pose is a crossing.
        let off = 0.3 / onward.max(0.3);
        let away = Point::new(held.x + off * (next.x - held.x), held.y + off * (next.y - held.y));
        edge_m < whole - 0.3
            && onward > 0.8
            && self.clearance(away) >= self.clearance(held) + 0.12
            && self.is_clear(away, next, self.radius_m + 0.1)
            && [0.25, 0.5, 0.75]
                .iter()
                .all(|share| self.is_clear(part(share * edge_m), next, self.radius_m + 0.05))
    }

    /// How far the disc can go along a way of 3 m before it meets an edge.
    fn edge(&self, from: Point, along: impl Fn(f64) -> Point) -> Option<f64> {
        if self.clearance(from) <= self.radius_m {
            return None;
        }
        let mut by = 0.0;
        while by < 3.0 {
            let room = self.clearance(along(by)) - self.radius_m;
            if room < 0.02 {
                return Some(by);
            }
            by += room.max(0.01);
        }
        None
    }

    fn is_clear(&self, from: Point, to: Point, room_m: f64) -> bool {
        let length = from.distance(to);
        let mut along = 0.0;
        loop {
            let part = if length > 0.0 { along / length } else { 0.0 };
            let at = Point::new(from.x + part * (to.x - from.x), from.y + part * (to.y - from.y));
            let spare = self.spare(at) - room_m;
            if spare < 0.0 {
                return false;
            }
            if along >= length {
                return true;
            }
            along = (along + spare.max(0.02)).min(length);
        }
    }

    /// To the nearest edge that must not be crossed.
    fn clearance(&self, at: Point) -> f64 {
        let fields = self.around.forbidden.iter();
        fields.map(|field| field.signed_distance(at)).fold(f64::INFINITY, f64::min)
    }

    /// The same, and to where it would be too slow.
    fn spare(&self, at: Point) -> f64 {
        let slow = self.around.too_slow.as_ref().map(|field| field.signed_distance(at));
        self.clearance(at).min(slow.unwrap_or(f64::INFINITY))
    }

    /// Some leg leads through a place where a limit holds, or there is none.
    fn is_slowed(&self, dock: Point, waypoints: &[Point]) -> bool {
        let Some(slow) = &self.around.slow else {
            return true;
        };
        let from = [dock].into_iter().chain(waypoints.iter().copied());
        from.zip(waypoints).any(|(from, to)| {
            (0..=20).any(|step| {
                let part = f64::from(step) / 20.0;
                let at =
                    Point::new(from.x + part * (to.x - from.x), from.y + part * (to.y - from.y));
                slow.signed_distance(at) < 0.0
            })
        })
    }

    fn place(&self, (column, row): Node) -> Point {
        let cells = |node: i32| (f64::from(node) + 0.5) * self.pitch;
        self.frame.to_map(cells(column), cells(row))
    }

    fn room(&self, (column, row): Node) -> f64 {
        let inside = (0..self.columns).contains(&column) && row >= 0;
        let at = i64::from(row) * i64::from(self.columns) + i64::from(column);
        let room = usize::try_from(at).ok().and_then(|at| self.room.get(at));
        if inside { room.copied().unwrap_or(f64::NEG_INFINITY) } else { f64::NEG_INFINITY }
    }

    /// All nodes with room around them.
    fn nodes(&self, room_m: f64) -> Vec<Node> {
        let nodes = (0_i32..).zip(&self.room).filter(|(_, room)| **room >= room_m);
        nodes.map(|(at, _)| (at % self.columns, at / self.columns)).collect()
    }

    /// The nodes that a leg may lead to, with what the step costs.
    fn neighbours(&self, (column, row): Node) -> impl Iterator<Item = (Node, u32)> + '_ {
        const STEPS: [(i32, i32, u32); 8] = [
            (1, 0, 10),
            (-1, 0, 10),
            (0, 1, 10),
            (0, -1, 10),
            (1, 1, 14),
            (1, -1, 14),
            (-1, 1, 14),
            (-1, -1, 14),
        ];
        STEPS
            .into_iter()
            .map(move |(right, up, cost)| ((column + right, row + up), cost))
            .filter(|(node, _)| self.room(*node) >= self.radius_m + LEG_ROOM_M)
    }
}

/// How many nodes there are along a side, at least one.
#[allow(clippy::cast_possible_truncation)]
fn nodes(cells: u32, pitch: f64) -> i32 {
    // At most the cells of a side, which are fewer than an i32 counts.
    (f64::from(cells) / pitch).floor().max(1.0) as i32
}
