//! Distance fields: how far any place is from the forbidden cells of a grid.
//!
//! The exact Euclidean distance transform (Felzenszwalb and Huttenlocher, 2012: the lower
//! envelope of parabolas, column by column) runs once, when a policy is verified. It measures
//! from the middle of each cell to the nearest forbidden cell as the square that it is. A
//! query reads four of these numbers and allocates nothing.
//!
//! # What is conservative
//! A query never says more than the true distance. Between middles it interpolates, and takes
//! off the most by which that can be too much: far from a cell the distance to it is nearly
//! straight, and next to nothing is taken off; close to it, up to 0.71 of a cell. Stored
//! numbers are rounded down, and what lies outside the grid is forbidden.

use crate::index::Rect;
use nooterra_protocol::geometry::Point;
use nooterra_protocol::grid::Frame;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Stored distances are in this part of a cell: 1 mm where a cell has 3 cm.
const PART: f64 = 1.0 / 32.0;

/// Signed distances to the edge of a region of cells.
#[derive(Clone)]
pub struct Field {
    /// At the middle of each cell, in [`PART`]s of a cell; negative inside the region.
    distances: Vec<i16>,
    frame: Frame,
    /// Of the grid's heading.
    cos: f64,
    sin: f64,
}

impl Field {
    /// The field around the cells that are `forbidden`, which has one entry for each cell of
    /// `frame`. Takes time in proportion to their number.
    #[must_use]
    pub fn new(frame: &Frame, forbidden: &[bool]) -> Self {
        let (width, height) = (frame.width as usize, frame.height as usize);
        let outward = squared(forbidden, width, height, true);
        let mut distances: Vec<i16> =
            outward.iter().map(|squared| stored(squared.sqrt())).collect();
        drop(outward);
        // Depth inside: only for the way back out of a region that was entered.
        let free: Vec<bool> = forbidden.iter().map(|forbidden| !forbidden).collect();
        for (distance, squared) in distances.iter_mut().zip(squared(&free, width, height, false)) {
            if squared > 0.0 {
                *distance = stored(-squared.sqrt());
            }
        }
        let (sin, cos) = frame.origin.yaw.sin_cos();
        Self { distances, frame: *frame, cos, sin }
    }

    /// At most the distance to the region, metres; negative inside it and outside the grid.
    #[must_use]
    pub fn signed_distance(&self, at: Point) -> f64 {
        let Frame { cell_m, height, origin, width } = self.frame;
        let (x, y) = (at.x - origin.x, at.y - origin.y);
        // In cells, 0 being the middle of the first.
        let column = (x * self.cos + y * self.sin) / cell_m - 0.5;
        let row = (y * self.cos - x * self.sin) / cell_m - 0.5;
        let within_column = column.clamp(0.0, f64::from(width - 1));
        let within_row = row.clamp(0.0, f64::from(height - 1));
        let beyond = (column - within_column).hypot(row - within_row);
        let between = self.between(within_column, within_row);
        if between.is_nan() || beyond.is_nan() {
            return f64::NEG_INFINITY;
        }
        cell_m * (between - beyond)
    }

    /// Around the grid.
    pub(crate) fn extent(&self) -> Rect {
        let (width, height) = (f64::from(self.frame.width), f64::from(self.frame.height));
        let corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)];
        Rect::around(corners.map(|(column, row)| self.frame.to_map(column, row)))
    }

    /// Interpolated between four middles, in cells, and at most the distance there.
    fn between(&self, column: f64, row: f64) -> f64 {
        let (left, low) = (column.floor(), row.floor());
        let corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
            .map(|(right, up)| self.middle(left + right, low + up));
        let (right, up) = (column - left, row - low);
        let mixed = (corners[0] * (1.0 - right) + corners[1] * right) * (1.0 - up)
            + (corners[2] * (1.0 - right) + corners[3] * right) * up;
        mixed - excess(corners.into_iter().fold(f64::INFINITY, f64::min))
    }

    /// The number of a cell that is in the grid, or of the nearest that is.
    fn middle(&self, column: f64, row: f64) -> f64 {
        let Frame { width, height, .. } = self.frame;
        let column = index(column.min(f64::from(width - 1)));
        let row = index(row.min(f64::from(height - 1)));
        self.distances
            .get(row * width as usize + column)
            .map_or(f64::NEG_INFINITY, |parts| f64::from(*parts) * PART)
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Field").field("frame", &self.frame).finish_non_exhaustive()
    }
}

