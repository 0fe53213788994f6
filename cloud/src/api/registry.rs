//! Who publishes skills, and which robots may have them: keys, rules, labels, rings.

use super::auth::{Admin, Caller};
use super::error::{ApiError, Problem};
use super::extract::{Body, Params, robot_id};
use crate::commands::MAX_REASON_BYTES;
use crate::core::Core;
use crate::skill_registry::give::{self, Choice, Withheld};
use crate::skill_registry::publish::{self, CERTIFIER, DEVELOPER, PublishError};
use crate::skill_registry::{MAX_NAMES, Ring, Selection, is_name, tier_name};
use crate::store::registry::KeyRow;
use crate::store::{Connection, StoreError, registry, rollouts, skills, tenants};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{RobotId, SkillId};
use nooterra_protocol::skill::Tier;
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// The most rings.
const MAX_RINGS: usize = 32;

/// The most labels of a robot.
const MAX_LABELS: usize = 64;

/// The most keys of a tenant that are kept, closed ones too.
const MAX_KEYS: usize = 1000;

/// A public key whose signatures are to count here.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRequest {
    /// Who has it: a developer as manifests name it, or a certifier.
    holder: String,
    /// The text of a `.pub` file of `minisign`, or its one line.
    key: String,
    /// `developer`: signs bundles; `certifier`: signs certification records.
    role: String,
    /// The highest tier that it may sign for.
    #[schema(value_type = String)]
    tier: Tier,
}

/// A key.
#[derive(Serialize, ToSchema)]
#[schema(as = SkillKey)]
pub(crate) struct KeyJson {
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    added_at: WallMillis,
    /// Who has it.
    holder: String,
    /// The one line of its `.pub` file.
    key: String,
    /// As `minisign` prints it.
    key_id: String,
    /// Why it is closed; null while it counts.
    reason: Option<String>,
    /// Milliseconds since 1970.
    #[schema(value_type = Option<i64>)]
    revoked_at: Option<WallMillis>,
    /// `developer` or `certifier`.
    role: String,
    /// The highest tier that it may sign for.
    tier: &'static str,
}

/// Keys, by id.
#[derive(Serialize, ToSchema)]
#[schema(as = SkillKeyList)]
pub(crate) struct KeyList {
    keys: Vec<KeyJson>,
}

/// Why something is done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonRequest {
    /// For the record, 1 to 512 bytes.
    pub(super) reason: String,
}

/// The rings, in their order: a robot is in the first that takes it.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rings {
    /// At most 32.
    rings: Vec<Ring>,
}

/// The labels of a robot.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LabelsRequest {
    /// All that it is to have, at most 64.
    labels: BTreeSet<String>,
}

/// Which robots may have a skill.
#[derive(Serialize, ToSchema)]
#[schema(as = SkillRule)]
pub(crate) struct RuleJson {
    /// The skill.
    #[schema(value_type = String)]
    id: SkillId,
    /// All, unless one was set.
    rule: Selection,
}

/// What a robot may have, and why.
#[derive(Serialize, ToSchema)]
#[schema(as = RobotSkills)]
pub(crate) struct RobotSkills {
    labels: BTreeSet<String>,
    /// What `after` takes to go on; null after the last.
    next: Option<String>,
    /// Null where no ring takes it.
    ring: Option<String>,
    /// By id.
    skills: Vec<RobotSkill>,
}

/// What a robot's ring has of a skill.
#[derive(Serialize, ToSchema)]
pub(crate) struct RobotSkill {
    /// SHA-256 of the version; null where it has none.
    #[schema(value_type = Option<String>)]
    bundle: Option<Digest>,
    /// The skill.
    #[schema(value_type = String)]
    id: SkillId,
    /// The roll-out that brings it, while that is under way.
    rollout: Option<String>,
    /// Its semantic version.
    version: Option<String>,
    /// Why it is this one, or none.
    why: String,
}

/// Which skills.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct RobotSkillQuery {
    /// Only skills after this id.
    after: Option<String>,
    /// At most so many, up to 1000; 200 unless given.
    limit: Option<u32>,
}

