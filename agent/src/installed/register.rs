//! What is known of each skill's versions, and how it changes: pure, so that every step can be
//! tried without a disk.

use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::skill_install::{SkillInstall, SkillInstallStep};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How often in a row a version may be started without any end of its own: one that brings the
/// agent down each time must not be tried for ever.
pub const MAX_STARTS: u32 = 3;

/// How many skills are kept; when another comes, the one goes that was not used for longest.
pub const MAX_SKILLS: usize = 32;

/// So many versions that were given up are remembered for a skill; older ones may be tried again.
const MAX_GIVEN_UP: usize = 8;

/// One version of a skill.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// SHA-256 of the bundle file.
    pub bundle: Digest,
    /// As its manifest has it.
    pub version: String,
}

/// A version that is given up here, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GivenUp {
    /// Which.
    pub of: Version,
    /// In one line.
    pub reason: String,
}

/// A version that has not proven itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Which.
    pub of: Version,
    /// How often it was started.
    pub starts: u32,
}

/// The versions of one skill.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// The one that ran last of those that have proven themselves.
    pub active: Option<Version>,
    /// The one that was active before it.
    pub before: Option<Version>,
    /// Oldest first.
    pub given_up: Vec<GivenUp>,
    /// On trial.
    pub trial: Option<Trial>,
    /// Counts up over all skills: the smallest was not used for longest.
    pub used: u64,
}

/// How a version stands that is to run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It has not proven itself yet.
    OnTrial,
    /// It has.
    Proven,
}

/// All of it: the content of one file, replaced as a whole.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    pub(super) skills: BTreeMap<SkillId, Slots>,
    /// Steps that are not in the journal yet, in order.
    pub(super) unsaid: Vec<SkillInstall>,
    used: u64,
    v: u32,
}

impl Default for Register {
    fn default() -> Self {
        Self { skills: BTreeMap::new(), unsaid: Vec::new(), used: 0, v: 1 }
    }
}

impl Register {
    /// An empty one in the place of one that cannot be read.
    pub(super) fn lost(why: &str) -> Self {
        let lost = SkillInstall {
            bundle: None,
            reason: why.to_owned(),
            skill: None,
            step: SkillInstallStep::Lost,
            version: None,
        };
        Self { unsaid: vec![lost], ..Self::default() }
    }

    /// Of a format that this release reads.
    pub(super) const fn is_known(&self) -> bool {
        self.v == 1
    }

    /// Why a version is given up here, where it is.
    pub(super) fn given_up(&self, skill: &SkillId, bundle: Digest) -> Option<&GivenUp> {
        let slots = self.skills.get(skill)?;
        slots.given_up.iter().find(|given_up| given_up.of.bundle == bundle)
    }

    /// The bundles whose files are kept.
    pub(super) fn kept(&self) -> BTreeSet<Digest> {
        let versions = self.skills.values().flat_map(|slots| {
            let trial = slots.trial.as_ref().map(|trial| &trial.of);
            [slots.active.as_ref(), slots.before.as_ref(), trial]
        });
        versions.flatten().map(|version| version.bundle).collect()
    }

    /// A version is here and may be tried; one that was given up may be again. Tells whether it
    /// is on trial now; otherwise it has proven itself before.
    pub(super) fn install(&mut self, skill: &SkillId, version: &Version, why: &str) -> Standing {
        self.make_room(skill);
        let slots = self.slots(skill);
        slots.given_up.retain(|given_up| given_up.of.bundle != version.bundle);
        let is = |other: &Option<Version>| other.as_ref() == Some(version);
        if is(&slots.active) || is(&slots.before) {
            return Standing::Proven;
        }
        if slots.trial.as_ref().is_some_and(|trial| trial.of == *version) {
            return Standing::OnTrial;
        }
        let replaced = slots.trial.replace(Trial { of: version.clone(), starts: 0 });
        if let Some(replaced) = replaced {
            let why = format!("{} came before it had proven itself", version.version);
            self.say(skill, &replaced.of, SkillInstallStep::Removed, &why);
        }
        self.say(skill, version, SkillInstallStep::Installed, why);
        Standing::OnTrial
    }

