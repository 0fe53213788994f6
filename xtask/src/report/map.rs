//! The map: the room, the zones by kind, the true path coloured by speed, and every clamp
//! where it happened.

use super::{Family, Run, esc, fixed, px, sentence};
use crate::truth::Truth;
use crate::zones::outline_at;
use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::policy::{Zone, ZoneRule};
use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const PAD_M: f64 = 0.35;
/// A footprint is drawn each so many seconds.
const FOOTPRINT_EACH_S: f64 = 2.0;
/// Shades of the path, slow to fast; `page` has a colour for each.
pub(crate) const SHADES: u8 = 5;

/// From the `map` frame, y up, to the drawing, y down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    height: f64,
    left: f64,
    scale: f64,
    top: f64,
}

impl Frame {
    /// Around everything that is drawn.
    pub(crate) fn around(run: &Run) -> Self {
        let (mut low, mut high) = (
            Point::new(f64::INFINITY, f64::INFINITY),
            Point::new(f64::NEG_INFINITY, f64::NEG_INFINITY),
        );
        let zones = run.policy.zones.iter().flat_map(Zone::corners);
        let shapes = run.world.shapes.iter().flat_map(|shape| shape.points.iter().copied());
        let path = run.truth.iter().map(|(_, truth)| truth.pose.point());
        for point in zones.chain(shapes).chain(path).filter(|point| point.is_finite()) {
            low = Point::new(low.x.min(point.x), low.y.min(point.y));
            high = Point::new(high.x.max(point.x), high.y.max(point.y));
        }
        if !low.is_finite() || !high.is_finite() {
            (low, high) = (Point::new(0.0, 0.0), Point::new(1.0, 1.0));
        }
        let scale = WIDTH / (high.x - low.x + 2.0 * PAD_M).max(1.0);
        let height = (high.y - low.y + 2.0 * PAD_M).max(1.0) * scale;
        Self { height, left: low.x - PAD_M, scale, top: high.y + PAD_M }
    }

    /// Metres to pixels.
    pub(crate) const fn scale(&self) -> f64 {
        self.scale
    }

    /// Where the drawing's left edge and top edge lie in the map.
    pub(crate) const fn corner(&self) -> (f64, f64) {
        (self.left, self.top)
    }

    fn x(&self, x: f64) -> f64 {
        (x - self.left) * self.scale
    }

    fn y(&self, y: f64) -> f64 {
        (self.top - y) * self.scale
    }

    fn points(&self, points: &[Point]) -> String {
        let pairs: Vec<String> = points
            .iter()
            .map(|point| format!("{},{}", px(self.x(point.x)), px(self.y(point.y))))
            .collect();
        pairs.join(" ")
    }
}

/// The drawing.
pub(crate) fn svg(run: &Run) -> String {
    let frame = Frame::around(run);
    let path = run.path();
    let mut svg = format!(
        r#"<svg id="map" class="map" viewBox="0 0 {} {}" role="group" aria-label="Map of the run: zones, the path driven, and every clamp where it happened">"#,
        px(WIDTH),
        px(frame.height)
    );
    svg.push_str(concat!(
        r#"<defs><pattern id="hatch" width="9" height="9" patternUnits="userSpaceOnUse" "#,
        r#"patternTransform="rotate(45)"><line class="hatch" x1="0" y1="0" x2="0" y2="9"/>"#,
        "</pattern></defs>",
    ));
    grid(&mut svg, &frame);
    world(&mut svg, &frame, run);
    layers(&mut svg, &frame, run);
    zones(&mut svg, &frame, run);
    footprints(&mut svg, &frame, run, &path);
    track(&mut svg, &frame, run, &path);
    places(&mut svg, &frame, run);
    clamps(&mut svg, &frame, run);
    robot(&mut svg, &frame, run, &path);
    scale_bar(&mut svg, &frame);
    svg.push_str("</svg>");
    svg
}

