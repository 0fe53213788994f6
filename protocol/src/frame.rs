//! Pictures: what a camera gives, and the record of what a skill was given of it.
//!
//! The record holds a picture's hash and shape; the picture itself is kept beside the journal,
//! where it may be kept at all.

use crate::codec::Digest;
use crate::ids::{JobId, SkillId, StepId};
use crate::time::MonoNanos;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The largest picture that is handed to a skill, bytes: 1280 by 800 in colour.
pub const MAX_FRAME_BYTES: usize = 3 * 1024 * 1024;

/// How a picture's bytes are its pixels: row by row from the top, each from the left, no padding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelFormat {
    /// One byte, black is 0.
    Grey8,
    /// Red, green and blue, a byte each.
    Rgb8,
}

impl PixelFormat {
    /// Of one pixel.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Grey8 => 1,
            Self::Rgb8 => 3,
        }
    }
}

/// A picture. There is none whose bytes do not fit its shape.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    at: MonoNanos,
    bytes: Arc<[u8]>,
    format: PixelFormat,
    height: u32,
    width: u32,
}

impl Frame {
    /// A picture that was taken `at` that moment; `None` where it is empty, larger than
    /// [`MAX_FRAME_BYTES`], or its bytes are not `width` by `height` pixels.
    #[must_use]
    pub fn new(
        at: MonoNanos,
        format: PixelFormat,
        (width, height): (u32, u32),
        bytes: impl Into<Arc<[u8]>>,
    ) -> Option<Self> {
        let bytes = bytes.into();
        let pixels = usize::try_from(u64::from(width) * u64::from(height)).ok()?;
        let fits = pixels.checked_mul(format.bytes())? == bytes.len();
        let taken = !bytes.is_empty() && bytes.len() <= MAX_FRAME_BYTES;
        (fits && taken).then_some(Self { at, bytes, format, height, width })
    }

    /// When it was taken, on the robot's monotonic clock.
    #[must_use]
    pub const fn at(&self) -> MonoNanos {
        self.at
    }

    /// Its pixels, as the format has them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How they lie.
    #[must_use]
    pub const fn format(&self) -> PixelFormat {
        self.format
    }

    /// Pixels in a column.
    #[must_use]
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// Pixels in a row.
    #[must_use]
    pub const fn width(&self) -> u32 {
        self.width
    }
}

/// Why a skill was given no picture.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameRefusal {
    /// The robot has no camera.
    NoCamera,
    /// The rules of who may ask for what do not let this skill have pictures now.
    NotGranted,
    /// A privacy zone of the policy has the camera off here, or it is not known where here is.
    Privacy,
    /// The camera failed, or its picture could not be recorded.
    Unavailable,
}

impl FrameRefusal {
    /// As in a record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCamera => "no_camera",
            Self::NotGranted => "not_granted",
            Self::Privacy => "privacy",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The running skill asked for a picture. Class normal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillFrame {
    /// The job.
    pub job: JobId,
    /// In which step of its run, counted as in the record of its inputs.
    pub nth: u64,
    /// Why it was given none; then no picture was taken, or it was dropped unseen.
    pub refused: Option<FrameRefusal>,
    /// Which skill.
    pub skill: SkillId,
    /// The step of the plan.
    pub step: StepId,
    /// What it was given.
    pub taken: Option<FrameTaken>,
}

/// A picture that a skill was given.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FrameTaken {
    /// When it was taken.
    pub at: MonoNanos,
    /// Of its pixels.
    pub format: PixelFormat,
    /// Pixels in a column.
    pub height: u32,
    /// It lies in the store of pictures; otherwise it may not be kept, and nobody has it.
    pub kept: bool,
    /// SHA-256 of its pixels; absent where it may not be kept, because a hash tells whether
    /// somebody guessed a picture right.
    pub sha256: Option<Digest>,
    /// Pixels in a row.
    pub width: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_whose_bytes_do_not_fit_its_shape_is_none() {
        let frame = |format, shape, bytes: usize| {
            Frame::new(MonoNanos(1), format, shape, vec![0; bytes]).is_some()
        };
        assert!(frame(PixelFormat::Grey8, (4, 3), 12));
        assert!(frame(PixelFormat::Rgb8, (4, 3), 36));
        assert!(!frame(PixelFormat::Rgb8, (4, 3), 12));
        assert!(!frame(PixelFormat::Grey8, (0, 3), 0));
        assert!(!frame(PixelFormat::Grey8, (u32::MAX, u32::MAX), 1));
        let most = u32::try_from(MAX_FRAME_BYTES).unwrap();
        assert!(frame(PixelFormat::Grey8, (most, 1), MAX_FRAME_BYTES));
        assert!(!frame(PixelFormat::Grey8, (most + 1, 1), MAX_FRAME_BYTES + 1));
    }
}
