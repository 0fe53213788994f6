//! Access plans: how and when a robot may be let in for a job.
//!
//! A plan names where its secret is kept, never the secret: plans stand in streams for ever, and
//! streams are shown.

use crate::ids::ActorId;
use crate::time::WallMillis;
use serde::{Deserialize, Serialize};

/// The longest reference to a credential, the longest name of an area and the longest words
/// about privacy, bytes.
pub const MAX_TEXT_BYTES: usize = 256;

/// The most areas of a scope, and the most that it excludes.
pub const MAX_AREAS: usize = 32;

/// How the robot gets in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccessMethod {
    /// Somebody at the door lets it in.
    BuildingConcierge,
    /// It is inside already.
    DockedInBuilding,
    /// The owner of the place is there.
    OnSiteOwner,
    /// A lock opens to a code.
    SmartLockCode,
}

/// Where the robot may go, in the names of its map.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessScope {
    /// The areas that it may enter; anywhere that its policy allows where there are none.
    pub areas: Vec<String>,
    /// The areas that it may not enter, whatever else is said.
    pub no_go: Vec<String>,
}

/// Payload of `ACCESS_PLAN_ISSUED`: time-bounded, and revocable where it says so.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AccessPlan {
    /// Where the secret is kept, in the words of whoever keeps it. Never the secret.
    pub credential_ref: Option<String>,
    /// How the robot gets in.
    pub method: AccessMethod,
    /// A person must review the job at the robot before it begins.
    #[serde(default)]
    pub needs_review: bool,
    /// What was agreed about privacy, in the words of whoever agreed it.
    #[serde(default)]
    pub privacy: Option<String>,
    /// Who asked for it.
    pub requested_by: ActorId,
    /// It may be taken back before its time is over.
    #[serde(default = "yes")]
    pub revocable: bool,
    /// Where.
    #[serde(default)]
    pub scope: AccessScope,
    /// Not before.
    pub valid_from: WallMillis,
    /// Not from then on.
    pub valid_to: WallMillis,
}

const fn yes() -> bool {
    true
}

/// Why an access plan is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AccessPlanError {
    /// More areas than anybody reads.
    #[error("`scope` names more than {MAX_AREAS} areas")]
    Areas,
    /// A text that is empty or too long.
    #[error("`{0}` has 1 to {MAX_TEXT_BYTES} bytes")]
    Text(&'static str),
    /// It ends before it begins.
    #[error("`valid_to` is not after `valid_from`")]
    Window,
}

impl AccessPlan {
    /// What the types do not hold.
    ///
    /// # Errors
    /// Every variant of [`AccessPlanError`].
    pub fn check(&self) -> Result<(), AccessPlanError> {
        let text = |name, text: &str| {
            let fits = (1..=MAX_TEXT_BYTES).contains(&text.len());
            if fits { Ok(()) } else { Err(AccessPlanError::Text(name)) }
        };
        if self.valid_to <= self.valid_from {
            return Err(AccessPlanError::Window);
        }
        if let Some(reference) = &self.credential_ref {
            text("credential_ref", reference)?;
        }
        if let Some(words) = &self.privacy {
            text("privacy", words)?;
        }
        for (name, areas) in [("areas", &self.scope.areas), ("no_go", &self.scope.no_go)] {
            if areas.len() > MAX_AREAS {
                return Err(AccessPlanError::Areas);
            }
            areas.iter().try_for_each(|area| text(name, area))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> AccessPlan {
        AccessPlan {
            credential_ref: Some("vault:door/7".to_owned()),
            method: AccessMethod::SmartLockCode,
            needs_review: false,
            privacy: None,
            requested_by: ActorId::new("me").unwrap(),
            revocable: true,
            scope: AccessScope::default(),
            valid_from: WallMillis(1_000),
            valid_to: WallMillis(2_000),
        }
    }

    #[test]
    fn a_plan_has_a_window_and_texts_that_somebody_can_read() {
        assert_eq!(plan().check(), Ok(()));
        let mut bad = plan();
        bad.valid_to = bad.valid_from;
        assert_eq!(bad.check(), Err(AccessPlanError::Window));
        let mut bad = plan();
        bad.credential_ref = Some(String::new());
        assert_eq!(bad.check(), Err(AccessPlanError::Text("credential_ref")));
        let mut bad = plan();
        bad.scope.no_go = vec!["x".repeat(MAX_TEXT_BYTES + 1)];
        assert_eq!(bad.check(), Err(AccessPlanError::Text("no_go")));
        let mut bad = plan();
        bad.scope.areas = vec!["hall".to_owned(); MAX_AREAS + 1];
        assert_eq!(bad.check(), Err(AccessPlanError::Areas));
    }
}
