//! Which zones a robot is in: for rules about who may ask for what in which zone. Never asked on
//! the tick.

use crate::verified::VerifiedPolicy;
use crate::zones::Uncertainty;
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::ZoneId;
use std::collections::BTreeSet;

impl VerifiedPolicy {
    /// The zones that any part of the robot, margin and uncertainty counted, touches at a pose;
    /// `None` where the pose is no place.
    #[must_use]
    pub fn zones_at(&self, pose: Pose, unsure: &Uncertainty) -> Option<BTreeSet<ZoneId>> {
        if !(pose.x.is_finite() && pose.y.is_finite() && pose.yaw.is_finite()) {
            return None;
        }
        let touches = |index: &u16| {
            // Asked as a zone to keep out of, whatever its rule: from its outside.
            let clearance_m = self.zones().clearance_m(Rule::ZoneKeepOut, *index, pose, unsure);
            !clearance_m.is_finite() || clearance_m <= 0.0
        };
        let zones = self.zone_ids().iter().zip(0_u16..);
        let touched = zones.filter(|(_, index)| touches(index));
        Some(touched.map(|(id, _)| id.clone()).collect())
    }
}
