//! What should be: jobs, robots and commands as plain values, written a second time and from the
//! vocabulary alone. Nothing here is shared with the code that it judges.

use std::collections::BTreeSet;

/// Where a job stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Life {
    Created,
    Quoted,
    Booked,
    Matched,
    Reserved,
    EnRoute,
    AccessGranted,
    Executing,
    Assisted,
    Stalled,
    SafeExit,
    Completed,
    Aborted,
    Settled,
}

/// What an event does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Beside,
    Refused,
    To(Life),
}

/// Events that move jobs.
const MOVES: [&str; 20] = [
    "QUOTE_PROPOSED",
    "BOOKED",
    "MATCHED",
    "RESERVED",
    "EN_ROUTE",
    "ACCESS_GRANTED",
    "EXECUTION_STARTED",
    "ASSIST_STARTED",
    "ASSIST_ENDED",
    "EXECUTION_STALLED",
    "EXECUTION_RESUMED",
    "EXECUTION_COMPLETED",
    "EXECUTION_ABORTED",
    "RESCHEDULED",
    "CANCELLED",
    "ACCESS_REVOKED",
    "ACCESS_EXPIRED",
    "APPROVAL_REVOKED",
    "APPROVAL_EXPIRED",
    "SETTLED",
];

/// Events that a robot may sign.
const BY_ROBOTS: [&str; 14] = [
    "EN_ROUTE",
    "EXECUTION_STARTED",
    "EXECUTION_COMPLETED",
    "CHECKPOINT_REACHED",
    "HEARTBEAT",
    "INCIDENT_DETECTED",
    "ASSIST_REQUESTED",
    "ENTERED_SPACE",
    "LEFT_SPACE",
    "ACCESS_GRANTED",
    "ACCESS_DENIED",
    "SKILL_USED",
    "EVIDENCE_CAPTURED",
    "EXECUTION_ABORTED",
];

impl Life {
    /// As people write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Quoted => "QUOTED",
            Self::Booked => "BOOKED",
            Self::Matched => "MATCHED",
            Self::Reserved => "RESERVED",
            Self::EnRoute => "EN_ROUTE",
            Self::AccessGranted => "ACCESS_GRANTED",
            Self::Executing => "EXECUTING",
            Self::Assisted => "ASSISTED",
            Self::Stalled => "STALLED",
            Self::SafeExit => "ABORTING_SAFE_EXIT",
            Self::Completed => "COMPLETED",
            Self::Aborted => "ABORTED",
            Self::Settled => "SETTLED",
        }
    }

    /// What `event` does to a job that stands here.
    pub(super) fn step(self, event: &str) -> Step {
        use Life::{
            Aborted, AccessGranted, Assisted, Booked, Completed, Created, EnRoute, Executing,
            Matched, Quoted, Reserved, SafeExit, Settled, Stalled,
        };
        Step::To(match (event, self) {
            ("QUOTE_PROPOSED", Created) => Quoted,
            ("BOOKED", Quoted)
            | (
                "RESCHEDULED" | "APPROVAL_REVOKED" | "APPROVAL_EXPIRED",
                Booked | Matched | Reserved,
            ) => Booked,
            ("APPROVAL_REVOKED" | "APPROVAL_EXPIRED", Created | Quoted) => self,
            ("MATCHED", Booked) => Matched,
            ("RESERVED", Matched) => Reserved,
            ("EN_ROUTE", Reserved) => EnRoute,
            ("ACCESS_GRANTED", EnRoute) => AccessGranted,
            ("EXECUTION_STARTED", AccessGranted)
            | ("ASSIST_ENDED", Assisted)
            | ("EXECUTION_RESUMED", Stalled) => Executing,
            ("ASSIST_STARTED", Executing) => Assisted,
            ("EXECUTION_STALLED", Executing | Assisted) => Stalled,
            ("EXECUTION_COMPLETED", Executing | Assisted | Stalled) => Completed,
            ("EXECUTION_ABORTED", Executing | Assisted | Stalled | SafeExit)
            | (
                "CANCELLED" | "ACCESS_REVOKED" | "ACCESS_EXPIRED",
                Created | Quoted | Booked | Matched | Reserved,
            ) => Aborted,
            (
                "CANCELLED" | "ACCESS_REVOKED" | "ACCESS_EXPIRED" | "APPROVAL_REVOKED"
                | "APPROVAL_EXPIRED",
                EnRoute | AccessGranted | Executing | Assisted | Stalled,
            ) => SafeExit,
            ("SETTLED", Completed | Aborted) => Settled,
            _ if MOVES.contains(&event) => return Step::Refused,
            _ => return Step::Beside,
        })
    }

    /// The robot has begun and not ended.
    const fn is_under_way(self) -> bool {
        matches!(
            self,
            Self::EnRoute | Self::AccessGranted | Self::Executing | Self::Assisted | Self::Stalled
        )
    }

    const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Aborted | Self::Settled)
    }
}

