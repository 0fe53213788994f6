//! What the tests share: a robot's folder as the example has it, signed by keys of the test,
//! and a journal to write to.
#![allow(dead_code)] // Each test binary uses its part.

pub(crate) mod bundles;
#[path = "../../../skill-host/tests/common/guests.rs"]
pub(crate) mod guests;
#[path = "../../../cloud/tests/it/ports.rs"]
pub(crate) mod ports;
pub(crate) mod rig;
pub(crate) mod skip;

use nooterra_agent::clock::SystemClock;
use nooterra_agent::config::Config;
use nooterra_blackbox::{Clock, Journal, JournalHandle, Options};
use nooterra_policy::VerifiedPolicy;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::keys::{Ed25519Key, Es256Key, Signer};
use nooterra_protocol::policy::PolicyDocument;
use nooterra_protocol::time::WallMillis;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A robot's folder: configuration, world, signed policy, an empty folder of skill keys.
pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
}

impl Site {
    /// The example robot.
    pub(crate) fn new() -> Self {
        Self::of("amr")
    }

    /// One of the example robots.
    pub(crate) fn of(robot: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots");
        let example = examples.join(robot);
        for file in ["agent.toml", "policy.json", "world.toml"] {
            std::fs::copy(example.join(file), dir.path().join(file)).unwrap();
        }
        std::fs::create_dir(dir.path().join("skill-keys")).unwrap();
        let owner = Ed25519Key::from_seed([9; 32]);
        std::fs::write(dir.path().join("owner.pub"), owner.verifying_key().to_string()).unwrap();
        let site = Self { dir };
        site.sign_policy(&site.document(), &owner);
        site
    }

    /// A file of the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its policy, unsigned.
    pub(crate) fn document(&self) -> PolicyDocument {
        let text = std::fs::read_to_string(self.path("policy.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Puts a signed policy in its place.
    pub(crate) fn sign_policy(&self, document: &PolicyDocument, owner: &dyn Signer) {
        let signed = Signed::sign(document.clone(), owner).unwrap();
        std::fs::write(self.path("policy.cbor"), signed.bytes()).unwrap();
    }

    /// Replaces a text in a file.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        std::fs::write(self.path(file), text.replace(from, to)).unwrap();
    }

    pub(crate) fn config(&self) -> Config {
        Config::load(&self.path("agent.toml")).unwrap()
    }

    pub(crate) fn policy(&self) -> VerifiedPolicy {
        nooterra_agent::envelope::load(&self.config()).unwrap()
    }

    /// A journal in the folder; closed when it is dropped.
    pub(crate) fn journal(&self) -> (Journal, JournalHandle) {
        let journal = Journal::open(&self.path("state/journal"), self.options()).unwrap().journal;
        let handle = journal.handle();
        (journal, handle)
    }

    /// By which that journal is opened.
    pub(crate) fn options(&self) -> Options {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(WallMillis(0)));
        let signer: Arc<dyn Signer> = Arc::new(Es256Key::from_seed([3; 32]).unwrap());
        Options::new(clock, signer, self.policy().digest())
    }
}

pub(crate) fn robot() -> RobotId {
    RobotId::new("amr-1").unwrap()
}
