//! What is refused at the robot's door, although it arrives on the robot's own channel.

use crate::common::{Site, robot};
use nooterra_agent::authority::{Access, Authority, Now, Rules, Situation};
use nooterra_agent::clock::{SystemClock, mono, wall};
use nooterra_agent::config::Link;
use nooterra_agent::control::Desk;
use nooterra_agent::jobs::Jobs;
use nooterra_agent::link::{Downlink, DownlinkParts, Taken};
use nooterra_blackbox::{Journal, JournalHandle};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::entry::{Class, Entry, Link as LinkEntry};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::geometry::{Point, Twist};
use nooterra_protocol::grant::Mode;
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, ModeId, RobotId, StepId};
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use nooterra_protocol::plan::{Param, Plan, PlanStep, SkillRef};
use nooterra_protocol::time::{MonoNanos, WallMillis};
use std::sync::Arc;
use std::time::Duration;

struct Door {
    _journal: Journal,
    authority: Arc<Authority>,
    desk: Arc<Desk>,
    downlink: Downlink,
    handle: JournalHandle,
    // Keeps the runner's end open.
    _inbox: nooterra_agent::jobs::Inbox,
}

fn cloud() -> Ed25519Key {
    Ed25519Key::from_seed([1; 32])
}

fn open(site: &Site) -> Door {
    open_with(site, Rules::built_in().unwrap(), Situation::default())
}

fn open_with(site: &Site, rules: Rules, situation: Situation) -> Door {
    let (journal, handle) = site.journal();
    let desk = Arc::new(Desk::new(handle.clone(), &site.policy()));
    let (jobs, inbox) = Jobs::new(&site.path("state"));
    let now = || Now { mono: mono(), wall: wall() };
    let authority = Arc::new(Authority::new(robot(), rules, situation, Box::new(now)));
    let downlink = Downlink::new(DownlinkParts {
        authority: Arc::clone(&authority),
        clock: Arc::new(SystemClock::new(WallMillis(0))),
        command_key: cloud().verifying_key(),
        desk: Arc::clone(&desk),
        incidents: nooterra_agent::incident::Incidents::new(handle.clone(), None),
        jobs,
        journal: handle.clone(),
        max_lease_ms: Link::default().max_lease_ms,
        robot: robot(),
    });
    Door { _journal: journal, authority, desk, downlink, handle, _inbox: inbox }
}

fn drive_to(x: f64) -> Ask {
    Ask::DriveTo { lease_ms: 2_000, speed_mps: 0.5, to: Point::new(x, 1.0) }
}

/// How long a command lasts: longer than any disk takes for all the records of a test.
const LASTS: Duration = Duration::from_secs(3600);

fn command(id: &str, ask: Ask) -> RemoteCommand {
    let now = wall();
    RemoteCommand {
        audience: robot(),
        body: ask,
        expires_at: now.plus(LASTS),
        id: EnvelopeId::new(id).unwrap(),
        issued_at: now,
        issuer: ActorId::new("operator-1").unwrap(),
        v: 1,
    }
}

fn sign(command: RemoteCommand) -> Vec<u8> {
    Signed::sign(command, &cloud()).unwrap().bytes().to_vec()
}

impl Door {
    fn moves(&self) -> bool {
        self.desk.try_intent().unwrap().operator.is_some()
    }

    /// Refused, nothing moved, and the journal says why.
    fn refuses(&self, bytes: &[u8], why: &str) {
        let Taken::Refused(reason) = self.downlink.take(bytes) else { panic!("it was taken") };
        assert!(reason.contains(why), "{reason:?} does not say {why:?}");
        assert!(!self.moves(), "the robot was moved by a refused command");
        assert!(self.refusals().contains(&reason), "not in the journal");
    }

    /// It was received before.
    fn refuses_again(&self, bytes: &[u8]) {
        let Taken::Refused(reason) = self.downlink.take(bytes) else { panic!("it was replayed") };
        assert!(reason.contains("received before"), "{reason}");
    }

    fn refusals(&self) -> Vec<String> {
        // What was appended before without waiting is durable when this is.
        let after = Entry::Link(LinkEntry { reason: None, up: true });
        self.handle.append_durable(after).unwrap();
        let records = self.handle.read_from(Class::Critical, 0, 1 << 20).unwrap();
        records
            .into_iter()
            .filter_map(|(_, bytes)| {
                match nooterra_evidence::Record::decode(&bytes).unwrap().entry().unwrap() {
                    Some(Entry::CommandRefused(refused)) => Some(refused.reason),
                    _ => None,
                }
            })
            .collect()
    }
}

