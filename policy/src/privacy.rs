//! Which sensors may be read where the robot is: a few bits, with each tick.
//!
//! A privacy zone counts as soon as any part of what is judged of the robot is inside it, with
//! all that is not known of the pose. Where the place is unknown, all zones count; so they do
//! at a time or a height that is not known.

use crate::conditions::{Conditions, Moment};
use crate::footprint::Body;
use crate::zones::{Uncertainty, ZoneMap};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::policy::{PolicyDocument, PrivacyZone, Sensor, Zone};

/// A set of sensors.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sensors(u8);

impl Sensors {
    /// Every sensor.
    pub const ALL: Self = Self((1 << Sensor::ALL.len()) - 1);

    /// None.
    pub const NONE: Self = Self(0);

    /// These.
    #[must_use]
    pub fn of(sensors: &[Sensor]) -> Self {
        Self(sensors.iter().fold(0, |bits, sensor| bits | 1 << *sensor as u8))
    }

    /// Whether one is in the set.
    #[must_use]
    pub const fn contains(self, sensor: Sensor) -> bool {
        self.0 & 1 << sensor as u8 != 0
    }

    /// Those that are not in the set, in their order.
    pub fn missing(self) -> impl Iterator<Item = Sensor> {
        Sensor::ALL.into_iter().filter(move |sensor| !self.contains(*sensor))
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What may be recorded in this tick.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Privacy {
    /// These sensors may be read.
    pub allowed: Sensors,
    /// What they record is kept at most so long, seconds.
    pub keep_s: Option<u32>,
}

impl Privacy {
    /// As where no zone is.
    pub const OPEN: Self = Self { allowed: Sensors::ALL, keep_s: None };

    fn with(self, off: Sensors, keep_s: Option<u32>) -> Self {
        Self {
            allowed: self.allowed.without(off),
            keep_s: match (self.keep_s, keep_s) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

/// The privacy zones of a policy.
#[derive(Clone, Debug)]
pub(crate) struct Curtain {
    conditions: Conditions,
    map: ZoneMap,
    /// Of each zone: what is off in it, and how long the rest is kept.
    rules: Vec<(Sensors, Option<u32>)>,
}

impl Curtain {
    /// Of a document that was checked, with the shapes of its zones made; `None` where it has
    /// none.
    pub(crate) fn new(document: &PolicyDocument, map: ZoneMap) -> Option<Self> {
        if document.privacy.is_empty() {
            return None;
        }
        let regions: Vec<Zone> = document.privacy.iter().map(PrivacyZone::region).collect();
        let rule = |zone: &PrivacyZone| (Sensors::of(&zone.sensors), zone.keep_s);
        Some(Self {
            conditions: Conditions::new(&regions, document),
            map,
            rules: document.privacy.iter().map(rule).collect(),
        })
    }

    pub(crate) fn ask_for_time(&self) -> bool {
        self.conditions.ask_for_time()
    }

    /// Another body is judged from here on.
    pub(crate) fn judge(&mut self, body: Body) {
        self.map.body = body;
    }

    /// What may be recorded at a place; `None` is one that is not known.
    pub(crate) fn at(&mut self, place: Option<(Pose, Uncertainty)>, moment: &Moment) -> Privacy {
        self.map.select(self.conditions.in_force(moment));
        let touched = place.map_or(u128::MAX, |(pose, unsure)| {
            if pose.is_finite() { self.map.standing(pose, &unsure).entered } else { u128::MAX }
        });
        self.rules.iter().enumerate().fold(Privacy::OPEN, |privacy, (index, (off, keep_s))| {
            if touched >> index & 1 == 0 { privacy } else { privacy.with(*off, *keep_s) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_it_was_made_of() {
        let set = Sensors::of(&[Sensor::Camera, Sensor::ThermalCamera]);
        let held: Vec<_> = Sensor::ALL.into_iter().filter(|sensor| set.contains(*sensor)).collect();
        assert_eq!(held, [Sensor::Camera, Sensor::ThermalCamera]);
        let missing: Vec<_> = Sensors::ALL.without(set).missing().collect();
        assert_eq!(missing, held);
        assert_eq!(Sensors::NONE.missing().count(), Sensor::ALL.len());
    }

    #[test]
    fn of_several_zones_all_hold_and_the_shortest_keeping_counts() {
        let off = |sensor| Sensors::of(&[sensor]);
        let both = Privacy::OPEN
            .with(off(Sensor::Camera), Some(60))
            .with(off(Sensor::Microphone), None)
            .with(Sensors::NONE, Some(3_600));
        assert_eq!(both.keep_s, Some(60));
        let missing: Vec<_> = both.allowed.missing().collect();
        assert_eq!(missing, [Sensor::Camera, Sensor::Microphone]);
    }
}
