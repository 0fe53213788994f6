//! Exports of a black box, as whoever verifies one reads them.

#[path = "../../../agent/src/export/read/mod.rs"]
mod read;
#[path = "../../../agent/src/export/schema.rs"]
mod schema;

use std::io::{BufReader, Cursor};

/// As in the agent.
const EXCERPT: &str = "nooterra.excerpt";

/// More of a file's messages are not looked at here: a chunk unpacks to half a million of them.
const MOST_MESSAGES: usize = 4096;

/// Reads one to its end, and beside it what another reader shows.
pub(crate) fn exported(bytes: &[u8]) {
    let open = || BufReader::new(Cursor::new(bytes));
    if !read::is_mcap(&mut open()).expect("memory can be read") {
        return;
    }
    drop(read::library(&mut open()));
    for attached in read::excerpts(&mut open()).into_iter().flatten() {
        let end = attached.offset.checked_add(attached.length).expect("it lies in the file");
        assert!(end <= bytes.len() as u64, "an attachment goes beyond the file");
    }
    let mut messages = read::messages(open());
    let mut ours = Vec::new();
    for message in messages.by_ref().take(MOST_MESSAGES) {
        let Ok(message) = message else {
            assert!(messages.next().is_none(), "an error is the last that comes");
            return;
        };
        ours.push((message.sequence, message.times_ns, message.data));
    }
    if messages.next().is_some() {
        return;
    }
    // It was read to its end. Whoever else reads all of it shows the same.
    let Ok(stream) = mcap::MessageStream::new(bytes) else { return };
    let theirs: Result<Vec<_>, _> = stream
        .map(|message| {
            message.map(|m| (m.sequence, [m.log_time, m.publish_time], read::digest(&m.data)))
        })
        .collect();
    if let Ok(theirs) = theirs {
        assert_eq!(ours, theirs, "another reader shows other messages");
    }
}
