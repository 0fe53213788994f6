//! Which version a robot gets, and why.
//!
//! A step whose plan names a bundle gets that one, if the robot may have it. A step that leaves
//! it to the ring ([`OF_RING`]) gets the version of the skill that the robot's ring has at
//! dispatch. Either way the reason is kept in the job's `MATCHED`.

use super::rollout::Rollout;
use super::{OF_RING, Ring, Selection, Version, tier_name};
use crate::access::Tenant;
use crate::jobs::{JobError, Server};
use crate::store::rollouts::GivenRow;
use crate::store::{Connection, StoreError, jobs, registry, rollouts, tenants};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{JobId, RobotId, SkillId, StepId};
use nooterra_protocol::plan::{Plan, SkillRef};
use nooterra_protocol::skill::Tier;
use nooterra_protocol::time::WallMillis;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Why a robot does not get a version.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Withheld {
    /// The robot's ring chooses, and it has none.
    #[error("robot {robot} has no version of skill {skill}: {why}")]
    NoVersion { robot: RobotId, skill: SkillId, why: String },
    /// By the skill's rule.
    #[error("robot {robot} may not have skill {skill}: its rule does not name the robot")]
    NotFor { robot: RobotId, skill: SkillId },
    /// Whatever a plan says.
    #[error("skill {skill} {version} was revoked: {reason}")]
    Revoked { reason: String, skill: SkillId, version: String },
    /// The robot's ring takes no skill of so low a tier.
    #[error(
        "robot {robot} is in ring `{ring}`, which takes skills from tier {least} on; skill \
         {skill} {version} counts as {found}"
    )]
    Tier {
        found: &'static str,
        least: &'static str,
        ring: String,
        robot: RobotId,
        skill: SkillId,
        version: String,
    },
}

/// What a step gets, and why.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Choice {
    pub(crate) ring: String,
    /// The roll-out that brought it, while it is under way.
    pub(crate) rollout: Option<String>,
    pub(crate) skill: SkillRef,
    pub(crate) why: String,
}

/// A choice for a step, as `MATCHED` has it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Given {
    pub(crate) choice: Choice,
    pub(crate) step: StepId,
}

/// Whose rings, rules and roll-outs are the robot's.
fn tenant_of(tx: &Connection, robot: &RobotId) -> Result<Tenant, StoreError> {
    Ok(tenants::of_robot(tx, robot)?.unwrap_or_default())
}

/// The ring of a robot.
pub(crate) fn ring_of(tx: &Connection, robot: &RobotId) -> Result<Option<Ring>, StoreError> {
    let labels = registry::labels(tx, robot)?;
    Ok(registry::rings(tx, &tenant_of(tx, robot)?)?
        .into_iter()
        .find(|ring| ring.of.takes(robot, &labels)))
}

/// What a tenant's rings have of one skill, and which robots may have it at all.
struct Offering {
    /// Of the last completed roll-out.
    current: Option<Digest>,
    rings: Vec<Ring>,
    rule: Option<Selection>,
    under_way: Option<Rollout>,
}

/// What a ring has: a version, the roll-out that brings it, and why it is this one.
type Brought = (Digest, Option<String>, String);

impl Offering {
    fn of(tx: &Connection, tenant: &Tenant, skill: &SkillId) -> Result<Self, StoreError> {
        Ok(Self {
            current: registry::current(tx, tenant, skill)?,
            rings: registry::rings(tx, tenant)?,
            rule: registry::rule(tx, tenant, skill)?,
            under_way: rollouts::unfinished(tx, tenant, skill)?,
        })
    }

    fn ring(&self, robot: &RobotId, labels: &BTreeSet<String>) -> Option<&Ring> {
        self.rings.iter().find(|ring| ring.of.takes(robot, labels))
    }

    /// What this ring has, or why it has none.
    fn brings(&self, ring: &Ring) -> Result<Brought, String> {
        let name = &ring.name;
        match &self.under_way {
            Some(it) if it.has_opened(name) => {
                let why = format!("roll-out {} has opened ring `{name}`", it.id);
                Ok((it.target, Some(it.id.clone()), why))
            }
            under_way => {
                let closed = under_way
                    .as_ref()
                    .map(|it| format!("roll-out {} has not opened ring `{name}`", it.id));
                match (self.current, closed) {
                    (Some(bundle), Some(closed)) => {
                        Ok((bundle, None, format!("{closed}: the version before it")))
                    }
                    (Some(bundle), None) => Ok((bundle, None, "all rings have it".to_owned())),
                    (None, Some(closed)) => Err(format!("{closed}, and there was none before")),
                    (None, None) => Err("none was rolled out".to_owned()),
                }
            }
        }
    }
}

