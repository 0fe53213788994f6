//! What is kept, when it is written, and how much of it.

use super::{BLOCK_BYTES, FlightOptions, FlightSink, FlightTriggers};
use crate::handle::AppendError;
use crossbeam_queue::ArrayQueue;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Entry, Rule};
use nooterra_protocol::flight::{BlockDraft, FlightNote, FlightTick, MAX_TICKS, Trigger};
use nooterra_protocol::time::MonoNanos;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A block waits for company no longer than this: what was recorded is then on the disk, should
/// the power go.
const BLOCK_EVERY: Duration = Duration::from_millis(500);

/// Suppressed triggers are said at most this often.
const SUPPRESSED_EVERY: Duration = Duration::from_secs(60);

/// A record beside its rows, bytes.
const RECORD_BYTES: u64 = 256;

/// A dump begins only while this part of the hour's share is left, so that it is not cut at once.
const LEAST_SHARE: u64 = 8;

/// How the recorder stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct FlightState {
    /// Dumps since the start.
    pub dumps: u64,
    /// Ticks that did not reach the recorder, or were overwritten before they were written.
    pub lost: u64,
    /// What it has set aside in memory, bytes.
    pub memory_bytes: usize,
    /// A dump is under way.
    pub recording: bool,
    /// Triggers for which nothing was written.
    pub suppressed: u64,
    /// Ticks in memory.
    pub ticks: usize,
}

/// Counts by trigger.
type Counts = [u64; Trigger::ALL.len()];

/// Keeps ticks and writes dumps; see the [module](super).
#[derive(Debug)]
pub struct Recorder {
    /// Of the hour's share, what is left.
    allowance: u64,
    dump: Option<Dump>,
    dumps: u64,
    last: Option<FlightTick>,
    lost: Arc<AtomicU64>,
    /// Of those lost, how many the numbers of the ticks in the ring show as gaps, and how many
    /// there were when the queue was last emptied.
    lost_shown: (u64, u64),
    options: FlightOptions,
    overwritten: u64,
    /// The last tick that a dump has written, by its place in the ring, and the dump.
    written: Option<(u64, u64)>,
    /// Ticks that ever were in the ring.
    pushed: u64,
    queue: Arc<ArrayQueue<FlightTick>>,
    ring: VecDeque<FlightTick>,
    stepped_at: Option<MonoNanos>,
    suppressed: Counts,
    suppressed_at: Option<MonoNanos>,
    suppressed_in_all: u64,
    triggers: FlightTriggers,
    waiting: VecDeque<(Trigger, MonoNanos)>,
}

/// A dump under way.
#[derive(Debug)]
struct Dump {
    block_at: MonoNanos,
    blocks: u32,
    draft: BlockDraft,
    head: Digest,
    id: u64,
    last_tick: Option<u64>,
    lost: u64,
    merged: Counts,
    /// The journal knows that it is under way.
    noted: bool,
    /// Records that the journal has not taken yet.
    outbox: VecDeque<Entry>,
    /// Place of the next tick.
    next: u64,
    /// Its end is in the outbox.
    over: bool,
    /// Of this second's share, what is left.
    share: u64,
    ticks: u64,
    until: MonoNanos,
}

