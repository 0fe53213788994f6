//! Whether a policy document makes sense: what is checked before any gate is built from it.

mod fault;
mod region;
mod robot;

pub use fault::DocumentError;
pub(crate) use region::check_privacy_shapes;
pub use region::{MAX_PRIVACY_ZONES, MAX_WINDOWS};
pub use robot::MAX_MODES;

use crate::conditions::Conditions;
use crate::mask::MAX_LIMITS;
use crate::polygon::{Fault, Polygon, concave_corner};
use crate::verified::body_of;
use crate::zones::{Shape, ZoneMap};
use nooterra_protocol::geometry::Point;
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::policy::{
    Circle, Footprint, Freshness, Limits, Mask, MaskRule, PolicyDocument, Vehicle, Zone, ZoneRule,
};
use std::collections::BTreeMap;

/// The most zones of a policy, those of its masks included: a speed mask is one zone for each
/// of its limits.
pub const MAX_ZONES: usize = 128;

/// The most masks of a policy.
pub const MAX_MASKS: usize = 8;

/// The lowest limit of a speed zone, m/s.
pub const LEAST_SPEED_MPS: f64 = 0.01;

/// The most corners of one zone.
pub const MAX_ZONE_CORNERS: usize = 100_000;

/// The most corners of all zones together.
pub const MAX_CORNERS: usize = 200_000;

/// The most corners of a footprint.
pub const MAX_FOOTPRINT_CORNERS: usize = 64;

/// The furthest that a corner may be from the map's origin, metres; beyond it a `f64` still
/// resolves nanometres, a surveyor's slip of three digits does not pass.
pub const MAX_COORDINATE_M: f64 = 100_000.0;

/// The oldest uncommitted verdict under which the robot may move, milliseconds.
pub const MAX_JOURNAL_MS: u32 = 100;

/// Checks what the types do not hold.
///
/// # Errors
/// The first [`DocumentError`] in the order of the document's keys.
pub fn check_document(document: &PolicyDocument) -> Result<(), DocumentError> {
    check(document).map(drop)
}

/// Checks what [`check_document`] does, and that the zones leave the robot a place to stand. It
/// is searched for, within bounds: a policy that leaves a nook somewhere may be refused. For an
/// owner's tools; a robot goes by the signed policy. Masks are not looked at.
///
/// # Errors
/// As [`check_document`], and [`DocumentError::NoRoom`].
pub fn check_room(document: &PolicyDocument) -> Result<(), DocumentError> {
    let areas = check(document)?;
    if areas.is_empty() {
        return Ok(());
    }
    let mut zones = ZoneMap::new(body_of(document), areas);
    // What is not always closed may leave no room while it is.
    let permits = |zone: &Zone| zone.rule == ZoneRule::KeepIn;
    let open =
        document.zones.iter().enumerate().fold(0, |bits, (index, zone)| {
            if permits(zone) { bits | 1_u128 << index } else { bits }
        });
    zones.select(open | Conditions::new(&document.zones, document).unconditional());
    if zones.has_room() { Ok(()) } else { Err(DocumentError::NoRoom) }
}

/// Checks a document and makes the shapes of its zones on the way.
pub(crate) fn check(document: &PolicyDocument) -> Result<Vec<(ZoneRule, Shape)>, DocumentError> {
    check_freshness(&document.freshness)?;
    if !matches!(document.vehicle, Vehicle::Joints { .. }) {
        check_footprint(&document.footprint)?;
        check_limits(&document.limits)?;
    }
    robot::check(document)?;
    let mut names = BTreeMap::new();
    check_masks(&document.masks, &mut names)?;
    let areas = check_zones(&document.zones, &mut names)?;
    region::check(document)?;
    for (index, zone) in document.privacy.iter().enumerate() {
        check_name(&zone.id, format!("privacy[{index}].id"), &mut names)?;
    }
    check_privacy_shapes(document)?;
    let zones = document.masks.iter().map(|mask| match mask.rule {
        MaskRule::KeepOut => 1,
        MaskRule::Speed { .. } => MAX_LIMITS,
    });
    let found = areas.len() + zones.sum::<usize>();
    if found > MAX_ZONES {
        return Err(DocumentError::TooMany { key: "zones", what: "zones", found, most: MAX_ZONES });
    }
    Ok(areas)
}

