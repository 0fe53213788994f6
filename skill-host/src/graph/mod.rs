//! The policy graph of a bundle: a behaviour tree that says which of a component's actions runs
//! next, as data that an owner can read before anything runs.
//!
//! A graph has a *tree* for each action that it carries out. Its leaves are *checks* of what the
//! robot sees and *steps*, each of which runs one action of the component until that ends by
//! itself. A tree decides once for each observation ([`Tree::tick`]); between two decisions it is
//! nothing but its [`GraphPosition`], which is what the journal keeps.
//!
//! # What it never does
//! It reads no clock and draws nothing: the same position, observation and status of a step give
//! the same decision, on every machine. Its work is bounded when it is read: every node is visited
//! at most twice in one decision, and all its retries together try no more than
//! [`MAX_ATTEMPTS`] leaves. It asks for no motion: what runs does, within what it is granted.

mod condition;
mod document;
mod tick;
mod words;

pub use tick::{Child, Decision, Ticked};
pub use words::{NodeKind, Told};

use crate::ports::is_name;
use condition::Condition;
use document::{Document, Draft, Given};
use nooterra_protocol::plan::Param;
use nooterra_protocol::skill::{Capability, GRAPH_FILE, MAX_GRAPH_BYTES, SkillManifest};
use nooterra_protocol::skill_graph::GraphPosition;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The most nodes of all trees together.
pub const MAX_NODES: usize = 256;

/// How deep a tree may be.
pub const MAX_DEPTH: usize = 16;

/// So many leaves are tried at most, by all retries of a tree together.
pub const MAX_ATTEMPTS: u64 = 10_000;

/// So many steps of a tree may keep their state while others run.
pub const MAX_KEEPING: usize = 4;

/// Why a graph is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// Not JSON, a key that is missing, unknown or there twice, or a value outside its range; with
    /// line and column.
    #[error("{GRAPH_FILE}: {0}")]
    Json(String),
    /// More than [`MAX_GRAPH_BYTES`].
    #[error("{GRAPH_FILE} has {0} bytes, at most {MAX_GRAPH_BYTES} are read")]
    TooLarge(usize),
    /// A tree that does not fit its bounds or its manifest.
    #[error("{GRAPH_FILE}: the tree of `{action}`, at {at}: {why}")]
    Tree {
        /// Whose tree.
        action: String,
        /// The way from its root, in the keys of the file.
        at: String,
        /// What is wrong.
        why: String,
    },
}

/// A graph that was checked, by itself and against its manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph(BTreeMap<String, Arc<Tree>>);

/// What one action is carried out by.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Each before what is below it; the root is the first.
    nodes: Vec<Node>,
}

/// A node, with the numbers of those below it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Succeeds where the condition holds, and fails otherwise.
    Check(Condition),
    /// In order until one succeeds.
    Fallback(Vec<u16>),
    /// Until it succeeds, so many times at most.
    Retry { child: u16, times: u32 },
    /// Runs an action of the component.
    Run(Run),
    /// In order until one fails.
    Sequence(Vec<u16>),
    /// Fails what takes longer.
    Timeout { child: u16, limit: Limit },
    /// Fails what it holds as soon as the condition no longer holds.
    While { child: u16, condition: Condition },
}

/// A leaf that runs an action of the component.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) action: String,
    /// Where it is put aside before its end, it goes on from its state the next time.
    pub(crate) keeps: bool,
    pub(crate) name: String,
    pub(crate) params: BTreeMap<String, Given>,
}

/// Of what a robot sees, never of a clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    /// So many observations.
    Ticks(u32),
    /// So much time between observations.
    Time(Duration),
}

/// Reads and checks a graph by the manifest that names it.
///
/// # Errors
/// [`GraphError`] with the place.
pub fn parse(json: &[u8], manifest: &SkillManifest) -> Result<Graph, GraphError> {
    if json.len() > MAX_GRAPH_BYTES {
        return Err(GraphError::TooLarge(json.len()));
    }
    let Document { actions, v } =
        serde_json::from_slice(json).map_err(|error| GraphError::Json(error.to_string()))?;
    if v != 1 {
        return Err(GraphError::Json(format!("`v` is {v}, this release reads 1")));
    }
    if actions.is_empty() {
        return Err(GraphError::Json("`actions` is empty; leave the file out then".to_owned()));
    }
    let (mut trees, mut nodes) = (BTreeMap::new(), 0);
    for (action, root) in actions {
        let tree = Planting::new(&action, manifest, MAX_NODES - nodes).plant(root)?;
        nodes += tree.nodes.len();
        trees.insert(action, Arc::new(tree));
    }
    Ok(Graph(trees))
}

