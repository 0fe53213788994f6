//! The guests' own tests: those of the SDK and of the example skills, on this machine.
#![allow(clippy::unwrap_used)] // Tests throughout.

use std::path::Path;
use std::process::Command;

/// Runs cargo's tests in a workspace of its own; how many passed.
fn passed(folder: &str) -> u32 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut tests = Command::new(env!("CARGO"));
    tests.current_dir(folder).args(["test", "--workspace", "--locked", "--target-dir"]);
    tests.arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("own"));
    // What was meant for this build must not reach theirs.
    for name in ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTFLAGS"] {
        tests.env_remove(name);
    }
    let output = tests.output().unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    let results = said.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    results.filter_map(|rest| rest.split(' ').next()?.parse::<u32>().ok()).sum()
}

#[test]
fn the_sdk_and_the_example_skills_pass_their_own_tests() {
    let (sdk, examples) = (passed("sdk"), passed("../examples/skills"));
    assert!(sdk >= 5 && examples >= 6, "{sdk} of the SDK, {examples} of the examples");
}
