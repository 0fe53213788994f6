//! How a robot gets its certificate.

use super::auth::{Caller, Robot, revoked};
use super::error::{ApiError, Problem};
use super::extract::{Body, robot_id};
use crate::ca::{Issued, Request};
use crate::core::Core;
use crate::jobs::JobError;
use crate::store::robots::{self, ClaimRefused};
use crate::store::{Connection, News};
use crate::store::{standings, tenants};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{RobotId, from_entropy};
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// What every claim code begins with.
const PREFIX: &str = "noot1";

/// The longest id that a robot may be given: names that are derived from it must fit too.
const MAX_ROBOT_ID: usize = 48;

/// The longest that a claim code may be good for, seconds: a day.
const MAX_TTL_S: u64 = 24 * 3600;

/// Asks for a claim code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimCodeRequest {
    /// For which robot; it need not exist yet.
    #[schema(value_type = String, example = "amr-1")]
    robot: RobotId,
    /// Seconds until it expires; 15 minutes unless given.
    ttl_s: Option<u64>,
}

/// A claim code. It is shown once.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClaimCode {
    /// `noot1.{secret}.{root_sha256_hex}`; single use.
    code: String,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    expires_at: WallMillis,
    /// For which robot.
    #[schema(value_type = String)]
    robot: RobotId,
}

/// Trades a claim code for a certificate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolmentRequest {
    /// The claim code.
    code: String,
    /// PKCS#10 in PEM, over the robot's P-256 key.
    csr_pem: String,
}

/// Asks for a new certificate over the same key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenewalRequest {
    /// PKCS#10 in PEM, over the enrolled key.
    csr_pem: String,
}

/// All that a robot needs to connect.
#[derive(Serialize, ToSchema)]
pub(crate) struct Enrolment {
    /// The root that signs robots and this server.
    ca_pem: String,
    /// The robot's certificate.
    certificate_pem: String,
    /// Whose signature makes a command: `ed25519:BASE64`.
    command_key: String,
    /// The certificate's end, milliseconds since 1970.
    #[schema(value_type = i64)]
    expires_at: WallMillis,
    /// `host:port` of the MQTT endpoint.
    mqtt: String,
    /// Which robot this is.
    #[schema(value_type = String)]
    robot: RobotId,
}

/// Makes a claim code for a robot.
#[utoipa::path(
    post, operation_id = "create_claim_code", path = "/v1/claim-codes", tag = "robots",
    request_body = ClaimCodeRequest,
    responses((status = 201, description = "the code; it is shown once", body = ClaimCode), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn claim_code(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Body(request): Body<ClaimCodeRequest>,
) -> Result<(StatusCode, Json<ClaimCode>), ApiError> {
    let robot = request.robot;
    if robot.as_str().len() > MAX_ROBOT_ID {
        let message = format!("a robot's id has at most {MAX_ROBOT_ID} characters");
        return Err(ApiError::unfit("bad_robot_id", message, "choose a shorter id"));
    }
    let lifetime = match request.ttl_s {
        None => core.claim_code_lifetime,
        Some(ttl_s @ 1..=MAX_TTL_S) => Duration::from_secs(ttl_s),
        Some(_) => {
            let message = format!("ttl_s must be 1 to {MAX_TTL_S}");
            return Err(ApiError::unfit("bad_ttl", message, "choose a value in that range"));
        }
    };
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy).map_err(JobError::from)?;
    let secret = from_entropy("s", entropy);
    let hash = Digest::of(secret.as_bytes());
    let expires_at = core.clock.wall().plus(lifetime);
    let id = robot.clone();
    core.store
        .write::<_, ApiError, _>(move |tx| {
            // The bootstrap token claims a robot again for whose it is.
            let enrolled = tenants::of_robot(tx, &id)?;
            let tenant = match (enrolled, caller.tenant()) {
                (Some(of), Some(own)) if of != *own => return Err(taken(&id)),
                (Some(of), _) => of,
                (None, own) => own.cloned().unwrap_or_default(),
            };
            robots::add_claim_code(tx, &hash, &id, expires_at)?;
            Ok(tenants::claim(tx, &hash, &tenant)?)
        })
        .await?;
    tracing::info!(%robot, "claim code made");
    let code = format!("{PREFIX}.{secret}.{}", core.ca.fingerprint());
    Ok((StatusCode::CREATED, Json(ClaimCode { code, expires_at, robot })))
}

/// Names are of one fleet for all tenants: a topic and a certificate hold nothing else.
fn taken(robot: &RobotId) -> ApiError {
    let message = format!("the id {robot} is not free");
    ApiError::new(StatusCode::CONFLICT, "robot_id_taken", message, "choose another id")
}

