//! Asking the rules one question.
//!
//! Cedar leaves out a rule whose evaluation fails, also one that forbids. Here any failure
//! denies, and says which rule failed.

use super::rules::Rules;
use super::situation::{About, Access, Question, Situation, Who};
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName,
    EntityUid, Request, RestrictedExpression,
};
use nooterra_protocol::grant::Action;
use nooterra_protocol::ids::{ActorId, JobId, RobotId};
use nooterra_protocol::skill::Tier;
use nooterra_protocol::time::WallMillis;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::str::FromStr as _;

/// Why something is not granted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denied {
    /// Somebody cut the robot off from those who ask from afar.
    #[error(
        "operator {by} disconnected the robot from those who ask from afar; reconnect it first"
    )]
    Disconnected {
        /// Who did.
        by: ActorId,
    },
    /// A rule that applies could not be evaluated.
    #[error("rule `{rule}` cannot be evaluated, which denies: {what}")]
    Faulty {
        /// The first by name.
        rule: String,
        /// What went wrong.
        what: String,
    },
    /// A rule forbids it.
    #[error("rule `{rule}` forbids it{}{}", if say.is_empty() { "" } else { ": " }, say)]
    Forbidden {
        /// The first by name.
        rule: String,
        /// What the rule says to whoever is refused.
        say: String,
    },
    /// No rule permits it.
    #[error("no rule permits {who} to {action} {about}")]
    NotPermitted {
        /// What it is about.
        about: String,
        /// What.
        action: Action,
        /// Who.
        who: String,
    },
    /// The question makes no sense to the rules, such as a time that no calendar has.
    #[error("the rules cannot be asked: {0}")]
    Question(String),
}

impl Rules {
    /// Asks the rules. The names of the rules that permit it, in their order.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn judge(
        &self,
        question: &Question,
        situation: &Situation,
        robot: &RobotId,
    ) -> Result<Vec<String>, Denied> {
        let (request, entities) = asked(self, question, situation, robot)
            .map_err(|error| Denied::Question(error.to_string().replace('\n', " ")))?;
        let response = Authorizer::new().is_authorized(&request, &self.set, &entities);
        let diagnostics = response.diagnostics();
        let failed = diagnostics.errors().map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => {
                (error.policy_id().to_string(), error.inner().to_string())
            }
        });
        if let Some((rule, what)) = failed.min() {
            return Err(Denied::Faulty { rule, what: what.replace('\n', " ") });
        }
        let reasons: BTreeSet<String> = diagnostics.reason().map(ToString::to_string).collect();
        match (response.decision(), reasons.first()) {
            (Decision::Allow, Some(_)) => Ok(reasons.into_iter().collect()),
            (Decision::Deny, Some(rule)) => {
                let say = self.info(rule).and_then(|info| info.say.clone()).unwrap_or_default();
                Err(Denied::Forbidden { rule: rule.clone(), say })
            }
            _ => Err(Denied::NotPermitted {
                about: question.about.to_string(),
                action: question.action,
                who: question.who.to_string(),
            }),
        }
    }
}

type Fault = Box<dyn std::error::Error>;

