//! Pictures, with the capability `camera`: taken in a step, read in that step, gone with it.
//!
//! ```
//! use nooterra_skill::camera::{self, CameraError};
//!
//! /// How bright it is, 0 to 255; `None` while pictures are off.
//! fn brightness() -> Result<Option<u64>, CameraError> {
//!     let frame = match camera::capture() {
//!         Ok(frame) => frame,
//!         Err(CameraError::Off) => return Ok(None),
//!         Err(error) => return Err(error),
//!     };
//!     let pixels = frame.pixels()?;
//!     Ok(Some(pixels.iter().map(|pixel| u64::from(*pixel)).sum::<u64>() / pixels.len() as u64))
//! }
//! # nooterra_skill::testing::show(Ok((2, 1, vec![100, 200])));
//! # assert_eq!(brightness(), Ok(Some(150)));
//! # nooterra_skill::testing::show(Err(CameraError::Off));
//! # assert_eq!(brightness(), Ok(None));
//! ```

pub use crate::bindings::nooterra::skill::camera::{CameraError, Picture, PixelFormat};

/// A picture. Drop it before the step ends: no more than 16 can be held, and one of an earlier
/// step answers [`CameraError::Gone`].
#[derive(Debug)]
pub struct Frame {
    #[cfg(target_arch = "wasm32")]
    handle: crate::bindings::nooterra::skill::camera::Frame,
    #[cfg(not(target_arch = "wasm32"))]
    shown: (Picture, Vec<u8>),
}

/// Takes a picture, now. Only in `step`.
///
/// # Errors
/// [`CameraError`]; the skill may go on.
pub fn capture() -> Result<Frame, CameraError> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::nooterra::skill::camera::capture().map(|handle| Frame { handle });
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::shown().map(|shown| Frame { shown })
}

impl Frame {
    /// What it is like.
    ///
    /// # Errors
    /// [`CameraError::Gone`]
    pub fn describe(&self) -> Result<Picture, CameraError> {
        #[cfg(target_arch = "wasm32")]
        return self.handle.describe();
        #[cfg(not(target_arch = "wasm32"))]
        Ok(self.shown.0)
    }

    /// `length` bytes from `offset` on.
    ///
    /// # Errors
    /// [`CameraError::Beyond`] past its end, [`CameraError::Gone`], [`CameraError::TooOften`]
    /// after 4 MiB in one step.
    pub fn read(&self, offset: u32, length: u32) -> Result<Vec<u8>, CameraError> {
        #[cfg(target_arch = "wasm32")]
        return self.handle.read(offset, length);
        #[cfg(not(target_arch = "wasm32"))]
        {
            let (from, length) = (offset as usize, length as usize);
            let range = from.checked_add(length).and_then(|to| self.shown.1.get(from..to));
            range.map(<[u8]>::to_vec).ok_or(CameraError::Beyond)
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn pixels(&self) -> Result<Vec<u8>, CameraError> {
        let Picture { format, height, width, .. } = self.describe()?;
        let pixel = match format {
            PixelFormat::Grey8 => 1,
            PixelFormat::Rgb8 => 3,
        };
        self.read(0, width * height * pixel)
    }
}
