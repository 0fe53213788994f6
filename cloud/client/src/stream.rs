//! What happens, as it happens: server-sent events, with a connection that mends itself.
//!
//! A stream remembers the id of the last event that it gave out and connects again after it, so
//! nothing is missed and nothing comes twice. A refusal ends it; a token that is over is replaced
//! first, where there is another.

use crate::call::{self, fresh, refusal, unreachable};
use crate::client::Client;
use crate::error::ClientError;
use crate::types::{Event, Record};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read as _};
use std::marker::PhantomData;
use ureq::http::Request;

/// The longest line that is read, bytes: a fact or a record as JSON is shorter.
const MAX_LINE: u64 = 4 * 1024 * 1024;

/// The largest event that is read, bytes of its data.
const MAX_DATA: usize = 8 * 1024 * 1024;

/// The largest refusal that is read, bytes.
const MAX_PROBLEM: u64 = 64 * 1024;

/// How often in a row a stream may fail to connect, unless told otherwise.
const TRIES: u32 = 10;

/// What a stream gives out.
pub trait FromEvent: Sized {
    /// Reads an event by its name and data.
    ///
    /// # Errors
    /// In which way it does not fit.
    fn from_event(name: &str, data: &str) -> Result<Self, String>;
}

impl FromEvent for Event {
    fn from_event(_: &str, data: &str) -> Result<Self, String> {
        serde_json::from_str(data).map_err(|error| error.to_string())
    }
}

impl FromEvent for Value {
    fn from_event(_: &str, data: &str) -> Result<Self, String> {
        serde_json::from_str(data).map_err(|error| error.to_string())
    }
}

/// A robot as it is watched.
#[derive(Clone, Debug, PartialEq)]
pub enum Live {
    /// A record of its journal.
    Record(Box<Record>),
    /// What was shown is to be forgotten: the newest records follow.
    Start,
}

impl FromEvent for Live {
    fn from_event(name: &str, data: &str) -> Result<Self, String> {
        if name == "start" {
            return Ok(Self::Start);
        }
        let record = serde_json::from_str(data).map_err(|error| error.to_string())?;
        Ok(Self::Record(Box::new(record)))
    }
}

/// A stream of the cloud: an iterator that waits for what comes next.
#[derive(Debug)]
pub struct Follow<T> {
    client: Client,
    /// Connections in a row that brought nothing.
    fruitless: u32,
    item: PhantomData<fn() -> T>,
    last: Option<String>,
    name: String,
    over: bool,
    reading: Option<Frames<Box<dyn BufRead + Send>>>,
    request_id: String,
    target: String,
    tries: Option<u32>,
    /// Tries in a row at which no connection came to be.
    unreached: u32,
}

impl<T: FromEvent> Follow<T> {
    pub(crate) fn new<A>(call: &call::Call<'_, A>) -> Self {
        Self {
            client: call.client().clone(),
            fruitless: 0,
            item: PhantomData,
            last: None,
            name: call.name(),
            over: false,
            reading: None,
            request_id: String::new(),
            target: call.target(),
            tries: Some(TRIES),
            unreached: 0,
        }
    }

    /// Goes on after the event with this id.
    #[must_use]
    pub fn after(mut self, id: impl ToString) -> Self {
        self.last = Some(id.to_string());
        self
    }

    /// The id of the last event that was given out: where another stream goes on.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Tries to connect so often in a row, 10 times unless given; `None` for without an end.
    #[must_use]
    pub const fn tries(mut self, tries: Option<u32>) -> Self {
        self.tries = tries;
        self
    }

    fn connect(&mut self) -> Result<(), Ended> {
        self.request_id = fresh("req_").map_err(Ended::ForGood)?;
        let mut refreshed = false;
        loop {
            let token = self.client.token().map_err(Ended::ForGood)?;
            let mut request = Request::builder()
                .uri(format!("{}{}", self.client.inner.base, self.target))
                .header("accept", "text/event-stream")
                .header("x-request-id", &self.request_id);
            if let Some(token) = &token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let Some(last) = &self.last {
                request = request.header("last-event-id", last);
            }
            let failed = |error| unreachable(&self.client, error, self.request_id.clone());
            let request = request
                .body(())
                .map_err(|error| Ended::ForGood(failed(ureq::Error::Http(error))))?;
            let answer = self.client.inner.streams.run(request);
            let answer = answer.map_err(|error| Ended::ForNow(failed(error)))?;
            let status = answer.status().as_u16();
            if status == 200 {
                let body: Box<dyn BufRead + Send> =
                    Box::new(BufReader::new(answer.into_body().into_reader()));
                self.reading = Some(Frames::new(body));
                self.unreached = 0;
                return Ok(());
            }
            let mut body = Vec::new();
            let read = answer.into_body().into_reader().take(MAX_PROBLEM).read_to_end(&mut body);
            if status == 401 && !refreshed {
                let fresh = self.client.refresh(token.as_deref()).map_err(Ended::ForGood)?;
                if fresh {
                    refreshed = true;
                    continue;
                }
            }
            let error = refusal(self.name.clone(), status, &body, self.request_id.clone());
            return Err(match status {
                408 | 429 | 502 | 503 | 504 => Ended::ForNow(error),
                // Half a refusal is none.
                _ if read.is_err() => Ended::ForNow(error),
                _ => Ended::ForGood(error),
            });
        }
    }

    fn odd(&self, why: String) -> ClientError {
        let (call, request_id) = (self.name.clone(), self.request_id.clone());
        ClientError::Answer { call, request_id, why }
    }
}

/// Why there is no connection.
enum Ended {
    ForGood(ClientError),
    ForNow(ClientError),
}

impl<T: FromEvent> Iterator for Follow<T> {
    type Item = Result<T, ClientError>;

