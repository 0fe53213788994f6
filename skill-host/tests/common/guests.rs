//! The example skills as components, built once for all tests that need them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const TARGET: &str = "wasm32-unknown-unknown";

/// The folder of the guests' sources.
pub(crate) fn skills() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/skills")
}

/// The component of an example skill.
pub(crate) fn component(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skills");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .current_dir(skills())
            .args(["build", "--quiet", "--locked", "--release", "--target", TARGET])
            .arg("--target-dir")
            .arg(&target_dir);
        // What was meant for the host must not reach the guests.
        for name in [
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
        ] {
            build.env_remove(name);
        }
        let output = build.output().expect("cargo runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !errors.contains("target may not be installed"),
            "the guests need a target that is not installed: run `rustup target add {TARGET}`"
        );
        assert!(output.status.success(), "the guests do not build:\n{errors}");
        target_dir.join(TARGET).join("release")
    });
    // Cargo writes a name with a hyphen so.
    let file = format!("{}.wasm", name.replace('-', "_"));
    std::fs::read(folder.join(file)).expect("the build left a component")
}

/// The manifest template beside an example skill.
pub(crate) fn template(name: &str) -> String {
    std::fs::read_to_string(skills().join(name).join("manifest.json")).expect("a manifest")
}
