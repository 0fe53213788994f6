//! The messages of an export beside those that its records make.
//!
//! Both come in the same order, and neither is kept: of each a window is looked at, in which what
//! belongs together is found again behind what was taken out, put in or moved.

use super::LIBRARY;
use super::messages;
use super::read::{Digest, Found, digest};
use super::schema::Topic;
use nooterra_blackbox::{Record, is_always_taken};
use serde::Serialize;
use std::collections::VecDeque;
use std::io;

/// So many messages of each side are looked at together.
const WINDOW: usize = 64;

/// So many messages that are wrong are named; all are counted.
const MOST_NAMED: usize = 1000;

/// What the comparison says nothing about, in a file that any program may have written.
const NOT_COMPARED: &str = "the metadata, every other attachment and the indexes of messages, \
                            attachments and metadata are compared with nothing, and signed by \
                            nobody: a program that reads by those may be led elsewhere";

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
    data: Digest,
    is_optional: bool,
    /// The record.
    seq: u64,
    time_ns: u64,
    topic: Topic,
}

impl Found {
    /// It is what the record makes.
    fn is(&self, due: &Due) -> bool {
        self.is_for(due)
            && self.channel.topic == Some(due.topic)
            && self.times_ns == [due.time_ns; 2]
            && self.data == due.data
    }

    /// It says that it is about the same record, on the same topic.
    fn is_for(&self, due: &Due) -> bool {
        self.sequence == messages::sequence(due.seq) && self.channel.named == Some(due.topic)
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

impl<I: Iterator<Item = io::Result<Found>>> Comparison<I> {
    /// Of the messages of a file that this program says to have written.
    pub(super) fn new(messages: I, library: String) -> Self {
        Self {
            broken: None,
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
        self.due.extend(due.map(|message| {
            let messages::Message { data, seq, time_ns, topic } = message;
            Due { data: digest(&data), is_optional, seq, time_ns, topic }
        }));
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
                Some(Ok(found)) => self.found.push_back(found),
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
                true => self.cut(due.seq, due.topic.name()),
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
        let why = if found.channel.topic.is_none() {
            "its channel or its schema is not the one of this topic"
        } else if found.data != due.data {
            "it says otherwise than its record"
        } else {
            "its time is not that of its record"
        };
        self.name(due.seq, due.topic.name(), Wrong::Altered, why.to_owned());
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
        let why = "its record makes it, and it is not there".to_owned();
        let named = self.name(due.seq, due.topic.name(), Wrong::Missing, why);
        self.remember(Odd::Missing(due), named);
    }

    fn added(&mut self, found: Found) {
        let moved = |(odd, _): &(Odd, _)| matches!(odd, Odd::Missing(due) if found.is(due));
        if let Some(at) = self.odd.iter().position(moved) {
            return self.moved(at);
        }
        // What it says is 32 bits of the number; the others are those of where it stands.
        let seq = (self.seq & !0xffff_ffff) | u64::from(found.sequence);
        let why = "no record makes it".to_owned();
        let named = self.name(seq, &found.channel.name, Wrong::Added, why);
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
