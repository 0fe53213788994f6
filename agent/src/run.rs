//! The daemon: puts the parts together, starts them, watches them, and ends them in order.
//!
//! ```text
//! control     timerfd     read -> gate -> journal queue -> write       SCHED_FIFO if permitted
//! shadow      10 Hz       notes of a candidate -> journal              where one is configured
//! stop input  200 Hz      line -> atomics                              where one is configured
//! journal     writer      group commit, checkpoints                    owned by nooterra-blackbox
//! flight      10 Hz       ticks -> ring -> dumps                       the flight recorder
//! jobs        runner      plan -> skills -> facts                      one job at a time
//! skill NAME  per step    the sandbox                                  owned by nooterra-skill-host
//! watchdog    a third     beats -> systemd                             waits for no disk
//! main        tokio       channel session, MQTT poller, signals, chores
//! ```
//! They meet in the journal, in [`Desk`] (wishes), in [`View`] (what is seen), and in one
//! bounded queue of orders for the runner.

use crate::activation::{self, ActivationError, Outcome, Started, Trial};
use crate::authority::Authority;
use crate::authority::place;
use crate::authority::signed::{self, AuthorityError, InForce};
use crate::clock::{SystemClock, mono};
use crate::config::Config;
use crate::control::{
    self, ControlLoop, ControlThread, Desk, Exit, ShadowThread, StopReader, StopReaderThread,
    ThreadError, View,
};
use crate::driver::{self, DriverError, SimOptions};
use crate::ending::Ending;
use crate::envelope::{self, EnvelopeError};
use crate::files;
use crate::flight::{self, Flight};
use crate::http::{Client, HttpError};
use crate::identity::{self, Identity, IdentityError};
use crate::incident::Incidents;
use crate::installed::Installed;
use crate::jobs::{Facts, Jobs, Pictures, Runner, RunnerParts, Shelf, SystemPace};
use crate::link::{Channel, Downlink, DownlinkParts};
use crate::own_cases::Terms;
use crate::start;
use crate::status;
use crate::systemd::{self, Chores, Watchdog};
use crate::trust::{Judge, News};
use crate::versions::Versions;
use nooterra_blackbox::{
    AppendError, Clock, Frames, FramesError, Journal, JournalHandle, OpenError, Opened, StateError,
};
use nooterra_hal::Camera;
use nooterra_hal::stop_input::{GpioInput, StopInputError};
use nooterra_policy::VerifiedPolicy;
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::entry::{Boot, Entry};
use nooterra_protocol::ids::{IdError, RobotId};
use nooterra_protocol::observation::Capabilities;
use nooterra_protocol::skill::MAX_BUNDLE_BYTES;
use nooterra_protocol::time::{ClockTrust, WallMillis};
use nooterra_protocol::uplink::Health;
use nooterra_skill_host::{Host, HostError, HostOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

/// The control loop must tick within this after the start. Nothing moves before, so a machine
/// that is busy, as at its own start, is given its time.
const TICKS_WITHIN: Duration = Duration::from_secs(30);

/// The channel is given this long to say goodbye.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

/// A skill bundle is asked for this often before a job is given up; the link may be down.
const FETCH_ATTEMPTS: u32 = 10;

/// Between two attempts.
const FETCH_EVERY: Duration = Duration::from_secs(3);

/// The latest trusted time, in the journal's state.
const FLOOR_KEY: &str = "clock.floor";

/// How often the latest trusted time is kept.
const FLOOR_EVERY: Duration = Duration::from_secs(600);

/// How often it is looked at what was installed and what has expired of the trust in skills.
const TRUST_EVERY: Duration = Duration::from_secs(10);

/// Why the agent does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No policy to start under, or a step of a new one cannot be taken.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// The boot could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// No rules of who may ask for what.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// No robot.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A part ended by itself. The robot was stopped.
    #[error("{0} ended by itself; the robot was stopped, see the log above")]
    Ended(&'static str),
    /// No policy in force.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// No sandbox.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The robot's id cannot be an actor's.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Not enrolled, or damaged.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No journal.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The journal no longer takes records: disk full, device failing.
    #[error(
        "the journal stopped: {0}; the robot stands until there is space and the agent is started again"
    )]
    Poisoned(String),
    /// The state folder cannot be made.
    #[error("{}: {source}", path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What a damaged journal remembered is lost, and that cannot be written down.
    #[error(transparent)]
    Remembered(#[from] StateError),
    /// No stop input where one is configured.
    #[error(transparent)]
    StopInput(#[from] StopInputError),
    /// The system gives no threads, timers or signals.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// No control loop.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// A policy on trial is not kept.
    #[error("the new policy is given up: {0}; the next start is under the one before")]
    TrialOver(String),
}

/// Runs until it is asked to end, which it may be from the first moment on.
///
/// # Errors
/// [`RunError`]; the robot was stopped.
pub fn run(
    config: &Config,
    sim: &SimOptions,
    runtime: Runtime,
    mut ending: Ending,
) -> Result<(), RunError> {
    if ending.is_asked(&runtime) {
        info!("asked to end before anything was started");
        return Ok(());
    }
    files::private_dir(&config.state.dir)
        .map_err(|source| RunError::State { path: config.state.dir.clone(), source })?;
    let trial_s = Duration::from_secs(u64::from(config.policy.trial_s));
    let started = activation::Folder::of(config).start(config, trial_s, mono())?;
    let in_force = signed::load(config)?;
    let identity = Identity::load(&config.state.identity_dir(), &config.robot.id)?;
    let clock = Arc::new(SystemClock::new(identity.not_before()));
    let patience = systemd::Patience::ask();
    let (journal, boot, frames) = open_journal(config, &started, &in_force, &identity, &clock)?;
    drop(patience);
    info!(hash = %in_force.hash, mode = config.authority.mode.name(), "{} in force", in_force.name());
    let (rules, handle) = (in_force.rules, journal.handle());
    let authority = signed::authority(config, rules, Arc::clone(&clock), &handle)?;
    let Started { policy, trial, .. } = started;
    let law = Law { authority: Arc::new(authority), policy, trial };
    let result = if ending.is_asked(&runtime) {
        info!("asked to end before the robot was opened");
        Ok(())
    } else {
        let kept = (&journal, boot, frames);
        let daemon = Daemon::start(config, sim, &law, identity, clock, kept, &runtime)?;
        runtime.block_on(daemon.watch(&journal.handle(), ending))
    };
    runtime.shutdown_timeout(Duration::from_secs(1));
    let poisoned = journal.handle().poisoned();
    let closed = journal.close();
    match poisoned {
        Some(why) => Err(RunError::Poisoned(why)),
        None => result.and_then(|()| Ok(closed?)),
    }
}

fn open_journal(
    config: &Config,
    started: &Started,
    in_force: &InForce,
    identity: &Identity,
    clock: &Arc<SystemClock>,
) -> Result<(Journal, u64, KeptFrames), RunError> {
    let policy = &started.policy;
    let dir = config.state.journal_dir();
    let stamps: Arc<dyn Clock> = Arc::<SystemClock>::clone(clock);
    let options = start::journal_options(config, stamps, identity.signer(), policy.digest());
    let Opened { boot, clean, frames, journal, quarantined, .. } = Journal::open(&dir, options)?;
    let handle = journal.handle();
    let last = start::LastRun::of(&handle, boot);
    if !clean {
        warn!(boot, "the last run did not end in order; its journal was checked and goes on");
    }
    if let Some(path) = &quarantined {
        warn!(path = %path.display(), "a damaged journal was set aside; keep it for salvage");
    }
    start::sweep(config);
    start::mistrust(&handle)?;
    let floor = handle.get_state(FLOOR_KEY).ok().flatten();
    if let Some(floor) = floor.and_then(|bytes| codec::from_slice::<WallMillis>(&bytes).ok()) {
        match start::believable(floor, identity.not_after()) {
            Some(floor) => clock.raise_floor(floor),
            None => warn!(%floor, "the latest time that is kept is none that this robot has seen"),
        }
    }
    for step in &started.steps {
        warn!(reason = step.reason, version = step.version, "policy: {:?}", step.step);
        handle.append_durable(Entry::PolicyStep(step.clone()))?;
    }
    let versions = Versions::new(handle.clone(), &config.state.dir);
    if started.trial.is_some() {
        envelope::not_older(policy, &versions)?;
    } else {
        envelope::never_back(policy, &versions)?;
    }
    signed::never_back(in_force, &versions)?;
    handle.append_durable(Entry::Boot(Boot {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        authority_hash: Some(in_force.hash),
        clean,
        policy: policy.document().id.clone(),
        policy_hash: policy.digest(),
        policy_version: policy.document().version,
    }))?;
    envelope::record(policy, &handle)?;
    if !clean {
        start::record_crash(&handle, &last, &config.state.dir, quarantined.as_deref())?;
    }
    start::tidy_asides(&handle, &dir, &config.blackbox, clock.stamp())?;
    Ok((journal, boot, frames))
}

/// The pictures, or why they cannot be kept.
type KeptFrames = Result<Option<Arc<Frames>>, FramesError>;

/// What holds, whoever asks: how the robot may move, and who may ask for it.
struct Law {
    authority: Arc<Authority>,
    policy: VerifiedPolicy,
    trial: Option<Trial>,
}

/// The parts that run.
struct Daemon {
    authority: Arc<Authority>,
    channel: tokio::task::JoinHandle<()>,
    clock: Arc<SystemClock>,
    config: Config,
    control: ControlThread,
    desk: Arc<Desk>,
    flight: Option<Flight>,
    /// Looks in a row at which a new policy could take effect.
    idle_looks: u32,
    jobs: Jobs,
    judge: Arc<Judge>,
    runner: JoinHandle<()>,
    status: status::Sources,
    stop: watch::Sender<bool>,
    /// Writes until all else has ended.
    _shadow: Option<ShadowThread>,
    /// Reads until all else has ended.
    _stop_input: Option<StopReaderThread>,
    trial: Option<(Trial, VerifiedPolicy)>,
    view: Arc<View>,
}

impl Daemon {
    fn start(
        config: &Config,
        sim: &SimOptions,
        law: &Law,
        identity: Identity,
        clock: Arc<SystemClock>,
        (journal, boot, frames): (&Journal, u64, KeptFrames),
        runtime: &Runtime,
    ) -> Result<Self, RunError> {
        let handle = journal.handle();
        let Law { authority, policy, trial } = law;
        let trial = trial.clone().map(|trial| (trial, policy.clone()));
        let robot = driver::open(config, sim)?;
        let capabilities = robot.capabilities();
        let desk = Arc::new(Desk::new(handle.clone(), policy));
        let told = Arc::clone(&desk);
        authority.listen(move |grants, situation| {
            told.set_limits(situation.limits.as_ref());
            told.set_authority(grants, situation.vetoed.is_some());
        });
        let view = Arc::new(View::default());
        runtime.spawn(place::follow(Arc::clone(authority), policy.clone(), Arc::clone(&view)));
        let host = Arc::new(host(config)?);
        let stamps: Arc<dyn Clock> = Arc::<SystemClock>::clone(&clock);
        let facts = Facts::new(&config.robot.id, handle.clone(), identity.signer(), stamps)?;
        let recorded = flight::options(&config.flight, config.control.rate_hz);
        let recorded =
            recorded.map(|options| Flight::start(options, handle.clone())).transpose()?;
        let (flight, ticks) = recorded.unzip();
        let triggers = flight.as_ref().map(|flight| flight.triggers.clone());
        let incidents = Incidents::new(handle.clone(), triggers);
        let (stop, stopped) = watch::channel(false);
        let judge = Judge::remembering(config, Arc::clone(&clock), handle.clone());
        let judge = Arc::new(judge);
        judge.look();
        let (dir, id) = (config.state.identity_dir(), config.robot.id.clone());
        runtime.spawn(News::new(dir, id, Arc::clone(&judge)).follow());
        let terms = Terms::of(&config.skills);
        let (runner, jobs) = Runner::new(
            &config.state.dir,
            RunnerParts {
                authority: Arc::clone(authority),
                cases_time: terms.time,
                desk: Arc::clone(&desk),
                facts,
                grant: config.skills.grant.clone(),
                host,
                incidents: incidents.clone(),
                input_kib_per_s: config.skills.input_kib_per_s,
                journal: handle.clone(),
                pace: Box::new(SystemPace),
                pictures: pictures(frames, robot.camera(), Arc::<SystemClock>::clone(&clock)),
                policy_hash: policy.digest(),
                require_cases: terms.required,
                shelf: shelf(config, &judge, &handle, runtime.handle(), stopped.clone()),
                view: Arc::clone(&view),
            },
        );
        let queue = handle.control_queue();
        let control = ControlLoop::new(robot, policy, Arc::clone(&desk), queue, Arc::clone(&view))
            .with_clock(Arc::<SystemClock>::clone(&clock));
        let control = match ticks {
            Some(ticks) => control.with_flight(ticks),
            None => control,
        };
        let (control, shadow) = match candidate(config) {
            Some(candidate) => {
                let (watch, records) =
                    control::shadow(candidate, policy.clone(), handle.clone(), Arc::clone(&desk));
                (control.with_shadow(watch), Some(records.spawn()?))
            }
            None => (control, None),
        };
        let (control, stop_input) = match &config.stop_input {
            Some(line) => {
                let input = Box::new(GpioInput::open(line)?);
                let (reader, signal) = StopReader::new(input, Arc::clone(&desk));
                (control.with_stop_input(signal), Some(reader.spawn(&config.control)?))
            }
            None => (control, None),
        };
        let control = ControlThread::spawn(control, &config.control)?;
        let status = status::Sources {
            boot,
            disk_bound_bytes: config.blackbox.disk_bytes(),
            flight: flight.as_ref().map(|flight| Box::new(flight.watch()) as _),
            journal: handle.clone(),
            journal_dir: config.state.journal_dir(),
            robot: config.robot.id.clone(),
            state_dir: config.state.dir.clone(),
        };
        let runner =
            std::thread::Builder::new().name("jobs".to_owned()).spawn(move || runner.run())?;
        let downlink = Arc::new(Downlink::new(DownlinkParts {
            authority: Arc::clone(authority),
            clock: Arc::clone(&clock),
            command_key: identity.cloud().command_key.clone(),
            desk: Arc::clone(&desk),
            incidents,
            jobs: jobs.clone(),
            journal: handle.clone(),
            max_lease_ms: config.link.max_lease_ms,
            robot: config.robot.id.clone(),
        }));
        let news = Arc::new(Notify::new());
        let waker = Arc::clone(&news);
        handle.set_notify(Box::new(move || waker.notify_one()));
        let health = health(policy, &identity, capabilities, authority, (&desk, &view), &handle);
        let channel = Channel {
            clock: Arc::clone(&clock),
            config: config.link.clone(),
            downlink,
            health,
            identity,
            journal: handle,
            news,
        };
        let channel = runtime.spawn(channel.run(stopped));
        let authority = Arc::clone(authority);
        Ok(Self {
            authority,
            channel,
            clock,
            control,
            config: config.clone(),
            desk,
            flight,
            idle_looks: 0,
            jobs,
            judge,
            runner,
            status,
            stop,
            trial,
            _shadow: shadow,
            _stop_input: stop_input,
            view,
        })
    }

    /// Waits for a signal or for a part that ends by itself, and then ends all of them, the
    /// robot's motion first.
    async fn watch(mut self, journal: &JournalHandle, ending: Ending) -> Result<(), RunError> {
        let result = self.until_over(journal, ending).await;
        systemd::stopping();
        let exit = self.control.end();
        keep_pressed(&self.view, &self.desk);
        self.jobs.leave();
        let _ = self.stop.send(true);
        if tokio::time::timeout(GOODBYE_WITHIN, self.channel).await.is_err() {
            info!("the channel was cut");
        }
        // It may be fetching a skill, which this thread's runtime carries: so it waits elsewhere.
        let runner = self.runner;
        if !matches!(tokio::task::spawn_blocking(|| runner.join()).await, Ok(Ok(()))) {
            error!("the job runner panicked");
        }
        if let Some(flight) = self.flight {
            flight.end();
        }
        match (result, exit) {
            (Ok(()), Exit::Stopped) => Ok(()),
            (Ok(()), _) => Err(RunError::Ended("the control loop")),
            (Err(error), _) => Err(error),
        }
    }

    async fn until_over(
        &mut self,
        journal: &JournalHandle,
        mut ending: Ending,
    ) -> Result<(), RunError> {
        let watchdog = Watchdog::from_env();
        let every = watchdog.every;
        tokio::select! {
            biased;
            () = ending.asked() => return Ok(()),
            ticked = self.first_ticks() => ticked?,
        }
        // What follows may wait for a disk, and the watchdog must not.
        let chores = Chores::default();
        let _feeding = watchdog.feed(Arc::clone(&self.view), Arc::clone(&chores))?;
        systemd::ready("the control loop ticks");
        info!("ready");
        let mut keeping: Option<tokio::task::JoinHandle<()>> = None;
        let mut floor_due = tokio::time::Instant::now();
        let (mut status_due, mut trust_due) = (floor_due, floor_due + TRUST_EVERY);
        loop {
            tokio::select! {
                () = ending.asked() => return Ok(()),
                () = tokio::time::sleep(every) => {}
            }
            chores.fetch_add(1, Ordering::Relaxed);
            // A press is kept also while something below waits.
            if keeping.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                let (view, desk) = (Arc::clone(&self.view), Arc::clone(&self.desk));
                keeping = Some(tokio::task::spawn_blocking(move || keep_pressed(&view, &desk)));
            }
            self.authority.refresh();
            self.look_at_trial(journal)?;
            if self.starts_anew() {
                info!(
                    "the robot stands and nothing is under way: ending, to start anew under the activated policy"
                );
                return Ok(());
            }
            if self.control.is_over() {
                return Err(RunError::Ended("the control loop"));
            }
            if self.runner.is_finished() {
                return Err(RunError::Ended("the job runner"));
            }
            if let Some(why) = journal.poisoned() {
                return Err(RunError::Poisoned(why));
            }
            if tokio::time::Instant::now() >= status_due {
                status_due = tokio::time::Instant::now() + status::EVERY;
                self.status.say(self.clock.stamp(), self.view.beats(), self.desk.job());
            }
            if tokio::time::Instant::now() >= floor_due {
                floor_due += FLOOR_EVERY;
                let (dir, robot) = (self.config.state.identity_dir(), &self.config.robot.id);
                // Read each time: the certificate may have been renewed.
                match Identity::load(&dir, robot) {
                    Ok(identity) => keep_floor(&self.clock, journal, identity.not_after()),
                    Err(error) => warn!(%error, "the latest trusted time is not kept"),
                }
            }
            if tokio::time::Instant::now() >= trust_due {
                trust_due = tokio::time::Instant::now() + TRUST_EVERY;
                self.judge.look();
            }
        }
    }

    /// Keeps a policy that was confirmed; an error when its trial is over.
    fn look_at_trial(&mut self, journal: &JournalHandle) -> Result<(), RunError> {
        let Some((trial, policy)) = &self.trial else { return Ok(()) };
        match trial.look(mono()) {
            Outcome::Pending => Ok(()),
            Outcome::Confirmed(step) => {
                journal.append_durable(Entry::PolicyStep(step))?;
                trial.keep()?;
                let versions = Versions::new(journal.clone(), &self.config.state.dir);
                envelope::never_back(policy, &versions)?;
                info!(version = policy.document().version, "the new policy is confirmed");
                self.trial = None;
                Ok(())
            }
            Outcome::Over(step) => {
                let reason = step.reason.clone();
                journal.append_durable(Entry::PolicyStep(step))?;
                Err(RunError::TrialOver(reason))
            }
        }
    }

    /// A policy was activated that takes effect at a start, the robot stands, and nothing is
    /// under way: at two looks in a row, so that what has just ended has come to rest.
    fn starts_anew(&mut self) -> bool {
        let stands = self.view.observation().is_some_and(|seen| control::stands(&seen));
        let idle = self.trial.is_none() && stands && self.desk.is_idle(mono());
        let asked = idle && activation::Folder::of(&self.config).wants_anew(&self.config);
        self.idle_looks = if asked { self.idle_looks + 1 } else { 0 };
        self.idle_looks > 1
    }

    async fn first_ticks(&self) -> Result<(), RunError> {
        let ticking = async {
            while self.view.beats() == 0 && !self.control.is_over() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(TICKS_WITHIN, ticking).await {
            Ok(()) if !self.control.is_over() => Ok(()),
            _ => Err(RunError::Ended("the control loop")),
        }
    }
}

/// A candidate that cannot judge is no reason for a robot to stand: it moves nothing either way.
fn candidate(config: &Config) -> Option<VerifiedPolicy> {
    envelope::load_shadow(config).unwrap_or_else(|error| {
        error!(%error, "no candidate judges beside the policy; `nooterra-agent check` says the same");
        None
    })
}

/// A press of the robot's own stop outlives this start.
fn keep_pressed(view: &View, desk: &Desk) {
    if let Some(at) = view.pressed_at() {
        desk.keep_pressed(at);
    }
}

fn keep_floor(clock: &SystemClock, journal: &JournalHandle, not_after: WallMillis) {
    let stamp = clock.stamp();
    let floor = start::believable(stamp.wall, not_after);
    let Some(floor) = floor.filter(|_| stamp.trust != ClockTrust::Untrusted) else {
        return;
    };
    let kept = codec::to_vec(&floor).map(|bytes| journal.put_state(FLOOR_KEY, &bytes));
    if !matches!(kept, Ok(Ok(()))) {
        warn!("the latest trusted time is not kept");
    }
}

/// The sandbox, with its compiled code on the disk where there is a place for it.
fn host(config: &Config) -> Result<Host, HostError> {
    let host = Host::new(HostOptions::default())?;
    let installed = Installed::new(config.state.skills_dir());
    Ok(match installed.compiled_code(config.skills.compiled_mib) {
        Ok(Some(code)) => host.with_disk(code),
        Ok(None) => host,
        Err(error) => {
            warn!(%error, "compiled code is not kept; skills are compiled at each start");
            host
        }
    })
}

/// A robot whose disk has no room for pictures still runs: they are given to no skill then, unless
/// the owner wants none kept.
fn pictures(
    frames: KeptFrames,
    camera: Option<Arc<dyn Camera>>,
    clock: Arc<dyn Clock>,
) -> Pictures {
    match frames {
        Ok(store) => {
            let store = store.filter(|frames| frames.most_bytes() > 0);
            let pictures = Pictures::new(camera, clock, store);
            // The journal was opened before the clock knew what time it was at the least.
            pictures.tidy();
            pictures
        }
        Err(error) => {
            warn!(%error, "no skill is given pictures: they could not be kept");
            Pictures::new(None, clock, None)
        }
    }
}

fn shelf(
    config: &Config,
    judge: &Arc<Judge>,
    journal: &JournalHandle,
    runtime: &tokio::runtime::Handle,
    stopped: watch::Receiver<bool>,
) -> Shelf {
    let (dir, robot) = (config.state.identity_dir(), config.robot.id.clone());
    let runtime = runtime.clone();
    let fetch = move |bundle| {
        let mut stopped = stopped.clone();
        runtime.block_on(async {
            tokio::select! {
                fetched = fetch_patiently(&dir, &robot, bundle) => fetched,
                _ = stopped.wait_for(|stopped| *stopped) => Err("the agent ends".to_owned()),
            }
        })
    };
    Shelf::new(config.state.skills_dir(), Arc::clone(judge), journal.clone(), Box::new(fetch))
}

async fn fetch_patiently(
    identity_dir: &std::path::Path,
    robot: &RobotId,
    bundle: Digest,
) -> Result<(Vec<u8>, String), String> {
    let mut attempt = 1;
    loop {
        match fetch(identity_dir, robot, bundle).await {
            Err(HttpError::Connect { what, url }) if attempt < FETCH_ATTEMPTS => {
                warn!(url, what, attempt, "a skill could not be fetched yet");
                attempt += 1;
                tokio::time::sleep(FETCH_EVERY).await;
            }
            other => return other.map_err(|error| error.to_string()),
        }
    }
}

async fn fetch(
    identity_dir: &std::path::Path,
    robot: &RobotId,
    bundle: Digest,
) -> Result<(Vec<u8>, String), HttpError> {
    let url = |what: &dyn std::fmt::Display| HttpError::Url(what.to_string());
    // Read each time: the certificate may have been renewed.
    let identity = Identity::load(identity_dir, robot).map_err(|error| url(&error))?;
    let tls = identity::client_config(&identity).map_err(|error| url(&error))?;
    let client = Client::new(&identity.cloud().http, tls)?;
    let bytes = client.get(&format!("/v1/skills/{bundle}/bundle"), MAX_BUNDLE_BYTES).await?;
    let signature = client.get(&format!("/v1/skills/{bundle}/signature"), 64 * 1024).await?;
    Ok((bytes.to_vec(), String::from_utf8_lossy(&signature).into_owned()))
}

fn health(
    policy: &VerifiedPolicy,
    identity: &Identity,
    capabilities: Capabilities,
    authority: &Arc<Authority>,
    (desk, view): (&Arc<Desk>, &Arc<View>),
    journal: &JournalHandle,
) -> Arc<dyn Fn() -> Health + Send + Sync> {
    let (id, hash) = (policy.document().id.clone(), policy.digest());
    let key_store = identity.key_store().to_owned();
    let authority = Arc::clone(authority);
    let (desk, view, journal) = (Arc::clone(desk), Arc::clone(view), journal.clone());
    Arc::new(move || {
        let seen = view.observation();
        let seen = seen.as_deref();
        let (situation, usage) = (authority.situation(), journal.usage().ok());
        Health {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            battery: seen.and_then(|seen| seen.battery).map(|battery| battery.value),
            capabilities: capabilities.clone(),
            emergency_stop: desk.emergency_stop() || seen.is_some_and(|seen| seen.emergency_stop),
            job: desk.job(),
            journal_bound_bytes: usage.as_ref().map(|usage| usage.disk_quota_bytes),
            journal_bytes: usage.as_ref().map(|usage| usage.disk_bytes),
            journal_records: journal.records(),
            key_store: key_store.clone(),
            mode: Some(situation.mode),
            policy: id.clone(),
            policy_hash: hash,
            pose: seen.map(|seen| seen.pose.value),
            vetoed: situation.vetoed.is_some(),
        }
    })
}
