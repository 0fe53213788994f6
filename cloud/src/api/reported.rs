//! What a robot has reported of itself: the policy that it is under, and its black box as far as
//! it came here.

use super::auth::Admin;
use super::error::{ApiError, Problem};
use super::robots::load;
use crate::core::Core;
use crate::store::{StoreError, live};
use axum::Json;
use axum::extract::{Path, State};
use nooterra_evidence::cose::danger_unverified;
use nooterra_evidence::{Checkpoint, Record};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::Entry;
use nooterra_protocol::envelope::claimed_key_id;
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::policy::PolicyDocument;
use nooterra_protocol::policy_part::{MAX_PARTS, PolicyPart};
use nooterra_protocol::time::Stamp;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Gaps and crashes that are named; the newest.
const NAMED: u32 = 20;

/// Parts of policies that are looked through: those of the two newest of the largest.
const PARTS: u32 = 2 * MAX_PARTS;

/// The policy that a robot is under, as it reported it.
#[derive(Serialize, ToSchema)]
#[schema(as = ReportedPolicy)]
pub(crate) struct PolicyJson {
    /// When the robot wrote it into its journal.
    #[schema(value_type = Object)]
    at: Stamp,
    /// What was signed.
    #[schema(value_type = Object)]
    document: Box<PolicyDocument>,
    /// SHA-256 of the signed bytes: what verdicts name it by. It was checked.
    #[schema(value_type = String)]
    hash: Digest,
    /// The robot's health names this hash now.
    in_force: bool,
    /// The key that it says it is signed with. The robot checked the signature; the cloud does
    /// not hold its owner's key and did not.
    key_id: Option<String>,
}

/// A robot's black box, as far as it came here.
#[derive(Serialize, ToSchema)]
#[schema(as = BlackBox)]
pub(crate) struct BoxJson {
    /// What it may take on the robot's disk, as the robot last said.
    bound_bytes: Option<u64>,
    /// What it takes.
    bytes: Option<u64>,
    /// The newest checkpoint that came here.
    checkpoint: Option<CheckpointJson>,
    /// The newest crashes of the agent that its journal names; at most 20, newest first.
    crashes: Vec<NoteJson>,
    /// The newest gaps that its journal names: records that were lost before they reached the
    /// disk; at most 20, newest first.
    gaps: Vec<NoteJson>,
    /// The oldest record here.
    first_seq: Option<u64>,
    /// The life of the journal that sent last.
    #[schema(value_type = Option<String>)]
    journal: Option<JournalId>,
    /// The newest record here.
    last_seq: Option<u64>,
    /// Records between the oldest and the newest here that are not here: under way, or pruned
    /// on the robot before they could be sent.
    missing: Option<u64>,
    /// Records here.
    records: Option<u64>,
    /// Records on the robot, as it last said.
    records_on_robot: Option<u64>,
}

/// A checkpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = ReportedCheckpoint)]
pub(crate) struct CheckpointJson {
    /// When it was made.
    #[schema(value_type = Object)]
    at: Stamp,
    /// It is signed by a key that this robot's enrolled device key certified. It was checked.
    genuine: bool,
    /// The Merkle root over all that it covers.
    #[schema(value_type = String)]
    root: Digest,
    /// Its place in the journal.
    seq: u64,
    /// It covers so many records, from the first on.
    size: u64,
}

/// Something that the journal says of itself.
#[derive(Serialize, ToSchema)]
#[schema(as = JournalNote)]
pub(crate) struct NoteJson {
    /// Both clocks of the robot.
    #[schema(value_type = Object)]
    at: Stamp,
    /// In which life of the journal.
    journal: String,
    /// Its place in the journal.
    seq: u64,
    /// In one line.
    what: String,
}

