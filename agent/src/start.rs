//! What a start finds of the runs before it, and records: how the last one ended, and journals
//! that were put aside.

use crate::authority::signed::{self, DECIDED_KEY};
use crate::config::Config;
use crate::control::STOP_KEY;
use crate::files;
use crate::jobs;
use crate::link::REPLAY_KEY;
use crate::recording::{Blackbox, PerClass};
use nooterra_blackbox::flight::cut_dump;
use nooterra_blackbox::{
    AppendError, Aside, Clock, FramesAt, JournalHandle, Options, Quota, StateError, asides,
};
use nooterra_evidence::Record;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::keys::Signer;
use nooterra_protocol::start::{AsideRemoved, Crash};
use nooterra_protocol::time::{ClockTrust, Stamp, WallMillis};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info, warn};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// A temporary file of the command line is written, synced and moved within this.
const IN_HAND: Duration = Duration::from_secs(60);

/// How this robot's journal is kept, whoever opens it: the bounds are the owner's.
pub(crate) fn journal_options(
    config: &Config,
    clock: Arc<dyn Clock>,
    signer: Arc<dyn Signer>,
    policy_hash: Digest,
) -> Options {
    let mut options = Options::new(clock, signer, policy_hash);
    options.frames = Some(frames(config));
    options.openings_bytes = config.blackbox.openings_bytes();
    options.quota = quota(&config.blackbox, aside_bytes(&config.state.journal_dir()));
    options
}

/// The journal's bounds beside so many bytes that were put aside: both together are within the
/// bound on the disk.
pub(crate) fn quota(config: &Blackbox, aside_bytes: u64) -> Quota {
    let most = |class| config.most_mib.of(class).map(|mib| u64::from(mib) << 20);
    let ages = |days: &PerClass| {
        let age = |days: u32| Duration::from_secs(24 * 3600) * days;
        Class::ALL.map(|class| days.of(class).map(age))
    };
    Quota {
        bulk_bytes: most(Class::Bulk),
        critical_bytes: most(Class::Critical),
        disk_bytes: config.disk_bytes() - aside_bytes.min(config.aside_bytes()),
        keep_at_least: ages(&config.keep_days),
        keep_at_most: ages(&config.prune_days),
        normal_bytes: most(Class::Normal),
    }
}

/// A time that may be kept as one that has surely passed. The network may set the clock wrong for a
/// while; what is kept stays for ever, and beyond it every command and certificate has ended. So
/// none is kept that lies beyond the end of this robot's certificate, which is renewed long before.
pub(crate) fn believable(time: WallMillis, not_after: WallMillis) -> Option<WallMillis> {
    (time <= not_after).then_some(time)
}

/// Where pictures are kept that skills were given, and how much of them.
pub(crate) fn frames(config: &Config) -> FramesAt {
    let most_bytes = u64::from(config.skills.frames_mib) << 20;
    FramesAt { dir: config.state.frames_dir(), most_bytes }
}

/// What the journals that were put aside take; nothing where that cannot be said.
pub(crate) fn aside_bytes(journal_dir: &Path) -> u64 {
    found(journal_dir).iter().map(|aside| aside.bytes).sum()
}

fn found(journal_dir: &Path) -> Vec<Aside> {
    asides(journal_dir).unwrap_or_else(|error| {
        error!(%error, "journals that were put aside cannot be looked at");
        Vec::new()
    })
}

/// The end of the last run, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct LastRun {
    pub(crate) at: Option<Stamp>,
    pub(crate) boot: u64,
    pub(crate) seq: u64,
}

impl LastRun {
    /// Before anything of this start is appended: its boot is `boot`.
    pub(crate) fn of(journal: &JournalHandle, boot: u64) -> Self {
        let mut last = Self { at: None, boot: boot.saturating_sub(1), seq: 0 };
        // What was lost of a damaged journal is said by the new run, at its beginning.
        let seqs = (1..=journal.records()).rev().take(8);
        for seq in seqs {
            let read = |class| journal.read_from(class, seq - 1, 1).ok()?.into_iter().next();
            let found = Class::ALL.into_iter().filter_map(read).find(|(found, _)| *found == seq);
            let record = found.and_then(|(_, bytes)| Record::decode(&bytes).ok());
            if let Some(record) = record.filter(|record| record.boot < boot) {
                (last.at, last.boot, last.seq) = (Some(record.stamp), record.boot, seq);
                break;
            }
        }
        last
    }
}

