//! Masks: zones that are drawn as grids of cells, from their files to distance fields.
//!
//! A keep-out mask is one zone. A speed mask is one zone for each limit that its cells come to,
//! all with the mask's name.

use crate::document::LEAST_SPEED_MPS;
use crate::field::Field;
use crate::zones::Shape;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::grid::{Grid, GridError, UNKNOWN};
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::policy::{Limits, Mask, MaskRule, ZoneRule};
use std::sync::Arc;

/// The most different limits of a speed mask. Where its cells come to more, neighbouring ones
/// are merged into the lower.
pub const MAX_LIMITS: usize = 8;

/// The most numbers of all distance fields together; they take two bytes each.
pub const MAX_FIELD_CELLS: usize = 64_000_000;

/// Why a mask is not in force.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// Another file than the one that was signed.
    #[error("its file has SHA-256 {found}, the policy names {expected}; install the signed file")]
    Altered {
        /// In the policy.
        expected: Digest,
        /// Of the file.
        found: Digest,
    },
    /// The owner signed something that is no grid.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// More cells in all masks than are handled.
    #[error(
        "with it the masks have {found} distances; at most {MAX_FIELD_CELLS} are handled, \
         use larger cells or fewer limits"
    )]
    TooLarge {
        /// How many, one for each cell of each zone.
        found: usize,
    },
    /// Its file cannot be had.
    #[error("its file cannot be read: {0}")]
    Unread(Box<dyn std::error::Error + Send + Sync>),
}

/// A zone of a mask.
pub(crate) type MaskZone = (ZoneId, ZoneRule, Shape);

/// Reads the masks of a document that was checked and computes their fields.
pub(crate) fn zones(
    masks: &[Mask],
    limits: &Limits,
    mut read: impl FnMut(&Mask) -> Result<Vec<u8>, MaskError>,
) -> Result<Vec<MaskZone>, (ZoneId, MaskError)> {
    let mut zones = Vec::new();
    let mut cells = 0;
    for mask in masks {
        let wrong = |error| (mask.id.clone(), error);
        let grid = grid_of(mask, &mut read).map_err(wrong)?;
        let drawn = drawn(&grid, &mask.rule, limits);
        cells += drawn.len() * grid.cells().len();
        if cells > MAX_FIELD_CELLS {
            return Err(wrong(MaskError::TooLarge { found: cells }));
        }
        for (rule, forbidden) in drawn {
            let forbidden: Vec<bool> =
                grid.cells().iter().map(|cell| forbidden[usize::from(*cell)]).collect();
            let field = Field::new(grid.frame(), &forbidden);
            zones.push((mask.id.clone(), rule, Shape::Field(Arc::new(field))));
        }
    }
    Ok(zones)
}

fn grid_of(
    mask: &Mask,
    read: &mut impl FnMut(&Mask) -> Result<Vec<u8>, MaskError>,
) -> Result<Grid, MaskError> {
    let file = read(mask)?;
    let found = Digest::of(&file);
    if found != mask.sha256 {
        return Err(MaskError::Altered { expected: mask.sha256, found });
    }
    Ok(Grid::decode(&file)?)
}

/// For each value of a cell whether it belongs to a region.
type Values = [bool; 256];

/// The rules of a mask, each with the values of the cells where it holds.
fn drawn(grid: &Grid, rule: &MaskRule, limits: &Limits) -> Vec<(ZoneRule, Values)> {
    match *rule {
        MaskRule::KeepOut => {
            let mut values = [true; 256];
            values[0] = false;
            vec![(ZoneRule::KeepOut, values)]
        }
        MaskRule::Speed { base_percent, multiplier } => {
            let mut present = [false; 256];
            for cell in grid.cells() {
                present[usize::from(*cell)] = true;
            }
            // What lies outside is unknown.
            present[usize::from(UNKNOWN)] = true;
            let limit = |cell: u8| match cell {
                0 => None,
                UNKNOWN => Some(LEAST_SPEED_MPS),
                cell => {
                    let percent = multiplier.mul_add(f64::from(cell), base_percent);
                    // Beyond the ends of the scale Nav2 takes a mistake for "no limit".
                    let limit = limits.max_linear_mps * percent.clamp(0.0, 100.0) / 100.0;
                    (percent < 100.0).then_some(limit.max(LEAST_SPEED_MPS))
                }
            };
            let mut cells: Vec<(f64, u8)> = (0..=UNKNOWN)
                .filter(|cell| present[usize::from(*cell)])
                .filter_map(|cell| Some((limit(cell)?, cell)))
                .collect();
            cells.sort_by(|a, b| a.0.total_cmp(&b.0));
            levels(&cells)
        }
    }
}

