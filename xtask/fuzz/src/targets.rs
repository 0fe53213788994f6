//! The targets. Each reads, and where it can says what must hold of what was read.

use crate::backtest::{self, Derivation, Format, ReadOptions};
use crate::block::{Block, HEAD_BYTES, ROW_BYTES};
use crate::bundle::{Bundle, parse_manifest};
use crate::harness::LAWS;
use crate::harness::draw::Draw;
use crate::materials::{Licences, bill_of_materials};
use crate::minisig::TrustedKeys;
use crate::openings::{Cipher, Frames, Header};
use crate::trust::{Back, Now, Origin, Trust};
use crate::{cases, common, config, export, graphs, log, openings, policy_file, scan, seeds, wire};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait as _, Packet, Qos, v5_0};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, MqttError, PubackReasonCode, SubackReasonCode,
};
use mqtt_protocol_core::mqtt::{Connection, role};
use nooterra_evidence::{Checkpoint, Record, Verifier};
use nooterra_policy::{Gate, VerifiedPolicy, check_document};
use nooterra_protocol::codec::{self, Blob, Digest, Value};
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::Fact;
use nooterra_protocol::grid::Grid;
use nooterra_protocol::keys::Signer as _;
use nooterra_protocol::plan::Plan;
use nooterra_protocol::policy::PolicyDocument;
use nooterra_protocol::sbom::{Document, MAX_COMPONENTS, Summary};
use nooterra_protocol::time::WallMillis;
use nooterra_protocol::topic::Topic;
use nooterra_protocol::trust::{Carried, Marks, TrustDocument};
use nooterra_protocol::uplink::{Ack, Batch, State};
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

/// A reader.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// What of, for people.
    pub(crate) reads: &'static str,
    pub(crate) run: fn(&[u8]),
    /// Well-formed inputs to begin from.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "codec", reads: "canonical CBOR", run: codec, seeds: seeds::records },
    Target { name: "envelope", reads: "signed objects", run: envelope, seeds: seeds::signed },
    Target { name: "commands", reads: "bodies of commands", run: commands, seeds: seeds::commands },
    Target { name: "record", reads: "journal records", run: record, seeds: seeds::records },
    Target { name: "journal", reads: "chains of records", run: journal, seeds: seeds::journals },
    Target { name: "checkpoint", reads: "checkpoints", run: checkpoint, seeds: seeds::checkpoints },
    Target { name: "uplink", reads: "what robots send", run: uplink, seeds: seeds::uplinks },
    Target { name: "block", reads: "blocks of the journal", run: block, seeds: seeds::blocks },
    Target {
        name: "openings",
        reads: "openings of private fields, encrypted and not",
        run: opened,
        seeds: seeds::openings,
    },
    Target { name: "salvage", reads: "damaged journal files", run: salvage, seeds: seeds::blocks },
    Target { name: "bundle", reads: "skill bundles", run: bundle, seeds: seeds::bundles },
    Target {
        name: "graph",
        reads: "policy graphs of skills",
        run: graphs::read,
        seeds: seeds::graphs,
    },
    Target { name: "manifest", reads: "skill manifests", run: manifest, seeds: seeds::manifests },
    Target { name: "cases", reads: "a skill's own cases", run: own_cases, seeds: seeds::cases },
    Target { name: "sbom", reads: "bills of materials", run: sbom, seeds: seeds::sboms },
    Target { name: "lock", reads: "Cargo.lock of a skill", run: lock, seeds: seeds::locks },
    Target { name: "minisig", reads: "keys, signatures", run: minisig, seeds: seeds::minisigs },
    Target {
        name: "trust",
        reads: "trust documents, revocation lists",
        run: trust,
        seeds: seeds::trusts,
    },
    Target { name: "policy", reads: "signed policies", run: policy, seeds: seeds::policies },
    Target { name: "policy_toml", reads: "policies in TOML", run: toml, seeds: seeds::tomls },
    Target { name: "policy_json", reads: "policies in JSON", run: json, seeds: seeds::jsons },
    Target { name: "gate_laws", reads: "the gate, by its laws", run: laws, seeds: seeds::laws },
    Target { name: "config", reads: "agent.toml", run: configuration, seeds: seeds::configs },
    Target { name: "map", reads: "Nav2 maps", run: map, seeds: seeds::maps },
    Target { name: "grid", reads: "masks of a policy", run: grid, seeds: seeds::grids },
    Target {
        name: "export",
        reads: "exports of a black box",
        run: export::exported,
        seeds: seeds::exports,
    },
    Target { name: "mcap", reads: "MCAP recordings", run: mcap, seeds: seeds::mcaps },
    Target { name: "tlog", reads: "MAVLink logs", run: tlog, seeds: seeds::tlogs },
    Target { name: "trajectory", reads: "CSV", run: trajectory, seeds: seeds::trajectories },
    Target { name: "mqtt", reads: "packets of a device", run: mqtt, seeds: seeds::packets },
    Target { name: "topic", reads: "MQTT topics", run: topic, seeds: seeds::topics },
    Target { name: "api_json", reads: "the API's plans, asks", run: api, seeds: seeds::api },
    Target { name: "planted", reads: "a fault put there", run: planted, seeds: seeds::planted },
];

