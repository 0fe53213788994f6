//! Reads every stream again from its facts, and compares what the cloud shows with what they
//! say: hashes, signatures, and the projection of each job.
//!
//! It reads one state of the database, also beside a cloud that runs, and changes nothing
//! unless it is told to make the projections anew.

use crate::fold::{self, FoldError};
use crate::store::jobs::{self, FactRow, Feed, JobRow};
use crate::store::{Address, Connection, StoreError, robots};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::{ActorKind, Fact, Place};
use nooterra_protocol::ids::{JobId, RobotId};
use nooterra_protocol::keys::{Ed25519Key, Signer as _, VerifyingKey};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Facts that are read at once.
const PAGE: u32 = 512;

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

/// The key that the cloud signs with; none where signatures are left unchecked.
fn server_key(dir: &Path, skip: bool) -> Result<Option<VerifyingKey>, ReplayError> {
    let path = dir.join("command_key.pem");
    let pem = std::fs::read_to_string(&path)
        .map_err(|source| ReplayError::Missing { path: path.clone(), source })?;
    let key =
        Ed25519Key::from_pem(&pem).map_err(|e| ReplayError::Key { path, why: e.to_string() })?;
    Ok((!skip).then(|| key.verifying_key()))
}

fn rebuild(tx: &Connection, server: Option<&VerifyingKey>) -> Result<Replay, StoreError> {
    let (mut replay, mut folded) = compare(tx, server)?;
    jobs::forget(tx)?;
    // In the order in which they were made: lists show the newest first.
    folded.sort_by_key(|(position, _)| *position);
    for (_, job) in &folded {
        jobs::add(tx, job)?;
    }
    replay.rebuilt = Some(folded.len() as u64);
    Ok(replay)
}

/// Reads all, and compares; the jobs as folded, each with the position of its first fact.
pub(crate) fn compare(
    tx: &Connection,
    server: Option<&VerifyingKey>,
) -> Result<(Replay, Vec<(i64, JobRow)>), StoreError> {
    let mut reading = Reading { keys: BTreeMap::new(), replay: Replay::default(), server };
    let mut streams: BTreeMap<String, Head> = BTreeMap::new();
    let mut after = 0;
    loop {
        let page =
            jobs::feed(tx, &Feed { after, kind: None, limit: PAGE, stream: None, tenant: None })?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for row in &page {
            let name = row.place.stream.as_str().to_owned();
            let head = streams.entry(name).or_insert_with(|| Head::at(row.position));
            reading.fact(tx, head, row)?;
        }
    }
    let Reading { mut replay, .. } = reading;
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

struct Reading<'a> {
    keys: BTreeMap<RobotId, Vec<VerifyingKey>>,
    replay: Replay,
    server: Option<&'a VerifyingKey>,
}

impl Reading<'_> {
    fn fact(&mut self, tx: &Connection, head: &mut Head, row: &FactRow) -> Result<(), StoreError> {
        let FactRow { place, signed, .. } = row;
        let stream = place.stream.as_str();
        let mut differs = |what: String| self.replay.differs(stream, Some(place.seq), what);
        if place.seq != head.seq + 1 {
            differs(format!("follows {}: facts are missing", head.seq));
        }
        if place.prev_hash != head.hash {
            differs("names another fact as the one before".to_owned());
        }
        if place.hash != Place::hash_of(&place.prev_hash, signed) {
            differs("its hash is not of its bytes".to_owned());
        }
        (head.seq, head.hash) = (place.seq, place.hash);
        self.replay.facts += 1;
        self.replay.late += u64::from(place.late);
        let fact = match self.read(tx, signed)? {
            Ok(fact) => fact,
            Err(why) => {
                self.replay.differs(stream, Some(place.seq), why);
                return Ok(());
            }
        };
        let mut differs = |what: String| self.replay.differs(stream, Some(place.seq), what);
        if fact.id.as_str() != row.event || fact.kind.name() != row.kind {
            differs(format!(
                "is filed as {} {}, and says {} {}",
                row.kind, row.event, fact.kind, fact.id
            ));
        }
        let Some(id) = stream.strip_prefix("job.").and_then(|id| JobId::new(id).ok()) else {
            return Ok(());
        };
        let at = row.received_at;
        let late = match &mut head.job {
            Some(job) => fold::next(job, &fact, place.hash, at).map(|step| step.is_err()),
            None => fold::first(&id, &fact, place.hash, at).map(|job| {
                head.job = Some(job);
                false
            }),
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
        Ok(())
    }

    /// The fact, if it is genuine.
    fn read(&mut self, tx: &Connection, bytes: &[u8]) -> Result<Result<Fact, String>, StoreError> {
        let fact = match crate::api::unverified(bytes) {
            Ok((_, fact)) => fact,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if let Err(error) = fact.check() {
            return Ok(Err(error.to_string()));
        }
        let Some(server) = self.server else { return Ok(Ok(fact)) };
        let keys = match fact.actor.kind {
            ActorKind::Server => std::slice::from_ref(server),
            _ => self.keys_of(tx, fact.actor.id.as_str())?,
        };
        let verified = Signed::<Fact>::verify(bytes, |id| keys.iter().find(|k| k.key_id() == id));
        Ok(verified.map(|_| fact).map_err(|error| error.to_string()))
    }

    fn keys_of(&mut self, tx: &Connection, actor: &str) -> Result<&[VerifyingKey], StoreError> {
        let Ok(robot) = RobotId::new(actor) else { return Ok(&[]) };
        if !self.keys.contains_key(&robot) {
            let keys = robots::keys(tx, &robot)?;
            self.keys.insert(robot.clone(), keys);
        }
        Ok(self.keys.get(&robot).map_or(&[], Vec::as_slice))
    }
}

impl Replay {
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
    let mut field = |name: &str, same: bool, shown: String, folded: String| {
        if !same {
            found.push(format!("{name} is shown as {shown}, its stream says {folded}"));
        }
    };
    macro_rules! compare {
        ($($name:ident),*) => { $(
            field(
                stringify!($name),
                shown.$name == folded.$name,
                format!("{:?}", shown.$name),
                format!("{:?}", folded.$name),
            );
        )* };
    }
    compare!(command, created_at, events, head, plan, requester, robot, stage, state, updated_at);
    field(
        "progress",
        shown.progress.to_bits() == folded.progress.to_bits(),
        shown.progress.to_string(),
        folded.progress.to_string(),
    );
    found
}
