//! What a run showed: `summary.json`, and the claims that it must bear out.

use crate::cadence::Cadence;
use crate::zones::ZoneCheck;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{Asked, Command, Source};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::{EnvelopeId, ZoneId};
use serde::Serialize;
use std::collections::BTreeMap;

/// How far the true speed may pass a limit before it counts, m/s: the base answers a setpoint
/// with its own dynamics, and the limit is on the setpoint.
pub(crate) const SPEED_TOLERANCE_MPS: f64 = 0.05;

/// See [`Clamp`], seconds.
pub(crate) const SAME_RUN_S: f64 = 0.5;

/// The facts of a run, for scripts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// The robot's agent.
    pub(crate) agent: Agent,
    /// The journal, verified twice: as it was, and with a byte flipped.
    pub(crate) blackbox: BlackBox,
    /// What the run must show, and whether it did.
    pub(crate) claims: Vec<Claim>,
    /// Interventions of the gate, in order.
    pub(crate) clamps: Vec<Clamp>,
    /// How regularly the control loop ticked.
    pub(crate) control: Option<Cadence>,
    /// Seconds by step, and `total_after_build`.
    pub(crate) durations: BTreeMap<String, f64>,
    /// The job.
    pub(crate) job: Job,
    /// Forward limit of the policy, m/s.
    pub(crate) max_speed_limit_mps: f64,
    /// Fastest true speed, either way, m/s.
    pub(crate) max_speed_mps: f64,
    /// Hash of the signed policy in force, as the robot reported it.
    pub(crate) policy_hash: Option<String>,
    /// The robot.
    pub(crate) robot: String,
    /// Of the simulator.
    pub(crate) seed: u64,
    /// The skill.
    pub(crate) skill: Skill,
    /// `zones.exits` again, under the name that scripts look for.
    pub(crate) zone_exits: usize,
    /// The independent check of the true path.
    pub(crate) zones: ZoneCheck,
}

/// The robot's agent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Agent {
    /// The processor that it was built for.
    pub(crate) arch: &'static str,
    /// What ran it, where that is not this machine's processor.
    pub(crate) emulator: Option<&'static str>,
}

/// A statement that the run must bear out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Claim {
    /// It holds.
    pub(crate) holds: bool,
    /// What was found.
    pub(crate) measured: String,
    /// The statement.
    pub(crate) name: &'static str,
}

/// A run of equal interventions of the gate, from its beginning to its end. Interruptions
/// shorter than [`SAME_RUN_S`] do not end it: near a limit two rules take turns, tick by tick.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Clamp {
    /// What went to the robot when it began.
    pub(crate) allowed: Command,
    /// What was wished when it began.
    pub(crate) asked: Asked,
    /// Wall clock, RFC 3339.
    pub(crate) at: String,
    /// The signed command whose wish it was.
    pub(crate) command: Option<EnvelopeId>,
    /// How long it held, seconds; none when no end was recorded.
    pub(crate) held_s: Option<f64>,
    /// The slowest that was allowed while it held, of what the journal shows, m/s.
    pub(crate) least_allowed_mps: f64,
    /// In the unit of the rule.
    pub(crate) limit: f64,
    /// Where the robot believed itself.
    pub(crate) pose: Pose,
    /// The rule.
    pub(crate) rule: Rule,
    /// Journal sequence number of its first record.
    pub(crate) seq: u64,
    /// Whose wish.
    pub(crate) source: Source,
    /// Seconds since the job began.
    pub(crate) t_s: f64,
    /// Of `limit`.
    pub(crate) unit: &'static str,
    /// The zone, for rules about zones.
    pub(crate) zone: Option<ZoneId>,
}

/// The job as the cloud saw it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Job {
    /// Its id.
    pub(crate) id: String,
    /// Its last state.
    pub(crate) state: String,
    /// Its events.
    pub(crate) timeline: Vec<Moment>,
}

/// An event of the job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Moment {
    /// Wall clock, RFC 3339.
    pub(crate) at: String,
    /// The event's type.
    pub(crate) event: String,
    /// It came too late for the state.
    pub(crate) late: bool,
    /// What it says, in a few words.
    pub(crate) note: Option<String>,
    /// Where the robot was, if the event says so.
    pub(crate) pose: Option<Pose>,
    /// Who stated and signed it.
    pub(crate) signed_by: String,
    /// The state after it.
    pub(crate) state: String,
    /// Seconds since the job began.
    pub(crate) t_s: f64,
}

