//! One decision of a tree: where it stands, what is seen and what became of the step that ran, to
//! which step runs now.
//!
//! A sequence and a fallback go on where they are; they do not begin anew with each observation.
//! What is asked again each time are the conditions of the `while`s and the timeouts around what
//! runs, from the outside in, and the first that no longer holds fails. A retry waits for the next
//! observation before it tries again: the same one would give the same.

use super::{Limit, Node, Tree};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::plan::Param;
use nooterra_protocol::skill_graph::{GraphPosition, GraphSpot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest account of a move, bytes.
const MAX_WHY_BYTES: usize = 512;

/// What became of the step that ran, at the observation before.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Child {
    /// It achieved what it was to.
    Done,
    /// It cannot, and why, in its own words.
    Failed(String),
    /// It has more to do, or none ran.
    #[default]
    Running,
}

/// What is to happen now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// The action is achieved.
    Done,
    /// It cannot be achieved, and why: the last thing that failed.
    Failed(String),
    /// The step of this node runs.
    Run(u16),
    /// Nothing, until the next observation.
    Wait,
}

/// A decision, and where it leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ticked {
    /// What is to happen.
    pub decision: Decision,
    /// What moved the graph, in its own names; `None` where it stands where it stood.
    pub moved: Option<String>,
    /// Where it stands.
    pub position: GraphPosition,
}

impl Tree {
    /// Decides. `span` is the observed time since the decision before.
    ///
    /// The position is one that this gave, or that [`Tree::has`] knows; after an end it begins
    /// anew.
    #[must_use]
    pub fn tick(
        &self,
        position: &GraphPosition,
        span: Duration,
        seen: &Observation,
        params: &BTreeMap<String, Param>,
        child: &Child,
    ) -> Ticked {
        let path = position.0.clone();
        let mut walk = Walk { path, params, reason: String::new(), seen, tree: self, why: vec![] };
        let over = walk.decide(span, child);
        let Walk { path, reason, why, .. } = walk;
        let decision = match (over, path.last()) {
            (Some(true), _) => Decision::Done,
            (Some(false), _) => Decision::Failed(cut(reason)),
            (None, Some(last)) if self.run(last.node).is_some() => Decision::Run(last.node),
            (None, _) => Decision::Wait,
        };
        let moved = over.is_some() || !self.stands(&position.0, &path);
        let moved = moved.then(|| match why.join("; ") {
            why if why.is_empty() && position.0.is_empty() => "it begins".to_owned(),
            why if why.is_empty() => "another attempt".to_owned(),
            why => cut(why),
        });
        Ticked { decision, moved, position: GraphPosition(path) }
    }

    /// The same nodes and attempts; what timeouts count changes with every observation.
    fn stands(&self, before: &[GraphSpot], after: &[GraphSpot]) -> bool {
        let attempts = |spot: &GraphSpot| match self.node(spot.node) {
            Node::Retry { .. } => spot.count,
            _ => 0,
        };
        let same =
            |(a, b): (&GraphSpot, &GraphSpot)| (a.node, attempts(a)) == (b.node, attempts(b));
        before.len() == after.len() && before.iter().zip(after).all(same)
    }
}

struct Walk<'t> {
    params: &'t BTreeMap<String, Param>,
    path: Vec<GraphSpot>,
    /// The last thing that failed.
    reason: String,
    seen: &'t Observation,
    tree: &'t Tree,
    why: Vec<String>,
}

/// How the whole tree ended: well or not.
type Over = Option<bool>;

