//! A gated command cannot be cloned.
use nooterra_policy::Gated;
use nooterra_protocol::command::Command;

fn twice(gated: &Gated<Command>) -> Gated<Command> {
    gated.clone()
}

fn main() {
    let _ = twice;
}
