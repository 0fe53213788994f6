//! What the rules of a release grant and refuse, and how grants end.

use super::*;
use nooterra_protocol::geometry::Twist;
use nooterra_protocol::grant::Mode;
use nooterra_protocol::ids::{SkillId, ZoneId};
use nooterra_protocol::plan::Plan;
use nooterra_protocol::skill::Tier;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// 2026-11-20T12:00:00Z.
const NOON: i64 = 1_795_176_000_000;

/// An authority whose time is ours, milliseconds from noon.
struct Rig {
    authority: Authority,
    since_noon: Arc<AtomicI64>,
}

fn rig(rules: &str) -> Rig {
    let since_noon = Arc::new(AtomicI64::new(0));
    let time = Arc::clone(&since_noon);
    let clock = move || {
        let since = time.load(Ordering::Relaxed);
        let mono = u64::try_from(since).unwrap().saturating_mul(1_000_000).saturating_add(1);
        Now { mono: MonoNanos(mono), wall: WallMillis(NOON + since) }
    };
    let rules = Rules::parse(rules).unwrap();
    let robot = RobotId::new("amr-1").unwrap();
    let authority = Authority::new(robot, rules, Situation::default(), Box::new(clock));
    Rig { authority, since_noon }
}

fn built_in() -> Rig {
    rig(rules::DEFAULT)
}

fn anna() -> ActorId {
    ActorId::new("anna").unwrap()
}

fn job() -> JobId {
    JobId::new("job-1").unwrap()
}

fn patrol() -> Skill {
    Skill { id: SkillId::new("patrol").unwrap(), tier: Tier::LabCert }
}

fn drive() -> Ask {
    Ask::Drive { lease_ms: 500, twist: Twist::ZERO }
}

fn start() -> Ask {
    Ask::StartJob { job: job(), plan: Plan { steps: vec![] } }
}

fn cancel() -> Ask {
    Ask::CancelJob { job: job(), reason: "no more".to_owned() }
}

impl Rig {
    fn judge(&self, ask: &Ask) -> Result<(), String> {
        self.authority.judge_ask(&anna(), ask).map_err(|denied| denied.to_string())
    }

    fn refuses(&self, ask: &Ask, part: &str) {
        let said = self.judge(ask).unwrap_err();
        assert!(said.contains(part), "{said}");
    }

    fn pass(&self, millis: i64) {
        self.since_noon.fetch_add(millis, Ordering::Relaxed);
    }

    fn allows(&self, asker: Asker, action: Action) -> bool {
        let grants = self.authority.grants();
        grants.allows(asker, action, (self.authority.clock)().mono)
    }
}

#[test]
fn the_built_in_rules_let_operators_do_what_they_could() {
    let rig = built_in();
    for ask in [drive(), start(), cancel(), Ask::ReleaseStop] {
        assert_eq!(rig.judge(&ask), Ok(()), "{}", ask.name());
    }
    assert!(rig.authority.begin_step(&job(), patrol(), true).is_ok());
    let grants = rig.authority.grants();
    let now = (rig.authority.clock)().mono;
    assert_eq!(grants.sensor(Sensor::Range, now), SensorGrant { keep_s: 2_592_000, read: true });
    assert_eq!(grants.sensor(Sensor::Camera, now), SensorGrant::default());
    rig.authority.end_step();
    assert!(!rig.allows(Asker::Skill, Action::Drive), "a skill drives for a job only");
}

#[test]
fn the_wrong_mode_refuses_and_names_the_rule() {
    let rig = built_in();
    rig.authority.change(|situation| situation.mode = Mode::Manual);
    rig.refuses(&start(), "rule `jobs-in-automatic-mode-only` forbids it: the robot is not in");
    assert_eq!(rig.judge(&drive()), Ok(()));
    let refused = rig.authority.begin_step(&job(), patrol(), true).unwrap_err().to_string();
    assert!(refused.contains("skills-drive-in-automatic-mode-only"), "{refused}");
    rig.authority.change(|situation| situation.mode = Mode::Maintenance);
    for ask in [drive(), Ask::ReleaseStop, start()] {
        assert!(rig.judge(&ask).is_err(), "{}", ask.name());
    }
    rig.refuses(&drive(), "`nothing-moves-in-maintenance`");
    assert_eq!(rig.judge(&cancel()), Ok(()), "less motion is never refused for the mode");
}

