//! One policy out of several, that allows no more than each of them: an owner's, a site's, a
//! job's.
//!
//! Of each limit the tighter counts, of what must be kept out of all of it, of what must be kept
//! in what all agree on. What cannot be combined is an error and never a guess. The result is a
//! document like any other: it is read, checked, signed and put into force as one, and names
//! what it was made from by hash.
//!
//! # What to be kept in, of several
//! A document says "inside at least one of these". Two documents say it twice, which no list of
//! zones can. So the zones to be kept in stay as they are for one document; of each other one
//! the single zone to be kept in becomes its opposite, all around it to be kept out of. A
//! document with several, or with one that holds only at times or heights, cannot be turned
//! round; where there are two such, that is an error.

use crate::document::{DocumentError, MAX_COORDINATE_M, check_document};
use crate::footprint::Body;
use crate::zones::SLACK_M;
use nooterra_protocol::codec::{self, CodecError, Digest};
use nooterra_protocol::command::StopProfile;
use nooterra_protocol::geometry::Point;
use nooterra_protocol::ids::{RobotId, ZoneId};
use nooterra_protocol::policy::{
    BatteryReserve, Circle, Clear, Flight, Footprint, Freshness, Joint, Latches, Limits, Mode,
    MotionLimit, PolicyDocument, Proximity, Vehicle, Zone, ZoneRule,
};

/// Corners of the polygon in a circle that is turned round.
const CORNERS: u32 = 128;

/// Why policies cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A document has no form in bytes, and so no hash.
    #[error("`{policy}` cannot be hashed: {fault}")]
    Codec {
        /// Which document.
        policy: String,
        /// Why.
        fault: CodecError,
    },
    /// Values of which neither is the tighter.
    #[error("`{key}` of `{policy}` is not that of the policies before it; {advice}")]
    Differs {
        /// Where.
        key: &'static str,
        /// The document that does not fit.
        policy: String,
        /// What to do.
        advice: &'static str,
    },
    /// The tighter of all limits leave nothing between them, or too much was put together.
    #[error("merged, the policies make no sense: {0}")]
    Document(#[from] DocumentError),
    /// One of the documents makes no sense by itself.
    #[error("`{policy}`: {fault}")]
    Input {
        /// Which.
        policy: String,
        /// What is wrong with it.
        fault: DocumentError,
    },
    /// More than one document has zones to be kept in that cannot be turned round.
    #[error(
        "`{policy}` and a policy before it both have several zones to be kept in, or one that \
         holds only at times or heights; in all but one, draw a single polygon without"
    )]
    KeepIn {
        /// The document that does not fit.
        policy: String,
    },
    /// For different robots.
    #[error("`{policy}` is for robot {found}, the first is for {expected}; merge policies of one")]
    Robot {
        /// Of the first.
        expected: RobotId,
        /// Of this one.
        found: RobotId,
        /// Which document.
        policy: String,
    },
    /// The zone has a name that another has, and is too long to be given one of its own.
    #[error("zone `{zone}` of `{policy}` has the name of another; give it a name of its own")]
    ZoneName {
        /// Which document.
        policy: String,
        /// The name.
        zone: ZoneId,
    },
}

/// Merges `first`, whose name and version the result has, with `further` ones.
///
/// # Errors
/// [`MergeError`]: what cannot be combined is never guessed.
pub fn merge(
    first: &PolicyDocument,
    further: &[&PolicyDocument],
) -> Result<PolicyDocument, MergeError> {
    let mut merged_from = Vec::with_capacity(1 + further.len());
    for document in std::iter::once(&first).chain(further) {
        let policy = || document.id.to_string();
        check_document(document).map_err(|fault| MergeError::Input { policy: policy(), fault })?;
        let bytes = codec::to_vec(document)
            .map_err(|fault| MergeError::Codec { policy: policy(), fault })?;
        merged_from.push(Digest::of(&bytes));
    }
    let mut merged = first.clone();
    for document in further {
        merged = both(merged, document)?;
    }
    merged.merged_from = merged_from;
    check_document(&merged)?;
    Ok(merged)
}

