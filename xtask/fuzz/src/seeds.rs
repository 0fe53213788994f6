//! Inputs that are well formed, and the names and keys that they share.

use crate::block::{Block, Encoded, Held, Running};
use crate::minisig;
use crate::openings::{Cipher, Header, Kept, KeyBytes, encode_key};
use crate::picture::{Head, Lid};
use crate::signature::TrustedKeys;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nooterra_evidence::{Checkpoint, GENESIS, Record, Seal, leaf_hash, link};
use nooterra_protocol::VERSION;
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::entry::{Class, Entry, Link, SkillLog};
use nooterra_protocol::envelope::{Envelope, Signed};
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::grid::{Frame, Grid};
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, JournalId, RobotId, SkillId};
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use nooterra_protocol::plan::Plan;
use nooterra_protocol::policy::PolicyDocument;
use nooterra_protocol::private::{PrivateError, SALT_BYTES, Salts};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use nooterra_protocol::uplink::{Ack, Batch, Since, State};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

/// A public key in minisign's form; nobody signs with it here.
pub(crate) const PUBLIC_KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

const POLICY: &str = include_str!("../../../examples/robots/amr/policy.json");
const CONFIG: &str = include_str!("../../../examples/robots/amr/agent.toml");
const GRAPH: &str = include_str!("../../../examples/skills/rounds/graph.json");
pub(crate) const GRAPH_MANIFEST: &str =
    include_str!("../../../examples/skills/rounds/manifest.json");
const MANIFEST: &str = include_str!("../../../examples/skills/patrol/manifest.json");
const PLAN: &str = r#"{"steps":[{"id":"round","action":"patrol","timeout_s":60,
    "skill":{"id":"patrol","version":"0.1.0","bundle":
    "0000000000000000000000000000000000000000000000000000000000000000"},
    "params":{"waypoints":[{"x":8.0,"y":1.2}],"speed_mps":2.0,"flag":true,"text":"a"}}]}"#;

pub(crate) fn key() -> Ed25519Key {
    Ed25519Key::from_seed([7; 32])
}

pub(crate) fn robot() -> RobotId {
    RobotId::new("amr-1").expect("a name")
}

/// The owner's policy of the example robot.
pub(crate) fn document() -> PolicyDocument {
    serde_json::from_str(POLICY).expect("the example is a policy")
}

/// Trusts whatever comes; see `crate::signature`.
pub(crate) fn trusted() -> TrustedKeys {
    TrustedKeys(minisig::TrustedKeys::from_texts([PUBLIC_KEY]).expect("a key"))
}

fn command(body: Ask) -> RemoteCommand {
    Envelope {
        audience: robot(),
        body,
        expires_at: WallMillis(2_000),
        id: EnvelopeId::new("cmd_00000000000000000000000000000000").expect("an id"),
        issued_at: WallMillis(500),
        issuer: ActorId::new("cloud").expect("a name"),
        v: VERSION,
    }
}

fn asks() -> Vec<Ask> {
    let job = || JobId::new("job_00000000000000000000000000000000").expect("an id");
    let plan: Plan = serde_json::from_str(PLAN).expect("a plan");
    vec![
        Ask::CancelJob { job: job(), reason: "a reason".to_owned() },
        Ask::PauseJob { job: job(), reason: "a reason".to_owned() },
        Ask::ResumeJob { job: job() },
        Ask::Drive { lease_ms: 100, twist: Twist::new(0.5, -0.1) },
        Ask::DriveTo { lease_ms: 100, speed_mps: 1.0, to: Point::new(1.0, 2.0) },
        Ask::EmergencyStop { reason: "a reason".to_owned() },
        Ask::Disconnect { reason: "a reason".to_owned() },
        Ask::LiftVeto,
        Ask::MarkIncident { reason: "a reason".to_owned() },
        Ask::Reconnect,
        Ask::ReleaseStop,
        Ask::SetLimits { mode: None },
        Ask::Veto { reason: "a reason".to_owned() },
        Ask::StartJob { job: job(), plan },
    ]
}

fn bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    codec::to_vec(value).expect("it has a canonical form")
}

pub(crate) fn commands() -> Vec<Vec<u8>> {
    asks().into_iter().map(|ask| bytes(&command(ask))).collect()
}

