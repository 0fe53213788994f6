//! Who calls: the holder of a token, or a robot by its certificate.
//!
//! The guard ([`super::guard`]) decides before every request; what is here is how it, and the
//! handlers, know who it is.

use super::error::ApiError;
use super::tokens::stands;
use crate::access::{Followed, Grant, Presented, Tenant, same};
use crate::core::Core;
use crate::services::Service;
use crate::standing::Admission;
use crate::store::tokens::TokenRow;
use crate::store::{StoreError, standings, tokens};
use crate::tls::Identity;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{ActorId, RobotId};
use nooterra_protocol::keys::VerifyingKey;
use std::sync::Arc;

/// The principal of whoever holds the token of the data directory.
pub(crate) const BOOTSTRAP: &str = "bootstrap";

/// The other end of the TLS connection; put into every request by the server.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) robot: Option<Arc<Identity>>,
    pub(crate) service: Option<Arc<Service>>,
}

/// Whoever holds a token that the guard let in.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// None for the bootstrap token, which may everything.
    pub(crate) grant: Option<Grant>,
    /// Where it came with a certificate in place of a token.
    service: Option<Arc<Service>>,
    /// The token's id, which is no secret.
    pub(crate) token: Option<String>,
}

/// The only tenant of which anything is there for whom the guard let in, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Within(pub(crate) Option<Tenant>);

/// The guard let the caller in by a token.
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

