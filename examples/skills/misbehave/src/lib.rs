//! Does what no skill should, one thing per action. The tests of the sandbox run it.
//!
//! It is written against the bare bindings: what the SDK would not let it do is the point.

use std::cell::{Cell, RefCell};

use nooterra_skill::bindings::nooterra::skill::{assist, checkpoint, evidence, log};
use nooterra_skill::bindings::{Guest, export};
use nooterra_skill::types::{
    Destination, Observation, Param, Point, Progress, Refusal, Request, Status, Twist,
};

thread_local! {
    static ACTION: RefCell<String> = const { RefCell::new(String::new()) };
    static HELD: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    /// Counts the steps, and is the state.
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

struct Misbehave;

impl Guest for Misbehave {
    fn init(action: String, _params: Vec<(String, Param)>) -> Result<(), String> {
        match action.as_str() {
            "grow-init" => grow(),
            "refuse" => return Err("no such waypoint".to_owned()),
            "spin-init" => spin(),
            "trap-init" => panic!("on purpose"),
            _ => {}
        }
        ACTION.set(action);
        Ok(())
    }

    fn step(seen: Observation) -> (Request, Status) {
        let steps = STEPS.get() + 1;
        STEPS.set(steps);
        let action = ACTION.with_borrow(Clone::clone);
        let request = match action.as_str() {
            // As fast as can be said, one way and the other.
            "alternate" => {
                let linear = if steps.is_multiple_of(2) { f64::MAX } else { f64::MIN };
                Request::Drive(Twist { linear, angular: -linear })
            }
            "assist-flood" => return (Request::Idle, refusals(|| assist::request("help"))),
            "attach" => return (Request::Idle, attach()),
            // Each line is a moment in which time may pass.
            "chatter" | "late" => {
                (0..10).for_each(|_| log::line("and another thing"));
                Request::Idle
            }
            "checkpoint-flood" => return (Request::Idle, refusals(|| checkpoint::reached("a"))),
            "control-characters" => {
                let _ = assist::request("a\u{1b}[2Jb");
                log::line("[agent] a\u{1b}[2Jb");
                return (Request::Idle, Status::Failed("a\r\n\u{1b}[2Jb\u{9b}c\u{202e}d".into()));
            }
            "done" => return (Request::Stop, Status::Done),
            "drive" => {
                let to = Point { x: 1.0, y: 1.0 };
                Request::GoTo(Destination { to, yaw: None, speed_mps: 1.0 })
            }
            "evidence-flood" => {
                let bytes = vec![7; 60 * 1024];
                let attach = || evidence::attach("a", "application/octet-stream", &bytes);
                let _ = attach();
                Request::Idle
            }
            "flood" => loop {
                log::line("again\nand again");
            },
            "grow" => grow(),
            // What a step may say, in every step.
            "line-flood" => {
                (0..60).for_each(|_| log::line("again and again"));
                Request::Idle
            }
            "line-huge" => {
                log::line(&"x".repeat(1 << 20));
                Request::Idle
            }
            "name-huge" => {
                let _ = checkpoint::reached(&"x".repeat(1 << 20));
                Request::Idle
            }
            "names" => return (Request::Idle, names()),
            "nan" => {
                let request = Request::Drive(Twist { linear: f64::NAN, angular: f64::INFINITY });
                return (request, under_way(f64::NAN));
            }
            "note" => {
                let note = "é".repeat(1000);
                return (Request::Idle, Status::Running(Progress { fraction: 7.0, note }));
            }
            "rant" => return (Request::Idle, Status::Failed("x".repeat(1 << 20))),
            "recurse" => {
                recurse(seen.at_nanos);
                Request::Idle
            }
            "spin" => spin(),
            "spin-once" if steps == 3 => spin(),
            "toil" => toil(),
            "trap" => panic!("on purpose"),
            "vast" => {
                let to = Point { x: f64::MAX, y: -f64::MAX };
                Request::GoTo(Destination { to, yaw: Some(f64::MAX), speed_mps: f64::MAX })
            }
            _ => Request::Idle,
        };
        (request, Status::Running(Progress { fraction: 0.5, note: format!("step {steps}") }))
    }

    fn suspend() -> Vec<u8> {
        let action = ACTION.with_borrow(Clone::clone);
        match action.as_str() {
            "forget" => return Vec::new(),
            "state-huge" => return vec![7; 1 << 20],
            "state-large" => return vec![7; 16 * 1024 + 1],
            "suspend-calls" => log::line("now"),
            "suspend-spin" => spin(),
            "suspend-trap" => panic!("on purpose"),
            _ => {}
        }
        STEPS.get().to_le_bytes().to_vec()
    }

    fn resume(state: Vec<u8>) -> Result<(), String> {
        match ACTION.with_borrow(Clone::clone).as_str() {
            "resume-refuse" => return Err("I was somebody else".to_owned()),
            "resume-spin" => spin(),
            "resume-trap" => panic!("on purpose"),
            _ => {}
        }
        let state = state.try_into().map_err(|_| "that is no state of mine".to_owned())?;
        // The step that hung is not tried again.
        STEPS.set(u64::from_le_bytes(state) + u64::from(is("spin-once")));
        log::line(&format!("on from {}", u64::from_le_bytes(state)));
        Ok(())
    }
}

fn is(action: &str) -> bool {
    ACTION.with_borrow(|current| current == action)
}

fn under_way(fraction: f64) -> Status {
    Status::Running(Progress { fraction, note: String::new() })
}

/// The counter keeps the loop from being optimised into a trap.
fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// Some milliseconds of any processor's time.
fn toil() -> Request {
    for turn in 0..5_000_000_u64 {
        std::hint::black_box(turn);
    }
    Request::Idle
}

/// Never returns, because it is never told that there is no more.
fn grow() -> ! {
    HELD.with_borrow_mut(|held| {
        loop {
            held.push(vec![1; 1 << 16]);
        }
    })
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(recurse(std::hint::black_box(depth.wrapping_add(1)))).wrapping_add(1)
}

/// Says how many of a step's calls were refused as too many.
fn refusals(mut call: impl FnMut() -> Result<(), Refusal>) -> Status {
    let refused = (0..60).filter(|_| call() == Err(Refusal::TooOften)).count();
    Status::Running(Progress { fraction: 0.0, note: format!("{refused} refused") })
}

/// Too much at once, half of what a step may attach, twice, then a byte more.
fn attach() -> Status {
    let half = vec![7; 32 * 1024];
    let verdicts = [
        evidence::attach("0", "application/octet-stream", &vec![7; 64 * 1024 + 1]),
        evidence::attach("a", "application/octet-stream", &half),
        evidence::attach("b", "application/octet-stream", &half),
        evidence::attach("c", "application/octet-stream", &[7]),
    ];
    match verdicts {
        [Err(Refusal::TooLarge), Ok(()), Ok(()), Err(Refusal::TooLarge)] => Status::Done,
        other => Status::Failed(format!("{other:?}")),
    }
}

fn names() -> Status {
    let verdicts = [
        checkpoint::reached(""),
        checkpoint::reached("../../etc/passwd\n"),
        checkpoint::reached(&"x".repeat(1 << 10)),
        evidence::attach("a", "text/html; <script>", b"x"),
        assist::request(""),
        assist::request(&"x".repeat(257)),
        checkpoint::reached("fine"),
    ];
    match verdicts {
        [
            Err(Refusal::Name),
            Err(Refusal::Name),
            Err(Refusal::Name),
            Err(Refusal::Name),
            Err(Refusal::Name),
            Err(Refusal::Name),
            Ok(()),
        ] => Status::Done,
        other => Status::Failed(format!("{other:?}")),
    }
}

export!(Misbehave with_types_in nooterra_skill::bindings);