#[test]
fn a_genuine_command_is_journalled_and_acted_on() {
    let site = Site::new();
    let door = open(&site);
    let id = EnvelopeId::new("env_1").unwrap();
    let taken = door.downlink.take(&sign(command("env_1", drive_to(3.0))));
    assert_eq!(taken, Taken::Accepted(id));
    assert!(door.moves());
    let records = door.handle.read_from(Class::Critical, 0, 1 << 20).unwrap();
    let record = nooterra_evidence::Record::decode(&records[0].1).unwrap();
    assert_eq!(record.kind, "command_received");
}

#[test]
fn a_wrong_signature_is_refused() {
    let site = Site::new();
    let door = open(&site);
    let stranger = Ed25519Key::from_seed([2; 32]);
    let forged = Signed::sign(command("env_1", drive_to(3.0)), &stranger).unwrap();
    door.refuses(forged.bytes(), "unknown key");
    let mut altered = sign(command("env_2", drive_to(3.0)));
    let last = altered.len() - 1;
    altered[last] ^= 1;
    door.refuses(&altered, "altered or forged");
    door.refuses(b"rubbish", "not canonical CBOR");
    door.refuses(&[], "not canonical CBOR");
}

#[test]
fn a_command_for_another_robot_is_refused() {
    let site = Site::new();
    let door = open(&site);
    let mut other = command("env_1", drive_to(3.0));
    other.audience = RobotId::new("amr-2").unwrap();
    door.refuses(&sign(other), "for robot amr-2");
}

#[test]
fn an_expired_command_is_refused_but_a_late_stop_still_stops() {
    let site = Site::new();
    let door = open(&site);
    let late = |id: &str, ask| {
        let mut command = command(id, ask);
        let ago = i64::try_from(LASTS.as_millis()).unwrap();
        command.issued_at = WallMillis(command.issued_at.0 - ago);
        command.expires_at = WallMillis(command.expires_at.0 - ago);
        sign(command)
    };
    door.refuses(&late("env_1", drive_to(3.0)), "it expired");
    let stop = Ask::EmergencyStop { reason: "somebody fell".to_owned() };
    assert!(matches!(door.downlink.take(&late("env_2", stop.clone())), Taken::Accepted(_)));
    assert!(door.desk.emergency_stop());
    // Whoever carried it brings it again, once somebody has lifted it: that one counted.
    door.desk.release_emergency_stop(MonoNanos(0));
    door.refuses(&late("env_2", stop.clone()), "this stop was obeyed before, and it expired");
    assert!(!door.desk.emergency_stop());
    drop(door);
    let door = open(&site);
    door.refuses(&late("env_2", stop.clone()), "this stop was obeyed before, and it expired");
    // Another is not it, however late; and of very many it is forgotten, which stops the robot.
    for nth in 3..35 {
        let stop = late(&format!("env_{nth}"), stop.clone());
        assert!(matches!(door.downlink.take(&stop), Taken::Accepted(_)));
    }
    assert!(door.desk.emergency_stop());
    assert!(matches!(door.downlink.take(&late("env_2", stop)), Taken::Accepted(_)));
}

#[test]
fn a_command_counts_once_even_across_a_restart() {
    let site = Site::new();
    let bytes = sign(command("env_1", Ask::EmergencyStop { reason: "drill".to_owned() }));
    let door = open(&site);
    assert!(matches!(door.downlink.take(&bytes), Taken::Accepted(_)));
    door.desk.release_emergency_stop(MonoNanos(0));
    assert!(matches!(door.downlink.take(&bytes), Taken::Refused(_)));
    drop(door);
    let door = open(&site);
    door.refuses_again(&bytes);
    assert!(!door.desk.emergency_stop());
}

#[test]
fn a_stop_outlives_a_restart_until_it_is_released() {
    let site = Site::new();
    let stop = sign(command("env_1", Ask::EmergencyStop { reason: "drill".to_owned() }));
    let door = open(&site);
    assert!(matches!(door.downlink.take(&stop), Taken::Accepted(_)));
    drop(door);
    let door = open(&site);
    assert!(door.desk.emergency_stop());
    let release = sign(command("env_2", Ask::ReleaseStop));
    assert!(matches!(door.downlink.take(&release), Taken::Accepted(_)));
    drop(door);
    assert!(!open(&site).desk.emergency_stop());
}

