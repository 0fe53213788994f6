//! What is stored as CBOR, as JSON: records and facts.

use super::error::ApiError;
use crate::store::StoreError;
use crate::store::jobs::FactRow;
use crate::store::records::RecordRow;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nooterra_evidence::Record;
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::codec::{Digest, Value};
use nooterra_protocol::entry::{Class, Verdict};
use nooterra_protocol::envelope::claimed_key_id;
use nooterra_protocol::event::{Actor, EventType, Fact};
use nooterra_protocol::ids::{EventId, JobId, StreamId};
use nooterra_protocol::time::{Stamp, WallMillis};
use serde::Serialize;
use serde_json::{Number, Value as Json};
use utoipa::ToSchema;

/// A record of a robot's journal.
#[derive(Serialize, ToSchema)]
#[schema(as = Record)]
pub(crate) struct RecordJson {
    /// Both clocks of the robot.
    #[schema(value_type = Object)]
    pub(crate) at: Stamp,
    /// What it says; the form depends on `kind`: mostly an object, and base64 of what is signed.
    #[schema(value_type = Value)]
    pub(crate) body: Json,
    /// Which start of the agent wrote it.
    pub(crate) boot: u64,
    /// `critical`, `normal` or `bulk`.
    #[schema(value_type = String)]
    pub(crate) class: Class,
    /// Its place in the order of arrival here; what `after` takes.
    pub(crate) cursor: i64,
    /// One life of the robot's journal.
    pub(crate) journal: String,
    /// Such as `verdict`, `fact`, `command_received`.
    pub(crate) kind: String,
    /// What became of it, where that is remarkable.
    pub(crate) note: Option<String>,
    /// Its place in the journal.
    pub(crate) seq: u64,
}

/// A verdict of the robot's gate about a command.
#[derive(Serialize, ToSchema)]
#[schema(as = CommandVerdict)]
pub(crate) struct VerdictJson {
    /// Both clocks of the robot.
    #[schema(value_type = Object)]
    pub(crate) at: Stamp,
    /// Of the record.
    pub(crate) cursor: i64,
    /// Of the record.
    pub(crate) journal: String,
    /// Of the record.
    pub(crate) seq: u64,
    /// Rule, limit, asked, allowed and the rest.
    #[schema(value_type = Object)]
    pub(crate) verdict: Verdict,
}

/// A fact in its place.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventJson {
    /// Who states it.
    #[schema(value_type = Object)]
    pub(crate) actor: Actor,
    /// The actor's own count.
    pub(crate) actor_seq: u64,
    /// Both clocks of the actor.
    #[schema(value_type = Object)]
    pub(crate) at: Stamp,
    /// SHA-256 over `prev_hash` and the signed bytes.
    #[schema(value_type = String)]
    pub(crate) hash: Digest,
    /// Derived from actor, journal and count.
    #[schema(value_type = String)]
    pub(crate) id: EventId,
    /// The job that the fact names.
    #[schema(value_type = Option<String>)]
    pub(crate) job: Option<JobId>,
    /// Which key signed.
    pub(crate) key_id: String,
    /// The state could no longer take it.
    pub(crate) late: bool,
    /// What exactly; the form depends on `type`: an object of all that there are by now.
    #[schema(value_type = Value)]
    pub(crate) payload: Json,
    /// SHA-256 of the canonical payload.
    #[schema(value_type = String)]
    pub(crate) payload_hash: Digest,
    /// Its place in the order of all streams; what `/v1/events` takes as `after`.
    pub(crate) position: i64,
    /// Of the entry before; zeros for the first.
    #[schema(value_type = String)]
    pub(crate) prev_hash: Digest,
    /// When it came here.
    #[schema(value_type = i64)]
    pub(crate) received_at: WallMillis,
    /// From 1, without gaps.
    pub(crate) seq: u64,
    /// The COSE_Sign1, base64: what `hash` is over and what the signature can be checked on.
    pub(crate) signed: String,
    /// Which stream.
    #[schema(value_type = String)]
    pub(crate) stream: StreamId,
    /// Such as `EXECUTION_STARTED`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub(crate) kind: EventType,
}

