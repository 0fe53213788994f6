//! Grids of cells over the `map` frame, and their compact form in a file.
//!
//! A cell holds what ROS calls an occupancy: 0 to 100, or [`UNKNOWN`]. The file is a fixed
//! header and runs of equal cells, and there is one file for each grid and one grid for each
//! file: a policy names a grid by the SHA-256 of its bytes.

use crate::geometry::{Point, Pose};

/// A cell that nothing is known about.
pub const UNKNOWN: u8 = 255;

/// The highest value of a known cell.
pub const MOST: u8 = 100;

/// The most cells of a grid: a hall of 200 m by 180 m at 3 cm.
pub const MAX_CELLS: usize = 40_000_000;

/// The longest file that is decoded. Drawn regions take a few kilobytes, a map full of noise
/// a few hundred.
pub const MAX_FILE_BYTES: usize = 16 << 20;

/// The smallest and the largest cell, metres. A robot's map has 0.01 to 0.5.
pub const CELL_RANGE_M: (f64, f64) = (0.001, 10.0);

/// The furthest that a corner of a grid may be from the map's origin, metres.
pub const MAX_COORDINATE_M: f64 = 100_000.0;

/// How a file begins; the digit is the version.
const MAGIC: &[u8; 8] = b"noogrid1";

/// Magic, two counts, four numbers.
const HEADER_LEN: usize = 8 + 2 * 4 + 4 * 8;

/// Why there is no grid.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GridError {
    /// A value between the highest occupancy and "unknown".
    #[error("cell {index} is {found}; a cell is 0 to 100, or 255 where nothing is known")]
    Cell {
        /// Which, from the south-west corner, row by row.
        index: usize,
        /// What it holds.
        found: u8,
    },
    /// The list of cells does not fill the rectangle; the file was cut or padded.
    #[error("the grid has {found} cells where {width} x {height} were announced")]
    Count {
        /// How many there are.
        found: usize,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// No grid file, one of a later version, or a cut one.
    #[error("not a grid file: {0}")]
    File(&'static str),
    /// A number that is none, or that no map has.
    #[error("the grid's {what} is {found}; it must be {least} to {most} m")]
    Range {
        /// Of what.
        what: &'static str,
        /// What it is.
        found: f64,
        /// The least that is accepted.
        least: f64,
        /// The most that is accepted.
        most: f64,
    },
    /// No cell at all, or more than are handled.
    #[error(
        "the grid has {width} x {height} cells; 1 to {MAX_CELLS} are handled, use larger cells"
    )]
    Size {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
    },
}

/// Where the cells of a grid lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Side of a cell, metres.
    pub cell_m: f64,
    /// Rows.
    pub height: u32,
    /// The outer corner of the first cell, and which way the rows run.
    pub origin: Pose,
    /// Columns.
    pub width: u32,
}

impl Frame {
    /// Checks the numbers. Nothing of the size of the grid is allocated for it.
    ///
    /// # Errors
    /// [`GridError::Range`] and [`GridError::Size`].
    pub fn check(&self) -> Result<(), GridError> {
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        if !(1..=MAX_CELLS as u64).contains(&(width * height)) {
            return Err(GridError::Size { width, height });
        }
        let (least, most) = CELL_RANGE_M;
        range("cell", self.cell_m, least, most)?;
        let far = MAX_COORDINATE_M;
        for (what, found) in [("origin x", self.origin.x), ("origin y", self.origin.y)] {
            range(what, found, -far, far)?;
        }
        // A yaw is in radians; a thousand turns are a slip of the pen.
        range("origin yaw", self.origin.yaw, -6_300.0, 6_300.0)?;
        for (what, cells) in [("width", self.width), ("height", self.height)] {
            range(what, f64::from(cells) * self.cell_m, 0.0, far)?;
        }
        Ok(())
    }

    /// How many cells there are.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.width as usize * self.height as usize
    }

    /// A place in cells: the first cell is 0 to 1 on both axes.
    #[must_use]
    pub fn to_cells(&self, at: Point) -> (f64, f64) {
        let (sin, cos) = self.origin.yaw.sin_cos();
        let (x, y) = (at.x - self.origin.x, at.y - self.origin.y);
        ((x * cos + y * sin) / self.cell_m, (y * cos - x * sin) / self.cell_m)
    }

    /// A place in cells, in the `map` frame.
    #[must_use]
    pub fn to_map(&self, column: f64, row: f64) -> Point {
        let (sin, cos) = self.origin.yaw.sin_cos();
        let (x, y) = (column * self.cell_m, row * self.cell_m);
        Point::new(self.origin.x + x * cos - y * sin, self.origin.y + x * sin + y * cos)
    }

    fn index(&self, column: u32, row: u32) -> usize {
        row as usize * self.width as usize + column as usize
    }
}