fn both(merged: PolicyDocument, other: &PolicyDocument) -> Result<PolicyDocument, MergeError> {
    let differs = |key, advice| MergeError::Differs { key, policy: other.id.to_string(), advice };
    if merged.robot != other.robot {
        return Err(MergeError::Robot {
            expected: merged.robot,
            found: other.robot.clone(),
            policy: other.id.to_string(),
        });
    }
    let same = "write the same in both";
    if merged.footprint.outline != other.footprint.outline {
        return Err(differs("footprint.outline", same));
    }
    let (a, b) = (&merged, other);
    let limits = limits(&a.limits, &b.limits);
    let vehicle = vehicle(&a.vehicle, &b.vehicle).map_err(|key| differs(key, same))?;
    let stop = stop(a.stop, b.stop).ok_or_else(|| {
        differs("stop", "which of them is the safer depends on the robot: write the same in both")
    })?;
    let battery = match (a.battery, b.battery) {
        (Some(a), Some(b)) if a.home != b.home => return Err(differs("battery.home", same)),
        (Some(a), Some(b)) => Some(BatteryReserve {
            fraction_per_m: a.fraction_per_m.max(b.fraction_per_m),
            home: a.home,
            reserve: a.reserve.max(b.reserve),
        }),
        (a, b) => a.or(b),
    };
    let motion = either(a.motion, b.motion, |a, b| MotionLimit {
        max_s: a.max_s.min(b.max_s),
        rest_s: a.rest_s.max(b.rest_s),
    });
    let mut zones = zones(a, b)?;
    let mut masks = a.masks.clone();
    for mask in &b.masks {
        if !masks.contains(mask) {
            let mut mask = mask.clone();
            mask.id = free_name(&mask.id, other, |id| {
                masks.iter().any(|known| known.id == *id) || zones.iter().any(|zone| zone.id == *id)
            })?;
            masks.push(mask);
        }
    }
    // What the masks' names leave free.
    for zone in &mut zones {
        let id = zone.id.clone();
        zone.id = free_name(&id, other, |id| masks.iter().any(|mask| mask.id == *id))?;
    }
    let mut privacy = a.privacy.clone();
    for zone in &b.privacy {
        if !privacy.contains(zone) {
            let mut zone = zone.clone();
            zone.id = free_name(&zone.id, other, |id| {
                privacy.iter().any(|known| known.id == *id)
                    || zones.iter().any(|zone| zone.id == *id)
                    || masks.iter().any(|mask| mask.id == *id)
            })?;
            privacy.push(zone);
        }
    }
    Ok(PolicyDocument {
        battery,
        footprint: footprint(a, b, &limits),
        freshness: Freshness {
            command_ms: a.freshness.command_ms.min(b.freshness.command_ms),
            journal_ms: a.freshness.journal_ms.min(b.freshness.journal_ms),
            odometry_ms: a.freshness.odometry_ms.min(b.freshness.odometry_ms),
        },
        latches: Latches {
            emergency_stop: clear(a.latches.emergency_stop, b.latches.emergency_stop),
            veto: clear(a.latches.veto, b.latches.veto),
        },
        limits,
        masks,
        modes: modes(&a.modes, &b.modes, &limits),
        motion,
        privacy,
        proximity: either(a.proximity, b.proximity, proximity),
        stop,
        vehicle,
        zones,
        ..merged
    })
}

fn either<T>(a: Option<T>, b: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(both(a, b)),
        (a, b) => a.or(b),
    }
}

fn least(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    either(a, b, f64::min)
}

fn clear(a: Clear, b: Clear) -> Clear {
    if a == Clear::Released && b == Clear::Released { a } else { Clear::Acknowledged }
}

/// The safer of two stops, where one is: what brakes in the same way and then takes off power.
fn stop(a: StopProfile, b: StopProfile) -> Option<StopProfile> {
    use StopProfile::{ControlledHold, ControlledStopThenPowerOff};
    match (a, b) {
        (a, b) if a == b => Some(a),
        (ControlledHold, ControlledStopThenPowerOff)
        | (ControlledStopThenPowerOff, ControlledHold) => Some(ControlledStopThenPowerOff),
        _ => None,
    }
}

/// The larger margin. Where one may reverse and the other may not, the robot is judged by its
/// circle, and the discs of the one that may stick out no further than that.
fn footprint(a: &PolicyDocument, b: &PolicyDocument, limits: &Limits) -> Footprint {
    let outline = a.footprint.outline.clone();
    let mut margin_m = a.footprint.margin_m.max(b.footprint.margin_m);
    let reverses = |document: &PolicyDocument| document.limits.max_reverse_mps > 0.0;
    if reverses(a) != reverses(b) && limits.max_reverse_mps <= 0.0 {
        let plain = Footprint { margin_m: 0.0, outline: outline.clone() };
        let discs_m = Body::covering(&plain, SLACK_M).circle_m();
        margin_m += (discs_m - Body::circle(&plain, SLACK_M).circle_m()).max(0.0);
    }
    Footprint { margin_m, outline }
}

