//! What a skill says while it is rehearsed, and what a black box would keep of it.

use nooterra_hal::Camera;
use nooterra_protocol::codec::Blob;
use nooterra_protocol::frame::{Frame, FrameRefusal};
use nooterra_protocol::input::InputDraft;
use nooterra_protocol::observation::Observation;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{GraphMove, Ports};
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One call into the ports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// When, seconds.
    pub at_s: f64,
    /// What.
    pub what: What,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum What {
    /// It asks for help.
    Assist {
        /// Why.
        reason: String,
    },
    /// A milestone.
    Checkpoint {
        /// Its name.
        name: String,
    },
    /// Something attached.
    Evidence {
        /// Its size.
        bytes: usize,
        /// Such as `text/csv`.
        media_type: String,
        /// Its name.
        name: String,
    },
    /// A line for the developer.
    Log {
        /// The line.
        text: String,
    },
    /// The policy graph went on.
    Moved {
        /// The name of the step that runs now.
        live: Option<String>,
        /// What moved it.
        why: String,
    },
    /// A word of the host's.
    Note {
        /// The word.
        text: String,
    },
    /// A picture, or none.
    Picture {
        /// Pixels in a column.
        height: u32,
        /// Why there was none.
        refused: Option<FrameRefusal>,
        /// Pixels in a row.
        width: u32,
    },
}

#[derive(Default)]
struct Inner {
    camera: Option<Arc<dyn Camera>>,
    /// The camera may be used now.
    camera_on: bool,
    draft: InputDraft,
    journal_bytes: usize,
    now_s: f64,
    said: (String, String),
    told: Vec<Told>,
}

/// Ports that write down.
#[derive(Clone, Default)]
pub(super) struct Listening(Arc<Mutex<Inner>>);

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}

impl Listening {
    pub(super) fn ports(&self) -> Box<dyn Ports + Send> {
        Box::new(self.clone())
    }

    pub(super) fn now(&self, now_s: f64) {
        self.lock().now_s = now_s;
    }

    /// Pictures come from here.
    pub(super) fn see_by(&self, camera: Option<Arc<dyn Camera>>) {
        self.lock().camera = camera;
    }

    /// Whether there may be pictures from now on.
    pub(super) fn camera_on(&self, on: bool) {
        self.lock().camera_on = on;
    }

    pub(super) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.lock().told)
    }

    /// A step's request and note are written where they change.
    pub(super) fn said(&self, request: &str, note: &str) {
        let mut inner = self.lock();
        if inner.said.0 != request || inner.said.1 != note {
            inner.journal_bytes += request.len() + note.len();
            inner.said = (request.to_owned(), note.to_owned());
        }
    }

    /// Since the last question.
    pub(super) fn journal_bytes(&self) -> usize {
        std::mem::take(&mut self.lock().journal_bytes)
    }

    fn tell(&self, bytes: usize, what: What) {
        let mut inner = self.lock();
        let at_s = inner.now_s;
        inner.journal_bytes += bytes;
        inner.told.push(Told { at_s, what });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ports for Listening {
    fn assist(&mut self, reason: &str) {
        self.tell(reason.len(), What::Assist { reason: reason.to_owned() });
    }

    fn checkpoint(&mut self, name: &str) {
        self.tell(name.len(), What::Checkpoint { name: name.to_owned() });
    }

    fn evidence(&mut self, name: &str, media_type: &str, bytes: &[u8]) {
        let (name, media_type, size) = (name.to_owned(), media_type.to_owned(), bytes.len());
        self.tell(size, What::Evidence { bytes: size, media_type, name });
    }

    fn frame(&mut self) -> Result<Frame, FrameRefusal> {
        let (camera, on) = {
            let inner = self.lock();
            (inner.camera.clone(), inner.camera_on)
        };
        let taken = match camera {
            None => Err(FrameRefusal::NoCamera),
            Some(_) if !on => Err(FrameRefusal::Privacy),
            Some(camera) => camera.capture().map_err(|_| FrameRefusal::Unavailable),
        };
        let (height, width) = taken.as_ref().map_or((0, 0), |it| (it.height(), it.width()));
        // A record of a picture has about so many bytes.
        self.tell(100, What::Picture { height, refused: taken.as_ref().err().copied(), width });
        taken
    }

    fn input(&mut self, at: MonoNanos, seen: &Observation) -> Result<(), String> {
        let mut inner = self.lock();
        let size = inner.draft.push(at, seen);
        inner.journal_bytes += size;
        // As often as a record is closed on the robot, about.
        if inner.draft.count() >= 50 {
            let (_, Blob(_rows)) = inner.draft.take();
        }
        Ok(())
    }

    fn log(&mut self, text: &str) {
        self.tell(text.len(), What::Log { text: text.to_owned() });
    }

    fn moved(&mut self, moved: &GraphMove) {
        let GraphMove { live, position, why } = moved;
        let bytes = why.len() + live.as_ref().map_or(0, String::len) + 16 * position.0.len();
        self.tell(bytes, What::Moved { live: live.clone(), why: why.clone() });
    }

    fn note(&mut self, text: &str) {
        self.tell(text.len(), What::Note { text: text.to_owned() });
    }
}