pub(crate) fn signed() -> Vec<Vec<u8>> {
    let sign = |ask| Signed::sign(command(ask), &key()).expect("it signs").bytes().to_vec();
    let mut all: Vec<Vec<u8>> = asks().into_iter().map(sign).collect();
    all.push(Signed::sign(document(), &key()).expect("it signs").bytes().to_vec());
    all
}

fn stamp() -> Stamp {
    Stamp { mono: MonoNanos(5), trust: ClockTrust::Network, wall: WallMillis(1_000) }
}

pub(crate) fn journal_id() -> JournalId {
    JournalId::new("jrn_00000000000000000000000000000000").expect("an id")
}

fn signed_checkpoint(size: u64, head: Digest) -> Entry {
    let checkpoint = Checkpoint {
        boot: 1,
        head,
        journal: journal_id(),
        policy_hash: Digest::of(b"policy"),
        root: Digest::of(b"root"),
        size,
        stamp: stamp(),
        v: nooterra_evidence::record::VERSION,
    };
    checkpoint.into_entry(&Seal::Device(Arc::new(key()))).expect("it signs")
}

fn entries() -> Vec<Entry> {
    let skill = SkillId::new("patrol").expect("a name");
    vec![
        Entry::Link(Link { reason: None, up: true }),
        Entry::SkillLog(SkillLog { message: "a line".into(), skill }),
    ]
}

/// One is enough to begin from.
struct Salt;

impl Salts for Salt {
    fn salt(&self) -> Result<[u8; SALT_BYTES], PrivateError> {
        Ok([7; SALT_BYTES])
    }
}

/// Of the file of openings.
pub(crate) const EPOCH: u64 = 3;

pub(crate) fn openings_key() -> KeyBytes {
    KeyBytes::from([9; 32])
}

/// Of the picture among the files of openings.
pub(crate) const LID: Lid = Lid { number: 3, until: WallMillis(1_795_000_060_000) };

/// A key, a file of two frames, what is in them, a frame behind damage, and a picture.
pub(crate) fn openings() -> Vec<Vec<u8>> {
    let header = Header { class: Class::Normal, epoch: EPOCH, journal: journal_id() };
    let mut kept = Vec::new();
    for (mut entry, seq) in entries().into_iter().zip(1..) {
        let openings = entry.seal(&journal_id(), seq, &Salt).expect("it is sealed");
        let (at, job) = (WallMillis(1_795_000_000_000), JobId::new("job_1").ok());
        kept.extend(openings.into_iter().map(|opening| Kept { at, job: job.clone(), opening }));
    }
    let cipher = Cipher::new(&openings_key(), &header);
    let frame = |index| cipher.frame(index, &kept).expect("a frame");
    let file = [header.encode(), frame(0), frame(1)].concat();
    let damaged = [header.encode(), frame(0)[..50].to_vec(), frame(1)].concat();
    let key = encode_key(EPOCH, &openings_key()).to_vec();
    let (at, job) = (WallMillis(1_795_000_000_000), JobId::new("job_1").ok());
    let head = Head { at, job, sha256: Digest::of(b"pixels") };
    let picture = LID.seal(&openings_key(), &head, b"pixels");
    vec![file, damaged, key, picture, codec::to_vec(&kept).expect("it is encoded")]
}

/// Three records, the last a checkpoint over the two before.
pub(crate) fn records() -> Vec<Vec<u8>> {
    let (mut all, mut head) = (Vec::new(), GENESIS);
    for (mut entry, seq) in entries().into_iter().zip(1..) {
        drop(entry.seal(&journal_id(), seq, &Salt).expect("it is sealed"));
        let record = Record::of_entry(&entry, Class::Normal, seq, 1, stamp()).expect("a record");
        let record = record.encode().expect("a record");
        head = link(&head, &leaf_hash(&record));
        all.push(record);
    }
    let entry = signed_checkpoint(2, head);
    let record = Record::of_entry(&entry, Class::Normal, 3, 1, stamp()).expect("a record");
    all.push(record.encode().expect("a record"));
    all
}

pub(crate) fn journals() -> Vec<Vec<u8>> {
    let framed = |record: &Vec<u8>| {
        let length = u16::try_from(record.len()).expect("a short record");
        [&length.to_be_bytes()[..], record].concat()
    };
    vec![records().iter().flat_map(framed).collect()]
}

