//! For `cargo xtask bench cloud`: the orchestrator and its store without the network around
//! them. No part of what this crate promises.

use crate::clock::SystemClock;
use crate::jobs::{JobError, Server};
use crate::replay;
use crate::store::{Address, Connection, Store, StoreError, jobs, robots, skills};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{ActorId, JobId, JournalId, RobotId};
use nooterra_protocol::keys::Ed25519Key;
use nooterra_protocol::plan::Plan;
use nooterra_protocol::skill::SkillManifest;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Jobs of one robot, in a store on the disk.
#[derive(Clone, Debug)]
pub struct Spine {
    plan: Plan,
    robot: RobotId,
    server: Arc<Server>,
    store: Store,
}

impl Spine {
    /// A store in `dir` with one robot and the skill of `plan`.
    ///
    /// # Panics
    /// When anything at all is unexpected: it is for measuring.
    pub async fn open(dir: &Path, plan: Plan, manifest: SkillManifest) -> Self {
        let store = Store::open(&dir.join("cloud.sqlite")).expect("a store");
        Self::over(store, plan, manifest).await
    }

    /// The same in a Postgres.
    ///
    /// # Panics
    /// When anything at all is unexpected: it is for measuring.
    pub async fn open_at(url: &str, plan: Plan, manifest: SkillManifest) -> Self {
        let address = Address::new(Some(url), PathBuf::new(), "bench").expect("an address");
        let opened = tokio::task::spawn_blocking(|| Store::at(address));
        let store = opened.await.expect("no panic").expect("a store");
        Self::over(store, plan, manifest).await
    }

    async fn over(store: Store, plan: Plan, manifest: SkillManifest) -> Self {
        let key = Ed25519Key::from_seed([1; 32]);
        let actor = ActorId::new("cloud").expect("a name");
        let journal = JournalId::new("cloud_1").expect("a name");
        let server = Server::new(actor, journal, key, Arc::new(SystemClock::default()));
        let (server, robot) = (Arc::new(server), RobotId::new("amr-1").expect("a name"));
        let (named, public, now) = (robot.clone(), server.public_key(), server.now());
        let bundle = plan.steps.first().expect("a step").skill.bundle;
        let set_up = store.write::<_, StoreError, _>(move |tx| {
            robots::enrol(tx, &named, &public, now)?;
            skills::add(tx, &bundle, &manifest, "", b"b", now)?;
            Ok(())
        });
        set_up.await.expect("a robot and a skill");
        Self { plan, robot, server, store }
    }

    /// A job through CREATED, QUOTED, BOOKED and ABORTED: four durable transitions, one after
    /// the other.
    ///
    /// # Panics
    /// When one is refused.
    pub async fn four_transitions(&self) {
        let job = self
            .step(|this, tx| {
                let requester = ActorId::new("me").map_err(|e| StoreError::damaged("a name", e))?;
                Ok(this.server.create(tx, &this.robot, &this.plan, &requester)?.id)
            })
            .await;
        let job = self.on(job, |server, tx, job| server.quote(tx, job, 5, "EUR")).await;
        let job = self.on(job, |server, tx, job| server.book(tx, job)).await;
        let ttl = std::time::Duration::from_secs(60);
        self.on(job, move |server, tx, job| server.cancel(tx, job, "over", ttl)).await;
    }

    async fn on<F>(&self, job: JobId, work: F) -> JobId
    where
        F: FnOnce(&Server, &Connection, &JobId) -> Result<jobs::JobRow, JobError> + Send + 'static,
    {
        self.step(move |this, tx| Ok(work(&this.server, tx, &job)?.id)).await
    }

    async fn step<F>(&self, work: F) -> JobId
    where
        F: FnOnce(&Self, &Connection) -> Result<JobId, JobError> + Send + 'static,
    {
        let this = self.clone();
        self.store.write(move |tx| work(&this, tx)).await.expect("a transition")
    }

    /// The signed bytes of every fact, in order.
    ///
    /// # Panics
    /// When the store cannot be read.
    pub async fn facts(&self) -> Vec<Vec<u8>> {
        let all = self.store.read::<_, StoreError, _>(|tx| {
            let feed =
                jobs::Feed { after: 0, kind: None, limit: u32::MAX, stream: None, tenant: None };
            Ok(jobs::feed(tx, &feed)?.into_iter().map(|row| row.signed).collect())
        });
        all.await.expect("facts")
    }

    /// Reads every stream again and compares; the facts that were read.
    ///
    /// # Panics
    /// When anything differs.
    pub async fn replay(&self, signatures: bool) -> u64 {
        let key = self.server.public_key();
        let replayed = self.store.read::<_, StoreError, _>(move |tx| {
            replay::compare(tx, signatures.then_some(&key)).map(|(replay, _)| replay)
        });
        let replayed = replayed.await.expect("streams");
        assert!(replayed.agrees(), "{replayed:?}");
        replayed.facts
    }
}

/// A digest that names a bundle in a plan.
#[must_use]
pub fn bundle() -> Digest {
    Digest::of(b"b")
}
