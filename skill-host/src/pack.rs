//! The developer's side: making keys, packing a bundle, signing it.
//!
//! Only with the feature `tools`; a robot has no use for it.

use crate::bundle::{BLOCK, parse_manifest};
use crate::graph::{self, GraphError};
use minisign::{KeyPair, SecretKeyBox};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::sbom::{Document, SbomError};
use nooterra_protocol::skill::{
    CASES_FILE, COMPONENT_FILE, GRAPH_FILE, MANIFEST_FILE, MAX_BUNDLE_BYTES, MAX_CASES_BYTES,
    MAX_SBOM_BYTES, ManifestError, SBOM_FILE,
};

/// A new key pair as the contents of two files that `minisign` reads.
#[derive(Clone)]
pub struct Keys {
    /// `NAME.pub`: for everyone.
    pub public: String,
    /// `NAME.minisec`: for nobody else.
    pub secret: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Why no bundle came about.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// More cases than a robot reads.
    #[error("{CASES_FILE} would have {0} bytes, at most {MAX_CASES_BYTES} are read")]
    Cases(usize),
    /// Not a WebAssembly component; often a core module that was linked without
    /// `wasm-component-ld`.
    #[error(
        "not a WebAssembly component; link the guest with `wasm-component-ld` (see \
         examples/skills/.cargo/config.toml)"
    )]
    Component,
    /// The policy graph is not one, or does not fit the manifest.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The template names a policy graph by its hash, and there is none.
    #[error(
        "the manifest has `graph_sha256`, and there is no {GRAPH_FILE}; name it or take the key out"
    )]
    GraphMissing,
    /// No randomness for a key, or the secret key cannot be used with this password.
    #[error("the signing key: {0}")]
    Key(minisign::PError),
    /// The template is not a manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// What was given as the bill of materials is none that anybody could read.
    #[error("{SBOM_FILE}: {0}")]
    Sbom(String),
    /// A trusted comment of more than one line.
    #[error("a trusted comment is one line")]
    TrustedComment,
    /// More than [`MAX_BUNDLE_BYTES`].
    #[error("the bundle would have {0} bytes, at most {MAX_BUNDLE_BYTES} are read")]
    TooLarge(usize),
}

/// Packs a component with its manifest. `template` is a manifest without
/// `component_sha256`, or with any; the hash of `component` takes its place.
///
/// The same arguments give the same bytes, on any machine and at any time.
///
/// # Errors
/// [`PackError`] when the robot would not take the result.
pub fn pack(template: &str, component: &[u8]) -> Result<Vec<u8>, PackError> {
    pack_with(template, component, Beside::default())
}

/// What a bundle may hold beside its manifest and its component.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// The cases that it must pass in the simulator, JSON.
    pub cases: Option<&'a [u8]>,
    /// The policy graph, JSON.
    pub graph: Option<&'a str>,
    /// The bill of materials, a CycloneDX document in JSON: [`crate::bill_of_materials`] makes one.
    pub sbom: Option<&'a [u8]>,
}

