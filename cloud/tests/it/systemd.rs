//! The shipped units of the cloud's side, and those under a real systemd that has mosquitto's.
//! Where a machine does not let it boot in a namespace, the test says so.

#[path = "../../../agent/tests/common/machine.rs"]
#[allow(dead_code)] // The agent's test has its part too.
mod machine;
#[path = "../../../agent/tests/common/skip.rs"]
#[allow(dead_code)]
mod skip;

use machine::Machine;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The checkout.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const BROKER: &str = "mosquitto.service";
const PATH: &str = "nooterra-crl.path";
const SERVICE: &str = "nooterra-crl.service";

/// More changes within ten seconds than systemd starts a unit unless it is told otherwise.
const CHANGES: usize = 7;

/// The commands of `docs/cloud-link.md`, as they stand there.
fn install() -> String {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/cloud-link.md")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    let is_it = |line: &&str| line.starts_with("install -D") || line.contains("nooterra-crl");
    let commands: Vec<_> = lines.filter(is_it).collect();
    assert!(commands.iter().any(|line| line.contains("systemctl enable")), "{commands:?}");
    commands.join("\n")
}

fn wait(what: &str, machine: &Machine, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        let patience = crate::rig::PATIENCE;
        assert!(start.elapsed() < patience, "{what}: {}", machine.log(SERVICE));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_shipped_units() {
    if let Err(why) = skip::allows("verifying the units", "systemd-analyze", &["--version"]) {
        return skip::skipped(&why);
    }
    let units = [PATH, SERVICE].map(|unit| Path::new(ROOT).join("systemd").join(unit));
    let output = Command::new("systemd-analyze").arg("verify").args(units).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn mosquitto_reads_the_list_again_whenever_it_is_another() {
    if let Err(why) = machine::refusal() {
        return skip::skipped(&why);
    }
    if !Path::new("/lib/systemd/system/mosquitto.service").exists() {
        return skip::skipped("mosquitto is not installed (apt install mosquitto)");
    }
    let site = tempfile::tempdir().unwrap();
    let machine = match Machine::boot(site.path(), &[]) {
        Ok(machine) => machine,
        Err(why) => return skip::skipped(&why),
    };
    let run = |script: &str| machine.succeed(&["sh", "-ec", script], SERVICE);
    // It listens on no port, and tells what it does to this test.
    run("mkdir -p /etc/mosquitto/conf.d /etc/mosquitto/nooterra
        printf 'listener 0 /run/mosquitto/socket\nallow_anonymous true\n' \
            > /etc/mosquitto/conf.d/test.conf
        systemctl start mosquitto");
    run(&format!("cd /run/site\n{}", install()));
    let reloads = || {
        // Each makes it say so, once.
        let log = run("cat /var/log/mosquitto/mosquitto.log");
        log.lines().filter(|line| line.contains("Reloading config")).count()
    };
    assert_eq!((machine.show(PATH, "ActiveState").as_str(), reloads()), ("active", 0));
    for change in 1..=CHANGES {
        // As the cloud writes it: whole or not at all.
        run(&format!(
            "echo {change} > /etc/mosquitto/nooterra/new
            mv /etc/mosquitto/nooterra/new /etc/mosquitto/nooterra/robots.crl"
        ));
        wait("the list is read again", &machine, || reloads() >= change);
        wait("that is over", &machine, || machine.show(SERVICE, "ActiveState") == "inactive");
        assert_eq!(machine.show(SERVICE, "Result"), "success");
    }
    assert_eq!(machine.show(PATH, "ActiveState"), "active");
    // Where the broker does not run, nothing fails and nothing is started.
    run("systemctl stop mosquitto; echo > /etc/mosquitto/nooterra/robots.crl");
    let asked = || machine.log(SERVICE).matches("Finished").count();
    wait("it is asked for", &machine, || asked() > CHANGES);
    assert_eq!(machine.show(BROKER, "ActiveState"), "inactive");
    assert_eq!(machine.show(SERVICE, "Result"), "success");
}
