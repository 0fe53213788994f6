//! The bundle: one file that holds a manifest and a component, and is taken as a whole or
//! not at all.
//!
//! A bundle is a tar archive of regular files: [`MANIFEST_FILE`], [`GRAPH_FILE`] where it has a
//! policy graph, [`COMPONENT_FILE`], [`SBOM_FILE`] where it says what it is made of, and
//! [`CASES_FILE`] where it says what it must do in the simulator, in this order and no others, with
//! a detached minisign signature over its bytes. The signature is checked before any of it is
//! interpreted, the shape before any of it is believed. What the bill of materials says is not
//! looked at here: nothing on a robot depends on it. Nor is what the cases say: who runs them reads
//! them.

use crate::graph::{self, Graph, GraphError};
use crate::signature::{KeyId, SignatureError, TrustedKeys};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::skill::{
    CASES_FILE, COMPONENT_FILE, GRAPH_FILE, MANIFEST_FILE, MAX_BUNDLE_BYTES, MAX_CASES_BYTES,
    MAX_SBOM_BYTES, ManifestError, SBOM_FILE, SkillManifest,
};
use std::fmt;
use std::ops::Range;

/// The largest manifest that is read, bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;

/// The unit of a tar archive, bytes (POSIX.1-1988 ustar).
pub(crate) const BLOCK: usize = 512;

/// A bundle whose signature, shape, manifest, policy graph and hashes have been checked. There is
/// no other way to have one.
#[derive(Clone)]
pub struct Bundle {
    bytes: Vec<u8>,
    cases: Option<Range<usize>>,
    component: Range<usize>,
    digest: Digest,
    graph: Option<Graph>,
    manifest: SkillManifest,
    sbom: Option<Range<usize>>,
    signers: Vec<KeyId>,
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The cases are not those that the manifest speaks of.
    #[error("{CASES_FILE}: {MANIFEST_FILE} says {}, found {}", or_none(*.claimed), or_none(*.found))]
    CasesDigest {
        /// By the manifest.
        claimed: Option<Digest>,
        /// Of the file, where there is one.
        found: Option<Digest>,
    },
    /// The component is not the one that the manifest speaks of.
    #[error("{COMPONENT_FILE} has SHA-256 {found}, {MANIFEST_FILE} says {claimed}")]
    ComponentDigest {
        /// By the manifest.
        claimed: Digest,
        /// Of the component.
        found: Digest,
    },
    /// The policy graph cannot be read, or does not fit its manifest.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The policy graph is not the one that the manifest speaks of.
    #[error("{GRAPH_FILE} has SHA-256 {found}, {MANIFEST_FILE} says {claimed}")]
    GraphDigest {
        /// By the manifest.
        claimed: Digest,
        /// Of the graph.
        found: Digest,
    },
    /// The manifest cannot be read, or holds a value outside its range.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The bill of materials is not the one that the manifest speaks of.
    #[error("{SBOM_FILE}: {MANIFEST_FILE} says {}, found {}", or_none(*.claimed), or_none(*.found))]
    SbomDigest {
        /// By the manifest.
        claimed: Option<Digest>,
        /// Of the file, where there is one.
        found: Option<Digest>,
    },
    /// The archive holds something else than its files, or holds them in another way.
    #[error("not a skill bundle: {0}")]
    Shape(String),
    /// Not signed, or not by a trusted key, or changed since.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Larger than [`MAX_BUNDLE_BYTES`].
    #[error("the bundle has {0} bytes, at most {MAX_BUNDLE_BYTES} are read")]
    TooLarge(usize),
}

