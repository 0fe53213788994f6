//! The functions that a skill may call, each behind its capability.

use crate::pictures;
use crate::ports;
use crate::session::{Guest, count_call};
use crate::world::wit;
use nooterra_protocol::skill::Capability;
use std::collections::BTreeSet;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList, WasmStr};

// The linker matches them with those of the world's earlier versions: each has all that the one
// before it has.
const ASSIST: &str = "nooterra:skill/assist@0.2.2";
const CAMERA: &str = "nooterra:skill/camera@0.2.2";
const CHECKPOINT: &str = "nooterra:skill/checkpoint@0.2.2";
const EVIDENCE: &str = "nooterra:skill/evidence@0.2.2";
const LOG: &str = "nooterra:skill/log@0.2.2";

/// Versions of the world whose names a component may import by, oldest first.
const VERSIONS: [&str; 3] = ["0.2.0", "0.2.1", "0.2.2"];

/// What an import of a component is for.
pub(crate) enum Import {
    /// Functions of a capability.
    Needs(Capability),
    /// Only types.
    Types,
    /// Not of this world.
    Unknown,
}

impl Import {
    pub(crate) fn of(name: &str) -> Self {
        let known = name.strip_prefix("nooterra:skill/").and_then(|name| name.split_once('@'));
        let Some((name, version)) = known else { return Self::Unknown };
        let since = |first: &str| {
            VERSIONS.iter().skip_while(|known| **known != first).any(|known| *known == version)
        };
        match name {
            "arm" if since("0.2.2") => Self::Types,
            "assist" if since("0.2.0") => Self::Needs(Capability::Assist),
            "camera" if since("0.2.1") => Self::Needs(Capability::Camera),
            "checkpoint" if since("0.2.0") => Self::Needs(Capability::Checkpoint),
            "evidence" if since("0.2.0") => Self::Needs(Capability::Evidence),
            "log" if since("0.2.0") => Self::Needs(Capability::Log),
            "types" if since("0.2.0") => Self::Types,
            _ => Self::Unknown,
        }
    }
}

/// Why an import is [unknown](Import::Unknown), and what to do.
pub(crate) fn advice(name: &str) -> String {
    if !name.starts_with("nooterra:skill/") {
        return "which no skill is given; build it for wasm32-unknown-unknown".to_owned();
    }
    format!(
        "which this agent does not know: it has {} at the latest; update the agent, or build the \
         skill against a world that it has",
        nooterra_protocol::skill::WIT
    )
}

/// Offers the imports of the capabilities that are in effect, and nothing else.
pub(crate) fn link(
    linker: &mut Linker<Guest>,
    capabilities: &BTreeSet<Capability>,
) -> wasmtime::Result<()> {
    if capabilities.contains(&Capability::Assist) {
        linker.instance(ASSIST)?.func_wrap("request", assist_request)?;
    }
    if capabilities.contains(&Capability::Camera) {
        pictures::link(&mut linker.instance(CAMERA)?)?;
    }
    if capabilities.contains(&Capability::Checkpoint) {
        linker.instance(CHECKPOINT)?.func_wrap("reached", checkpoint_reached)?;
    }
    if capabilities.contains(&Capability::Evidence) {
        linker.instance(EVIDENCE)?.func_wrap("attach", evidence_attach)?;
    }
    if capabilities.contains(&Capability::Log) {
        linker.instance(LOG)?.func_wrap("line", log_line)?;
    }
    Ok(())
}

type Refusable = wasmtime::Result<(Result<(), wit::Refusal>,)>;

const fn refused(why: wit::Refusal) -> Refusable {
    Ok((Err(why),))
}

fn assist_request(mut store: StoreContextMut<'_, Guest>, (reason,): (WasmStr,)) -> Refusable {
    count_call(&mut store)?;
    let reason = reason.to_str(&store)?;
    if reason.is_empty() || reason.len() > ports::MAX_ASSIST_BYTES {
        return refused(wit::Refusal::Name);
    }
    let reason = ports::log_line(&reason);
    let guest = store.data_mut();
    if !guest.allowance.assist() {
        return refused(wit::Refusal::TooOften);
    }
    guest.ports.assist(&reason);
    Ok((Ok(()),))
}

fn checkpoint_reached(mut store: StoreContextMut<'_, Guest>, (name,): (WasmStr,)) -> Refusable {
    count_call(&mut store)?;
    let name = name.to_str(&store)?;
    if !ports::is_name(&name) {
        return refused(wit::Refusal::Name);
    }
    let name = name.into_owned();
    let guest = store.data_mut();
    if !guest.allowance.checkpoint() {
        return refused(wit::Refusal::TooOften);
    }
    guest.ports.checkpoint(&name);
    Ok((Ok(()),))
}

fn evidence_attach(
    mut store: StoreContextMut<'_, Guest>,
    (name, media_type, bytes): (WasmStr, WasmStr, WasmList<u8>),
) -> Refusable {
    count_call(&mut store)?;
    if bytes.len() > store.data().budget.evidence_bytes {
        return refused(wit::Refusal::TooLarge);
    }
    let (name, media_type) = (name.to_str(&store)?, media_type.to_str(&store)?);
    if !ports::is_name(&name) || !ports::is_name(&media_type) {
        return refused(wit::Refusal::Name);
    }
    let (name, media_type) = (name.into_owned(), media_type.into_owned());
    let bytes = bytes.as_le_slice(&store).to_vec();
    let guest = store.data_mut();
    if !guest.allowance.evidence(bytes.len()) {
        return refused(wit::Refusal::TooOften);
    }
    guest.budget.evidence_bytes -= bytes.len();
    guest.ports.evidence(&name, &media_type, &bytes);
    Ok((Ok(()),))
}

fn log_line(mut store: StoreContextMut<'_, Guest>, (text,): (WasmStr,)) -> wasmtime::Result<()> {
    count_call(&mut store)?;
    let line = ports::log_line(&text.to_str(&store)?);
    let guest = store.data_mut();
    if !guest.allowance.line() {
        guest.dropped_lines += 1;
        return Ok(());
    }
    let dropped = std::mem::take(&mut guest.dropped_lines);
    if dropped > 0 {
        guest.ports.note(&format!("{dropped} lines of its log were dropped: too many"));
    }
    guest.ports.log(&line);
    Ok(())
}
