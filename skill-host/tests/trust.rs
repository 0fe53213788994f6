//! Whose signatures count, what was revoked, and what a robot does that was away for long.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::time::WallMillis;
use nooterra_protocol::trust::{Carried, Marks};
use nooterra_skill_host::{
    Back, Bundle, DistrustError, Keys, Now, Origin, SignatureError, Standing, Trust, TrustError,
    TrustedKeys, keygen, pack, sign, without_document,
};
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
const NAMES: [&str; 9] =
    ["root-1", "root-2", "root-3", "revoker", "acme", "bolt", "lab-1", "lab-2", "lab-3"];

/// The keys of this test run.
fn key(name: &str) -> &'static Keys {
    static KEYS: OnceLock<Vec<Keys>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| NAMES.map(|_| keygen(None).unwrap()).into());
    &keys[NAMES.iter().position(|known| *known == name).unwrap()]
}

fn line(name: &str) -> &'static str {
    key(name).public.lines().nth(1).unwrap()
}

fn id(name: &str) -> String {
    TrustedKeys::new().add(&key(name).public).unwrap().to_string()
}

fn signed(bytes: &[u8], by: &[&str]) -> String {
    by.iter().map(|name| sign(bytes, &key(name).secret, None, "a test").unwrap()).collect()
}

fn carried(json: &Value, by: &[&str]) -> Carried {
    let bytes = serde_json::to_vec_pretty(json).unwrap();
    let signatures = signed(&bytes, by);
    Carried { bytes: Blob(bytes), signatures }
}

fn at(text: &str) -> Now {
    Now { trusted: true, wall: WallMillis::from_rfc3339(text).unwrap() }
}

fn today() -> Now {
    at("2026-11-21T12:00:00Z")
}

fn later(days: u32) -> Now {
    Now { trusted: true, wall: today().wall.plus(DAY * days) }
}

fn document(version: u32) -> Value {
    let keys: Vec<Value> =
        NAMES.iter().map(|name| json!({ "name": name, "key": line(name) })).collect();
    json!({
        "type": "nooterra/skill-trust", "v": 1, "fleet": "hall", "version": version,
        "issued": "2026-11-01T00:00:00Z", "expires": "2027-11-01T00:00:00Z", "keys": keys,
        "roots": { "keys": ["root-1", "root-2", "root-3"], "threshold": 2 },
        "revokers": { "keys": ["revoker"], "threshold": 1 },
        "tiers": {
            "dev": { "developers": { "keys": ["acme", "bolt"], "threshold": 1 } },
            "field_cert": {
                "developers": { "keys": ["acme"], "threshold": 1 },
                "certifiers": { "keys": ["lab-1", "lab-2", "lab-3"], "threshold": 2 },
            },
        },
    })
}

fn list(version: u32) -> Value {
    json!({
        "type": "nooterra/skill-revocations", "v": 1, "fleet": "hall", "version": version,
        "issued": "2026-11-20T00:00:00Z", "expires": "2026-12-20T00:00:00Z",
    })
}

fn first(json: &Value, by: &[&str]) -> Result<Trust, TrustError> {
    let carried = carried(json, by);
    let pinned = Digest::of(&carried.bytes.0);
    Trust::first(carried, pinned, today())
}

/// A document and an empty list.
fn trust() -> Trust {
    let trust = first(&document(1), &["root-1", "root-2"]).unwrap();
    revoking(&trust, &list(1)).unwrap()
}

fn revoking(trust: &Trust, list: &Value) -> Result<Trust, TrustError> {
    trust.revoking(carried(list, &["revoker"]), Back::Never, today())
}

fn next(trust: &Trust, json: &Value, by: &[&str]) -> Result<Trust, TrustError> {
    trust.succeeded_by(carried(json, by), Back::Never, today())
}

/// Not much of a component, and enough for everything that is checked here.
const COMPONENT: &[u8] = b"\0asm\x0d\x00\x01\x00";

