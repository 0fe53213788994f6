//! The channel to the cloud: MQTT 5 over TLS 1.3 with this robot's certificate.
//!
//! Every connection is a new client with nothing carried over from the last one: what was
//! not acknowledged by the cloud is read from the journal again, and the cloud counts each
//! record once. So nothing that the MQTT library holds in memory can be lost or sent twice.
//!
//! Tasks: one polls the MQTT event loop (its `poll` must not be cancelled, and can hang when
//! the peer stops reading, so it is a task of its own that is dropped as a whole); one, the
//! session, owns everything else. Between them a bounded channel; when it is full the poller
//! waits, and so does the peer.

mod downlink;
mod session;
mod uplink;

pub(crate) use downlink::REPLAY_KEY;
pub use downlink::{Downlink, DownlinkParts, Taken};

use crate::clock::SystemClock;
use crate::identity::Identity;
use nooterra_blackbox::JournalHandle;
use nooterra_protocol::entry::{Entry, Link as LinkEntry};
use nooterra_protocol::uplink::Health;
use session::End;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

/// The first pause after a lost connection; doubles up to the configured longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);

/// Between two attempts to renew the certificate, at the most.
const RENEW_EVERY: Duration = Duration::from_secs(600);

/// All that the channel needs from the rest of the agent.
pub struct Channel {
    /// To judge certificates and renewals by.
    pub clock: Arc<SystemClock>,
    /// `[link]` of the configuration.
    pub config: crate::config::Link,
    /// Takes signed commands.
    pub downlink: Arc<Downlink>,
    /// Tells how the robot is.
    pub health: Arc<dyn Fn() -> Health + Send + Sync>,
    /// Who we are.
    pub identity: Identity,
    /// Read by cursor.
    pub journal: JournalHandle,
    /// Woken after every commit of the journal.
    pub news: Arc<Notify>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Channel {
    /// Keeps the channel up until `stop` says true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut backoff = FIRST_BACKOFF;
        let mut last_reason = String::new();
        let mut renewal_tried = None;
        while !*stop.borrow() {
            let (end, was_up) = session::hold(&self, stop.clone(), &mut renewal_tried).await;
            match end {
                End::Stopped => break,
                End::Renewed(identity) => {
                    info!(not_after = %identity.not_after(), "the certificate was renewed");
                    self.identity = *identity;
                    continue;
                }
                End::Lost(reason) => {
                    let reason = self.explained(reason);
                    if was_up {
                        backoff = FIRST_BACKOFF;
                        self.record(LinkEntry { reason: Some(reason.clone()), up: false });
                    }
                    if was_up || reason != last_reason {
                        warn!(reason, retry_in = ?backoff, "no channel to the cloud; the robot goes on by itself");
                    }
                    last_reason = reason;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(jittered(backoff)) => {}
                _ = stop.changed() => {}
            }
            let longest = Duration::from_secs(u64::from(self.config.max_backoff_s));
            backoff = (backoff * 2).min(longest);
        }
    }

    /// The connection is tried all the same: it is the clock that may be wrong.
    fn explained(&self, reason: String) -> String {
        let end = self.identity.not_after();
        if self.clock.judged_wall() < end {
            return reason;
        }
        format!(
            "this robot's certificate ended at {end}: check its clock, or enroll this robot again \
             ({reason})"
        )
    }

    /// How long to wait between two attempts to renew the certificate: ever shorter towards
    /// its end. `None` while it is not due.
    fn renewal_pause(&self) -> Option<Duration> {
        let now = self.clock.judged_wall();
        if !self.identity.wants_renewal(now) {
            return None;
        }
        let left = self.identity.not_after().millis_since(now).max(0);
        Some((Duration::from_millis(left.unsigned_abs()) / 8).clamp(FIRST_BACKOFF, RENEW_EVERY))
    }

    fn record(&self, link: LinkEntry) {
        if let Err(error) = self.journal.append(Entry::Link(link)) {
            warn!(%error, "a change of the channel is not in the journal");
        }
    }
}

/// Half to all of `span`, so that a fleet does not come back in one instant.
fn jittered(span: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the full pause is as good.
    let _ = getrandom::fill(&mut byte);
    span - span.mul_f64(f64::from(byte[0]) / 512.0)
}
