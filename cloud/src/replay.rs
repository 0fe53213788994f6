//! Reads every stream again from its facts, and compares what the cloud shows with what they
//! say: hashes, signatures, and the projection of each job.
//!
//! It reads one state of the database, also beside a cloud that runs, and changes nothing
//! unless it is told to make the projections anew.

use crate::fold::{self, FoldError};
use crate::skill_registry::reported;
use crate::store::jobs::{self, FactRow, Feed, JobRow};
use crate::store::{Address, Connection, StoreError, robot_skills, robots, watched};
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::{ActorKind, Fact, Place};
use nooterra_protocol::ids::JobId;
use nooterra_protocol::keys::{Ed25519Key, Signer as _, VerifyingKey};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Facts that are read at once.
const PAGE: u32 = 4096;

/// Differences that are described; more are only counted.
const DESCRIBED: usize = 100;

/// As what it is connected to a server.
const NAME: &str = "nooterra-cloud replay";

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The cloud runs on this directory.
    #[error("{0} is in use by a running nooterra-cloud; stop it before projections are made anew")]
    InUse(PathBuf),
    /// No file where the cloud keeps it.
    #[error("{path}: {source}; name the directory that `nooterra-cloud serve --data` uses")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key that the cloud signs with.
    #[error("{path}: {why}; restore it from a backup")]
    Key {
        /// Which file.
        path: PathBuf,
        /// In which way.
        why: String,
    },
    /// A job of which no report can be made.
    #[error("job {job}: {why}")]
    Report {
        /// Which one.
        job: String,
        /// In which way.
        why: String,
    },
    /// The database.
    #[error("{database}: {source}")]
    Store {
        /// Which one.
        database: String,
        /// What is wrong.
        source: StoreError,
    },
}

/// What was read and where it does not agree.
#[derive(Debug, Default, Serialize)]
pub struct Replay {
    /// One line for each thing that does not agree; at most 100.
    pub differences: Vec<Difference>,
    /// How many things do not agree.
    pub differing: u64,
    /// Facts that were read.
    pub facts: u64,
    /// Jobs that were compared.
    pub jobs: u64,
    /// Facts that came too late for their job's state, and are marked so.
    pub late: u64,
    /// Projections that were made anew.
    pub rebuilt: Option<u64>,
    /// Streams that were read.
    pub streams: u64,
}

/// One thing that does not agree.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// Place in the stream, where it is about one fact.
    pub seq: Option<u64>,
    /// Which stream.
    pub stream: String,
    /// In which way.
    pub what: String,
}

