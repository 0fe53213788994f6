//! Which journal records to send next: one cursor and one pace per priority class.
//!
//! Pure bookkeeping, without network: the session asks what is due and says what was sent
//! and acknowledged.

use nooterra_protocol::entry::Class;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Batches that may be under way at once. The MQTT window is larger, so the library never
/// holds one back.
pub(super) const WINDOW: usize = 8;

/// A batch that the cloud has not acknowledged for so long means a dead peer.
const ACK_WITHIN: Duration = Duration::from_secs(30);

/// Between two batches of a class that are not full: critical at once, the rest gathered.
const fn pace(class: Class) -> Duration {
    match class {
        Class::Critical => Duration::ZERO,
        Class::Normal => Duration::from_millis(100),
        Class::Bulk => Duration::from_millis(1000),
    }
}

#[derive(Debug)]
struct Lane {
    class: Class,
    last_sent: Option<Instant>,
    sent_through: u64,
}

#[derive(Debug)]
struct Batch {
    class: Class,
    sent_at: Instant,
    through_seq: u64,
}

/// The cursors of one connection.
#[derive(Debug)]
pub(super) struct Uplink {
    lanes: [Lane; 3],
    under_way: VecDeque<Batch>,
}

impl Uplink {
    /// Begins after what is acknowledged.
    pub(super) fn new(acked: impl Fn(Class) -> u64) -> Self {
        let lanes =
            Class::ALL.map(|class| Lane { class, last_sent: None, sent_through: acked(class) });
        Self { lanes, under_way: VecDeque::new() }
    }

    /// The most urgent class that may send now, with its cursor.
    pub(super) fn due(&self, now: Instant, skip: impl Fn(Class) -> bool) -> Option<(Class, u64)> {
        if self.under_way.len() >= WINDOW {
            return None;
        }
        let due = |lane: &&Lane| {
            let waited = |sent: Instant| now.duration_since(sent) >= pace(lane.class);
            !skip(lane.class) && lane.last_sent.is_none_or(waited)
        };
        self.lanes.iter().find(due).map(|lane| (lane.class, lane.sent_through))
    }

    /// When the next class that waits for its pace may send.
    pub(super) fn next_due(&self, now: Instant) -> Instant {
        let later = |lane: &Lane| lane.last_sent.map(|sent| sent + pace(lane.class));
        let ahead = self.lanes.iter().filter_map(later).filter(|due| *due > now);
        ahead.min().unwrap_or(now + pace(Class::Bulk))
    }

    /// A batch left. Behind a full one there is more, which need not wait.
    pub(super) fn sent(&mut self, class: Class, through_seq: u64, full: bool, now: Instant) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.class == class) {
            lane.last_sent = (!full).then_some(now);
            lane.sent_through = through_seq;
        }
        self.under_way.push_back(Batch { class, sent_at: now, through_seq });
    }

    /// The cloud holds everything of `class` through `through_seq`. False when that was never
    /// sent: a confused peer, whose word must not move the cursor.
    pub(super) fn acknowledged(&mut self, class: Class, through_seq: u64) -> bool {
        let sent = self.lanes.iter().any(|l| l.class == class && l.sent_through >= through_seq);
        if sent {
            self.under_way.retain(|b| b.class != class || b.through_seq > through_seq);
        }
        sent
    }

    /// The peer takes batches and acknowledges none.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        let late = |batch: &Batch| now.duration_since(batch.sent_at) > ACK_WITHIN;
        self.under_way.front().is_some_and(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_class_goes_first_and_bulk_waits_for_its_pace() {
        let now = Instant::now();
        let mut uplink = Uplink::new(|_| 7);
        assert_eq!(uplink.due(now, |_| false), Some((Class::Critical, 7)));
        let empty = |class| class == Class::Critical || class == Class::Normal;
        assert_eq!(uplink.due(now, empty), Some((Class::Bulk, 7)));
        uplink.sent(Class::Bulk, 9, false, now);
        assert_eq!(uplink.due(now, empty), None);
        assert_eq!(uplink.due(now + Duration::from_secs(1), empty), Some((Class::Bulk, 9)));
    }

    #[test]
    fn a_backlog_does_not_wait_for_the_pace() {
        let now = Instant::now();
        let mut uplink = Uplink::new(|_| 0);
        let others_empty = |class| class != Class::Bulk;
        uplink.sent(Class::Bulk, 90, true, now);
        assert_eq!(uplink.due(now, others_empty), Some((Class::Bulk, 90)));
        uplink.sent(Class::Bulk, 95, false, now);
        assert_eq!(uplink.due(now, others_empty), None);
    }

    #[test]
    fn the_window_bounds_what_is_under_way_and_an_acknowledgement_opens_it() {
        let now = Instant::now();
        let mut uplink = Uplink::new(|_| 0);
        for seq in 1..=WINDOW as u64 {
            uplink.sent(Class::Critical, seq, false, now);
        }
        assert_eq!(uplink.due(now, |_| false), None);
        assert!(uplink.is_stuck(now + Duration::from_secs(31)));
        assert!(uplink.acknowledged(Class::Critical, 3));
        assert!(uplink.due(now, |_| false).is_some());
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_moves_nothing() {
        let mut uplink = Uplink::new(|_| 5);
        assert!(!uplink.acknowledged(Class::Normal, 6));
        assert!(uplink.acknowledged(Class::Normal, 5));
    }
}