fn codec(bytes: &[u8]) {
    if codec::validate(bytes).is_ok()
        && let Ok(value) = codec::from_slice::<Value>(bytes)
    {
        let again = codec::to_vec(&value).expect("what was read can be written");
        assert_eq!(again, bytes, "a value has two canonical forms");
    }
}

fn envelope(bytes: &[u8]) {
    let key = seeds::key().verifying_key();
    let now = WallMillis(1_000);
    if let Ok(signed) = Signed::<RemoteCommand>::verify(bytes, |_| Some(&key)) {
        let _ = signed.body().check(&seeds::robot(), now);
        assert_eq!(signed.bytes(), bytes);
    }
    drop(Signed::<PolicyDocument>::verify(bytes, |_| Some(&key)));
    drop(Signed::<Fact>::verify(bytes, |_| Some(&key)));
}

fn commands(bytes: &[u8]) {
    if let Ok(command) = codec::from_slice::<RemoteCommand>(bytes) {
        let _ = command.check(&seeds::robot(), WallMillis(1_000));
        if let Ask::StartJob { plan, .. } = &command.body {
            let _ = plan.check();
        }
        let again = codec::to_vec(&command).expect("what was read can be written");
        assert_eq!(codec::from_slice::<RemoteCommand>(&again).ok(), Some(command));
    }
}

fn record(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        drop(record.entry());
        // Not always the same bytes: serde takes a key that is a byte string, and a list for a
        // map. What is stored and hashed are the bytes that came, so nothing rests on it.
        let again = record.encode().expect("what was read can be written");
        let twice = Record::decode(&again).expect("what was written can be read");
        assert_eq!(twice.encode().expect("what was read can be written"), again);
    }
}

/// Records behind their lengths, two bytes each.
fn journal(bytes: &[u8]) {
    let mut verifier = Verifier::new(Some(seeds::key().verifying_key()));
    let (mut rest, mut count) = (bytes, 0);
    while let Some((head, more)) = rest.split_at_checked(2) {
        let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
        let (record, more) = more.split_at_checked(length).unwrap_or((more, &[]));
        verifier.push(record, None);
        rest = more;
        count += 1;
    }
    let found = verifier.finish();
    assert_eq!(found.records, count);
    let _ = found.to_string();
}

fn checkpoint(bytes: &[u8]) {
    drop(Checkpoint::read(bytes, None));
    drop(Checkpoint::read(bytes, Some(&seeds::key().verifying_key())));
}

fn uplink(bytes: &[u8]) {
    if let Ok(batch) = codec::from_slice::<Batch>(bytes) {
        for blob in &batch.records {
            record(&blob.0);
        }
    }
    drop(codec::from_slice::<State>(bytes));
    drop(codec::from_slice::<Ack>(bytes));
    drop(codec::from_slice::<Fact>(bytes));
}

