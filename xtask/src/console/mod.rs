//! `cargo xtask console`: the cloud's page for people, in a real browser, with a robot that moves.
//!
//! The two programs run as in the demo; what a person does is done with mouse and keys on the
//! page. It fails when the page does not show what happens, or when the browser complains of
//! anything: an error on its console, or a breach of the page's content security policy.

mod browser;
mod pin;

use crate::demo::cloud::Cloud;
use crate::demo::robot::{ROBOT, Robot};
use crate::demo::scene::Scene;
use crate::demo::{self, plan, script};
use crate::process::wait_for;
use crate::progress::Progress;
use crate::toolchain::{self, Package};
use crate::world;
use anyhow::{Context as _, Result, ensure};
use browser::Browser;
use nooterra_protocol::ids::StepId;
use nooterra_protocol::plan::{Plan, PlanStep, SkillRef};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Of `cargo xtask console`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Where the pictures go, and under `run` what the two programs leave.
    #[arg(long, value_name = "DIR")]
    screenshots: Option<PathBuf>,
}

/// What a browser is made of.
const PACKAGES: &[Package] =
    &[Package { name: "chromium", path: "/usr/bin/chromium", why: "the page is opened in it" }];

const STEPS: usize = 10;

/// How often the robot patrols before it goes home. The story is over in the second round, on a
/// machine that has nothing else to do in the first.
const ROUNDS: usize = 20;

/// For what the two programs do; see `browser` for what the page does.
const PATIENCE: Duration = Duration::from_secs(180);

/// For a command to be held back by what it aims at; its lease is shorter.
const HELD_WITHIN: Duration = Duration::from_secs(20);

/// Why the skill is revoked in the end.
const REASON: &str = "stops short of doors";

const DESK: (u32, u32) = (1360, 900);
const TELEPHONE: (u32, u32) = (390, 844);

const TAB: u32 = 9;
const ENTER: u32 = 13;

/// Plays the story; false never, what does not hold is an error.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let folder = toolchain::root().join("target/console");
    let folder = options.screenshots.clone().unwrap_or(folder);
    let folder = std::path::absolute(&folder)
        .with_context(|| format!("cannot use --screenshots {}", folder.display()))?;
    toolchain::require_packages(PACKAGES, &mut |line| println!("{line}"))?;
    let out = folder.join("run");
    demo::prepare(&out)?;
    let mut progress = Progress::new(STEPS, true, false);
    let demo = demo::Options::of_story(out.clone());
    let built = script::build(&demo, &mut progress)?;
    let (mut cloud_service, ready, cloud) =
        script::start_cloud(&demo, &built, &out, &mut progress)?;
    let robot = Robot::create(&built.agent, &built.tools, &out)?;
    draw_more(&robot.dir().join("policy.json"))?;
    robot.sign_policy(None)?;
    robot.sign_skill(&built.manifest, &built.component)?;
    robot.enroll(&ready.http, &cloud.claim_code(ROBOT)?)?;
    let mut agent = script::connect(&demo, &robot, &cloud, &mut cloud_service, &mut progress)?;
    let (skill, _) = script::publish(&built, &robot, &cloud, &mut progress)?;

    let token = std::fs::read_to_string(&ready.admin_token_file).context("the token is gone")?;
    let browser = Browser::start(&pin::of_file(&out.join("cloud/ca.pem"))?, &out)?;
    let mut story = Story { base: ready.http.clone(), browser, cloud: &cloud, folder: &folder };
    story.browser.look_like(DESK.0, DESK.1, false)?;
    let step = progress.step("signing in: a wrong token, then the right one");
    story.sign_in(token.trim())?;
    step.done("the fleet is shown");
    let step = progress.step("a job made from a plan, on the page");
    let dock = world::read(&robot.dir().join("world.toml"))?.dock.context("no dock")?;
    let job = story.make_job(&skill, dock)?;
    step.done(&job);
    let step = progress.step("the robot live: it moves, and is held back");
    let clamps = story.watch()?;
    step.done(&clamps);
    let step = progress.step("the job's timeline, and the robot stopped");
    story.look_at_job(&job)?;
    story.stop()?;
    step.done("it stands, and says so");
    let step = progress.step("the skill's version, revoked");
    story.revoke(&skill)?;
    step.done("the list says so, and why");
    let step = progress.step("what the browser complained about");
    story.forbidden()?;
    step.done("nothing; and markup from data is refused");
    agent.check()?;
    cloud_service.check()?;
    progress.say(&format!("pictures in {}", folder.display()));
    Ok(true)
}

