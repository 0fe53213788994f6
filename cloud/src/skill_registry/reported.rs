//! Which robots have a version, and which would get it: what their journals said, beside what
//! their rings have and what the jobs on their way name.
//!
//! A robot says each step of a version in a record ([`SkillInstall`]). The rows of
//! [`robot_skills`] are a fold of those records in the order in which they came, each robot's as
//! far as its `skills_through`: so what another release kept and did not read is read with the
//! robot's next such record, or at the next start, and what comes twice changes nothing. They can
//! be thrown away and are made anew by `replay --rebuild`; a record that this release cannot read
//! is passed over, and counts only when a release that can makes them anew so.

use super::give::ByRing;
use crate::access::Tenant;
use crate::store::robot_skills::{self, Held, RobotRow, SaidRow};
use crate::store::{Connection, StoreError, jobs, registry};
use nooterra_evidence::Record;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::Entry;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::skill_install::{SkillInstall, SkillInstallStep};
use nooterra_protocol::time::WallMillis;
use std::collections::HashMap;

/// Records that are read at once.
const RECORDS: u32 = 256;

/// Versions of one robot that are kept. An agent keeps three of each of 32 skills.
const VERSIONS: u32 = 128;

/// Robots that are read at once, at the most.
const ROBOTS: u32 = 1000;

/// Robots that are looked at for one page, whether they have the version or not.
const LOOKED_AT: usize = 10_000;

/// A robot that has a version, or gets it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Has {
    /// How it stands there, and since when that is known here.
    pub(crate) held: Option<(Held, WallMillis)>,
    pub(crate) id: RobotId,
    /// How many of the jobs that it was given, and that are not over, name it.
    pub(crate) jobs: u32,
    /// The ring by which its next job gets it.
    pub(crate) ring: Option<String>,
}

/// Reads what a robot said that was not read yet.
pub(crate) fn catch_up(tx: &Connection, robot: &RobotId) -> Result<(), StoreError> {
    let Some(before) = robot_skills::read_through(tx, robot)? else { return Ok(()) };
    let mut through = before;
    loop {
        let page = robot_skills::said(tx, robot, through, RECORDS)?;
        for said in &page {
            take(tx, robot, said)?;
            through = said.cursor;
        }
        if page.len() < usize::try_from(RECORDS).unwrap_or(usize::MAX) {
            break;
        }
    }
    if through > before {
        robot_skills::set_read_through(tx, robot, through)?;
    }
    Ok(())
}

/// Reads what any robot said and was not read yet, all in the one transaction.
pub(crate) fn complete(tx: &Connection) -> Result<(), StoreError> {
    robot_skills::unread(tx)?.iter().try_for_each(|robot| catch_up(tx, robot))
}

/// One record. A step that lacks what it is about says nothing, and one that cannot be read was
/// noted when it came.
fn take(tx: &Connection, robot: &RobotId, said: &SaidRow) -> Result<(), StoreError> {
    let entry = Record::decode(&said.bytes).ok().and_then(|record| record.entry().ok().flatten());
    let Some(Entry::SkillInstall(SkillInstall { bundle, skill, step, .. })) = entry else {
        return Ok(());
    };
    match (step, bundle, skill) {
        (SkillInstallStep::Activated, Some(bundle), Some(skill)) => {
            robot_skills::set_back(tx, robot, &skill)?;
            robot_skills::put(tx, robot, (&skill, &bundle, Held::Active), said)?;
            robot_skills::keep_newest(tx, robot, VERSIONS)
        }
        (SkillInstallStep::Installed, Some(bundle), Some(skill)) => {
            robot_skills::put(tx, robot, (&skill, &bundle, Held::OnTrial), said)?;
            robot_skills::keep_newest(tx, robot, VERSIONS)
        }
        (SkillInstallStep::Lost, ..) => robot_skills::clear(tx, robot),
        (SkillInstallStep::Removed | SkillInstallStep::RolledBack, Some(bundle), _) => {
            robot_skills::remove(tx, robot, &bundle)
        }
        _ => Ok(()),
    }
}

/// The robots that have a version or get it, by id: at most `limit` of those after `after`, and
/// after which of them to go on. A page may hold fewer than there are: a bounded number of robots
/// is looked at for it.
pub(crate) fn robots_of(
    tx: &Connection,
    tenant: Option<&Tenant>,
    bundle: &Digest,
    (after, limit): (&str, usize),
    now: WallMillis,
) -> Result<(Vec<Has>, Option<String>), StoreError> {
    robots_among(tx, tenant, bundle, (after, limit, LOOKED_AT), now)
}

