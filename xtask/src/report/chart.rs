//! Speed over time against its envelope, with a lane below for each rule that acted and one
//! for the state of the job: all on one axis.

use super::{Family, Run, esc, fixed, px, sentence};
use nooterra_protocol::entry::Rule;
use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const PLOT: f64 = 230.0;
const LANE: f64 = 22.0;
const AXIS: f64 = 30.0;
/// Between two marks of the time axis there are at least so many pixels.
const TICK_LEAST: f64 = 60.0;
/// A clamp of one tick must still be seen and hit.
const BAR_LEAST: f64 = 4.0;

/// From seconds and m/s to the drawing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    from_s: f64,
    high_mps: f64,
    low_mps: f64,
    to_s: f64,
}

impl Scale {
    /// Around everything that is drawn.
    pub(crate) fn around(run: &Run) -> Self {
        let (from_s, to_s) = run.span();
        let (mut low_mps, mut high_mps) = (0.0_f64, run.summary.max_speed_limit_mps.max(0.1));
        let mut take = |mps: f64| {
            if mps.is_finite() {
                low_mps = low_mps.min(mps);
                high_mps = high_mps.max(mps);
            }
        };
        for (_, sample) in in_span(&run.samples, from_s, to_s) {
            take(sample.allowed.forward_mps());
            take(sample.asked.forward_mps().unwrap_or(0.0));
            take(sample.limit_mps);
        }
        for (_, truth) in in_span(&run.truth, from_s, to_s) {
            take(truth.linear_mps);
        }
        let air = (high_mps - low_mps) * 0.06;
        let low_mps = if low_mps < 0.0 { low_mps - air } else { 0.0 };
        Self { from_s, high_mps: high_mps + air, low_mps, to_s }
    }

    fn x(&self, t_s: f64) -> f64 {
        let part = (t_s - self.from_s) / (self.to_s - self.from_s);
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, mps: f64) -> f64 {
        TOP + (self.high_mps - mps) / (self.high_mps - self.low_mps) * PLOT
    }

    /// Left edge, width, first and last second: what the slider's cursor needs.
    pub(crate) const fn for_script(&self) -> (f64, f64, f64, f64) {
        (LEFT, WIDTH - LEFT - RIGHT, self.from_s, self.to_s)
    }
}

fn in_span<T>(series: &[(f64, T)], from_s: f64, to_s: f64) -> impl Iterator<Item = &(f64, T)> {
    series.iter().filter(move |(t, _)| (from_s..=to_s).contains(t))
}

/// The drawing.
pub(crate) fn svg(run: &Run) -> String {
    let scale = Scale::around(run);
    let rules: Vec<Rule> = Rule::ALL
        .into_iter()
        .filter(|rule| run.summary.clamps.iter().any(|clamp| clamp.rule == *rule))
        .collect();
    let lanes = rules.len() as f64 + 1.0;
    let below = TOP + PLOT;
    let height = below + AXIS + lanes * LANE + 6.0;
    let mut svg = format!(
        r#"<svg id="chart" class="chart" viewBox="0 0 {} {}" role="group" aria-label="Speed over time: asked, allowed and measured, against the limit; below, when each rule acted and the state of the job">"#,
        px(WIDTH),
        px(height)
    );
    axes(&mut svg, &scale, below, height);
    envelope(&mut svg, run, &scale);
    lines(&mut svg, run, &scale);
    for (index, rule) in rules.iter().enumerate() {
        lane(&mut svg, run, &scale, *rule, below + AXIS + index as f64 * LANE);
    }
    states(&mut svg, run, &scale, below + AXIS + (lanes - 1.0) * LANE);
    let _ = write!(
        svg,
        r#"<line id="cursor" class="cursor" x1="{0}" x2="{0}" y1="{1}" y2="{2}" aria-hidden="true"/>"#,
        px(scale.x(scale.from_s)),
        px(TOP),
        px(height)
    );
    svg.push_str("</svg>");
    svg
}

/// Above the limit lies what was not allowed.
fn envelope(svg: &mut String, run: &Run, scale: &Scale) {
    let limits: Vec<(f64, f64)> = in_span(&run.samples, scale.from_s, scale.to_s)
        .map(|(t, sample)| (*t, sample.limit_mps))
        .collect();
    let Some((first, _)) = limits.first() else {
        return;
    };
    let top = px(TOP);
    let mut area = format!("M{} {top}", px(scale.x(*first)));
    area.push_str(&steps(&limits, scale, 'L'));
    let _ = write!(area, "V{top}Z");
    let _ = write!(
        svg,
        r#"<path class="beyond" d="{area}"><title>Beyond the envelope</title></path><path class="limit" d="{}"><title>Limit at this place</title></path>"#,
        steps(&limits, scale, 'M')
    );
}