/// How a robot stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trust {
    InService,
    Maintenance,
    Quarantined,
    Revoked,
}

impl Trust {
    fn permits(self, ask: &str) -> bool {
        match self {
            Self::InService => true,
            Self::Maintenance => ask != "start_job",
            Self::Quarantined => ask == "cancel_job" || ask == "pause_job",
            Self::Revoked => false,
        }
    }

    const fn event(self) -> &'static str {
        match self {
            Self::InService => "ROBOT_RESTORED",
            Self::Maintenance => "ROBOT_IN_MAINTENANCE",
            Self::Quarantined => "ROBOT_QUARANTINED",
            Self::Revoked => "ROBOT_REVOKED",
        }
    }
}

/// A fact in its place: its type, whether it came late, and its name where a robot gave it one.
pub(super) type Placed = (String, bool, Option<String>);

/// A job that stands still.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Still {
    pub(super) called: bool,
    pub(super) paused: bool,
    since: i64,
}

/// A job.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// When access is over, and whether it may be taken back.
    pub(super) access: Option<(i64, bool)>,
    /// Who approves it now, until when; sorted by who.
    pub(super) approved: Vec<(u8, Option<i64>)>,
    /// The newest heartbeat: which life of the robot's, and its count.
    beat: Option<(usize, u64)>,
    pub(super) heard: Option<i64>,
    pub(super) still: Option<Still>,
    pub(super) facts: Vec<Placed>,
    /// How often it was approved.
    grants: usize,
    pub(super) life: Life,
    /// Somebody must approve it before it is sent.
    needs: bool,
    /// Its access plan asks for a review.
    reviewed: bool,
    pub(super) progress: f64,
    pub(super) robot: usize,
    pub(super) stage: bool,
    /// The command that started it last.
    pub(super) start: Option<usize>,
}

/// A robot.
#[derive(Clone, Debug)]
pub(super) struct Robot {
    /// Facts of no job of its own.
    pub(super) facts: Vec<Placed>,
    /// For each of its lives, whether its key was revoked.
    pub(super) lives: Vec<bool>,
    pub(super) trust: Trust,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Accepted,
    Refused,
    Sent,
}

/// A command.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) ask: &'static str,
    expires_at: i64,
    pub(super) fate: Fate,
    pub(super) job: usize,
    pub(super) robot: usize,
}

/// Why something is not done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    Access,
    Approval,
    Barred,
    Skill,
    State,
}

/// What a record of a robot's journal says.
#[derive(Clone, Debug)]
pub(super) enum Word {
    /// It took this command.
    Accepted(usize),
    Fact(Said),
    /// It refused this command.
    Refused(usize),
}

/// What a heartbeat says: the progress, and whether it names a step.
pub(super) type Beat = (f64, bool);

/// A fact on its way.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) beat: Option<Beat>,
    /// Signed by a key of the robot whose journal it is in, in that robot's name, whole.
    pub(super) genuine: bool,
    /// Which life of the robot's it is of, and its count there.
    pub(super) place: (usize, u64),
    pub(super) job: Option<usize>,
    pub(super) kind: &'static str,
    pub(super) name: String,
}

/// All that there is.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) commands: Vec<Command>,
    pub(super) jobs: Vec<Job>,
    pub(super) now: i64,
    placed: BTreeSet<String>,
    pub(super) robots: Vec<Robot>,
}

/// How long the commands of a run may be taken.
pub(super) const TTL_MS: i64 = 60_000;

/// A job is approved so often at the most.
const MOST_GRANTS: usize = 32;

/// How long a robot may be told of its access.
const LONG_MS: i64 = 24 * 3_600_000;

/// Silence for so long is a stall, and a stall for so long calls a person.
pub(super) const STALLED_AFTER_MS: i64 = 30_000;
pub(super) const CALLED_AFTER_MS: i64 = 45_000;

/// How long a robot may be told that a job was taken from it.
const RECALL_MS: i64 = 600_000;

impl Spec {
    pub(super) fn new(robots: usize, now: i64) -> Self {
        let robot = Robot { facts: Vec::new(), lives: vec![false], trust: Trust::InService };
        Self {
            commands: Vec::new(),
            jobs: Vec::new(),
            now,
            placed: BTreeSet::new(),
            robots: vec![robot; robots],
        }
    }

