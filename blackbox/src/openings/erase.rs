//! Erasing openings, and pictures, which open the hashes in records of kind `skill_frame`. First
//! what stays of the epochs concerned is written to new ones, then a list of what goes, then (by
//! the writer) the signed records that say so, then the keys go. A start that finds the list goes
//! on from there.

use super::format::Kept;
use super::read::{Looked, look};
use super::{OpeningStore, Places, absent, sync_dir};
use crate::frames::Looked as Picture;
use crate::handle::AppendError;
use nooterra_evidence::Record;
use nooterra_evidence::erase::MAX_SPANS;
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::ids::JobId;
use nooterra_protocol::time::{MonoNanos, WallMillis};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

/// The list of what is going.
const INTENT: &str = "erasing";

/// The kind of the records that pictures belong to.
const PICTURE: &str = "skill_frame";

/// The name of one that erases because its bound was reached.
const ROBOT: &str = "robot";

/// Which openings are to be erased, and on whose word. Those go that are of both, where both
/// are named; all, where neither is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Erasure {
    /// Of records from before this moment, by their own clock.
    pub before: Option<WallMillis>,
    /// Who asks: stands in a record that stays. At most 128 bytes are kept.
    pub by: String,
    /// Of this job.
    pub job: Option<JobId>,
    /// In words. At most 512 bytes are kept.
    pub why: Option<String>,
}

impl Erasure {
    fn takes(&self, kept: &Kept) -> bool {
        self.chooses(kept.at, kept.job.as_ref())
    }

    fn chooses(&self, at: WallMillis, of: Option<&JobId>) -> bool {
        self.before.is_none_or(|before| at < before)
            && self.job.as_ref().is_none_or(|job| of == Some(job))
    }
}

/// What an [`Erasure`] is about.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Erased {
    /// The first record that loses an opening.
    pub first_seq: Option<u64>,
    /// How many openings of each kind of record.
    pub kinds: BTreeMap<String, u64>,
    /// The last record that does.
    pub last_seq: Option<u64>,
    /// From when the newest of them is.
    pub newest: Option<WallMillis>,
    /// From when the oldest of them is.
    pub oldest: Option<WallMillis>,
    /// How many openings.
    pub openings: u64,
}

impl Erased {
    fn count(&mut self, kept: &Kept) {
        let Kept { at, opening, .. } = kept;
        self.count_one(&opening.kind, *at, &[opening.seq]);
    }

    fn count_one(&mut self, kind: &str, at: WallMillis, seqs: &[u64]) {
        for seq in seqs {
            self.first_seq = Some(self.first_seq.map_or(*seq, |first| first.min(*seq)));
            self.last_seq = self.last_seq.max(Some(*seq));
        }
        self.newest = self.newest.max(Some(at));
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
        self.openings += 1;
    }
}

/// By which records pictures were given, and in which jobs, by hash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown(BTreeMap<Digest, (Vec<u64>, BTreeSet<JobId>)>);

impl Shown {
    /// Notes what a record says of a picture that was kept, if it does.
    pub(crate) fn add(&mut self, record: &Record) {
        if record.kind == PICTURE
            && let Ok(Some(Entry::SkillFrame(frame))) = record.entry()
            && let Some(sha256) = frame.taken.and_then(|taken| taken.sha256)
        {
            let (seqs, jobs) = self.0.entry(sha256).or_default();
            seqs.push(record.seq);
            jobs.insert(frame.job);
        }
    }

    /// Whether a picture is chosen. One that does not say its job, as an earlier agent kept them,
    /// is of those that the records of its hash name.
    fn chosen(&self, picture: &Picture, erasure: &Erasure) -> bool {
        let head = &picture.head;
        if head.job.is_some() {
            return erasure.chooses(head.at, head.job.as_ref());
        }
        let mut named = self.0.get(&head.sha256).into_iter().flat_map(|(_, jobs)| jobs);
        erasure.chooses(head.at, None) || named.any(|job| erasure.chooses(head.at, Some(job)))
    }

    fn seqs(&self, picture: &Picture) -> &[u64] {
        self.0.get(&picture.head.sha256).map_or(&[], |(seqs, _)| seqs)
    }
}

/// Why openings were not erased.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EraseError {
    /// The journal takes no records, and nothing is erased without one.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The files of the openings cannot be read or written.
    #[error("the openings cannot be erased: {0}")]
    Files(String),
    /// The device key did not sign the record. Nothing was erased.
    #[error("the key did not sign the record that says so; nothing was erased, ask again")]
    Unsigned,
}

