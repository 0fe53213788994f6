//! Which zones are in force: those that hold only between heights, or at times of the week.
//!
//! A zone that restricts is in force unless it is sure that it is not; one that permits is in
//! force only where it is sure. So a clock that nobody trusts and a height that nobody measures
//! make the robot's place smaller, never larger.
//!
//! # What counts as now
//! All the time until a robot that is braked comes to rest, and all the heights that it may have
//! meanwhile. So a zone that will begin while the robot brakes has begun, and one that will end
//! meanwhile has ended, if it permits.
#![allow(clippy::neg_cmp_op_on_partial_ord)] // What is no number must not pass for clear.

use nooterra_protocol::policy::{
    AltitudeBand, AltitudeReference, Limits, PolicyDocument, Vehicle, Zone, ZoneRule,
};
use nooterra_protocol::schedule::{WEEK_MS, Window};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp};
use std::time::Duration;

/// A statement of the time that is older is none.
pub const MAX_STAMP_AGE: Duration = Duration::from_secs(5);

/// What a tick may take at the most, twice: until the next one has brought its brake.
const TICKS: Duration = Duration::from_millis(500);

/// Heights that a robot may have, metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) highest_m: f64,
    pub(crate) lowest_m: f64,
}

impl Span {
    /// With all that is reached by so much up and so much down.
    pub(crate) fn swept(self, up_m: f64, down_m: f64) -> Self {
        Self { highest_m: self.highest_m + up_m, lowest_m: self.lowest_m - down_m }
    }
}

/// What is known of the moment that a tick judges.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moment {
    /// Above the ground below, where that is measured.
    pub(crate) above_ground: Option<Span>,
    /// Above the point of take-off.
    pub(crate) above_takeoff: Option<Span>,
    /// How it climbs, where that is not as it was told, m/s: braked, it goes on for a while.
    pub(crate) climb_mps: f64,
    /// Milliseconds since Monday 00:00 UTC, where the clock is trusted.
    pub(crate) week_ms: Option<u32>,
}

impl Moment {
    /// The same, when the robot may climb and sink by so much.
    pub(crate) fn swept(&self, up_m: f64, down_m: f64) -> Self {
        Self {
            above_ground: self.above_ground.map(|span| span.swept(up_m, down_m)),
            above_takeoff: self.above_takeoff.map(|span| span.swept(up_m, down_m)),
            ..*self
        }
    }

    fn height(&self, reference: AltitudeReference) -> Option<Span> {
        match reference {
            AltitudeReference::AboveGround => self.above_ground,
            AltitudeReference::AboveTakeoff => self.above_takeoff,
        }
    }
}

/// Where in the week a statement of the time says that it is; `None` where it is too old or not
/// trusted.
pub(crate) fn week_ms(clock: Option<Stamp>, now: MonoNanos) -> Option<u32> {
    let stamp = clock.filter(|stamp| stamp.trust != ClockTrust::Untrusted)?;
    let age = crate::arbitrate::age(stamp.mono, now).filter(|age| *age <= MAX_STAMP_AGE)?;
    Some(stamp.wall.plus(age).in_week())
}

/// The parts of a week in which something holds, in order, none touching the next.
#[derive(Clone, Debug, PartialEq)]
struct Week(Vec<(u32, u32)>);