/// Which zone or mask has a name already, by its key.
type Names<'a> = BTreeMap<&'a ZoneId, String>;

fn check_name<'a>(id: &'a ZoneId, key: String, names: &mut Names<'a>) -> Result<(), DocumentError> {
    check_name_of(id, key, names).map_err(|(key, first)| DocumentError::RepeatedZone {
        key,
        id: id.clone(),
        first,
    })
}

/// Takes a name, or says under which key it stands already.
fn check_name_of<'a, T: Ord>(
    id: &'a T,
    key: String,
    names: &mut BTreeMap<&'a T, String>,
) -> Result<(), (String, String)> {
    match names.get(id) {
        Some(first) => Err((key, first.clone())),
        None => {
            names.insert(id, key);
            Ok(())
        }
    }
}

fn check_masks<'a>(masks: &'a [Mask], names: &mut Names<'a>) -> Result<(), DocumentError> {
    if masks.len() > MAX_MASKS {
        let (found, most) = (masks.len(), MAX_MASKS);
        return Err(DocumentError::TooMany { key: "masks", what: "masks", found, most });
    }
    for (index, mask) in masks.iter().enumerate() {
        check_name(&mask.id, format!("masks[{index}].id"), names)?;
        if let MaskRule::Speed { base_percent, multiplier } = mask.rule {
            let key = |field| format!("masks[{index}].rule.{field}");
            range(&key("base_percent"), base_percent, -1_000.0, 1_000.0, "%")?;
            range(&key("multiplier"), multiplier, -100.0, 100.0, "% for each step")?;
        }
    }
    Ok(())
}

fn check_footprint(footprint: &Footprint) -> Result<(), DocumentError> {
    range("footprint.margin_m", footprint.margin_m, 0.0, 5.0, "m")?;
    let key = "footprint.outline";
    let outline = check_polygon(key, &footprint.outline, MAX_FOOTPRINT_CORNERS, 50.0)?;
    if let Some(corner) = concave_corner(&footprint.outline) {
        return Err(DocumentError::NotConvex { key: key.to_owned(), corner });
    }
    if outline.signed_distance(Point::default()) > 0.0 {
        return Err(DocumentError::Origin { key: key.to_owned() });
    }
    Ok(())
}

fn check_freshness(freshness: &Freshness) -> Result<(), DocumentError> {
    let Freshness { command_ms, journal_ms, odometry_ms } = *freshness;
    range("freshness.command_ms", f64::from(command_ms), 1.0, 5_000.0, "ms")?;
    let most = f64::from(MAX_JOURNAL_MS);
    range("freshness.journal_ms", f64::from(journal_ms), 1.0, most, "ms")?;
    range("freshness.odometry_ms", f64::from(odometry_ms), 1.0, 1_000.0, "ms")
}

fn check_limits(limits: &Limits) -> Result<(), DocumentError> {
    let turn = limits.max_angular_accel_radps2;
    range("limits.max_angular_accel_radps2", turn, 0.01, 200.0, "rad/s²")?;
    range("limits.max_angular_radps", limits.max_angular_radps, 0.01, 20.0, "rad/s")?;
    range("limits.max_decel_mps2", limits.max_decel_mps2, 0.05, 50.0, "m/s²")?;
    if let Some(across) = limits.max_lateral_accel_mps2 {
        range("limits.max_lateral_accel_mps2", across, 0.01, 50.0, "m/s²")?;
    }
    if let Some(jerk) = limits.max_linear_jerk_mps3 {
        range("limits.max_linear_jerk_mps3", jerk, 0.01, 1_000.0, "m/s³")?;
    }
    range("limits.max_linear_accel_mps2", limits.max_linear_accel_mps2, 0.01, 50.0, "m/s²")?;
    range("limits.max_linear_mps", limits.max_linear_mps, 0.01, 30.0, "m/s")?;
    range("limits.max_reverse_mps", limits.max_reverse_mps, 0.0, 30.0, "m/s")?;
    range("limits.reaction_ms", f64::from(limits.reaction_ms), 0.0, 1_000.0, "ms")
}

