//! Who may ask what of the API: scopes, roles, tokens, and the one table of routes.
//!
//! A route needs a [`Scope`]: a [`Family`] of resources and a [`Right`] to it. A token names
//! families and a [`Role`]; the role says which rights it gives to each of them. A token may hold
//! one [`Tenant`] of several, and then nothing of another tenant is there for it.
//!
//! This module knows no request and no database: it is what the guard of the API asks.

mod limit;
mod routes;
mod streams;
mod token;

pub(crate) use limit::{Limit, Limits, Taken};
#[cfg(test)]
pub(crate) use routes::ROUTES;
pub(crate) use routes::{Needs, Reach, Route};
pub(crate) use streams::{Followed, Streams};
pub(crate) use token::{Minted, Presented, same};

use nooterra_protocol::ids::{ActorId, IdError};
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// Enumerations that are one word on the wire, in the store and in messages.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
            ToSchema,
        )]
        #[serde(rename_all = "lowercase")]
        pub(crate) enum $name {
            $($(#[$of])* $variant,)*
        }

        impl $name {
            /// Each of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its word.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = NoWord;
            fn from_str(text: &str) -> Result<Self, NoWord> {
                let found = Self::ALL.iter().find(|it| it.name() == text).copied();
                found.ok_or_else(|| NoWord(text.to_owned()))
            }
        }
    };
}

/// A word that names none of them.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no family, right or role of this release")]
pub(crate) struct NoWord(String);

words! {
    /// What a route is about.
    Family {
        /// Who did what.
        Audit = "audit",
        /// Signed commands to robots.
        Commands = "commands",
        /// What happened, over all streams.
        Events = "events",
        /// Jobs.
        Jobs = "jobs",
        /// Figures of the process.
        Metrics = "metrics",
        /// What robots' journals say, their policies and boxes.
        Records = "records",
        /// Robots: enrolment and standing.
        Robots = "robots",
        /// Skill bundles.
        Skills = "skills",
        /// Tokens of the API.
        Tokens = "tokens",
        /// Subscribers that are called.
        Webhooks = "webhooks",
    }
}

words! {
    /// What may be done with a family. The order is that of the enumeration: who may do a later
    /// one may do those before it.
    Right {
        /// See it.
        Read = "read",
        /// Work with it, day by day.
        Write = "write",
        /// Decide who else may, and what cannot be undone.
        Manage = "manage",
    }
}

words! {
    /// Which rights a token gives to its families.
    Role {
        /// To see.
        Viewer = "viewer",
        /// To see and to work.
        Operator = "operator",
        /// All of it.
        Admin = "admin",
    }
}

impl Role {
    /// The highest right that it gives.
    pub(crate) const fn right(self) -> Right {
        match self {
            Self::Viewer => Right::Read,
            Self::Operator => Right::Write,
            Self::Admin => Right::Manage,
        }
    }
}

/// What a route needs: a right to a family.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Scope {
    pub(crate) family: Family,
    pub(crate) right: Right,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.family, self.right)
    }
}

/// Whose robots, jobs and skills. Every cloud has the tenant [`Tenant::default`], which is the
/// only one where nobody named another.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Tenant(ActorId);

impl Tenant {
    /// Its name.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Default for Tenant {
    fn default() -> Self {
        // The alphabet of ids has these letters.
        Self(ActorId::new("default").unwrap_or_else(|_| unreachable!("`default` is an id")))
    }
}

impl FromStr for Tenant {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        ActorId::new(text).map(Self)
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What names no tenant, but all of them.
pub(crate) const ALL_TENANTS: &str = "*";

/// Reads the name of a tenant, or [`ALL_TENANTS`].
pub(crate) fn tenants(name: &str) -> Result<Option<Tenant>, IdError> {
    if name == ALL_TENANTS { Ok(None) } else { name.parse().map(Some) }
}

/// What a token was made for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Grant {
    pub(crate) expires_at: WallMillis,
    /// Sorted, each once, at least one.
    pub(crate) families: Vec<Family>,
    /// In whose name its holder acts.
    pub(crate) principal: ActorId,
    pub(crate) role: Role,
    /// None for all of them.
    pub(crate) tenant: Option<Tenant>,
}

impl Grant {
    /// It gives what a route needs.
    pub(crate) fn gives(&self, scope: Scope) -> bool {
        self.families.contains(&scope.family) && scope.right <= self.role.right()
    }

    /// Nothing of `other` goes beyond it: the holder of this may make that.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        other.role <= self.role
            && other.families.iter().all(|family| self.families.contains(family))
            && (self.tenant.is_none() || other.tenant == self.tenant)
            && other.expires_at <= self.expires_at
    }

    /// The name of its tenant, or [`ALL_TENANTS`].
    pub(crate) fn tenant_name(&self) -> &str {
        self.tenant.as_ref().map_or(ALL_TENANTS, Tenant::as_str)
    }

    /// The scopes that it gives, as people read them.
    pub(crate) fn scopes(&self) -> String {
        let right = self.role.right();
        let scopes = self.families.iter().map(|&family| Scope { family, right }.to_string());
        scopes.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
pub(crate) fn grant(role: Role, families: &[Family], tenant: &str, expires_at: i64) -> Grant {
    Grant {
        expires_at: WallMillis(expires_at),
        families: families.to_vec(),
        principal: ActorId::new("alice").unwrap(),
        role,
        tenant: tenants(tenant).unwrap(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_gives_its_right_and_those_before_it_to_the_families_of_the_token_only() {
        for (role, rights) in [(Role::Viewer, 1), (Role::Operator, 2), (Role::Admin, 3)] {
            let grant = grant(role, &[Family::Jobs, Family::Robots], "t", 1);
            for &family in Family::ALL {
                let given =
                    Right::ALL.iter().filter(|&&right| grant.gives(Scope { family, right }));
                let named = [Family::Jobs, Family::Robots].contains(&family);
                assert_eq!(given.count(), if named { rights } else { 0 }, "{role} {family}");
            }
        }
    }

    #[test]
    fn a_grant_holds_only_what_goes_beyond_it_in_nothing() {
        let own = grant(Role::Operator, &[Family::Jobs, Family::Tokens], "t", 10);
        assert!(own.holds(&own) && own.holds(&grant(Role::Viewer, &[Family::Jobs], "t", 9)));
        for beyond in [
            grant(Role::Admin, &[Family::Jobs], "t", 9),
            grant(Role::Viewer, &[Family::Jobs, Family::Robots], "t", 9),
            grant(Role::Viewer, &[Family::Jobs], "u", 9),
            grant(Role::Viewer, &[Family::Jobs], "t", 11),
        ] {
            assert!(!own.holds(&beyond), "{beyond:?}");
        }
        let all = grant(Role::Viewer, &[Family::Jobs], ALL_TENANTS, 9);
        assert!(all.holds(&grant(Role::Viewer, &[Family::Jobs], "t", 9)));
        assert!(!own.holds(&all) && all.holds(&all));
    }

    #[test]
    fn every_word_is_read_as_it_is_written_and_no_other_is() {
        for family in Family::ALL {
            assert_eq!(family.to_string().parse(), Ok(*family));
            assert_eq!(serde_json::to_value(family).unwrap(), family.name());
        }
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(*role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
        assert!("Admin".parse::<Role>().is_err() && "".parse::<Right>().is_err());
    }
}