impl Replay {
    /// All that was read agrees with all that is shown.
    #[must_use]
    pub const fn agrees(&self) -> bool {
        self.differing == 0
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Make the projections anew from the streams. The cloud must not run.
    pub rebuild: bool,
    /// Leave signatures unchecked, which is most of the work.
    pub skip_signatures: bool,
    /// The server that holds the streams; the file in the data directory without.
    pub store: Option<String>,
}

/// Replays the streams of the cloud in `dir`.
///
/// # Errors
/// [`ReplayError`] when something cannot be read at all; what is read and wrong is in the
/// [`Replay`].
pub fn replay(dir: &Path, options: &Options) -> Result<Replay, ReplayError> {
    let path = dir.join("cloud.sqlite");
    if options.store.is_none() {
        let missing = |source| ReplayError::Missing { path: path.clone(), source };
        std::fs::metadata(&path).map_err(missing)?;
    }
    let server = server_key(dir, options.skip_signatures)?;
    let unnamed = |source| ReplayError::Store { database: "--store".to_owned(), source };
    let address = Address::new(options.store.as_deref(), path, NAME).map_err(unnamed)?;
    if !options.rebuild {
        return check(dir, &address, options.skip_signatures);
    }
    let failed = |source| ReplayError::Store { database: address.to_string(), source };
    let _lock = crate::cloud::lock(dir).map_err(|_| ReplayError::InUse(dir.to_owned()))?;
    let mut connection = address.connect().map_err(failed)?;
    connection.writing(|tx| rebuild(tx, server.as_ref())).map_err(failed)
}

/// The completion report of a job, made anew from its stream and the robot's records: one JSON
/// object, what the API answers, byte for byte.
///
/// # Errors
/// [`ReplayError`] when it cannot be made; [`ReplayError::Report`] where there is no such job.
pub fn report(dir: &Path, store: Option<&str>, job: &str) -> Result<String, ReplayError> {
    let path = dir.join("cloud.sqlite");
    if store.is_none() {
        let missing = |source| ReplayError::Missing { path: path.clone(), source };
        std::fs::metadata(&path).map_err(missing)?;
    }
    let key = signing_key(dir)?;
    let unnamed = |source| ReplayError::Store { database: "--store".to_owned(), source };
    let address = Address::new(store, path, NAME).map_err(unnamed)?;
    let failed = |source| ReplayError::Store { database: address.to_string(), source };
    let refused = |why: &dyn std::fmt::Display| ReplayError::Report {
        job: job.to_owned(),
        why: why.to_string(),
    };
    let id = JobId::new(job).map_err(|error| refused(&error))?;
    let mut connection = address.read_only().map_err(failed)?;
    let made = connection.reading(|tx| Ok(crate::report::of(tx, &id, &key))).map_err(failed)?;
    let report = made.map_err(|error| refused(&error))?;
    serde_json::to_string(&report).map_err(|error| refused(&error))
}

/// Compares what is in the database at `address`, by the key of the data directory `dir`.
pub(crate) fn check(
    dir: &Path,
    address: &Address,
    skip_signatures: bool,
) -> Result<Replay, ReplayError> {
    let server = server_key(dir, skip_signatures)?;
    let failed = |source| ReplayError::Store { database: address.to_string(), source };
    let mut connection = address.read_only().map_err(failed)?;
    let compared = connection.reading(|tx| compare(tx, server.as_ref()));
    compared.map(|(replay, _)| replay).map_err(failed)
}

/// The key that the cloud's signatures are checked by; none where they are left unchecked.
fn server_key(dir: &Path, skip: bool) -> Result<Option<VerifyingKey>, ReplayError> {
    let key = signing_key(dir)?;
    Ok((!skip).then(|| key.verifying_key()))
}

/// The key that the cloud signs with.
fn signing_key(dir: &Path) -> Result<Ed25519Key, ReplayError> {
    let path = dir.join("command_key.pem");
    let pem = std::fs::read_to_string(&path)
        .map_err(|source| ReplayError::Missing { path: path.clone(), source })?;
    Ed25519Key::from_pem(&pem).map_err(|e| ReplayError::Key { path, why: e.to_string() })
}

fn rebuild(tx: &Connection, server: Option<&VerifyingKey>) -> Result<Replay, StoreError> {
    let (mut replay, mut folded) = compare(tx, server)?;
    jobs::forget(tx)?;
    // In the order in which they were made: lists show the newest first.
    folded.sort_by_key(|(position, _)| *position);
    for (_, job) in &folded {
        jobs::add(tx, job)?;
    }
    robot_skills::forget(tx)?;
    reported::complete(tx)?;
    replay.rebuilt = Some(folded.len() as u64);
    Ok(replay)
}

/// Makes the projections whole that an older release left: the jobs', and what each robot has, one
/// robot after the other, so that other processes write between them.
pub(crate) fn complete(connection: &mut Connection) -> Result<(), StoreError> {
    connection.writing(complete_jobs)?;
    for robot in connection.reading(robot_skills::unread)? {
        connection.writing(|tx| reported::catch_up(tx, &robot))?;
    }
    Ok(())
}

/// An older release kept less of each job than this one does.
fn complete_jobs(tx: &Connection) -> Result<(), StoreError> {
    for id in watched::incomplete(tx)? {
        let mut job = None;
        for row in jobs::facts(tx, &jobs::stream_of(&id)?, 0, u32::MAX)? {
            let FactRow { place, received_at: at, signed, .. } = row;
            let (_, fact) = crate::api::unverified(&signed)
                .map_err(|error| StoreError::damaged("a fact", error))?;
            match &mut job {
                None => job = fold::first(&id, &fact, place.hash, at).ok(),
                // What came too late is none of the projection's.
                Some(job) => drop(fold::next(job, &fact, place.hash, at)),
            }
        }
        // A stream that makes no job is for `replay` to name.
        if let Some(job) = job {
            jobs::keep(tx, &job)?;
        }
    }
    Ok(())
}

/// Reads all, and compares; the jobs as folded, each with the position of its first fact.
pub(crate) fn compare(
    tx: &Connection,
    server: Option<&VerifyingKey>,
) -> Result<(Replay, Vec<(i64, JobRow)>), StoreError> {
    let keys = Keys { robots: robots::all_keys(tx)?, server };
    let mut replay = Replay::default();
    let mut streams: BTreeMap<String, Head> = BTreeMap::new();
    let page_after = |after| {
        jobs::feed(tx, &Feed { after, kind: None, limit: PAGE, stream: None, tenant: None })
    };
    let mut page = page_after(0)?;
    while let Some(last) = page.last().map(|row| row.position) {
        // What needs no order is done on every core, and the next page is read meanwhile.
        let (examined, next) = std::thread::scope(|scope| {
            let parts = page.chunks(part(page.len()));
            let parts: Vec<_> = parts
                .map(|part| scope.spawn(|| part.iter().map(|row| keys.examine(row)).collect()))
                .collect();
            let next = page_after(last);
            let examined = parts.into_iter().map(|part| part.join().unwrap_or_default());
            (examined.collect::<Vec<Vec<Examined>>>().concat(), next)
        });
        if examined.len() != page.len() {
            return Err(StoreError::Panicked);
        }
        for (row, examined) in page.iter().zip(examined) {
            let name = row.place.stream.as_str();
            match streams.get_mut(name) {
                Some(head) => replay.fact(head, row, examined),
                None => {
                    let mut head = Head::at(row.position);
                    replay.fact(&mut head, row, examined);
                    streams.insert(name.to_owned(), head);
                }
            }
        }
        page = next?;
    }
    replay.streams = streams.len() as u64;
    let mut shown: BTreeMap<JobId, JobRow> =
        jobs::every(tx)?.into_iter().map(|job| (job.id.clone(), job)).collect();
    let mut unseen: BTreeSet<String> = jobs::names(tx)?.into_iter().collect();
    let mut folded = Vec::new();
    for (stream, Head { first, job, .. }) in streams {
        let Some(job) = job else { continue };
        replay.jobs += 1;
        unseen.remove(job.id.as_str());
        match shown.remove(&job.id) {
            None => replay.differs(&stream, None, "the job is not shown"),
            Some(shown) => {
                for what in fields(&shown, &job) {
                    replay.differs(&stream, None, what);
                }
            }
        }
        folded.push((first, job));
    }
    for job in unseen {
        replay.differs(&format!("job.{job}"), None, "a job is shown that has no stream");
    }
    Ok((replay, folded))
}

/// One stream as far as it was read.
struct Head {
    /// Position of its first fact.
    first: i64,
    hash: Digest,
    job: Option<JobRow>,
    seq: u64,
}

impl Head {
    const fn at(first: i64) -> Self {
        Self { first, hash: Digest::ZERO, job: None, seq: 0 }
    }
}

/// So many facts of a page for each core.
fn part(page: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    page.div_ceil(cores).max(1)
}

/// What can be said of a fact by itself.
#[derive(Clone)]
struct Examined {
    /// The fact, if it is genuine.
    fact: Result<Fact, String>,
    /// Of its place: the hash is of its bytes.
    hash_fits: bool,
}

/// By what signatures are checked.
struct Keys<'a> {
    robots: BTreeMap<String, Vec<VerifyingKey>>,
    /// None where signatures are left unchecked.
    server: Option<&'a VerifyingKey>,
}

