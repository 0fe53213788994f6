//! One run of a skill without a thread: instantiate, `init`, then `step` by `step`.
//!
//! This is the whole sandbox; [`crate::Running`] only puts it on a thread. Tools and tests
//! that must not depend on timing use it directly.

use crate::limits::{Call, Halt, Limits};
use crate::ports::{self, MAX_CALLS_PER_STEP, MAX_EVIDENCE_BYTES, Ports};
use crate::world::{self, Request, Skill, Status, wit};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::plan::Param;
use nooterra_protocol::skill::Capability;
use nooterra_protocol::time::MonoNanos;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wasmtime::component::{Linker, WasmList, WasmStr};
use wasmtime::{Store, StoreContextMut, Trap, UpdateDeadline};

/// How long `init` may take, with instantiation. Longer than a step: it may build tables.
pub const INIT_LIMIT: Duration = Duration::from_secs(2);

/// How much longer than its period a step may take before the skill is ended. Not a matter of
/// safety, which the age of the request decides, but of patience: on a busy machine a thread
/// may wait its turn for this long without any fault of the skill.
pub const STEP_PATIENCE: Duration = Duration::from_millis(500);

/// The most that a skill hands over in one call or result, bytes. The engine counts this
/// before anything is copied, and before the bounds of the ports are looked at.
const MAX_HANDED_OVER_BYTES: usize = 128 * 1024;

/// Why a skill came to an end that it did not announce.
#[derive(Debug, thiserror::Error)]
pub enum SkillError {
    /// It used up a limit: time, memory, table entries, calls.
    #[error("the skill was ended: {0}")]
    Exhausted(String),
    /// `init` said no, in the skill's words: a parameter is missing or wrong.
    #[error("the skill refused to start: {0}")]
    Refused(String),
    /// [`crate::Running::stop`] was called, or the run was dropped.
    #[error("the skill was stopped")]
    Stopped,
    /// It crashed.
    #[error("the skill crashed: {0}")]
    Trapped(String),
    /// What it was to see could not be recorded.
    #[error("the skill was ended: {0}")]
    Unrecorded(String),
    /// It asked for something that it has no capability for.
    #[error("the skill asked for motion without the capability `{}`", capability_name(*.0))]
    Ungranted(Capability),
}

/// The name of a capability as in a manifest.
#[must_use]
pub const fn capability_name(capability: Capability) -> &'static str {
    match capability {
        Capability::Checkpoint => "checkpoint",
        Capability::Drive => "drive",
        Capability::Evidence => "evidence",
        Capability::Log => "log",
        Capability::Scan => "scan",
    }
}

