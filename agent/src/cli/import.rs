//! `nooterra-agent policy import`: fences as drones have them, as zones of a policy.
//!
//! What is printed is TOML as policies are written, to paste or, with `--into`, to append; the
//! zones are then checked with the whole policy. A Nav2 map holds cells and no zones; for one
//! the command says how it is signed with a policy.

use super::exit::{Code, coded};
use super::{Answer, masks};
use crate::{files, policy_file};
use anyhow::Context as _;
use nooterra_hal::map;
use nooterra_hal::map::fence::{self, Fence, PlaneArea, PlaneFence};
use nooterra_hal::map::geodesy::Geodetic;
use nooterra_protocol::grid::UNKNOWN;
use nooterra_protocol::ids::ZoneId;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Corners in one line of text.
const CORNERS_A_LINE: usize = 3;

#[derive(clap::Args, Debug)]
pub(super) struct Import {
    /// A QGroundControl plan, a `QGC WPL 110` file, ArduPilot's fence points, or a Nav2 map.
    file: PathBuf,
    /// Any one of several areas to stay in is enough, where the file does not say so.
    #[arg(long)]
    any_of: bool,
    /// Where the robot's map frame has its origin; without it the fence's home position, its
    /// return point or its first point, in this order.
    #[arg(long, value_name = "LAT,LON[,ALT]", allow_hyphen_values = true)]
    datum: Option<Datum>,
    /// Append the zones to this policy, if it then is in order.
    #[arg(long, value_name = "POLICY.toml")]
    into: Option<PathBuf>,
    /// The zones are called NAME-1, NAME-2 and so on; without it after the file.
    #[arg(long, value_name = "NAME")]
    name: Option<ZoneId>,
}

/// A place on the command line.
#[derive(Clone, Copy, Debug)]
struct Datum(Geodetic);

impl FromStr for Datum {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<f64>> =
            text.split(',').map(|number| number.trim().parse().ok()).collect();
        let (lat, lon, alt) = match numbers.as_deref() {
            Some([lat, lon]) => (*lat, *lon, 0.0),
            Some([lat, lon, alt]) => (*lat, *lon, *alt),
            _ => return Err("write LAT,LON or LAT,LON,ALT, as in 47.3769,8.5417".to_owned()),
        };
        Geodetic::new("the datum", lat, lon, alt).map(Self).map_err(|error| error.to_string())
    }
}

impl Import {
    pub(super) fn answer(&self) -> anyhow::Result<Answer> {
        let wrong = |error: anyhow::Error| coded(Code::Configuration, error);
        let extension = self.file.extension().unwrap_or_default();
        if extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml") {
            return self.nav2().map_err(wrong);
        }
        let fence = fence::read(&self.file).map_err(|error| wrong(error.into()))?;
        let plane = fence
            .on_plane(self.datum.map(|datum| datum.0), self.any_of)
            .with_context(|| self.file.display().to_string())
            .map_err(wrong)?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => masks::name(&self.file).map_err(wrong)?,
        };
        let names = (1..=plane.areas.len())
            .map(|number| ZoneId::new(format!("{name}-{number}")))
            .collect::<Result<Vec<_>, _>>()
            .context("give the zones a shorter --name")
            .map_err(wrong)?;
        let text = self.text(&fence, &plane, &names);
        let json = json(&fence, &plane, &names, &text);
        match &self.into {
            None => Ok(Answer::done(text.trim_end(), json)),
            Some(policy) => append(policy, &text, &names, json),
        }
    }

    fn text(&self, fence: &Fence, plane: &PlaneFence, names: &[ZoneId]) -> String {
        let inside = plane.areas.iter().filter(|area| area.inclusive).count();
        let file = self.file.file_name().unwrap_or_default().to_string_lossy();
        let datum = plane.datum;
        // Of a file's name, only what cannot end the comment.
        let file: String = file.chars().filter(|letter| !letter.is_control()).collect();
        let mut text = format!(
            "# From {file} ({}): {inside} to stay in, {} to stay out of.\n\
             # The map frame has its origin at latitude {}, longitude {}, altitude {} m\n\
             # ({}); x is east and y north.\n",
            fence.format.name(),
            plane.areas.len() - inside,
            datum.lat_deg(),
            datum.lon_deg(),
            datum.alt_m(),
            plane.datum_from.name(),
        );
        if let Some(place) = plane.return_point {
            let (x, y) = (metres(place.x), metres(place.y));
            let _ = writeln!(text, "# The point to return to is x = {x}, y = {y}.");
        }
        for (area, name) in plane.areas.iter().zip(names) {
            let _ = write!(
                text,
                "\n[[zones]]\nid = \"{name}\"\nrule = {{ type = \"{}\" }}\n",
                rule(area)
            );
            if area.circle {
                text.push_str("# A circle, as the polygon that errs on the safe side of it.\n");
            }
            text.push_str("polygon = [\n");
            for corners in area.polygon.chunks(CORNERS_A_LINE) {
                let corners: Vec<String> = corners
                    .iter()
                    .map(|corner| {
                        format!("{{ x = {}, y = {} }},", metres(corner.x), metres(corner.y))
                    })
                    .collect();
                let _ = writeln!(text, "  {}", corners.join(" "));
            }
            text.push_str("]\n");
        }
        text
    }

    /// What a map holds, and how it becomes masks.
    fn nav2(&self) -> anyhow::Result<Answer> {
        anyhow::ensure!(
            self.into.is_none(),
            "{}: a Nav2 map is no zone; sign the policy with --map {} instead",
            self.file.display(),
            self.file.display()
        );
        let grid = map::read(&self.file)?;
        let frame = grid.frame();
        let beside = map::beside(&self.file);
        let masks: Vec<String> = [Some(self.file.clone()), beside.keepout, beside.speed]
            .into_iter()
            .flatten()
            .map(|file| file.display().to_string())
            .collect();
        let kept = grid.cells().iter().filter(|cell| **cell != 0).count();
        let unknown = grid.cells().iter().filter(|cell| **cell == UNKNOWN).count();
        let sign = format!(
            "nooterra-agent policy sign POLICY.toml --map {} --key OWNER.pem --out policy.cbor",
            self.file.display()
        );
        let text = format!(
            "# {}: {} x {} cells of {} m; kept out of {kept}, of which {unknown} are unknown.\n\
             # A map is cells, not zones. Its masks are {}.\n\
             # They are added when the policy is signed:\n#   {sign}",
            self.file.display(),
            frame.width,
            frame.height,
            frame.cell_m,
            masks.join(", "),
        );
        let cells = json!({ "all": grid.cells().len(), "kept_out": kept, "unknown": unknown });
        let json = json!({
            "format": "Nav2 map", "zones": [], "masks": masks, "cells": cells, "sign": sign,
        });
        Ok(Answer::done(text, json))
    }
}

