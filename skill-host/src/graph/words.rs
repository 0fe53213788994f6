//! A tree as people read it.

use super::document::Given;
use super::{Limit, Node, Tree};
use nooterra_protocol::plan::Param;
use std::fmt;

/// What a node is, by its key in the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NodeKind {
    /// `check`
    Check,
    /// `fallback`
    Fallback,
    /// `retry`
    Retry,
    /// `run`
    Run,
    /// `sequence`
    Sequence,
    /// `timeout_s` or `timeout_ticks`
    Timeout,
    /// `while`
    While,
}

/// A node, for whoever draws it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told<'t> {
    /// The numbers of those below it, in their order.
    pub below: &'t [u16],
    /// What it is.
    pub kind: NodeKind,
    /// As people read it, in one line.
    pub words: String,
}

/// With a line for each node, and lines that join them.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draw(f, 0, "", "")
    }
}

impl Tree {
    /// A node by its number, 0 for the root.
    #[must_use]
    pub fn told(&self, node: u16) -> Option<Told<'_>> {
        let kind = match self.nodes.get(usize::from(node))? {
            Node::Check(_) => NodeKind::Check,
            Node::Fallback(_) => NodeKind::Fallback,
            Node::Retry { .. } => NodeKind::Retry,
            Node::Run(_) => NodeKind::Run,
            Node::Sequence(_) => NodeKind::Sequence,
            Node::Timeout { .. } => NodeKind::Timeout,
            Node::While { .. } => NodeKind::While,
        };
        Some(Told { below: self.below(node), kind, words: self.words(node) })
    }

    fn draw(
        &self,
        f: &mut fmt::Formatter<'_>,
        node: u16,
        first: &str,
        others: &str,
    ) -> fmt::Result {
        write!(f, "{first}{}", self.words(node))?;
        let below = self.below(node);
        for (nth, child) in below.iter().enumerate() {
            let last = nth + 1 == below.len();
            let (joint, rest) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            f.write_str("\n")?;
            self.draw(f, *child, &format!("{others}{joint}"), &format!("{others}{rest}"))?;
        }
        Ok(())
    }

    fn words(&self, node: u16) -> String {
        match self.node(node) {
            Node::Check(condition) => format!("check that {condition}"),
            Node::Fallback(_) => "the first that succeeds of".to_owned(),
            Node::Retry { times, .. } => format!("until it succeeds, {times} times at most"),
            Node::Run(run) => {
                let params = run.params.iter().map(|(name, given)| match given {
                    Given::Plan { param } if param == name => format!("{name} of the plan"),
                    Given::Plan { param } => format!("{name} = {param} of the plan"),
                    Given::Value(value) => format!("{name} = {}", literal(value)),
                });
                let params = params.collect::<Vec<_>>().join(", ");
                let name =
                    if run.name == run.action { String::new() } else { format!("{}: ", run.name) };
                let keeps = if run.keeps { ", goes on where it was" } else { "" };
                format!("{name}run {}({params}){keeps}", run.action)
            }
            Node::Sequence(_) => "in order, each if the one before succeeds".to_owned(),
            Node::Timeout { limit: Limit::Ticks(ticks), .. } => {
                format!("within {ticks} observations")
            }
            Node::Timeout { limit: Limit::Time(limit), .. } => {
                format!("within {} s", limit.as_secs_f64())
            }
            Node::While { condition, .. } => format!("as long as {condition}"),
        }
    }
}

fn literal(value: &Param) -> String {
    match value {
        Param::Flag(flag) => flag.to_string(),
        Param::Number(number) => number.to_string(),
        Param::Points(points) => {
            let points = points.iter().map(|point| format!("({}, {})", point.x, point.y));
            points.collect::<Vec<_>>().join(" ")
        }
        Param::Text(text) => format!("{text:?}"),
    }
}