    /// A plan's step begins with this version. It is installed where it was not; one that was
    /// active before is active again.
    pub(super) fn begin(
        &mut self,
        skill: &SkillId,
        version: &Version,
    ) -> Result<Standing, GivenUp> {
        if let Some(given_up) = self.given_up(skill, version.bundle) {
            return Err(given_up.clone());
        }
        const NAMED: &str = "a plan names it";
        let standing = self.install(skill, version, NAMED);
        let slots = self.slots(skill);
        if standing == Standing::Proven {
            if slots.before.as_ref() == Some(version) {
                std::mem::swap(&mut slots.active, &mut slots.before);
                self.say(skill, version, SkillInstallStep::Activated, NAMED);
            }
            return Ok(standing);
        }
        let starts = slots.trial.as_mut().map_or(0, |trial| {
            trial.starts = trial.starts.saturating_add(1);
            trial.starts
        });
        if starts > MAX_STARTS {
            let reason = format!("it was started {MAX_STARTS} times and never proved itself");
            self.failed(skill, version.bundle, &reason);
            return Err(GivenUp { of: version.clone(), reason });
        }
        Ok(Standing::OnTrial)
    }

    /// What is on trial has proven itself: it is active, and what was active is the one before.
    pub(super) fn proven(&mut self, skill: &SkillId, bundle: Digest, why: &str) {
        let slots = self.slots(skill);
        let Some(trial) = slots.trial.take_if(|trial| trial.of.bundle == bundle) else { return };
        let gone = std::mem::replace(&mut slots.before, slots.active.take());
        slots.active = Some(trial.of.clone());
        self.say(skill, &trial.of, SkillInstallStep::Activated, why);
        if let Some(gone) = gone {
            self.say(skill, &gone, SkillInstallStep::Removed, "two newer ones have run");
        }
    }

    /// What is on trial came to an end in order, and has not proven itself by that: its starts
    /// are counted from here.
    pub(super) fn answered(&mut self, skill: &SkillId, bundle: Digest) {
        let trial = self.skills.get_mut(skill).and_then(|slots| slots.trial.as_mut());
        if let Some(trial) = trial.filter(|trial| trial.of.bundle == bundle) {
            trial.starts = 0;
        }
    }

    /// What is on trial is given up.
    pub(super) fn failed(&mut self, skill: &SkillId, bundle: Digest, why: &str) {
        let trial = self.slots(skill).trial.take_if(|trial| trial.of.bundle == bundle);
        if let Some(trial) = trial {
            self.give_up(skill, trial.of, why);
        }
    }

    /// Gives up what is on trial, or else what is active, where there is one before. Tells what
    /// was given up, and what runs now.
    pub(super) fn roll_back(
        &mut self,
        skill: &SkillId,
        why: &str,
    ) -> Option<(Version, Option<Version>)> {
        let slots = self.skills.get_mut(skill)?;
        if let Some(trial) = slots.trial.take() {
            let active = slots.active.clone();
            self.give_up(skill, trial.of.clone(), why);
            return Some((trial.of, active));
        }
        let back = slots.before.take()?;
        let gone = slots.active.replace(back.clone())?;
        self.give_up(skill, gone.clone(), why);
        self.say(skill, &back, SkillInstallStep::Activated, "it ran before");
        Some((gone, Some(back)))
    }

    fn give_up(&mut self, skill: &SkillId, of: Version, why: &str) {
        self.say(skill, &of, SkillInstallStep::RolledBack, why);
        let given_up = &mut self.slots(skill).given_up;
        given_up.push(GivenUp { of, reason: why.to_owned() });
        let beyond = given_up.len().saturating_sub(MAX_GIVEN_UP);
        given_up.drain(..beyond);
    }

    fn slots(&mut self, skill: &SkillId) -> &mut Slots {
        self.used = self.used.wrapping_add(1);
        let slots = self.skills.entry(skill.clone()).or_default();
        slots.used = self.used;
        slots
    }