#[test]
fn numbers_that_are_none_and_leases_without_end_are_refused() {
    let site = Site::new();
    let door = open(&site);
    let drive = |twist| Ask::Drive { lease_ms: 500, twist };
    let nan = Twist::new(f64::NAN, 0.0);
    door.refuses(&sign(command("env_1", drive(nan))), "`twist` is not a finite number");
    door.refuses(&sign(command("env_2", drive_to(f64::INFINITY))), "`to` is not a finite");
    let long = Ask::Drive { lease_ms: 60_000, twist: Twist::ZERO };
    door.refuses(&sign(command("env_3", long)), "a lease of 60000 ms");
    let empty = Ask::StartJob { job: JobId::new("job-1").unwrap(), plan: Plan { steps: vec![] } };
    door.refuses(&sign(command("env_4", empty)), "a plan has 1 to");
    let unknown =
        Ask::CancelJob { job: JobId::new("job-9").unwrap(), reason: "no more".to_owned() };
    door.refuses(&sign(command("env_5", unknown)), "not under way");
}

#[test]
fn a_command_that_the_journal_cannot_hold_is_refused_rather_than_acted_on_unrecorded() {
    let site = Site::new();
    let door = open(&site);
    let skill = SkillRef {
        bundle: Digest::of(b"bundle"),
        id: "patrol".parse().unwrap(),
        version: "1.0.0".to_owned(),
    };
    let step = |number: usize| PlanStep {
        action: "patrol".to_owned(),
        id: StepId::new(format!("s{number}")).unwrap(),
        params: [("note".to_owned(), Param::Text("x".repeat(200)))].into(),
        skill: skill.clone(),
        timeout_s: 60,
    };
    let plan = Plan { steps: (0..256).map(step).collect() };
    let start = Ask::StartJob { job: JobId::new("job-1").unwrap(), plan };
    door.refuses(&sign(command("env_1", start)), "too large to be recorded");
}

#[test]
fn a_flood_of_long_lived_commands_is_bounded_and_a_stop_still_passes() {
    let site = Site::new();
    let door = open(&site);
    // Replays count once, so the memory is filled by different ones.
    for number in 0..256 {
        let bytes = sign(command(&format!("env_{number}"), Ask::ReleaseStop));
        assert!(matches!(door.downlink.take(&bytes), Taken::Accepted(_)));
    }
    door.refuses(&sign(command("env_x", drive_to(3.0))), "commands are still unexpired");
    let stop = Ask::EmergencyStop { reason: "drill".to_owned() };
    assert!(matches!(door.downlink.take(&sign(command("env_y", stop))), Taken::Accepted(_)));
}

#[test]
fn a_stop_or_a_veto_that_no_record_can_hold_is_acted_on_all_the_same() {
    let site = Site::new();
    let door = open(&site);
    let wordy = || "somebody fell ".repeat(5_000);
    assert!(matches!(
        door.downlink.take(&sign(command("env_1", drive_to(3.0)))),
        Taken::Accepted(_)
    ));
    let veto = door.downlink.take(&sign(command("env_2", Ask::Veto { reason: wordy() })));
    assert!(
        matches!(&veto, Taken::Refused(why) if why.contains("acted on all the same")),
        "{veto:?}"
    );
    assert!(!door.moves() && door.authority.situation().vetoed.is_some());
    let stop = sign(command("env_3", Ask::EmergencyStop { reason: wordy() }));
    door.refuses(&stop, "too large to be recorded, and was acted on all the same");
    assert!(door.desk.emergency_stop());
}

#[test]
fn where_it_is_not_known_what_was_received_only_a_stop_counts_that_was_sent_before() {
    let site = Site::new();
    let old = sign(command("env_1", drive_to(3.0)));
    let stop = sign(command("env_2", Ask::EmergencyStop { reason: "drill".to_owned() }));
    let door = open(&site);
    assert!(matches!(door.downlink.take(&old), Taken::Accepted(_)));
    door.desk.end_operator();
    door.handle.put_state("downlink.seen", b"rubbish").unwrap();
    drop(door);
    let door = open(&site);
    door.refuses(&old, "the memory of received commands was lost");
    let mut later = command("env_3", drive_to(3.0));
    later.issued_at = later.issued_at.plus(Duration::from_millis(1));
    assert!(matches!(door.downlink.take(&sign(later)), Taken::Accepted(_)));
    assert!(matches!(door.downlink.take(&stop), Taken::Accepted(_)));
    assert!(door.desk.emergency_stop());
    drop(door);
    // Nor after another restart, although there is a memory again.
    let door = open(&site);
    door.refuses(&old, "the memory of received commands was lost");
}

