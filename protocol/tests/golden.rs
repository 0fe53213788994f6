//! The formats, byte by byte. A golden file that changes is a new format version: robots in
//! the field hold the old one. After a deliberate change: `UPDATE_GOLDEN=1 cargo test`.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

use nooterra_protocol::codec::{self, Blob, Digest, Value};
use nooterra_protocol::command::{
    Ask, Asked, Command, JointVelocities, PerJoint, RemoteCommand, Source,
};
use nooterra_protocol::entry::{
    Class, Entry, Incident, IncidentCause, Rule, Sample, SkillSensor, Verdict, VerdictPhase,
};
use nooterra_protocol::envelope::{Signable, Signed};
use nooterra_protocol::event::{Actor, ActorKind, CheckpointReached, EventType, Fact, Statement};
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::grant::Sensor;
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, JournalId, RobotId, StepId, ZoneId};
use nooterra_protocol::job::{TRANSITIONS, signers};
use nooterra_protocol::keys::{Ed25519Key, Es256Key};
use nooterra_protocol::observation::JointStates;
use nooterra_protocol::plan::{Param, Plan, PlanStep, SkillRef};
use nooterra_protocol::policy::PolicyDocument;
use nooterra_protocol::skill_graph::{GraphPosition, GraphSpot, SkillGraph};
use nooterra_protocol::skill_install::{SkillInstall, SkillInstallStep};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use nooterra_protocol::uplink::{Ack, Batch};
use std::fmt::Write as _;
use std::path::Path;

fn compare(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run with UPDATE_GOLDEN=1", path.display()));
    assert!(expected == found, "{name} differs:\n{found}");
}

/// Lower-case hexadecimal, 32 bytes a line.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        writeln!(text, "{}", hex::encode(line)).unwrap();
    }
    text
}

fn stamp() -> Stamp {
    Stamp {
        mono: MonoNanos(12_345_678_901),
        trust: ClockTrust::Network,
        wall: WallMillis(1_795_219_199_999),
    }
}

fn plan() -> Plan {
    let skill = SkillRef {
        bundle: Digest::of(b"bundle"),
        id: "patrol".parse().unwrap(),
        version: "1.0.0".to_owned(),
    };
    let waypoints = Param::Points(vec![Point::new(9.0, 1.25), Point::new(10.5, 6.5)]);
    let params = [
        ("careful".to_owned(), Param::Flag(true)),
        ("note".to_owned(), Param::Text("slowly".to_owned())),
        ("speed_mps".to_owned(), Param::Number(2.0)),
        ("waypoints".to_owned(), waypoints),
    ];
    Plan {
        steps: vec![PlanStep {
            action: "patrol".to_owned(),
            id: StepId::new("s1").unwrap(),
            params: params.into(),
            skill,
            timeout_s: 60,
        }],
    }
}

fn envelope(body: Ask) -> RemoteCommand {
    RemoteCommand {
        audience: RobotId::new("amr-1").unwrap(),
        body,
        expires_at: WallMillis(1_795_219_229_999),
        id: EnvelopeId::new("env_1").unwrap(),
        issued_at: WallMillis(1_795_219_199_999),
        issuer: ActorId::new("operator-1").unwrap(),
        v: 1,
    }
}

fn signed<T: Signable>(name: &str, object: T) {
    let signed = Signed::sign(object, &Ed25519Key::from_seed([7; 32])).unwrap();
    compare(name, &dump(signed.bytes()));
}

#[test]
fn a_signed_command() {
    let to = Point::new(5.0, 4.0);
    signed("command.hex", envelope(Ask::DriveTo { lease_ms: 4_000, speed_mps: 1.0, to }));
    let job = JobId::new("job-1").unwrap();
    signed("command_start_job.hex", envelope(Ask::StartJob { job, plan: plan() }));
}

#[test]
fn a_signed_fact() {
    let statement = Statement {
        actor: &Actor { id: ActorId::new("amr-1").unwrap(), kind: ActorKind::Robot },
        actor_seq: 7,
        at: stamp(),
        job: Some(&JobId::new("job-1").unwrap()),
        journal: &JournalId::new("jn_1").unwrap(),
        kind: EventType::CheckpointReached,
    };
    let payload = CheckpointReached {
        name: "waypoint-1".to_owned(),
        pose: Pose { x: 9.0, y: 1.2, yaw: -0.5 },
        step: StepId::new("s2").unwrap(),
    };
    let signer = Es256Key::from_seed([7; 32]).unwrap();
    let fact = Fact::sign(&statement, &payload, &signer).unwrap();
    compare("fact.hex", &dump(fact.bytes()));
}

#[test]
fn a_signed_policy() {
    let text = include_str!("../../examples/robots/amr/policy.json");
    let document: PolicyDocument = serde_json::from_str(text).unwrap();
    signed("policy.hex", document);
}

