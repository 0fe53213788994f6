//! Does what no skill should, one thing per action. The tests of the sandbox run it.

use std::cell::RefCell;

wit_bindgen::generate!({ path: "../../../skill-host/wit", world: "skill" });

use nooterra::skill::types::{Destination, Point, Progress, Refusal, Twist};
use nooterra::skill::{checkpoint, evidence, log};

thread_local! {
    static ACTION: RefCell<String> = const { RefCell::new(String::new()) };
    static HELD: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

struct Misbehave;

impl Guest for Misbehave {
    fn init(action: String, _params: Vec<(String, Param)>) -> Result<(), String> {
        match action.as_str() {
            "spin-init" => spin(),
            "refuse" => return Err("no such waypoint".to_owned()),
            _ => {}
        }
        ACTION.set(action);
        Ok(())
    }

    fn step(seen: Observation) -> (Request, Status) {
        let action = ACTION.with_borrow(Clone::clone);
        match action.as_str() {
            "spin" => spin(),
            // Never returns, because it is never told that there is no more.
            "grow" => HELD.with_borrow_mut(|held| {
                loop {
                    held.push(vec![1; 1 << 16]);
                }
            }),
            "recurse" => drop(recurse(seen.at_nanos)),
            "trap" => panic!("on purpose"),
            "nan" => {
                return (
                    Request::Drive(Twist { linear: f64::NAN, angular: f64::INFINITY }),
                    under_way(f64::NAN),
                );
            }
            "flood" => loop {
                log::line("again\nand again");
            },
            "attach" => return (Request::Idle, attach()),
            "names" => return (Request::Idle, names()),
            "drive" => {
                let to = Point { x: 1.0, y: 1.0 };
                return (
                    Request::GoTo(Destination { to, yaw: None, speed_mps: 1.0 }),
                    under_way(0.5),
                );
            }
            "rant" => return (Request::Idle, Status::Failed("x".repeat(1 << 20))),
            "note" => {
                let note = "é".repeat(1000);
                return (Request::Idle, Status::Running(Progress { fraction: 7.0, note }));
            }
            "done" => return (Request::Stop, Status::Done),
            _ => {}
        }
        (Request::Idle, under_way(0.0))
    }
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

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(recurse(std::hint::black_box(depth.wrapping_add(1)))).wrapping_add(1)
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
        checkpoint::reached("fine"),
    ];
    match verdicts {
        [
            Err(Refusal::Name),
            Err(Refusal::Name),
            Err(Refusal::Name),
            Err(Refusal::Name),
            Ok(()),
        ] => Status::Done,
        other => Status::Failed(format!("{other:?}")),
    }
}

export!(Misbehave);
