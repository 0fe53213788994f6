//! The course of an action: which instance of the component runs. Without a policy graph that is
//! one instance from the begin to the end; with one, the graph decides at each step.
//!
//! With a graph each step of it is an instance of its own, made when the graph comes to it and
//! gone when it leaves it. Its state is kept where the graph says so. Between two of them the
//! request is a stop. All of that together, the graph's position and the states, is the one state
//! of the action; it is this side's and not the guest's, so that a restart goes on within the
//! graph.
//!
//! What a crash is stays one: no graph tries again what trapped, used up a limit or asked for what
//! it may not. A step fails, and its graph goes on, by its own `failed` and by refusing to start.

use crate::allowance::Allowance;
use crate::graph::{Child, Decision, Ticked, Tree};
use crate::ports::{GraphMove, Ports};
use crate::session::{INIT_LIMIT, Instance, Opening, SkillError, Usage};
use crate::world::{self, Request, Status};
use nooterra_protocol::codec::{self, Blob};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::skill::Capability;
use nooterra_protocol::skill_graph::GraphPosition;
use nooterra_protocol::time::MonoNanos;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The `why` of a move after a restart, where the graph stands where it stood.
pub const GOES_ON: &str = "it goes on";

/// An action that has begun and can be stepped. Tools and tests that must not depend on timing use
/// it directly.
pub struct Session(Way);

enum Way {
    /// One instance.
    Alone(Box<Instance>),
    Graph(Box<Course>),
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Way::Alone(instance) => instance.fmt(f),
            Way::Graph(course) => course.fmt(f),
        }
    }
}

impl Session {
    /// Begins the action, or goes on with it where there is a state.
    pub(crate) fn open(
        opening: &Opening,
        ports: Box<dyn Ports + Send>,
        state: &[u8],
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SkillError> {
        Ok(Self(match &opening.graph {
            None => Way::Alone(Box::new(Instance::open(opening, ports, state, stop)?)),
            Some(tree) => {
                Way::Graph(Box::new(Course::open(opening, Arc::clone(tree), ports, state, stop)?))
            }
        }))
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
        match &mut self.0 {
            Way::Alone(instance) => instance.step(at, seen),
            Way::Graph(course) => course.step(at, seen),
        }
    }

    /// What must be remembered to go on later; empty where that is nothing.
    ///
    /// # Errors
    /// [`SkillError`]; the session is over then.
    pub fn suspend(&mut self) -> Result<Vec<u8>, SkillError> {
        match &mut self.0 {
            Way::Alone(instance) => instance.suspend(),
            Way::Graph(course) => course.suspend(),
        }
    }

    /// The last step took longer than its period, by the ticks that came meanwhile.
    #[must_use]
    pub const fn overran(&self) -> bool {
        match &self.0 {
            Way::Alone(instance) => instance.overran(),
            Way::Graph(course) => course.overran,
        }
    }

    /// What it has used; between two steps of a graph nothing.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match &self.0 {
            Way::Alone(instance) => instance.usage(),
            Way::Graph(course) => {
                course.live.as_ref().map(|(_, live)| live.usage()).unwrap_or_default()
            }
        }
    }

    /// Where the graph stands, where there is one.
    #[must_use]
    pub const fn position(&self) -> Option<&GraphPosition> {
        match &self.0 {
            Way::Alone(_) => None,
            Way::Graph(course) => Some(&course.position),
        }
    }

    /// Ends it and gives the ports back.
    pub(crate) fn into_ports(self) -> Box<dyn Ports + Send> {
        match self.0 {
            Way::Alone(instance) => instance.into_ports(),
            Way::Graph(course) => Box::new(course.ports),
        }
    }

    /// For what the host itself has to say.
    pub(crate) fn ports(&mut self) -> &mut (dyn Ports + Send) {
        match &mut self.0 {
            Way::Alone(instance) => instance.ports(),
            Way::Graph(course) => &mut course.ports,
        }
    }
}

/// What is remembered of a course.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    child: Child,
    position: GraphPosition,
    states: Vec<(u16, Blob)>,
}

struct Course {
    /// Of the action as a whole: another instance is not another allowance.
    allowance: Allowance,
    child: Child,
    /// The next move is told with this.
    goes_on: bool,
    last_at: Option<MonoNanos>,
    live: Option<(u16, Instance)>,
    opening: Opening,
    over: bool,
    overran: bool,
    ports: Shared,
    position: GraphPosition,
    /// Of steps that were put aside, and of the one that ran before a restart.
    states: BTreeMap<u16, Vec<u8>>,
    stop: Arc<AtomicBool>,
    tree: Arc<Tree>,
}