pub(crate) fn checkpoints() -> Vec<Vec<u8>> {
    match signed_checkpoint(9, GENESIS) {
        Entry::Checkpoint(Blob(bytes)) => vec![bytes],
        _ => Vec::new(),
    }
}

pub(crate) fn uplinks() -> Vec<Vec<u8>> {
    let records = records().into_iter().map(Blob).collect();
    vec![
        bytes(&Batch { journal: journal_id(), records, since: Some(Since { acked: 2, after: 3 }) }),
        bytes(&Ack { class: Class::Critical, journal: journal_id(), through_seq: 7 }),
        bytes(&State { health: None, online: true, robot: robot() }),
    ]
}

pub(crate) fn blocks() -> Vec<Vec<u8>> {
    let mut head = GENESIS;
    let mut encoded = |bytes: Vec<u8>| {
        head = link(&head, &leaf_hash(&bytes));
        Encoded { bytes, class: Class::Normal, held: Held::Whole, link: head }
    };
    let records: Vec<Encoded> = records().into_iter().map(&mut encoded).collect();
    let running = Running { boot: 1, actor_seq: 0, checkpoint_seq: 3 };
    let block = Block::encode(1, &GENESIS, running, &records);
    let two = [&[0; 40][..], &block, &block].concat();
    vec![block, two]
}

pub(crate) fn bundles() -> Vec<Vec<u8>> {
    let component = b"\0asm\x0d\x00\x01\x00";
    let zeros = "0".repeat(64);
    let manifest = MANIFEST.replace(&zeros, &Digest::of(component).to_string());
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [("manifest.json", manifest.as_bytes()), ("component.wasm", component)] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content).expect("it goes into memory");
    }
    vec![archive.into_inner().expect("it goes into memory")]
}

/// A case of everything, and the least one.
pub(crate) fn cases() -> Vec<Vec<u8>> {
    let one = r#"{ "v": 1, "cases": [ { "name": "a", "action": "go", "seed": 7, "limit_s": 20,
        "params": { "to": [{ "x": 1, "y": 2 }], "fast": true }, "battery": 0.5,
        "start": { "x": 1, "y": 1, "yaw": 0 }, "obstacles": [[{ "x": 0, "y": 0 }, { "x": 1, "y": 0 }]],
        "faults": [ { "at_s": 1, "for_s": 2, "fault": "veto" }, { "at_s": 3, "fault": "restart" } ],
        "expect": { "outcome": "done", "rules": ["speed.linear"], "checkpoints": ["c"],
            "at": { "x": 1, "y": 2, "within_m": 0.5 }, "within_s": 9 } },
        { "name": "b", "action": "go", "expect": { "outcome": "failed", "reason": "no" } } ] }"#;
    vec![one.into()]
}

/// With both ways in which a licence is stated.
pub(crate) fn sboms() -> Vec<Vec<u8>> {
    let text = r#"{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [
        {"type": "library", "name": "a", "licenses": [{"expression": "MIT OR Apache-2.0"}]},
        {"type": "library", "name": "b", "licenses": [{"license": {"id": "MIT"}}]}]}"#;
    vec![text.into()]
}

/// Of a crate that is called `own`.
pub(crate) fn locks() -> Vec<Vec<u8>> {
    let text = "version = 4\n[[package]]\nname = \"own\"\nversion = \"1.0.0\"\n\
        dependencies = [\"a 1.0.0\", \"a 2.0.0 (registry+https://github.com/rust-lang/crates.io-index)\"]\n\
        [[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\
        [[package]]\nname = \"a\"\nversion = \"2.0.0\"\n\
        source = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
        checksum = \"00000000000000000000000000000000000000000000000000000000000000aa\"\n";
    vec![text.into()]
}

pub(crate) fn graphs() -> Vec<Vec<u8>> {
    let more = r#"{ "v": 1, "actions": { "route": { "timeout_ticks": 3, "do": { "fallback": [
        { "while": { "near": { "param": "dock", "within_m": 1 } }, "do": { "run": "charge" } },
        { "check": { "inside": [{ "x": 0, "y": 0 }, { "x": 1, "y": 0 }, { "x": 0, "y": 1 }] } },
        { "check": { "param": { "name": "until", "above": 0.5 } } } ] } } } }"#;
    vec![GRAPH.into(), more.into()]
}