impl Bundle {
    /// Checks everything about a bundle that can be checked without running it.
    ///
    /// # Errors
    /// [`BundleError`] with the first thing that is wrong.
    pub fn verify(bytes: &[u8], minisig: &str, keys: &TrustedKeys) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLarge(bytes.len()));
        }
        let signed_by = keys.check(bytes, minisig)?;
        Self::read_signed(bytes, vec![signed_by])
    }

    /// What comes after the signatures, which the caller has checked: `signers`, at least one.
    pub(crate) fn read_signed(bytes: &[u8], signers: Vec<KeyId>) -> Result<Self, BundleError> {
        let Contents { cases, component, graph, manifest, sbom } = read(bytes)?;
        let found = Digest::of(&bytes[component.clone()]);
        if found != manifest.component_sha256 {
            return Err(BundleError::ComponentDigest { claimed: manifest.component_sha256, found });
        }
        let graph = read_graph(graph.map(|graph| &bytes[graph]), &manifest)?;
        let (claimed, found) =
            (manifest.sbom_sha256, sbom.clone().map(|range| Digest::of(&bytes[range])));
        if claimed != found {
            return Err(BundleError::SbomDigest { claimed, found });
        }
        let (claimed, found) =
            (manifest.cases_sha256, cases.clone().map(|range| Digest::of(&bytes[range])));
        if claimed != found {
            return Err(BundleError::CasesDigest { claimed, found });
        }
        let digest = Digest::of(bytes);
        let bytes = bytes.to_vec();
        Ok(Self { bytes, cases, component, digest, graph, manifest, sbom, signers })
    }

    /// The same, with the signatures that its tier needs.
    pub(crate) fn with_signers(self, signers: Vec<KeyId>) -> Self {
        Self { signers, ..self }
    }

    /// What it says of itself.
    #[must_use]
    pub const fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    /// SHA-256 of the whole file; what a plan names it by.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The key of the developer whose signature it bears.
    #[must_use]
    pub fn signed_by(&self) -> KeyId {
        // Whoever made it had checked a signature.
        self.signers[0]
    }

    /// The keys whose signatures counted: developers, then certifiers.
    #[must_use]
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// Its policy graph, where it has one.
    #[must_use]
    pub const fn graph(&self) -> Option<&Graph> {
        self.graph.as_ref()
    }

    /// The component's bytes.
    #[must_use]
    pub fn component(&self) -> &[u8] {
        &self.bytes[self.component.clone()]
    }

    /// The bill of materials, CycloneDX in JSON, where it has one. Its hash was checked, and
    /// nothing else about it.
    #[must_use]
    pub fn sbom(&self) -> Option<&[u8]> {
        self.sbom.clone().map(|range| &self.bytes[range])
    }

    /// What it must do in the simulator, JSON, where it says so. Its hash was checked, and nothing
    /// else about it.
    #[must_use]
    pub fn cases(&self) -> Option<&[u8]> {
        self.cases.clone().map(|range| &self.bytes[range])
    }

    /// The file as it was checked.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("id", &self.manifest.id)
            .field("version", &self.manifest.version)
            .field("digest", &self.digest)
            .field("signers", &self.signers)
            .finish_non_exhaustive()
    }
}

/// Reads and checks a manifest.
///
/// # Errors
/// [`ManifestError`] with the key, or the place where it stops being JSON.
pub fn parse_manifest(json: &[u8]) -> Result<SkillManifest, ManifestError> {
    let manifest: SkillManifest =
        serde_json::from_slice(json).map_err(|error| ManifestError::Json(error.to_string()))?;
    manifest.check()?;
    for (at, action) in manifest.actions.iter().enumerate() {
        if !crate::ports::is_name(action) || manifest.actions[..at].contains(action) {
            return Err(ManifestError::Value {
                key: "actions",
                why: format!(
                    "holds `{}`, which is no name or appears twice",
                    action.escape_debug()
                ),
            });
        }
    }
    Ok(manifest)
}

/// Neither a graph that nobody vouches for, nor a manifest whose graph is missing.
fn read_graph(json: Option<&[u8]>, manifest: &SkillManifest) -> Result<Option<Graph>, BundleError> {
    match (json, manifest.graph_sha256) {
        (None, None) => Ok(None),
        (Some(json), Some(claimed)) => {
            let found = Digest::of(json);
            if found != claimed {
                return Err(BundleError::GraphDigest { claimed, found });
            }
            Ok(Some(graph::parse(json, manifest)?))
        }
        (Some(_), None) => {
            Err(shape(format!("it holds {GRAPH_FILE}, and `graph_sha256` is not in its manifest")))
        }
        (None, Some(_)) => {
            Err(shape(format!("it holds no {GRAPH_FILE}, which its manifest names")))
        }
    }
}