fn bundle(tier: &str, version: &str) -> Vec<u8> {
    let manifest = json!({
        "actions": ["go"], "capabilities": [], "developer": "Acme", "id": "patrol",
        "licence": "MIT", "memory_mib": 4, "name": "Patrol", "period_ms": 100, "tier": tier,
        "v": 1, "version": version, "wit": nooterra_protocol::skill::WIT,
    });
    pack(&manifest.to_string(), COMPONENT).unwrap()
}

fn taken(trust: &Trust, bundle: &[u8], by: &[&str]) -> Result<Bundle, DistrustError> {
    trust.bundle(bundle, &signed(bundle, by), Origin::New, &Marks::default(), today())
}

fn refusal<T: std::fmt::Debug, E: std::error::Error>(result: Result<T, E>, part: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(part), "{part}: {error}");
}

#[test]
fn a_tier_needs_the_signatures_that_the_document_asks_for() {
    let (trust, dev, field) = (trust(), bundle("dev", "1.0.0"), bundle("field_cert", "1.0.0"));
    assert_eq!(taken(&trust, &dev, &["bolt"]).unwrap().signers().len(), 1);
    let enough = taken(&trust, &field, &["lab-2", "acme", "lab-1"]).unwrap();
    assert_eq!(enough.signed_by().to_string(), id("acme"), "the developer comes first");
    assert_eq!(enough.signers().len(), 3);
    for (by, part) in [
        (&["acme"][..], "field_cert needs 2 of the certifiers, 0 signed"),
        (&["acme", "lab-1"], "field_cert needs 2 of the certifiers, 1 signed"),
        (&["lab-1", "lab-2"], "no developer whom the trust document names"),
        (&["bolt", "lab-1", "lab-2"], "field_cert needs 1 of the developers, 0 signed"),
        (&["acme", "root-1", "root-2"], "field_cert needs 2 of the certifiers, 0 signed"),
        (&["root-1"], "no developer whom the trust document names"),
    ] {
        refusal(taken(&trust, &field, by), part);
    }
    refusal(taken(&trust, &bundle("lab_cert", "1.0.0"), &["acme"]), "no skills of tier lab_cert");
    let twice = taken(&trust, &field, &["acme", "lab-1", "lab-1"]);
    refusal(twice, "two signatures by");
}

#[test]
fn a_signature_that_is_not_over_the_bundle_spoils_it_and_a_strangers_counts_for_nothing() {
    let (trust, field) = (trust(), bundle("field_cert", "1.0.0"));
    let good = signed(&field, &["acme", "lab-1"]);
    let spoiled = good.clone() + &signed(b"other bytes", &["lab-2"]);
    let marks = Marks::default();
    let check = |text: &str| trust.bundle(&field, text, Origin::New, &marks, today());
    refusal(check(&spoiled), "not over these bytes");
    let stranger = keygen(None).unwrap();
    let foreign = sign(&field, &stranger.secret, None, "").unwrap();
    let stranger = TrustedKeys::new().add(&stranger.public).unwrap();
    refusal(check(&(good.clone() + &foreign)), &format!("{stranger} is not in the trust document"));
    let all = good + &foreign + &signed(&field, &["lab-2"]);
    assert_eq!(check(&all).unwrap().signers().len(), 3);
}

#[test]
fn without_a_document_a_key_of_the_folder_vouches_for_dev_alone() {
    let keys = TrustedKeys::from_texts([&key("acme").public]).unwrap();
    let check = |tier| {
        let bundle = bundle(tier, "1.0.0");
        without_document(&bundle, &signed(&bundle, &["acme"]), &keys)
    };
    check("dev").unwrap();
    refusal(check("lab_cert"), "its tier is lab_cert");
    refusal(check("field_cert"), "trust install FILE --first");
}

