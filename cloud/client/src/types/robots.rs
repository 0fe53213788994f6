//! Robots: enrolment, standing, commands, what their journals say. And the process itself.

use super::wire;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::Ask;
use nooterra_protocol::entry::{Class, Verdict};
use nooterra_protocol::ids::{JobId, RobotId};
use nooterra_protocol::observation::Capabilities;
use nooterra_protocol::time::{Stamp, WallMillis};
use nooterra_protocol::uplink;
use serde_json::Value;

wire! {
    /// A robot's black box, as far as it came here.
    pub struct BlackBox {
        /// What it may take on the robot's disk, as the robot last said.
        pub bound_bytes: Option<u64>,
        /// What it takes.
        pub bytes: Option<u64>,
        /// The newest checkpoint that came here.
        pub checkpoint: Option<ReportedCheckpoint>,
        /// The newest crashes of the agent that its journal names; at most 20, newest first.
        pub crashes: Vec<JournalNote>,
        /// The oldest record here.
        pub first_seq: Option<u64>,
        /// The newest gaps that its journal names: records that were lost before they reached
        /// the disk; at most 20, newest first.
        pub gaps: Vec<JournalNote>,
        /// The life of the journal that sent last.
        pub journal: Option<String>,
        /// The newest record here.
        pub last_seq: Option<u64>,
        /// Records between the oldest and the newest here that are not here: under way, or
        /// pruned on the robot before they could be sent.
        pub missing: Option<u64>,
        /// Records here.
        pub records: Option<u64>,
        /// Records on the robot, as it last said.
        pub records_on_robot: Option<u64>,
    }

    /// A claim code. It is shown once.
    pub struct ClaimCode {
        /// `noot1.{secret}.{root_sha256_hex}`; single use.
        pub code: String,
        /// Milliseconds since 1970.
        pub expires_at: WallMillis,
        /// For which robot.
        pub robot: RobotId,
    }

    /// Asks for a claim code.
    pub struct ClaimCodeRequest {
        /// For which robot; it need not exist yet.
        pub robot: RobotId,
        /// Seconds until it expires; 15 minutes unless given.
        pub ttl_s: Option<u64>,
    }

    /// A command and its fate.
    pub struct Command {
        /// What it asks.
        pub ask: Ask,
        /// Milliseconds since 1970.
        pub expires_at: WallMillis,
        /// Of the envelope; what the robot's journal names.
        pub id: String,
        /// Milliseconds since 1970.
        pub issued_at: WallMillis,
        /// The job that it starts or cancels.
        pub job: Option<JobId>,
        /// Why it was refused.
        pub reason: Option<String>,
        /// To which robot.
        pub robot: RobotId,
        /// `sent` until the robot's journal names it, then `accepted` or `refused`; `expired`
        /// when its time ended first.
        pub state: String,
        /// Interventions of the robot's gate that name this command; not in lists.
        pub verdicts: Vec<CommandVerdict>,
    }

    /// Commands, newest first; at most 200.
    pub struct CommandList {
        /// What was asked for, in its order.
        pub commands: Vec<Command>,
    }

    /// A command to be signed and sent.
    pub struct CommandRequest {
        /// What to ask, such as `{"type":"emergency_stop","reason":"…"}`.
        pub ask: Ask,
        /// In whose name, for the robot's rules of who may ask for what; the token's principal
        /// unless given, the cloud itself for the bootstrap token. Only the bootstrap token may
        /// name another, and vouches for it.
        pub operator: Option<String>,
        /// Void after so many milliseconds; 30000 unless given.
        pub ttl_ms: Option<u64>,
    }

    /// A verdict of the robot's gate about a command.
    pub struct CommandVerdict {
        /// Both clocks of the robot.
        pub at: Stamp,
        /// Of the record.
        pub cursor: i64,
        /// Of the record.
        pub journal: String,
        /// Of the record.
        pub seq: u64,
        /// Rule, limit, asked, allowed and the rest.
        pub verdict: Verdict,
    }

    /// All that a robot needs to connect.
    pub struct Enrolment {
        /// The root that signs robots and this server.
        pub ca_pem: String,
        /// The robot's certificate.
        pub certificate_pem: String,
        /// Whose signature makes a command: `ed25519:BASE64`.
        pub command_key: String,
        /// The certificate's end, milliseconds since 1970.
        pub expires_at: WallMillis,
        /// `host:port` of the MQTT endpoint.
        pub mqtt: String,
        /// Which robot this is.
        pub robot: RobotId,
    }

    /// Trades a claim code for a certificate.
    pub struct EnrolmentRequest {
        /// The claim code.
        pub code: String,
        /// PKCS#10 in PEM, over the robot's P-256 key.
        pub csr_pem: String,
    }

    /// The process is up.
    pub struct Health {
        /// Always `ok`.
        pub status: String,
        /// Of this release.
        pub version: String,
    }

    /// Something that the journal says of itself.
    pub struct JournalNote {
        /// Both clocks of the robot.
        pub at: Stamp,
        /// In which life of the journal.
        pub journal: String,
        /// Its place in the journal.
        pub seq: u64,
        /// In one line.
        pub what: String,
    }

    /// The process can work.
    pub struct Ready {
        /// Always `ready`.
        pub status: String,
    }

    /// A record of a robot's journal.
    pub struct Record {
        /// Both clocks of the robot.
        pub at: Stamp,
        /// What it says; the fields depend on `kind`.
        pub body: Value,
        /// Which start of the agent wrote it.
        pub boot: u64,
        /// `critical`, `normal` or `bulk`.
        pub class: Class,
        /// Its place in the order of arrival here; what `after` takes.
        pub cursor: i64,
        /// One life of the robot's journal.
        pub journal: String,
        /// Such as `verdict`, `fact`, `command_received`.
        pub kind: String,
        /// What became of it, where that is remarkable.
        pub note: Option<String>,
        /// Its place in the journal.
        pub seq: u64,
    }

    /// Records in the order of their arrival.
    pub struct RecordList {
        /// What `after` takes to go on.
        pub next: i64,
        /// What was asked for, in its order.
        pub records: Vec<Record>,
    }

    /// Asks for a new certificate over the same key.
    pub struct RenewalRequest {
        /// PKCS#10 in PEM, over the enrolled key.
        pub csr_pem: String,
    }

    /// A checkpoint.
    pub struct ReportedCheckpoint {
        /// When it was made.
        pub at: Stamp,
        /// It is signed by a key that this robot's enrolled device key certified. It was
        /// checked.
        pub genuine: bool,
        /// The Merkle root over all that it covers.
        pub root: String,
        /// Its place in the journal.
        pub seq: u64,
        /// It covers so many records, from the first on.
        pub size: u64,
    }

    /// The policy that a robot is under, as it reported it.
    pub struct ReportedPolicy {
        /// When the robot wrote it into its journal.
        pub at: Stamp,
        /// What was signed.
        pub document: Value,
        /// SHA-256 of the signed bytes: what verdicts name it by. It was checked.
        pub hash: Digest,
        /// The robot's health names this hash now.
        pub in_force: bool,
        /// The key that it says it is signed with. The robot checked the signature; the cloud
        /// does not hold its owner's key and did not.
        pub key_id: Option<String>,
    }

    /// A robot.
    pub struct Robot {
        /// What it can do, as it last said.
        pub capabilities: Option<Capabilities>,
        /// `p256:BASE64`; signs its facts.
        pub device_key: String,
        /// Milliseconds since 1970.
        pub enrolled_at: WallMillis,
        /// How it is, as it last said.
        pub health: Option<uplink::Health>,
        /// Its id.
        pub id: RobotId,
        /// Milliseconds since 1970.
        pub last_seen: Option<WallMillis>,
        /// Connected now.
        pub online: bool,
        /// In service, in maintenance, quarantined or revoked, since when and why.
        pub standing: Standing,
    }

    /// Robots, by id.
    pub struct RobotList {
        /// What `after` takes to go on; null after the last.
        pub next: Option<String>,
        /// What was asked for, in its order.
        pub robots: Vec<Robot>,
    }

    /// How a robot stands.
    pub struct Standing {
        /// Why; nothing while it simply is in service.
        pub reason: Option<String>,
        /// Milliseconds since 1970.
        pub since: Option<WallMillis>,
        /// `in_service`, `maintenance`, `quarantined` or `revoked`.
        pub state: String,
    }

    /// Why a robot is to stand otherwise.
    pub struct StandingRequest {
        /// For the record, 1 to 512 bytes.
        pub reason: String,
    }
}