fn check_zones<'a>(
    zones: &'a [Zone],
    names: &mut Names<'a>,
) -> Result<Vec<(ZoneRule, Shape)>, DocumentError> {
    let too_many =
        |what, found, most| Err(DocumentError::TooMany { key: "zones", what, found, most });
    if zones.len() > MAX_ZONES {
        return too_many("zones", zones.len(), MAX_ZONES);
    }
    let rings = |zone: &Zone| {
        zone.holes.iter().map(Vec::len).fold(zone.polygon.len(), usize::saturating_add)
    };
    let corners = zones.iter().map(rings).fold(0, usize::saturating_add);
    if corners > MAX_CORNERS {
        return too_many("corners", corners, MAX_CORNERS);
    }
    let mut areas = Vec::with_capacity(zones.len());
    for (index, zone) in zones.iter().enumerate() {
        check_name(&zone.id, format!("zones[{index}].id"), names)?;
        let shape = check_shape(&format!("zones[{index}]"), zone)?;
        if let ZoneRule::Speed { max_linear_mps } = zone.rule {
            let key = format!("zones[{index}].rule.max_linear_mps");
            range(&key, max_linear_mps, LEAST_SPEED_MPS, 30.0, "m/s")?;
        }
        areas.push((zone.rule.clone(), shape));
    }
    Ok(areas)
}

fn check_shape(key: &str, zone: &Zone) -> Result<Shape, DocumentError> {
    if let Some(Circle { center, radius_m }) = zone.circle {
        if !zone.polygon.is_empty() || !zone.holes.is_empty() {
            return Err(DocumentError::TwoShapes { key: key.to_owned() });
        }
        let most = MAX_COORDINATE_M;
        range(&format!("{key}.circle.center.x"), center.x, -most, most, "m")?;
        range(&format!("{key}.circle.center.y"), center.y, -most, most, "m")?;
        range(&format!("{key}.circle.radius_m"), radius_m, 0.01, most, "m")?;
        return Shape::circle(center, radius_m)
            .map_err(|fault| DocumentError::Shape { key: key.to_owned(), fault });
    }
    let edge = format!("{key}.polygon");
    if zone.holes.is_empty() {
        let polygon = check_polygon(&edge, &zone.polygon, MAX_ZONE_CORNERS, MAX_COORDINATE_M)?;
        return Ok(Shape::from(polygon));
    }
    check_corners(&edge, &zone.polygon, MAX_ZONE_CORNERS, MAX_COORDINATE_M)?;
    for (index, hole) in zone.holes.iter().enumerate() {
        let key = format!("{key}.holes[{index}]");
        check_corners(&key, hole, MAX_ZONE_CORNERS, MAX_COORDINATE_M)?;
    }
    Shape::polygon(&zone.polygon, &zone.holes)
        .map_err(|fault| DocumentError::Shape { key: key.to_owned(), fault })
}

fn check_polygon(
    key: &str,
    corners: &[Point],
    most: usize,
    furthest_m: f64,
) -> Result<Polygon, DocumentError> {
    check_corners(key, corners, most, furthest_m)?;
    let key = || key.to_owned();
    Polygon::new(corners).map_err(|fault| match fault {
        Fault::Crossing(first, second) => DocumentError::Crossing { key: key(), first, second },
        Fault::Few(found) => DocumentError::Corners { key: key(), found, most },
        // The range above has already refused what is not finite.
        Fault::Flat | Fault::NotFinite(_) => DocumentError::Flat { key: key() },
        Fault::Repeated(corner) => DocumentError::RepeatedCorner { key: key(), corner },
    })
}

fn check_corners(
    key: &str,
    corners: &[Point],
    most: usize,
    furthest_m: f64,
) -> Result<(), DocumentError> {
    if corners.len() > most {
        return Err(DocumentError::Corners { key: key.to_owned(), found: corners.len(), most });
    }
    for (index, corner) in corners.iter().enumerate() {
        for (axis, found) in [("x", corner.x), ("y", corner.y)] {
            range(&format!("{key}[{index}].{axis}"), found, -furthest_m, furthest_m, "m")?;
        }
    }
    Ok(())
}

