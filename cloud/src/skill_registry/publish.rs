//! What is checked before a bundle is published: whose it is, that its version is new, and who
//! vouches for its tier.
//!
//! All of it is a tenant's: its keys, its names of skills and versions, what they prove. A
//! developer is who holds a key that the tenant's administrator added for that name. Who has no key
//! there may publish in tier `dev` only, under a name that nobody proved. A tier above that needs
//! the developer's signature and a certification record: made and signed elsewhere, by a holder
//! of a certifier's key who is somebody else; here it is only checked.

use super::{Certified, Proof, Version, tier_name};
use crate::access::Tenant;
use crate::store::registry::KeyRow;
use crate::store::{Connection, StoreError, registry, skills, tenants};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::{PublicKey, Signature};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::skill::{SkillManifest, Tier};
use nooterra_protocol::time::WallMillis;
use serde::Deserialize;

/// The largest certification record, bytes.
pub(crate) const MAX_RECORD_BYTES: usize = 16 * 1024;

/// The role of a key that signs bundles.
pub(crate) const DEVELOPER: &str = "developer";

/// The role of a key that signs certification records.
pub(crate) const CERTIFIER: &str = "certifier";

/// A certification record: one JSON object, signed as a file by `minisign`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// SHA-256 of the bundle.
    pub(crate) bundle: Digest,
    /// It counts before this, milliseconds since 1970.
    pub(crate) expires_at: WallMillis,
    /// The skill.
    pub(crate) id: SkillId,
    /// It counts from this on, milliseconds since 1970.
    pub(crate) issued_at: WallMillis,
    /// SHA-256 of the report that it rests on.
    #[serde(default, rename = "report_sha256")]
    pub(crate) _report_sha256: Option<Digest>,
    /// For which tier the version was tested.
    pub(crate) tier: Tier,
    /// 1.
    pub(crate) v: u32,
    /// The version.
    pub(crate) version: String,
}

/// Why a bundle is not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("the certification record {0}")]
    Certification(String),
    #[error("the signature is by a key of {holder}, the manifest names {developer} as developer")]
    Developer { developer: String, holder: String },
    #[error("key {key_id} of {holder} was revoked: {reason}")]
    KeyRevoked { holder: String, key_id: String, reason: String },
    #[error("skill {id} is of {owner}; {developer} may not publish a version of it")]
    NotTheirs { developer: String, id: SkillId, owner: String },
    #[error("this version was published, and revoked: {0}")]
    Revoked(String),
    #[error("the signature is not over this bundle, or is in minisign's legacy format")]
    Signature,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("skill {id} {version} is published with another bundle: {bundle}")]
    Taken { bundle: Digest, id: SkillId, version: String },
    #[error("key {key_id} of {holder} may sign up to tier {may}, the manifest says {asked}")]
    Tier { asked: &'static str, holder: String, key_id: String, may: &'static str },
    #[error("tier {0} needs a certification record and its signature")]
    Uncertified(&'static str),
    #[error("{developer} has keys here, and the signature is by none of them")]
    UnknownKey { developer: String },
    #[error("tier {tier} needs a developer who is known here, and {developer} has no key")]
    Unproven { developer: String, tier: &'static str },
}

/// A bundle on its way in.
#[derive(Debug)]
pub(crate) struct Entering<'a> {
    pub(crate) bundle: &'a [u8],
    /// The text of the record and of its `.minisig` file.
    pub(crate) certification: Option<(&'a str, &'a str)>,
    pub(crate) digest: Digest,
    pub(crate) manifest: &'a SkillManifest,
    /// The text of the bundle's `.minisig` file.
    pub(crate) signature: &'a str,
}

/// Checks all that needs no transaction, by the keys as they were read: signatures over megabytes
/// would hold up whoever writes. What was proven; nothing for a developer who is not known.
pub(crate) fn prove(
    keys: &[KeyRow],
    entering: &Entering<'_>,
    now: WallMillis,
) -> Result<Option<Proof>, PublishError> {
    let Entering { bundle, manifest, signature, .. } = entering;
    let (developer, asked) = (&manifest.developer, manifest.tier);
    let known = keys.iter().any(|key| key.role == DEVELOPER && key.holder == *developer);
    let signers = signers(keys, DEVELOPER, signature);
    let theirs = || signers.iter().filter(|(key, _)| key.holder == *developer);
    let open = theirs().find(|(key, _)| key.revoked.is_none());
    let Some((key, signature)) = open.or(theirs().next()).or(signers.first()) else {
        let developer = developer.clone();
        return match (known, asked) {
            (true, _) => Err(PublishError::UnknownKey { developer }),
            (false, Tier::Dev) if entering.certification.is_none() => Ok(None),
            (false, _) => Err(PublishError::Unproven { developer, tier: tier_name(asked) }),
        };
    };
    usable(key, asked)?;
    if key.holder != *developer {
        let (developer, holder) = (developer.clone(), key.holder.clone());
        return Err(PublishError::Developer { developer, holder });
    }
    if !holds(key, bundle, signature) {
        return Err(PublishError::Signature);
    }
    let certification = match entering.certification {
        Some(parts) => Some(certified(keys, entering, parts, now)?),
        None if asked == Tier::Dev => None,
        None => return Err(PublishError::Uncertified(tier_name(asked))),
    };
    Ok(Some(Proof { certification, key_id: key.key_id.clone() }))
}

