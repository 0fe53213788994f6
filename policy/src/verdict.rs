//! Why the gate changed a wish: fixed in size, so that the tick allocates nothing.

use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Twist;

/// One intervention. [`nooterra_protocol::entry::Verdict`] is its form in the journal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateVerdict {
    /// What went to the robot, all rules applied.
    pub allowed: Twist,
    /// What the source in charge wished; may hold numbers that are none.
    pub asked: Twist,
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

    pub(crate) const fn none() -> Self {
        const EMPTY: GateVerdict = GateVerdict {
            allowed: Twist::ZERO,
            asked: Twist::ZERO,
            limit: 0.0,
            rule: Rule::InputNan,
            zone: None,
        };
        Self { items: [EMPTY; Self::CAPACITY], len: 0 }
    }

    /// Notes that a rule acted; a rule that already acted in this tick keeps its first note.
    pub(crate) fn note(&mut self, rule: Rule, limit: f64, zone: Option<u16>) {
        if self.len < Self::CAPACITY && self.iter().all(|verdict| verdict.rule != rule) {
            self.items[self.len] =
                GateVerdict { allowed: Twist::ZERO, asked: Twist::ZERO, limit, rule, zone };
            self.len += 1;
        }
    }

    /// Writes into all what was wished and what came out in the end.
    pub(crate) fn seal(&mut self, asked: Twist, allowed: Twist) {
        for verdict in &mut self.items[..self.len] {
            verdict.asked = asked;
            verdict.allowed = allowed;
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
        verdicts.seal(Twist::new(2.0, 0.0), Twist::new(1.0, 0.0));
        assert_eq!(verdicts.len(), Rule::ALL.len());
        assert!(verdicts.iter().all(|verdict| verdict.asked == Twist::new(2.0, 0.0)));
    }
}
