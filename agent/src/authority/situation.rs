//! What rules are asked about: who, what, and the situation of the robot.

use nooterra_protocol::grant::{Action, Mode, Sensor};
use nooterra_protocol::ids::{ActorId, JobId, SkillId, ZoneId};
use nooterra_protocol::skill::Tier;
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The most jobs of which anything is remembered.
pub const MAX_JOBS: usize = 64;

/// The situation of a robot, as far as rules can be about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Situation {
    /// The job under way.
    pub job: Option<JobId>,
    /// What is known of jobs beyond their plan. Of one that is not in here nothing is.
    pub jobs: BTreeMap<JobId, Access>,
    /// How the robot is operated.
    pub mode: Mode,
    /// Who of the operators asked last.
    pub operator: Option<ActorId>,
    /// The ends of operators' sessions, where they have one.
    pub sessions: BTreeMap<ActorId, WallMillis>,
    /// The skill under way.
    pub skill: Option<Skill>,
    /// Who vetoed the robot's motion and has not lifted it.
    pub vetoed: Option<ActorId>,
    /// The zones that the robot is in; `None` where that is not known.
    pub zones: Option<BTreeSet<ZoneId>>,
}

/// What people decided, which a restart must not undo.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// As [`Situation::jobs`].
    pub jobs: BTreeMap<JobId, Access>,
    /// As [`Situation::sessions`].
    pub sessions: BTreeMap<ActorId, WallMillis>,
    /// As [`Situation::vetoed`].
    pub vetoed: Option<ActorId>,
}

impl Situation {
    /// What of it must outlive a restart.
    #[must_use]
    pub fn decisions(&self) -> Decisions {
        let Self { jobs, sessions, vetoed, .. } = self;
        Decisions { jobs: jobs.clone(), sessions: sessions.clone(), vetoed: vetoed.clone() }
    }

    /// The situation after a restart.
    #[must_use]
    pub fn after(mode: Mode, decided: Decisions) -> Self {
        let Decisions { jobs, sessions, vetoed } = decided;
        Self { jobs, mode, sessions, vetoed, ..Self::default() }
    }
}

/// What an access plan says of a job.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Not before.
    pub from: Option<WallMillis>,
    /// It must be reviewed by a person before it begins.
    pub needs_review: bool,
    /// What was agreed about privacy.
    pub privacy: Option<String>,
    /// Who has reviewed it.
    pub reviewed_by: BTreeSet<ActorId>,
    /// Not from then on.
    pub to: Option<WallMillis>,
}

/// A skill, as rules see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skill {
    /// Its id.
    pub id: SkillId,
    /// How far it was tested.
    pub tier: Tier,
}

/// Who asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Who {
    /// An operator.
    Operator(ActorId),
    /// A skill.
    Skill(Skill),
}

/// What it is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum About {
    /// A job.
    Job(JobId),
    /// A sensor's data, to be kept for so many seconds.
    Keep(Sensor, u32),
    /// The robot.
    Robot,
    /// A sensor's data.
    Sensor(Sensor),
}

/// One question: may `who` do `action` to `about` at this moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// What it is about.
    pub about: About,
    /// What.
    pub action: Action,
    /// When.
    pub now: WallMillis,
    /// Who.
    pub who: Who,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(id) => write!(f, "operator {id}"),
            Self::Skill(skill) => write!(f, "skill {}", skill.id),
        }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) => write!(f, "job {id}"),
            Self::Keep(sensor, keep_s) => write!(f, "sensor {} for {keep_s} s", sensor.name()),
            Self::Robot => f.write_str("this robot"),
            Self::Sensor(sensor) => write!(f, "sensor {}", sensor.name()),
        }
    }
}
