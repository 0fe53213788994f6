//! The track on the map: zones of the policy, the way that was gone, and where a rule would
//! have acted.

use super::{esc, family, label, px, round_step};
use crate::backtest::{Backtest, Interval};
use nooterra_protocol::geometry::Point;
use nooterra_protocol::policy::{PolicyDocument, Zone, ZoneRule};
use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const MOST_HEIGHT: f64 = 720.0;
const PAD: f64 = 24.0;

/// Two points of the drawn track are further apart than this, pixels.
const STEP: f64 = 1.5;

/// From the map, y up, to the drawing, y down.
pub(crate) struct Frame {
    height: f64,
    left_m: f64,
    scale: f64,
    top_m: f64,
}

impl Frame {
    /// All of the points, on at least so many metres; `None` where there are none.
    pub(crate) fn around(points: impl Iterator<Item = Point>, least_m: f64) -> Option<Self> {
        let (mut low, mut high) = (None::<Point>, None::<Point>);
        for point in points {
            let least = low.unwrap_or(point);
            let most = high.unwrap_or(point);
            low = Some(Point::new(least.x.min(point.x), least.y.min(point.y)));
            high = Some(Point::new(most.x.max(point.x), most.y.max(point.y)));
        }
        let (low, high) = (low?, high?);
        let (wide, tall) = ((high.x - low.x).max(least_m), (high.y - low.y).max(least_m));
        let scale = ((WIDTH - 2.0 * PAD) / wide).min((MOST_HEIGHT - 2.0 * PAD) / tall);
        Some(Self {
            height: tall * scale + 2.0 * PAD,
            left_m: low.x - (WIDTH / scale - wide) / 2.0,
            scale,
            top_m: low.y + tall + PAD / scale,
        })
    }

    pub(crate) const fn width(&self) -> f64 {
        WIDTH
    }

    pub(crate) const fn height(&self) -> f64 {
        self.height
    }

    /// A length on the map.
    pub(crate) fn pixels(&self, metres: f64) -> f64 {
        metres * self.scale
    }

    pub(crate) fn x(&self, point: Point) -> f64 {
        (point.x - self.left_m) * self.scale
    }

    pub(crate) fn y(&self, point: Point) -> f64 {
        (self.top_m - point.y) * self.scale
    }

    /// How long a metre, or what is about an eighth of the drawing, is in it.
    pub(crate) fn scale_bar(&self, svg: &mut String) {
        let metres = round_step(WIDTH / self.scale, 8.0);
        let _ = write!(
            svg,
            r#"<g class="scale"><path d="M12 {0}v5h{1}v-5"/><text x="18" y="{2}">{metres} m</text></g>"#,
            px(self.height - 9.0),
            px(metres * self.scale),
            px(self.height - 7.0)
        );
    }
}

/// The drawing; `None` where no poses were recorded.
pub(crate) fn svg(policy: &PolicyDocument, backtest: &Backtest) -> Option<String> {
    let poses = || backtest.timeline.moments.iter().filter_map(|moment| moment.pose);
    poses().next()?;
    let corners = policy.zones.iter().flat_map(Zone::corners);
    let frame = Frame::around(poses().map(|pose| pose.point()).chain(corners), 1.0)?;
    let mut svg = format!(
        concat!(
            r#"<svg class="map" viewBox="0 0 {} {}" role="img" aria-label="Track and zones">"#,
            r#"<defs><pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" "#,
            r#"patternTransform="rotate(45)"><path class="hatch" d="M0 0V8"/></pattern></defs>"#,
        ),
        px(WIDTH),
        px(frame.height)
    );
    zones(&mut svg, &frame, policy);
    track(&mut svg, &frame, backtest);
    for interval in &backtest.intervals {
        worst(&mut svg, &frame, interval);
    }
    frame.scale_bar(&mut svg);
    svg.push_str("</svg>");
    Some(svg)
}

fn zones(svg: &mut String, frame: &Frame, policy: &PolicyDocument) {
    for zone in &policy.zones {
        let (class, what) = match zone.rule {
            ZoneRule::KeepIn => ("keep-in", "keep in".to_owned()),
            ZoneRule::KeepOut => ("keep-out", "keep out".to_owned()),
            ZoneRule::Speed { max_linear_mps } => ("slow", format!("at most {max_linear_mps} m/s")),
        };
        let points: Vec<String> = zone
            .corners()
            .iter()
            .map(|corner| format!("{},{}", px(frame.x(*corner)), px(frame.y(*corner))))
            .collect();
        let _ = write!(
            svg,
            r#"<polygon class="{class}" points="{}"><title>{}: {what}</title></polygon>"#,
            points.join(" "),
            esc(zone.id.as_str())
        );
    }
}

fn track(svg: &mut String, frame: &Frame, backtest: &Backtest) {
    let mut path = String::new();
    let mut last: Option<(f64, f64)> = None;
    for moment in &backtest.timeline.moments {
        let Some(pose) = moment.pose else {
            last = None;
            continue;
        };
        let (x, y) = (frame.x(pose.point()), frame.y(pose.point()));
        let is_apart = moment.is_first || last.is_none();
        if !is_apart && last.is_some_and(|(px, py)| (x - px).hypot(y - py) < STEP) {
            continue;
        }
        let command = if is_apart { 'M' } else { 'L' };
        let _ = write!(path, "{command}{} {}", px(x), px(y));
        last = Some((x, y));
    }
    let _ = write!(svg, r#"<path class="track" d="{path}"/>"#);
}

fn worst(svg: &mut String, frame: &Frame, interval: &Interval) {
    let (Some(x), Some(y)) = (interval.worst.x, interval.worst.y) else {
        return;
    };
    let at = Point::new(x, y);
    let _ = write!(
        svg,
        r#"<circle class="mark {}" cx="{}" cy="{}" r="5"><title>{} at {:.1} s, by {:.3}</title></circle>"#,
        family(interval.rule),
        px(frame.x(at)),
        px(frame.y(at)),
        esc(&label(interval.rule, interval.way, interval.zone.as_ref())),
        interval.worst.t_s,
        interval.worst.excess
    );
}
