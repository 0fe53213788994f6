//! Whether a policy document makes sense: what is checked before any gate is built from it.

use crate::mask::MAX_LIMITS;
use crate::polygon::{Fault, LEAST_AREA_M2, Polygon, concave_corner};
use nooterra_protocol::geometry::Point;
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::policy::{
    Footprint, Freshness, Limits, Mask, MaskRule, PolicyDocument, Zone, ZoneRule,
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

/// What makes no sense in a policy document. `key` is the path to it, as in
/// `zones[2].polygon`; corners and sides count from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DocumentError {
    /// Sides cross: two corners are swapped.
    #[error(
        "`{key}`: the side after corner {first} meets the side after corner {second}; \
         list the corners in order around the edge"
    )]
    Crossing {
        /// Where.
        key: String,
        /// One side.
        first: usize,
        /// The other.
        second: usize,
    },
    /// Too few corners for a polygon, or more than are handled.
    #[error("`{key}` has {found} corners; write 3 to {most}")]
    Corners {
        /// Where.
        key: String,
        /// How many it has.
        found: usize,
        /// How many it may have.
        most: usize,
    },
    /// Corners on one line, or in one place.
    #[error("`{key}` has no area; its corners must enclose at least {LEAST_AREA_M2} m²")]
    Flat {
        /// Where.
        key: String,
    },
    /// The outline has a dent.
    #[error(
        "`{key}` is not convex at corner {corner}; leave that corner out, or list the corners \
         in order"
    )]
    NotConvex {
        /// Where.
        key: String,
        /// The first corner that turns the other way.
        corner: usize,
    },
    /// The outline is not around `base_link`: it was drawn in another frame.
    #[error("`{key}` does not contain the origin; give the corners relative to base_link")]
    Origin {
        /// Where.
        key: String,
    },
    /// A number that is none, or that no robot has.
    #[error("`{key}` is {found}; write {least} to {most} {unit}")]
    Range {
        /// Where.
        key: String,
        /// What it says.
        found: f64,
        /// The least that is accepted.
        least: f64,
        /// The most that is accepted.
        most: f64,
        /// Of all three.
        unit: &'static str,
    },
    /// The same corner twice in a row.
    #[error("`{key}`: corner {corner} stands where the one before it stands; leave one out")]
    RepeatedCorner {
        /// Where.
        key: String,
        /// The second of the two.
        corner: usize,
    },
    /// Two zones or masks with one name.
    #[error("`{key}` is `{id}`, as is `{first}`; give each zone its own name")]
    RepeatedZone {
        /// Where.
        key: String,
        /// The name.
        id: ZoneId,
        /// What has it already.
        first: String,
    },
    /// More zones or masks, or more corners in all zones, than are handled.
    #[error("`{key}` has {found} {what}; at most {most} are handled, merge or simplify some")]
    TooMany {
        /// Where.
        key: &'static str,
        /// Zones, masks or corners.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many are handled.
        most: usize,
    },
}

/// Checks what the types do not hold.
///
/// # Errors
/// The first [`DocumentError`] in the order of the document's keys.
pub fn check_document(document: &PolicyDocument) -> Result<(), DocumentError> {
    check(document).map(drop)
}

/// Checks a document and makes the polygons of its zones on the way.
pub(crate) fn check(document: &PolicyDocument) -> Result<Vec<(ZoneRule, Polygon)>, DocumentError> {
    check_footprint(&document.footprint)?;
    check_freshness(&document.freshness)?;
    check_limits(&document.limits)?;
    let mut names = BTreeMap::new();
    check_masks(&document.masks, &mut names)?;
    let areas = check_zones(&document.zones, &mut names)?;
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
    match names.get(id) {
        Some(first) => {
            Err(DocumentError::RepeatedZone { key, id: id.clone(), first: first.clone() })
        }
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
    range("limits.max_linear_accel_mps2", limits.max_linear_accel_mps2, 0.01, 50.0, "m/s²")?;
    range("limits.max_linear_mps", limits.max_linear_mps, 0.01, 30.0, "m/s")?;
    range("limits.max_reverse_mps", limits.max_reverse_mps, 0.0, 30.0, "m/s")?;
    range("limits.reaction_ms", f64::from(limits.reaction_ms), 0.0, 1_000.0, "ms")
}

fn check_zones<'a>(
    zones: &'a [Zone],
    names: &mut Names<'a>,
) -> Result<Vec<(ZoneRule, Polygon)>, DocumentError> {
    let too_many =
        |what, found, most| Err(DocumentError::TooMany { key: "zones", what, found, most });
    if zones.len() > MAX_ZONES {
        return too_many("zones", zones.len(), MAX_ZONES);
    }
    let corners = zones.iter().map(|zone| zone.polygon.len()).sum();
    if corners > MAX_CORNERS {
        return too_many("corners", corners, MAX_CORNERS);
    }
    let mut areas = Vec::with_capacity(zones.len());
    for (index, zone) in zones.iter().enumerate() {
        check_name(&zone.id, format!("zones[{index}].id"), names)?;
        let key = format!("zones[{index}].polygon");
        let polygon = check_polygon(&key, &zone.polygon, MAX_ZONE_CORNERS, MAX_COORDINATE_M)?;
        if let ZoneRule::Speed { max_linear_mps } = zone.rule {
            let key = format!("zones[{index}].rule.max_linear_mps");
            range(&key, max_linear_mps, LEAST_SPEED_MPS, 30.0, "m/s")?;
        }
        areas.push((zone.rule.clone(), polygon));
    }
    Ok(areas)
}

fn check_polygon(
    key: &str,
    corners: &[Point],
    most: usize,
    furthest_m: f64,
) -> Result<Polygon, DocumentError> {
    let key = || key.to_owned();
    if corners.len() > most {
        return Err(DocumentError::Corners { key: key(), found: corners.len(), most });
    }
    for (index, corner) in corners.iter().enumerate() {
        for (axis, found) in [("x", corner.x), ("y", corner.y)] {
            let key = format!("{}[{index}].{axis}", key());
            range(&key, found, -furthest_m, furthest_m, "m")?;
        }
    }
    Polygon::new(corners).map_err(|fault| match fault {
        Fault::Crossing(first, second) => DocumentError::Crossing { key: key(), first, second },
        Fault::Few(found) => DocumentError::Corners { key: key(), found, most },
        // The range above has already refused what is not finite.
        Fault::Flat | Fault::NotFinite(_) => DocumentError::Flat { key: key() },
        Fault::Repeated(corner) => DocumentError::RepeatedCorner { key: key(), corner },
    })
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
mod tests {
    use super::*;
    use crate::limits::tests::LIMITS;
    use nooterra_protocol::codec::Digest;
    use nooterra_protocol::command::StopProfile;
    use nooterra_protocol::ids::{PolicyId, RobotId};

    fn square(half: f64) -> Vec<Point> {
        [(-half, -half), (half, -half), (half, half), (-half, half)]
            .map(|(x, y)| Point::new(x, y))
            .to_vec()
    }

    fn document() -> PolicyDocument {
        let zone =
            |id: &str, rule| Zone { id: ZoneId::new(id).unwrap(), polygon: square(5.0), rule };
        PolicyDocument {
            footprint: Footprint { margin_m: 0.05, outline: square(0.25) },
            freshness: Freshness { command_ms: 300, journal_ms: 100, odometry_ms: 100 },
            id: PolicyId::new("test").unwrap(),
            limits: LIMITS,
            masks: Vec::new(),
            robot: RobotId::new("amr-1").unwrap(),
            stop: StopProfile::ControlledHold,
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