impl Graph {
    /// The tree that carries out an action; the component does by itself what has none.
    #[must_use]
    pub fn tree(&self, action: &str) -> Option<&Arc<Tree>> {
        self.0.get(action)
    }

    /// All trees, by the action.
    pub fn trees(&self) -> impl Iterator<Item = (&str, &Tree)> {
        self.0.iter().map(|(action, tree)| (action.as_str(), tree.as_ref()))
    }
}

impl Tree {
    /// How many nodes it has.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// So many leaves are tried in the worst case.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.work(0)
    }

    /// The name of the step that runs at a position.
    #[must_use]
    pub fn live(&self, position: &GraphPosition) -> Option<&str> {
        let spot = position.0.last()?;
        self.run(spot.node).map(|run| run.name.as_str())
    }

    /// A position of this tree, wherever it comes from. What is no such thing is not run from.
    #[must_use]
    pub fn has(&self, position: &GraphPosition) -> bool {
        let mut above: Option<u16> = None;
        for spot in &position.0 {
            let fits = match above {
                None => spot.node == 0,
                Some(above) => self.below(above).contains(&spot.node),
            };
            let counts = match self.nodes.get(usize::from(spot.node)) {
                Some(Node::Retry { times, .. }) => spot.count < *times && spot.elapsed_ns == 0,
                Some(Node::Timeout { .. }) => true,
                Some(_) => spot.count == 0 && spot.elapsed_ns == 0,
                None => false,
            };
            if !(fits && counts) {
                return false;
            }
            above = Some(spot.node);
        }
        above.is_none_or(|last| matches!(self.node(last), Node::Retry { .. } | Node::Run(_)))
    }

    /// What of the plan's parameters nothing in the tree asks for.
    pub(crate) fn unknown<'p>(&self, params: &'p BTreeMap<String, Param>) -> Option<&'p str> {
        let mut known = BTreeSet::new();
        for node in &self.nodes {
            match node {
                Node::Run(run) => known.extend(run.params.values().filter_map(Given::of_plan)),
                Node::Check(condition) | Node::While { condition, .. } => {
                    known.extend(condition.of_plan());
                }
                _ => {}
            }
        }
        params.keys().map(String::as_str).find(|name| !known.contains(name))
    }

    /// The leaf, where the node is one that runs something.
    pub(crate) fn run(&self, node: u16) -> Option<&Run> {
        match self.nodes.get(usize::from(node)) {
            Some(Node::Run(run)) => Some(run),
            _ => None,
        }
    }

    fn node(&self, node: u16) -> &Node {
        // Numbers come from the tree itself, or from a position that `has` was asked about.
        &self.nodes[usize::from(node)]
    }

    fn below(&self, node: u16) -> &[u16] {
        match self.node(node) {
            Node::Fallback(children) | Node::Sequence(children) => children,
            Node::Retry { child, .. } | Node::Timeout { child, .. } | Node::While { child, .. } => {
                std::slice::from_ref(child)
            }
            Node::Check(_) | Node::Run(_) => &[],
        }
    }

    fn work(&self, node: u16) -> u64 {
        let below = self.below(node).iter().map(|child| self.work(*child));
        let sum = below.fold(0_u64, u64::saturating_add).max(1);
        match self.node(node) {
            Node::Retry { times, .. } => sum.saturating_mul(u64::from(*times)),
            _ => sum,
        }
    }
}

impl Run {
    /// What its action is given, of the plan's parameters and its own.
    pub(crate) fn params(&self, plan: &BTreeMap<String, Param>) -> BTreeMap<String, Param> {
        let given = |(name, given): (&String, &Given)| {
            let value = match given {
                Given::Plan { param } => plan.get(param)?.clone(),
                Given::Value(value) => value.clone(),
            };
            Some((name.clone(), value))
        };
        self.params.iter().filter_map(given).collect()
    }
}

/// A tree while it is made of what was read.
struct Planting<'m> {
    action: &'m str,
    at: Vec<String>,
    keeping: usize,
    manifest: &'m SkillManifest,
    nodes: Vec<Node>,
    /// For so many nodes.
    room: usize,
}

