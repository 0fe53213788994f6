//! Skills, and how a version of one reaches robots.

use super::wire;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{JobId, RobotId};
use nooterra_protocol::time::WallMillis;
use serde_json::Value;
use std::collections::BTreeMap;

wire! {
    /// Why the next ring is opened before its gate says so.
    pub struct AdvanceRequest {
        /// The ring that is open last: the one after it is opened, or the roll-out completed.
        pub past: String,
        /// For the record, 1 to 512 bytes.
        pub reason: String,
    }

    /// A certification record, as its certifier signed it.
    pub struct CertificationRequest {
        /// The text of the record, byte for byte.
        pub record: String,
        /// The text of its `.minisig` file.
        pub signature: String,
    }

    /// When a ring is good, and when it is bad.
    pub struct Gate {
        /// Jobs that the ring's robots must have completed; 5 unless given.
        pub jobs: u32,
        /// This many failed jobs pause the roll-out; 1 unless given.
        pub pause_at: u32,
        /// Robots that must have completed one; 1 unless given.
        pub robots: u32,
        /// This many failed jobs roll it back; 3 unless given.
        pub roll_back_at: u32,
        /// Seconds that the ring must have been open; 3600 unless given.
        pub soak_s: u32,
    }

    /// Jobs of a roll-out, oldest first.
    pub struct GivenList {
        /// What was asked for, in its order.
        pub jobs: Vec<RolloutJob>,
        /// What `after` takes to go on; null after the newest.
        pub next: Option<i64>,
    }

    /// A public key whose signatures are to count here.
    pub struct KeyRequest {
        /// Who has it: a developer as manifests name it, or a certifier.
        pub holder: String,
        /// The text of a `.pub` file of `minisign`, or its one line.
        pub key: String,
        /// `developer`: signs bundles; `certifier`: signs certification records.
        pub role: String,
        /// The highest tier that it may sign for.
        pub tier: String,
    }

    /// The labels of a robot.
    pub struct LabelsRequest {
        /// All that it is to have, at most 64.
        pub labels: Vec<String>,
    }

    /// What was published.
    pub struct Published {
        /// SHA-256 of the bundle; what plans name.
        pub digest: Digest,
        /// From the manifest.
        pub id: String,
        /// From the manifest.
        pub version: String,
    }

    /// What was published.
    pub struct PublishedTrust {
        /// SHA-256 of the file.
        pub digest: String,
        /// `nooterra/skill-trust` or `nooterra/skill-revocations`.
        #[serde(rename = "type")]
        pub kind: String,
        /// Its version.
        pub version: u32,
    }

    /// Why something is done.
    pub struct ReasonRequest {
        /// For the record, 1 to 512 bytes.
        pub reason: String,
    }

    /// Why a version is taken back, and what becomes of what runs.
    pub struct RevokeRequest {
        /// For the record, 1 to 512 bytes.
        pub reason: String,
        /// `cancel` unless given: jobs that run it end by the robot's safe exit; `finish`: they
        /// go on to their end.
        pub running: Option<String>,
    }

    /// A part of the fleet.
    pub struct Ring {
        /// Its name, such as `canary`.
        pub name: String,
        /// Its robots, but for those that are in a ring before it.
        pub of: Selection,
        /// Its robots take no skill of a lower tier; `dev`, which is any, unless given.
        pub tier: Option<String>,
    }

    /// The rings, in their order: a robot is in the first that takes it.
    pub struct Rings {
        /// At most 32.
        pub rings: Vec<Ring>,
    }

    /// What a robot's ring has of a skill.
    pub struct RobotSkill {
        /// SHA-256 of the version; null where it has none.
        pub bundle: Option<String>,
        /// The skill.
        pub id: String,
        /// The roll-out that brings it, while that is under way.
        pub rollout: Option<String>,
        /// Its semantic version.
        pub version: Option<String>,
        /// Why it is this one, or none.
        pub why: String,
    }

    /// What a robot may have, and why.
    pub struct RobotSkills {
        /// All that it has.
        pub labels: Vec<String>,
        /// What `after` takes to go on; null after the last.
        pub next: Option<String>,
        /// Null where no ring takes it.
        pub ring: Option<String>,
        /// By id.
        pub skills: Vec<RobotSkill>,
    }

    /// A roll-out.
    pub struct Rollout {
        /// What the fleet had before; null for the first.
        pub baseline: Option<String>,
        /// Its semantic version.
        pub baseline_version: Option<String>,
        /// What it brings.
        pub bundle: Digest,
        /// Milliseconds since 1970.
        pub created_at: WallMillis,
        /// What was heard since `opened_at`.
        pub heard: RolloutHeard,
        /// Its id.
        pub id: String,
        /// When the last ring was opened, or the roll-out resumed: what counts came since.
        pub opened_at: WallMillis,
        /// Why it stands as it does.
        pub reason: String,
        /// The ring that is open last, and watched.
        pub ring: String,
        /// All rings, in their order.
        pub rings: Vec<RolloutRing>,
        /// The skill.
        pub skill: String,
        /// `rolling`, `paused`, `completed` or `rolled_back`.
        pub state: String,
        /// Milliseconds since 1970.
        pub updated_at: WallMillis,
        /// The semantic version that it brings.
        pub version: String,
    }

    /// What was heard of jobs that were given the version.
    pub struct RolloutHeard {
        /// Jobs that failed, of robots of any ring.
        pub failed: u32,
        /// Robots of the watched ring that completed one.
        pub robots: u32,
        /// Jobs that robots of the watched ring completed.
        pub succeeded: u32,
    }

    /// A job that was given the version of a roll-out.
    pub struct RolloutJob {
        /// Milliseconds since 1970.
        pub given_at: WallMillis,
        /// The job.
        pub job: JobId,
        /// Milliseconds since 1970.
        pub judged_at: Option<WallMillis>,
        /// `open`, `succeeded`, `failed`, or `withdrawn`: called off, which counts as neither.
        pub outcome: String,
        /// Why it failed or was withdrawn.
        pub reason: Option<String>,
        /// The robot's, when the version was given.
        pub ring: String,
        /// The robot.
        pub robot: RobotId,
    }

    /// Roll-outs, newest first.
    pub struct RolloutList {
        /// What `after` takes to go on to older ones; null after the oldest.
        pub next: Option<i64>,
        /// What was asked for, in its order.
        pub rollouts: Vec<Rollout>,
    }

    /// A roll-out to be begun.
    pub struct RolloutRequest {
        /// SHA-256 of the version.
        pub bundle: Digest,
        /// For rings without a gate of their own.
        pub gate: Option<Gate>,
        /// By ring.
        pub gates: BTreeMap<String, Gate>,
        /// For the record, 1 to 512 bytes.
        pub reason: String,
    }

    /// A ring of a roll-out.
    pub struct RolloutRing {
        /// When it is good, and when it is bad.
        pub gate: Gate,
        /// Its name.
        pub name: String,
        /// Its robots have the version.
        pub open: bool,
    }

    /// Which robots.
    #[derive(Default)]
    pub struct Selection {
        /// Every robot, whatever the lists say.
        pub everyone: bool,
        /// Those that have one of these labels.
        pub labels: Vec<String>,
        /// Those with these ids.
        pub robots: Vec<String>,
    }

    /// A published skill.
    pub struct Skill {
        /// Who vouches for its tier, where somebody does.
        pub certification: Option<SkillCertification>,
        /// SHA-256 of the bundle.
        pub digest: Digest,
        /// From the manifest.
        pub id: String,
        /// The whole manifest.
        pub manifest: Value,
        /// Milliseconds since 1970.
        pub published_at: WallMillis,
        /// When and why it was taken back, where it was.
        pub revoked: Option<SkillRevocation>,
        /// The key of its developer that signed it, as `minisign` prints it; null where the
        /// developer is not known here and nobody proved the name.
        pub signed_by: Option<String>,
        /// The tier that counts: the manifest's while a certification holds, else `dev`.
        pub tier: String,
        /// From the manifest.
        pub version: String,
    }

    /// A certification that was checked when the bundle was published.
    pub struct SkillCertification {
        /// It counts before this, milliseconds since 1970.
        pub expires_at: WallMillis,
        /// The record, as it was signed.
        pub record: String,
        /// The text of its `.minisig` file.
        pub signature: String,
        /// The certifier's key.
        pub signed_by: String,
    }

    /// A key.
    pub struct SkillKey {
        /// Milliseconds since 1970.
        pub added_at: WallMillis,
        /// Who has it.
        pub holder: String,
        /// The one line of its `.pub` file.
        pub key: String,
        /// As `minisign` prints it.
        pub key_id: String,
        /// Why it is closed; null while it counts.
        pub reason: Option<String>,
        /// Milliseconds since 1970.
        pub revoked_at: Option<WallMillis>,
        /// `developer` or `certifier`.
        pub role: String,
        /// The highest tier that it may sign for.
        pub tier: String,
    }

    /// Keys, by id.
    pub struct SkillKeyList {
        /// What was asked for, in its order.
        pub keys: Vec<SkillKey>,
    }

    /// Published versions, oldest first.
    pub struct SkillList {
        /// What `after` takes to go on; null after the newest.
        pub next: Option<String>,
        /// What was asked for, in its order.
        pub skills: Vec<Skill>,
    }

    /// A bundle to be published.
    pub struct SkillRequest {
        /// The tar archive, base64.
        pub bundle_base64: String,
        /// Who vouches for its tier; needed above `dev`.
        pub certification: Option<CertificationRequest>,
        /// The text of its `.minisig` file.
        pub signature: String,
    }

    /// A revocation.
    pub struct SkillRevocation {
        /// Milliseconds since 1970.
        pub at: WallMillis,
        /// Why.
        pub reason: String,
        /// What became of jobs that ran it: `cancel` or `finish`.
        pub running: String,
    }

    /// A robot that has a version, or gets it.
    pub struct SkillRobot {
        /// The robot.
        pub id: RobotId,
        /// How many of the jobs that it was given, and that are not over, name the version.
        pub jobs: u32,
        /// When the record in which it says so came to the cloud, milliseconds since 1970; for
        /// `before`, the one in which it said last that the version is active.
        pub reported_at: Option<WallMillis>,
        /// The ring by which its next job gets the version, where the plan leaves the choice to
        /// the ring.
        pub ring: Option<String>,
        /// As its journal said last: `active`, `before` or `on_trial`; null where it has not said
        /// that it has it.
        pub state: Option<String>,
    }

    /// Robots, by id.
    pub struct SkillRobotList {
        /// What `after` takes to go on; null after the last.
        pub next: Option<String>,
        /// What was asked for, in its order.
        pub robots: Vec<SkillRobot>,
    }

    /// Which robots may have a skill.
    pub struct SkillRule {
        /// The skill.
        pub id: String,
        /// All, unless one was set.
        pub rule: Selection,
    }

    /// A document or a list to be published.
    pub struct TrustRequest {
        /// The file, base64.
        pub bytes: String,
        /// The text of its `.minisig` files, one after the other.
        pub signatures: String,
    }
}
