//! The record of what a skill sees, step by step.
//!
//! It has a budget. A skill that sees more than fits is ended, not recorded with a gap: its next
//! request may rest on anything that it ever saw, so that from a gap on nothing of the run could
//! be repeated, and a robot would move for reasons that nobody can look up. Ending the skill
//! brings the robot to rest. The same holds when the journal does not take the record.

use nooterra_blackbox::JournalHandle;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::Entry;
use nooterra_protocol::ids::{JobId, SkillId, StepId};
use nooterra_protocol::input::{InputDraft, MAX_BEAMS, MAX_STEPS, SkillInput};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

/// A record is closed when its rows reach this size.
const RECORD_BYTES: usize = 16 * 1024;

/// No record gets larger by another step.
const LARGEST_BYTES: usize = 44 * 1024;

/// A record is closed when its first step is so old: what a crash can take.
const RECORD_EVERY: Duration = Duration::from_millis(500);

/// Over so many seconds the budget is averaged.
const AVERAGED_S: u64 = 10;

/// Whose inputs they are.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    pub(super) action: String,
    pub(super) bundle: Digest,
    pub(super) job: JobId,
    pub(super) skill: SkillId,
    pub(super) step: StepId,
}

/// Says whether the range sensor's data may be kept.
pub(super) type KeepsScan = Box<dyn Fn(MonoNanos) -> bool + Send>;

/// Gathers steps to records; what is left when it is dropped is written too.
pub(super) struct InputLog {
    /// Of the budget, what is left, bytes.
    allowance: u64,
    began_at: MonoNanos,
    bytes_per_s: u64,
    draft: InputDraft,
    first: u64,
    journal: JournalHandle,
    /// The range sensor's data may be kept at this moment.
    keeps_scan: KeepsScan,
    last_at: Option<MonoNanos>,
    whose: Whose,
    withheld: bool,
}

impl std::fmt::Debug for InputLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputLog").field("whose", &self.whose).finish_non_exhaustive()
    }
}

impl InputLog {
    pub(super) fn new(
        whose: Whose,
        kib_per_s: u32,
        journal: JournalHandle,
        keeps_scan: KeepsScan,
    ) -> Self {
        let bytes_per_s = u64::from(kib_per_s) * 1024;
        Self {
            allowance: bytes_per_s * AVERAGED_S,
            began_at: MonoNanos(0),
            bytes_per_s,
            draft: InputDraft::default(),
            first: 1,
            journal,
            keeps_scan,
            last_at: None,
            whose,
            withheld: false,
        }
    }

    /// Records the next step, before the skill sees it.
    pub(super) fn step(&mut self, at: MonoNanos, seen: &Observation) -> Result<(), String> {
        let kept = (self.keeps_scan)(at);
        let withholds = !kept && seen.scan.is_some();
        let beams = seen.scan.as_ref().map_or(0, |scan| scan.value.ranges.len());
        let room = RECORD_BYTES + size_of::<f32>() * beams;
        if self.withheld != withholds || self.draft.bytes() + room > LARGEST_BYTES {
            self.flush()?;
        }
        self.withheld = withholds;
        if kept && beams > MAX_BEAMS {
            return Err(format!("a scan of {beams} beams is more than can be recorded"));
        }
        if self.draft.count() == 0 {
            self.began_at = at;
        }
        let size = if withholds {
            self.draft.push(at, &Observation { scan: None, ..seen.clone() })
        } else {
            self.draft.push(at, seen)
        };
        if let Err(refused) = self.spend(at, size) {
            self.draft.take_back(size);
            return Err(refused);
        }
        let due = at.since(self.began_at).is_none_or(|age| age >= RECORD_EVERY);
        if due || self.draft.bytes() >= RECORD_BYTES || self.draft.count() >= MAX_STEPS {
            self.flush()?;
        }
        Ok(())
    }

    /// Which step of the run is under way, from 1.
    pub(super) fn nth(&self) -> u64 {
        (self.first + u64::from(self.draft.count())).saturating_sub(1)
    }

    fn spend(&mut self, at: MonoNanos, size: usize) -> Result<(), String> {
        let since = self.last_at.replace(at).and_then(|last| at.since(last)).unwrap_or_default();
        let more = u128::from(self.bytes_per_s) * since.as_nanos() / 1_000_000_000;
        let most = self.bytes_per_s * AVERAGED_S;
        let allowance = u128::from(self.allowance).saturating_add(more).min(u128::from(most));
        let left = allowance.checked_sub(size as u128).and_then(|left| u64::try_from(left).ok());
        self.allowance = left.ok_or_else(|| {
            let kib = self.bytes_per_s / 1024;
            format!(
                "what it sees takes more than the {kib} KiB/s that are recorded; raise \
                 skills.input_kib_per_s or give it less to see"
            )
        })?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        let (count, rows) = self.draft.take();
        if count == 0 {
            return Ok(());
        }
        let Whose { action, bundle, job, skill, step } = self.whose.clone();
        let (first, withheld) = (self.first, self.withheld);
        self.first += u64::from(count);
        let input = SkillInput { action, bundle, count, first, job, rows, skill, step, withheld };
        let appended = self.journal.append(Entry::SkillInput(input));
        appended.map_err(|error| format!("what it sees cannot be recorded: {error}"))
    }
}