pub(crate) fn manifests() -> Vec<Vec<u8>> {
    vec![MANIFEST.into()]
}

/// Documents and lists.
pub(crate) fn trusts() -> Vec<Vec<u8>> {
    let other = STANDARD.encode([b"Ed", &[1; 8][..], &[2; 32]].concat());
    let document = format!(
        r#"{{ "type": "nooterra/skill-trust", "v": 1, "fleet": "hall", "version": 1,
        "issued": "2026-11-01T00:00:00Z", "expires": "2027-11-01T00:00:00Z",
        "keys": [ {{ "name": "a", "key": "{PUBLIC_KEY}" }}, {{ "name": "b", "key": "{other}" }} ],
        "roots": {{ "keys": ["a"], "threshold": 1 }}, "revokers": {{ "keys": ["b"], "threshold": 1 }},
        "tiers": {{ "dev": {{ "developers": {{ "keys": ["a"], "threshold": 1 }} }}, "field_cert": {{
            "developers": {{ "keys": ["a"], "threshold": 1 }},
            "certifiers": {{ "keys": ["b"], "threshold": 1 }} }} }} }}"#
    );
    let list = r#"{ "type": "nooterra/skill-revocations", "v": 1, "fleet": "hall", "version": 1,
        "issued": "2026-11-20T00:00:00Z", "expires": "2026-12-20T00:00:00Z",
        "keys": [ { "key": "E7620F1842B4E81F", "reason": "lost" } ],
        "bundles": [ { "bundle":
            "0000000000000000000000000000000000000000000000000000000000000000", "reason": "x" } ],
        "versions": [ { "skill": "patrol", "below": "1.2.0-rc.1", "reason": "hits doors" },
                      { "skill": "patrol", "version": "1.3.0+a", "reason": "hangs" } ] }"#;
    vec![document.into(), list.into()]
}

pub(crate) fn minisigs() -> Vec<Vec<u8>> {
    let key = STANDARD.decode(PUBLIC_KEY).expect("base64");
    let signature = STANDARD.encode([b"ED", &key[2..10], &[3; 64]].concat());
    let global = STANDARD.encode([4; 64]);
    let text = format!("untrusted comment: a\n{signature}\ntrusted comment: b\n{global}\n");
    vec![PUBLIC_KEY.into(), format!("untrusted comment: k\n{PUBLIC_KEY}\n").into(), text.into()]
}

pub(crate) fn policies() -> Vec<Vec<u8>> {
    vec![bytes(&document())]
}

pub(crate) fn tomls() -> Vec<Vec<u8>> {
    vec![toml::to_string(&document()).expect("a policy has a TOML form").into()]
}

pub(crate) fn jsons() -> Vec<Vec<u8>> {
    vec![POLICY.into()]
}

pub(crate) fn configs() -> Vec<Vec<u8>> {
    vec![CONFIG.into()]
}

pub(crate) fn maps() -> Vec<Vec<u8>> {
    let text = |mode: &str| {
        format!(
            "image: map.pgm\nmode: {mode}\nresolution: 0.05\norigin: [-3.0, 2.0, 0.5]\nnegate: \
             0\noccupied_thresh: 0.65\nfree_thresh: 0.25\n\0"
        )
    };
    let binary = b"P5\n# drawn\n4 2\n255\n\x00\xfe\xcd\x80\x00\x7f\xff\x01";
    let plain = b"P2\n4 2\n255\n0 254 205 128\n0 127 255 1\n";
    vec![
        [text("trinary").as_bytes(), binary].concat(),
        [text("scale").as_bytes(), binary].concat(),
        [text("raw").as_bytes(), plain].concat(),
    ]
}

pub(crate) fn grids() -> Vec<Vec<u8>> {
    let origin = Pose { x: 0.0, y: 1.0, yaw: 0.5 };
    let frame = Frame { cell_m: 0.05, height: 3, origin, width: 100 };
    let cells = (0..300_u16).map(|at| if at < 200 { 0 } else { 100 }).collect();
    vec![Grid::new(frame, cells).expect("a grid").encode()]
}

