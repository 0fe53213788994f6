//! Where the demo plays: the example's hall, or a map from outside.

use super::plan;
use super::survey::Survey;
use anyhow::Result;
use nooterra_protocol::geometry::Point;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// What differs from place to place.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Sent when `command_at` is reached: straight into what must be kept out of.
    pub(crate) command: Value,
    /// A checkpoint of the patrol.
    pub(crate) command_at: String,
    /// How long the patrol may take, seconds.
    pub(crate) patrol_s: u32,
    /// Of a map from outside.
    pub(crate) survey: Option<Survey>,
    /// Where the patrol goes, in the `map` frame.
    pub(crate) waypoints: Vec<(String, Point)>,
}

impl Scene {
    /// The hall of `examples/robots/amr`, or a Nav2 map.
    pub(crate) fn new(map: Option<&Path>, seed: u64) -> Result<Self> {
        let Some(map) = map else {
            return Ok(Self {
                command: plan::command(),
                command_at: plan::COMMAND_AT.to_owned(),
                patrol_s: 900,
                survey: None,
                waypoints: plan::WAYPOINTS
                    .iter()
                    .map(|(name, point)| ((*name).to_owned(), *point))
                    .collect(),
            });
        };
        let survey = Survey::of(map, seed)?;
        let tour = survey.tour();
        Ok(Self {
            command: plan::drive_to(tour.forbidden),
            command_at: format!("waypoint-{}", tour.forbidden_at + 1),
            patrol_s: 900,
            waypoints: tour.waypoints.iter().copied().enumerate().map(named).collect(),
            survey: Some(survey),
        })
    }

    /// For the whole job.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(2 * u64::from(self.patrol_s))
    }
}

/// A to Z, then by number.
fn named((index, point): (usize, Point)) -> (String, Point) {
    let letter = u8::try_from(index).ok().filter(|index| *index < 26).map(|index| b'A' + index);
    let name =
        letter.map_or_else(|| (index + 1).to_string(), |letter| char::from(letter).to_string());
    (name, point)
}