impl Keys<'_> {
    fn examine(&self, row: &FactRow) -> Examined {
        let FactRow { place, signed, .. } = row;
        let hash_fits = place.hash == Place::hash_of(&place.prev_hash, signed);
        Examined { fact: self.read(signed), hash_fits }
    }

    fn read(&self, bytes: &[u8]) -> Result<Fact, String> {
        let fact: Fact = danger_unverified(bytes)
            .map_err(|error| StoreError::damaged("a fact", error).to_string())?;
        fact.check().map_err(|error| error.to_string())?;
        let Some(server) = self.server else { return Ok(fact) };
        let keys = match fact.actor.kind {
            // The cloud signs for requesters: it vouches for whoever held a token.
            ActorKind::Requester | ActorKind::Server => std::slice::from_ref(server),
            _ => self.robots.get(fact.actor.id.as_str()).map_or(&[][..], Vec::as_slice),
        };
        let verified = Signed::<Fact>::verify(bytes, |id| keys.iter().find(|k| k.key_id() == id));
        verified.map(|_| fact).map_err(|error| error.to_string())
    }
}

impl Replay {
    /// The next fact of all.
    fn fact(&mut self, head: &mut Head, row: &FactRow, examined: Examined) {
        let place = &row.place;
        let stream = place.stream.as_str();
        let mut differs = |what: String| self.differs(stream, Some(place.seq), what);
        if place.seq != head.seq + 1 {
            differs(format!("follows {}: facts are missing", head.seq));
        }
        if place.prev_hash != head.hash {
            differs("names another fact as the one before".to_owned());
        }
        if !examined.hash_fits {
            differs("its hash is not of its bytes".to_owned());
        }
        (head.seq, head.hash) = (place.seq, place.hash);
        self.facts += 1;
        self.late += u64::from(place.late);
        let mut differs = |what: String| self.differs(stream, Some(place.seq), what);
        let fact = match examined.fact {
            Ok(fact) => fact,
            Err(why) => return differs(why),
        };
        if fact.id.as_str() != row.event || fact.kind.name() != row.kind {
            differs(format!(
                "is filed as {} {}, and says {} {}",
                row.kind, row.event, fact.kind, fact.id
            ));
        }
        let Some(id) = stream.strip_prefix("job.") else { return };
        let at = row.received_at;
        let late = match &mut head.job {
            Some(job) => fold::next(job, &fact, place.hash, at).map(|step| step.is_err()),
            None => {
                let Ok(id) = JobId::new(id) else { return };
                fold::first(&id, &fact, place.hash, at).map(|job| {
                    head.job = Some(job);
                    false
                })
            }
        };
        match late {
            Ok(late) if late != place.late => differs(format!(
                "is marked {}, and came {}",
                if place.late { "late" } else { "in time" },
                if late { "late" } else { "in time" },
            )),
            Ok(_) => {}
            Err(error @ (FoldError::Payload { .. } | FoldError::Unmade(_))) => {
                differs(error.to_string());
            }
        }
    }

    fn differs(&mut self, stream: &str, seq: Option<u64>, what: impl Into<String>) {
        self.differing += 1;
        if self.differences.len() < DESCRIBED {
            let stream = stream.to_owned();
            self.differences.push(Difference { seq, stream, what: what.into() });
        }
    }
}

/// The fields in which a job is shown otherwise than its stream says.
fn fields(shown: &JobRow, folded: &JobRow) -> Vec<String> {
    let mut found = Vec::new();
    let mut differs = |name: &str, shown: String, folded: String| {
        found.push(format!("{name} is shown as {shown}, its stream says {folded}"));
    };
    // In words only where they differ: words take longer than the comparison.
    macro_rules! compare {
        ($($name:ident),*) => { $(
            if shown.$name != folded.$name {
                let words = |job: &JobRow| format!("{:?}", job.$name);
                differs(stringify!($name), words(shown), words(folded));
            }
        )* };
    }
    compare!(
        care, command, created_at, events, head, plan, requester, robot, stage, state, updated_at
    );
    if shown.progress.to_bits() != folded.progress.to_bits() {
        differs("progress", shown.progress.to_string(), folded.progress.to_string());
    }
    found
}