#[test]
fn a_job_that_needs_review_waits_for_it() {
    let rig = built_in();
    let access = Access { needs_review: true, ..Access::default() };
    rig.authority.change(|situation| drop(situation.jobs.insert(job(), access)));
    rig.refuses(&start(), "`review-comes-first`");
    let plan = Plan { steps: vec![] }.digest().unwrap();
    rig.authority.review(&ActorId::new("ben").unwrap(), &job(), Digest::of(b"other")).unwrap();
    rig.refuses(&start(), "`review-comes-first`");
    rig.authority.review(&ActorId::new("ben").unwrap(), &job(), plan).unwrap();
    assert_eq!(rig.judge(&start()), Ok(()));
}

#[test]
fn access_and_sessions_have_their_time() {
    let rig = built_in();
    let (from, to) = (Some(WallMillis(NOON + 1_000)), Some(WallMillis(NOON + 5_000)));
    let access = Access { from, to, ..Access::default() };
    rig.authority.change(|situation| drop(situation.jobs.insert(job(), access)));
    rig.refuses(&start(), "`access-has-its-time`");
    rig.pass(1_000);
    assert_eq!(rig.judge(&start()), Ok(()));
    rig.authority.begin_step(&job(), patrol(), true).unwrap();
    assert_eq!(rig.authority.grants().expires_at, to.unwrap(), "the end is known in advance");
    rig.pass(3_999);
    assert!(rig.authority.skill_drives().is_ok());
    rig.pass(1);
    assert!(!rig.allows(Asker::Skill, Action::Drive), "no rule was asked for it to end");
    let over = rig.authority.skill_drives().unwrap_err().to_string();
    assert!(over.contains("`access-ends-for-skills`"), "{over}");
    rig.refuses(&start(), "`access-has-its-time`");
    let until = WallMillis(NOON + 5_000);
    rig.authority.change(|situation| situation.sessions.extend([(anna(), until)]));
    rig.refuses(&drive(), "`sessions-end` forbids it: the operator's session is over");
}

#[test]
fn a_veto_holds_motion_until_it_is_lifted_and_a_stop_needs_nobodys_leave() {
    let rig = built_in();
    rig.authority.asked(&anna(), &drive());
    rig.authority.begin_step(&job(), patrol(), true).unwrap();
    rig.authority.veto(&ActorId::new("passer-by").unwrap()).unwrap();
    assert!(
        !rig.allows(Asker::Skill, Action::Drive) && !rig.allows(Asker::Operator, Action::Drive)
    );
    for ask in [drive(), start(), Ask::ReleaseStop] {
        rig.refuses(&ask, "rule `a-veto-holds` forbids it: somebody vetoed");
    }
    assert_eq!(rig.judge(&Ask::EmergencyStop { reason: "drill".to_owned() }), Ok(()));
    rig.authority.lift_veto(&anna()).unwrap();
    assert!(rig.allows(Asker::Skill, Action::Drive) && rig.judge(&drive()).is_ok());
}

#[test]
fn what_no_rule_permits_is_refused_and_so_is_everything_where_a_rule_fails() {
    let only_ben = "@id(\"ben\") permit (principal == Operator::\"ben\", action, resource);";
    rig(only_ben).refuses(&drive(), "no rule permits operator anna to drive this robot");
    // Cedar itself would leave the second rule out, and permit.
    let overflow = "@id(\"all\") permit (principal, action, resource);\n@id(\"sum\") forbid \
        (principal, action, resource) when { 9223372036854775807 + \
        context.now.toTime().toMilliseconds() > 0 && context.vetoed };";
    let rig = rig(overflow);
    rig.refuses(&drive(), "rule `sum` cannot be evaluated, which denies");
    assert_eq!(rig.authority.grants().bits, 0);
    assert_eq!(rig.judge(&Ask::EmergencyStop { reason: "drill".to_owned() }), Ok(()));
}

#[test]
fn a_rule_that_forbids_wins_over_all_that_permit() {
    let rules = "@id(\"a\") permit (principal, action, resource);\n\
                 @id(\"b\") permit (principal, action == Action::\"drive\", resource);\n\
                 @id(\"c\") forbid (principal == Operator::\"anna\", action, resource);";
    let rig = rig(rules);
    rig.refuses(&drive(), "rule `c` forbids it");
    assert!(rig.authority.judge_ask(&ActorId::new("ben").unwrap(), &drive()).is_ok());
}

