//! The page around the drawings.

use super::chart::Chart;
use super::{esc, family, label, track};
use crate::backtest::judge::Interval;
use crate::backtest::timeline::Moment;
use crate::backtest::{Backtest, Off, Recording};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::policy::PolicyDocument;
use std::fmt::Write as _;

pub(crate) const STYLE: &str = include_str!("style.css");

/// The most rows of the table; a page with more is not read, and `--json` has them all.
const MOST_ROWS: usize = 500;

/// The whole file. `name` is the recording's.
#[must_use]
pub fn render(
    name: &str,
    policy: &PolicyDocument,
    recording: &Recording,
    backtest: &Backtest,
) -> String {
    let timeline = &backtest.timeline;
    let over = backtest.rules.iter().filter(|judged| judged.intervals > 0).count();
    let verdict = if over == 0 {
        "No rule would have acted".to_owned()
    } else {
        format!("{over} rules would have acted, {} times", backtest.intervals.len())
    };
    let notes: Vec<String> = recording
        .notes
        .iter()
        .chain(&timeline.notes)
        .map(|note| format!("<li>{}</li>", esc(note)))
        .collect();
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<title>{name} under {policy}</title>
<style>
{STYLE}</style>
</head>
<body>
<header><p class="quiet">Policy {policy} version {version}, recording {name}</p>
<h1>{verdict}</h1>
<p class="quiet">{source} ({format}), positions in {frame}: {samples} samples, {duration:.1} s, {path:.1} m, gaps: {gaps}. Judged moment by moment as the robot was; zones along its stopping path, by {discs}. Motion by {motion}.</p>
<ul class="notes">{notes}</ul></header>
<main>
<section><h2>Rules</h2>{rules}</section>
<section><h2>Speed against its limits</h2>
{charts}</section>
<section><h2>Where</h2>{map}</section>
<section><h2>Intervals</h2>{intervals}</section>
{sensors}</main>
</body>
</html>
"#,
        name = esc(name),
        policy = esc(policy.id.as_str()),
        version = policy.version,
        source = esc(&recording.source),
        format = recording.format.name(),
        frame = esc(&recording.frame),
        samples = recording.samples.len(),
        duration = timeline.duration_s(),
        path = timeline.path_m,
        gaps = timeline.gaps.len(),
        motion = timeline.motion.name(),
        notes = notes.join(""),
        rules = rules(backtest),
        charts = charts(policy, backtest),
        map = track::svg(policy, backtest)
            .unwrap_or_else(|| "<p>No poses were recorded.</p>".to_owned()),
        discs = match backtest.discs.len() {
            1 => "one disc".to_owned(),
            count => format!("{count} discs"),
        },
        intervals = intervals(&backtest.intervals),
        sensors = sensors(&backtest.private),
    )
}

pub(crate) fn charts(policy: &PolicyDocument, backtest: &Backtest) -> String {
    let limits = &policy.limits;
    // Either may be on either side: speeding up backward has the sign of braking.
    let (faster, slower) = (limits.max_linear_accel_mps2, limits.max_decel_mps2);
    let turn = limits.max_angular_accel_radps2;
    let one = |value: fn(&Moment) -> Option<f64>, title, unit, limits: &[f64], rules: &[Rule]| {
        let mut values = Vec::with_capacity(backtest.timeline.moments.len());
        for moment in &backtest.timeline.moments {
            if moment.is_first {
                values.push((moment.t_s, None));
            }
            values.push((moment.t_s, value(moment)));
        }
        let chart = Chart {
            duration_s: backtest.timeline.duration_s(),
            gaps: &backtest.timeline.gaps,
            intervals: backtest
                .intervals
                .iter()
                .filter(|interval| rules.contains(&interval.rule))
                .collect(),
            limits,
            title,
            unit,
            values,
        };
        format!("<h3>{title}, {unit}</h3><figure>{}</figure>", chart.svg())
    };
    [
        one(
            |moment| Some(moment.twist.linear),
            "Linear speed",
            "m/s",
            &[limits.max_linear_mps, -limits.max_reverse_mps],
            &[Rule::SpeedLinear, Rule::ZoneSpeed, Rule::ZoneKeepIn, Rule::ZoneKeepOut],
        ),
        one(
            |moment| Some(moment.twist.angular),
            "Turning",
            "rad/s",
            &[limits.max_angular_radps, -limits.max_angular_radps],
            &[Rule::SpeedAngular],
        ),
        one(
            |moment| moment.accel.map(|accel| accel.linear),
            "Linear acceleration",
            "m/s²",
            &[faster, -faster, slower, -slower],
            &[Rule::AccelLinear],
        ),
        one(
            |moment| moment.accel.map(|accel| accel.angular),
            "Angular acceleration",
            "rad/s²",
            &[turn, -turn],
            &[Rule::AccelAngular],
        ),
    ]
    .concat()
}

fn rules(backtest: &Backtest) -> String {
    let mut rows = String::new();
    for judged in &backtest.rules {
        let shown = |number: Option<f64>| number.map_or("none".to_owned(), |n| format!("{n:.3}"));
        let _ = write!(
            rows,
            concat!(
                r#"<tr class="{}"><td><code>{}</code></td><td class="number">{:.3} {}</td>"#,
                r#"<td class="number">{}</td><td class="number">{}</td>"#,
                r#"<td class="number">{}</td><td class="number">{:.2}</td></tr>"#,
            ),
            if judged.intervals > 0 { "acted" } else { "quiet" },
            esc(&label(judged.rule, judged.way, judged.zone.as_ref())),
            judged.limit,
            judged.unit,
            shown(judged.p99),
            shown(judged.most),
            judged.intervals,
            judged.over_s
        );
    }
    table(
        &["Rule", "Limit", "99 % below", "Most, or least clearance", "Intervals", "Seconds over"],
        &rows,
    )
}

