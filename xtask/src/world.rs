//! The simulated world, as far as a map shows it: walls, solids and the dock.
//!
//! What the file means is the simulator's to say. Here every list of points becomes a shape,
//! so that a world with more in it is still drawn.

use anyhow::{Context as _, Result};
use nooterra_protocol::geometry::{Point, Pose};
use std::path::Path;
use toml::{Table, Value};

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct World {
    /// Where the robot charges.
    pub(crate) dock: Option<Pose>,
    /// Rooms, walls and obstacles.
    pub(crate) shapes: Vec<Shape>,
}

/// A line of points in the `map` frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    /// The key that it stood under, for people.
    pub(crate) name: String,
    /// At least two.
    pub(crate) points: Vec<Point>,
}

/// Reads a world file.
pub(crate) fn read(path: &Path) -> Result<World> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: Table =
        toml::from_str(&text).with_context(|| format!("{} is not TOML", path.display()))?;
    Ok(shown(&table))
}

fn shown(table: &Table) -> World {
    let mut world = World::default();
    walk("", &Value::Table(table.clone()), &mut world);
    world
}

fn walk(key: &str, value: &Value, world: &mut World) {
    if let Some(points) = polyline(value).or_else(|| span(value)) {
        world.shapes.push(Shape { name: key.to_owned(), points });
        return;
    }
    match value {
        Value::Table(table) => {
            if key == "dock" && world.dock.is_none() {
                let inner = table.get("pose").unwrap_or(value);
                world.dock = pose(inner);
            }
            let own = table.get("id").or_else(|| table.get("name")).and_then(Value::as_str);
            for (inner, value) in table {
                // A shape goes by the name of the thing that it outlines.
                let name = if value.is_array() { own.unwrap_or(inner) } else { inner };
                walk(name, value, world);
            }
        }
        Value::Array(items) => {
            for item in items {
                walk(key, item, world);
            }
        }
        _ => {}
    }
}

/// A list of two or more points.
fn polyline(value: &Value) -> Option<Vec<Point>> {
    let points: Vec<Point> = value.as_array()?.iter().map(point).collect::<Option<_>>()?;
    (points.len() >= 2).then_some(points)
}

/// A table with two ends.
fn span(value: &Value) -> Option<Vec<Point>> {
    let table = value.as_table()?;
    if let (Some(from), Some(to)) = (table.get("from"), table.get("to")) {
        return Some(vec![point(from)?, point(to)?]);
    }
    if let (Some(low), Some(high)) = (table.get("min"), table.get("max")) {
        let (low, high) = (point(low)?, point(high)?);
        return Some(vec![low, Point::new(high.x, low.y), high, Point::new(low.x, high.y)]);
    }
    None
}

/// `[x, y]` or `{ x, y }`.
fn point(value: &Value) -> Option<Point> {
    let point = match value {
        Value::Array(pair) if pair.len() == 2 => Point::new(number(&pair[0])?, number(&pair[1])?),
        Value::Table(table) => Point::new(number(table.get("x")?)?, number(table.get("y")?)?),
        _ => return None,
    };
    point.is_finite().then_some(point)
}

fn pose(value: &Value) -> Option<Pose> {
    if let Value::Array(three) = value {
        let [x, y, yaw] = &three[..] else { return None };
        return Some(Pose { x: number(x)?, y: number(y)?, yaw: number(yaw)? });
    }
    let Point { x, y } = point(value)?;
    let yaw = value.get("yaw").and_then(number).unwrap_or(0.0);
    Some(Pose { x, y, yaw })
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        // Coordinates are metres: far below where an integer is rounded.
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walls_solids_and_the_dock_are_found_however_points_are_written() {
        let text = r#"
            seed = 7
            [dock]
            x = 1.0
            y = 2
            yaw = 1.5
            [room]
            outline = [[0, 0], [12, 0], [12, 8.5], [0, 8.5]]
            [[obstacles]]
            name = "press"
            polygon = [{ x = 4, y = 3 }, { x = 5, y = 3 }, { x = 5, y = 4 }]
            [[walls]]
            from = [2, 2]
            to = [3, 2]
        "#;
        let world = shown(&toml::from_str(text).unwrap());
        assert_eq!(world.dock, Some(Pose { x: 1.0, y: 2.0, yaw: 1.5 }));
        let names: Vec<(&str, usize)> =
            world.shapes.iter().map(|shape| (shape.name.as_str(), shape.points.len())).collect();
        assert!(names.contains(&("press", 3)) && names.contains(&("outline", 4)), "{names:?}");
        assert!(names.contains(&("walls", 2)), "{names:?}");
    }

    #[test]
    fn what_is_no_shape_is_no_error() {
        let world =
            shown(&toml::from_str("a = [1, 2]\nb = [[1, nan], [2, 3]]\n[dock]\nx = 'q'").unwrap());
        assert_eq!(world, World::default());
    }
}
