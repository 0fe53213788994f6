//! What is left of an install, an activation and a rollback after a power cut, and after
//! `kill -9` in the middle of any change to the files: the old version or the new one, never
//! neither, never a half of one.
//!
//! All that is done to the files is recorded, and disks are built as they may be found after a
//! cut at each moment (see `blackbox/tests/disk`). `NOOTERRA_SEED` tries others.
#![cfg(all(target_os = "linux", target_pointer_width = "64", feature = "tools"))]
#![allow(clippy::unwrap_used)]

#[path = "../../blackbox/tests/disk/mod.rs"]
mod disk;

#[allow(unreachable_pub)] // As `disk` finds it elsewhere.
mod common {
    /// SplitMix64 (Steele, Lea, Flood 2014).
    #[derive(Debug)]
    pub struct Dice(pub u64);

    impl Dice {
        pub fn roll(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % below.max(1)
        }

        pub fn index(&mut self, below: usize) -> usize {
            usize::try_from(self.roll(below as u64)).unwrap()
        }
    }
}

use common::Dice;
use disk::image::Disk;
use disk::tape::{self, Op, Rules, Tape};
use nooterra_agent::installed::{Installed, Slots};
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::skill_install::SkillInstallStep;
use nooterra_skill_host::{Bundle, TrustedKeys, keygen, pack, sign};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where the child works, and which change it does not survive.
const CHILD: [&str; 2] = ["NOOTERRA_TEST_DIR", "NOOTERRA_TEST_KILL_AT"];

/// What the child signs with is a key of its own.
const CHILDS_KEY: &str = "child.pub";

/// Disks for each moment.
const IMAGES: usize = 8;

type State = BTreeMap<SkillId, Slots>;

fn skill() -> SkillId {
    "patrol".parse().unwrap()
}

fn seed() -> u64 {
    let seed = std::env::var("NOOTERRA_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("NOOTERRA_SEED={seed}");
    seed
}

/// Versions 1 to 4 of a skill, signed, each of some pages.
struct Versions {
    made: Vec<(Bundle, String)>,
    public: String,
}

impl Versions {
    fn get() -> &'static Self {
        static MADE: OnceLock<Versions> = OnceLock::new();
        MADE.get_or_init(|| {
            let keys = keygen(None).unwrap();
            let trusted = TrustedKeys::from_texts([&keys.public]).unwrap();
            let skills = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/skills");
            let template = std::fs::read_to_string(skills.join("patrol/manifest.json")).unwrap();
            let mut template: serde_json::Value = serde_json::from_str(&template).unwrap();
            let made = (1..=4_u8).map(|number| {
                template["version"] = format!("{number}.0.0").into();
                // Nothing is run here, so that the head of a component is enough of one.
                let mut component = b"\0asm\x0d\x00\x01\x00".to_vec();
                component.resize(20_000, number);
                let bytes = pack(&template.to_string(), &component).unwrap();
                let signature = sign(&bytes, &keys.secret, None, "a test").unwrap();
                (Bundle::verify(&bytes, &signature, &trusted).unwrap(), signature)
            });
            Self { made: made.collect(), public: keys.public }
        })
    }

    fn trusted(&self) -> TrustedKeys {
        TrustedKeys::from_texts([&self.public]).unwrap()
    }

    fn number(&self, number: usize) -> (&Bundle, &str) {
        let (bundle, signature) = &self.made[number - 1];
        (bundle, signature)
    }
}

/// Version 1 runs.
fn before(dir: &Path) -> Installed {
    let (installed, (one, signature)) = (Installed::new(dir.join("skills")), v(1));
    installed.keep(one, signature).unwrap();
    installed.begin(one).unwrap();
    installed.proven(one, "it made its steps").unwrap();
    installed.record(|_| true).unwrap();
    installed
}

fn v(number: usize) -> (&'static Bundle, &'static str) {
    Versions::get().number(number)
}

