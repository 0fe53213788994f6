//! The command line as a script meets it: exit codes, one clear line, nothing on the wrong
//! stream.

use crate::common::Site;
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use std::process::{Command, Output};

fn agent(site: &Site, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nooterra-agent"))
        .arg("--config")
        .arg(site.path("agent.toml"))
        .args(args)
        .output()
        .unwrap()
}

fn refused(site: &Site, args: &[&str], code: i32, line: &str) {
    let output = agent(site, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(line), "{errors:?} does not say {line:?}");
    assert_eq!(errors.trim_end().lines().count(), 1, "one line, not {errors:?}");
}

#[test]
fn the_example_robot_is_in_order() {
    let site = Site::new();
    let output = agent(&site, &["check", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["robot"], "amr-1");
    assert_eq!(answer["policy"]["version"], 1);
}

#[test]
fn the_shipped_template_names_every_key_there_is() {
    let template = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/agent.toml");
    let text = std::fs::read_to_string(&template).unwrap();
    nooterra_agent::config::Config::parse(&text, &template).unwrap();
    let source = include_str!("../../src/config.rs");
    let keys = source
        .lines()
        .skip_while(|line| !line.contains("pub struct Robot {"))
        .take_while(|line| !line.contains("fn policy_file"))
        .filter_map(|line| line.strip_prefix("    pub ")?.split(':').next());
    let recording =
        include_str!("../../src/recording.rs").split("pub struct PerClass").next().unwrap();
    let recorded = recording.lines().skip_while(|line| !line.contains("pub struct Blackbox {"));
    let recorded = recorded.filter_map(|line| line.strip_prefix("    pub ")?.split(':').next());
    let keys: Vec<&str> = keys.chain(recorded).collect();
    assert!(keys.len() >= 16, "the source was not understood: {keys:?}");
    for key in keys {
        let named = [format!("\n{key} = "), format!("\n#{key} = ")];
        let named = named.iter().any(|key| text.contains(key));
        assert!(named, "the template is silent about `{key}`");
    }
}

#[test]
fn an_unknown_key_and_a_nan_are_refused_with_the_line() {
    let site = Site::new();
    site.edit("agent.toml", "rate_hz = 50", "rate_hz = 50\nrate = 3");
    refused(&site, &["run"], 3, "unknown key `rate`; did you mean `rate_hz`?");
    let site = Site::new();
    site.edit("world.toml", "max_linear_mps = 2.2", "max_linear_mps = nan");
    refused(&site, &["check"], 3, "base.max_linear_mps");
}

#[test]
fn a_missing_configuration_says_what_to_do() {
    let site = Site::new();
    std::fs::remove_file(site.path("agent.toml")).unwrap();
    refused(&site, &["run"], 3, "write one from the template or name another with --config");
}

#[test]
fn a_policy_of_another_owner_or_altered_is_not_in_force() {
    let site = Site::new();
    site.sign_policy(&site.document(), &Ed25519Key::from_seed([4; 32]));
    refused(&site, &["check"], 5, "unknown key");
    let site = Site::new();
    let mut bytes = std::fs::read(site.path("policy.cbor")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(site.path("policy.cbor"), bytes).unwrap();
    refused(&site, &["check"], 5, "altered or forged");
}

#[test]
fn a_policy_that_makes_no_sense_is_not_signed() {
    let site = Site::new();
    site.edit("policy.json", "\"margin_m\": 0.05", "\"margin_m\": -0.05");
    let file = site.path("policy.json");
    refused(&site, &["policy", "check", file.to_str().unwrap()], 3, "footprint.margin_m");
}

#[test]
fn a_robot_that_is_not_enrolled_says_how() {
    let site = Site::new();
    refused(&site, &["run"], 4, "make a claim code at the cloud and run `nooterra-agent enroll`");
}

#[test]
fn a_cloud_that_is_not_there_is_named() {
    let site = Site::new();
    let code = format!("noot1.secret.{}", "ab".repeat(32));
    // Port 9 (discard) has no listener here; a connection is refused at once.
    let args = ["enroll", "--cloud", "https://127.0.0.1:9", "--code", &code];
    refused(&site, &args, 6, "cannot reach https://127.0.0.1:9");
    let args = ["enroll", "--cloud", "http://example.org", "--code", &code];
    refused(&site, &args, 3, "write https://HOST:PORT");
}

#[test]
fn an_owner_signs_a_policy_and_a_key_is_never_overwritten() {
    let site = Site::new();
    let (key, public) = (site.path("o.pem"), site.path("owner.pub"));
    let keygen = ["policy", "keygen", "--out", key.to_str().unwrap(), "--public"];
    let keygen = [&keygen[..], &[public.to_str().unwrap()]].concat();
    assert!(agent(&site, &keygen).status.success());
    refused(&site, &keygen, 1, "a key is never overwritten");
    refused(&site, &["check"], 5, "unknown key");
    let (json, cbor) = (site.path("policy.json"), site.path("policy.cbor"));
    let sign = ["policy", "sign", json.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let sign = [&sign[..], &["--out", cbor.to_str().unwrap()]].concat();
    assert!(agent(&site, &sign).status.success());
    assert!(agent(&site, &["check"]).status.success());
    assert_eq!(
        Ed25519Key::from_pem(&std::fs::read_to_string(&key).unwrap())
            .unwrap()
            .verifying_key()
            .to_string(),
        std::fs::read_to_string(public).unwrap().trim()
    );
}

#[test]
fn a_policy_in_toml_is_checked_and_signed() {
    let site = Site::new();
    let path = |name: &str| site.path(name).to_str().unwrap().to_owned();
    let (key, cbor, toml) = (path("o.pem"), path("policy.cbor"), path("policy.toml"));
    let robot = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/robots/turtlebot/policy.toml");
    let text = std::fs::read_to_string(robot).unwrap().replace("turtlebot-1", "amr-1");
    std::fs::write(&toml, &text).unwrap();
    let ok = |args: &[&str]| {
        let output = agent(&site, args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    ok(&["policy", "check", &toml]);
    ok(&["policy", "keygen", "--out", &key, "--public", &path("owner.pub")]);
    ok(&["policy", "sign", &toml, "--key", &key, "--out", &cbor]);
    ok(&["check"]);
    std::fs::write(&toml, text.replace("max_reverse_mps", "max_revers_mps")).unwrap();
    let line = "did you mean `max_reverse_mps`?";
    refused(&site, &["policy", "sign", &toml, "--key", &key, "--out", &cbor], 3, line);
}

#[test]
fn an_unsigned_and_a_tampered_bundle_are_refused_in_one_line() {
    let site = Site::new();
    let path = |name: &str| site.path(name).to_str().unwrap().to_owned();
    let ok = |args: &[&str]| {
        let output = agent(&site, args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    // A component with nothing in it: enough for everything before it is run.
    std::fs::write(site.path("empty.wasm"), b"\0asm\x0d\x00\x01\x00").unwrap();
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/skills/patrol/manifest.json");
    let (secret, public) = (path("skill.key"), path("skill-keys/test.pub"));
    ok(&["skill", "keygen", "--secret", &secret, "--public", &public]);
    let bundle = path("patrol.noot");
    let manifest = manifest.to_str().unwrap();
    ok(&[
        "skill",
        "pack",
        "--manifest",
        manifest,
        "--component",
        &path("empty.wasm"),
        "--out",
        &bundle,
        "--no-cases",
    ]);
    refused(&site, &["skill", "verify", &bundle], 5, "a bundle without a signature is never run");
    ok(&["skill", "sign", &bundle, "--key", &secret]);
    ok(&["skill", "verify", &bundle]);
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let output = agent(&site, &["skill", "verify", &bundle, "--json"]);
    assert_eq!(output.status.code(), Some(5));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["accepted"], false);
}

#[test]
fn every_shell_gets_its_completions() {
    let site = Site::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = agent(&site, &["completions", shell]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("blackbox"), "{shell}");
    }
}
