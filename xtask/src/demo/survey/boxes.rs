//! Boxes from cells: rows of equal cells, merged with the same run in the row before.

use nooterra_protocol::geometry::Point;
use nooterra_protocol::grid::Grid;

/// A rectangle of cells: from the first column and row to behind the last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cells {
    left: u32,
    low: u32,
    right: u32,
    top: u32,
}

impl Cells {
    /// The corners in the `map` frame, counter-clockwise.
    pub(crate) fn corners(&self, grid: &Grid) -> [Point; 4] {
        let Self { left, low, right, top } = *self;
        [(left, low), (right, low), (right, top), (left, top)]
            .map(|(column, row)| grid.frame().to_map(f64::from(column), f64::from(row)))
    }
}

/// Boxes that cover the `wanted` cells, each cell once.
pub(crate) fn of(grid: &Grid, wanted: impl Fn(u8) -> bool) -> Vec<Cells> {
    let (mut done, mut open): (Vec<Cells>, Vec<Cells>) = (Vec::new(), Vec::new());
    let width = grid.frame().width as usize;
    for (row, cells) in (0_u32..).zip(grid.cells().chunks(width)) {
        let mut next = Vec::new();
        let mut left = 0_u32;
        for run in cells.chunk_by(|a, b| wanted(*a) == wanted(*b)) {
            // A row has fewer cells than a u32 counts.
            let right = left + u32::try_from(run.len()).unwrap_or(u32::MAX);
            if wanted(run[0]) {
                let before =
                    open.iter().position(|cells| (cells.left, cells.right) == (left, right));
                let mut cells = match before {
                    Some(at) => open.swap_remove(at),
                    None => Cells { left, low: row, right, top: row },
                };
                cells.top = row + 1;
                next.push(cells);
            }
            left = right;
        }
        done.append(&mut open);
        open = next;
    }
    done.append(&mut open);
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::geometry::Pose;
    use nooterra_protocol::grid::Frame;

    #[test]
    fn boxes_cover_each_wanted_cell_once_and_no_other() {
        let picture = ["##..#", "##...", "##.##", ".####"];
        let cells: Vec<u8> = picture.concat().bytes().map(|b| u8::from(b == b'#') * 100).collect();
        let frame = Frame { cell_m: 0.5, height: 4, origin: Pose::default(), width: 5 };
        let grid = Grid::new(frame, cells).unwrap();
        let boxes = of(&grid, |cell| cell == 100);
        let mut count = [0; 20];
        for cells in &boxes {
            for row in cells.low..cells.top {
                for column in cells.left..cells.right {
                    count[(row * 5 + column) as usize] += 1;
                }
            }
        }
        for (count, cell) in count.iter().zip(grid.cells()) {
            assert_eq!(*count, i32::from(*cell == 100), "{boxes:?}");
        }
        assert_eq!(boxes.len(), 4);
        assert_eq!(of(&grid, |cell| cell == 7), []);
    }
}
