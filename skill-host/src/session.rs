//! One instance of a skill without a thread: instantiate, `init`, then `step` by `step`.
//!
//! This is the whole sandbox. [`crate::Session`] says which instance runs, and
//! [`crate::Running`] puts that on a thread.

use crate::allowance::Allowance;
use crate::graph::Tree;
use crate::guest::{Linked, Live};
use crate::limits::{Call, Halt, Limits};
use crate::pictures::Pictures;
use crate::ports::{MAX_CALLS_PER_STEP, MAX_EVIDENCE_BYTES, Ports};
use crate::reference::{self, Start};
use crate::world::{self, Request, Status};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::plan::Param;
use nooterra_protocol::skill::Capability;
use nooterra_protocol::time::MonoNanos;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wasmtime::{Store, StoreContextMut, Trap, UpdateDeadline};

/// How long `init` may take, with instantiation, and `resume`. Longer than a step: they may
/// build tables.
pub const INIT_LIMIT: Duration = Duration::from_secs(2);

/// How much longer than its period a step may take before the instance is ended. Not a matter
/// of safety, which the age of the request decides, but of patience: on a busy machine a thread
/// may wait its turn for this long without any fault of the skill.
pub const STEP_PATIENCE: Duration = Duration::from_millis(500);

/// The largest state that `suspend` may give, bytes.
pub const MAX_STATE_BYTES: usize = 16 * 1024;

/// The most that a skill hands over in one call or result, bytes. The engine counts this
/// before anything is copied, and before the bounds of the ports are looked at.
const MAX_HANDED_OVER_BYTES: usize = 128 * 1024;

/// Why a skill came to an end that it did not announce.
#[derive(Debug, thiserror::Error)]
pub enum SkillError {
    /// It used up a limit: memory, table entries, calls, fuel, the time of `init`. Or it wanted
    /// more of this machine than any skill is promised.
    #[error("the skill was ended: {0}")]
    Exhausted(String),
    /// The system refuses what an instance of any skill needs, such as address space for its
    /// memory, which the host has tried for itself: that says nothing about the skill.
    #[error("this machine has no room for an instance of the skill: {0}")]
    Machine(String),
    /// A skill for an arm, and nothing says where any joints are: its encoders give nothing, or it
    /// is no arm.
    #[error("the skill is for an arm, and this robot gives no position of joints at this moment")]
    NoJoints,
    /// A step did not return in time. A new instance may go on.
    #[error("the skill was ended: {0}")]
    Overran(String),
    /// `init` or `resume` said no, in the skill's words.
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
        Capability::Assist => "assist",
        Capability::Camera => "camera",
        Capability::Checkpoint => "checkpoint",
        Capability::Drive => "drive",
        Capability::Evidence => "evidence",
        Capability::Joints => "joints",
        Capability::Log => "log",
        Capability::Scan => "scan",
    }
}

/// What a skill has used, for its developer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Calls into the ports in the last step.
    pub calls: u32,
    /// Fuel of the last step, where fuel is counted.
    pub fuel: Option<u64>,
    /// Linear memory that the instance holds, bytes.
    pub memory_bytes: usize,
    /// Entries of all its tables.
    pub table_entries: usize,
}

/// What belongs to one instance inside the store.
pub(crate) struct Guest {
    pub(crate) allowance: Allowance,
    pub(crate) budget: Budget,
    /// Lines that were dropped since the last one that was not.
    pub(crate) dropped_lines: u64,
    limits: Limits,
    pub(crate) pictures: Pictures,
    pub(crate) ports: Box<dyn Ports + Send>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What is left of one call into the skill.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    call: Call,
    pub(crate) calls: u32,
    pub(crate) evidence_bytes: usize,
    limit: Duration,
    /// Ticks that are left, and those that have passed.
    ticks: u64,
    spent: u64,
}

impl Budget {
    fn new(call: Call, limit: Duration, tick: Duration) -> Self {
        let calls = if call == Call::Suspend { 0 } else { MAX_CALLS_PER_STEP };
        Self {
            call,
            calls,
            evidence_bytes: MAX_EVIDENCE_BYTES,
            limit,
            ticks: ticks(limit, tick),
            spent: 0,
        }
    }
}

