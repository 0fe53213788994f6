//! `nooterra-agent skill`: bundles, from a component to something that a robot runs.

#[cfg(all(feature = "sim", feature = "tools"))]
mod drawn;
#[cfg(all(feature = "sim", feature = "tools"))]
mod inspect;
mod install;
#[cfg(all(feature = "sim", feature = "tools"))]
mod live;
#[cfg(feature = "tools")]
mod new;
#[cfg(all(feature = "sim", feature = "tools"))]
mod project;
#[cfg(feature = "tools")]
mod sbom;
#[cfg(all(feature = "sim", feature = "tools"))]
mod try_out;

use super::Answer;
use super::exit::{Code, coded};
use crate::config::Config;
use crate::trust::{Judge, JudgeError};
use anyhow::Context as _;
use clap::Subcommand;
use nooterra_skill_host::{Bundle, Origin};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Measure time, fuel, memory and journal of each step, in the simulator
    #[cfg(all(feature = "sim", feature = "tools"))]
    Bench(try_out::Bench),
    /// Say in words what a skill may do
    #[cfg(all(feature = "sim", feature = "tools"))]
    Inspect(inspect::Inspect),
    /// Verify a bundle, try whether it can be started, and keep it on this robot, on trial
    Install(install::Install),
    /// Show which versions are active, on trial and given up on this robot
    Installed,
    /// Begin a skill: a folder that builds and passes its tests
    #[cfg(feature = "tools")]
    New(new::New),
    /// Give up a skill's version that is on trial, or else the active one, for the one before
    Rollback(install::Rollback),
    /// Run an action at once, in the simulator
    #[cfg(all(feature = "sim", feature = "tools"))]
    Run(try_out::Run),
    /// Run a skill's own cases in the simulator
    #[cfg(all(feature = "sim", feature = "tools"))]
    Test(try_out::Test),
    /// Make a key pair that signs skills, in the minisign format
    #[cfg(feature = "tools")]
    Keygen {
        /// Where the private key goes; whoever reads it can sign skills.
        #[arg(long, value_name = "FILE")]
        secret: PathBuf,
        /// Where the public key goes; robots are given this one.
        #[arg(long, value_name = "FILE")]
        public: PathBuf,
    },
    /// Put a component, its policy graph and its manifest into one bundle
    #[cfg(feature = "tools")]
    Pack {
        /// The manifest; its `component_sha256` is filled in.
        #[arg(long, value_name = "FILE")]
        manifest: PathBuf,
        /// The WebAssembly component.
        #[arg(long, value_name = "FILE")]
        component: PathBuf,
        /// The policy graph; graph.json beside the manifest, where there is one, unless named.
        #[arg(long, value_name = "FILE")]
        graph: Option<PathBuf>,
        /// The cases that it must pass before it becomes active on a robot, and here, in the hall
        /// of the example robot; tests/cases.json beside the manifest, where there is one, unless
        /// named.
        #[arg(long, value_name = "FILE", conflicts_with = "no_cases")]
        cases: Option<PathBuf>,
        /// Pack no cases.
        #[arg(long)]
        no_cases: bool,
        /// Where the bundle goes.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        sbom: sbom::Sbom,
    },
    /// Sign a bundle; `minisign -S` does the same
    #[cfg(feature = "tools")]
    Sign {
        /// The bundle.
        file: PathBuf,
        /// The private key, made without a password.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Say whether this robot would accept a bundle, and why not
    Verify {
        /// The bundle.
        file: PathBuf,
        /// Its signature; FILE.minisig unless named.
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
    },
}

