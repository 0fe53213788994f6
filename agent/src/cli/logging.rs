//! The log on standard error, which under systemd is the journal.

use crate::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Begins logging as configured.
pub(super) fn init(config: &Log) {
    // Config::load has refused a filter that does not parse.
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Json => builder.json().init(),
        // Under systemd, which stamps lines itself, colours would be noise.
        LogFormat::Text => {
            builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init()
        }
    }
}