/// The example's policy has no zone of every kind; the page draws them all.
fn draw_more(policy: &Path) -> Result<()> {
    let text = std::fs::read_to_string(policy)
        .with_context(|| format!("cannot read {}", policy.display()))?;
    let mut document: Value = serde_json::from_str(&text).context("the policy is no JSON")?;
    let corners = |left: f64, low: f64, right: f64, top: f64| json!([{"x": left, "y": low}, {"x": right, "y": low}, {"x": right, "y": top}, {"x": left, "y": top}]);
    document["privacy"] = json!([{
        "id": "break-room", "polygon": corners(8.4, 2.6, 11.2, 4.4), "sensors": ["camera", "microphone"],
    }]);
    document["zones"].as_array_mut().context("a policy without zones")?.push(json!({
        "id": "gate", "polygon": corners(0.1, 3.0, 2.6, 4.4),
        "rule": {"type": "speed", "max_linear_mps": 0.9},
        "windows": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "07:00", "to": "18:00"}],
    }));
    std::fs::write(policy, document.to_string())
        .with_context(|| format!("cannot write {}", policy.display()))
}

/// The patrol's steps several times over: the story looks at a job that is under way, and a busy
/// machine needs long for the story.
fn long(mut plan: Plan) -> Result<Plan> {
    let home = plan.steps.pop().context("a plan without steps")?;
    let round = plan.steps.split_off(1);
    for lap in 1..=ROUNDS {
        for step in &round {
            let id = StepId::new(format!("{}-{lap}", step.id))?;
            plan.steps.push(PlanStep { id, ..step.clone() });
        }
    }
    plan.steps.push(home);
    plan.check()?;
    Ok(plan)
}

/// A person at the page.
struct Story<'a> {
    base: String,
    browser: Browser,
    cloud: &'a Cloud,
    folder: &'a Path,
}