/// An odometry of ROS 2 in CDR, little-endian.
fn odometry(x: f64) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0];
    let align = |bytes: &mut Vec<u8>, to: usize| {
        while !(bytes.len() - 4).is_multiple_of(to) {
            bytes.push(0);
        }
    };
    bytes.extend([7, 0, 0, 0, 0, 0, 0, 0]);
    for text in [&b"odom\0"[..], b"base_link\0"] {
        align(&mut bytes, 4);
        bytes.extend(u32::try_from(text.len()).expect("short").to_le_bytes());
        bytes.extend(text);
    }
    align(&mut bytes, 8);
    let pose = [x, 2.0, 0.0, 0.0, 0.0, 0.6, 0.8];
    let twist = [0.5, 0.1, 0.0, 0.0, 0.0, -0.25];
    let numbers = pose.into_iter().chain([0.0; 36]).chain(twist).chain([0.0; 36]);
    numbers.for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes
}

/// Without packing and checksums, which mutation would only break.
pub(crate) fn mcaps() -> Vec<Vec<u8>> {
    let write = |chunked: bool| {
        let mut out = Cursor::new(Vec::new());
        let options = mcap::WriteOptions::new()
            .compression(None)
            .use_chunks(chunked)
            .calculate_chunk_crcs(false)
            .calculate_data_section_crc(false)
            .calculate_summary_section_crc(false);
        let mut writer = options.create(&mut out).expect("it goes into memory");
        let schema = writer.add_schema("nav_msgs/msg/Odometry", "ros2msg", b"").expect("a schema");
        let channel =
            writer.add_channel(schema, "/odom", "cdr", &BTreeMap::new()).expect("a channel");
        for (nth, x) in [(1, 0.0), (2, 0.5), (3, 1.5)] {
            let time = nth * 1_000_000_000;
            let header = mcap::records::MessageHeader {
                channel_id: channel,
                log_time: time,
                publish_time: time,
                sequence: 0,
            };
            writer.write_to_known_channel(&header, &odometry(x)).expect("it goes into memory");
        }
        writer.finish().expect("it goes into memory");
        drop(writer);
        out.into_inner()
    };
    vec![write(true), write(false)]
}

/// As [`mcaps`], one with an excerpt attached and one with its messages in a packed chunk.
pub(crate) fn exports() -> Vec<Vec<u8>> {
    let mut files = mcaps();
    let mut out = Cursor::new(Vec::new());
    let options = mcap::WriteOptions::new().compression(None).calculate_summary_section_crc(false);
    let mut writer = options.create(&mut out).expect("it goes into memory");
    let attachment = mcap::Attachment {
        log_time: 1,
        create_time: 1,
        name: "nooterra.excerpt".to_owned(),
        media_type: "a/b".to_owned(),
        data: b"signed".as_slice().into(),
    };
    writer.attach(&attachment).expect("it goes into memory");
    writer.finish().expect("it goes into memory");
    drop(writer);
    files.push(out.into_inner());

    let record =
        |kind: u8, body: &[u8]| [&[kind][..], &(body.len() as u64).to_le_bytes(), body].concat();
    let part = |part: &[u8]| {
        let length = u32::try_from(part.len()).expect("short");
        [&length.to_le_bytes()[..], part].concat()
    };
    // Number 1, of no schema, on the topic `/odom`; then what it says at the time 7.
    let channel = [&[1, 0, 0, 0][..], &part(b"/odom"), &part(b"cdr"), &part(b"")].concat();
    let time = 7_u64.to_le_bytes();
    let message = [&[1, 0, 9, 0, 0, 0][..], &time, &time, b"data"].concat();
    let records = [record(4, &channel), record(5, &message)].concat();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let packed = ruzstd::encoding::compress_to_vec(records.as_slice(), level);
    let length = |bytes: &[u8]| (bytes.len() as u64).to_le_bytes();
    let chunk = [
        &time[..],
        &time,
        &length(&records),
        &0_u32.to_le_bytes(),
        &part(b"zstd"),
        &length(&packed),
        &packed,
    ];
    files.push(
        [
            mcap::MAGIC,
            &record(1, &[part(b""), part(b"a program")].concat()),
            &record(6, &chunk.concat()),
            &record(15, &[0; 4]),
            &record(2, &[0; 20]),
            mcap::MAGIC,
        ]
        .concat(),
    );
    files
}

