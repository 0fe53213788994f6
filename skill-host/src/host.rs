//! The engine that all skills of a robot share: its settings, its compiled code, its ticks.

use crate::allowance::Allowance;
use crate::bundle::Bundle;
use crate::compiled::{CompiledCode, Unusable};
use crate::course::Session;
use crate::engine;
use crate::guest::{self, Linked};
use crate::imports::{self, Import};
use crate::ports::{NoPorts, Ports};
use crate::reference::{self, Start};
use crate::run::Running;
use crate::session::{self, Opening, SkillError, capability_name};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::plan::Param;
use nooterra_protocol::skill::{COMPONENT_FILE, Capability};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

/// The stack of a skill's thread, bytes: what its code may use, and as much again for the
/// host's own calls. Small, because an agent that locks its memory has all of it resident.
pub(crate) const THREAD_STACK_BYTES: usize = 1024 * 1024;

/// So many notes of [`Host::take_recompiled`] wait at most.
const MAX_RECOMPILED: usize = 64;

/// How the engine is set up.
#[derive(Clone, Copy, Debug)]
pub struct HostOptions {
    /// How many bundles' compiled code is kept; when another comes, the one that was not
    /// used for longest goes. At least 1.
    pub compiled: usize,
    /// Counts the fuel of every skill, for its developer; otherwise only of one whose manifest
    /// sets a budget.
    pub counts_fuel: bool,
    /// How often [`Host::epoch_tick`] will be called. All deadlines count in these.
    pub tick: Duration,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { compiled: 8, counts_fuel: false, tick: Duration::from_millis(10) }
    }
}

/// Why the engine cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The processor, the kernel or a hardening of the process does not allow it; often
    /// `MemoryDenyWriteExecute=yes` in the unit.
    #[error("the sandbox for skills cannot be set up: {0:#}")]
    Engine(wasmtime::Error),
    /// [`HostOptions::tick`] is zero.
    #[error("a tick of no length cannot count a deadline; 10 ms is usual")]
    Tick,
}

/// Compiled code that was on the disk, was not used, and was made anew.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recompiled {
    /// SHA-256 of the bundle file.
    pub bundle: Digest,
    /// Why, in one line.
    pub reason: String,
    /// Whose it was to be.
    pub skill: SkillId,
    /// As its manifest has it.
    pub version: String,
}

/// Why a skill is not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The plan names an action that this skill does not have.
    #[error("skill {skill} has no action `{action}`; it has {}", known.join(", "))]
    Action {
        /// As the plan has it.
        action: String,
        /// As the manifest has them.
        known: Vec<String>,
        /// The skill.
        skill: String,
    },
    /// The manifest asks for it and the local configuration does not grant it.
    #[error(
        "skill {skill} needs the capability `{}`, which this robot does not grant to it",
        capability_name(*.capability)
    )]
    Capability {
        /// The one that is missing.
        capability: Capability,
        /// The skill.
        skill: String,
    },
    /// Not a component that can be compiled and linked.
    #[error("{COMPONENT_FILE} of skill {skill} cannot be used: {source:#}")]
    Component {
        /// The skill.
        skill: String,
        /// What the engine says.
        source: wasmtime::Error,
    },
    /// The component imports something that no skill can be given here: a `wasi:` interface, where
    /// it was built for `wasm32-wasip2`; or what a later version of the world has.
    #[error("skill {skill} imports `{import}`, {}", imports::advice(.import))]
    Import {
        /// The import.
        import: String,
        /// The skill.
        skill: String,
    },
    /// The system refuses what the compiled code of any skill needs, which the host has tried for
    /// itself: memory, or leave to execute it, which `MemoryDenyWriteExecute=yes` in the unit takes
    /// away.
    #[error("this machine has no room for the code of skill {skill}: {source:#}")]
    Machine {
        /// The skill.
        skill: String,
        /// What the engine says.
        source: wasmtime::Error,
    },
    /// The system gives no thread.
    #[error("no thread for the skill: {0}")]
    Thread(#[source] std::io::Error),
    /// The component uses a capability that its manifest is silent about.
    #[error(
        "skill {skill} uses the capability `{}` without asking for it in its manifest",
        capability_name(*.capability)
    )]
    Undeclared {
        /// The capability.
        capability: Capability,
        /// The skill.
        skill: String,
    },
    /// The component is of the one world, and its manifest of the other.
    #[error("skill {skill} {}", other_world(*is_arm))]
    World {
        /// The manifest is that of an arm's skill.
        is_arm: bool,
        /// The skill.
        skill: String,
    },
}

const fn other_world(is_arm: bool) -> &'static str {
    if is_arm {
        "has the capability `joints` in its manifest, and its component is of the world `skill`; \
         build it for the world `arm-skill` (with `export_arm!`), or leave `joints` out"
    } else {
        "is built for the world `arm-skill`, and its manifest has no capability `joints`; add that, \
         or build it for the world `skill` (with `export!`)"
    }
}