    fn make_room(&mut self, skill: &SkillId) {
        while self.skills.len() >= MAX_SKILLS && !self.skills.contains_key(skill) {
            let oldest = self.skills.iter().min_by_key(|(_, slots)| slots.used);
            let Some(oldest) = oldest.map(|(skill, _)| skill.clone()) else { return };
            let Some(slots) = self.skills.remove(&oldest) else { return };
            let trial = slots.trial.map(|trial| trial.of);
            for gone in [slots.active, slots.before, trial].into_iter().flatten() {
                let why = format!("{MAX_SKILLS} other skills were used since");
                self.say(&oldest, &gone, SkillInstallStep::Removed, &why);
            }
        }
    }

    fn say(&mut self, skill: &SkillId, of: &Version, step: SkillInstallStep, why: &str) {
        self.unsaid.push(SkillInstall {
            bundle: Some(of.bundle),
            reason: why.to_owned(),
            skill: Some(skill.clone()),
            step,
            version: Some(of.version.clone()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SkillInstallStep::{Activated, Installed, Removed, RolledBack};
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

    fn skill() -> SkillId {
        "patrol".parse().unwrap()
    }

    fn version(number: u8) -> Version {
        Version { bundle: Digest::of(&[number]), version: format!("{number}.0.0") }
    }

    fn steps(register: &mut Register) -> Vec<(SkillInstallStep, String)> {
        let steps = std::mem::take(&mut register.unsaid).into_iter();
        steps.map(|said| (said.step, said.version.unwrap())).collect()
    }

    fn proven(register: &mut Register, number: u8) {
        let version = version(number);
        assert_eq!(register.begin(&skill(), &version).unwrap(), Standing::OnTrial);
        register.proven(&skill(), version.bundle, "it made its steps");
    }

    #[test]
    fn a_new_version_is_active_once_it_has_proven_itself_and_the_old_one_stays_beside_it() {
        let mut register = Register::default();
        proven(&mut register, 1);
        proven(&mut register, 2);
        let slots = register.skills[&skill()].clone();
        assert_eq!((slots.active, slots.before), (Some(version(2)), Some(version(1))));
        let one = |step, number| (step, format!("{number}.0.0"));
        assert_eq!(
            steps(&mut register),
            [one(Installed, 1), one(Activated, 1), one(Installed, 2), one(Activated, 2)]
        );
        // A plan that names the old one has it at once.
        assert_eq!(register.begin(&skill(), &version(1)), Ok(Standing::Proven));
        assert_eq!(register.begin(&skill(), &version(1)), Ok(Standing::Proven));
        assert_eq!(steps(&mut register), [one(Activated, 1)]);
        proven(&mut register, 3);
        assert_eq!(steps(&mut register)[2], one(Removed, 2));
    }

    #[test]
    fn a_version_that_fails_its_trial_leaves_the_one_that_ran_and_is_not_tried_again() {
        let mut register = Register::default();
        proven(&mut register, 1);
        register.begin(&skill(), &version(2)).unwrap();
        register.failed(&skill(), version(2).bundle, "it crashed");
        assert_eq!(register.skills[&skill()].active, Some(version(1)));
        let refused = register.begin(&skill(), &version(2)).unwrap_err();
        assert_eq!(refused.reason, "it crashed");
        assert_eq!(steps(&mut register).last().unwrap().0, RolledBack);
        // A person who installs it again wants it tried again.
        assert_eq!(register.install(&skill(), &version(2), "by hand"), Standing::OnTrial);
        register.begin(&skill(), &version(2)).unwrap();
    }

    #[test]
    fn a_version_that_never_gets_as_far_as_a_verdict_is_given_up_after_three_starts() {
        let mut register = Register::default();
        for _ in 0..MAX_STARTS {
            assert_eq!(register.begin(&skill(), &version(1)), Ok(Standing::OnTrial));
        }
        let refused = register.begin(&skill(), &version(1)).unwrap_err();
        assert!(refused.reason.contains("3 times"), "{}", refused.reason);
        assert!(register.begin(&skill(), &version(1)).is_err(), "for good");
    }

    #[test]
    fn a_version_that_says_no_in_order_stays_on_trial_however_often() {
        let mut register = Register::default();
        for _ in 0..4 * MAX_STARTS {
            assert_eq!(register.begin(&skill(), &version(1)), Ok(Standing::OnTrial));
            register.answered(&skill(), version(1).bundle);
        }
        // Of another version it says nothing.
        for _ in 0..MAX_STARTS {
            assert_eq!(register.begin(&skill(), &version(1)), Ok(Standing::OnTrial));
            register.answered(&skill(), version(2).bundle);
        }
        assert!(register.begin(&skill(), &version(1)).is_err());
    }

    #[test]
    fn a_person_rolls_back_a_trial_and_then_what_is_active_and_then_nothing() {
        let mut register = Register::default();
        assert_eq!(register.roll_back(&skill(), "by hand"), None);
        proven(&mut register, 1);
        assert_eq!(register.roll_back(&skill(), "by hand"), None, "nothing ran before it");
        proven(&mut register, 2);
        register.begin(&skill(), &version(3)).unwrap();
        let two = Some(version(2));
        assert_eq!(register.roll_back(&skill(), "by hand"), Some((version(3), two)));
        let one = Some(version(1));
        assert_eq!(register.roll_back(&skill(), "by hand"), Some((version(2), one)));
        assert_eq!(register.roll_back(&skill(), "by hand"), None);
        assert!(register.begin(&skill(), &version(2)).is_err());
        assert_eq!(register.begin(&skill(), &version(1)), Ok(Standing::Proven));
    }

    #[test]
    fn the_skill_that_was_not_used_for_longest_makes_room() {
        let mut register = Register::default();
        let named = |number: usize| format!("skill-{number}").parse::<SkillId>().unwrap();
        for number in 0..MAX_SKILLS {
            register.install(&named(number), &version(1), "by hand");
        }
        register.begin(&named(0), &version(1)).unwrap();
        register.install(&named(MAX_SKILLS), &version(1), "by hand");
        assert_eq!(register.skills.len(), MAX_SKILLS);
        assert!(
            register.skills.contains_key(&named(0)) && !register.skills.contains_key(&named(1))
        );
        let gone = register.unsaid.iter().find(|said| said.step == Removed).unwrap();
        assert_eq!(gone.skill, Some(named(1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_happens_what_has_proven_itself_is_there_until_a_newer_one_has_too(
            events in proptest::collection::vec((0_u8..5, 0_u8..4), 0..60),
            _salt in any::<u8>(),
        ) {
            let (mut register, mut last) = (Register::default(), None);
            for (event, number) in events {
                let version = version(number);
                let before = register.skills.get(&skill()).cloned().unwrap_or_default();
                match event {
                    0 => drop(register.install(&skill(), &version, "by hand")),
                    1 => drop(register.begin(&skill(), &version)),
                    2 => register.proven(&skill(), version.bundle, "it made its steps"),
                    3 => register.failed(&skill(), version.bundle, "it crashed"),
                    _ => drop(register.roll_back(&skill(), "by hand")),
                }
                let slots = register.skills.get(&skill()).cloned().unwrap_or_default();
                prop_assert!(before.active.is_none() || slots.active.is_some(), "never neither");
                // What is given up does not run, and no version stands in two places.
                let places = [slots.active.clone(), slots.before.clone(), slots.trial.map(|t| t.of)];
                let places: Vec<_> = places.into_iter().flatten().collect();
                for (at, place) in places.iter().enumerate() {
                    prop_assert!(!places[..at].contains(place));
                    prop_assert!(register.given_up(&skill(), place.bundle).is_none());
                }
                last = slots.active.or(last);
            }
            prop_assert!(register.skills.is_empty() || register.kept().len() <= 3);
        }
    }
}
