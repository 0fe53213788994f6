//! `nooterra-agent blackbox picture`: the picture that a record names, for whoever may read its
//! key.

use super::super::Answer;
use anyhow::{Context as _, bail};
use nooterra_blackbox::{Record, TailFrom, read_picture, tail};
use nooterra_evidence::Erase;
use nooterra_evidence::absence::Statement as _;
use nooterra_protocol::entry::Entry;
use nooterra_protocol::frame::PixelFormat;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes the picture of record `seq`, of the journal in `dir` with the pictures in `frames`, in a
/// format of Netpbm.
pub(super) fn write(dir: &Path, frames: &Path, seq: u64, out: &Path) -> anyhow::Result<Answer> {
    let found = tail(dir, TailFrom::Seq(seq))?.next().filter(|found| found.seq == seq);
    let record = match found.map(|found| found.record) {
        Some(Ok(record)) => record,
        Some(Err(why)) => bail!("record {seq} cannot be read: {why}"),
        None => bail!("record {seq} is not in the journal"),
    };
    let Ok(Some(Entry::SkillFrame(given))) = record.entry() else {
        bail!("record {seq} is of kind {}, and names no picture", record.kind);
    };
    let Some(taken) = given.taken else {
        bail!("record {seq} says that no picture was given");
    };
    let Some(sha256) = taken.sha256 else {
        bail!("the picture of record {seq} might not be kept");
    };
    let Some(pixels) = read_picture(frames, sha256)? else {
        match erased_in(dir, &record)? {
            Some(said_in) => bail!(
                "its picture is gone: it came to its end, or was erased as record {said_in} says"
            ),
            None => bail!("its picture is not in {}, or not any more", frames.display()),
        }
    };
    // The letters of Netpbm's formats for grey and for colour.
    let kind = match taken.format {
        PixelFormat::Grey8 => "P5",
        PixelFormat::Rgb8 => "P6",
    };
    let (width, height) = (taken.width, taken.height);
    let header = format!("{kind} {width} {height} 255\n");
    create(out, |file| file.write_all(header.as_bytes()).and_then(|()| file.write_all(&pixels)))
        .with_context(|| out.display().to_string())?;
    let text = format!("{}: {width} by {height}, given to {}", out.display(), given.skill);
    let json = json!({ "file": out, "height": height, "sha256": sha256, "width": width });
    Ok(Answer::done(text, json))
}

/// A new file for its owner alone; a part of a picture is not left behind.
fn create(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    let written = write(&mut file);
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}

/// The record of an erasing that covers a record. What came to its end before, it took not.
fn erased_in(dir: &Path, of: &Record) -> anyhow::Result<Option<u64>> {
    for found in tail(dir, TailFrom::Seq(of.seq))? {
        if let Ok(record) = found.record
            && record.kind == Erase::KIND
            && Erase::read(&record.body, None).is_ok_and(|erase| erase.covers(of.seq, of.class))
        {
            return Ok(Some(record.seq));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn of_a_picture_that_cannot_be_written_whole_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part.pgm");
        let full = |file: &mut File| -> io::Result<()> {
            file.write_all(b"P5 2 2 255\n\x07")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        assert_eq!(create(&path, full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        // Written whole it is its owner's alone, and no other picture takes its place or ends it.
        create(&path, |file| file.write_all(b"whole")).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(create(&path, full).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }
}
