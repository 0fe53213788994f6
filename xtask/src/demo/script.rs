//! The steps of the demo, in order.

use super::Options;
use super::cloud::{Cloud, Ready};
use super::facts::JobEvent;
use super::gather::Facts;
use super::plan;
use super::robot::{self, ROBOT, Robot};
use super::scene::Scene;
use super::summary::{BlackBox, Skill};
use super::survey::Survey;
use crate::arm::{self, Runnable};
use crate::process::{Service, wait_for};
use crate::progress::{Progress, Step};
use crate::report::Run;
use crate::toolchain::{self, WASM_TARGET};
use crate::world;
use anyhow::{Context as _, Result, bail};
use nooterra_protocol::entry::{Verdict, VerdictPhase};
use nooterra_protocol::event::EventType;
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::job::JobState;
use nooterra_protocol::plan::SkillRef;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How many there are.
pub(crate) const STEPS: usize = 8;

/// For a program to be ready, or to see what the other one did: a guard against hanging.
const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks at the job.
const JOB_POLL: Duration = Duration::from_millis(150);

/// The uplink is quiet when nothing came for so long. A busy machine is quiet for a while with
/// much still to be sent.
const QUIET: Duration = Duration::from_secs(6);

/// What the build made.
pub(crate) struct Built {
    pub(crate) agent: Runnable,
    pub(crate) cloud: PathBuf,
    pub(crate) component: PathBuf,
    pub(crate) manifest: PathBuf,
    /// The agent for this machine, with the developer's tools.
    pub(crate) tools: PathBuf,
}

/// Plays the demo and gathers what it showed; with it, what to type where it was left running.
pub(crate) fn play(
    options: &Options,
    scene: &Scene,
    out: &Path,
    progress: &mut Progress,
) -> Result<(Run, Vec<String>)> {
    let built = build(options, progress)?;
    let began = Instant::now();
    let (mut cloud_service, ready, cloud) = start_cloud(options, &built, out, progress)?;
    let robot = prepare_robot(&built, scene, out, &ready, &cloud, progress)?;
    let mut agent = connect(options, &robot, &cloud, &mut cloud_service, progress)?;
    if options.keep {
        // Now, so that the next demo finds them even if this one is interrupted.
        super::note_left_running(out, &[agent.id(), cloud_service.id()])?;
    }
    let (skill_ref, skill) = publish(&built, &robot, &cloud, progress)?;
    let world = world::read(&robot.dir().join("world.toml"))?;
    let dock = world.dock.context("the world has no dock to return to")?;
    let job = run_job(scene, &skill_ref, dock, &cloud, &mut agent, &mut cloud_service, progress)?;

    let step = progress.step("the journal: drain, stop, verify, flip a byte, verify again");
    step.now("waiting for the uplink to drain");
    drain(&cloud)?;
    let health = cloud.robot(ROBOT)?.map(|robot| robot["health"].clone()).unwrap_or_default();
    agent.stop(PATIENCE)?;
    let facts = Facts::gather(&job, &robot, &cloud, world)?;
    let blackbox = try_journal(&robot, out, &facts, &step)?;
    step.done(&format!(
        "{} records intact; one byte flipped in record {}, found at {}",
        blackbox.records,
        blackbox.flipped_in,
        blackbox.tamper_found_at.map_or_else(|| "none".to_owned(), |seq| seq.to_string()),
    ));

    let step = progress.step("checking the claims against the true path");
    let mut run = facts.judge(options.seed, scene, &built.agent, blackbox, skill, &health);
    if let Some(control) = &run.summary.control {
        step.note(&format!("control loop: {control}"));
    }
    step.done(&format!("{} true poses, {} exits", run.zone_samples(), run.summary.zone_exits));
    let durations = &mut run.summary.durations;
    durations
        .extend(progress.durations().iter().map(|(name, took)| (name.clone(), took.as_secs_f64())));
    durations.insert("total_after_build".to_owned(), began.elapsed().as_secs_f64());
    run.summary.judge();

    if options.keep {
        // The agent was stopped for its journal to be closed; it goes on where it was.
        let agent = robot.run_again(options.seed)?;
        super::note_left_running(out, &[agent.id(), cloud_service.id()])?;
        let hints = how_to_play(&robot, &ready, out, &[agent.id(), cloud_service.id()]);
        agent.release();
        cloud_service.release();
        return Ok((run, hints));
    }
    cloud_service.stop(PATIENCE)?;
    Ok((run, Vec::new()))
}

