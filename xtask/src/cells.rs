//! Did the robot stay on the cells where it may be? Asked of the simulator's true poses and of
//! a map's own cells. Nothing here is shared with the gate that is being judged: no distance
//! field, no disc, but the true outline against the square of each cell.

use crate::truth::Truth;
use crate::zones::{Exit, SpeedZone, ZoneCheck, gap, outline_at};
use nooterra_protocol::geometry::Point;
use nooterra_protocol::grid::{Frame, Grid, UNKNOWN};
use nooterra_protocol::ids::ZoneId;

/// Clearance is measured up to here, metres.
const LOOK_M: f64 = 0.5;

/// Clearance is measured at one pose of so many; exits are looked for at each.
const EACH: usize = 10;

/// A grid of cells and what they mean.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The cells.
    pub(crate) grid: Grid,
    /// What they are drawn and named as.
    pub(crate) id: ZoneId,
    /// The limit that a cell of 100 stands for, m/s; none for a layer that is kept out of.
    pub(crate) speed_mps: Option<f64>,
}

/// Adds what the layers say to what the zones said.
pub(crate) fn check(layers: &[Layer], outline: &[Point], truth: &[Truth], result: &mut ZoneCheck) {
    for layer in layers {
        match layer.speed_mps {
            None => keep_out(layer, outline, truth, result),
            Some(full_mps) => speed(layer, full_mps, outline, truth, result),
        }
    }
}

fn keep_out(layer: &Layer, outline: &[Point], truth: &[Truth], result: &mut ZoneCheck) {
    for (index, sample) in truth.iter().enumerate() {
        let robot = outline_at(outline, sample.pose);
        if touched(&layer.grid, &robot).any(|cell| cell != 0) {
            result.exits += 1;
            result.first_exit.get_or_insert_with(|| Exit {
                mono_ns: sample.mono_ns,
                pose: sample.pose,
                zone: Some(layer.id.clone()),
            });
            result.keep_out_clearance_m = Some(0.0);
        } else if index % EACH == 0 {
            let found = clearance(layer, &robot);
            let before = result.keep_out_clearance_m.unwrap_or(LOOK_M);
            result.keep_out_clearance_m = Some(before.min(found));
        }
    }
}

/// From the outline to the nearest cell that is not free, or [`LOOK_M`].
fn clearance(layer: &Layer, robot: &[Point]) -> f64 {
    let frame = layer.grid.frame();
    squares(frame, robot, LOOK_M)
        .filter(|(column, row)| value(&layer.grid, *column, *row) != 0)
        .map(|(column, row)| gap(&square(frame, column, row), robot))
        .fold(LOOK_M, f64::min)
}

fn speed(layer: &Layer, full: f64, outline: &[Point], truth: &[Truth], result: &mut ZoneCheck) {
    // The slowest limit that was met, and the fastest that was driven under each.
    let mut met: Vec<(u8, f64)> = Vec::new();
    for sample in truth {
        let robot = outline_at(outline, sample.pose);
        // The lowest of the limits; unknown is below all.
        let cells =
            touched(&layer.grid, &robot).filter(|cell| (1..100).contains(cell) || *cell == UNKNOWN);
        let Some(lowest) = cells.map(|cell| if cell == UNKNOWN { 0 } else { cell }).min() else {
            continue;
        };
        let speed = sample.linear_mps.abs();
        match met.iter_mut().find(|(cell, _)| *cell == lowest) {
            Some((_, most)) => *most = most.max(speed),
            None => met.push((lowest, speed)),
        }
    }
    met.sort_by_key(|(cell, _)| *cell);
    for (cell, max_mps) in met {
        let limit_mps = full * f64::from(cell) / 100.0;
        result.speed_zones.push(SpeedZone { limit_mps, max_mps, zone: layer.id.clone() });
    }
}

/// The values of the cells that the outline touches.
fn touched<'a>(grid: &'a Grid, robot: &'a [Point]) -> impl Iterator<Item = u8> + 'a {
    let frame = grid.frame();
    squares(frame, robot, 0.0)
        .map(|(column, row)| (value(grid, column, row), column, row))
        // Most cells are free, and free ones need no geometry.
        .filter(|(value, ..)| *value != 0)
        .filter(|(_, column, row)| overlap(&square(frame, *column, *row), robot))
        .map(|(value, ..)| value)
}

/// A cell; unknown where there is none.
fn value(grid: &Grid, column: i64, row: i64) -> u8 {
    match (u32::try_from(column), u32::try_from(row)) {
        (Ok(column), Ok(row)) => grid.cell(column, row),
        _ => UNKNOWN,
    }
}

