//! The daemon as a process: how long from its start until systemd is told that it is ready,
//! what it occupies while nothing happens, and how large the robot's build is.

use super::Place;
use super::figure::{Figure, Floor, Line};
use crate::arm::Runnable;
use crate::demo::cloud::{Cloud, Ready};
use crate::demo::robot::{ROBOT, Robot};
use crate::process::{self, Service, wait_for};
use crate::toolchain;
use anyhow::{Context as _, Result, bail};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) const FIGURES: [&str; 3] = ["agent.start", "agent.idle_pss", "agent.size"];

const PATIENCE: Duration = Duration::from_secs(20);

/// After this an agent has told its first health and does nothing but tick.
const SETTLED: Duration = Duration::from_secs(12);

const MIB: f64 = 1024.0 * 1024.0;

/// Builds what is shipped and measures it.
pub(crate) fn measure(place: &Place) -> Result<Vec<Line>> {
    let release = |arguments: &[&str]| {
        let mut command = toolchain::cargo();
        toolchain::build(command.args(["build", "--release"]).args(arguments))
    };
    // First: the next build puts the one with everything into the same place.
    let shipped = release(&["--package", "nooterra-agent", "--no-default-features", "--bins"])?;
    let shipped = size(&toolchain::named(&shipped, "nooterra-agent")?)?;
    let agent = release(&["--package", "nooterra-agent", "--bins"])?;
    let agent = toolchain::named(&agent, "nooterra-agent")?;
    let cloud = release(&["--package", "nooterra-cloud", "--bins"])?;
    let cloud = toolchain::named(&cloud, "nooterra-cloud")?;
    let whole = Floor {
        name: "the default build, with simulator and developer's tools".to_owned(),
        value: size(&agent)?,
    };
    let site = Site::prepare(place, &agent, &cloud)?;
    let (starts, nothing) = site.starts(if place.quick { 4 } else { 30 })?;
    let figures = [
        Figure::new("agent.start", "ms", &starts, Some(nothing)),
        site.idle_memory()?,
        Figure::new("agent.size", "MiB", &[shipped], Some(whole)),
    ];
    Ok(figures.into_iter().map(Line::Figure).collect())
}

/// A file's size, MiB.
fn size(file: &Path) -> Result<f64> {
    let found =
        std::fs::metadata(file).with_context(|| format!("cannot look at {}", file.display()))?;
    Ok(found.len() as f64 / MIB)
}

/// A running cloud and a robot that is enrolled with it.
struct Site {
    agent: PathBuf,
    cloud: Cloud,
    dir: PathBuf,
    robot: Robot,
    // Ends with the site.
    _service: Service,
}

impl Site {
    fn prepare(place: &Place, agent: &Path, cloud: &Path) -> Result<Self> {
        let dir = place.scratch().join("agent");
        if dir.exists() {
            std::fs::remove_dir_all(&dir)
                .with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        let data = dir.join("cloud");
        std::fs::create_dir_all(&data)
            .with_context(|| format!("cannot make {}", data.display()))?;
        let mut command = Command::new(cloud);
        command.args(["serve", "--data"]).arg(&data);
        command.args(["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--json"]);
        let mut service = Service::start("cloud", &mut command, &dir, false)?;
        let ready: Ready = wait_for("the cloud to be ready", PATIENCE, || {
            service.check()?;
            let text = std::fs::read_to_string(dir.join("cloud.out")).unwrap_or_default();
            let line = text.split_once('\n').map(|(line, _)| serde_json::from_str(line));
            line.transpose().context("the cloud's first line is not its readiness")
        })?;
        let cloud = Cloud::connect(&ready, &data)?;
        let robot = Robot::create(&Runnable::own(agent.to_owned()), agent, &dir)?;
        robot.sign_policy(None)?;
        robot.enroll(&ready.http, &cloud.claim_code(ROBOT)?)?;
        Ok(Self { agent: agent.to_owned(), cloud, dir, robot, _service: service })
    }

    /// Starts until ready, in turns with a start that does nothing; milliseconds, sorted.
    fn starts(&self, rounds: usize) -> Result<(Vec<f64>, Floor)> {
        let (mut starts, mut nothing) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let begun = Instant::now();
            process::succeed(Command::new(&self.agent).arg("--version"))?;
            let version = begun.elapsed();
            let (mut agent, took) = self.start()?;
            agent.stop(PATIENCE)?;
            // The first start makes the journal.
            if round > 0 {
                nothing.push(version.as_secs_f64() * 1e3);
                starts.push(took.as_secs_f64() * 1e3);
            }
        }
        starts.sort_by(f64::total_cmp);
        nothing.sort_by(f64::total_cmp);
        let value = nothing.get(nothing.len() / 2).copied().unwrap_or(f64::NAN);
        Ok((starts, Floor { name: "the same program, `--version`".to_owned(), value }))
    }