#[test]
fn the_first_document_is_the_one_whose_hash_was_named_and_signed_by_its_own_roots() {
    let good = carried(&document(1), &["root-1", "root-3"]);
    let other = Trust::first(good.clone(), Digest::of(b"another"), today());
    assert!(matches!(other, Err(TrustError::Pinned { .. })));
    for by in [&["root-1"][..], &["root-1", "acme"], &[]] {
        assert!(first(&document(1), by).is_err(), "{by:?}");
    }
    let mut changed = good;
    let text = String::from_utf8(changed.bytes.0).unwrap();
    changed.bytes = Blob(text.replace("\"threshold\": 2", "\"threshold\": 1").into_bytes());
    let pinned = Digest::of(&changed.bytes.0);
    refusal(Trust::first(changed, pinned, today()), "not over these bytes");
}

#[test]
fn one_key_under_two_names_does_not_count_twice() {
    let mut forged = document(1);
    forged["keys"][1]["key"] = line("root-1").into();
    refusal(first(&forged, &["root-1"]), "root-1 and root-2 are the same key");
    // The id that a key goes by is not part of what it signs with.
    let text = line("root-1");
    let other_id = text.replace(&text[3..8], "AAAAA");
    forged["keys"][1]["key"] = other_id.into();
    refusal(first(&forged, &["root-1"]), "root-1 and root-2 are the same key");
}

#[test]
fn the_next_document_needs_the_roots_of_the_old_one_and_its_own() {
    let trust = trust();
    let rotated = |version| {
        let mut next = document(version);
        next["roots"] = json!({ "keys": ["lab-1", "lab-2"], "threshold": 2 });
        next
    };
    refusal(next(&trust, &rotated(2), &["lab-1", "lab-2"]), "2 roots of the document in force");
    refusal(next(&trust, &rotated(2), &["root-1", "lab-1", "lab-2"]), "in force, 1 signed");
    refusal(
        next(&trust, &rotated(2), &["root-1", "root-2", "lab-1"]),
        "of its own roots, 1 signed",
    );
    let second = next(&trust, &rotated(2), &["root-1", "root-2", "lab-1", "lab-2"]).unwrap();
    assert_eq!(second.list().unwrap().version, 1, "the list stays");
    assert_eq!(second.standing(today()), Standing::Fresh);
    // From now on the old roots have nothing to say.
    refusal(next(&second, &document(3), &["root-1", "root-2"]), "2 roots of the document in force");
    let third = ["lab-1", "lab-2", "root-1", "root-2"];
    next(&second, &document(3), &third).unwrap();
}

#[test]
fn nothing_goes_back_to_an_older_version_unless_an_operator_permits_it() {
    let roots = ["root-1", "root-2"];
    let second = next(&trust(), &document(2), &roots).unwrap();
    let older = next(&second, &document(1), &roots);
    assert!(matches!(older, Err(TrustError::Older { found: 1, newest: 2, .. })), "{older:?}");
    let mut differs = document(2);
    differs["expires"] = "2027-10-01T00:00:00Z".into();
    refusal(next(&second, &differs, &roots), "sign the change as version 3");
    next(&second, &document(2), &roots).unwrap();
    let back = second.succeeded_by(carried(&document(1), &roots), Back::Permitted, today());
    assert_eq!(back.unwrap().document().version, 1);
    let seventh = revoking(&second, &list(7)).unwrap();
    refusal(revoking(&seventh, &list(6)), "version 6 is older than 7");
    let back = seventh.revoking(carried(&list(6), &["revoker"]), Back::Permitted, today());
    assert_eq!(back.unwrap().list().unwrap().version, 6);
    // What is permitted is to go back, not to do without signatures.
    let unsigned = seventh.revoking(carried(&list(6), &["acme"]), Back::Permitted, today());
    refusal(unsigned, "needs the signatures of 1 revokers");
}

