//! What may pass for a bundle, and everything that may not.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

mod common;

use common::{bundle, component, keys, signature, template, trusted, verify_signed};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::skill::{COMPONENT_FILE, MANIFEST_FILE, MAX_BUNDLE_BYTES};
use nooterra_skill_host::{
    Bundle, BundleError, Host, HostOptions, PackError, SignatureError, TrustedKeys, keygen, pack,
    sign,
};
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

/// A tar archive of the given entries, by a writer that refuses nothing.
fn archive(entries: &[(&[u8], tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Manifest and component as they lie in a good bundle.
fn parts() -> (Vec<u8>, Vec<u8>) {
    let component = component("misbehave");
    let mut manifest: serde_json::Value = serde_json::from_str(&template("misbehave")).unwrap();
    manifest["component_sha256"] = Digest::of(&component).to_string().into();
    (manifest.to_string().into_bytes(), component)
}

const FILE: tar::EntryType = tar::EntryType::Regular;

#[test]
fn a_packed_and_signed_bundle_is_taken_as_it_is() {
    let bundle = bundle("patrol");
    assert_eq!(bundle.manifest().id.as_str(), "patrol");
    assert_eq!(bundle.component(), component("patrol"));
    assert_eq!(bundle.digest(), Digest::of(bundle.bytes()));
    assert_eq!(Some(bundle.signed_by()), trusted().ids().next());
}

#[test]
fn packing_twice_gives_the_same_bytes() {
    let (manifest, component) = (template("patrol"), component("patrol"));
    assert_eq!(pack(&manifest, &component).unwrap(), pack(&manifest, &component).unwrap());
    let reordered: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(
        pack(&manifest, &component).unwrap(),
        pack(&reordered.to_string(), &component).unwrap(),
        "white space of the template made a difference"
    );
}

#[test]
fn a_bundle_is_what_a_tar_program_makes_of_the_two_files() {
    let (manifest, component) = parts();
    let by_hand = archive(&[
        (MANIFEST_FILE.as_bytes(), FILE, &manifest),
        (COMPONENT_FILE.as_bytes(), FILE, &component),
    ]);
    assert!(verify_signed(&by_hand).is_ok());
    // GNU tar fills its last record of 20 blocks with zeros.
    let mut padded = by_hand;
    padded.resize(padded.len().next_multiple_of(10_240), 0);
    assert!(verify_signed(&padded).is_ok());
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let bundle = bundle("misbehave");
    let (good, signature, trusted) = (bundle.bytes(), signature(bundle.bytes()), trusted());
    for at in (0..good.len()).step_by(good.len() / 400) {
        let mut bad = good.to_vec();
        bad[at] ^= 1 << (at % 8);
        let refused = Bundle::verify(&bad, &signature, &trusted);
        assert!(
            matches!(refused, Err(BundleError::Signature(SignatureError::Broken(_)))),
            "byte {at}: {refused:?}"
        );
    }
    for bad in [&good[1..], &good[..good.len() - 512], &[]] {
        assert!(Bundle::verify(bad, &signature, &trusted).is_err());
    }
}

#[test]
fn a_changed_character_of_the_signature_is_refused() {
    let bundle = bundle("misbehave");
    let good = signature(bundle.bytes());
    let comment = good.lines().next().unwrap().len();
    for at in comment + 1..good.trim_end().len() {
        let mut bad = good.clone().into_bytes();
        bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
        let bad = String::from_utf8(bad).unwrap();
        assert!(Bundle::verify(bundle.bytes(), &bad, &trusted()).is_err(), "character {at}: {bad}");
    }
}

#[test]
fn an_unsigned_bundle_is_refused() {
    let bundle = bundle("misbehave");
    let refused = Bundle::verify(bundle.bytes(), "", &trusted()).unwrap_err();
    assert!(matches!(refused, BundleError::Signature(SignatureError::Malformed)));
    assert!(refused.to_string().contains("minisign -Sm"), "{refused}");
}

#[test]
fn a_bundle_signed_by_a_key_that_nobody_trusts_is_refused() {
    let bundle = bundle("misbehave");
    let foreign = keygen(None).unwrap();
    let signature = sign(bundle.bytes(), &foreign.secret, None, "").unwrap();
    let refused = Bundle::verify(bundle.bytes(), &signature, &trusted()).unwrap_err();
    let id = TrustedKeys::new().add(&foreign.public).unwrap();
    assert!(refused.to_string().contains(&id.to_string()), "{refused}");
    assert!(matches!(refused, BundleError::Signature(SignatureError::UnknownKey(_))));
}

#[test]
fn a_key_with_a_password_signs_only_with_it() {
    let keys = keygen(Some("correct")).unwrap();
    assert!(matches!(sign(b"x", &keys.secret, None, ""), Err(PackError::Key(_))));
    assert!(matches!(sign(b"x", &keys.secret, Some("wrong"), ""), Err(PackError::Key(_))));
    let signature = sign(b"x", &keys.secret, Some("correct"), "by hand").unwrap();
    assert!(TrustedKeys::from_texts([&keys.public]).unwrap().check(b"x", &signature).is_ok());
}

#[test]
fn a_comment_that_would_forge_a_line_is_not_signed() {
    let refused = sign(b"x", &keys().secret, None, "one\ntwo");
    assert!(matches!(refused, Err(PackError::TrustedComment)));
}

#[test]
fn an_archive_of_any_other_shape_is_refused_even_when_signed() {
    use tar::EntryType;
    let (manifest, component) = parts();
    let m: (&[u8], EntryType, &[u8]) = (MANIFEST_FILE.as_bytes(), FILE, &manifest);
    let c: (&[u8], EntryType, &[u8]) = (COMPONENT_FILE.as_bytes(), FILE, &component);
    let long_name = [b"a/".repeat(60), b"\0".to_vec()].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an extra file", archive(&[m, c, (b"notes.txt", FILE, b"hello")])),
        ("an extra file first", archive(&[(b"notes.txt", FILE, b"hello"), m, c])),
        ("the other order", archive(&[c, m])),
        ("no component", archive(&[m])),
        ("no manifest", archive(&[c])),
        ("nothing", archive(&[])),
        ("two manifests", archive(&[m, m, c])),
        ("two components", archive(&[m, c, c])),
        ("a leading dot", archive(&[(b"./manifest.json", FILE, &manifest), c])),
        ("a parent", archive(&[m, (b"../component.wasm", FILE, &component)])),
        ("an absolute path", archive(&[m, (b"/component.wasm", FILE, &component)])),
        ("a trailing slash", archive(&[m, (b"component.wasm/", FILE, &component)])),
        ("another case", archive(&[m, (b"Component.wasm", FILE, &component)])),
        ("a backslash", archive(&[m, (b"x\\component.wasm", FILE, &component)])),
        ("a symbolic link", archive(&[m, (b"component.wasm", EntryType::Symlink, b"")])),
        ("a hard link", archive(&[m, (b"component.wasm", EntryType::Link, b"")])),
        ("a directory", archive(&[(b"d/", EntryType::Directory, b""), m, c])),
        ("a device", archive(&[m, c, (b"null", EntryType::Char, b"")])),
        ("a sparse file", archive(&[m, (b"component.wasm", EntryType::GNUSparse, &component)])),
        ("a GNU long name", archive(&[(b"x", EntryType::GNULongName, &long_name), m, c])),
        (
            "an extended header",
            archive(&[(b"x", EntryType::XHeader, b"22 path=component.wasm\n"), m, c]),
        ),
        ("a global header", archive(&[(b"x", EntryType::XGlobalHeader, b"13 size=9999\n"), m, c])),
        ("something behind the end", {
            let mut bytes = archive(&[m, c]);
            bytes.extend_from_slice(&archive(&[m, c]));
            bytes
        }),
        ("a byte in the padding of the end", {
            let mut bytes = archive(&[m, c]);
            let last = bytes.len() - 1;
            bytes[last] = 1;
            bytes
        }),
        ("no end", {
            let bytes = archive(&[m, c]);
            bytes[..bytes.len() - 1024].to_vec()
        }),
        ("half an entry", archive(&[m, c])[..2048].to_vec()),
        ("no archive", b"hello".to_vec()),
        ("nothing at all", Vec::new()),
    ];
    for (what, bytes) in cases {
        let refused = verify_signed(&bytes);
        assert!(matches!(refused, Err(BundleError::Shape(_))), "{what}: {refused:?}");
    }
}

#[test]
fn a_size_that_is_not_there_is_refused() {
    let (manifest, component) = parts();
    for size in [component.len() as u64 + 4096, 1 << 33, u64::MAX / 2, u64::MAX] {
        for entry in [0, 1] {
            let mut bytes = archive(&[
                (MANIFEST_FILE.as_bytes(), FILE, &manifest),
                (COMPONENT_FILE.as_bytes(), FILE, &component),
            ]);
            let at = entry * (512 + manifest.len().next_multiple_of(512));
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes().copy_from_slice(&bytes[at..at + 512]);
            header.set_size(size);
            header.set_cksum();
            bytes[at..at + 512].copy_from_slice(header.as_bytes());
            let refused = verify_signed(&bytes);
            assert!(matches!(refused, Err(BundleError::Shape(_))), "{size}: {refused:?}");
        }
    }
}

#[test]
fn a_bundle_that_is_too_large_is_refused_before_it_is_hashed() {
    let refused = Bundle::verify(&vec![0; MAX_BUNDLE_BYTES + 1], "", &trusted());
    assert!(matches!(refused, Err(BundleError::TooLarge(_))));
    let huge = [b"\0asm\x0d\x00\x01\x00".to_vec(), vec![0; MAX_BUNDLE_BYTES]].concat();
    assert!(matches!(pack(&template("patrol"), &huge), Err(PackError::TooLarge(_))));
}

#[test]
fn a_manifest_that_does_not_fit_is_refused() {
    let (manifest, component) = parts();
    let with = |key: &str, value: serde_json::Value| {
        let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest[key] = value;
        let manifest = manifest.to_string();
        verify_signed(&archive(&[
            (MANIFEST_FILE.as_bytes(), FILE, manifest.as_bytes()),
            (COMPONENT_FILE.as_bytes(), FILE, &component),
        ]))
    };
    let other = Digest::of(b"another").to_string();
    let refused = with("component_sha256", other.into());
    assert!(matches!(refused, Err(BundleError::ComponentDigest { .. })), "{refused:?}");
    for (key, value) in [
        ("actions", serde_json::json!([])),
        ("actions", serde_json::json!(["a", "a"])),
        ("actions", serde_json::json!(["two words"])),
        ("capabilities", serde_json::json!(["telepathy"])),
        ("id", "Upper".into()),
        ("fuel_per_step", 9_999.into()),
        ("memory_mib", 65.into()),
        ("period_ms", 9.into()),
        ("surprise", 1.into()),
        ("tier", "gold".into()),
        ("v", 2.into()),
        ("version", "1".into()),
        ("sbom_sha256", "1234".into()),
        ("wit", "nooterra:skill@0.1.0".into()),
    ] {
        let refused = with(key, value.clone());
        assert!(matches!(refused, Err(BundleError::Manifest(_))), "{key} {value}: {refused:?}");
    }
    let endless = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    for json in ["", "null", "[]", "{}", "{\"id\":", &endless, &" ".repeat(70_000)] {
        let refused = verify_signed(&archive(&[
            (MANIFEST_FILE.as_bytes(), FILE, json.as_bytes()),
            (COMPONENT_FILE.as_bytes(), FILE, &component),
        ]));
        let known = matches!(refused, Err(BundleError::Manifest(_) | BundleError::Shape(_)));
        assert!(known, "{refused:?}");
    }
}

#[test]
fn only_a_component_with_a_sound_manifest_is_packed() {
    let component = component("misbehave");
    assert!(matches!(pack("{}", &component), Err(PackError::Manifest(_))));
    assert!(matches!(pack("[]", &component), Err(PackError::Manifest(_))));
    let module = b"\0asm\x01\0\0\0";
    assert!(matches!(pack(&template("misbehave"), module), Err(PackError::Component)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_change_to_an_archive_makes_its_reader_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let component = b"\0asm\x0d\x00\x01\x00rest";
        let mut bytes = pack(&template("patrol"), component).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut.index(4) == 0 {
            bytes.truncate(cut.index(bytes.len()));
        }
        // Signed, so that it is read at all. The outcome is free; a panic is not.
        let _ = verify_signed(&bytes);
    }

    #[test]
    fn no_text_makes_the_reader_of_signatures_panic(
        text in "(untrusted comment: .{0,20}\n)?[A-Za-z0-9+/=]{0,110}\n(trusted comment: .{0,20}\n)?[A-Za-z0-9+/=é]{0,90}\n?",
        any_text in ".{0,400}",
    ) {
        for text in [&text, &any_text] {
            prop_assert!(trusted().check(b"x", text).is_err());
            let _ = TrustedKeys::new().add(text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn no_change_to_a_component_makes_the_host_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut component = component("misbehave");
        for (at, value) in changes {
            let at = 8 + at.index(component.len() - 8);
            component[at] = value;
        }
        let bundle = verify_signed(&pack(&template("misbehave"), &component).unwrap()).unwrap();
        let _ = Host::new(HostOptions::default()).unwrap().prepare(&bundle);
    }
}