pub(crate) fn build(options: &Options, progress: &mut Progress) -> Result<Built> {
    let mut step = progress.step("building agent, cloud and skill");
    if toolchain::ensure_wasm_target()? {
        step.note(&format!("added the Rust target {WASM_TARGET}, which skills are built for"));
    }
    step.hand_over_terminal();
    // Of the whole workspace, as the tests build it: what they share is compiled once.
    let programs = toolchain::build(toolchain::cargo().args([
        "build",
        "--workspace",
        "--bin",
        "nooterra-agent",
        "--bin",
        "nooterra-cloud",
    ]))?;
    let skills = toolchain::root().join("examples/skills");
    let components = toolchain::build(toolchain::cargo().current_dir(&skills).args([
        "build",
        "--release",
        "--target",
        WASM_TARGET,
        "-p",
        "patrol",
    ]))?;
    let tools = toolchain::named(&programs, "nooterra-agent")?;
    let agent = match options.agent {
        None => Runnable::own(tools.clone()),
        Some(arch) => arm::runnable(arch, &mut |line| step.note(line))?,
    };
    let built = Built {
        agent,
        cloud: toolchain::named(&programs, "nooterra-cloud")?,
        component: toolchain::named(&components, "patrol.wasm")?,
        manifest: skills.join("patrol/manifest.json"),
        tools,
    };
    step.done("ready");
    Ok(built)
}

pub(crate) fn start_cloud(
    options: &Options,
    built: &Built,
    out: &Path,
    progress: &mut Progress,
) -> Result<(Service, Ready, Cloud)> {
    let step = progress.step("the cloud makes its CA and opens its ports");
    let data = out.join("cloud");
    let mut command = Command::new(&built.cloud);
    command.args(["serve", "--data"]).arg(&data).args([
        "--http",
        "127.0.0.1:0",
        "--mqtt",
        "127.0.0.1:0",
        "--json",
    ]);
    let mut service = Service::start("cloud", &mut command, out, options.keep)?;
    let ready_file = out.join("cloud.out");
    let ready: Ready = wait_for("the cloud to be ready", PATIENCE, || {
        service.check()?;
        let text = std::fs::read_to_string(&ready_file).unwrap_or_default();
        let Some((line, _)) = text.split_once('\n') else {
            return Ok(None);
        };
        serde_json::from_str(line)
            .map(Some)
            .with_context(|| format!("the cloud's first line is not its readiness: {line}"))
    })?;
    let cloud = Cloud::connect(&ready, &data)?;
    step.note(&format!("HTTP API {}   MQTT 5 over TLS 1.3 {}", ready.http, ready.mqtt));
    step.note(&format!("root certificate {}", short(&ready.root_sha256)));
    step.done("ready");
    Ok((service, ready, cloud))
}

fn prepare_robot(
    built: &Built,
    scene: &Scene,
    out: &Path,
    ready: &Ready,
    cloud: &Cloud,
    progress: &mut Progress,
) -> Result<Robot> {
    let step = progress.step("the robot gets its policy, its skill key and its identity");
    let robot = Robot::create(&built.agent, &built.tools, out)?;
    let survey = scene.survey.as_ref();
    if let Some(survey) = survey {
        step.note(&survey.sentence());
        survey.install(&robot.dir())?;
    }
    robot.sign_policy(survey.map(Survey::map))?;
    step.note("policy signed with the owner's key");
    robot.sign_skill(&built.manifest, &built.component)?;
    step.note("skill packed and signed in the minisign format");
    step.now("enrolling");
    let code = cloud.claim_code(ROBOT)?;
    robot.enroll(&ready.http, &code)?;
    step.done("enrolled with a claim code: device key, CSR, short-lived certificate");
    Ok(robot)
}

