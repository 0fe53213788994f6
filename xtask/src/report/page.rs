//! The page around the drawings.

use super::{Family, Run, chart, esc, fixed, goes_down, map, sentence, timeline};
use nooterra_protocol::command::Source;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole file.
pub(crate) fn render(run: &Run) -> String {
    let summary = &run.summary;
    let failed = summary.claims.iter().filter(|claim| !claim.holds).count();
    let verdict = if failed == 0 {
        format!(r#"<p class="verdict good">All {} claims hold</p>"#, summary.claims.len())
    } else {
        format!(
            r#"<p class="verdict bad">{failed} of {} claims do not hold</p>"#,
            summary.claims.len()
        )
    };
    format!(
        r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<title>{robot}: one signed job, end to end</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<div><p class="kicker">Nooterra demo, robot {robot}, {agent}, seed {seed}</p>
<h1>One signed job, end to end</h1>
<p class="quiet">Job <code>{job}</code> under policy <code>{policy}</code>. Times are seconds since the robot departed. The path is the simulator&#39;s own account of where the robot was, which the robot&#39;s control loop never sees.</p></div>
{verdict}
</header>
<main>
{facts}
<section aria-labelledby="h-map"><h2 id="h-map">Where it went, and where it was held back</h2>
{filters}
<div class="stage"><figure>{map}</figure>
<aside><h3>Under the cursor</h3><output id="detail" aria-live="polite">Point at a mark, or reach it with the Tab key, to see what was asked and what was allowed.</output>
<h3>At this moment</h3><dl id="now"><dt>Time</dt><dd data-now="t">-</dd><dt>True speed</dt><dd data-now="v">-</dd><dt>Asked</dt><dd data-now="asked">-</dd><dt>Allowed</dt><dd data-now="allowed">-</dd><dt>Limit here</dt><dd data-now="limit">-</dd></dl>
{map_key}</aside></div>
<div class="slider"><button id="play" type="button">Play</button><label for="time">Time</label><input id="time" type="range" min="0" max="1" step="0.05" value="0"/></div>
</section>
<section aria-labelledby="h-speed"><h2 id="h-speed">Speed against its envelope</h2>
<p class="key"><span class="k asked">asked</span><span class="k allowed">allowed</span><span class="k measured">measured</span><span class="k limit">limit at this place</span></p>
<figure class="wide">{chart}</figure></section>
<section aria-labelledby="h-clamps"><h2 id="h-clamps">Every intervention of the gate</h2>
<p class="quiet">One row for each run of equal interventions: where it began, what was asked and allowed there, the slowest that was allowed while it held, and how long it held. A pause of less than half a second does not end a run, so these are fewer than the robot counted. The last column is the number of its record in the robot&#39;s journal.</p>
{clamps}</section>
<section aria-labelledby="h-job"><h2 id="h-job">The job, by signed facts</h2>
{events}</section>
<section aria-labelledby="h-box"><h2 id="h-box">The black box</h2>
<figure class="wide">{chain}</figure>{box_facts}</section>
<section aria-labelledby="h-claims"><h2 id="h-claims">What this run was to show</h2>
{claims}</section>
</main>
<footer><p>Made by <code>cargo xtask demo --seed {seed}</code>. The same facts for scripts: <code>summary.json</code> beside this file.</p></footer>
<script type="application/json" id="run">{data}</script>
<script>
{SCRIPT}</script>
</body>
</html>
"##,
        robot = esc(&summary.robot),
        agent = esc(&summary.agent.to_string()),
        seed = summary.seed,
        job = esc(&summary.job.id),
        policy = esc(&policy_name(run)),
        facts = facts(run),
        filters = filters(run),
        map = map::svg(run),
        map_key = map_key(run),
        chart = chart::svg(run),
        clamps = clamps(run),
        events = timeline::events(run),
        chain = timeline::chain(&summary.blackbox),
        box_facts = timeline::verdicts(&summary.blackbox),
        claims = claims(run),
        data = data(run),
    )
}

fn policy_name(run: &Run) -> String {
    let hash = run.summary.policy_hash.as_deref().unwrap_or("");
    let hash = hash.get(..12).unwrap_or(hash);
    format!("{} v{} {hash}", run.policy.id, run.policy.version).trim().to_owned()
}

/// The headline: six numbers.
fn facts(run: &Run) -> String {
    let summary = &run.summary;
    let ended = summary.job.timeline.iter().rfind(|moment| moment.event == "EXECUTION_COMPLETED");
    let took = ended.map_or_else(String::new, |moment| format!("in {} s", fixed(moment.t_s, 1)));
    let clearance = summary.zones.keep_out_clearance_m.map_or_else(
        || "no keep-out zone".to_owned(),
        |metres| format!("closest to a keep-out zone: {} m", fixed(metres, 2)),
    );
    let box_line = match summary.blackbox.tamper_found_at {
        Some(seq) => format!("flipped byte found in record {seq}"),
        None => "the flipped byte was not found".to_owned(),
    };
    let mut by_rule: BTreeMap<&str, usize> = BTreeMap::new();
    for clamp in &summary.clamps {
        *by_rule.entry(Family::of(clamp.rule).class()).or_default() += 1;
    }
    let by_rule: Vec<String> = Family::ALL
        .iter()
        .filter_map(|family| Some(format!("{} {}", by_rule.get(family.class())?, family.class())))
        .collect();
    let tiles = [
        ("Job", summary.job.state.clone(), took, summary.job.state == "COMPLETED"),
        (
            "Zone exits",
            summary.zone_exits.to_string(),
            format!("in {} true poses; {clearance}", summary.zones.samples),
            summary.zone_exits == 0,
        ),
        (
            "Top speed",
            format!("{} m/s", fixed(summary.max_speed_mps, 2)),
            format!("limit {} m/s", fixed(summary.max_speed_limit_mps, 2)),
            summary.max_speed_mps
                <= summary.max_speed_limit_mps + crate::demo::summary::SPEED_TOLERANCE_MPS,
        ),
        (
            "Interventions",
            summary.clamps.len().to_string(),
            by_rule.join(", "),
            !summary.clamps.is_empty(),
        ),
        (
            "Tampered skill",
            if summary.skill.tampered_refused { "refused" } else { "TAKEN" }.to_owned(),
            summary.skill.reason.clone(),
            summary.skill.tampered_refused,
        ),
        (
            "Black box",
            format!("{} records", summary.blackbox.records),
            box_line,
            summary.blackbox.verified && summary.blackbox.tamper_found_at.is_some(),
        ),
    ];
    let mut html = r#"<section class="facts" aria-label="Headline facts">"#.to_owned();
    for (name, value, detail, good) in tiles {
        let class = if good { "good" } else { "bad" };
        let _ = write!(
            html,
            r#"<div class="fact {class}"><h2>{name}</h2><p class="value">{}</p><p class="quiet">{}</p></div>"#,
            esc(&value),
            esc(&detail)
        );
    }
    html.push_str("</section>");
    html
}

/// A checkbox for each family that acted.
fn filters(run: &Run) -> String {
    let mut html = r#"<fieldset class="filters"><legend>Interventions shown</legend>"#.to_owned();
    for family in Family::ALL {
        let count =
            run.summary.clamps.iter().filter(|clamp| Family::of(clamp.rule) == family).count();
        if count > 0 {
            let _ = write!(
                html,
                r#"<label><input type="checkbox" checked="checked" data-family="{0}"/><svg class="glyph clamp {0}" viewBox="0 0 20 20" aria-hidden="true">{1}</svg>{2} ({count})</label>"#,
                family.class(),
                family.glyph(10.0, 10.0),
                family.label()
            );
        }
    }
    html.push_str("</fieldset>");
    html
}

fn map_key(run: &Run) -> String {
    let mut shades = String::new();
    for shade in 0..map::SHADES {
        let _ = write!(shades, r#"<span class="shade s{shade}"></span>"#);
    }
    format!(
        concat!(
            r#"<h3>Key</h3><ul class="key column"><li>{} 0 to {} m/s</li>"#,
            r#"<li><span class="swatch out"></span>keep out</li>"#,
            r#"<li><span class="swatch slow"></span>speed zone</li>"#,
            r#"<li><span class="swatch in"></span>keep in</li>"#,
            r#"<li><span class="swatch print"></span>footprint, each 2 s</li></ul>"#,
        ),
        shades,
        fixed(run.summary.max_speed_limit_mps, 2)
    )
}

fn clamps(run: &Run) -> String {
    let mut rows = String::new();
    for (index, clamp) in run.summary.clamps.iter().enumerate() {
        let number = index + 1;
        let family = Family::of(clamp.rule);
        let zone = clamp.zone.as_ref().map_or(String::new(), ToString::to_string);
        let by = match (&clamp.command, clamp.source) {
            (Some(_), _) => "command",
            (None, Source::Skill) => "skill",
            (None, Source::Operator) => "operator",
            (None, Source::EmergencyStop) => "emergency stop",
            (None, Source::Idle) => "idle",
        };
        let command = clamp.command.as_ref().map_or(String::new(), ToString::to_string);
        let asked = |number: Option<f64>| number.map_or("none".to_owned(), |n| fixed(n, 2));
        let mut allowed = fixed(clamp.allowed.forward_mps(), 2);
        if goes_down(clamp) {
            let _ = write!(allowed, " to {}", fixed(clamp.least_allowed_mps, 2));
        }
        let until = clamp
            .held_s
            .map_or_else(|| "to the end".to_owned(), |held| format!("{} s", fixed(held, 1)));
        let _ = write!(
            rows,
            concat!(
                r#"<tr id="clamp-{number}" class="{family}" data-clamp="{number}" tabindex="-1">"#,
                r#"<td class="number">{number}</td><td class="number" title="{at}">{t}</td>"#,
                r#"<td><svg class="glyph clamp {family}" viewBox="0 0 20 20" aria-hidden="true">"#,
                r#"{glyph}</svg><code>{rule}</code></td><td>{zone}</td>"#,
                r#"<td title="{command}">{by}</td><td class="number">{asked}</td>"#,
                r#"<td class="number">{allowed}</td><td class="number">{asked_turn}</td>"#,
                r#"<td class="number">{allowed_turn}</td><td class="number">{limit} {unit}</td>"#,
                r#"<td class="number">{until}</td><td class="number">{x}, {y}</td>"#,
                r#"<td class="number">{seq}</td></tr>"#,
            ),
            number = number,
            by = by,
            allowed = allowed,
            until = until,
            family = family.class(),
            at = esc(&clamp.at),
            t = fixed(clamp.t_s, 1),
            glyph = family.glyph(10.0, 10.0),
            rule = clamp.rule,
            zone = esc(&zone),
            command = esc(&command),
            asked = asked(clamp.asked.forward_mps()),
            asked_turn = asked(clamp.asked.turning_radps()),
            allowed_turn = fixed(clamp.allowed.turning_radps(), 2),
            limit = fixed(clamp.limit, 2),
            unit = clamp.unit,
            x = fixed(clamp.pose.x, 2),
            y = fixed(clamp.pose.y, 2),
            seq = clamp.seq,
        );
    }
    format!(
        concat!(
            r#"<div class="wide"><table><thead><tr><th class="number" scope="col">#</th>"#,
            r#"<th class="number" scope="col">s</th><th scope="col">Rule</th>"#,
            r#"<th scope="col">Zone</th><th scope="col">Whose wish</th>"#,
            r#"<th class="number" scope="col">Asked m/s</th>"#,
            r#"<th class="number" scope="col">Allowed m/s</th>"#,
            r#"<th class="number" scope="col">Asked rad/s</th>"#,
            r#"<th class="number" scope="col">Allowed rad/s</th>"#,
            r#"<th class="number" scope="col">Limit</th><th class="number" scope="col">Held</th>"#,
            r#"<th class="number" scope="col">At x, y</th><th class="number" scope="col">Record</th>"#,
            "</tr></thead><tbody>{}</tbody></table></div>",
        ),
        rows
    )
}

fn claims(run: &Run) -> String {
    let mut html = r#"<ul class="claims">"#.to_owned();
    for claim in &run.summary.claims {
        let (class, mark) = if claim.holds { ("good", "holds") } else { ("bad", "FAILS") };
        let _ = write!(
            html,
            r#"<li class="{class}"><strong>{mark}</strong> {} <span class="quiet">{}</span></li>"#,
            esc(claim.name),
            esc(&claim.measured)
        );
    }
    html.push_str("</ul>");
    html
}

/// What the script needs, as JSON that cannot end its element.
fn data(run: &Run) -> String {
    let frame = map::Frame::around(run);
    let (left, top) = frame.corner();
    let (chart_left, chart_width, from_s, to_s) = chart::Scale::around(run).for_script();
    // Millimetres and milliradians are finer than a screen.
    let short = |number: f64| (number * 1e3).round() / 1e3;
    let path: Vec<[f64; 5]> = run
        .path()
        .iter()
        .map(|(t, truth)| {
            [*t, truth.pose.x, truth.pose.y, truth.pose.yaw, truth.linear_mps].map(short)
        })
        .collect();
    let samples: Vec<(f64, Option<f64>, f64, f64)> = run
        .samples
        .iter()
        .filter(|(t, _)| (from_s..=to_s).contains(t))
        .map(|(t, sample)| {
            let asked = sample.asked.forward_mps().map(short);
            (short(*t), asked, short(sample.allowed.forward_mps()), short(sample.limit_mps))
        })
        .collect();
    let clamps: Vec<(f64, String)> = run
        .summary
        .clamps
        .iter()
        .enumerate()
        .map(|(index, clamp)| (short(clamp.t_s), sentence(index + 1, clamp)))
        .collect();
    let data = serde_json::json!({
        "chart": {"left": chart_left, "width": chart_width, "from": from_s, "to": short(to_s)},
        "clamps": clamps,
        "map": {"left": left, "top": top, "scale": frame.scale()},
        "path": path,
        "samples": samples,
    });
    data.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_well_formed, small_run};
    use super::*;

    #[test]
    fn the_page_is_one_well_formed_file_that_loads_nothing() {
        let html = render(&small_run());
        assert_well_formed(&html);
        for outside in ["http://", "https://", " src=\"", "@import", "url(h", "<link", "<img"] {
            let found = html.find(outside).map(|at| html.get(at.saturating_sub(60)..at + 60));
            assert_eq!(found, None, "{outside} loads something");
        }
        assert!(html.starts_with("<!DOCTYPE html>"));
    }

    #[test]
    fn what_skills_and_robots_say_is_text_and_stays_text() {
        let mut run = small_run();
        run.summary.skill.reason = "</script><script>alert(1)</script>".to_owned();
        run.summary.robot = "\"><b>".to_owned();
        let html = render(&run);
        assert_well_formed(&html);
        assert!(!html.contains("<script>alert") && !html.contains("\"><b>"));
    }

    #[test]
    fn every_clamp_is_on_the_map_in_the_chart_and_in_the_table() {
        let run = small_run();
        let html = render(&run);
        for number in 1..=run.summary.clamps.len() {
            assert_eq!(html.matches(&format!("data-clamp=\"{number}\"")).count(), 3);
            assert_eq!(html.matches(&format!("id=\"clamp-{number}\"")).count(), 1);
        }
        assert!(html.contains("All 11 claims hold") || html.contains("claims do not hold"));
    }

    #[test]
    fn the_scripts_data_is_json_again() {
        let html = render(&small_run());
        let data = html.split(r#"id="run">"#).nth(1).unwrap().split("</script>").next().unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["clamps"].as_array().unwrap().len(), 3);
        assert!(data["path"].as_array().unwrap().len() > 10);
    }

    #[test]
    fn a_claim_that_fails_is_seen_at_the_top() {
        let mut run = small_run();
        run.summary.zone_exits = 2;
        run.summary.claims[0].holds = false;
        let html = render(&run);
        assert!(html.contains("claims do not hold") && html.contains("fact bad"));
    }
}
