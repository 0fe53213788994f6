//! What a shadow gives holds no command for a robot.
use nooterra_policy::{Gated, Inputs, Shadow};
use nooterra_protocol::command::Command;

fn command(shadow: &mut Shadow, inputs: &Inputs) -> Gated<Command> {
    shadow.judge(inputs).allowed
}

fn main() {
    let _ = command;
}
