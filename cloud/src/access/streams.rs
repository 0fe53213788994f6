//! How many streams without an end a tenant follows at the same time. Each of them reads the store
//! after every commit, so a tenant that opened as many as there are connections would slow down all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The streams of all tenants.
#[derive(Debug)]
pub(crate) struct Streams {
    each: usize,
    open: Mutex<HashMap<String, usize>>,
}

/// One of them, as long as it is held.
#[derive(Debug)]
pub(crate) struct Followed {
    of: Arc<Streams>,
    who: String,
}

impl Streams {
    /// At most `each` of one tenant.
    pub(crate) fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, open: Mutex::default() })
    }

    /// How many a tenant may follow.
    pub(crate) const fn each(&self) -> usize {
        self.each
    }

    /// One more of `who`, unless that has them all.
    pub(crate) fn begin(self: &Arc<Self>, who: &str) -> Option<Followed> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(who.to_owned()).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Followed { of: self.clone(), who: who.to_owned() })
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut open = self.of.open.lock().unwrap_or_else(PoisonError::into_inner);
        let left = open.get_mut(&self.who).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            open.remove(&self.who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_and_what_ends_makes_room() {
        let streams = Streams::new(2);
        let held = ["a", "a", "b"].map(|who| streams.begin(who).unwrap());
        assert!(streams.begin("a").is_none());
        let b = streams.begin("b");
        assert!(b.is_some());
        drop(held);
        let again = ["a", "a"].map(|who| streams.begin(who).unwrap());
        drop((again, b));
        assert!(streams.open.lock().unwrap().is_empty());
    }
}
