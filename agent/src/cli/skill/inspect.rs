//! `nooterra-agent skill inspect`: what a skill may do, in words.

use super::super::Answer;
use super::project::Project;
use super::{drawn, sbom};
use anyhow::{Context as _, bail};
use clap::Args;
use nooterra_protocol::skill::{Capability, SkillManifest};
use nooterra_skill_host::{
    Graph, MAX_CALLS_PER_STEP, MAX_STATE_BYTES, STEP_PATIENCE, capability_name,
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// In the order in which they are told.
const ALL: [Capability; 8] = [
    Capability::Drive,
    Capability::Joints,
    Capability::Scan,
    Capability::Camera,
    Capability::Checkpoint,
    Capability::Evidence,
    Capability::Assist,
    Capability::Log,
];

#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    #[command(flatten)]
    project: Project,
    /// Also draw its policy graph, as an SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Inspect {
    pub(in crate::cli) fn answer(self) -> anyhow::Result<Answer> {
        let bundle = self.project.packed()?;
        let manifest = bundle.manifest();
        // What its code really uses, not only what the manifest says.
        crate::rehearsal::host(false)?.prepare(&bundle)?;
        if let Some(file) = &self.svg {
            let Some(graph) = bundle.graph() else {
                bail!("{} has no policy graph to draw", manifest.id);
            };
            let title = format!("{} {}: its policy graph", manifest.id, manifest.version);
            let svg = drawn::svg(graph, &title);
            std::fs::write(file, svg).with_context(|| file.display().to_string())?;
        }
        let (may, may_not): (Vec<_>, Vec<_>) =
            ALL.iter().partition(|capability| manifest.capabilities.contains(capability));
        let names = |all: &[&Capability]| {
            all.iter().map(|capability| capability_name(**capability)).collect::<Vec<_>>()
        };
        let (bill, made_of) = sbom::told(bundle.sbom());
        let json = json!({
            "manifest": manifest,
            "bundle": bundle.digest(),
            "component_bytes": bundle.component().len(),
            "cases_bytes": bundle.cases().map(<[u8]>::len),
            "graph": bundle.graph().map(graph_facts),
            "may": names(&may),
            "may_not": names(&may_not),
            "sbom": made_of,
            "svg": self.svg,
        });
        let mut text = format!(
            "{} ({} {}) by {}, {}, {} bytes of code\nactions: {}\n\nIt may, where a robot's owner \
             grants it too:",
            manifest.name,
            manifest.id,
            manifest.version,
            manifest.developer,
            manifest.licence,
            bundle.component().len(),
            manifest.actions.join(", ")
        );
        for capability in &may {
            let _ = write!(text, "\n  - {}", allowed(**capability));
        }
        text.push_str(if manifest.capabilities.contains(&Capability::Joints) {
            "\n  - see where the arm stands"
        } else {
            "\n  - see where the robot is, how it moves, its battery, and whether it is docked"
        });
        text.push_str("\n\nIt may not:");
        for capability in &may_not {
            let _ = write!(text, "\n  - {}", denied(**capability));
        }
        text.push_str(
            "\n  - move the robot past its owner's policy: what it asks for is a wish, and the \
             gate decides\n  - see a clock, a file, the network, other skills, or anything random",
        );
        if let Some(graph) = bundle.graph() {
            for (action, tree) in graph.trees() {
                let _ = write!(
                    text,
                    "\n\nThe action `{action}` goes by a graph of {} nodes, which tries at most {} \
                     of its leaves:\n{tree}",
                    tree.nodes(),
                    tree.attempts()
                );
            }
        }
        if let Some(file) = &self.svg {
            let _ = write!(text, "\n\nIts graph is drawn in {}.", file.display());
        }
        let _ = write!(text, "\n\n{}\n{bill}", bounds(manifest));
        text.push_str("\nWho signed it is not looked at here: `skill verify` does that.");
        Ok(Answer::done(text, json))
    }
}

fn graph_facts(graph: &Graph) -> Value {
    let trees = graph.trees().map(|(action, tree)| {
        let (nodes, attempts) = (tree.nodes(), tree.attempts());
        let words = tree.to_string();
        (action.to_owned(), json!({ "attempts": attempts, "nodes": nodes, "words": words }))
    });
    Value::Object(trees.collect())
}

const fn allowed(capability: Capability) -> &'static str {
    match capability {
        Capability::Assist => "ask people for help (at most once in 20 s, signed by the robot)",
        Capability::Camera => {
            "take pictures with the camera, outside of privacy zones (five a second; each is \
             recorded)"
        }
        Capability::Checkpoint => "state that it reached a milestone (signed by the robot)",
        Capability::Drive => "ask the robot to move",
        Capability::Evidence => "attach files to the job's record (64 KiB a step, 16 KiB a second)",
        Capability::Joints => "see an arm's joints, and ask it to move them and its gripper",
        Capability::Log => "write lines to the robot's log (ten a second)",
        Capability::Scan => "see what the range sensor sees, outside of privacy zones",
    }
}

const fn denied(capability: Capability) -> &'static str {
    match capability {
        Capability::Assist => "ask people for help",
        Capability::Camera => "take pictures",
        Capability::Checkpoint => "state that a milestone was reached",
        Capability::Drive => "ask the robot to move: a request to would end it",
        Capability::Evidence => "attach anything to the job's record",
        Capability::Joints => "ask an arm to move its joints or its gripper",
        Capability::Log => "write to the robot's log",
        Capability::Scan => "see what the range sensor sees",
    }
}

fn bounds(manifest: &SkillManifest) -> String {
    let fuel = manifest.fuel_per_step.map_or("without a limit of fuel".to_owned(), |fuel| {
        format!("with at most {fuel} units of fuel")
    });
    format!(
        "It has one step each {} ms, {fuel}, and is ended when one takes {} ms longer; {} MiB of \
         memory, {} KiB of state, {MAX_CALLS_PER_STEP} calls a step.",
        manifest.period_ms,
        STEP_PATIENCE.as_millis(),
        manifest.memory_mib,
        MAX_STATE_BYTES / 1024
    )
}