/// The engine.
///
/// It reads no clock. Deadlines count the calls of [`Host::epoch_tick`]: without them a skill
/// that does not return is never ended.
///
/// The engine answers SIGSEGV, SIGILL and SIGFPE in this process where they come from a
/// skill's code, and passes all others on to whoever answered them before.
pub struct Host {
    compiled: Mutex<VecDeque<(Digest, Arc<Linked>)>>,
    /// What is kept of that on the disk.
    disk: Option<CompiledCode>,
    engine: Engine,
    /// Made when a skill needs it: counting slows down all code, so that it is another engine.
    fuelled: OnceLock<Engine>,
    options: HostOptions,
    recompiled: Mutex<VecDeque<Recompiled>>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Host {
    /// Sets the engine up.
    ///
    /// # Errors
    /// [`HostError`]
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        if options.tick.is_zero() {
            return Err(HostError::Tick);
        }
        let engine = Engine::new(&engine::config(false)).map_err(HostError::Engine)?;
        Ok(Self {
            compiled: Mutex::default(),
            disk: None,
            engine,
            fuelled: OnceLock::new(),
            options,
            recompiled: Mutex::default(),
        })
    }

    /// The same, with compiled code kept on the disk.
    #[must_use]
    pub fn with_disk(self, disk: CompiledCode) -> Self {
        Self { disk: Some(disk), ..self }
    }

    /// Compiled code that was on the disk and was not used, since this was last asked; for the
    /// journal. Of more than 64 the oldest are left out.
    #[must_use]
    pub fn take_recompiled(&self) -> Vec<Recompiled> {
        self.recompiled.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// Call this every [`HostOptions::tick`], from any thread. It never blocks.
    pub fn epoch_tick(&self) {
        self.engine.increment_epoch();
        if let Some(fuelled) = self.fuelled.get() {
            fuelled.increment_epoch();
        }
    }

    /// Compiles a bundle's component ahead of its first start, which takes about 0.1 s for
    /// 50 kB, so that the start itself does not wait for it. What the compiler leaves behind
    /// is most of what a host occupies: an idle robot is leaner when it waits with this until
    /// there is a job.
    ///
    /// # Errors
    /// [`StartError::Component`], [`StartError::Import`], [`StartError::Undeclared`],
    /// [`StartError::World`]
    pub fn prepare(&self, bundle: &Bundle) -> Result<(), StartError> {
        self.compiled(bundle).map(drop)
    }

    /// Starts an action on a thread of its own. Returns when the skill has been compiled and
    /// its thread exists; `init` runs on that thread. With a `state` that the ports were given
    /// by [`Ports::suspended`] the action goes on from there; an empty one begins it.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(
        &self,
        bundle: &Bundle,
        granted: &BTreeSet<Capability>,
        action: &str,
        params: &BTreeMap<String, Param>,
        ports: Box<dyn Ports + Send>,
        state: &[u8],
    ) -> Result<Running, StartError> {
        let opening = self.opening(bundle, granted, action, params)?;
        let name = bundle.manifest().id.as_str();
        Running::spawn(name, opening, ports, state.to_vec()).map_err(StartError::Thread)
    }

