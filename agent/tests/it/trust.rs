//! The trust in skills on a robot: by the command line, over a restart, and in the journal.

use crate::common::rig::{CloudRig, enroll};
use crate::common::{Site, guests};
use base64::Engine as _;
use nooterra_agent::clock::SystemClock;
use nooterra_agent::config::Config;
use nooterra_agent::installed::Installed;
use nooterra_agent::trust::{FolderError, Judge, JudgeError, News, carried};
use nooterra_blackbox::{Clock, Journal, Options};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::keys::Es256Key;
use nooterra_protocol::time::WallMillis;
use nooterra_skill_host::{Back, Keys, Origin, keygen, pack, sign};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

/// A robot's folder, and the keys of its fleet.
struct Robot {
    keys: [Keys; 3],
    site: Site,
}

const NAMES: [&str; 3] = ["root", "acme", "lab"];

impl Robot {
    fn new() -> Self {
        let site = Site::new();
        site.edit("agent.toml", "[skills]\n", "[skills]\nclock = \"system\"\n");
        Self { keys: NAMES.map(|_| keygen(None).unwrap()), site }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.path(name)
    }

    fn config(&self) -> Config {
        self.site.config()
    }

    fn put(&self, name: &str, bytes: &[u8], by: &[&str]) -> PathBuf {
        let key = |by: &&str| &self.keys[NAMES.iter().position(|name| name == by).unwrap()].secret;
        let text: String = by.iter().map(|by| sign(bytes, key(by), None, "").unwrap()).collect();
        std::fs::write(self.path(name), bytes).unwrap();
        std::fs::write(self.path(&format!("{name}.minisig")), text).unwrap();
        self.path(name)
    }

    /// A document that lasts by this machine's clock.
    fn document(&self, version: u32) -> PathBuf {
        let keys = NAMES.iter().zip(&self.keys).map(
            |(name, keys)| json!({ "name": name, "key": keys.public.lines().nth(1).unwrap() }),
        );
        let one = |name: &str| json!({ "keys": [name], "threshold": 1 });
        let json = json!({
            "type": "nooterra/skill-trust", "v": 1, "fleet": "hall", "version": version,
            "issued": day(-1), "expires": day(300), "keys": keys.collect::<Vec<_>>(),
            "roots": one("root"), "revokers": one("root"),
            "tiers": { "dev": { "developers": one("acme") },
                "field_cert": { "developers": one("acme"), "certifiers": one("lab") } },
        });
        let bytes = serde_json::to_vec_pretty(&json).unwrap();
        self.put(&format!("trust-{version}.json"), &bytes, &["root"])
    }

    fn list(&self, version: u32, expires: i64, more: Value) -> PathBuf {
        let mut json = json!({
            "type": "nooterra/skill-revocations", "v": 1, "fleet": "hall", "version": version,
            "issued": day(-60), "expires": day(expires),
        });
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let bytes = serde_json::to_vec_pretty(&json).unwrap();
        self.put(&format!("list-{version}.json"), &bytes, &["root"])
    }

    fn bundle(&self, tier: &str, version: &str, by: &[&str]) -> PathBuf {
        let manifest = json!({
            "actions": ["go"], "capabilities": [], "developer": "Acme", "id": "patrol",
            "licence": "MIT", "memory_mib": 4, "name": "Patrol", "period_ms": 100, "tier": tier,
            "v": 1, "version": version, "wit": nooterra_protocol::skill::WIT,
        });
        let bytes = pack(&manifest.to_string(), b"\0asm\x0d\x00\x01\x00").unwrap();
        self.put(&format!("patrol-{tier}-{version}.noot"), &bytes, by)
    }

    fn agent(&self, args: &[&str]) -> Output {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_nooterra-agent"));
        agent.arg("--config").arg(self.path("agent.toml")).arg("--json").args(args);
        agent.output().unwrap()
    }

    /// What a command answers, and its exit code.
    fn asked(&self, args: &[&str]) -> (Value, i32) {
        let output = self.agent(args);
        let json = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (json, output.status.code().unwrap())
    }

    fn install(&self, file: &Path, more: &[&str]) -> (Value, i32) {
        self.asked(&[&["trust", "install", file.to_str().unwrap()], more].concat())
    }

    fn verify(&self, bundle: &Path) -> (Value, i32) {
        self.asked(&["skill", "verify", bundle.to_str().unwrap()])
    }
}