impl Recorder {
    pub(super) fn new(
        options: FlightOptions,
        queue: Arc<ArrayQueue<FlightTick>>,
        lost: Arc<AtomicU64>,
        triggers: FlightTriggers,
    ) -> Self {
        Self {
            allowance: options.bytes_per_hour,
            dump: None,
            dumps: 0,
            last: None,
            lost,
            lost_shown: (0, 0),
            overwritten: 0,
            written: None,
            pushed: 0,
            queue,
            ring: VecDeque::with_capacity(options.ring_ticks()),
            stepped_at: None,
            suppressed: Counts::default(),
            suppressed_at: None,
            suppressed_in_all: 0,
            triggers,
            waiting: VecDeque::with_capacity(super::TRIGGERS),
            options,
        }
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> FlightState {
        FlightState {
            dumps: self.dumps,
            lost: self.lost.load(Ordering::Relaxed) + self.overwritten,
            memory_bytes: self.options.memory_bytes(),
            recording: self.dump.is_some(),
            suppressed: self.suppressed_in_all,
            ticks: self.ring.len(),
        }
    }

    /// Takes what waits, and writes what is due. Call it some ten times a second; it does not
    /// wait for the disk.
    pub fn step(&mut self, now: MonoNanos, sink: &mut dyn FlightSink) {
        self.refill(now);
        self.take();
        self.say_suppressed(now, sink);
        self.write(now, sink, false);
    }

    /// Ends the dump under way with all that there is of it: the agent ends.
    pub fn finish(&mut self, now: MonoNanos, sink: &mut dyn FlightSink) {
        self.take();
        self.write(now, sink, true);
    }

    /// What has become allowed since the last time.
    fn refill(&mut self, now: MonoNanos) {
        let since = self.stepped_at.replace(now).and_then(|before| now.since(before));
        let nanos = since.unwrap_or_default().as_nanos();
        let share = |bytes: u64, per: u128| {
            u64::try_from(u128::from(bytes) * nanos / per).unwrap_or(u64::MAX)
        };
        let (second, hour) = (1_000_000_000, 3_600_000_000_000);
        let most = self.options.bytes_per_hour;
        self.allowance = self.allowance.saturating_add(share(most, hour)).min(most);
        if let Some(dump) = &mut self.dump {
            let most = self.options.bytes_per_s;
            dump.share = dump.share.saturating_add(share(most, second)).min(most);
        }
    }

    /// Ticks into the ring, and the triggers that they show.
    fn take(&mut self) {
        for _ in 0..self.queue.capacity() {
            let Some(tick) = self.queue.pop() else { break };
            self.lost_shown.0 = self.lost_shown.1;
            if let Some(before) = &self.last {
                for trigger in shown(before, &tick).into_iter().flatten() {
                    self.waiting.push_back((trigger, tick.at));
                }
            }
            self.last = Some(tick);
            if self.ring.len() >= self.options.ring_ticks() {
                self.ring.pop_front();
                let gone = self.pushed - self.ring.len() as u64;
                if self.dump.as_ref().is_some_and(|dump| dump.next < gone) {
                    self.overwritten += 1;
                }
            }
            self.ring.push_back(tick);
            self.pushed += 1;
            self.fire();
        }
        self.lost_shown.1 = self.lost.load(Ordering::Relaxed);
        while let Some(pulled) = self.triggers.queue.pop() {
            self.waiting.push_back(pulled);
        }
        self.fire();
        self.suppressed_in_all += self.triggers.missed.swap(0, Ordering::Relaxed);
    }

    fn fire(&mut self) {
        while let Some((trigger, at)) = self.waiting.pop_front() {
            if !self.options.triggers.contains(&trigger) {
                continue;
            }
            if self.dump.as_ref().is_some_and(|dump| dump.over) {
                // It makes a dump of its own, when the journal has taken the end of this one.
                self.waiting.push_front((trigger, at));
                while self.waiting.len() > super::TRIGGERS {
                    let (trigger, _) = self.waiting.pop_back().unwrap_or((trigger, at));
                    self.suppress(trigger);
                }
                return;
            }
            let until = at.plus(self.options.after);
            if let Some(dump) = &mut self.dump {
                dump.merged[slot(trigger)] += 1;
                dump.until = dump.until.max(until);
            } else if self.allowance < self.options.bytes_per_hour / LEAST_SHARE {
                self.suppress(trigger);
            } else {
                self.begin(trigger, at, until);
            }
        }
    }

    fn suppress(&mut self, trigger: Trigger) {
        self.suppressed[slot(trigger)] += 1;
        self.suppressed_in_all += 1;
    }

    fn begin(&mut self, trigger: Trigger, at: MonoNanos, until: MonoNanos) {
        self.dumps += 1;
        let window = MonoNanos(
            at.0.saturating_sub(u64::try_from(self.options.before.as_nanos()).unwrap_or(u64::MAX)),
        );
        let oldest = self.pushed - self.ring.len() as u64;
        let before = self.ring.partition_point(|tick| tick.at < window) as u64;
        let mut next = oldest + before;
        let mut follows = None;
        if let Some((written, dump)) = self.written
            && written >= next
        {
            (next, follows) = (written + 1, Some(dump));
        }
        let first = self.at(next);
        let from = first.map_or(at, |tick| tick.at);
        // What is overwritten before it is written is missed from the first on.
        let last_tick = first.and_then(|tick| tick.tick.checked_sub(1));
        let note =
            FlightNote::Began { from, dump: self.dumps, follows, trigger, triggered_at: at, until };
        self.dump = Some(Dump {
            block_at: at,
            blocks: 0,
            draft: BlockDraft::default(),
            head: Digest::ZERO,
            id: self.dumps,
            last_tick,
            lost: 0,
            merged: Counts::default(),
            noted: false,
            outbox: VecDeque::from([Entry::FlightNote(note)]),
            next,
            over: false,
            share: self.options.bytes_per_s,
            ticks: 0,
            until,
        });
    }

    /// The tick at a place.
    fn at(&self, place: u64) -> Option<&FlightTick> {
        let oldest = self.pushed - self.ring.len() as u64;
        self.ring.get(usize::try_from(place.checked_sub(oldest)?).ok()?)
    }

    /// Writes what is due of the dump; with `all` everything, and ends it.
    fn write(&mut self, now: MonoNanos, sink: &mut dyn FlightSink, all: bool) {
        let Some(mut dump) = self.dump.take() else {
            return;
        };
        loop {
            match dump.flush(sink) {
                Ok(true) => break,
                Ok(false) => {}
                // It is tried again at the next step; when the agent ends, there is none.
                Err(AppendError::Full) if !all => break self.dump = Some(dump),
                Err(error) => {
                    tracing::error!(%error, "a dump of the flight recorder is given up");
                    break;
                }
            }
            if !all && dump.share == 0 {
                break self.dump = Some(dump);
            }
            let spent = dump.draft.bytes() as u64 + RECORD_BYTES;
            let cut = self.allowance <= spent;
            let oldest = self.pushed - self.ring.len() as u64;
            dump.next = dump.next.max(oldest);
            let tick = self.at(dump.next).filter(|_| !cut);
            if let Some(tick) = tick.filter(|tick| tick.at <= dump.until) {
                dump.add(tick);
                self.written = Some((dump.next, dump.id));
                dump.next += 1;
                if dump.draft.bytes() >= BLOCK_BYTES || dump.draft.count() >= MAX_TICKS {
                    self.close(&mut dump, now, false);
                }
                continue;
            }
            // Nothing more is there: the window is over, or its ticks have not come yet.
            if all || cut || now >= dump.until && (tick.is_some() || self.is_overdue(now, &dump)) {
                // What is missing before the first beyond the window may belong to it; where none
                // has come yet, what was lost since the last.
                match tick {
                    Some(tick) => dump.miss(tick),
                    None if cut => {}
                    None => dump.lost += self.lost_shown.1 - self.lost_shown.0,
                }
                self.close(&mut dump, now, true);
                let cut = cut || now < dump.until;
                dump.end(cut);
                continue;
            }
            let waited = now.since(dump.block_at).is_none_or(|waited| waited >= BLOCK_EVERY);
            if dump.draft.count() > 0 && waited {
                self.close(&mut dump, now, false);
                continue;
            }
            break self.dump = Some(dump);
        }
    }

    /// No tick beyond the window comes any more: the control loop stands still.
    fn is_overdue(&self, now: MonoNanos, dump: &Dump) -> bool {
        self.queue.is_empty() && now.since(dump.until).is_some_and(|late| late >= BLOCK_EVERY)
    }

    /// Puts the draft into the outbox.
    fn close(&mut self, dump: &mut Dump, now: MonoNanos, last: bool) {
        let block = dump.draft.finish(dump.id, dump.blocks, dump.head, last);
        let cost = block.rows.0.len() as u64 + RECORD_BYTES;
        dump.head = Digest::of(&block.rows.0);
        dump.blocks += 1;
        dump.block_at = now;
        dump.share = dump.share.saturating_sub(cost);
        self.allowance = self.allowance.saturating_sub(cost);
        dump.outbox.push_back(Entry::Flight(block));
    }

    fn say_suppressed(&mut self, now: MonoNanos, sink: &mut dyn FlightSink) {
        let due = self.suppressed_at.and_then(|at| now.since(at));
        if self.suppressed == Counts::default() || due.is_some_and(|age| age < SUPPRESSED_EVERY) {
            return;
        }
        let note = FlightNote::Suppressed { triggers: listed(&self.suppressed) };
        if sink.append(Entry::FlightNote(note)).is_ok() {
            self.suppressed = Counts::default();
            self.suppressed_at = Some(now);
        }
    }
}

impl Dump {
    /// Counts what is missing before a tick.
    fn miss(&mut self, tick: &FlightTick) {
        if let Some(last) = self.last_tick {
            self.lost += tick.tick.saturating_sub(last.saturating_add(1));
        }
    }

