//! Looking into a signed object without a key.

use nooterra_protocol::codec::{self, CodecError, Value};
use nooterra_protocol::envelope::Signable;

/// Why bytes cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum PeekError {
    /// Not canonical CBOR, or the payload is another object.
    #[error("{0}")]
    Codec(#[from] CodecError),
    /// Not the four parts of a COSE_Sign1.
    #[error("not a COSE_Sign1")]
    Form,
}

/// The payload of a COSE_Sign1 (RFC 9052 §4.2), whoever signed it: neither the signature nor
/// the headers are looked at. For what one wrote oneself, or says is unproven.
///
/// # Errors
/// [`PeekError`] when the bytes are something else.
pub fn danger_unverified<T: Signable>(bytes: &[u8]) -> Result<T, PeekError> {
    let Value::Array(parts) = codec::from_slice(bytes)? else {
        return Err(PeekError::Form);
    };
    // Protected headers, unprotected headers, payload, signature.
    let [Value::Bytes(_), Value::Map(_), Value::Bytes(payload), Value::Bytes(_)] = parts.as_slice()
    else {
        return Err(PeekError::Form);
    };
    Ok(codec::from_slice(payload)?)
}
