//! What a driver tells its drives, and when it reaches them.

use super::WRITE_WATCHDOG;
use nooterra_protocol::command::StopProfile;
use nooterra_protocol::time::MonoNanos;
use std::collections::VecDeque;
use std::time::Duration;

/// Orders on their way to the drives. At a full queue the oldest takes effect early: a robot
/// that is written to more often than 64 times per reaction time is ahead of itself anyway.
const MOST_PENDING: usize = 64;

/// What the driver tells the drives; `S` is what a robot of this kind can be set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Order<S> {
    Set(S),
    Stop(StopProfile),
}

/// The orders of one robot: delayed, watched for silence, void without power.
#[derive(Debug)]
pub(super) struct Orders<S> {
    /// Nobody wrote in time.
    abandoned: bool,
    in_force: Order<S>,
    last_order: Option<MonoNanos>,
    pending: VecDeque<(MonoNanos, Order<S>)>,
    power_cut: bool,
    reaction: Duration,
}

impl<S: Copy + PartialEq> Orders<S> {
    pub(super) fn new(reaction_ms: u32) -> Self {
        Self {
            abandoned: false,
            in_force: Order::Stop(StopProfile::ControlledHold),
            last_order: None,
            pending: VecDeque::with_capacity(MOST_PENDING),
            power_cut: false,
            reaction: Duration::from_millis(u64::from(reaction_ms)),
        }
    }

    /// Takes an order that reaches the drives after the reaction time.
    pub(super) fn give(&mut self, now: MonoNanos, order: Order<S>) {
        self.last_order = Some(now);
        self.abandoned = false;
        if self.power_cut {
            // There is nobody to take it, and it is not kept for later.
            return;
        }
        if matches!(order, Order::Stop(_)) {
            // What was on its way is void: a stop is never overtaken by what it stops. One that
            // is on its way or in force stays, or a stop in every tick would never arrive.
            self.pending.retain(|(_, pending)| *pending == order);
            let newest = self.pending.back().map_or(self.in_force, |(_, newest)| *newest);
            if newest == order {
                return;
            }
        }
        if self.pending.len() == MOST_PENDING
            && let Some((_, early)) = self.pending.pop_front()
        {
            self.in_force = early;
        }
        self.pending.push_back((now.plus(self.reaction), order));
    }

    pub(super) fn cut_power(&mut self, cut: bool) {
        self.power_cut = cut;
        if cut {
            // Releasing the button alone moves nothing.
            self.pending.clear();
            self.in_force = Order::Stop(StopProfile::ImmediatePowerRemoval);
        }
    }

    pub(super) const fn is_power_cut(&self) -> bool {
        self.power_cut
    }

    pub(super) const fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// What the drives follow in the step that ends at `now`.
    pub(super) fn in_force(&mut self, now: MonoNanos) -> Order<S> {
        while let Some((due, order)) = self.pending.front().copied()
            && due <= now
        {
            self.in_force = order;
            self.pending.pop_front();
        }
        let silence = self.last_order.and_then(|last| now.since(last)).unwrap_or_default();
        if silence > WRITE_WATCHDOG && matches!(self.in_force, Order::Set(_)) {
            self.abandoned = true;
            self.pending.clear();
            self.in_force = Order::Stop(StopProfile::ControlledHold);
        }
        self.in_force
    }
}
