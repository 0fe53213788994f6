//! What a program's file says about itself: for which machine, and with which C library.

use anyhow::{Context as _, Result, bail};
use std::path::Path;

/// Section type: a table of strings. Section flag: loaded when the program runs.
const SHT_STRTAB: u64 = 3;
const SHF_ALLOC: u64 = 2;

/// Before each version of a symbol of the C library.
const GLIBC: &[u8] = b"GLIBC_";

/// A program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Image {
    /// Its size.
    pub(super) bytes: u64,
    /// The newest version of the C library that it asks for.
    pub(super) glibc: Option<(u32, u32)>,
    /// `e_machine`.
    pub(super) machine: u16,
}

/// Reads a program.
pub(super) fn read(path: &Path) -> Result<Image> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("{} is not a program", path.display()))
}

fn parse(bytes: &[u8]) -> Result<Image> {
    let Some([0x7f, b'E', b'L', b'F', class, 1, ..]) = bytes.get(..16) else {
        bail!("it is no ELF file of a little-endian machine");
    };
    let is_64 = *class == 2;
    let header = if is_64 { &LAYOUT_64 } else { &LAYOUT_32 };
    let machine = number(bytes, 18, 2).context("its header is cut")?;
    Ok(Image {
        bytes: bytes.len() as u64,
        glibc: sections(bytes, header).filter_map(newest_glibc).max(),
        machine: u16::try_from(machine).context("its machine is no number of 16 bits")?,
    })
}

/// Where a field is, and how many bytes it has.
type Field = (usize, usize);

/// The fields that are read here, which differ between 32 and 64 bits.
struct Layout {
    section_count: Field,
    section_flags: Field,
    section_offset: Field,
    section_size: Field,
    section_step: Field,
    section_table: Field,
    section_type: Field,
}

const LAYOUT_32: Layout = Layout {
    section_count: (0x30, 2),
    section_flags: (0x08, 4),
    section_offset: (0x10, 4),
    section_size: (0x14, 4),
    section_step: (0x2e, 2),
    section_table: (0x20, 4),
    section_type: (0x04, 4),
};

const LAYOUT_64: Layout = Layout {
    section_count: (0x3c, 2),
    section_flags: (0x08, 8),
    section_offset: (0x18, 8),
    section_size: (0x20, 8),
    section_step: (0x3a, 2),
    section_table: (0x28, 8),
    section_type: (0x04, 4),
};

/// The tables of strings that are loaded with the program: the names of what it asks for.
/// What does not lie in the file is left out.
fn sections<'a>(bytes: &'a [u8], layout: &'a Layout) -> impl Iterator<Item = &'a [u8]> {
    let header = |(at, len): Field| number(bytes, at, len).unwrap_or(0);
    let (count, step, table) =
        (header(layout.section_count), header(layout.section_step), header(layout.section_table));
    (0..count).filter_map(move |index| {
        let section = table.checked_add(index.checked_mul(step)?)?;
        let field = |(at, len): Field| {
            let at = usize::try_from(section).ok()?.checked_add(at)?;
            number(bytes, at, len)
        };
        let is_strings = field(layout.section_type)? == SHT_STRTAB;
        if !is_strings || field(layout.section_flags)? & SHF_ALLOC == 0 {
            return None;
        }
        let start = usize::try_from(field(layout.section_offset)?).ok()?;
        let len = usize::try_from(field(layout.section_size)?).ok()?;
        bytes.get(start..start.checked_add(len)?)
    })
}

/// The newest `GLIBC_MAJOR.MINOR` among strings that each end with a zero byte.
fn newest_glibc(strings: &[u8]) -> Option<(u32, u32)> {
    strings
        .split(|byte| *byte == 0)
        .filter_map(|string| {
            let version = str::from_utf8(string.strip_prefix(GLIBC)?).ok()?;
            let mut parts = version.split('.');
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        })
        .max()
}

/// A little-endian number of `len` bytes.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(len)?)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header, one table of strings, and its section.
    fn image(class: u8, machine: u16, strings: &[u8]) -> Vec<u8> {
        let layout = if class == 2 { &LAYOUT_64 } else { &LAYOUT_32 };
        let mut bytes = vec![0; 64 + strings.len() + 64];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1]);
        bytes[64..64 + strings.len()].copy_from_slice(strings);
        let section = 64 + strings.len();
        let mut put = |(at, len): Field, number: usize| {
            bytes[at..at + len].copy_from_slice(&number.to_le_bytes()[..len]);
        };
        put((18, 2), machine.into());
        put(layout.section_table, section);
        put(layout.section_step, 64);
        put(layout.section_count, 1);
        let field = |(at, len): Field| (section + at, len);
        put(field(layout.section_type), 3);
        put(field(layout.section_flags), 2);
        put(field(layout.section_offset), 64);
        put(field(layout.section_size), strings.len());
        bytes
    }

    const STRINGS: &[u8] = b"\0write\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.17\0GLIBC_PRIVATE\0";

    #[test]
    fn machine_and_newest_library_are_read_for_32_and_64_bits() {
        for class in [1, 2] {
            let found = parse(&image(class, 183, STRINGS)).unwrap();
            assert_eq!((found.machine, found.glibc), (183, Some((2, 34))));
        }
        assert_eq!(parse(&image(2, 40, b"\0")).unwrap().glibc, None);
    }

    #[test]
    fn what_this_test_runs_in_is_a_program() {
        let own = read(&std::env::current_exe().unwrap()).unwrap();
        assert!(own.bytes > 0 && own.machine != 0);
    }

    #[test]
    fn a_cut_or_altered_file_is_an_error_or_a_guess_and_never_a_panic() {
        let whole = image(2, 183, STRINGS);
        for len in 0..whole.len() {
            let _ = parse(&whole[..len]);
        }
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0xff] {
                let mut altered = whole.clone();
                altered[at] = value;
                let _ = parse(&altered);
            }
        }
        assert!(parse(b"").is_err());
        assert!(parse(b"#!/bin/sh\nexit 0\n").is_err());
    }
}
