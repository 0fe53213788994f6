//! PGM images, binary (`P5`) and plain (`P2`), as netpbm describes them.

use nooterra_protocol::grid::MAX_CELLS;
use std::io::Read;

/// The longest header: comments are in it.
const MAX_HEADER: usize = 64 * 1024;

/// The most bytes of a plain pixel: five digits and what parts them from the next.
const MAX_PLAIN_PIXEL: usize = 8;

/// An image, its pixels row by row from the top, as parts of white.
#[derive(Debug)]
pub(super) struct Image {
    /// Grey of white.
    pub(super) white: u16,
    pub(super) height: u32,
    pub(super) pixels: Vec<u16>,
    pub(super) width: u32,
}

/// Why there is no image.
#[derive(Debug)]
pub(super) enum Fault {
    File(std::io::Error),
    /// Columns and rows: none, or more than are handled.
    Size(u64, u64),
    What(String),
}

/// Reads an image. More than its header is read only when its size is one that is handled.
pub(super) fn read(mut file: impl Read) -> Result<Image, Fault> {
    let mut begin = Vec::new();
    file.by_ref().take(MAX_HEADER as u64).read_to_end(&mut begin).map_err(Fault::File)?;
    let plain = match begin.get(..2) {
        Some(b"P5") => false,
        Some(b"P2") => true,
        _ => {
            return Err(what("is no PGM image; convert it to PGM, and name that in the map"));
        }
    };
    let mut header = Words { at: 2, bytes: &begin };
    let mut number = |name: &str, most: u64| match header.number() {
        Some(number) if (1..=most).contains(&number) => Ok(number),
        Some(number) => {
            Err(what(&format!("its header says {name} {number}; 1 to {most} are handled")))
        }
        None => Err(what(&format!("its header ends before the {name}; the file was cut"))),
    };
    let width = number("width", u64::from(u32::MAX))?;
    let height = number("height", u64::from(u32::MAX))?;
    let white = number("white", u64::from(u16::MAX))?;
    let count = width.saturating_mul(height);
    if count > MAX_CELLS as u64 {
        return Err(Fault::Size(width, height));
    }
    // One character parts the header from the pixels.
    let at = (header.at + 1).min(begin.len());
    // At most MAX_CELLS, and white at most 65535: both as checked above.
    let (count, white) = (usize::try_from(count).unwrap_or(0), u16::try_from(white).unwrap_or(1));
    let size = match (plain, white > 255) {
        (true, _) => MAX_PLAIN_PIXEL,
        (false, true) => 2,
        (false, false) => 1,
    };
    let mut rest = begin.split_off(at);
    let missing = (count * size).saturating_sub(rest.len());
    file.take(missing as u64).read_to_end(&mut rest).map_err(Fault::File)?;
    let pixels = if plain { plain_pixels(&rest, count) } else { binary_pixels(&rest, count, size) };
    if pixels.len() < count {
        let (found, rows) = (pixels.len(), height);
        return Err(what(&format!(
            "has {found} of its {width} x {rows} pixels; the file was cut, copy it again"
        )));
    }
    if let Some(pixel) = pixels.iter().find(|pixel| **pixel > white) {
        return Err(what(&format!("has a pixel of {pixel}, and white is {white}; it is damaged")));
    }
    let side = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Image { white, height: side(height), pixels, width: side(width) })
}

fn what(text: &str) -> Fault {
    Fault::What(text.to_owned())
}

fn binary_pixels(bytes: &[u8], count: usize, size: usize) -> Vec<u16> {
    let whole = bytes.chunks_exact(size).take(count);
    whole.map(|pixel| pixel.iter().fold(0, |grey, byte| grey << 8 | u16::from(*byte))).collect()
}

fn plain_pixels(bytes: &[u8], count: usize) -> Vec<u16> {
    let mut words = Words { at: 0, bytes };
    let mut pixels = Vec::new();
    while pixels.len() < count {
        match words.number().map(u16::try_from) {
            Some(Ok(pixel)) => pixels.push(pixel),
            _ => break,
        }
    }
    pixels
}

/// Numbers between spaces and comments.
struct Words<'a> {
    at: usize,
    bytes: &'a [u8],
}

impl Words<'_> {
    /// The next number; `None` at the end, and where there is none.
    fn number(&mut self) -> Option<u64> {
        loop {
            match *self.bytes.get(self.at)? {
                b'#' => {
                    let line = &self.bytes[self.at..];
                    self.at += line.iter().position(|byte| *byte == b'\n')?;
                }
                byte if byte.is_ascii_whitespace() => self.at += 1,
                _ => break,
            }
        }
        let digits = &self.bytes[self.at..];
        let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += len;
        std::str::from_utf8(&digits[..len]).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(file: &[u8]) -> String {
        match read(file).unwrap_err() {
            Fault::What(text) => text,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn both_forms_and_both_depths_are_read() {
        for file in [
            &b"P5\n# by GIMP\n3 1 255\n\x00\x80\xff and more"[..],
            b"P2 3 # wide\n1\n255\n0 128\n255",
        ] {
            let image = read(file).unwrap();
            assert_eq!((image.width, image.height, image.white), (3, 1, 255));
            assert_eq!(image.pixels, [0, 128, 255]);
        }
        let deep = read(&b"P5 2 1 1000\n\x01\x00\x03\xe8"[..]).unwrap();
        assert_eq!((deep.white, deep.pixels), (1000, vec![256, 1000]));
    }

    #[test]
    fn a_cut_a_foreign_and_a_damaged_file_are_each_told() {
        assert!(refused(b"\x89PNG\r\n").contains("convert it to PGM"));
        assert!(refused(b"P5\n3 ").contains("before the height"));
        assert!(refused(b"P5\n3 1 255\n\x00\x80").contains("2 of its 3 x 1 pixels"));
        assert!(refused(b"P2\n3 1 255\n1 2 x").contains("2 of its 3 x 1 pixels"));
        assert!(refused(b"P2\n1 1 9\n10").contains("white is 9"));
        assert!(refused(b"P5\n0 1 255\n").contains("width 0"));
    }

    #[test]
    fn a_hundred_million_pixels_are_refused_before_any_is_read() {
        struct Endless;
        impl Read for Endless {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                panic!("it was read")
            }
        }
        let header = b"P5\n10000 10000\n255\n".to_vec();
        let padded = [header, vec![0; MAX_HEADER]].concat();
        let file = padded[..MAX_HEADER].chain(Endless);
        assert!(matches!(read(file).unwrap_err(), Fault::Size(10_000, 10_000)));
    }
}