/// The ticks that a span is sure to be longer than: one more than fits, because the first tick
/// may come right after the call began.
fn ticks(span: Duration, tick: Duration) -> u64 {
    let ticks = span.as_nanos().div_ceil(tick.as_nanos().max(1)).saturating_add(1);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// A skill that has been initialised and can be stepped.
pub(crate) struct Instance {
    capabilities: BTreeSet<Capability>,
    fuel: Option<u64>,
    over: bool,
    overran: bool,
    period: Duration,
    skill: Live,
    store: Store<Guest>,
    tick: Duration,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

/// What [`Instance::open`] needs; made by the host once everything about it was checked. It
/// serves any number of instances.
#[derive(Clone)]
pub(crate) struct Opening {
    pub(crate) action: String,
    /// What an instance may use of the ports at its begin.
    pub(crate) allowance: Allowance,
    pub(crate) capabilities: BTreeSet<Capability>,
    /// The most for each call, where fuel is counted.
    pub(crate) fuel: Option<u64>,
    /// What says which of the component's actions runs, where the bundle does.
    pub(crate) graph: Option<Arc<Tree>>,
    pub(crate) memory_mib: u32,
    pub(crate) params: BTreeMap<String, Param>,
    pub(crate) period: Duration,
    pub(crate) pre: Arc<Linked>,
    pub(crate) tick: Duration,
}

impl Instance {
    /// Instantiates the skill, calls its `init`, and its `resume` where there is a state.
    pub(crate) fn open(
        opening: &Opening,
        ports: Box<dyn Ports + Send>,
        state: &[u8],
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SkillError> {
        let Opening { action, capabilities, fuel, params, period, tick, .. } = opening;
        let (mut store, skill) = instance(opening, ports, stop)?;
        let refused = |reason| SkillError::Refused(world::tidy(reason, world::MAX_REASON_BYTES));
        skill
            .init(&mut store, action, &world::params(params))
            .map_err(|error| explain(&error, *fuel))?
            .map_err(refused)?;
        if !state.is_empty() {
            begin(&mut store, Budget::new(Call::Resume, INIT_LIMIT, *tick), *fuel)?;
            skill
                .resume(&mut store, state)
                .map_err(|error| explain(&error, *fuel))?
                .map_err(refused)?;
        }
        Ok(Self {
            capabilities: capabilities.clone(),
            fuel: *fuel,
            over: false,
            overran: false,
            period: *period,
            skill,
            store,
            tick: *tick,
        })
    }

    /// One step. Once it has failed, or the skill has said that it is done or has failed, it
    /// is not stepped again.
    ///
    /// # Errors
    /// [`SkillError`]; the session is over then.
    pub(crate) fn step(
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
        if !self.skill.fits(&seen) {
            return Err(SkillError::NoJoints);
        }
        let guest = self.store.data_mut();
        guest.allowance.pass(at);
        guest.ports.input(at, &seen).map_err(SkillError::Unrecorded)?;
        self.skill.observe(at, &seen);
        let budget = Budget::new(Call::Step, self.period + STEP_PATIENCE, self.tick);
        begin(&mut self.store, budget, self.fuel)?;
        self.store.data_mut().pictures.open();
        let stepped = self.skill.step(&mut self.store);
        self.store.data_mut().pictures.close();
        let (request, status) = stepped.map_err(|error| explain(&error, self.fuel))?;
        self.overran = self.store.data().budget.spent > ticks(self.period, self.tick);
        if let Some(capability) = request.needs()
            && !self.capabilities.contains(&capability)
        {
            return Err(SkillError::Ungranted(capability));
        }
        self.over = !matches!(status, Status::Running { .. });
        Ok((request, status))
    }

    /// What the skill must remember to go on later; empty where that is nothing.
    ///
    /// # Errors
    /// [`SkillError`]; the session is over then.
    pub(crate) fn suspend(&mut self) -> Result<Vec<u8>, SkillError> {
        if self.over {
            return Err(SkillError::Stopped);
        }
        self.over = true;
        let budget = Budget::new(Call::Suspend, self.period + STEP_PATIENCE, self.tick);
        begin(&mut self.store, budget, self.fuel)?;
        let state =
            self.skill.suspend(&mut self.store).map_err(|error| explain(&error, self.fuel))?;
        if state.len() > MAX_STATE_BYTES {
            return Err(SkillError::Exhausted(format!(
                "its state has {} bytes, at most {MAX_STATE_BYTES} are kept",
                state.len()
            )));
        }
        self.over = false;
        Ok(state)
    }

    /// The last step took longer than its period, by the ticks that came meanwhile.
    pub(crate) const fn overran(&self) -> bool {
        self.overran
    }

    /// What it has used.
    pub(crate) fn usage(&self) -> Usage {
        let Guest { budget, limits, .. } = self.store.data();
        let left = self.store.get_fuel().ok();
        Usage {
            calls: MAX_CALLS_PER_STEP.saturating_sub(budget.calls),
            fuel: self.fuel.zip(left).map(|(fuel, left)| fuel.saturating_sub(left)),
            memory_bytes: limits.memory_bytes(),
            table_entries: limits.table_entries(),
        }
    }

    /// What is left of what it may use of the ports in the long run.
    pub(crate) fn allowance(&self) -> Allowance {
        self.store.data().allowance
    }

    /// Ends the instance and gives the ports back.
    pub(crate) fn into_ports(self) -> Box<dyn Ports + Send> {
        self.store.into_data().ports
    }

    /// For what the host itself has to say.
    pub(crate) fn ports(&mut self) -> &mut (dyn Ports + Send) {
        self.store.data_mut().ports.as_mut()
    }
}

/// A new instance, before its first call.
pub(crate) fn instance(
    opening: &Opening,
    ports: Box<dyn Ports + Send>,
    stop: Arc<AtomicBool>,
) -> Result<(Store<Guest>, Live), SkillError> {
    let Opening { allowance, fuel, memory_mib, pre, tick, .. } = opening;
    let mut guest = Guest {
        allowance: *allowance,
        budget: Budget::new(Call::Init, INIT_LIMIT, *tick),
        dropped_lines: 0,
        limits: Limits::new(*memory_mib),
        pictures: Pictures::default(),
        ports,
        stop,
    };
    let mut is_again = false;
    loop {
        let budget = guest.budget;
        let mut store = Store::new(pre.engine(), guest);
        store.limiter(|guest| &mut guest.limits);
        store.set_hostcall_fuel(MAX_HANDED_OVER_BYTES);
        store.epoch_deadline_callback(on_tick);
        // With epochs on, a new store is past its deadline: set it before any guest code,
        // which instantiation may already run. The same holds of fuel.
        begin(&mut store, budget, *fuel)?;
        let error = match pre.instantiate(&mut store) {
            Ok(skill) => return Ok((store, skill)),
            Err(error) => error,
        };
        if !reference::is_refusal(&error) {
            return Err(explain(&error, *fuel));
        }
        // What it held is given back first: it is not to be what the machine lacks.
        guest = store.into_data();
        let start = Start::of(pre.component(), *memory_mib);
        if let Some(why) = start.beyond() {
            return Err(SkillError::Exhausted(why));
        }
        if !reference::has_room(pre.engine(), &start) {
            return Err(SkillError::Machine(world::cut(format!("{error:#}"), 512)));
        }
        // Once more: the shortage may have passed, and was then none of its doing.
        if std::mem::replace(&mut is_again, true) {
            return Err(SkillError::Exhausted(format!(
                "it wanted more of this machine than {start}, which is all that a skill is \
                 promised, and for which there is room"
            )));
        }
        guest.limits = Limits::new(*memory_mib);
    }
}

/// Every call into the ports passes here: none after a stop, none beyond the budget.
pub(crate) fn count_call(store: &mut StoreContextMut<'_, Guest>) -> wasmtime::Result<()> {
    let guest = store.data_mut();
    if guest.stop.load(Ordering::SeqCst) {
        return Err(Halt::Stopped.into());
    }
    let halt = Halt::Calls(guest.budget.call);
    guest.budget.calls = guest.budget.calls.checked_sub(1).ok_or(halt)?;
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
    guest.budget.spent += 1;
    Ok(UpdateDeadline::Continue(1))
}

fn begin(store: &mut Store<Guest>, budget: Budget, fuel: Option<u64>) -> Result<(), SkillError> {
    store.data_mut().budget = budget;
    store.set_epoch_deadline(1);
    if let Some(fuel) = fuel {
        // Fails only where the engine counts none, which the host decides together with this.
        store.set_fuel(fuel).map_err(|error| SkillError::Trapped(error.to_string()))?;
    }
    // After the deadline is set: a stop sets its flag and then moves the epoch, so it is
    // seen either here or at the guest's first look at the epoch.
    if store.data().stop.load(Ordering::SeqCst) {
        return Err(SkillError::Stopped);
    }
    Ok(())
}

/// Plain words for what the engine reports.
fn explain(error: &wasmtime::Error, fuel: Option<u64>) -> SkillError {
    if let Some(halt) = error.downcast_ref::<Halt>() {
        return match halt {
            Halt::Deadline(Call::Step | Call::Suspend, _) => SkillError::Overran(halt.to_string()),
            Halt::Stopped => SkillError::Stopped,
            other => SkillError::Exhausted(other.to_string()),
        };
    }
    let words = match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => {
            "it gave up by itself (`unreachable`: in Rust, a panic or a failed allocation)"
        }
        Some(Trap::StackOverflow) => return SkillError::Exhausted("its stack is full".to_owned()),
        Some(Trap::OutOfFuel) => {
            let fuel = fuel.unwrap_or_default();
            return SkillError::Exhausted(format!("it used up its {fuel} units of fuel"));
        }
        Some(Trap::MemoryOutOfBounds) => "it reached outside its memory",
        Some(Trap::IntegerDivisionByZero) => "it divided by zero",
        Some(trap) => return SkillError::Trapped(trap.to_string()),
        None => return SkillError::Trapped(world::cut(error.root_cause().to_string(), 512)),
    };
    SkillError::Trapped(words.to_owned())
}
