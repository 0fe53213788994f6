//! Who is called now, so that whoever never answers holds up itself.
//!
//! There are two kinds of slots. Those for the prompt are for subscribers that took their last
//! call soon; a call that takes longer gives its slot back while it goes on. All others share the
//! slots for trials: those that were never called, and those that failed or were slow last time.
//! Tenants have their turns in each kind one after the other, however many subscribers they have.

use crate::store::webhooks::Due;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Calls at once of subscribers that are prompt.
const PROMPT: usize = 8;

/// Calls at once of all others.
const TRIALS: usize = 16;

/// Of them, those of one tenant: seven that never answer leave two slots.
pub(super) const TRIALS_OF_ONE: usize = 2;

/// Calls at once of one tenant. So many of its subscribers may fall silent at once and be waited
/// for until they have failed.
pub(super) const OF_ONE: usize = 4;

/// Calls at once in all. Those beyond `PROMPT` and `TRIALS` were prompt until this call: ten
/// tenants may fall silent at once.
const ALL: usize = 64;

/// Whether prompt, and the tenant.
type Key = (bool, String);

/// The calls that are under way, and whose turn is next.
#[derive(Debug, Default)]
pub(super) struct Slots {
    busy: HashMap<String, Busy>,
    /// When a tenant last had a turn, in either kind. There are as many as there are tenants.
    turns: HashMap<Key, u64>,
    turn: u64,
}

#[derive(Debug)]
struct Busy {
    /// It has a slot for trials, and not one that it lost by taking long.
    on_trial: bool,
    slot: Slot,
    tenant: String,
}

/// What a call has for as long as it is under way.
#[derive(Clone, Debug)]
pub(super) struct Slot(Arc<AtomicBool>);

