//! `nooterra-agent blackbox` as an investigator meets it: a box, a copy of it, a damaged one, and
//! nothing but a proof. The boxes are made here.

use crate::common::skip;
use nooterra_blackbox::{Clock, Journal, Options, TailFrom, locate, tail};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{
    Asked, Command as Setpoint, JointVelocities, PerJoint, Source, StopProfile,
};
use nooterra_protocol::entry::{Entry, Link, Rule, Sample, SkillLog, Stop, Verdict, VerdictPhase};
use nooterra_protocol::event::{Actor, ActorKind, EventType, Fact, Statement, UnderPolicy};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::{ActorId, JobId, SkillId};
use nooterra_protocol::keys::{Es256Key, Signer as _};
use nooterra_protocol::observation::JointStates;
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const AGENT: &str = env!("CARGO_BIN_EXE_nooterra-agent");

/// 2026-11-18T18:40:00Z.
const BEGAN: i64 = 1_795_027_200_000;

/// A clock that moves 20 ms with every look.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn stamp(&self) -> Stamp {
        let ticks = self.0.fetch_add(1, Ordering::SeqCst);
        let wall = WallMillis(BEGAN + i64::try_from(ticks).unwrap() * 20);
        Stamp { mono: MonoNanos(ticks * 20_000_000), trust: ClockTrust::Network, wall }
    }
}

struct Boxed {
    dir: tempfile::TempDir,
    key: Arc<Es256Key>,
}