impl Week {
    fn of(windows: &[Window]) -> Self {
        let mut spans: Vec<(u32, u32)> = windows.iter().flat_map(Window::spans).collect();
        spans.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(spans.len());
        for (from, to) in spans {
            match merged.last_mut() {
                Some((_, last)) if from <= *last => *last = to.max(*last),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// Each part of a span that may go over the week's end.
    fn parts(from: u32, span_ms: u32) -> [(u32, u32); 2] {
        let to = from.saturating_add(span_ms);
        if to < WEEK_MS { [(from, to), (from, from)] } else { [(from, WEEK_MS), (0, to - WEEK_MS)] }
    }

    /// It holds at some moment of the span, both ends included.
    fn meets(&self, from: u32, span_ms: u32) -> bool {
        let parts = Self::parts(from, span_ms);
        self.0.iter().any(|(begin, end)| parts.iter().any(|(from, to)| begin <= to && from < end))
    }

    /// It holds all the span.
    fn covers(&self, from: u32, span_ms: u32) -> bool {
        Self::parts(from, span_ms).iter().all(|(from, to)| {
            self.0.iter().any(|(begin, end)| {
                // The week's end is the begin of the next.
                begin <= from && (to < end || (*end == WEEK_MS && *to == WEEK_MS))
            })
        })
    }
}

/// When and at which height one zone is in force.
#[derive(Clone, Debug, PartialEq)]
struct Condition {
    band: Option<AltitudeBand>,
    /// The zone's place among all, as a bit.
    bit: u128,
    /// It permits, as what must be kept in does; otherwise it restricts.
    permits: bool,
    week: Option<Week>,
}

impl Condition {
    fn in_time(&self, moment: &Moment, horizon_ms: u32) -> bool {
        let Some(week) = &self.week else {
            return true;
        };
        match moment.week_ms {
            None => !self.permits,
            Some(at) if self.permits => week.covers(at, horizon_ms),
            Some(at) => week.meets(at, horizon_ms),
        }
    }

    fn in_height(&self, moment: &Moment) -> bool {
        let Some(band) = &self.band else {
            return true;
        };
        let Some(Span { highest_m, lowest_m }) = moment.height(band.reference) else {
            return !self.permits;
        };
        if self.permits {
            band.min_m.is_none_or(|least| lowest_m >= least)
                && band.max_m.is_none_or(|most| highest_m <= most)
        } else {
            // Also where a height is no number.
            let below = band.min_m.is_some_and(|least| highest_m < least);
            let above = band.max_m.is_some_and(|most| lowest_m > most);
            !(below || above)
        }
    }

    fn holds(&self, moment: &Moment, horizon_ms: u32) -> bool {
        self.in_time(moment, horizon_ms) && self.in_height(moment)
    }
}

/// From where nothing is open, the ways to where something is: how far each goes until it would
/// lead out again on the other side, metres. `None` where there is no such way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WaysIn {
    pub(crate) down_m: Option<f64>,
    pub(crate) up_m: Option<f64>,
}

impl WaysIn {
    pub(crate) const NONE: Self = Self { down_m: None, up_m: None };
}

/// The zones of a policy that are not always in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Conditions {
    horizon_ms: u32,
    items: Vec<Condition>,
}

impl Conditions {
    /// Of zones in the order of their numbers.
    pub(crate) fn new<'a>(
        zones: impl IntoIterator<Item = &'a Zone>,
        document: &PolicyDocument,
    ) -> Self {
        let items = zones.into_iter().enumerate().filter_map(|(index, zone)| {
            let week = (!zone.windows.is_empty()).then(|| Week::of(&zone.windows));
            let condition = Condition {
                band: zone.altitude,
                bit: 1_u128.checked_shl(u32::try_from(index).ok()?)?,
                permits: zone.rule == ZoneRule::KeepIn,
                week,
            };
            (condition.band.is_some() || condition.week.is_some()).then_some(condition)
        });
        Self { horizon_ms: horizon_ms(document), items: items.collect() }
    }

    /// Every zone is always in force.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Some zone asks for the time.
    pub(crate) fn ask_for_time(&self) -> bool {
        self.items.iter().any(|condition| condition.week.is_some())
    }

    /// A bit for each zone that is in force; those without a condition always are.
    pub(crate) fn in_force(&self, moment: &Moment) -> u128 {
        self.items.iter().fold(u128::MAX, |bits, condition| {
            if condition.holds(moment, self.horizon_ms) { bits } else { bits & !condition.bit }
        })
    }

    /// The zones that are always in force.
    pub(crate) fn unconditional(&self) -> u128 {
        self.items.iter().fold(u128::MAX, |bits, condition| bits & !condition.bit)
    }

    /// The ways that lead to the height of a zone that permits and is open now.
    pub(crate) fn ways_in(&self, moment: &Moment) -> WaysIn {
        let mut ways = WaysIn::default();
        // The first that is met counts: there it can end.
        let (mut next_up_m, mut next_down_m) = (f64::INFINITY, f64::INFINITY);
        for condition in self.items.iter().filter(|condition| condition.permits) {
            let Some(band) = condition.band.filter(|_| condition.in_time(moment, self.horizon_ms))
            else {
                continue;
            };
            let Some(Span { highest_m, lowest_m }) = moment.height(band.reference) else {
                continue;
            };
            if let Some(away_m) = band.min_m.map(|least| least - lowest_m)
                && away_m > 0.0
                && away_m < next_up_m
            {
                next_up_m = away_m;
                ways.up_m = Some(band.max_m.map_or(f64::INFINITY, |most| most - highest_m));
            }
            if let Some(away_m) = band.max_m.map(|most| highest_m - most)
                && away_m > 0.0
                && away_m < next_down_m
            {
                next_down_m = away_m;
                ways.down_m = Some(band.min_m.map_or(f64::INFINITY, |least| lowest_m - least));
            }
        }
        ways
    }