impl Slot {
    /// It takes longer than a prompt one may: others need not wait for it.
    pub(super) fn is_slow(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_prompt(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Slots {
    /// Those of `due` that are called now. Of one tenant and kind, whoever comes first in it goes
    /// first.
    pub(super) fn take(&mut self, due: Vec<Due>) -> Vec<(Due, Slot)> {
        let mut of: HashMap<Key, VecDeque<Due>> = HashMap::new();
        let mut keys = Vec::new();
        for due in due.into_iter().filter(|due| !self.busy.contains_key(&due.id)) {
            let key = (due.prompt, due.tenant.clone());
            let own = of.entry(key.clone()).or_insert_with(|| {
                keys.push(key);
                VecDeque::new()
            });
            own.push_back(due);
        }
        // Whose tenant waits longest goes first, and then waits for all others.
        keys.sort_by_key(|key| self.turns.get(key).copied().unwrap_or(0));
        let (mut keys, mut taken) = (VecDeque::from(keys), Vec::new());
        while let Some(key) = keys.pop_front() {
            let Some(next) = of.get_mut(&key).and_then(VecDeque::pop_front) else { continue };
            if !self.is_room_for(&next) {
                continue;
            }
            let slot = Slot(Arc::new(AtomicBool::new(next.prompt)));
            let (on_trial, tenant) = (!next.prompt, next.tenant.clone());
            let busy = Busy { on_trial, slot: slot.clone(), tenant };
            self.busy.insert(next.id.clone(), busy);
            taken.push((next, slot));
            self.turn += 1;
            self.turns.insert(key.clone(), self.turn);
            keys.push_back(key);
        }
        taken
    }

    fn is_room_for(&self, due: &Due) -> bool {
        let count = |of: &dyn Fn(&Busy) -> bool| self.busy.values().filter(|busy| of(busy)).count();
        let own = |busy: &Busy| busy.tenant == due.tenant;
        let kind = |busy: &Busy| if due.prompt { busy.slot.is_prompt() } else { busy.on_trial };
        let of_kind = if due.prompt { PROMPT } else { TRIALS };
        let of_one = if due.prompt { OF_ONE } else { TRIALS_OF_ONE };
        self.busy.len() < ALL
            && count(&kind) < of_kind
            && count(&own) < OF_ONE
            && count(&|busy| own(busy) && kind(busy)) < of_one
    }

    /// The call to a subscriber is over.
    pub(super) fn free(&mut self, id: &str) {
        self.busy.remove(id);
    }

    /// No call is under way that is soon over.
    pub(super) fn waits_for_none(&self) -> bool {
        !self.busy.values().any(|busy| busy.slot.is_prompt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(tenant: &str, n: usize, prompt: bool) -> Due {
        let id = format!("{tenant}{n}");
        Due { id, prompt, secret: String::new(), tenant: tenant.to_owned(), url: String::new() }
    }

    fn ids(taken: &[(Due, Slot)]) -> Vec<&str> {
        taken.iter().map(|(due, _)| due.id.as_str()).collect()
    }

    #[test]
    fn who_was_prompt_and_falls_silent_takes_no_slot_of_the_newcomers() {
        let mut slots = Slots::default();
        for tenant in ["a", "b", "c", "d"] {
            let all = (0..OF_ONE).map(|n| due(tenant, n, true)).collect();
            let taken = slots.take(all);
            assert_eq!(taken.len(), OF_ONE);
            taken.iter().for_each(|(_, slot)| slot.is_slow());
        }
        assert_eq!(ids(&slots.take(vec![due("new", 0, false)])), ["new0"]);
    }

    #[test]
    fn who_is_being_called_is_not_called_beside_that() {
        let mut slots = Slots::default();
        let all = || vec![due("a", 0, false), due("a", 1, true)];
        assert_eq!(ids(&slots.take(all())), ["a0", "a1"]);
        assert_eq!(ids(&slots.take(all())), [""; 0]);
        slots.free("a1");
        assert_eq!(ids(&slots.take(all())), ["a1"]);
    }

    #[test]
    fn seven_tenants_that_never_answer_leave_room_for_a_newcomer_and_any_number_for_the_prompt() {
        let mut slots = Slots::default();
        let of = |tenants: std::ops::Range<u32>| -> Vec<Due> {
            let names = tenants.map(|tenant| format!("t{tenant}."));
            names.flat_map(|tenant| (0..100).map(move |n| due(&tenant, n, false))).collect()
        };
        assert_eq!(slots.take(of(0..7)).len(), 7 * TRIALS_OF_ONE);
        assert_eq!(ids(&slots.take(vec![due("new", 0, false)])), ["new0"]);
        slots.free("new0");
        assert_eq!(slots.take(of(0..200)).len(), TRIALS_OF_ONE);
        assert_eq!(ids(&slots.take(vec![due("new", 0, false)])), [""; 0]);
        assert_eq!(ids(&slots.take(vec![due("good", 0, true)])), ["good0"]);
    }

    #[test]
    fn whoever_falls_silent_gives_the_slot_back_and_its_tenant_has_no_other() {
        let mut slots = Slots::default();
        let mut all = 0;
        for tenant in 0..20 {
            let tenant = format!("t{tenant}.");
            let taken = slots.take((0..9).map(|n| due(&tenant, n, true)).collect());
            assert!(taken.len() <= OF_ONE);
            all += taken.len();
            if tenant == "t2." {
                // The others have all slots for a moment.
                assert!(taken.is_empty());
                break;
            }
            // Not even a trial beside them.
            assert!(slots.take(vec![due(&tenant, 9, false)]).is_empty());
        }
        assert_eq!(all, PROMPT);
        let mut slots = Slots::default();
        for tenant in 0..20 {
            let tenant = format!("t{tenant}.");
            let taken = slots.take((0..9).map(|n| due(&tenant, n, true)).collect());
            assert_eq!(taken.len(), if all < ALL + PROMPT { OF_ONE } else { 0 });
            all += taken.len();
            taken.iter().for_each(|(_, slot)| slot.is_slow());
            assert!(slots.waits_for_none());
        }
        assert_eq!(slots.busy.len(), ALL);
        let all: Vec<_> = slots.busy.keys().cloned().collect();
        all.iter().for_each(|id| slots.free(id));
        assert_eq!(ids(&slots.take(vec![due("good", 0, true)])), ["good0"]);
        assert!(!slots.waits_for_none());
    }

    #[test]
    fn each_tenant_waits_for_every_other_once_however_many_subscribers_they_have() {
        let mut slots = Slots::default();
        // What is waiting in each look: a hundred subscribers of thirty tenants, all silent, and
        // the one of the last.
        let look = |round: usize| -> Vec<Due> {
            let mut due: Vec<Due> = (0..30)
                .flat_map(|tenant| {
                    let tenant = format!("t{tenant}.");
                    (0..100).map(move |n| due(&tenant, round * 1000 + n, false))
                })
                .collect();
            due.push(self::due("new", 0, false));
            due
        };
        let rounds = (0..30).take_while(|round| {
            let taken = slots.take(look(*round));
            let there = ids(&taken).contains(&"new0");
            // Each of them is waited for until it has failed.
            taken.iter().for_each(|(due, _)| slots.free(&due.id));
            !there
        });
        assert!(rounds.count() <= 30 / TRIALS);
    }
}