/// A heartbeat and two positions, as a ground station writes them.
pub(crate) fn tlogs() -> Vec<Vec<u8>> {
    use mavlink::MessageData as _;
    use mavlink::dialects::common::{GLOBAL_POSITION_INT_DATA, HEARTBEAT_DATA};
    let frame = |stamp_us: u64, id: u8, extra: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("short");
        let mut frame = vec![0xfe, length, 0, 1, 1, id];
        frame.extend(payload);
        let crc = mavlink::calculate_crc(&frame[1..], extra);
        [&stamp_us.to_be_bytes()[..], &frame, &crc.to_le_bytes()].concat()
    };
    let position = |ms: u32, latitude: i32| {
        let mut payload = ms.to_le_bytes().to_vec();
        for number in [latitude, 1_491_649_392, 587_850, 6_750] {
            payload.extend(number.to_le_bytes());
        }
        payload.extend([10, 0, 6, 0, 0, 0, 40, 35]);
        payload
    };
    let at = |ms: u32, latitude| {
        let extra = GLOBAL_POSITION_INT_DATA::EXTRA_CRC;
        frame(u64::from(ms) * 1_000, 33, extra, &position(ms, latitude))
    };
    let beat = frame(1, 0, HEARTBEAT_DATA::EXTRA_CRC, &[0, 0, 0, 0, 1, 3, 0, 4, 3]);
    vec![[beat, at(500, -353_629_904), at(1_000, -353_629_804)].concat()]
}

pub(crate) fn trajectories() -> Vec<Vec<u8>> {
    [
        "#timestamp,x,y,z,qw,qx,qy,qz\n1000000000,0,0,0,1,0,0,0\n1100000000,0.1,0,0,1,0,0,0\n",
        "1 0 0 0 0 0 0 1\n1.1 0.1 0 0 0 0 0 1\n",
        "1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 0 0 1 0 0 0 0 1 0.5\n",
    ]
    .map(Vec::from)
    .into()
}

pub(crate) fn topics() -> Vec<Vec<u8>> {
    ["noot/1/amr-1/up/critical", "noot/1/amr-1/cmd", "noot/1/+/#"].map(Vec::from).into()
}

/// A device's words: CONNECT with a will, then each of what it may say, and what it may not.
pub(crate) fn packets() -> Vec<Vec<u8>> {
    let connect = b"\x10\x12\x00\x04MQTT\x05\x02\x00\x1e\x00\x00\x05amr-1";
    let will = b"\x10\x2c\x00\x04MQTT\x05\x0e\x00\x1e\x00\x00\x05amr-1\x00\x00\x12noot/1/amr-1/state\x00\x03off";
    let publish = b"\x32\x1b\x00\x14noot/1/amr-1/up/bulk\x00\x01\x00\xa0\xa0";
    let subscribe = b"\x82\x16\x00\x02\x00\x00\x10noot/1/amr-1/cmd\x01";
    let rest: [&[u8]; 5] = [
        b"\xc0\x00",
        b"\x40\x02\x00\x01",
        b"\xa2\x15\x00\x03\x00\x00\x10noot/1/amr-1/cmd",
        b"\x34\x07\x00\x01x\x00\x04\x00y",
        b"\xe0\x02\x00\x00",
    ];
    let mut all = vec![connect.to_vec(), will.to_vec()];
    for packet in [&publish[..], subscribe].into_iter().chain(rest) {
        all.push([&connect[..], packet].concat());
    }
    all.push([&will[..], publish, subscribe, rest[0], publish, rest[4]].concat());
    all
}

pub(crate) fn api() -> Vec<Vec<u8>> {
    let json = |ask: Ask| serde_json::to_vec(&ask).expect("it has a JSON form");
    let mut all: Vec<Vec<u8>> = asks().into_iter().map(json).collect();
    all.push(PLAN.into());
    all
}

/// Each law with each kind of vehicle, and what is not too regular.
pub(crate) fn laws() -> Vec<Vec<u8>> {
    let kinds =
        (0..crate::harness::LAWS.len() as u8).flat_map(|law| (0..5).map(move |kind| (law, kind)));
    let seed = |(law, kind): (u8, u8)| {
        let rest = (0..512_u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8);
        [law, kind, 0].into_iter().chain(rest).collect()
    };
    kinds.map(seed).collect()
}

pub(crate) fn planted() -> Vec<Vec<u8>> {
    Vec::new()
}