/// Records that the last run did not end in order.
pub(crate) fn record_crash(
    journal: &JournalHandle,
    last: &LastRun,
    state_dir: &Path,
    put_aside: Option<&Path>,
) -> Result<(), AppendError> {
    let flight = cut_dump(journal, last.boot).unwrap_or_else(|error| {
        error!(%error, "whether a dump of the flight recorder was cut off is not known");
        None
    });
    let (job, step) = jobs::under_way(state_dir).unzip();
    let put_aside = put_aside.and_then(Path::file_name);
    journal.append_durable(Entry::Crash(Crash {
        flight,
        job,
        last_at: last.at,
        last_boot: last.boot,
        last_seq: last.seq,
        put_aside: put_aside.map(|name| name.to_string_lossy().into_owned()),
        step: step.flatten(),
    }))?;
    Ok(())
}

/// After a damaged journal was put aside whose states did not come over whole: what it remembered
/// of stops, of people's decisions and of received commands is taken for the worst, also where an
/// older word about it was found. It is done again until it was done to the end. The empty bytes
/// read as nothing, which whoever asks for them takes for a veto, or for any command received.
pub(crate) fn mistrust(journal: &JournalHandle) -> Result<(), StateError> {
    if !journal.states_are_doubted()? {
        return Ok(());
    }
    error!(
        "what the damaged journal remembered of stops, of people's decisions and of commands is lost or old; it is taken for the worst"
    );
    let decided = signed::vetoed_after(journal.get_state(DECIDED_KEY)?);
    journal.put_state(DECIDED_KEY, &decided)?;
    // It may name a job that has ended since.
    journal.put_state(jobs::JOB_KEY, &[])?;
    journal.put_state(REPLAY_KEY, &[])?;
    journal.put_state(STOP_KEY, &[1])?;
    journal.settle_states()
}

/// Removes journals that were put aside, the oldest first, where they are too old or too many.
pub(crate) fn tidy_asides(
    journal: &JournalHandle,
    journal_dir: &Path,
    config: &Blackbox,
    now: Stamp,
) -> Result<(), AppendError> {
    let asides = found(journal_dir);
    let mut left: u64 = asides.iter().map(|aside| aside.bytes).sum();
    for aside in asides {
        let age_days = now.wall.0.saturating_sub(aside.since_s.saturating_mul(1000)) / DAY_MS;
        let trusted = now.trust != ClockTrust::Untrusted;
        let reason = if left > config.aside_bytes() {
            "the bound on the disk".to_owned()
        } else if trusted && age_days >= i64::from(config.aside_days) {
            format!("kept for {age_days} days")
        } else {
            // Those that follow are younger.
            break;
        };
        let (name, bytes) = (aside.name(), aside.bytes);
        warn!(name, bytes, reason, "a journal that was put aside is removed");
        journal.append_durable(Entry::AsideRemoved(AsideRemoved { bytes, name, reason }))?;
        match aside.remove() {
            Ok(()) => left = left.saturating_sub(bytes),
            Err(error) => {
                error!(%error, path = %aside.path.display(), "it cannot be removed");
                break;
            }
        }
    }
    Ok(())
}

