//! A Nav2 map from outside becomes a place for the demo: a robot that fits, a tour, the world
//! that is simulated and the policy that holds there.

mod boxes;
mod route;

use crate::cells::Layer;
use anyhow::{Context as _, Result, bail};
use nooterra_hal::map;
use nooterra_policy::field::Field;
use nooterra_policy::zones::SLACK_M;
use nooterra_protocol::geometry::Point;
use nooterra_protocol::grid::UNKNOWN;
use nooterra_protocol::ids::ZoneId;
use route::{Ground, Surroundings, Tour};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The most boxes of the simulated world; those furthest from the tour are left out.
const MOST_BOXES: usize = 4_000;

/// A smaller box is less than the simulator takes for a shape, m².
const LEAST_BOX_M2: f64 = 1.1e-4;

const MARGIN_M: f64 = 0.05;

/// Cells with fewer percent of the limit are not driven over: it would take too long.
const TOO_SLOW: u8 = 15;

/// Robots to try, the largest first: half a length, half a width, metres, and a speed in m/s.
const BODIES: [(f64, f64, f64); 3] = [(0.35, 0.25, 1.0), (0.2, 0.15, 0.6), (0.1, 0.08, 0.3)];

/// What was found on a map.
#[derive(Debug)]
pub(crate) struct Survey {
    body: (f64, f64, f64),
    layers: Vec<Layer>,
    map: PathBuf,
    tour: Tour,
}

/// A layer as it is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// Of the style sheet.
    pub(crate) class: &'static str,
    /// For people.
    pub(crate) label: String,
    /// Boxes, by their corners.
    pub(crate) shapes: Vec<[Point; 4]>,
}

impl Survey {
    /// Reads a map and the masks beside it, and finds a tour; `seed` picks one of many.
    pub(crate) fn of(map: &Path, seed: u64) -> Result<Self> {
        let beside = map::beside(map);
        let read = |path: &Path| -> Result<Layer> {
            let grid = map::read(path)?;
            Ok(Layer { grid, id: name(path)?, speed_mps: None })
        };
        let mut layers = vec![read(map)?];
        if let Some(keepout) = &beside.keepout {
            layers.push(read(keepout)?);
        }
        let speed = beside.speed.as_deref().map(read).transpose()?;
        let limited = |least: u8| {
            let slow = move |cell: u8| (1..least).contains(&cell) || cell == UNKNOWN;
            speed.as_ref().map(|layer| field(layer, slow))
        };
        let around = Surroundings {
            forbidden: layers.iter().map(|layer| field(layer, |cell| cell != 0)).collect(),
            slow: limited(100),
            too_slow: limited(TOO_SLOW),
        };
        let frame = layers[0].grid.frame();
        let found = BODIES.iter().find_map(|body| {
            let radius_m = body.0.hypot(body.1) + MARGIN_M + SLACK_M;
            Some((*body, Ground::new(frame, &around, radius_m).tour(seed)?))
        });
        let Some((body, tour)) = found else {
            let free = layers[0].grid.cells().iter().filter(|cell| **cell == 0).count();
            let area = free as f64 * frame.cell_m * frame.cell_m;
            bail!(
                "{}: no tour is possible: {area:.1} m² are free, and nowhere in them can even a \
                 robot of 0.2 m turn, drive 5 m and meet an edge; name a map with more connected \
                 free space, or check its thresholds and its keep-out mask",
                map.display()
            );
        };
        if let Some(speed) = speed {
            layers.push(Layer { speed_mps: Some(body.2), ..speed });
        }
        let map = std::path::absolute(map).with_context(|| map.display().to_string())?;
        Ok(Self { body, layers, map, tour })
    }

    /// The map's file.
    pub(crate) fn map(&self) -> &Path {
        &self.map
    }

    /// Where the robot goes.
    pub(crate) const fn tour(&self) -> &Tour {
        &self.tour
    }

    /// What must be kept to, cell by cell.
    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// In one line.
    pub(crate) fn sentence(&self) -> String {
        let frame = self.layers[0].grid.frame();
        let side = |cells: u32| f64::from(cells) * frame.cell_m;
        format!(
            "{}: {:.0} x {:.0} m, cells of {} m, {} masks; a robot of {} x {} m, a tour of {:.0} m",
            self.layers[0].id,
            side(frame.width),
            side(frame.height),
            frame.cell_m,
            self.layers.len() - 1,
            2.0 * self.body.0,
            2.0 * self.body.1,
            self.tour.length_m
        )
    }