/// The same with more in it, whose hashes go into the manifest. Without a bill of materials or
/// cases, the manifest speaks of none.
///
/// # Errors
/// [`PackError`] when the robot would not take the result, or nobody could read what is beside.
pub fn pack_with(
    template: &str,
    component: &[u8],
    beside: Beside<'_>,
) -> Result<Vec<u8>, PackError> {
    let Beside { cases, graph, sbom } = beside;
    if let Some(sbom) = sbom {
        check_sbom(sbom)?;
    }
    if let Some(cases) = cases.filter(|cases| cases.len() > MAX_CASES_BYTES) {
        return Err(PackError::Cases(cases.len()));
    }
    // A component begins as a module does, with another layer (component-model Binary.md).
    if !component.starts_with(b"\0asm\x0d\x00\x01\x00") {
        return Err(PackError::Component);
    }
    let json_error = |error: serde_json::Error| ManifestError::Json(error.to_string());
    let mut template: serde_json::Value = serde_json::from_str(template).map_err(json_error)?;
    let Some(keys) = template.as_object_mut() else {
        return Err(ManifestError::Json("not an object".to_owned()).into());
    };
    keys.insert("component_sha256".to_owned(), Digest::of(component).to_string().into());
    if let Some(graph) = graph {
        keys.insert("graph_sha256".to_owned(), Digest::of(graph.as_bytes()).to_string().into());
    }
    match sbom {
        Some(sbom) => keys.insert("sbom_sha256".to_owned(), Digest::of(sbom).to_string().into()),
        None => keys.remove("sbom_sha256"),
    };
    match cases {
        Some(cases) => keys.insert("cases_sha256".to_owned(), Digest::of(cases).to_string().into()),
        None => keys.remove("cases_sha256"),
    };
    let manifest = parse_manifest(template.to_string().as_bytes())?;
    match graph {
        Some(graph) => drop(graph::parse(graph.as_bytes(), &manifest)?),
        None if manifest.graph_sha256.is_some() => return Err(PackError::GraphMissing),
        None => {}
    }
    let mut json = serde_json::to_vec_pretty(&manifest).map_err(json_error)?;
    json.push(b'\n');

    let padded = |len: usize| len.next_multiple_of(BLOCK) + BLOCK;
    let files = [
        Some((MANIFEST_FILE, json.as_slice())),
        graph.map(|graph| (GRAPH_FILE, graph.as_bytes())),
        Some((COMPONENT_FILE, component)),
        sbom.map(|sbom| (SBOM_FILE, sbom)),
        cases.map(|cases| (CASES_FILE, cases)),
    ];
    let files: Vec<_> = files.into_iter().flatten().collect();
    let total = files.iter().map(|(_, part)| padded(part.len())).sum::<usize>() + 2 * BLOCK;
    if total > MAX_BUNDLE_BYTES {
        return Err(PackError::TooLarge(total));
    }
    let mut bundle = Vec::with_capacity(total);
    for (name, content) in files {
        bundle.extend_from_slice(&header(name, content.len()));
        bundle.extend_from_slice(content);
        bundle.resize(bundle.len().next_multiple_of(BLOCK), 0);
    }
    bundle.resize(bundle.len() + 2 * BLOCK, 0);
    Ok(bundle)
}

fn check_sbom(sbom: &[u8]) -> Result<(), PackError> {
    if sbom.len() > MAX_SBOM_BYTES {
        let found = sbom.len();
        return Err(PackError::Sbom(format!(
            "it has {found} bytes, at most {MAX_SBOM_BYTES} are read"
        )));
    }
    let document: Document =
        serde_json::from_slice(sbom).map_err(|error| PackError::Sbom(error.to_string()))?;
    document.summary().map(drop).map_err(|error: SbomError| PackError::Sbom(error.to_string()))
}

/// Makes a key pair. Without a password the secret key lies open in its file.
///
/// # Errors
/// [`PackError::Key`]
pub fn keygen(password: Option<&str>) -> Result<Keys, PackError> {
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password.to_owned())),
        None => KeyPair::generate_unencrypted_keypair(),
    }
    .map_err(PackError::Key)?;
    Ok(Keys {
        public: pair.pk.to_box().map_err(PackError::Key)?.into_string(),
        secret: pair.sk.to_box(None).map_err(PackError::Key)?.into_string(),
    })
}

/// Signs `bytes`: the content of a `.minisig` file that `minisign -V` accepts. The trusted
/// comment is covered by the signature; `minisign` writes time and file name there.
///
/// # Errors
/// [`PackError::Key`] when the key cannot be opened with this password,
/// [`PackError::TrustedComment`] when the comment would break the format.
pub fn sign(
    bytes: &[u8],
    secret: &str,
    password: Option<&str>,
    trusted_comment: &str,
) -> Result<String, PackError> {
    if trusted_comment.contains(['\n', '\r']) {
        return Err(PackError::TrustedComment);
    }
    let sealed = SecretKeyBox::from_string(secret).map_err(PackError::Key)?;
    let key = match password {
        Some(password) => sealed.into_secret_key(Some(password.to_owned())),
        None => sealed.into_unencrypted_secret_key(),
    }
    .map_err(PackError::Key)?;
    minisign::sign(None, &key, bytes, Some(trusted_comment), Some("signature of a Nooterra skill"))
        .map(minisign::SignatureBox::into_string)
        .map_err(PackError::Key)
}

/// A ustar header with nothing in it that depends on who packs, where or when.
fn header(name: &str, len: usize) -> [u8; BLOCK] {
    let mut header = tar::Header::new_ustar();
    // Cannot fail: all names are relative, plain and short. An empty name would be refused
    // when the bundle is read.
    let named = header.set_path(name);
    debug_assert!(named.is_ok());
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(len as u64);
    header.set_cksum();
    *header.as_bytes()
}