/// As it comes, and with its checksums made right: nobody guesses them.
/// The file as it stands; the same with each frame's checksum as if somebody had computed it
/// anew; and what would be inside a frame, because no mutation survives the encryption.
fn opened(bytes: &[u8]) {
    let _ = openings::read_key(seeds::EPOCH, bytes);
    if let Some(kept) = openings::read_plain(bytes) {
        for kept in kept {
            let _ = kept.opening.holds(&seeds::journal_id());
            assert!(kept.weight() >= 256);
        }
    }
    if let Some((head, pixels)) = seeds::LID.open(&seeds::openings_key(), bytes, |_| true) {
        assert_eq!(head.sha256, Digest::of(b"pixels"));
        assert!(pixels.is_none_or(|pixels| pixels == b"pixels"));
    }
    if let Some(header) = Header::read(bytes) {
        assert!(bytes.starts_with(&header.encode()));
        let (cipher, found) =
            (Cipher::new(&seeds::openings_key(), &header), Frames::of(&header, bytes));
        assert!(found.torn <= bytes.len() && found.damaged.iter().all(|(from, to)| from < to));
        for frame in &found.frames {
            // Only what a seed holds was ever encrypted with this key.
            for kept in cipher.open(frame).unwrap_or_default() {
                assert_eq!(kept.opening.kind, "skill_log");
            }
        }
    }
}

fn block(bytes: &[u8]) {
    look_at(bytes);
    look_at(&mended(bytes));
}

fn look_at(bytes: &[u8]) {
    let _ = Block::read_head(bytes).map(|block| block.body_holds(bytes));
    if let Ok(block) = Block::read(bytes) {
        let _ = (block.last_seq(), block.head());
        let read = block.records(bytes).map(|(_, _, record)| record.len()).sum::<usize>();
        assert_eq!(HEAD_BYTES + ROW_BYTES * block.rows.len() + read, bytes.len());
    }
}

fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut block = bytes.to_vec();
    let number = |at: usize| bytes[at..at + 4].iter().fold(0, |n, b| n << 8 | usize::from(*b));
    if bytes.len() < HEAD_BYTES {
        return block;
    }
    let table = number(72).checked_mul(ROW_BYTES).and_then(|bytes| bytes.checked_add(HEAD_BYTES));
    let (Some(table), length) = (table.filter(|end| *end <= bytes.len()), number(76)) else {
        return block;
    };
    if let Some(body) = bytes.get(table..length) {
        block[80..84].copy_from_slice(&crc32fast::hash(body).to_be_bytes());
    }
    let mut head = crc32fast::Hasher::new();
    head.update(&block[..84]);
    head.update(&block[HEAD_BYTES..table]);
    block[84..88].copy_from_slice(&head.finalize().to_be_bytes());
    block
}

fn salvage(bytes: &[u8]) {
    // One folder for all inputs: to make and remove one takes most of a run.
    thread_local! { static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() }; }
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a folder can be made"));
        salvage_in(folder.path(), bytes);
    });
}

fn salvage_in(store: &Path, bytes: &[u8]) {
    let mended: Vec<u8> = match bytes.windows(4).position(|four| four == b"NOOT") {
        Some(at) => [&bytes[..at], &mended(&bytes[at..])].concat(),
        None => bytes.to_vec(),
    };
    // As a segment of the log, and as sled's file.
    let name = if bytes.len().is_multiple_of(2) { log::name(1) } else { "db".to_owned() };
    let path = store.join(name);
    std::fs::write(&path, &mended).expect("a file can be written");
    let (found, files) = scan::scan(store).expect("any file can be scanned");
    for candidate in found.blocks.values().flatten() {
        // One that lies across the end cannot be read.
        if let Ok(block) = files.read(candidate) {
            assert!(!candidate.intact || Block::read(&block).is_ok());
        }
    }
    let log = log::Log::open(store).expect("any file can be read");
    let mut next = log.from(0);
    while let Some(first_seq) = next {
        let block = log.block(first_seq).expect("a block that was found can be read");
        assert!(block.is_some_and(|block| Block::read(&block).is_ok()));
        next = first_seq.checked_add(1).and_then(|after| log.from(after));
    }
    std::fs::remove_file(&path).expect("a file that was written can be removed");
}