/// A grid of cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    cells: Vec<u8>,
    frame: Frame,
}

impl Grid {
    /// Checks a frame and its cells, row by row from the origin.
    ///
    /// # Errors
    /// Every variant of [`GridError`] but `File`.
    pub fn new(frame: Frame, cells: Vec<u8>) -> Result<Self, GridError> {
        frame.check()?;
        if cells.len() != frame.cells() {
            let Frame { width, height, .. } = frame;
            return Err(GridError::Count { found: cells.len(), width, height });
        }
        if let Some(index) = cells.iter().position(|cell| !is_value(*cell)) {
            return Err(GridError::Cell { index, found: cells[index] });
        }
        Ok(Self { cells, frame })
    }

    /// Where the cells lie.
    #[must_use]
    pub const fn frame(&self) -> &Frame {
        &self.frame
    }

    /// All cells, row by row from the origin.
    #[must_use]
    pub fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// A cell; [`UNKNOWN`] outside.
    #[must_use]
    pub fn cell(&self, column: u32, row: u32) -> u8 {
        if column < self.frame.width && row < self.frame.height {
            self.cells[self.frame.index(column, row)]
        } else {
            UNKNOWN
        }
    }

    /// The grid as a file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Frame { cell_m, height, origin, width } = self.frame;
        let mut file = MAGIC.to_vec();
        for count in [width, height] {
            file.extend(count.to_be_bytes());
        }
        for number in [cell_m, origin.x, origin.y, origin.yaw] {
            file.extend(number.to_be_bytes());
        }
        for run in self.cells.chunk_by(|a, b| a == b) {
            file.push(run[0]);
            let mut left = run.len() - 1;
            // Seven bits to a byte, the lowest first; the eighth says that more follow.
            while left >= 0x80 {
                file.push(0x80 | low_seven(left));
                left >>= 7;
            }
            file.push(low_seven(left));
        }
        file
    }

    /// Reads a file. Its announcement is checked before anything of its size is allocated.
    ///
    /// # Errors
    /// Every variant of [`GridError`].
    pub fn decode(file: &[u8]) -> Result<Self, GridError> {
        if file.len() > MAX_FILE_BYTES {
            return Err(GridError::File("it is longer than 16 MiB"));
        }
        if !file.starts_with(MAGIC) {
            return Err(GridError::File("it does not begin with `noogrid1`"));
        }
        let (header, mut runs) =
            file.split_at_checked(HEADER_LEN).ok_or(GridError::File("it ends in its header"))?;
        let frame = header_of(&header[MAGIC.len()..])?;
        frame.check()?;
        let expected = frame.cells();
        let mut cells = Vec::with_capacity(expected);
        let mut before = None;
        while let Some((value, rest)) = runs.split_first() {
            if before == Some(*value) {
                return Err(GridError::File("two runs of one value"));
            }
            if !is_value(*value) {
                return Err(GridError::Cell { index: cells.len(), found: *value });
            }
            before = Some(*value);
            let (more, rest) = length(rest)?;
            runs = rest;
            // Before the cells are made, however long the run claims to be.
            if more >= expected - cells.len() {
                return Err(GridError::File("it has more cells than it announces"));
            }
            cells.resize(cells.len() + more + 1, *value);
        }
        Self::new(frame, cells)
    }
}

const fn is_value(cell: u8) -> bool {
    cell <= MOST || cell == UNKNOWN
}

#[allow(clippy::cast_possible_truncation)]
const fn low_seven(number: usize) -> u8 {
    // Masked to seven bits.
    (number & 0x7f) as u8
}

fn header_of(bytes: &[u8]) -> Result<Frame, GridError> {
    let (counts, numbers) = bytes.split_at(8);
    let count = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| counts[at + byte]));
    let number =
        |at: usize| f64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| numbers[8 * at + byte]));
    let origin = Pose { x: number(1), y: number(2), yaw: number(3) };
    Ok(Frame { cell_m: number(0), height: count(4), origin, width: count(0) })
}

/// A count in sevens of bits, and what follows it.
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), GridError> {
    let mut number = 0;
    // Four sevens are more than the cells of any grid.
    for (at, byte) in bytes.iter().take(4).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            if *byte == 0 && at > 0 {
                return Err(GridError::File("a run's length is not in its shortest form"));
            }
            return Ok((number, &bytes[at + 1..]));
        }
    }
    Err(GridError::File("a run's length has no end"))
}

fn range(what: &'static str, found: f64, least: f64, most: f64) -> Result<(), GridError> {
    // `contains` is false for NaN.
    if (least..=most).contains(&found) {
        Ok(())
    } else {
        Err(GridError::Range { what, found, least, most })
    }
}
