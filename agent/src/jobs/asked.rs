//! What a skill asks for, as the control loop takes it, as people read it, and whether this robot
//! can do it at all.

use crate::control::{Goal, Lease};
use nooterra_protocol::skill::{Capability, SkillManifest};
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::Request;
use std::collections::BTreeSet;
use std::time::Duration;

/// A skill's request that is older than this is no wish any more. Before that, the policy's
/// own freshness has long brought the robot to rest.
const SKILL_LEASE: Duration = Duration::from_secs(2);

/// It is given leave to ask for motion.
pub(super) fn moves(granted: &BTreeSet<Capability>) -> bool {
    granted.contains(&Capability::Drive) || granted.contains(&Capability::Joints)
}

/// Why a skill can do nothing on a robot, where it is for another kind; for people.
pub(crate) fn misfit(manifest: &SkillManifest, is_arm: bool) -> Option<String> {
    let has = |capability| manifest.capabilities.contains(&capability);
    match is_arm {
        true if has(Capability::Drive) => {
            Some(format!("skill {} moves a base, and this robot is an arm", manifest.id))
        }
        false if has(Capability::Joints) => {
            Some(format!("skill {} moves an arm, and this robot has no joints", manifest.id))
        }
        _ => None,
    }
}

/// What a skill's request means for the control loop.
pub(crate) fn lease(renewed: MonoNanos, request: &Request) -> Option<Lease> {
    let goal = match *request {
        Request::Idle => return None,
        Request::Stop => Goal::Stand,
        Request::Drive(twist) => Goal::Drive(twist),
        Request::GoTo { speed_mps, to, yaw } => Goal::GoTo { speed_mps, to, yaw },
        Request::Gripper { opening_m, speed } => Goal::Gripper { opening_m, speed },
        Request::Joints { positions, speed } => Goal::Joints { positions, speed },
    };
    Some(Lease { goal, holds: false, renewed, until: renewed.plus(SKILL_LEASE) })
}

pub(crate) fn in_words(request: &Request) -> String {
    match request {
        Request::Idle => "nothing".to_owned(),
        Request::Stop => "stop".to_owned(),
        Request::Drive(twist) => {
            format!("drive {:.2} m/s, {:.2} rad/s", twist.linear, twist.angular)
        }
        Request::Gripper { opening_m, speed } => {
            format!("gripper to {opening_m:.3} m at {speed:.2} of its speed")
        }
        Request::Joints { positions, speed } => {
            let positions: Vec<String> =
                positions.as_slice().iter().map(|position| format!("{position:.3}")).collect();
            format!("joints to ({}) at {speed:.2} of their speed", positions.join(", "))
        }
        Request::GoTo { speed_mps, to, yaw: None } => {
            format!("go to ({:.2}, {:.2}) at {speed_mps:.2} m/s", to.x, to.y)
        }
        Request::GoTo { speed_mps, to, yaw: Some(yaw) } => {
            format!("go to ({:.2}, {:.2}) at {speed_mps:.2} m/s, face {yaw:.2} rad", to.x, to.y)
        }
    }
}
