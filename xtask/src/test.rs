//! `cargo xtask test`: installs what the tests need, runs all of them, counts.

use crate::toolchain::{self, Package};
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write};
use std::process::{Command, Stdio};

/// What the tests need beyond cargo and a C compiler.
const PACKAGES: &[Package] = &[
    Package {
        name: "chromium",
        path: "/usr/bin/chromium",
        why: "the cloud's console is opened in it, without a screen",
    },
    Package {
        name: "dbus",
        path: "/usr/bin/dbus-daemon",
        why: "systemd-run speaks over it in the test of the shipped unit",
    },
    Package {
        name: "fonts-dejavu-core",
        path: "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
        why: "the letters of what the console shows",
    },
    Package {
        name: "minisign",
        path: "/usr/bin/minisign",
        why: "signs skills, trust documents and revocation lists as anybody would",
    },
    Package {
        name: "mosquitto",
        path: "/usr/sbin/mosquitto",
        why: "the cloud's link is tested over a real broker",
    },
    Package {
        name: "postgresql",
        path: "/usr/lib/postgresql",
        why: "the cloud is tested over it, each test in a database of its own",
    },
    Package {
        name: "python3",
        path: "/usr/bin/python3",
        why: "an independent script checks `policy backtest`",
    },
    Package {
        name: "strace",
        path: "/usr/bin/strace",
        why: "kills the cloud at a write to its database that the test chooses",
    },
    Package {
        name: "systemd",
        path: "/lib/systemd/systemd",
        why: "the shipped unit is started under a real systemd in a namespace",
    },
    Package {
        name: "util-linux",
        path: "/usr/bin/unshare",
        why: "makes that namespace, and runs Postgres as its own user",
    },
];

/// Of `cargo xtask test`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Only tests whose name contains this; may be given more than once.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
}

impl Options {
    /// Every test.
    pub(crate) const fn all() -> Self {
        Self { filter: Vec::new() }
    }
}

/// Runs the tests; false when one failed, or when there were none.
pub(crate) fn run(options: &Options) -> Result<bool> {
    toolchain::ensure_packages(PACKAGES)?;
    if toolchain::ensure_wasm_target()? {
        println!("added the Rust target {}, which skills are built for", toolchain::WASM_TARGET);
    }
    let mut command = toolchain::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if !options.filter.is_empty() {
        command.arg("--").args(&options.filter);
    }
    let (counts, success) = stream(&mut command, &mut std::io::stdout())?;
    let counts = counts.judged(success);
    println!("{counts}");
    Ok(success && counts.failed == 0)
}

/// Runs a test command, passes its output on to `out`, and sums up its results.
fn stream(command: &mut Command, out: &mut dyn Write) -> Result<(Counts, bool)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let (mut counts, mut skipped) = (Counts::default(), BTreeSet::new());
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        // By bytes: what a test prints need not be UTF-8.
        while reader.read_until(b'\n', &mut line).context("cannot read cargo's output")? > 0 {
            out.write_all(&line).and_then(|()| out.flush()).context("cannot pass the output on")?;
            let text = String::from_utf8_lossy(&line);
            counts.add_line(&text);
            if let Some(why) = text.trim_end().strip_prefix("SKIPPED: ") {
                skipped.insert(why.to_owned());
            }
            line.clear();
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    // Repeated where the last lines are read.
    for why in &skipped {
        writeln!(out, "SKIPPED: {why}").context("cannot pass the output on")?;
    }
    Ok((counts.without(skipped.len() as u64), status.success()))
}

/// How many tests came out how.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    failed: u64,
    passed: u64,
    skipped: u64,
}

impl Counts {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn add_line(&mut self, line: &str) {
        let Some(result) = line.trim().strip_prefix("test result: ") else {
            return;
        };
        let summary = result.split_once(". ").map_or(result, |(_, rest)| rest);
        for part in summary.split("; ") {
            let Some((number, what)) = part.trim().split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                "passed" => self.passed += number,
                _ => {}
            }
        }
    }

    /// The harness knows no test that finds out by itself that it cannot run here, and counts
    /// it as passed.
    fn without(mut self, skipped: u64) -> Self {
        let skipped = skipped.min(self.passed);
        self.passed -= skipped;
        self.skipped += skipped;
        self
    }

    /// A run that failed without naming a test (it did not compile, or it crashed), and one
    /// that ran nothing, count as one failure.
    fn judged(mut self, success: bool) -> Self {
        if self.failed == 0 && (!success || self.passed == 0) {
            self.failed = 1;
        }
        self
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed_over_all_programs() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.01s\n",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s",
            "test a::b ... ok",
        ] {
            counts.add_line(line);
        }
        assert_eq!(counts.to_string(), "13 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn no_tests_at_all_and_a_build_that_failed_are_failures() {
        assert_eq!(Counts::default().judged(true).failed, 1);
        let some = Counts { failed: 0, passed: 4, skipped: 0 };
        assert_eq!(some.judged(true).failed, 0);
        assert_eq!(some.judged(false).failed, 1);
    }

    #[test]
    fn a_test_that_could_not_run_here_is_counted_as_skipped_and_repeated_at_the_end() {
        let script = "echo; echo 'SKIPPED: a_boot: needs root'; echo 'SKIPPED: a_boot: needs root'
                      echo 'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured'";
        let mut passed_on = Vec::new();
        let (counts, _) = stream(Command::new("sh").args(["-c", script]), &mut passed_on).unwrap();
        assert_eq!(counts.to_string(), "1 passed, 0 failed, 2 skipped");
        assert!(passed_on.ends_with(b"SKIPPED: a_boot: needs root\n"));
    }

    #[test]
    fn output_is_counted_and_the_exit_code_is_kept() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured'; exit 1";
        let mut passed_on = Vec::new();
        let (counts, success) =
            stream(Command::new("sh").args(["-c", script]), &mut passed_on).unwrap();
        assert_eq!((counts.passed, success), (2, false));
        assert!(passed_on.starts_with(b"test result: ok. 2 passed"));
    }
}