fn bundle(bytes: &[u8]) {
    if let Ok(bundle) = Bundle::verify(bytes, "", &seeds::trusted()) {
        assert_eq!(bundle.bytes(), bytes);
        assert!(bundle.component().len() < bytes.len());
    }
}

fn manifest(bytes: &[u8]) {
    drop(parse_manifest(bytes));
}

/// Whatever is accepted can be run: a script of bounded length, told by its name.
fn own_cases(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(read) = cases::parse(text) else { return };
    assert!((1..=cases::MAX_CASES).contains(&read.len()));
    let names: BTreeSet<_> = read.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), read.len(), "a name is there twice");
    for case in &read {
        let spans = case.faults.iter().flat_map(|fault| [fault.at_s, fault.for_s]);
        assert!(spans.chain([case.limit_s]).all(|span| (0.0..=86_400.0).contains(&span)));
        assert!(case.battery.is_none_or(|battery| (0.0..=1.0).contains(&battery)));
        let mut corners = case.obstacles.iter().flatten().flat_map(|corner| [corner.x, corner.y]);
        assert!(corners.all(f64::is_finite));
    }
    // However it is laid out, it says the same.
    let value: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
    let again = cases::parse(&value.to_string()).expect("what was read is read again");
    let expected = |cases: &[cases::Case]| -> Vec<_> {
        cases.iter().map(|case| (case.name.clone(), format!("{:?}", case.expect.rules))).collect()
    };
    assert_eq!(expected(&again), expected(&read));
}

/// What is told of a stranger's document is bounded, and is read as it is written.
fn sbom(bytes: &[u8]) {
    let document = serde_json::from_slice::<Document>(bytes).ok();
    if let Some(summary) = document.and_then(|it| it.summary().ok()) {
        let stated: usize = summary.licences.values().sum();
        assert_eq!(stated + summary.unknown, summary.components);
        assert!(summary.components <= MAX_COMPONENTS);
        assert!(summary.licences.keys().all(|name| name.len() <= 128 && name.is_ascii()));
        let json = serde_json::to_vec(&summary).expect("it is JSON");
        assert_eq!(serde_json::from_slice::<Summary>(&json).ok(), Some(summary));
    }
}

fn lock(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(made) = bill_of_materials(&text, "own", Digest::ZERO, &Licences::new()) else { return };
    let again = bill_of_materials(&text, "own", Digest::ZERO, &Licences::new());
    assert!(again.is_ok_and(|again| again == made), "it is not the same twice");
    let document: Document = serde_json::from_slice(&made).expect("it is JSON");
    // Of a crate that has no name it says so; otherwise people are told all of it.
    if let Ok(summary) = document.summary() {
        assert_eq!(summary.unknown, summary.components, "nobody stated a licence");
    }
}

fn minisig(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    drop(TrustedKeys::from_texts([&text]));
    let keys = TrustedKeys::from_texts([seeds::PUBLIC_KEY]).expect("the key is a key");
    assert!(keys.check(b"forged", &text).is_err(), "a forged signature holds");
    if let Ok(signed) = keys.check_all(b"forged", &text) {
        assert!(signed.good.is_empty(), "a forged signature holds");
    }
}

