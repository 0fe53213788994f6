//! The grid file: what was written is read, and nothing else is.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::grid::{Frame, Grid, GridError, MAX_CELLS, UNKNOWN};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

fn frame(width: u32, height: u32) -> Frame {
    let origin = Pose { x: -15.1, y: -25.0, yaw: 0.3 };
    Frame { cell_m: 0.05, height, origin, width }
}

fn grid() -> impl Strategy<Value = Grid> {
    (1_u32..40, 1_u32..40).prop_flat_map(|(width, height)| {
        let cell = prop::sample::select(vec![0_u8, 0, 0, 20, 100, UNKNOWN]);
        prop::collection::vec(cell, (width * height) as usize)
            .prop_map(move |cells| Grid::new(frame(width, height), cells).unwrap())
    })
}

proptest! {
    #[test]
    fn a_grid_survives_its_file(grid in grid()) {
        prop_assert_eq!(&Grid::decode(&grid.encode()).unwrap(), &grid);
    }

    #[test]
    fn an_altered_file_is_refused_or_is_the_one_file_of_what_it_reads_as(
        grid in grid(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
    ) {
        let mut file = grid.encode();
        let at = at.index(file.len());
        if cut { file.truncate(at) } else { file[at] = byte }
        if let Ok(read) = Grid::decode(&file) {
            prop_assert!(read.encode() == file, "two files for one grid");
        }
    }

    #[test]
    fn a_place_in_cells_and_back_is_the_same_place(x in -50.0..50.0, y in -50.0..50.0) {
        let frame = frame(10, 10);
        let (column, row) = frame.to_cells(Point::new(x, y));
        prop_assert!(frame.to_map(column, row).distance(Point::new(x, y)) < 1e-9);
    }
}

#[test]
fn a_grid_of_a_hundred_million_cells_is_refused_by_its_header() {
    let mut file = Grid::new(frame(1, 1), vec![0]).unwrap().encode();
    file[8..16].copy_from_slice(&[0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10]);
    let error = Grid::decode(&file).unwrap_err();
    assert_eq!(error, GridError::Size { width: 10_000, height: 10_000 });
    assert!(error.to_string().contains(&MAX_CELLS.to_string()));
}

#[test]
fn cells_that_do_not_fill_the_rectangle_and_numbers_that_are_none_are_refused() {
    let count = Grid::new(frame(2, 2), vec![0; 3]).unwrap_err();
    assert_eq!(count, GridError::Count { found: 3, width: 2, height: 2 });
    let cell = Grid::new(frame(2, 1), vec![0, 101]).unwrap_err();
    assert_eq!(cell, GridError::Cell { index: 1, found: 101 });
    for cell_m in [0.0, -0.05, f64::NAN, f64::INFINITY, 50.0] {
        let error = Frame { cell_m, ..frame(1, 1) }.check().unwrap_err();
        assert!(error.to_string().contains("must be 0.001 to 10 m"), "{error}");
    }
    assert!(frame(0, 5).check().is_err());
}

#[test]
fn outside_a_grid_nothing_is_known() {
    let grid = Grid::new(frame(2, 1), vec![0, 7]).unwrap();
    assert_eq!(
        [grid.cell(0, 0), grid.cell(1, 0), grid.cell(2, 0), grid.cell(0, 1)],
        [0, 7, UNKNOWN, UNKNOWN]
    );
}

#[test]
fn the_file_is_a_header_and_runs_of_equal_cells() {
    let origin = Pose { x: 1.0, y: -2.0, yaw: 0.0 };
    let frame = Frame { cell_m: 0.5, height: 2, origin, width: 150 };
    let mut cells = vec![0; 200];
    cells.resize(299, 100);
    cells.push(UNKNOWN);
    let file = Grid::new(frame, cells).unwrap().encode();
    let mut expected = b"noogrid1\0\0\0\x96\0\0\0\x02".to_vec();
    for number in [0.5_f64, 1.0, -2.0, 0.0] {
        expected.extend(number.to_be_bytes());
    }
    // The value, then one less than how many, in sevens of bits.
    expected.extend([0, 0x80 | 71, 1, 100, 98, UNKNOWN, 0]);
    assert_eq!(file, expected);
}
