//! `nooterra-agent policy merge`, as its user has it.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn merge(dir: &Path, first: &str, second: &str, out: &str) -> Output {
    let path = |name: &str| dir.join(name);
    Command::new(env!("CARGO_BIN_EXE_nooterra-agent"))
        .args(["--json", "policy", "merge"])
        .args([path(first), path(second)])
        .arg("-o")
        .arg(path(out))
        .output()
        .unwrap()
}

#[test]
fn two_policies_become_one_that_reads_and_what_cannot_be_combined_is_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots/turtlebot/policy.toml");
    let text = std::fs::read_to_string(example).unwrap();
    std::fs::write(dir.path().join("owner.toml"), &text).unwrap();
    let site = text.replace("controlled_hold", "controlled_stop_then_power_off");
    assert_ne!(site, text);
    std::fs::write(dir.path().join("site.toml"), &site).unwrap();
    for out in ["merged.toml", "merged.json"] {
        let output = merge(dir.path(), "owner.toml", "site.toml", out);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["policy"]["merged_from"].as_array().unwrap().len(), 2);
        let merged = nooterra_agent::policy_file::load(&dir.path().join(out)).unwrap();
        assert_eq!(
            merged.stop,
            nooterra_protocol::command::StopProfile::ControlledStopThenPowerOff
        );
    }
    let other = text.replace("turtlebot-1", "turtlebot-2");
    std::fs::write(dir.path().join("other.toml"), &other).unwrap();
    let output = merge(dir.path(), "owner.toml", "other.toml", "none.toml");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("merge policies of one"), "{said}");
    assert!(!dir.path().join("none.toml").exists());
}