pub(crate) fn connect(
    options: &Options,
    robot: &Robot,
    cloud: &Cloud,
    cloud_service: &mut Service,
    progress: &mut Progress,
) -> Result<Service> {
    let step = progress.step("the robot connects");
    let mut agent = robot.run(options.seed, options.keep)?;
    let known = wait_for("the robot to be online", PATIENCE, || {
        agent.check()?;
        cloud_service.check()?;
        let known = cloud.robot(ROBOT)?;
        Ok(known.filter(|known| {
            known["online"] == true
                && !known["health"].is_null()
                && !known["capabilities"].is_null()
        }))
    })?;
    let names: Vec<&str> = known["capabilities"]["names"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    step.note(&format!("advertises: {}", names.join(", ")));
    step.done("online, with health and capabilities");
    Ok(agent)
}

pub(crate) fn publish(
    built: &Built,
    robot: &Robot,
    cloud: &Cloud,
    progress: &mut Progress,
) -> Result<(SkillRef, Skill)> {
    let step = progress.step("the skill is published; a tampered copy is refused");
    let bundle_file = robot.bundle();
    let bundle = std::fs::read(&bundle_file)
        .with_context(|| format!("cannot read {}", bundle_file.display()))?;
    let signature = std::fs::read_to_string(robot.signature())
        .with_context(|| format!("cannot read {}", robot.signature().display()))?;
    let skill_ref = plan::skill_ref(&built.manifest, &bundle)?;
    cloud.publish_skill(&bundle, &signature)?;
    step.note(&format!("published {} {}", skill_ref.id, skill_ref.version));

    let genuine = robot.verify_skill(&bundle_file)?;
    if !genuine.accepted {
        bail!("the agent refuses the genuine skill: {}", genuine.reason);
    }
    let tampered_file = bundle_file.with_file_name("tampered.noot");
    std::fs::write(&tampered_file, &bundle)
        .with_context(|| format!("cannot write {}", tampered_file.display()))?;
    robot::flip(&tampered_file, bundle.len() as u64 / 2)?;
    let tampered = robot.verify_skill(&tampered_file)?;
    step.note(&format!("tampered copy: {}", tampered.reason));
    step.done(if tampered.accepted { "the tampered copy was TAKEN" } else { "refused" });
    let skill = Skill {
        digest: skill_ref.bundle,
        id: skill_ref.id.to_string(),
        reason: tampered.reason,
        tampered_refused: !tampered.accepted,
        version: skill_ref.version.clone(),
    };
    Ok((skill_ref, skill))
}

/// The job's id and its events.
pub(super) struct RanJob {
    pub(super) events: Vec<JobEvent>,
    pub(super) id: String,
}

fn run_job(
    scene: &Scene,
    skill: &SkillRef,
    dock: Pose,
    cloud: &Cloud,
    agent: &mut Service,
    cloud_service: &mut Service,
    progress: &mut Progress,
) -> Result<RanJob> {
    let step = progress.step("one job: undock, patrol, inspect, return");
    let id =
        cloud.create_job(&json!({ "robot": ROBOT, "plan": plan::plan(skill, dock, scene)? }))?;
    for action in ["quote", "book", "dispatch"] {
        cloud.job_action(&id, action)?;
    }
    let mut follow =
        Follow { cloud, command: None, events: Vec::new(), id: &id, scene, shown: BTreeSet::new() };
    let state = wait_for("the job to end", scene.patience(), || {
        agent.check()?;
        cloud_service.check()?;
        let state = follow.look(&step)?;
        if state.is_none() {
            std::thread::sleep(JOB_POLL);
        }
        Ok(state)
    })?;
    follow.look_at_command(&step)?;
    let events = follow.events;
    step.done(state.name());
    Ok(RanJob { events, id })
}

/// Follows a job while it runs.
struct Follow<'a> {
    cloud: &'a Cloud,
    /// The command through the keep-out zone, once it was sent.
    command: Option<String>,
    events: Vec<JobEvent>,
    id: &'a str,
    scene: &'a Scene,
    /// Journal numbers of the command's verdicts that were shown.
    shown: BTreeSet<u64>,
}

impl Follow<'_> {
    /// Shows what is new; the state once the job is over.
    fn look(&mut self, step: &Step<'_>) -> Result<Option<JobState>> {
        let after = self.events.last().map_or(0, |event| event.seq);
        for value in self.cloud.job_events(self.id, after)? {
            let event = JobEvent::read(value)?;
            self.show(&event, step)?;
            self.events.push(event);
        }
        self.look_at_command(step)?;
        let job = self.cloud.job(self.id)?;
        let state: JobState = serde_json::from_value(job["state"].clone())
            .with_context(|| format!("the cloud's job has no state: {job}"))?;
        let stage = job["stage"].as_str().unwrap_or_default();
        step.part(job["progress"].as_f64().unwrap_or(0.0), &format!("{state} {stage}"));
        // The events that made it so may have come between the two questions.
        let ended = self.events.iter().any(|event| {
            matches!(event.kind, EventType::ExecutionCompleted | EventType::ExecutionAborted)
        });
        Ok((state.is_over() && ended).then_some(state))
    }

    fn show(&mut self, event: &JobEvent, step: &Step<'_>) -> Result<()> {
        match event.checkpoint() {
            Some(name) => {
                step.note(&format!("checkpoint {name}"));
                if name == self.scene.command_at && self.command.is_none() {
                    step.note("the cloud commands: drive straight through the keep-out zone");
                    self.command = Some(self.cloud.command(ROBOT, &self.scene.command)?);
                }
            }
            None if !matches!(event.kind, EventType::Heartbeat | EventType::SkillUsed) => {
                step.note(&format!("{} by {}", event.kind, event.actor.id));
            }
            None => {}
        }
        Ok(())
    }

    /// Shows the verdicts on the command that are new.
    fn look_at_command(&mut self, step: &Step<'_>) -> Result<()> {
        let Some(id) = &self.command else {
            return Ok(());
        };
        let status = self.cloud.command_status(ROBOT, id)?;
        for shown in status["verdicts"].as_array().into_iter().flatten() {
            let Ok(verdict) = serde_json::from_value::<Verdict>(shown["verdict"].clone()) else {
                bail!("the cloud shows a verdict that is none: {shown}");
            };
            let is_new = self.shown.insert(shown["seq"].as_u64().unwrap_or_default());
            if is_new && verdict.phase == VerdictPhase::Began {
                step.note(&sentence(&verdict));
            }
        }
        Ok(())
    }
}

