//! Pictures for a skill: whether there may be one, then the picture, then its record, and only
//! then the skill.
//!
//! What is in effect is what the policy's privacy zones leave on, where the robot is now, and what
//! the rules of who may ask for what let this skill have. Where either says no, the camera is not
//! touched; where one of them says no by the time that the picture was taken, it is dropped.

use crate::authority::Authority;
use crate::control::View;
use nooterra_blackbox::{Clock, Frames, JournalHandle};
use nooterra_hal::Camera;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::Entry;
use nooterra_protocol::frame::{Frame, FrameRefusal, FrameTaken, SkillFrame};
use nooterra_protocol::grant;
use nooterra_protocol::ids::{JobId, SkillId, StepId};
use nooterra_protocol::policy;
use nooterra_protocol::time::{MonoNanos, Stamp};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// The robot's camera, and where its pictures are kept.
#[derive(Clone)]
pub struct Pictures {
    /// Where the robot has one.
    pub camera: Option<Arc<dyn Camera>>,
    /// Says whether a grant has ended, and until when a picture is kept: by a trusted time only.
    pub clock: Arc<dyn Clock>,
    /// Where they are kept; without it none is.
    pub store: Option<Arc<Frames>>,
}

impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pictures").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Pictures {
    /// All of them.
    #[must_use]
    pub fn new(
        camera: Option<Arc<dyn Camera>>,
        clock: Arc<dyn Clock>,
        store: Option<Arc<Frames>>,
    ) -> Self {
        Self { camera, clock, store }
    }

    /// Removes those that have come to their end.
    pub(crate) fn tidy(&self) {
        let now = self.clock.stamp();
        if let Some(Err(error)) = self.store.as_ref().map(|store| store.tidy(now)) {
            warn!(%error, "pictures that are kept no longer stay on the disk");
        }
    }
}

/// Whose pictures they are.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    pub(super) job: JobId,
    pub(super) skill: SkillId,
    pub(super) step: StepId,
}

/// By which one skill has pictures.
pub(super) struct Lens {
    journal: JournalHandle,
    /// For how many seconds pictures are kept now, if there may be any.
    may: Box<dyn Fn(MonoNanos) -> Result<u32, FrameRefusal> + Send>,
    pictures: Pictures,
    whose: Whose,
}

impl fmt::Debug for Lens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lens").field("whose", &self.whose).finish_non_exhaustive()
    }
}

impl Lens {
    pub(super) fn new(
        pictures: Pictures,
        whose: Whose,
        authority: Arc<Authority>,
        view: Arc<View>,
        journal: JournalHandle,
    ) -> Self {
        let clock = Arc::clone(&pictures.clock);
        let may = move |now| {
            let granted = authority.grants().sensor(grant::Sensor::Camera, now);
            if !granted.read {
                return Err(FrameRefusal::NotGranted);
            }
            // Where nobody knows, none is taken.
            let zone = view.privacy(|| clock.stamp().mono).ok_or(FrameRefusal::Privacy)?;
            if !zone.allowed.contains(policy::Sensor::Camera) {
                return Err(FrameRefusal::Privacy);
            }
            Ok(granted.keep_s.min(zone.keep_s.unwrap_or(u32::MAX)))
        };
        Self { journal, may: Box::new(may), pictures, whose }
    }

    /// A picture for step `nth`; in the journal before it is the skill's, and on the disk where it
    /// may be kept.
    pub(super) fn take(&self, nth: u64) -> Result<Frame, FrameRefusal> {
        let taken = self.capture();
        let (refused, record) = match &taken {
            Ok((_, record)) => (None, Some(*record)),
            Err(refusal) => (Some(*refusal), None),
        };
        let Whose { job, skill, step } = self.whose.clone();
        let entry = SkillFrame { job, nth, refused, skill, step, taken: record };
        if let Err(error) = self.journal.append(Entry::SkillFrame(entry)) {
            warn!(%error, "a skill is given no picture: it cannot be recorded");
            return Err(FrameRefusal::Unavailable);
        }
        taken.map(|(frame, _)| frame)
    }

    fn capture(&self) -> Result<(Frame, FrameTaken), FrameRefusal> {
        let Pictures { camera, clock, store } = &self.pictures;
        let camera = camera.as_ref().ok_or(FrameRefusal::NoCamera)?;
        (self.may)(clock.stamp().mono)?;
        let frame = camera.capture().map_err(|error| {
            warn!(%error, "the camera gives no picture");
            FrameRefusal::Unavailable
        })?;
        // The robot may have come into a zone meanwhile.
        let now = clock.stamp();
        let keep_s = (self.may)(now.mono)?;
        let sha256 = match store {
            Some(store) if keep_s > 0 => Some(self.kept(store, &frame, now, keep_s)?),
            _ => None,
        };
        let (at, format) = (frame.at(), frame.format());
        let (height, width) = (frame.height(), frame.width());
        let record = FrameTaken { at, format, height, kept: sha256.is_some(), sha256, width };
        Ok((frame, record))
    }