impl Story<'_> {
    fn picture(&mut self, name: &str) -> Result<()> {
        self.browser.picture(&self.folder.join(name))
    }

    /// Nothing was complained about so far.
    fn is_quiet(&mut self) -> Result<()> {
        let trouble = self.browser.trouble()?;
        ensure!(trouble.is_empty(), "the browser complains: {}", trouble.join("\n"));
        Ok(())
    }

    fn go(&mut self, hash: &str) -> Result<()> {
        self.browser.evaluate(&format!("location.hash = {}", json!(hash))).map(drop)
    }

    /// With the keyboard alone.
    fn sign_in(&mut self, token: &str) -> Result<()> {
        self.browser.open(&format!("{}/", self.base))?;
        self.browser.until("the field for the token", "document.activeElement.id === 'token'")?;
        self.is_quiet()?;
        self.browser.insert("not the token")?;
        self.browser.key("Enter", ENTER)?;
        let refused = "document.querySelector('[role=alert].bad')?.textContent";
        let said = self.browser.until("the refusal", refused)?;
        ensure!(said.as_str().is_some_and(|said| said.contains("not the token")), "{said}");
        // The browser itself tells of an answer of 401; it was asked for.
        let trouble = self.browser.trouble()?;
        ensure!(trouble.iter().all(|line| line.contains("401")), "{trouble:?}");
        self.picture("signin.png")?;
        self.browser.until("the field to be chosen", "document.activeElement.id === 'token'")?;
        self.browser.insert(token)?;
        self.browser.key("Tab", TAB)?;
        self.browser.key("Enter", ENTER)?;
        let shown = format!("document.querySelector('.robot[data-robot={ROBOT}] .pill.good')");
        self.browser.until("the robot in the fleet", &format!("!!{shown}"))?;
        let kept = "JSON.stringify([location.href, localStorage.length, document.cookie])";
        let kept = self.browser.evaluate(kept)?;
        ensure!(!kept.to_string().contains(token), "the token is in the address or kept: {kept}");
        self.is_quiet()
    }

    fn make_job(
        &mut self,
        skill: &SkillRef,
        dock: nooterra_protocol::geometry::Pose,
    ) -> Result<String> {
        let plan = long(plan::plan(skill, dock, &Scene::new(None, 1)?)?)?;
        let job = json!({ "robot": ROBOT, "plan": plan });
        self.go("#/jobs")?;
        self.browser.click(".head button")?;
        self.browser.until("the form", "document.querySelector('dialog[open] #plan') !== null")?;
        self.browser.evaluate("document.querySelector('#plan').focus()")?;
        self.browser.insert("{ not a plan")?;
        self.browser.click("dialog button[type=submit]")?;
        let refused = "document.querySelector('dialog [role=alert]').textContent";
        self.browser.until("the refusal of what is no JSON", refused)?;
        self.browser.evaluate("document.querySelector('#plan').select()")?;
        self.browser.insert(&serde_json::to_string_pretty(&job)?)?;
        self.browser.click("dialog button[type=submit]")?;
        let here = "location.hash.startsWith('#/jobs/job_') && location.hash.slice(7)";
        let job = self.browser.until("the new job", here)?;
        self.is_quiet()?;
        job.as_str().map(str::to_owned).context("the job has no id")
    }

    /// Watches the robot until both of its interventions are listed; their rules.
    fn watch(&mut self) -> Result<String> {
        self.go("#/fleet")?;
        self.browser.click(&format!(".robot[data-robot={ROBOT}]"))?;
        self.browser.until(
            "the zones of the policy",
            "['in', 'out', 'speed', 'privacy', 'sometimes'].every((kind) => document.querySelector(`.map .zone.${kind}`))",
        )?;
        let place = "document.querySelector('.map .body').getAttribute('transform')";
        let before = self.browser.until("the robot on its map", place)?;
        self.browser.until("the robot to move", &format!("{place} !== {before}"))?;
        let lists = |rule: &str| {
            format!(
                "[...document.querySelectorAll('.runs .run')].some((run) => run.textContent.includes('{rule}'))"
            )
        };
        self.browser.until("the skill's wish for speed to be held back", &lists("speed.linear"))?;
        // As soon as it is past the first corner: straight into the press. A machine that is busy
        // may send it when the robot has left; at its next round it is as near again.
        let rounds = "(document.querySelector('.timeline')?.textContent ?? '').split('waypoint-1').length - 1";
        let (held, mut seen) = (lists("zone.keep_out"), 0);
        for round in 1.. {
            let more = format!("({rounds}) > {seen}");
            self.browser.until("the first waypoint", &more)?;
            self.cloud.command(ROBOT, &plan::command())?;
            if self.browser.shows(&held, HELD_WITHIN)?.is_some() {
                break;
            }
            ensure!(round < ROUNDS, "the keep-out zone held no command back");
            let now = self.browser.evaluate(rounds)?;
            seen = now.as_u64().context("the page counts no waypoints")?;
        }
        self.browser.until("its mark on the map", "!!document.querySelector('.map .mark.hard')")?;
        let sent = "!!document.querySelector('.plan .goal') || document.querySelector('#now-doing').textContent !== 'operator'";
        self.browser.until("where the command sends it", sent)?;
        // The picture is best where most is held back, before the command ends.
        let most = "(() => { const mps = (id) => parseFloat(document.querySelector(id).textContent);
            return mps('#now-asked') - mps('#now-allowed') > 0.5 || !document.querySelector('.plan .goal'); })()";
        self.browser.until("the command to be held back, or to end", most)?;
        self.picture("live.png")?;
        self.browser.look_like(DESK.0, DESK.1, true)?;
        self.browser.until(
            "the drawing in the dark",
            "matchMedia('(prefers-color-scheme: dark)').matches",
        )?;
        self.picture("live-dark.png")?;
        // Chosen in the list, both arrows are on the map.
        let chosen = "!!document.querySelector('.map .halo')";
        self.browser.click_until(".runs .run.hard", "the chosen one's arrows", chosen)?;
        self.browser.look_like(TELEPHONE.0, TELEPHONE.1, false)?;
        let width = "document.documentElement.scrollWidth <= innerWidth && document.querySelector('.map').clientWidth <= innerWidth";
        self.browser.until("the page to fit a telephone", width)?;
        let drawn = "(() => { const it = document.querySelector('.strip'); return Math.abs(it.viewBox.baseVal.width - it.clientWidth) < 2; })()";
        self.browser.until("the drawings to be as wide", drawn)?;
        self.browser.evaluate("window.scrollTo(0, 0)")?;
        self.picture("phone.png")?;
        self.browser.look_like(DESK.0, DESK.1, false)?;
        self.go("#/fleet")?;
        self.browser
            .until("the job in the fleet", "!!document.querySelector('.robot progress')")?;
        self.picture("fleet.png")?;
        self.is_quiet()?;
        Ok("speed.linear by the skill, zone.keep_out by a command".to_owned())
    }

    fn look_at_job(&mut self, job: &str) -> Result<()> {
        self.go("#/jobs")?;
        self.browser.click(&format!("a[href='#/jobs/{job}']"))?;
        self.browser.until(
            "the timeline with its chain checked",
            "document.querySelector('.timeline')?.textContent.includes('execution started') && document.querySelector('.card.tall .good.small')?.textContent.includes('chain was checked')",
        )?;
        self.picture("job.png")?;
        self.is_quiet()
    }

    /// Presses stop, says yes, and looks whether the robot stands: on the page, and by the
    /// robot's own records.
    fn stop(&mut self) -> Result<()> {
        self.go(&format!("#/robots/{ROBOT}"))?;
        self.browser.until(
            "the robot to drive",
            "/[1-9]/.test(document.querySelector('#now-speed')?.textContent ?? '')",
        )?;
        self.browser.click("button.stop")?;
        self.browser.until(
            "the question",
            "document.querySelector('dialog[open] button.stop') === document.activeElement",
        )?;
        self.picture("stop.png")?;
        self.browser.key("Enter", ENTER)?;
        self.browser.until("the banner", "!document.querySelector('.held').hidden && document.querySelector('.held').textContent.includes('Emergency stop')")?;
        self.browser.until(
            "the robot to stand",
            "/^.?0\\.0/.test(document.querySelector('#now-speed').textContent)",
        )?;
        self.browser.until(
            "its answer",
            "document.querySelector('#notes .good')?.textContent.includes('accepted')",
        )?;
        self.picture("stopped.png")?;
        let health = wait_for("the robot's own word", PATIENCE, || {
            let known = self.cloud.robot(ROBOT)?.map(|robot| robot["health"].clone());
            Ok(known.filter(|health| health["emergency_stop"] == true))
        })?;
        ensure!(health["vetoed"] == false, "nobody vetoed: {health}");
        // Its samples come after its word, the last of them when it has braked.
        wait_for("the robot to stand, by its own records", PATIENCE, || {
            let samples = self.cloud.records(ROBOT, "sample")?;
            let last = &samples.last().context("the robot sent no sample")?["body"];
            let speed = last["twist"]["linear"].as_f64().context("a sample without speed")?;
            Ok((speed.abs() < 0.05 && last["source"] == "emergency_stop").then_some(()))
        })?;
        self.is_quiet()
    }

    /// The published version is listed, and once it is revoked the page says why.
    fn revoke(&mut self, skill: &SkillRef) -> Result<()> {
        self.go("#/skills")?;
        let row = "document.querySelector('.card table tbody tr')?.textContent";
        let published = format!("({row} ?? '').includes('{}') && {row}", skill.version);
        let row_says = self.browser.until("the published version", &published)?;
        ensure!(row_says.to_string().contains("published"), "the page says {row_says}");
        self.cloud.revoke_skill(skill, REASON)?;
        let revoked = format!("({row} ?? '').includes('{REASON}') && {row}");
        let row_says = self.browser.until("the revoked version, with the reason", &revoked)?;
        ensure!(row_says.to_string().contains("revoked"), "the page says {row_says}");
        self.picture("skills.png")?;
        self.is_quiet()
    }

    /// The page's policy for the browser holds: text cannot become markup.
    fn forbidden(&mut self) -> Result<()> {
        let tried = self.browser.evaluate("document.body.innerHTML = '<p>x</p>'");
        ensure!(tried.is_err(), "the browser made markup of text");
        let trouble = self.browser.trouble()?;
        ensure!(!trouble.is_empty(), "a breach of the page's policy went unnoticed");
        self.go("#/fleet")?;
        self.is_quiet()
    }
}