#[test]
fn privacy_is_by_sensor_zone_and_job_and_by_how_long() {
    let rules = "@id(\"see\") permit (principal, action == Action::\"read_sensor\", resource);\n\
        @id(\"keep\") permit (principal, action == Action::\"retain_sensor\", resource)\n\
        when { resource != Sensor::\"camera\" || context.keep <= duration(\"1d\") };\n\
        @id(\"not-there\") forbid (principal, action == Action::\"read_sensor\", \
        resource == Sensor::\"camera\")\n\
        unless { context has zones && !context.zones.contains(Zone::\"bedroom\") };\n\
        @id(\"unheard\") forbid (principal, action == Action::\"read_sensor\", \
        resource == Sensor::\"microphone\")\n\
        when { context has job && context.job has privacy && context.job.privacy == \"quiet\" };";
    let rig = rig(rules);
    let quiet = Access { privacy: Some("quiet".to_owned()), ..Access::default() };
    rig.authority.change(|situation| drop(situation.jobs.insert(job(), quiet)));
    assert!(rig.authority.begin_step(&job(), patrol(), false).is_ok());
    let sees = |sensor| rig.authority.grants().sensor(sensor, (rig.authority.clock)().mono);
    assert_eq!(sees(Sensor::Camera), SensorGrant::default(), "it is not known where it is");
    let be_in = |zone: &str| Some([ZoneId::new(zone).unwrap()].into());
    rig.authority.change(|situation| situation.zones = be_in("hall"));
    assert_eq!(sees(Sensor::Camera), SensorGrant { keep_s: 86_400, read: true });
    assert_eq!(sees(Sensor::Range), SensorGrant { keep_s: 31_536_000, read: true });
    assert_eq!(sees(Sensor::Microphone), SensorGrant::default(), "it is not kept either");
    rig.authority.change(|situation| situation.zones = be_in("bedroom"));
    assert_eq!(sees(Sensor::Camera), SensorGrant::default());
}

#[test]
fn a_time_of_day_in_a_rule_ends_the_grants_at_that_time() {
    let rig = rig("@id(\"mornings\") permit (principal, action, resource)\n\
                   when { context.now.toTime() < duration(\"12h30s\") };");
    rig.authority.asked(&anna(), &drive());
    let end = WallMillis(NOON + 30_000);
    assert_eq!(rig.authority.grants().expires_at, end);
    rig.pass(29_999);
    assert!(rig.allows(Asker::Operator, Action::Drive) && rig.judge(&drive()).is_ok());
    rig.pass(1);
    assert!(!rig.allows(Asker::Operator, Action::Drive) && rig.judge(&drive()).is_err());
    rig.authority.refresh();
    assert!(!rig.allows(Asker::Operator, Action::Drive));
}

#[test]
fn grants_end_by_themselves_and_are_renewed_by_whoever_refreshes() {
    let rig = built_in();
    rig.authority.asked(&anna(), &drive());
    rig.pass(59_999);
    assert!(rig.allows(Asker::Operator, Action::Drive));
    rig.pass(1);
    assert!(!rig.allows(Asker::Operator, Action::Drive));
    rig.authority.refresh();
    assert!(rig.allows(Asker::Operator, Action::Drive));
    let renewed = rig.authority.grants();
    rig.pass(1_000);
    rig.authority.refresh();
    assert_eq!(rig.authority.grants(), renewed, "nothing is evaluated while it lasts");
}

#[test]
fn a_skills_certification_counts() {
    let rules = "@id(\"tested\") permit (principal is Skill, action == Action::\"drive\", resource)\n\
                 when { [\"lab_cert\", \"field_cert\"].contains(principal.tier) };";
    let rig = rig(rules);
    assert!(rig.authority.begin_step(&job(), patrol(), true).is_ok());
    let untested = Skill { tier: Tier::Dev, ..patrol() };
    let refused = rig.authority.begin_step(&job(), untested, true).unwrap_err().to_string();
    assert_eq!(refused, "no rule permits skill patrol to drive this robot");
}

#[test]
fn reviews_are_bounded() {
    let (rig, plan) = (built_in(), Digest::of(b"a plan"));
    for number in 0..situation::MAX_JOBS {
        let job = JobId::new(format!("job-{number}")).unwrap();
        rig.authority.review(&anna(), &job, plan).unwrap();
    }
    let full = rig.authority.review(&anna(), &JobId::new("job-x").unwrap(), plan).unwrap_err();
    assert!(full.to_string().contains("64 jobs are remembered"), "{full}");
    assert!(
        rig.authority.review(&anna(), &job(), plan).is_ok(),
        "of a known job it is still taken"
    );
}

#[test]
fn a_clock_that_no_calendar_has_denies() {
    let rig = built_in();
    rig.pass(400_000_000_000_000);
    rig.refuses(&drive(), "the rules cannot be asked");
}