/// Which robots of a tenant get one version when their ring chooses: those for which [`choose`]
/// answers it. What is the tenant's is read once for many robots, and no labels are.
pub(crate) struct ByRing {
    bundle: Digest,
    now: WallMillis,
    offering: Offering,
    version: Version,
}

impl ByRing {
    /// None where no ring of the tenant has the version.
    pub(crate) fn of(
        tx: &Connection,
        tenant: &Tenant,
        bundle: &Digest,
        now: WallMillis,
    ) -> Result<Option<Self>, StoreError> {
        let Some(version) = Version::find(tx, Some(tenant), bundle)? else { return Ok(None) };
        let offering = Offering::of(tx, tenant, &version.manifest.id)?;
        let brought = offering.under_way.as_ref().map(|it| it.target);
        let is_it = [brought, offering.current].contains(&Some(*bundle));
        Ok(is_it.then_some(Self { bundle: *bundle, now, offering, version }))
    }

    /// The ring by which the robot with these labels gets it; none where it does not.
    pub(crate) fn ring(&self, robot: &RobotId, labels: &BTreeSet<String>) -> Option<&str> {
        let Self { bundle, now, offering, version } = self;
        let ring = offering.ring(robot, labels)?;
        let (brought, ..) = offering.brings(ring).ok()?;
        let may = withheld((robot, labels), Some(ring), offering.rule.as_ref(), version, *now);
        (brought == *bundle && may.is_none()).then_some(ring.name.as_str())
    }
}

/// The version of `skill` that the robot's ring has.
pub(crate) fn choose(
    tx: &Connection,
    robot: &RobotId,
    skill: &SkillId,
    now: WallMillis,
) -> Result<Choice, JobError> {
    let none = |why: String| {
        JobError::from(Withheld::NoVersion { robot: robot.clone(), skill: skill.clone(), why })
    };
    let tenant = tenant_of(tx, robot)?;
    let (labels, offering) = (registry::labels(tx, robot)?, Offering::of(tx, &tenant, skill)?);
    let ring = offering.ring(robot, &labels).ok_or_else(|| none("it is in no ring".to_owned()))?;
    let (bundle, rollout, why) = offering.brings(ring).map_err(none)?;
    let version = Version::find(tx, Some(&tenant), &bundle)?
        .ok_or_else(|| StoreError::damaged("a roll-out", "its bundle is not published"))?;
    let rule = offering.rule.as_ref();
    if let Some(why) = withheld((robot, &labels), Some(ring), rule, &version, now) {
        return Err(JobError::from(why));
    }
    let skill = SkillRef { bundle, id: skill.clone(), version: version.manifest.version };
    Ok(Choice { ring: ring.name.clone(), rollout, skill, why })
}

/// Why the robot with these labels may not have a version, whoever chose it.
fn withheld(
    (robot, labels): (&RobotId, &BTreeSet<String>),
    ring: Option<&Ring>,
    rule: Option<&Selection>,
    version: &Version,
    now: WallMillis,
) -> Option<Withheld> {
    let (skill, number) = (&version.manifest.id, &version.manifest.version);
    if let Some(revoked) = &version.revoked {
        return Some(Withheld::Revoked {
            reason: revoked.reason.clone(),
            skill: skill.clone(),
            version: number.clone(),
        });
    }
    if rule.is_some_and(|rule| !rule.takes(robot, labels)) {
        return Some(Withheld::NotFor { robot: robot.clone(), skill: skill.clone() });
    }
    let least = ring.map_or(Tier::Dev, |ring| ring.tier);
    let found = version.tier(now);
    (found < least).then(|| Withheld::Tier {
        found: tier_name(found),
        least: tier_name(least),
        ring: ring.map(|ring| ring.name.clone()).unwrap_or_default(),
        robot: robot.clone(),
        skill: skill.clone(),
        version: number.clone(),
    })
}

/// Whether the robot may have this bundle; what is not published is not spoken of.
pub(crate) fn may_have(
    tx: &Connection,
    robot: &RobotId,
    bundle: &Digest,
    now: WallMillis,
) -> Result<(), JobError> {
    let tenant = tenant_of(tx, robot)?;
    let Some(version) = Version::find(tx, Some(&tenant), bundle)? else { return Ok(()) };
    let (labels, ring) = (registry::labels(tx, robot)?, ring_of(tx, robot)?);
    let rule = registry::rule(tx, &tenant, &version.manifest.id)?;
    match withheld((robot, &labels), ring.as_ref(), rule.as_ref(), &version, now) {
        None => Ok(()),
        Some(why) => Err(JobError::from(why)),
    }
}