/// A step line: a value holds until the next.
fn steps(series: &[(f64, f64)], scale: &Scale, start: char) -> String {
    let mut path = String::new();
    let mut last = f64::NAN;
    for (index, (t, mps)) in series.iter().enumerate() {
        let (x, y) = (px(scale.x(*t)), px(scale.y(*mps)));
        if index == 0 {
            let _ = write!(path, "{start}{x} {y}");
        } else if (mps - last).abs() > 1e-9 {
            let _ = write!(path, "H{x}V{y}");
        }
        last = *mps;
    }
    if let Some((t, _)) = series.last() {
        let _ = write!(path, "H{}", px(scale.x(*t)));
    }
    path
}

fn axes(svg: &mut String, scale: &Scale, below: f64, height: f64) {
    svg.push_str(r#"<g class="axes" aria-hidden="true">"#);
    let (left, right) = (px(LEFT), px(WIDTH - RIGHT));
    let mut mps = (scale.low_mps / 0.5).ceil() * 0.5;
    while mps <= scale.high_mps {
        let y = px(scale.y(mps));
        let class = if mps.abs() < 1e-9 { "zero" } else { "rule" };
        let _ = write!(
            svg,
            r#"<line class="{class}" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/><text class="end" x="{}" y="{}">{}</text>"#,
            px(LEFT - 8.0),
            px(scale.y(mps) + 4.0),
            fixed(mps, 1)
        );
        mps += 0.5;
    }
    let _ = write!(
        svg,
        r#"<text class="end" x="{}" y="{}">m/s</text>"#,
        px(LEFT - 40.0),
        px(TOP + 4.0)
    );
    let every = tick(scale);
    let mut t = (scale.from_s / every).ceil() * every;
    while t <= scale.to_s {
        let x = px(scale.x(t));
        let _ = write!(
            svg,
            r#"<line class="rule" x1="{x}" x2="{x}" y1="{}" y2="{}"/><text class="mid" x="{x}" y="{}">{} s</text>"#,
            px(TOP),
            px(height),
            px(below + 18.0),
            fixed(t, 0)
        );
        t += every;
    }
    svg.push_str("</g>");
}

/// Seconds between two marks.
fn tick(scale: &Scale) -> f64 {
    let per_second = (WIDTH - LEFT - RIGHT) / (scale.to_s - scale.from_s);
    let mut every = 1.0;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
        if every * per_second >= TICK_LEAST {
            break;
        }
        every *= factor;
    }
    every
}

fn lines(svg: &mut String, run: &Run, scale: &Scale) {
    let samples = || in_span(&run.samples, scale.from_s, scale.to_s);
    // A wish that was no number leaves a gap in its line.
    let mut asked = String::new();
    let mut piece: Vec<(f64, f64)> = Vec::new();
    for (t, sample) in samples() {
        match sample.asked.forward_mps() {
            Some(mps) => piece.push((*t, mps)),
            None => asked.push_str(&steps(&std::mem::take(&mut piece), scale, 'M')),
        }
    }
    asked.push_str(&steps(&piece, scale, 'M'));
    let allowed: Vec<(f64, f64)> =
        samples().map(|(t, sample)| (*t, sample.allowed.forward_mps())).collect();
    let mut measured = String::new();
    for (index, (t, truth)) in run.path().iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        let _ = write!(measured, "{command}{} {}", px(scale.x(*t)), px(scale.y(truth.linear_mps)));
    }
    for (class, title, path) in [
        ("asked", "Asked", asked),
        ("allowed", "Allowed", steps(&allowed, scale, 'M')),
        ("measured", "Measured: the simulator's true speed", measured),
    ] {
        if !path.is_empty() {
            let _ =
                write!(svg, r#"<path class="{class}" d="{path}"><title>{title}</title></path>"#);
        }
    }
}

fn lane(svg: &mut String, run: &Run, scale: &Scale, rule: Rule, top: f64) {
    lane_label(svg, rule.name(), top);
    let family = Family::of(rule).class();
    for (index, clamp) in run.summary.clamps.iter().enumerate() {
        if clamp.rule != rule {
            continue;
        }
        let number = index + 1;
        let text = esc(&sentence(number, clamp));
        let from = scale.x(clamp.t_s);
        let width = (scale.x(clamp.t_s + clamp.held_s.unwrap_or(0.0)) - from).max(BAR_LEAST);
        let _ = write!(
            svg,
            r##"<a class="clamp {family}" href="#clamp-{number}" data-clamp="{number}" aria-label="{text}"><title>{text}</title><rect x="{}" y="{}" width="{}" height="{}" rx="2"/></a>"##,
            px(from),
            px(top + 4.0),
            px(width),
            px(LANE - 8.0)
        );
    }
}