#[test]
fn a_skill_does_not_go_back_to_an_older_version_unless_an_operator_permits_it() {
    let (trust, patrol) = (trust(), SkillId::new("patrol").unwrap());
    let (old, new) = (bundle("dev", "1.0.0"), bundle("dev", "1.1.0"));
    let mut marks = Marks::default();
    marks.taken(&patrol, "1.1.0");
    let check = |bytes: &[u8], origin, marks: &Marks| {
        trust.bundle(bytes, &signed(bytes, &["acme"]), origin, marks, today())
    };
    for origin in [Origin::Kept, Origin::New] {
        refusal(check(&old, origin, &marks), "trust permit patrol 1.0.0");
        check(&new, origin, &marks).unwrap();
    }
    assert!(marks.permit(&patrol, "1.0.0"));
    check(&old, Origin::Kept, &marks).unwrap();
}

#[test]
fn what_was_revoked_does_not_run_also_where_the_robot_has_it() {
    let (trust, dev) = (trust(), bundle("dev", "1.0.0"));
    let check = |more: Value, by: &[&str]| {
        let mut revoked = list(2);
        revoked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let trust = revoking(&trust, &revoked).unwrap();
        trust.bundle(&dev, &signed(&dev, by), Origin::Kept, &Marks::default(), today())
    };
    let key = json!({ "keys": [{ "key": id("acme"), "reason": "a lost laptop" }] });
    refusal(check(key.clone(), &["acme"]), &format!("{} was revoked: a lost laptop", id("acme")));
    // Another developer's signature is enough for this tier.
    check(key, &["acme", "bolt"]).unwrap();
    let bundles = json!({ "bundles": [{ "bundle": Digest::of(&dev), "reason": "spins" }] });
    refusal(check(bundles, &["acme"]), "this bundle was revoked: spins");
    let versions =
        json!({ "versions": [{ "skill": "patrol", "below": "1.0.1", "reason": "old" }] });
    refusal(check(versions, &["acme"]), "patrol 1.0.0 was revoked: old");
    let lower = id("bolt").to_lowercase();
    let key = json!({ "keys": [{ "key": lower, "reason": "gone" }] });
    refusal(check(key, &["bolt"]), "was revoked: gone");
}

#[test]
fn a_revoked_certifier_no_longer_counts_towards_the_threshold() {
    let field = bundle("field_cert", "1.0.0");
    let mut revoked = list(2);
    revoked["keys"] = json!([{ "key": id("lab-1"), "reason": "closed" }]);
    let trust = revoking(&trust(), &revoked).unwrap();
    let refused = taken(&trust, &field, &["acme", "lab-1", "lab-2"]);
    refusal(refused, &format!("1 signed; {} was revoked: closed", id("lab-1")));
    taken(&trust, &field, &["acme", "lab-1", "lab-2", "lab-3"]).unwrap();
}

#[test]
fn what_runs_is_asked_again_when_something_was_revoked() {
    let (trust, field) = (trust(), bundle("field_cert", "1.0.0"));
    let running = taken(&trust, &field, &["acme", "lab-1", "lab-2", "lab-3"]).unwrap();
    let revoked = |more: Value| {
        let mut revoked = list(2);
        revoked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        revoking(&trust, &revoked).unwrap().still_takes(&running)
    };
    trust.still_takes(&running).unwrap();
    let gone = |name| json!({ "key": id(name), "reason": "closed" });
    revoked(json!({ "keys": [gone("lab-1")] })).unwrap();
    refusal(revoked(json!({ "keys": [gone("lab-1"), gone("lab-3")] })), "2 of the certifiers");
    let bundles = json!({ "bundles": [{ "bundle": Digest::of(&field), "reason": "spins" }] });
    refusal(revoked(bundles), "spins");
}