    pub(super) fn create(&mut self, robot: usize, published: bool) -> Result<(), Refusal> {
        if !published {
            return Err(Refusal::Skill);
        }
        self.jobs.push(Job {
            access: None,
            approved: Vec::new(),
            beat: None,
            heard: None,
            still: None,
            facts: vec![("JOB_CREATED".to_owned(), false, None)],
            life: Life::Created,
            grants: 0,
            needs: false,
            reviewed: false,
            progress: 0.0,
            robot,
            stage: false,
            start: None,
        });
        Ok(())
    }

    /// The server states an event that may move the job.
    pub(super) fn state(&mut self, job: usize, event: &'static str) -> Result<(), Refusal> {
        let it = &mut self.jobs[job];
        match it.life.step(event) {
            Step::Refused => return Err(Refusal::State),
            Step::Beside => {}
            Step::To(life) => it.moves(life),
        }
        match event {
            "RESCHEDULED" => (it.access, it.start, it.reviewed) = (None, None, false),
            "APPROVAL_REVOKED" | "APPROVAL_EXPIRED" => {
                it.approved.clear();
                if it.life == Life::Booked {
                    it.start = None;
                }
            }
            _ => {}
        }
        it.facts.push((event.to_owned(), false, None));
        Ok(())
    }

    pub(super) fn dispatch(&mut self, job: usize) -> Result<(), Refusal> {
        let robot = self.jobs[job].robot;
        if self.jobs[job].access.is_some_and(|(until, _)| self.now >= until) {
            return Err(Refusal::Access);
        }
        let it = &self.jobs[job];
        let over = it.approved_until().is_some_and(|until| self.now >= until);
        if over || ((it.needs || it.reviewed) && it.approved.is_empty()) {
            return Err(Refusal::Approval);
        }
        if !self.robots[robot].trust.permits("start_job") {
            return Err(Refusal::Barred);
        }
        for event in ["MATCHED", "SKILL_LICENSED", "RESERVED"] {
            self.state(job, event)?;
        }
        self.tell_right(job);
        self.jobs[job].start = Some(self.commands.len());
        self.tell(robot, job, "start_job", TTL_MS);
        Ok(())
    }

    pub(super) fn cancel(&mut self, job: usize, ttl: i64) -> Result<(), Refusal> {
        self.state(job, "CANCELLED")?;
        self.recall(job, ttl);
        Ok(())
    }

    /// Who was given the job is told to give it up.
    fn recall(&mut self, job: usize, ttl: i64) {
        let robot = self.jobs[job].robot;
        if self.jobs[job].start.is_some() && self.robots[robot].trust.permits("cancel_job") {
            self.tell(robot, job, "cancel_job", ttl);
        }
    }

    pub(super) fn reschedule(&mut self, job: usize, robot: usize) -> Result<(), Refusal> {
        let (start, before) = (self.jobs[job].start, self.jobs[job].robot);
        self.state(job, "RESCHEDULED")?;
        if let Some(start) = start {
            let fate = &mut self.commands[start].fate;
            if *fate == Fate::Sent {
                *fate = Fate::Refused;
            }
            if self.robots[before].trust.permits("cancel_job") {
                self.tell(before, job, "cancel_job", TTL_MS);
            }
        }
        if robot != before {
            self.jobs[job].approved.clear();
        }
        self.jobs[job].robot = robot;
        Ok(())
    }

    pub(super) fn pause(&mut self, job: usize) -> Result<(), Refusal> {
        self.state(job, "EXECUTION_STALLED")?;
        let (robot, since) = (self.jobs[job].robot, self.now);
        self.jobs[job].still = Some(Still { called: false, paused: true, since });
        if self.robots[robot].trust.permits("pause_job") {
            self.tell(robot, job, "pause_job", TTL_MS);
        }
        Ok(())
    }

    pub(super) fn resume(&mut self, job: usize) -> Result<(), Refusal> {
        if self.jobs[job].still.is_none_or(|still| !still.paused) {
            return Err(Refusal::State);
        }
        let robot = self.jobs[job].robot;
        if !self.robots[robot].trust.permits("resume_job") {
            return Err(Refusal::Barred);
        }
        self.tell(robot, job, "resume_job", TTL_MS);
        Ok(())
    }

    pub(super) fn give_access(
        &mut self,
        job: usize,
        until: i64,
        revocable: bool,
        reviewed: bool,
    ) -> Result<(), Refusal> {
        let it = &mut self.jobs[job];
        if it.life.is_over() || it.life == Life::SafeExit {
            return Err(Refusal::State);
        }
        (it.access, it.reviewed) = (Some((until, revocable)), reviewed);
        it.facts.push(("ACCESS_PLAN_ISSUED".to_owned(), false, None));
        if it.start.is_some() {
            self.tell_window(job);
        }
        Ok(())
    }

