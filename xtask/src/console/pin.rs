//! What a browser pins of a certificate: the SHA-256 of its public key, as
//! `--ignore-certificate-errors-spki-list` takes it. With it the browser trusts one root and no
//! other error is forgiven to anybody else.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nooterra_protocol::codec::Digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::path::Path;

/// DER tags.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The pin of the first certificate in a PEM file.
pub(crate) fn of_file(path: &Path) -> Result<String> {
    let certificate = CertificateDer::from_pem_file(path)
        .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    let key = subject_public_key_info(&certificate)
        .with_context(|| format!("{} holds no X.509 certificate", path.display()))?;
    Ok(STANDARD.encode(Digest::of(key).as_bytes()))
}

/// One element of DER.
struct Element<'a> {
    content: &'a [u8],
    /// What comes after it.
    rest: &'a [u8],
    tag: u8,
    /// With its tag and length.
    whole: &'a [u8],
}

fn element(der: &[u8]) -> Option<Element<'_>> {
    let (tag, first) = (*der.first()?, usize::from(*der.get(1)?));
    let (head, length) = if first < 0x80 {
        (2, first)
    } else {
        let count = first & 0x7f;
        let digits = der.get(2..2 + count).filter(|_| (1..=3).contains(&count))?;
        let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        (2 + count, length)
    };
    let end = head.checked_add(length)?;
    let (content, rest) = (der.get(head..end)?, der.get(end..)?);
    Some(Element { content, rest, tag, whole: der.get(..end)? })
}

/// RFC 5280 §4.1: serial number, algorithm, issuer, validity and subject come before it.
fn subject_public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let sequence = |der| element(der).filter(|it| it.tag == SEQUENCE);
    let mut rest = sequence(sequence(certificate)?.content)?.content;
    let first = element(rest)?;
    if first.tag == VERSION {
        rest = first.rest;
    }
    for _ in 0..5 {
        rest = element(rest)?.rest;
    }
    Some(sequence(rest)?.whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, length[0], length[1]], content].concat()
    }

    #[test]
    fn the_key_is_found_behind_what_precedes_it() {
        let key = wrap(SEQUENCE, b"key");
        let before: Vec<u8> = (0..5).flat_map(|_| vec![SEQUENCE, 1, 0]).collect();
        for version in [wrap(VERSION, &[2, 1, 2]), Vec::new()] {
            let body = wrap(SEQUENCE, &[version.as_slice(), &before, &key, b"rest"].concat());
            assert_eq!(subject_public_key_info(&wrap(SEQUENCE, &body)), Some(key.as_slice()));
        }
    }

    #[test]
    fn what_is_cut_off_is_no_certificate() {
        let body = wrap(SEQUENCE, &wrap(SEQUENCE, b"x"));
        for end in 0..body.len() {
            assert_eq!(subject_public_key_info(&body[..end]), None);
        }
        assert_eq!(subject_public_key_info(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
