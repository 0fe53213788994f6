//! The capability `camera`: pictures that a skill holds by a handle while its step lasts.
//!
//! What a handle stands for is a number that is never given twice. The picture behind it goes when
//! the step ends; the handle may stay with the guest, and leads nowhere then.

use crate::session::{Guest, count_call};
use crate::world::camera as wit;
use nooterra_protocol::frame::{Frame, FrameRefusal, PixelFormat};
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};

/// The most pictures of one step.
pub const MAX_FRAMES_PER_STEP: usize = 4;

/// The most handles that a skill holds at once, those that lead nowhere included.
pub const MAX_FRAME_HANDLES: usize = 16;

/// The most that is read of all pictures in one step, bytes.
pub const MAX_PIXELS_PER_STEP: usize = 4 * 1024 * 1024;

/// What a handle is for; there is no value of it.
enum Handle {}

/// The pictures of one instance.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    /// Of the step under way; `None` outside of one.
    step: Option<Step>,
    /// Handles that the guest has not dropped.
    held: usize,
    /// Handles that there ever were.
    made: u32,
}

#[derive(Debug)]
struct Step {
    frames: Vec<(u32, Frame)>,
    readable: usize,
    taken: usize,
}

impl Pictures {
    /// A step begins.
    pub(crate) fn open(&mut self) {
        let readable = MAX_PIXELS_PER_STEP;
        self.step = Some(Step { frames: Vec::new(), readable, taken: 0 });
    }

    /// It is over, and its pictures are gone.
    pub(crate) fn close(&mut self) {
        self.step = None;
    }

    /// Whether one more may be taken now.
    fn room(&self) -> Result<(), wit::CameraError> {
        let step = self.step.as_ref().ok_or(wit::CameraError::Unavailable)?;
        if step.taken >= MAX_FRAMES_PER_STEP || self.held >= MAX_FRAME_HANDLES {
            return Err(wit::CameraError::TooOften);
        }
        Ok(())
    }

    fn add(&mut self, frame: Frame) -> Result<u32, wit::CameraError> {
        let step = self.step.as_mut().ok_or(wit::CameraError::Unavailable)?;
        // After four billion pictures there are no more.
        self.made = self.made.checked_add(1).ok_or(wit::CameraError::TooOften)?;
        step.frames.push((self.made, frame));
        step.taken += 1;
        self.held += 1;
        Ok(self.made)
    }

    fn frame(&self, rep: u32) -> Result<&Frame, wit::CameraError> {
        let found = self.step.iter().flat_map(|step| &step.frames).find(|(made, _)| *made == rep);
        found.map(|(_, frame)| frame).ok_or(wit::CameraError::Gone)
    }

    fn read(&mut self, rep: u32, offset: u32, length: u32) -> Result<Vec<u8>, wit::CameraError> {
        let bytes = self.frame(rep)?.bytes();
        let (from, length) = (offset as usize, length as usize);
        let range = from.checked_add(length).and_then(|to| bytes.get(from..to));
        let read = range.ok_or(wit::CameraError::Beyond)?.to_vec();
        let step = self.step.as_mut().ok_or(wit::CameraError::Gone)?;
        let left = step.readable.checked_sub(length).ok_or(wit::CameraError::TooOften)?;
        step.readable = left;
        Ok(read)
    }

    fn forget(&mut self, rep: u32) {
        self.held = self.held.saturating_sub(1);
        if let Some(step) = &mut self.step {
            step.frames.retain(|(made, _)| *made != rep);
        }
    }
}

/// Offers the interface.
pub(crate) fn link(camera: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    let handle = ResourceType::host::<Handle>();
    camera.resource("frame", handle, |mut store, rep| {
        store.data_mut().pictures.forget(rep);
        Ok(())
    })?;
    camera.func_wrap("capture", capture)?;
    camera.func_wrap("[method]frame.describe", describe)?;
    camera.func_wrap("[method]frame.read", read)
}

type Answer<T> = wasmtime::Result<(Result<T, wit::CameraError>,)>;

