//! The bill of materials: made from a lock file, carried in the bundle, checked by hash.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

mod common;

use common::{template, verify_signed};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::sbom::Document;
use nooterra_protocol::skill::SBOM_FILE;
use nooterra_skill_host::{
    Beside, BundleError, Licences, LockError, PackError, bill_of_materials, pack, pack_with,
};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const COMPONENT: &[u8] = b"\0asm\x0d\x00\x01\x00rest";

fn with(sbom: &[u8]) -> Beside<'_> {
    Beside { sbom: Some(sbom), ..Beside::default() }
}

/// The examples' own.
fn lock() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/skills/Cargo.lock");
    std::fs::read_to_string(path).unwrap()
}

fn licences() -> Licences {
    let lock: toml::Value = toml::from_str(&lock()).unwrap();
    let packages = lock["package"].as_array().unwrap();
    let of = |package: &toml::Value| {
        let text = |key: &str| package[key].as_str().unwrap().to_owned();
        let licence = if text("name") == "leb128fmt" { "MIT/Apache-2.0" } else { "MIT" };
        ((text("name"), text("version")), licence.to_owned())
    };
    packages.iter().map(of).filter(|((name, _), _)| name != "bitflags").collect()
}

fn bom(root: &str) -> Vec<u8> {
    bill_of_materials(&lock(), root, Digest::of(COMPONENT), &licences()).unwrap()
}

/// What the schema of CycloneDX 1.6 (`bom-1.6.schema.json`) requires of the keys that are used:
/// which must be there, that there are no others, their types, and what must be unique.
fn check_schema(bom: &Value) -> Result<(), String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let keys = |value: &Value, required: &[&str], optional: &[&str]| {
        let map = value.as_object().ok_or_else(|| format!("no object: {value}"))?;
        if let Some(key) = required.iter().find(|key| !map.contains_key(**key)) {
            return Err(format!("lacks {key}: {value}"));
        }
        let known = |key: &str| required.contains(&key) || optional.contains(&key);
        match map.keys().find(|key| !known(key)) {
            Some(key) => Err(format!("`{key}` is no key of it: {value}")),
            None => Ok(()),
        }
    };
    let list = |value: &Value| value.as_array().cloned().ok_or_else(|| format!("no list: {value}"));
    keys(
        bom,
        &["bomFormat", "specVersion"],
        &["$schema", "version", "metadata", "components", "dependencies"],
    )?;
    let schema = "http://cyclonedx.org/schema/bom-1.6.schema.json";
    if bom["bomFormat"] != "CycloneDX" || bom["specVersion"] != "1.6" || bom["$schema"] != schema {
        return Err("not CycloneDX 1.6".to_owned());
    }
    if bom["version"].as_u64().is_none_or(|version| version == 0) {
        return Err("`version` counts from 1".to_owned());
    }
    keys(&bom["metadata"], &[], &["component"])?;
    let (mut refs, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let components = list(&bom["components"])?;
    for component in components.iter().chain([&bom["metadata"]["component"]]) {
        let optional = ["bom-ref", "version", "hashes", "licenses", "purl"];
        keys(component, &["type", "name"], &optional)?;
        if !["application", "library"].contains(&component["type"].as_str().unwrap_or_default()) {
            return Err(format!("no type of component: {component}"));
        }
        text(&component["name"]).ok_or("a component without a name")?;
        let bom_ref = text(&component["bom-ref"]).ok_or("a component without bom-ref")?;
        if !refs.insert(bom_ref.clone()) {
            return Err(format!("`{bom_ref}` twice"));
        }
        // `uniqueItems` of `components`.
        if !seen.insert(component.to_string()) {
            return Err(format!("twice: {component}"));
        }
        for hash in component.get("hashes").map(list).transpose()?.unwrap_or_default() {
            keys(&hash, &["alg", "content"], &[])?;
            let content = text(&hash["content"]).unwrap_or_default();
            if hash["alg"] != "SHA-256"
                || content.len() != 64
                || !content.bytes().all(|byte| byte.is_ascii_hexdigit())
            {
                return Err(format!("no hash: {hash}"));
            }
        }
        let licences = component.get("licenses").map(list).transpose()?.unwrap_or_default();
        // Of expressions there is one at most, and nothing beside it.
        if licences.len() > 1 {
            return Err(format!("more than one expression: {component}"));
        }
        for licence in licences {
            keys(&licence, &["expression"], &["acknowledgement", "bom-ref"])?;
            text(&licence["expression"]).ok_or("an empty expression")?;
        }
        if component.get("purl").is_some_and(|purl| {
            !purl.as_str().is_some_and(|purl| purl.starts_with("pkg:cargo/") && purl.contains('@'))
        }) {
            return Err(format!("no purl: {component}"));
        }
    }
    let mut described = BTreeSet::new();
    for dependency in list(&bom["dependencies"])? {
        keys(&dependency, &["ref"], &["dependsOn"])?;
        let of = text(&dependency["ref"]).ok_or("a dependency without ref")?;
        let on = list(&dependency["dependsOn"])?;
        let unique: BTreeSet<_> = on.iter().filter_map(text).collect();
        if unique.len() != on.len() || !unique.is_subset(&refs) || !refs.contains(&of) {
            return Err(format!("no dependency: {dependency}"));
        }
        if !described.insert(of) {
            return Err(format!("described twice: {dependency}"));
        }
    }
    Ok(())
}

