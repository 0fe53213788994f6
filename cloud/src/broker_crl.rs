//! The revocation list that a broker reads: it checks robots' certificates by itself, and knows
//! nothing of robots. On it stands every certificate that is good by its date and opens nothing
//! here: over a revoked key, over one that was replaced, or of a revoked robot
//! ([`robots::refused_certificates`]). The cloud keeps the file; the broker is told of a new one by
//! whoever runs it (`docs/cloud-link.md`).
//!
//! A list never takes the place of a newer one: it begins after the one in the file, or the broker
//! would go on with that. When it begins is told in whole seconds, so there is one in a second at
//! most, with all that came meanwhile.

use crate::ca::{BACKDATE, Ca, CaError, Refused};
use crate::core::Core;
use crate::files;
use crate::store::{News, StoreError, robots};
use crate::tls;
use nooterra_protocol::time::WallMillis;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::time::Instant;

/// A list without news is looked at again, for certificates that ended meanwhile.
const LOOK: Duration = Duration::from_secs(3600);

/// A list without changes is made anew, long before it is over.
const ANEW: Duration = Duration::from_secs(24 * 3600);

/// After each list, before the next.
const APART: Duration = Duration::from_secs(1);

/// What failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
enum CrlError {
    #[error("{0}")]
    Ca(#[from] CaError),
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// The next list of `ca`, PEM, to stand at `path`.
pub(crate) fn next(
    ca: &Ca,
    refused: &[Refused],
    path: &Path,
    now: WallMillis,
) -> Result<String, CaError> {
    let earliest = WallMillis(now.0.saturating_sub(millis(BACKDATE)));
    // A file that is no list is no reason to have none.
    let before = files::read(path).ok().flatten().and_then(|pem| begins(&pem));
    // Whole seconds are all that a list can say. A clock that was put back begins anew with it.
    let from = before.map_or(earliest, |before| WallMillis(before.0.saturating_add(1000)));
    ca.revocation_list(refused, from.max(earliest).min(now))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// From when on a list is good.
fn begins(pem: &str) -> Option<WallMillis> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let (_, list) = x509_parser::parse_x509_crl(&pem.contents).ok()?;
    Some(WallMillis(list.last_update().timestamp().saturating_mul(1000)))
}

/// Keeps the file as the store says, until the cloud stops.
pub(crate) async fn keep(
    core: Arc<Core>,
    path: PathBuf,
    mut news: broadcast::Receiver<News>,
    mut stop: watch::Receiver<bool>,
) {
    let mut written = None;
    loop {
        let wait = match look(&core, &path, &mut written).await {
            Ok(anew) => {
                if anew {
                    tokio::select! {
                        () = tls::stopping(&mut stop) => return,
                        () = tokio::time::sleep(APART) => {}
                    }
                }
                LOOK
            }
            Err(error) => {
                let path = path.display();
                tracing::error!(%path, %error, "the broker's revocation list is not up to date");
                AGAIN
            }
        };
        let end = Instant::now() + wait;
        loop {
            tokio::select! {
                () = tls::stopping(&mut stop) => return,
                () = tokio::time::sleep_until(end) => break,
                heard = news.recv() => match heard {
                    Ok(News::Enrolled(..) | News::Missed | News::Revoked(..))
                    | Err(RecvError::Lagged(_)) => break,
                    Ok(News::Commands(_) | News::Connected(..) | News::Events) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

/// The list that was written last.
struct Written {
    at: Instant,
    list: String,
    refused: Vec<Refused>,
}

impl Written {
    /// It is the file still, says what is so, and is not old.
    fn stands(&self, refused: &[Refused], path: &Path) -> bool {
        self.refused == refused
            && self.at.elapsed() < ANEW
            && files::read(path).is_ok_and(|there| there.as_ref() == Some(&self.list))
    }
}

/// True when it wrote one.
async fn look(
    core: &Arc<Core>,
    path: &Path,
    written: &mut Option<Written>,
) -> Result<bool, CrlError> {
    let now = core.clock.wall();
    let refused = core.store.read(move |tx| robots::refused_certificates(tx, now)).await?;
    let (core, to, before) = (core.clone(), path.to_owned(), written.take());
    let write = move || {
        if let Some(before) = before.filter(|it| it.stands(&refused, &to)) {
            return Ok((before, false));
        }
        let list = next(&core.ca, &refused, &to, now)?;
        files::write_public(&to, &list)?;
        Ok((Written { at: Instant::now(), list, refused }, true))
    };
    let done: Result<_, CrlError> =
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?;
    let (list, anew) = done?;
    if anew {
        let path = path.display();
        tracing::info!(%path, refused = list.refused.len(), "revocation list for the broker");
    }
    *written = Some(list);
    Ok(anew)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallMillis = WallMillis(1_795_000_000_000);

    #[test]
    fn each_list_begins_after_the_one_before_and_none_begins_later_than_now() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::open(dir.path(), NOW).unwrap();
        let path = dir.path().join("robots.crl");
        let refused = [Refused { at: NOW, serial: "4a01ff".to_owned() }];
        let write = |now: WallMillis| {
            let list = next(&ca, &refused, &path, now).unwrap();
            files::write_public(&path, &list).unwrap();
            begins(&list).unwrap().0 - now.0
        };
        // Clocks of brokers are a little behind.
        assert_eq!(write(NOW), -300_000);
        assert_eq!(write(NOW), -299_000);
        assert_eq!(write(WallMillis(NOW.0 + 1000)), -299_000);
        // The clock was put back: better one that counts now than one that is not good yet.
        assert_eq!(write(WallMillis(NOW.0 - 3_600_000)), 0);
        // What cannot be read is written anew.
        std::fs::write(&path, "no list").unwrap();
        assert_eq!(write(NOW), -300_000);
        let text = std::fs::read(&path).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&text).unwrap();
        let (_, list) = x509_parser::parse_x509_crl(&pem.contents).unwrap();
        let serials: Vec<_> =
            list.iter_revoked_certificates().map(|it| it.raw_serial().to_vec()).collect();
        assert_eq!(serials, [[0x4a, 1, 0xff]]);
    }

    #[test]
    fn a_list_stands_until_it_says_something_else_or_the_file_is_gone_or_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("robots.crl");
        let refused = vec![Refused { at: NOW, serial: "4a01ff".to_owned() }];
        let list = "a list".to_owned();
        files::write_public(&path, &list).unwrap();
        let written = Written { at: Instant::now(), list, refused: refused.clone() };
        assert!(written.stands(&refused, &path));
        assert!(!written.stands(&[], &path));
        std::fs::write(&path, "another").unwrap();
        assert!(!written.stands(&refused, &path));
        std::fs::remove_file(&path).unwrap();
        assert!(!written.stands(&refused, &path));
    }
}
