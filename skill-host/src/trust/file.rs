//! Reading documents and lists, and what takes the place of what.

use super::{Back, List, Now, Trust, reaches, the};
use crate::signature::{KeyError, KeyId, SignatureError, SignedBy, TrustedKeys, key_material};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{ActorId, FleetId};
use nooterra_protocol::time::WallMillis;
use nooterra_protocol::trust::{
    Carried, MAX_TRUST_BYTES, NamedKey, RevocationList, Signers, TrustDocument, TrustFile,
    TrustFormError,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Clocks differ; what was made further ahead than this was made wrong.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// Why a document or a list does not take effect.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Another file with the version that is in force.
    #[error(
        "{} version {version} is in force already, and is another file; sign the change as version \
         {}", the(*.file), version.saturating_add(1)
    )]
    Differs {
        /// Which of the two.
        file: TrustFile,
        /// Of both.
        version: u32,
    },
    /// Two names for one key: one signer would count twice.
    #[error("`keys`: {first} and {second} are the same key; one key has one name")]
    DoubleKey {
        /// One name.
        first: ActorId,
        /// The other.
        second: ActorId,
    },
    /// For other robots.
    #[error("{} is for fleet {found}, this robot is of {expected}", the(*.file))]
    Fleet {
        /// This robot's.
        expected: FleetId,
        /// Which of the two.
        file: TrustFile,
        /// In the file.
        found: FleetId,
    },
    /// It makes no sense.
    #[error("{}: {source}", the(*.file))]
    Form {
        /// Which of the two.
        file: TrustFile,
        /// What is wrong.
        source: TrustFormError,
    },
    /// Made later than now.
    #[error("{} was made at {issued}, which lies ahead; look at the clocks", the(*.file))]
    FromTheFuture {
        /// Which of the two.
        file: TrustFile,
        /// By its own words.
        issued: WallMillis,
    },
    /// Not JSON, or with missing or unknown keys.
    #[error("{} cannot be read: {what}", the(*.file))]
    Json {
        /// Which of the two.
        file: TrustFile,
        /// What is wrong, with its line.
        what: String,
    },
    /// A key that is none, or has the id of another.
    #[error("`keys`: {name}: {source}")]
    Key {
        /// Which.
        name: ActorId,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A list where the document names nobody who signs one.
    #[error(
        "the trust document names no `revokers`, so nobody signs revocation lists; the roots \
         sign a document that does"
    )]
    NoRevokers,
    /// Older than what is in force.
    #[error(
        "{} version {found} is older than {newest}, in force; sign a new version, or permit to \
         go back: `nooterra-agent trust install FILE --allow-older`", the(*.file)
    )]
    Older {
        /// Which of the two.
        file: TrustFile,
        /// In the file.
        found: u32,
        /// In force.
        newest: u32,
    },
    /// Another file than the one that was named.
    #[error(
        "the file has SHA-256 {found}, not the {pinned} that was named; ask whom you had it from"
    )]
    Pinned {
        /// Of the file.
        found: Digest,
        /// That was named.
        pinned: Digest,
    },
    /// Not signed, or changed since.
    #[error("{}: {source}", the(*.file))]
    Signature {
        /// Which of the two.
        file: TrustFile,
        /// What is wrong.
        source: SignatureError,
    },
    /// Not enough signatures that count.
    #[error(
        "{} needs the signatures of {needed} {role}, {found} signed{}", the(*.file), others(unknown)
    )]
    Threshold {
        /// Which of the two.
        file: TrustFile,
        /// Signatures that count.
        found: usize,
        /// That many are needed.
        needed: u32,
        /// Of whom.
        role: &'static str,
        /// Signed, and not known.
        unknown: Vec<KeyId>,
    },
    /// More than is read.
    #[error("{} has {found} bytes, at most {MAX_TRUST_BYTES} are read", the(*.file))]
    TooLarge {
        /// Which of the two.
        file: TrustFile,
        /// Of the file.
        found: usize,
    },
}

impl Trust {
    /// The first document of a robot, believed because an operator named its hash. It must be
    /// signed by its own roots: whoever made it can make the next.
    ///
    /// # Errors
    /// [`TrustError`]
    pub fn first(carried: Carried, pinned: Digest, now: Now) -> Result<Self, TrustError> {
        let found = Digest::of(&carried.bytes.0);
        if found != pinned {
            return Err(TrustError::Pinned { found, pinned });
        }
        let trust = Self::read(carried)?;
        not_ahead(TrustFile::Document, trust.document.issued, now)?;
        Ok(trust)
    }

    /// What the robot has kept. A list that its revokers did not sign, because the document
    /// changed them, goes on to revoke and counts as no fresh one.
    ///
    /// # Errors
    /// [`TrustError`] when the files were altered.
    pub fn kept(document: Carried, list: Option<Carried>) -> Result<Self, TrustError> {
        let mut trust = Self::read(document)?;
        trust.list = list.map(|carried| trust.read_list(carried)).transpose()?;
        Ok(trust)
    }

    /// The next document takes the place of this one. The list stays.
    ///
    /// # Errors
    /// [`TrustError`]
    pub fn succeeded_by(&self, next: Carried, back: Back, now: Now) -> Result<Self, TrustError> {
        let file = TrustFile::Document;
        let mut next = Self::read(next)?;
        let (expected, found) = (&self.document.fleet, &next.document.fleet);
        if expected != found {
            let (expected, found) = (expected.clone(), found.clone());
            return Err(TrustError::Fleet { expected, file, found });
        }
        let signed = self.signed(file, &next.carried)?;
        self.quorum(&self.document.roots, "roots of the document in force", file, &signed)?;
        let versions = (next.document.version, self.document.version);
        in_order(file, versions, next.digest == self.digest, back)?;
        not_ahead(file, next.document.issued, now)?;
        let list = self.list.as_ref().map(|held| held.carried.clone());
        next.list = list.map(|carried| next.read_list(carried)).transpose()?;
        Ok(next)
    }

