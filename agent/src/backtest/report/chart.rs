//! A quantity over time against its limits, with the intervals of its rules marked.

use super::{esc, family, label, px, round_step};
use crate::backtest::judge::Interval;
use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const PLOT: f64 = 170.0;
const AXIS: f64 = 24.0;

/// Pieces of a line, so many: one for each pixel.
const COLUMNS: usize = 880;

/// An interval of one moment must still be seen, pixels.
const MARK_LEAST: f64 = 3.0;

/// What is drawn.
pub(crate) struct Chart<'a> {
    /// The last second.
    pub(crate) duration_s: f64,
    /// Nothing was recorded in these.
    pub(crate) gaps: &'a [(f64, f64)],
    /// Those of the rules that this quantity is about.
    pub(crate) intervals: Vec<&'a Interval>,
    /// Of the policy, with their signs.
    pub(crate) limits: &'a [f64],
    /// What it is, for those who cannot see it.
    pub(crate) title: &'static str,
    /// Of the quantity.
    pub(crate) unit: &'static str,
    /// Time and value; `None` where there is none, and where a piece begins.
    pub(crate) values: Vec<(f64, Option<f64>)>,
}

impl Chart<'_> {
    pub(crate) fn svg(&self) -> String {
        let measured = self.values.iter().filter_map(|(_, value)| *value);
        let (mut low, mut high) = (0.0_f64, 0.0_f64);
        for value in measured.chain(self.limits.iter().copied()) {
            (low, high) = (low.min(value), high.max(value));
        }
        let air = ((high - low) * 0.06).max(1e-3);
        let scale =
            Scale { duration_s: self.duration_s.max(1e-3), high: high + air, low: low - air };
        let bottom = TOP + PLOT;
        let mut svg = format!(
            r#"<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{} over time against its limits"><g class="gaps">"#,
            px(WIDTH),
            px(bottom + AXIS),
            esc(self.title)
        );
        for (from, to) in self.gaps {
            let _ = write!(
                svg,
                r#"<rect x="{}" y="{}" width="{}" height="{}"><title>nothing recorded from {from:.1} to {to:.1} s</title></rect>"#,
                px(scale.x(*from)),
                px(TOP),
                px((scale.x(*to) - scale.x(*from)).max(1.0)),
                px(PLOT)
            );
        }
        svg.push_str("</g>");
        self.marks(&mut svg, &scale);
        self.axes(&mut svg, &scale, bottom);
        for limit in self.limits {
            let y = px(scale.y(*limit));
            let _ = write!(
                svg,
                r#"<line class="limit" x1="{}" x2="{}" y1="{y}" y2="{y}"><title>limit {limit} {}</title></line>"#,
                px(LEFT),
                px(WIDTH - RIGHT),
                esc(self.unit)
            );
        }
        let _ = write!(svg, r#"<path class="measured" d="{}"/></svg>"#, self.line(&scale));
        svg
    }

    fn marks(&self, svg: &mut String, scale: &Scale) {
        for interval in &self.intervals {
            let from = scale.x(interval.from_s);
            let name = label(interval.rule, interval.way, interval.zone.as_ref());
            let _ = write!(
                svg,
                r#"<rect class="mark {}" x="{}" y="{}" width="{}" height="{}"><title>{}: {:.2} to {:.2} s, by up to {:.3}</title></rect>"#,
                family(interval.rule),
                px(from),
                px(TOP),
                px((scale.x(interval.to_s) - from).max(MARK_LEAST)),
                px(PLOT),
                esc(&name),
                interval.from_s,
                interval.to_s,
                interval.worst.excess
            );
        }
    }

    fn axes(&self, svg: &mut String, scale: &Scale, bottom: f64) {
        svg.push_str(r#"<g class="axes" aria-hidden="true">"#);
        let step = round_step(scale.high - scale.low, 5.0);
        let mut mark = (scale.low / step).ceil();
        while mark * step <= scale.high {
            let y = scale.y(mark * step);
            let _ = write!(
                svg,
                r#"<line x1="{}" x2="{}" y1="{2}" y2="{2}"/><text class="end" x="{3}" y="{4}">{5}</text>"#,
                px(LEFT),
                px(WIDTH - RIGHT),
                px(y),
                px(LEFT - 6.0),
                px(y + 4.0),
                short(mark * step)
            );
            mark += 1.0;
        }
        let step = round_step(scale.duration_s, 12.0);
        let mut mark = 0.0;
        while mark * step <= scale.duration_s {
            let x = px(scale.x(mark * step));
            let _ = write!(
                svg,
                r#"<line x1="{x}" x2="{x}" y1="{}" y2="{}"/><text class="mid" x="{x}" y="{}">{} s</text>"#,
                px(TOP),
                px(bottom),
                px(bottom + 17.0),
                short(mark * step)
            );
            mark += 1.0;
        }
        svg.push_str("</g>");
    }

    /// The line; where there are more values than pixels, the least and the most of each pixel.
    fn line(&self, scale: &Scale) -> String {
        let mut path = String::new();
        let mut is_apart = true;
        let mut at = 0;
        let column = |t: f64| (t / scale.duration_s * COLUMNS as f64).floor();
        while at < self.values.len() {
            let (t, value) = self.values[at];
            let Some(value) = value else {
                is_apart = true;
                at += 1;
                continue;
            };
            let mut end = at + 1;
            let (mut least, mut most) = (value, value);
            while let Some((next_t, Some(next))) = self.values.get(end)
                && column(*next_t) <= column(t)
            {
                (least, most) = (least.min(*next), most.max(*next));
                end += 1;
            }
            let command = if is_apart { 'M' } else { 'L' };
            let _ = write!(path, "{command}{} {}", px(scale.x(t)), px(scale.y(value)));
            if end > at + 1 {
                let _ = write!(path, "V{}V{}", px(scale.y(most)), px(scale.y(least)));
            }
            is_apart = false;
            at = end;
        }
        path
    }
}

/// From seconds and values to the drawing.
struct Scale {
    duration_s: f64,
    high: f64,
    low: f64,
}

impl Scale {
    fn x(&self, t_s: f64) -> f64 {
        LEFT + t_s / self.duration_s * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (self.high - value) / (self.high - self.low) * PLOT
    }
}

/// As many digits as a mark needs.
fn short(number: f64) -> String {
    let text = format!("{number:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: Vec<(f64, Option<f64>)>) -> String {
        Chart {
            duration_s: 10.0,
            gaps: &[(4.0, 6.0)],
            intervals: Vec::new(),
            limits: &[1.0, -0.3],
            title: "Speed",
            unit: "m/s",
            values,
        }
        .svg()
    }

    #[test]
    fn a_line_is_as_long_as_the_drawing_is_wide_and_keeps_its_extremes() {
        let values = (0..100_000).map(|i| {
            let spike = if i == 77_777 { 9.0 } else { 0.5 };
            (f64::from(i) * 1e-4, Some(spike))
        });
        let svg = chart(values.collect());
        assert!(svg.len() < 60_000, "{}", svg.len());
        assert!(svg.contains(">5<"), "the axis reaches the spike");
    }

    #[test]
    fn a_pause_leaves_a_gap_and_nothing_recorded_is_still_drawn() {
        let svg = chart(vec![(0.0, Some(0.1)), (4.0, Some(0.2)), (6.0, None), (6.0, Some(0.3))]);
        let path = svg.split(r#"class="measured" d=""#).nth(1).unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert!(!chart(Vec::new()).contains("NaN"));
    }
}
