//! The contract between whoever needs a picture and a driver that can take one.

use crate::robot::HalError;
use nooterra_protocol::frame::Frame;

/// A camera, used from other threads than the control loop's, which has no need of pictures.
///
/// Whoever calls [`capture`](Self::capture) has asked first whether a picture may exist: a camera
/// knows nothing of privacy. Nothing of a picture stays behind in a driver once it was returned.
pub trait Camera: Send + Sync {
    /// Takes one picture, now. It may take a few milliseconds, and may fail at any time; a driver
    /// whose camera gives pictures by itself waits for the next, never returns one from before.
    ///
    /// # Errors
    /// [`HalError::Device`] when the camera gives none.
    fn capture(&self) -> Result<Frame, HalError>;
}
