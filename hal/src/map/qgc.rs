//! Fences in QGroundControl's plans (`.plan`): JSON, of which `geoFence` and the planned home
//! position are read and the rest is left alone. The format is in QGroundControl's developer
//! guide, "Plan File Format".
//!
//! `geoFence` has version 2 (lists of polygons and circles, each to stay in or out of) or the
//! older version 1 (one polygon to stay in). `breachReturn` is where to return to.

use super::fence::{Area, Fence, FenceError, Format, Outline, open_ring};
use super::geodesy::Geodetic;
use serde::Deserialize;

/// `MAV_AUTOPILOT_PX4`; PX4 stays in any one of several areas.
const PX4: i64 = 12;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    file_type: Option<String>,
    geo_fence: Option<GeoFence>,
    mission: Option<Mission>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeoFence {
    breach_return: Option<Vec<f64>>,
    #[serde(default)]
    circles: Vec<CircleArea>,
    /// Version 1.
    polygon: Option<Vec<Vec<f64>>>,
    #[serde(default)]
    polygons: Vec<PolygonArea>,
    version: i64,
}

#[derive(Debug, Deserialize)]
struct CircleArea {
    circle: Circle,
    inclusion: bool,
}

#[derive(Debug, Deserialize)]
struct Circle {
    center: Vec<f64>,
    radius: f64,
}

#[derive(Debug, Deserialize)]
struct PolygonArea {
    inclusion: bool,
    polygon: Vec<Vec<f64>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mission {
    firmware_type: Option<i64>,
    planned_home_position: Option<Vec<Option<f64>>>,
}

/// Reads a plan.
pub(super) fn parse(text: &str) -> Result<Fence, FenceError> {
    let plan: Plan = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        if error.is_eof() {
            let at = format!("line {line}, column {column}");
            return FenceError::Cut { at, what: "the JSON does not end".to_owned() };
        }
        let what = error.to_string();
        // serde_json ends its message with the place, which stands in front here.
        let place = format!(" at line {line} column {column}");
        let what = what.strip_suffix(&place).unwrap_or(&what).to_owned();
        FenceError::Syntax { column, line, what }
    })?;
    if plan.file_type.as_deref() != Some("Plan") {
        return Err(FenceError::Foreign);
    }
    let Some(fence) = plan.geo_fence else {
        return Err(FenceError::Empty("the plan has no `geoFence`"));
    };
    if !(1..=2).contains(&fence.version) {
        let what = format!("is {}; versions 1 and 2 are read", fence.version);
        return Err(FenceError::Shape { at: "geoFence.version".to_owned(), what });
    }
    let mut areas = Vec::new();
    if let Some(polygon) = fence.polygon.filter(|polygon| !polygon.is_empty()) {
        areas.push(polygon_area("geoFence.polygon".to_owned(), true, &polygon)?);
    }
    for (index, area) in fence.polygons.iter().enumerate() {
        let at = format!("geoFence.polygons[{index}]");
        areas.push(polygon_area(at, area.inclusion, &area.polygon)?);
    }
    for (index, CircleArea { circle, inclusion }) in fence.circles.iter().enumerate() {
        let at = format!("geoFence.circles[{index}]");
        let centre = place(&format!("{at}.circle.center"), &circle.center)?;
        let outline = Outline::Circle { centre, radius_m: circle.radius };
        areas.push(Area { at, inclusive: *inclusion, outline });
    }
    if areas.is_empty() {
        return Err(FenceError::Empty("the plan's `geoFence` has no polygon and no circle"));
    }
    let return_point = match fence.breach_return.as_deref() {
        None | Some([]) => None,
        Some(numbers) => Some(place("geoFence.breachReturn", numbers)?),
    };
    let mission = plan.mission.as_ref();
    Ok(Fence {
        any_of: mission.and_then(|mission| mission.firmware_type) == Some(PX4),
        areas,
        format: Format::Plan,
        home: mission.map_or(Ok(None), home)?,
        return_point: return_point.filter(|place| place.was_set()),
    })
}

fn polygon_area(at: String, inclusive: bool, corners: &[Vec<f64>]) -> Result<Area, FenceError> {
    let corners: Vec<Geodetic> = corners
        .iter()
        .enumerate()
        .map(|(index, numbers)| place(&format!("{at}.polygon[{index}]"), numbers))
        .collect::<Result<_, _>>()?;
    Ok(Area { at, inclusive, outline: Outline::Polygon(open_ring(corners)) })
}

fn place(at: &str, numbers: &[f64]) -> Result<Geodetic, FenceError> {
    match *numbers {
        [lat, lon] => Geodetic::new(at, lat, lon, 0.0),
        [lat, lon, alt] => Geodetic::new(at, lat, lon, alt),
        _ => {
            let what = format!("has {} numbers; a place is [latitude, longitude]", numbers.len());
            Err(FenceError::Shape { at: at.to_owned(), what })
        }
    }
}

/// Written as null or zeros while nobody has set it.
fn home(mission: &Mission) -> Result<Option<Geodetic>, FenceError> {
    let Some(numbers) = &mission.planned_home_position else { return Ok(None) };
    let numbers: Option<Vec<f64>> = numbers.iter().copied().collect();
    let Some(numbers) = numbers else { return Ok(None) };
    let home = place("mission.plannedHomePosition", &numbers)?;
    Ok(Some(home).filter(|home| home.was_set()))
}

