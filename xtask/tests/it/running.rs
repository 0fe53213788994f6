//! What is left running by what has ended.

use std::time::{Duration, Instant};

/// A guard against hanging.
const PATIENCE: Duration = Duration::from_secs(180);

/// No process has `text` on its command line. What was killed may need a moment to be gone.
pub(crate) fn none_has(text: &str) {
    let since = Instant::now();
    while let Some(line) = find(text) {
        assert!(since.elapsed() < PATIENCE, "left running: {line}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn find(text: &str) -> Option<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut lines = processes.map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).into_owned()
    });
    lines.find(|line| line.contains(text))
}