pub(crate) fn intervals(intervals: &[Interval]) -> String {
    let mut rows = String::new();
    for interval in intervals.iter().take(MOST_ROWS) {
        let worst = &interval.worst;
        let place = match (worst.x, worst.y) {
            (Some(x), Some(y)) => format!("{x:.2}, {y:.2}"),
            _ => String::new(),
        };
        let _ = write!(
            rows,
            concat!(
                r#"<tr><td><span class="swatch {}"></span><code>{}</code></td>"#,
                r#"<td class="number">{:.2}</td><td class="number">{:.2}</td>"#,
                r#"<td class="number">{:.2}</td><td class="number">{:.3}</td>"#,
                r#"<td class="number">{:.3}</td><td class="number">{:.3}</td>"#,
                r#"<td class="number">{}</td></tr>"#,
            ),
            family(interval.rule),
            esc(&label(interval.rule, interval.way, interval.zone.as_ref())),
            interval.from_s,
            interval.to_s,
            interval.over_s,
            worst.value,
            worst.limit,
            worst.excess,
            place
        );
    }
    let heads =
        ["Rule", "From, s", "To, s", "Over, s", "Worst", "Limit there", "By", "Worst at x, y"];
    let mut html = table(&heads, &rows);
    if intervals.len() > MOST_ROWS {
        let _ = write!(html, "<p>And {} more.</p>", intervals.len() - MOST_ROWS);
    }
    html
}

/// Empty where no zone of privacy was touched.
fn sensors(private: &[Off]) -> String {
    if private.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for off in private.iter().take(MOST_ROWS) {
        let names: Vec<&str> = off.off.iter().map(|sensor| sensor.name()).collect();
        let kept = off.keep_s.map_or("-".to_owned(), |keep_s| keep_s.to_string());
        let _ = write!(
            rows,
            "<tr><td>{:.2}</td><td>{:.2}</td><td>{}</td><td>{kept}</td></tr>",
            off.from_s,
            off.to_s,
            esc(&names.join(", "))
        );
    }
    let heads = ["From, s", "To, s", "Sensors off", "The others' data is kept, s"];
    format!("<section><h2>Privacy</h2>{}</section>\n", table(&heads, &rows))
}

pub(crate) fn table(heads: &[&str], rows: &str) -> String {
    let heads: Vec<String> =
        heads.iter().map(|head| format!(r#"<th scope="col">{head}</th>"#)).collect();
    format!(
        r#"<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{rows}</tbody></table></div>"#,
        heads.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::recording::{Quaternion, Sample, Velocity};
    use crate::backtest::{Derivation, Format, Motion, run, verified};

    fn policy() -> PolicyDocument {
        serde_json::from_str(include_str!("../../../../examples/robots/amr/policy.json")).unwrap()
    }

    fn recording(source: &str) -> Recording {
        let samples = (0..100).map(|i| Sample {
            at_ns: i64::from(i) * 50_000_000,
            attitude: Some(Quaternion::from_yaw(0.0)),
            position: Some([1.0 + f64::from(i) * 0.1, 4.0, 0.0]),
            velocity: Velocity::Unknown,
        });
        Recording {
            format: Format::Tum,
            frame: "map".to_owned(),
            motion: Motion::Heading,
            notes: vec!["<note>".to_owned()],
            samples: samples.collect(),
            source: source.to_owned(),
        }
    }

    #[test]
    fn the_page_shows_every_rule_and_loads_nothing() {
        let recording = recording("<script>");
        let outcome = run(&verified(&policy()), &recording, &Derivation::default(), 0.5);
        let html = render("a\"b.csv", &policy(), &recording, &outcome);
        for outside in ["http:", "https:", " src=", "@import", "url(h", "<link", "<script"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("&lt;note&gt;") && html.contains("a&quot;b.csv"));
        for part in ["speed.linear forward", "zone.keep_out press", "zone.speed crossing"] {
            assert!(html.contains(part), "no {part}");
        }
        assert_eq!(html.matches(r#"<svg class="chart""#).count(), 4);
        for tag in ["svg", "table", "section", "title", "g", "tr", "td"] {
            let open = html.matches(&format!("<{tag}>")).count()
                + html.matches(&format!("<{tag} ")).count();
            assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(!html.contains("NaN") && !html.contains("inf "));
    }

    #[test]
    fn a_recording_without_poses_is_drawn_without_a_map() {
        let mut recording = recording("/cmd_vel");
        for sample in &mut recording.samples {
            (sample.position, sample.velocity) = (None, Velocity::Body([2.0, 0.0, 0.0], 0.0));
        }
        let outcome = run(&verified(&policy()), &recording, &Derivation::default(), 0.5);
        let html = render("x", &policy(), &recording, &outcome);
        assert!(html.contains("No poses were recorded"));
        assert!(html.contains("1 rules would have acted, 1 times"), "{}", &html[..900]);
    }
}
