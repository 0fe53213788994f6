//! What rules are asked about: who, what, and the situation of the robot.

use nooterra_protocol::codec::Digest;
use nooterra_protocol::grant::{Action, Mode, Sensor};
use nooterra_protocol::ids::{ActorId, JobId, ModeId, SkillId, ZoneId};
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
    /// Who cut the robot off from those who ask from afar, and has not taken it back.
    pub disconnected: Option<ActorId>,
    /// The job under way.
    pub job: Option<JobId>,
    /// What is known of jobs beyond their plan. Of one that is not in here nothing is.
    pub jobs: BTreeMap<JobId, Access>,
    /// The policy's mode whose limits hold; the policy's own where there is none.
    pub limits: Option<ModeId>,
    /// How the robot is operated.
    pub mode: Mode,
    /// Who set it so; `None` where the configuration did.
    pub mode_set_by: Option<ActorId>,
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
    /// As [`Situation::disconnected`].
    #[serde(default)]
    pub disconnected: Option<ActorId>,
    /// As [`Situation::jobs`].
    pub jobs: BTreeMap<JobId, Access>,
    /// As [`Situation::limits`].
    #[serde(default)]
    pub limits: Option<ModeId>,
    /// As [`Situation::mode`], where a person set it.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// As [`Situation::mode_set_by`].
    #[serde(default)]
    pub mode_set_by: Option<ActorId>,
    /// As [`Situation::sessions`].
    pub sessions: BTreeMap<ActorId, WallMillis>,
    /// As [`Situation::vetoed`].
    pub vetoed: Option<ActorId>,
}

impl Situation {
    /// What of it must outlive a restart.
    #[must_use]
    pub fn decisions(&self) -> Decisions {
        Decisions {
            disconnected: self.disconnected.clone(),
            jobs: self.jobs.clone(),
            limits: self.limits.clone(),
            mode: self.mode_set_by.is_some().then_some(self.mode),
            mode_set_by: self.mode_set_by.clone(),
            sessions: self.sessions.clone(),
            vetoed: self.vetoed.clone(),
        }
    }

    /// The situation after a restart. The mode is the stricter of the configured one and the
    /// one that a person set: whoever works on a robot must not see it drive off because its
    /// power came back, nor because somebody had set another mode before the configuration
    /// was changed.
    #[must_use]
    pub fn after(configured: Mode, decided: Decisions) -> Self {
        let Decisions { disconnected, jobs, limits, mode, mode_set_by, sessions, vetoed } = decided;
        let set = mode.unwrap_or(configured);
        let mode = set.stricter(configured);
        let mode_set_by = mode_set_by.filter(|_| mode == set);
        Self { disconnected, jobs, limits, mode, mode_set_by, sessions, vetoed, ..Self::default() }
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
    /// The plan that they looked at; a review counts for no other.
    #[serde(default)]
    pub reviewed_plan: Option<Digest>,
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
    /// A mode that is to be set.
    Mode(Mode),
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
            Self::Mode(mode) => write!(f, "mode {}", mode.name()),
            Self::Robot => f.write_str("this robot"),
            Self::Sensor(sensor) => write!(f, "sensor {}", sensor.name()),
        }
    }
}
