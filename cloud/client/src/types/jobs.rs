//! Jobs, and what is asked about them.

use super::wire;
use nooterra_protocol::access::AccessPlan;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{EventId, JobId, JournalId, RobotId};
use nooterra_protocol::job::JobState;
use nooterra_protocol::plan::Plan;
use nooterra_protocol::time::WallMillis;
use serde_json::Value;

wire! {
    /// An access plan, as `access::AccessPlan` of the protocol.
    pub struct AccessRequest {
        /// Where the secret is kept, 1 to 256 bytes. Never the secret.
        pub credential_ref: Option<String>,
        /// `SMART_LOCK_CODE`, `BUILDING_CONCIERGE`, `ON_SITE_OWNER` or `DOCKED_IN_BUILDING`.
        pub method: String,
        /// A person must review the job at the robot before it begins.
        pub needs_review: bool,
        /// What was agreed about privacy, 1 to 256 bytes.
        pub privacy: Option<String>,
        /// Who asked for it; the job's requester unless given.
        pub requested_by: Option<String>,
        /// It may be taken back before its time is over; so it is unless given.
        pub revocable: Option<bool>,
        /// `{"areas":[...],"no_go":[...]}` in the names of the robot's map; anywhere unless
        /// given.
        pub scope: Option<Value>,
        /// Not before, milliseconds since 1970.
        pub valid_from: WallMillis,
        /// Not from then on, milliseconds since 1970.
        pub valid_to: WallMillis,
    }

    /// That somebody lets a job be carried out.
    pub struct Approval {
        /// When it came, milliseconds since 1970.
        pub at: WallMillis,
        /// Who approved.
        pub by: String,
        /// How it ended; nothing while it holds.
        pub ended: Option<ApprovalEnd>,
        /// SHA-256 of the plan that was approved.
        pub plan: Digest,
        /// Not from then on, milliseconds since 1970.
        pub until: Option<WallMillis>,
    }

    /// How an approval ended.
    pub struct ApprovalEnd {
        /// Milliseconds since 1970.
        pub at: WallMillis,
        /// Who ended it; nothing where its time was over, or the job went to another robot.
        pub by: Option<String>,
        /// Why.
        pub reason: String,
    }

    /// Approvals, oldest first.
    pub struct ApprovalList {
        /// Those that ended too.
        pub approvals: Vec<Approval>,
        /// The job is not sent before somebody approves it.
        pub needed: bool,
        /// What an approval names now.
        pub plan: Option<Digest>,
    }

    /// What is approved.
    pub struct ApprovalRequest {
        /// Who approves; the token's principal, and for the bootstrap token the job's requester
        /// unless given.
        pub by: Option<String>,
        /// `plan_hash` of the job whose plan was looked at.
        pub plan: String,
        /// Not from then on, milliseconds since 1970; until the job is over unless given.
        pub until: Option<WallMillis>,
    }

    /// Why a job is cancelled.
    #[derive(Default)]
    pub struct CancelRequest {
        /// For the record.
        pub reason: Option<String>,
    }

    /// How a job is dispatched.
    #[derive(Default)]
    pub struct DispatchRequest {
        /// The robot may take the job for so many milliseconds; 600000 unless given.
        pub ttl_ms: Option<u64>,
    }

    /// A job.
    pub struct Job {
        /// How and when its robot may be let in.
        pub access: Option<AccessPlan>,
        /// The envelope that started it.
        pub command: Option<String>,
        /// Milliseconds since 1970.
        pub created_at: WallMillis,
        /// Facts in its stream.
        pub events: u64,
        /// Hash of the last fact's place, which the `ETag` names too.
        pub head: Digest,
        /// When its robot was last heard of about it, milliseconds since 1970.
        pub heard_at: Option<WallMillis>,
        /// Its id.
        pub id: JobId,
        /// Its steps.
        pub plan: Plan,
        /// SHA-256 of the plan's canonical CBOR: what a `review_job` of it names.
        pub plan_hash: Option<Digest>,
        /// Steps done of all, 0 to 1, as the robot last said.
        pub progress: f64,
        /// On whose behalf.
        pub requester: String,
        /// By which robot.
        pub robot: RobotId,
        /// The step under way, as the robot last said.
        pub stage: Option<String>,
        /// Why it stands still, while it does.
        pub stall: Option<Stall>,
        /// Such as `EXECUTING`.
        pub state: JobState,
        /// Milliseconds since 1970.
        pub updated_at: WallMillis,
    }

    /// Why something is taken from a job.
    #[derive(Default)]
    pub struct JobReasonRequest {
        /// For the record.
        pub reason: Option<String>,
    }

    /// Jobs, newest first.
    pub struct JobList {
        /// What was asked for, in its order.
        pub jobs: Vec<Job>,
        /// What `after` takes to go on to older ones; null after the oldest.
        pub next: Option<i64>,
    }

    /// A job to be made.
    pub struct JobRequest {
        /// Its steps; every skill must be published. A step whose `skill` is `{"id": ID,
        /// "version": "ring"}` gets the version that the robot's ring has at dispatch.
        pub plan: Plan,
        /// On whose behalf; `requester` unless given.
        pub requester: Option<String>,
        /// By which robot.
        pub robot: RobotId,
    }

    /// A price.
    #[derive(Default)]
    pub struct QuoteRequest {
        /// In the currency's minor unit; 0 unless given.
        pub amount_minor: u64,
        /// ISO 4217; EUR unless given.
        pub currency: Option<String>,
    }

    /// How dispatch starts over.
    #[derive(Default)]
    pub struct RescheduleRequest {
        /// For the record.
        pub reason: Option<String>,
        /// By this robot from now on; by the same unless given.
        pub robot: Option<RobotId>,
    }

    /// Of the robot's statements that a report rests on.
    pub struct ReportProofs {
        /// One for each checkpoint that covers some of them.
        pub proofs: Vec<ReportProof>,
        /// Those of which the cloud can make none, or not yet.
        pub unproven: Vec<UnprovenFact>,
    }

    /// Some records of a journal, up to a checkpoint.
    pub struct ReportProof {
        /// The statements that its records make.
        pub facts: Vec<EventId>,
        /// Whose.
        pub journal: JournalId,
        /// `evidence::Proof` in its canonical CBOR, base64.
        pub proof: String,
        /// Whose.
        pub robot: RobotId,
    }

    /// A statement that cannot be proven by what the cloud holds.
    pub struct UnprovenFact {
        /// Which.
        pub fact: EventId,
        /// In words.
        pub why: String,
    }

    /// A completion report, and as it is signed.
    pub struct JobReport {
        /// What shows that the robot's statements in it lie in the robot's black box.
        pub black_box: ReportProofs,
        /// `report::JobReport` of the protocol.
        pub report: Value,
        /// SHA-256 of the signed bytes.
        pub sha256: Digest,
        /// The COSE_Sign1 over its canonical CBOR, base64; by the key that signs commands.
        pub signed: String,
    }

    /// Why an approval is taken back.
    #[derive(Default)]
    pub struct RevokeApprovalRequest {
        /// Who takes it back, as for the approval.
        pub by: Option<String>,
        /// For the record.
        pub reason: Option<String>,
    }

    /// A job that stands still.
    pub struct Stall {
        /// `silence`: nothing is heard of the robot. `paused`: somebody holds the job.
        pub cause: String,
        /// When a person was called, milliseconds since 1970.
        pub escalated_at: Option<WallMillis>,
        /// In the words of whoever paused it.
        pub reason: Option<String>,
        /// Milliseconds since 1970.
        pub since: WallMillis,
    }
}