/// A verdict in one line.
fn sentence(verdict: &Verdict) -> String {
    let asked =
        verdict.asked.forward_mps().map_or("no number".to_owned(), |mps| format!("{mps:.2} m/s"));
    let zone = verdict.zone.as_ref().map(|zone| format!(" ({zone})")).unwrap_or_default();
    format!(
        "verdict {}{zone}: limit {:.2} {}, asked {asked}, allowed {:.2} m/s",
        verdict.rule,
        verdict.limit,
        verdict.rule.unit(),
        verdict.allowed.forward_mps(),
    )
}

/// Waits until all that the robot wrote before now is at the cloud.
fn drain(cloud: &Cloud) -> Result<()> {
    let over = wall_now();
    let (mut cursor, mut changed, mut caught_up) = (0, Instant::now(), false);
    let drained = wait_for("the uplink to drain", PATIENCE, || {
        let (page, next) = cloud.arrivals(ROBOT, cursor)?;
        if !page.is_empty() {
            (cursor, changed) = (next, Instant::now());
        }
        // Samples are sent last: one that is younger than this wait means that all before it
        // has arrived. A robot that writes none while it stands falls silent instead.
        caught_up |= page.iter().any(|record| {
            record["kind"] == "sample" && record["at"]["wall"].as_i64() >= Some(over)
        });
        Ok((caught_up || changed.elapsed() >= QUIET).then_some(()))
    });
    drained.context("the robot still has records that the cloud has not")
}

fn wall_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0)
}

/// Verifies the journal; then a copy in which one byte differs.
fn try_journal(robot: &Robot, out: &Path, facts: &Facts, step: &Step<'_>) -> Result<BlackBox> {
    step.now("verifying the journal");
    let journal = robot.journal();
    let whole = robot.verify_journal(&journal)?;
    let records = whole.answer["records"].as_u64().unwrap_or(0);
    if !whole.intact || records == 0 {
        bail!("the journal does not verify: {}", whole.message);
    }
    step.note(&format!("{records} records intact"));

    // An interesting record to alter: the verdict on the command through the keep-out zone.
    let target = facts.verdict_on_command().unwrap_or(records / 2);
    let copy = out.join("tampered-journal");
    robot::copy_dir(&journal, &copy)?;
    let place = robot.locate(&copy, target)?;
    robot::flip(&place.file, place.offset + place.len / 2)?;
    step.now("verifying the altered copy");
    let altered = robot.verify_journal(&copy)?;
    step.note(&altered.message);
    let found = if altered.intact { None } else { altered.answer["first_bad"]["seq"].as_u64() };
    Ok(BlackBox {
        checkpoints: whole.answer["checkpoints"].as_u64(),
        flipped_in: target,
        records,
        tamper_found_at: found,
        tamper_message: altered.message,
        verified: whole.intact,
        verified_through: whole.answer["verified_through"].as_u64(),
    })
}

fn how_to_play(robot: &Robot, ready: &Ready, out: &Path, ids: &[u32]) -> Vec<String> {
    let agent = robot.agent();
    let agent = std::iter::once(agent.get_program())
        .chain(agent.get_args())
        .map(std::ffi::OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ");
    let root = out.join("cloud/ca.pem");
    let call = format!(
        "curl --cacert {} -H \"Authorization: Bearer $(cat {})\"",
        root.display(),
        ready.admin_token_file
    );
    let command = json!({"ask": {"type": "drive", "twist": {"linear": 3.0, "angular": 0.0}, "lease_ms": 2000}});
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    vec![
        String::new(),
        "The cloud and the robot go on running. To look at them, open the console in a browser"
            .to_owned(),
        "that trusts the cloud's root (docs/console.md), and sign in with the token:".to_owned(),
        format!("  {}", ready.http),
        format!("  cat {}", ready.admin_token_file),
        "To play with them:".to_owned(),
        format!("  {call} {}/v1/robots/{ROBOT}", ready.http),
        format!(
            "  {call} -H 'content-type: application/json' -d '{command}' {}/v1/robots/{ROBOT}/commands",
            ready.http
        ),
        format!("  {call} {}/v1/robots/{ROBOT}/verdicts", ready.http),
        format!("  {agent} --help"),
        format!("  tail -f {}", out.join("agent.log").display()),
        format!("  kill {}", ids.join(" ")),
    ]
}

fn short(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}