/// Whatever is put in force is read back as it was, and a bundle is judged by it.
fn trust(bytes: &[u8]) {
    let carried = |bytes: &[u8]| Carried { bytes: Blob(bytes.to_vec()), signatures: String::new() };
    let now = Now { trusted: true, wall: WallMillis(1_795_219_200_000) };
    let first = |bytes: &[u8]| Trust::first(carried(bytes), Digest::of(bytes), now);
    let known = first(&seeds::trusts()[0]).expect("the seed is a document");
    let next = known.succeeded_by(carried(bytes), Back::Permitted, now);
    let list = known.revoking(carried(bytes), Back::Permitted, now);
    assert!(next.is_err() || list.is_err(), "one file passes for both");
    for trust in [first(bytes), next, list].into_iter().flatten() {
        let kept = Trust::kept(trust.carried().clone(), trust.carried_list().cloned());
        let kept = kept.expect("what was in force is read back");
        assert_eq!(kept.standing(now), trust.standing(now));
        let bundle = &seeds::bundles()[0];
        drop(trust.bundle(bundle, "", Origin::New, &Marks::default(), now));
        let document = serde_json::to_vec(trust.document()).expect("it is JSON");
        let again: TrustDocument = serde_json::from_slice(&document).expect("it was written");
        assert_eq!(&again, trust.document());
    }
}

/// A document that is accepted is accepted when it is signed too, and makes a gate.
fn policy(bytes: &[u8]) {
    let Ok(document) = codec::from_slice::<PolicyDocument>(bytes) else {
        return;
    };
    // Masks are files that are not here.
    if check_document(&document).is_err() || !document.masks.is_empty() {
        return;
    }
    let (owner, robot) = (seeds::key(), document.robot.clone());
    if let Ok(signed) = Signed::sign(document, &owner) {
        let verified = VerifiedPolicy::verify(signed.bytes(), &owner.verifying_key(), &robot);
        let _ = Gate::new(&verified.expect("what was checked is accepted when it is signed"));
    }
}

/// The first byte names the law, the others are what it draws.
fn laws(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let (name, law) = LAWS[usize::from(*first) % LAWS.len()];
    if let Err(seen) = law(&mut Draw(rest)) {
        panic!("{name}: {seen}");
    }
}

fn toml(bytes: &[u8]) {
    drop(policy_file::parse(&String::from_utf8_lossy(bytes), Path::new("policy.toml")));
}

fn json(bytes: &[u8]) {
    drop(policy_file::parse(&String::from_utf8_lossy(bytes), Path::new("policy.json")));
}

fn configuration(bytes: &[u8]) {
    drop(config::Config::parse(&String::from_utf8_lossy(bytes), Path::new("agent.toml")));
}

/// The text, a zero, and the image, which is called `map.pgm`.
fn map(bytes: &[u8]) {
    thread_local! { static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() }; }
    let split = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, image) = (&bytes[..split], bytes.get(split + 1..).unwrap_or_default());
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a folder can be made"));
        let yaml = folder.path().join("map.yaml");
        std::fs::write(&yaml, text).expect("a file can be written");
        std::fs::write(folder.path().join("map.pgm"), image).expect("a file can be written");
        // Any other file that the text names is read as an image too; what it may be is the
        // business of whoever runs the command.
        if !text.contains(&b'/')
            && let Ok(grid) = nooterra_hal::map::read(&yaml)
        {
            assert_eq!(grid.cells().len(), grid.frame().cells());
        }
    });
}

fn grid(bytes: &[u8]) {
    if let Ok(grid) = Grid::decode(bytes) {
        assert_eq!(grid.encode(), bytes, "a grid has two forms");
    }
}

fn mcap(bytes: &[u8]) {
    recording(bytes, Format::Mcap);
}

fn tlog(bytes: &[u8]) {
    recording(bytes, Format::Tlog);
}

fn trajectory(bytes: &[u8]) {
    for format in [Format::Euroc, Format::Kitti, Format::Tum] {
        recording(bytes, format);
    }
    drop(backtest::read::read_from(&mut &*bytes, &ReadOptions::default()));
}