/// What the records say of one erasing.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    pub(crate) before: Option<WallMillis>,
    pub(crate) by: String,
    pub(crate) class: Option<Class>,
    pub(crate) job: Option<JobId>,
    pub(crate) openings: u64,
    pub(crate) spans: Vec<(u64, u64)>,
    pub(crate) why: Option<String>,
}

/// Epochs that go, and what is to be said of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Intent {
    epochs: BTreeSet<u64>,
    /// A list from before there were any to erase has none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pictures: BTreeSet<u64>,
    pub(crate) words: Vec<Words>,
}

/// What would be erased now. Nothing is changed.
pub(crate) fn preview(
    looked: &Looked,
    pictures: &[Picture],
    shown: &Shown,
    erasure: &Erasure,
) -> Erased {
    let mut erased = Erased::default();
    let all = looked.files.iter().flat_map(|file| &file.kept);
    all.filter(|kept| erasure.takes(kept)).for_each(|kept| erased.count(kept));
    for picture in pictures {
        if shown.chosen(picture, erasure) {
            erased.count_one(PICTURE, picture.head.at, shown.seqs(picture));
        }
    }
    erased
}

impl OpeningStore {
    /// Prepares an erasing: from here on it is finished, by this start or the next one. A crash
    /// may have left openings of records after `through`, the last one; no record speaks of those.
    pub(crate) fn prepare(
        &mut self,
        erasure: &Erasure,
        shown: &Shown,
        through: u64,
        now: MonoNanos,
    ) -> io::Result<Option<(Intent, Erased)>> {
        if self.pending {
            return Err(io::Error::other("another erasing is not finished; ask again later"));
        }
        self.lanes.clear();
        let looked = look(&self.places, &self.journal)?;
        let pictures = self.pictures.as_ref().map(|pictures| pictures.heads()).unwrap_or_default();
        let erased = preview(&looked, &pictures, shown, erasure);
        if erased.openings == 0 {
            return Ok(None);
        }
        let (mut epochs, mut fates) = (BTreeSet::new(), BTreeMap::new());
        for file in &looked.files {
            let (go, stay): (Vec<&Kept>, Vec<_>) =
                file.kept.iter().partition(|kept| erasure.takes(kept));
            for kept in &file.kept {
                *fates.entry(kept.opening.seq).or_insert(true) &= erasure.takes(kept);
            }
            if !go.is_empty() {
                epochs.insert(file.header.epoch);
                let stay: Vec<_> =
                    stay.into_iter().map(|kept| (file.header.class, kept.clone())).collect();
                self.append(&stay, now)?;
            }
        }
        // What stays is in files that nothing more is added to.
        self.lanes.clear();
        let mut going = BTreeSet::new();
        for picture in &pictures {
            let goes = shown.chosen(picture, erasure);
            going.extend(goes.then_some(picture.number));
            // One hash may be of several pictures: its record loses what opens it with the last.
            for seq in shown.seqs(picture) {
                *fates.entry(*seq).or_insert(true) &= goes;
            }
        }
        fates.retain(|seq, _| *seq <= through);
        let mut spans = spans(&fates);
        let rest = spans.split_off(spans.len().min(MAX_SPANS));
        let words = std::iter::once(&spans[..]).chain(rest.chunks(MAX_SPANS)).map(|spans| Words {
            before: erasure.before,
            by: cut(&erasure.by, 128),
            class: None,
            job: erasure.job.clone(),
            openings: erased.openings,
            spans: spans.to_vec(),
            why: erasure.why.as_deref().map(|why| cut(why, 512)),
        });
        let intent = Intent { epochs, pictures: going, words: words.collect() };
        // Where there never were openings, the list has no place yet.
        self.places.make()?;
        self.pending = true;
        intent.write(&self.places)?;
        Ok(Some((intent, erased)))
    }

    /// The oldest epochs, where all of them weigh more than they may: bulk first, critical last.
    pub(crate) fn excess(&mut self, through: u64) -> io::Result<Option<Intent>> {
        let bytes = self.bytes();
        if bytes <= self.bound {
            return Ok(None);
        }
        let mut over = bytes - (self.bound - self.bound / 8);
        let mut intent = Intent::default();
        for class in [Class::Bulk, Class::Normal, Class::Critical] {
            let (mut spans, mut openings) = (Vec::<(u64, u64)>::new(), 0);
            let mut own: Vec<_> =
                self.epochs.iter().filter(|(_, epoch)| epoch.class == class).collect();
            own.sort_by_key(|(_, epoch)| epoch.last_seq);
            for (id, epoch) in own {
                if over == 0 || spans.len() == MAX_SPANS {
                    break;
                }
                over = over.saturating_sub(epoch.bytes);
                intent.epochs.insert(*id);
                openings += epoch.frames;
                if epoch.first_seq <= through {
                    spans.push((epoch.first_seq, epoch.last_seq.min(through)));
                }
            }
            if openings > 0 {
                let why = Some("the store of openings reached its bound".to_owned());
                let (before, by, job, spans) = (None, ROBOT.to_owned(), None, merged(spans));
                intent.words.push(Words {
                    before,
                    by,
                    class: Some(class),
                    job,
                    openings,
                    spans,
                    why,
                });
            }
        }
        self.pending = true;
        intent.write(&self.places)?;
        Ok(Some(intent))
    }

