//! A gated command cannot be written down.
use nooterra_policy::Gated;
use nooterra_protocol::command::Command;
use nooterra_protocol::geometry::Twist;
use nooterra_protocol::ids::RobotId;
use std::sync::Arc;

fn main() {
    let robot = Arc::new(RobotId::new("amr-1").unwrap());
    let command = Command::Drive(Twist::new(9.0, 0.0));
    let _ = Gated { command, robot, tick: 1 };
}
