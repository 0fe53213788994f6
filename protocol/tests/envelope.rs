//! What a signature covers, and what a robot refuses although it is genuine.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

use coset::{CborSerializable as _, CoseSign1};
use nooterra_protocol::codec;
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::envelope::{Refusal, Signable, Signed, SignedError};
use nooterra_protocol::event::{
    Actor, ActorKind, EventType, Fact, FactError, Heartbeat, Statement,
};
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, JournalId, RobotId};
use nooterra_protocol::keys::{Ed25519Key, Es256Key, Signer, VerifyingKey};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const NOW: WallMillis = WallMillis(1_795_000_000_000);

fn cloud() -> Ed25519Key {
    Ed25519Key::from_seed([1; 32])
}

fn robot() -> RobotId {
    RobotId::new("amr-1").unwrap()
}

fn command() -> RemoteCommand {
    RemoteCommand {
        audience: robot(),
        body: Ask::EmergencyStop { reason: "drill".to_owned() },
        expires_at: WallMillis(NOW.0 + 5_000),
        id: EnvelopeId::new("env_1").unwrap(),
        issued_at: NOW,
        issuer: ActorId::new("operator-1").unwrap(),
        v: 1,
    }
}

fn verify(bytes: &[u8], key: &VerifyingKey) -> Result<Signed<RemoteCommand>, SignedError> {
    Signed::verify(bytes, |id| (id == key.key_id()).then_some(key))
}

fn fact(signer: &dyn Signer, kind: EventType, actor: ActorKind) -> Signed<Fact> {
    let statement = Statement {
        actor: &Actor { id: ActorId::new("amr-1").unwrap(), kind: actor },
        actor_seq: 7,
        at: Stamp { mono: MonoNanos(5), trust: ClockTrust::Network, wall: NOW },
        job: Some(&JobId::new("job-1").unwrap()),
        journal: &JournalId::new("j1").unwrap(),
        kind,
    };
    let beat = Heartbeat { assist_requested: false, progress: 0.5, stage: None };
    Fact::sign(&statement, &beat, signer).unwrap()
}

#[test]
fn a_signed_object_comes_back_as_it_was() {
    let signed = Signed::sign(command(), &cloud()).unwrap();
    let again = verify(signed.bytes(), &cloud().verifying_key()).unwrap();
    assert_eq!(again.body(), &command());
    assert_eq!(again.digest(), signed.digest());
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct OfAnySize(String);

impl Signable for OfAnySize {
    const CONTENT_TYPE: &'static str = "nooterra/of-any-size+cbor;v=1";
}

/// Lengths are written in one to five bytes; [`CoseSign1`] knows nothing of how we write them.
#[test]
fn an_object_of_any_size_is_cose_to_the_byte() {
    let key = cloud();
    for around in [0, 24, 256, 65_536] {
        for size in usize::saturating_sub(around, 8)..around + 8 {
            let signed = Signed::sign(OfAnySize("x".repeat(size)), &key).unwrap();
            let bytes = signed.bytes();
            let cose = CoseSign1::from_slice(bytes).unwrap();
            assert_eq!(cose.clone().to_vec().unwrap(), bytes, "{size}");
            let public = key.verifying_key();
            cose.verify_signature(&[], |signature, message| {
                if public.verifies(message, signature) { Ok(()) } else { Err(size) }
            })
            .unwrap();
            let again = Signed::<OfAnySize>::verify(bytes, |_| Some(&public)).unwrap();
            assert_eq!(again.body(), signed.body());
        }
    }
}

#[test]
fn a_strangers_signature_is_refused() {
    let signed = Signed::sign(command(), &Ed25519Key::from_seed([2; 32])).unwrap();
    let error = verify(signed.bytes(), &cloud().verifying_key()).unwrap_err();
    assert!(matches!(error, SignedError::UnknownKey(_)), "{error}");
}

#[test]
fn a_signature_over_one_kind_is_not_valid_for_another() {
    let signer = Es256Key::from_seed([3; 32]).unwrap();
    let signed = fact(&signer, EventType::Heartbeat, ActorKind::Robot);
    let error = verify(signed.bytes(), &signer.verifying_key()).unwrap_err();
    assert!(matches!(error, SignedError::ContentType { .. }), "{error}");
}

proptest! {
    #[test]
    fn a_changed_byte_anywhere_is_noticed(at in any::<usize>(), flip in 1_u8..) {
        let signed = Signed::sign(command(), &cloud()).unwrap();
        let mut bytes = signed.bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        prop_assert!(verify(&bytes, &cloud().verifying_key()).is_err(), "byte {at} was changed");
    }

    #[test]
    fn no_bytes_make_the_verifier_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = verify(&bytes, &cloud().verifying_key());
    }
}

#[test]
fn a_genuine_command_is_refused_for_the_wrong_robot_or_time() {
    let check = |change: fn(&mut RemoteCommand)| {
        let mut command = command();
        change(&mut command);
        command.check(&robot(), NOW)
    };
    assert_eq!(check(|_| {}), Ok(()));
    assert!(matches!(
        check(|c| c.audience = RobotId::new("amr-2").unwrap()),
        Err(Refusal::Audience(_))
    ));
    assert_eq!(check(|c| c.expires_at = NOW), Err(Refusal::Expired(0)));
    assert_eq!(check(|c| c.v = 2), Err(Refusal::Version(2)));
    assert!(matches!(
        check(|c| c.issued_at = WallMillis(NOW.0 + 31_000)),
        Err(Refusal::FromTheFuture(31_000))
    ));
    assert!(matches!(
        check(|c| c.expires_at = WallMillis(NOW.0 + 25 * 3_600_000)),
        Err(Refusal::TooLong(_))
    ));
}

#[test]
fn times_at_the_ends_of_the_scale_do_not_overflow() {
    let mut command = command();
    (command.issued_at, command.expires_at) = (WallMillis(i64::MIN), WallMillis(i64::MAX));
    assert!(command.check(&robot(), NOW).is_err());
}

#[test]
fn a_fact_whose_parts_do_not_fit_is_refused() {
    let signer = Es256Key::from_seed([3; 32]).unwrap();
    let good = fact(&signer, EventType::Heartbeat, ActorKind::Robot).into_body();
    good.check().unwrap();
    let with = |change: fn(&mut Fact)| {
        let mut fact = good.clone();
        change(&mut fact);
        fact.check()
    };
    assert!(matches!(with(|f| f.actor_seq = 8), Err(FactError::Id)));
    assert!(matches!(with(|f| f.payload = codec::Value::Null), Err(FactError::PayloadHash)));
    assert!(matches!(with(|f| f.kind = EventType::Booked), Err(FactError::Signer { .. })));
    assert!(matches!(with(|f| f.v = 9), Err(FactError::Version(9))));
}