#[cfg(test)]
mod tests {
    use super::super::fence::parse;
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    const PLAN: &str = r#"{
  "fileType": "Plan",
  "geoFence": {
    "breachReturn": [52.0001, 4.0001, 40],
    "circles": [
      { "circle": { "center": [52.0005, 4.0005], "radius": 12.5 }, "inclusion": false, "version": 1 }
    ],
    "polygons": [
      { "inclusion": true, "version": 1,
        "polygon": [[51.999, 3.999], [52.001, 3.999], [52.001, 4.001], [51.999, 4.001]] },
      { "inclusion": false, "version": 1,
        "polygon": [[51.999, 3.999], [52.000, 3.999], [52.000, 4.000]] }
    ],
    "version": 2
  },
  "groundStation": "QGroundControl",
  "mission": { "firmwareType": 12, "plannedHomePosition": [52.0, 4.0, 3.5], "items": [] },
  "rallyPoints": { "points": [], "version": 2 },
  "version": 1
}"#;

    fn refused(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_plan_gives_its_areas_home_and_return_point() {
        let fence = parse(PLAN.as_bytes()).unwrap();
        let kinds: Vec<bool> = fence.areas.iter().map(|area| area.inclusive).collect();
        assert_eq!(kinds, [true, false, false]);
        assert!(fence.any_of, "PX4 stays in any one of several areas");
        let plane = fence.on_plane(None, false).unwrap();
        assert_eq!(plane.datum, fence.home.unwrap());
        let corner = plane.areas[0].polygon[0];
        // A thousandth of a degree is 111.3 m of latitude and 68.7 m of longitude here.
        assert!((corner.x + 68.7).abs() < 0.1 && (corner.y + 111.3).abs() < 0.1, "{corner:?}");
        assert!(plane.areas[2].circle && plane.return_point.is_some());
    }

    #[test]
    fn an_older_plan_has_one_polygon_and_may_close_its_ring() {
        let text = r#"{"fileType":"Plan","version":1,"geoFence":{"version":1,
            "breachReturn":[52.0,4.0],
            "polygon":[[51.999,3.999],[52.001,3.999],[52.001,4.001],[51.999,3.999]]}}"#;
        let fence = parse(text.as_bytes()).unwrap();
        let Outline::Polygon(corners) = &fence.areas[0].outline else { panic!("no polygon") };
        assert_eq!((corners.len(), fence.areas[0].inclusive, fence.any_of), (3, true, false));
        assert!(fence.return_point.is_some() && fence.home.is_none());
    }

    #[test]
    fn what_no_plan_says_is_refused_with_its_place() {
        for (from, to, part) in [
            ("\"Plan\"", "\"Mission\"", "is no fence file"),
            (
                "[51.999, 3.999], [52.001",
                "[151.999, 3.999], [52.001",
                "polygons[0].polygon[0]: latitude",
            ),
            ("[52.0005, 4.0005]", "[4.0005, 252.0]", "circles[0].circle.center: longitude 252"),
            ("[52.0005, 4.0005]", "[52.0005]", "has 1 numbers; a place is"),
            ("12.5", "-1", "circles[0]: a radius of -1 m"),
            ("12.5", "\"wide\"", "line 6, column"),
            ("12.5", "NaN", "line 6, column"),
            (
                "\"version\": 2\n  },\n  \"ground",
                "\"version\": 3\n  },\n  \"ground",
                "versions 1 and 2",
            ),
            ("[52.0, 4.0, 3.5]", "[52.0, 400, 3.5]", "plannedHomePosition: longitude"),
            (
                ", [52.000, 3.999], [52.000, 4.000]]",
                ", [52.000, 4.000]]",
                "polygons[1]: has 2 corners",
            ),
        ] {
            assert!(PLAN.contains(from), "{from}");
            let text = PLAN.replacen(from, to, 1);
            assert!(refused(&text).contains(part), "{to}: {}", refused(&text));
        }
        assert!(refused("{\"type\":\"FeatureCollection\"}").contains("is no fence file"));
        assert!(refused("{\"fileType\":\"Plan\"}").contains("has no `geoFence`"));
        let empty = "{\"fileType\":\"Plan\",\"geoFence\":{\"version\":2}}";
        assert!(refused(empty).contains("no polygon and no circle"));
    }

    #[test]
    fn every_cut_of_a_plan_is_noticed() {
        for keep in 1..PLAN.len() {
            let error = refused(&PLAN[..keep]);
            assert!(error.contains("was cut"), "{keep}: {error}");
        }
    }

    #[test]
    fn a_home_that_was_never_set_is_none() {
        for unset in ["[0, 0, 0]", "[null, null, null]", "null"] {
            let text = PLAN.replace("[52.0, 4.0, 3.5]", unset);
            assert_eq!(parse(text.as_bytes()).unwrap().home, None, "{unset}");
        }
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let deep = format!("{{\"fileType\":{}", "[".repeat(100_000));
        assert!(refused(&deep).contains("line 1"));
    }

    proptest! {
        #[test]
        fn no_mutation_makes_it_panic(
            at in any::<prop::sample::Index>(), letters in "[\\PC\n]{0,4}",
        ) {
            let mut text = PLAN.to_owned();
            let at = at.index(text.len());
            text.replace_range(at..=at, &letters);
            if let Ok(fence) = parse(text.as_bytes()) {
                let _ = fence.on_plane(None, true);
            }
        }
    }
}
