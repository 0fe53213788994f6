//! Trust documents and revocation lists, from who signed them to the robots.
//!
//! The cloud keeps them and hands them out; it does not vouch for them, and cannot. It checks
//! their form so that a mistake shows at publishing. A robot believes the signatures alone, goes
//! back to nothing older, and takes its first document from a person who stands beside it.

use super::auth::{AdminOrRobot, Caller, Within};
use super::error::{ApiError, Problem};
use super::extract::{Body, Params};
use crate::core::Core;
use crate::store::Connection;
use crate::store::skill_trust::{self, Added};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::trust::{
    Carried, MAX_TRUST_BYTES, RevocationList, TrustDocument, TrustFile, TrustNews,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// A file in base64, its signatures and the JSON around them.
pub(crate) const MAX_BODY_BYTES: usize = MAX_TRUST_BYTES / 3 * 4 + 64 * 1024;

/// The most signatures that are kept, bytes; minisign's have about 300.
const MAX_SIGNATURES_BYTES: usize = 4 * 1024;

/// A document or a list to be published.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustRequest {
    /// The file, base64.
    #[schema(value_type = String)]
    bytes: Blob,
    /// The text of its `.minisig` files, one after the other.
    signatures: String,
}

/// What was published.
#[derive(Serialize, ToSchema)]
#[schema(as = PublishedTrust)]
pub(crate) struct TrustJson {
    /// SHA-256 of the file.
    #[schema(value_type = String)]
    digest: Digest,
    /// Its version.
    version: u32,
    /// `nooterra/skill-trust` or `nooterra/skill-revocations`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    file: TrustFile,
}

/// Where a robot stands.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewsQuery {
    /// The version of the document in force there; 0 unless given.
    #[serde(default)]
    after: u32,
}

/// Publishes a trust document or a revocation list to the tenant's robots; publishing it again renews its signatures.
#[utoipa::path(
    post, operation_id = "publish_skill_trust", path = "/v1/skill-trust", tag = "skills",
    request_body = TrustRequest,
    responses(
        (status = 201, description = "published", body = TrustJson), (status = 200, description = "it was published already", body = TrustJson),
        (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn publish(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Body(request): Body<TrustRequest>,
) -> Result<(StatusCode, Json<TrustJson>), ApiError> {
    let TrustRequest { bytes, signatures } = request;
    let starts = signatures.starts_with("untrusted comment:");
    if signatures.len() > MAX_SIGNATURES_BYTES || !starts {
        let message = "`signatures` is not the text of .minisig files";
        let hint = "sign the file with minisign and send the text of what that made";
        return Err(ApiError::unfit("bad_signature", message, hint));
    }
    let (file, version) = read(&bytes.0).map_err(|what| {
        ApiError::unfit("bad_trust", what, "docs/skill-bundle.md says what such a file holds")
    })?;
    let carried = Carried { bytes, signatures };
    let (digest, now) = (Digest::of(&carried.bytes.0), core.clock.wall());
    let tenant = caller.decides_for();
    let add = move |tx: &Connection| skill_trust::add(tx, &tenant, file, version, &carried, now);
    let added = core.store.write(add).await?;
    if added == Added::Differs {
        let message = format!("another trust document has version {version}");
        let hint = "have the change signed as the next version";
        return Err(ApiError::new(StatusCode::CONFLICT, "version_taken", message, hint));
    }
    tracing::info!(%file, version, %digest, ?added, "published");
    let status = if added == Added::New { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(TrustJson { digest, version, file })))
}

/// The documents after the one in force, oldest first, at most four; and the newest list.
#[utoipa::path(
    get, operation_id = "read_skill_trust", path = "/v1/skill-trust", tag = "skills",
    params(NewsQuery),
    responses((status = 200, description = "`documents` and `list`, each file with its signatures", body = Object), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn news(
    _: AdminOrRobot,
    Within(tenant): Within,
    State(core): State<Arc<Core>>,
    Params(query): Params<NewsQuery>,
) -> Result<Json<TrustNews>, ApiError> {
    let tenant = tenant.unwrap_or_default();
    Ok(Json(core.store.read(move |tx| skill_trust::news(tx, &tenant, query.after)).await?))
}

/// Which of the two it is, and its version.
fn read(bytes: &[u8]) -> Result<(TrustFile, u32), String> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "type")]
        file: TrustFile,
    }
    if bytes.len() > MAX_TRUST_BYTES {
        return Err(format!("it has {} bytes, at most {MAX_TRUST_BYTES} are read", bytes.len()));
    }
    let words = |error: serde_json::Error| error.to_string();
    let Head { file } = serde_json::from_slice(bytes).map_err(words)?;
    let version = match file {
        TrustFile::Document => {
            let document: TrustDocument = serde_json::from_slice(bytes).map_err(words)?;
            document.check().map_err(|error| error.to_string())?;
            document.version
        }
        TrustFile::List => {
            let list: RevocationList = serde_json::from_slice(bytes).map_err(words)?;
            list.check().map_err(|error| error.to_string())?;
            list.version
        }
    };
    Ok((file, version))
}