pub(super) fn answer(
    command: Command,
    load: impl Fn() -> anyhow::Result<Config>,
    as_json: bool,
) -> anyhow::Result<Answer> {
    // Without the simulator nobody asks.
    let _ = as_json;
    match command {
        #[cfg(all(feature = "sim", feature = "tools"))]
        Command::Bench(bench) => bench.answer(),
        #[cfg(all(feature = "sim", feature = "tools"))]
        Command::Inspect(inspect) => inspect.answer(),
        Command::Install(install) => install.answer(&load()?),
        Command::Installed => install::installed(&load()?),
        #[cfg(feature = "tools")]
        Command::New(new) => new.answer(),
        #[cfg(all(feature = "sim", feature = "tools"))]
        Command::Run(run) => run.answer(as_json),
        #[cfg(all(feature = "sim", feature = "tools"))]
        Command::Test(test) => test.answer(),
        Command::Rollback(rollback) => rollback.answer(&load()?),
        #[cfg(feature = "tools")]
        Command::Keygen { secret, public } => tools::keygen(&secret, &public),
        #[cfg(feature = "tools")]
        Command::Pack { manifest, component, graph, cases, no_cases, out, sbom } => {
            let cases = (!no_cases).then_some(cases);
            tools::pack(&manifest, &component, (graph, cases), &out, &sbom)
        }
        #[cfg(feature = "tools")]
        Command::Sign { file, key } => tools::sign(&file, &key),
        Command::Verify { file, signature } => verify(&load()?, &file, signature),
    }
}

fn verify(config: &Config, file: &Path, signature: Option<PathBuf>) -> anyhow::Result<Answer> {
    let signature = signature.unwrap_or_else(|| minisig(file));
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let text = std::fs::read_to_string(&signature).with_context(|| {
        format!("{}: a bundle without a signature is never run", signature.display())
    });
    let text = text.map_err(|error| coded(Code::NotVerified, error))?;
    match Judge::of(config).bundle(&bytes, &text, Origin::New) {
        Ok(bundle) => {
            let manifest = bundle.manifest();
            let text = format!(
                "{}: {} {} by {}, signed by {}, accepted",
                file.display(),
                manifest.id,
                manifest.version,
                manifest.developer,
                signers(&bundle)
            );
            let json = json!({
                "accepted": true,
                "digest": bundle.digest(),
                "signed_by": bundle.signed_by().to_string(),
                "signers": bundle.signers().iter().map(ToString::to_string).collect::<Vec<_>>(),
                "manifest": manifest,
            });
            Ok(Answer::done(text, json))
        }
        Err(JudgeError::Keys(error)) => Err(coded(Code::Configuration, *error)),
        Err(error) => {
            let reason = error.to_string();
            Ok(Answer {
                code: Code::NotVerified,
                text: format!("{}: refused: {reason}", file.display()),
                json: json!({ "accepted": false, "reason": reason }),
            })
        }
    }
}

