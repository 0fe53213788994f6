//! Pictures on a whole robot in simulation: given and recorded, encrypted on the disk, never taken
//! in a privacy zone, and there after a restart.

use crate::common::Site;
use crate::common::rig::{AGENT, Agent, CloudRig, dispatch, enroll, publish, step, wait_for};
use nooterra_agent::authority::rules::DEFAULT;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::Class;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::geometry::Point;
use nooterra_protocol::grant::AuthorityDocument;
use nooterra_protocol::ids::PolicyId;
use nooterra_protocol::keys::Ed25519Key;
use nooterra_protocol::policy::{PrivacyZone, Sensor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Output};

/// A skill may have pictures, and they are kept for a day.
const PICTURES: &str = "
@id(\"skills-see-pictures\")
permit (principal is Skill, action == Action::\"read_sensor\", resource == Sensor::\"camera\");
@id(\"pictures-for-a-day\")
permit (principal is Skill, action == Action::\"retain_sensor\", resource == Sensor::\"camera\")
when { context.keep <= duration(\"1d\") };
";

/// A robot whose owner permits pictures, except around (4, 1.2).
fn site() -> Site {
    let site = Site::new();
    let owner = Ed25519Key::from_seed([9; 32]);
    let mut document = site.document();
    document.privacy = vec![PrivacyZone {
        altitude: None,
        circle: None,
        holes: Vec::new(),
        id: "desk".parse().unwrap(),
        keep_s: None,
        polygon: [(3.0, 0.2), (5.0, 0.2), (5.0, 2.4), (3.0, 2.4)]
            .map(|(x, y)| Point::new(x, y))
            .to_vec(),
        sensors: vec![Sensor::Camera],
        windows: Vec::new(),
    }];
    site.sign_policy(&document, &owner);
    let rules = AuthorityDocument {
        id: PolicyId::new("ours").unwrap(),
        robot: crate::common::robot(),
        rules: format!("{DEFAULT}{PICTURES}"),
        version: 1,
    };
    let signed = Signed::sign(rules, &owner).unwrap();
    std::fs::write(site.path("authority.cbor"), signed.bytes()).unwrap();
    site.edit("agent.toml", "[policy]", "[authority]\nfile = \"authority.cbor\"\n\n[policy]");
    site.edit("agent.toml", "\"assist\", ", "\"assist\", \"camera\", ");
    site
}

/// The records of pictures, by sequence number.
fn frames(cloud: &CloudRig) -> BTreeMap<u64, Value> {
    let mut records = cloud.records(Class::Normal);
    records.retain(|_, record| record["kind"] == "skill_frame");
    records.into_iter().map(|(seq, record)| (seq, record["body"].clone())).collect()
}

fn blackbox(site: &Site, args: &[&str]) -> Output {
    let mut agent = Command::new(AGENT);
    agent.arg("--config").arg(site.path("agent.toml")).arg("blackbox").args(args);
    agent.output().unwrap()
}

fn names(site: &Site, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(site.path("state").join(folder)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_skill_sees_what_it_may_and_in_a_privacy_zone_there_never_is_a_picture() {
    let site = site();
    let cloud = CloudRig::start(&site, |_| {});
    let (lookout, key) = (publish(&cloud, "lookout", Some(&site)), site.path("skill-keys"));
    std::fs::rename(key.join("test.pub"), key.join("lookout.pub")).unwrap();
    let patrol = publish(&cloud, "patrol", Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);

    // Where it may: two pictures, given, recorded and kept.
    let watch = |count: u32| step(&lookout, "watch", json!({ "count": count }));
    let job = dispatch(&cloud, &[watch(2)]);
    cloud.wait_for_state(&job, "COMPLETED");
    let attached: Vec<Value> = cloud
        .events(&job)
        .into_iter()
        .filter(|(name, _)| name == "EVIDENCE_CAPTURED")
        .map(|(_, payload)| payload)
        .collect();
    assert_eq!(attached.len(), 2, "{attached:?}");
    let given = wait_for("the records of two pictures", || {
        Some(frames(&cloud)).filter(|frames| frames.len() == 2)
    });
    for frame in given.values() {
        assert_eq!((&frame["refused"], &frame["taken"]["kept"]), (&Value::Null, &true.into()));
        assert_eq!(frame["job"], job);
    }
    let kept = [names(&site, "frames"), names(&site, "frames.keys")];
    assert_eq!(kept.each_ref().map(Vec::len), [2, 2]);

    // In the zone: asked for, refused, and not there.
    let way = json!({ "waypoints": [{ "x": 4.0, "y": 1.2 }] });
    let job = dispatch(&cloud, &[step(&patrol, "patrol", way), watch(1)]);
    wait_for("a picture that is refused", || {
        frames(&cloud).values().any(|frame| frame["job"] == job).then_some(())
    });
    cloud.post(&format!("/v1/jobs/{job}/cancel"), json!({ "reason": "seen enough" }));
    wait_for("the job to end", || {
        let state = cloud.get(&format!("/v1/jobs/{job}"))["state"].clone();
        (state == "ABORTED" || state == "SETTLED").then_some(())
    });

    // The agent ends without a word, and starts anew.
    agent.kill();
    let agent = Agent::online(&site, &cloud);
    let refused: Vec<_> =
        frames(&cloud).into_values().filter(|frame| frame["job"] == job).collect();
    assert!(!refused.is_empty());
    for frame in &refused {
        assert_eq!((&frame["refused"], &frame["taken"]), (&"privacy".into(), &Value::Null));
    }
    assert_eq!([names(&site, "frames"), names(&site, "frames.keys")], kept);
    assert!(agent.terminate().success());
    let verified = blackbox(&site, &["verify", "--json"]);
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&verified["intact"], &verified["identity_proven"]), (&true.into(), &true.into()));

    // What was given is what was kept, by the record's hash; in the clear it is nowhere.
    for (nth, (seq, frame)) in given.iter().enumerate() {
        let out = site.path(&format!("{nth}.pgm"));
        let shown = blackbox(&site, &["picture", &seq.to_string(), "-o", out.to_str().unwrap()]);
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        let file = std::fs::read(&out).unwrap();
        let begins = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let pixels = &file[begins..];
        assert_eq!(frame["taken"]["sha256"], Digest::of(pixels).to_string());
        for name in names(&site, "frames") {
            let sealed = std::fs::read(site.path("state/frames").join(name)).unwrap();
            let part = &pixels[..64];
            assert!(!sealed.windows(64).any(|window| window == part));
        }
    }
}