#[test]
fn a_lock_file_becomes_a_document_that_cyclonedx_takes() {
    let json: Value = serde_json::from_slice(&bom("survey")).unwrap();
    check_schema(&json).unwrap();
    let own = &json["metadata"]["component"];
    assert_eq!((&own["name"], &own["type"]), (&"survey".into(), &"application".into()));
    assert_eq!(own["hashes"][0]["content"], Digest::of(COMPONENT).to_string());
    let components = json["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|component| component["name"] == name);
    let bindgen = named("wit-bindgen").expect("it is what guests are made with");
    assert!(bindgen["purl"].as_str().unwrap().starts_with("pkg:cargo/wit-bindgen@0."));
    assert_eq!(bindgen["hashes"][0]["alg"], "SHA-256");
    let sdk = named("nooterra-skill").expect("the SDK");
    assert!(sdk.get("purl").is_none(), "it is not in any registry");
    assert_eq!(named("leb128fmt").unwrap()["licenses"][0]["expression"], "MIT OR Apache-2.0");
    assert!(named("bitflags").is_some_and(|it| it.get("licenses").is_none()), "none was stated");
    assert!(named("patrol").is_none() && named("survey").is_none(), "neither others nor itself");
    let summary = serde_json::from_value::<Document>(json.clone()).unwrap().summary().unwrap();
    assert_eq!((summary.components, summary.unknown), (components.len(), 1));
}

#[test]
fn the_check_finds_what_the_schema_forbids() {
    let good: Value = serde_json::from_slice(&bom("survey")).unwrap();
    let broken: [fn(&mut Value); 9] = [
        |bom| bom["specVersion"] = "1.7".into(),
        |bom| bom["version"] = 0.into(),
        |bom| bom["surprise"] = 1.into(),
        |bom| bom["components"][0]["name"] = "".into(),
        |bom| bom["components"][0]["type"] = "thing".into(),
        |bom| bom["components"][1]["bom-ref"] = bom["components"][0]["bom-ref"].clone(),
        |bom| bom["metadata"]["component"]["hashes"][0]["content"] = "12".into(),
        |bom| bom["dependencies"][0]["dependsOn"] = serde_json::json!(["nobody@1.0.0"]),
        |bom| bom["dependencies"][1]["ref"] = bom["dependencies"][0]["ref"].clone(),
    ];
    for (nth, change) in broken.into_iter().enumerate() {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(check_schema(&bad).is_err(), "change {nth} went unnoticed");
    }
}

#[test]
fn the_same_lock_gives_the_same_bytes_in_whatever_order_it_lists() {
    assert_eq!(bom("survey"), bom("survey"));
    let text = lock();
    let (head, packages) = text.split_once("[[package]]").unwrap();
    let mut packages: Vec<&str> = packages.split("[[package]]").collect();
    packages.reverse();
    let turned = packages.iter().map(|package| format!("\n[[package]]{package}"));
    let turned = format!("{head}{}", turned.collect::<String>());
    let again = bill_of_materials(&turned, "survey", Digest::of(COMPONENT), &licences()).unwrap();
    assert!(again == bom("survey"));
    assert!(!String::from_utf8(again).unwrap().contains("timestamp"));
}

#[test]
fn two_versions_of_a_crate_and_two_sources_are_told_apart() {
    let lock = r#"
        [[package]]
        name = "own"
        version = "1.0.0"
        dependencies = ["a 1.0.0", "a 2.0.0 (registry+https://github.com/rust-lang/crates.io-index)",
                        "a 2.0.0 (git+https://example.com/a#1234)"]
        [[package]]
        name = "a"
        version = "1.0.0"
        [[package]]
        name = "a"
        version = "2.0.0"
        source = "git+https://example.com/a#1234"
        [[package]]
        name = "a"
        version = "2.0.0"
        source = "registry+https://github.com/rust-lang/crates.io-index"
        checksum = "00000000000000000000000000000000000000000000000000000000000000aa"
        [[package]]
        name = "unused"
        version = "1.0.0""#;
    let bom = bill_of_materials(lock, "own", Digest::ZERO, &Licences::new()).unwrap();
    let bom: Value = serde_json::from_slice(&bom).unwrap();
    check_schema(&bom).unwrap();
    assert_eq!(bom["components"].as_array().unwrap().len(), 3);
    let own = &bom["dependencies"].as_array().unwrap().iter().find(|d| d["ref"] == "own@1.0.0");
    assert_eq!(own.unwrap()["dependsOn"].as_array().unwrap().len(), 3);
}

#[test]
fn a_lock_that_does_not_fit_its_skill_is_refused() {
    let of = |lock: &str, root: &str| bill_of_materials(lock, root, Digest::ZERO, &Licences::new());
    assert!(matches!(of(&lock(), "nobody"), Err(LockError::Root { found: 0, .. })));
    // Of a registry, so not the skill's own.
    assert!(matches!(of(&lock(), "bitflags"), Err(LockError::Root { found: 0, .. })));
    assert!(matches!(of("version = [", "a"), Err(LockError::Toml(_))));
    let dangling = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\"b\"]";
    assert!(matches!(of(dangling, "a"), Err(LockError::Dangling { .. })));
    assert!(matches!(of(&" ".repeat(5 << 20), "a"), Err(LockError::Large(_))));
}

#[test]
fn a_lock_that_names_one_long_thing_often_does_not_become_a_document_without_end() {
    let of = |crates: usize| {
        let mut lock =
            format!("[[package]]\nname = \"a\"\nversion = \"{}\"\n", "1".repeat(100_000));
        let on: Vec<_> = (0..crates).map(|nth| format!("\"c{nth}\"")).collect();
        let own = "[[package]]\nname = \"own\"\nversion = \"1.0.0\"\n";
        let _ = writeln!(lock, "{own}dependencies = [{}]", on.join(", "));
        for nth in 0..crates {
            let head = format!("[[package]]\nname = \"c{nth}\"\nversion = \"1.0.0\"\n");
            let _ = writeln!(lock, "{head}dependencies = [\"a\"]");
        }
        bill_of_materials(&lock, "own", Digest::ZERO, &Licences::new())
    };
    assert!(of(10).is_ok());
    assert!(matches!(of(30), Err(LockError::Bill)));
}

#[test]
fn a_bundle_carries_it_by_hash_and_one_without_it_is_taken_too() {
    let sbom = bom("survey");
    let packed = pack_with(&template("patrol"), COMPONENT, with(&sbom)).unwrap();
    assert!(packed == pack_with(&template("patrol"), COMPONENT, with(&sbom)).unwrap());
    let bundle = verify_signed(&packed).unwrap();
    assert_eq!(bundle.sbom(), Some(sbom.as_slice()));
    assert_eq!(bundle.manifest().sbom_sha256, Some(Digest::of(&sbom)));
    assert_eq!(bundle.component(), COMPONENT);
    let without = verify_signed(&pack(&template("patrol"), COMPONENT).unwrap()).unwrap();
    assert_eq!((without.sbom(), without.manifest().sbom_sha256), (None, None));
    // The manifest of a bundle that had one, packed anew without it.
    let manifest = serde_json::to_string(bundle.manifest()).unwrap();
    assert!(verify_signed(&pack(&manifest, COMPONENT).unwrap()).unwrap().sbom().is_none());
}

#[test]
fn cases_are_carried_by_hash_last_of_all_and_never_looked_at() {
    let (sbom, cases) = (bom("survey"), b"what they say is for a robot".as_slice());
    let both = Beside { cases: Some(cases), ..with(&sbom) };
    let packed = pack_with(&template("patrol"), COMPONENT, both).unwrap();
    let bundle = verify_signed(&packed).unwrap();
    assert_eq!((bundle.cases(), bundle.sbom()), (Some(cases), Some(sbom.as_slice())));
    assert_eq!(bundle.manifest().cases_sha256, Some(Digest::of(cases)));
    let without = verify_signed(&pack(&template("patrol"), COMPONENT).unwrap()).unwrap();
    assert_eq!((without.cases(), without.manifest().cases_sha256), (None, None));
    // Others than the manifest's, none where it names some, or before the bill of materials.
    let at = packed.windows(4).rposition(|bytes| bytes == b"what").unwrap();
    let mut changed = packed.clone();
    changed[at] = b'W';
    let refused = verify_signed(&changed).unwrap_err();
    assert!(matches!(refused, BundleError::CasesDigest { .. }), "{refused}");
    let member = at - 512;
    let cut = [&packed[..member], &[0; 1024]].concat();
    let refused = verify_signed(&cut).unwrap_err();
    assert!(
        matches!(refused, BundleError::CasesDigest { claimed: Some(_), found: None }),
        "{refused}"
    );
    let bill = packed.windows(SBOM_FILE.len()).position(|it| it == SBOM_FILE.as_bytes()).unwrap();
    let swapped =
        [&packed[..bill], &packed[member..member + 1024], &packed[bill..member], &[0; 1024]];
    assert!(matches!(verify_signed(&swapped.concat()), Err(BundleError::Shape(_))));
    let many = vec![b' '; 257 * 1024];
    let many = Beside { cases: Some(&many), ..Beside::default() };
    let refused = pack_with(&template("patrol"), COMPONENT, many);
    assert!(matches!(refused, Err(PackError::Cases(_))));
}

#[test]
fn a_bill_that_is_not_the_manifests_is_refused() {
    let sbom = bom("survey");
    let packed = pack_with(&template("patrol"), COMPONENT, with(&sbom)).unwrap();
    let at = packed.windows(6).position(|bytes| bytes == b"survey").unwrap();
    let mut changed = packed.clone();
    changed[at] = b'S';
    let refused = verify_signed(&changed).unwrap_err();
    assert!(matches!(refused, BundleError::SbomDigest { .. }), "{refused}");
    // Left out: header, content and padding of the last member go.
    let name = packed.windows(SBOM_FILE.len()).position(|it| it == SBOM_FILE.as_bytes()).unwrap();
    let cut = [&packed[..name], &[0; 1024]].concat();
    let refused = verify_signed(&cut).unwrap_err();
    assert!(
        matches!(refused, BundleError::SbomDigest { claimed: Some(_), found: None }),
        "{refused}"
    );
    for bad in
        [b"{}".as_slice(), b"", &[b' '; 3 << 20], br#"{"bomFormat":"SPDX","specVersion":"1.6"}"#]
    {
        let refused = pack_with(&template("patrol"), COMPONENT, with(bad));
        assert!(matches!(refused, Err(PackError::Sbom(_))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_change_to_a_lock_file_makes_its_reader_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<char>()), 1..6),
    ) {
        let mut text: Vec<char> = lock().chars().collect();
        for (at, value) in changes {
            let at = at.index(text.len());
            text[at] = value;
        }
        let text: String = text.into_iter().collect();
        if let Ok(bom) = bill_of_materials(&text, "survey", Digest::ZERO, &licences()) {
            let bom: Value = serde_json::from_slice(&bom).unwrap();
            // Checksums of other forms are left out, and names may be anything but nothing.
            let _ = check_schema(&bom);
        }
    }
}
