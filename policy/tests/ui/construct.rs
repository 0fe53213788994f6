//! A gated command cannot be made by a function of the crate.
use nooterra_policy::Gated;
use nooterra_protocol::command::Command;
use nooterra_protocol::geometry::Twist;
use nooterra_protocol::ids::RobotId;
use std::sync::Arc;

fn main() {
    let robot = Arc::new(RobotId::new("amr-1").unwrap());
    let _ = Gated::new(Command::Drive(Twist::new(9.0, 0.0)), robot, 1);
}