    fn kept(
        &self,
        store: &Frames,
        frame: &Frame,
        now: Stamp,
        keep_s: u32,
    ) -> Result<Digest, FrameRefusal> {
        let keep_for = Duration::from_secs(keep_s.into());
        store.keep(frame.bytes(), Some(&self.whose.job), keep_for, now).map_err(|error| {
            warn!(%error, "a skill is given no picture: it cannot be kept");
            FrameRefusal::Unavailable
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_blackbox::{FramesAt, Journal, Options};
    use nooterra_evidence::Record;
    use nooterra_hal::HalError;
    use nooterra_protocol::entry::{Class, Gap};
    use nooterra_protocol::frame::PixelFormat;
    use nooterra_protocol::keys::{Es256Key, Signer};
    use nooterra_protocol::time::{ClockTrust, WallMillis};
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Still;

    impl Clock for Still {
        fn stamp(&self) -> Stamp {
            Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1_000) }
        }
    }

    /// Counts how often it was looked through.
    #[derive(Default)]
    struct Eye(AtomicU32);

    impl Camera for Eye {
        fn capture(&self) -> Result<Frame, HalError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Frame::new(MonoNanos(1), PixelFormat::Grey8, (2, 2), vec![1, 2, 3, 4]).unwrap())
        }
    }

    struct Scene {
        _dir: tempfile::TempDir,
        eye: Arc<Eye>,
        journal: Journal,
        store: Arc<Frames>,
    }

    impl Scene {
        fn new() -> Self {
            Self::with_room(1 << 20)
        }

        fn with_room(most_bytes: u64) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let signer: Arc<dyn Signer> = Arc::new(Es256Key::from_seed([3; 32]).unwrap());
            let mut options = Options::new(Arc::new(Still), signer, Digest::ZERO);
            options.frames = Some(FramesAt { dir: dir.path().join("frames"), most_bytes });
            let opened = Journal::open(&dir.path().join("journal"), options).unwrap();
            let store = opened.frames.unwrap().unwrap();
            Self { _dir: dir, eye: Arc::default(), journal: opened.journal, store }
        }

        fn lens(
            &self,
            may: impl Fn(MonoNanos) -> Result<u32, FrameRefusal> + Send + 'static,
        ) -> Lens {
            let camera: Arc<dyn Camera> = self.eye.clone();
            let store = Some(Arc::clone(&self.store));
            Lens {
                journal: self.journal.handle(),
                may: Box::new(may),
                pictures: Pictures::new(Some(camera), Arc::new(Still), store),
                whose: Whose {
                    job: JobId::new("job_1").unwrap(),
                    skill: SkillId::new("lookout").unwrap(),
                    step: StepId::new("s1").unwrap(),
                },
            }
        }

        fn recorded(&self) -> Vec<SkillFrame> {
            let handle = self.journal.handle();
            let gap = Gap { dropped: 0, reason: "the end".to_owned() };
            handle.append_durable(Entry::Gap(gap)).unwrap();
            let records = handle.read_from(Class::Normal, 0, 1 << 20).unwrap();
            let frame = |bytes: &[u8]| match Record::decode(bytes).unwrap().entry().unwrap() {
                Some(Entry::SkillFrame(frame)) => Some(frame),
                _ => None,
            };
            records.iter().filter_map(|(_, bytes)| frame(bytes)).collect()
        }
    }

    #[test]
    fn where_it_is_refused_the_camera_is_not_touched_and_the_journal_says_so() {
        let scene = Scene::new();
        for (nth, why) in (1..).zip([FrameRefusal::NotGranted, FrameRefusal::Privacy]) {
            assert_eq!(scene.lens(move |_| Err(why)).take(nth), Err(why));
        }
        assert_eq!(scene.eye.0.load(Ordering::SeqCst), 0, "no picture ever existed");
        let told: Vec<_> =
            scene.recorded().iter().map(|it| (it.nth, it.refused, it.taken)).collect();
        assert_eq!(
            told,
            [(1, Some(FrameRefusal::NotGranted), None), (2, Some(FrameRefusal::Privacy), None)]
        );
    }

    #[test]
    fn a_picture_is_recorded_by_its_hash_and_kept_where_it_may_be() {
        let scene = Scene::new();
        let frame = scene.lens(|_| Ok(60)).take(7).unwrap();
        assert!(scene.lens(|_| Ok(0)).take(8).is_ok());
        let recorded = scene.recorded();
        let taken: Vec<_> = recorded.iter().map(|it| it.taken.unwrap()).collect();
        let hash = Digest::of(frame.bytes());
        assert_eq!((taken[0].kept, taken[0].sha256), (true, Some(hash)));
        assert_eq!(scene.store.find(hash).as_deref(), Some(frame.bytes()));
        assert_eq!((taken[1].kept, taken[1].sha256), (false, None), "not even its hash");
        assert_eq!(recorded[0].nth, 7);
        scene.store.tidy(Stamp { wall: WallMillis(61_000), ..Still.stamp() }).unwrap();
        assert!(scene.store.find(hash).is_none(), "a minute is over");
    }

    #[test]
    fn a_picture_that_was_taken_while_privacy_began_is_dropped_unseen() {
        let scene = Scene::new();
        let asked = AtomicU32::new(0);
        let lens = scene.lens(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(60),
            _ => Err(FrameRefusal::Privacy),
        });
        assert_eq!(lens.take(1), Err(FrameRefusal::Privacy));
        assert_eq!((scene.eye.0.load(Ordering::SeqCst), scene.store.size()), (1, (0, 0)));
        assert!(scene.recorded()[0].taken.is_none());
    }

    #[test]
    fn a_picture_that_cannot_be_kept_is_given_to_nobody() {
        let scene = Scene::with_room(3);
        assert_eq!(scene.lens(|_| Ok(60)).take(1), Err(FrameRefusal::Unavailable));
        let lens = Scene::new().lens(|_| Ok(0));
        // Its journal is closed.
        assert_eq!(lens.take(1), Err(FrameRefusal::Unavailable));
    }
}