/// All cells within a rectangle around a shape, `more_m` larger than it.
fn squares(
    frame: &Frame,
    shape: &[Point],
    more_m: f64,
) -> impl Iterator<Item = (i64, i64)> + use<> {
    let (sin, cos) = frame.origin.yaw.sin_cos();
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for point in shape {
        let (x, y) = (point.x - frame.origin.x, point.y - frame.origin.y);
        for (axis, at) in [x * cos + y * sin, y * cos - x * sin].into_iter().enumerate() {
            low[axis] = low[axis].min((at - more_m) / frame.cell_m);
            high[axis] = high[axis].max((at + more_m) / frame.cell_m);
        }
    }
    let range = |axis: usize| whole(low[axis])..=whole(high[axis]);
    let columns = range(0);
    range(1).flat_map(move |row| columns.clone().map(move |column| (column, row)))
}

/// The cell that a place lies in, along one axis.
#[allow(clippy::cast_possible_truncation)]
fn whole(cells: f64) -> i64 {
    // Beyond what an i64 counts the cast ends at its ends; no cell is there either.
    cells.floor() as i64
}

/// A cell's corners in the `map` frame.
fn square(frame: &Frame, column: i64, row: i64) -> [Point; 4] {
    let (sin, cos) = frame.origin.yaw.sin_cos();
    [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)].map(|(right, up)| {
        let (x, y) = (column as f64 + right, row as f64 + up);
        let (x, y) = (x * frame.cell_m, y * frame.cell_m);
        Point::new(frame.origin.x + x * cos - y * sin, frame.origin.y + x * sin + y * cos)
    })
}

/// Two convex shapes have a point in common: no side of either parts them.
fn overlap(a: &[Point], b: &[Point]) -> bool {
    !is_parted(a, b) && !is_parted(b, a)
}

fn is_parted(shape: &[Point], other: &[Point]) -> bool {
    let next = shape.iter().cycle().skip(1);
    shape.iter().zip(next).any(|(from, to)| {
        let normal = Point::new(to.y - from.y, from.x - to.x);
        let span = |of: &[Point]| {
            of.iter()
                .map(|p| p.x * normal.x + p.y * normal.y)
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| {
                    (low.min(at), high.max(at))
                })
        };
        let ((low, high), (other_low, other_high)) = (span(shape), span(other));
        other_low > high || low > other_high
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::geometry::Pose;

    fn layer(cells: Vec<u8>, speed_mps: Option<f64>) -> Layer {
        let origin = Pose { x: 10.0, y: -4.0, yaw: std::f64::consts::FRAC_PI_2 };
        let frame = Frame { cell_m: 1.0, height: 3, origin, width: 3 };
        let id = ZoneId::new("layer").unwrap();
        Layer { grid: Grid::new(frame, cells).unwrap(), id, speed_mps }
    }

    fn at(x: f64, y: f64, linear_mps: f64) -> Truth {
        let pose = Pose { x, y, yaw: 0.3 };
        Truth { angular_radps: 0.0, linear_mps, mono_ns: 7, pose }
    }

    fn checked(layer: Layer, truth: &[Truth]) -> ZoneCheck {
        let mut result = ZoneCheck {
            exits: 0,
            first_exit: None,
            keep_in_clearance_m: None,
            keep_out_clearance_m: None,
            samples: truth.len(),
            speed_zones: Vec::new(),
        };
        let outline = [(-0.2, -0.1), (0.2, -0.1), (0.2, 0.1), (-0.2, 0.1)];
        let outline = outline.map(|(x, y)| Point::new(x, y));
        check(&[layer], &outline, truth, &mut result);
        result
    }

    #[test]
    fn a_pose_on_a_forbidden_cell_or_off_the_map_is_an_exit() {
        // Rotated by a quarter: columns run north, rows run west. The middle cell is forbidden.
        let cells = vec![0, 0, 0, 0, 100, 0, 0, 0, 0];
        let free = checked(layer(cells.clone(), None), &[at(9.5, -3.5, 1.0)]);
        assert_eq!(free.exits, 0);
        // Half a metre to the map's edge, less what the turned outline reaches east.
        let expected = 0.5 - (0.2 * 0.3_f64.cos() + 0.1 * 0.3_f64.sin());
        assert!((free.keep_out_clearance_m.unwrap() - expected).abs() < 1e-9, "{free:?}");
        for (x, y) in [(8.5, -2.5), (9.1, -2.5), (10.1, -3.5), (50.0, 50.0)] {
            let result = checked(layer(cells.clone(), None), &[at(x, y, 0.0)]);
            assert_eq!(result.exits, 1, "{x} {y}");
            assert_eq!(result.first_exit.unwrap().zone.unwrap().as_str(), "layer");
        }
    }

    #[test]
    fn the_fastest_on_each_limit_is_found() {
        let cells = vec![20, 0, 0, 0, 50, 0, 0, 0, 0];
        let truth = [at(9.5, -3.5, 0.1), at(9.5, -3.5, -0.3), at(8.5, -2.5, 0.4)];
        let result = checked(layer(cells, Some(1.0)), &truth);
        let found: Vec<(f64, f64)> =
            result.speed_zones.iter().map(|zone| (zone.limit_mps, zone.max_mps)).collect();
        assert_eq!(found, [(0.2, 0.3), (0.5, 0.4)]);
        assert_eq!(result.exits, 0);
    }
}
