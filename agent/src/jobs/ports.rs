//! From a skill's calls to the runner: a bounded queue, so that a skill never waits for a
//! disk.

use super::frames::Lens;
use super::inputs::InputLog;
use super::suspended::Slot;
use nooterra_protocol::frame::{Frame, FrameRefusal};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{GraphMove, Ports};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Calls that may wait for the runner; more than one step may make. A call that does not fit
/// is dropped and counted, and the runner says so in the journal.
const WAITING: usize = 256;

/// What a skill did beside its request.
#[derive(Debug)]
pub(super) enum Call {
    Assist(String),
    Checkpoint(String),
    Evidence {
        bytes: Vec<u8>,
        media_type: String,
        name: String,
    },
    Log(String),
    /// The policy graph went on.
    Moved(GraphMove),
    /// Of the host, not of the skill.
    Note(String),
    /// An instance was ended for overrunning its time, and why.
    Restarted(String),
}

/// The skill's end.
#[derive(Debug)]
pub(super) struct QueuePorts {
    calls: SyncSender<Call>,
    dropped: u64,
    inputs: Option<InputLog>,
    lens: Option<Lens>,
    /// The graph moved in this step: its state is due at once.
    moved: bool,
    state: Slot,
}

pub(super) fn queue(inputs: Option<InputLog>, state: Slot) -> (QueuePorts, Receiver<Call>) {
    let (calls, receiver) = sync_channel(WAITING);
    (QueuePorts { calls, dropped: 0, inputs, lens: None, moved: false, state }, receiver)
}

impl QueuePorts {
    /// The same with pictures.
    pub(super) fn with_lens(self, lens: Lens) -> Self {
        Self { lens: Some(lens), ..self }
    }

    fn put(&mut self, call: Call) {
        if self.dropped > 0 {
            let note = Call::Note(format!("{} calls before this one were dropped", self.dropped));
            if self.calls.try_send(note).is_ok() {
                self.dropped = 0;
            }
        }
        if self.calls.try_send(call).is_err() {
            self.dropped += 1;
        }
    }
}

impl Ports for QueuePorts {
    fn assist(&mut self, reason: &str) {
        self.put(Call::Assist(reason.to_owned()));
    }

    fn checkpoint(&mut self, name: &str) {
        self.put(Call::Checkpoint(name.to_owned()));
    }

    fn evidence(&mut self, name: &str, media_type: &str, bytes: &[u8]) {
        let (name, media_type) = (name.to_owned(), media_type.to_owned());
        self.put(Call::Evidence { bytes: bytes.to_vec(), media_type, name });
    }

    fn frame(&mut self) -> Result<Frame, FrameRefusal> {
        let nth = self.inputs.as_ref().map_or(0, InputLog::nth);
        self.lens.as_ref().map_or(Err(FrameRefusal::NoCamera), |lens| lens.take(nth))
    }

    fn input(&mut self, at: MonoNanos, seen: &Observation) -> Result<(), String> {
        self.inputs.as_mut().map_or(Ok(()), |inputs| inputs.step(at, seen))
    }

    fn log(&mut self, text: &str) {
        self.put(Call::Log(text.to_owned()));
    }

    fn moved(&mut self, moved: &GraphMove) {
        self.moved = true;
        self.put(Call::Moved(moved.clone()));
    }

    fn note(&mut self, text: &str) {
        self.put(Call::Note(text.to_owned()));
    }

    fn restarted(&mut self, why: &str) {
        self.put(Call::Restarted(why.to_owned()));
    }

    fn suspended(&mut self, state: &[u8]) {
        self.state.put(state, std::mem::take(&mut self.moved));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_do_not_fit_are_counted_and_said() {
        let (mut ports, calls) = queue(None, Slot::default());
        for _ in 0..WAITING + 5 {
            ports.log("line");
        }
        assert_eq!(calls.try_iter().count(), WAITING);
        ports.log("after");
        let lines: Vec<_> = calls.try_iter().map(|call| format!("{call:?}")).collect();
        assert!(lines[0].contains("5 calls before this one were dropped"), "{lines:?}");
        assert!(lines[1].contains("after"));
    }
}
