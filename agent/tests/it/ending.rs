//! Asked to end while it starts, wherever that is: the agent ends in order. Nothing here depends
//! on how long anything takes.

use crate::common::Site;
use crate::common::rig::{AGENT, Agent, CloudRig, enroll, wait_for};
use crate::common::skip;
use nooterra_blackbox::{TailFrom, tail};
use nooterra_protocol::entry::Entry;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Every so many files that it opens, a start is ended.
const EVERY: usize = 3;

/// Whether the run before each boot ended in order.
fn clean_boots(site: &Site) -> Vec<bool> {
    let records = tail(&site.path("state/journal"), TailFrom::Seq(1)).unwrap();
    let entries = records.filter_map(|found| found.record.unwrap().entry().unwrap());
    let clean = |entry| if let Entry::Boot(boot) = entry { Some(boot.clean) } else { None };
    entries.filter_map(clean).collect()
}

/// What lies in a folder, and when it was written.
fn files(dir: &Path, found: &mut BTreeMap<PathBuf, (u64, SystemTime)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let (path, about) = entry.and_then(|it| Ok((it.path(), it.metadata()?))).unwrap();
        if about.is_dir() {
            files(&path, found);
        }
        found.insert(path, (about.len(), about.modified().unwrap()));
    }
}

#[test]
fn asked_to_end_at_any_line_of_its_start_it_ends_in_order() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let mut runs = 0;
    loop {
        runs += 1;
        let agent = Agent::run(&site);
        let lines = || agent.log().lines().count() >= runs;
        wait_for("another line", || lines().then_some(()));
        // However many more there are by now.
        let ready = agent.log().lines().take(runs).any(|line| line.ends_with("ready"));
        assert!(agent.terminate().success(), "ended after {runs} lines");
        if ready {
            break;
        }
    }
    assert!(runs > 2, "the start is said in {runs} lines");
    let boots = clean_boots(&site);
    assert!(boots.iter().all(|clean| *clean), "{boots:?}");
}

#[test]
fn asked_to_end_at_any_file_that_it_opens_it_ends_in_order_or_has_touched_nothing() {
    let strace = |nth: usize| {
        let inject = format!("inject=openat:signal=SIGTERM:when={nth}");
        let mut command = Command::new("strace");
        command.args(["-f", "-qqq", "-o", "/dev/null", "-e", "signal=none", "-e", "trace=openat"]);
        // A test that fails leaves no agent behind.
        command.args(["-e", &*inject, "setpriv", "--pdeathsig", "KILL"]);
        command
    };
    match strace(1).args(["sh", "-c", "exit 0"]).status() {
        Ok(status) if status.signal().is_some() => {}
        tried => return skip::skipped(&format!("strace does not send signals here: {tried:?}")),
    }
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let (mut in_order, mut untouched) = (0, 0);
    for nth in (1..).step_by(EVERY) {
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        files(&site.path("state"), &mut before);
        let mut command = strace(nth);
        command.arg(AGENT).arg("--config").arg(site.path("agent.toml")).arg("run");
        let mut agent = Agent::spawn(&site, command);
        // What runs also opens files, every few seconds: each run comes to its end.
        let ended = wait_for("the end", || agent.child.try_wait().unwrap());
        if ended.signal().is_some() {
            files(&site.path("state"), &mut after);
            assert_eq!(before, after, "killed at file {nth}, after it had begun");
            assert_eq!(agent.log(), "", "killed at file {nth}, after it had begun");
            untouched += 1;
        } else {
            assert!(ended.success(), "{ended} at file {nth}");
            in_order += 1;
        }
        if agent.log().contains("ready") {
            break;
        }
    }
    assert!(in_order > 3, "{in_order} starts ended in order, {untouched} had touched nothing");
    let boots = clean_boots(&site);
    assert!(boots.len() > 1 && boots.iter().all(|clean| *clean), "{boots:?}");
}