fn limits(a: &Limits, b: &Limits) -> Limits {
    Limits {
        max_angular_accel_radps2: a.max_angular_accel_radps2.min(b.max_angular_accel_radps2),
        max_angular_radps: a.max_angular_radps.min(b.max_angular_radps),
        max_decel_mps2: a.max_decel_mps2.min(b.max_decel_mps2),
        max_lateral_accel_mps2: least(a.max_lateral_accel_mps2, b.max_lateral_accel_mps2),
        max_linear_accel_mps2: a.max_linear_accel_mps2.min(b.max_linear_accel_mps2),
        max_linear_jerk_mps3: least(a.max_linear_jerk_mps3, b.max_linear_jerk_mps3),
        max_linear_mps: a.max_linear_mps.min(b.max_linear_mps),
        max_reverse_mps: a.max_reverse_mps.min(b.max_reverse_mps),
        reaction_ms: a.reaction_ms.max(b.reaction_ms),
    }
}

fn proximity(a: Proximity, b: Proximity) -> Proximity {
    Proximity {
        human_mps: a.human_mps.max(b.human_mps),
        intrusion_m: a.intrusion_m.max(b.intrusion_m),
        release_ms: a.release_ms.max(b.release_ms),
        sensor_ms: a.sensor_ms.min(b.sensor_ms),
        slow_m: a.slow_m.max(b.slow_m),
        slow_mps: a.slow_mps.min(b.slow_mps),
        stop_m: a.stop_m.max(b.stop_m),
        uncertainty_m: a.uncertainty_m.max(b.uncertainty_m),
    }
}

/// The vehicle with the tighter limits, or the key that differs.
fn vehicle(a: &Vehicle, b: &Vehicle) -> Result<Vehicle, &'static str> {
    Ok(match (a, b) {
        (
            Vehicle::Ackermann { max_steering_rad, max_steering_rate_radps, wheelbase_m },
            Vehicle::Ackermann {
                max_steering_rad: other_rad,
                max_steering_rate_radps: other_radps,
                wheelbase_m: other_m,
            },
        ) => {
            if wheelbase_m.to_bits() != other_m.to_bits() {
                return Err("vehicle.wheelbase_m");
            }
            Vehicle::Ackermann {
                max_steering_rad: max_steering_rad.min(*other_rad),
                max_steering_rate_radps: max_steering_rate_radps.min(*other_radps),
                wheelbase_m: *wheelbase_m,
            }
        }
        (Vehicle::Differential, Vehicle::Differential) => Vehicle::Differential,
        (
            Vehicle::Joints { joints, reaction_ms },
            Vehicle::Joints { joints: others, reaction_ms: other_ms },
        ) => {
            if joints.len() != others.len() {
                return Err("vehicle.joints");
            }
            Vehicle::Joints {
                joints: joints.iter().zip(others).map(|(a, b)| joint(a, b)).collect(),
                reaction_ms: *reaction_ms.max(other_ms),
            }
        }
        (Vehicle::Multirotor(a), Vehicle::Multirotor(b)) => Vehicle::Multirotor(Flight {
            land_after_s: least(a.land_after_s, b.land_after_s),
            max_altitude_m: a.max_altitude_m.min(b.max_altitude_m),
            max_climb_mps: a.max_climb_mps.min(b.max_climb_mps),
            max_descent_mps: a.max_descent_mps.min(b.max_descent_mps),
            max_tilt_rad: a.max_tilt_rad.min(b.max_tilt_rad),
            max_vertical_accel_mps2: a.max_vertical_accel_mps2.min(b.max_vertical_accel_mps2),
            min_altitude_m: a.min_altitude_m.max(b.min_altitude_m),
        }),
        (
            Vehicle::Omnidirectional { max_lateral_mps },
            Vehicle::Omnidirectional { max_lateral_mps: other },
        ) => Vehicle::Omnidirectional { max_lateral_mps: max_lateral_mps.min(*other) },
        _ => return Err("vehicle.type"),
    })
}

fn joint(a: &Joint, b: &Joint) -> Joint {
    Joint {
        max_accel: a.max_accel.min(b.max_accel),
        max_effort: least(a.max_effort, b.max_effort),
        max_position: a.max_position.min(b.max_position),
        max_velocity: a.max_velocity.min(b.max_velocity),
        min_position: a.min_position.max(b.min_position),
    }
}

/// Every mode of either. A gate takes a mode that it does not know for the strictest that it
/// does; so the merged one is as strict.
fn modes(a: &[Mode], b: &[Mode], limits: &Limits) -> Vec<Mode> {
    let strictest = |modes: &[Mode]| modes.iter().cloned().reduce(|a, b| mode(&a, &b));
    let in_other = |one: &Mode, others: &[Mode]| {
        others.iter().find(|other| other.id == one.id).cloned().or_else(|| strictest(others))
    };
    let of_a = a.iter().map(|one| in_other(one, b).map_or(one.clone(), |other| mode(one, &other)));
    let only_b = b.iter().filter(|one| a.iter().all(|other| other.id != one.id));
    let of_b = only_b.map(|one| strictest(a).map_or(one.clone(), |other| mode(one, &other)));
    of_a.chain(of_b).map(|mode| within(mode, limits)).collect()
}

