//! A candidate policy on the live robot: would have, and does not.
//!
//! On the tick, after the robot was told, the candidate judges the same inputs; where it differs
//! a note of fixed size goes into a queue of its own, at most four in a second. A thread makes
//! records of them. It takes no part in motion: the queue is not that of the verdicts, a full one
//! costs notes and nothing else, and a candidate that panics is told of and judges no more.

use super::Desk;
use crossbeam_queue::ArrayQueue;
use nooterra_blackbox::JournalHandle;
use nooterra_policy::{GateVerdict, Inputs, Opinion, Shadow, Verdicts, VerifiedPolicy};
use nooterra_protocol::command::{Asked, Command, Source};
use nooterra_protocol::entry::Entry;
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::shadow::{self, Difference, ShadowCounts, ShadowFinding, ShadowPhase};
use nooterra_protocol::time::MonoNanos;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::{error, info, warn};

/// Between two notes of one run at the least, and how long both agree before a run has ended.
const SETTLES: Duration = Duration::from_millis(500);

/// Between two notes of the counts alone.
const COUNTED_EVERY: Duration = Duration::from_secs(600);

/// Notes that wait for the thread: ten seconds of the most that there can be.
const WAITING: usize = 64;

/// How often the thread looks.
const WRITTEN_EVERY: Duration = Duration::from_millis(100);

/// What the policy in force made of a tick.
#[derive(Clone, Copy, Debug)]
pub struct Real<'a> {
    /// What it let through.
    pub allowed: Command,
    /// What the source in charge wished.
    pub asked: Command,
    /// In charge.
    pub source: Source,
    /// Its rules that acted.
    pub verdicts: &'a Verdicts,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Finding {
    allowed: Command,
    asked: Asked,
    because: Option<GateVerdict>,
    difference: Difference,
    pose: Pose,
    source: Source,
    tick: u64,
    would: Command,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    counts: ShadowCounts,
    /// And in how many ticks of its run.
    finding: Option<(Finding, u64)>,
    phase: ShadowPhase,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    last: Finding,
    noted: Finding,
    noted_at: MonoNanos,
    seen_at: MonoNanos,
    ticks: u64,
}

/// What judges beside the gate.
trait Candidate: Send {
    /// The robot was stopped past it.
    fn interrupted(&mut self);

    /// What it makes of a tick.
    fn judge(&mut self, inputs: &Inputs) -> Opinion;
}

impl Candidate for Shadow {
    fn interrupted(&mut self) {
        Self::interrupted(self);
    }

    fn judge(&mut self, inputs: &Inputs) -> Opinion {
        Self::judge(self, inputs)
    }
}

/// The candidate's end on the control thread.
pub struct ShadowWatch {
    /// The candidate has a rule about what stands around the robot.
    pub(super) keeps_distance: bool,
    candidate: Box<dyn Candidate>,
    counted_at: Option<MonoNanos>,
    counts: ShadowCounts,
    failed: bool,
    notes: Arc<ArrayQueue<Note>>,
    run: Option<Run>,
}

impl fmt::Debug for ShadowWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShadowWatch").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// The other end: makes records of notes.
pub struct ShadowJournal {
    candidate: VerifiedPolicy,
    desk: Arc<Desk>,
    in_force: VerifiedPolicy,
    journal: JournalHandle,
    notes: Arc<ArrayQueue<Note>>,
}

impl fmt::Debug for ShadowJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.candidate.digest();
        f.debug_struct("ShadowJournal").field("candidate", &hash).finish_non_exhaustive()
    }
}

/// Both ends of a shadow of `in_force`.
#[must_use]
pub fn shadow(
    candidate: VerifiedPolicy,
    in_force: VerifiedPolicy,
    journal: JournalHandle,
    desk: Arc<Desk>,
) -> (ShadowWatch, ShadowJournal) {
    let shadow = Shadow::new(&candidate, &in_force);
    let keeps_distance = candidate.document().proximity.is_some();
    let watch = ShadowWatch::new(keeps_distance, Box::new(shadow));
    let notes = Arc::clone(&watch.notes);
    (watch, ShadowJournal { candidate, desk, in_force, journal, notes })
}

impl ShadowWatch {
    fn new(keeps_distance: bool, candidate: Box<dyn Candidate>) -> Self {
        Self {
            candidate,
            counted_at: None,
            counts: ShadowCounts::default(),
            failed: false,
            keeps_distance,
            notes: Arc::new(ArrayQueue::new(WAITING)),
            run: None,
        }
    }

    /// The robot was stopped past the gate: to the candidate too its last setpoint did not come
    /// to pass.
    pub fn interrupted(&mut self) {
        if !self.failed {
            self.candidate.interrupted();
        }
    }

