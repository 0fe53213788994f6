//! A gated command cannot be read from bytes.
use nooterra_policy::Gated;
use nooterra_protocol::codec;
use nooterra_protocol::command::Command;

fn main() {
    let _: Gated<Command> = codec::from_slice(&[0xa0]).unwrap();
}