    /// Starts the agent; how long until it said `READY=1`, as to systemd.
    fn start(&self) -> Result<(Service, Duration)> {
        let socket = Socket::bind()?;
        let mut command = self.robot.agent();
        command.arg("run").env("NOTIFY_SOCKET", &socket.path);
        let begun = Instant::now();
        let mut service = Service::start("agent", &mut command, &self.dir, false)?;
        loop {
            if socket.hears("READY=1")? {
                return Ok((service, begun.elapsed()));
            }
            service.check()?;
            if begun.elapsed() > PATIENCE {
                bail!("the agent was not ready within {} s", PATIENCE.as_secs());
            }
        }
    }

    /// Proportional set size of an agent that is online and does nothing.
    fn idle_memory(&self) -> Result<Figure> {
        let (mut agent, _) = self.start()?;
        wait_for("the robot to be online", PATIENCE, || {
            agent.check()?;
            Ok(self.cloud.robot(ROBOT)?.filter(|robot| robot["online"] == true))
        })?;
        std::thread::sleep(SETTLED);
        let file = format!("/proc/{}/smaps_rollup", agent.id());
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        agent.stop(PATIENCE)?;
        let floor = Floor {
            name: "what of it is the program's own file".to_owned(),
            value: mib(&text, "Pss_File:")?,
        };
        Ok(Figure::new("agent.idle_pss", "MiB", &[mib(&text, "Pss:")?], Some(floor)))
    }
}

/// A line of `smaps_rollup`, MiB.
fn mib(rollup: &str, name: &str) -> Result<f64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    Ok(number.with_context(|| format!("smaps_rollup has no `{name}`"))? / 1024.0)
}

/// Stands for systemd. In the system's folder for such things: a socket's path is short.
struct Socket {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Socket {
    fn bind() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("nooterra-bench-{}", std::process::id()));
        // Of an earlier process with the same id.
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        socket.set_read_timeout(Some(Duration::from_millis(500))).context("no read timeout")?;
        Ok(Self { path, socket })
    }

    /// Whether this is what comes next; false too when nothing comes for a while.
    fn hears(&self, wanted: &str) -> Result<bool> {
        let mut bytes = [0; 1024];
        match self.socket.recv(&mut bytes) {
            Ok(length) => {
                let text = String::from_utf8_lossy(&bytes[..length]);
                Ok(text.lines().any(|line| line == wanted))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("cannot hear the agent"),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_the_kernels_own_words() {
        let rollup = "5581-7ffe ---p 00000000 00:00 0 [rollup]\nRss:  30720 kB\nPss:           \
                      20480 kB\nPss_File:      10240 kB\n";
        assert!((mib(rollup, "Pss:").unwrap() - 20.0).abs() < 1e-9);
        assert!((mib(rollup, "Pss_File:").unwrap() - 10.0).abs() < 1e-9);
        assert!(mib(rollup, "Pss_Shmem:").is_err() && mib("", "Pss:").is_err());
    }

    #[test]
    fn readiness_is_one_line_of_what_is_said() {
        let socket = Socket::bind().unwrap();
        let speaker = UnixDatagram::unbound().unwrap();
        speaker.send_to(b"STATUS=starting\n", &socket.path).unwrap();
        speaker.send_to(b"READY=1\nSTATUS=it ticks\n", &socket.path).unwrap();
        assert!(!socket.hears("READY=1").unwrap());
        assert!(socket.hears("READY=1").unwrap());
    }
}
