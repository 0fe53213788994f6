//! Where the robot is, told to the authority: the zones of the policy that it touches.
//!
//! The rules are asked again only when the answer changes. A pose that is missing, too old by
//! the policy's own measure, or no place at all makes the zones unknown, which rules that forbid
//! with `unless` take for the worst.

use super::Authority;
use crate::clock::mono;
use crate::control::View;
use nooterra_policy::VerifiedPolicy;
use nooterra_policy::zones::Uncertainty;
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::observation::Observation;
use nooterra_protocol::time::MonoNanos;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The zones are looked up so often: a rule about a zone holds this much after it was entered.
pub const EVERY: Duration = Duration::from_millis(200);

/// The zones that the robot is in at `now`; `None` where that is not known.
#[must_use]
pub fn zones(
    policy: &VerifiedPolicy,
    seen: Option<&Observation>,
    now: MonoNanos,
) -> Option<BTreeSet<ZoneId>> {
    let pose = seen?.pose;
    let oldest = Duration::from_millis(u64::from(policy.document().freshness.odometry_ms));
    // One from a time to come is of a broken clock.
    if now.since(pose.at).is_none_or(|age| age > oldest) {
        return None;
    }
    policy.zones_at(pose.value, &Uncertainty::NONE)
}

/// Follows the robot until the runtime ends.
pub(crate) async fn follow(authority: Arc<Authority>, policy: VerifiedPolicy, view: Arc<View>) {
    let mut every = tokio::time::interval(EVERY);
    loop {
        every.tick().await;
        authority.stands_in(zones(&policy, view.observation().as_deref(), mono()));
    }
}