    /// Of some zones, a bit for each, one in whose heights a climb, or a descent, leads deeper.
    pub(crate) fn deeper(&self, zones: u128, moment: &Moment, climb_mps: f64) -> Option<u16> {
        let leads_deeper = |condition: &&Condition| {
            let Some(band) = condition.band.filter(|_| zones & condition.bit != 0) else {
                return false;
            };
            let Some(Span { highest_m, lowest_m }) = moment.height(band.reference) else {
                return false;
            };
            let up_m = band.max_m.map_or(f64::INFINITY, |most| most - lowest_m);
            let down_m = band.min_m.map_or(f64::INFINITY, |least| highest_m - least);
            if climb_mps > 0.0 { up_m > down_m } else { climb_mps < 0.0 && down_m > up_m }
        };
        // At most 128 zones: a bit's place is a number.
        let found = self.items.iter().find(leads_deeper)?;
        u16::try_from(found.bit.trailing_zeros()).ok()
    }

    /// The edge of a zone's heights that is nearest to where the robot is, metres.
    pub(crate) fn edge_m(&self, zone: u16, moment: &Moment) -> Option<f64> {
        let bit = 1_u128.checked_shl(u32::from(zone))?;
        let band = self.items.iter().find(|condition| condition.bit == bit)?.band?;
        let Span { highest_m, lowest_m } = moment.height(band.reference)?;
        let middle_m = f64::midpoint(highest_m, lowest_m);
        let edges = [band.min_m, band.max_m].into_iter().flatten();
        edges.min_by(|a, b| (a - middle_m).abs().total_cmp(&(b - middle_m).abs()))
    }
}