/// So many days from now, as people write it.
fn day(from_now: i64) -> String {
    let now = nooterra_agent::clock::wall().0;
    let text = WallMillis(now - now % 1000 + from_now * 86_400_000).to_string();
    text.replace(".000Z", "Z")
}

fn hash(file: &Path) -> String {
    Digest::of(&std::fs::read(file).unwrap()).to_string()
}

#[test]
fn a_document_is_installed_by_its_hash_and_then_says_whose_skills_are_taken() {
    let robot = Robot::new();
    let first = robot.document(1);
    let (said, code) = robot.install(&first, &[]);
    assert_eq!(code, 5);
    assert!(said["reason"].as_str().unwrap().contains(&hash(&first)), "{said}");
    let (said, code) = robot.install(&first, &["--first", &hash(&first)]);
    assert_eq!((code, &said["version"]), (0, &1.into()), "{said}");
    assert!(said["standing"].as_str().unwrap().contains("no revocation list"), "{said}");
    let field = robot.bundle("field_cert", "1.0.0", &["acme", "lab"]);
    let (said, code) = robot.verify(&field);
    assert_eq!(code, 5);
    assert!(said["reason"].as_str().unwrap().contains("no revocation list"), "{said}");
    let (said, code) = robot.install(&robot.list(1, 30, json!({})), &[]);
    assert_eq!((code, &said["standing"]), (0, &"fresh".into()), "{said}");
    let (said, code) = robot.verify(&field);
    assert_eq!((code, said["signers"].as_array().unwrap().len()), (0, 2), "{said}");
    let (said, _) = robot.verify(&robot.bundle("field_cert", "1.0.0", &["acme"]));
    assert!(said["reason"].as_str().unwrap().contains("needs 1 of the certifiers"), "{said}");
    // A second first one is no way around the roots.
    let (said, code) = robot.install(&first, &["--first", &hash(&first)]);
    assert_eq!(code, 5, "{said}");
    let (said, _) = robot.asked(&["trust", "show"]);
    assert_eq!((&said["fresh"], &said["document"]["fleet"]), (&true.into(), &"hall".into()));
    let output = Command::new(env!("CARGO_BIN_EXE_nooterra-agent"))
        .args(["--config", robot.path("agent.toml").to_str().unwrap(), "trust", "show"])
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    for part in ["fleet hall, trust document version 1", "lab_cert: not accepted", "are taken"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_is_installed_by_hand_is_judged_by_the_document_and_the_way_back_is_open() {
    let robot = Robot::new();
    let document = robot.document(1);
    assert_eq!(robot.install(&document, &["--first", &hash(&document)]).1, 0);
    assert_eq!(robot.install(&robot.list(1, 30, json!({})), &[]).1, 0);
    let version = |version: &str, by: &str| {
        let mut template: Value = serde_json::from_str(&guests::template("patrol")).unwrap();
        template["version"] = version.into();
        let bytes = pack(&template.to_string(), &guests::component("patrol")).unwrap();
        robot.put(&format!("{version}-{by}.noot"), &bytes, &[by])
    };
    let install = |file: &Path| robot.asked(&["skill", "install", file.to_str().unwrap()]);
    let (said, code) = install(&version("1.0.0", "lab"));
    assert_eq!((code, &said["installed"]), (5, &false.into()), "the lab develops nothing: {said}");
    let one = version("1.0.0", "acme");
    assert_eq!(install(&one).1, 0);
    let signed = std::fs::read_to_string(one.with_extension("noot.minisig")).unwrap();
    let config = robot.config();
    let bytes = std::fs::read(&one).unwrap();
    let bundle = Judge::of(&config).bundle(&bytes, &signed, Origin::New).unwrap();
    Installed::new(config.state.skills_dir()).proven(&bundle, "it ran").unwrap();
    assert_eq!(install(&version("2.0.0", "acme")).1, 0);
    let (said, code) = install(&one);
    assert_eq!(code, 5, "it is older than what was taken: {said}");
    let (said, code) = robot.asked(&["skill", "rollback", "patrol"]);
    assert_eq!((code, &said["to"]["version"]), (0, &"1.0.0".into()), "{said}");
    assert_eq!(robot.verify(&one).1, 0, "what it went back to may run");
}

#[test]
fn an_older_file_is_installed_only_with_an_operators_permission() {
    let robot = Robot::new();
    let (one, two) = (robot.document(1), robot.document(2));
    robot.install(&two, &["--first", &hash(&two)]);
    let (said, code) = robot.install(&one, &[]);
    assert_eq!(code, 5);
    assert!(said["reason"].as_str().unwrap().contains("--allow-older"), "{said}");
    assert_eq!(robot.install(&two, &[]).0["same"], true);
    assert_eq!(robot.install(&one, &["--allow-older"]).1, 0);
    let (seven, six) = (robot.list(7, 30, json!({})), robot.list(6, 30, json!({})));
    assert_eq!(robot.install(&seven, &[]).1, 0);
    assert_eq!(robot.install(&six, &[]).1, 5);
    assert_eq!(robot.install(&six, &["--allow-older"]).0["version"], 6);
}

#[test]
fn what_is_no_document_is_refused_with_what_to_do() {
    let robot = Robot::new();
    let (said, code) = robot.install(&robot.list(1, 30, json!({})), &[]);
    assert_eq!(code, 5);
    assert!(said["reason"].as_str().unwrap().contains("install the document first"), "{said}");
    for (bytes, part) in [
        (&b"{"[..], "neither a trust document nor a revocation list"),
        (br#"{ "type": "other", "version": 1 }"#, "docs/skill-bundle.md"),
    ] {
        let file = robot.put("wrong.json", bytes, &["root"]);
        let (said, code) = robot.install(&file, &["--first", &hash(&file)]);
        assert_eq!(code, 5);
        assert!(said["reason"].as_str().unwrap().contains(part), "{said}");
    }
    let large = robot.put("large.json", &vec![b' '; 1 << 20], &["root"]);
    let (said, code) = robot.install(&large, &[]);
    assert_eq!(code, 1, "{said}");
    let (said, code) = robot.asked(&["trust", "permit", "patrol", "1.0.0"]);
    assert_eq!(code, 1);
    assert!(said["error"].as_str().unwrap().contains("nothing stands against it"), "{said}");
}

/// The agent's judge, with a journal of its own.
struct Running {
    journal: Journal,
    judge: Judge,
}

impl Running {
    fn start(robot: &Robot) -> Self {
        let config = robot.config();
        std::fs::create_dir_all(&config.state.dir).unwrap();
        let clock = Arc::new(SystemClock::new(WallMillis(0)));
        let stamps: Arc<dyn Clock> = Arc::<SystemClock>::clone(&clock);
        let key = Arc::new(Es256Key::from_seed([7; 32]).unwrap());
        let options = Options::new(stamps, key, Digest::of(b"policy"));
        let journal = Journal::open(&config.state.journal_dir(), options).unwrap().journal;
        let judge = Judge::remembering(&config, clock, journal.handle());
        judge.look();
        Self { journal, judge }
    }

    fn check(&self, bundle: &Path, origin: Origin) -> Result<(), JudgeError> {
        let mut signature = bundle.as_os_str().to_owned();
        signature.push(".minisig");
        let signature = std::fs::read_to_string(signature).unwrap();
        let bundle = self.judge.bundle(&std::fs::read(bundle).unwrap(), &signature, origin)?;
        self.judge.taken(&bundle)
    }

    /// What the journal has about the trust in skills: step, version, reason.
    fn said(self, robot: &Robot) -> Vec<(String, Value, String)> {
        drop(self.judge);
        self.journal.close().unwrap();
        let args = ["blackbox", "tail", "--from", "1", "--kind", "skill_trust"];
        let output = robot.agent(&args);
        let lines = String::from_utf8(output.stdout).unwrap();
        let record = |line: &str| {
            let record: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| record["body"][key].as_str().unwrap_or_default().to_owned();
            (text("step"), record["body"]["version"].clone(), text("reason"))
        };
        lines.lines().map(record).collect()
    }
}

fn refused(result: Result<(), JudgeError>, part: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(part), "{part}: {error}");
}

#[test]
fn what_changes_and_what_is_refused_is_in_the_journal() {
    let robot = Robot::new();
    let first = robot.document(1);
    robot.install(&first, &[]);
    robot.install(&first, &["--first", &hash(&first)]);
    let running = Running::start(&robot);
    robot.install(&robot.list(3, 30, json!({})), &[]);
    robot.install(&robot.list(2, 30, json!({})), &[]);
    running.judge.look();
    running.judge.look();
    let said = running.said(&robot);
    let steps: Vec<&str> = said.iter().map(|(step, ..)| step.as_str()).collect();
    assert_eq!(
        steps,
        ["refused", "put_in_force", "stale", "refused", "put_in_force", "fresh"],
        "{said:#?}"
    );
    assert!(said[3].2.contains("version 2 is older than 3"), "{said:#?}");
}

#[test]
fn a_document_that_was_in_force_and_is_gone_leaves_no_robot_that_any_key_may_use() {
    let robot = Robot::new();
    std::fs::write(robot.path("skill-keys/acme.pub"), &robot.keys[1].public).unwrap();
    let dev = robot.bundle("dev", "1.0.0", &["acme"]);
    let (second, list) = (robot.document(2), robot.list(1, 30, json!({})));
    robot.install(&second, &["--first", &hash(&second)]);
    robot.install(&list, &[]);
    let running = Running::start(&robot);
    running.check(&dev, Origin::New).unwrap();
    let folder = robot.path("state/trust");
    let kept: Vec<_> = ["document.cbor", "list.cbor"]
        .map(|name| (folder.join(name), std::fs::read(folder.join(name)).unwrap()))
        .into();
    std::fs::remove_file(&kept[0].0).unwrap();
    for origin in [Origin::Kept, Origin::New] {
        refused(running.check(&dev, origin), "version 2 was in force here and is gone");
    }
    // Put back, also over a restart, it works again; with another list it does not.
    std::fs::write(&kept[0].0, &kept[0].1).unwrap();
    running.check(&dev, Origin::Kept).unwrap();
    std::fs::remove_file(&kept[1].0).unwrap();
    refused(running.check(&dev, Origin::Kept), "list version 1 was in force here and is gone");
    assert_eq!(robot.install(&list, &[]).1, 0);
    running.check(&dev, Origin::Kept).unwrap();
    // Damaged: said, and mended by what mends it.
    std::fs::write(&kept[1].0, b"nonsense").unwrap();
    refused(running.check(&dev, Origin::Kept), "trust install FILE");
    assert_eq!(robot.install(&list, &[]).1, 0);
    running.check(&dev, Origin::Kept).unwrap();
    std::fs::write(&kept[0].0, b"nonsense").unwrap();
    refused(running.check(&dev, Origin::Kept), "damaged or altered");
    assert_eq!(robot.install(&second, &[]).1, 5);
    assert_eq!(robot.install(&second, &["--first", &hash(&second), "--allow-older"]).1, 0);
    running.check(&dev, Origin::Kept).unwrap();
    let said = running.said(&robot);
    assert_eq!(said.iter().filter(|(step, ..)| step == "lost").count(), 4, "{said:#?}");
}

#[test]
fn an_older_document_that_somebody_put_back_is_noticed_over_a_restart() {
    let robot = Robot::new();
    let (one, two) = (robot.document(1), robot.document(2));
    let dev = robot.bundle("dev", "1.0.0", &["acme"]);
    robot.install(&one, &["--first", &hash(&one)]);
    let document = robot.path("state/trust/document.cbor");
    let old = std::fs::read(&document).unwrap();
    robot.install(&two, &[]);
    robot.install(&robot.list(1, 30, json!({})), &[]);
    Running::start(&robot).journal.close().unwrap();
    std::fs::write(&document, old).unwrap();
    let running = Running::start(&robot);
    refused(running.check(&dev, Origin::Kept), "lies where version 2 was in force");
    // An operator who permits it is believed, and it is in the journal.
    robot.install(&two, &[]);
    robot.install(&one, &["--allow-older"]);
    running.check(&dev, Origin::Kept).unwrap();
    let said = running.said(&robot);
    let last = said.last().unwrap();
    assert!(last.2.contains("by an operator's permission"), "{said:#?}");
}

#[test]
fn a_robot_that_was_offline_for_two_months_works_on_and_recovers() {
    let robot = Robot::new();
    let (document, dev) = (robot.document(1), robot.bundle("dev", "1.0.0", &["acme"]));
    robot.install(&document, &["--first", &hash(&document)]);
    // The list that it had when it went away.
    robot.install(&robot.list(1, -30, json!({})), &[]);
    let running = Running::start(&robot);
    running.check(&dev, Origin::Kept).unwrap();
    refused(running.check(&dev, Origin::New), "no new skill is taken: the revocation list expired");
    let revoked = json!({ "versions": [
        { "skill": "patrol", "below": "1.1.0", "reason": "stops too late" }] });
    robot.install(&robot.list(9, 30, revoked), &[]);
    refused(running.check(&dev, Origin::Kept), "patrol 1.0.0 was revoked: stops too late");
    running.check(&robot.bundle("dev", "1.1.0", &["acme"]), Origin::New).unwrap();
    let said = running.said(&robot);
    let steps: Vec<&str> = said.iter().map(|(step, ..)| step.as_str()).collect();
    assert_eq!(steps, ["put_in_force", "put_in_force", "stale", "put_in_force", "fresh"]);
}

#[test]
fn an_older_version_of_a_skill_needs_an_operators_permission() {
    let robot = Robot::new();
    let document = robot.document(1);
    robot.install(&document, &["--first", &hash(&document)]);
    robot.install(&robot.list(1, 30, json!({})), &[]);
    let running = Running::start(&robot);
    let (old, new) =
        (robot.bundle("dev", "1.0.0", &["acme"]), robot.bundle("dev", "1.1.0", &["acme"]));
    running.check(&old, Origin::New).unwrap();
    running.check(&new, Origin::New).unwrap();
    refused(running.check(&old, Origin::Kept), "trust permit patrol 1.0.0");
    assert_eq!(robot.asked(&["trust", "permit", "patrol", "1.0.0"]).1, 0);
    running.check(&old, Origin::Kept).unwrap();
    let said = running.said(&robot);
    assert_eq!(said.last().unwrap().0, "permitted", "{said:#?}");
}

#[test]
fn a_change_of_the_document_takes_the_whole_of_it_or_nothing() {
    let robot = Robot::new();
    let (one, two) = (robot.document(1), robot.document(2));
    let judge = Judge::of(&robot.config());
    let put = |file: &Path, first| {
        let mut signature = file.as_os_str().to_owned();
        signature.push(".minisig");
        let carried = carried(file, Path::new(&signature))?;
        judge.folder().install(&carried, first, Back::Never, judge.now())
    };
    put(&one, Digest::from_hex(&hash(&one))).unwrap();
    put(&robot.list(1, 30, json!({})), None).unwrap();
    // What a kill leaves behind is a temporary file beside the whole one.
    std::fs::write(robot.path("state/trust/.tmpabc"), b"half").unwrap();
    let version = || judge.folder().load().unwrap().unwrap().trust.document().version;
    assert_eq!(version(), 1);
    put(&two, None).unwrap();
    assert!(matches!(put(&one, None), Err(FolderError::Trust(_))));
    assert_eq!(version(), 2);
}

#[test]
fn what_the_cloud_has_reaches_a_robot_and_is_judged_there() {
    let robot = Robot::new();
    let cloud = CloudRig::start(&robot.site, |_| {});
    enroll(&robot.site, &cloud);
    let publish = |file: &Path| {
        let mut signature = file.as_os_str().to_owned();
        signature.push(".minisig");
        let base64 = base64::engine::general_purpose::STANDARD.encode(std::fs::read(file).unwrap());
        let signatures = std::fs::read_to_string(signature).unwrap();
        cloud.post("/v1/skill-trust", json!({ "bytes": base64, "signatures": signatures }))
    };
    let documents = [1, 2, 3, 4, 5, 6].map(|version| robot.document(version));
    documents.iter().for_each(|file| drop(publish(file)));
    publish(&robot.list(1, 30, json!({})));
    let running = Running::start(&robot);
    let judge = Arc::new(Judge::of(&robot.config()));
    let dir = robot.config().state.identity_dir();
    let mut news = News::new(dir, crate::common::robot(), Arc::clone(&judge));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut ask = || runtime.block_on(news.ask()).unwrap();
    let held = || judge.folder().load().unwrap();
    ask();
    assert!(held().is_none(), "the first document comes from a person");
    robot.install(&documents[0], &["--first", &hash(&documents[0])]);
    ask();
    let trust = held().unwrap().trust;
    assert_eq!((trust.document().version, trust.list().unwrap().version), (6, 1));
    // What the cloud signed itself, or anybody else, counts for nothing; and is told once.
    let json = std::fs::read_to_string(robot.list(9, 30, json!({}))).unwrap();
    publish(&robot.put("forged.json", json.as_bytes(), &["acme"]));
    ask();
    ask();
    assert_eq!(held().unwrap().trust.list().unwrap().version, 1);
    running.judge.look();
    let said = running.said(&robot);
    let refused: Vec<_> = said.iter().filter(|(step, ..)| step == "refused").collect();
    assert_eq!(refused.len(), 1, "{said:#?}");
    assert!(refused[0].2.contains("needs the signatures of 1 revokers"), "{said:#?}");
}