    /// Waits for the next event. After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            let Some(reading) = &mut self.reading else {
                if self.fruitless > 0 {
                    self.client.inner.retry.wait(self.fruitless, None);
                }
                self.fruitless = self.fruitless.saturating_add(1);
                match self.connect() {
                    Ok(()) => {}
                    Err(Ended::ForNow(error)) => {
                        self.unreached = self.unreached.saturating_add(1);
                        self.over = self.tries.is_some_and(|tries| self.unreached >= tries);
                        if self.over {
                            return Some(Err(error));
                        }
                    }
                    Err(Ended::ForGood(error)) => {
                        self.over = true;
                        return Some(Err(error));
                    }
                }
                continue;
            };
            match reading.next() {
                Ok(Some(Frame { data, id, name })) => {
                    // Given out is dealt with: a stream that ends here goes on after it.
                    if id.is_some() {
                        self.last = id;
                    }
                    self.fruitless = 0;
                    let item = T::from_event(&name, &data);
                    self.over = item.is_err();
                    return Some(item.map_err(|why| self.odd(why)));
                }
                // The cloud went away, or the connection did.
                Ok(None) => self.reading = None,
                Err(why) => {
                    self.over = true;
                    return Some(Err(self.odd(why)));
                }
            }
        }
        None
    }
}

/// One event as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Frame {
    data: String,
    id: Option<String>,
    name: String,
}

/// Takes a stream apart (HTML, "Server-sent events", 9.2.6).
struct Frames<R> {
    data: Option<String>,
    id: Option<String>,
    lines: R,
    name: String,
}

impl<R> std::fmt::Debug for Frames<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Frames")
    }
}

impl<R: BufRead> Frames<R> {
    const fn new(lines: R) -> Self {
        Self { data: None, id: None, lines, name: String::new() }
    }

    /// The next whole event; none at the end, which may be that of a broken connection.
    fn next(&mut self) -> Result<Option<Frame>, String> {
        loop {
            let mut line = Vec::new();
            match self.lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(read) if read as u64 == MAX_LINE => {
                    return Err(format!("a line has more than {MAX_LINE} bytes"));
                }
                // Half a line, or half an event before it, is none: it comes again.
                Ok(_) if line.last() != Some(&b'\n') => return Ok(None),
                Ok(_) => {}
                Err(_) => return Ok(None),
            }
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            let line = String::from_utf8(line).map_err(|_| "a line is not UTF-8".to_owned())?;
            if let Some(frame) = self.line(&line)? {
                return Ok(Some(frame));
            }
        }
    }

    fn line(&mut self, line: &str) -> Result<Option<Frame>, String> {
        if line.is_empty() {
            let (data, name) = (self.data.take(), std::mem::take(&mut self.name));
            let id = self.id.take();
            return Ok(data.map(|data| Frame { data, id, name }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                let data = match self.data.take() {
                    Some(data) => data + "\n" + value,
                    None => value.to_owned(),
                };
                if data.len() > MAX_DATA {
                    return Err(format!("an event has more than {MAX_DATA} bytes"));
                }
                self.data = Some(data);
            }
            "event" => value.clone_into(&mut self.name),
            // It goes into a header of the next request.
            "id" if value.bytes().all(|byte| byte.is_ascii_graphic()) => {
                self.id = Some(value.to_owned());
            }
            // Comments, which keep the connection; `retry`; what is not known.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(text: &[u8]) -> Result<Vec<Frame>, String> {
        let mut frames = Frames::new(text);
        let mut all = Vec::new();
        while let Some(frame) = frames.next()? {
            all.push(frame);
        }
        Ok(all)
    }

    fn frame(id: Option<&str>, name: &str, data: &str) -> Frame {
        Frame { data: data.to_owned(), id: id.map(str::to_owned), name: name.to_owned() }
    }

    #[test]
    fn events_are_taken_apart_and_half_an_event_is_none() {
        let text = b":ok\n\nid: 7\r\nevent: BOOKED\r\ndata: {\"a\":1}\r\n\r\ndata:x\ndata: y\n\n\
                     retry: 10\nid: 9\ndata: half\n";
        let found = frames(text).unwrap();
        assert_eq!(found, [frame(Some("7"), "BOOKED", "{\"a\":1}"), frame(None, "", "x\ny")]);
    }

    #[test]
    fn an_id_that_no_header_can_carry_is_passed_over() {
        assert_eq!(frames("id: é\u{7}\ndata: x\n\n".as_bytes()).unwrap(), [frame(None, "", "x")]);
    }

    #[test]
    fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
        let endless = BufReader::new(std::io::repeat(b'x'));
        assert!(Frames::new(endless).next().is_err());
        let data = b"data: ".iter().chain(std::iter::repeat_n(&b'x', 1 << 20)).chain(b"\n");
        let line: Vec<u8> = data.copied().collect();
        assert!(frames(&line.repeat(9)).is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused_and_nothing_panics(
            text in "((id|event|data|retry)?:? ?[ -~é]{0,8}\r?\n?){0,12}"
        ) {
            let _ = frames(text.as_bytes());
        }

        #[test]
        fn what_was_sent_comes_out(
            sent in proptest::collection::vec(("[0-9]{1,9}", "[A-Z_]{0,9}", "[ -~]{1,30}"), 0..9)
        ) {
            let text: String = sent
                .iter()
                .map(|(id, name, data)| format!("event: {name}\nid: {id}\ndata: {data}\n\n"))
                .collect();
            let expected: Vec<_> =
                sent.iter().map(|(id, name, data)| frame(Some(id), name, data)).collect();
            prop_assert_eq!(frames(text.as_bytes()).unwrap(), expected);
        }
    }
}