/// Checks what is so only within the transaction in which a tenant publishes; whether the bundle
/// is there already, by whomever.
pub(crate) fn admit(
    tx: &Connection,
    tenant: &Tenant,
    entering: (&Digest, &SkillManifest),
    proof: Option<&Proof>,
) -> Result<bool, PublishError> {
    let (digest, manifest) = entering;
    let known = Version::find(tx, Some(tenant), digest)?;
    if let Some(revoked) = known.as_ref().and_then(|known| known.revoked.as_ref()) {
        return Err(PublishError::Revoked(revoked.reason.clone()));
    }
    if tenants::has_skill(tx, tenant, digest)? {
        return Ok(true);
    }
    let (id, version) = (manifest.id.clone(), manifest.version.clone());
    if let Some(bundle) = skills::of_version(tx, tenant, &id, &version)? {
        return Err(PublishError::Taken { bundle, id, version });
    }
    if let Some(first) = skills::first(tx, tenant, &id)?
        && first.developer != manifest.developer
    {
        let developer = manifest.developer.clone();
        return Err(PublishError::NotTheirs { developer, id, owner: first.developer });
    }
    let keys = registry::keys(tx, tenant)?;
    let still = |key_id: &str, tier| match keys.iter().find(|key| key.key_id == key_id) {
        Some(key) => usable(key, tier),
        None => Err(PublishError::UnknownKey { developer: manifest.developer.clone() }),
    };
    match proof {
        Some(proof) => {
            still(&proof.key_id, manifest.tier)?;
            if let Some(certified) = &proof.certification {
                still(&certified.key_id, manifest.tier)?;
            }
            registry::add_proof(tx, tenant, digest, proof)?;
        }
        // Somebody proved the name a moment ago.
        None if keys.iter().any(|it| it.role == DEVELOPER && it.holder == manifest.developer) => {
            return Err(PublishError::UnknownKey { developer: manifest.developer.clone() });
        }
        None => {}
    }
    Ok(known.is_some())
}

/// The id of a public key as `minisign` prints it, and its one line; nothing for another text.
pub(crate) fn read_key(text: &str) -> Option<(String, String)> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next()?;
    let line = if first.starts_with("untrusted comment:") { lines.next()? } else { first };
    if lines.next().is_some() {
        return None;
    }
    PublicKey::from_base64(line).ok()?;
    Some((key_id(line)?, line.to_owned()))
}

fn certified(
    keys: &[KeyRow],
    entering: &Entering<'_>,
    (text, signature): (&str, &str),
    now: WallMillis,
) -> Result<Certified, PublishError> {
    let bad = |why: String| PublishError::Certification(why);
    if text.len() > MAX_RECORD_BYTES {
        return Err(bad(format!("has {} bytes, at most {MAX_RECORD_BYTES} are read", text.len())));
    }
    let signers = signers(keys, CERTIFIER, signature);
    let (key, signature) = signers
        .first()
        .ok_or_else(|| bad("is signed by no certifier who is known here".to_owned()))?;
    usable(key, entering.manifest.tier)?;
    if key.holder == entering.manifest.developer {
        return Err(bad("is signed by the developer of the skill".to_owned()));
    }
    if !holds(key, text.as_bytes(), signature) {
        return Err(bad("is not what its signature is over".to_owned()));
    }
    let record: Record =
        serde_json::from_str(text).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let manifest = entering.manifest;
    if record.v != 1 {
        return Err(bad(format!("has format {}, this release reads 1", record.v)));
    }
    if record.bundle != entering.digest {
        return Err(bad(format!("is of bundle {}", record.bundle)));
    }
    if record.id != manifest.id || record.version != manifest.version {
        return Err(bad(format!("is of {} {}", record.id, record.version)));
    }
    if record.tier < manifest.tier {
        return Err(bad(format!("is for tier {}", tier_name(record.tier))));
    }
    if now < record.issued_at || record.expires_at <= now {
        return Err(bad(format!("counts from {} to {}", record.issued_at, record.expires_at)));
    }
    Ok(Certified {
        key_id: key.key_id.clone(),
        record: text.to_owned(),
        signature: signature.clone(),
        until: record.expires_at,
    })
}