    /// One was begun and is not finished.
    pub(crate) const fn is_pending(&self) -> bool {
        self.pending
    }

    /// The erasing that was begun; `None` when its list cannot be read.
    pub(crate) fn unfinished(&mut self) -> io::Result<Option<Intent>> {
        let intent = Intent::read(&self.places)?;
        self.pending = intent.is_some();
        Ok(intent)
    }

    /// The records that say so are durable: now the keys go.
    pub(crate) fn finish(&mut self, intent: &Intent) -> io::Result<()> {
        self.remove(&intent.epochs)?;
        match &self.pictures {
            Some(pictures) => pictures.destroy(&intent.pictures)?,
            None if intent.pictures.is_empty() => {}
            None => return Err(io::Error::other("the pictures cannot be opened")),
        }
        self.give_up()
    }

    /// Nothing goes any more.
    pub(crate) fn give_up(&mut self) -> io::Result<()> {
        absent(fs::remove_file(self.places.sealed.join(INTENT)))?;
        self.pending = false;
        absent(sync_dir(&self.places.sealed))
    }
}

impl Places {
    pub(super) fn is_erasing(&self) -> bool {
        self.sealed.join(INTENT).exists()
    }
}

impl Intent {
    fn write(&self, places: &Places) -> io::Result<()> {
        let body = codec::to_vec(self).map_err(io::Error::other)?;
        let (path, new) = (places.sealed.join(INTENT), places.sealed.join("erasing.new"));
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&[&crc32fast::hash(&body).to_be_bytes(), &body[..]].concat())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_dir(&places.sealed)
    }

    fn read(places: &Places) -> io::Result<Option<Self>> {
        let bytes = match fs::read(places.sealed.join(INTENT)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let intent = Self::decode(&bytes);
        if intent.is_none() {
            tracing::error!("the list of what is being erased is damaged; erase it again");
        }
        Ok(intent)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (crc, body) = bytes.split_at_checked(4)?;
        let whole = crc == crc32fast::hash(body).to_be_bytes();
        whole.then(|| codec::from_slice(body).ok()).flatten()
    }
}

/// Rows of records that go, among all that have openings.
fn spans(fates: &BTreeMap<u64, bool>) -> Vec<(u64, u64)> {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    let mut open = false;
    for (seq, goes) in fates {
        match spans.last_mut() {
            Some((_, last)) if *goes && open => *last = *seq,
            _ if *goes => spans.push((*seq, *seq)),
            _ => {}
        }
        open = *goes;
    }
    spans
}

