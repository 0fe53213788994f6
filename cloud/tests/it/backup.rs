//! `nooterra-cloud backup` and `restore`: a cloud in one file, from one database into another.

use crate::rig::{Device, Kind, Mqtt, Postgres, Rig, RigOn, Sqlite};
use crate::server::{Database, skipped};
use nooterra_protocol::event::EventType;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn program(args: &[&str], paths: &[&Path], database: Option<&Database>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"));
    command.args(args).args(paths);
    if let Some(database) = database {
        command.args(["--store", &database.url()]);
    }
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn back_up(rig: &RigOn<impl Kind>, to: &Path) {
    let data = rig.dir.path().join("cloud");
    let args = ["backup", "--output"];
    let (code, said) = program(&args, &[to, Path::new("--data"), data.as_path()], rig.database());
    assert!(code == Some(0) && said.contains("the streams say what is shown"), "{said}");
}

fn restored<K: Kind>(file: &Path) -> RigOn<K> {
    let (dir, database) = (tempfile::tempdir().unwrap(), K::database());
    let data = dir.path().join("cloud");
    let args = ["restore", "--data"];
    let (code, said) = program(&args, &[data.as_path(), file], database.as_ref());
    assert!(code == Some(0) && said.contains("the streams say what is shown"), "{said}");
    RigOn::on(dir, database, |_| {})
}

/// A cloud at work: a robot with a journal, jobs under way, commands.
fn at_work<K: Kind>() -> (RigOn<K>, Device) {
    let rig = RigOn::<K>::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let job = rig.dispatch_job("amr-1");
    let facts = (0..20).map(|_| device.fact(EventType::AccessDenied, Some(&job), &json!({})));
    let facts: Vec<_> = facts.collect();
    client.publish(&device.topic("up/critical"), &device.batch(facts)).unwrap();
    client.ack();
    (rig, device)
}

/// All that the API shows, but for what passes.
fn shown(rig: &RigOn<impl Kind>) -> Vec<Value> {
    let mut robot = rig.get("/v1/robots/amr-1");
    for passing in ["online", "last_seen"] {
        robot.as_object_mut().unwrap().remove(passing);
    }
    let mut all = vec![robot];
    for path in [
        "/v1/events?limit=1000",
        "/v1/jobs",
        "/v1/robots/amr-1/commands",
        "/v1/robots/amr-1/records?limit=1000",
        "/v1/skills",
    ] {
        all.push(rig.get(path));
    }
    all
}

/// From one kind to another and back, and at each place the cloud goes on where it was.
fn moves<From: Kind, To: Kind>() {
    let (first, mut device) = at_work::<From>();
    let dir = tempfile::tempdir().unwrap();
    let files = [dir.path().join("one.tar"), dir.path().join("two.tar")];
    back_up(&first, &files[0]);
    let before = shown(&first);

    let second: RigOn<To> = restored(&files[0]);
    assert_eq!(shown(&second), before);
    assert_eq!(second.token, first.token);
    // The robot's certificate, its cursor and the numbers of all that is new go on.
    let mut client = Mqtt::connect(&second, &device);
    client.command();
    let record = device.fact(EventType::AccessDenied, None, &json!({}));
    client.publish(&device.topic("up/critical"), &device.batch(vec![record])).unwrap();
    client.ack();
    second.dispatch_job("amr-1");
    client.command();
    drop(client);
    back_up(&second, &files[1]);
    let after = shown(&second);
    assert_ne!(after, before);

    let third: RigOn<From> = restored(&files[1]);
    assert_eq!(shown(&third), after);
    third.dispatch_job("amr-1");
}

#[test]
fn a_cloud_on_sqlite_is_restored_as_it_was() {
    moves::<Sqlite, Sqlite>();
}

#[test]
fn a_cloud_moves_from_sqlite_to_postgres_and_back() {
    moves::<Sqlite, Postgres>();
}

#[test]
fn a_cloud_on_postgres_is_restored_as_it_was() {
    moves::<Postgres, Postgres>();
}

fn small_backup(dir: &TempDir) -> PathBuf {
    let rig = Rig::new();
    rig.enrol("amr-1");
    rig.create_job("amr-1");
    let file = dir.path().join("cloud.tar");
    back_up(&rig, &file);
    file
}

#[test]
fn a_backup_is_private_and_nothing_is_ever_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = small_backup(&dir);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // Nothing is left beside it.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let rig = Rig::new();
    let data = rig.dir.path().join("cloud");
    let args = ["backup", "--output"];
    let (code, said) = program(&args, &[&file, Path::new("--data"), &data], None);
    assert!(code == Some(3) && said.contains("there already"), "{said}");
    let (code, said) = program(&["restore", "--data"], &[&data, &file], None);
    assert!(code == Some(3) && said.contains("there already"), "{said}");
    let nowhere = dir.path().join("nowhere");
    let none = dir.path().join("none.tar");
    let (code, said) = program(&args, &[&none, Path::new("--data"), &nowhere], None);
    assert!(code == Some(3) && !none.exists(), "{said}");
}

#[test]
fn a_database_that_holds_a_cloud_takes_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let database = match Database::new() {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let file = small_backup(&dir);
    for (name, code) in [("one", 0), ("two", 3)] {
        let data = dir.path().join(name);
        let args = ["restore", "--data"];
        let (found, said) = program(&args, &[&data, &file], Some(&database));
        assert_eq!((found, data.exists()), (Some(code), code == 0), "{said}");
        assert_eq!(said.contains("holds another cloud"), code != 0, "{said}");
    }
    assert_eq!(database.ask("SELECT count(*)::text FROM jobs"), "1");
}

#[test]
fn a_damaged_backup_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = small_backup(&dir);
    let whole = std::fs::read(&file).unwrap();
    let damaged = dir.path().join("damaged.tar");
    let restore = |bytes: &[u8]| {
        std::fs::write(&damaged, bytes).unwrap();
        let data = dir.path().join("data");
        let restored = nooterra_cloud::restore(&damaged, &data, None, false);
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 2 + usize::from(restored.is_ok()));
        let _ = std::fs::remove_dir_all(&data);
        restored.is_ok()
    };
    assert!(restore(&whole));
    for cut in [0, 100, 512, 1000, 4096, whole.len() / 2, whole.len() - 20_000] {
        assert!(!restore(&whole[..cut]), "{cut}");
    }
    // Every part of it, the database's pages too: what is not as it was written is noticed. In
    // the headers of tar there are bytes without a meaning.
    for place in (0..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x55;
        let same = restore(&bytes);
        assert!(!same || place % 512 >= 100 || whole[place] == 0, "{place}");
    }
    assert!(!restore(b"no archive at all"));
}