/// The most by which interpolating between four middles can exceed the distance, in cells, if
/// the least of the four is `least`.
///
/// The distance to the nearest forbidden cell, a convex square, has a curvature of at most one
/// over itself, and linear interpolation over a step of one is off by an eighth of the
/// curvature on each axis. Nowhere among the four is it less than `least` minus half a
/// diagonal. Close by, where that says nothing: no place is more than half a diagonal from the
/// mean of where the four numbers hold.
fn excess(least: f64) -> f64 {
    let nearest = least - FRAC_1_SQRT_2;
    if nearest > 0.25 * SQRT_2 { 0.25 / nearest } else { FRAC_1_SQRT_2 }
}

/// A whole number from 0 on as an index. Anything else is 0.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const fn index(number: f64) -> usize {
    number as usize
}

/// Cells in [`PART`]s, rounded down, and held where they leave the range: nearer than it is.
#[allow(clippy::cast_possible_truncation)]
fn stored(cells: f64) -> i16 {
    (cells / PART).floor().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
}

/// From the middle of each cell the squared distance to the nearest of the `marked` cells, in
/// cells. With `edge`, what is outside the grid is marked as well.
fn squared(marked: &[bool], width: usize, height: usize, edge: bool) -> Vec<f64> {
    // Along each row first: half a cell from a middle to the side of its neighbour.
    let beyond = if edge { -1.0 } else { f64::NEG_INFINITY };
    let mut result = vec![f64::INFINITY; marked.len()];
    for (marked, row) in marked.chunks(width).zip(result.chunks_mut(width)) {
        let mut last = beyond;
        for (at, (marked, squared)) in (0_u32..).zip(marked.iter().zip(row.iter_mut())) {
            let at = f64::from(at);
            if *marked {
                last = at;
            }
            *squared = side(at - last);
        }
        let mut last = beyond;
        for (at, (marked, squared)) in (0_u32..).zip(marked.iter().zip(row.iter_mut()).rev()) {
            let at = f64::from(at);
            if *marked {
                last = at;
            }
            *squared = squared.min(side(at - last));
        }
    }
    let mut envelope = Envelope::default();
    let mut column = vec![0.0; height];
    for at in 0..width {
        for (number, row) in column.iter_mut().zip(result.chunks(width)) {
            *number = row[at];
        }
        envelope.of(&column, edge);
        for (row, number) in (0_u32..).zip(&mut column) {
            // To the near side of a cell in another row; in the same row the sideways distance
            // is all. Asking at both sides only ever adds candidates that are too far.
            let middle = f64::from(row);
            *number = number.min(envelope.at(middle - 0.5)).min(envelope.at(middle + 0.5));
        }
        for (number, row) in column.iter().zip(result.chunks_mut(width)) {
            row[at] = *number;
        }
    }
    result
}

/// Squared, from the middle of a cell to the near side of one that is `apart` cells away.
fn side(apart: f64) -> f64 {
    let clear = (apart - 0.5).max(0.0);
    clear * clear
}

/// The lower envelope of upright parabolas, one for each row.
#[derive(Debug, Default)]
struct Envelope {
    /// Where each of the parabolas that are seen from below begins to be the lowest.
    begins: Vec<f64>,
    /// Their lowest points: row and height.
    lowest: Vec<(f64, f64)>,
    /// The one that was lowest where it was asked last.
    near: usize,
}

impl Envelope {
    fn of(&mut self, heights: &[f64], edge: bool) {
        self.begins.clear();
        self.lowest.clear();
        self.near = 0;
        if edge {
            self.add(-1.0, 0.0);
        }
        let mut row = 0.0;
        for height in heights {
            if height.is_finite() {
                self.add(row, *height);
            }
            row += 1.0;
        }
        if edge {
            self.add(row, 0.0);
        }
    }

    fn add(&mut self, row: f64, height: f64) {
        while let (Some((last, lowest)), Some(begins)) = (self.lowest.last(), self.begins.last()) {
            let meet = ((height + row * row) - (lowest + last * last)) / (2.0 * (row - last));
            if meet > *begins {
                self.begins.push(meet);
                self.lowest.push((row, height));
                return;
            }
            self.lowest.pop();
            self.begins.pop();
        }
        self.begins.push(f64::NEG_INFINITY);
        self.lowest.push((row, height));
    }