impl Drop for InputLog {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!(error, "the last inputs of a skill are not in the journal");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_blackbox::{Clock, Journal, Options};
    use nooterra_evidence::Record;
    use nooterra_protocol::entry::Class;
    use nooterra_protocol::geometry::{Pose, Twist};
    use nooterra_protocol::keys::{Es256Key, Signer};
    use nooterra_protocol::observation::{Scan, Timed};
    use nooterra_protocol::time::{ClockTrust, Stamp, WallMillis};

    use std::sync::Arc;

    const STEP_NS: u64 = 100_000_000;

    struct Still;

    impl Clock for Still {
        fn stamp(&self) -> Stamp {
            Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1) }
        }
    }

    fn seen(nth: u16, beams: u16) -> Observation {
        let at = MonoNanos(u64::from(nth) * STEP_NS);
        let ranges = (0..beams).map(|beam| f32::from(beam) + f32::from(nth) / 7.0).collect();
        let scan = Scan { angle_min: -1.0, angle_step: 0.01, range_max: 30.0, ranges };
        Observation {
            battery: None,
            docked: false,
            emergency_stop: false,
            gripper: false,
            joints: None,
            pose: Timed { at, value: Pose { x: f64::from(nth) * 0.1, y: 1.0, yaw: 0.1 } },
            scan: Some(Timed { at, value: scan }),
            twist: Timed { at, value: Twist::new(1.0, 0.0) },
        }
    }

    fn log(dir: &std::path::Path, kib_per_s: u32, keeps: KeepsScan) -> (Journal, InputLog) {
        let signer: Arc<dyn Signer> = Arc::new(Es256Key::from_seed([3; 32]).unwrap());
        let options = Options::new(Arc::new(Still), signer, Digest::ZERO);
        let journal = Journal::open(&dir.join("journal"), options).unwrap().journal;
        let whose = Whose {
            action: "patrol".to_owned(),
            bundle: Digest::ZERO,
            job: JobId::new("job_1").unwrap(),
            skill: SkillId::new("patrol").unwrap(),
            step: StepId::new("s1").unwrap(),
        };
        let log = InputLog::new(whose, kib_per_s, journal.handle(), keeps);
        (journal, log)
    }

    fn recorded(journal: &Journal) -> Vec<SkillInput> {
        let handle = journal.handle();
        let gap = nooterra_protocol::entry::Gap { dropped: 0, reason: "the end".to_owned() };
        handle.append_durable(Entry::Gap(gap)).unwrap();
        let records = handle.read_from(Class::Normal, 0, 1 << 24).unwrap();
        let input = |bytes: &[u8]| match Record::decode(bytes).unwrap().entry().unwrap() {
            Some(Entry::SkillInput(input)) => Some(input),
            _ => None,
        };
        records.iter().filter_map(|(_, bytes)| input(bytes)).collect()
    }

    #[test]
    fn the_sequence_of_observations_is_rebuilt_from_the_journal_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, mut log) = log(dir.path(), 64, Box::new(|_| true));
        let steps: Vec<Observation> = (1..=53).map(|nth| seen(nth, 360)).collect();
        for step in &steps {
            log.step(step.pose.at, step).unwrap();
        }
        drop(log);
        let records = recorded(&journal);
        assert!(records.len() > 5, "some of it is on the disk every half second");
        let rebuilt: Vec<_> =
            records.iter().flat_map(|record| record.inputs().unwrap()).map(|(_, s)| s).collect();
        assert_eq!(rebuilt, steps);
    }

    #[test]
    fn beyond_its_budget_a_skill_does_not_go_on_and_what_it_saw_until_then_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, mut log) = log(dir.path(), 1, Box::new(|_| true));
        let refused = (1..=200).find_map(|nth| {
            let step = seen(nth, 360);
            log.step(step.pose.at, &step).err().map(|why| (nth, why))
        });
        let (nth, why) = refused.expect("more than 10 KiB/s of scans");
        assert!(why.contains("more than the 1 KiB/s") && nth > 5, "step {nth}: {why}");
        drop(log);
        let steps: u32 = recorded(&journal).iter().map(|record| record.count).sum();
        assert_eq!(steps, u32::from(nth) - 1, "what it was not shown is not in the record");
    }

    #[test]
    fn a_scan_that_may_not_be_kept_is_not_and_the_record_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let keeps = |at: MonoNanos| ![2, 3].contains(&(at.0 / STEP_NS));
        let (journal, mut log) = log(dir.path(), 64, Box::new(keeps));
        for nth in 1..=4 {
            let step = seen(nth, 36);
            log.step(step.pose.at, &step).unwrap();
        }
        drop(log);
        let told = |record: &SkillInput| {
            let scans = record.inputs().unwrap().iter().filter(|(_, s)| s.scan.is_some()).count();
            (record.withheld, record.count, scans)
        };
        let told: Vec<_> = recorded(&journal).iter().map(told).collect();
        assert_eq!(told, [(false, 1, 1), (true, 2, 0), (false, 1, 1)]);
    }
}
