//! `nooterra-agent skill new`: a skill that builds and passes its tests, to be changed into
//! another.

use super::super::Answer;
use anyhow::Context as _;
use clap::Args;
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::skill::WIT;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Where the SDK lies in a checkout.
const SDK: &str = "skill-host/sdk";

/// What is written whatever it moves, and from which text.
const FILES: [(&str, &str); 5] = [
    (".cargo/config.toml", include_str!("template/cargo-config.toml.txt")),
    (".gitignore", include_str!("template/gitignore.txt")),
    ("Cargo.toml", include_str!("template/Cargo.toml.txt")),
    ("README.md", include_str!("template/README.md.txt")),
    ("manifest.json", include_str!("template/manifest.json.txt")),
];

/// What a skill is for, and what makes the difference.
struct Kind {
    /// What it does as it is written, for people.
    does: &'static str,
    /// The capability that moves the robot.
    motion: &'static str,
    /// Between two steps, milliseconds.
    period_ms: &'static str,
    /// The files that it has of its own.
    own: [(&'static str, &'static str); 2],
}

impl Kind {
    /// The files of [`FILES`] and its own; none of them has a name that is not here.
    fn files(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        FILES.into_iter().chain(self.own)
    }
}

const ARM: Kind = Kind {
    does: "waves an arm",
    motion: "joints",
    period_ms: "50",
    own: [
        ("src/lib.rs", include_str!("template/arm/lib.rs.txt")),
        ("tests/cases.json", include_str!("template/arm/cases.json.txt")),
    ],
};

const BASE: Kind = Kind {
    does: "nods",
    motion: "drive",
    period_ms: "100",
    own: [
        ("src/lib.rs", include_str!("template/src/lib.rs.txt")),
        ("tests/cases.json", include_str!("template/tests/cases.json.txt")),
    ],
};

#[derive(Debug, Args)]
pub(in crate::cli) struct New {
    /// Its id: a to z, 0 to 9 and hyphens. Also the name of the folder.
    name: String,
    /// For an arm that stands where it stands (the world `arm-skill`), instead of what moves about.
    #[arg(long)]
    arm: bool,
    /// Where the folder goes.
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    /// The SDK's folder, `skill-host/sdk` of a checkout. Found by itself from within one.
    #[arg(long, value_name = "DIR", conflicts_with = "git")]
    sdk: Option<PathBuf>,
    /// Take the SDK from a git repository.
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// Who answers for it.
    #[arg(long, value_name = "NAME", default_value = "You")]
    developer: String,
}

impl New {
    pub(in crate::cli) fn answer(self) -> anyhow::Result<Answer> {
        let id: SkillId = self.name.parse().with_context(|| format!("name `{}`", self.name))?;
        let name = id.as_str();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        anyhow::ensure!(
            name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits),
            "`{name}` cannot name a package of Rust: begin with a letter, and use a to z, 0 to 9 \
             and hyphens"
        );
        let folder = self.into.join(name);
        let kind = if self.arm { ARM } else { BASE };
        let there = kind.files().map(|(file, _)| folder.join(file)).find(|file| file.exists());
        if let Some(there) = there {
            anyhow::bail!("{} exists; nothing was written", there.display());
        }
        let (sdk, lock) = self.sdk()?;
        for (file, text) in kind.files() {
            let text = text
                .replace("@ACTION@", name)
                .replace("@DEVELOPER@", &json_text(&self.developer))
                .replace("@MOTION@", kind.motion)
                .replace("@NAME@", name)
                .replace("@PERIOD@", kind.period_ms)
                .replace("@SDK@", &sdk)
                .replace("@TITLE@", &title(name))
                .replace("@TYPE@", &type_name(name))
                .replace("@WIT@", WIT);
            write(&folder.join(file), text.as_bytes())?;
        }
        // The versions that the SDK was tested with; cargo adds the skill to it.
        if let Some(lock) = lock {
            write(&folder.join("Cargo.lock"), &lock)?;
        }
        let shown = folder.display().to_string();
        let text = format!(
            "{shown}: a skill that {}. Begin in {shown}/src/lib.rs; then\n  (cd {shown} && cargo \
             test)\n  nooterra-agent skill test {shown}",
            kind.does
        );
        let files: Vec<&str> = kind.files().map(|(file, _)| file).collect();
        Ok(Answer::done(text, json!({ "folder": folder, "files": files })))
    }

    /// The dependency as in `Cargo.toml`, and the SDK's lock file where it is at hand.
    fn sdk(&self) -> anyhow::Result<(String, Option<Vec<u8>>)> {
        if let Some(git) = &self.git {
            return Ok((format!("{{ git = {} }}", toml::Value::from(git.as_str())), None));
        }
        let here = std::env::current_dir().context("the current folder")?;
        let found = || here.ancestors().map(|dir| dir.join(SDK)).find(|dir| dir.is_dir());
        let Some(path) = self.sdk.clone().or_else(found) else {
            let git = format!("{{ git = \"{}\" }}", env!("CARGO_PKG_REPOSITORY"));
            return Ok((git, None));
        };
        let path = path.canonicalize().with_context(|| path.display().to_string())?;
        let manifest = path.join("Cargo.toml");
        anyhow::ensure!(
            manifest.exists(),
            "{}: no SDK; name the folder {SDK} of a checkout",
            path.display()
        );
        let dependency = toml::Value::from(path.to_string_lossy().into_owned());
        let lock = std::fs::read(path.join("Cargo.lock")).ok();
        Ok((format!("{{ path = {dependency} }}"), lock))
    }
}

/// Inside the quotes of JSON.
fn json_text(text: &str) -> String {
    let quoted = json!(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// `night-watch` as a type: `NightWatch`.
fn type_name(name: &str) -> String {
    name.split('-').map(capital).collect()
}

/// And as a title: `Night watch`.
fn title(name: &str) -> String {
    capital(&name.replace('-', " "))
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string())
        + letters.as_str()
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_types_and_titles() {
        assert_eq!(
            (type_name("night-watch"), title("night-watch")),
            ("NightWatch".into(), "Night watch".into())
        );
        assert_eq!(json_text("a\"b"), "a\\\"b");
    }
}
