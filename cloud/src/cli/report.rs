//! A completion report as people read it.

use super::{items, show};
use serde_json::Value;

/// A report, a line for each thing that it says.
pub(super) fn people(answer: &Value) -> String {
    let it = &answer["report"];
    let (asked, work, times) = (&it["asked"], &it["work"], &it["times"]);
    let mut rows = vec![
        ("job", show::text(it, "job")),
        ("verdict", show::text(&it["verdict"], "state")),
        ("reason", show::text(&it["verdict"], "reason")),
        ("for", show::text(asked, "by")),
        ("robot", show::text(asked, "robot")),
        ("plan", show::text(asked, "plan")),
    ];
    if !it["access"].is_null() {
        let access = &it["access"];
        let (from, to) = (show::time(&access["valid_from"]), show::time(&access["valid_to"]));
        rows.push(("access", format!("{} {from} to {to}", show::text(access, "method"))));
    }
    rows.push(("within", yes_or_no(&it["verdict"]["within_access"])));
    for approval in items(it, "approvals") {
        let end = match &approval["ended"] {
            Value::Null => String::new(),
            ended => format!(", ended {}", show::time(&ended[0])),
        };
        let (by, at) = (show::text(approval, "by"), show::time(&approval["at"]));
        rows.push(("approved", format!("{by} {at}{end}")));
    }
    for name in ["asked", "booked", "dispatched", "en_route", "started", "ended"] {
        if !times[name].is_null() {
            rows.push((name, show::time(&times[name])));
        }
    }
    rows.push(("steps", format!("{} of {}", number(&work["steps"]), number(&asked["steps"]))));
    rows.push(("distance", unit(&work["distance_m"], "m")));
    rows.push(("energy", unit(&work["energy_j"], "J")));
    rows.push(("clamps", number(&work["interventions"])));
    for name in ["holds", "silences", "reschedules"] {
        rows.push((name, number(&work[name])));
    }
    rows.push(("incidents", number(&work["incidents_count"])));
    let evidence = &it["evidence"];
    rows.push(("reached", format!("{} checkpoints", number(&evidence["checkpoints"]))));
    rows.push(("captured", number(&evidence["captured_count"])));
    for span in items(evidence, "journals") {
        let (first, last) = (number(&span["first"]), number(&span["last"]));
        rows.push(("journal", format!("{} {first} to {last}", show::text(span, "journal"))));
    }
    let black_box = &answer["black_box"];
    let proven: usize =
        items(black_box, "proofs").iter().map(|proof| items(proof, "facts").len()).sum();
    let unproven = items(black_box, "unproven");
    rows.push(("proven", format!("{proven} of {} facts", proven + unproven.len())));
    for fact in unproven {
        let (id, why) = (show::text(fact, "fact"), show::text(fact, "why"));
        rows.push(("no proof", format!("{id}: {why}")));
    }
    let stream = &it["stream"];
    let named = items(stream, "late").len() as u64;
    rows.push(("late", stream["late_count"].as_u64().unwrap_or(named).to_string()));
    rows.push((
        "stream",
        format!("{} facts, {}", number(&stream["events"]), show::text(stream, "head")),
    ));
    rows.push(("sha256", show::text(answer, "sha256")));
    let mut text: String =
        rows.iter().map(|(name, value)| format!("{name:11} {value}\n")).collect();
    let open = items(it, "outstanding");
    if open.is_empty() {
        text.push_str("nothing is outstanding\n");
    }
    for missing in open {
        text.push_str(&format!("not known   {}\n", unknown(missing)));
    }
    text
}

/// Something that is not known, in words.
fn unknown(it: &Value) -> String {
    let missing = number(&it["missing"]);
    match it["what"].as_str() {
        Some("facts") => format!(
            "{missing} facts that the robot counted between these, in journal {}",
            show::text(it, "journal")
        ),
        Some("other_journals") => format!(
            "whether facts are missing in further journals, beside {}",
            number(&it["facts"])
        ),
        Some("robots_word") => "what the robot did: the job was ended here".to_owned(),
        Some("skills") => format!("the skills of {missing} steps that the robot carried out"),
        Some("the_end") => "the end: the job is not over".to_owned(),
        other => other.unwrap_or("something that this release does not know").to_owned(),
    }
}

fn yes_or_no(it: &Value) -> String {
    match it.as_bool() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    }
    .to_owned()
}

fn number(it: &Value) -> String {
    if it.is_null() { "not reported".to_owned() } else { it.to_string() }
}

fn unit(it: &Value, unit: &str) -> String {
    if it.is_null() { "not reported".to_owned() } else { format!("{it} {unit}") }
}
