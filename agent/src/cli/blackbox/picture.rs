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
use std::fs::OpenOptions;
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
    create(out, &[header.as_bytes(), &pixels]).with_context(|| out.display().to_string())?;
    let text = format!("{}: {width} by {height}, given to {}", out.display(), given.skill);
    let json = json!({ "file": out, "height": height, "sha256": sha256, "width": width });
    Ok(Answer::done(text, json))
}

/// A new file for its owner alone; a part of a picture is not left behind.
fn create(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    let written = parts.iter().try_for_each(|part| file.write_all(part));
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
