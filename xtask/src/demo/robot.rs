//! The simulated robot: its directory, its keys, and the agent's commands as a person types
//! them.

use crate::arm::Runnable;
use crate::process::{self, Service};
use crate::toolchain;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The robot of the demo; its policy names it.
pub(crate) const ROBOT: &str = "amr-1";

/// A robot's directory, the program that drives it, and the one that people use beside it.
#[derive(Debug)]
pub(crate) struct Robot {
    agent: Runnable,
    out: PathBuf,
    /// The same program for this machine, with the developer's tools: owner, developer and
    /// whoever verifies the journal do not work on the robot.
    tools: PathBuf,
}

/// What `skill verify` said.
#[derive(Clone, Debug)]
pub(crate) struct SkillVerdict {
    /// It may run.
    pub(crate) accepted: bool,
    /// Why not, in one line.
    pub(crate) reason: String,
}

/// What `blackbox verify` said.
#[derive(Clone, Debug)]
pub(crate) struct JournalVerdict {
    /// Exit code 0, and the answer says so too.
    pub(crate) intact: bool,
    /// The answer.
    pub(crate) answer: Value,
    /// For people.
    pub(crate) message: String,
}

/// Where a record lies in a file.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) len: u64,
    pub(crate) offset: u64,
}

impl Robot {
    /// Makes the directory from the example.
    pub(crate) fn create(agent: &Runnable, tools: &Path, out: &Path) -> Result<Self> {
        let robot =
            Self { agent: agent.clone(), out: out.to_path_buf(), tools: tools.to_path_buf() };
        let example = toolchain::root().join("examples/robots/amr");
        copy_dir(&example, &robot.dir())
            .with_context(|| format!("cannot copy {}", example.display()))?;
        for dir in [robot.keys(), robot.dir().join("skill-keys")] {
            create_dir(&dir)?;
        }
        Ok(robot)
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.out.join("robot")
    }

    /// Its journal.
    pub(crate) fn journal(&self) -> PathBuf {
        self.dir().join("state/journal")
    }

    /// Where the simulator writes the true path.
    pub(crate) fn truth(&self) -> PathBuf {
        self.out.join("truth.csv")
    }

