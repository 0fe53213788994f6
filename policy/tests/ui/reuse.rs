//! A gated command is used up by its use.
use nooterra_policy::Gated;
use nooterra_protocol::command::Command;
use nooterra_protocol::ids::RobotId;

fn twice(gated: Gated<Command>, robot: &RobotId) {
    let _ = gated.open(robot, 1);
    let _ = gated.open(robot, 1);
}

fn main() {
    let _ = twice;
}
