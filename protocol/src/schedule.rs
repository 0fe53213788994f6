//! When in the week something holds, in UTC.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Milliseconds of a day.
const DAY_MS: u32 = 86_400_000;

/// Milliseconds of a week.
pub const WEEK_MS: u32 = 7 * DAY_MS;

/// A day of the week.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    /// Monday, the first.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// A time of the day as people write it, `07:30`; `24:00` is the end of the day.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay {
    minutes: u16,
}

/// What is no time of the day.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no time of the day; write 00:00 to 24:00")]
pub struct NoTime(String);

impl TimeOfDay {
    /// The end of the day.
    pub const END: Self = Self { minutes: 24 * 60 };

    /// The begin of the day.
    pub const START: Self = Self { minutes: 0 };

    /// Minutes since the day began.
    #[must_use]
    pub const fn minutes(self) -> u16 {
        self.minutes
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = NoTime;

    fn try_from(text: String) -> Result<Self, NoTime> {
        let number = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            if digits { part.parse::<u16>().ok() } else { None }
        };
        let parts = text.split_once(':');
        let time = parts.and_then(|(hours, minutes)| Some((number(hours)?, number(minutes)?)));
        match time {
            Some((hours, minutes)) if minutes < 60 && hours * 60 + minutes <= 24 * 60 => {
                Ok(Self { minutes: hours * 60 + minutes })
            }
            _ => Err(NoTime(text)),
        }
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

/// A part of some days of each week. One that goes over midnight is written as two.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// On which days, at least one.
    pub days: Vec<Weekday>,
    /// From this time on, UTC.
    pub from: TimeOfDay,
    /// Until just before this time.
    pub to: TimeOfDay,
}

impl Window {
    /// Its parts of the week, in milliseconds since Monday 00:00 UTC.
    pub fn spans(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let at =
            |day: Weekday, time: TimeOfDay| day as u32 * DAY_MS + u32::from(time.minutes) * 60_000;
        self.days.iter().map(move |day| (at(*day, self.from), at(*day, self.to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_written_and_nothing_else_is_one() {
        for text in ["00:00", "07:30", "23:59", "24:00"] {
            assert_eq!(TimeOfDay::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        for text in ["", "7:30", "24:01", "12:60", "12:5", "+1:00", "12:00:00", "99:99", "１2:00"]
        {
            assert!(TimeOfDay::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_window_is_its_part_of_each_of_its_days() {
        let time = |text: &str| TimeOfDay::try_from(text.to_owned()).unwrap();
        let window = Window {
            days: vec![Weekday::Mon, Weekday::Sun],
            from: time("22:00"),
            to: TimeOfDay::END,
        };
        let hour = 3_600_000;
        let spans: Vec<_> = window.spans().collect();
        assert_eq!(spans, [(22 * hour, 24 * hour), (166 * hour, WEEK_MS)]);
    }
}