/// A bundle is there for a robot where a job names it that the robot was given, or where its
/// tenant published it. Of any other the robot learns nothing, whoever told it the digest.
pub(crate) fn is_there_for(
    tx: &Connection,
    robot: &RobotId,
    bundle: &Digest,
) -> Result<bool, StoreError> {
    let own = tenants::has_skill(tx, &tenant_of(tx, robot)?, bundle)?;
    Ok(own || needs(tx, robot, bundle)?)
}

/// A job that the robot was given, and that is not over, names the bundle.
fn needs(tx: &Connection, robot: &RobotId, bundle: &Digest) -> Result<bool, StoreError> {
    let jobs = jobs::under_way_with(tx, None, bundle)?;
    Ok(jobs.iter().any(|job| job.robot == *robot))
}

/// Whether the robot may download this bundle: also a revoked one that it was left to finish, and
/// one that its ring would not take any more.
pub(crate) fn may_fetch(
    tx: &Connection,
    robot: &RobotId,
    bundle: &Digest,
    now: WallMillis,
) -> Result<(), JobError> {
    if needs(tx, robot, bundle)? { Ok(()) } else { may_have(tx, robot, bundle, now) }
}

/// A skill, with what a robot's ring has of it, or why it has none.
pub(crate) type Offer = (SkillId, Result<Choice, Withheld>);

/// What a robot's ring has of these skills, or why it has none.
pub(crate) fn all_for(
    tx: &Connection,
    robot: &RobotId,
    skills: Vec<SkillId>,
    now: WallMillis,
) -> Result<Vec<Offer>, StoreError> {
    let mut all = Vec::new();
    for skill in skills {
        let choice = match choose(tx, robot, &skill, now) {
            Ok(choice) => Ok(choice),
            Err(JobError::Withheld(why)) => Err(*why),
            Err(JobError::Store(error)) => return Err(error),
            Err(error) => return Err(StoreError::damaged("a skill", error)),
        };
        all.push((skill, choice));
    }
    Ok(all)
}

/// The plan with a bundle in each step, as `robot` would get it now.
pub(crate) fn chosen(
    tx: &Connection,
    robot: &RobotId,
    plan: &Plan,
    of_ring: impl Fn(&StepId, &SkillRef) -> bool,
    now: WallMillis,
) -> Result<(Plan, Vec<Given>), JobError> {
    let (mut plan, mut given) = (plan.clone(), Vec::new());
    // Plans have many steps of few skills.
    let (mut named, mut chosen) = (BTreeSet::new(), BTreeMap::<SkillId, Choice>::new());
    for step in &mut plan.steps {
        if !of_ring(&step.id, &step.skill) {
            if named.insert(step.skill.bundle) {
                may_have(tx, robot, &step.skill.bundle, now)?;
            }
            continue;
        }
        let skill = &step.skill.id;
        let choice = match chosen.get(skill) {
            Some(choice) => choice.clone(),
            None => choose(tx, robot, skill, now)?,
        };
        chosen.insert(skill.clone(), choice.clone());
        step.skill = choice.skill.clone();
        given.push(Given { choice, step: step.id.clone() });
    }
    Ok((plan, given))
}

/// Whether a plan leaves the version of a step to the robot's ring.
pub(crate) fn is_of_ring(skill: &SkillRef) -> bool {
    skill.version == OF_RING
}

impl Server {
    /// The plan of a booked job as its robot gets it now. What roll-outs bring is counted
    /// for them from here on.
    pub(crate) fn give(
        &self,
        tx: &Connection,
        job: &JobId,
        robot: &RobotId,
        plan: &Plan,
    ) -> Result<(Plan, Vec<Given>), JobError> {
        let (left, tenant) = (registry::of_ring(tx, job)?, tenant_of(tx, robot)?);
        for step in plan.steps.iter().filter(|step| left.contains(&step.id)) {
            // A ring may have become good by time alone.
            if let Some(it) = rollouts::unfinished(tx, &tenant, &step.skill.id)? {
                self.review(tx, &it.id)?;
            }
        }
        let now = self.now();
        let (plan, given) = chosen(tx, robot, plan, |step, _| left.contains(step), now)?;
        for Given { choice, .. } in &given {
            let Some(rollout) = &choice.rollout else { continue };
            let row = GivenRow {
                given_at: now,
                job: job.clone(),
                judged_at: None,
                n: 0,
                outcome: "open".to_owned(),
                reason: None,
                ring: choice.ring.clone(),
                robot: robot.clone(),
                rollout: rollout.clone(),
            };
            rollouts::give(tx, &row)?;
        }
        Ok((plan, given))
    }
}