impl RecordJson {
    pub(crate) fn new(row: RecordRow) -> Result<Self, ApiError> {
        let record = decode(&row.bytes)?;
        let body = match record.entry() {
            // Typed, so that digests are hexadecimal and bytes base64.
            Ok(Some(entry)) => match serde_json::to_value(&entry) {
                Ok(Json::Object(mut map)) => map.remove("body").unwrap_or_default(),
                _ => cbor(&record.body),
            },
            _ => cbor(&record.body),
        };
        Ok(Self {
            at: record.stamp,
            body,
            boot: record.boot,
            class: record.class,
            cursor: row.cursor,
            journal: row.journal,
            kind: record.kind,
            note: row.note,
            seq: record.seq,
        })
    }
}

impl VerdictJson {
    /// `None` for a record that is no readable verdict.
    pub(crate) fn new(row: RecordRow) -> Result<Option<Self>, ApiError> {
        let record = decode(&row.bytes)?;
        let Ok(Some(nooterra_protocol::entry::Entry::Verdict(verdict))) = record.entry() else {
            return Ok(None);
        };
        let RecordRow { cursor, journal, .. } = row;
        Ok(Some(Self { at: record.stamp, cursor, journal, seq: record.seq, verdict }))
    }
}

impl EventJson {
    pub(crate) fn new(row: FactRow) -> Result<Self, ApiError> {
        let (key_id, fact) = unverified(&row.signed)?;
        Ok(Self {
            actor: fact.actor,
            actor_seq: fact.actor_seq,
            at: fact.at,
            hash: row.place.hash,
            id: fact.id,
            job: fact.job,
            key_id,
            late: row.place.late,
            payload: cbor(&fact.payload),
            payload_hash: fact.payload_hash,
            position: row.position,
            prev_hash: row.place.prev_hash,
            received_at: row.received_at,
            seq: row.place.seq,
            signed: STANDARD.encode(&row.signed),
            stream: row.place.stream,
            kind: fact.kind,
        })
    }
}

fn decode(bytes: &[u8]) -> Result<Record, StoreError> {
    Record::decode(bytes).map_err(|error| StoreError::damaged("a record", error))
}

/// Reads a stored fact. Its signature was checked before it got its place; here only its parts
/// are taken apart.
pub(crate) fn unverified(signed: &[u8]) -> Result<(String, Fact), StoreError> {
    let damaged = |why: &dyn std::fmt::Display| StoreError::damaged("a fact", why);
    let fact = danger_unverified(signed).map_err(|e| damaged(&e))?;
    let key_id = claimed_key_id(signed).ok_or_else(|| damaged(&"no key id"))?;
    Ok((key_id.to_string(), fact))
}

/// CBOR as JSON: 32 bytes as hexadecimal digits (a digest), other bytes as base64, a number
/// that JSON does not have as null.
fn cbor(value: &Value) -> Json {
    match value {
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Integer(number) => match (i64::try_from(*number), u64::try_from(*number)) {
            (Ok(number), _) => Json::from(number),
            (_, Ok(number)) => Json::from(number),
            _ => Json::String(number.to_string()),
        },
        Value::Float(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::Bytes(bytes) => Json::String(match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(digest) => Digest::from_bytes(digest).to_string(),
            Err(_) => STANDARD.encode(bytes),
        }),
        Value::Text(text) => Json::String(text.clone()),
        Value::Array(items) => Json::Array(items.iter().map(cbor).collect()),
        Value::Map(map) => Json::Object(map.iter().map(|(k, v)| (key(k), cbor(v))).collect()),
        // Tags are refused on the way in; null is null.
        _ => Json::Null,
    }
}

fn key(value: &Value) -> String {
    match cbor(value) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}