    /// The lowest at `row`. Asked from row to row, it looks only at the neighbours.
    fn at(&mut self, row: f64) -> f64 {
        while self.begins.get(self.near + 1).is_some_and(|begins| *begins <= row) {
            self.near += 1;
        }
        while self.near > 0 && self.begins[self.near] > row {
            self.near -= 1;
        }
        self.lowest
            .get(self.near)
            .map_or(f64::INFINITY, |(lowest, height)| height + (row - lowest) * (row - lowest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::geometry::Pose;
    use proptest::prelude::{Strategy, any, prop, prop_assert, proptest};

    fn frame(width: u32, height: u32, yaw: f64) -> Frame {
        Frame { cell_m: 0.1, height, origin: Pose { x: 3.0, y: -2.0, yaw }, width }
    }

    /// Distance to the nearest forbidden square, the outside included, square by square.
    fn true_distance(frame: &Frame, forbidden: &[bool], at: Point) -> f64 {
        let (column, row) = frame.to_cells(at);
        let (width, height) = (f64::from(frame.width), f64::from(frame.height));
        let mut nearest = column.min(row).min(width - column).min(height - row).max(0.0);
        for (index, _) in forbidden.iter().enumerate().filter(|(_, forbidden)| **forbidden) {
            let index = u32::try_from(index).unwrap();
            let (x, y) = (f64::from(index % frame.width), f64::from(index / frame.width));
            let dx = (x - column).max(column - x - 1.0).max(0.0);
            let dy = (y - row).max(row - y - 1.0).max(0.0);
            nearest = nearest.min(dx.hypot(dy));
        }
        nearest * frame.cell_m
    }

    fn region() -> impl Strategy<Value = (Frame, Vec<bool>)> {
        let sparse = prop::bool::weighted(0.04);
        (1_u32..30, 1_u32..30, -3.0..3.0).prop_flat_map(move |(width, height, yaw)| {
            prop::collection::vec(sparse, (width * height) as usize)
                .prop_map(move |cells| (frame(width, height, yaw), cells))
        })
    }

    proptest! {
        #[test]
        fn at_the_middles_the_transform_is_exact((frame, forbidden) in region()) {
            let (width, height) = (frame.width as usize, frame.height as usize);
            let squared = squared(&forbidden, width, height, true);
            for (index, squared) in (0_u32..).zip(squared) {
                let (column, row) = (index % frame.width, index / frame.width);
                let at = frame.to_map(f64::from(column) + 0.5, f64::from(row) + 0.5);
                let expected = true_distance(&frame, &forbidden, at);
                prop_assert!((squared.sqrt() * 0.1 - expected).abs() < 1e-9, "{column} {row}");
            }
        }

        #[test]
        fn nowhere_is_more_than_the_true_distance_said_and_far_from_cells_hardly_less(
            (frame, forbidden) in region(), x in -0.1..1.1, y in -0.1..1.1
        ) {
            let field = Field::new(&frame, &forbidden);
            let at = frame.to_map(x * f64::from(frame.width), y * f64::from(frame.height));
            let (said, truth) = (field.signed_distance(at), true_distance(&frame, &forbidden, at));
            prop_assert!(said <= truth + 1e-9, "said {said}, is {truth}");
            // Kinks between two equally near cells cost more than curvature, never a diagonal.
            prop_assert!(truth <= 0.0 || said >= truth - 0.15, "said {said}, is {truth}");
        }

        #[test]
        fn no_number_makes_it_panic(x in any::<f64>(), y in any::<f64>()) {
            let field = Field::new(&frame(3, 2, 0.5), &[false; 6]);
            let said = field.signed_distance(Point::new(x, y));
            prop_assert!(said <= 0.1);
        }
    }

    #[test]
    fn beside_a_straight_wall_a_few_cells_away_it_is_good_to_a_tenth_of_a_cell() {
        let frame = frame(40, 40, 0.0);
        let forbidden: Vec<bool> = (0..1600).map(|index| index % 40 < 5).collect();
        let field = Field::new(&frame, &forbidden);
        for step in 0..50 {
            let column = 15.0 + f64::from(step) * 0.1;
            let said = field.signed_distance(frame.to_map(column, 17.3));
            let truth = (column - 5.0) * 0.1;
            assert!(said <= truth && said >= truth - 0.01, "said {said}, is {truth}");
        }
    }

    #[test]
    fn deeper_inside_is_more_negative() {
        let frame = frame(20, 20, 0.0);
        let forbidden: Vec<bool> = (0..400).map(|index| index % 20 < 10).collect();
        let field = Field::new(&frame, &forbidden);
        let said: Vec<f64> = [9.5, 8.5, 6.0, 3.0]
            .map(|column| field.signed_distance(frame.to_map(column, 10.0)))
            .to_vec();
        assert!(said.windows(2).all(|pair| pair[1] < pair[0]) && said[0] < 0.0, "{said:?}");
    }
}
