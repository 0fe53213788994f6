//! Maps as robots have them: Nav2's `NAME.yaml` beside an image, as its map server reads them.
//!
//! A map becomes a [`Grid`]: 0 is free, 100 is occupied, and what Nav2 calls unknown (-1) is
//! unknown. Keep-out and speed masks are maps too, `NAME_keepout.yaml` and `NAME_speed.yaml`.
//!
//! # Where it is stricter than Nav2
//! Images are PGM, `P5` or `P2`. Thresholds that are out of order, a resolution that no map
//! has and an image that is cut or larger than [`grid::MAX_CELLS`] are refused, the last by
//! its header alone.
//!
//! # Fences
//! [`fence`] reads the fences of drones, QGroundControl's plans and MAVLink's text files, and
//! lays them on a plane around a datum ([`geodesy`]).
//!
//! [`grid::MAX_CELLS`]: nooterra_protocol::grid::MAX_CELLS

pub mod fence;
pub mod geodesy;
mod mavlink;
mod nav2;
mod pgm;
mod qgc;
mod yaml;

use nooterra_protocol::grid::{Grid, GridError};
use std::path::{Path, PathBuf};

/// Why there is no map.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// A file cannot be read. A missing image is the usual one: a map is two files.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The image and the resolution make no grid that is handled.
    #[error("{}: {source}", path.display())]
    Grid {
        /// The image or the map.
        path: PathBuf,
        /// What is wrong.
        source: GridError,
    },
    /// The image is no PGM, or a cut one.
    #[error("{}: {what}", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
    /// A key is missing, or has a value that no map has.
    #[error("{}: `{key}` {what}", path.display())]
    Key {
        /// The key.
        key: &'static str,
        /// The map.
        path: PathBuf,
        /// What is wrong and what to write.
        what: String,
    },
    /// Text that is not as maps are written.
    #[error("{}:{line}: {what}", path.display())]
    Syntax {
        /// From 1.
        line: usize,
        /// The map.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The masks of a map that are there.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Beside {
    /// `NAME_keepout.yaml`
    pub keepout: Option<PathBuf>,
    /// `NAME_speed.yaml`
    pub speed: Option<PathBuf>,
}

/// Reads a map and its image.
///
/// # Errors
/// Every variant of [`MapError`].
pub fn read(path: &Path) -> Result<Grid, MapError> {
    nav2::read(path)
}

/// The masks beside a map.
#[must_use]
pub fn beside(map: &Path) -> Beside {
    let named = |kind: &str| {
        let mut name = map.file_stem()?.to_os_string();
        name.push(kind);
        name.push(".");
        name.push(map.extension().unwrap_or("yaml".as_ref()));
        let path = map.with_file_name(name);
        path.is_file().then_some(path)
    };
    Beside { keepout: named("_keepout"), speed: named("_speed") }
}
