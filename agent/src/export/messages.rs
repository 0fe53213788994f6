//! What a record is to those who look at a drive: the messages of an export.
//!
//! The same record gives the same bytes each time: whoever verifies an export makes them again.

use super::cdr::Cdr;
use super::schema::Topic;
use nooterra_blackbox::Record;
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::command::{Asked, Command, PerJoint};
use nooterra_protocol::entry::{Entry, Sample, Verdict};
use nooterra_protocol::event::{EventType, Fact};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::observation::JointStates;
use nooterra_protocol::time::ClockTrust;
use serde::Serialize;
use serde_json::Value;

/// Of `rcl_interfaces/Log`.
const INFO: u8 = 20;
const WARN: u8 = 30;
const ERROR: u8 = 40;

/// A message about a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) data: Vec<u8>,
    /// The record.
    pub(super) seq: u64,
    /// When it was logged, and published.
    pub(super) time_ns: u64,
    pub(super) topic: Topic,
}

/// All messages about a record, in order.
pub(super) fn of(record: &Record) -> Vec<Message> {
    let mut about = About { messages: Vec::new(), record };
    about.all();
    about.messages
}

/// The number of a message: it only tells messages of a topic apart, the whole number of the
/// record is in the message.
pub(super) fn sequence(seq: u64) -> u32 {
    u32::try_from(seq & 0xffff_ffff).unwrap_or_default()
}

/// What is said of a record so far.
struct About<'a> {
    messages: Vec<Message>,
    record: &'a Record,
}

impl About<'_> {
    fn put(&mut self, topic: Topic, data: Vec<u8>) {
        let (seq, time_ns) = (self.record.seq, wall_ns(self.record));
        self.messages.push(Message { data, seq, time_ns, topic });
    }

    fn all(&mut self) {
        match self.record.entry() {
            Ok(Some(Entry::Sample(sample))) => self.sample(&sample),
            Ok(Some(Entry::Verdict(verdict))) => self.verdict(&verdict),
            Ok(Some(Entry::Stop(stop))) => {
                let profile = word(&stop.profile);
                let data = own(self.record).text(&profile).text(&stop.reason).end();
                self.put(Topic::Stops, data);
                self.line(ERROR, "stop", &format!("{profile}: {}", stop.reason));
            }
            Ok(Some(Entry::Fact(bytes))) => match danger_unverified::<Fact>(&bytes.0) {
                Ok(fact) => self.fact(&fact),
                Err(_) => self.other(),
            },
            Ok(Some(Entry::SkillLog(log))) => {
                // An export leaves the robot, and what is private does not.
                let message = log.message.get().map_or("(private)", String::as_str);
                self.line(INFO, log.skill.as_str(), message);
                self.other();
            }
            _ => self.other(),
        }
    }

    fn sample(&mut self, sample: &Sample) {
        let at = wall_ns(self.record);
        let Pose { x, y, yaw } = sample.pose;
        // The system's own are of another last digit on another machine.
        let (sin, cos) = libm::sincos(yaw / 2.0);
        let motion = [sample.twist.linear, 0.0, 0.0, 0.0, 0.0, sample.twist.angular];
        let unknown = [0.0; 36];
        let data = Cdr::new().header(at, "map").text("base_link");
        let data = data.f64s(&[x, y, 0.0, 0.0, 0.0, sin, cos]).f64s(&unknown);
        self.put(Topic::Odometry, data.f64s(&motion).f64s(&unknown).end());
        let data = Cdr::new().u32(1).header(at, "map").text("base_link");
        let data = data.f64s(&[x, y, 0.0, 0.0, 0.0, sin, cos]);
        self.put(Topic::Transforms, data.end());
        if let Some(twist) = twist(&Asked::from(sample.allowed)) {
            let data = Cdr::new().header(at, frame(&sample.allowed)).f64s(&twist);
            self.put(Topic::Allowed, data.end());
        }
        if let Some(twist) = twist(&sample.asked) {
            let data = Cdr::new().header(at, frame(&sample.allowed)).f64s(&twist);
            self.put(Topic::Asked, data.end());
        }
        if let Some(JointStates { effort, position, velocity }) = &sample.joints {
            self.joints(Topic::JointStates, [position, velocity, effort].map(PerJoint::as_slice));
        }
        self.joint_commands(&sample.allowed, &sample.asked);
        let data = own(self.record).text(&word(&sample.source)).f64(sample.limit_mps);
        self.put(Topic::Samples, data.f64(sample.battery.unwrap_or(f64::NAN)).end());
    }

    /// What was let through and what was asked, where that is of an arm.
    fn joint_commands(&mut self, allowed: &Command, asked: &Asked) {
        if let Command::Joints(allowed) = allowed {
            self.joints(Topic::JointsAllowed, [&[], allowed.joints.as_slice(), &[]]);
        }
        if let Asked::Joints { joints } = asked {
            let asked = joints.map(|velocity| velocity.unwrap_or(f64::NAN));
            self.joints(Topic::JointsAsked, [&[], asked.as_slice(), &[]]);
        }
    }

    /// Of each joint, base first: positions, velocities and efforts, or none of these.
    fn joints(&mut self, topic: Topic, of_each: [&[f64]; 3]) {
        let count = of_each.iter().map(|numbers| numbers.len()).max().unwrap_or_default();
        // The journal knows them by their place.
        let data = Cdr::new().header(wall_ns(self.record), "base_link");
        let data = data.u32(u32::try_from(count).unwrap_or(u32::MAX));
        let data = (1..=count).fold(data, |data, nth| data.text(&format!("joint_{nth}")));
        self.put(topic, of_each.iter().fold(data, |data, numbers| data.sequence(numbers)).end());
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let text = |text: Option<String>| text.unwrap_or_default();
        let zone = text(verdict.zone.as_ref().map(ToString::to_string));
        let (phase, source) = (word(&verdict.phase), word(&verdict.source));
        let data = own(self.record)
            .text(verdict.rule.name())
            .text(&phase)
            .text(&source)
            .text(&zone)
            .text(&text(verdict.job.as_ref().map(ToString::to_string)))
            .text(&text(verdict.command.as_ref().map(ToString::to_string)))
            .u64(verdict.tick)
            .f64(verdict.limit)
            .text(verdict.rule.unit())
            .f64(verdict.asked.forward_mps().unwrap_or(f64::NAN))
            .f64(verdict.asked.turning_radps().unwrap_or(f64::NAN))
            .f64(verdict.allowed.forward_mps())
            .f64(verdict.allowed.turning_radps())
            .f64s(&[verdict.pose.x, verdict.pose.y, verdict.pose.yaw]);
        self.put(Topic::Verdicts, data.end());
        self.joint_commands(&verdict.allowed, &verdict.asked);
        let zone = if zone.is_empty() { zone } else { format!(" ({zone})") };
        let said = format!("{}{zone} {phase}, asked by {source}", verdict.rule);
        self.line(WARN, "gate", &said);
    }

    fn fact(&mut self, fact: &Fact) {
        let is_incident =
            matches!(fact.kind, EventType::IncidentDetected | EventType::IncidentReported);
        let payload = serde_json::to_value(&fact.payload).unwrap_or(Value::Null).to_string();
        let job = fact.job.as_ref().map(ToString::to_string).unwrap_or_default();
        let data = own(self.record)
            .text(fact.kind.name())
            .text(&job)
            .text(fact.actor.id.as_str())
            .u64(fact.actor_seq)
            .text(&payload);
        let topic = if is_incident { Topic::Incidents } else { Topic::Facts };
        self.put(topic, data.end());
        let level = if is_incident { ERROR } else { INFO };
        self.line(level, "fact", &format!("{} {job}", fact.kind));
    }

    /// Any record, its body as JSON.
    fn other(&mut self) {
        let record = self.record;
        let body = match record.entry() {
            Ok(Some(entry)) => serde_json::to_value(entry)
                .ok()
                .and_then(|value| value.get("body").cloned())
                .unwrap_or(Value::Null),
            _ => serde_json::to_value(&record.body).unwrap_or(Value::Null),
        };
        let data = own(record)
            .u64(record.boot)
            .text(record.class.name())
            .text(&record.kind)
            .text(&body.to_string());
        self.put(Topic::Records, data.end());
    }

    /// A line of the log that people read beside the picture.
    fn line(&mut self, level: u8, name: &str, said: &str) {
        let at = wall_ns(self.record);
        let seconds = u32::try_from(at / 1_000_000_000).unwrap_or(u32::MAX);
        let nanos = u32::try_from(at % 1_000_000_000).unwrap_or_default();
        let data = Cdr::new().u32(seconds).u32(nanos).u8(level).text(name).text(said);
        self.put(Topic::Log, data.text("").text("").u32(0).end());
    }
}