fn robots_among(
    tx: &Connection,
    tenant: Option<&Tenant>,
    bundle: &Digest,
    (after, limit, most): (&str, usize, usize),
    now: WallMillis,
) -> Result<(Vec<Has>, Option<String>), StoreError> {
    let mut jobs: HashMap<RobotId, u32> = HashMap::new();
    for job in jobs::under_way_with(tx, tenant, bundle)? {
        *jobs.entry(job.robot).or_default() += 1;
    }
    // Each tenant's rings are read once; none where no ring of it has the version.
    let mut rings: HashMap<Tenant, Option<ByRing>> = HashMap::new();
    let (mut found, mut last, mut looked_at) = (Vec::new(), after.to_owned(), 0);
    // As many as are asked for and one more, by which it is known that there are more; then more at
    // once, as of those few had it.
    let mut at_once = u32::try_from(limit).unwrap_or(ROBOTS).saturating_add(1).min(ROBOTS);
    loop {
        let page = robot_skills::page(tx, tenant, bundle, &last, at_once)?;
        let ended = page.len() < usize::try_from(at_once).unwrap_or(usize::MAX);
        at_once = at_once.saturating_mul(4).min(ROBOTS);
        for RobotRow { tenant, .. } in &page {
            if !rings.contains_key(tenant) {
                rings.insert(tenant.clone(), ByRing::of(tx, tenant, bundle, now)?);
            }
        }
        for RobotRow { held, id, tenant } in page {
            if found.len() == limit || looked_at == most {
                return Ok((found, Some(last)));
            }
            looked_at += 1;
            id.as_str().clone_into(&mut last);
            let ring = match rings.get(&tenant) {
                Some(Some(by_ring)) => by_ring.ring(&id, &registry::labels(tx, &id)?),
                _ => None,
            };
            let ring = ring.map(str::to_owned);
            let jobs = jobs.get(&id).copied().unwrap_or_default();
            if held.is_some() || ring.is_some() || jobs > 0 {
                found.push(Has { held, id, jobs, ring });
            }
        }
        if ended {
            return Ok((found, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skill_registry::{Ring, Selection};
    use crate::store::records::{self, NewRecord};
    use crate::store::{Store, in_memory, robots, skills, tenants};
    use nooterra_protocol::entry::Class;
    use nooterra_protocol::ids::{JournalId, SkillId};
    use nooterra_protocol::keys::{Es256Key, Signer as _};
    use nooterra_protocol::skill::SkillManifest;
    use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp};
    use proptest::prelude::{prop_assert_eq, proptest};
    use std::collections::BTreeMap;

    const STEPS: [SkillInstallStep; 6] = [
        SkillInstallStep::Activated,
        SkillInstallStep::Installed,
        SkillInstallStep::Recompiled,
        SkillInstallStep::Removed,
        SkillInstallStep::RolledBack,
        SkillInstallStep::Lost,
    ];

    fn robot(name: &str) -> RobotId {
        RobotId::new(name).unwrap()
    }

    fn bundle(of: u32) -> Digest {
        Digest::of(&of.to_be_bytes())
    }

    /// Half of the versions are of one skill.
    fn skill(of: u32) -> SkillId {
        SkillId::new(["patrol", "survey"][of as usize % 2]).unwrap()
    }

    fn step(step: SkillInstallStep, of: u32) -> SkillInstall {
        let known = (step != SkillInstallStep::Lost).then_some(of);
        SkillInstall {
            bundle: known.map(bundle),
            reason: "why".to_owned(),
            skill: known.map(skill),
            step,
            version: known.map(|of| format!("1.{of}.0")),
        }
    }

    /// A store with one robot that is enrolled.
    fn store() -> Connection {
        let tx = in_memory().unwrap();
        enrol(&tx, "amr-1", "default");
        tx
    }

    fn enrol(tx: &Connection, name: &str, tenant: &str) {
        let key = Es256Key::from_seed([7; 32]).unwrap().verifying_key();
        robots::enrol(tx, &robot(name), &key, WallMillis(1)).unwrap();
        tenants::give(tx, &robot(name), &tenant.parse().unwrap()).unwrap();
    }

    /// Keeps a record as it comes in.
    fn say(tx: &Connection, of: &RobotId, seq: u64, entry: &Entry) {
        let stamp = Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1) };
        let record = Record::of_entry(entry, Class::Critical, seq, 1, stamp).unwrap();
        let new = NewRecord {
            bytes: &record.encode().unwrap(),
            class: Class::Critical,
            journal: &JournalId::new("j").unwrap(),
            kind: &record.kind,
            robot: of,
            seq,
            stamp,
        };
        records::add(tx, &new, WallMillis(i64::try_from(seq).unwrap())).unwrap();
    }

    /// The versions on a robot, each with how it stands and since when.
    fn held(tx: &Connection, of: &RobotId) -> BTreeMap<Vec<u8>, (String, i64)> {
        let sql = "SELECT digest, state, reported_at FROM robot_skills WHERE robot = ?1";
        let mut find = tx.prepare_cached(sql).unwrap();
        let read = |row: &crate::store::Row<'_>| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)));
        find.query_map([of.as_str()], read).unwrap().map(Result::unwrap).collect()
    }

    proptest! {
        #[test]
        fn whatever_a_robot_says_what_it_has_is_what_it_said_last(
            said in proptest::collection::vec((0_usize..6, 0_u32..6, 0_u8..4), 1..40),
        ) {
            let (tx, of) = (store(), robot("amr-1"));
            let mut model: BTreeMap<Vec<u8>, (String, i64)> = BTreeMap::new();
            for (seq, (kind, version, more)) in (1_i64..).zip(&said) {
                let kind = STEPS[*kind];
                let entry = Entry::SkillInstall(step(kind, *version));
                let place = u64::try_from(seq).unwrap();
                say(&tx, &of, place, &entry);
                let id = bundle(*version).as_bytes().to_vec();
                match kind {
                    SkillInstallStep::Activated => {
                        let others = (0..6).filter(|it| skill(*it) == skill(*version));
                        for other in others.map(|it| bundle(it).as_bytes().to_vec()) {
                            if let Some((state, _)) = model.get_mut(&other)
                                && state == "active"
                            {
                                "before".clone_into(state);
                            }
                        }
                        model.insert(id, ("active".to_owned(), seq));
                    }
                    SkillInstallStep::Installed => {
                        model.insert(id, ("on_trial".to_owned(), seq));
                    }
                    SkillInstallStep::Lost => model.clear(),
                    SkillInstallStep::Recompiled => {}
                    SkillInstallStep::Removed | SkillInstallStep::RolledBack => {
                        model.remove(&id);
                    }
                }
                // It comes once more; and a process of before keeps it, and does not read it.
                if *more == 1 {
                    say(&tx, &of, place, &entry);
                }
                if *more > 1 {
                    catch_up(&tx, &of).unwrap();
                    prop_assert_eq!(&held(&tx, &of), &model);
                }
            }
            complete(&tx).unwrap();
            prop_assert_eq!(&held(&tx, &of), &model);
            prop_assert_eq!(robot_skills::unread(&tx).unwrap(), Vec::<RobotId>::new());
            // Thrown away, it is made anew.
            robot_skills::forget(&tx).unwrap();
            prop_assert_eq!(held(&tx, &of).len(), 0);
            complete(&tx).unwrap();
            prop_assert_eq!(held(&tx, &of), model);
        }
    }

    #[test]
    fn a_robot_that_says_more_than_it_can_have_is_known_by_what_it_said_last() {
        let (tx, of) = (store(), robot("amr-1"));
        // More than are read at once, too.
        let all = RECORDS + 2 * VERSIONS;
        for version in 1..=all {
            let installed = step(SkillInstallStep::Installed, version);
            say(&tx, &of, version.into(), &Entry::SkillInstall(installed));
        }
        catch_up(&tx, &of).unwrap();
        let newest = all - VERSIONS + 1..=all;
        let newest: std::collections::BTreeSet<_> =
            newest.map(|version| bundle(version).as_bytes().to_vec()).collect();
        assert_eq!(held(&tx, &of).into_keys().collect::<std::collections::BTreeSet<_>>(), newest);
    }

    #[test]
    fn who_is_not_enrolled_says_nothing_and_what_cannot_be_read_is_passed_over() {
        let (tx, of) = (store(), robot("amr-1"));
        catch_up(&tx, &robot("amr-9")).unwrap();
        let stamp = Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1) };
        let journal = JournalId::new("j").unwrap();
        let (bytes, class, kind) = (b"noise".as_slice(), Class::Critical, "skill_install");
        let noise = NewRecord { bytes, class, journal: &journal, kind, robot: &of, seq: 1, stamp };
        records::add(&tx, &noise, WallMillis(1)).unwrap();
        // A step that does not say of what.
        let silent =
            SkillInstall { bundle: None, skill: None, ..step(SkillInstallStep::Removed, 1) };
        say(&tx, &of, 2, &Entry::SkillInstall(silent));
        let installed = step(SkillInstallStep::Installed, 1);
        say(&tx, &of, 3, &Entry::SkillInstall(installed));
        complete(&tx).unwrap();
        assert_eq!(held(&tx, &of).len(), 1);
    }

    #[test]
    fn a_start_reads_each_robot_in_a_transaction_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud.sqlite");
        let store = Store::open(&path).unwrap();
        store.with(|tx| {
            for name in ["amr-1", "amr-2"] {
                enrol(tx, name, "default");
                let installed = step(SkillInstallStep::Installed, 1);
                say(tx, &robot(name), 1, &Entry::SkillInstall(installed));
            }
            tx.execute(
                "CREATE TRIGGER second BEFORE INSERT ON robot_skills WHEN NEW.robot = 'amr-2'
                 BEGIN SELECT RAISE(ABORT, 'not this one'); END",
                [],
            )
            .unwrap();
        });
        // What was read before it stays, so others could write in between.
        assert!(Store::open(&path).is_err());
        let kept = |name: &str| store.with(|tx| held(tx, &robot(name)).len());
        assert_eq!((kept("amr-1"), kept("amr-2")), (1, 0));
        store.with(|tx| tx.execute("DROP TRIGGER second", []).unwrap());
        drop(Store::open(&path).unwrap());
        assert_eq!((kept("amr-1"), kept("amr-2")), (1, 1));
    }

    /// Publishes a version of `patrol` in a tenant, whose rings have it from now on.
    fn publish(tx: &Connection, tenant: &Tenant, of: &Digest) {
        let manifest: SkillManifest = serde_json::from_value(serde_json::json!({
            "actions": ["patrol"], "capabilities": ["drive"], "component_sha256": Digest::ZERO,
            "developer": "d", "id": "patrol", "licence": "MIT", "memory_mib": 8, "name": "Patrol",
            "period_ms": 100, "tier": "dev", "v": 1, "version": "1.0.0",
            "wit": nooterra_protocol::skill::WIT,
        }))
        .unwrap();
        skills::add(tx, of, &manifest, "s", b"b", WallMillis(1)).unwrap();
        tenants::publish(tx, tenant, of, "s").unwrap();
        tx.execute(
            "INSERT INTO skill_current (tenant, skill, digest, rollout, since)
             VALUES (?1, 'patrol', ?2, 'r', 1)",
            (tenant.as_str(), of.as_bytes()),
        )
        .unwrap();
    }

    #[test]
    fn a_page_names_who_has_it_or_gets_it_and_goes_on_where_it_ended_however_few_it_looked_at() {
        let (tx, wanted) = (in_memory().unwrap(), bundle(1));
        let (north, south): (Tenant, Tenant) = ("north".parse().unwrap(), "south".parse().unwrap());
        for n in 0..20 {
            enrol(&tx, &format!("n{n:02}"), "north");
            enrol(&tx, &format!("s{n:02}"), "south");
        }
        // In the north by label; in the south it is in no ring.
        publish(&tx, &north, &wanted);
        let labels = std::collections::BTreeSet::from(["new".to_owned()]);
        let of = Selection { labels: labels.clone(), ..Selection::default() };
        let ring =
            Ring { name: "canary".to_owned(), of, tier: nooterra_protocol::skill::Tier::Dev };
        registry::set_rings(&tx, &north, &[ring]).unwrap();
        for name in ["n03", "n11", "s04"] {
            registry::set_labels(&tx, &robot(name), &labels).unwrap();
        }
        for name in ["n05", "n11", "n19", "s07"] {
            let installed = step(SkillInstallStep::Installed, 1);
            say(&tx, &robot(name), 1, &Entry::SkillInstall(installed));
        }
        complete(&tx).unwrap();
        let of = |tenant: Option<&Tenant>, limit: usize, most: usize| -> (Vec<String>, usize) {
            let (mut all, mut after, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let place = (after.as_str(), limit, most);
                let (page, next) =
                    robots_among(&tx, tenant, &wanted, place, WallMillis(9)).unwrap();
                assert!(page.len() <= limit);
                pages += 1;
                all.extend(page.into_iter().map(|it| {
                    let ring = it.ring.unwrap_or_default();
                    format!("{} {} {ring}", it.id, it.held.map_or("-", |(held, _)| held.name()))
                }));
                let Some(next) = next else { return (all, pages) };
                assert!(next > after, "{next} after {after}");
                after = next;
            }
        };
        let norths = ["n03 - canary", "n05 on_trial ", "n11 on_trial canary", "n19 on_trial "];
        for (limit, most) in [(1, 100), (2, 100), (100, 1), (100, 7), (3, 2), (100, 100)] {
            assert_eq!(of(Some(&north), limit, most).0, norths);
            assert_eq!(of(Some(&south), limit, most).0, ["s07 on_trial "]);
            let all: Vec<_> = norths.into_iter().chain(["s07 on_trial "]).collect();
            assert_eq!(of(None, limit, most).0, all);
        }
        // One more robot than a page looks at is another page, and none more is none.
        assert_eq!((of(Some(&north), 100, 19).1, of(Some(&north), 100, 20).1), (2, 1));
    }
}