struct Contents {
    cases: Option<Range<usize>>,
    component: Range<usize>,
    graph: Option<Range<usize>>,
    manifest: SkillManifest,
    sbom: Option<Range<usize>>,
}

/// Walks the archive without unpacking it: what is not a plain file of an expected name is
/// refused by its header.
fn read(bytes: &[u8]) -> Result<Contents, BundleError> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().map_err(unreadable)?;
    let (mut manifest, mut graph, mut component) = (None, None, None);
    let (mut sbom, mut cases, mut end) = (None, None, 0);
    // `raw`: no long names, no extended headers; they appear as entries and are refused.
    for entry in entries.raw(true) {
        let entry = entry.map_err(unreadable)?;
        let header = entry.header();
        let name = header.path_bytes();
        if header.entry_type() != tar::EntryType::Regular {
            return Err(shape(format!("`{}` is not a regular file", name.escape_ascii())));
        }
        let content = usize::try_from(entry.raw_file_position())
            .ok()
            .zip(usize::try_from(entry.size()).ok())
            .and_then(|(start, size)| Some(start..start.checked_add(size)?))
            .filter(|range| range.end <= bytes.len())
            .ok_or_else(|| shape(format!("`{}` runs past the end", name.escape_ascii())))?;
        end = content.end;
        let slot = match &*name {
            name if name == MANIFEST_FILE.as_bytes() && component.is_none() && graph.is_none() => {
                &mut manifest
            }
            name if name == GRAPH_FILE.as_bytes() && manifest.is_some() && component.is_none() => {
                &mut graph
            }
            name if name == COMPONENT_FILE.as_bytes() && sbom.is_none() && cases.is_none() => {
                &mut component
            }
            name if name == SBOM_FILE.as_bytes() && component.is_some() && cases.is_none() => {
                &mut sbom
            }
            name if name == CASES_FILE.as_bytes() && component.is_some() => &mut cases,
            name => {
                return Err(shape(format!(
                    "it holds `{}` where only {MANIFEST_FILE}, {GRAPH_FILE} if there is one, then \
                     {COMPONENT_FILE}, {SBOM_FILE} and {CASES_FILE} if there are any belong",
                    name.escape_ascii()
                )));
            }
        };
        if slot.replace(content).is_some() {
            return Err(shape(format!("it holds `{}` twice", name.escape_ascii())));
        }
    }
    let missing = |name| shape(format!("it holds no {name}"));
    let manifest = manifest.ok_or_else(|| missing(MANIFEST_FILE))?;
    let component = component.ok_or_else(|| missing(COMPONENT_FILE))?;
    let rest = &bytes[end..];
    if rest.len() < 2 * BLOCK
        || !bytes.len().is_multiple_of(BLOCK)
        || rest.iter().any(|byte| *byte != 0)
    {
        return Err(shape("it does not end in two empty blocks and nothing else".to_owned()));
    }
    if manifest.len() > MAX_MANIFEST_BYTES {
        return Err(shape(format!(
            "{MANIFEST_FILE} has {} bytes, at most {MAX_MANIFEST_BYTES} are read",
            manifest.len()
        )));
    }
    if let Some(sbom) = sbom.as_ref().filter(|range| range.len() > MAX_SBOM_BYTES) {
        let (found, most) = (sbom.len(), MAX_SBOM_BYTES);
        return Err(shape(format!("{SBOM_FILE} has {found} bytes, at most {most} are read")));
    }
    if let Some(cases) = cases.as_ref().filter(|range| range.len() > MAX_CASES_BYTES) {
        let (found, most) = (cases.len(), MAX_CASES_BYTES);
        return Err(shape(format!("{CASES_FILE} has {found} bytes, at most {most} are read")));
    }
    Ok(Contents { cases, component, graph, manifest: parse_manifest(&bytes[manifest])?, sbom })
}

fn or_none(digest: Option<Digest>) -> String {
    digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string())
}

fn shape(why: String) -> BundleError {
    BundleError::Shape(why)
}

fn unreadable(error: std::io::Error) -> BundleError {
    BundleError::Shape(format!("not a tar archive: {error}"))
}
