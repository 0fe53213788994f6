//! Published skill bundles.
//!
//! The cloud keeps bundles and hands them out. What it checks at publishing, the shape of the
//! bundle, whose it is and who vouches for its tier, is in `skill_registry`; a robot trusts none
//! of it, only the signature, by keys that its owner configured.

use super::auth::{AdminOrRobot, Caller, Robot, Within};
use super::call;
use super::error::{ApiError, Problem};
use super::extract::{Body, Params, bundle_digest};
use super::registry::reason;
use super::skill_list::{SkillJson, SkillList, SkillQuery, Wanted};
use crate::access::Tenant;
use crate::core::Core;
use crate::jobs::JobError;
use crate::skill_registry::give;
use crate::skill_registry::publish::{self, Entering, PublishError};
use crate::skill_registry::revoke::Running;
use crate::store::{Connection, StoreError, registry, skills, tenants};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{RobotId, SkillId};
use nooterra_protocol::skill::{
    CASES_FILE, COMPONENT_FILE, GRAPH_FILE, MANIFEST_FILE, MAX_BUNDLE_BYTES, MAX_CASES_BYTES,
    MAX_GRAPH_BYTES, MAX_SBOM_BYTES, ManifestError, SBOM_FILE, SkillManifest,
};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::sync::Arc;
use utoipa::ToSchema;

/// A bundle in base64, its signature and the JSON around them.
pub(crate) const MAX_BODY_BYTES: usize = MAX_BUNDLE_BYTES / 3 * 4 + 64 * 1024;

/// The largest manifest that is read, bytes.
const MAX_MANIFEST_BYTES: u64 = 64 * 1024;

/// The largest signature file that is kept, bytes; minisign's has about 300, and may hold several.
const MAX_SIGNATURE_BYTES: usize = 8 * 1024;

/// The media type of CycloneDX in JSON, as it is registered.
const SBOM_TYPE: &str = "application/vnd.cyclonedx+json";

/// A bundle to be published.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SkillRequest {
    /// The tar archive, base64.
    bundle_base64: String,
    /// Who vouches for its tier; needed above `dev`.
    #[serde(default)]
    certification: Option<CertificationRequest>,
    /// The text of its `.minisig` file.
    signature: String,
}

/// A certification record, as its certifier signed it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificationRequest {
    /// The text of the record, byte for byte.
    record: String,
    /// The text of its `.minisig` file.
    signature: String,
}

/// What was published.
#[derive(Serialize, ToSchema)]
pub(crate) struct Published {
    /// SHA-256 of the bundle; what plans name.
    #[schema(value_type = String)]
    digest: Digest,
    /// From the manifest.
    #[schema(value_type = String)]
    id: SkillId,
    /// From the manifest.
    version: String,
}

/// Why a version is taken back, and what becomes of what runs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeRequest {
    /// For the record, 1 to 512 bytes.
    reason: String,
    /// `cancel` unless given: jobs that run it end by the robot's safe exit; `finish`: they go
    /// on to their end.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    running: Running,
}

