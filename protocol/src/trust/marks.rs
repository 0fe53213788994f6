//! Which versions of skills a robot has taken, so that it is not led back to an older one.

use crate::ids::SkillId;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which versions of skills a robot has taken.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Marks(BTreeMap<SkillId, Mark>);

/// Of one skill.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The newest version that was taken.
    pub newest: String,
    /// An older one that an operator permits beside it.
    pub permitted: Option<String>,
}

impl Marks {
    /// What is known of a skill.
    #[must_use]
    pub fn of(&self, skill: &SkillId) -> Option<&Mark> {
        self.0.get(skill)
    }

    /// Of every skill.
    pub fn iter(&self) -> impl Iterator<Item = (&SkillId, &Mark)> {
        self.0.iter()
    }

    /// A version was taken. Tells whether that is news.
    pub fn taken(&mut self, skill: &SkillId, version: &str) -> bool {
        match self.0.get_mut(skill) {
            Some(mark) if is_older(&mark.newest, version) => {
                // What was permitted beside the one before is not permitted beside this one.
                *mark = Mark { newest: version.to_owned(), permitted: None };
                true
            }
            Some(_) => false,
            None => {
                let mark = Mark { newest: version.to_owned(), permitted: None };
                self.0.insert(skill.clone(), mark);
                true
            }
        }
    }

    /// An operator permits an older version; false where nothing newer is known, so that there
    /// is nothing to permit.
    pub fn permit(&mut self, skill: &SkillId, version: &str) -> bool {
        match self.0.get_mut(skill) {
            Some(mark) if is_older(version, &mark.newest) => {
                mark.permitted = Some(version.to_owned());
                true
            }
            _ => false,
        }
    }

    /// The newer version that stands against this one, if one does.
    #[must_use]
    pub fn against(&self, skill: &SkillId, version: &str) -> Option<&str> {
        let mark = self.0.get(skill)?;
        let permitted = mark.permitted.as_deref() == Some(version);
        (!permitted && is_older(version, &mark.newest)).then_some(mark.newest.as_str())
    }
}

/// Whether a version of a skill is older than another. Build metadata makes no difference; what
/// is no version is older than everything.
#[must_use]
pub fn is_older(version: &str, than: &str) -> bool {
    match (Version::parse(version), Version::parse(than)) {
        (Ok(version), Ok(than)) => version.cmp_precedence(&than).is_lt(),
        (version, _) => version.is_err(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_is_told_by_precedence() {
        assert!(is_older("1.0.0", "1.0.1") && is_older("1.0.0-rc.1", "1.0.0"));
        assert!(!is_older("1.0.0+b", "1.0.0+a") && !is_older("1.10.0", "1.9.0"));
        assert!(is_older("nonsense", "0.0.1") && !is_older("0.0.1", "nonsense"));
    }

    #[test]
    fn an_older_version_needs_a_permission_that_ends_with_the_next_newer_one() {
        let (mut marks, patrol) = (Marks::default(), SkillId::new("patrol").unwrap());
        assert!(!marks.permit(&patrol, "1.0.0"), "nothing is known that would stand against it");
        assert!(marks.taken(&patrol, "1.1.0") && !marks.taken(&patrol, "1.0.0"));
        assert_eq!(marks.against(&patrol, "1.0.0"), Some("1.1.0"));
        assert_eq!(marks.against(&patrol, "1.1.0+other"), None);
        assert!(marks.permit(&patrol, "1.0.0"));
        assert_eq!(marks.against(&patrol, "1.0.0"), None);
        assert_eq!(marks.against(&patrol, "0.9.0"), Some("1.1.0"));
        assert!(marks.taken(&patrol, "1.2.0"));
        assert_eq!(marks.against(&patrol, "1.0.0"), Some("1.2.0"));
    }
}
