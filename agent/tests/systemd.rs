//! The shipped unit under a real systemd, booted in namespaces of its own.
//!
//! Needs root, systemd and dbus, and a machine that lets root make namespaces, which a
//! container often does not. Without them there is nothing to test with, and the test says so.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

mod common;

use common::Site;
use common::rig::{AGENT, CloudRig, dispatch, publish_patrol, step, wait_for};
use common::skip::{self, skipped};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The checkout.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The system below is this machine's own, so nothing that it writes may stay: /etc, /var and
/// what is installed are overlays in memory, /run and /tmp are empty and its own, and of all
/// that would start only the log and the bus are left.
const BOOT: &str = r#"
set -e
site=$1 agent=$2 shipped=$3
mount --make-rprivate /
cp "$agent" "$site/nooterra-agent"
cp -r "$shipped" "$site/systemd"
mount -t tmpfs tmpfs /run
mkdir /run/site /run/over
mount --bind "$site" /run/site
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run/over
for dir in etc var usr/bin usr/lib; do
    mkdir -p "/run/over/$dir/upper" "/run/over/$dir/work"
    mount -t overlay overlay \
        -o "lowerdir=/$dir,upperdir=/run/over/$dir/upper,workdir=/run/over/$dir/work" "/$dir"
done
: > /etc/fstab
system=/usr/lib/systemd/system
rm -rf "$system"/*.wants /etc/systemd/system/*.wants /usr/lib/systemd/system-generators
mkdir "$system/sysinit.target.wants" "$system/sockets.target.wants"
ln -s ../systemd-journald.service "$system/sysinit.target.wants/"
for socket in systemd-journald.socket systemd-journald-dev-log.socket dbus.socket; do
    ln -s "../$socket" "$system/sockets.target.wants/"
done
exec /lib/systemd/systemd --system --unit=basic.target
"#;

/// What of it a machine may refuse.
const PROBE: &str = r#"
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/upper /run/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc
for groups in /sys/fs/cgroup/systemd /sys/fs/cgroup; do
    if mkdir "$groups/nooterra-probe" 2> /dev/null; then
        rmdir "$groups/nooterra-probe"
        exit
    fi
done
echo "no control groups can be made" >&2
exit 1
"#;

/// Namespaces of the machine below.
const NAMESPACES: [&str; 7] =
    ["--pid", "--mount", "--fork", "--mount-proc", "--cgroup", "--uts", "--ipc"];

/// For systemd to boot. Nothing else of this test waits so long: a boot that does not come is
/// the machine's fault and no claim of ours.
const BOOT_PATIENCE: Duration = Duration::from_secs(180);

/// Of the shipped unit.
const WATCHDOG: Duration = Duration::from_secs(3);

/// What is missing here, if anything is.
fn refusal() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("booting systemd in a namespace needs root".to_owned());
    }
    for file in ["/lib/systemd/systemd", "/usr/bin/dbus-daemon"] {
        if !Path::new(file).exists() {
            return Err(format!("{file} is missing; install systemd and dbus"));
        }
    }
    let probe = [&NAMESPACES[..], &["sh", "-ec", PROBE]].concat();
    skip::allows("booting systemd in a namespace", "unshare", &probe)?;
    skip::allows_tracing()
}

/// A systemd with its own processes, mounts and control groups.
struct Machine {
    unshare: Child,
}

impl Machine {
    /// `None` where systemd does not come up.
    fn boot(site: &Site) -> Option<Self> {
        let unshare = Command::new("unshare")
            .args(NAMESPACES)
            .args(["--kill-child", "sh", "-c", BOOT, "sh"])
            .arg(site.dir.path())
            .arg(AGENT)
            .arg(Path::new(ROOT).join("systemd"))
            .env("container", "nooterra-test")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(site.path("boot.log")).unwrap())
            .spawn()
            .unwrap();
        let (machine, give_up) = (Self { unshare }, Instant::now() + BOOT_PATIENCE);
        while Instant::now() < give_up {
            let output = machine.run(&["systemctl", "is-system-running"]);
            let state = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
            if state.is_some_and(|state| ["running", "degraded"].contains(&&*state)) {
                return Some(machine);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        None
    }

    /// The machine's first process, seen from here.
    fn init(&self) -> Option<u32> {
        let id = self.unshare.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    fn run(&self, command: &[&str]) -> Option<Output> {
        Command::new("nsenter")
            .args(["--target", &self.init()?.to_string()])
            .args(["--pid", "--mount", "--uts", "--ipc", "--cgroup", "--"])
            .args(command)
            .output()
            .ok()
    }

    fn succeed(&self, command: &[&str]) -> String {
        let output = self.run(command).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}\n{}", self.log());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn show(&self, property: &str) -> String {
        self.succeed(&["systemctl", "show", "--value", "-p", property, "nooterra-agent"])
    }

    /// How long the agent has been ready.
    fn active_for(&self) -> Option<Duration> {
        let since: u64 = self.show("ActiveEnterTimestampMonotonic").parse().ok()?;
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).ok()?;
        let active = self.show("ActiveState") == "active";
        Duration::from(now).checked_sub(Duration::from_micros(since)).filter(|_| active)
    }

    fn log(&self) -> String {
        let command = ["journalctl", "--no-pager", "-n", "1000", "-u", "nooterra-agent"];
        let output = self.run(&command);
        output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
    }

    /// The agent's control thread, seen from here.
    fn control_thread(&self) -> i32 {
        let inside = self.show("MainPID");
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let status = entry.path().join("status");
            let text = std::fs::read_to_string(status).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("NSpid:")).unwrap_or_default();
            let is_agent = text.starts_with("Name:\tnooterra-agent");
            if !is_agent || line.split_whitespace().nth(2) != Some(&inside) {
                continue;
            }
            for task in std::fs::read_dir(entry.path().join("task")).unwrap().flatten() {
                // Others come and go.
                let name = std::fs::read_to_string(task.path().join("comm"));
                if name.is_ok_and(|name| name.trim() == "control") {
                    return task.file_name().to_string_lossy().parse().unwrap();
                }
            }
        }
        panic!("the agent has no control thread");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// Freezes one thread and nothing else of its process, until the process is gone.
fn freeze(thread: i32) {
    // ptrace(2) belongs to the thread that attached; it must also reap its tracee.
    std::thread::spawn(move || {
        let tracee = Pid::from_raw(thread);
        ptrace::seize(tracee, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(tracee).unwrap();
        loop {
            match waitpid(tracee, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)) => {}
                _ => return,
            }
        }
    });
}

/// The commands of `docs/install.md`, as they stand there.
fn install(cloud: &str, code: &str) -> String {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/install.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands: String = blocks.collect();
    assert!(commands.contains("systemctl enable"), "the guide was not understood");
    format!(
        "cd /run/site\nAGENT=nooterra-agent ROBOT=/run/site CLOUD={cloud} CODE={code}\n{commands}"
    )
}

#[test]
fn the_shipped_unit_runs_a_skill_and_its_watchdog_ends_a_frozen_control_loop() {
    if let Err(why) = refusal() {
        return skipped(&why);
    }
    let site = Site::new();
    site.edit("agent.toml", "dir = \"state\"", "dir = \"/var/lib/nooterra\"");
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    let Some(machine) = Machine::boot(&site) else {
        let log = std::fs::read_to_string(site.path("boot.log")).unwrap();
        let last = log.lines().last().unwrap_or("it says nothing");
        return skipped(&format!("systemd does not boot in a namespace here: {last}"));
    };
    let code = cloud.post("/v1/claim-codes", json!({ "robot": "amr-1" }))["code"].clone();
    // Starting a Type=notify unit returns when the agent has said that it is ready.
    machine.succeed(&["sh", "-ec", &install(&cloud.url(), code.as_str().unwrap())]);
    assert_eq!(machine.show("ActiveState"), "active");
    assert_eq!(machine.show("StatusText"), "the control loop ticks");
    wait_for("the robot", || cloud.is_online().then_some(()));
    let job = dispatch(&cloud, &[step(&skill, "undock", json!({}))]);
    wait_for("the job", || {
        let state = cloud.get(&format!("/v1/jobs/{job}"))["state"].clone();
        assert_ne!(state, "ABORTED", "{}", machine.log());
        (state == "COMPLETED").then_some(())
    });
    // Fed while the loop ticks: it outlives its watchdog, sooner or later also on a machine that
    // holds it up for so long that the watchdog is right.
    wait_for("a run that is fed", || (machine.active_for()? > 2 * WATCHDOG).then_some(()));

    let before = machine.show("NRestarts");
    freeze(machine.control_thread());
    wait_for("the watchdog", || (machine.show("NRestarts") != before).then_some(()));
    wait_for("the agent to be ready again", || {
        (machine.show("ActiveState") == "active").then_some(())
    });
    let log = machine.log();
    assert!(log.contains("the watchdog is not fed"), "{log}");
    assert!(log.to_lowercase().contains("watchdog timeout"), "{log}");
    machine.succeed(&["systemctl", "stop", "nooterra-agent"]);
    assert_eq!(machine.show("Result"), "success");
}

#[test]
fn the_units_exposure_is_scored_below_2_5() {
    let unit = Path::new(ROOT).join("systemd/nooterra-agent.service");
    if let Err(why) = skip::allows("scoring the unit", "systemd-analyze", &["--version"]) {
        return skipped(&why);
    }
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(unit)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("Overall exposure level")).unwrap();
    let score = line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap();
    assert!(score < 2.5, "{line}");
}