/// Removes temporary files that an agent left behind which was killed in the middle of a write.
/// Called under the journal's lock, by which nobody else writes into the state folder itself; in
/// those below it the command line may be at work.
pub(crate) fn sweep(config: &Config) {
    let dir = &config.state.dir;
    let below = ["identity", "policy", "trust", "trust/notes"].map(|name| dir.join(name));
    // A link leads into a folder that is not ours.
    let below = below.iter().filter(|dir| dir.symlink_metadata().is_ok_and(|it| it.is_dir()));
    let folders = below.map(|dir| (dir, IN_HAND)).chain([(dir, Duration::ZERO)]);
    for (dir, older) in folders {
        match files::sweep(dir, older) {
            Ok(0) => {}
            Ok(count) => {
                info!(count, dir = %dir.display(), "left-over temporary files are removed")
            }
            Err(error) => warn!(%error, dir = %dir.display(), "temporary files may stay behind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_blackbox::Journal;
    use nooterra_protocol::keys::Es256Key;
    use nooterra_protocol::time::MonoNanos;

    #[test]
    fn what_is_left_out_of_the_configuration_is_a_gibibyte_without_ages() {
        assert_eq!(quota(&Blackbox::default(), 0), Quota::default());
    }

    #[test]
    fn a_clock_that_was_wrong_once_does_not_end_all_commands_for_ever() {
        let not_after = WallMillis(1_800_000_000_000);
        assert_eq!(
            believable(WallMillis(1_799_999_999_999), not_after).map(|at| at.0),
            Some(1_799_999_999_999)
        );
        assert_eq!(believable(WallMillis(4_000_000_000_000), not_after), None);
    }

    struct Still;

    impl Clock for Still {
        fn stamp(&self) -> Stamp {
            Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1) }
        }
    }

    fn open(at: &std::path::Path) -> nooterra_blackbox::Opened {
        let signer: Arc<dyn Signer> = Arc::new(Es256Key::from_seed([3; 32]).unwrap());
        Journal::open(at, Options::new(Arc::new(Still), signer, Digest::ZERO)).unwrap()
    }

    /// Nobody is stopped, and nothing of what people sent or decided holds.
    fn harmless(handle: &JournalHandle) {
        for (key, value) in [(DECIDED_KEY, &b"\xa0"[..]), (REPLAY_KEY, b"\x80"), (STOP_KEY, &[0])] {
            handle.put_state(key, value).unwrap();
        }
    }

    #[test]
    fn what_a_damaged_journal_remembered_is_taken_for_the_worst_however_often_the_start_is_cut_off()
    {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("journal");
        let opened = open(&at);
        harmless(&opened.journal.handle());
        mistrust(&opened.journal.handle()).unwrap();
        let kept = |handle: &JournalHandle, key| handle.get_state(key).unwrap();
        assert_eq!(kept(&opened.journal.handle(), STOP_KEY), Some(vec![0]), "nothing was lost");
        opened.journal.close().unwrap();
        // The file of the states, with all that it held.
        let db = at.join("store").join("db");
        let length = usize::try_from(std::fs::metadata(&db).unwrap().len()).unwrap();
        std::fs::write(&db, vec![0xa5; length]).unwrap();
        let opened = open(&at);
        assert!(opened.quarantined.is_some());
        // The power goes before anything was done about it; the next start finds all in order.
        drop(opened.journal);
        let opened = open(&at);
        assert!(opened.quarantined.is_none());
        let handle = opened.journal.handle();
        harmless(&handle);
        mistrust(&handle).unwrap();
        assert_eq!(kept(&handle, STOP_KEY), Some(vec![1]), "there may have been a stop");
        assert_eq!(kept(&handle, REPLAY_KEY), Some(vec![]), "and any command");
        let decided = signed::read_decided(&kept(&handle, DECIDED_KEY).unwrap());
        assert!(decided.vetoed.is_some(), "and a veto");
        // What people lift then stays lifted.
        harmless(&handle);
        opened.journal.close().unwrap();
        let opened = open(&at);
        mistrust(&opened.journal.handle()).unwrap();
        assert_eq!(kept(&opened.journal.handle(), STOP_KEY), Some(vec![0]));
    }

    #[test]
    fn what_was_put_aside_is_taken_off_the_journals_bound_up_to_half_of_it() {
        let keep_days = PerClass { normal: Some(7), ..PerClass::default() };
        let config = Blackbox { disk_mib: 96, keep_days, ..Blackbox::default() };
        assert_eq!(quota(&config, 10 << 20).disk_bytes, 86 << 20);
        assert_eq!(quota(&config, u64::MAX).disk_bytes, 48 << 20);
        let week = Duration::from_secs(7 * 24 * 3600);
        assert_eq!(quota(&config, 0).keep_at_least, [None, Some(week), None]);
    }
}
