//! The messages of an export beside those that its records make.
//!
//! Both come in the same order, and neither is kept: of each a window is looked at, in which what
//! belongs together is found again behind what was taken out, put in or moved.

use super::LIBRARY;
use super::messages::{self, Message};
use super::schema::{self, Topic};
use mcap::McapError;
use nooterra_blackbox::{Record, is_always_taken};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// So many messages of each side are looked at together.
const WINDOW: usize = 64;

/// So many messages that are wrong are named; all are counted.
const MOST_NAMED: usize = 1000;

/// What the comparison says nothing about, in a file that any program may have written.
const NOT_COMPARED: &str = "the metadata, every other attachment and the indexes of the file are \
                            compared with nothing, and signed by nobody";

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// No record makes it.
    Added,
    /// It says otherwise than the record, of another time, or in another schema.
    Altered,
    /// The record makes it, and it is not there.
    Missing,
    /// It stands where another one should.
    Moved,
    /// From here on no message can be read.
    Unreadable,
}

/// A message that is not as it was exported.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct WrongMessage {
    /// The record that it is about; of an added one, what it says of itself.
    pub seq: u64,
    /// Its topic.
    pub topic: String,
    /// What is wrong.
    pub what: Wrong,
    /// In one line.
    pub why: String,
}

/// How the messages of an export stand to its records.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Messages {
    /// What is said of all.
    pub notes: Vec<String>,
    /// Messages that are those that the records make.
    pub same: u64,
    /// Records in which the journal speaks of itself that have no message: they are in every
    /// export, and whether they were asked for nothing shows.
    pub silent: u64,
    /// Messages that are wrong.
    pub wrong: u64,
    /// Which; of very many the first.
    pub wrong_messages: Vec<WrongMessage>,
}

impl Messages {
    /// Every message is one that the records make, and none is missing.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.wrong == 0
    }
}

/// A message that a record makes.
struct Due {
    is_optional: bool,
    message: Message,
}

/// A message as it is in the file.
struct Found {
    message: mcap::Message<'static>,
    /// Where its channel is one of ours.
    topic: Option<Topic>,
}

impl Found {
    /// It is what the record makes.
    fn is(&self, due: &Due) -> bool {
        let Due { message, .. } = due;
        let found = &self.message;
        self.is_for(due)
            && self.topic == Some(message.topic)
            && [found.log_time, found.publish_time] == [message.time_ns; 2]
            && *found.data == *message.data
    }

    /// It says that it is about the same record, on the same topic.
    fn is_for(&self, due: &Due) -> bool {
        self.message.sequence == messages::sequence(due.message.seq)
            && self.message.channel.topic == due.message.topic.name()
    }
}

/// What is wrong, until it is known whether it was only moved.
enum Odd {
    Added(Found),
    Missing(Due),
}

/// A comparison under way.
pub(super) struct Comparison<I> {
    /// Why no more messages can be read, until that is said.
    broken: Option<String>,
    /// By channel; `None` for one that is not ours.
    channels: BTreeMap<u16, Option<Topic>>,
    due: VecDeque<Due>,
    found: VecDeque<Found>,
    /// The file could not be read to its end.
    is_cut: bool,
    library: String,
    /// What is left; `None` where that is nothing, or cannot be read.
    messages: Option<I>,
    /// The last of what was wrong, and where it is named.
    odd: VecDeque<(Odd, Option<usize>)>,
    said: Messages,
    /// The last record that was due.
    seq: u64,
}