fn capture(mut store: StoreContextMut<'_, Guest>, (): ()) -> Answer<Resource<Handle>> {
    count_call(&mut store)?;
    let guest = store.data_mut();
    if let Err(error) = guest.pictures.room() {
        return Ok((Err(error),));
    }
    if !guest.allowance.frame() {
        return Ok((Err(wit::CameraError::TooOften),));
    }
    let taken = guest.ports.frame().map_err(wit::CameraError::from);
    let added = taken.and_then(|frame| guest.pictures.add(frame));
    Ok((added.map(Resource::new_own),))
}

fn describe(
    mut store: StoreContextMut<'_, Guest>,
    (handle,): (Resource<Handle>,),
) -> Answer<wit::Picture> {
    count_call(&mut store)?;
    let frame = store.data().pictures.frame(handle.rep());
    Ok((frame.map(wit::Picture::from),))
}

fn read(
    mut store: StoreContextMut<'_, Guest>,
    (handle, offset, length): (Resource<Handle>, u32, u32),
) -> Answer<Vec<u8>> {
    count_call(&mut store)?;
    Ok((store.data_mut().pictures.read(handle.rep(), offset, length),))
}

impl From<FrameRefusal> for wit::CameraError {
    fn from(refusal: FrameRefusal) -> Self {
        match refusal {
            FrameRefusal::NoCamera => Self::None,
            FrameRefusal::NotGranted | FrameRefusal::Privacy => Self::Off,
            FrameRefusal::Unavailable => Self::Unavailable,
        }
    }
}

impl From<&Frame> for wit::Picture {
    fn from(frame: &Frame) -> Self {
        let format = match frame.format() {
            PixelFormat::Grey8 => wit::PixelFormat::Grey8,
            PixelFormat::Rgb8 => wit::PixelFormat::Rgb8,
        };
        let (height, width) = (frame.height(), frame.width());
        Self { at_nanos: frame.at().0, format, height, width }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::time::MonoNanos;

    fn frame() -> Frame {
        let bytes: Vec<u8> = (0..12).collect();
        Frame::new(MonoNanos(7), PixelFormat::Grey8, (4, 3), bytes).unwrap()
    }

    #[test]
    fn a_picture_is_read_within_its_bounds_and_only_in_its_step() {
        let mut pictures = Pictures::default();
        assert_eq!(pictures.room(), Err(wit::CameraError::Unavailable), "no step");
        pictures.open();
        let rep = pictures.add(frame()).unwrap();
        assert_eq!(pictures.read(rep, 10, 2).unwrap(), [10, 11]);
        assert!(pictures.read(rep, 12, 0).unwrap().is_empty());
        for (offset, length) in [(10, 3), (13, 0), (0, u32::MAX), (u32::MAX, u32::MAX)] {
            assert_eq!(pictures.read(rep, offset, length), Err(wit::CameraError::Beyond));
        }
        assert_eq!(pictures.read(rep + 1, 0, 1), Err(wit::CameraError::Gone));
        pictures.close();
        assert_eq!(pictures.read(rep, 0, 1), Err(wit::CameraError::Gone));
        pictures.open();
        assert_eq!(pictures.frame(rep).err(), Some(wit::CameraError::Gone));
        assert_ne!(pictures.add(frame()).unwrap(), rep, "no number is given twice");
    }

    #[test]
    fn handles_that_are_hoarded_end_the_supply_until_they_are_dropped() {
        let mut pictures = Pictures::default();
        let mut reps = Vec::new();
        for _ in 0..MAX_FRAME_HANDLES / MAX_FRAMES_PER_STEP {
            pictures.open();
            reps.extend((0..MAX_FRAMES_PER_STEP).map(|_| pictures.add(frame()).unwrap()));
            assert_eq!(pictures.room(), Err(wit::CameraError::TooOften), "of one step");
            pictures.close();
        }
        pictures.open();
        assert_eq!(pictures.room(), Err(wit::CameraError::TooOften), "all that may be held");
        pictures.forget(reps[0]);
        assert_eq!(pictures.room(), Ok(()));
    }

    #[test]
    fn dropping_and_taking_again_does_not_get_around_the_bound_of_a_step() {
        let mut pictures = Pictures::default();
        pictures.open();
        for _ in 0..MAX_FRAMES_PER_STEP {
            let rep = pictures.add(frame()).unwrap();
            pictures.forget(rep);
        }
        assert_eq!(pictures.room(), Err(wit::CameraError::TooOften));
    }
}
