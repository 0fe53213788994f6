//! Published versions as the API shows them, and which of them a query asks for.

use super::error::ApiError;
use crate::access::Tenant;
use crate::skill_registry::revoke::Running;
use crate::skill_registry::{Revocation, Version, tier_name, tier_of};
use crate::store::skills::SkillRow;
use crate::store::{Connection, StoreError, skills, tenants};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::skill::{SkillManifest, Tier};
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Versions in one page, unless asked otherwise.
const SKILLS: u32 = 200;

/// Versions in one page at the most.
const MAX_SKILLS: u32 = 1000;

/// Before the first.
const START: (WallMillis, Digest) = (WallMillis(i64::MIN), Digest::ZERO);

/// A published skill.
#[derive(Serialize, ToSchema)]
#[schema(as = Skill)]
pub(crate) struct SkillJson {
    /// SHA-256 of the bundle.
    #[schema(value_type = String)]
    digest: Digest,
    /// From the manifest.
    #[schema(value_type = String)]
    id: SkillId,
    /// Who vouches for its tier.
    certification: Option<CertificationJson>,
    /// The whole manifest.
    #[schema(value_type = Object)]
    manifest: SkillManifest,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    published_at: WallMillis,
    /// Why no robot gets it any more; null while robots do.
    revoked: Option<RevokedJson>,
    /// The key of its developer that signed it, as `minisign` prints it; null where the
    /// developer is not known here and nobody proved the name.
    signed_by: Option<String>,
    /// The tier that counts: the manifest's while a certification holds, else `dev`.
    tier: &'static str,
    /// From the manifest.
    version: String,
}

/// A certification that was checked when the bundle was published.
#[derive(Serialize, ToSchema)]
#[schema(as = SkillCertification)]
pub(crate) struct CertificationJson {
    /// It counts before this, milliseconds since 1970.
    #[schema(value_type = i64)]
    expires_at: WallMillis,
    /// The record, as it was signed.
    record: String,
    /// The text of its `.minisig` file.
    signature: String,
    /// The certifier's key.
    signed_by: String,
}

/// A revocation.
#[derive(Serialize, ToSchema)]
#[schema(as = SkillRevocation)]
pub(crate) struct RevokedJson {
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    at: WallMillis,
    /// Why.
    reason: String,
    /// What became of jobs that ran it: `cancel` or `finish`.
    #[schema(value_type = String)]
    running: Running,
}

/// Published versions, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct SkillList {
    /// What `after` takes to go on; null after the newest.
    next: Option<String>,
    skills: Vec<SkillJson>,
}

/// Which versions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct SkillQuery {
    /// `next` of the page before; from the oldest without.
    after: Option<String>,
    /// Only of this developer.
    developer: Option<String>,
    /// Only of this skill.
    id: Option<String>,
    /// At most so many, up to 1000; 200 unless given.
    limit: Option<u32>,
    /// Only where id, name or an action has this text in it, in whatever case.
    q: Option<String>,
    /// Only revoked ones (`true`), or only others.
    revoked: Option<bool>,
    /// Only of this tier or a higher one: `dev`, `lab_cert`, `field_cert`.
    tier: Option<String>,
}

/// A query that was read.
pub(super) struct Wanted {
    after: (WallMillis, Digest),
    limit: usize,
    q: Option<String>,
    query: SkillQuery,
    tier: Option<Tier>,
}

impl Wanted {
    /// Reads a query.
    pub(super) fn new(query: SkillQuery) -> Result<Self, ApiError> {
        let after = query.after.as_deref().map_or(Some(START), |text| {
            let (at, digest) = text.split_once('-')?;
            Some((WallMillis(at.parse().ok()?), Digest::from_hex(digest)?))
        });
        let after = after.ok_or_else(|| {
            let hint = "send `next` of the page before as it was";
            ApiError::bad("bad_query", "`after` is no place in the list", hint)
        })?;
        let tier = query.tier.as_deref().map(|name| {
            tier_of(name).ok_or_else(|| {
                let message = format!("`{}` is no tier", name.escape_debug());
                ApiError::bad("bad_query", message, "one of dev, lab_cert, field_cert")
            })
        });
        let limit = query.limit.unwrap_or(SKILLS).clamp(1, MAX_SKILLS);
        Ok(Self {
            after,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            q: query.q.as_deref().map(str::to_lowercase),
            tier: tier.transpose()?,
            query,
        })
    }

    /// The page that it asks for; of one tenant, where one is given.
    pub(super) fn page(
        &self,
        tx: &Connection,
        now: WallMillis,
        tenant: Option<&Tenant>,
    ) -> Result<SkillList, StoreError> {
        let own = tenant.map(|tenant| tenants::skills(tx, tenant)).transpose()?;
        let (mut after, mut skills, mut next) = (self.after, Vec::new(), None);
        'pages: loop {
            let id = self.query.id.as_deref();
            let rows = skills::page(tx, (after.0, &after.1), id, MAX_SKILLS)?;
            let Some(last) = rows.last() else { break };
            let end = (last.published_at, last.digest);
            for row in rows {
                let place = (row.published_at, row.digest);
                if own.as_ref().is_some_and(|own| !own.contains(&row.digest)) {
                    continue;
                }
                let skill = SkillJson::of(tx, tenant, row, now)?;
                if !self.takes(&skill) {
                    continue;
                }
                if skills.len() == self.limit {
                    next = Some(format!("{}-{}", after.0.0, after.1));
                    break 'pages;
                }
                skills.push(skill);
                after = place;
            }
            after = end;
        }
        Ok(SkillList { next, skills })
    }

    fn takes(&self, skill: &SkillJson) -> bool {
        let SkillManifest { actions, developer, id, name, .. } = &skill.manifest;
        let asked = &self.query;
        let has = |text: &str, q: &str| text.to_lowercase().contains(q);
        asked.developer.as_ref().is_none_or(|wanted| wanted == developer)
            && asked.revoked.is_none_or(|wanted| wanted == skill.revoked.is_some())
            && self.tier.is_none_or(|least| tier_of(skill.tier) >= Some(least))
            && self.q.as_deref().is_none_or(|q| {
                has(id.as_str(), q) || has(name, q) || actions.iter().any(|it| has(it, q))
            })
    }
}

impl SkillJson {
    /// A version as it stands now, by what is proven of it to the tenant.
    pub(super) fn of(
        tx: &Connection,
        tenant: Option<&Tenant>,
        row: SkillRow,
        now: WallMillis,
    ) -> Result<Self, StoreError> {
        let SkillRow { digest, id, manifest, published_at, version } = row;
        let known = Version::with(tx, tenant, &digest, manifest)?;
        let tier = tier_name(known.tier(now));
        let Version { manifest, proof, revoked, .. } = known;
        let signed_by = proof.as_ref().map(|proof| proof.key_id.clone());
        let certification = proof.and_then(|proof| proof.certification);
        Ok(Self {
            certification: certification.map(|it| CertificationJson {
                expires_at: it.until,
                record: it.record,
                signature: it.signature,
                signed_by: it.key_id,
            }),
            digest,
            id,
            manifest,
            published_at,
            revoked: revoked.map(|Revocation { at, reason, running }| RevokedJson {
                at,
                reason,
                running,
            }),
            signed_by,
            tier,
            version,
        })
    }
}