/// Reads it, and judges what it says.
fn recording(bytes: &[u8], format: Format) {
    let options = ReadOptions { format: Some(format), ..ReadOptions::default() };
    if let Ok(recording) = backtest::read::read_from(&mut &*bytes, &options) {
        thread_local! { static POLICY: OnceCell<VerifiedPolicy> = const { OnceCell::new() }; }
        POLICY.with(|policy| {
            let policy = policy.get_or_init(|| common::verified(seeds::document()));
            drop(backtest::run(policy, &recording, &Derivation::default(), 0.5));
        });
    }
}

fn topic(bytes: &[u8]) {
    if let Ok(name) = std::str::from_utf8(bytes)
        && let Some(topic) = Topic::parse(name)
    {
        assert_eq!(topic.to_string(), name);
    }
}

/// A connection as the cloud's endpoint reads it: what was granted is answered, what the state
/// machine refuses ends it, and no byte is looked at for ever.
fn mqtt(bytes: &[u8]) {
    let mut mqtt = wire::server();
    let mut answers = 0;
    // As the network may cut it.
    for part in bytes.chunks(61) {
        let mut cursor = Cursor::new(part);
        loop {
            let events = match wire::take(&mut mqtt, &mut cursor) {
                Ok(Some(events)) => events,
                Ok(None) => break,
                Err(_) => return,
            };
            for event in events {
                match event {
                    Event::NotifyError(_) | Event::RequestClose => return,
                    Event::RequestSendPacket { packet, .. } => {
                        answers += packet.to_continuous_buffer().len();
                    }
                    Event::NotifyPacketReceived(packet) => {
                        // What cannot be answered, such as packet id 0, ends the connection.
                        let Ok(answer) = answered(&mut mqtt, &packet) else { return };
                        answers += answer;
                    }
                    _ => {}
                }
            }
        }
    }
    // A device cannot make the cloud say much more than it said itself.
    assert!(answers <= 1024 + 8 * bytes.len(), "{answers} bytes for {}", bytes.len());
}

/// The length of the answer.
fn answered(mqtt: &mut Connection<role::Server>, packet: &Packet) -> Result<usize, MqttError> {
    let events = match packet {
        Packet::V5_0Connect(connect) => {
            let _ = (connect.client_id(), connect.will_topic(), connect.will_retain());
            let connack = v5_0::Connack::builder()
                .session_present(false)
                .reason_code(ConnectReasonCode::Success);
            mqtt.checked_send(connack.build()?)
        }
        Packet::V5_0Publish(publish) => {
            topic(publish.topic_name().as_bytes());
            uplink(publish.payload().as_slice());
            let Some(id) = publish.packet_id().filter(|_| publish.qos() == Qos::AtLeastOnce) else {
                return Ok(0);
            };
            let puback =
                v5_0::Puback::builder().packet_id(id).reason_code(PubackReasonCode::NotAuthorized);
            mqtt.checked_send(puback.build()?)
        }
        Packet::V5_0Subscribe(subscribe) => {
            let codes = subscribe.entries().iter().map(|entry| {
                topic(entry.topic_filter().as_bytes());
                SubackReasonCode::NotAuthorized
            });
            let suback = v5_0::Suback::builder()
                .packet_id(subscribe.packet_id())
                .reason_codes(codes.collect::<Vec<_>>());
            mqtt.checked_send(suback.build()?)
        }
        _ => Vec::new(),
    };
    let sent = events.iter().map(|event| match event {
        Event::RequestSendPacket { packet, .. } => packet.to_continuous_buffer().len(),
        _ => 0,
    });
    Ok(sent.sum())
}

fn api(bytes: &[u8]) {
    if let Ok(plan) = serde_json::from_slice::<Plan>(bytes) {
        let _ = plan.check();
    }
    if let Ok(ask) = serde_json::from_slice::<Ask>(bytes) {
        // What is asked over HTTP is signed next.
        drop(codec::to_vec(&ask));
    }
}

/// To see that a fault is found, and how it is told. Not among those that run by themselves.
fn planted(bytes: &[u8]) {
    if let [b'f', b'a', b'u', b'l', b't', ..] = bytes {
        panic!("the planted fault was found");
    }
}