fn range(
    key: &str,
    found: f64,
    least: f64,
    most: f64,
    unit: &'static str,
) -> Result<(), DocumentError> {
    // `contains` is false for NaN.
    if (least..=most).contains(&found) {
        Ok(())
    } else {
        Err(DocumentError::Range { key: key.to_owned(), found, least, most, unit })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::limits::tests::LIMITS;
    use nooterra_protocol::codec::Digest;
    use nooterra_protocol::command::StopProfile;
    use nooterra_protocol::ids::{PolicyId, RobotId};
    use nooterra_protocol::policy::{Flight, Joint, Latches, Mode};

    fn square(half: f64) -> Vec<Point> {
        [(-half, -half), (half, -half), (half, half), (-half, half)]
            .map(|(x, y)| Point::new(x, y))
            .to_vec()
    }

    pub(crate) fn document() -> PolicyDocument {
        let zone = |id: &str, rule| Zone::new(ZoneId::new(id).unwrap(), square(5.0), rule);
        PolicyDocument {
            battery: None,
            footprint: Footprint { margin_m: 0.05, outline: square(0.25) },
            freshness: Freshness { command_ms: 300, journal_ms: 100, odometry_ms: 100 },
            id: PolicyId::new("test").unwrap(),
            latches: Latches::default(),
            limits: LIMITS,
            masks: Vec::new(),
            merged_from: Vec::new(),
            modes: Vec::new(),
            motion: None,
            privacy: Vec::new(),
            proximity: None,
            robot: RobotId::new("amr-1").unwrap(),
            stop: StopProfile::ControlledHold,
            vehicle: Vehicle::Differential,
            version: 1,
            zones: vec![
                zone("room", ZoneRule::KeepIn),
                zone("slow", ZoneRule::Speed { max_linear_mps: 0.3 }),
            ],
        }
    }

    /// The text of the error after `change`.
    fn refusal(change: impl FnOnce(&mut PolicyDocument)) -> String {
        let mut document = document();
        change(&mut document);
        check_document(&document).unwrap_err().to_string()
    }

    #[test]
    fn each_refusal_names_the_key_and_says_what_to_write() {
        assert_eq!(check_document(&document()), Ok(()));
        for (found, expected) in [
            (
                refusal(|d| d.limits.max_linear_mps = f64::NAN),
                "`limits.max_linear_mps` is NaN; write 0.01 to 30 m/s",
            ),
            (
                refusal(|d| d.limits.max_decel_mps2 = -1.0),
                "`limits.max_decel_mps2` is -1; write 0.05 to 50 m/s²",
            ),
            (
                refusal(|d| d.freshness.journal_ms = 101),
                "`freshness.journal_ms` is 101; write 1 to 100 ms",
            ),
            (
                refusal(|d| d.zones[1].rule = ZoneRule::Speed { max_linear_mps: 0.0 }),
                "`zones[1].rule.max_linear_mps` is 0; write 0.01 to 30 m/s",
            ),
            (
                refusal(|d| d.zones[1].polygon.swap(0, 1)),
                "`zones[1].polygon`: the side after corner 1 meets the side after corner 3; \
                 list the corners in order around the edge",
            ),
            (
                refusal(|d| d.zones[0].polygon.truncate(2)),
                "`zones[0].polygon` has 2 corners; write 3 to 100000",
            ),
            (
                refusal(|d| d.zones[0].polygon[3].y = f64::INFINITY),
                "`zones[0].polygon[3].y` is inf; write -100000 to 100000 m",
            ),
            (
                refusal(|d| d.zones[1].id = d.zones[0].id.clone()),
                "`zones[1].id` is `room`, as is `zones[0].id`; give each zone its own name",
            ),
            (
                refusal(|d| d.footprint.outline.iter_mut().for_each(|p| p.x += 1.0)),
                "`footprint.outline` does not contain the origin; give the corners relative to \
                 base_link",
            ),
            (
                refusal(|d| d.footprint.outline.insert(1, Point::new(0.0, -0.1))),
                "`footprint.outline` is not convex at corner 1; leave that corner out, or list \
                 the corners in order",
            ),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_exclusion_that_swallows_its_inclusion_is_refused() {
        assert_eq!(check_room(&document()), Ok(()));
        let mut swallowed = document();
        let out = Zone::new(ZoneId::new("out").unwrap(), square(5.5), ZoneRule::KeepOut);
        swallowed.zones.push(out);
        assert_eq!(check_room(&swallowed), Err(DocumentError::NoRoom));
        let mut narrow = document();
        narrow.zones[0].polygon = square(0.29);
        assert_eq!(check_room(&narrow), Err(DocumentError::NoRoom));
    }

    #[test]
    fn what_a_vehicle_cannot_be_is_refused() {
        let flight = Flight {
            land_after_s: None,
            max_altitude_m: 30.0,
            max_climb_mps: 2.0,
            max_descent_mps: 1.0,
            max_tilt_rad: 0.5,
            max_vertical_accel_mps2: 2.0,
            min_altitude_m: 1.0,
        };
        let joint = Joint {
            max_accel: 1.0,
            max_effort: None,
            max_position: -1.0,
            max_velocity: 1.0,
            min_position: 1.0,
        };
        for (found, expected) in [
            (
                refusal(|d| d.stop = StopProfile::Land),
                "`stop` is `land`, and the vehicle does not fly; write `controlled_hold`",
            ),
            (
                refusal(|d| {
                    d.vehicle = Vehicle::Multirotor(flight);
                    d.stop = StopProfile::ImmediatePowerRemoval;
                }),
                "`stop` would switch a multirotor off in the air; write `controlled_hold` or `land`",
            ),
            (
                refusal(|d| {
                    d.vehicle = Vehicle::Multirotor(Flight { min_altitude_m: 30.0, ..flight });
                }),
                "`vehicle.min_altitude_m` is not below `vehicle.max_altitude_m`; swap them, or \
                 correct one",
            ),
            (
                refusal(|d| d.vehicle = Vehicle::Joints { joints: vec![joint], reaction_ms: 50 }),
                "`footprint` says nothing about an arm; leave it out, its limits are in \
                 `vehicle.joints`",
            ),
            (
                refusal(|d| {
                    d.footprint = Footprint::default();
                    d.limits = Limits::default();
                    d.zones.clear();
                    d.vehicle = Vehicle::Joints { joints: vec![joint], reaction_ms: 50 };
                }),
                "`vehicle.joints[0].min_position` is not below `vehicle.joints[0].max_position`; \
                 swap them, or correct one",
            ),
            (
                refusal(|d| {
                    d.modes = vec![Mode {
                        id: "loaded".parse().unwrap(),
                        max_angular_radps: None,
                        max_decel_mps2: None,
                        max_linear_accel_mps2: None,
                        max_linear_mps: Some(5.0),
                    }];
                }),
                "`modes[0].max_linear_mps` is 5, more than the 0.8 m/s without the mode; a mode \
                 only tightens",
            ),
            (
                refusal(|d| {
                    d.zones[0].circle = Some(Circle { center: Point::new(0.0, 0.0), radius_m: 1.0 })
                }),
                "`zones[0]` has a circle and corners; make two zones of them",
            ),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_mask_has_a_name_of_its_own_and_numbers_that_are_some() {
        let mask = |id: &str, multiplier| Mask {
            id: ZoneId::new(id).unwrap(),
            rule: MaskRule::Speed { base_percent: 0.0, multiplier },
            sha256: Digest::ZERO,
        };
        assert_eq!(
            refusal(|d| d.masks = vec![mask("room", 1.0)]),
            "`zones[0].id` is `room`, as is `masks[0].id`; give each zone its own name"
        );
        assert_eq!(
            refusal(|d| d.masks = vec![mask("slowly", f64::NAN)]),
            "`masks[0].rule.multiplier` is NaN; write -100 to 100 % for each step"
        );
        let many = refusal(|d| d.masks = (0..9).map(|i| mask(&format!("m{i}"), 1.0)).collect());
        assert!(many.starts_with("`masks` has 9 masks; at most 8"), "{many}");
    }

    #[test]
    fn more_zones_or_corners_than_are_handled_are_refused() {
        let many = refusal(|d| {
            d.zones = (0..=MAX_ZONES)
                .map(|i| Zone { id: ZoneId::new(format!("z{i}")).unwrap(), ..d.zones[0].clone() })
                .collect();
        });
        assert!(many.contains("129 zones"), "{many}");
        let corners = refusal(|d| d.zones[0].polygon = vec![Point::default(); 1_000_000]);
        assert!(corners.contains("1000004 corners; at most 200000"), "{corners}");
    }
}