    /// Writes the world and the policy into a robot's folder.
    pub(crate) fn install(&self, dir: &Path) -> Result<()> {
        let policy = serde_json::to_string_pretty(&self.policy()).context("encoding the policy")?;
        for (file, text) in [("world.toml", self.world()), ("policy.json", policy)] {
            let path = dir.join(file);
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn policy(&self) -> Value {
        let (length, width, speed) = self.body;
        let corner = |x: f64, y: f64| json!({"x": x, "y": y});
        json!({
            "id": "map-patrol", "version": 1, "robot": super::robot::ROBOT,
            "stop": "controlled_hold",
            "footprint": {"margin_m": MARGIN_M, "outline": [
                corner(-length, -width), corner(length, -width),
                corner(length, width), corner(-length, width)]},
            "limits": {"max_linear_mps": speed, "max_reverse_mps": 0.3, "max_angular_radps": 1.5,
                "max_linear_accel_mps2": 1.2, "max_decel_mps2": 1.4,
                "max_angular_accel_radps2": 4.0, "reaction_ms": 120},
            "freshness": {"command_ms": 400, "odometry_ms": 200, "journal_ms": 100},
            "zones": []
        })
    }

    fn world(&self) -> String {
        let grid = &self.layers[0].grid;
        let frame = grid.frame();
        let polygon = |corners: [Point; 4]| {
            let corners = corners.map(|p| format!("{{ x = {:.4}, y = {:.4} }}", p.x, p.y));
            format!("[{}]", corners.join(", "))
        };
        let (width, height) = (f64::from(frame.width), f64::from(frame.height));
        let room = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)];
        let room = room.map(|(column, row)| frame.to_map(column, row));
        let mut text = format!("room = {}\nobstacles = [\n", polygon(room));
        for solid in self.solids() {
            let _ = writeln!(text, "  {},", polygon(solid));
        }
        let dock = self.tour.dock;
        let _ = write!(
            text,
            "]\n\n[base]\nmax_linear_mps = 2.2\nmax_wheel_mps = 2.8\nmax_linear_accel_mps2 = 1.5\n\
             max_decel_mps2 = 1.6\nradius_m = {:?}\n\n\
             [dock]\npose = {{ x = {:?}, y = {:?}, yaw = {:?} }}\n",
            self.body.1, dock.x, dock.y, dock.yaw
        );
        text
    }

    /// Boxes around the occupied cells, those near the tour.
    fn solids(&self) -> Vec<[Point; 4]> {
        let grid = &self.layers[0].grid;
        let places: Vec<Point> = [self.tour.dock.point()]
            .into_iter()
            .chain(self.tour.waypoints.iter().copied())
            .collect();
        let off = |solid: &[Point; 4]| {
            places.iter().map(|place| place.distance(solid[0])).fold(f64::INFINITY, f64::min)
        };
        let mut solids: Vec<(f64, [Point; 4])> = boxes::of(grid, |cell| cell == 100)
            .into_iter()
            .map(|cells| cells.corners(grid))
            .filter(|[a, b, _, d]| a.distance(*b) * a.distance(*d) >= LEAST_BOX_M2)
            .map(|solid| (off(&solid), solid))
            .collect();
        solids.sort_by(|a, b| a.0.total_cmp(&b.0));
        solids.truncate(MOST_BOXES);
        solids.into_iter().map(|(_, solid)| solid).collect()
    }

    /// The layers for the report.
    pub(crate) fn drawn(&self) -> Vec<Drawn> {
        let mut drawn = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let shapes = |wanted: &dyn Fn(u8) -> bool| {
                let cells = boxes::of(&layer.grid, wanted);
                cells.iter().map(|cells| cells.corners(&layer.grid)).collect::<Vec<_>>()
            };
            let mut draw = |class, says: &str, wanted: &dyn Fn(u8) -> bool| {
                let label = format!("{}: {says}", layer.id);
                drawn.push(Drawn { class, label, shapes: shapes(wanted) });
            };
            match (layer.speed_mps, index) {
                (Some(_), _) => {
                    let slow = |cell| (1..100).contains(&cell) || cell == UNKNOWN;
                    draw("slow", "slow", &slow);
                }
                (None, 0) => {
                    draw("unknown", "unknown", &|cell| cell != 0 && cell != 100);
                    draw("wall", "occupied", &|cell| cell == 100);
                }
                (None, _) => draw("keep-out", "keep out", &|cell| cell != 0),
            }
        }
        // What is slow lies below what must be kept out of.
        drawn.sort_by_key(|drawn| drawn.class != "slow");
        drawn
    }
}

/// The field around the cells of a layer.
fn field(layer: &Layer, wanted: impl Fn(u8) -> bool) -> Field {
    let cells: Vec<bool> = layer.grid.cells().iter().map(|cell| wanted(*cell)).collect();
    Field::new(layer.grid.frame(), &cells)
}

