//! The drives: what a written twist becomes at the wheels, and when.

use super::WRITE_WATCHDOG;
use super::config::BaseConfig;
use nooterra_protocol::command::StopProfile;
use nooterra_protocol::geometry::Twist;
use nooterra_protocol::time::MonoNanos;
use std::collections::VecDeque;
use std::time::Duration;

/// Orders on their way to the wheels. At a full queue the oldest takes effect early: a base
/// that is written to more often than 64 times per reaction time is ahead of itself anyway.
const MOST_PENDING: usize = 64;

/// What the driver tells the drives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Order {
    Drive(Twist),
    Stop(StopProfile),
}

#[derive(Debug)]
pub(super) struct Base {
    /// Nobody wrote in time.
    abandoned: bool,
    config: BaseConfig,
    /// What the wheels do now, were the floor endless.
    current: Twist,
    last_order: Option<MonoNanos>,
    order: Order,
    pending: VecDeque<(MonoNanos, Order)>,
    power_cut: bool,
}

impl Base {
    pub(super) fn new(config: BaseConfig) -> Self {
        Self {
            abandoned: false,
            config,
            current: Twist::ZERO,
            last_order: None,
            order: Order::Stop(StopProfile::ControlledHold),
            pending: VecDeque::with_capacity(MOST_PENDING),
            power_cut: false,
        }
    }

    /// Takes an order that reaches the wheels after the reaction time.
    pub(super) fn order(&mut self, now: MonoNanos, order: Order) {
        self.last_order = Some(now);
        self.abandoned = false;
        if matches!(order, Order::Stop(_)) {
            // What was on its way is void: a stop is never overtaken by what it stops. One that
            // is on its way or in force stays, or a stop in every tick would never arrive.
            self.pending.retain(|(_, pending)| *pending == order);
            let newest = self.pending.back().map_or(self.order, |(_, newest)| *newest);
            if newest == order {
                return;
            }
        }
        if self.pending.len() == MOST_PENDING
            && let Some((_, early)) = self.pending.pop_front()
        {
            self.order = early;
        }
        let reaction = Duration::from_millis(u64::from(self.config.reaction_ms));
        self.pending.push_back((now.plus(reaction), order));
    }

    pub(super) fn cut_power(&mut self, cut: bool) {
        self.power_cut = cut;
        if cut {
            // Releasing the button alone moves nothing.
            self.pending.clear();
            self.order = Order::Stop(StopProfile::ImmediatePowerRemoval);
        }
    }

    pub(super) const fn is_power_cut(&self) -> bool {
        self.power_cut
    }

    pub(super) const fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// What the wheels do in the step that ends at `now`.
    pub(super) fn advance(&mut self, now: MonoNanos, step_s: f64, is_empty: bool) -> Twist {
        while let Some((due, order)) = self.pending.front().copied()
            && due <= now
        {
            self.order = order;
            self.pending.pop_front();
        }
        let silence = self.last_order.and_then(|last| now.since(last)).unwrap_or_default();
        if silence > WRITE_WATCHDOG && matches!(self.order, Order::Drive(_)) {
            self.abandoned = true;
            self.pending.clear();
            self.order = Order::Stop(StopProfile::ControlledHold);
        }
        let powerless = self.power_cut || is_empty;
        self.current = match self.order {
            _ if powerless => self.slow(self.config.coast_decel_mps2, step_s),
            Order::Drive(twist) => self.approach(self.reachable(twist), step_s),
            Order::Stop(StopProfile::ImmediatePowerRemoval) => {
                self.slow(self.config.coast_decel_mps2, step_s)
            }
            Order::Stop(_) => self.slow(self.config.max_decel_mps2, step_s),
        };
        self.current
    }

    /// The twist scaled by one ratio to what body and wheels can do.
    fn reachable(&self, twist: Twist) -> Twist {
        let wheel = twist.linear.abs() + twist.angular.abs() * self.config.track_m / 2.0;
        let ratio = |found: f64, most: f64| if found > most { most / found } else { 1.0 };
        twist.scaled(
            ratio(wheel, self.config.max_wheel_mps)
                .min(ratio(twist.linear.abs(), self.config.max_linear_mps))
                .min(ratio(twist.angular.abs(), self.config.max_angular_radps)),
        )
    }

    /// Each axis towards the target as fast as its drive allows.
    fn approach(&self, target: Twist, step_s: f64) -> Twist {
        let braking = self.current.linear * (target.linear - self.current.linear) < 0.0;
        let linear =
            if braking { self.config.max_decel_mps2 } else { self.config.max_linear_accel_mps2 };
        let towards = |from: f64, to: f64, most: f64| from + (to - from).clamp(-most, most);
        Twist::new(
            towards(self.current.linear, target.linear, linear * step_s),
            towards(
                self.current.angular,
                target.angular,
                self.config.max_angular_accel_radps2 * step_s,
            ),
        )
    }

    /// Both axes to zero together, the path keeping its curvature.
    fn slow(&self, decel_mps2: f64, step_s: f64) -> Twist {
        let seconds = (self.current.linear.abs() / decel_mps2)
            .max(self.current.angular.abs() / self.config.max_angular_accel_radps2);
        if seconds <= step_s { Twist::ZERO } else { self.current.scaled(1.0 - step_s / seconds) }
    }
}