/// One line each metre.
fn grid(svg: &mut String, frame: &Frame) {
    svg.push_str(r#"<g class="grid" aria-hidden="true">"#);
    let mut x = frame.left.ceil();
    while frame.x(x) <= WIDTH {
        let at = px(frame.x(x));
        let _ = write!(svg, r#"<line x1="{at}" y1="0" x2="{at}" y2="{}"/>"#, px(frame.height));
        x += 1.0;
    }
    let mut y = frame.top.floor();
    while frame.y(y) <= frame.height {
        let at = px(frame.y(y));
        let _ = write!(svg, r#"<line x1="0" y1="{at}" x2="{}" y2="{at}"/>"#, px(WIDTH));
        y -= 1.0;
    }
    svg.push_str("</g>");
}

/// A map's cells, as one path for each layer.
fn layers(svg: &mut String, frame: &Frame, run: &Run) {
    for layer in &run.layers {
        let _ = write!(
            svg,
            r#"<g class="cells {}"><title>{}</title><path d=""#,
            layer.class,
            esc(&layer.label)
        );
        for corners in &layer.shapes {
            let at = corners
                .map(|corner| format!("{} {}", px(frame.x(corner.x)), px(frame.y(corner.y))));
            let _ = write!(svg, "M{}Z", at.join("L"));
        }
        svg.push_str(r#""/></g>"#);
    }
}

fn world(svg: &mut String, frame: &Frame, run: &Run) {
    svg.push_str(r#"<g class="world">"#);
    // The largest outline is the room that all the rest stands in: it comes first, below.
    let mut shapes: Vec<_> = run.world.shapes.iter().collect();
    // Where a map is drawn, the obstacles that were made from it would hide it.
    shapes.retain(|shape| run.layers.is_empty() || shape.name == "room");
    shapes.sort_by(|a, b| area(&b.points).total_cmp(&area(&a.points)));
    for (index, shape) in shapes.into_iter().enumerate() {
        let is_closed = shape.points.len() > 2;
        let class = if index == 0 && is_closed { "room" } else { "solid" };
        let tag = if is_closed { "polygon" } else { "polyline" };
        let _ = write!(
            svg,
            r#"<{tag} class="{class}" points="{}"><title>{}</title></{tag}>"#,
            frame.points(&shape.points),
            esc(&shape.name)
        );
    }
    svg.push_str("</g>");
}

/// Absolute area of a polygon.
fn area(points: &[Point]) -> f64 {
    let next = points.iter().cycle().skip(1);
    points.iter().zip(next).map(|(a, b)| a.x * b.y - b.x * a.y).sum::<f64>().abs() / 2.0
}

fn zones(svg: &mut String, frame: &Frame, run: &Run) {
    for zone in &run.policy.zones {
        let (class, says) = match zone.rule {
            ZoneRule::KeepIn => ("keep-in", "keep in".to_owned()),
            ZoneRule::KeepOut => ("keep-out", "keep out".to_owned()),
            ZoneRule::Speed { max_linear_mps } => {
                ("slow", format!("at most {} m/s", fixed(max_linear_mps, 2)))
            }
        };
        let label = format!("{}: {says}", zone.id);
        let _ = write!(
            svg,
            r#"<g class="area {class}"><title>{}</title><polygon points="{}"/>"#,
            esc(&label),
            frame.points(&zone.corners())
        );
        let corner = zone.corners().iter().fold(None, |best: Option<Point>, point| match best {
            Some(best) if best.y - best.x >= point.y - point.x => Some(best),
            _ => Some(*point),
        });
        if let (Some(corner), false) = (corner, matches!(zone.rule, ZoneRule::KeepIn)) {
            let (x, y) = (frame.x(corner.x) + 8.0, frame.y(corner.y) + 20.0);
            let _ = write!(svg, r#"<text x="{}" y="{}">{}</text>"#, px(x), px(y), esc(&label));
        }
        svg.push_str("</g>");
    }
}

fn footprints(svg: &mut String, frame: &Frame, run: &Run, path: &[(f64, Truth)]) {
    svg.push_str(r#"<g class="footprints" aria-hidden="true">"#);
    let mut next = f64::NEG_INFINITY;
    for (t, truth) in path {
        if *t >= next {
            next = t + FOOTPRINT_EACH_S;
            let outline = outline_at(&run.policy.footprint.outline, truth.pose);
            let _ = write!(svg, r#"<polygon points="{}"/>"#, frame.points(&outline));
        }
    }
    svg.push_str("</g>");
}

/// The shade for a speed, against the forward limit.
fn shade(run: &Run, truth: &Truth) -> u8 {
    let part = truth.linear_mps.abs() / run.summary.max_speed_limit_mps;
    // Compared rather than cast: a part that is no number gets the slowest shade.
    (1..SHADES).rev().find(|shade| part >= f64::from(*shade) / f64::from(SHADES)).unwrap_or(0)
}

fn track(svg: &mut String, frame: &Frame, run: &Run, path: &[(f64, Truth)]) {
    svg.push_str(r#"<g class="track">"#);
    let _ = write!(svg, "<title>True path, darker is faster</title>");
    let mut index = 0;
    while index + 1 < path.len() {
        let colour = shade(run, &path[index].1);
        let mut end = index + 1;
        while end + 1 < path.len() && shade(run, &path[end].1) == colour {
            end += 1;
        }
        let points: Vec<Point> = path[index..=end].iter().map(|(_, t)| t.pose.point()).collect();
        let _ = write!(svg, r#"<polyline class="s{colour}" points="{}"/>"#, frame.points(&points));
        index = end;
    }
    svg.push_str("</g>");
}

fn places(svg: &mut String, frame: &Frame, run: &Run) {
    if let Some(dock) = run.world.dock {
        let (x, y) = (frame.x(dock.x), frame.y(dock.y));
        let _ = write!(
            svg,
            r#"<g class="dock"><title>Dock</title><path d="M{} {}v22h-8v-22z"/><text x="{}" y="{}">dock</text></g>"#,
            px(x - 0.42 * frame.scale),
            px(y - 11.0),
            px(x - 0.42 * frame.scale - 8.0),
            px(y + 28.0)
        );
    }
    for (name, point) in &run.waypoints {
        // The badge stands beside the point: on it are the path, a flag and clamps.
        let (x, y) = (frame.x(point.x), frame.y(point.y));
        let (badge_x, badge_y) = (x + 24.0, y + 20.0);
        let _ = write!(
            svg,
            r#"<g class="waypoint"><title>Waypoint {0}</title><path d="M{1} {2}L{3} {4}"/><circle cx="{3}" cy="{4}" r="11"/><text x="{3}" y="{5}">{0}</text></g>"#,
            esc(name),
            px(x),
            px(y),
            px(badge_x),
            px(badge_y),
            px(badge_y + 4.5)
        );
    }
    for moment in &run.summary.job.timeline {
        let (Some(pose), "CHECKPOINT_REACHED") = (moment.pose, moment.event.as_str()) else {
            continue;
        };
        let (x, y) = (frame.x(pose.x), frame.y(pose.y));
        let _ = write!(
            svg,
            r#"<g class="checkpoint"><title>Checkpoint {} at {} s, signed by {}</title><path d="M{} {}v-18h12l-3 4 3 4h-12"/></g>"#,
            esc(moment.note.as_deref().unwrap_or("reached")),
            fixed(moment.t_s, 1),
            esc(&moment.signed_by),
            px(x),
            px(y),
        );
    }
}

fn clamps(svg: &mut String, frame: &Frame, run: &Run) {
    // The busiest below: acceleration first, zones on top.
    for family in [Family::Accel, Family::Speed, Family::Other, Family::Zone] {
        for (index, clamp) in run.summary.clamps.iter().enumerate() {
            if Family::of(clamp.rule) != family {
                continue;
            }
            let number = index + 1;
            let text = esc(&sentence(number, clamp));
            let (x, y) = (frame.x(clamp.pose.x), frame.y(clamp.pose.y));
            let _ = write!(
                svg,
                r##"<a class="clamp {}" href="#clamp-{number}" data-clamp="{number}" aria-label="{text}"><title>{text}</title>{}</a>"##,
                family.class(),
                family.glyph(x, y)
            );
        }
    }
}

/// The robot that the slider moves: drawn about its own origin, placed by a transform.
fn robot(svg: &mut String, frame: &Frame, run: &Run, path: &[(f64, Truth)]) {
    let Some((_, first)) = path.first() else {
        return;
    };
    let outline: Vec<String> = run
        .policy
        .footprint
        .outline
        .iter()
        .map(|corner| format!("{},{}", px(corner.x * frame.scale), px(-corner.y * frame.scale)))
        .collect();
    let nose = run.policy.footprint.outline.iter().map(|corner| corner.x).fold(0.0, f64::max);
    let Pose { x, y, yaw } = first.pose;
    let _ = write!(
        svg,
        r#"<g id="robot" class="robot" aria-hidden="true" transform="translate({} {}) rotate({})"><polygon points="{}"/><path d="M0 0H{}"/></g>"#,
        px(frame.x(x)),
        px(frame.y(y)),
        px(-yaw.to_degrees()),
        outline.join(" "),
        px(nose * frame.scale)
    );
}

fn scale_bar(svg: &mut String, frame: &Frame) {
    let y = frame.height - 12.0;
    let _ = write!(
        svg,
        r#"<g class="scale" aria-hidden="true"><path d="M{0} {1}v6h{2}v-6"/><text x="{3}" y="{4}">1 m</text></g>"#,
        px(14.0),
        px(y - 6.0),
        px(frame.scale),
        px(20.0),
        px(y - 4.0)
    );
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_well_formed, small_run};
    use super::*;

    #[test]
    fn every_zone_waypoint_checkpoint_and_clamp_is_on_the_map() {
        let run = small_run();
        let svg = svg(&run);
        assert_well_formed(&svg);
        for part in [
            "keep-in",
            "keep-out",
            "slow",
            "Waypoint A",
            "Dock",
            "checkpoint",
            "press: keep out",
            "crossing: at most 0.60 m/s",
            r#"data-clamp="1""#,
            r#"data-clamp="2""#,
            r#"data-clamp="3""#,
            "id=\"robot\"",
        ] {
            assert!(svg.contains(part), "no {part}");
        }
        assert_eq!(svg.matches("<a class=\"clamp").count(), run.summary.clamps.len());
    }

    #[test]
    fn names_from_outside_are_escaped() {
        let svg = svg(&small_run());
        assert!(!svg.contains("<script>") && !svg.contains("<img"), "a name broke out");
        assert!(svg.contains("&lt;script&gt;"));
    }

    #[test]
    fn north_is_up() {
        let run = small_run();
        let frame = Frame::around(&run);
        assert!(frame.y(5.0) < frame.y(1.0));
        assert!(frame.x(5.0) > frame.x(1.0));
    }

    #[test]
    fn a_faster_piece_has_a_darker_shade_and_nonsense_has_the_first() {
        let run = small_run();
        let at = |linear_mps| Truth { linear_mps, ..run.truth[0].1 };
        assert_eq!(shade(&run, &at(0.0)), 0);
        assert_eq!(shade(&run, &at(-1.2)), SHADES - 1);
        assert_eq!(shade(&run, &at(f64::NAN)), 0);
    }

    #[test]
    fn a_run_without_a_path_or_a_zone_is_still_drawn() {
        let mut run = small_run();
        run.truth.clear();
        run.policy.zones.clear();
        run.world.shapes.clear();
        assert_well_formed(&svg(&run));
    }
}