#[test]
fn a_robot_that_was_offline_for_two_months_works_on_and_takes_nothing_new() {
    let mut revoked = list(2);
    revoked["versions"] = json!([{ "skill": "patrol", "version": "0.9.0", "reason": "old" }]);
    let (trust, dev) = (revoking(&trust(), &revoked).unwrap(), bundle("dev", "1.0.0"));
    let check = |trust: &Trust, bytes: &[u8], origin, now| {
        trust.bundle(bytes, &signed(bytes, &["acme"]), origin, &Marks::default(), now)
    };
    check(&trust, &dev, Origin::New, later(28)).unwrap();
    for days in [29, 60, 3000] {
        check(&trust, &dev, Origin::Kept, later(days)).unwrap();
        let refused = check(&trust, &dev, Origin::New, later(days)).unwrap_err();
        assert!(matches!(refused, DistrustError::Stale(_)), "{days}: {refused}");
    }
    assert!(matches!(trust.standing(later(60)), Standing::ListExpired(_)));
    assert!(matches!(trust.standing(later(3000)), Standing::DocumentExpired(_)));
    // What was revoked stays so.
    let old = bundle("dev", "0.9.0");
    refusal(check(&trust, &old, Origin::Kept, later(60)), "was revoked: old");
    // The news of two months: a document in between that has long expired, then the next.
    let roots = ["root-1", "root-2"];
    let mut between = document(2);
    between["expires"] = "2026-12-01T00:00:00Z".into();
    let between = trust.succeeded_by(carried(&between, &roots), Back::Never, later(60)).unwrap();
    assert!(matches!(between.standing(later(60)), Standing::DocumentExpired(_)));
    let now = between.succeeded_by(carried(&document(3), &roots), Back::Never, later(60)).unwrap();
    let mut newest = list(9);
    newest["expires"] = "2027-02-20T00:00:00Z".into();
    let now = now.revoking(carried(&newest, &["revoker"]), Back::Never, later(60)).unwrap();
    assert_eq!(now.standing(later(60)), Standing::Fresh);
    check(&now, &dev, Origin::New, later(60)).unwrap();
}

#[test]
fn a_clock_that_nobody_set_decides_nothing_for_ever() {
    let (trust, dev) = (trust(), bundle("dev", "1.0.0"));
    let unset = |text| Now { trusted: false, ..at(text) };
    for moment in ["1970-01-01T00:00:00Z", "2026-11-21T12:00:00Z", "2099-01-01T00:00:00Z"] {
        let check = |origin| {
            let signatures = signed(&dev, &["acme"]);
            trust.bundle(&dev, &signatures, origin, &Marks::default(), unset(moment))
        };
        check(Origin::Kept).unwrap();
        refusal(check(Origin::New), "the clock was not set");
        // What its signers say is news, whatever the clock says.
        let roots = ["root-1", "root-2"];
        let news = trust.succeeded_by(carried(&document(2), &roots), Back::Never, unset(moment));
        let list = carried(&list(2), &["revoker"]);
        let news = news.unwrap().revoking(list, Back::Never, unset(moment)).unwrap();
        assert_eq!(news.standing(today()), Standing::Fresh);
    }
    // A clock that was set knows what lies ahead.
    let mut ahead = list(2);
    ahead["issued"] = "2026-11-23T12:00:00Z".into();
    refusal(revoking(&trust, &ahead), "lies ahead");
}

#[test]
fn a_revokers_key_in_wrong_hands_is_answered_by_a_document_with_another() {
    // The thief revokes everything, in a list that no later one can follow.
    let mut theft = list(u32::MAX);
    theft["keys"] = json!([{ "key": id("acme"), "reason": "gotcha" }]);
    let (stolen, dev) = (revoking(&trust(), &theft).unwrap(), bundle("dev", "1.0.0"));
    assert!(revoking(&stolen, &list(2)).is_err());
    let mut other = document(2);
    other["revokers"]["keys"] = json!(["lab-3"]);
    let rid = next(&stolen, &other, &["root-1", "root-2"]).unwrap();
    // Until the new revokers speak, the list at hand counts for what it revokes and no more.
    assert_eq!(rid.standing(today()), Standing::ListMissing);
    assert!(!rid.list_holds() && rid.revokers() != stolen.revokers());
    refusal(taken(&rid, &dev, &["acme"]), "was revoked: gotcha");
    refusal(revoking(&rid, &list(3)), "needs the signatures of 1 revokers");
    let spoken = rid.revoking(carried(&list(1), &["lab-3"]), Back::Never, today()).unwrap();
    taken(&spoken, &dev, &["acme"]).unwrap();
}