/// Refuses a key that was closed, or may not sign for so high a tier.
fn usable(key: &KeyRow, asked: Tier) -> Result<(), PublishError> {
    let (holder, key_id) = (key.holder.clone(), key.key_id.clone());
    if let Some((_, reason)) = &key.revoked {
        return Err(PublishError::KeyRevoked { holder, key_id, reason: reason.clone() });
    }
    if asked > key.tier {
        let (asked, may) = (tier_name(asked), tier_name(key.tier));
        return Err(PublishError::Tier { asked, holder, key_id, may });
    }
    Ok(())
}

/// The keys that are known by which signatures say that they are, each with its signature. A text
/// may hold several, of four lines each, as `cat` joins them.
fn signers<'a>(keys: &'a [KeyRow], role: &str, signatures: &str) -> Vec<(&'a KeyRow, String)> {
    let lines: Vec<_> = signatures.lines().filter(|line| !line.trim().is_empty()).collect();
    let known = |four: &[&str]| {
        let id = key_id(four.get(1)?)?;
        let key = keys.iter().find(|key| key.role == role && key.key_id == id)?;
        Some((key, four.join("\n") + "\n"))
    };
    lines.chunks(4).filter_map(known).collect()
}

fn holds(key: &KeyRow, bytes: &[u8], signature: &str) -> bool {
    let key = PublicKey::from_base64(&key.key);
    let signature = Signature::decode(signature);
    key.ok().zip(signature.ok()).is_some_and(|(key, it)| key.verify(bytes, &it, false).is_ok())
}

