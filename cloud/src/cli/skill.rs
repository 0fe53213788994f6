//! `nooterra-cloud skill`: published versions, whose they are, and who may have them.

use super::pages::{Limit, List};
use super::verify::plain;
use super::{ClientError, Cloud, Outcome, items, sent, show};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nooterra_client::types::{
    CertificationRequest, KeyRequest, NamedQuery, ReasonRequest, RevokeRequest, Selection,
    SkillQuery, SkillRequest, SkillRobot, TrustRequest,
};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::sbom::Document;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Let the signatures of a key count: of a developer, or of a certifier.
    AddKey {
        /// The `.pub` file of `minisign`.
        key: PathBuf,
        /// Who has it, as manifests name their developer.
        #[arg(long, value_name = "NAME")]
        holder: String,
        /// Of a developer, who signs bundles, or of a certifier, who signs records.
        #[arg(long, value_parser = ["developer", "certifier"])]
        role: String,
        /// The highest tier that it may sign for.
        #[arg(long, value_parser = ["dev", "lab_cert", "field_cert"])]
        tier: String,
    },
    /// Say which robots may have a skill, whichever version; all, where none is named.
    Allow {
        /// The skill, without its version.
        id: String,
        /// Those with this label; may be given again.
        #[arg(long, value_name = "LABEL")]
        label: Vec<String>,
        /// None at all.
        #[arg(long, conflicts_with_all = ["label", "robot"])]
        nobody: bool,
        /// This one; may be given again.
        #[arg(long, value_name = "ROBOT")]
        robot: Vec<String>,
    },
    /// Find the published versions that were made with a package, and the robots that have one or
    /// get it.
    Contains {
        /// As bills of materials name it: `NAME`, or `NAME@VERSION`.
        package: String,
    },
    /// The keys whose signatures count.
    Keys,
    /// Published versions, oldest first.
    List(Limit),
    /// Publish a signed bundle. Prints what a step of a plan says as its `skill`.
    Publish {
        /// The bundle.
        bundle: PathBuf,
        /// The certification record, which tiers above `dev` need; its signature is beside it,
        /// as `.minisig`.
        #[arg(long, value_name = "FILE")]
        certification: Option<PathBuf>,
        /// Its signature; the bundle's path with `.minisig` unless given.
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
    },
    /// Take a version back for good: no robot is given it again.
    Revoke {
        /// SHA-256 of its bundle.
        bundle: String,
        /// Let jobs that run it go on to their end, instead of by the safe exit.
        #[arg(long)]
        finish: bool,
        /// For the record.
        #[arg(long)]
        reason: String,
    },
    /// Close a key: nothing that it signs is published any more.
    RevokeKey {
        /// Its id, as `minisign` prints it.
        key_id: String,
        /// For the record.
        #[arg(long)]
        reason: String,
    },
    /// What a version was made of, byte for byte as its developer signed it: a CycloneDX document.
    Sbom {
        /// SHA-256 of its bundle.
        bundle: String,
    },
    /// One version.
    Show {
        /// SHA-256 of its bundle.
        bundle: String,
    },
    /// Publish a trust document or a revocation list; robots ask for it every 15 minutes.
    Trust {
        /// The document or list, JSON.
        file: PathBuf,
        /// Its signatures; the file's path with `.minisig` unless given.
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
    },
}

const SKILLS: List = List {
    head: &["SKILL", "VERSION", "DEVELOPER", "SIGNED BY", "TIER", "PUBLISHED", "STATE", "BUNDLE"],
    name: "skills",
    path: "/v1/skills",
    row: |skill| {
        vec![
            show::text(skill, "id"),
            show::text(skill, "version"),
            show::text(&skill["manifest"], "developer"),
            show::text(skill, "signed_by"),
            show::text(skill, "tier"),
            show::time(&skill["published_at"]),
            state(skill).to_owned(),
            show::text(skill, "digest"),
        ]
    },
};