#[test]
fn commands_with_the_longest_ids_are_remembered_over_a_restart_until_there_is_no_room() {
    let site = Site::new();
    let door = open(&site);
    let bytes = |number: usize| sign(command(&format!("{number:0>64}"), Ask::ReleaseStop));
    let taken = (0..256).find(|number| match door.downlink.take(&bytes(*number)) {
        Taken::Accepted(_) => false,
        Taken::Refused(why) => {
            assert!(why.contains("commands are still unexpired"), "{why}");
            true
        }
        Taken::NotRecorded => panic!("{number} commands are more than are remembered"),
    });
    let taken = taken.expect("the memory is smaller than 256 such ids");
    assert!(taken > 150, "{taken}");
    drop(door);
    let door = open(&site);
    for number in [0, taken - 1] {
        door.refuses_again(&bytes(number));
    }
}

#[test]
fn messages_that_are_not_genuine_do_not_fill_the_journal_and_a_command_still_passes() {
    let site = Site::new();
    let door = open(&site);
    for number in 0..1000_u32 {
        assert!(matches!(door.downlink.take(&number.to_be_bytes()), Taken::Refused(_)));
    }
    let recorded = door.refusals().len();
    assert!((100..150).contains(&recorded), "{recorded} refusals are recorded");
    // What is genuine and void is said all the same.
    let mut other = command("env_1", drive_to(3.0));
    other.audience = RobotId::new("amr-2").unwrap();
    door.refuses(&sign(other), "for robot amr-2");
    assert!(matches!(
        door.downlink.take(&sign(command("env_2", drive_to(3.0)))),
        Taken::Accepted(_)
    ));
}

fn start_job(id: &str) -> Ask {
    let skill = SkillRef {
        bundle: Digest::of(b"bundle"),
        id: "patrol".parse().unwrap(),
        version: "1.0.0".to_owned(),
    };
    let step = PlanStep {
        action: "patrol".to_owned(),
        id: StepId::new("s1").unwrap(),
        params: [].into(),
        skill,
        timeout_s: 60,
    };
    Ask::StartJob { job: JobId::new(id).unwrap(), plan: Plan { steps: vec![step] } }
}

#[test]
fn the_wrong_mode_refuses_motion_and_a_stop_still_stops() {
    let site = Site::new();
    let situation = Situation { mode: Mode::Maintenance, ..Situation::default() };
    let door = open_with(&site, Rules::built_in().unwrap(), situation);
    let why = "rule `nothing-moves-in-maintenance` forbids it: somebody works on the robot";
    door.refuses(&sign(command("env_1", drive_to(3.0))), why);
    door.refuses(&sign(command("env_2", Ask::ReleaseStop)), why);
    door.authority.change(|situation| situation.mode = Mode::Manual);
    let start = sign(command("env_3", start_job("job-1")));
    door.refuses(&start, "rule `jobs-in-automatic-mode-only` forbids it");
    door.authority.change(|situation| situation.mode = Mode::Maintenance);
    let stop = sign(command("env_4", Ask::EmergencyStop { reason: "drill".to_owned() }));
    assert!(matches!(door.downlink.take(&stop), Taken::Accepted(_)));
    assert!(door.desk.emergency_stop());
}

#[test]
fn a_job_starts_when_it_was_reviewed_and_within_its_access() {
    let site = Site::new();
    let door = open(&site);
    let job = JobId::new("job-1").unwrap();
    let access = Access { needs_review: true, ..Access::default() };
    door.authority.change(|situation| drop(situation.jobs.insert(job.clone(), access)));
    door.refuses(&sign(command("env_1", start_job("job-1"))), "`review-comes-first`");
    let review = |plan| Ask::ReviewJob { job: JobId::new("job-1").unwrap(), plan };
    let other = sign(command("env_r1", review(Digest::of(b"another plan"))));
    assert!(matches!(door.downlink.take(&other), Taken::Accepted(_)));
    door.refuses(&sign(command("env_1b", start_job("job-1"))), "`review-comes-first`");
    let Ask::StartJob { plan, .. } = start_job("job-1") else { unreachable!() };
    let same = sign(command("env_r2", review(plan.digest().unwrap())));
    assert!(matches!(door.downlink.take(&same), Taken::Accepted(_)));
    let over = Access { to: Some(WallMillis(wall().0 - 1)), ..Access::default() };
    door.authority.change(|situation| drop(situation.jobs.insert(job.clone(), over)));
    door.refuses(&sign(command("env_2", start_job("job-1"))), "`access-has-its-time`");
    door.authority.change(|situation| drop(situation.jobs.remove(&job)));
    let start = sign(command("env_3", start_job("job-1")));
    assert!(matches!(door.downlink.take(&start), Taken::Accepted(_)));
}

