//! `nooterra-cloud skill`: bundles, as plans name them.

use super::{ClientError, Cloud, Outcome, items, show};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// All published skills.
    List,
    /// Publish a signed bundle. Prints what a step of a plan says as its `skill`.
    Publish {
        /// The bundle.
        bundle: PathBuf,
        /// Its signature; the bundle's path with `.minisig` unless given.
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
    },
    /// Publish a trust document or a revocation list; robots ask for it every 15 minutes.
    Trust {
        /// The document or list, JSON.
        file: PathBuf,
        /// Its signatures; the file's path with `.minisig` unless given.
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
    },
}

pub(super) fn run(cloud: &Cloud, command: Command) -> Result<Outcome, ClientError> {
    match command {
        Command::List => {
            let answer = cloud.client.get("/v1/skills")?;
            cloud.print(&answer, |answer| list(items(answer, "skills")))
        }
        Command::Publish { bundle, signature } => {
            let (bytes, text) = signed(&bundle, signature)?;
            let body = json!({ "bundle_base64": STANDARD.encode(bytes), "signature": text });
            let answer = cloud.client.post("/v1/skills", &body)?;
            let skill = json!({
                "bundle": answer["digest"], "id": answer["id"], "version": answer["version"],
            });
            cloud.print(&skill, |skill| format!("{skill}\n"))
        }
        Command::Trust { file, signature } => {
            let (bytes, text) = signed(&file, signature)?;
            let body = json!({ "bytes": STANDARD.encode(bytes), "signatures": text });
            let answer = cloud.client.post("/v1/skill-trust", &body)?;
            cloud.print(&answer, |answer| {
                let (kind, version) = (show::text(answer, "type"), &answer["version"]);
                format!("{kind} version {version} is published\n")
            })
        }
    }
}

/// A file and its signatures, which lie beside it unless they are named.
fn signed(file: &Path, signature: Option<PathBuf>) -> Result<(Vec<u8>, String), ClientError> {
    let signature = signature.unwrap_or_else(|| {
        let mut path = file.to_owned().into_os_string();
        path.push(".minisig");
        path.into()
    });
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ClientError::File { option: "signature", path, source }
    };
    let bytes = std::fs::read(file).map_err(failed(file))?;
    let text = std::fs::read_to_string(&signature).map_err(failed(&signature))?;
    Ok((bytes, text))
}

fn list(skills: &[Value]) -> String {
    let rows: Vec<_> = skills
        .iter()
        .map(|skill| {
            vec![
                show::text(skill, "id"),
                show::text(skill, "version"),
                show::text(&skill["manifest"], "developer"),
                show::text(&skill["manifest"], "tier"),
                show::time(&skill["published_at"]),
                show::text(skill, "digest"),
            ]
        })
        .collect();
    show::table(&["SKILL", "VERSION", "DEVELOPER", "TIER", "PUBLISHED", "BUNDLE"], &rows)
}