/// What belongs to one run inside the store.
pub(crate) struct Guest {
    budget: Budget,
    limits: Limits,
    ports: Box<dyn Ports + Send>,
    stop: Arc<AtomicBool>,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What is left of one call into the skill.
#[derive(Clone, Copy)]
struct Budget {
    call: Call,
    calls: u32,
    evidence_bytes: usize,
    limit: Duration,
    ticks: u64,
}

impl Budget {
    fn new(call: Call, limit: Duration, tick: Duration) -> Self {
        // One more than fits: the first tick may come right after the call began.
        let ticks = limit.as_nanos().div_ceil(tick.as_nanos().max(1)).saturating_add(1);
        Self {
            call,
            calls: MAX_CALLS_PER_STEP,
            evidence_bytes: MAX_EVIDENCE_BYTES,
            limit,
            ticks: u64::try_from(ticks).unwrap_or(u64::MAX),
        }
    }
}

/// A skill that has been initialised and can be stepped.
pub struct Session {
    capabilities: BTreeSet<Capability>,
    over: bool,
    skill: Skill,
    step_limit: Duration,
    store: Store<Guest>,
    tick: Duration,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

/// What [`Session::open`] needs; made by the host once everything about it was checked.
pub(crate) struct Opening {
    pub(crate) action: String,
    pub(crate) capabilities: BTreeSet<Capability>,
    pub(crate) memory_mib: u32,
    pub(crate) params: BTreeMap<String, Param>,
    pub(crate) period: Duration,
    pub(crate) ports: Box<dyn Ports + Send>,
    pub(crate) pre: Arc<world::SkillPre<Guest>>,
    pub(crate) tick: Duration,
}

impl Session {
    /// Instantiates the skill and calls its `init`.
    pub(crate) fn open(opening: Opening, stop: Arc<AtomicBool>) -> Result<Self, SkillError> {
        let Opening { action, capabilities, memory_mib, params, period, ports, pre, tick } =
            opening;
        let budget = Budget::new(Call::Init, INIT_LIMIT, tick);
        let guest = Guest { budget, limits: Limits::new(memory_mib), ports, stop };
        let mut store = Store::new(pre.engine(), guest);
        store.limiter(|guest| &mut guest.limits);
        store.set_hostcall_fuel(MAX_HANDED_OVER_BYTES);
        store.epoch_deadline_callback(on_tick);
        // With epochs on, a new store is past its deadline: set it before any guest code,
        // which instantiation may already run.
        begin(&mut store, budget)?;
        let skill = pre.instantiate(&mut store).map_err(|error| explain(&error))?;
        skill
            .call_init(&mut store, &action, &world::params(&params))
            .map_err(|error| explain(&error))?
            .map_err(|reason| SkillError::Refused(world::cut(reason, world::MAX_REASON_BYTES)))?;
        let step_limit = period + STEP_PATIENCE;
        Ok(Self { capabilities, over: false, skill, step_limit, store, tick })
    }