    pub(super) fn approve(
        &mut self,
        job: usize,
        by: u8,
        until: Option<i64>,
        of_it: bool,
    ) -> Result<(), Refusal> {
        let it = &mut self.jobs[job];
        if it.life.is_over() || it.life == Life::SafeExit {
            return Err(Refusal::State);
        }
        if !of_it || it.grants >= MOST_GRANTS {
            return Err(Refusal::Approval);
        }
        it.needs = true;
        it.grants += 1;
        it.approved.retain(|(who, _)| *who != by);
        // The newest last.
        it.approved.push((by, until));
        it.facts.push(("APPROVAL_GRANTED".to_owned(), false, None));
        if it.start.is_some() {
            self.tell_right(job);
        }
        Ok(())
    }

    pub(super) fn disapprove(&mut self, job: usize) -> Result<(), Refusal> {
        if self.jobs[job].approved.is_empty() {
            return Err(Refusal::Approval);
        }
        self.lose_approval(job, "APPROVAL_REVOKED")
    }

    /// Whatever was given out is called back.
    fn lose_approval(&mut self, job: usize, event: &'static str) -> Result<(), Refusal> {
        let start = self.jobs[job].start;
        self.state(job, event)?;
        if let Some(start) = start {
            let waits = self.jobs[job].life == Life::Booked;
            if waits && self.commands[start].fate == Fate::Sent {
                self.commands[start].fate = Fate::Refused;
            }
            let robot = self.jobs[job].robot;
            if self.robots[robot].trust.permits("cancel_job") {
                self.tell(robot, job, "cancel_job", LONG_MS);
            }
        }
        Ok(())
    }

    fn tell_window(&mut self, job: usize) {
        let it = &self.jobs[job];
        let (robot, any) = (it.robot, it.access.is_some() || it.approved_until().is_some());
        if any && self.robots[robot].trust.permits("plan_access") {
            self.tell(robot, job, "plan_access", LONG_MS);
        }
    }

    /// Its window, and who approved it.
    fn tell_right(&mut self, job: usize) {
        self.tell_window(job);
        let robot = self.jobs[job].robot;
        if self.robots[robot].trust.permits("review_job") {
            for _ in 0..self.jobs[job].approved.len() {
                self.tell(robot, job, "review_job", LONG_MS);
            }
        }
    }

    pub(super) fn revoke_access(&mut self, job: usize) -> Result<(), Refusal> {
        if self.jobs[job].access.is_none_or(|(_, revocable)| !revocable) {
            return Err(Refusal::Access);
        }
        self.state(job, "ACCESS_REVOKED")?;
        self.recall(job, LONG_MS);
        Ok(())
    }

    /// What time brings, for all jobs.
    pub(super) fn watch(&mut self) {
        for job in 0..self.jobs.len() {
            let it = &self.jobs[job];
            let access = it.access.filter(|_| !it.life.is_over() && it.life != Life::SafeExit);
            let ends = !it.life.is_over() && it.life != Life::SafeExit;
            let approved = it.approved_until().filter(|_| ends);
            let works = matches!(it.life, Life::Executing | Life::Assisted);
            if access.is_some_and(|(until, _)| self.now >= until) {
                // The table takes these: what was asked for stands above.
                let _ = self.state(job, "ACCESS_EXPIRED");
                self.recall(job, LONG_MS);
            } else if approved.is_some_and(|until| self.now >= until) {
                let _ = self.lose_approval(job, "APPROVAL_EXPIRED");
            } else if works && self.now - it.heard.unwrap_or(self.now) >= STALLED_AFTER_MS {
                let _ = self.state(job, "EXECUTION_STALLED");
                let since = self.now;
                self.jobs[job].still = Some(Still { called: false, paused: false, since });
            } else if let Some(still) = it.still
                && !still.paused
                && !still.called
                && self.now - still.since >= CALLED_AFTER_MS
            {
                let _ = self.state(job, "INCIDENT_REPORTED");
                self.jobs[job].still = Some(Still { called: true, ..still });
            }
        }
    }

