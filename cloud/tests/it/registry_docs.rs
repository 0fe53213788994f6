//! `docs/registry.md`: its commands, as they stand there and in their order, with its files.

use crate::registry::{PATROL, Skill, bundle, keys, signed};
use crate::rig::Rig;
use minisign::KeyPair;
use nooterra_protocol::codec::Digest;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const PAGE: &str = include_str!("../../../docs/registry.md");

/// The commands of the page.
fn commands() -> impl Iterator<Item = &'static str> {
    PAGE.lines().filter_map(|line| line.strip_prefix("    nooterra-cloud "))
}

/// The one block of JSON of the page that has all of these words.
fn block(words: &[&str]) -> Value {
    let mut found = PAGE.split("```json\n").skip(1).filter_map(|rest| {
        let text = rest.split("```").next()?;
        words.iter().all(|word| text.contains(word)).then_some(text)
    });
    let text = found.next().unwrap();
    assert!(found.next().is_none(), "{words:?} stand in several blocks");
    serde_json::from_str(text).unwrap()
}

/// Words, as a shell reads them that knows double quotes only.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Puts a bundle and its signature where the page says that they are; the bundle's digest.
fn packed(dir: &Path, skill: &Skill<'_>, by: &KeyPair) -> String {
    let bytes = bundle(skill);
    std::fs::write(dir.join("patrol.skill"), &bytes).unwrap();
    std::fs::write(dir.join("patrol.skill.minisig"), signed(by, &bytes)).unwrap();
    Digest::of(&bytes).to_string()
}

fn run(rig: &Rig, dir: &Path, words: &[String], json: bool) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"));
    command.current_dir(dir).args(words).args(["--url", &format!("https://{}", rig.http)]);
    command.arg("--data").arg(rig.dir.path().join("cloud"));
    if json {
        command.arg("--json");
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{words:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_commands_of_the_registrys_page_hold() {
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (acme, lab, stolen) = (keys(), keys(), keys());
    for (name, keys) in [("acme.pub", &acme), ("lab.pub", &lab)] {
        std::fs::write(dir.join(name), keys.pk.to_box().unwrap().to_string()).unwrap();
    }
    for (name, word) in [("rings.json", "\"rings\""), ("gates.json", "\"soak_s\"")] {
        std::fs::write(dir.join(name), block(&[word]).to_string()).unwrap();
    }
    rig.enrol("amr-2");
    let key = json!({
        "holder": "other", "key": stolen.pk.to_base64(), "role": "developer", "tier": "dev",
    });
    let key = rig.post("/v1/skill-keys", key)["key_id"].as_str().unwrap().to_owned();
    let mut digest = packed(dir, &PATROL, &acme);
    let mut rollout = String::new();
    let mut count = 0;
    for line in commands() {
        if line.contains("--certification") {
            let skill = Skill { tier: "field_cert", version: "1.1.0", ..PATROL };
            digest = packed(dir, &skill, &acme);
            let mut record = block(&["\"bundle\"", "issued_at"]);
            record["bundle"] = json!(digest);
            record["version"] = json!("1.1.0");
            record["issued_at"] = json!(0);
            record["expires_at"] = json!(i64::MAX);
            record["report_sha256"] = json!(Digest::of(b"report"));
            let record = record.to_string();
            std::fs::write(dir.join("patrol.cert.json"), &record).unwrap();
            let signature = signed(&lab, record.as_bytes());
            std::fs::write(dir.join("patrol.cert.json.minisig"), signature).unwrap();
        }
        let line = line.replace("BUNDLE", &digest).replace("ROLLOUT", &rollout);
        let words = words(&line.replace("KEY_ID", &key));
        let said = run(&rig, dir, &words, false);
        if line.contains("rollout start") {
            rollout = said.split_whitespace().next().unwrap().to_owned();
            assert!(rollout.starts_with("rollout_"), "{said}");
        }
        if ["list", "show", "keys", "of", "jobs", "events"].contains(&words[1].as_str()) {
            assert!(!said.is_empty(), "{line}");
            for line in run(&rig, dir, &words, true).lines() {
                assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
            }
        }
        count += 1;
    }
    assert!(count > 20, "{count} commands");
    let skill = rig.get(&format!("/v1/skills/{digest}"));
    assert_eq!(
        (&skill["tier"], &skill["revoked"]["reason"]),
        (&json!("field_cert"), &json!("it turns left"))
    );
    let robot = rig.get("/v1/robots/amr-2/skills");
    assert_eq!((&robot["ring"], &robot["labels"]), (&json!("early"), &json!(["early", "hall-b"])));
    // What the page says of a step is what a job takes, as far as there is a version.
    let step = block(&["\"s1\""]);
    let body = json!({ "robot": "amr-2", "plan": { "steps": [step] } });
    let (status, answer) = rig.call("POST", "/v1/jobs", Some(body));
    assert_eq!((status, &answer["code"]), (409, &json!("no_version")), "{answer}");
}
