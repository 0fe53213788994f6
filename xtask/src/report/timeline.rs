//! The job's events and the journal, as a person reads them.

use super::{Run, esc, fixed, px};
use crate::demo::summary::{BlackBox, Moment};
use std::fmt::Write as _;

/// Cells of the chain's drawing.
const CELLS: u32 = 60;
const CELL: f64 = 14.0;

/// The job's events, heartbeats counted rather than listed.
pub(crate) fn events(run: &Run) -> String {
    let timeline = &run.summary.job.timeline;
    let mut rows = String::new();
    let mut before: Option<&str> = None;
    for moment in timeline.iter().filter(|moment| moment.event != "HEARTBEAT") {
        rows.push_str(&row(moment, before));
        before = Some(&moment.state);
    }
    let heartbeats = timeline.iter().filter(|moment| moment.event == "HEARTBEAT").count();
    format!(
        concat!(
            r#"<div class="wide"><table><thead><tr><th class="number" scope="col">s</th>"#,
            r#"<th scope="col">Event</th><th scope="col">State after it</th>"#,
            r#"<th scope="col">Signed by</th><th scope="col">Says</th></tr></thead>"#,
            r#"<tbody>{}</tbody></table></div><p class="quiet">{} heartbeats are not listed.</p>"#,
        ),
        rows, heartbeats
    )
}

fn row(moment: &Moment, before: Option<&str>) -> String {
    let state = if before == Some(moment.state.as_str()) {
        r#"<span class="quiet">unchanged</span>"#.to_owned()
    } else {
        format!(r#"<span class="pill">{}</span>"#, esc(&moment.state))
    };
    let late = if moment.late { " (late: kept beside the state)" } else { "" };
    format!(
        r#"<tr><td class="number" title="{}">{}</td><td><code>{}</code>{late}</td><td>{state}</td><td>{}</td><td>{}</td></tr>"#,
        esc(&moment.at),
        fixed(moment.t_s, 1),
        esc(&moment.event),
        esc(&moment.signed_by),
        esc(moment.note.as_deref().unwrap_or("")),
    )
}

/// The chain of records, the last signed checkpoint, and the record that was altered.
pub(crate) fn chain(blackbox: &BlackBox) -> String {
    let per_cell = (blackbox.records as f64 / f64::from(CELLS)).max(1.0);
    let cell_of = |seq: u64| (seq as f64 / per_cell).floor();
    let width = f64::from(CELLS) * CELL;
    let mut svg = format!(
        r#"<svg class="chain" viewBox="0 0 {} 74" role="img" aria-label="The chain of {} records; a byte was flipped in a copy of record {}">"#,
        px(width),
        blackbox.records,
        blackbox.flipped_in
    );
    for cell in 0..CELLS {
        let x = f64::from(cell) * CELL;
        let at = f64::from(cell);
        let class = if (at - cell_of(blackbox.flipped_in)).abs() < 0.5 {
            "altered"
        } else if blackbox.verified_through.is_some_and(|seq| at <= cell_of(seq)) {
            "sealed"
        } else {
            "tail"
        };
        let _ = write!(
            svg,
            r#"<rect class="{class}" x="{}" y="30" width="{}" height="18" rx="2"/>"#,
            px(x + 1.0),
            px(CELL - 2.0)
        );
    }
    let label = |svg: &mut String, seq: u64, y: f64, class: &str, text: &str| {
        let x = ((cell_of(seq) + 0.5) * CELL).clamp(0.0, width);
        // A label near the right edge reads towards the left.
        let anchor = if x > width * 0.6 { "end" } else { "start" };
        let _ = write!(
            svg,
            r#"<path class="{class}" d="M{0} {1}V{2}"/><text class="{class}" text-anchor="{anchor}" x="{0}" y="{3}">{4}</text>"#,
            px(x),
            px(if y < 30.0 { 20.0 } else { 48.0 }),
            px(if y < 30.0 { 30.0 } else { 58.0 }),
            px(y),
            esc(text)
        );
    };
    if let Some(through) = blackbox.verified_through {
        label(&mut svg, through, 14.0, "seal", &format!("signed checkpoint over record {through}"));
    }
    label(
        &mut svg,
        blackbox.flipped_in,
        70.0,
        "alter",
        &format!("one byte flipped in a copy of record {}", blackbox.flipped_in),
    );
    svg.push_str("</svg>");
    svg
}

/// What the two verifications said.
pub(crate) fn verdicts(blackbox: &BlackBox) -> String {
    let through = blackbox
        .verified_through
        .map_or_else(|| "none".to_owned(), |seq| format!("up to record {seq}"));
    let found = match blackbox.tamper_found_at {
        Some(seq) => format!("Record {seq} named"),
        None => "Not found".to_owned(),
    };
    let checkpoints = blackbox
        .checkpoints
        .map_or_else(String::new, |count| format!("<dt>Checkpoints</dt><dd>{count}</dd>"));
    format!(
        concat!(
            "<dl><dt>Records</dt><dd>{}</dd><dt>As it was</dt><dd>{}</dd>",
            "<dt>Under a signed checkpoint</dt><dd>{}</dd>{}",
            r#"<dt>With one byte flipped</dt><dd>{}<br/><span class="quiet">{}</span></dd></dl>"#,
        ),
        blackbox.records,
        if blackbox.verified { "intact" } else { "NOT INTACT" },
        through,
        checkpoints,
        found,
        esc(&blackbox.tamper_message),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_well_formed, small_run};
    use super::*;

    #[test]
    fn events_are_listed_in_order_and_heartbeats_counted() {
        let html = events(&small_run());
        assert_well_formed(&html);
        let created = html.find("JOB_CREATED").unwrap();
        let completed = html.find("EXECUTION_COMPLETED").unwrap();
        assert!(created < completed);
        assert!(!html.contains("<code>HEARTBEAT") && html.contains("1 heartbeats"));
        assert!(!html.contains("<script>"));
    }

    #[test]
    fn the_altered_record_and_the_checkpoint_are_marked() {
        let run = small_run();
        let svg = chain(&run.summary.blackbox);
        assert_well_formed(&svg);
        assert_eq!(svg.matches(r#"<rect class="altered""#).count(), 1);
        assert!(svg.contains("record 512") && svg.contains("record 990"));
    }

    #[test]
    fn a_short_journal_without_a_checkpoint_is_drawn_too() {
        let mut blackbox = small_run().summary.blackbox;
        (blackbox.records, blackbox.flipped_in, blackbox.verified_through) = (0, 0, None);
        blackbox.tamper_found_at = None;
        assert_well_formed(&chain(&blackbox));
        let html = verdicts(&blackbox);
        assert_well_formed(&html);
        assert!(html.contains("Not found") && !html.contains("<b>"));
    }
}
