//! The robot at one pose, and how it meets a zone there.
#![allow(clippy::neg_cmp_op_on_partial_ord)] // What is no number must not pass for clear.

use crate::footprint::{Body, MAX_DISCS};
use crate::index::Rect;
use crate::planar::Heading;
use crate::shape::Shape;
use crate::zones::{Edge, Unsure};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Pose};

/// What holds in a zone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    KeepIn,
    KeepOut,
    /// At most so fast, m/s.
    Speed(f64),
}

/// A zone.
#[derive(Clone, Debug)]
pub(crate) struct Area {
    pub(crate) bounds: Option<Rect>,
    pub(crate) index: u16,
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
}

/// How an area is met by the robot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met {
    pub(crate) clearance_m: f64,
    /// How much of the robot is beyond the edge: see [`walk`](crate::walk).
    pub(crate) depth_m: f64,
}

/// How far the robot's middles are from an area's edge at one pose, on the side where they
/// should be: measured once for all the paths that begin there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Of the discs; `None` where the circle is clear.
    pub(crate) discs_m: Option<[f64; MAX_DISCS]>,
    pub(crate) whole_m: f64,
}

/// A pose at which areas are met, with its discs once they are asked for.
pub(crate) struct Place<'a> {
    /// So far from where the uncertainty is about, metres.
    along_m: f64,
    body: &'a Body,
    centers: Option<[Point; MAX_DISCS]>,
    heading: Option<Heading>,
    pose: Pose,
    unsure: &'a Unsure,
}

impl Area {
    pub(crate) const fn edge(&self, rule: Rule, met: &Met) -> Edge {
        Edge { clearance_m: met.clearance_m, rule, zone: self.index }
    }

    /// Of a place from the edge, on the side where it should be; exact where that is less than
    /// `enough`.
    pub(crate) fn distance_m(&self, inside: bool, at: Point, enough: f64) -> f64 {
        let sign = if inside { -1.0 } else { 1.0 };
        let distance_m = sign * self.shape.signed_within(at, enough);
        if distance_m < 0.0 {
            // How deep it is must be exact: the way back is measured by it.
            return sign * self.shape.signed_within(at, f64::INFINITY);
        }
        distance_m
    }
}

impl<'a> Place<'a> {
    pub(crate) const fn new(body: &'a Body, pose: Pose, unsure: &'a Unsure) -> Self {
        Self { along_m: 0.0, body, centers: None, heading: None, pose, unsure }
    }

    /// The same, its heading being known.
    pub(crate) const fn heading(self, heading: Heading) -> Self {
        Self { heading: Some(heading), ..self }
    }

    /// The same, when what is not known about the pose swings a path of so many metres.
    pub(crate) const fn after(self, along_m: f64) -> Self {
        Self { along_m, ..self }
    }

    pub(crate) const fn point(&self) -> Point {
        self.pose.point()
    }

    /// Clearance from an area, at most.
    pub(crate) fn met(&mut self, area: &Area, inside: bool, known: Option<&Known>) -> Met {
        let met = self.whole(area, inside, 0.0, known);
        if met.clearance_m >= 0.0 || self.body.is_circle() {
            return met;
        }
        self.by_discs(area, inside, 0.0, known)
    }

    /// Clearance of the circle around everything, exact where it is less than `enough`.
    pub(crate) fn whole(
        &self,
        area: &Area,
        inside: bool,
        enough: f64,
        known: Option<&Known>,
    ) -> Met {
        // Where it is clear, the discs are: with what is added to the one furthest out.
        let circle_m = self.body.circle_m() + self.unsure.at(self.along_m + self.body.arm_m());
        let distance_m = known.map_or_else(
            || area.distance_m(inside, self.pose.point(), circle_m + enough),
            |known| known.whole_m,
        );
        let clearance_m = distance_m - circle_m;
        Met { clearance_m, depth_m: (-clearance_m).max(0.0) }
    }