/// Groups cells, sorted by limit, into at most [`MAX_LIMITS`] zones.
fn levels(cells: &[(f64, u8)]) -> Vec<(ZoneRule, Values)> {
    let equal: Vec<&[(f64, u8)]> = cells.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()).collect();
    let size = equal.len().div_ceil(MAX_LIMITS).max(1);
    equal
        .chunks(size)
        .map(|group| {
            let mut values = [false; 256];
            for (_, cell) in group.iter().copied().flatten() {
                values[usize::from(*cell)] = true;
            }
            (ZoneRule::Speed { max_linear_mps: group[0][0].0 }, values)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::tests::LIMITS;
    use nooterra_protocol::geometry::{Point, Pose};
    use nooterra_protocol::grid::Frame;

    fn grid(cells: Vec<u8>) -> Grid {
        let width = u32::try_from(cells.len()).unwrap();
        let origin = Pose::default();
        Grid::new(Frame { cell_m: 1.0, height: 1, origin, width }, cells).unwrap()
    }

    fn limits_of(cells: Vec<u8>, base_percent: f64, multiplier: f64) -> Vec<(f64, Vec<u8>)> {
        drawn(&grid(cells), &MaskRule::Speed { base_percent, multiplier }, &LIMITS)
            .into_iter()
            .map(|(rule, values)| {
                let ZoneRule::Speed { max_linear_mps } = rule else { panic!("{rule:?}") };
                let cells = (0..=255).filter(|cell| values[usize::from(*cell)]).collect();
                ((max_linear_mps * 1e6).round() / 1e6, cells)
            })
            .collect()
    }

    #[test]
    fn a_cell_is_percent_of_the_limit_zero_is_none_and_unknown_is_the_lowest() {
        // The forward limit is 0.8 m/s.
        let plain = limits_of(vec![0, 20, 50, 100, UNKNOWN], 0.0, 1.0);
        assert_eq!(plain, [(0.01, vec![UNKNOWN]), (0.16, vec![20]), (0.4, vec![50])]);
        // As in Nav2's tutorial: the darker, the slower.
        let darker = limits_of(vec![0, 20, 50], 100.0, -1.0);
        assert_eq!(darker, [(0.01, vec![UNKNOWN]), (0.4, vec![50]), (0.64, vec![20])]);
    }

    #[test]
    fn beyond_the_scale_a_cell_is_the_slowest_and_never_free() {
        let found = limits_of(vec![40, 60], 100.0, -2.0);
        assert_eq!(found, [(0.01, vec![60, UNKNOWN]), (0.16, vec![40])]);
    }

    #[test]
    fn many_limits_are_merged_into_the_lower_ones() {
        let found = limits_of((1..100).collect(), 0.0, 1.0);
        assert!(found.len() <= MAX_LIMITS, "{}", found.len());
        for (limit, cells) in found {
            for cell in cells.into_iter().filter(|cell| *cell != UNKNOWN) {
                assert!(limit <= (0.8 * f64::from(cell) / 100.0).max(LEAST_SPEED_MPS) + 1e-6);
            }
        }
    }

    #[test]
    fn only_the_file_that_was_signed_is_read() {
        let file = grid(vec![0, 100, 0]).encode();
        let id = ZoneId::new("walls").unwrap();
        let mask = Mask { id: id.clone(), rule: MaskRule::KeepOut, sha256: Digest::of(&file) };
        let masks = [mask];
        let found = zones(&masks, &LIMITS, |_| Ok(file.clone())).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].2.signed_distance(Point::new(1.5, 0.5)) < 0.0);
        let other = grid(vec![0, 0, 0]).encode();
        let (named, error) = zones(&masks, &LIMITS, |_| Ok(other.clone())).unwrap_err();
        assert!(named == id && matches!(error, MaskError::Altered { .. }), "{error}");
    }
}