fn signers(bundle: &Bundle) -> String {
    bundle.signers().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Where a skill's folder keeps its cases.
#[cfg(feature = "tools")]
const CASES: &str = "tests/cases.json";

/// The cases of a skill's folder, where it has some.
#[cfg(feature = "tools")]
fn cases_of(folder: &Path) -> anyhow::Result<Option<String>> {
    let file = folder.join(CASES);
    if file.exists() { cases_in(&file).map(Some) } else { Ok(None) }
}

/// Cases that a robot can read: it takes no others.
#[cfg(feature = "tools")]
fn cases_in(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    #[cfg(feature = "sim")]
    crate::rehearsal::cases::parse(&text)
        .with_context(|| file.display().to_string())
        .map_err(|error| coded(Code::Configuration, error))?;
    Ok(text)
}

fn minisig(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

#[cfg(feature = "tools")]
mod tools {
    use super::sbom::{Sbom, told};
    use super::{Answer, minisig};
    use crate::files;
    use anyhow::Context as _;
    use nooterra_protocol::codec::Digest;
    use nooterra_protocol::skill::GRAPH_FILE;
    use nooterra_skill_host::{
        Beside, keygen as new_keys, pack_with as make_bundle, sign as make_signature,
    };
    use serde_json::json;
    use std::path::{Path, PathBuf};

    pub(super) fn keygen(secret: &Path, public: &Path) -> anyhow::Result<Answer> {
        anyhow::ensure!(
            !secret.exists(),
            "{} exists; a key is never overwritten",
            secret.display()
        );
        let keys = new_keys(None)?;
        write(secret, keys.secret.as_bytes(), 0o600)?;
        write(public, keys.public.as_bytes(), 0o644)?;
        let text =
            format!("skill key: {} (private), {} (public)", secret.display(), public.display());
        Ok(Answer::done(text, json!({ "public_key": keys.public })))
    }

    pub(super) fn pack(
        manifest: &Path,
        component: &Path,
        (graph, cases): (Option<PathBuf>, Option<Option<PathBuf>>),
        out: &Path,
        sbom: &Sbom,
    ) -> anyhow::Result<Answer> {
        let template =
            std::fs::read_to_string(manifest).with_context(|| manifest.display().to_string())?;
        let bytes = std::fs::read(component).with_context(|| component.display().to_string())?;
        // What was tried out is what is packed: a graph that lies there is not left out.
        let beside = manifest.with_file_name(GRAPH_FILE);
        let graph = graph.or_else(|| beside.exists().then_some(beside));
        let text = graph.as_ref().map(std::fs::read_to_string).transpose();
        let text = text.with_context(|| graph.unwrap_or_default().display().to_string())?;
        let folder = manifest.parent().unwrap_or(Path::new("."));
        let cases = match cases {
            Some(Some(named)) => Some(super::cases_in(&named)?),
            Some(None) => super::cases_of(folder)?,
            None => None,
        };
        let sbom = sbom.document(folder, &bytes)?;
        let (cases, graph) = (cases.as_deref().map(str::as_bytes), text.as_deref());
        let beside = Beside { cases, graph, sbom: sbom.as_deref() };
        let bundle = make_bundle(&template, &bytes, beside)?;
        pass(&bundle)?;
        let (made_of, sbom) = told(sbom.as_deref());
        let digest = Digest::of(&bundle);
        write(out, &bundle, 0o644)?;
        let with = match (text.is_some(), cases.is_some()) {
            (true, true) => ", with its policy graph and its cases",
            (true, false) => ", with its policy graph",
            (false, true) => ", with its cases",
            (false, false) => "",
        };
        let text =
            format!("{}: {} bytes{with}, SHA-256 {digest}\n{made_of}", out.display(), bundle.len());
        Ok(Answer::done(text, json!({ "digest": digest, "bytes": bundle.len(), "sbom": sbom })))
    }

    /// Its cases come out here as each robot wants them to.
    fn pass(bundle: &[u8]) -> anyhow::Result<()> {
        #[cfg(feature = "sim")]
        {
            use crate::{config::Skills, own_cases::Terms};
            let bundle = crate::rehearsal::anonymous(bundle)?;
            let terms = Terms::of(&Skills::default());
            crate::own_cases::pass(&bundle, terms, || true).map_err(|why| {
                let why = why.in_words();
                anyhow::anyhow!(
                    "{why}; its cases must come out around the example robot that it is for, where \
                     robots run them; or pack with --no-cases"
                )
            })?;
        }
        // Without the simulator the robots find it out.
        let _ = bundle;
        Ok(())
    }

    pub(super) fn sign(file: &Path, key: &Path) -> anyhow::Result<Answer> {
        let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
        let secret = std::fs::read_to_string(key).with_context(|| key.display().to_string())?;
        let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let signature = make_signature(&bytes, &secret, None, &format!("file:{name}"))?;
        let out = minisig(file);
        write(&out, signature.as_bytes(), 0o644)?;
        Ok(Answer::done(format!("{}", out.display()), json!({ "signature": out })))
    }

    fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
        files::write_whole(path, bytes, mode).with_context(|| path.display().to_string())
    }
}