/// Enrols a robot: its key is certified, and becomes its device key.
#[utoipa::path(
    post, operation_id = "enrol_robot", path = "/v1/enrolments", tag = "robots", request_body = EnrolmentRequest,
    responses((status = 201, description = "the certificate", body = Enrolment), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn enrol(
    State(core): State<Arc<Core>>,
    Body(request): Body<EnrolmentRequest>,
) -> Result<(StatusCode, Json<Enrolment>), ApiError> {
    let secret = claim_secret(&request.code, core.ca.fingerprint())?;
    // Before the code is used up: a damaged request can be sent again with the same code.
    let csr = Request::parse(&request.csr_pem)?;
    let now = core.clock.wall();
    let inner = core.clone();
    let (robot, issued, replaced) = core
        .store
        .write(move |tx| {
            let robot = robots::use_claim_code(tx, &secret, now)?.map_err(refusal)?;
            if standings::is_revoked(tx, csr.key())? {
                return Err(revoked());
            }
            // Of two tenants that claimed one id, the first to enrol has it.
            let tenant = tenants::of_claim(tx, &secret)?;
            if tenants::of_robot(tx, &robot)?.is_some_and(|of| of != tenant) {
                return Err(taken(&robot));
            }
            let before = robots::find(tx, &robot)?;
            let replaced = before.is_some_and(|before| before.device_key != *csr.key());
            robots::enrol(tx, &robot, csr.key(), now)?;
            tenants::give(tx, &robot, &tenant)?;
            if replaced {
                robots::end_connections(tx, &robot, News::Enrolled)?;
            }
            inner.server.readmit(tx, &robot)?;
            let issued = certify(&inner, tx, &robot, &csr, now)?;
            Ok::<_, ApiError>((robot, issued, replaced))
        })
        .await?;
    tracing::info!(%robot, replaced, "robot enrolled");
    Ok((StatusCode::CREATED, Json(enrolment(&core, robot, issued))))
}

/// Renews the certificate of the robot that calls.
#[utoipa::path(
    post, operation_id = "renew_certificate", path = "/v1/robots/{id}/certificate", tag = "robots",
    params(("id" = String, Path, description = "the robot")), request_body = RenewalRequest,
    responses((status = 201, description = "the certificate", body = Enrolment), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn renew(
    caller: Robot,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Body(request): Body<RenewalRequest>,
) -> Result<(StatusCode, Json<Enrolment>), ApiError> {
    let robot = robot_id(&id)?;
    if robot != caller.id {
        let message = format!("{} may not renew the certificate of {robot}", caller.id);
        let hint = "a robot renews its own certificate only";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "other_robot", message, hint));
    }
    let csr = Request::parse(&request.csr_pem)?;
    if *csr.key() != caller.key {
        return Err(ApiError::unfit(
            "other_key",
            "the request is over another key than the enrolled one",
            "to change the device key, enrol again with a new claim code",
        ));
    }
    let now = core.clock.wall();
    let (inner, id) = (core.clone(), robot.clone());
    let issued = core.store.write(move |tx| certify(&inner, tx, &id, &csr, now)).await?;
    tracing::info!(%robot, "certificate renewed");
    Ok((StatusCode::CREATED, Json(enrolment(&core, robot, issued))))
}

fn certify(
    core: &Core,
    tx: &Connection,
    robot: &RobotId,
    csr: &Request,
    now: WallMillis,
) -> Result<Issued, ApiError> {
    let issued = core.ca.certify_robot(robot, csr, now, core.robot_certificate_lifetime)?;
    robots::add_certificate(tx, robot, csr.key(), &issued, now)?;
    Ok(issued)
}

fn enrolment(core: &Core, robot: RobotId, issued: Issued) -> Enrolment {
    Enrolment {
        ca_pem: core.ca.root_pem().to_owned(),
        certificate_pem: issued.pem,
        command_key: core.server.public_key().to_string(),
        expires_at: issued.not_after,
        mqtt: core.mqtt.clone(),
        robot,
    }
}

/// The hash of a code's secret, if the code is for this cloud.
fn claim_secret(code: &str, root: Digest) -> Result<Digest, ApiError> {
    let mut parts = code.trim().split('.');
    let (Some(PREFIX), Some(secret), Some(fingerprint), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        let message = format!("not a claim code: expected `{PREFIX}.SECRET.FINGERPRINT`");
        return Err(ApiError::bad("bad_claim_code", message, "copy the whole code"));
    };
    if Digest::from_hex(fingerprint) != Some(root) {
        let message = "the claim code was made by another cloud";
        let hint = "check the URL, or ask the operator of this cloud for a code";
        return Err(ApiError::bad("other_cloud", message, hint));
    }
    Ok(Digest::of(secret.as_bytes()))
}

fn refusal(why: ClaimRefused) -> ApiError {
    let hint = "make a new one: POST /v1/claim-codes";
    match why {
        ClaimRefused::Expired => {
            ApiError::new(StatusCode::GONE, "claim_expired", "the claim code has expired", hint)
        }
        ClaimRefused::Unknown => {
            let message = "there is no such claim code";
            ApiError::new(StatusCode::FORBIDDEN, "claim_unknown", message, hint)
        }
        ClaimRefused::Used => {
            let message = "the claim code was used already";
            ApiError::new(StatusCode::GONE, "claim_used", message, hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_text_but_a_code_of_this_cloud_is_read(text in ".{0,200}") {
            proptest::prop_assert!(claim_secret(&text, Digest::of(b"root")).is_err());
        }
    }

    #[test]
    fn a_code_of_this_cloud_is_read_even_with_a_line_break() {
        let root = Digest::of(b"root");
        let code = format!("noot1.s_1234.{root}\n");
        assert_eq!(claim_secret(&code, root).unwrap(), Digest::of(b"s_1234"));
        assert!(claim_secret(&code, Digest::of(b"another")).is_err());
    }
}