#[test]
fn without_a_list_nothing_new_is_taken_unless_the_document_names_no_revokers() {
    let bare = first(&document(1), &["root-1", "root-2"]).unwrap();
    let dev = bundle("dev", "1.0.0");
    refusal(taken(&bare, &dev, &["acme"]), "there is no revocation list");
    let mut alone = document(1);
    alone.as_object_mut().unwrap().remove("revokers");
    let alone = first(&alone, &["root-1", "root-2"]).unwrap();
    taken(&alone, &dev, &["acme"]).unwrap();
    assert!(matches!(revoking(&alone, &list(1)), Err(TrustError::NoRevokers)));
}

#[test]
fn what_is_for_other_robots_or_of_another_kind_is_refused() {
    let trust = trust();
    let mut foreign = list(2);
    foreign["fleet"] = "yard".into();
    refusal(revoking(&trust, &foreign), "is for fleet yard, this robot is of hall");
    let mut foreign = document(2);
    foreign["fleet"] = "yard".into();
    refusal(next(&trust, &foreign, &["root-1", "root-2"]), "is for fleet yard");
    // A list never passes for a document, nor a document for a list.
    assert!(next(&trust, &list(2), &["root-1", "root-2"]).is_err());
    assert!(revoking(&trust, &document(2)).is_err());
    let large = Carried { bytes: Blob(vec![b' '; 300_000]), signatures: String::new() };
    let refused = trust.revoking(large, Back::Never, today());
    assert!(matches!(refused, Err(TrustError::Signature { .. })), "unsigned is not even read");
}

#[test]
fn what_was_kept_is_read_back_and_what_was_altered_is_not() {
    let trust = trust();
    let (document, list) = (trust.carried().clone(), trust.carried_list().unwrap().clone());
    let again = Trust::kept(document.clone(), Some(list.clone())).unwrap();
    assert_eq!((again.digest(), again.list_digest()), (trust.digest(), trust.list_digest()));
    for (mut document, mut list, which) in
        [(document.clone(), list.clone(), 0), (document, list, 1)]
    {
        let bytes = if which == 0 { &mut document.bytes.0 } else { &mut list.bytes.0 };
        *bytes.last_mut().unwrap() = b' ';
        assert!(Trust::kept(document, Some(list)).is_err());
    }
}

/// Says that the running test shows nothing here: past the harness, which keeps to itself what
/// a test prints that passes; `cargo xtask test` counts these lines.
fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stdout(), "\nSKIPPED: {test}: {why}");
}