/// The skill and its tampered copy.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Skill {
    /// SHA-256 of the bundle.
    pub(crate) digest: Digest,
    /// Its id.
    pub(crate) id: String,
    /// Why the tampered copy was refused.
    pub(crate) reason: String,
    /// The tampered copy was refused.
    pub(crate) tampered_refused: bool,
    /// Semantic version.
    pub(crate) version: String,
}

/// The journal.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BlackBox {
    /// Signed checkpoints, where the verifier counts them.
    pub(crate) checkpoints: Option<u64>,
    /// Sequence number of the record in which a byte was flipped.
    pub(crate) flipped_in: u64,
    /// Records in it.
    pub(crate) records: u64,
    /// Sequence number that the verifier named in the altered copy.
    pub(crate) tamper_found_at: Option<u64>,
    /// What it said.
    pub(crate) tamper_message: String,
    /// The journal is intact.
    pub(crate) verified: bool,
    /// Last sequence number under a signed checkpoint.
    pub(crate) verified_through: Option<u64>,
}

impl std::fmt::Display for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "agent for {}", self.arch)?;
        self.emulator.map_or(Ok(()), |emulator| write!(f, " under {emulator}"))
    }
}

impl Summary {
    /// Judges the run. Each line is one that the demo promises.
    pub(crate) fn judge(&mut self) {
        let count =
            |wanted: &dyn Fn(&Clamp) -> bool| self.clamps.iter().filter(|c| wanted(c)).count();
        let speed = count(&|clamp| {
            clamp.rule == Rule::SpeedLinear
                && clamp.source == Source::Skill
                && clamp
                    .asked
                    .forward_mps()
                    .is_some_and(|asked| asked > clamp.allowed.forward_mps())
        });
        let zone = count(&|clamp| clamp.rule == Rule::ZoneKeepOut && clamp.command.is_some());
        let tolerated = self.max_speed_limit_mps + SPEED_TOLERANCE_MPS;
        let too_fast: Vec<String> = self
            .zones
            .speed_zones
            .iter()
            .filter(|zone| zone.max_mps > zone.limit_mps + SPEED_TOLERANCE_MPS)
            .map(|zone| format!("{}: {:.2} m/s", zone.zone, zone.max_mps))
            .collect();
        let checkpoints =
            self.job.timeline.iter().filter(|moment| moment.event == "CHECKPOINT_REACHED").count();
        let blackbox = &self.blackbox;
        let claim = |name, holds, measured| Claim { holds, measured, name };
        self.claims = vec![
            claim("the job completes", self.job.state == "COMPLETED", self.job.state.clone()),
            claim(
                "checkpoints flow back, signed by the robot",
                checkpoints > 0,
                format!("{checkpoints} checkpoints"),
            ),
            claim(
                "the skill asks for more speed than allowed and is clamped",
                speed > 0,
                format!("{speed} interventions"),
            ),
            claim(
                "a command through the keep-out zone is clamped, by name of the command",
                zone > 0,
                format!("{zone} interventions"),
            ),
            claim(
                "the whole footprint stays where it may be",
                self.zones.exits == 0 && self.zones.samples > 0,
                format!("{} exits in {} true poses", self.zones.exits, self.zones.samples),
            ),
            claim(
                "the true speed keeps to the limit",
                self.max_speed_mps <= tolerated && self.zones.samples > 0,
                format!("{:.2} of {:.2} m/s", self.max_speed_mps, self.max_speed_limit_mps),
            ),
            claim(
                "the true speed keeps to the limit of each speed zone",
                too_fast.is_empty(),
                if too_fast.is_empty() { "none exceeded".to_owned() } else { too_fast.join(", ") },
            ),
            claim(
                "a tampered skill is refused",
                self.skill.tampered_refused,
                self.skill.reason.clone(),
            ),
            claim(
                "the journal verifies up to a signed checkpoint",
                blackbox.verified && blackbox.records > 0 && blackbox.verified_through.is_some(),
                format!("{} records", blackbox.records),
            ),
            claim(
                "one flipped byte is found and its record named",
                blackbox.tamper_found_at == Some(blackbox.flipped_in),
                match blackbox.tamper_found_at {
                    Some(seq) => format!("flipped in {}, found at {seq}", blackbox.flipped_in),
                    None => format!("flipped in {}, not found", blackbox.flipped_in),
                },
            ),
        ];
    }

    /// Every claim holds.
    pub(crate) fn holds(&self) -> bool {
        !self.claims.is_empty() && self.claims.iter().all(|claim| claim.holds)
    }
}