impl<I: Iterator<Item = Result<mcap::Message<'static>, McapError>>> Comparison<I> {
    /// Of the messages of a file that this program says to have written.
    pub(super) fn new(messages: I, library: String) -> Self {
        Self {
            broken: None,
            channels: BTreeMap::new(),
            due: VecDeque::with_capacity(WINDOW),
            found: VecDeque::with_capacity(WINDOW),
            is_cut: false,
            library,
            messages: Some(messages),
            odd: VecDeque::with_capacity(WINDOW),
            said: Messages::default(),
            seq: 0,
        }
    }

    /// The next record.
    pub(super) fn record(&mut self, record: &Record) {
        self.seq = record.seq;
        let is_optional = is_always_taken(record);
        let due = messages::of(record).into_iter();
        self.due.extend(due.map(|message| Due { is_optional, message }));
        while self.due.len() >= WINDOW {
            self.step();
        }
    }

    /// What was found, when there are no more records.
    pub(super) fn end(mut self) -> Messages {
        while !self.due.is_empty() {
            self.step();
        }
        loop {
            self.fill();
            let Some(found) = self.found.pop_front() else {
                break;
            };
            self.added(found);
        }
        self.cut(self.seq, "");
        let notes = &mut self.said.notes;
        if self.said.silent > 0 {
            notes.push(format!(
                "{} checkpoints and statements of the journal about itself have no message: they \
                 are attached to every export, and whether they were asked for nothing shows",
                self.said.silent
            ));
        }
        if self.said.wrong > 0 && self.library != LIBRARY {
            notes.push(format!(
                "the file says that {:?} wrote it, and this is {LIBRARY}: another release may have \
                 made other messages of the same records",
                self.library
            ));
        }
        notes.push(NOT_COMPARED.to_owned());
        self.said
    }

    /// Reads on until the window is full, or nothing is left.
    fn fill(&mut self) {
        while self.found.len() < WINDOW
            && let Some(messages) = &mut self.messages
        {
            match messages.next() {
                Some(Ok(message)) => {
                    let known = self.channels.entry(message.channel.id);
                    let topic = *known.or_insert_with(|| topic_of(&message.channel));
                    self.found.push_back(Found { message, topic });
                }
                Some(Err(error)) => {
                    self.is_cut = true;
                    self.broken = Some(error.to_string());
                    self.messages = None;
                }
                None => self.messages = None,
            }
        }
    }

    /// Compares what is due next, of which there is something.
    fn step(&mut self) {
        self.fill();
        let Some(due) = self.due.pop_front() else {
            return;
        };
        let Some(found) = self.found.pop_front() else {
            // What stands where nothing can be read nobody knows.
            return match self.is_cut {
                true => self.cut(due.message.seq, due.message.topic.name()),
                false => self.missing(due),
            };
        };
        if found.is(&due) {
            self.said.same += 1;
        } else if found.is_for(&due) {
            self.altered(&due, &found);
        } else if due.is_optional && !self.found.iter().any(|found| found.is_for(&due)) {
            self.found.push_front(found);
            self.said.silent += 1;
        } else {
            self.due.push_front(due);
            self.found.push_front(found);
            self.resume();
        }
    }

    /// The two do not go together: goes on with the nearest that do.
    fn resume(&mut self) {
        let (most_due, most_found) = (self.due.len(), self.found.len());
        let pairs = (1..most_due + most_found).flat_map(|sum| (0..=sum).map(move |n| (n, sum - n)));
        let mut pairs = pairs.filter(|(due, found)| *due < most_due && *found < most_found);
        let next = pairs.find(|(due, found)| self.found[*found].is(&self.due[*due]));
        // Where nothing does, only what must.
        let (due, found) = next.unwrap_or((1, 1));
        let mut due: VecDeque<Due> = self.due.drain(..due).collect();
        for found in self.found.drain(..found).collect::<Vec<_>>() {
            match due.iter().position(|due| found.is_for(due)) {
                Some(at) => {
                    if let Some(due) = due.remove(at) {
                        self.altered(&due, &found);
                    }
                }
                None => self.added(found),
            }
        }
        due.into_iter().for_each(|due| self.missing(due));
    }

    /// Says once, at the first message that is not to be had, why.
    fn cut(&mut self, seq: u64, topic: &str) {
        if let Some(error) = self.broken.take() {
            let why = format!("from here on the file cannot be read: {error}");
            self.name(seq, topic, Wrong::Unreadable, why);
        }
    }

    fn altered(&mut self, due: &Due, found: &Found) {
        let Due { message, .. } = due;
        let why = if found.topic.is_none() {
            "its channel or its schema is not the one of this topic"
        } else if *found.message.data != *message.data {
            "it says otherwise than its record"
        } else {
            "its time is not that of its record"
        };
        self.name(message.seq, message.topic.name(), Wrong::Altered, why.to_owned());
    }

    fn missing(&mut self, due: Due) {
        let moved = |(odd, _): &(Odd, _)| matches!(odd, Odd::Added(found) if found.is(&due));
        if let Some(at) = self.odd.iter().position(moved) {
            return self.moved(at);
        }
        if due.is_optional {
            self.said.silent += 1;
            return;
        }
        let Message { seq, topic, .. } = due.message;
        let why = "its record makes it, and it is not there".to_owned();
        let named = self.name(seq, topic.name(), Wrong::Missing, why);
        self.remember(Odd::Missing(due), named);
    }

    fn added(&mut self, found: Found) {
        let moved = |(odd, _): &(Odd, _)| matches!(odd, Odd::Missing(due) if found.is(due));
        if let Some(at) = self.odd.iter().position(moved) {
            return self.moved(at);
        }
        // What it says is 32 bits of the number; the others are those of where it stands.
        let seq = (self.seq & !0xffff_ffff) | u64::from(found.message.sequence);
        let why = "no record makes it".to_owned();
        let named = self.name(seq, &found.message.channel.topic, Wrong::Added, why);
        self.remember(Odd::Added(found), named);
    }

    /// What was missing is there, or the other way round.
    fn moved(&mut self, at: usize) {
        let named = self.odd.remove(at).and_then(|(_, named)| named);
        if let Some(wrong) = named.and_then(|named| self.said.wrong_messages.get_mut(named)) {
            wrong.what = Wrong::Moved;
            wrong.why = "it stands where another one should".to_owned();
        }
    }

    fn remember(&mut self, odd: Odd, named: Option<usize>) {
        if self.odd.len() == WINDOW {
            self.odd.pop_front();
        }
        self.odd.push_back((odd, named));
    }

    /// Names what is wrong; where.
    fn name(&mut self, seq: u64, topic: &str, what: Wrong, why: String) -> Option<usize> {
        self.said.wrong += 1;
        let named = self.said.wrong_messages.len();
        (named < MOST_NAMED).then(|| {
            let topic = topic.escape_debug().take(100).collect();
            self.said.wrong_messages.push(WrongMessage { seq, topic, what, why });
            named
        })
    }
}

/// The topic that a channel is, where all of it is as it is exported.
fn topic_of(channel: &mcap::Channel<'_>) -> Option<Topic> {
    let topic = Topic::ALL.into_iter().find(|topic| topic.name() == channel.topic)?;
    let schema = channel.schema.as_ref()?;
    let is_ours = channel.message_encoding == schema::MESSAGE_ENCODING
        && channel.metadata.is_empty()
        && schema.name == topic.schema()
        && schema.encoding == schema::ENCODING
        && *schema.data == *topic.definition().as_bytes();
    is_ours.then_some(topic)
}