/// In order and apart; epochs of one class overlap where some were written anew.
fn merged(mut spans: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    spans.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (first, last) in spans {
        match merged.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{TailFrom, tail};
    use crate::{Clock, FramesAt, Journal, Options, read_openings, read_picture};
    use nooterra_evidence::absence::Statement as _;
    use nooterra_evidence::{Erase, Found};
    use nooterra_protocol::entry::SkillLog;
    use nooterra_protocol::keys::Es256Key;
    use nooterra_protocol::time::{ClockTrust, Stamp};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Still;

    impl Clock for Still {
        fn stamp(&self) -> Stamp {
            Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1) }
        }
    }

    /// A minute goes by whenever it is asked.
    #[derive(Default)]
    struct Fast(AtomicU64);

    impl Clock for Fast {
        fn stamp(&self) -> Stamp {
            let asked = self.0.fetch_add(1, Ordering::SeqCst);
            Stamp { mono: MonoNanos(asked * 60_000_000_000), ..Still.stamp() }
        }
    }

    #[test]
    fn a_start_finishes_an_erasing_that_was_cut_off() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("journal");
        let key = Arc::new(Es256Key::from_seed([7; 32]).unwrap());
        let options = Options::new(Arc::new(Still), key, Digest::of(b"policy"));
        let open = || Journal::open(&dir, options.clone()).unwrap().journal;
        let journal = open();
        let (handle, skill) = (journal.handle(), "patrol".parse().unwrap());
        let entry = Entry::SkillLog(SkillLog { message: "secret".into(), skill });
        let seq = handle.append_durable(entry).unwrap();
        let (id, through) = (handle.journal_id().clone(), handle.records());
        journal.close().unwrap();
        let mut store = OpeningStore::open(&dir, &id, 0, through).unwrap();
        let erasure = Erasure { by: "op_7".to_owned(), ..Erasure::default() };
        store.prepare(&erasure, &Shown::default(), through, MonoNanos(1)).unwrap().unwrap();
        // Here the power goes.
        drop(store);
        assert_eq!(read_openings(&dir).unwrap().openings.len(), 1);

        open().close().unwrap();
        let read = read_openings(&dir).unwrap().with_erased(&dir).unwrap().openings;
        assert!(read.is_empty());
        let records = tail(&dir, TailFrom::Seq(1)).unwrap();
        let records: Vec<_> = records.map(|found| found.record.unwrap()).collect();
        let said = records.iter().find(|record| record.kind == Erase::KIND).unwrap();
        let sealed = records.iter().find(|record| record.seq == seq).unwrap();
        assert_eq!(read.open(sealed)[0].found, Found::Erased { said_in: said.seq });
        let places = Places::of_journal(&dir);
        assert!(!places.is_erasing() && !places.key(1).exists() && !places.sealed(1).exists());
    }

    #[test]
    fn a_picture_whose_erasing_was_cut_off_waits_for_a_start_that_can_reach_it() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("journal");
        let key = Arc::new(Es256Key::from_seed([7; 32]).unwrap());
        let mut options = Options::new(Arc::new(Still), key, Digest::of(b"policy"));
        let at = FramesAt { dir: temporary.path().join("frames"), most_bytes: 1 << 20 };
        options.frames = Some(at.clone());
        let opened = Journal::open(&dir, options.clone()).unwrap();
        let frames = opened.frames.unwrap().unwrap();
        let taken = |wall| Stamp { wall: WallMillis(wall), ..Still.stamp() };
        let goes = frames.keep(b"goes", None, std::time::Duration::MAX, taken(1)).unwrap();
        let stays = frames.keep(b"stays", None, std::time::Duration::MAX, taken(9)).unwrap();
        let (id, through) = (opened.journal.handle().journal_id().clone(), 0);
        opened.journal.close().unwrap();
        let store = OpeningStore::open(&dir, &id, 0, through).unwrap();
        let mut store = store.with_pictures(Some(frames));
        let before = Some(WallMillis(5));
        let erasure = Erasure { before, by: "op_7".to_owned(), ..Erasure::default() };
        store.prepare(&erasure, &Shown::default(), through, MonoNanos(1)).unwrap().unwrap();
        // Here the power goes.
        drop(store);

        // One that cannot tries again and again, and says so once.
        let clock = Arc::new(Fast::default());
        let blind = Options { clock: clock.clone(), frames: None, ..options.clone() };
        let opened = Journal::open(&dir, blind).unwrap();
        let began = std::time::Instant::now();
        while clock.0.load(Ordering::SeqCst) < 30 {
            assert!(began.elapsed().as_secs() < 180, "the writer is idle");
            std::thread::yield_now();
        }
        opened.journal.close().unwrap();
        let said = || {
            let records = tail(&dir, TailFrom::Seq(1)).unwrap();
            records.filter(|found| found.record.as_ref().unwrap().kind == Erase::KIND).count()
        };
        assert_eq!(said(), 1);
        assert!(Places::of_journal(&dir).is_erasing());
        assert!(read_picture(&at.dir, goes).unwrap().is_some());
        Journal::open(&dir, options).unwrap().journal.close().unwrap();
        assert!(!Places::of_journal(&dir).is_erasing());
        assert_eq!(said(), 2);
        assert_eq!(read_picture(&at.dir, goes).unwrap(), None);
        assert!(read_picture(&at.dir, stays).unwrap().is_some());
    }

    #[test]
    fn spans_end_where_something_stays() {
        let fates = [(2, true), (5, true), (6, false), (9, true)].into();
        assert_eq!(spans(&fates), [(2, 5), (9, 9)]);
        assert_eq!(merged(vec![(5, 9), (1, 3), (2, 4)]), [(1, 4), (5, 9)]);
        assert_eq!(cut("aé", 2), "a");
    }

    #[test]
    fn a_list_that_was_altered_is_none() {
        let intent = Intent { epochs: [1].into(), ..Intent::default() };
        let body = codec::to_vec(&intent).unwrap();
        let mut bytes = [&crc32fast::hash(&body).to_be_bytes(), &body[..]].concat();
        assert_eq!(Intent::decode(&bytes), Some(intent));
        bytes[9] ^= 1;
        assert_eq!(Intent::decode(&bytes), None);
        assert_eq!(Intent::decode(&[]), None);
    }
}