pub(super) fn run(cloud: &Cloud, command: Command) -> Result<Outcome, ClientError> {
    let api = &cloud.client;
    match command {
        Command::AddKey { key, holder, role, tier } => {
            let key = text("key", &key)?;
            let answer = sent(api.add_skill_key(&KeyRequest { holder, key, role, tier }))?;
            cloud.print(&answer, |key| keys(std::slice::from_ref(key)))
        }
        Command::Allow { id, label, nobody, robot } => {
            let everyone = !nobody && label.is_empty() && robot.is_empty();
            let rule = Selection { everyone, labels: label, robots: robot };
            let answer = sent(api.set_skill_rule(&id, &rule))?;
            cloud.print(&answer, |answer| format!("{}  {}\n", answer["id"], answer["rule"]))
        }
        Command::Contains { package } => contains(cloud, &package),
        Command::Keys => {
            let answer = sent(api.list_skill_keys())?;
            cloud.print(&answer, |answer| keys(items(answer, "keys")))
        }
        Command::List(limit) => SKILLS.print(cloud, limit),
        Command::Publish { bundle, certification, signature } => {
            let signature = signature.unwrap_or_else(|| signature_of(&bundle));
            let file =
                |source| ClientError::File { option: "bundle", path: bundle.clone(), source };
            let bytes = std::fs::read(&bundle).map_err(file)?;
            let certification = match certification {
                Some(record) => Some(CertificationRequest {
                    record: text("certification", &record)?,
                    signature: text("certification", &signature_of(&record))?,
                }),
                None => None,
            };
            let answer = sent(api.publish_skill(&SkillRequest {
                bundle_base64: STANDARD.encode(bytes),
                certification,
                signature: text("signature", &signature)?,
            }))?;
            let skill = json!({
                "bundle": answer["digest"], "id": answer["id"], "version": answer["version"],
            });
            cloud.print(&skill, |skill| format!("{skill}\n"))
        }
        Command::Revoke { bundle, finish, reason } => {
            let running = if finish { "finish" } else { "cancel" };
            let why = RevokeRequest { reason, running: Some(running.to_owned()) };
            let answer = sent(api.revoke_skill(&bundle, &why))?;
            cloud.print(&answer, one)
        }
        Command::RevokeKey { key_id, reason } => {
            let answer = sent(api.revoke_skill_key(&key_id, &ReasonRequest { reason }))?;
            cloud.print(&answer, |key| keys(std::slice::from_ref(key)))
        }
        Command::Sbom { bundle } => {
            let sbom = sbom(cloud, &bundle)?;
            let mut out = std::io::stdout().lock();
            // Nobody reads any longer: that is no fault of the command.
            let _ = out.write_all(&sbom).and_then(|()| out.flush());
            Ok(Outcome::Done)
        }
        Command::Show { bundle } => {
            let answer = sent(api.show_skill(&bundle))?;
            cloud.print(&answer, one)
        }
        Command::Trust { file, signature } => {
            let signature = signature.unwrap_or_else(|| signature_of(&file));
            let bytes = text("file", &file)?;
            let (bytes, signatures) = (STANDARD.encode(bytes), text("signature", &signature)?);
            let answer = sent(api.publish_skill_trust(&TrustRequest { bytes, signatures }))?;
            cloud.print(&answer, |answer| {
                let (kind, version) = (show::text(answer, "type"), &answer["version"]);
                format!("{kind} version {version} is published\n")
            })
        }
    }
}

/// The document of one version, whose `ETag` is its hash: what came otherwise is not it.
fn sbom(cloud: &Cloud, bundle: &str) -> Result<Vec<u8>, ClientError> {
    let answer = cloud.client.download_sbom(bundle).send()?;
    if answer.etag.map(|tag| tag.0) != Some(Digest::of(&answer.body)) {
        return Err(ClientError::Answer(format!("the bill of materials of {bundle}")));
    }
    Ok(answer.body)
}

/// The robots that have a version or get it; none where the cloud does not say, as one of the
/// release before does not.
fn robots(cloud: &Cloud, bundle: &str) -> Result<Option<Vec<SkillRobot>>, ClientError> {
    match every_robot(cloud, bundle) {
        Err(
            ClientError::Answer(_) | ClientError::Api(nooterra_client::ClientError::Refused(_)),
        ) => Ok(None),
        answer => answer.map(Some),
    }
}

/// From every page of them.
fn every_robot(cloud: &Cloud, bundle: &str) -> Result<Vec<SkillRobot>, ClientError> {
    let (mut robots, mut after) = (Vec::new(), None);
    loop {
        let query = NamedQuery { after: after.clone(), ..NamedQuery::default() };
        let page = cloud.client.list_skill_robots(bundle, &query).send()?.body;
        robots.extend(page.robots);
        // A cloud that goes in circles would be listed for ever.
        match page.next {
            None => return Ok(robots),
            next if next == after => {
                return Err(ClientError::Answer(format!("the robots of {bundle}")));
            }
            next => after = next,
        }
    }
}

