//! Who calls: the holder of the admin token, or a robot by its certificate.

use super::error::ApiError;
use crate::core::Core;
use crate::standing::Admission;
use crate::store::standings;
use crate::tls::Identity;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::keys::VerifyingKey;
use std::sync::Arc;

/// The other end of the TLS connection; put into every request by the server.
#[derive(Clone, Debug)]
pub(crate) struct Peer(pub(crate) Option<Arc<Identity>>);

/// The caller holds the admin token.
#[derive(Debug)]
pub(crate) struct Admin;

/// The caller is an enrolled robot.
#[derive(Debug)]
pub(crate) struct Robot {
    pub(crate) id: RobotId,
    pub(crate) key: VerifyingKey,
}

/// The caller is either.
#[derive(Debug)]
pub(crate) struct AdminOrRobot;

impl FromRequestParts<Arc<Core>> for Admin {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, core: &Arc<Core>) -> Result<Self, ApiError> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
            return Err(unauthorised("this needs the admin token"));
        };
        if same(&Digest::of(token.trim().as_bytes()), &core.admin) {
            Ok(Self)
        } else {
            Err(unauthorised("the token is not this cloud's admin token"))
        }
    }
}

impl FromRequestParts<Arc<Core>> for Robot {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, core: &Arc<Core>) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<Peer>().and_then(|peer| peer.0.clone());
        let Some(identity) = peer else {
            return Err(unauthorised("this needs a robot's certificate"));
        };
        if identity.not_after <= core.clock.wall() {
            return Err(unauthorised("the robot's certificate has expired"));
        }
        let id = identity.robot.clone();
        let key = identity.key.clone();
        let admission =
            core.store.read(move |tx| standings::admission(tx, &id, Some(&key))).await?;
        match admission {
            Admission::Admitted => {
                Ok(Self { id: identity.robot.clone(), key: identity.key.clone() })
            }
            Admission::Revoked => Err(revoked()),
            Admission::Unknown => Err(unauthorised("the robot is not enrolled with this key")),
        }
    }
}

impl FromRequestParts<Arc<Core>> for AdminOrRobot {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, core: &Arc<Core>) -> Result<Self, ApiError> {
        if parts.headers.contains_key(AUTHORIZATION) {
            return Admin::from_request_parts(parts, core).await.map(|_| Self);
        }
        Robot::from_request_parts(parts, core).await.map(|_| Self)
    }
}

/// For a certificate whose key was revoked.
pub(super) fn revoked() -> ApiError {
    let message = "the key of this certificate was revoked";
    let hint = "whoever runs the fleet knows why; to come back, enrol with a new key and a new \
                claim code";
    ApiError::new(StatusCode::FORBIDDEN, "certificate_revoked", message, hint)
}

fn unauthorised(message: &str) -> ApiError {
    let hint = "send `Authorization: Bearer TOKEN` with the line of `admin_token` in the cloud's \
                data directory, or connect with an enrolled robot's certificate where robots may";
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message, hint)
}

/// Compares without a branch on the content: how long it takes says nothing.
fn same(one: &Digest, other: &Digest) -> bool {
    let difference = one
        .as_bytes()
        .iter()
        .zip(other.as_bytes())
        .fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_the_same_only_when_every_bit_is() {
        let one = Digest::of(b"token");
        assert!(same(&one, &one));
        for bit in 0..256 {
            let mut bytes = *one.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!same(&one, &Digest::from_bytes(bytes)));
        }
    }
}
