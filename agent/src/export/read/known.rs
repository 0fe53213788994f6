//! What a file defines, and the messages that are of it: schemas, channels and messages, parsed by
//! hand.

use super::body::Body;
use super::{MOST_DEFINITION, MOST_RECORD, damaged, too_long};
use crate::export::schema::{self, Topic};
use mcap::records::op;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// So much of a topic's name is kept to be shown.
const MOST_SHOWN: usize = 100;

/// Of data only what is needed to know it again.
pub(in crate::export) type Digest = [u8; 32];

pub(in crate::export) fn digest(data: &[u8]) -> Digest {
    Sha256::digest(data).into()
}

/// A message.
#[derive(Clone, Debug)]
pub(in crate::export) struct Found {
    pub(in crate::export) channel: Arc<Channel>,
    pub(in crate::export) data: Digest,
    pub(in crate::export) sequence: u32,
    /// When it was logged, and published.
    pub(in crate::export) times_ns: [u64; 2],
}

/// What is kept of a channel.
#[derive(Debug)]
pub(in crate::export) struct Channel {
    defined: Digest,
    /// What its topic is called, in so far as it is shown.
    pub(in crate::export) name: String,
    /// Our topic of that name.
    pub(in crate::export) named: Option<Topic>,
    /// The topic that it is, where all of it is as it is exported.
    pub(in crate::export) topic: Option<Topic>,
}

/// What is kept of a schema.
#[derive(Debug)]
struct Schema {
    defined: Digest,
    /// The topics that are exported with it.
    topics: Vec<Topic>,
}

/// The schemas and channels so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    channels: BTreeMap<u16, Arc<Channel>>,
    schemas: BTreeMap<u16, Schema>,
}

impl Known {
    /// Reads a schema, a channel or a message.
    pub(super) fn record(&mut self, kind: u8, record: &[u8]) -> io::Result<Option<Found>> {
        let most = if kind == op::MESSAGE { MOST_RECORD } else { MOST_DEFINITION };
        if record.len() > most {
            return Err(too_long(kind, record.len() as u64, most));
        }
        let mut body = Body(record);
        let id = u16::from_le_bytes(body.bytes()?);
        match kind {
            op::SCHEMA => self.schema(id, record, body)?,
            op::CHANNEL => self.channel(id, record, body)?,
            _ => {
                let channel = self.channels.get(&id);
                let channel = channel.ok_or_else(|| {
                    damaged(&format!("a message is of channel {id}, which is not there yet"))
                })?;
                let sequence = u32::from_le_bytes(body.bytes()?);
                let times_ns = [body.u64()?, body.u64()?];
                let (channel, data) = (Arc::clone(channel), digest(body.0));
                return Ok(Some(Found { channel, data, sequence, times_ns }));
            }
        }
        Ok(None)
    }

    fn schema(&mut self, id: u16, record: &[u8], mut body: Body<'_>) -> io::Result<()> {
        let (name, encoding, data) = (body.part()?, body.part()?, body.part()?);
        body.end()?;
        let defined = digest(record);
        if let Some(known) = self.schemas.get(&id) {
            return once("schema", id, known.defined == defined);
        }
        let is_ours = |topic: &Topic| {
            name == topic.schema().as_bytes()
                && encoding == schema::ENCODING.as_bytes()
                && data == topic.definition().as_bytes()
        };
        let topics = Topic::ALL.into_iter().filter(is_ours).collect();
        self.schemas.insert(id, Schema { defined, topics });
        Ok(())
    }

    fn channel(&mut self, id: u16, record: &[u8], mut body: Body<'_>) -> io::Result<()> {
        let schema = u16::from_le_bytes(body.bytes()?);
        let (name, encoding, metadata) = (body.part()?, body.part()?, body.part()?);
        body.end()?;
        let defined = digest(record);
        if let Some(known) = self.channels.get(&id) {
            return once("channel", id, known.defined == defined);
        }
        let named = Topic::ALL.into_iter().find(|topic| topic.name().as_bytes() == name);
        let topics = match schema {
            // None.
            0 => &[],
            _ => self.schemas.get(&schema).map(|schema| schema.topics.as_slice()).ok_or_else(
                || damaged(&format!("channel {id} is of schema {schema}, which is not there yet")),
            )?,
        };
        let topic = named.filter(|topic| {
            topics.contains(topic)
                && encoding == schema::MESSAGE_ENCODING.as_bytes()
                && metadata.is_empty()
        });
        let name = String::from_utf8_lossy(name).chars().take(MOST_SHOWN).collect();
        self.channels.insert(id, Arc::new(Channel { defined, name, named, topic }));
        Ok(())
    }
}

/// Nothing is defined in two ways: each reader would take another one.
fn once(what: &str, id: u16, is_same: bool) -> io::Result<()> {
    match is_same {
        true => Ok(()),
        false => Err(damaged(&format!("{what} {id} is defined twice, and not in the same way"))),
    }
}
