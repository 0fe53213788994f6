//! The signature over what a subscriber is told: HMAC-SHA256 (RFC 2104) with a secret that it
//! was given once, over the time and the body, so that an old message cannot be sent anew.

use nooterra_protocol::codec::Digest;

/// The block of SHA-256, bytes.
const BLOCK: usize = 64;

/// A fresh secret.
pub(crate) fn key() -> Result<String, getrandom::Error> {
    crate::jobs::new_id("whsec")
}

/// What `Nooterra-Signature` says: `t={seconds since 1970},v1={hex}`, the HMAC being over
/// `{t}.{body}`.
pub(crate) fn signature(secret: &str, at_s: i64, body: &[u8]) -> String {
    let time = at_s.to_string();
    let mac = hmac(secret.as_bytes(), &[time.as_bytes(), b".", body]);
    format!("t={time},v1={mac}")
}

fn hmac(key: &[u8], message: &[&[u8]]) -> Digest {
    let mut block = [0; BLOCK];
    let hashed = Digest::of(key);
    let key = if key.len() > BLOCK { &hashed.as_bytes()[..] } else { key };
    block[..key.len()].copy_from_slice(key);
    let (inner, outer) = (block.map(|byte| byte ^ 0x36), block.map(|byte| byte ^ 0x5c));
    let mut parts: Vec<&[u8]> = vec![&inner];
    parts.extend(message);
    Digest::of_parts(&[&outer, Digest::of_parts(&parts).as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_that_of_rfc_4231() {
        let cases: [(&[u8], &[u8], &str); 3] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, message, expected) in cases {
            let (first, rest) = message.split_at(3);
            assert_eq!(hmac(key, &[first, rest]).to_string(), expected);
        }
    }

    #[test]
    fn it_changes_with_the_time_the_body_and_the_secret() {
        let all = [
            signature("s", 1, b"body"),
            signature("s", 2, b"body"),
            signature("s", 1, b"bodi"),
            signature("t", 1, b"body"),
        ];
        assert!(all[0].starts_with("t=1,v1=") && all[0].len() == 71);
        let macs: std::collections::HashSet<_> =
            all.iter().map(|it| it.split_once(",v1=").unwrap().1).collect();
        assert_eq!(macs.len(), 4);
    }
}
