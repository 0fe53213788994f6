//! Why the gate changed a wish: fixed in size, so that the tick allocates nothing.

use nooterra_protocol::entry::Rule;

/// One intervention. What was wished and what came out, the outcome of the tick says;
/// [`nooterra_protocol::entry::Verdict`] is the form of both in the journal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateVerdict {
    /// The limit, in the unit that the rule documents. For a zone that must not be left or
    /// entered: the clearance at this place, metres, negative when it is already violated.
    pub limit: f64,
    /// The rule that acted.
    pub rule: Rule,
    /// Which zone, for rules about zones; [`Gate::zone_id`](crate::Gate::zone_id) names it.
    pub zone: Option<u16>,
}

/// The interventions of one tick, at most one for each rule.
#[derive(Clone, Copy, Debug)]
pub struct Verdicts {
    items: [GateVerdict; Self::CAPACITY],
    len: usize,
}

impl Verdicts {
    /// One for each rule.
    pub const CAPACITY: usize = Rule::ALL.len();

    /// The verdicts in the order in which the rules acted.
    pub fn iter(&self) -> std::slice::Iter<'_, GateVerdict> {
        self.as_slice().iter()
    }

    /// The verdicts as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[GateVerdict] {
        &self.items[..self.len]
    }

    /// The wish went through unchanged.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many rules acted.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// No rule acted.
    #[must_use]
    pub const fn none() -> Self {
        const EMPTY: GateVerdict = GateVerdict { limit: 0.0, rule: Rule::InputNan, zone: None };
        Self { items: [EMPTY; Self::CAPACITY], len: 0 }
    }

    /// Only the first so many count.
    pub(crate) fn keep_first(&mut self, count: usize) {
        self.len = self.len.min(count);
    }

    /// Notes that a rule acted; a rule that already acted in this tick keeps its first note.
    pub(crate) fn note(&mut self, rule: Rule, limit: f64, zone: Option<u16>) {
        if self.len < Self::CAPACITY && self.iter().all(|verdict| verdict.rule != rule) {
            self.items[self.len] = GateVerdict { limit, rule, zone };
            self.len += 1;
        }
    }
}

impl<'a> IntoIterator for &'a Verdicts {
    type IntoIter = std::slice::Iter<'a, GateVerdict>;
    type Item = &'a GateVerdict;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_noted_once_and_every_rule_has_room() {
        let mut verdicts = Verdicts::none();
        for rule in Rule::ALL.into_iter().chain(Rule::ALL) {
            verdicts.note(rule, 1.0, None);
        }
        assert_eq!(verdicts.len(), Rule::ALL.len());
    }
}
