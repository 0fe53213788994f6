//! Programs that run beside us: started with their output in a file, ended whatever happens.

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a wait looks again.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// How many lines of a log are shown when something failed.
const TAIL_LINES: usize = 20;

/// A running program. It ends with this value, unless it was [released](Service::release).
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    log: PathBuf,
    name: &'static str,
    released: bool,
}

impl Service {
    /// Starts `command`: stdout into `DIR/NAME.out`, stderr into `DIR/NAME.log`. With
    /// `outlive`, it may go on after this program has ended.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        dir: &Path,
        outlive: bool,
    ) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let out = dir.join(format!("{name}.out"));
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        command.stdin(Stdio::null()).stdout(create(&out)?).stderr(create(&log)?);
        // A group of its own: what it starts in turn ends with it.
        command.process_group(0);
        if !outlive {
            end_with_parent(command);
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, log, name, released: false })
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Still running; otherwise an error with the end of its log.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait().context("cannot ask for a child's state")? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended early ({status}); its log is {}", self.name, self.log.display())
            }
        }
    }

    /// SIGTERM, and SIGKILL when `patience` is over.
    pub(crate) fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM);
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().context("cannot wait for a child")? {
                self.released = true;
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        self.kill();
        Err(anyhow!("{} did not stop within {} s of SIGTERM", self.name, patience.as_secs()))
    }

    /// Lets it run on after this program has ended.
    pub(crate) fn release(mut self) {
        self.released = true;
    }

    /// The group is gone already when this fails, which is what was wanted.
    fn signal(&self, signal: Signal) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(id), signal);
        }
    }

    fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
        self.released = true;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.released && self.stop(Duration::from_secs(3)).is_err() {
            self.kill();
        }
    }
}

/// Asks the kernel to kill the child when its parent dies: a drop guard does not run when
/// this program itself is killed.
fn end_with_parent(command: &mut Command) {
    let ask = || nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure
    // makes one system call, prctl(2), allocates nothing and takes no lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(ask);
    }
}

/// Runs a program to its end and returns what it printed, whatever its exit code.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Runs a program and returns its exit code and what it printed, errors last. One that has not
/// ended after `patience` is ended, with all that it started, and has no exit code.
pub(crate) fn output_within(
    command: &mut Command,
    patience: Duration,
) -> Result<(Option<ExitStatus>, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    // Read while it runs: a pipe that is full would make it wait for us.
    let readers = [child.stdout.take().map(read_aside), child.stderr.take().map(read_aside)];
    let end = Instant::now() + patience;
    let status = loop {
        match child.try_wait().context("cannot wait for a child")? {
            Some(status) => break Some(status),
            None if Instant::now() >= end => break None,
            None => std::thread::sleep(POLL),
        }
    };
    // What it left running has its pipes, and would keep the readers waiting.
    if let Ok(id) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
    let _ = child.wait();
    let printed = readers.into_iter().flatten().map(|reader| reader.join().unwrap_or_default());
    Ok((status, printed.collect()))
}

fn read_aside(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what there is.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// As [`output`], but anything except success is an error with what it said.
pub(crate) fn succeed(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let output = output(command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("`{line}` failed ({}):\n{}", output.status, indented(&format!("{text}{said}")));
}

/// Runs a program that shares our terminal; false when it fails.
pub(crate) fn pass_through(command: &mut Command) -> Result<bool> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(status.success())
}

/// A command line as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last lines of a log, indented; empty when there is none.
pub(crate) fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    indented(&String::from_utf8_lossy(&bytes))
}

fn indented(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    lines[first..].iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// Looks at `look` until it gives a value; an error after `patience`.
pub(crate) fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("waited {} s for {what}, in vain", patience.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path) -> Service {
        Service::start("sleeper", Command::new("sleep").arg("60"), dir, false).unwrap()
    }

    fn is_alive(id: u32) -> bool {
        // A zombie still has a directory; its state says so.
        std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn a_service_ends_with_its_guard() {
        let dir = tempfile::tempdir().unwrap();
        let service = sleeper(dir.path());
        let id = service.id();
        assert!(is_alive(id));
        drop(service);
        assert!(!is_alive(id));
    }

    #[test]
    fn a_service_that_ended_early_is_noticed_with_the_place_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut service =
            Service::start("brief", &mut Command::new("false"), dir.path(), false).unwrap();
        let error = wait_for("its end", Duration::from_secs(60), || Ok(service.check().err()));
        assert!(error.unwrap().to_string().contains("brief.log"));
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_what_it_started_and_what_it_said_is_kept() {
        let script = "echo before; echo why >&2; sleep 60 & sleep 60; echo after";
        let began = Instant::now();
        // Long enough for a shell to say two words, on a machine that does much else.
        let patience = Duration::from_secs(10);
        let (status, said) =
            output_within(Command::new("sh").args(["-c", script]), patience).unwrap();
        assert!(status.is_none() && began.elapsed() < Duration::from_secs(55));
        assert_eq!(said, "before\nwhy\n");
    }

    #[test]
    fn a_program_that_ends_in_time_keeps_its_exit_code() {
        let long = Duration::from_secs(60);
        let (status, said) =
            output_within(Command::new("sh").args(["-c", "echo x; exit 3"]), long).unwrap();
        assert_eq!((status.unwrap().code(), said.as_str()), (Some(3), "x\n"));
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        let text: String = (0..100).map(|n| format!("line {n}\n\n")).collect();
        std::fs::write(&log, text).unwrap();
        let shown = tail(&log);
        assert!(shown.ends_with("    line 99") && shown.starts_with("    line 80"), "{shown}");
    }

    #[test]
    fn a_command_that_fails_says_what_it_printed() {
        let error =
            succeed(Command::new("sh").args(["-c", "echo because >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("because") && text.contains('3'), "{text}");
    }
}