/// What happens to it; `done` is told after each step.
fn work(installed: &Installed, mut done: impl FnMut()) {
    let ((two, two_signed), (three, three_signed)) = (v(2), v(3));
    // A plan brings version 2, and it proves itself.
    installed.keep(two, two_signed).unwrap();
    done();
    installed.begin(two).unwrap();
    done();
    installed.proven(two, "it made its steps").unwrap();
    done();
    installed.record(|_| true).unwrap();
    done();
    installed.tidy().unwrap();
    done();
    // A person brings version 3, and it fails.
    installed.install(three, three_signed, "by hand").unwrap();
    done();
    installed.begin(three).unwrap();
    done();
    installed.failed(three, "it crashed").unwrap();
    done();
    installed.record(|_| true).unwrap();
    done();
    installed.tidy().unwrap();
    done();
    // And does not trust version 2 either.
    installed.roll_back(&skill(), "by hand").unwrap();
    done();
    installed.tidy().unwrap();
    done();
    installed.compiled_code(1).unwrap().unwrap();
    done();
}

/// What is known after each step, from 0 steps on.
fn states() -> Vec<State> {
    let dir = tempfile::tempdir().unwrap();
    let installed = before(dir.path());
    let mut states = vec![installed.status().unwrap()];
    work(&installed, || states.push(installed.status().unwrap()));
    states
}

