//! Jobs, and what is asked about them.

use super::wire;
use nooterra_protocol::access::AccessPlan;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{JobId, RobotId};
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