impl fmt::Debug for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Course").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Course {
    fn open(
        opening: &Opening,
        tree: Arc<Tree>,
        ports: Box<dyn Ports + Send>,
        state: &[u8],
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SkillError> {
        if let Some(name) = tree.unknown(&opening.params) {
            let name = world::tidy(name.to_owned(), world::MAX_NOTE_BYTES);
            return Err(SkillError::Refused(format!("its graph has no parameter `{name}`")));
        }
        let mut course = Self {
            allowance: opening.allowance,
            child: Child::Running,
            goes_on: false,
            last_at: None,
            live: None,
            opening: opening.clone(),
            over: false,
            overran: false,
            ports: Shared(Arc::new(Mutex::new(ports))),
            position: GraphPosition::default(),
            states: BTreeMap::new(),
            stop,
            tree,
        };
        if !state.is_empty() {
            let kept = codec::from_slice::<Kept>(state).ok();
            let Kept { child, position, states } =
                kept.filter(|kept| course.tree.has(&kept.position)).ok_or_else(|| {
                    SkillError::Refused("the state that was kept is none of its graph".to_owned())
                })?;
            course.goes_on = true;
            (course.child, course.position) = (child, position);
            course.states = states.into_iter().map(|(node, state)| (node, state.0)).collect();
        }
        Ok(course)
    }

    fn step(&mut self, at: MonoNanos, seen: &Observation) -> Result<(Request, Status), SkillError> {
        if self.over {
            return Err(SkillError::Stopped);
        }
        // Taken back only when everything went well.
        (self.over, self.overran) = (true, false);
        let seen = world::visible(seen, self.opening.capabilities.contains(&Capability::Scan));
        if self.opening.capabilities.contains(&Capability::Joints) && seen.joints.is_none() {
            return Err(SkillError::NoJoints);
        }
        // What the graph decides by is recorded before it decides.
        self.ports.lock().input(at, &seen).map_err(SkillError::Unrecorded)?;
        let span = self.span(at);
        let Ticked { decision, moved, position } =
            self.tree.tick(&self.position, span, &seen, &self.opening.params, &self.child);
        self.position = position;
        self.leave(&decision)?;
        self.tell(moved);
        let status = match decision {
            Decision::Done => return Ok((Request::Stop, Status::Done)),
            Decision::Failed(reason) => {
                let reason = world::tidy(reason, world::MAX_REASON_BYTES);
                return Ok((Request::Stop, Status::Failed(reason)));
            }
            Decision::Wait => waiting("between two attempts".to_owned()),
            Decision::Run(node) => {
                let (request, status) = self.run(node, at, &seen)?;
                if matches!(status, Status::Running { .. }) {
                    self.over = false;
                    return Ok((request, status));
                }
                self.ended(node, status)
            }
        };
        self.over = false;
        Ok((Request::Stop, status))
    }

    /// One step of the step's instance, which is made where there is none.
    fn run(
        &mut self,
        node: u16,
        at: MonoNanos,
        seen: &Observation,
    ) -> Result<(Request, Status), SkillError> {
        let mut live = match self.live.take() {
            Some((_, live)) => live,
            None => match self.begin(node) {
                Ok(live) => live,
                Err(SkillError::Refused(reason)) => {
                    // What it said until then is not known here.
                    self.allowance = self.allowance.used_up();
                    return Ok((Request::Stop, Status::Failed(reason)));
                }
                Err(error) => return Err(error),
            },
        };
        let stepped = live.step(at, seen);
        self.overran = live.overran();
        self.allowance = live.allowance();
        self.live = Some((node, live));
        stepped
    }

    fn begin(&mut self, node: u16) -> Result<Instance, SkillError> {
        // The graph decided for this node, so that there is a leaf.
        let Some(leaf) = self.tree.run(node) else { return Err(SkillError::Stopped) };
        let opening = Opening {
            action: leaf.action.clone(),
            allowance: self.allowance,
            params: leaf.params(&self.opening.params),
            ..self.opening.clone()
        };
        let state = self.states.remove(&node).unwrap_or_default();
        let ports = Box::new(OfLeaf(self.ports.clone()));
        Instance::open(&opening, ports, &state, Arc::clone(&self.stop))
    }

    /// A step came to its own end; what the graph makes of that comes with the next observation.
    fn ended(&mut self, node: u16, status: Status) -> Status {
        self.live = None;
        self.states.remove(&node);
        let name = self.tree.run(node).map(|leaf| leaf.name.clone()).unwrap_or_default();
        let (child, note) = match status {
            Status::Failed(reason) => {
                let note = world::tidy(format!("{name}: {reason}"), world::MAX_NOTE_BYTES);
                (Child::Failed(reason), note)
            }
            Status::Done | Status::Running { .. } => (Child::Done, format!("{name}: done")),
        };
        self.child = child;
        waiting(note)
    }

    /// Ends what ran, where the graph has gone elsewhere.
    fn leave(&mut self, decision: &Decision) -> Result<(), SkillError> {
        self.child = Child::Running;
        let stays = |node: u16| *decision == Decision::Run(node);
        if let Some((node, mut live)) = self.live.take_if(|(node, _)| !stays(*node))
            && self.tree.run(node).is_some_and(|leaf| leaf.keeps)
        {
            let state = live.suspend()?;
            self.states.insert(node, state);
        }
        // What ran before a restart and is not come to again.
        let tree = &self.tree;
        self.states.retain(|node, state| {
            let keeps = tree.run(*node).is_some_and(|leaf| leaf.keeps);
            !state.is_empty() && (keeps || stays(*node))
        });
        Ok(())
    }

    fn tell(&mut self, moved: Option<String>) {
        let goes_on = std::mem::take(&mut self.goes_on).then(|| GOES_ON.to_owned());
        let why = match (goes_on, moved) {
            (None, None) => return,
            (Some(why), None) | (None, Some(why)) => why,
            (Some(goes_on), Some(why)) => format!("{goes_on}; {why}"),
        };
        let live = self.tree.live(&self.position).map(str::to_owned);
        let moved = GraphMove { live, position: self.position.clone(), why: world::plain(&why) };
        self.ports.lock().moved(&moved);
    }

    fn suspend(&mut self) -> Result<Vec<u8>, SkillError> {
        if self.over {
            return Err(SkillError::Stopped);
        }
        self.over = true;
        let mut states: Vec<_> =
            self.states.iter().map(|(node, state)| (*node, Blob(state.clone()))).collect();
        if let Some((node, live)) = &mut self.live {
            let state = live.suspend()?;
            states.push((*node, Blob(state)));
        }
        let (child, position) = (self.child.clone(), self.position.clone());
        let kept = Kept { child, position, states };
        // Numbers, names and bytes have a form.
        let state = codec::to_vec(&kept).map_err(|e| SkillError::Exhausted(e.to_string()))?;
        self.over = false;
        Ok(state)
    }

    /// The observed time since the decision before. A gap, such as while the job was held, counts
    /// as what the sandbox itself may take between two observations.
    fn span(&mut self, at: MonoNanos) -> Duration {
        let before = self.last_at.replace(at);
        let span = before.and_then(|before| at.since(before)).unwrap_or_default();
        span.min(self.opening.period + INIT_LIMIT)
    }
}