/// One recording at a time, and nothing else meanwhile.
fn alone<T>(work: impl FnOnce() -> T) -> T {
    static ONE: Mutex<()> = Mutex::new(());
    let _guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

fn record(dir: &Path, rules: Rules) -> Tape {
    let installed = before(dir);
    tape::start(dir, rules);
    let mut steps = 0;
    work(&installed, || {
        tape::ack(steps);
        steps += 1;
    });
    tape::stop()
}

/// What is wrong with a disk on which so many steps were done, and another one was perhaps.
fn check(image: &Path, done: usize, states: &[State], trusted: &TrustedKeys) -> Result<(), String> {
    let installed = Installed::new(image.join("skills"));
    let found = installed.status().map_err(|error| error.to_string())?;
    let possible = &states[done..states.len().min(done + 2)];
    if !possible.contains(&found) {
        return Err(format!("after {done} steps: neither old nor new: {found:?}"));
    }
    let slots = &found[&skill()];
    let trial = slots.trial.as_ref().map(|trial| &trial.of);
    for version in [slots.active.as_ref(), slots.before.as_ref(), trial].into_iter().flatten() {
        let (bytes, signature) =
            installed.read(version.bundle).ok_or_else(|| format!("{version:?} has no files"))?;
        let bundle = Bundle::verify(&bytes, &signature, trusted)
            .map_err(|error| format!("{version:?}: {error}"))?;
        if bundle.digest() != version.bundle {
            return Err(format!("{version:?} is another"));
        }
    }
    if slots.active.is_none() {
        return Err("no version is active".to_owned());
    }
    // And it goes on from there.
    let ((four, signature), mut said) = (v(4), Vec::new());
    installed.install(four, signature, "by hand").map_err(|error| error.to_string())?;
    installed.tidy().map_err(|error| error.to_string())?;
    installed.begin(four).map_err(|error| error.to_string())?;
    installed.proven(four, "it made its steps").map_err(|error| error.to_string())?;
    let append = |step| {
        said.push(step);
        true
    };
    installed.record(append).map_err(|error| error.to_string())?;
    let lost = said.iter().any(|said| said.step == SkillInstallStep::Lost);
    let active = installed.status().unwrap()[&skill()].active.clone();
    if lost || active.is_none_or(|active| active.bundle != four.digest()) {
        return Err(format!("it does not go on: {said:?}"));
    }
    Ok(())
}

/// Disks after a cut at each moment.
fn cut(tape: &Tape, states: &[State]) -> (usize, Vec<String>) {
    let (mut dice, mut disk) = (Dice(seed()), Disk::new(tape));
    let (mut failures, mut done, trusted) = (Vec::new(), 0, Versions::get().trusted());
    for moment in 0..=tape.ops.len() {
        disk.advance(moment);
        if moment > 0 && matches!(tape.ops[moment - 1], Op::Ack(_)) {
            done += 1;
        }
        for _ in 0..IMAGES {
            let image = tempfile::tempdir().unwrap();
            disk.cut(&mut dice, image.path());
            if let Err(why) = check(image.path(), done, states, &trusted) {
                failures.push(format!("cut after {moment} of {} changes: {why}", tape.ops.len()));
            }
        }
    }
    ((tape.ops.len() + 1) * IMAGES, failures)
}

#[test]
fn after_a_power_cut_at_any_moment_there_is_the_old_or_the_new_version() {
    alone(|| {
        let (dir, states) = (tempfile::tempdir().unwrap(), states());
        let tape = record(dir.path(), Rules::default());
        // The tape has all of it: played to its end it gives what is there.
        let (mut disk, whole) = (Disk::new(&tape), tempfile::tempdir().unwrap());
        disk.advance(tape.ops.len());
        disk.whole(whole.path());
        let names = |dir: &Path| {
            let names = std::fs::read_dir(dir.join("skills")).unwrap();
            let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(whole.path()), names(dir.path()));
        let (images, failures) = cut(&tape, &states);
        println!("{images} disks, {} failures", failures.len());
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    });
}

#[test]
fn without_its_syncs_an_install_is_lost_or_halved_and_the_cuts_show_it() {
    alone(|| {
        let (dir, states) = (tempfile::tempdir().unwrap(), states());
        let tape = record(dir.path(), Rules { swallow_syncs: true, ..Rules::default() });
        let (images, failures) = cut(&tape, &states);
        println!("{} of {images} disks without syncs show a loss", failures.len());
        assert!(failures.len() > images / 4, "{} of {images}", failures.len());
    });
}

/// The child of the test below; without its variables there is nothing for it to do.
#[test]
fn child_that_is_killed_in_the_middle_of_a_change() {
    let [Some(dir), Some(kill_at)] = CHILD.map(std::env::var_os) else { return };
    let kill_at = Some(kill_at.to_str().unwrap().parse().unwrap());
    let installed = before(Path::new(&dir));
    std::fs::write(Path::new(&dir).join(CHILDS_KEY), &Versions::get().public).unwrap();
    tape::start(Path::new(&dir), Rules { kill_at, ..Rules::default() });
    work(&installed, || {
        println!("DONE");
        std::io::stdout().flush().unwrap();
    });
    println!("CHANGES {}", tape::changes());
    std::io::stdout().flush().unwrap();
    std::process::exit(0);
}

/// How many steps a child did, and how many changes it made if it lived.
fn child(dir: &Path, kill_at: u64) -> (usize, Option<u64>) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed_in_the_middle_of_a_change"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD[0], dir)
        .env(CHILD[1], kill_at.to_string())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let changes = said.lines().find_map(|line| line.split_once("CHANGES ")?.1.parse().ok());
    assert_eq!(output.status.success(), changes.is_some(), "{said}");
    (said.matches("DONE").count(), changes)
}

#[test]
fn kill_9_in_the_middle_of_any_change_leaves_the_old_or_the_new_version() {
    alone(|| {
        let states = states();
        let changes = child(tempfile::tempdir().unwrap().path(), u64::MAX).1.unwrap();
        for kill_at in 1..=changes {
            let dir = tempfile::tempdir().unwrap();
            let (done, survived) = child(dir.path(), kill_at);
            assert_eq!(survived, None, "killed at {kill_at} of {changes}");
            let key = std::fs::read_to_string(dir.path().join(CHILDS_KEY)).unwrap();
            let trusted = TrustedKeys::from_texts([&key]).unwrap();
            let found = check(dir.path(), done, &states, &trusted);
            assert_eq!(found, Ok(()), "killed at {kill_at} of {changes}, after {done} steps");
        }
        println!("{changes} kills");
    });
}
