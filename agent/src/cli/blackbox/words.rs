//! A record for people and for scripts.

use nooterra_blackbox::{Record, TailRecord};
use nooterra_evidence::Checkpoint;
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::command::{Asked, Command};
use nooterra_protocol::entry::{Entry, Verdict};
use nooterra_protocol::event::Fact;
use nooterra_protocol::private::Private;
use nooterra_protocol::time::ClockTrust;
use serde_json::{Value, json};

/// One object on one line.
pub(super) fn as_value(record: &TailRecord) -> Value {
    match &record.record {
        Ok(read) => json!({
            "seq": record.seq,
            "boot": read.boot,
            "at": read.stamp,
            "class": read.class,
            "kind": read.kind,
            "body": body(read),
        }),
        Err(why) => json!({ "seq": record.seq, "unreadable": why }),
    }
}

/// One line.
pub(super) fn as_line(record: &TailRecord) -> String {
    match &record.record {
        Ok(read) => {
            let words = in_words(read);
            format!("{:>8}  {}  {:<16} {words}", record.seq, read.stamp.wall, read.kind)
        }
        Err(why) => format!("{:>8}  unreadable: {why}", record.seq),
    }
}

/// Everything about one record, in lines.
pub(super) fn in_full(record: &TailRecord) -> String {
    let read = match &record.record {
        Ok(read) => read,
        Err(why) => return format!("record {}: unreadable: {why}", record.seq),
    };
    let trust = match read.stamp.trust {
        ClockTrust::Cloud => "set by the cloud",
        ClockTrust::Network => "synchronised by the network",
        ClockTrust::Untrusted => "a clock that nobody vouches for",
    };
    let body = serde_json::to_string_pretty(&body(read)).unwrap_or_default();
    format!(
        "record {}: {}, {}\nwall clock:  {} ({trust})\nmonotonic:   {:.6} s in start {}\n{}\n{body}",
        record.seq,
        read.kind,
        read.class.name(),
        read.stamp.wall,
        std::time::Duration::from_nanos(read.stamp.mono.0).as_secs_f64(),
        read.boot,
        in_words(read),
    )
}

/// The body for people: as a sentence where there is one, the others as they are.
fn in_words(record: &Record) -> String {
    match record.entry() {
        Ok(Some(Entry::Boot(boot))) => format!(
            "agent {} started {}, under policy {} version {}",
            boot.agent_version,
            if boot.clean { "after an end in order" } else { "after a crash or a power cut" },
            boot.policy,
            boot.policy_version,
        ),
        Ok(Some(Entry::Checkpoint(bytes))) => match Checkpoint::read(&bytes.0, None) {
            Ok(read) => format!("covers records 1 to {}, signed in start {}", read.size, read.boot),
            Err(error) => format!("unreadable: {error}"),
        },
        Ok(Some(Entry::CommandReceived(command))) => {
            format!("{} was taken, {}", command.ask, command.id)
        }
        Ok(Some(Entry::CommandRefused(command))) => format!("refused: {}", command.reason),
        Ok(Some(Entry::Fact(bytes))) => match danger_unverified::<Fact>(&bytes.0) {
            Ok(fact) => {
                let job = fact.job.map_or(String::new(), |job| format!(" of {job}"));
                format!("{}{job}, stated by {}", fact.kind, fact.actor.id)
            }
            Err(_) => format!("{} signed bytes that are no fact", bytes.0.len()),
        },
        Ok(Some(Entry::Gap(gap))) => {
            format!("{} records were dropped: {}", gap.dropped, gap.reason)
        }
        Ok(Some(Entry::Link(link))) => {
            let reason = link.reason.map_or(String::new(), |reason| format!(": {reason}"));
            format!("the channel to the cloud is {}{reason}", if link.up { "up" } else { "down" })
        }
        Ok(Some(Entry::Incident(incident))) => {
            let job = incident.job.map_or(String::new(), |job| format!(" in {job}"));
            let command = incident.command.map_or(String::new(), |id| format!(", by {id}"));
            format!("{}{job}{command}", incident.cause.name())
        }
        Ok(Some(Entry::SkillSensor(sensor))) => format!(
            "{} in step {} of {}: the {} sensor is {}",
            sensor.skill,
            sensor.step,
            sensor.job,
            sensor.sensor.name(),
            if sensor.granted { "granted again" } else { "not granted" },
        ),
        Ok(Some(Entry::SkillFrame(frame))) => {
            let given = match (&frame.taken, frame.refused) {
                (Some(taken), _) => {
                    let (width, height) = (taken.width, taken.height);
                    let hash = taken.sha256.map_or("not kept".to_owned(), |hash| hash.to_string());
                    format!("a picture of {width} by {height} pixels, {hash}")
                }
                (None, Some(why)) => format!("no picture: {}", why.name()),
                (None, None) => "no picture".to_owned(),
            };
            let (skill, nth, step, job) = (frame.skill, frame.nth, frame.step, frame.job);
            format!("{skill}, its step {nth} in step {step} of {job}, was given {given}")
        }
        Ok(Some(Entry::SkillGraph(graph))) => format!(
            "{} in step {} of {}: {}, now {}",
            graph.skill,
            graph.step,
            graph.job,
            graph.why,
            graph.live.as_deref().unwrap_or("nothing"),
        ),
        Ok(Some(Entry::SkillLog(log))) => format!("{}: {}", log.skill, private(&log.message)),
        Ok(Some(Entry::SkillStep(step))) => format!(
            "{} in step {} of {}: asks {}, says {}",
            step.skill,
            step.step,
            step.job,
            step.request,
            private(&step.status)
        ),
        Ok(Some(Entry::Stop(stop))) => format!("{}: {}", word(&stop.profile), stop.reason),
        Ok(Some(Entry::Verdict(verdict))) => verdict_in_words(&verdict),
        Ok(Some(Entry::Sample(sample))) if sample.joints.is_some() => {
            let joints = sample.joints.unwrap_or_default();
            format!(
                "joints at {}, moving {}, for {}",
                each(joints.position.as_slice().iter().copied().map(Some)),
                each(joints.velocity.as_slice().iter().copied().map(Some)),
                word(&sample.source),
            )
        }
        Ok(Some(Entry::Sample(sample))) => format!(
            "at ({:.2}, {:.2}) facing {:.2} rad, {:.2} m/s {:.2} rad/s, limit {:.2} m/s, for {}",
            sample.pose.x,
            sample.pose.y,
            sample.pose.yaw,
            sample.twist.linear,
            sample.twist.angular,
            sample.limit_mps,
            word(&sample.source),
        ),
        _ => body(record).to_string(),
    }
}