    fn add(&mut self, tick: &FlightTick) {
        self.miss(tick);
        self.last_tick = Some(tick.tick);
        self.ticks += 1;
        self.draft.push(tick);
    }

    fn end(&mut self, cut: bool) {
        self.over = true;
        self.outbox.push_back(Entry::FlightNote(FlightNote::Ended {
            blocks: self.blocks,
            cut,
            dump: self.id,
            head: self.head,
            lost: self.lost,
            merged: listed(&self.merged),
            ticks: self.ticks,
        }));
    }

    /// Hands over what the journal takes; true when that was the last of it.
    fn flush(&mut self, sink: &mut dyn FlightSink) -> Result<bool, AppendError> {
        if !self.noted {
            sink.open(Some(self.id))?;
            self.noted = true;
        }
        while let Some(entry) = self.outbox.front() {
            sink.append(entry.clone())?;
            self.outbox.pop_front();
        }
        if self.over {
            sink.open(None)?;
        }
        Ok(self.over)
    }
}

fn slot(trigger: Trigger) -> usize {
    Trigger::ALL.iter().position(|known| *known == trigger).unwrap_or(0)
}

fn listed(counts: &Counts) -> Vec<(Trigger, u64)> {
    let all = Trigger::ALL.into_iter().zip(*counts);
    all.filter(|(_, count)| *count > 0).collect()
}

/// What began with this tick.
fn shown(before: &FlightTick, tick: &FlightTick) -> [Option<Trigger>; 3] {
    let held = |tick: &FlightTick, rule: Rule| tick.verdicts.iter().any(|kept| kept.rule == rule);
    let clamped = tick.verdicts.iter().any(|kept| !smooths(kept.rule) && !held(before, kept.rule));
    let pressed = tick.emergency_stop && !before.emergency_stop;
    let stopped = tick.stopped && !before.stopped;
    [
        clamped.then_some(Trigger::Clamp),
        pressed.then_some(Trigger::EmergencyStop),
        stopped.then_some(Trigger::Stop),
    ]
}

/// The rules that act whenever a robot sets off, turns in or brakes: nothing happened.
const fn smooths(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::AccelAngular
            | Rule::AccelJoint
            | Rule::AccelLateral
            | Rule::AccelLinear
            | Rule::AccelVertical
            | Rule::JerkLinear
            | Rule::SteeringRate
    )
}