impl<'m> Planting<'m> {
    fn new(action: &'m str, manifest: &'m SkillManifest, room: usize) -> Self {
        Self { action, at: Vec::new(), keeping: 0, manifest, nodes: Vec::new(), room }
    }

    fn plant(mut self, root: Draft) -> Result<Tree, GraphError> {
        if !self.manifest.actions.iter().any(|action| action == self.action) {
            return Err(self.refuse("the manifest's `actions` do not hold it"));
        }
        self.grow(root)?;
        let tree = Tree { nodes: std::mem::take(&mut self.nodes) };
        let attempts = tree.attempts();
        if attempts > MAX_ATTEMPTS {
            let why = format!("its retries come to {attempts} attempts, at most {MAX_ATTEMPTS}");
            return Err(self.refuse(&why));
        }
        Ok(tree)
    }

    /// Adds a node and what is below it; how deep that goes is bounded here.
    fn grow(&mut self, draft: Draft) -> Result<u16, GraphError> {
        if self.nodes.len() >= self.room {
            return Err(self.refuse(&format!("a graph has {MAX_NODES} nodes at most")));
        }
        if self.at.len() >= MAX_DEPTH {
            return Err(self.refuse(&format!("a tree is {MAX_DEPTH} nodes deep at most")));
        }
        let node = u16::try_from(self.nodes.len()).unwrap_or(u16::MAX);
        // Its place, before what is below it.
        self.nodes.push(Node::Sequence(Vec::new()));
        let grown = match draft {
            Draft::Check(condition) => Node::Check(self.seen(condition)?),
            Draft::Fallback(drafts) => Node::Fallback(self.row("fallback", drafts)?),
            Draft::Retry { below, times } => {
                Node::Retry { child: self.one("retry", *below)?, times }
            }
            Draft::Run(run) => Node::Run(self.leaf(run)?),
            Draft::Sequence(drafts) => Node::Sequence(self.row("sequence", drafts)?),
            Draft::Timeout { below, limit } => {
                Node::Timeout { child: self.one("timeout", *below)?, limit }
            }
            Draft::While { below, condition } => {
                let condition = self.seen(condition)?;
                Node::While { child: self.one("while", *below)?, condition }
            }
        };
        self.nodes[usize::from(node)] = grown;
        Ok(node)
    }

    fn row(&mut self, key: &str, drafts: Vec<Draft>) -> Result<Vec<u16>, GraphError> {
        let mut row = Vec::with_capacity(drafts.len());
        for (nth, draft) in drafts.into_iter().enumerate() {
            self.at.push(format!("{key}[{nth}]"));
            row.push(self.grow(draft)?);
            self.at.pop();
        }
        Ok(row)
    }

    fn one(&mut self, key: &str, draft: Draft) -> Result<u16, GraphError> {
        self.at.push(format!("{key}.do"));
        let node = self.grow(draft)?;
        self.at.pop();
        Ok(node)
    }

    fn leaf(&mut self, run: Run) -> Result<Run, GraphError> {
        if !self.manifest.actions.contains(&run.action) {
            let action = run.action.escape_debug();
            let why = format!("the manifest's `actions` do not hold `{action}`");
            return Err(self.refuse(&why));
        }
        for (name, given) in &run.params {
            self.named([Some(name.as_str()), given.of_plan()])?;
        }
        self.keeping += usize::from(run.keeps);
        if self.keeping > MAX_KEEPING {
            return Err(self.refuse(&format!("at most {MAX_KEEPING} steps keep their state")));
        }
        Ok(run)
    }

    fn seen(&self, condition: Condition) -> Result<Condition, GraphError> {
        if condition.needs_scan() && !self.manifest.capabilities.contains(&Capability::Scan) {
            return Err(self.refuse("a range is seen only with the capability `scan`"));
        }
        self.named([condition.of_plan()])?;
        Ok(condition)
    }

    /// What is shown to people holds nothing that steers a terminal.
    fn named<const N: usize>(&self, names: [Option<&str>; N]) -> Result<(), GraphError> {
        match names.into_iter().flatten().find(|name| !is_name(name)) {
            Some(name) => {
                let why = format!("`{}` cannot name a parameter", name.escape_debug());
                Err(self.refuse(&why))
            }
            None => Ok(()),
        }
    }

    fn refuse(&self, why: &str) -> GraphError {
        let at = if self.at.is_empty() { "its root".to_owned() } else { self.at.join(".") };
        GraphError::Tree { action: self.action.escape_debug().to_string(), at, why: why.to_owned() }
    }
}
