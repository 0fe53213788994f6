//! What the tests share: guests built once, bundles signed with a key of the test, a robot
//! of pure kinematics.
#![allow(dead_code)] // Each test binary uses its part.

mod guests;

pub(crate) use guests::{component, template};

use nooterra_protocol::geometry::{Point, Pose, Twist, wrap_angle};
use nooterra_protocol::observation::{Battery, Observation, Scan, Timed};
use nooterra_protocol::skill::Capability;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{Bundle, Keys, Ports, Request, TrustedKeys, keygen, pack, sign};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};

/// A key of this test run.
pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| keygen(None).unwrap())
}

pub(crate) fn trusted() -> TrustedKeys {
    TrustedKeys::from_texts([&keys().public]).unwrap()
}

pub(crate) fn signature(bytes: &[u8]) -> String {
    sign(bytes, &keys().secret, None, "a test").unwrap()
}

/// Signs whatever it is given and has it verified.
pub(crate) fn verify_signed(bytes: &[u8]) -> Result<Bundle, nooterra_skill_host::BundleError> {
    Bundle::verify(bytes, &signature(bytes), &trusted())
}

/// An example skill as a verified bundle; `edit` changes the manifest first.
pub(crate) fn bundle_with(name: &str, edit: impl Fn(&mut serde_json::Value)) -> Bundle {
    let mut manifest = serde_json::from_str(&template(name)).unwrap();
    edit(&mut manifest);
    verify_signed(&pack(&manifest.to_string(), &component(name)).unwrap()).unwrap()
}

pub(crate) fn bundle(name: &str) -> Bundle {
    bundle_with(name, |_| {})
}

pub(crate) fn everything() -> BTreeSet<Capability> {
    use Capability::{Assist, Camera, Checkpoint, Drive, Evidence, Joints, Log, Scan};
    BTreeSet::from([Assist, Camera, Checkpoint, Drive, Evidence, Joints, Log, Scan])
}

/// What came through the ports.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) assists: Vec<String>,
    pub(crate) checkpoints: Vec<String>,
    pub(crate) evidence: Vec<(String, String, Vec<u8>)>,
    pub(crate) lines: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) restarts: Vec<String>,
    pub(crate) states: Vec<Vec<u8>>,
}

/// Ports that write down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listening(pub(crate) Arc<Mutex<Heard>>);

impl Listening {
    pub(crate) fn heard(&self) -> Heard {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn ports(&self) -> Box<dyn Ports + Send> {
        Box::new(self.clone())
    }
}

impl Ports for Listening {
    fn assist(&mut self, reason: &str) {
        self.0.lock().unwrap().assists.push(reason.to_owned());
    }
    fn checkpoint(&mut self, name: &str) {
        self.0.lock().unwrap().checkpoints.push(name.to_owned());
    }
    fn evidence(&mut self, name: &str, media_type: &str, bytes: &[u8]) {
        let piece = (name.to_owned(), media_type.to_owned(), bytes.to_vec());
        self.0.lock().unwrap().evidence.push(piece);
    }
    fn log(&mut self, text: &str) {
        self.0.lock().unwrap().lines.push(text.to_owned());
    }
    fn note(&mut self, text: &str) {
        self.0.lock().unwrap().notes.push(text.to_owned());
    }
    fn restarted(&mut self, why: &str) {
        self.0.lock().unwrap().restarts.push(why.to_owned());
    }
    fn suspended(&mut self, state: &[u8]) {
        self.0.lock().unwrap().states.push(state.to_vec());
    }
}

/// A base that does at once what it is asked, up to 1 m/s and 1 rad/s, in a square room whose
/// walls are 10 m from the origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Toy {
    pub(crate) dock: Pose,
    pub(crate) now_ns: u64,
    pub(crate) pose: Pose,
    pub(crate) twist: Twist,
}

pub(crate) const PERIOD_S: f64 = 0.1;

impl Toy {
    pub(crate) fn docked_at(x: f64, y: f64, yaw: f64) -> Self {
        let dock = Pose { x, y, yaw };
        Self { dock, now_ns: 0, pose: dock, twist: Twist::ZERO }
    }

    pub(crate) fn at(&self) -> MonoNanos {
        MonoNanos(self.now_ns)
    }

    pub(crate) fn seen(&self) -> Observation {
        let at = self.at();
        let docked =
            self.twist == Twist::ZERO && self.pose.point().distance(self.dock.point()) < 0.1;
        let beams = 36_u8;
        let step = std::f64::consts::TAU / f64::from(beams);
        Observation {
            battery: Some(Timed {
                at,
                value: Battery { charging: docked, fraction: 0.8, volts: 25.1 },
            }),
            docked,
            emergency_stop: false,
            gripper: false,
            joints: None,
            pose: Timed { at, value: self.pose },
            scan: Some(Timed {
                at,
                value: Scan {
                    angle_min: 0.0,
                    angle_step: step,
                    range_max: 30.0,
                    ranges: (0..beams)
                        .map(|i| self.wall(self.pose.yaw + f64::from(i) * step))
                        .collect(),
                },
            }),
            twist: Timed { at, value: self.twist },
        }
    }

    #[allow(clippy::cast_possible_truncation)] // A range of a few metres.
    fn wall(&self, towards: f64) -> f32 {
        let (sin, cos) = towards.sin_cos();
        let x = (10.0_f64.copysign(cos) - self.pose.x) / cos;
        let y = (10.0_f64.copysign(sin) - self.pose.y) / sin;
        x.min(y) as f32
    }

    pub(crate) fn apply(&mut self, request: &Request) {
        let wish = match *request {
            Request::Drive(twist) => twist,
            Request::GoTo { speed_mps, to, yaw } => self.towards(to, yaw, speed_mps),
            // It has no arm.
            Request::Gripper { .. } | Request::Joints { .. } | Request::Idle | Request::Stop => {
                Twist::ZERO
            }
        };
        self.twist = Twist::new(wish.linear.clamp(-1.0, 1.0), wish.angular.clamp(-1.0, 1.0));
        self.pose.yaw = wrap_angle(self.pose.yaw + self.twist.angular * PERIOD_S);
        self.pose.x += self.twist.linear * PERIOD_S * self.pose.yaw.cos();
        self.pose.y += self.twist.linear * PERIOD_S * self.pose.yaw.sin();
        self.now_ns += 100_000_000;
    }

    fn towards(&self, to: Point, yaw: Option<f64>, speed_mps: f64) -> Twist {
        let left = self.pose.point().distance(to);
        if left < 0.1 {
            let error = yaw.map_or(0.0, |yaw| wrap_angle(yaw - self.pose.yaw));
            return Twist::new(0.0, error * 2.0);
        }
        let error = wrap_angle((to.y - self.pose.y).atan2(to.x - self.pose.x) - self.pose.yaw);
        let linear = if error.abs() < 0.3 { speed_mps.min(left * 2.0) } else { 0.0 };
        Twist::new(linear, error * 3.0)
    }
}