/// The question in Cedar's terms, checked against the schema.
fn asked(
    rules: &Rules,
    question: &Question,
    situation: &Situation,
    robot: &RobotId,
) -> Result<(Request, Entities), Fault> {
    let mut entities = Entry::default();
    let principal = match &question.who {
        Who::Operator(id) => entities.operator(id, situation)?,
        Who::Skill(skill) => {
            let tier = RestrictedExpression::new_string(tier(skill.tier).to_owned());
            entities.add("Skill", skill.id.as_str(), [("tier", tier)])?
        }
    };
    let mut context = vec![
        ("mode", entity_value(uid("Mode", situation.mode.name())?)),
        ("now", moment(question.now)),
        ("vetoed", RestrictedExpression::new_bool(situation.vetoed.is_some())),
    ];
    let resource = match &question.about {
        About::Job(id) => entities.job(id, situation)?,
        About::Keep(sensor, keep_s) => {
            let keep = RestrictedExpression::new_duration(format!("{keep_s}s"));
            context.push(("keep", keep));
            uid("Sensor", sensor.name())?
        }
        About::Mode(mode) => uid("Mode", mode.name())?,
        About::Robot => entities.add("Robot", robot.as_str(), [])?,
        About::Sensor(sensor) => uid("Sensor", sensor.name())?,
    };
    if let Some(by) = &situation.mode_set_by {
        context.push(("mode_set_by", entity_value(entities.operator(by, situation)?)));
    }
    if let Some(job) = &situation.job {
        context.push(("job", entity_value(entities.job(job, situation)?)));
    }
    if let Some(zones) = &situation.zones {
        let mut values = Vec::new();
        for zone in zones {
            values.push(entity_value(entities.add("Zone", zone.as_str(), [])?));
        }
        context.push(("zones", RestrictedExpression::new_set(values)));
    }
    let context =
        Context::from_pairs(context.into_iter().map(|(key, value)| (key.to_owned(), value)))?;
    let action = uid("Action", question.action.name())?;
    let request = Request::new(principal, action, resource, context, Some(&rules.schema))?;
    let entities = Entities::from_entities(entities.all.into_values(), Some(&rules.schema))?;
    Ok((request, entities))
}

/// The entities of a question, each once.
#[derive(Default)]
struct Entry {
    all: HashMap<EntityUid, Entity>,
}

impl Entry {
    fn add<const N: usize>(
        &mut self,
        kind: &str,
        id: &str,
        attributes: [(&str, RestrictedExpression); N],
    ) -> Result<EntityUid, Fault> {
        self.add_all(kind, id, attributes.into_iter().collect())
    }

    fn add_all(
        &mut self,
        kind: &str,
        id: &str,
        attributes: Vec<(&str, RestrictedExpression)>,
    ) -> Result<EntityUid, Fault> {
        let uid = uid(kind, id)?;
        let attributes =
            attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let entity = Entity::new(uid.clone(), attributes, HashSet::new())?;
        self.all.insert(uid.clone(), entity);
        Ok(uid)
    }

    fn operator(&mut self, id: &ActorId, situation: &Situation) -> Result<EntityUid, Fault> {
        let session = situation.sessions.get(id);
        let session = session.map(|until| ("session_until", moment(*until)));
        self.add_all("Operator", id.as_str(), session.into_iter().collect())
    }

    fn job(&mut self, id: &JobId, situation: &Situation) -> Result<EntityUid, Fault> {
        let nothing = Access::default();
        let access = situation.jobs.get(id).unwrap_or(&nothing);
        let mut reviewers = Vec::new();
        for reviewer in &access.reviewed_by {
            reviewers.push(entity_value(self.operator(reviewer, situation)?));
        }
        let mut attributes = vec![
            ("needs_review", RestrictedExpression::new_bool(access.needs_review)),
            ("reviewed_by", RestrictedExpression::new_set(reviewers)),
        ];
        attributes.extend(access.from.map(|from| ("access_from", moment(from))));
        attributes.extend(access.to.map(|to| ("access_to", moment(to))));
        let privacy = access.privacy.clone().map(RestrictedExpression::new_string);
        attributes.extend(privacy.map(|privacy| ("privacy", privacy)));
        self.add_all("Job", id.as_str(), attributes)
    }
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, Fault> {
    let kind = EntityTypeName::from_str(kind)?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn entity_value(uid: EntityUid) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(uid)
}

fn moment(moment: WallMillis) -> RestrictedExpression {
    RestrictedExpression::new_datetime(moment.to_string())
}

const fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Dev => "dev",
        Tier::FieldCert => "field_cert",
        Tier::LabCert => "lab_cert",
    }
}
