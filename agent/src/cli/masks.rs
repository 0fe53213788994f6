//! Masks for `nooterra-agent policy sign`: from Nav2's map files to grids that a policy names.

use anyhow::Context as _;
use nooterra_hal::map;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::policy::{Mask, MaskRule};
use std::path::{Path, PathBuf};

/// Which masks are added to the document.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// A Nav2 map whose occupied and unknown cells are kept out of. Masks beside it, as
    /// NAME_keepout.yaml and NAME_speed.yaml, are taken as well.
    #[arg(long, value_name = "NAME.yaml")]
    map: Option<PathBuf>,
    /// A Nav2 keep-out mask; its zone has the file's name.
    #[arg(long, value_name = "FILE.yaml")]
    keepout: Vec<PathBuf>,
    /// A Nav2 speed mask; its zones have the file's name.
    #[arg(long, value_name = "FILE.yaml")]
    speed: Vec<PathBuf>,
    /// Of the speed masks: the limit is BASE + MULTIPLIER x cell, in percent of the policy's
    /// forward limit. A cell of 0 is no limit.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, allow_negative_numbers = true)]
    speed_base: f64,
    /// See --speed-base. Nav2's tutorials use 100 and -1: the darker, the slower.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, allow_negative_numbers = true)]
    speed_multiplier: f64,
}

/// Reads the masks; with each the bytes of its file.
pub(super) fn read(options: &Options) -> anyhow::Result<Vec<(Mask, Vec<u8>)>> {
    let speed =
        MaskRule::Speed { base_percent: options.speed_base, multiplier: options.speed_multiplier };
    let mut wanted = Vec::new();
    if let Some(file) = &options.map {
        let beside = map::beside(file);
        wanted.push((file.clone(), MaskRule::KeepOut));
        wanted.extend(beside.keepout.map(|file| (file, MaskRule::KeepOut)));
        wanted.extend(beside.speed.map(|file| (file, speed.clone())));
    }
    wanted.extend(options.keepout.iter().map(|file| (file.clone(), MaskRule::KeepOut)));
    wanted.extend(options.speed.iter().map(|file| (file.clone(), speed.clone())));
    wanted
        .into_iter()
        .map(|(file, rule)| {
            let bytes = map::read(&file)?.encode();
            Ok((Mask { id: name(&file)?, rule, sha256: Digest::of(&bytes) }, bytes))
        })
        .collect()
}

/// A zone's name from a file's: what an id cannot hold becomes a dash.
pub(super) fn name(file: &Path) -> anyhow::Result<ZoneId> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
    let text: String =
        stem.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect();
    ZoneId::new(text.trim_start_matches(['.', '-']))
        .with_context(|| format!("{}: its name makes no zone's name; rename it", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_named_after_its_file() {
        let name_of = |file: &str| name(Path::new(file)).unwrap().to_string();
        assert_eq!(name_of("maps/Hall 2_keepout.yaml"), "hall-2_keepout");
        assert_eq!(name_of("-x.yaml"), "x");
        assert!(name(Path::new("---.yaml")).is_err());
    }
}