impl Walk<'_> {
    fn decide(&mut self, span: Duration, child: &Child) -> Over {
        let Some(last) = self.path.last().copied() else { return self.begin(0) };
        let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        for spot in &mut self.path {
            if matches!(self.tree.node(spot.node), Node::Timeout { .. }) {
                spot.count = spot.count.saturating_add(1);
                spot.elapsed_ns = spot.elapsed_ns.saturating_add(span);
            }
        }
        // First what has happened: the step ended while all around it still held.
        let ended = self.tree.run(last.node).and_then(|run| match child {
            Child::Done => Some((format!("`{}` is done", run.name), String::new(), true)),
            Child::Failed(reason) => {
                let why = format!("`{}` failed", run.name);
                Some((why, format!("{}: {reason}", run.name), false))
            }
            Child::Running => None,
        });
        if let Some((why, reason, done)) = ended {
            self.why.push(why);
            if !done {
                self.reason = reason;
            }
            self.path.pop();
            let over = self.up(last.node, done);
            if over.is_some() {
                return over;
            }
        }
        let cut = (0..self.path.len()).find_map(|at| Some((at, self.broken(self.path[at])?)));
        if let Some((at, reason)) = cut {
            let node = self.path[at].node;
            self.fail(reason);
            self.path.truncate(at);
            return self.up(node, false);
        }
        match self.tree.node(last.node) {
            // It had waited since the observation before.
            Node::Retry { child, .. } => self.begin(*child),
            _ => None,
        }
    }

    /// Why a node fails what is below it, if it does.
    fn broken(&self, spot: GraphSpot) -> Option<String> {
        match self.tree.node(spot.node) {
            Node::Timeout { limit: Limit::Ticks(ticks), .. } if spot.count >= *ticks => {
                Some(format!("not done within {ticks} observations"))
            }
            Node::Timeout { limit: Limit::Time(limit), .. }
                if u128::from(spot.elapsed_ns) >= limit.as_nanos() =>
            {
                Some(format!("not done within {} s", limit.as_secs_f64()))
            }
            Node::While { condition, .. } if !condition.holds(self.seen, self.params) => {
                Some(format!("no longer so: {condition}"))
            }
            _ => None,
        }
    }

    /// Enters a node, and goes on from there until something runs, waits, or all is over.
    fn begin(&mut self, node: u16) -> Over {
        match self.enter(node) {
            Some((ended, well)) => self.up(ended, well),
            None => None,
        }
    }

    /// Down to the first leaf; which node ended on the way, and how, where one did at once.
    fn enter(&mut self, mut node: u16) -> Option<(u16, bool)> {
        loop {
            let next = match self.tree.node(node) {
                Node::Check(condition) => {
                    let holds = condition.holds(self.seen, self.params);
                    if holds {
                        self.why.push(format!("so: {condition}"));
                    } else {
                        self.fail(format!("not so: {condition}"));
                    }
                    return Some((node, holds));
                }
                Node::While { condition, .. } if !condition.holds(self.seen, self.params) => {
                    self.fail(format!("not so: {condition}"));
                    return Some((node, false));
                }
                // Never empty.
                Node::Fallback(children) | Node::Sequence(children) => children.first().copied(),
                Node::Retry { child, .. }
                | Node::Timeout { child, .. }
                | Node::While { child, .. } => Some(*child),
                Node::Run(_) => None,
            };
            self.path.push(GraphSpot { count: 0, elapsed_ns: 0, node });
            node = next?;
        }
    }

    /// A node has ended and left the path: what those above it make of that.
    fn up(&mut self, mut ended: u16, mut well: bool) -> Over {
        while let Some(spot) = self.path.last_mut() {
            match self.tree.node(spot.node) {
                Node::Fallback(row) if !well => {
                    if let Some(next) = after(row, ended) {
                        (ended, well) = self.enter(next)?;
                        continue;
                    }
                }
                Node::Sequence(row) if well => {
                    if let Some(next) = after(row, ended) {
                        (ended, well) = self.enter(next)?;
                        continue;
                    }
                }
                Node::Retry { times, .. } if !well => {
                    spot.count += 1;
                    if spot.count < *times {
                        return None;
                    }
                }
                _ => {}
            }
            ended = spot.node;
            self.path.pop();
        }
        Some(well)
    }

    fn fail(&mut self, reason: String) {
        self.why.push(reason.clone());
        self.reason = reason;
    }
}

fn cut(mut words: String) -> String {
    words.truncate(words.floor_char_boundary(MAX_WHY_BYTES));
    words
}

/// The one that comes after `node`.
fn after(row: &[u16], node: u16) -> Option<u16> {
    let at = row.iter().position(|one| *one == node)?;
    row.get(at + 1).copied()
}