    /// Judges a tick that is over. Allocates nothing and waits for nothing.
    pub fn observe(&mut self, inputs: &Inputs, real: &Real<'_>) {
        if self.failed {
            return;
        }
        let candidate = &mut self.candidate;
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let opinion = candidate.judge(inputs);
            let difference = opinion.differs(&real.allowed);
            difference.map(|difference| Finding {
                allowed: real.allowed,
                asked: real.asked.into(),
                because: opinion.because(difference, real.verdicts),
                difference,
                pose: inputs.pose.value,
                source: real.source,
                tick: inputs.tick,
                would: opinion.allowed,
            })
        }));
        let Ok(finding) = judged else {
            self.failed = true;
            let finding = self.run.take().map(|run| (run.last, run.ticks));
            self.note(ShadowPhase::Failed, finding);
            return;
        };
        self.counts.add(finding.map(|finding| finding.difference));
        match finding {
            Some(finding) => self.differs(inputs.now, finding),
            None => self.agrees(inputs.now),
        }
        let counted_at = *self.counted_at.get_or_insert(inputs.now);
        if inputs.now.since(counted_at).is_none_or(|age| age >= COUNTED_EVERY) {
            self.counted_at = Some(inputs.now);
            self.note(ShadowPhase::Counted, None);
        }
    }

    fn differs(&mut self, now: MonoNanos, finding: Finding) {
        let Some(run) = &mut self.run else {
            let run = Run { last: finding, noted: finding, noted_at: now, seen_at: now, ticks: 1 };
            self.run = Some(run);
            self.note(ShadowPhase::Began, Some((finding, 1)));
            return;
        };
        run.ticks += 1;
        run.last = finding;
        run.seen_at = now;
        let rule = |finding: &Finding| finding.because.map(|by| (by.rule, by.zone));
        let changed =
            finding.difference != run.noted.difference || rule(&finding) != rule(&run.noted);
        if changed && now.since(run.noted_at).is_none_or(|age| age >= SETTLES) {
            run.noted = finding;
            run.noted_at = now;
            let ticks = run.ticks;
            self.note(ShadowPhase::Holds, Some((finding, ticks)));
        }
    }

    fn agrees(&mut self, now: MonoNanos) {
        let over = |run: &mut Run| now.since(run.seen_at).is_none_or(|age| age >= SETTLES);
        if let Some(run) = self.run.take_if(over) {
            self.note(ShadowPhase::Ended, Some((run.last, run.ticks)));
        }
    }

    /// One that does not fit is lost; the counts of the next one hold it.
    fn note(&self, phase: ShadowPhase, finding: Option<(Finding, u64)>) {
        let _ = self.notes.push(Note { counts: self.counts, finding, phase });
    }
}

impl Drop for ShadowWatch {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            self.note(ShadowPhase::Ended, Some((run.last, run.ticks)));
        }
        self.note(ShadowPhase::Counted, None);
    }
}

impl ShadowJournal {
    /// Writes what was noted.
    pub fn write(&self) {
        while let Some(note) = self.notes.pop() {
            if note.phase == ShadowPhase::Failed {
                error!("the shadow of the candidate policy panicked; it judges no more");
            }
            if let Err(error) = self.journal.append(Entry::Shadow(self.record(note))) {
                warn!(%error, "what the candidate policy would have done is not in the journal");
            }
        }
    }

    /// Writes again and again, on a thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(self) -> std::io::Result<ShadowThread> {
        info!(candidate = %self.candidate.digest(), "a candidate policy judges beside the one in force");
        let ending = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ending);
        let thread = std::thread::Builder::new().name("shadow".to_owned()).spawn(move || {
            loop {
                // Looked at first: what was noted before the end is written.
                let ends = told.load(Ordering::Acquire);
                self.write();
                if ends {
                    return;
                }
                std::thread::park_timeout(WRITTEN_EVERY);
            }
        })?;
        Ok(ShadowThread { ending, thread: Some(thread) })
    }

    fn record(&self, note: Note) -> shadow::Shadow {
        let document = self.candidate.document();
        shadow::Shadow {
            candidate: document.id.clone(),
            candidate_hash: self.candidate.digest(),
            candidate_version: document.version,
            counts: note.counts,
            finding: note.finding.map(|(finding, ticks)| self.finding(&finding, ticks)),
            phase: note.phase,
            policy_hash: self.in_force.digest(),
        }
    }

    fn finding(&self, finding: &Finding, ticks: u64) -> ShadowFinding {
        let Finding { allowed, asked, because, difference, pose, source, tick, would } = *finding;
        let zones = match difference {
            Difference::WouldAllow => self.in_force.zone_ids(),
            Difference::WouldSlow | Difference::WouldStop => self.candidate.zone_ids(),
        };
        let zone = |index: u16| -> Option<ZoneId> { zones.get(usize::from(index)).cloned() };
        ShadowFinding {
            allowed,
            asked,
            difference,
            job: self.desk.job(),
            limit: because.map(|by| by.limit),
            pose,
            rule: because.map(|by| by.rule),
            source,
            tick,
            ticks,
            would,
            zone: because.and_then(|by| by.zone).and_then(zone),
        }
    }
}

/// The running thread; it writes what is left and ends when this is dropped.
#[derive(Debug)]
pub struct ShadowThread {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for ShadowThread {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                error!("the writer of the shadow panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_policy::Planar;
    use nooterra_protocol::geometry::Twist;
    use nooterra_protocol::observation::Timed;

    /// A candidate that breaks at its first tick.
    struct Broken;

    impl Candidate for Broken {
        fn interrupted(&mut self) {}

        fn judge(&mut self, _: &Inputs) -> Opinion {
            panic!("broken on purpose")
        }
    }

    #[test]
    fn a_candidate_that_panics_is_told_of_once_and_judges_no_more() {
        let mut watch = ShadowWatch::new(false, Box::new(Broken));
        let now = MonoNanos(1);
        let pose = Timed { at: now, value: Pose::default() };
        let twist = Timed { at: now, value: Planar::new(0.0, 0.0, 0.0) };
        let inputs = Inputs::new(1, now, pose, twist);
        let stands = Command::Drive(Twist::ZERO);
        let verdicts = Verdicts::none();
        let real =
            Real { allowed: stands, asked: stands, source: Source::Idle, verdicts: &verdicts };
        for _ in 0..5 {
            watch.observe(&inputs, &real);
        }
        let noted = std::iter::from_fn(|| watch.notes.pop());
        let phases: Vec<_> = noted.map(|note| note.phase).collect();
        assert_eq!(phases, [ShadowPhase::Failed]);
    }
}
