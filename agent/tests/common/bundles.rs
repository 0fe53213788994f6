//! Bundles of skills: made, signed, published, put on a robot by hand.

use super::rig::{AGENT, CloudRig};
use super::{Site, guests};
use base64::Engine as _;
use nooterra_skill_host::{Beside, Keys, keygen, pack_with, sign};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output};

/// A version of `patrol`, made of a guest's component, with these cases.
pub(crate) fn patrol(version: &str, guest: &str, cases: Option<&[Value]>) -> Vec<u8> {
    let mut template: Value = serde_json::from_str(&guests::template(guest)).unwrap();
    template["id"] = "patrol".into();
    template["version"] = version.into();
    let cases = cases.map(|cases| json!({ "v": 1, "cases": cases }).to_string());
    let beside = Beside { cases: cases.as_deref().map(str::as_bytes), ..Beside::default() };
    pack_with(&template.to_string(), &guests::component(guest), beside).unwrap()
}

/// New ones, that the robot trusts.
pub(crate) fn keys(site: &Site) -> Keys {
    let keys = keygen(None).unwrap();
    std::fs::write(site.path("skill-keys/test.pub"), &keys.public).unwrap();
    keys
}

fn signature(bundle: &[u8], keys: &Keys) -> String {
    sign(bundle, &keys.secret, None, "a test").unwrap()
}

/// What the cloud says about it.
pub(crate) fn publish(cloud: &CloudRig, bundle: &[u8], keys: &Keys) -> Value {
    let signature = signature(bundle, keys);
    let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
    cloud.post("/v1/skills", json!({ "bundle_base64": bundle, "signature": signature }))
}

/// In the robot's folder, with its signature beside it.
pub(crate) fn file(site: &Site, name: &str, bundle: &[u8], keys: &Keys) -> PathBuf {
    let path = site.path(name);
    std::fs::write(&path, bundle).unwrap();
    std::fs::write(site.path(&format!("{name}.minisig")), signature(bundle, keys)).unwrap();
    path
}

/// `nooterra-agent --json skill ...` on the robot.
pub(crate) fn command(site: &Site, arguments: &[&str]) -> Command {
    let mut agent = Command::new(AGENT);
    agent.arg("--config").arg(site.path("agent.toml")).args(["--json", "skill"]).args(arguments);
    agent
}

pub(crate) fn skill(site: &Site, arguments: &[&str]) -> Output {
    command(site, arguments).output().unwrap()
}

pub(crate) fn answer(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}

/// The versions of `patrol` on the robot.
pub(crate) fn slots(site: &Site) -> Value {
    answer(&skill(site, &["installed"]))["skills"]["patrol"].clone()
}