/// The keys whose signatures count for the tenant.
#[utoipa::path(
    get, operation_id = "list_skill_keys", path = "/v1/skill-keys", tag = "skills",
    responses((status = 200, description = "the keys", body = KeyList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn keys(
    caller: Caller,
    State(core): State<Arc<Core>>,
) -> Result<Json<KeyList>, ApiError> {
    let tenant = caller.decides_for();
    let rows = core.store.read(move |tx| registry::keys(tx, &tenant)).await?;
    Ok(Json(KeyList { keys: rows.into_iter().map(shown).collect() }))
}

/// Lets the signatures of a key count for the tenant. A key that is here already is not changed.
#[utoipa::path(
    post, operation_id = "add_skill_key", path = "/v1/skill-keys", tag = "skills",
    request_body = KeyRequest,
    responses((status = 201, description = "the key", body = KeyJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn add_key(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Body(request): Body<KeyRequest>,
) -> Result<(StatusCode, Json<KeyJson>), ApiError> {
    let KeyRequest { holder, key, role, tier } = request;
    if holder.is_empty() || holder.len() > 128 || holder.chars().any(char::is_control) {
        let message = "a holder has 1 to 128 bytes, on one line";
        return Err(ApiError::unfit("bad_holder", message, "name it as manifests do"));
    }
    if role != DEVELOPER && role != CERTIFIER {
        let message = format!("`{}` is no role of a key", role.escape_debug());
        return Err(ApiError::unfit("bad_role", message, "developer or certifier"));
    }
    let (key_id, key) = publish::read_key(&key).ok_or_else(|| {
        let message = "`key` is no public key of minisign";
        ApiError::unfit("bad_key", message, "send the text of the `.pub` file")
    })?;
    let row =
        KeyRow { added_at: core.clock.wall(), holder, key, key_id, revoked: None, role, tier };
    let (kept, tenant) = (row.clone(), caller.decides_for());
    let added = core
        .store
        .write::<_, ApiError, _>(move |tx| {
            if registry::keys(tx, &tenant)?.len() >= MAX_KEYS {
                let message = format!("{MAX_KEYS} keys are kept already");
                return Err(ApiError::unfit("too_many_keys", message, "add no more"));
            }
            Ok(registry::add_key(tx, &tenant, &kept)?)
        })
        .await?;
    if !added {
        let message = format!("a key with the id {} is here already", row.key_id);
        let hint = "GET /v1/skill-keys shows it; for another holder or tier make another key";
        return Err(ApiError::new(StatusCode::CONFLICT, "key_known", message, hint));
    }
    tracing::warn!(key = row.key_id, holder = row.holder, role = row.role, "a skill key counts");
    Ok((StatusCode::CREATED, Json(shown(row))))
}

/// Closes a key of the tenant: nothing that it signs is published there any more. What was published stays; revoke
/// the versions that are in doubt.
#[utoipa::path(
    post, operation_id = "revoke_skill_key", path = "/v1/skill-keys/{key_id}/revoke", tag = "skills",
    params(("key_id" = String, Path, description = "the key, as minisign prints it")), request_body = ReasonRequest,
    responses((status = 200, description = "the key", body = KeyJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn revoke_key(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Path(key_id): Path<String>,
    Body(request): Body<ReasonRequest>,
) -> Result<Json<KeyJson>, ApiError> {
    let (why, now) = (reason(request.reason)?, core.clock.wall());
    let tenant = caller.decides_for();
    // `minisign` leaves out leading zeros.
    let wanted = format!("{key_id:0>16}").to_uppercase();
    let row = core
        .store
        .write::<_, StoreError, _>(move |tx| {
            registry::close_key(tx, &tenant, &wanted, &why, now)?;
            Ok(registry::keys(tx, &tenant)?.into_iter().find(|key| key.key_id == wanted))
        })
        .await?;
    let row = row.ok_or_else(|| {
        let message = "there is no skill key of that id";
        ApiError::missing("no_such_key", message, "GET /v1/skill-keys lists the keys")
    })?;
    tracing::warn!(key = row.key_id, holder = row.holder, "a skill key is closed");
    Ok(Json(shown(row)))
}

/// The rings of the tenant's fleet, in their order.
#[utoipa::path(
    get, operation_id = "list_rings", path = "/v1/rings", tag = "skills",
    responses((status = 200, description = "the rings", body = Rings), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn rings(
    caller: Caller,
    State(core): State<Arc<Core>>,
) -> Result<Json<Rings>, ApiError> {
    let tenant = caller.decides_for();
    let rings = core.store.read(move |tx| registry::rings(tx, &tenant)).await?;
    Ok(Json(Rings { rings }))
}

/// Sets all rings of the tenant. While a roll-out is under way their names and order stay; who is in them may
/// change.
#[utoipa::path(
    post, operation_id = "set_rings", path = "/v1/rings", tag = "skills",
    request_body = Rings,
    responses((status = 200, description = "the rings", body = Rings), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn set_rings(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Body(Rings { rings }): Body<Rings>,
) -> Result<Json<Rings>, ApiError> {
    let unfit = |message| {
        let hint = "a ring has a name as ids have, and robots or labels, or `everyone`";
        ApiError::unfit("bad_rings", message, hint)
    };
    if rings.len() > MAX_RINGS {
        return Err(unfit(format!("there are at most {MAX_RINGS} rings")));
    }
    let mut names = BTreeSet::new();
    for Ring { name, of, .. } in &rings {
        if !is_name(name) || !names.insert(name) {
            return Err(unfit(format!("`{}` is no name, or there twice", name.escape_debug())));
        }
        if let Some(why) = of.fault() {
            return Err(unfit(format!("ring `{name}`: {why}")));
        }
    }
    let tenant = caller.decides_for();
    let kept = core
        .store
        .write::<_, ApiError, _>(move |tx| {
            let names: Vec<_> = rings.iter().map(|ring| &ring.name).collect();
            let unfinished = rollouts::all_unfinished(tx)?.into_iter();
            for it in unfinished.filter(|it| it.tenant == tenant) {
                let stages: Vec<_> = it.stages.iter().map(|stage| &stage.ring).collect();
                if stages != names {
                    let message = format!("roll-out {} goes by the rings as they are", it.id);
                    let hint = "end it first, or change only who is in the rings";
                    return Err(ApiError::new(StatusCode::CONFLICT, "rings_in_use", message, hint));
                }
            }
            registry::set_rings(tx, &tenant, &rings)?;
            Ok(rings)
        })
        .await?;
    tracing::warn!(rings = kept.len(), "the rings were set");
    Ok(Json(Rings { rings: kept }))
}

/// What a robot may have of each skill when its ring chooses, and why.
#[utoipa::path(
    get, operation_id = "list_robot_skills", path = "/v1/robots/{id}/skills", tag = "skills",
    params(("id" = String, Path, description = "the robot"), RobotSkillQuery),
    responses((status = 200, description = "what it may have", body = RobotSkills), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn robot_skills(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Params(query): Params<RobotSkillQuery>,
) -> Result<Json<RobotSkills>, ApiError> {
    of_robot(&core, &id, query).await.map(Json)
}

/// Sets the labels of a robot, by which rings and rules take it.
#[utoipa::path(
    post, operation_id = "label_robot", path = "/v1/robots/{id}/labels", tag = "skills",
    params(("id" = String, Path, description = "the robot")), request_body = LabelsRequest,
    responses((status = 200, description = "what it may have now", body = RobotSkills), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn label(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Body(LabelsRequest { labels }): Body<LabelsRequest>,
) -> Result<Json<RobotSkills>, ApiError> {
    let bad = labels.iter().find(|label| !is_name(label));
    if labels.len() > MAX_LABELS || bad.is_some() {
        let message = format!("a robot has at most {MAX_LABELS} labels, each as ids are");
        return Err(ApiError::unfit("bad_labels", message, "a-z 0-9 _ . - will do"));
    }
    let robot = super::robots::load(&core, &id).await?.id;
    core.store.write(move |tx| registry::set_labels(tx, &robot, &labels)).await?;
    of_robot(&core, &id, RobotSkillQuery::default()).await.map(Json)
}

/// Which of the tenant's robots may have a skill.
#[utoipa::path(
    get, operation_id = "show_skill_rule", path = "/v1/skill-rules/{id}", tag = "skills",
    params(("id" = String, Path, description = "the skill, without its version")),
    responses((status = 200, description = "the rule", body = RuleJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn rule(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<Json<RuleJson>, ApiError> {
    let id = skill_id(&id)?;
    let (wanted, everyone) = (id.clone(), Selection { everyone: true, ..Selection::default() });
    let tenant = caller.decides_for();
    let rule = core.store.read(move |tx| registry::rule(tx, &tenant, &wanted)).await?;
    Ok(Json(RuleJson { id, rule: rule.unwrap_or(everyone) }))
}

/// Sets which of the tenant's robots may have a skill, whichever version, and whoever chooses it.
#[utoipa::path(
    post, operation_id = "set_skill_rule", path = "/v1/skill-rules/{id}", tag = "skills",
    params(("id" = String, Path, description = "the skill, without its version")), request_body = Selection,
    responses((status = 200, description = "the rule", body = RuleJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn set_rule(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Body(rule): Body<Selection>,
) -> Result<Json<RuleJson>, ApiError> {
    let (id, now) = (skill_id(&id)?, core.clock.wall());
    if let Some(why) = rule.fault() {
        let hint = format!("name robots or labels, at most {MAX_NAMES}, or say `everyone`");
        return Err(ApiError::unfit("bad_rule", why, hint));
    }
    let (tenant, skill, kept) = (caller.decides_for(), id.clone(), rule.clone());
    let set = move |tx: &Connection| {
        registry::set_rule(tx, &tenant, &skill, (!kept.everyone).then_some(&kept), now)
    };
    core.store.write(set).await?;
    tracing::warn!(skill = %id, "who may have a skill was set");
    Ok(Json(RuleJson { id, rule }))
}

/// A reason, if it may be kept.
pub(super) fn reason(text: String) -> Result<String, ApiError> {
    if (1..=MAX_REASON_BYTES).contains(&text.len()) {
        return Ok(text);
    }
    let message = format!("a reason has 1 to {MAX_REASON_BYTES} bytes");
    Err(ApiError::unfit("bad_reason", message, "say why in one line"))
}

async fn of_robot(core: &Core, id: &str, query: RobotSkillQuery) -> Result<RobotSkills, ApiError> {
    super::robots::load(core, id).await?;
    let (robot, now) = (robot_id(id)?, core.clock.wall());
    let limit = query.limit.unwrap_or(200).clamp(1, 1000);
    let after = query.after.unwrap_or_default();
    Ok(core.store.read(move |tx| page(tx, &robot, &after, limit, now)).await?)
}

fn page(
    tx: &Connection,
    robot: &RobotId,
    after: &str,
    limit: u32,
    now: WallMillis,
) -> Result<RobotSkills, StoreError> {
    let tenant = tenants::of_robot(tx, robot)?.unwrap_or_default();
    let ids = skills::ids(tx, &tenant, after, limit)?;
    let full = ids.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = ids.last().filter(|_| full).map(SkillId::to_string);
    let skills = give::all_for(tx, robot, ids, now)?;
    Ok(RobotSkills {
        labels: registry::labels(tx, robot)?,
        next,
        ring: give::ring_of(tx, robot)?.map(|ring| ring.name),
        skills: skills.into_iter().map(|(id, choice)| robot_skill(id, choice)).collect(),
    })
}

fn robot_skill(id: SkillId, choice: Result<Choice, Withheld>) -> RobotSkill {
    match choice {
        Ok(Choice { rollout, skill, why, .. }) => RobotSkill {
            bundle: Some(skill.bundle),
            id,
            rollout,
            version: Some(skill.version),
            why,
        },
        Err(why) => {
            RobotSkill { bundle: None, id, rollout: None, version: None, why: why.to_string() }
        }
    }
}

fn skill_id(text: &str) -> Result<SkillId, ApiError> {
    SkillId::new(text).map_err(|error| {
        ApiError::missing("no_such_skill", error.to_string(), "GET /v1/skills lists the skills")
    })
}

fn shown(row: KeyRow) -> KeyJson {
    let KeyRow { added_at, holder, key, key_id, revoked, role, tier } = row;
    let (revoked_at, reason) = revoked.unzip();
    let tier = tier_name(tier);
    KeyJson { added_at, holder, key, key_id, reason, revoked_at, role, tier }
}

impl From<Withheld> for ApiError {
    fn from(withheld: Withheld) -> Self {
        let (code, hint) = match withheld {
            Withheld::NoVersion { .. } => (
                "no_version",
                "GET /v1/robots/{id}/skills says what its ring has; roll a version out, put it \
                 into a ring, or name a bundle in the plan",
            ),
            Withheld::NotFor { .. } => {
                ("skill_not_for_robot", "POST /v1/skill-rules/{id} sets which robots may")
            }
            Withheld::Revoked { .. } => {
                ("skill_revoked", "choose another version: GET /v1/skills?revoked=false lists them")
            }
            Withheld::Tier { .. } => (
                "tier_too_low",
                "choose a certified version, or another ring: GET /v1/rings shows their tiers",
            ),
        };
        Self::new(StatusCode::CONFLICT, code, withheld.to_string(), hint)
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        let message = error.to_string();
        let conflict = |code, hint: &str| Self::new(StatusCode::CONFLICT, code, &*message, hint);
        let keys = "GET /v1/skill-keys lists the keys that count, and for which tier";
        match error {
            PublishError::Certification(_) => {
                Self::unfit("bad_certification", message, "docs/registry.md has the record's form")
            }
            PublishError::Developer { .. } => {
                let hint = "the manifest's `developer` is the holder of the key that signs";
                Self::unfit("developer_mismatch", message, hint)
            }
            PublishError::KeyRevoked { .. } => Self::unfit("key_revoked", message, keys),
            PublishError::NotTheirs { .. } => {
                conflict("skill_of_another", "publish under an id of your own")
            }
            PublishError::Revoked(_) => {
                conflict("skill_revoked", "publish what is mended as another version")
            }
            PublishError::Signature => {
                Self::unfit("bad_signature", message, "sign again: minisign -S -H -m BUNDLE")
            }
            PublishError::Store(error) => error.into(),
            PublishError::Taken { .. } => {
                conflict("version_taken", "a version never changes: publish another one")
            }
            PublishError::Tier { .. } => Self::unfit("key_tier", message, keys),
            PublishError::Uncertified(_) => Self::unfit(
                "certification_missing",
                message,
                "send `certification`, or publish it in tier dev",
            ),
            PublishError::UnknownKey { .. } => Self::unfit("unknown_key", message, keys),
            PublishError::Unproven { .. } => Self::unfit(
                "unknown_developer",
                message,
                "POST /v1/skill-keys makes a developer known; tier dev needs none",
            ),
        }
    }
}
