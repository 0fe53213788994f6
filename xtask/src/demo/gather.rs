//! What the demo shows, gathered from the cloud and from the simulator, before it is judged.

use super::cloud::Cloud;
use super::facts::{self, Axis, JobEvent, Record};
use super::robot::{ROBOT, Robot};
use super::scene::Scene;
use super::script::RanJob;
use super::summary::{Agent, BlackBox, Job, Moment, Skill, Summary};
use super::survey::Survey;
use crate::arm::Runnable;
use crate::report::Run;
use crate::{cadence, cells, truth, world, zones};
use anyhow::{Context as _, Result};
use nooterra_protocol::entry::{Sample, Verdict};
use nooterra_protocol::event::EventType;
use nooterra_protocol::policy::PolicyDocument;
use serde_json::Value;
use std::collections::BTreeMap;

/// Everything that was gathered.
pub(super) struct Facts {
    events: Vec<JobEvent>,
    job: String,
    policy: PolicyDocument,
    samples: Vec<Record<Sample>>,
    state: String,
    truth: Vec<truth::Truth>,
    verdicts: Vec<Record<Verdict>>,
    world: world::World,
}

impl Facts {
    /// Asks the cloud and reads what the simulator wrote.
    pub(super) fn gather(
        job: &RanJob,
        robot: &Robot,
        cloud: &Cloud,
        world: world::World,
    ) -> Result<Self> {
        let policy_file = robot.dir().join("policy.json");
        let policy = std::fs::read_to_string(&policy_file)
            .with_context(|| format!("cannot read {}", policy_file.display()))?;
        let state = cloud.job(&job.id)?["state"].as_str().unwrap_or_default().to_owned();
        // Again from the first: what was queued behind the end is in the stream by now.
        let events = cloud.job_events(&job.id, 0)?;
        let events = events.into_iter().map(JobEvent::read).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            events: if events.len() >= job.events.len() { events } else { job.events.clone() },
            job: job.id.clone(),
            policy: serde_json::from_str(&policy)
                .with_context(|| format!("{} is no policy", policy_file.display()))?,
            samples: facts::records(cloud.records(ROBOT, "sample")?)?,
            state,
            truth: truth::read(&robot.truth())?,
            verdicts: facts::records(cloud.records(ROBOT, "verdict")?)?,
            world,
        })
    }

    /// Journal number of the first verdict on a signed command.
    pub(super) fn verdict_on_command(&self) -> Option<u64> {
        self.verdicts.iter().find(|record| record.body.command.is_some()).map(|record| record.seq)
    }

    /// One axis for both clocks; its origin is the robot's departure.
    fn axis(&self) -> Option<Axis> {
        let reference = self
            .samples
            .first()
            .map(|record| record.at)
            .or_else(|| self.verdicts.first().map(|record| record.at))?;
        let departure = self.events.iter().find(|event| event.kind == EventType::EnRoute);
        Some(Axis::new(departure.map_or(reference.wall, |event| event.at.wall), reference))
    }

    /// Checks the true path and puts all of it on one axis.
    pub(super) fn judge(
        self,
        seed: u64,
        scene: &Scene,
        agent: &Runnable,
        blackbox: BlackBox,
        skill: Skill,
        health: &Value,
    ) -> Run {
        let axis = self.axis();
        let (clamps, timeline, samples): (_, Vec<Moment>, _) = match &axis {
            Some(axis) => (
                facts::clamps(&self.verdicts, axis),
                facts::moments(&self.events, axis),
                facts::samples(&self.samples, axis),
            ),
            None => (Vec::new(), Vec::new(), Vec::new()),
        };
        let mut zones = zones::check(&self.policy, &self.truth);
        let survey = scene.survey.as_ref();
        let layers = survey.map_or(&[][..], Survey::layers);
        cells::check(layers, &self.policy.footprint.outline, &self.truth, &mut zones);
        let max_speed_mps =
            self.truth.iter().map(|sample| sample.linear_mps.abs()).fold(0.0, f64::max);
        let truth = match &axis {
            Some(axis) => {
                self.truth.iter().map(|truth| (axis.of_mono(truth.mono_ns), *truth)).collect()
            }
            None => Vec::new(),
        };
        Run {
            samples,
            summary: Summary {
                agent: Agent { arch: agent.arch(), emulator: agent.emulator() },
                blackbox,
                claims: Vec::new(),
                clamps,
                control: cadence::of(&self.truth),
                durations: BTreeMap::new(),
                job: Job { id: self.job, state: self.state, timeline },
                max_speed_limit_mps: self.policy.limits.max_linear_mps,
                max_speed_mps,
                policy_hash: health["policy_hash"].as_str().map(str::to_owned),
                robot: ROBOT.to_owned(),
                seed,
                skill,
                zone_exits: zones.exits,
                zones,
            },
            layers: survey.map_or_else(Vec::new, Survey::drawn),
            policy: self.policy,
            truth,
            waypoints: scene.waypoints.clone(),
            world: self.world,
        }
    }
}
