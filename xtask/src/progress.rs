//! What a person sees while steps run: one line a step, with its number, its duration and,
//! on a terminal, a spinner that says what is being waited for.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the spinner turns.
const FRAME: Duration = Duration::from_millis(100);
const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const BAR_CELLS: usize = 20;

/// The steps of a command.
#[derive(Debug)]
pub(crate) struct Progress {
    durations: Vec<(String, Duration)>,
    screen: Screen,
    total: usize,
}

/// Where lines go, and whether they may be drawn over.
#[derive(Clone, Debug)]
struct Screen {
    live: bool,
    shared: Arc<Mutex<Live>>,
    sink: Sink,
}

#[derive(Clone, Copy, Debug)]
enum Sink {
    #[cfg(test)]
    Nowhere,
    Stderr,
    Stdout,
}

#[derive(Debug, Default)]
struct Live {
    /// What the spinner's line says; `None` while no step runs.
    line: Option<String>,
    running: bool,
}

/// A step under way. Dropped without [`Step::done`], it is printed as failed.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    began: Instant,
    name: &'static str,
    number: usize,
    owner: &'a mut Progress,
    spinner: Option<JoinHandle<()>>,
    open: bool,
}

impl Progress {
    /// `plain` for no terminal tricks; `to_stderr` where stdout belongs to a program.
    pub(crate) fn new(total: usize, plain: bool, to_stderr: bool) -> Self {
        let terminal = if to_stderr {
            std::io::stderr().is_terminal()
        } else {
            std::io::stdout().is_terminal()
        };
        let shared = Arc::new(Mutex::new(Live::default()));
        Self {
            durations: Vec::new(),
            screen: Screen {
                live: terminal && !plain,
                shared,
                sink: if to_stderr { Sink::Stderr } else { Sink::Stdout },
            },
            total,
        }
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, name: &'static str) -> Step<'_> {
        let number = self.durations.len() + 1;
        let spinner = self.screen.live.then(|| self.screen.spin(self.heading(number, name)));
        if spinner.is_none() {
            self.screen.print(&format!("{} ...", self.heading(number, name)));
        }
        Step { began: Instant::now(), name, number, owner: self, spinner, open: true }
    }

    /// Prints a line outside any step.
    pub(crate) fn say(&self, text: &str) {
        self.screen.print(text);
    }

    /// What each finished step took.
    pub(crate) fn durations(&self) -> &[(String, Duration)] {
        &self.durations
    }

    fn heading(&self, number: usize, name: &str) -> String {
        format!("[{number}/{}] {name}", self.total)
    }
}

impl Step<'_> {
    /// Prints a line that stays, under the step.
    pub(crate) fn note(&self, text: &str) {
        self.owner.screen.print(&format!("      {text}"));
    }

    /// Says what is being waited for; replaced by the next, and seen on a terminal only.
    pub(crate) fn now(&self, text: &str) {
        if self.owner.screen.live {
            let heading = self.owner.heading(self.number, self.name);
            lock(&self.owner.screen.shared).line = Some(format!("{heading}: {text}"));
        }
    }

    /// As [`Step::now`], with a bar for a part of 0 to 1.
    pub(crate) fn part(&self, part: f64, text: &str) {
        self.now(&format!("{} {text}", bar(part)));
    }

    /// Takes the spinner away, so that a child can draw on the terminal.
    pub(crate) fn hand_over_terminal(&mut self) {
        if self.spinner.is_some() {
            self.stop_spinner();
            let heading = self.owner.heading(self.number, self.name);
            self.owner.screen.print(&format!("{heading} ..."));
        }
    }

    /// The step is done; `result` says what came of it, in a few words.
    pub(crate) fn done(mut self, result: &str) -> Duration {
        self.stop_spinner();
        let took = self.began.elapsed();
        let heading = self.owner.heading(self.number, self.name);
        self.owner.screen.print(&format!("{heading}: {result} ({:.1} s)", took.as_secs_f64()));
        self.owner.durations.push((self.name.to_owned(), took));
        self.open = false;
        took
    }

    fn stop_spinner(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            lock(&self.owner.screen.shared).running = false;
            // A spinner that panicked has nothing to tell.
            let _ = spinner.join();
        }
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if self.open {
            self.stop_spinner();
            let heading = self.owner.heading(self.number, self.name);
            let took = self.began.elapsed().as_secs_f64();
            self.owner.screen.print(&format!("{heading}: FAILED ({took:.1} s)"));
        }
    }
}

impl Screen {
    fn print(&self, text: &str) {
        // Held while printing, so that the spinner does not draw into the line.
        let live = lock(&self.shared);
        let clear = if self.live && live.running { "\r\x1b[2K" } else { "" };
        self.write(&format!("{clear}{text}\n"));
    }

    /// A closed pipe is not this program's failure.
    fn write(&self, text: &str) {
        let _ = match self.sink {
            #[cfg(test)]
            Sink::Nowhere => Ok(()),
            Sink::Stderr => std::io::stderr().write_all(text.as_bytes()),
            Sink::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        };
    }

    fn spin(&self, first: String) -> JoinHandle<()> {
        *lock(&self.shared) = Live { line: Some(first), running: true };
        let screen = self.clone();
        std::thread::spawn(move || {
            let began = Instant::now();
            for frame in FRAMES.iter().cycle() {
                {
                    let live = lock(&screen.shared);
                    if !live.running {
                        screen.write("\r\x1b[2K");
                        return;
                    }
                    let line = live.line.as_deref().unwrap_or_default();
                    let seconds = began.elapsed().as_secs();
                    let text: String =
                        format!("{frame} {line} {seconds} s").chars().take(110).collect();
                    screen.write(&format!("\r\x1b[2K{text}"));
                }
                std::thread::sleep(FRAME);
            }
        })
    }
}

/// A bar of `#` and `.` for a part of 0 to 1.
fn bar(part: f64) -> String {
    let cell = |index: usize| (index as f64 + 0.5) / BAR_CELLS as f64;
    let cells: String =
        (0..BAR_CELLS).map(|index| if cell(index) <= part { '#' } else { '.' }).collect();
    format!("[{cells}]")
}

/// A panic elsewhere must not silence the progress.
fn lock(shared: &Mutex<Live>) -> MutexGuard<'_, Live> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_empty_at_zero_and_full_at_one_and_survives_what_is_no_number() {
        assert_eq!(bar(0.0), format!("[{}]", ".".repeat(BAR_CELLS)));
        assert_eq!(bar(1.0), format!("[{}]", "#".repeat(BAR_CELLS)));
        assert_eq!(bar(f64::NAN), format!("[{}]", ".".repeat(BAR_CELLS)));
    }

    #[test]
    fn a_finished_step_leaves_its_duration_and_an_abandoned_one_does_not() {
        let mut progress = Progress::new(2, true, true);
        progress.screen.sink = Sink::Nowhere;
        progress.step("first").done("ready");
        drop(progress.step("second"));
        assert_eq!(progress.durations().len(), 1);
    }
}
