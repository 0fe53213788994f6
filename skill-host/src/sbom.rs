//! The bill of materials of a skill in Rust: its `Cargo.lock` as a CycloneDX 1.6 document.
//!
//! The same arguments give the same bytes: no time, no serial number, no path, no version of ours.
//! It lists what cargo locked for the crate, which includes what only its build or its tests used
//! (a procedural macro is no part of the component, but it wrote some of it).

use nooterra_protocol::codec::Digest;
use nooterra_protocol::skill::MAX_SBOM_BYTES;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most bytes of a lock file that are read.
pub const MAX_LOCK_BYTES: usize = 4 * 1024 * 1024;

/// What cargo calls the registry of everybody.
const CRATES_IO: [&str; 2] =
    ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

/// Licences as crates state them, by name and version.
pub type Licences = BTreeMap<(String, String), String>;

/// Why there is no bill of materials.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A crate depends on one that the file does not have.
    #[error("Cargo.lock: {of} depends on `{on}`, which is not in it; run `cargo update -w`")]
    Dangling {
        /// Which crate.
        of: String,
        /// On what.
        on: String,
    },
    /// What it would tell is more than a bundle may hold.
    #[error("Cargo.lock: a bill of materials of more than {MAX_SBOM_BYTES} bytes would come of it")]
    Bill,
    /// More than [`MAX_LOCK_BYTES`].
    #[error("Cargo.lock has {0} bytes, at most {MAX_LOCK_BYTES} are read")]
    Large(usize),
    /// The skill's own crate is not in it, or more than once.
    #[error("Cargo.lock has {found} crates named `{root}` without a source; name the skill's own")]
    Root {
        /// How many.
        found: usize,
        /// The name.
        root: String,
    },
    /// Not a lock file of cargo's.
    #[error("Cargo.lock: {0}")]
    Toml(String),
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
    name: String,
    source: Option<String>,
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Component<'a>>,
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    component: Component<'a>,
}

#[derive(Serialize)]
struct Component<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    bom_ref: String,
    name: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Expression>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Serialize)]
struct Expression {
    expression: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    of: String,
    depends_on: Vec<String>,
}

/// Makes a CycloneDX 1.6 document, JSON, of what `lock` has for the crate `root` and all that it
/// depends on. `component` is the hash of what was built of it. `licences` are by name and version;
/// of a crate that is not there none is stated.
///
/// # Errors
/// [`LockError`]
pub fn bill_of_materials(
    lock: &str,
    root: &str,
    component: Digest,
    licences: &Licences,
) -> Result<Vec<u8>, LockError> {
    if lock.len() > MAX_LOCK_BYTES {
        return Err(LockError::Large(lock.len()));
    }
    let lock: Lock = toml::from_str(lock).map_err(|error| LockError::Toml(error.to_string()))?;
    let packages = &lock.package;
    let own: Vec<usize> = (0..packages.len())
        .filter(|at| packages[*at].name == root && packages[*at].source.is_none())
        .collect();
    let &[own] = own.as_slice() else {
        return Err(LockError::Root { found: own.len(), root: root.to_owned() });
    };
    let edges = reachable(packages, own)?;
    let refs = refs(packages, edges.keys().copied());
    // A name that is written once there is repeated here by all that depend on it.
    let told = edges.iter().flat_map(|(of, on)| on.iter().chain([of]));
    if told.map(|at| refs[at].len()).sum::<usize>() > MAX_SBOM_BYTES {
        return Err(LockError::Bill);
    }
    let described = |at: usize| described(&packages[at], refs[&at].clone(), licences);
    let mut components: Vec<_> =
        edges.keys().filter(|at| **at != own).map(|at| described(*at)).collect();
    components.sort_by(|one, other| one.bom_ref.cmp(&other.bom_ref));
    let mut dependencies: Vec<_> = edges
        .iter()
        .map(|(of, on)| {
            let on: BTreeSet<_> = on.iter().map(|at| refs[at].clone()).collect();
            Dependency { of: refs[of].clone(), depends_on: on.into_iter().collect() }
        })
        .collect();
    dependencies.sort_by(|one, other| one.of.cmp(&other.of));
    let built = Hash { alg: "SHA-256", content: component.to_string() };
    let bom = Bom {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        version: 1,
        metadata: Metadata {
            component: Component { kind: "application", hashes: vec![built], ..described(own) },
        },
        components,
        dependencies,
    };
    let mut json =
        serde_json::to_vec_pretty(&bom).map_err(|error| LockError::Toml(error.to_string()))?;
    json.push(b'\n');
    Ok(json)
}

/// The packages that are reached from one, with what each depends on.
fn reachable(
    packages: &[Package],
    own: usize,
) -> Result<BTreeMap<usize, BTreeSet<usize>>, LockError> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, package) in packages.iter().enumerate() {
        by_name.entry(&package.name).or_default().push(at);
    }
    let find = |on: &str| {
        // `name`, where that is enough to tell it: else `name version`, else with ` (source)`.
        let mut words = on.splitn(3, ' ');
        let name = words.next()?;
        let (version, source) = (words.next(), words.next());
        let source = source.map(|source| source.trim_matches(['(', ')']));
        let fits = |at: &&usize| {
            let package = &packages[**at];
            version.is_none_or(|version| version == package.version)
                && source.is_none_or(|source| package.source.as_deref() == Some(source))
        };
        by_name.get(name)?.iter().find(fits).copied()
    };
    let (mut edges, mut open) = (BTreeMap::new(), vec![own]);
    while let Some(at) = open.pop() {
        if edges.contains_key(&at) {
            continue;
        }
        let package = &packages[at];
        let on = package.dependencies.iter().map(|on| {
            find(on).ok_or_else(|| LockError::Dangling { of: package.name.clone(), on: on.clone() })
        });
        let on = on.collect::<Result<BTreeSet<_>, _>>()?;
        open.extend(&on);
        edges.insert(at, on);
    }
    Ok(edges)
}

/// What each is called in the document: `name@version`, and from where if that is not enough.
fn refs(packages: &[Package], those: impl Iterator<Item = usize>) -> BTreeMap<usize, String> {
    let mut taken = BTreeSet::new();
    let name = |at: usize| {
        let Package { name, source, version, .. } = &packages[at];
        let short = format!("{name}@{version}");
        let from = source.as_deref().unwrap_or("here");
        let long = format!("{short} ({from})");
        let mut chosen = if taken.contains(&short) { long } else { short };
        while !taken.insert(chosen.clone()) {
            chosen.push('\'');
        }
        (at, chosen)
    };
    those.map(name).collect()
}

fn described<'a>(package: &'a Package, bom_ref: String, licences: &Licences) -> Component<'a> {
    let Package { checksum, name, source, version, .. } = package;
    let of_crates_io = source.as_deref().is_some_and(|source| CRATES_IO.contains(&source));
    let is_hash = |text: &&String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let hash = |content: &String| Hash { alg: "SHA-256", content: content.clone() };
    let licence = licences.get(&(name.clone(), version.clone()));
    // Crates of old write `MIT/Apache-2.0`, which means the same.
    let licence = licence.map(|text| text.replace('/', " OR ").replace("  ", " "));
    Component {
        kind: "library",
        bom_ref,
        name,
        version,
        hashes: checksum.iter().filter(is_hash).map(hash).collect(),
        licenses: licence.into_iter().map(|expression| Expression { expression }).collect(),
        purl: of_crates_io.then(|| format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))),
    }
}