/// What the stock program signs, and what it says of what we sign.
#[test]
fn the_stock_minisign_signs_documents_lists_and_each_signature_of_a_bundle() {
    let minisign = |dir: &std::path::Path, args: &[&str]| {
        Command::new("minisign").current_dir(dir).args(args).output()
    };
    let here = std::env::temp_dir();
    if let Err(error) = minisign(&here, &["-v"]) {
        skipped(&format!("minisign: {error}; apt install minisign"));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = minisign(dir.path(), args).unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    };
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let mut keys = Vec::new();
    for name in ["root", "dev", "lab"] {
        run(&["-G", "-W", "-p", &format!("{name}.pub"), "-s", &format!("{name}.key")]);
        let line = read(&format!("{name}.pub")).lines().nth(1).unwrap().to_owned();
        keys.push(json!({ "name": name, "key": line }));
    }
    let one = |name: &str| json!({ "keys": [name], "threshold": 1 });
    let document = json!({
        "type": "nooterra/skill-trust", "v": 1, "fleet": "hall", "version": 1,
        "issued": "2026-11-01T00:00:00Z", "expires": "2027-11-01T00:00:00Z", "keys": keys,
        "roots": one("root"), "revokers": one("root"),
        "tiers": { "field_cert": { "developers": one("dev"), "certifiers": one("lab") } },
    });
    let sign_with = |file: &str, bytes: &[u8], by: &[&str]| {
        std::fs::write(dir.path().join(file), bytes).unwrap();
        let mut all = String::new();
        for name in by {
            let (signature, key) = (format!("{file}.{name}.minisig"), format!("{name}.key"));
            run(&["-S", "-m", file, "-s", &key, "-x", &signature]);
            run(&["-V", "-m", file, "-p", &format!("{name}.pub"), "-x", &signature]);
            all += &read(&signature);
        }
        all
    };
    let bytes = document.to_string().into_bytes();
    let carried =
        Carried { signatures: sign_with("trust.json", &bytes, &["root"]), bytes: Blob(bytes) };
    let pinned = Digest::of(&carried.bytes.0);
    let trust = Trust::first(carried, pinned, today()).unwrap();
    let bytes = list(1).to_string().into_bytes();
    let carried =
        Carried { signatures: sign_with("list.json", &bytes, &["root"]), bytes: Blob(bytes) };
    let trust = trust.revoking(carried, Back::Never, today()).unwrap();
    let field = bundle("field_cert", "1.0.0");
    let check = |text: &str| trust.bundle(&field, text, Origin::New, &Marks::default(), today());
    let both = sign_with("patrol.noot", &field, &["dev", "lab"]);
    assert_eq!(check(&both).unwrap().signers().len(), 2);
    refusal(check(&read("patrol.noot.dev.minisig")), "needs 1 of the certifiers");
    // The legacy format, which signs without hashing first, is refused by name.
    run(&["-S", "-l", "-m", "patrol.noot", "-s", "dev.key", "-x", "legacy.minisig"]);
    let legacy = check(&read("legacy.minisig")).unwrap_err();
    assert!(legacy.to_string().contains("legacy format"), "{legacy}");
    assert!(matches!(
        legacy,
        DistrustError::Bundle(nooterra_skill_host::BundleError::Signature(SignatureError::Legacy))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Signed as they are: what is wrong with them must be found behind the signatures.
    #[test]
    fn no_change_to_a_document_or_a_list_brings_its_reader_down(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
        which in any::<bool>(),
    ) {
        let json = if which { document(2) } else { list(2) };
        let mut bytes = serde_json::to_vec(&json).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut.index(8) == 0 {
            bytes.truncate(cut.index(bytes.len()));
        }
        let signatures = signed(&bytes, &["root-1", "root-2", "revoker"]);
        let carried = Carried { bytes: Blob(bytes), signatures };
        static TRUST: OnceLock<Trust> = OnceLock::new();
        let trust = TRUST.get_or_init(trust);
        let document = trust.succeeded_by(carried.clone(), Back::Never, today());
        let list = trust.revoking(carried, Back::Never, today());
        prop_assert!(document.is_err() || list.is_err());
    }

    /// Whatever set of signers: taken exactly where the thresholds are reached.
    #[test]
    fn a_bundle_is_taken_exactly_where_its_thresholds_are_reached(signers in 0_u32..512) {
        static CASE: OnceLock<(Trust, Vec<u8>, Vec<String>)> = OnceLock::new();
        let (trust, field, signatures) = CASE.get_or_init(|| {
            let field = bundle("field_cert", "1.0.0");
            let each = NAMES.map(|name| signed(&field, &[name]));
            (trust(), field, each.into())
        });
        let chosen = (0..NAMES.len()).filter(|at| signers & (1 << at) != 0);
        let text: String = chosen.clone().map(|at| signatures[at].as_str()).collect();
        let names: Vec<&str> = chosen.map(|at| NAMES[at]).collect();
        let labs = names.iter().filter(|name| name.starts_with("lab")).count();
        let result = trust.bundle(field, &text, Origin::New, &Marks::default(), today());
        prop_assert!(result.is_ok() == (names.contains(&"acme") && labs >= 2), "{names:?}");
    }
}