impl Boxed {
    /// The key of a box that is yet to be written.
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Arc::new(Es256Key::from_seed([7; 32]).unwrap());
        let boxed = Self { dir, key };
        std::fs::write(boxed.path("device.pub"), boxed.key.verifying_key().to_string()).unwrap();
        boxed
    }

    /// A robot's box: it drives a circle for a job, the gate intervenes, something goes wrong.
    fn new() -> Self {
        let boxed = Self::empty();
        let opened = Journal::open(&boxed.journal(), boxed.options()).unwrap();
        let handle = opened.journal.handle();
        let put = |entry: Entry| handle.append_durable(entry).unwrap();
        put(Entry::Link(Link { reason: None, up: true }));
        put(boxed.fact(1, EventType::ExecutionStarted));
        for i in 0..120_u32 {
            let angle = f64::from(i) / 20.0;
            put(Entry::Sample(sample(angle)));
            if i == 40 {
                put(Entry::Verdict(verdict()));
                let message = "too near the press".to_owned();
                let skill = SkillId::new("patrol").unwrap();
                put(Entry::SkillLog(SkillLog { message: message.into(), skill }));
            }
        }
        let reason = "a person came too near".to_owned();
        put(Entry::Stop(Stop { profile: StopProfile::ControlledHold, reason }));
        put(boxed.fact(2, EventType::IncidentDetected));
        put(boxed.fact(3, EventType::ExecutionAborted));
        opened.journal.close().unwrap();
        boxed
    }

    fn options(&self) -> Options {
        let clock = Arc::new(Ticking(AtomicU64::new(1)));
        let mut options = Options::new(clock, Arc::<Es256Key>::clone(&self.key), Digest::of(b"p"));
        options.checkpoint_every_records = 50;
        options
    }

    fn fact(&self, actor_seq: u64, kind: EventType) -> Entry {
        let actor = Actor { id: ActorId::new("amr-1").unwrap(), kind: ActorKind::Robot };
        let journal = "jr_1".parse().unwrap();
        let job = JobId::new("job_1").unwrap();
        let at = Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(BEGAN) };
        let statement =
            Statement { actor: &actor, actor_seq, at, job: Some(&job), journal: &journal, kind };
        let pose = Pose { x: 1.0, y: 2.0, yaw: 0.0 };
        let payload = UnderPolicy { policy_hash: Digest::of(b"p"), pose };
        let signed = Fact::sign(&statement, &payload, self.key.as_ref()).unwrap();
        Entry::Fact(nooterra_protocol::codec::Blob(signed.bytes().to_vec()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn journal(&self) -> PathBuf {
        self.path("journal")
    }

    fn damage(&self, seq: u64) {
        let place = locate(&self.journal(), seq).unwrap();
        let file = std::fs::File::options().write(true).open(&place.path).unwrap();
        file.write_all_at(&[0xff; 4], place.offset + 20).unwrap();
    }

    fn last(&self) -> u64 {
        tail(&self.journal(), TailFrom::Last(1)).unwrap().last().unwrap().seq
    }

    /// Runs a command; `JOURNAL`, `KEY` and `OUT/name` are put in.
    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(AGENT);
        command.arg("blackbox").env("NOOTERRA_CONFIG", self.path("no-agent.toml"));
        for word in line.split(' ') {
            match word {
                "JOURNAL" => command.arg(self.journal()),
                "KEY" => command.arg("--key-file").arg(self.path("device.pub")),
                word => match word.strip_prefix("OUT/") {
                    Some(name) => command.arg(self.path(name)),
                    None => command.arg(word),
                },
            };
        }
        command.output().unwrap()
    }

    /// What it says, and that its exit code is this one.
    fn says(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let said = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {said}{errors}");
        said + &errors
    }

    fn answers(&self, line: &str, code: i32) -> Value {
        let output = self.run(&format!("{line} --json"));
        assert_eq!(output.status.code(), Some(code), "{line}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn sample(angle: f64) -> Sample {
    let (sin, cos) = angle.sin_cos();
    Sample {
        allowed: Twist::new(0.5, 0.25).into(),
        asked: Asked::from(Twist::new(0.8, f64::NAN)),
        battery: Some(0.75),
        joints: None,
        limit_mps: 0.5,
        pose: Pose { x: 6.0 + 2.0 * sin, y: 4.0 - 2.0 * cos, yaw: angle },
        source: Source::Skill,
        twist: Twist::new(0.5, 0.25),
    }
}

fn verdict() -> Verdict {
    Verdict {
        allowed: Twist::new(0.4, 0.1).into(),
        asked: Asked::from(Twist::new(1.5, f64::NAN)),
        command: None,
        job: Some(JobId::new("job_1").unwrap()),
        limit: 0.4,
        phase: VerdictPhase::Began,
        policy_hash: Digest::of(b"p"),
        pose: Pose { x: 6.0, y: 4.0, yaw: 0.0 },
        rule: Rule::ZoneSpeed,
        source: Source::Skill,
        tick: 99,
        zone: Some("press".parse().unwrap()),
    }
}

#[test]
fn verify_tells_four_things_apart_and_each_outcome_has_its_exit_code() {
    let boxed = Boxed::new();
    let last = boxed.last();
    let said = boxed.says("verify JOURNAL KEY", 0);
    assert!(said.contains(&format!("verified:                 through record {last}")), "{said}");
    for part in ["missing, and said to be:  none", "pruned, and said to be:   none"] {
        assert!(said.contains(part), "{said}");
    }
    let answer = boxed.answers("verify JOURNAL KEY", 0);
    assert_eq!((&answer["whole"], &answer["identity_proven"]), (&true.into(), &true.into()));

    // Nobody to trust: never more than self-consistent.
    let said = boxed.says("verify JOURNAL", 10);
    assert!(said.contains("self-consistent") && said.contains("identity unproven"), "{said}");
    assert!(!said.contains("valid"), "{said}");
    assert_eq!(boxed.answers("verify JOURNAL", 10)["identity_proven"], false);

    // A stranger's key.
    let stranger = Es256Key::from_seed([9; 32]).unwrap().verifying_key();
    boxed.says(&format!("verify JOURNAL --key {stranger}"), 5);

    boxed.damage(60);
    let said = boxed.says("verify JOURNAL KEY", 5);
    assert!(said.starts_with("record 60 is not as it was written"), "{said}");
    assert_eq!(boxed.answers("verify JOURNAL KEY", 5)["first_bad"]["seq"], 60);

    // The agent opens it again, and says in a signed record what is lost.
    let place = locate(&boxed.journal(), last).unwrap();
    let file = std::fs::File::options().write(true).open(&place.path).unwrap();
    file.write_all_at(&[0xff; 4], place.offset + 20).unwrap();
    let opened = Journal::open(&boxed.journal(), boxed.options()).unwrap();
    if opened.rebuilt {
        opened.journal.close().unwrap();
        let said = boxed.says("verify JOURNAL KEY", 8);
        assert!(said.contains("missing, and said to be:  60 to 60"), "{said}");
    }
    boxed.says("verify OUT/nowhere KEY", 9);
}

#[test]
fn records_are_shown_by_number_time_kind_and_job_in_words() {
    let boxed = Boxed::new();
    let said = boxed.says("show 2 --dir JOURNAL", 0);
    for part in
        ["record 2: fact, critical", "synchronised by the network", "EXECUTION_STARTED of job_1"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = boxed.says("show 1..4 --dir JOURNAL", 0);
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(said.contains("the channel to the cloud is up"), "{said}");
    let said = boxed.says("show --dir JOURNAL --kind stop,verdict", 0);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(
        said.contains("zone.speed began (press)") && said.contains("controlled_hold"),
        "{said}"
    );
    let of_job = boxed.says("show --dir JOURNAL --job job_1", 0);
    assert!(of_job.contains("EXECUTION_ABORTED") && !of_job.contains("channel"), "{of_job}");
    let first = boxed.says("show --dir JOURNAL --until 2026-11-18T18:40:01Z", 0);
    let rest = boxed.says("show --dir JOURNAL --since 2026-11-18T18:40:01Z", 0);
    assert_eq!((first + &rest).lines().count() as u64, boxed.last());
    let line = boxed.says("show 5 --dir JOURNAL --json", 0);
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&record["seq"], &record["kind"]), (&5.into(), &"sample".into()));
    assert!(boxed.says("show 9999 --dir JOURNAL", 1).contains("record 9999 is not in the journal"));
    assert!(boxed.says("show --dir JOURNAL --job job_2", 1).contains("no record is of job job_2"));
    assert!(boxed.says("show --dir JOURNAL --since noon", 2).contains("write it in UTC"));
}

#[test]
fn a_tail_follows_a_journal_that_is_being_written() {
    let boxed = Boxed::new();
    let last = boxed.last();
    let mut follower = Command::new(AGENT)
        .args(["blackbox", "tail", "-n", "1", "--follow", "--json"])
        .arg(boxed.journal())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut seq = || {
        let line = lines.next().unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["seq"].as_u64().unwrap()
    };
    assert_eq!(seq(), last);
    let opened = Journal::open(&boxed.journal(), boxed.options()).unwrap();
    for _ in 0..3 {
        opened.journal.handle().append_durable(Entry::Sample(sample(0.0))).unwrap();
    }
    assert_eq!([seq(), seq(), seq()], [last + 1, last + 2, last + 3]);
    follower.kill().unwrap();
    follower.wait().unwrap();
    opened.journal.close().unwrap();
}

#[test]
fn a_damaged_box_is_salvaged_and_what_is_missing_is_said() {
    let boxed = Boxed::new();
    boxed.damage(60);
    let answer = boxed.answers("salvage JOURNAL -o OUT/saved KEY", 8);
    assert_eq!(answer["missing"], serde_json::json!([[60, 60]]));
    assert_eq!(answer["records"], boxed.last() - 1);
    assert!(boxed.says("show 61 --dir OUT/saved", 0).contains("record 61"));
    assert!(boxed.says("show 60 --dir OUT/saved", 0).contains("it was lost"));
    assert!(boxed.says("salvage JOURNAL -o OUT/saved", 1).contains("is there already"));
    std::fs::write(boxed.path("noise"), vec![7; 5000]).unwrap();
    boxed.says("salvage OUT/noise -o OUT/nothing", 9);
}

#[test]
fn a_record_is_proved_to_somebody_who_has_nothing_else() {
    let boxed = Boxed::new();
    let answer = boxed.answers("prove 47 --dir JOURNAL -o OUT/47.proof", 0);
    assert_eq!(answer["type"], "inclusion");
    std::fs::remove_dir_all(boxed.journal()).unwrap();
    let said = boxed.says("check-proof OUT/47.proof KEY", 0);
    assert!(said.contains("signed by the key") && said.contains("record 47"), "{said}");
    assert!(boxed.says("check-proof OUT/47.proof", 10).contains("identity unproven"));
    let mut bytes = std::fs::read(boxed.path("47.proof")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(boxed.path("forged.proof"), bytes).unwrap();
    boxed.says("check-proof OUT/forged.proof KEY", 5);
    boxed.says("check-proof OUT/none.proof KEY", 9);
}

#[test]
fn a_newer_checkpoint_is_shown_to_continue_an_older_one() {
    let boxed = Boxed::new();
    let mut records = tail(&boxed.journal(), TailFrom::Seq(1)).unwrap();
    let is_checkpoint = |kind: &str| kind == "checkpoint";
    let found = records.find(|record| is_checkpoint(&record.record.as_ref().unwrap().kind));
    let at = found.unwrap().seq;
    let line = format!("prove {at} --consistency --dir JOURNAL -o OUT/c.proof");
    assert_eq!(boxed.answers(&line, 0)["type"], "consistency");
    let said = boxed.says("check-proof OUT/c.proof KEY", 0);
    assert!(said.contains("is the beginning of"), "{said}");
}

/// Messages by topic, with the schema of each, read by the crate that did not write ours.
fn topics(path: &Path) -> BTreeMap<String, (String, usize)> {
    let bytes = std::fs::read(path).unwrap();
    let mut topics = BTreeMap::new();
    for message in mcap::MessageStream::new(&bytes).unwrap() {
        let message = message.unwrap();
        assert_eq!(message.channel.message_encoding, "cdr");
        assert!(message.log_time >= u64::try_from(BEGAN).unwrap() * 1_000_000);
        let schema = message.channel.schema.as_ref().unwrap();
        assert_eq!(schema.encoding, "ros2msg");
        let entry = topics.entry(message.channel.topic.clone()).or_insert((schema.name.clone(), 0));
        entry.1 += 1;
    }
    topics
}

/// Of a `sensor_msgs/JointState`: names, and how many numbers each sequence has with its first.
fn joint_state(data: &[u8]) -> (Vec<String>, Vec<Vec<f64>>) {
    // Alignment counts from behind the encapsulation.
    let (body, mut at) = (&data[4..], 8);
    let u32_at = |at: &mut usize| {
        *at = at.next_multiple_of(4);
        *at += 4;
        u32::from_le_bytes(body[*at - 4..*at].try_into().unwrap()) as usize
    };
    let text_at = |at: &mut usize| {
        let length = u32_at(at);
        *at += length;
        String::from_utf8(body[*at - length..*at - 1].to_vec()).unwrap()
    };
    assert_eq!(text_at(&mut at), "base_link");
    let names = (0..u32_at(&mut at)).map(|_| text_at(&mut at)).collect();
    let mut sequences = Vec::new();
    for _ in 0..3 {
        let count = u32_at(&mut at);
        let numbers = (0..count).map(|_| {
            at = at.next_multiple_of(8) + 8;
            f64::from_le_bytes(body[at - 8..at].try_into().unwrap())
        });
        sequences.push(numbers.collect());
    }
    assert_eq!(at, body.len());
    (names, sequences)
}

#[test]
fn an_arms_box_tells_its_joints_in_words_and_in_an_export_that_verifies() {
    let boxed = Boxed::empty();
    let opened = Journal::open(&boxed.journal(), boxed.options()).unwrap();
    let handle = opened.journal.handle();
    let each = |values: [f64; 2]| PerJoint::new(&values).unwrap();
    for _ in 0..60 {
        let joints = JointStates {
            effort: each([0.5, 0.0]),
            position: each([1.25, -0.5]),
            velocity: each([0.125, 0.0]),
        };
        let asked = PerJoint::new(&[Some(0.5), None]).unwrap();
        handle
            .append_durable(Entry::Sample(Sample {
                allowed: Setpoint::Joints(JointVelocities { joints: each([0.25, 0.0]) }),
                asked: Asked::Joints { joints: asked },
                joints: Some(joints),
                ..sample(0.0)
            }))
            .unwrap();
    }
    opened.journal.close().unwrap();
    let said = boxed.says("show --dir JOURNAL --kind sample", 0);
    let words = "joints at (1.250, -0.500), moving (0.125, 0.000), for skill";
    assert!(said.contains(words), "{said}");
    boxed.says("export JOURNAL --mcap OUT/arm.mcap KEY", 0);
    boxed.says("verify OUT/arm.mcap KEY", 0);
    let bytes = std::fs::read(boxed.path("arm.mcap")).unwrap();
    let mut found = BTreeMap::new();
    for message in mcap::MessageStream::new(&bytes).unwrap() {
        let message = message.unwrap();
        if message.channel.topic.starts_with("/joint") {
            let schema = message.channel.schema.as_ref().unwrap();
            assert_eq!(schema.name, "sensor_msgs/msg/JointState");
            found.insert(message.channel.topic.clone(), joint_state(&message.data));
        }
        assert!(!message.channel.topic.starts_with("/cmd_vel"), "an arm has no twist");
    }
    let names = vec!["joint_1".to_owned(), "joint_2".to_owned()];
    let states = vec![vec![1.25, -0.5], vec![0.125, 0.0], vec![0.5, 0.0]];
    assert_eq!(found["/joint_states"], (names.clone(), states));
    let commands = vec![vec![], vec![0.25, 0.0], vec![]];
    assert_eq!(found["/joint_commands"], (names, commands));
    let asked = &found["/joint_commands_asked"].1[1];
    assert!(asked[0].to_bits() == 0.5_f64.to_bits() && asked[1].is_nan(), "{asked:?}");
}

#[test]
fn an_export_is_an_indexed_mcap_with_everything_in_it_and_verifies_again() {
    let boxed = Boxed::new();
    let answer = boxed.answers("export JOURNAL --mcap OUT/all.mcap KEY", 0);
    assert_eq!(answer["records"], boxed.last());
    let topics = topics(&boxed.path("all.mcap"));
    let count = |topic: &str| topics.get(topic).map_or(0, |(_, count)| *count);
    assert_eq!(topics["/odom"], ("nav_msgs/msg/Odometry".to_owned(), 120));
    assert_eq!(topics["/cmd_vel"], ("geometry_msgs/msg/TwistStamped".to_owned(), 120));
    assert_eq!(topics["/tf"], ("tf2_msgs/msg/TFMessage".to_owned(), 120));
    assert_eq!((count("/blackbox/verdicts"), count("/blackbox/stops")), (1, 1));
    assert_eq!((count("/blackbox/incidents"), count("/blackbox/facts")), (1, 2));
    let bytes = std::fs::read(boxed.path("all.mcap")).unwrap();
    let summary = mcap::Summary::read(&bytes).unwrap().unwrap();
    assert!(summary.chunk_indexes.iter().all(|chunk| chunk.compression == "zstd"));
    assert!(!summary.chunk_indexes.is_empty() && summary.stats.is_some());
    let names: Vec<&str> = summary.metadata_indexes.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["nooterra.clock", "nooterra.checkpoints", "nooterra.verification"]);

    let said = boxed.says("verify OUT/all.mcap KEY", 0);
    assert!(said.contains("verified through the signed checkpoint"), "{said}");
    let all = topics.values().map(|(_, count)| count).sum::<usize>();
    assert!(said.contains(&format!("{all}, as they are made of the records")), "{said}");
    assert!(said.contains("note: the metadata, every other attachment"), "{said}");
    boxed.says("verify OUT/all.mcap", 10);
    // One bit of the attachment.
    let index = &summary.attachment_indexes[0];
    let mut altered = bytes.clone();
    let at = usize::try_from(index.offset + index.length / 2).unwrap();
    altered[at] ^= 1;
    std::fs::write(boxed.path("altered.mcap"), altered).unwrap();
    let code = boxed.run("verify OUT/altered.mcap KEY").status.code().unwrap();
    assert!(code == 5 || code == 9, "{code}");
    assert!(boxed.says("export JOURNAL --mcap OUT/all.mcap", 1).contains("exists"));
}

#[test]
fn an_export_of_some_records_holds_no_others_and_proves_its_own() {
    let boxed = Boxed::new();
    let line = "export JOURNAL --mcap OUT/some.mcap --kind fact,verdict,stop KEY";
    let answer = boxed.answers(line, 0);
    assert_eq!(answer["records"], 5);
    assert_eq!(answer["withheld"], 122);
    assert!(!topics(&boxed.path("some.mcap")).contains_key("/odom"));
    let answer = boxed.answers("verify OUT/some.mcap KEY", 0);
    assert_eq!((&answer["withheld"], &answer["whole"]), (&122.into(), &true.into()));
    // Of the checkpoints, which are always attached, there are no messages.
    let messages = &answer["messages"];
    assert_eq!((&messages["same"], &messages["wrong"]), (&10.into(), &0.into()), "{messages}");
    assert!(messages["silent"].as_u64().unwrap() > 0, "{messages}");
    let line = "export JOURNAL --mcap OUT/job.mcap --job job_1 --until 2026-11-18T18:40:01Z";
    let answer = boxed.answers(line, 0);
    assert!(answer["records"].as_u64().unwrap() < boxed.last());
}

/// Writes an export again, as anybody can who has it: with other messages, and all else as it was.
fn rewritten(from: &Path, to: &Path, change: impl FnOnce(&mut Vec<mcap::Message<'static>>)) {
    let bytes = std::fs::read(from).unwrap();
    let messages = mcap::MessageStream::new(&bytes).unwrap();
    let mut messages: Vec<_> = messages.map(Result::unwrap).collect();
    change(&mut messages);
    let summary = mcap::Summary::read(&bytes).unwrap().unwrap();
    let file = std::fs::File::create(to).unwrap();
    let mut writer = mcap::WriteOptions::new().profile("ros2").create(file).unwrap();
    for message in &messages {
        writer.write(message).unwrap();
    }
    for index in &summary.attachment_indexes {
        writer.attach(&mcap::read::attachment(&bytes, index).unwrap()).unwrap();
    }
    for index in &summary.metadata_indexes {
        writer.write_metadata(&mcap::read::metadata(&bytes, index).unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_message_of_an_export_that_its_record_does_not_make_is_named() {
    let boxed = Boxed::new();
    boxed.says("export JOURNAL --mcap OUT/all.mcap KEY", 0);
    let bytes = std::fs::read(boxed.path("all.mcap")).unwrap();
    let messages = mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap);
    let messages: Vec<mcap::Message<'static>> = messages.collect();
    let all = messages.len();
    // Some message in the middle: nothing of its like is near.
    let mut odometry = (0..all).filter(|at| messages[*at].channel.topic == "/odom");
    let at = odometry.nth(60).unwrap();
    let seq = u64::from(messages[at].sequence);
    let verdict = messages.iter().position(|one| one.channel.topic == "/blackbox/verdicts");
    let verdict = verdict.unwrap();
    let checked = |change: &dyn Fn(&mut Vec<mcap::Message<'static>>), code| {
        rewritten(&boxed.path("all.mcap"), &boxed.path("other.mcap"), change);
        let answer = boxed.answers("verify OUT/other.mcap KEY", code);
        assert_eq!(answer["intact"], code == 0);
        // Of the records themselves there is nothing to be said.
        assert_eq!(answer["first_bad"], Value::Null);
        let wrong = answer["messages"]["wrong_messages"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let wrong = wrong
            .map(|one| (one["seq"].as_u64().unwrap(), text(&one["topic"]), text(&one["what"])));
        (answer["messages"].clone(), wrong.collect::<Vec<_>>())
    };
    let named = |seq, topic: &str, what: &str| vec![(seq, topic.to_owned(), what.to_owned())];

    // Other chunks, another program: the messages are the same.
    let (found, wrong) = checked(&|_| {}, 0);
    assert_eq!((&found["same"], wrong.len()), (&all.into(), 0), "{found}");

    let altered: [&dyn Fn(&mut mcap::Message<'static>); 4] = [
        &|message| *message.data.to_mut().last_mut().unwrap() ^= 1,
        &|message| message.data.to_mut().push(0),
        &|message| message.log_time += 1,
        &|message| message.publish_time -= 1,
    ];
    for change in altered {
        let (found, wrong) = checked(&|messages| change(&mut messages[at]), 5);
        assert_eq!(wrong, named(seq, "/odom", "altered"));
        assert_eq!(found["same"], all - 1);
    }
    let said = boxed.says("verify OUT/other.mcap KEY", 5);
    assert!(said.contains(&format!("message of record {seq}, /odom: altered")), "{said}");
    assert!(said.contains("verified through the signed checkpoint"), "{said}");

    // What the gate did is not shown.
    let (_, wrong) = checked(&|messages| drop(messages.remove(verdict)), 5);
    let in_verdict = u64::from(messages[verdict].sequence);
    assert_eq!(wrong, named(in_verdict, "/blackbox/verdicts", "missing"));
    // The first of all, and the last but for the checkpoint.
    let end = messages.iter().rposition(|one| one.channel.topic == "/rosout").unwrap();
    for at in [0, end] {
        let (_, wrong) = checked(&|messages| drop(messages.remove(at)), 5);
        let one = &messages[at];
        assert_eq!(wrong, named(u64::from(one.sequence), &one.channel.topic, "missing"));
    }
    // A message twice, or one of no record.
    for place in [0, at + 1, all] {
        let (found, wrong) = checked(&|new| new.insert(place, messages[at].clone()), 5);
        assert_eq!((&found["same"], wrong.len()), (&all.into(), 1), "{place}: {wrong:?}");
        assert!(wrong[0].2 == "added" && wrong[0].0 == seq, "{place}: {wrong:?}");
    }
    let strange = |new: &mut Vec<mcap::Message<'static>>| {
        new[at].sequence = 77_777;
    };
    let (_, wrong) = checked(&strange, 5);
    let odd = [named(77_777, "/odom", "added"), named(seq, "/odom", "missing")].concat();
    assert_eq!(wrong, odd);
    // Earlier or later than it was.
    for place in [at - 7, at + 7] {
        let moved = |new: &mut Vec<mcap::Message<'static>>| {
            let one = new.remove(at);
            new.insert(place, one);
        };
        let (found, wrong) = checked(&moved, 5);
        assert_eq!(wrong, named(seq, "/odom", "moved"), "{place}");
        assert_eq!(found["same"], all - 1);
    }
    // Another schema: the same bytes are drawn otherwise.
    let redefined = |new: &mut Vec<mcap::Message<'static>>| {
        let mut channel = (*new[at].channel).clone();
        let mut schema = (**channel.schema.as_ref().unwrap()).clone();
        schema.data.to_mut().push(b'\n');
        channel.schema = Some(Arc::new(schema));
        let channel = Arc::new(channel);
        for one in new.iter_mut().filter(|one| one.channel.topic == "/odom") {
            one.channel = Arc::clone(&channel);
        }
    };
    let (found, wrong) = checked(&redefined, 5);
    assert_eq!((&found["wrong"], &found["same"]), (&120.into(), &(all - 120).into()));
    assert!(wrong.iter().all(|(_, topic, what)| topic == "/odom" && what == "altered"));
    // Nothing is drawn at all.
    let (found, _) = checked(&|messages| messages.clear(), 5);
    assert_eq!(found["same"], 0);
    assert!(found["wrong"].as_u64().unwrap() + found["silent"].as_u64().unwrap() == all as u64);

    // A chunk that does not unpack any more: what is behind it cannot be compared.
    let summary = mcap::Summary::read(&bytes).unwrap().unwrap();
    let chunk = &summary.chunk_indexes[0];
    let mut torn = bytes.clone();
    let middle = usize::try_from(chunk.chunk_start_offset + chunk.chunk_length / 2).unwrap();
    torn[middle..middle + 64].fill(0xff);
    std::fs::write(boxed.path("torn.mcap"), torn).unwrap();
    let answer = boxed.answers("verify OUT/torn.mcap KEY", 5);
    assert_ne!(answer["messages"]["wrong"], 0, "{answer}");
    assert_eq!(answer["first_bad"], Value::Null);

    // A second file behind the end: who begins there reads that one.
    std::fs::write(boxed.path("twice.mcap"), bytes.repeat(2)).unwrap();
    let answer = boxed.answers("verify OUT/twice.mcap KEY", 5);
    let messages = &answer["messages"];
    assert_eq!((&messages["same"], &messages["wrong"]), (&all.into(), &1.into()), "{answer}");
    let wrong = &messages["wrong_messages"][0];
    assert_eq!(wrong["what"], "unreadable");
    assert!(wrong["why"].as_str().unwrap().contains("something stands behind its end"));
}

#[test]
fn an_export_says_which_records_it_could_not_read_and_ends_with_the_code_for_loss() {
    let boxed = Boxed::new();
    let last = boxed.last();
    boxed.damage(60);
    boxed.damage(61);
    let answer = boxed.answers("export JOURNAL --mcap OUT/some.mcap KEY", 8);
    assert_eq!((&answer["unreadable"], &answer["exit_code"]), (&2.into(), &8.into()));
    let spans = answer["unreadable_spans"].as_array().unwrap();
    let numbers = spans.iter().flat_map(|span| [&span["first"], &span["last"]]);
    let numbers: Vec<u64> = numbers.map(|number| number.as_u64().unwrap()).collect();
    assert!(numbers == [60, 61] || numbers == [60, 60, 61, 61], "{spans:?}");
    assert!(spans.iter().all(|span| !span["why"].as_str().unwrap().is_empty()));
    // All others are there.
    assert_eq!(answer["records"], last - 2);
    assert_eq!(topics(&boxed.path("some.mcap"))["/odom"].1, 118);
    let output = boxed.run("export JOURNAL --mcap OUT/again.mcap KEY");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(8), "{errors}");
    assert!(errors.contains("record 60") || errors.contains("records 60 to 61"), "{errors}");
    assert!(errors.contains("2 records that may have been asked for"), "{errors}");
    // What the attachment holds are the others, and who checks it is told the same.
    let answer = boxed.answers("verify OUT/some.mcap KEY", 5);
    assert_eq!(
        (&answer["first_bad"]["seq"], &answer["messages"]["wrong"]),
        (&60.into(), &0.into())
    );

    // Of what kind they were nobody knows; when they were the records beside them tell.
    boxed.says("export JOURNAL --mcap OUT/kind.mcap --kind stop KEY", 8);
    boxed.says("export JOURNAL --mcap OUT/job.mcap --job job_1 KEY", 8);
    let line = "export JOURNAL --mcap OUT/early.mcap --until 2026-11-18T18:40:01Z KEY";
    let answer = boxed.answers(line, 0);
    assert_eq!((&answer["unreadable"], &answer["unreadable_elsewhere"]), (&0.into(), &2.into()));

    // A box of another robot is one also where something in it cannot be read.
    let theirs = Es256Key::from_seed([8; 32]).unwrap().verifying_key().to_string();
    std::fs::write(boxed.path("device.pub"), theirs).unwrap();
    boxed.says("export JOURNAL --mcap OUT/theirs.mcap KEY", 5);
    std::fs::write(boxed.path("device.pub"), boxed.key.verifying_key().to_string()).unwrap();

    // The agent has opened it again, and says in a signed record what is lost.
    let place = locate(&boxed.journal(), last).unwrap();
    let file = std::fs::File::options().write(true).open(&place.path).unwrap();
    file.write_all_at(&[0xff; 4], place.offset + 20).unwrap();
    let opened = Journal::open(&boxed.journal(), boxed.options()).unwrap();
    assert!(opened.rebuilt);
    opened.journal.close().unwrap();
    let answer = boxed.answers("export JOURNAL --mcap OUT/rebuilt.mcap KEY", 8);
    assert_eq!(answer["unreadable_spans"][0]["first"], 60, "{answer}");
    boxed.says("verify OUT/rebuilt.mcap KEY", 8);
}

#[test]
fn our_own_backtest_reads_an_export_back() {
    let boxed = Boxed::new();
    boxed.says("export JOURNAL --mcap OUT/all.mcap", 0);
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots/amr/policy.json");
    let output = Command::new(AGENT)
        .args(["policy", "backtest", "--policy"])
        .arg(policy)
        .arg(boxed.path("all.mcap"))
        .arg("--json")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["recording"]["format"], "mcap");
    assert_eq!(answer["recording"]["samples"], 120);
}

/// Reads every message by its own definition, and prints what there is.
const READER: &str = "
import json, sys
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
with open(sys.argv[1], 'rb') as file:
    reader = make_reader(file, decoder_factories=[DecoderFactory()])
    found = {}
    for schema, channel, message, decoded in reader.iter_decoded_messages():
        entry = found.setdefault(channel.topic, {'schema': schema.name, 'count': 0})
        entry['count'] += 1
        if channel.topic == '/odom' and entry['count'] == 1:
            entry['x'] = decoded.pose.pose.position.x
            entry['frame'] = decoded.header.frame_id
        if channel.topic == '/blackbox/verdicts':
            entry['rule'], entry['zone'] = decoded.rule, decoded.zone
            entry['limit'], entry['seq'] = decoded.limit, decoded.seq
        if channel.topic == '/blackbox/stops':
            entry['reason'] = decoded.reason
        if channel.topic == '/tf' and entry['count'] == 1:
            entry['child'] = decoded.transforms[0].child_frame_id
    attachments = [a.name for a in reader.iter_attachments()]
    metadata = {m.name: m.metadata for m in reader.iter_metadata()}
    print(json.dumps({'topics': found, 'attachments': attachments, 'metadata': metadata}))
";

#[test]
fn the_reader_of_pypi_decodes_every_message_of_an_export() {
    let python = std::env::var("NOOTERRA_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let modules = ["-c", "import mcap.reader, mcap_ros2.decoder"];
    let what = "reading with PyPI's mcap (pip install mcap mcap-ros2-support, NOOTERRA_PYTHON)";
    if let Err(why) = skip::allows(what, &python, &modules) {
        skip::skipped(&why);
        return;
    }
    let boxed = Boxed::new();
    boxed.says("export JOURNAL --mcap OUT/all.mcap KEY", 0);
    let output =
        Command::new(python).args(["-c", READER]).arg(boxed.path("all.mcap")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = topics(&boxed.path("all.mcap"));
    assert_eq!(found["topics"].as_object().unwrap().len(), ours.len());
    for (topic, (schema, count)) in ours {
        assert_eq!(found["topics"][&topic]["schema"], schema);
        assert_eq!(found["topics"][&topic]["count"], count);
    }
    let odometry = &found["topics"]["/odom"];
    assert_eq!((&odometry["x"], &odometry["frame"]), (&6.0.into(), &"map".into()));
    let verdict = &found["topics"]["/blackbox/verdicts"];
    assert_eq!((&verdict["rule"], &verdict["zone"]), (&"zone.speed".into(), &"press".into()));
    assert_eq!(verdict["limit"], 0.4);
    assert_eq!(found["topics"]["/blackbox/stops"]["reason"], "a person came too near");
    assert_eq!(found["topics"]["/tf"]["child"], "base_link");
    assert_eq!(found["attachments"], serde_json::json!(["nooterra.excerpt"]));
    assert_eq!(found["metadata"]["nooterra.verification"]["key_known"], "true");
    assert_eq!(found["metadata"]["nooterra.clock"]["records_untrusted"], "0");
}