fn mode(a: &Mode, b: &Mode) -> Mode {
    Mode {
        id: a.id.clone(),
        max_angular_radps: least(a.max_angular_radps, b.max_angular_radps),
        max_decel_mps2: least(a.max_decel_mps2, b.max_decel_mps2),
        max_linear_accel_mps2: least(a.max_linear_accel_mps2, b.max_linear_accel_mps2),
        max_linear_mps: least(a.max_linear_mps, b.max_linear_mps),
    }
}

/// A mode that was within its own limits, within the merged ones.
fn within(mode: Mode, limits: &Limits) -> Mode {
    let at_most = |value: Option<f64>, most: f64| value.map(|value| value.min(most));
    Mode {
        id: mode.id,
        max_angular_radps: at_most(mode.max_angular_radps, limits.max_angular_radps),
        max_decel_mps2: at_most(mode.max_decel_mps2, limits.max_decel_mps2),
        max_linear_accel_mps2: at_most(mode.max_linear_accel_mps2, limits.max_linear_accel_mps2),
        max_linear_mps: at_most(mode.max_linear_mps, limits.max_linear_mps),
    }
}

fn zones(a: &PolicyDocument, b: &PolicyDocument) -> Result<Vec<Zone>, MergeError> {
    let keep_ins = |document: &PolicyDocument| -> Vec<Zone> {
        let zones = document.zones.iter().filter(|zone| zone.rule == ZoneRule::KeepIn);
        zones.cloned().collect()
    };
    let (of_a, of_b) = (keep_ins(a), keep_ins(b));
    let mut zones: Vec<Zone> = a.zones.clone();
    let mut others: Vec<Zone> =
        b.zones.iter().filter(|zone| zone.rule != ZoneRule::KeepIn).cloned().collect();
    if of_a.is_empty() {
        others.extend(of_b);
    } else if !of_b.is_empty() && of_a != of_b {
        match (turned_round(&of_a), turned_round(&of_b)) {
            (_, Some(turned)) => others.extend(turned),
            (Some(turned), None) => {
                zones.retain(|zone| zone.rule != ZoneRule::KeepIn);
                zones.extend(turned);
                others.extend(of_b);
            }
            (None, None) => return Err(MergeError::KeepIn { policy: b.id.to_string() }),
        }
    }
    for mut zone in others {
        if zones.contains(&zone) {
            continue;
        }
        zone.id = free_name(&zone.id, b, |id| zones.iter().any(|known| known.id == *id))?;
        zones.push(zone);
    }
    Ok(zones)
}

/// What must be kept out of instead of kept in; `None` where there are several, or one that is
/// not always there.
fn turned_round(keep_ins: &[Zone]) -> Option<Vec<Zone>> {
    let [zone] = keep_ins else {
        return None;
    };
    if zone.altitude.is_some() || !zone.windows.is_empty() {
        return None;
    }
    let far = MAX_COORDINATE_M;
    let around = [(-far, -far), (far, -far), (far, far), (-far, far)];
    let inside = match zone.circle {
        // In it: what is cut off is lost to the robot, and never won.
        Some(Circle { center, radius_m }) => (0..CORNERS)
            .map(|corner| {
                let turn = std::f64::consts::TAU * f64::from(corner) / f64::from(CORNERS);
                let (sin, cos) = turn.sin_cos();
                Point::new(center.x + radius_m * cos, center.y + radius_m * sin)
            })
            .collect(),
        None => zone.polygon.clone(),
    };
    let outside = Zone {
        circle: None,
        holes: vec![inside],
        polygon: around.map(|(x, y)| Point::new(x, y)).to_vec(),
        rule: ZoneRule::KeepOut,
        ..zone.clone()
    };
    let holes = zone.holes.iter().map(|hole| Zone {
        holes: Vec::new(),
        polygon: hole.clone(),
        rule: ZoneRule::KeepOut,
        ..zone.clone()
    });
    Some(std::iter::once(outside).chain(holes).collect())
}

/// The name, or where it is taken the name with the policy's behind it, or with a number.
fn free_name(
    id: &ZoneId,
    policy: &PolicyDocument,
    taken: impl Fn(&ZoneId) -> bool,
) -> Result<ZoneId, MergeError> {
    if !taken(id) {
        return Ok(id.clone());
    }
    let others = (1..=128_u32).map(|count| match count {
        1 => format!("{id}-{}", policy.id),
        _ => format!("{id}-{}-{count}", policy.id),
    });
    others
        .filter_map(|name| ZoneId::new(name).ok())
        .find(|name| !taken(name))
        .ok_or_else(|| MergeError::ZoneName { policy: policy.id.to_string(), zone: id.clone() })
}
