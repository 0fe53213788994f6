//! A gate is not built from a document that nobody signed.
use nooterra_policy::Gate;
use nooterra_protocol::policy::PolicyDocument;

fn gate(document: &PolicyDocument) -> Gate {
    Gate::new(document)
}

fn main() {
    let _ = gate;
}
