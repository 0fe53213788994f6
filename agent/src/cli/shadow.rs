//! `nooterra-agent policy shadow`: what a candidate policy would have done on this robot.

use super::Answer;
use nooterra_blackbox::{TailFrom, tail};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Entry, Rule};
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::shadow::{Difference, Shadow, ShadowCounts, ShadowPhase};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Which findings are one line of the report.
type Key = (Difference, Option<Rule>, Option<ZoneId>);

/// Findings of one kind.
#[derive(Debug)]
struct Line {
    first_seq: u64,
    runs: u64,
}

/// One candidate over one policy.
#[derive(Debug, Default)]
struct Report {
    /// The latest of each start of the agent.
    counts: BTreeMap<u64, ShadowCounts>,
    failed: bool,
    lines: BTreeMap<Key, Line>,
    name: String,
    version: u32,
}

impl Report {
    fn add(&mut self, boot: u64, seq: u64, record: &Shadow) {
        self.counts.insert(boot, record.counts);
        self.failed |= record.phase == ShadowPhase::Failed;
        record.candidate.as_str().clone_into(&mut self.name);
        self.version = record.candidate_version;
        let Some(finding) = &record.finding else {
            return;
        };
        let key = (finding.difference, finding.rule, finding.zone.clone());
        if let ShadowPhase::Began | ShadowPhase::Holds = record.phase {
            let line = self.lines.entry(key).or_insert(Line { first_seq: seq, runs: 0 });
            line.runs += 1;
        }
    }

    fn total(&self) -> ShadowCounts {
        self.counts.values().fold(ShadowCounts::default(), |sum, counts| ShadowCounts {
            judged: sum.judged + counts.judged,
            would_allow: sum.would_allow + counts.would_allow,
            would_slow: sum.would_slow + counts.would_slow,
            would_stop: sum.would_stop + counts.would_stop,
        })
    }
}

pub(super) fn answer(dir: &Path) -> anyhow::Result<Answer> {
    let mut reports: BTreeMap<(String, String), Report> = BTreeMap::new();
    for read in tail(dir, TailFrom::Seq(1))? {
        let Ok(record) = &read.record else {
            continue;
        };
        if let Ok(Some(Entry::Shadow(shadow))) = record.entry() {
            let hash = |digest: &Digest| digest.to_string();
            let key = (hash(&shadow.candidate_hash), hash(&shadow.policy_hash));
            reports.entry(key).or_default().add(record.boot, read.seq, &shadow);
        }
    }
    let text: Vec<String> = reports.iter().map(|(key, report)| in_words(key, report)).collect();
    let text = if text.is_empty() {
        "no candidate policy has judged beside the one in force; name one by `shadow` in [policy]"
            .to_owned()
    } else {
        text.join("\n")
    };
    let shadows: Vec<_> = reports.iter().map(|(key, report)| as_value(key, report)).collect();
    Ok(Answer::done(text, json!({ "shadows": shadows })))
}

fn in_words((candidate, in_force): &(String, String), report: &Report) -> String {
    let ShadowCounts { judged, would_allow, would_slow, would_stop } = report.total();
    let mut text = format!(
        "policy {} version {} ({candidate})\nbeside {in_force}: {judged} ticks judged, \
         would have stopped in {would_stop}, slowed in {would_slow}, allowed more in {would_allow}",
        report.name, report.version
    );
    for ((difference, rule, zone), line) in &report.lines {
        let what = match difference {
            Difference::WouldAllow => "would have allowed",
            Difference::WouldSlow => "would have slowed",
            Difference::WouldStop => "would have stopped",
        };
        let by = rule.map_or("by no rule of its own", Rule::name);
        let zone = zone.as_ref().map(|zone| format!(" ({zone})")).unwrap_or_default();
        let Line { first_seq, runs } = line;
        let _ =
            write!(text, "\n  {what:<18}  {by}{zone}: {runs} times, first in record {first_seq}");
    }
    if report.failed {
        text.push_str("\n  it failed and judged no more until the next start; see the log");
    }
    text
}

fn as_value((candidate, in_force): &(String, String), report: &Report) -> serde_json::Value {
    let findings = report.lines.iter().map(|((difference, rule, zone), line)| {
        json!({
            "difference": difference,
            "rule": rule,
            "zone": zone,
            "times": line.runs,
            "first_seq": line.first_seq,
        })
    });
    json!({
        "candidate": report.name,
        "candidate_version": report.version,
        "candidate_hash": candidate,
        "policy_hash": in_force,
        "counts": report.total(),
        "failed": report.failed,
        "findings": findings.collect::<Vec<_>>(),
    })
}