    /// Clearance of the discs, exact where it is less than `enough`.
    pub(crate) fn by_discs(
        &mut self,
        area: &Area,
        inside: bool,
        enough: f64,
        known: Option<&Known>,
    ) -> Met {
        let known_m = known.and_then(|known| known.discs_m.as_ref());
        let mut met = Met { clearance_m: enough, depth_m: 0.0 };
        let (mut sum, mut radii_m, mut furthest_m) = (Point::default(), 0.0, 0.0_f64);
        for (index, (disc, center)) in self.body.discs().iter().zip(self.centers()).enumerate() {
            let unsure_m = self.unsure.at(self.along_m + disc.arm_m);
            let radius_m = disc.radius_m + unsure_m;
            // More than the least so far need not be measured.
            let enough = radius_m + met.clearance_m.max(0.0);
            let distance_m = known_m
                .and_then(|known_m| known_m.get(index).copied())
                .unwrap_or_else(|| area.distance_m(inside, center, enough));
            let clearance_m = distance_m - radius_m;
            met.depth_m += (-clearance_m).max(0.0);
            met.lower(clearance_m);
            sum = Point::new(sum.x + center.x, sum.y + center.y);
            radii_m += radius_m;
            furthest_m = furthest_m.max(unsure_m);
        }
        if !inside && met.depth_m > 0.0 {
            let count = self.body.discs().len() as f64;
            let middle = Point::new(sum.x / count, sum.y / count);
            let beyond_m = -area.distance_m(false, middle, 0.0);
            // By more than the pose may be wrong: a part of the robot truly lies there.
            if beyond_m > self.body.added_m() + furthest_m {
                met.depth_m = met.depth_m.max(radii_m + count * beyond_m);
            }
        }
        met
    }

    /// Of the discs from an area's edge, exact where it is less than `enough`.
    pub(crate) fn distances_m(
        &mut self,
        area: &Area,
        inside: bool,
        enough: f64,
    ) -> [f64; MAX_DISCS] {
        let mut distances_m = [f64::INFINITY; MAX_DISCS];
        let centers = self.centers();
        let discs = self.body.discs().iter().zip(centers);
        for ((_, center), distance_m) in discs.zip(&mut distances_m) {
            *distance_m = area.distance_m(inside, center, enough);
        }
        distances_m
    }

    /// Clearance of the discs on their way to where they are `then`, `span_s` seconds later, at
    /// most; negative where one meets the edge, after about which part of the way.
    pub(crate) fn swept(
        &mut self,
        area: &Area,
        inside: bool,
        then: &[Point; MAX_DISCS],
        (paces, span_s, span_m): (&[f64; MAX_DISCS], f64, f64),
        known: Option<&Known>,
    ) -> (Met, f64) {
        let mut met = Met { clearance_m: f64::INFINITY, depth_m: 0.0 };
        let mut free = f64::INFINITY;
        let centers = self.centers();
        let discs_m = known.and_then(|known| known.discs_m.as_ref());
        let ways = centers.into_iter().zip(then).zip(paces).enumerate();
        for (disc, (index, ((center, then), pace))) in self.body.discs().iter().zip(ways) {
            let radius_m = disc.radius_m + self.unsure.at(self.along_m + disc.arm_m);
            // What is not known grows on the way.
            let last_m = radius_m + self.unsure.swing * span_m;
            let way_m = pace * span_s + last_m - radius_m;
            let distance_m = discs_m
                .and_then(|discs_m| discs_m.get(index).copied())
                .unwrap_or_else(|| area.distance_m(inside, center, radius_m + way_m));
            let clearance_m = distance_m - radius_m;
            if !(clearance_m >= 0.0) {
                met.lower(clearance_m);
                free = 0.0;
                break;
            }
            if clearance_m >= way_m {
                met.lower(clearance_m);
                continue;
            }
            // It could come to the edge: its way is followed.
            let way = [center, *then];
            match area.shape.met_between(way, [radius_m, last_m], inside) {
                Some(part) => {
                    met.lower(-f64::MIN_POSITIVE);
                    free = free.min(part);
                }
                None => met.lower(0.0),
            }
        }
        (met, free)
    }

    fn centers(&mut self) -> [Point; MAX_DISCS] {
        let Self { body, heading, pose, .. } = *self;
        *self.centers.get_or_insert_with(|| {
            body.centers(pose.point(), heading.unwrap_or_else(|| Heading::of(pose)))
        })
    }
}

impl Met {
    /// Not `min`, which drops what is no number.
    fn lower(&mut self, clearance_m: f64) {
        if !(clearance_m >= self.clearance_m) {
            self.clearance_m = clearance_m;
        }
    }
}
