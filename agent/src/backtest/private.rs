//! When sensors would have been off, by the zones of `privacy`.

use super::timeline::Moment;
use nooterra_policy::Privacy;
use nooterra_protocol::policy::Sensor;
use serde::Serialize;

/// A stretch in which the same sensors would have been off.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Off {
    /// When it began, seconds since the first moment.
    pub from_s: f64,
    /// What the other sensors record would have been kept at most so long, seconds.
    pub keep_s: Option<u32>,
    /// These could not have been read.
    pub off: Vec<Sensor>,
    /// When it ended.
    pub to_s: f64,
}

/// Stretches, moment by moment.
#[derive(Debug, Default)]
pub(super) struct Private {
    found: Vec<Off>,
    /// What held in the last moment.
    last: Option<Privacy>,
}

impl Private {
    pub(super) fn take(&mut self, moment: &Moment, privacy: Privacy) {
        let goes_on = self.last == Some(privacy) && !moment.is_first;
        self.last = Some(privacy);
        let to_s = moment.t_s + moment.holds_s;
        match self.found.last_mut() {
            _ if privacy == Privacy::OPEN => {}
            Some(open) if goes_on => open.to_s = to_s,
            _ => self.found.push(Off {
                from_s: moment.t_s,
                keep_s: privacy.keep_s,
                off: privacy.allowed.missing().collect(),
                to_s,
            }),
        }
    }

    pub(super) fn finish(self) -> Vec<Off> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_policy::Sensors;
    use nooterra_protocol::geometry::Twist;

    #[test]
    fn a_stretch_ends_where_other_sensors_are_off_or_the_recording_pauses() {
        let no_camera = Privacy { allowed: Sensors::of(&[Sensor::Microphone]), keep_s: Some(60) };
        let none = Privacy { allowed: Sensors::NONE, keep_s: None };
        let mut private = Private::default();
        let all = [Privacy::OPEN, no_camera, no_camera, none, Privacy::OPEN, none, none];
        for (index, privacy) in all.into_iter().enumerate() {
            let moment = Moment {
                accel: None,
                climb_mps: 0.0,
                height_m: None,
                holds_s: 1.0,
                is_first: index == 0 || index == 6,
                pose: None,
                t_s: index as f64,
                twist: Twist::ZERO,
            };
            private.take(&moment, privacy);
        }
        let spans: Vec<_> = private.finish().iter().map(|off| (off.from_s, off.to_s)).collect();
        assert_eq!(spans, [(1.0, 3.0), (3.0, 4.0), (5.0, 6.0), (6.0, 7.0)]);
    }
}