/// What every message of our own begins with.
fn own(record: &Record) -> Cdr {
    Cdr::new().header(wall_ns(record), "map").u64(record.seq).text(trust(record))
}

/// Nanoseconds since 1970; a clock that was never set may be before.
fn wall_ns(record: &Record) -> u64 {
    u64::try_from(record.stamp.wall.0).unwrap_or_default().saturating_mul(1_000_000)
}

/// How far the wall clock of a record can be believed.
pub(super) const fn trust(record: &Record) -> &'static str {
    match record.stamp.trust {
        ClockTrust::Cloud => "cloud",
        ClockTrust::Network => "network",
        ClockTrust::Untrusted => "untrusted",
    }
}

/// An enum's name as on the wire.
fn word<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or("?").to_owned()
}

/// A command as a twist, NaN where the wish was no number; `None` where it is no such thing.
fn twist(asked: &Asked) -> Option<[f64; 6]> {
    let number = |part: Option<f64>| part.unwrap_or(f64::NAN);
    match *asked {
        // The turn follows from the wheelbase, which is not in the record.
        Asked::Ackermann { speed_mps, .. } => Some([number(speed_mps), 0.0, 0.0, 0.0, 0.0, 0.0]),
        Asked::Drive { angular, linear } => {
            Some([number(linear), 0.0, 0.0, 0.0, 0.0, number(angular)])
        }
        Asked::Fly { x, y, yaw_rate, z } => {
            Some([number(x), number(y), number(z), 0.0, 0.0, number(yaw_rate)])
        }
        Asked::Joints { .. } => None,
        Asked::Omni { angular, x, y } => {
            Some([number(x), number(y), 0.0, 0.0, 0.0, number(angular)])
        }
    }
}

/// What flies is commanded along the map's axes, everything else along its own.
const fn frame(command: &Command) -> &'static str {
    match command {
        Command::Fly(_) => "map",
        _ => "base_link",
    }
}