    /// One step. Once it has failed, or the skill has said that it is done or has failed, it
    /// is not stepped again.
    ///
    /// # Errors
    /// [`SkillError`]; the session is over then.
    pub fn step(
        &mut self,
        at: MonoNanos,
        seen: &Observation,
    ) -> Result<(Request, Status), SkillError> {
        if self.over {
            return Err(SkillError::Stopped);
        }
        // Taken back only when everything went well.
        self.over = true;
        let scan = self.capabilities.contains(&Capability::Scan);
        let seen = world::visible(seen, scan);
        self.store.data_mut().ports.input(at, &seen).map_err(SkillError::Unrecorded)?;
        let seen = &world::observation(at, &seen);
        begin(&mut self.store, Budget::new(Call::Step, self.step_limit, self.tick))?;
        let (request, status) =
            self.skill.call_step(&mut self.store, seen).map_err(|error| explain(&error))?;
        let (request, status) = (Request::from(request), Status::from(status));
        if request.is_motion() && !self.capabilities.contains(&Capability::Drive) {
            return Err(SkillError::Ungranted(Capability::Drive));
        }
        self.over = !matches!(status, Status::Running { .. });
        Ok((request, status))
    }
}

/// Offers the imports of the capabilities that are in effect, and nothing else.
pub(crate) fn link(
    linker: &mut Linker<Guest>,
    capabilities: &BTreeSet<Capability>,
) -> wasmtime::Result<()> {
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

const CHECKPOINT: &str = "nooterra:skill/checkpoint@0.1.0";
const EVIDENCE: &str = "nooterra:skill/evidence@0.1.0";
const LOG: &str = "nooterra:skill/log@0.1.0";
const TYPES: &str = "nooterra:skill/types@0.1.0";

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
        match name {
            CHECKPOINT => Self::Needs(Capability::Checkpoint),
            EVIDENCE => Self::Needs(Capability::Evidence),
            LOG => Self::Needs(Capability::Log),
            TYPES => Self::Types,
            _ => Self::Unknown,
        }
    }
}

type Refusable = wasmtime::Result<(Result<(), wit::Refusal>,)>;

fn checkpoint_reached(mut store: StoreContextMut<'_, Guest>, (name,): (WasmStr,)) -> Refusable {
    count_call(&mut store)?;
    let name = name.to_str(&store)?;
    if !ports::is_name(&name) {
        return Ok((Err(wit::Refusal::Name),));
    }
    let name = name.into_owned();
    store.data_mut().ports.checkpoint(&name);
    Ok((Ok(()),))
}

fn evidence_attach(
    mut store: StoreContextMut<'_, Guest>,
    (name, media_type, bytes): (WasmStr, WasmStr, WasmList<u8>),
) -> Refusable {
    count_call(&mut store)?;
    if bytes.len() > store.data().budget.evidence_bytes {
        return Ok((Err(wit::Refusal::TooLarge),));
    }
    let (name, media_type) = (name.to_str(&store)?, media_type.to_str(&store)?);
    if !ports::is_name(&name) || !ports::is_name(&media_type) {
        return Ok((Err(wit::Refusal::Name),));
    }
    let (name, media_type) = (name.into_owned(), media_type.into_owned());
    let bytes = bytes.as_le_slice(&store).to_vec();
    let guest = store.data_mut();
    guest.budget.evidence_bytes -= bytes.len();
    guest.ports.evidence(&name, &media_type, &bytes);
    Ok((Ok(()),))
}

fn log_line(mut store: StoreContextMut<'_, Guest>, (text,): (WasmStr,)) -> wasmtime::Result<()> {
    count_call(&mut store)?;
    let line = ports::log_line(&text.to_str(&store)?);
    store.data_mut().ports.log(&line);
    Ok(())
}

/// Every call into the ports passes here: none after a stop, none beyond the budget.
fn count_call(store: &mut StoreContextMut<'_, Guest>) -> wasmtime::Result<()> {
    let guest = store.data_mut();
    if guest.stop.load(Ordering::SeqCst) {
        return Err(Halt::Stopped.into());
    }
    guest.budget.calls = guest.budget.calls.checked_sub(1).ok_or(Halt::Calls)?;
    Ok(())
}

/// Every epoch tick that passes while guest code runs arrives here. This is how a deadline
/// and a stop reach a skill that never returns.
fn on_tick(mut store: StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
    let guest = store.data_mut();
    if guest.stop.load(Ordering::SeqCst) {
        return Err(Halt::Stopped.into());
    }
    let Budget { call, limit, .. } = guest.budget;
    guest.budget.ticks = guest.budget.ticks.checked_sub(1).ok_or(Halt::Deadline(call, limit))?;
    Ok(UpdateDeadline::Continue(1))
}

fn begin(store: &mut Store<Guest>, budget: Budget) -> Result<(), SkillError> {
    store.data_mut().budget = budget;
    store.set_epoch_deadline(1);
    // After the deadline is set: a stop sets its flag and then moves the epoch, so it is
    // seen either here or at the guest's first look at the epoch.
    if store.data().stop.load(Ordering::SeqCst) {
        return Err(SkillError::Stopped);
    }
    Ok(())
}

/// Plain words for what the engine reports.
fn explain(error: &wasmtime::Error) -> SkillError {
    if let Some(halt) = error.downcast_ref::<Halt>() {
        return match halt {
            Halt::Stopped => SkillError::Stopped,
            other => SkillError::Exhausted(other.to_string()),
        };
    }
    let words = match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => {
            "it gave up by itself (`unreachable`: in Rust, a panic or a failed allocation)"
        }
        Some(Trap::StackOverflow) => return SkillError::Exhausted("its stack is full".to_owned()),
        Some(Trap::MemoryOutOfBounds) => "it reached outside its memory",
        Some(Trap::IntegerDivisionByZero) => "it divided by zero",
        Some(trap) => return SkillError::Trapped(trap.to_string()),
        None => return SkillError::Trapped(world::cut(error.root_cause().to_string(), 512)),
    };
    SkillError::Trapped(words.to_owned())
}