/// Looks into the bill of materials of every version, and tells which robots have one that has the
/// package. Those that have none, or one that cannot be read, are told too: nothing is known of
/// them.
fn contains(cloud: &Cloud, package: &str) -> Result<Outcome, ClientError> {
    let (name, version) = match package.rsplit_once('@') {
        // Some registries' names begin with it.
        Some((name, version)) if !name.is_empty() => (name, Some(version)),
        _ => (package, None),
    };
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let query = SkillQuery { after: after.clone(), ..SkillQuery::default() };
        let page = cloud.client.list_skills(&query).send()?.body;
        for skill in page.skills {
            let document = if skill.manifest["sbom_sha256"].is_null() {
                None
            } else {
                // One bundle that is damaged there ends no search through the others.
                let sbom = match sbom(cloud, &skill.digest.to_string()) {
                    Err(
                        ClientError::Answer(_)
                        | ClientError::Api(nooterra_client::ClientError::Refused(_)),
                    ) => None,
                    answer => Some(answer?),
                };
                let document = sbom.and_then(|it| serde_json::from_slice::<Document>(&it).ok());
                document.filter(|document| document.summary().is_ok())
            };
            let mut told = json!({
                "digest": skill.digest, "id": skill.id, "revoked": skill.revoked.is_some(),
                "version": skill.version,
            });
            let Some(document) = document else {
                unknown.push(told);
                continue;
            };
            let versions: Vec<_> = document.versions(name, version).collect();
            if !versions.is_empty() {
                told["package"] = json!({ "name": name, "versions": versions });
                told["robots"] = json!(robots(cloud, &skill.digest.to_string())?);
                found.push(told);
            }
        }
        // A cloud that goes in circles would be listed for ever.
        match page.next {
            None => break,
            next if next == after => return Err(ClientError::Answer("/v1/skills".to_owned())),
            next => after = next,
        }
    }
    cloud.print(&json!({ "skills": found, "unknown": unknown }), containing)
}

/// The versions that were found and the robots of each, and how many it is not known of.
fn containing(answer: &Value) -> String {
    let row = |skill: &Value| {
        let versions = skill["package"]["versions"].as_array().into_iter().flatten();
        let versions: Vec<_> = versions.filter_map(Value::as_str).map(plain).collect();
        let state = if skill["revoked"] == json!(true) { "revoked" } else { "published" };
        vec![
            show::text(skill, "id"),
            show::text(skill, "version"),
            versions.join(", "),
            state.to_owned(),
            show::text(skill, "digest"),
        ]
    };
    let rows: Vec<_> = items(answer, "skills").iter().map(row).collect();
    let mut text = show::table(&["SKILL", "VERSION", "MADE WITH", "STATE", "BUNDLE"], &rows);
    let robots: Vec<_> = items(answer, "skills").iter().flat_map(robots_of).collect();
    if !robots.is_empty() {
        let head = ["ROBOT", "HAS IT", "SAID", "GETS IT BY", "SKILL", "VERSION"];
        let _ = write!(text, "\n{}", show::table(&head, &robots));
    } else if !rows.is_empty() {
        text.push_str("\nno robot says that it has one of them, and none gets one\n");
    }
    let unknown = items(answer, "unknown").len();
    if unknown > 0 {
        let _ = writeln!(
            text,
            "{unknown} more cannot be told of: no bill of materials that can be read (--json lists \
             them)"
        );
    }
    text
}

/// A row for each robot that has a version or gets it; one where it is not known which do.
fn robots_of(skill: &Value) -> Vec<Vec<String>> {
    let of = ["id", "version"].map(|name| show::text(skill, name));
    if skill["robots"].is_null() {
        let row = ["not known", "-", "-", "-"].map(str::to_owned);
        return vec![[row.as_slice(), of.as_slice()].concat()];
    }
    let row = |robot: &Value| {
        let ring = robot["ring"].as_str().map(|ring| format!("ring {ring}"));
        let jobs = match robot["jobs"].as_u64() {
            None | Some(0) => None,
            Some(1) => Some("a job".to_owned()),
            Some(count) => Some(format!("{count} jobs")),
        };
        let by: Vec<_> = ring.into_iter().chain(jobs).collect();
        vec![
            show::text(robot, "id"),
            show::text(robot, "state"),
            show::time(&robot["reported_at"]),
            if by.is_empty() { "-".to_owned() } else { by.join(", ") },
        ]
    };
    let rows = items(skill, "robots").iter().map(row);
    rows.map(|row| [row.as_slice(), of.as_slice()].concat()).collect()
}

