//! A verified policy cannot be made without verifying.
use nooterra_policy::VerifiedPolicy;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::policy::PolicyDocument;

fn verified(signed: Signed<PolicyDocument>) -> VerifiedPolicy {
    VerifiedPolicy { signed, zone_ids: nothing(), zones: nothing() }
}

fn nothing<T>() -> T {
    unreachable!()
}

fn main() {
    let _ = verified;
}