#[test]
fn a_verdict_and_a_sample() {
    let verdict = Verdict {
        allowed: Twist::new(0.0, 0.25).into(),
        asked: Twist::new(1.0, f64::NAN).into(),
        command: Some(EnvelopeId::new("env_1").unwrap()),
        job: None,
        limit: 0.031_25,
        phase: VerdictPhase::Began,
        policy_hash: Digest::of(b"policy"),
        pose: Pose { x: 4.0, y: 2.0, yaw: 0.1 },
        rule: Rule::ZoneKeepOut,
        source: Source::Operator,
        tick: 512,
        zone: Some(ZoneId::new("press").unwrap()),
    };
    compare("verdict.hex", &dump(&codec::to_vec(&verdict).unwrap()));
    let sample = Sample {
        allowed: verdict.allowed,
        asked: verdict.asked,
        battery: Some(0.75),
        joints: None,
        limit_mps: 1.2,
        pose: verdict.pose,
        source: Source::Skill,
        twist: Twist::ZERO,
    };
    let base = codec::to_vec(&sample).unwrap();
    compare("sample.hex", &dump(&base));
    // Of a robot without joints the field is not there at all: as it was before there was one.
    assert_eq!(codec::from_slice::<Sample>(&base).unwrap(), sample);
    let each = |values: [f64; 2]| PerJoint::new(&values).unwrap();
    let arm = Sample {
        allowed: Command::Joints(JointVelocities { joints: each([0.5, 0.0]) }),
        asked: Asked::Joints { joints: PerJoint::new(&[Some(0.75), None]).unwrap() },
        joints: Some(JointStates {
            effort: each([0.0, 30.0]),
            position: each([1.5, 0.04]),
            velocity: each([0.5, -0.25]),
        }),
        ..sample
    };
    let bytes = codec::to_vec(&arm).unwrap();
    compare("sample-arm.hex", &dump(&bytes));
    assert_eq!(codec::from_slice::<Sample>(&bytes).unwrap(), arm);
}

#[test]
fn an_incident_and_a_sensor_that_a_skill_is_refused() {
    let incident = Incident {
        cause: IncidentCause::Marked,
        command: Some(EnvelopeId::new("env_1").unwrap()),
        job: Some(JobId::new("job-1").unwrap()),
        step: None,
    };
    let sensor = SkillSensor {
        granted: false,
        job: JobId::new("job-1").unwrap(),
        sensor: Sensor::Range,
        skill: "patrol".parse().unwrap(),
        step: StepId::new("s1").unwrap(),
    };
    let install = SkillInstall {
        bundle: Some(Digest::of(b"bundle")),
        reason: "it crashed in its first steps".to_owned(),
        skill: Some("patrol".parse().unwrap()),
        step: SkillInstallStep::RolledBack,
        version: Some("1.2.0".to_owned()),
    };
    for (name, entry) in [
        ("incident.hex", Entry::Incident(incident)),
        ("skill_install.hex", Entry::SkillInstall(install)),
        ("skill_sensor.hex", Entry::SkillSensor(sensor)),
    ] {
        assert_eq!(entry.class(), Class::Critical);
        let body = entry.body().unwrap();
        compare(name, &dump(&codec::to_vec(&body).unwrap()));
        assert_eq!(Entry::parse(entry.kind(), body.clone()).unwrap(), Some(entry.clone()));
        // Strict, as every body: nothing more, nothing less, no other word.
        let Value::Map(fields) = body else { panic!("a body is a map") };
        for key in fields.keys() {
            let mut without = fields.clone();
            let value = without.remove(key).unwrap();
            if value != Value::Null {
                let parsed = Entry::parse(entry.kind(), Value::Map(without.clone()));
                let optional =
                    matches!(&parsed, Ok(Some(Entry::Incident(_) | Entry::SkillInstall(_))));
                assert!(parsed.is_err() || optional, "{name} without {key:?}");
            }
            without.insert(key.clone(), Value::Integer(7));
            assert!(Entry::parse(entry.kind(), Value::Map(without)).is_err(), "{name}: {key:?}");
        }
        let mut more = fields;
        more.insert(Value::Text("more".to_owned()), Value::Bool(true));
        assert!(Entry::parse(entry.kind(), Value::Map(more)).is_err(), "{name} with more");
    }
    for cause in IncidentCause::ALL {
        let bytes = codec::to_vec(&cause).unwrap();
        assert_eq!(codec::from_slice::<String>(&bytes).unwrap(), cause.name());
    }
}

#[test]
fn a_move_of_a_skills_graph() {
    let spot = |node, count, elapsed_ns| GraphSpot { count, elapsed_ns, node };
    let entry = Entry::SkillGraph(SkillGraph {
        action: "rounds".to_owned(),
        job: JobId::new("job-1").unwrap(),
        live: Some("patrol".to_owned()),
        position: GraphPosition(vec![spot(0, 1, 0), spot(1, 12, 1_200_000_000), spot(7, 0, 0)]),
        skill: "rounds".parse().unwrap(),
        step: StepId::new("s1").unwrap(),
        why: "`charge` is done".to_owned(),
    });
    assert_eq!((entry.kind(), entry.class()), ("skill_graph", Class::Normal));
    let body = entry.body().unwrap();
    compare("skill_graph.hex", &dump(&codec::to_vec(&body).unwrap()));
    assert_eq!(Entry::parse(entry.kind(), body.clone()).unwrap(), Some(entry.clone()));
    let Value::Map(mut fields) = body else { panic!("a body is a map") };
    fields.insert(Value::Text("more".to_owned()), Value::Bool(true));
    assert!(Entry::parse(entry.kind(), Value::Map(fields)).is_err());
}

#[test]
fn what_travels_on_the_uplink() {
    let journal = JournalId::new("jn_1").unwrap();
    let records = vec![Blob(vec![1, 2, 3]), Blob(vec![])];
    let batch = Batch { journal: journal.clone(), records, since: None };
    compare("batch.hex", &dump(&codec::to_vec(&batch).unwrap()));
    let ack = Ack { class: Class::Critical, journal, through_seq: 300 };
    compare("ack.hex", &dump(&codec::to_vec(&ack).unwrap()));
}

#[test]
fn the_job_table() {
    let mut text = String::new();
    for (event, from, to) in TRANSITIONS {
        let from: Vec<_> = from.iter().map(|state| state.name()).collect();
        writeln!(text, "{event} {} -> {to}", from.join("|")).unwrap();
    }
    for event in EventType::ALL {
        writeln!(text, "{event} by {:?}", signers(*event)).unwrap();
    }
    compare("job_table.txt", &text);
}