impl Caller {
    /// Who presents a token, or is a service by its certificate. A token counts first: whoever
    /// sends one says as whom to act.
    pub(crate) async fn read(parts: &Parts, core: &Core) -> Result<Self, ApiError> {
        let headers = &parts.headers;
        let service = parts.extensions.get::<Peer>().and_then(|peer| peer.service.clone());
        if let Some(service) = service.filter(|_| !headers.contains_key(AUTHORIZATION)) {
            return Self::of_service(&service, core).await;
        }
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(text) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
            return Err(unauthorised("this needs a token"));
        };
        let text = text.trim();
        if same(&Digest::of(text.as_bytes()), &core.admin) {
            return Ok(Self { grant: None, service: None, token: None });
        }
        let unknown = || unauthorised("the token is none of this cloud's");
        let Presented { hash, id } = Presented::read(text).ok_or_else(unknown)?;
        let id = id.to_owned();
        let found = core.store.read::<_, StoreError, _>(move |tx| tokens::find(tx, &id)).await?;
        // Of a token for a certificate nobody knows a secret.
        let found = found.filter(|token| token.certificate.is_none());
        let token = found.filter(|token| same(&token.hash, &hash)).ok_or_else(unknown)?;
        Self::by(token, core)
    }

    /// Whoever the table of tokens knows by a name of this certificate. One token must stand for
    /// all of them: to choose between two would be to guess.
    async fn of_service(service: &Arc<Service>, core: &Core) -> Result<Self, ApiError> {
        let now = core.clock.wall();
        if service.not_after <= now {
            return Err(unauthorised("the service's certificate has expired"));
        }
        if let Some(Err(error)) = core.services.as_ref().map(|all| all.stands(service)) {
            return Err(no_longer(&error));
        }
        let names = service.names.clone();
        let known = names.join(", ");
        let found = core.store.read::<_, StoreError, _>(move |tx| {
            let found = names.iter().map(|name| tokens::of_certificate(tx, name));
            Ok(found.collect::<Result<Vec<_>, _>>()?.concat())
        });
        let mut found = found.await?;
        let last = found.last().cloned();
        found.retain(|token| stands(token, now));
        match (found.pop(), found.is_empty(), last) {
            (Some(token), true, _) => {
                Ok(Self { service: Some(service.clone()), ..Self::by(token, core)? })
            }
            (Some(_), false, _) => {
                let message = format!("several tokens stand for a certificate of {known}");
                let hint = "revoke all but one of them: `nooterra-cloud token list`";
                let status = StatusCode::UNAUTHORIZED;
                Err(ApiError::new(status, "certificate_ambiguous", message, hint))
            }
            // Why the newest of them is over.
            (None, _, Some(token)) => Self::by(token, core),
            (None, _, None) => {
                Err(unauthorised(&format!("no token was made for a certificate of {known}")))
            }
        }
    }

    /// Begins a stream without an end, as long as what is returned is held; the bootstrap token
    /// may have as many as it likes.
    pub(crate) fn follow(&self, core: &Core) -> Result<Option<Followed>, ApiError> {
        if self.token.is_none() {
            return Ok(None);
        }
        // Those who reach all tenants are one more; no tenant has that name.
        let who = self.tenant().map_or("*", Tenant::as_str);
        let Some(followed) = core.streams.begin(who) else {
            let message =
                format!("at most {} streams of a tenant stand at once", core.streams.each());
            let hint = "end one that nobody reads, or follow /v1/events/stream for all robots";
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Err(ApiError::new(status, "too_many_streams", message, hint));
        };
        Ok(Some(followed))
    }

    /// By this token, where it is not over.
    fn by(token: TokenRow, core: &Core) -> Result<Self, ApiError> {
        if let Some((_, by)) = token.revoked {
            let message = format!("the token {} was revoked by {by}", token.id);
            return Err(ended("token_revoked", message));
        }
        if token.grant.expires_at <= core.clock.wall() {
            let message = format!("the token {} expired at {}", token.id, token.grant.expires_at);
            return Err(ended("token_expired", message));
        }
        Ok(Self { grant: Some(token.grant), service: None, token: Some(token.id) })
    }

    /// In whose name the caller acts, where a request may say it: its own, and for the bootstrap
    /// token whoever it names.
    pub(crate) fn speaks_for(&self, named: Option<ActorId>) -> Result<Option<ActorId>, ApiError> {
        let Some(grant) = &self.grant else { return Ok(named) };
        match named {
            Some(named) if named != grant.principal => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "not_your_name",
                format!("this token acts as {}, not as {named}", grant.principal),
                "leave the name out, or take a token of that principal",
            )),
            _ => Ok(Some(grant.principal.clone())),
        }
    }

    /// In whose name the caller acts.
    pub(crate) fn principal(&self) -> &str {
        self.grant.as_ref().map_or(BOOTSTRAP, |grant| grant.principal.as_str())
    }

    /// The token that let the caller in is still good: what is sent without an end asks it again.
    pub(crate) async fn stands(&self, core: &Core) -> bool {
        let Some(id) = self.token.clone() else { return true };
        let now = core.clock.wall();
        let found = core.store.read::<_, StoreError, _>(move |tx| tokens::find(tx, &id)).await;
        let found = found.ok().flatten();
        let vouched = match (&self.service, &core.services) {
            (Some(service), Some(authorities)) => authorities.stands(service).is_ok(),
            _ => true,
        };
        vouched && found.is_some_and(|token| stands(&token, now))
    }

    /// For whose fleet the caller decides: who reaches all tenants does for the default one.
    pub(crate) fn decides_for(&self) -> Tenant {
        self.tenant().cloned().unwrap_or_default()
    }

    /// The only tenant of which anything is there for the caller; none for all of them.
    pub(crate) fn tenant(&self) -> Option<&Tenant> {
        self.grant.as_ref().and_then(|grant| grant.tenant.as_ref())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| unauthorised("this needs a token"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Within {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let within = parts.extensions.get::<Self>().cloned();
        within.ok_or_else(|| unauthorised("this needs a token"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Caller::from_request_parts(parts, state).await.map(|_| Self)
    }
}

impl FromRequestParts<Arc<Core>> for Robot {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, core: &Arc<Core>) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<Peer>().and_then(|peer| peer.robot.clone());
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
        if parts.extensions.get::<Caller>().is_some() {
            return Ok(Self);
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

/// For a service's certificate that a handshake took, and would not take now.
fn no_longer(error: &rustls::Error) -> ApiError {
    let message = format!("the service's certificate counts no longer: {error}");
    let hint = "whoever runs the services' authority knows why: the certificate is on its \
                revocation list, or the list is over";
    ApiError::new(StatusCode::UNAUTHORIZED, "certificate_refused", message, hint)
}

fn unauthorised(message: &str) -> ApiError {
    let hint = "send `Authorization: Bearer TOKEN`, with a token of POST /v1/tokens or the line of \
                `admin_token` in the cloud's data directory, or connect with the certificate of a \
                service that has a token, or of an enrolled robot where robots may";
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message, hint)
}

fn ended(code: &'static str, message: String) -> ApiError {
    let hint = "ask for another: `nooterra-cloud token create`, or POST /v1/tokens";
    ApiError::new(StatusCode::UNAUTHORIZED, code, message, hint)
}
