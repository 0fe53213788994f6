//! What kind of robot a document is for, and whether what it says fits that kind.

use super::{DocumentError, check_name_of, range};
use nooterra_protocol::command::{MAX_JOINTS, StopProfile};
use nooterra_protocol::policy::{
    BatteryReserve, Flight, Footprint, Joint, Limits, Mode, MotionLimit, PolicyDocument, Proximity,
    Vehicle,
};
use std::collections::BTreeMap;

/// The most modes of a policy.
pub const MAX_MODES: usize = 16;

/// Checks vehicle, modes, and everything that depends on them.
pub(super) fn check(document: &PolicyDocument) -> Result<(), DocumentError> {
    check_vehicle(document)?;
    check_stop(document)?;
    check_modes(document)?;
    if let Some(BatteryReserve { fraction_per_m, home, reserve }) = document.battery {
        range("battery.fraction_per_m", fraction_per_m, 0.0, 1.0, "of the charge for a metre")?;
        range("battery.home.x", home.x, -100_000.0, 100_000.0, "m")?;
        range("battery.home.y", home.y, -100_000.0, 100_000.0, "m")?;
        range("battery.reserve", reserve, 0.0, 1.0, "of the charge")?;
    }
    if let Some(MotionLimit { max_s, rest_s }) = document.motion {
        range("motion.max_s", max_s, 1.0, 1e6, "s")?;
        range("motion.rest_s", rest_s, 0.0, 1e6, "s")?;
    }
    document.proximity.map_or(Ok(()), check_proximity)
}

fn check_vehicle(document: &PolicyDocument) -> Result<(), DocumentError> {
    match &document.vehicle {
        Vehicle::Ackermann { max_steering_rad, max_steering_rate_radps, wheelbase_m } => {
            range("vehicle.max_steering_rad", *max_steering_rad, 0.01, 1.4, "rad")?;
            let rate = *max_steering_rate_radps;
            range("vehicle.max_steering_rate_radps", rate, 0.01, 20.0, "rad/s")?;
            range("vehicle.wheelbase_m", *wheelbase_m, 0.05, 20.0, "m")
        }
        Vehicle::Differential => Ok(()),
        Vehicle::Joints { joints, reaction_ms } => {
            range("vehicle.reaction_ms", f64::from(*reaction_ms), 0.0, 1_000.0, "ms")?;
            check_stands(document)?;
            check_joints(joints)
        }
        Vehicle::Multirotor(flight) => check_flight(flight),
        Vehicle::Omnidirectional { max_lateral_mps } => {
            range("vehicle.max_lateral_mps", *max_lateral_mps, 0.01, 30.0, "m/s")
        }
    }
}

/// What holds for what moves about says nothing of an arm that stands where it stands; an owner
/// who writes it expects something of it.
fn check_stands(document: &PolicyDocument) -> Result<(), DocumentError> {
    let written = [
        ("battery", document.battery.is_some()),
        ("footprint", document.footprint != Footprint::default()),
        ("limits", document.limits != Limits::default()),
        ("masks", !document.masks.is_empty()),
        ("modes", !document.modes.is_empty()),
        ("privacy", !document.privacy.is_empty()),
        ("proximity", document.proximity.is_some()),
        ("zones", !document.zones.is_empty()),
    ];
    match written.into_iter().find(|(_, written)| *written) {
        Some((key, _)) => Err(DocumentError::Meaningless { key }),
        None => Ok(()),
    }
}

fn check_joints(joints: &[Joint]) -> Result<(), DocumentError> {
    if joints.is_empty() || joints.len() > MAX_JOINTS {
        return Err(DocumentError::Joints { found: joints.len() });
    }
    for (index, joint) in joints.iter().enumerate() {
        let key = |field: &str| format!("vehicle.joints[{index}].{field}");
        range(&key("max_accel"), joint.max_accel, 1e-3, 1e3, "rad/s² or m/s²")?;
        range(&key("max_velocity"), joint.max_velocity, 1e-3, 100.0, "rad/s or m/s")?;
        range(&key("min_position"), joint.min_position, -1e4, 1e4, "rad or m")?;
        range(&key("max_position"), joint.max_position, -1e4, 1e4, "rad or m")?;
        if let Some(effort) = joint.max_effort {
            range(&key("max_effort"), effort, 1e-3, 1e6, "N·m or N")?;
        }
        if joint.min_position >= joint.max_position {
            return Err(DocumentError::Inverted {
                high: key("max_position"),
                low: key("min_position"),
            });
        }
    }
    Ok(())
}