    /// Starts an action without a thread: the caller steps it. The outer result is about
    /// what can be known beforehand, the inner one about `init`.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn open(
        &self,
        bundle: &Bundle,
        granted: &BTreeSet<Capability>,
        action: &str,
        params: &BTreeMap<String, Param>,
        ports: Box<dyn Ports + Send>,
        state: &[u8],
    ) -> Result<Result<Session, SkillError>, StartError> {
        let opening = self.opening(bundle, granted, action, params)?;
        Ok(Session::open(&opening, ports, state, Arc::new(AtomicBool::new(false))))
    }

    /// Makes an instance and drops it, without any call: whether a bundle could be started at all.
    /// The outer result is about what can be known beforehand.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn try_out(
        &self,
        bundle: &Bundle,
        granted: &BTreeSet<Capability>,
    ) -> Result<Result<(), SkillError>, StartError> {
        let action = bundle.manifest().actions.first().cloned().unwrap_or_default();
        let opening = self.opening(bundle, granted, &action, &BTreeMap::new())?;
        let stop = Arc::new(AtomicBool::new(false));
        Ok(session::instance(&opening, Box::new(NoPorts), stop).map(drop))
    }

    fn opening(
        &self,
        bundle: &Bundle,
        granted: &BTreeSet<Capability>,
        action: &str,
        params: &BTreeMap<String, Param>,
    ) -> Result<Opening, StartError> {
        let manifest = bundle.manifest();
        if !manifest.actions.iter().any(|known| known == action) {
            return Err(StartError::Action {
                action: action.to_owned(),
                known: manifest.actions.clone(),
                skill: manifest.id.to_string(),
            });
        }
        let asked: BTreeSet<_> = manifest.capabilities.iter().copied().collect();
        if let Some(&capability) = asked.difference(granted).next() {
            return Err(StartError::Capability { capability, skill: manifest.id.to_string() });
        }
        Ok(Opening {
            action: action.to_owned(),
            allowance: Allowance::new(),
            capabilities: asked,
            fuel: self.fuel(bundle),
            graph: bundle.graph().and_then(|graph| graph.tree(action)).cloned(),
            memory_mib: manifest.memory_mib,
            params: params.clone(),
            period: Duration::from_millis(u64::from(manifest.period_ms)),
            pre: self.compiled(bundle)?,
            tick: self.options.tick,
        })
    }

    /// The compiled and linked component. Which imports it is linked with follows from the
    /// manifest alone, which the bundle's digest covers: what is kept may serve any start.
    fn compiled(&self, bundle: &Bundle) -> Result<Arc<Linked>, StartError> {
        if let Some(known) = self.cached(bundle.digest()) {
            return Ok(known);
        }
        let memory_mib = bundle.manifest().memory_mib;
        let skill = || bundle.manifest().id.to_string();
        let fault = |source| StartError::Component { skill: skill(), source };
        // Of the engine itself no skill has a part.
        let engine = self
            .engine_for(bundle)
            .map_err(|source| StartError::Machine { skill: skill(), source })?;
        let component = || match &self.disk {
            Some(disk) => self.load_or_compile(disk, engine, bundle),
            None => Component::from_binary(engine, bundle.component()),
        };
        let component = match component() {
            Err(source) if reference::is_refusal(&source) => {
                if !reference::has_room(engine, &Start::one(memory_mib)) {
                    return Err(StartError::Machine { skill: skill(), source });
                }
                // Once more: the shortage may have passed, and was then none of its doing.
                component()
            }
            made => made,
        };
        let component = component.map_err(fault)?;
        let asked: BTreeSet<_> = bundle.manifest().capabilities.iter().copied().collect();
        for (import, _) in component.component_type().imports(engine) {
            match Import::of(import) {
                Import::Needs(capability) if !asked.contains(&capability) => {
                    return Err(StartError::Undeclared { capability, skill: skill() });
                }
                Import::Needs(_) | Import::Types => {}
                Import::Unknown => {
                    return Err(StartError::Import { import: import.to_owned(), skill: skill() });
                }
            }
        }
        let mut linker = Linker::new(engine);
        imports::link(&mut linker, &asked).map_err(fault)?;
        let is_arm = asked.contains(&Capability::Joints);
        if guest::is_for_arm(&component, engine).is_some_and(|is_for_arm| is_for_arm != is_arm) {
            return Err(StartError::World { is_arm, skill: skill() });
        }
        let pre = linker.instantiate_pre(&component);
        let pre = pre.and_then(|pre| Linked::new(pre, is_arm)).map_err(fault)?;
        let pre = Arc::new(pre);
        let mut compiled = self.lock();
        while compiled.len() >= self.options.compiled.max(1) {
            compiled.pop_front();
        }
        compiled.push_back((bundle.digest(), Arc::clone(&pre)));
        Ok(pre)
    }

    /// The code from the disk, or else made from the component and put there.
    fn load_or_compile(
        &self,
        disk: &CompiledCode,
        engine: &Engine,
        bundle: &Bundle,
    ) -> wasmtime::Result<Component> {
        // Which the bundle's signature covers.
        let digest = bundle.manifest().component_sha256;
        let fuel = self.fuel(bundle).is_some();
        let why = match disk.load(engine, digest, fuel) {
            Ok(component) => return Ok(component),
            Err(why) => why,
        };
        if !matches!(why, Unusable::Absent) {
            self.note_recompiled(bundle, format!("compiled code on the disk is not used: {why}"));
        }
        let component = Component::from_binary(engine, bundle.component())?;
        if let Err(error) = disk.store(engine, digest, fuel, &component) {
            // Nothing is lost but the time of the next start.
            tracing::warn!(%error, "compiled code is not kept");
        }
        Ok(component)
    }

    fn note_recompiled(&self, bundle: &Bundle, reason: String) {
        let manifest = bundle.manifest();
        let mut recompiled = self.recompiled.lock().unwrap_or_else(PoisonError::into_inner);
        if recompiled.len() >= MAX_RECOMPILED {
            recompiled.pop_front();
        }
        recompiled.push_back(Recompiled {
            bundle: bundle.digest(),
            reason,
            skill: manifest.id.clone(),
            version: manifest.version.clone(),
        });
    }

    /// What each call of the skill may use, where that is counted.
    fn fuel(&self, bundle: &Bundle) -> Option<u64> {
        let unbounded = self.options.counts_fuel.then_some(u64::MAX);
        bundle.manifest().fuel_per_step.or(unbounded)
    }

    fn engine_for(&self, bundle: &Bundle) -> wasmtime::Result<&Engine> {
        if self.fuel(bundle).is_none() {
            return Ok(&self.engine);
        }
        match self.fuelled.get() {
            Some(engine) => Ok(engine),
            None => {
                let engine = Engine::new(&engine::config(true))?;
                Ok(self.fuelled.get_or_init(|| engine))
            }
        }
    }

    fn cached(&self, digest: Digest) -> Option<Arc<Linked>> {
        let mut compiled = self.lock();
        let at = compiled.iter().position(|(known, _)| *known == digest)?;
        let entry = compiled.remove(at)?;
        let pre = Arc::clone(&entry.1);
        compiled.push_back(entry);
        Some(pre)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Digest, Arc<Linked>)>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
