//! What the programs behind `cargo xtask bench` share: timing in turns, order statistics, and
//! one line of JSON per figure. Every figure is a time per unit of work: less is better.
//!
//! Ours and its floor are timed in turns, so that what else the machine does meets both, and
//! compared by their medians. Included by path from the `bench_*` examples; no crate of its
//! own, and nothing but `std`.
#![allow(dead_code)] // Each program uses its part.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Times of the same work, in seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64());
    }

    /// The mean over `count` repetitions that were too short to be timed one by one.
    pub(crate) fn push_each(&mut self, took: Duration, count: usize) {
        self.0.push(took.as_secs_f64() / count.max(1) as f64);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.at(0.99)
    }

    /// The smallest sample that at least `part` of all do not exceed; NaN without samples.
    fn at(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let below = sorted
            .iter()
            .enumerate()
            .find(|(index, _)| (*index as f64 + 1.0) >= part * sorted.len() as f64);
        below.map_or(f64::NAN, |(_, seconds)| *seconds)
    }
}

/// Times `ours` and `floor` in turns: `rounds` samples of each, every sample the mean of
/// `each` calls. A tenth more at the beginning warms up and is not counted.
pub(crate) fn in_turns(
    rounds: usize,
    each: usize,
    mut ours: impl FnMut(),
    mut floor: impl FnMut(),
) -> (Samples, Samples) {
    let (mut of_ours, mut of_floor) = (Samples::default(), Samples::default());
    let warm_up = rounds.div_ceil(10);
    for round in 0..warm_up + rounds {
        let begun = Instant::now();
        (0..each).for_each(|_| ours());
        let between = Instant::now();
        (0..each).for_each(|_| floor());
        let ended = Instant::now();
        if round >= warm_up {
            of_ours.push_each(between - begun, each);
            of_floor.push_each(ended - between, each);
        }
    }
    (of_ours, of_floor)
}

/// Times one piece of work.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}

/// What a figure is told in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Micros,
    Millis,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Micros => "µs",
            Self::Millis => "ms",
        }
    }

    const fn per_second(self) -> f64 {
        match self {
            Self::Micros => 1e6,
            Self::Millis => 1e3,
        }
    }
}

/// Prints a figure beside its floor.
pub(crate) fn figure(name: &str, unit: Unit, ours: &Samples, floor: (&str, &Samples)) {
    let (what, floor) = floor;
    figure_with_floor(name, unit, ours, what, floor.median());
}

/// As [`figure`], where the floor is put together from several medians, in seconds.
pub(crate) fn figure_with_floor(
    name: &str,
    unit: Unit,
    ours: &Samples,
    floor: &str,
    floor_seconds: f64,
) {
    let scale = unit.per_second();
    println!(
        r#"{{"figure":{},"unit":"{}","value":{},"p99":{},"samples":{},"floor":{{"name":{},"value":{}}}}}"#,
        text(name),
        unit.name(),
        number(ours.median() * scale),
        number(ours.p99() * scale),
        ours.len(),
        text(floor),
        number(floor_seconds * scale),
    );
}

/// Prints a figure that is counted once, beside its floor.
pub(crate) fn counted(name: &str, unit: &str, value: f64, floor: (&str, f64)) {
    println!(
        r#"{{"figure":{},"unit":{},"value":{},"samples":1,"floor":{{"name":{},"value":{}}}}}"#,
        text(name),
        text(unit),
        number(value),
        text(floor.0),
        number(floor.1),
    );
}

/// One place on a curve.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// The size.
    pub(crate) x: f64,
    pub(crate) ours: Samples,
    pub(crate) floor: Samples,
}

/// Prints how a figure grows with a size.
pub(crate) fn curve(name: &str, axis: &str, unit: Unit, floor: &str, points: &[Point]) {
    let scale = unit.per_second();
    let mut list = String::new();
    for point in points {
        let comma = if list.is_empty() { "" } else { "," };
        let _ = write!(
            list,
            r#"{comma}{{"x":{},"value":{},"floor":{}}}"#,
            number(point.x),
            number(point.ours.median() * scale),
            number(point.floor.median() * scale),
        );
    }
    println!(
        r#"{{"curve":{},"axis":{},"unit":"{}","floor":{},"points":[{list}]}}"#,
        text(name),
        text(axis),
        unit.name(),
        text(floor),
    );
}

/// `--quick` was given: a tenth of the samples, to see that everything runs.
pub(crate) fn quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

/// `count` samples, or a tenth of them.
pub(crate) fn samples(count: usize) -> usize {
    if quick() { count.div_ceil(10) } else { count }
}

/// What follows `name` on the command line.
pub(crate) fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn text(plain: &str) -> String {
    let mut quoted = String::from('"');
    for character in plain.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(if character.is_control() { ' ' } else { character });
    }
    quoted.push('"');
    quoted
}

/// JSON has no NaN.
fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { "null".to_owned() }
}