fn check_flight(flight: &Flight) -> Result<(), DocumentError> {
    if let Some(after) = flight.land_after_s {
        range("vehicle.land_after_s", after, 0.0, 3_600.0, "s")?;
    }
    range("vehicle.max_altitude_m", flight.max_altitude_m, 0.5, 10_000.0, "m")?;
    range("vehicle.max_climb_mps", flight.max_climb_mps, 0.01, 30.0, "m/s")?;
    range("vehicle.max_descent_mps", flight.max_descent_mps, 0.01, 30.0, "m/s")?;
    range("vehicle.max_tilt_rad", flight.max_tilt_rad, 0.01, 1.4, "rad")?;
    let accel = flight.max_vertical_accel_mps2;
    range("vehicle.max_vertical_accel_mps2", accel, 0.05, 50.0, "m/s²")?;
    range("vehicle.min_altitude_m", flight.min_altitude_m, 0.0, 10_000.0, "m")?;
    if flight.min_altitude_m >= flight.max_altitude_m {
        let key = |field: &str| format!("vehicle.{field}");
        return Err(DocumentError::Inverted {
            high: key("max_altitude_m"),
            low: key("min_altitude_m"),
        });
    }
    Ok(())
}

/// A stop that this kind of robot survives.
fn check_stop(document: &PolicyDocument) -> Result<(), DocumentError> {
    let flies = matches!(document.vehicle, Vehicle::Multirotor(_));
    match document.stop {
        StopProfile::ControlledHold => Ok(()),
        StopProfile::Land if flies => Ok(()),
        StopProfile::Land => Err(DocumentError::StopOnGround),
        StopProfile::ControlledStopThenPowerOff | StopProfile::ImmediatePowerRemoval if flies => {
            Err(DocumentError::StopInTheAir)
        }
        StopProfile::ControlledStopThenPowerOff | StopProfile::ImmediatePowerRemoval => Ok(()),
    }
}

fn check_modes(document: &PolicyDocument) -> Result<(), DocumentError> {
    let modes = &document.modes;
    if modes.len() > MAX_MODES {
        let (found, most) = (modes.len(), MAX_MODES);
        return Err(DocumentError::TooMany { key: "modes", what: "modes", found, most });
    }
    let limits = &document.limits;
    let mut names = BTreeMap::new();
    for (index, mode) in modes.iter().enumerate() {
        check_name_of(&mode.id, format!("modes[{index}].id"), &mut names)
            .map_err(|(key, first)| DocumentError::RepeatedMode { key, first })?;
        let Mode {
            max_angular_radps, max_decel_mps2, max_linear_accel_mps2, max_linear_mps, ..
        } = *mode;
        for (field, found, least, most, unit) in [
            ("max_angular_radps", max_angular_radps, 0.01, limits.max_angular_radps, "rad/s"),
            ("max_decel_mps2", max_decel_mps2, 0.05, limits.max_decel_mps2, "m/s²"),
            (
                "max_linear_accel_mps2",
                max_linear_accel_mps2,
                0.01,
                limits.max_linear_accel_mps2,
                "m/s²",
            ),
            ("max_linear_mps", max_linear_mps, 0.01, limits.max_linear_mps, "m/s"),
        ] {
            let key = || format!("modes[{index}].{field}");
            match found {
                Some(found) if found > most => {
                    return Err(DocumentError::Loosens { key: key(), found, most, unit });
                }
                Some(found) => range(&key(), found, least, most, unit)?,
                None => {}
            }
        }
    }
    Ok(())
}

fn check_proximity(proximity: Proximity) -> Result<(), DocumentError> {
    range("proximity.human_mps", proximity.human_mps, 0.0, 10.0, "m/s")?;
    range("proximity.intrusion_m", proximity.intrusion_m, 0.0, 2.0, "m")?;
    range("proximity.release_ms", f64::from(proximity.release_ms), 0.0, 60_000.0, "ms")?;
    range("proximity.sensor_ms", f64::from(proximity.sensor_ms), 1.0, 2_000.0, "ms")?;
    range("proximity.slow_m", proximity.slow_m, 0.0, 100.0, "m")?;
    range("proximity.slow_mps", proximity.slow_mps, 0.01, 30.0, "m/s")?;
    range("proximity.stop_m", proximity.stop_m, 0.0, 100.0, "m")?;
    range("proximity.uncertainty_m", proximity.uncertainty_m, 0.0, 5.0, "m")?;
    if proximity.slow_m < proximity.stop_m {
        let key = |field: &str| format!("proximity.{field}");
        return Err(DocumentError::Inverted { high: key("slow_m"), low: key("stop_m") });
    }
    Ok(())
}
