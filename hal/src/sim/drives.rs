//! The drives: what a written twist becomes at the wheels.

use super::config::BaseConfig;
use super::orders::Order;
use nooterra_protocol::command::StopProfile;
use nooterra_protocol::geometry::Twist;

#[derive(Debug)]
pub(super) struct Drives {
    config: BaseConfig,
    /// What the wheels do now, were the floor endless.
    current: Twist,
}

impl Drives {
    pub(super) const fn new(config: BaseConfig) -> Self {
        Self { config, current: Twist::ZERO }
    }

    /// What the wheels do in one step under an order, or without power.
    pub(super) fn advance(&mut self, order: Order<Twist>, step_s: f64, powerless: bool) -> Twist {
        self.current = match order {
            _ if powerless => self.slow(self.config.coast_decel_mps2, step_s),
            Order::Set(twist) => self.approach(self.reachable(twist), step_s),
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