#[test]
fn a_veto_refuses_motion_and_an_ended_session_too() {
    let site = Site::new();
    let door = open(&site);
    let operator = ActorId::new("operator-1").unwrap();
    door.authority.veto(&operator).unwrap();
    door.refuses(&sign(command("env_1", drive_to(3.0))), "rule `a-veto-holds` forbids it");
    door.authority.lift_veto(&operator).unwrap();
    let ended = WallMillis(wall().0 - 1);
    door.authority.change(|situation| situation.sessions.extend([(operator, ended)]));
    door.refuses(&sign(command("env_2", drive_to(3.0))), "rule `sessions-end` forbids it");
    door.authority.change(|situation| situation.sessions.clear());
    assert!(matches!(
        door.downlink.take(&sign(command("env_3", drive_to(3.0)))),
        Taken::Accepted(_)
    ));
    assert!(door.moves());
}

#[test]
fn an_owners_rules_say_who_may_drive() {
    let site = Site::new();
    let rules = "@id(\"only-ben\") permit (principal == Operator::\"ben\", action, resource);";
    let door = open_with(&site, Rules::parse(rules).unwrap(), Situation::default());
    let bytes = sign(command("env_1", drive_to(3.0)));
    door.refuses(&bytes, "no rule permits operator operator-1 to drive this robot");
    let mut bens = command("env_2", drive_to(3.0));
    bens.issuer = ActorId::new("ben").unwrap();
    assert!(matches!(door.downlink.take(&sign(bens)), Taken::Accepted(_)));
}

fn reason() -> String {
    "drill".to_owned()
}

#[test]
fn a_veto_from_afar_holds_until_it_is_lifted_and_gives_no_lease_back() {
    let site = Site::new();
    let door = open(&site);
    let take = |id: &str, ask| door.downlink.take(&sign(command(id, ask)));
    assert!(matches!(take("env_1", drive_to(3.0)), Taken::Accepted(_)));
    assert!(matches!(take("env_2", Ask::Veto { reason: reason() }), Taken::Accepted(_)));
    assert!(!door.moves(), "the lease from before goes on");
    assert!(door.authority.situation().vetoed.is_some());
    door.refuses(&sign(command("env_3", drive_to(3.0))), "`a-veto-holds`");
    door.refuses(&sign(command("env_4", Ask::ReleaseStop)), "`a-veto-holds`");
    assert!(matches!(take("env_5", Ask::LiftVeto), Taken::Accepted(_)));
    assert!(!door.moves());
    assert!(matches!(take("env_6", drive_to(3.0)), Taken::Accepted(_)));
}

#[test]
fn a_mode_is_set_from_afar_and_maintenance_is_ended_by_whoever_began_it() {
    let site = Site::new();
    let door = open(&site);
    let take = |id: &str, ask| door.downlink.take(&sign(command(id, ask)));
    assert!(matches!(take("env_1", drive_to(3.0)), Taken::Accepted(_)));
    let set = |mode| Ask::SetMode { mode };
    assert!(matches!(take("env_2", set(Mode::Maintenance)), Taken::Accepted(_)));
    door.refuses(&sign(command("env_3", drive_to(3.0))), "`nothing-moves-in-maintenance`");
    let mut others = command("env_4", set(Mode::Automatic));
    others.issuer = ActorId::new("ben").unwrap();
    door.refuses(&sign(others), "`who-works-on-it-says-when-done`");
    assert!(matches!(take("env_5", set(Mode::Automatic)), Taken::Accepted(_)));
    assert!(!door.moves(), "a lease from before the maintenance goes on");
}

#[test]
fn the_limits_of_a_mode_hold_from_afar_and_only_of_one_that_the_policy_has() {
    let site = Site::new();
    let door = open(&site);
    let set = |id: &str, mode: Option<&str>| {
        let mode = mode.map(|mode| ModeId::new(mode).unwrap());
        sign(command(id, Ask::SetLimits { mode }))
    };
    door.refuses(&set("env_1", Some("feathers")), "the policy has no mode `feathers`; it has");
    assert!(matches!(door.downlink.take(&set("env_2", None)), Taken::Accepted(_)));
    assert_eq!(door.desk.try_intent().unwrap().limits, None);
    // One that a later policy no longer has.
    door.desk.set_limits(Some(&ModeId::new("feathers").unwrap()));
    assert_eq!(door.desk.try_intent().unwrap().limits, Some(u8::MAX), "the strictest of all");
}

