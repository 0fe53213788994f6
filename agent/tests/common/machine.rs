//! A systemd booted in namespaces of its own, with the units of this checkout.
//!
//! Needs root, systemd and dbus, and a machine that lets root make namespaces, which a
//! container often does not.

use super::skip;
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
site=$1 shipped=$2
shift 2
mount --make-rprivate /
for program; do cp "$program" "$site/"; done
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

/// For systemd to boot. Nothing else waits so long: a boot that does not come is
/// the machine's fault and no claim of ours.
const BOOT_PATIENCE: Duration = Duration::from_secs(180);

/// What is missing here, if anything is.
pub(crate) fn refusal() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("booting systemd in a namespace needs root".to_owned());
    }
    for file in ["/lib/systemd/systemd", "/usr/bin/dbus-daemon"] {
        if !Path::new(file).exists() {
            return Err(format!("{file} is missing; install systemd and dbus"));
        }
    }
    let probe = [&NAMESPACES[..], &["sh", "-ec", PROBE]].concat();
    skip::allows("booting systemd in a namespace", "unshare", &probe)
}

/// A systemd with its own processes, mounts and control groups.
pub(crate) struct Machine {
    unshare: Child,
}

impl Machine {
    /// One in which `site` is /run/site, with these programs and the shipped units; or why systemd
    /// does not come up.
    pub(crate) fn boot(site: &Path, programs: &[&Path]) -> Result<Self, String> {
        let unshare = Command::new("unshare")
            .args(NAMESPACES)
            .args(["--kill-child", "sh", "-c", BOOT, "sh"])
            .arg(site)
            .arg(Path::new(ROOT).join("systemd"))
            .args(programs)
            .env("container", "nooterra-test")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(site.join("boot.log")).unwrap())
            .spawn()
            .unwrap();
        let (machine, give_up) = (Self { unshare }, Instant::now() + BOOT_PATIENCE);
        while Instant::now() < give_up {
            let output = machine.run(&["systemctl", "is-system-running"]);
            let state = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
            if state.is_some_and(|state| ["running", "degraded"].contains(&&*state)) {
                return Ok(machine);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = std::fs::read_to_string(site.join("boot.log")).unwrap();
        let last = log.lines().last().unwrap_or("it says nothing");
        Err(format!("systemd does not boot in a namespace here: {last}"))
    }

    /// The machine's first process, seen from here.
    fn init(&self) -> Option<u32> {
        let id = self.unshare.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    pub(crate) fn run(&self, command: &[&str]) -> Option<Output> {
        Command::new("nsenter")
            .args(["--target", &self.init()?.to_string()])
            .args(["--pid", "--mount", "--uts", "--ipc", "--cgroup", "--"])
            .args(command)
            .output()
            .ok()
    }

    /// What a command says that succeeds; `unit`'s log where it does not.
    pub(crate) fn succeed(&self, command: &[&str], unit: &str) -> String {
        let output = self.run(command).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}\n{}", self.log(unit));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        self.succeed(&["systemctl", "show", "--value", "-p", property, unit], unit)
    }

    pub(crate) fn log(&self, unit: &str) -> String {
        let command = ["journalctl", "--no-pager", "-n", "1000", "-u", unit];
        let output = self.run(&command);
        output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
