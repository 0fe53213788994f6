//! The folder, with bundles that are signed and never run.

use super::*;
use nooterra_protocol::skill_install::SkillInstallStep;
use nooterra_skill_host::{TrustedKeys, keygen, pack, sign};
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

fn bundle(version: &str) -> (Bundle, String) {
    let keys = keygen(None).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/skills/patrol");
    let template = std::fs::read_to_string(file.join("manifest.json")).unwrap();
    let mut template: serde_json::Value = serde_json::from_str(&template).unwrap();
    template["version"] = version.into();
    let bytes = pack(&template.to_string(), b"\0asm\x0d\x00\x01\x00").unwrap();
    let signature = sign(&bytes, &keys.secret, None, "a test").unwrap();
    let trusted = TrustedKeys::from_texts([&keys.public]).unwrap();
    (Bundle::verify(&bytes, &signature, &trusted).unwrap(), signature)
}

fn said(installed: &Installed, most: usize) -> Vec<SkillInstallStep> {
    let mut said = Vec::new();
    let append = |step: SkillInstall| {
        said.push(step.step);
        said.len() <= most
    };
    installed.record(append).unwrap();
    said
}

#[test]
fn a_step_is_recorded_until_the_journal_has_it() {
    use SkillInstallStep::{Activated, Installed as Came};
    let dir = tempfile::tempdir().unwrap();
    let installed = Installed::new(dir.path().join("skills"));
    let (one, signature) = bundle("1.0.0");
    installed.install(&one, &signature, "by hand").unwrap();
    installed.begin(&one).unwrap();
    installed.proven(&one, "it made its steps").unwrap();
    assert_eq!(said(&installed, 0), [Came], "the journal does not take it");
    assert_eq!(said(&installed, 1), [Came, Activated], "nor the second one");
    assert_eq!(said(&installed, 9), [Activated]);
    assert_eq!(said(&installed, 9), []);
}

#[test]
fn a_damaged_register_makes_each_version_new_and_the_journal_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let installed = Installed::new(dir.path().to_owned());
    let (one, signature) = bundle("1.0.0");
    installed.install(&one, &signature, "by hand").unwrap();
    installed.begin(&one).unwrap();
    installed.failed(&one, "it crashed").unwrap();
    assert!(installed.may_start(&one).is_err());
    std::fs::write(dir.path().join(REGISTER), b"\xa1").unwrap();
    installed.may_start(&one).unwrap();
    assert_eq!(installed.begin(&one).unwrap(), Standing::OnTrial);
    assert_eq!(said(&installed, 9), [SkillInstallStep::Lost, SkillInstallStep::Installed]);
}

#[test]
fn people_are_asked_to_start_the_agent_before_more_waits_than_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let installed = Installed::new(dir.path().to_owned());
    let (one, signature) = bundle("1.0.0");
    let refused = (0..MAX_UNSAID).find_map(|_| {
        let again = installed.install(&one, &signature, "by hand");
        again.and_then(|_| installed.roll_back(&version_of(&one).0, "by hand")).err()
    });
    assert!(matches!(refused, Some(InstallError::Unrecorded)), "{refused:?}");
    said(&installed, usize::MAX);
    installed.install(&one, &signature, "by hand").unwrap();
}

#[test]
fn what_is_of_no_version_is_removed_and_what_others_put_there_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let installed = Installed::new(dir.path().to_owned());
    let ((one, signature), (two, other)) = (bundle("1.0.0"), bundle("2.0.0"));
    installed.install(&one, &signature, "by hand").unwrap();
    installed.keep(&two, &other).unwrap();
    for name in [".tmpX1", "notes.txt"] {
        std::fs::write(dir.path().join(name), b"").unwrap();
    }
    installed.tidy().unwrap();
    assert!(installed.read(one.digest()).is_some() && installed.read(two.digest()).is_none());
    assert!(!dir.path().join(".tmpX1").exists() && dir.path().join("notes.txt").exists());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_in_the_register_is_read_or_lost_and_never_a_panic(
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let installed = Installed::new(dir.path().to_owned());
        let (one, signature) = bundle("1.0.0");
        installed.install(&one, &signature, "by hand").unwrap();
        let path = dir.path().join(REGISTER);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        std::fs::write(&path, bytes).unwrap();
        // Damage that still reads as a register may say anything of a version.
        prop_assert!(installed.status().is_ok());
        let _ = installed.begin(&one);
    }
}