fn verdict_in_words(verdict: &Verdict) -> String {
    let asked = |part: Option<f64>| part.map_or("?".to_owned(), |part| format!("{part:.2}"));
    let zone = verdict.zone.as_ref().map_or(String::new(), |zone| format!(" ({zone})"));
    if let Command::Joints(allowed) = &verdict.allowed {
        let wished = match &verdict.asked {
            Asked::Joints { joints } => each(joints.as_slice().iter().copied()),
            _ => "what is for no arm".to_owned(),
        };
        return format!(
            "{} {}{zone}: {} asked joints to move {wished}, allowed {}, limit {:.2}",
            verdict.rule,
            word(&verdict.phase),
            word(&verdict.source),
            each(allowed.joints.as_slice().iter().copied().map(Some)),
            verdict.limit,
        );
    }
    format!(
        "{} {}{zone}: {} asked {} m/s {} rad/s, allowed {:.2} m/s {:.2} rad/s, limit {:.2}",
        verdict.rule,
        word(&verdict.phase),
        word(&verdict.source),
        asked(verdict.asked.forward_mps()),
        asked(verdict.asked.turning_radps()),
        verdict.allowed.forward_mps(),
        verdict.allowed.turning_radps(),
        verdict.limit,
    )
}

/// One number for each joint, base first; what was no number is a question mark.
fn each(numbers: impl Iterator<Item = Option<f64>>) -> String {
    let words: Vec<String> = numbers
        .map(|number| number.map_or("?".to_owned(), |number| format!("{number:.3}")))
        .collect();
    format!("({})", words.join(", "))
}

/// An enum's name as on the wire.
fn word<T: serde::Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or("?").to_owned()
}

/// The body for people and scripts: of a signed fact, what it states.
fn body(record: &Record) -> Value {
    match record.entry() {
        Ok(Some(Entry::Fact(bytes))) => match danger_unverified::<Fact>(&bytes.0) {
            Ok(fact) => json!({
                "type": fact.kind,
                "job": fact.job,
                "actor": fact.actor,
                "actor_seq": fact.actor_seq,
            }),
            Err(error) => json!({ "unreadable": error.to_string() }),
        },
        Ok(Some(Entry::Checkpoint(bytes))) => match Checkpoint::read(&bytes.0, None) {
            Ok(read) => json!({
                "signed_bytes": bytes.0.len(),
                "size": read.size,
                "head": read.head,
                "root": read.root,
                "journal": read.journal,
                "policy_hash": read.policy_hash,
            }),
            Err(_) => json!({ "signed_bytes": bytes.0.len() }),
        },
        Ok(Some(Entry::CommandReceived(command))) => {
            json!({ "ask": command.ask, "id": command.id })
        }
        Ok(Some(entry)) => {
            let value = serde_json::to_value(entry).unwrap_or_default();
            value.get("body").cloned().unwrap_or(Value::Null)
        }
        Ok(None) => json!({ "note": "what it says is the journal's own, or a later release's" }),
        Err(error) => json!({ "unreadable": error.to_string() }),
    }
}
/// What is private, to whoever may see it.
fn private(text: &Private<String>) -> &str {
    text.get().map_or("(private)", String::as_str)
}
