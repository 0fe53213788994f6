//! Who judges whether the true robot left where it must stay. Knows nothing of the gate: its
//! geometry is the `geo` crate's.

use crate::plant::Plant;
use geo::{Contains as _, Coord, Distance as _, Euclidean, Intersects as _, LineString, Polygon};
use nooterra_protocol::geometry::Point;
use nooterra_protocol::policy::{Flight, Joint, PolicyDocument, Vehicle, ZoneRule};

pub(crate) struct Judge {
    fences: Vec<Polygon<f64>>,
    flight: Option<Flight>,
    joints: Vec<Joint>,
    outline: Vec<Point>,
    outs: Vec<Polygon<f64>>,
}

impl Judge {
    pub(crate) fn new(document: &PolicyDocument) -> Self {
        let zones = |wanted: ZoneRule| {
            let zones = document.zones.iter().filter(move |zone| zone.rule == wanted);
            zones.map(|zone| ring(&zone.polygon)).collect()
        };
        let flies = matches!(document.vehicle, Vehicle::Multirotor(_));
        let corners = &document.footprint.outline;
        // Whichever way what flies faces: a ring around its outline.
        let radius = corners.iter().map(|corner| corner.x.hypot(corner.y)).fold(0.0, f64::max);
        let circle = (0..16_u8).map(|index| {
            let turn = std::f64::consts::TAU * f64::from(index) / 16.0;
            Point::new(radius * turn.cos(), radius * turn.sin())
        });
        Self {
            fences: zones(ZoneRule::KeepIn),
            flight: match document.vehicle {
                Vehicle::Multirotor(flight) => Some(flight),
                _ => None,
            },
            joints: match &document.vehicle {
                Vehicle::Joints { joints, .. } => joints.clone(),
                _ => vec![],
            },
            outline: if flies { circle.collect() } else { corners.clone() },
            outs: zones(ZoneRule::KeepOut),
        }
    }

    /// How far it is beyond an edge; negative inside: the least distance to one.
    pub(crate) fn beyond(&self, plant: &Plant) -> f64 {
        let mut beyond = f64::NEG_INFINITY;
        for (joint, at) in self.joints.iter().zip(plant.joints) {
            beyond = beyond.max(at - joint.max_position).max(joint.min_position - at);
        }
        if let Some(flight) = &self.flight {
            beyond = beyond
                .max(plant.height_m - flight.max_altitude_m)
                .max(flight.min_altitude_m - plant.height_m);
        }
        if self.outline.is_empty() {
            return beyond;
        }
        let (sin, cos) = plant.pose.yaw.sin_cos();
        let corners: Vec<Point> = self
            .outline
            .iter()
            .map(|p| {
                Point::new(
                    plant.pose.x + p.x * cos - p.y * sin,
                    plant.pose.y + p.x * sin + p.y * cos,
                )
            })
            .collect();
        let outline = ring(&corners);
        for fence in &self.fences {
            let gap = Euclidean.distance(fence.exterior(), outline.exterior());
            beyond = beyond.max(if fence.contains(&outline) { -gap } else { gap.max(1e-9) });
        }
        for out in &self.outs {
            let gap = Euclidean.distance(out, &outline);
            beyond = beyond.max(if out.intersects(&outline) { 1e-9 } else { -gap });
        }
        beyond
    }
}

fn ring(corners: &[Point]) -> Polygon<f64> {
    let coords = corners.iter().map(|p| Coord { x: p.x, y: p.y }).collect();
    Polygon::new(LineString(coords), vec![])
}