fn signature_of(file: &Path) -> PathBuf {
    let mut path = file.to_owned().into_os_string();
    path.push(".minisig");
    path.into()
}

fn text(option: &'static str, path: &Path) -> Result<String, ClientError> {
    std::fs::read_to_string(path).map_err(|source| ClientError::File {
        option,
        path: path.to_owned(),
        source,
    })
}

fn state(skill: &Value) -> &'static str {
    if skill["revoked"].is_null() { "published" } else { "revoked" }
}

fn keys(keys: &[Value]) -> String {
    let row = |key: &Value| {
        vec![
            show::text(key, "key_id"),
            show::text(key, "role"),
            show::text(key, "tier"),
            show::text(key, "holder"),
            show::time(&key["added_at"]),
            show::text(key, "reason"),
        ]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    show::table(&["KEY", "ROLE", "UP TO", "HOLDER", "ADDED", "REVOKED"], &rows)
}

fn one(skill: &Value) -> String {
    let manifest = &skill["manifest"];
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("skill", show::text(skill, "id")),
        row("version", show::text(skill, "version")),
        row("bundle", show::text(skill, "digest")),
        row("developer", show::text(manifest, "developer")),
        row("signed by", show::text(skill, "signed_by")),
        row("counts as", show::text(skill, "tier")),
        row("licence", show::text(manifest, "licence")),
        row("actions", manifest["actions"].to_string()),
        row("capabilities", manifest["capabilities"].to_string()),
        row("published", show::time(&skill["published_at"])),
        row("state", state(skill).to_owned()),
    ];
    let (certification, revoked) = (&skill["certification"], &skill["revoked"]);
    if !certification.is_null() {
        let until = show::time(&certification["expires_at"]);
        rows.push(row("certified", format!("by {} until {until}", certification["signed_by"])));
    }
    if !revoked.is_null() {
        let (at, running) = (show::time(&revoked["at"]), show::text(revoked, "running"));
        let why = show::text(revoked, "reason");
        rows.push(row("revoked", format!("{at}, what ran: {running}: {why}")));
    }
    show::table(&["", ""], &rows).trim_start_matches(['\n', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_that_does_not_say_which_robots_have_a_version_is_not_taken_to_say_that_none_has() {
        let skill = |robots: Value| {
            json!({
                "digest": "ab", "id": "patrol", "package": { "name": "way", "versions": ["1"] },
                "revoked": false, "robots": robots, "version": "1.0.0",
            })
        };
        let text = |skills: &[Value]| containing(&json!({ "skills": skills, "unknown": [] }));
        let (none, silent) = (text(&[skill(json!([]))]), text(&[skill(json!(null))]));
        assert!(none.contains("no robot says") && !none.contains("not known"), "{none}");
        assert!(silent.contains("not known") && !silent.contains("no robot says"), "{silent}");
        let robot = json!({
            "id": "amr-1", "jobs": 1, "reported_at": 0, "ring": null, "state": "active",
        });
        let both = text(&[skill(json!([robot])), skill(json!(null))]);
        let rows: Vec<_> = both.lines().filter(|line| line.ends_with("patrol  1.0.0")).collect();
        assert!(rows[0].starts_with("amr-1") && rows[1].starts_with("not known"), "{both}");
    }

    #[test]
    fn a_revoked_version_is_shown_as_one_with_its_reason() {
        let mut skill = json!({
            "id": "patrol", "version": "1.0.0", "digest": "ab", "signed_by": null, "tier": "dev",
            "manifest": { "developer": "acme" }, "published_at": 0,
            "certification": null, "revoked": null,
        });
        assert!(one(&skill).contains("published") && !one(&skill).contains("what ran"));
        skill["revoked"] = json!({ "at": 0, "reason": "it turns left", "running": "cancel" });
        let text = one(&skill);
        assert!(text.contains("what ran: cancel: it turns left"), "{text}");
        assert_eq!((SKILLS.row)(&skill)[6], "revoked");
    }
}