/// The longest that a robot may take to come to rest, in any mode.
fn horizon_ms(document: &PolicyDocument) -> u32 {
    let Limits { max_angular_accel_radps2, max_angular_radps, reaction_ms, .. } = document.limits;
    let limits = &document.limits;
    let slowest = document.modes.iter().filter_map(|mode| mode.max_decel_mps2);
    let mut decel_mps2 = slowest.fold(limits.max_decel_mps2, f64::min);
    let mut speed_mps = limits.max_linear_mps.max(limits.max_reverse_mps);
    let mut upright_s = 0.0;
    match document.vehicle {
        Vehicle::Multirotor(flight) => {
            let climb = flight.max_climb_mps.max(flight.max_descent_mps);
            upright_s = climb / flight.max_vertical_accel_mps2;
            decel_mps2 = decel_mps2.min(9.8 * flight.max_tilt_rad.tan());
        }
        Vehicle::Omnidirectional { max_lateral_mps } => {
            speed_mps = speed_mps.hypot(max_lateral_mps);
        }
        Vehicle::Ackermann { .. } | Vehicle::Differential | Vehicle::Joints { .. } => {}
    }
    let turn_s = max_angular_radps / max_angular_accel_radps2;
    let rest_s = [speed_mps / decel_mps2, turn_s, upright_s].into_iter().fold(0.0, f64::max);
    let all = TICKS.as_secs_f64() * 1e3 + f64::from(reaction_ms) + rest_s * 1e3;
    // An arm has no zones, and its limits are zeros.
    let all = if all.is_finite() { all.ceil() } else { 0.0 };
    // A day at the most: longer is what no robot takes, and it keeps spans within a week.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let all = all.clamp(0.0, 86_400_000.0) as u32;
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::schedule::{TimeOfDay, Weekday};
    use nooterra_protocol::time::WallMillis;

    const HOUR: u32 = 3_600_000;

    fn week(windows: &[(&[Weekday], &str, &str)]) -> Week {
        let time = |text: &str| TimeOfDay::try_from(text.to_owned()).unwrap();
        let windows = windows.iter().map(|(days, from, to)| Window {
            days: days.to_vec(),
            from: time(from),
            to: time(to),
        });
        Week::of(&windows.collect::<Vec<_>>())
    }

    #[test]
    fn a_window_holds_from_its_first_millisecond_until_just_before_its_end() {
        let week = week(&[(&[Weekday::Mon], "08:00", "10:00")]);
        assert!(!week.meets(8 * HOUR - 1, 0) && week.meets(8 * HOUR, 0));
        assert!(week.meets(10 * HOUR - 1, 0) && !week.meets(10 * HOUR, 0));
        // What will begin, or end, within the span.
        assert!(week.meets(8 * HOUR - 500, 500) && !week.meets(8 * HOUR - 501, 500));
        assert!(week.covers(10 * HOUR - 501, 500) && !week.covers(10 * HOUR - 500, 500));
        assert!(!week.covers(8 * HOUR - 1, 500));
    }

    #[test]
    fn a_night_that_is_written_as_two_windows_is_one_also_over_the_weeks_end() {
        let night = week(&[
            (&[Weekday::Sun, Weekday::Mon], "22:00", "24:00"),
            (&[Weekday::Mon, Weekday::Tue], "00:00", "06:00"),
        ]);
        let midnight = 24 * HOUR;
        assert!(night.covers(midnight - 1_000, 5_000));
        assert!(night.covers(WEEK_MS - 1_000, 5_000));
        assert!(night.covers(WEEK_MS - 1_000, 1_000) && night.covers(WEEK_MS - 1_000, 999));
        assert!(
            !night.covers(WEEK_MS - 1_000, 7 * HOUR) && night.meets(WEEK_MS - 3 * HOUR, 2 * HOUR)
        );
        assert!(!night.meets(7 * HOUR, HOUR));
        let evening = week(&[(&[Weekday::Sun], "22:00", "24:00")]);
        assert!(!evening.covers(WEEK_MS - 1_000, 1_001) && !evening.covers(WEEK_MS - 1_000, 1_000));
    }

    #[test]
    fn a_clock_that_is_not_trusted_or_too_old_tells_no_time() {
        let at = |trust, mono| {
            let wall = WallMillis(0);
            week_ms(Some(Stamp { mono: MonoNanos(mono), trust, wall }), MonoNanos(10_000_000_000))
        };
        assert_eq!(at(ClockTrust::Network, 9_000_000_000), Some(3 * 86_400_000 + 1_000));
        assert_eq!(at(ClockTrust::Untrusted, 9_000_000_000), None);
        assert_eq!(at(ClockTrust::Cloud, 4_000_000_000), None);
        assert_eq!(at(ClockTrust::Cloud, 20_000_000_000), None, "it lies ahead");
        assert_eq!(week_ms(None, MonoNanos(0)), None);
    }

    #[test]
    fn what_is_not_known_restricts_and_does_not_permit() {
        let band = AltitudeBand {
            max_m: Some(30.0),
            min_m: Some(10.0),
            reference: AltitudeReference::AboveTakeoff,
        };
        let condition = |permits| Condition {
            band: Some(band),
            bit: 1,
            permits,
            week: Some(week(&[(&[Weekday::Thu], "00:00", "12:00")])),
        };
        let known = |height: f64, week_ms| Moment {
            above_ground: None,
            above_takeoff: Some(Span { highest_m: height, lowest_m: height }),
            climb_mps: 0.0,
            week_ms,
        };
        let inside = Some(3 * 24 * HOUR + HOUR);
        let outside = Some(HOUR);
        let holds = |permits, moment: Moment| condition(permits).holds(&moment, 1_000);
        assert!(holds(false, known(20.0, inside)) && holds(true, known(20.0, inside)));
        assert!(!holds(false, known(20.0, outside)) && !holds(true, known(20.0, outside)));
        assert!(!holds(false, known(31.0, inside)) && !holds(true, known(31.0, inside)));
        for unknown in [known(20.0, None), known(f64::NAN, inside), Moment::default()] {
            assert!(holds(false, unknown) && !holds(true, unknown), "{unknown:?}");
        }
        let blind = Moment { above_takeoff: None, ..known(0.0, inside) };
        assert!(holds(false, blind) && !holds(true, blind));
    }
}