/// The policy that the robot is under, as its journal holds it; 404 where it reported none.
#[utoipa::path(
    get, operation_id = "show_reported_policy", path = "/v1/robots/{id}/policy", tag = "robots",
    params(("id" = String, Path, description = "the robot")),
    responses((status = 200, description = "the policy", body = PolicyJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn policy(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<Json<PolicyJson>, ApiError> {
    let row = load(&core, &id).await?;
    let in_force = row.state.and_then(|state| state.health).map(|health| health.policy_hash);
    let robot = row.id.clone();
    let rows = core
        .store
        .read::<_, StoreError, _>(move |tx| live::newest(tx, &robot, "policy", PARTS))
        .await?;
    let records: Vec<Record> =
        rows.iter().filter_map(|row| Record::decode(&row.bytes).ok()).collect();
    let parts: Vec<(Stamp, PolicyPart)> = records
        .into_iter()
        .filter_map(|record| match record.entry() {
            Ok(Some(Entry::Policy(part))) => Some((record.stamp, part)),
            _ => None,
        })
        .collect();
    // The one in force where it is known, else the one that was written last.
    let hash = in_force.or_else(|| parts.last().map(|(_, part)| part.hash));
    let found = hash.and_then(|hash| read(&parts, hash, in_force == Some(hash)));
    found.map(Json).ok_or_else(|| {
        let message = format!("robot {id} has not reported the policy that it is under");
        let hint = "it does at its next start, unless its policy is larger than 512 KiB or its \
                    agent is of an earlier release";
        ApiError::missing("no_policy_reported", message, hint)
    })
}

fn read(parts: &[(Stamp, PolicyPart)], hash: Digest, in_force: bool) -> Option<PolicyJson> {
    let of_it: Vec<PolicyPart> =
        parts.iter().filter(|(_, part)| part.hash == hash).map(|(_, part)| part.clone()).collect();
    let at = parts.iter().rev().find(|(_, part)| part.hash == hash)?.0;
    let signed = PolicyPart::join(&of_it, &hash)?;
    let document = Box::new(danger_unverified::<PolicyDocument>(&signed).ok()?);
    let key_id = claimed_key_id(&signed).map(|id| id.to_string());
    Some(PolicyJson { at, document, hash, in_force, key_id })
}

/// The robot's black box, as far as it came here.
#[utoipa::path(
    get, operation_id = "show_box", path = "/v1/robots/{id}/box", tag = "robots",
    params(("id" = String, Path, description = "the robot")),
    responses((status = 200, description = "the black box", body = BoxJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn black_box(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<Json<BoxJson>, ApiError> {
    let row = load(&core, &id).await?;
    let (robot, key) = (row.id.clone(), row.device_key.clone());
    let health = row.state.and_then(|state| state.health);
    let answer = core
        .store
        .read::<_, StoreError, _>(move |tx| {
            let held = live::held(tx, &robot)?;
            let newest = live::newest(tx, &robot, "checkpoint", 1)?;
            let checkpoint = newest.last().and_then(|row| {
                let record = Record::decode(&row.bytes).ok()?;
                let Ok(Some(Entry::Checkpoint(signed))) = record.entry() else { return None };
                let genuine = Checkpoint::read(&signed.0, Some(&key)).is_ok();
                let Checkpoint { root, size, stamp, .. } =
                    Checkpoint::read(&signed.0, None).ok()?;
                Some(CheckpointJson { at: stamp, genuine, root, seq: record.seq, size })
            });
            let notes = |kind| -> Result<Vec<NoteJson>, StoreError> {
                let rows = live::newest(tx, &robot, kind, NAMED)?;
                Ok(rows.into_iter().rev().filter_map(note).collect())
            };
            Ok(BoxJson {
                bound_bytes: health.as_ref().and_then(|health| health.journal_bound_bytes),
                bytes: health.as_ref().and_then(|health| health.journal_bytes),
                checkpoint,
                crashes: notes("crash")?,
                first_seq: held.as_ref().map(|held| held.first_seq),
                gaps: notes("gap")?,
                last_seq: held.as_ref().map(|held| held.last_seq),
                missing: held
                    .as_ref()
                    .map(|held| (held.last_seq + 1).saturating_sub(held.first_seq + held.records)),
                records: held.as_ref().map(|held| held.records),
                records_on_robot: health.as_ref().map(|health| health.journal_records),
                journal: held.map(|held| held.journal),
            })
        })
        .await?;
    Ok(Json(answer))
}

/// A gap or a crash in one line.
fn note(row: crate::store::records::RecordRow) -> Option<NoteJson> {
    let record = Record::decode(&row.bytes).ok()?;
    let what = match record.entry() {
        Ok(Some(Entry::Gap(gap))) => format!("{} records lost: {}", gap.dropped, gap.reason),
        Ok(Some(Entry::Crash(crash))) => {
            let during = crash.job.map(|job| format!(" during job {job}")).unwrap_or_default();
            format!("the run before ended without order after record {}{during}", crash.last_seq)
        }
        _ => return None,
    };
    Some(NoteJson { at: record.stamp, journal: row.journal, seq: record.seq, what })
}
