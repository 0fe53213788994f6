//! Which version a robot gets, and why.
//!
//! A step whose plan names a bundle gets that one, if the robot may have it. A step that leaves
//! it to the ring ([`OF_RING`]) gets the version of the skill that the robot's ring has at
//! dispatch. Either way the reason is kept in the job's `MATCHED`.

use super::{OF_RING, Ring, Version, tier_name};
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
    let ring = ring_of(tx, robot)?.ok_or_else(|| none("it is in no ring".to_owned()))?;
    let name = &ring.name;
    let tenant = tenant_of(tx, robot)?;
    let under_way = rollouts::unfinished(tx, &tenant, skill)?;
    let (bundle, rollout, why) = match under_way {
        Some(it) if it.has_opened(name) => {
            let why = format!("roll-out {} has opened ring `{name}`", it.id);
            (it.target, Some(it.id), why)
        }
        under_way => {
            let current = registry::current(tx, &tenant, skill)?;
            let closed =
                under_way.map(|it| format!("roll-out {} has not opened ring `{name}`", it.id));
            match (current, closed) {
                (Some(bundle), Some(closed)) => {
                    (bundle, None, format!("{closed}: the version before it"))
                }
                (Some(bundle), None) => (bundle, None, "all rings have it".to_owned()),
                (None, Some(closed)) => {
                    return Err(none(format!("{closed}, and there was none before")));
                }
                (None, None) => return Err(none("none was rolled out".to_owned())),
            }
        }
    };
    let version = Version::find(tx, Some(&tenant), &bundle)?
        .ok_or_else(|| StoreError::damaged("a roll-out", "its bundle is not published"))?;
    permit(tx, robot, Some(&ring), &version, now)?;
    let skill = SkillRef { bundle, id: skill.clone(), version: version.manifest.version };
    Ok(Choice { ring: ring.name, rollout, skill, why })
}

/// Refuses what the robot may not have, whoever chose it.
fn permit(
    tx: &Connection,
    robot: &RobotId,
    ring: Option<&Ring>,
    version: &Version,
    now: WallMillis,
) -> Result<(), JobError> {
    let (skill, number) = (&version.manifest.id, &version.manifest.version);
    if let Some(revoked) = &version.revoked {
        return Err(JobError::from(Withheld::Revoked {
            reason: revoked.reason.clone(),
            skill: skill.clone(),
            version: number.clone(),
        }));
    }
    if let Some(rule) = registry::rule(tx, &tenant_of(tx, robot)?, skill)?
        && !rule.takes(robot, &registry::labels(tx, robot)?)
    {
        let (robot, skill) = (robot.clone(), skill.clone());
        return Err(JobError::from(Withheld::NotFor { robot, skill }));
    }
    let least = ring.map_or(Tier::Dev, |ring| ring.tier);
    let found = version.tier(now);
    if found < least {
        return Err(JobError::from(Withheld::Tier {
            found: tier_name(found),
            least: tier_name(least),
            ring: ring.map(|ring| ring.name.clone()).unwrap_or_default(),
            robot: robot.clone(),
            skill: skill.clone(),
            version: number.clone(),
        }));
    }
    Ok(())
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
    permit(tx, robot, ring_of(tx, robot)?.as_ref(), &version, now)
}

/// Whether the robot may download this bundle: also a revoked one that it was left to finish, and
/// one that its ring would not take any more.
pub(crate) fn may_fetch(
    tx: &Connection,
    robot: &RobotId,
    bundle: &Digest,
    now: WallMillis,
) -> Result<(), JobError> {
    let needs = jobs::under_way_with(tx, bundle)?.iter().any(|job| job.robot == *robot);
    if needs { Ok(()) } else { may_have(tx, robot, bundle, now) }
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