/// Keys and signatures both begin with an algorithm of two bytes and the id of eight.
fn key_id(line: &str) -> Option<String> {
    let bytes = STANDARD.decode(line.trim()).ok()?;
    let id: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
    Some(format!("{:016X}", u64::from_le_bytes(id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use minisign::KeyPair;
    use serde_json::json;
    use std::io::Cursor;

    struct Party {
        pair: KeyPair,
        row: KeyRow,
    }

    fn party(holder: &str, role: &str, tier: Tier) -> Party {
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        let (key_id, key) = read_key(&pair.pk.to_base64()).unwrap();
        let row = KeyRow {
            added_at: WallMillis(0),
            holder: holder.to_owned(),
            key,
            key_id,
            revoked: None,
            role: role.to_owned(),
            tier,
        };
        Party { pair, row }
    }

    impl Party {
        fn sign(&self, bytes: &[u8]) -> String {
            let KeyPair { pk, sk } = &self.pair;
            minisign::sign(Some(pk), sk, Cursor::new(bytes), None, None).unwrap().to_string()
        }
    }

    fn manifest(tier: Tier) -> SkillManifest {
        serde_json::from_value(json!({
            "actions": ["patrol"], "capabilities": [], "component_sha256": Digest::of(b"c"),
            "developer": "acme", "id": "patrol", "licence": "MIT", "memory_mib": 1, "name": "P",
            "period_ms": 100, "tier": tier_name(tier), "v": 1, "version": "1.0.0",
            "wit": nooterra_protocol::skill::WIT,
        }))
        .unwrap()
    }

    const BUNDLE: &[u8] = b"the bundle";
    const NOW: WallMillis = WallMillis(1_000);

    fn record(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut record = json!({
            "bundle": Digest::of(BUNDLE), "expires_at": 2_000, "id": "patrol", "issued_at": 500,
            "tier": "field_cert", "v": 1, "version": "1.0.0",
        });
        change(&mut record);
        record.to_string()
    }

    fn proved(
        keys: &[&Party],
        tier: Tier,
        signature: &str,
        certification: Option<(&str, &str)>,
    ) -> Result<Option<Proof>, PublishError> {
        let keys: Vec<_> = keys.iter().map(|party| party.row.clone()).collect();
        let (manifest, digest) = (manifest(tier), Digest::of(BUNDLE));
        let entering =
            Entering { bundle: BUNDLE, certification, digest, manifest: &manifest, signature };
        prove(&keys, &entering, NOW)
    }

    #[test]
    fn a_developer_without_a_key_here_publishes_in_the_lowest_tier_only() {
        let junk = "untrusted comment: x\nRWQ\n";
        assert_eq!(proved(&[], Tier::Dev, junk, None).unwrap(), None);
        for tier in [Tier::LabCert, Tier::FieldCert] {
            let refused = proved(&[], tier, junk, None);
            assert!(matches!(refused, Err(PublishError::Unproven { .. })));
        }
    }

    #[test]
    fn a_name_that_has_a_key_is_used_by_its_holder_only() {
        let acme = party("acme", DEVELOPER, Tier::LabCert);
        let other = party("other", DEVELOPER, Tier::FieldCert);
        let keys = [&acme, &other];
        let proof = proved(&keys, Tier::Dev, &acme.sign(BUNDLE), None).unwrap().unwrap();
        assert_eq!(proof, Proof { certification: None, key_id: acme.row.key_id.clone() });
        let stranger = party("acme", DEVELOPER, Tier::Dev).sign(BUNDLE);
        // One of several will do, whichever place it has.
        let joined = format!("{}\n{}\n{stranger}", other.sign(BUNDLE), acme.sign(BUNDLE));
        let among = proved(&keys, Tier::Dev, &joined, None).unwrap().unwrap();
        assert_eq!(among.key_id, acme.row.key_id);
        let unknown = proved(&keys, Tier::Dev, &stranger, None);
        assert!(matches!(unknown, Err(PublishError::UnknownKey { .. })));
        let foreign = proved(&keys, Tier::Dev, &other.sign(BUNDLE), None);
        assert!(matches!(foreign, Err(PublishError::Developer { .. })));
        let changed = proved(&keys, Tier::Dev, &acme.sign(b"another"), None);
        assert!(matches!(changed, Err(PublishError::Signature)));
        let high = proved(&keys, Tier::FieldCert, &acme.sign(BUNDLE), None);
        assert!(matches!(high, Err(PublishError::Tier { .. })));
        let bare = proved(&keys, Tier::LabCert, &acme.sign(BUNDLE), None);
        assert!(matches!(bare, Err(PublishError::Uncertified("lab_cert"))));
        let mut closed = party("acme", DEVELOPER, Tier::Dev);
        closed.row.revoked = Some((NOW, "lost".to_owned()));
        let refused = proved(&[&closed], Tier::Dev, &closed.sign(BUNDLE), None);
        assert!(matches!(refused, Err(PublishError::KeyRevoked { .. })));
    }

    #[test]
    fn a_certification_counts_for_one_bundle_one_tier_one_time_and_never_for_its_signer() {
        let acme = party("acme", DEVELOPER, Tier::FieldCert);
        let lab = party("lab", CERTIFIER, Tier::FieldCert);
        let own = party("acme", CERTIFIER, Tier::FieldCert);
        let low = party("low", CERTIFIER, Tier::LabCert);
        let mut closed = party("closed", CERTIFIER, Tier::FieldCert);
        closed.row.revoked = Some((NOW, "lost".to_owned()));
        let keys = [&acme, &lab, &own, &low, &closed];
        let signature = acme.sign(BUNDLE);
        let tried = |text: &str, signed: &str| {
            proved(&keys, Tier::FieldCert, &signature, Some((text, signed)))
        };
        let good = record(|_| {});
        let proof = tried(&good, &lab.sign(good.as_bytes())).unwrap().unwrap();
        let certified = proof.certification.unwrap();
        assert_eq!((&certified.key_id, certified.until), (&lab.row.key_id, WallMillis(2_000)));
        for party in [&own, &low, &closed, &acme, &party("lab", CERTIFIER, Tier::FieldCert)] {
            assert!(tried(&good, &party.sign(good.as_bytes())).is_err(), "{:?}", party.row);
        }
        assert!(tried(&good, &lab.sign(b"another")).is_err());
        for (key, value) in [
            ("bundle", json!(Digest::of(b"another"))),
            ("id", json!("survey")),
            ("version", json!("1.0.1")),
            ("tier", json!("lab_cert")),
            ("v", json!(2)),
            ("issued_at", json!(1_001)),
            ("expires_at", json!(1_000)),
            ("more", json!(1)),
        ] {
            let text = record(|record| record[key] = value);
            let refused = tried(&text, &lab.sign(text.as_bytes()));
            assert!(matches!(refused, Err(PublishError::Certification(_))), "{key}");
        }
    }

    #[test]
    fn a_public_key_is_read_with_and_without_its_comment_and_nothing_else_is() {
        let Party { row, .. } = party("acme", DEVELOPER, Tier::Dev);
        let file = format!("untrusted comment: minisign public key\n{}\n", row.key);
        assert_eq!(read_key(&file), Some((row.key_id.clone(), row.key.clone())));
        for bad in ["", "untrusted comment: x", "RWQ", &format!("{0}\n{0}", row.key)] {
            assert_eq!(read_key(bad), None, "{bad:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]
        #[test]
        fn damaged_keys_signatures_and_records_never_panic(text in "\\PC{0,200}", line in "[A-Za-z0-9+/=]{0,120}") {
            let _ = read_key(&text);
            let _ = read_key(&line);
            let signature = format!("untrusted comment: x\n{line}\n{text}");
            let _ = proved(&[], Tier::Dev, &signature, Some((&text, &signature)));
            let _ = serde_json::from_str::<Record>(&text);
        }
    }
}
