//! How a figure grows with a size, drawn: both axes logarithmic, so that what grows in
//! proportion is a straight line, and the distance to the floor is the ratio.

use super::figure::{Curve, short};
use crate::report::{esc, px};
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 52.0;

const STYLE: &str = "<style>\
    svg{background:#fff;color:#222;font:13px system-ui,sans-serif}\
    text{fill:currentColor}.title{font-size:15px;font-weight:600}.end{text-anchor:end}\
    .mid{text-anchor:middle}.rule{stroke:currentColor;opacity:.15}\
    path{fill:none;stroke-width:2}.ours{stroke:#0a62a9}circle.ours{fill:#0a62a9}\
    .floor{stroke:#8a8a8a;stroke-dasharray:5 4}circle.floor{fill:#8a8a8a;stroke:none}\
    text.ours{fill:#0a62a9;stroke:none}text.floor{fill:#6a6a6a;stroke:none}\
    @media(prefers-color-scheme:dark){svg{background:#16181b;color:#ddd}\
    .ours{stroke:#6db8f2}circle.ours,text.ours{fill:#6db8f2}text.floor{fill:#a0a0a0}}</style>";

/// From the least to the most on one axis, in decimal logarithms.
#[derive(Clone, Copy, Debug)]
struct Span {
    high: f64,
    low: f64,
}

impl Span {
    /// Around all values that have a logarithm, with some air.
    fn around(values: impl Iterator<Item = f64>, air: f64) -> Self {
        let logs = values.filter(|value| value.is_finite() && *value > 0.0).map(f64::log10);
        let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), log| {
            (low.min(log), high.max(log))
        });
        if low > high {
            return Self { high: 1.0, low: 0.0 };
        }
        Self { high: high + air, low: low - air }
    }

    fn part(self, value: f64) -> f64 {
        if value > 0.0 { (value.log10() - self.low) / (self.high - self.low) } else { 0.0 }
    }

    /// 1, 2 and 5 of each decade that lie within.
    fn marks(self) -> Vec<f64> {
        let mut marks = Vec::new();
        let mut decade = self.low.floor();
        while decade <= self.high {
            for digit in [1.0, 2.0, 5.0] {
                let mark = digit * 10_f64.powf(decade);
                if (self.low..=self.high).contains(&mark.log10()) {
                    marks.push(mark);
                }
            }
            decade += 1.0;
        }
        marks
    }
}

/// The drawing.
pub(crate) fn svg(curve: &Curve) -> String {
    let xs = Span::around(curve.points.iter().map(|point| point.x), 0.05);
    let ys = Span::around(curve.points.iter().flat_map(|p| [p.value, p.floor]), 0.15);
    let x = |value: f64| LEFT + xs.part(value) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - ys.part(value) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">{STYLE}"#,
        px(WIDTH),
        px(HEIGHT),
        esc(&format!("{} by {}", curve.name(), curve.axis))
    );
    let _ = write!(
        svg,
        r#"<text class="title" x="{}" y="22">{} ({}), median</text><text class="ours" x="{0}" y="44">● ours</text><text class="floor" x="{}" y="44">● floor: {}</text>"#,
        px(LEFT),
        esc(curve.name()),
        esc(&curve.unit),
        px(LEFT + 64.0),
        esc(&curve.floor)
    );
    for mark in ys.marks() {
        let _ = write!(
            svg,
            r#"<line class="rule" x1="{0}" x2="{1}" y1="{3}" y2="{3}"/><text class="end" x="{2}" y="{4}">{5}</text>"#,
            px(LEFT),
            px(WIDTH - RIGHT),
            px(LEFT - 8.0),
            px(y(mark)),
            px(y(mark) + 4.0),
            plain(mark)
        );
    }
    for point in &curve.points {
        let _ = write!(
            svg,
            r#"<line class="rule" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/><text class="mid" x="{0}" y="{3}">{4}</text>"#,
            px(x(point.x)),
            px(TOP),
            px(HEIGHT - BOTTOM),
            px(HEIGHT - BOTTOM + 18.0),
            plain(point.x)
        );
    }
    let _ = write!(
        svg,
        r#"<text class="mid" x="{}" y="{}">{}</text>"#,
        px(f64::midpoint(LEFT, WIDTH - RIGHT)),
        px(HEIGHT - 10.0),
        esc(&curve.axis)
    );
    for (class, value) in [("floor", false), ("ours", true)] {
        let mut path = String::new();
        let mut dots = String::new();
        for point in &curve.points {
            let height = if value { point.value } else { point.floor };
            let (x, y) = (px(x(point.x)), px(y(height)));
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{x} {y}");
            let _ = write!(
                dots,
                r#"<circle class="{class}" cx="{x}" cy="{y}" r="4"><title>{}: {} {}</title></circle>"#,
                plain(point.x),
                short(height),
                esc(&curve.unit)
            );
        }
        let _ = write!(svg, r#"<path class="{class}" d="{path}"/>{dots}"#);
    }
    svg.push_str("</svg>\n");
    svg
}

/// A mark without needless digits.
fn plain(value: f64) -> String {
    if value >= 1.0 {
        return format!("{}", (value * 10.0).round() / 10.0);
    }
    format!("{value:.3}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::figure::{Line, read};
    use super::*;
    use crate::report::tests::assert_well_formed;

    fn curve(points: &str) -> Curve {
        let line = format!(
            r#"{{"curve":"a.b","axis":"bytes <each>","unit":"µs","floor":"f","points":[{points}]}}"#
        );
        match read(&line).unwrap().remove(0) {
            Line::Curve(curve) => curve,
            Line::Figure(_) => panic!("a figure"),
        }
    }

    #[test]
    fn both_lines_are_drawn_with_a_dot_for_each_point() {
        let drawn = svg(&curve(
            r#"{"x":1,"value":2,"floor":1},{"x":10,"value":20,"floor":3},{"x":100,"value":200,"floor":9}"#,
        ));
        assert_well_formed(&drawn);
        assert_eq!(drawn.matches("<circle").count(), 6);
        assert_eq!(drawn.matches("<path").count(), 2);
        assert!(drawn.contains("bytes &lt;each&gt;"));
    }

    #[test]
    fn what_has_no_logarithm_is_drawn_at_the_edge() {
        for points in ["", r#"{"x":0,"value":0,"floor":-1}"#, r#"{"x":5,"value":5,"floor":5}"#] {
            let drawn = svg(&curve(points));
            assert_well_formed(&drawn);
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        }
    }

    #[test]
    fn proportion_is_a_straight_line() {
        let span = Span::around([1.0, 10.0, 100.0].into_iter(), 0.0);
        assert!((span.part(10.0) - 0.5).abs() < 1e-12);
        assert_eq!(span.marks().len(), 7);
    }
}
