//! A gated command cannot be copied.
use nooterra_policy::Gated;
use nooterra_protocol::command::Command;

fn is_copy<T: Copy>() {}

fn main() {
    is_copy::<Gated<Command>>();
}