#[test]
fn a_disconnected_robot_takes_only_what_ends_motion_until_it_is_reconnected() {
    let site = Site::new();
    let door = open(&site);
    let take = |id: &str, ask| door.downlink.take(&sign(command(id, ask)));
    assert!(matches!(take("env_1", drive_to(3.0)), Taken::Accepted(_)));
    assert!(matches!(take("env_2", Ask::Disconnect { reason: reason() }), Taken::Accepted(_)));
    let why = "operator operator-1 disconnected the robot";
    for (id, ask) in [
        ("env_3", drive_to(3.0)),
        ("env_4", start_job("job-1")),
        ("env_5", Ask::ReleaseStop),
        ("env_6", Ask::SetMode { mode: Mode::Manual }),
    ] {
        door.refuses(&sign(command(id, ask)), why);
    }
    let stop = Ask::EmergencyStop { reason: reason() };
    assert!(matches!(take("env_7", stop), Taken::Accepted(_)));
    assert!(matches!(take("env_8", Ask::Veto { reason: reason() }), Taken::Accepted(_)));
    door.refuses(&sign(command("env_9", Ask::LiftVeto)), why);
    assert!(matches!(take("env_10", Ask::Reconnect), Taken::Accepted(_)));
    assert!(matches!(take("env_11", Ask::LiftVeto), Taken::Accepted(_)));
}

#[test]
fn an_access_is_planned_from_afar_and_one_that_makes_no_sense_is_refused() {
    let site = Site::new();
    let door = open(&site);
    let job = JobId::new("job-1").unwrap();
    let plan = |from: Option<WallMillis>, to, privacy: Option<String>| Ask::PlanAccess {
        from,
        job: job.clone(),
        needs_review: true,
        privacy,
        to,
    };
    let now = wall();
    let backwards = plan(Some(now), Some(WallMillis(now.0 - 1)), None);
    door.refuses(&sign(command("env_1", backwards)), "the access ends before it begins");
    let wordy = plan(None, None, Some("w".repeat(129)));
    door.refuses(&sign(command("env_2", wordy)), "`privacy` has 129 bytes");
    let taken = door.downlink.take(&sign(command("env_3", plan(None, None, None))));
    assert!(matches!(taken, Taken::Accepted(_)));
    door.refuses(&sign(command("env_4", start_job("job-1"))), "`review-comes-first`");
}

#[test]
fn an_owners_rules_say_who_may_veto_review_and_set_modes() {
    let site = Site::new();
    let rules = "@id(\"drive\") permit (principal, action == Action::\"drive\", resource);\n\
        @id(\"not-automatic\") permit (principal, action == Action::\"set_mode\", \
        resource == Mode::\"manual\");";
    let door = open_with(&site, Rules::parse(rules).unwrap(), Situation::default());
    let who = "no rule permits operator operator-1 to";
    let veto = sign(command("env_1", Ask::Veto { reason: reason() }));
    door.refuses(&veto, &format!("{who} veto this robot"));
    let review = Ask::ReviewJob { job: JobId::new("job-1").unwrap(), plan: Digest::of(b"p") };
    door.refuses(&sign(command("env_2", review)), &format!("{who} review_job job job-1"));
    let set = |mode| Ask::SetMode { mode };
    let automatic = sign(command("env_3", set(Mode::Automatic)));
    door.refuses(&automatic, &format!("{who} set_mode mode automatic"));
    let manual = door.downlink.take(&sign(command("env_4", set(Mode::Manual))));
    assert!(matches!(manual, Taken::Accepted(_)));
}

#[test]
fn of_presses_and_releases_at_once_what_counts_in_the_end_is_what_outlives_a_restart() {
    let site = Site::new();
    let door = open(&site);
    let desk = &door.desk;
    for round in 0..20 {
        std::thread::scope(|scope| {
            for presses in [true, false, true, false] {
                scope.spawn(move || {
                    for _ in 0..3 {
                        match presses {
                            true => desk.press_emergency_stop(),
                            false => desk.release_emergency_stop(MonoNanos(0)),
                        }
                    }
                });
            }
        });
        let kept = door.handle.get_state("control.emergency_stop").unwrap();
        assert_eq!(kept, Some(vec![u8::from(desk.emergency_stop())]), "round {round}");
    }
}