/// As the agent names a mask: after its file.
fn name(path: &Path) -> Result<ZoneId> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
    let text: String = stem.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    let text = text.trim_start_matches(['.', '-']);
    ZoneId::new(text).with_context(|| format!("{}: its name makes no zone's name", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hall of 12 m by 10 m with walls, a pillar and masks, as three pairs of files.
    fn hall(dir: &Path, edit: impl Fn(&str) -> String) -> PathBuf {
        let (width, height) = (240, 200);
        let image = |grey: &dyn Fn(usize, usize) -> u8| {
            let mut file = format!("P5\n# made by a test\n{width} {height}\n255\n").into_bytes();
            file.extend((0..width * height).map(|at| grey(at % width, at / width)));
            file
        };
        let is_wall = |x: usize, y: usize| {
            x < 4
                || y < 4
                || x >= width - 4
                || y >= height - 4
                || (110..122).contains(&x) && (90..102).contains(&y)
        };
        let map = |x, y| if is_wall(x, y) { 0 } else { 254 };
        let keepout = |x: usize, y: usize| if x > 190 && y > 150 { 0 } else { map(x, y) };
        let speed = |x: usize, _: usize| if (60..90).contains(&x) { 128 } else { 255 };
        let write = |name: &str, mode: &str, thresholds: (f64, f64), image: Vec<u8>| {
            std::fs::write(dir.join(format!("{name}.pgm")), image).unwrap();
            let text = format!(
                "image: {name}.pgm\nmode: {mode}\nresolution: 0.05\norigin: [-4.0, -3.0, 0.4]\n\
                 negate: 0\noccupied_thresh: {:?}\nfree_thresh: {:?}\n",
                thresholds.1, thresholds.0
            );
            std::fs::write(dir.join(format!("{name}.yaml")), edit(&text)).unwrap();
        };
        write("hall", "trinary", (0.25, 0.65), image(&map));
        write("hall_keepout", "trinary", (0.25, 0.65), image(&keepout));
        write("hall_speed", "scale", (0.0, 1.0), image(&speed));
        dir.join("hall.yaml")
    }

    #[test]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn a_map_never_seen_before_gets_a_tour_that_keeps_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let map = hall(dir.path(), str::to_owned);
        for seed in 1..4 {
            let survey = Survey::of(&map, seed).unwrap();
            let tour = survey.tour();
            assert_eq!(survey.layers().len(), 3);
            assert!(tour.waypoints.len() >= 3 && tour.length_m > 5.0, "{tour:?}");
            assert!(tour.forbidden_at + 1 < tour.waypoints.len());
            // Along each leg the whole disc is on free cells, by the cells alone.
            let mut from = tour.dock.point();
            let (length, width, _) = survey.body;
            let radius = length.hypot(width);
            for to in &tour.waypoints {
                let steps = 200;
                for step in 0..=steps {
                    let part = f64::from(step) / f64::from(steps);
                    let at = Point::new(
                        from.x + part * (to.x - from.x),
                        from.y + part * (to.y - from.y),
                    );
                    for grid in survey.layers()[..2].iter().map(|layer| &layer.grid) {
                        for eighth in 0..8 {
                            let angle = f64::from(eighth) * std::f64::consts::FRAC_PI_4;
                            let edge = Point::new(
                                at.x + radius * angle.cos(),
                                at.y + radius * angle.sin(),
                            );
                            let (column, row) = grid.frame().to_cells(edge);
                            let at = |cells: f64| cells.floor() as u32;
                            assert_eq!(grid.cell(at(column), at(row)), 0, "{edge:?}");
                        }
                    }
                }
                from = *to;
            }
        }
        let again = Survey::of(&map, 1).unwrap();
        assert_eq!(again.tour().waypoints, Survey::of(&map, 1).unwrap().tour().waypoints);
    }

    #[test]
    fn the_files_for_the_robot_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let survey = Survey::of(&hall(dir.path(), str::to_owned), 1).unwrap();
        survey.install(dir.path()).unwrap();
        let world = crate::world::read(&dir.path().join("world.toml")).unwrap();
        assert!(world.dock.is_some() && world.shapes.len() >= 6, "{}", world.shapes.len());
        let policy = std::fs::read_to_string(dir.path().join("policy.json")).unwrap();
        let policy: nooterra_protocol::policy::PolicyDocument =
            serde_json::from_str(&policy).unwrap();
        assert_eq!(nooterra_policy::check_document(&policy), Ok(()));
        assert_eq!(survey.drawn().len(), 4);
    }

    #[test]
    fn a_map_without_room_or_without_sense_gets_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let small = hall(dir.path(), |text| text.replace("0.05", "0.001"));
        let error = Survey::of(&small, 1).unwrap_err().to_string();
        assert!(error.contains("no tour is possible"), "{error}");
        let absurd = hall(dir.path(), |text| text.replace("0.05", "0.0"));
        let error = Survey::of(&absurd, 1).unwrap_err().to_string();
        assert!(error.contains("`resolution` is `0.0`"), "{error}");
        let map = hall(dir.path(), str::to_owned);
        std::fs::remove_file(dir.path().join("hall.pgm")).unwrap();
        let error = Survey::of(&map, 1).unwrap_err().to_string();
        assert!(error.contains("hall.pgm"), "{error}");
    }
}
