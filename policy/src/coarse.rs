//! A coarse grid over a polygon: the distance at the middle of each cell, and the sides that may
//! be nearest to a place in it, where they are few.

use crate::polygon::{Polygon, ROUNDING_M};
use nooterra_protocol::geometry::Point;
use std::ops::Range;

/// Cells of the grid for each side, and at least and at most so many.
const CELLS_PER_SIDE: f64 = 4.0;
const LEAST_CELLS: f64 = 64.0;
const MOST_CELLS: f64 = 65_536.0;

/// Where a polygon is large, cells of this length are wished for, metres, up to a number.
const CELL_M: f64 = 0.25;
const MOST_BY_LENGTH: f64 = 4096.0;

/// Sides that are looked at one by one, at most: for more, the tree is faster.
const FEW: usize = 8;

/// Polygons with more sides have so many in each cell that it is seldom few.
const MOST_SIDES: usize = 4096;

/// Distances at the middles of cells that cover the polygon's box.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coarse {
    cells: Vec<Cell>,
    columns: usize,
    origin: Point,
    per_m: Point,
    /// From a cell's middle to its corners, metres.
    radius_m: f64,
    rows: usize,
    size: Point,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cell {
    /// So many sides before that one may be nearest to a place in it,
    before: u8,
    /// and so many in all; any where that is 0.
    few: u8,
    /// That is nearest to its middle.
    pub(crate) side: u32,
    /// Distance there, metres; negative inside.
    pub(crate) signed: f64,
}

impl Coarse {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub(crate) fn new(polygon: &Polygon) -> Self {
        let bounds = polygon.bounds();
        let by_length = bounds.width() * bounds.height() / (CELL_M * CELL_M);
        let by_sides = polygon.count() as f64 * CELLS_PER_SIDE;
        let wished = by_length.min(MOST_BY_LENGTH).max(by_sides).clamp(LEAST_CELLS, MOST_CELLS);
        // As square as they can be, and never more than a few too many.
        let side = (bounds.width() * bounds.height() / wished).sqrt();
        let count = |length: f64| (length / side).ceil().clamp(1.0, wished) as usize;
        let (columns, rows) = (count(bounds.width()), count(bounds.height()));
        let size = Point::new(bounds.width() / columns as f64, bounds.height() / rows as f64);
        let mut coarse = Self {
            cells: Vec::with_capacity(columns * rows),
            columns,
            origin: bounds.least,
            per_m: Point::new(1.0 / size.x, 1.0 / size.y),
            radius_m: 0.5 * size.x.hypot(size.y),
            rows,
            size,
        };
        let mut near = 0;
        for row in 0..rows {
            for column in 0..columns {
                let middle = coarse.middle(column, row);
                if let Some(found) = polygon.nearest(middle, near, u32::MAX) {
                    near = found.index;
                    let signed = polygon.signed(middle, found);
                    // What is nearest to a corner of the cell is no further from its middle.
                    let within_m = signed.abs() + 2.0 * coarse.radius_m + ROUNDING_M;
                    let few = if polygon.count() > MOST_SIDES {
                        None
                    } else {
                        polygon.few_within(middle, within_m, FEW)
                    };
                    let few = few.filter(|few| few.contains(&near)).unwrap_or(near..near);
                    let small = |number: usize| u8::try_from(number).unwrap_or(0);
                    coarse.cells.push(Cell {
                        before: small(near - few.start),
                        few: small(few.len()),
                        side: u32::try_from(near).unwrap_or(0),
                        signed,
                    });
                }
            }
        }
        coarse
    }

    #[allow(clippy::cast_precision_loss)]
    fn middle(&self, column: usize, row: usize) -> Point {
        Point::new(
            (column as f64 + 0.5) * self.size.x + self.origin.x,
            (row as f64 + 0.5) * self.size.y + self.origin.y,
        )
    }

    /// The cell nearest to a place, and how far its middle is.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Saturates.
    pub(crate) fn cell(&self, at: Point) -> (Cell, f64) {
        let most = |count: usize| count.saturating_sub(1);
        let column = (((at.x - self.origin.x) * self.per_m.x) as usize).min(most(self.columns));
        let row = (((at.y - self.origin.y) * self.per_m.y) as usize).min(most(self.rows));
        let middle = self.middle(column, row);
        let (dx, dy) = (at.x - middle.x, at.y - middle.y);
        // A cell that were missing would say "at the edge".
        let cell = self.cells.get(row * self.columns + column).copied().unwrap_or_default();
        (cell, (dx * dx + dy * dy).sqrt())
    }

    /// The sides of which one is nearest to a place that is `apart` from the middle of its cell,
    /// where they are few.
    pub(crate) fn few(&self, cell: &Cell, apart: f64) -> Option<Range<usize>> {
        let first = (cell.side as usize).saturating_sub(cell.before.into());
        let few = usize::from(cell.few);
        (few > 0 && apart <= self.radius_m).then_some(first..first + few)
    }
}
