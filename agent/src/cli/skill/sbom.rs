//! The bill of materials that goes into a bundle: from cargo, from a file, or none.

use anyhow::Context as _;
use clap::Args;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::sbom::{Document, Summary};
use nooterra_protocol::skill::SBOM_FILE;
use nooterra_skill_host::{Licences, bill_of_materials};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

/// The most licences that are named to people.
const MOST_NAMED: usize = 6;

#[derive(Debug, Args)]
pub(in crate::cli) struct Sbom {
    /// What the component is made of, as a CycloneDX document in JSON. Without it, the Cargo.lock
    /// of a manifest that lies beside a Cargo.toml is made into one.
    #[arg(long, value_name = "FILE", conflicts_with = "no_sbom")]
    sbom: Option<PathBuf>,
    /// Say nothing of what the component is made of
    #[arg(long)]
    no_sbom: bool,
}

impl Sbom {
    /// The document for the skill in `folder`.
    pub(super) fn document(
        &self,
        folder: &Path,
        component: &[u8],
    ) -> anyhow::Result<Option<Vec<u8>>> {
        match &self.sbom {
            _ if self.no_sbom => Ok(None),
            Some(file) => {
                let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
                Ok(Some(bytes))
            }
            None => of_folder(folder, component),
        }
    }
}

/// What cargo locked for the crate in `folder`; none where there is no crate.
pub(super) fn of_folder(folder: &Path, component: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let manifest = folder.join("Cargo.toml");
    if !manifest.exists() {
        return Ok(None);
    }
    let hint = || {
        format!(
            "what {} is made of cannot be told; name a document by --sbom FILE, or go without by \
             --no-sbom",
            folder.display()
        )
    };
    let told = metadata(folder).with_context(hint)?;
    let root = std::fs::canonicalize(&manifest).with_context(hint)?;
    let packages = told["packages"].as_array().context("cargo lists no packages")?;
    let text = |package: &Value, key: &str| package[key].as_str().map(str::to_owned);
    let own = packages.iter().find(|package| {
        let path = package["manifest_path"].as_str().map(std::fs::canonicalize);
        matches!(path, Some(Ok(path)) if path == root)
    });
    let own = own.and_then(|own| text(own, "name"));
    let own = own.context("it is a workspace and no crate").with_context(hint)?;
    let licences: Licences = packages
        .iter()
        .filter_map(|it| Some(((text(it, "name")?, text(it, "version")?), text(it, "license")?)))
        .collect();
    let lock = told["workspace_root"].as_str().context("cargo names no workspace")?;
    let lock = Path::new(lock).join("Cargo.lock");
    let lock = std::fs::read_to_string(&lock).with_context(|| lock.display().to_string());
    let lock = lock.with_context(hint)?;
    let bill = bill_of_materials(&lock, &own, Digest::of(component), &licences);
    bill.map(Some).with_context(hint)
}

/// What cargo says of the crate and of what it is built from.
fn metadata(folder: &Path) -> anyhow::Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(folder)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET])
        .output()
        .context("cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "cargo metadata: {}", said.trim());
    serde_json::from_slice(&output.stdout).context("cargo metadata")
}

/// What a bundle says of itself: in words, and as JSON.
pub(super) fn told(sbom: Option<&[u8]>) -> (String, Value) {
    let Some(sbom) = sbom else {
        let text = "It does not say what it is made of: it has no bill of materials.".to_owned();
        return (text, Value::Null);
    };
    let document = serde_json::from_slice::<Document>(sbom).map_err(|error| error.to_string());
    let summary = document.and_then(|it| it.summary().map_err(|error| error.to_string()));
    let (sha256, bytes) = (Digest::of(sbom), sbom.len());
    match summary {
        Ok(summary) => {
            let Summary { components, licences, unknown } = &summary;
            let json = json!({
                "bytes": bytes, "components": components, "file": SBOM_FILE,
                "licences": licences, "sha256": sha256, "unknown": unknown,
            });
            (words(&summary), json)
        }
        Err(why) => {
            let text = format!("What it says of what it is made of ({SBOM_FILE}) is unfit: {why}");
            (text, json!({ "bytes": bytes, "file": SBOM_FILE, "sha256": sha256, "unfit": why }))
        }
    }
}

fn words(summary: &Summary) -> String {
    let Summary { components, licences, unknown } = summary;
    let mut text = format!("By its bill of materials ({SBOM_FILE}) it is made of {components} ");
    text.push_str(if *components == 1 { "component" } else { "components" });
    let mut most: Vec<_> = licences.iter().collect();
    most.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
    let mut begin = ": ";
    for (name, count) in most.iter().take(MOST_NAMED) {
        let _ = write!(text, "{begin}{count} under {name}");
        begin = ", ";
    }
    if most.len() > MOST_NAMED {
        let rest: usize = most[MOST_NAMED..].iter().map(|(_, count)| **count).sum();
        let _ = write!(text, "{begin}{rest} under {} others", most.len() - MOST_NAMED);
    }
    if *unknown > 0 {
        let _ = write!(text, "{begin}{unknown} without a licence that is known");
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_one_and_one_with_an_unfit_one_say_so() {
        let (text, json) = told(None);
        assert!(text.contains("does not say") && json.is_null());
        for bad in [b"{}".as_slice(), b"", b"[1]", br#"{"bomFormat":"SPDX","specVersion":"1"}"#] {
            let (text, json) = told(Some(bad));
            assert!(text.contains("unfit") && json["unfit"].is_string(), "{text}");
        }
    }

    #[test]
    fn licences_are_told_by_how_many_are_under_each() {
        let of = |name: &str, count| (name.to_owned(), count);
        let many = (0..8).map(|nth| of(&format!("L{nth}"), 1));
        let licences = many.chain([of("MIT", 12)]).collect();
        let text = words(&Summary { components: 22, licences, unknown: 2 });
        assert_eq!(
            text,
            "By its bill of materials (sbom.cdx.json) it is made of 22 components: 12 under MIT, 1 \
             under L0, 1 under L1, 1 under L2, 1 under L3, 1 under L4, 3 under 3 others, 2 without a \
             licence that is known."
        );
        let text = words(&Summary { components: 1, ..Summary::default() });
        assert!(text.ends_with("made of 1 component."), "{text}");
    }
}