fn append(policy: &Path, zones: &str, names: &[ZoneId], mut json: Value) -> anyhow::Result<Answer> {
    let wrong = |error: anyhow::Error| coded(Code::Configuration, error);
    if !policy.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
        let text = format!("{}: zones are appended to policies in TOML only", policy.display());
        return Err(wrong(anyhow::Error::msg(text)));
    }
    // What was wrong before is not the fence's fault.
    policy_file::load(policy).map_err(|error| wrong(error.into()))?;
    let old = std::fs::read_to_string(policy).with_context(|| policy.display().to_string())?;
    let new = format!("{}\n\n{zones}", old.trim_end());
    policy_file::parse(&new, policy).map_err(|error| {
        wrong(anyhow::Error::from(error).context("with the zones the policy is not in order"))
    })?;
    files::write_whole(policy, new.as_bytes(), 0o644)
        .with_context(|| policy.display().to_string())?;
    let text = format!(
        "{}: {} zones added ({}); raise its version and sign it",
        policy.display(),
        names.len(),
        names.iter().map(ZoneId::as_str).collect::<Vec<_>>().join(", "),
    );
    json["into"] = json!(policy);
    Ok(Answer::done(text, json))
}

fn json(fence: &Fence, plane: &PlaneFence, names: &[ZoneId], text: &str) -> Value {
    let zones: Vec<Value> = plane
        .areas
        .iter()
        .zip(names)
        .map(|(area, id)| {
            let rule = json!({ "type": rule(area) });
            json!({ "id": id, "rule": rule, "polygon": area.polygon })
        })
        .collect();
    let datum = plane.datum;
    json!({
        "format": fence.format.name(),
        "datum": {
            "lat_deg": datum.lat_deg(),
            "lon_deg": datum.lon_deg(),
            "alt_m": datum.alt_m(),
            "from": plane.datum_from.name(),
        },
        "return_point": plane.return_point,
        "zones": zones,
        "toml": text,
    })
}

const fn rule(area: &PlaneArea) -> &'static str {
    if area.inclusive { "keep_in" } else { "keep_out" }
}

/// Millimetres are finer than any fence is drawn. TOML has a -0 that people do not.
fn metres(number: f64) -> String {
    let text = format!("{number:.3}");
    if text == "-0.000" { "0.000".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datum_is_two_or_three_numbers_that_are_a_place() {
        let datum: Datum = "-35.36, 149.16,584".parse().unwrap();
        assert_eq!((datum.0.lat_deg(), datum.0.alt_m()), (-35.36, 584.0));
        assert!("47.1,8.2".parse::<Datum>().is_ok());
        for text in ["", "47.1", "a,b", "1,2,3,4", "nan,8"] {
            assert!(text.parse::<Datum>().is_err(), "{text}");
        }
        assert!("149.16,-35.36".parse::<Datum>().unwrap_err().contains("swapped"));
    }

    #[test]
    fn a_coordinate_has_three_decimals_and_no_negative_zero() {
        assert_eq!(metres(-0.000_01), "0.000");
        assert_eq!(metres(-12.345_67), "-12.346");
    }
}