    /// A list takes the place of the one before.
    ///
    /// # Errors
    /// [`TrustError`]
    pub fn revoking(&self, list: Carried, back: Back, now: Now) -> Result<Self, TrustError> {
        let file = TrustFile::List;
        let revokers = self.document.revokers.as_ref().ok_or(TrustError::NoRevokers)?;
        let signed = self.signed(file, &list)?;
        self.quorum(revokers, "revokers", file, &signed)?;
        let next = self.read_list(list)?;
        // Those of other revokers were counted by themselves.
        if let Some(held) = self.list.as_ref().filter(|held| held.holds) {
            let versions = (next.list.version, held.list.version);
            in_order(file, versions, next.digest == held.digest, back)?;
        }
        not_ahead(file, next.list.issued, now)?;
        Ok(Self { list: Some(next), ..self.clone() })
    }

    /// Reads a document that enough of its own roots signed.
    fn read(carried: Carried) -> Result<Self, TrustError> {
        let file = TrustFile::Document;
        let document: TrustDocument = parse(file, &carried.bytes.0)?;
        document.check().map_err(|source| TrustError::Form { file, source })?;
        let (mut ids, mut keys) = (BTreeMap::new(), TrustedKeys::new());
        let mut materials = BTreeMap::new();
        for NamedKey { key, name } in &document.keys {
            let wrong = |source| TrustError::Key { name: name.clone(), source };
            let line = key.trim();
            let material = key_material(line).ok_or_else(|| wrong(KeyError::Malformed))?;
            if let Some(first) = materials.insert(material, name) {
                let (first, second) = (first.clone(), name.clone());
                return Err(TrustError::DoubleKey { first, second });
            }
            ids.insert(name.clone(), keys.add(line).map_err(wrong)?);
        }
        let digest = Digest::of(&carried.bytes.0);
        let trust = Self { carried, digest, document, ids, keys, list: None };
        let signed = trust.signed(file, &trust.carried)?;
        trust.quorum(&trust.document.roots, "of its own roots", file, &signed)?;
        Ok(trust)
    }

    fn read_list(&self, carried: Carried) -> Result<List, TrustError> {
        let file = TrustFile::List;
        let list: RevocationList = parse(file, &carried.bytes.0)?;
        list.check().map_err(|source| TrustError::Form { file, source })?;
        if list.fleet != self.document.fleet {
            let (expected, found) = (self.document.fleet.clone(), list.fleet);
            return Err(TrustError::Fleet { expected, file, found });
        }
        let holds = match &self.document.revokers {
            Some(revokers) => match self.signed(file, &carried) {
                Ok(signed) => self.quorum(revokers, "revokers", file, &signed).is_ok(),
                Err(error) => return Err(error),
            },
            None => false,
        };
        let mut revoked = BTreeMap::new();
        for key in &list.keys {
            let malformed =
                |_| TrustError::Form { file, source: TrustFormError::KeyId(key.key.clone()) };
            revoked.insert(key.key.parse().map_err(malformed)?, key.reason.clone());
        }
        let digest = Digest::of(&carried.bytes.0);
        Ok(List { carried, digest, holds, list, revoked })
    }

    fn signed(&self, file: TrustFile, carried: &Carried) -> Result<SignedBy, TrustError> {
        let checked = self.keys.check_all(&carried.bytes.0, &carried.signatures);
        checked.map_err(|source| TrustError::Signature { file, source })
    }

    fn quorum(
        &self,
        signers: &Signers,
        role: &'static str,
        file: TrustFile,
        signed: &SignedBy,
    ) -> Result<(), TrustError> {
        let named: BTreeSet<KeyId> = self.ids_of(signers).collect();
        let found = named.intersection(&signed.good).count();
        if reaches(found, signers.threshold) {
            return Ok(());
        }
        let unknown = signed.unknown.iter().copied().collect();
        Err(TrustError::Threshold { file, found, needed: signers.threshold, role, unknown })
    }
}

fn parse<T: serde::de::DeserializeOwned>(file: TrustFile, bytes: &[u8]) -> Result<T, TrustError> {
    if bytes.len() > MAX_TRUST_BYTES {
        return Err(TrustError::TooLarge { file, found: bytes.len() });
    }
    serde_json::from_slice(bytes)
        .map_err(|error| TrustError::Json { file, what: error.to_string() })
}

fn in_order(
    file: TrustFile,
    (found, newest): (u32, u32),
    same: bool,
    back: Back,
) -> Result<(), TrustError> {
    if same || found > newest || back == Back::Permitted {
        Ok(())
    } else if found == newest {
        Err(TrustError::Differs { file, version: found })
    } else {
        Err(TrustError::Older { file, found, newest })
    }
}

/// Only a clock that can be believed says that something lies ahead.
fn not_ahead(file: TrustFile, issued: WallMillis, now: Now) -> Result<(), TrustError> {
    if now.trusted && issued > now.wall.plus(AHEAD) {
        return Err(TrustError::FromTheFuture { file, issued });
    }
    Ok(())
}

fn others(unknown: &[KeyId]) -> String {
    unknown.iter().map(|id| format!("; {id} is not among the keys that are known")).collect()
}