/// Why a bundle is not published.
#[derive(Debug, thiserror::Error)]
enum BundleError {
    #[error("{CASES_FILE} is not the one whose SHA-256 {MANIFEST_FILE} says")]
    Cases,
    #[error("{COMPONENT_FILE} has SHA-256 {found}, {MANIFEST_FILE} says {claimed}")]
    Component { claimed: Digest, found: Digest },
    #[error("the bundle is not a tar archive: {0}")]
    Archive(#[from] std::io::Error),
    #[error("{GRAPH_FILE} is not the one that {MANIFEST_FILE} names by `graph_sha256`")]
    Graph,
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(
        "the bundle holds `{0}`; a bundle holds {MANIFEST_FILE}, perhaps {GRAPH_FILE}, \
         {COMPONENT_FILE}, perhaps {SBOM_FILE} and perhaps {CASES_FILE}, each once and in this order"
    )]
    Member(String),
    #[error("{SBOM_FILE} is not the one whose SHA-256 {MANIFEST_FILE} says")]
    Sbom,
    #[error("the bundle has {0} bytes, at most {MAX_BUNDLE_BYTES} are kept")]
    TooLarge(usize),
    #[error("the bundle lacks {0}")]
    Lacks(&'static str),
}

/// Publishes a bundle; publishing it again changes nothing.
#[utoipa::path(
    post, operation_id = "publish_skill", path = "/v1/skills", tag = "skills",
    request_body = SkillRequest,
    responses(
        (status = 201, description = "published", body = Published), (status = 200, description = "it was published already", body = Published),
        (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn publish(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Body(request): Body<SkillRequest>,
) -> Result<(StatusCode, Json<Published>), ApiError> {
    let SkillRequest { bundle_base64, certification, signature } = request;
    if signature.len() > MAX_SIGNATURE_BYTES || !signature.starts_with("untrusted comment:") {
        let message = "`signature` is not the text of a .minisig file";
        let hint = "sign the bundle with minisign, or with `xtask`, and send that file's text";
        return Err(ApiError::unfit("bad_signature", message, hint));
    }
    let (tenant, now) = (caller.decides_for(), core.clock.wall());
    let whose = tenant.clone();
    let keys = core.store.read(move |tx| registry::keys(tx, &whose)).await?;
    // Decoding and hashing megabytes would hold up the other connections of this thread.
    let read = tokio::task::spawn_blocking(move || {
        let bundle = STANDARD.decode(bundle_base64).map_err(|error| {
            let message = format!("`bundle_base64` is not base64: {error}");
            ApiError::bad("bad_base64", message, "use the standard alphabet with padding")
        })?;
        let manifest = read_manifest(&bundle).map_err(|error| {
            let hint = "pack the bundle anew from its manifest and component";
            ApiError::unfit("bad_bundle", error.to_string(), hint)
        })?;
        let digest = Digest::of(&bundle);
        let certification =
            certification.as_ref().map(|it| (it.record.as_str(), it.signature.as_str()));
        let (bytes, signed) = (bundle.as_slice(), signature.as_str());
        let entering = Entering {
            bundle: bytes,
            certification,
            digest,
            manifest: &manifest,
            signature: signed,
        };
        let proof = publish::prove(&keys, &entering, now)?;
        Ok::<_, ApiError>((digest, manifest, bundle, signature, proof))
    });
    let (digest, manifest, bundle, signature, proof) =
        read.await.map_err(|_| StoreError::Stopping)??;
    let published =
        Published { digest, id: manifest.id.clone(), version: manifest.version.clone() };
    let added = core
        .store
        .write::<_, PublishError, _>(move |tx| {
            if !publish::admit(tx, &tenant, (&digest, &manifest), proof.as_ref())? {
                skills::add(tx, &digest, &manifest, &signature, &bundle, now)?;
            }
            Ok(tenants::publish(tx, &tenant, &digest, &signature)?)
        })
        .await?;
    tracing::info!(skill = %published.id, version = published.version, %digest, added, "published");
    Ok((if added { StatusCode::CREATED } else { StatusCode::OK }, Json(published)))
}

/// Published versions, oldest first, in pages.
#[utoipa::path(
    get, operation_id = "list_skills", path = "/v1/skills", tag = "skills",
    params(SkillQuery),
    responses((status = 200, description = "the skills", body = SkillList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn list(
    _: AdminOrRobot,
    Within(tenant): Within,
    State(core): State<Arc<Core>>,
    Params(query): Params<SkillQuery>,
) -> Result<Json<SkillList>, ApiError> {
    let wanted = Wanted::new(query)?;
    let now = core.clock.wall();
    let page = move |tx: &Connection| wanted.page(tx, now, tenant.as_ref());
    Ok(Json(core.store.read::<_, StoreError, _>(page).await?))
}

/// One version.
#[utoipa::path(
    get, operation_id = "show_skill", path = "/v1/skills/{digest}", tag = "skills",
    params(("digest" = String, Path, description = "SHA-256 of the bundle")),
    responses((status = 200, description = "the version", body = SkillJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn show(
    asking: Asking,
    Within(tenant): Within,
    State(core): State<Arc<Core>>,
    Path(digest): Path<String>,
) -> Result<Json<SkillJson>, ApiError> {
    asking.finds(&core, &digest).await?;
    shown(&core, tenant, &digest).await.map(Json)
}

/// Takes a version back for good: no robot is given it again. A start that its robot has not
/// answered is withdrawn; what runs ends or goes on as asked. Asked again it changes nothing.
#[utoipa::path(
    post, operation_id = "revoke_skill", path = "/v1/skills/{digest}/revoke", tag = "skills",
    params(("digest" = String, Path, description = "SHA-256 of the bundle")), request_body = RevokeRequest,
    responses((status = 200, description = "the version", body = SkillJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn revoke(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Path(digest): Path<String>,
    Body(request): Body<RevokeRequest>,
) -> Result<Json<SkillJson>, ApiError> {
    let (wanted, why) = (bundle_digest(&digest)?, reason(request.reason)?);
    let (server, running) = (core.server.clone(), request.running);
    let found = core
        .store
        .write::<_, JobError, _>(move |tx| server.revoke_skill(tx, &wanted, &why, running))
        .await?;
    if !found {
        return Err(missing(&digest));
    }
    tracing::warn!(%digest, running = running.name(), "a skill was revoked");
    shown(&core, caller.tenant().cloned(), &digest).await.map(Json)
}

async fn shown(core: &Core, tenant: Option<Tenant>, digest: &str) -> Result<SkillJson, ApiError> {
    let (wanted, now) = (bundle_digest(digest)?, core.clock.wall());
    let found = core
        .store
        .read::<_, StoreError, _>(move |tx| {
            let row = skills::find(tx, &wanted)?;
            row.map(|row| SkillJson::of(tx, tenant.as_ref(), row, now)).transpose()
        })
        .await?;
    found.ok_or_else(|| missing(digest))
}

/// The bundle itself.
#[utoipa::path(
    get, operation_id = "download_bundle", path = "/v1/skills/{digest}/bundle", tag = "skills",
    params(("digest" = String, Path, description = "SHA-256 of the bundle")),
    responses(
        (status = 200, description = "the tar archive", content_type = "application/octet-stream", body = Vec<u8>),
        (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn bundle(
    asking: Asking,
    State(core): State<Arc<Core>>,
    Path(digest): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let wanted = bundle_digest(&digest)?;
    asking.finds(&core, &digest).await?;
    if let Asking(Some(robot)) = asking {
        let now = core.clock.wall();
        core.store.read(move |tx| give::may_fetch(tx, &robot, &wanted, now)).await?;
    }
    let bundle = core.store.read(move |tx| skills::bundle(tx, &wanted)).await?;
    let bundle = bundle.ok_or_else(|| missing(&digest))?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], bundle))
}

/// What the bundle's component was made of, byte for byte as its developer signed it: a CycloneDX
/// document. The `ETag` is its SHA-256, which the manifest has too.
#[utoipa::path(
    get, operation_id = "download_sbom", path = "/v1/skills/{digest}/sbom", tag = "skills",
    params(("digest" = String, Path, description = "SHA-256 of the bundle")),
    responses(
        (status = 200, description = "the bill of materials", content_type = "application/vnd.cyclonedx+json", body = Object),
        (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn sbom(
    _: Caller,
    State(core): State<Arc<Core>>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = bundle_digest(&digest)?;
    let manifest = core.store.read(move |tx| skills::manifest(tx, &wanted)).await?;
    let manifest = manifest.ok_or_else(|| missing(&digest))?;
    let Some(hash) = manifest.sbom_sha256 else {
        let message = format!("bundle {digest} does not say what it is made of");
        let hint = "ask its developer for a bundle with a bill of materials (`pack --sbom FILE`)";
        return Err(ApiError::missing("no_sbom", message, hint));
    };
    if call::is_known(&headers, hash)? {
        return Ok(call::tagged(StatusCode::NOT_MODIFIED, hash));
    }
    // Out of the bundle on the thread that read it: the rest of it goes no further.
    let sbom = move |tx: &Connection| {
        let sbom = skills::bundle(tx, &wanted)?.map(|bundle| sbom_of(&bundle)).transpose();
        let sbom = sbom.map_err(|error| StoreError::damaged("a bundle", error))?.flatten();
        let whole = sbom.filter(|sbom| Digest::of(sbom) == hash);
        whole.ok_or_else(|| StoreError::damaged("a bundle", BundleError::Sbom))
    };
    let sbom = core.store.read::<_, StoreError, _>(sbom).await?;
    Ok(call::tagged(([(CONTENT_TYPE, SBOM_TYPE)], sbom), hash))
}

/// The text of the bundle's signature file.
#[utoipa::path(
    get, operation_id = "download_signature", path = "/v1/skills/{digest}/signature", tag = "skills",
    params(("digest" = String, Path, description = "SHA-256 of the bundle")),
    responses((status = 200, description = "the text of the .minisig file", body = String), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn signature(
    asking: Asking,
    Within(tenant): Within,
    State(core): State<Arc<Core>>,
    Path(digest): Path<String>,
) -> Result<String, ApiError> {
    let wanted = bundle_digest(&digest)?;
    asking.finds(&core, &digest).await?;
    let signature = move |tx: &Connection| {
        let own = tenant.map(|tenant| tenants::signature(tx, &tenant, &wanted)).transpose()?;
        own.flatten().map_or_else(|| skills::signature(tx, &wanted), |own| Ok(Some(own)))
    };
    let signature = core.store.read(signature).await?;
    signature.ok_or_else(|| missing(&digest))
}

/// Who asks for a bundle: a robot, or the holder of a token.
pub(crate) struct Asking(Option<RobotId>);

impl Asking {
    /// The bundle is there for who asks; of the holders of tokens that was looked at before.
    async fn finds(&self, core: &Core, digest: &str) -> Result<(), ApiError> {
        let Self(Some(robot)) = self else { return Ok(()) };
        let (wanted, robot) = (bundle_digest(digest)?, robot.clone());
        let there = move |tx: &Connection| give::is_there_for(tx, &robot, &wanted);
        let there = core.store.read::<_, StoreError, _>(there).await?;
        if there { Ok(()) } else { Err(missing(digest)) }
    }
}

impl FromRequestParts<Arc<Core>> for Asking {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, core: &Arc<Core>) -> Result<Self, ApiError> {
        if parts.extensions.get::<Caller>().is_some() {
            return Ok(Self(None));
        }
        Robot::from_request_parts(parts, core).await.map(|robot| Self(Some(robot.id)))
    }
}

/// No skill of that bundle is there for the caller.
pub(super) fn missing(digest: &str) -> ApiError {
    let message = format!("no skill with bundle {digest} is published");
    ApiError::missing("no_such_skill", message, "GET /v1/skills lists the skills")
}

fn read_manifest(bundle: &[u8]) -> Result<SkillManifest, BundleError> {
    if bundle.len() > MAX_BUNDLE_BYTES {
        return Err(BundleError::TooLarge(bundle.len()));
    }
    let (mut manifest, mut graph, mut component) = (None, None, None);
    let (mut sbom, mut cases) = (None, None);
    for entry in tar::Archive::new(bundle).entries()? {
        let entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let regular = entry.header().entry_type().is_file();
        if regular && name == MANIFEST_FILE && manifest.is_none() {
            let mut text = Vec::new();
            entry.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut text)?;
            manifest = Some(text);
        } else if regular && name == GRAPH_FILE && graph.is_none() {
            let mut text = Vec::new();
            // What it says is for the robot to judge.
            entry.take(MAX_GRAPH_BYTES as u64 + 1).read_to_end(&mut text)?;
            graph = Some(Digest::of(&text));
        } else if regular && name == COMPONENT_FILE && component.is_none() {
            let mut bytes = Vec::new();
            // An entry never yields more than the archive holds.
            entry.take(MAX_BUNDLE_BYTES as u64).read_to_end(&mut bytes)?;
            component = Some(Digest::of(&bytes));
        } else if regular
            && name == SBOM_FILE
            && component.is_some()
            && (&sbom, &cases) == (&None, &None)
        {
            sbom = Some(digest_of(entry, SBOM_FILE, MAX_SBOM_BYTES)?);
        } else if regular && name == CASES_FILE && component.is_some() && cases.is_none() {
            // What they say is for the robot to judge.
            cases = Some(digest_of(entry, CASES_FILE, MAX_CASES_BYTES)?);
        } else {
            return Err(BundleError::Member(name));
        }
    }
    let manifest = manifest.ok_or(BundleError::Lacks(MANIFEST_FILE))?;
    let found = component.ok_or(BundleError::Lacks(COMPONENT_FILE))?;
    if manifest.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(BundleError::Member(format!("{MANIFEST_FILE} of too many bytes")));
    }
    let manifest: SkillManifest =
        serde_json::from_slice(&manifest).map_err(|e| ManifestError::Json(e.to_string()))?;
    manifest.check()?;
    if manifest.component_sha256 != found {
        return Err(BundleError::Component { claimed: manifest.component_sha256, found });
    }
    if manifest.graph_sha256 != graph {
        return Err(BundleError::Graph);
    }
    if manifest.sbom_sha256 != sbom {
        return Err(BundleError::Sbom);
    }
    if manifest.cases_sha256 != cases {
        return Err(BundleError::Cases);
    }
    Ok(manifest)
}

/// The bill of materials of a bundle that was published.
fn sbom_of(bundle: &[u8]) -> Result<Option<Vec<u8>>, std::io::Error> {
    for entry in tar::Archive::new(bundle).entries()? {
        let entry = entry?;
        if entry.path_bytes().as_ref() == SBOM_FILE.as_bytes() {
            let mut bytes = Vec::new();
            entry.take(MAX_SBOM_BYTES as u64).read_to_end(&mut bytes)?;
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// Of a member of at most so many bytes.
fn digest_of(entry: impl Read, name: &str, most: usize) -> Result<Digest, BundleError> {
    let mut bytes = Vec::new();
    entry.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(BundleError::Member(format!("{name} of too many bytes")));
    }
    Ok(Digest::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(component: &[u8]) -> String {
        let sha = Digest::of(component);
        format!(
            r#"{{"actions":["patrol"],"capabilities":["drive"],"component_sha256":"{sha}",
            "developer":"d","id":"patrol","licence":"MIT","memory_mib":8,"name":"Patrol",
            "period_ms":100,"tier":"dev","v":1,"version":"1.0.0","wit":"nooterra:skill@0.2.0"}}"#
        )
    }

    fn pack(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_bundle_with_its_manifest_and_component_is_read() {
        let manifest = manifest(b"component");
        let bundle = pack(&[(MANIFEST_FILE, manifest.as_bytes()), (COMPONENT_FILE, b"component")]);
        assert_eq!(read_manifest(&bundle).unwrap().version, "1.0.0");
        let named = format!(r#""graph_sha256":"{}","id":"#, Digest::of(b"{}"));
        let manifest = manifest.replace(r#""id":"#, &named);
        let (m, c) = ((MANIFEST_FILE, manifest.as_bytes()), (COMPONENT_FILE, &b"component"[..]));
        assert!(read_manifest(&pack(&[m, (GRAPH_FILE, b"{}"), c])).is_ok());
        for graph in [&[m, c][..], &[m, (GRAPH_FILE, b"[]"), c]] {
            assert!(matches!(read_manifest(&pack(graph)), Err(BundleError::Graph)));
        }
    }

    #[test]
    fn a_bill_of_materials_is_taken_where_the_manifest_has_its_hash() {
        let mut manifest: serde_json::Value =
            serde_json::from_str(&manifest(b"component")).unwrap();
        manifest["sbom_sha256"] = Digest::of(b"bill").to_string().into();
        let text = manifest.to_string();
        let (m, c) = ((MANIFEST_FILE, text.as_bytes()), (COMPONENT_FILE, &b"component"[..]));
        let s = (SBOM_FILE, &b"bill"[..]);
        let read = read_manifest(&pack(&[m, c, s])).unwrap();
        assert_eq!(read.sbom_sha256, Some(Digest::of(b"bill")));
        for members in [&[m, c][..], &[m, s, c], &[m, c, s, s], &[m, c, (SBOM_FILE, b"other")]] {
            assert!(read_manifest(&pack(members)).is_err(), "{members:?}");
        }
    }

    #[test]
    fn cases_are_taken_where_the_manifest_has_their_hash() {
        let mut manifest: serde_json::Value =
            serde_json::from_str(&manifest(b"component")).unwrap();
        manifest["cases_sha256"] = Digest::of(b"cases").to_string().into();
        let text = manifest.to_string();
        let (m, c) = ((MANIFEST_FILE, text.as_bytes()), (COMPONENT_FILE, &b"component"[..]));
        let k = (CASES_FILE, &b"cases"[..]);
        assert_eq!(
            read_manifest(&pack(&[m, c, k])).unwrap().cases_sha256,
            Some(Digest::of(b"cases"))
        );
        for members in [&[m, c][..], &[m, k, c], &[m, c, k, k], &[m, c, (CASES_FILE, b"other")]] {
            assert!(read_manifest(&pack(members)).is_err(), "{members:?}");
        }
    }

    #[test]
    fn a_bundle_that_lacks_repeats_or_changes_a_member_is_refused() {
        let text = manifest(b"component");
        let (m, c) = ((MANIFEST_FILE, text.as_bytes()), (COMPONENT_FILE, &b"component"[..]));
        for members in [
            &[m][..],
            &[c],
            &[m, m, c],
            &[m, c, c],
            &[m, c, ("extra", b"")],
            &[m, (GRAPH_FILE, b"{}"), c],
            &[m, (COMPONENT_FILE, b"other")],
            &[(MANIFEST_FILE, b"{}"), c],
            &[],
        ] {
            assert!(read_manifest(&pack(members)).is_err(), "{members:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_bundle_never_panics(at in 0_usize..4096, byte: u8, cut in 0_usize..4096) {
            let text = manifest(b"component");
            let mut bundle =
                pack(&[(MANIFEST_FILE, text.as_bytes()), (COMPONENT_FILE, b"component")]);
            let at = at % bundle.len();
            bundle[at] = byte;
            let _ = read_manifest(&bundle);
            bundle.truncate(cut);
            let _ = read_manifest(&bundle);
        }
    }
}
