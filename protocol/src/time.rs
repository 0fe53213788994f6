//! Two clocks that are never mixed: the wall clock, which may be wrong, and the monotonic
//! clock of one boot, which may not.

use crate::schedule::WEEK_MS;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Wall-clock time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct WallMillis(pub i64);

impl WallMillis {
    /// This moment and `span` more; saturates.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Milliseconds since the last Monday, 00:00 UTC.
    #[must_use]
    pub fn in_week(self) -> u32 {
        // 1970-01-01 was a Thursday, three days after a Monday.
        let since = self.0.saturating_add(3 * 86_400_000);
        // The remainder is below a week, which fits.
        u32::try_from(since.rem_euclid(i64::from(WEEK_MS))).unwrap_or_default()
    }

    /// A moment as people write it: RFC 3339 in UTC, to the second, such as
    /// `2026-11-20T08:30:00Z`.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let pattern = |(at, letter): (usize, char)| match at {
            4 | 7 => letter == '-',
            10 => letter == 'T',
            13 | 16 => letter == ':',
            19 => letter == 'Z',
            _ => letter.is_ascii_digit(),
        };
        if text.len() != 20 || !text.char_indices().all(pattern) {
            return None;
        }
        let number = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap_or(-1);
        let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
        let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
        // Days from the civil date, after Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let shifted = if month > 2 { year } else { year - 1 };
        let era = shifted.div_euclid(400);
        let of_era = shifted.rem_euclid(400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        let moment = Self(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000);
        // What no calendar has, such as the 31st of June, comes out as another day.
        (moment.to_string().get(..19) == text.get(..19)).then_some(moment)
    }

    /// Milliseconds from `earlier` to here; negative when `earlier` is later.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for WallMillis {
    /// RFC 3339 in UTC with milliseconds. Days to civil date after Hinnant,
    /// "chrono-Compatible Low-Level Date Algorithms".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, in_day) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
        let (second, milli) = (in_day / 1_000 % 60, in_day % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Monotonic time of one boot of the agent's machine: nanoseconds, origin arbitrary.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct MonoNanos(pub u64);

impl MonoNanos {
    /// This moment and `span` more; saturates.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; `None` when it lies ahead, which a monotonic clock never
    /// shows and which therefore means a fault.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }
}

/// How far the wall clock can be believed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockTrust {
    /// Never set since boot, or behind the last trusted time in the journal.
    Untrusted,
    /// The operating system says that it is synchronised (adjtimex, NTP).
    Network,
    /// Set from a signed statement of the cloud.
    Cloud,
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Monotonic clock of this boot.
    pub mono: MonoNanos,
    /// How far `wall` can be believed.
    pub trust: ClockTrust,
    /// Wall clock.
    pub wall: WallMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_prints_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_219_199_999, "2026-11-20T23:59:59.999Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(WallMillis(millis).to_string(), text);
        }
    }

    #[test]
    fn what_was_printed_is_read_and_what_no_calendar_has_is_not() {
        for millis in [0, 951_782_400_000, 1_795_219_199_000, -1_000] {
            let text = WallMillis(millis).to_string().replace(".000Z", "Z");
            assert_eq!(WallMillis::from_rfc3339(&text), Some(WallMillis(millis)), "{text}");
        }
        for text in ["", "2026-06-31T00:00:00Z", "2026-11-20T24:00:00Z", "2026-11-20T08:30:00+01"] {
            assert_eq!(WallMillis::from_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn the_week_begins_on_monday_in_utc() {
        // 2026-11-16 was a Monday.
        let monday = WallMillis(1_794_787_200_000);
        assert_eq!(monday.to_string(), "2026-11-16T00:00:00.000Z");
        assert_eq!(monday.in_week(), 0);
        assert_eq!(WallMillis(monday.0 - 1).in_week(), WEEK_MS - 1);
        assert_eq!(WallMillis(0).in_week(), 3 * 86_400_000);
    }

    #[test]
    fn a_monotonic_clock_that_ran_backwards_is_noticed() {
        assert_eq!(MonoNanos(5).since(MonoNanos(6)), None);
    }
}