fn lane_label(svg: &mut String, label: &str, top: f64) {
    let y = px(top + LANE);
    let _ = write!(
        svg,
        r#"<g class="axes"><line class="rule" x1="0" x2="{}" y1="{y}" y2="{y}"/><text class="end" x="{}" y="{}">{}</text></g>"#,
        px(WIDTH - RIGHT),
        px(LEFT - 8.0),
        px(top + 15.5),
        esc(label)
    );
}

/// The state of the job, and a flag for each checkpoint.
fn states(svg: &mut String, run: &Run, scale: &Scale, top: f64) {
    lane_label(svg, "job", top);
    let timeline = &run.summary.job.timeline;
    let mut index = 0;
    while index < timeline.len() {
        let state = &timeline[index].state;
        let mut end = index + 1;
        while end < timeline.len() && timeline[end].state == *state {
            end += 1;
        }
        let until = timeline.get(end).map_or(scale.to_s, |moment| moment.t_s);
        let (from, to) = (scale.x(timeline[index].t_s), scale.x(until));
        if to - from >= 1.0 {
            let text = esc(state);
            let _ = write!(
                svg,
                r#"<g class="state {}"><title>{text}</title><rect x="{}" y="{}" width="{}" height="{}"/>"#,
                if state == "COMPLETED" { "good" } else { "running" },
                px(from),
                px(top + 3.0),
                px(to - from - 1.0),
                px(LANE - 6.0)
            );
            // About 7 pixels a letter.
            if to - from > state.len() as f64 * 7.0 + 8.0 {
                let _ = write!(
                    svg,
                    r#"<text x="{}" y="{}">{text}</text>"#,
                    px(from + 5.0),
                    px(top + 15.0)
                );
            }
            svg.push_str("</g>");
        }
        index = end;
    }
    for moment in timeline.iter().filter(|moment| moment.event == "CHECKPOINT_REACHED") {
        let name = moment.note.as_deref().unwrap_or("checkpoint");
        let _ = write!(
            svg,
            r#"<g class="checkpoint"><title>Checkpoint {} at {} s</title><path d="M{} {}v{}"/></g>"#,
            esc(name),
            fixed(moment.t_s, 1),
            px(scale.x(moment.t_s)),
            px(top + 1.0),
            px(LANE - 2.0)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_well_formed, small_run};
    use super::*;

    #[test]
    fn the_three_speeds_the_limit_and_a_bar_for_each_clamp_are_drawn() {
        let run = small_run();
        let svg = svg(&run);
        assert_well_formed(&svg);
        for class in ["asked", "allowed", "measured", "limit", "beyond"] {
            assert!(svg.contains(&format!(r#"<path class="{class}""#)), "no {class}");
        }
        assert_eq!(svg.matches("<a class=\"clamp").count(), run.summary.clamps.len());
        for label in ["speed.linear", "zone.keep_out", "accel.linear", "EXECUTING"] {
            assert!(svg.contains(label), "no {label}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_wish_that_was_no_number_leaves_a_gap() {
        let mut run = small_run();
        let before = svg(&run);
        run.samples[10].1.asked =
            nooterra_protocol::command::Asked::Drive { angular: Some(0.0), linear: None };
        let after = svg(&run);
        let starts = |svg: &str| {
            let path = svg.split(r#"<path class="asked" d=""#).nth(1).unwrap();
            path.split('"').next().unwrap().matches('M').count()
        };
        assert_eq!((starts(&before), starts(&after)), (1, 2));
    }

    #[test]
    fn steps_hold_until_the_next_value() {
        let run = small_run();
        let scale = Scale::around(&run);
        let path = steps(&[(0.0, 1.0), (1.0, 1.0), (2.0, 0.5)], &scale, 'M');
        assert_eq!(path.matches('H').count(), 2, "{path}");
        assert_eq!(path.matches('V').count(), 1, "{path}");
        assert_eq!(steps(&[], &scale, 'M'), "");
    }

    #[test]
    fn the_marks_of_the_axis_are_round_and_apart() {
        let run = small_run();
        let mut scale = Scale::around(&run);
        for (to_s, expected) in [(5.0, 1.0), (40.0, 5.0), (100.0, 10.0)] {
            scale.from_s = 0.0;
            scale.to_s = to_s;
            assert!((tick(&scale) - expected).abs() < 1e-9, "{to_s}: {}", tick(&scale));
        }
    }

    #[test]
    fn a_run_without_samples_or_events_is_still_drawn() {
        let mut run = small_run();
        run.samples.clear();
        run.truth.clear();
        run.summary.clamps.clear();
        run.summary.job.timeline.clear();
        assert_well_formed(&svg(&run));
    }
}