    pub(super) fn stand(&mut self, robot: usize, to: Trust) -> Result<(), Refusal> {
        let it = &mut self.robots[robot];
        if it.trust == to {
            return Ok(());
        }
        if it.trust == Trust::Revoked {
            return Err(Refusal::Barred);
        }
        if to == Trust::Revoked
            && let Some(last) = it.lives.last_mut()
        {
            *last = true;
        }
        it.trust = to;
        it.facts.push((to.event().to_owned(), false, None));
        for at in 0..self.commands.len() {
            let Command { ask, expires_at, fate, job, robot: of } = self.commands[at];
            let waits = of == robot && fate == Fate::Sent && expires_at > self.now;
            if !waits || to.permits(ask) {
                continue;
            }
            self.commands[at].fate = Fate::Refused;
            if ask != "start_job" || self.jobs[job].life != Life::Reserved {
                continue;
            }
            self.start_refused(at);
            if to.permits("cancel_job") {
                self.tell(robot, job, "cancel_job", RECALL_MS);
            }
        }
        if to == Trust::Quarantined {
            for job in 0..self.jobs.len() {
                if self.jobs[job].robot == robot && self.jobs[job].life.is_under_way() {
                    self.cancel(job, RECALL_MS)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn enrol(&mut self, robot: usize) {
        let it = &mut self.robots[robot];
        it.lives.push(false);
        if it.trust == Trust::Revoked {
            it.trust = Trust::InService;
            it.facts.push(("ROBOT_RESTORED".to_owned(), false, None));
        }
    }

    /// Whether a robot is let in by the key of one of its lives.
    pub(super) fn admits(&self, robot: usize, life: usize) -> bool {
        let it = &self.robots[robot];
        it.trust != Trust::Revoked && life + 1 == it.lives.len() && !it.lives[life]
    }

    /// A record of a robot's journal comes for the first time.
    pub(super) fn take(&mut self, robot: usize, word: &Word) {
        match word {
            Word::Accepted(command) => {
                if self.commands[*command].robot == robot {
                    self.commands[*command].fate = Fate::Accepted;
                }
            }
            Word::Refused(command) => {
                let it = &mut self.commands[*command];
                if it.robot != robot {
                    return;
                }
                if it.fate == Fate::Sent {
                    it.fate = Fate::Refused;
                }
                self.start_refused(*command);
            }
            Word::Fact(said) => self.take_fact(robot, said),
        }
    }

    fn take_fact(&mut self, robot: usize, said: &Said) {
        let Said { beat, genuine, job, kind, name, place } = said;
        let may = BY_ROBOTS.contains(kind) || *kind == "EXECUTION_RESUMED";
        if !genuine || !may || self.placed.contains(name) {
            return;
        }
        self.placed.insert(name.clone());
        let job = job.filter(|job| self.jobs[*job].robot == robot);
        let Some(job) = job else {
            self.robots[robot].facts.push(((*kind).to_owned(), false, Some(name.clone())));
            return;
        };
        let it = &mut self.jobs[job];
        let step = it.life.step(kind);
        let mut newer = false;
        if *kind == "HEARTBEAT" {
            newer = it.beat.is_none_or(|(life, count)| life != place.0 || count < place.1);
            if newer {
                it.beat = Some(*place);
            }
        }
        let ends_silence = newer && it.still.is_some_and(|still| !still.paused);
        match step {
            Step::To(life) => it.moves(life),
            Step::Beside => {
                if let Some((progress, stage)) = beat
                    && (0.0..=1.0).contains(progress)
                    && !it.life.is_over()
                {
                    (it.progress, it.stage) = (*progress, *stage);
                }
            }
            Step::Refused => {}
        }
        it.facts.push(((*kind).to_owned(), step == Step::Refused, Some(name.clone())));
        if step != Step::Refused && !it.life.is_over() {
            it.heard = Some(self.now);
        }
        if ends_silence {
            // A job that stands still takes it.
            let _ = self.state(job, "EXECUTION_RESUMED");
        }
    }

    /// What follows from a start that the robot will not make.
    fn start_refused(&mut self, command: usize) {
        let Command { fate, job, .. } = self.commands[command];
        let it = &self.jobs[job];
        if fate == Fate::Refused && it.life == Life::Reserved && it.start == Some(command) {
            // The table takes it: the job waits.
            let _ = self.state(job, "RESCHEDULED");
        }
    }

    fn tell(&mut self, robot: usize, job: usize, ask: &'static str, ttl: i64) {
        let expires_at = self.now + ttl;
        self.commands.push(Command { ask, expires_at, fate: Fate::Sent, job, robot });
    }
}

impl Job {
    /// When the first of its approvals ends.
    fn approved_until(&self) -> Option<i64> {
        self.approved.iter().filter_map(|(_, until)| *until).min()
    }

    fn moves(&mut self, life: Life) {
        if self.life == Life::Stalled {
            self.still = None;
        }
        self.life = life;
        if life == Life::Completed {
            self.progress = 1.0;
        }
        if life.is_over() && life != Life::Settled {
            self.stage = false;
        }
    }
}