fn waiting(note: String) -> Status {
    Status::Running { note, progress: 0.0 }
}

/// The ports of the whole course.
#[derive(Clone)]
struct Shared(Arc<Mutex<Box<dyn Ports + Send>>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Box<dyn Ports + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ports for Shared {
    fn assist(&mut self, reason: &str) {
        self.lock().assist(reason);
    }

    fn checkpoint(&mut self, name: &str) {
        self.lock().checkpoint(name);
    }

    fn evidence(&mut self, name: &str, media_type: &str, bytes: &[u8]) {
        self.lock().evidence(name, media_type, bytes);
    }

    fn input(&mut self, at: MonoNanos, seen: &Observation) -> Result<(), String> {
        self.lock().input(at, seen)
    }

    fn log(&mut self, text: &str) {
        self.lock().log(text);
    }

    fn moved(&mut self, moved: &GraphMove) {
        self.lock().moved(moved);
    }

    fn note(&mut self, text: &str) {
        self.lock().note(text);
    }

    fn restarted(&mut self, why: &str) {
        self.lock().restarted(why);
    }

    fn suspended(&mut self, state: &[u8]) {
        self.lock().suspended(state);
    }
}

/// What one step of the graph reaches of them: what it sees was recorded when the graph saw it.
struct OfLeaf(Shared);

impl Ports for OfLeaf {
    fn assist(&mut self, reason: &str) {
        self.0.assist(reason);
    }

    fn checkpoint(&mut self, name: &str) {
        self.0.checkpoint(name);
    }

    fn evidence(&mut self, name: &str, media_type: &str, bytes: &[u8]) {
        self.0.evidence(name, media_type, bytes);
    }

    fn log(&mut self, text: &str) {
        self.0.log(text);
    }

    fn note(&mut self, text: &str) {
        self.0.note(text);
    }
}