    /// The packed skill.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.out.join("patrol.noot")
    }

    /// Its signature.
    pub(crate) fn signature(&self) -> PathBuf {
        self.out.join("patrol.noot.minisig")
    }

    fn keys(&self) -> PathBuf {
        self.out.join("keys")
    }

    /// The public half of its device key.
    pub(crate) fn device_key(&self) -> PathBuf {
        self.dir().join("state/identity/device.pub")
    }

    /// The agent as a tool, for a command that needs no robot.
    fn tool(&self) -> Command {
        Command::new(&self.tools)
    }

    /// The agent with this robot's configuration.
    pub(crate) fn agent(&self) -> Command {
        let mut command = self.agent.command();
        command.arg("--config").arg(self.dir().join("agent.toml"));
        command
    }

    /// The owner's key, and the policy signed with it; of a map with its masks.
    pub(crate) fn sign_policy(&self, map: Option<&Path>) -> Result<()> {
        let (secret, public) = (self.keys().join("owner.pem"), self.dir().join("owner.pub"));
        process::succeed(
            self.tool()
                .args(["policy", "keygen", "--out"])
                .arg(&secret)
                .arg("--public")
                .arg(public),
        )?;
        let mut sign = self.tool();
        sign.args(["policy", "sign"])
            .arg(self.dir().join("policy.json"))
            .arg("--key")
            .arg(&secret)
            .arg("--out")
            .arg(self.dir().join("policy.cbor"));
        if let Some(map) = map {
            sign.arg("--map").arg(map);
        }
        process::succeed(&mut sign)?;
        Ok(())
    }

    /// A developer's key that this robot trusts, and the skill packed and signed with it.
    pub(crate) fn sign_skill(&self, manifest: &Path, component: &Path) -> Result<()> {
        let secret = self.keys().join("skill.key");
        process::succeed(
            self.tool()
                .args(["skill", "keygen", "--secret"])
                .arg(&secret)
                .arg("--public")
                .arg(self.dir().join("skill-keys/demo.pub")),
        )?;
        let mut pack = self.tool();
        pack.args(["skill", "pack", "--manifest"])
            .arg(manifest)
            .arg("--component")
            .arg(component)
            .arg("--out")
            .arg(self.bundle());
        if self.agent.arch() != std::env::consts::ARCH {
            // An emulated robot would take minutes to simulate them before it begins.
            pack.arg("--no-cases");
        }
        process::succeed(&mut pack)?;
        process::succeed(
            self.tool().args(["skill", "sign"]).arg(self.bundle()).arg("--key").arg(&secret),
        )?;
        Ok(())
    }

    /// Turns a claim code into an identity.
    pub(crate) fn enroll(&self, cloud: &str, code: &str) -> Result<()> {
        process::succeed(self.agent().args(["enroll", "--cloud", cloud, "--code", code]))?;
        Ok(())
    }

    /// Starts the daemon.
    pub(crate) fn run(&self, seed: u64, outlive: bool) -> Result<Service> {
        let mut command = self.agent();
        command.args(["run", "--seed", &seed.to_string(), "--truth"]).arg(self.truth());
        Service::start("agent", &mut command, &self.out, outlive)
    }

    /// Starts the daemon once more, to stay; the true path of the demo is kept.
    pub(crate) fn run_again(&self, seed: u64) -> Result<Service> {
        let mut command = self.agent();
        command.args(["run", "--seed", &seed.to_string()]);
        Service::start("agent", &mut command, &self.out, true)
    }

    /// Verifies a bundle as this robot would before running it.
    pub(crate) fn verify_skill(&self, bundle: &Path) -> Result<SkillVerdict> {
        let output = process::output(
            self.agent()
                .args(["skill", "verify"])
                .arg(bundle)
                .arg("--signature")
                .arg(self.signature())
                .arg("--json"),
        )?;
        let (answer, said) = spoken(&output);
        let reason = first_text(&answer, &["reason", "error"]).unwrap_or(said);
        Ok(SkillVerdict { accepted: output.status.success(), reason })
    }

    /// Verifies a journal offline, against the device key.
    pub(crate) fn verify_journal(&self, journal: &Path) -> Result<JournalVerdict> {
        let output = process::output(
            self.tool()
                .args(["blackbox", "verify"])
                .arg(journal)
                .arg("--key-file")
                .arg(self.device_key())
                .arg("--json"),
        )?;
        let (answer, said) = spoken(&output);
        let intact = output.status.success() && answer["intact"] == true;
        let message = match (answer["first_bad"]["seq"].as_u64(), &answer["first_bad"]["why"]) {
            (Some(seq), Value::String(why)) => {
                format!("record {seq} is not as it was written: {why}")
            }
            _ => first_text(&answer, &["error"]).unwrap_or(said),
        };
        Ok(JournalVerdict { intact, answer, message })
    }

    /// Where a record of a journal lies on the disk.
    pub(crate) fn locate(&self, journal: &Path, seq: u64) -> Result<Place> {
        let text = process::succeed(self.tool().args(["blackbox", "locate"]).arg(journal).args([
            "--seq",
            &seq.to_string(),
            "--json",
        ]))?;
        let answer: Value = serde_json::from_str(text.trim())
            .with_context(|| format!("`blackbox locate` did not answer in JSON: {text}"))?;
        let (Some(file), Some(offset), Some(len)) =
            (answer["file"].as_str(), answer["offset"].as_u64(), answer["len"].as_u64())
        else {
            bail!("`blackbox locate` did not name file, offset and len: {answer}");
        };
        let file = Path::new(file);
        let file = if file.is_absolute() { file.to_path_buf() } else { journal.join(file) };
        Ok(Place { file, len, offset })
    }
}

/// A JSON answer from stdout, or null, and what was said beside it in one line.
fn spoken(output: &Output) -> (Value, String) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let answer = serde_json::from_str(stdout.trim())
        .or_else(|_| serde_json::from_str(stderr.trim()))
        .unwrap_or(Value::Null);
    let said = stderr.lines().chain(stdout.lines()).find(|line| !line.trim().is_empty());
    (answer, said.unwrap_or_default().trim().to_owned())
}

/// The first of `keys` that holds a text, also one level down.
fn first_text(answer: &Value, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| {
        let value = &answer[*key];
        value.as_str().or_else(|| value["message"].as_str()).map(str::to_owned)
    })
}

/// Flips the lowest bit of the byte at `offset`.
pub(crate) fn flip(file: &Path, offset: u64) -> Result<()> {
    let mut bytes =
        std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let byte = usize::try_from(offset)
        .ok()
        .and_then(|offset| bytes.get_mut(offset))
        .with_context(|| format!("{} has no byte {offset}", file.display()))?;
    *byte ^= 1;
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// Copies a directory with all below it.
pub(crate) fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    create_dir(to)?;
    let entries =
        std::fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", from.display()))?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Makes a directory and those above it.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_bit_is_flipped_and_flipped_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        std::fs::write(&file, [1, 2, 3]).unwrap();
        flip(&file, 1).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), [1, 3, 3]);
        flip(&file, 1).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), [1, 2, 3]);
        assert!(flip(&file, 3).is_err());
    }

    #[test]
    fn a_directory_is_copied_with_what_lies_below() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/c"), "x").unwrap();
        copy_dir(&dir.path().join("a"), &dir.path().join("z")).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("z/b/c")).unwrap(), "x");
    }

    #[test]
    fn a_reason_is_read_wherever_the_answer_holds_it() {
        assert_eq!(first_text(&json!({"reason": "bad"}), &["reason"]).unwrap(), "bad");
        let nested = json!({"error": {"message": "worse"}});
        assert_eq!(first_text(&nested, &["reason", "error"]).unwrap(), "worse");
        assert_eq!(first_text(&Value::Null, &["reason"]), None);
    }
}
