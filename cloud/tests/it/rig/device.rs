//! A robot as the cloud meets it: its keys, its journal, its facts.

use nooterra_evidence::{Checkpoint, GENESIS, Record, Seal, Tree, checkpoint, leaf_hash, link};
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::event::{Actor, ActorKind, EventType, Fact, Statement};
use nooterra_protocol::ids::{ActorId, JobId, JournalId, RobotId};
use nooterra_protocol::keys::{Es256Key, VerifyingKey};
use nooterra_protocol::private::{PrivateError, SALT_BYTES, Salts};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use nooterra_protocol::uplink::{Batch, Since};
use rcgen::KeyPair;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// A salt that is one: nobody guesses here.
struct Salt;

impl Salts for Salt {
    fn salt(&self) -> Result<[u8; SALT_BYTES], PrivateError> {
        Ok([7; SALT_BYTES])
    }
}

/// A robot as its keys and its journal.
pub(crate) struct Device {
    actor_seq: u64,
    /// The leaves of its journal, where this is one without gaps.
    chain: Option<Vec<Digest>>,
    pub(crate) certificate_pem: String,
    pub(crate) command_key: VerifyingKey,
    pub(crate) journal: JournalId,
    pub(crate) key: Es256Key,
    /// Where it was told to connect.
    pub(crate) mqtt: String,
    pub(crate) pair: KeyPair,
    pub(crate) robot: RobotId,
    seq: u64,
}

impl Device {
    pub(crate) fn new(robot: &str, pair: KeyPair, enrolment: &Value) -> Self {
        Self {
            actor_seq: 0,
            chain: None,
            certificate_pem: enrolment["certificate_pem"].as_str().unwrap().to_owned(),
            command_key: enrolment["command_key"].as_str().unwrap().parse().unwrap(),
            journal: JournalId::new("journal-1").unwrap(),
            key: Es256Key::from_pem(&pair.serialize_pem()).unwrap(),
            mqtt: enrolment["mqtt"].as_str().unwrap().to_owned(),
            pair,
            robot: RobotId::new(robot).unwrap(),
            seq: 0,
        }
    }

    /// Enrolled again, with the keys of `newer`: its journal goes on.
    pub(crate) fn enrolled_again(&mut self, newer: Self) {
        let Self { certificate_pem, command_key, key, mqtt, pair, .. } = newer;
        (self.certificate_pem, self.command_key) = (certificate_pem, command_key);
        (self.key, self.mqtt, self.pair) = (key, mqtt, pair);
    }

    pub(crate) fn topic(&self, end: &str) -> String {
        format!("noot/1/{}/{end}", self.robot)
    }

    /// The next record of the journal.
    pub(crate) fn record(&mut self, entry: &Entry) -> Blob {
        // Places in between belong to other classes.
        self.seq += if self.chain.is_some() { 1 } else { 3 };
        let mut entry = entry.clone();
        // What opens it stays on the robot.
        drop(entry.seal(&self.journal, self.seq, &Salt).unwrap());
        let record = Record::of_entry(&entry, entry.class(), self.seq, 1, stamp(self.seq)).unwrap();
        let bytes = record.encode().unwrap();
        if let Some(chain) = &mut self.chain {
            chain.push(leaf_hash(&bytes));
        }
        Blob(bytes)
    }

    /// From its next record on a new journal, and every record of it is made here.
    pub(crate) fn begin_journal(&mut self, name: &str) {
        self.journal = JournalId::new(name).unwrap();
        (self.actor_seq, self.seq, self.chain) = (0, 0, Some(Vec::new()));
    }

    /// A checkpoint over all records so far, as a record; by the device key itself.
    pub(crate) fn checkpoint(&mut self) -> Blob {
        let leaves = self.chain.as_ref().expect("a journal without gaps");
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        let signed = Checkpoint {
            boot: 1,
            head: leaves.iter().fold(GENESIS, |head, leaf| link(&head, leaf)),
            journal: self.journal.clone(),
            policy_hash: Digest::of(b"policy"),
            root: tree.root(),
            size: self.seq,
            stamp: stamp(self.seq),
            v: checkpoint::VERSION,
        };
        let seal = Seal::Device(Arc::new(Es256Key::from_pem(&self.pair.serialize_pem()).unwrap()));
        let entry = signed.into_entry(&seal).unwrap();
        self.record(&entry)
    }

    /// A signed fact as a record.
    pub(crate) fn fact<P: Serialize>(
        &mut self,
        kind: EventType,
        job: Option<&JobId>,
        payload: &P,
    ) -> Blob {
        let robot = self.robot.to_string();
        self.fact_of(&robot, kind, job, payload)
    }

    pub(crate) fn fact_of<P: Serialize>(
        &mut self,
        actor: &str,
        kind: EventType,
        job: Option<&JobId>,
        payload: &P,
    ) -> Blob {
        self.actor_seq += 1;
        let actor = Actor { id: ActorId::new(actor).unwrap(), kind: ActorKind::Robot };
        let statement = Statement {
            actor: &actor,
            actor_seq: self.actor_seq,
            at: stamp(self.actor_seq),
            job,
            journal: &self.journal,
            kind,
        };
        let signed = Fact::sign(&statement, payload, &self.key).unwrap();
        self.record(&Entry::Fact(Blob(signed.bytes().to_vec())))
    }

    pub(crate) fn batch(&self, records: Vec<Blob>) -> Vec<u8> {
        let first = records.first().and_then(|record| Record::decode(&record.0).ok());
        // As if all before it had been acknowledged.
        let before = first.map_or(0, |record| record.seq - 1);
        self.batch_since(records, before, before)
    }

    /// Records that follow `after`, of a robot that was acknowledged through `acked`.
    pub(crate) fn batch_since(&self, records: Vec<Blob>, after: u64, acked: u64) -> Vec<u8> {
        let since = Some(Since { acked, after });
        codec::to_vec(&Batch { journal: self.journal.clone(), records, since }).unwrap()
    }
}

pub(crate) fn stamp(seq: u64) -> Stamp {
    Stamp {
        mono: MonoNanos(seq * 1_000_000),
        trust: ClockTrust::Network,
        wall: WallMillis(1_795_000_000_000),
    }
}

/// A class by its topic.
pub(crate) fn up(class: Class) -> String {
    format!("up/{}", class.name())
}
