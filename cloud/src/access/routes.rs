//! The one table of routes: what each needs of its caller, and what of a tenant it reaches.
//!
//! The guard asks it before every request, and the OpenAPI document takes what it says of
//! security from it. A route that is not in it answers nobody but the bootstrap token, and fails
//! a test.

use super::{Family, Right, Scope};

/// What a route needs of its caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Needs {
    /// A claim code in the body.
    Code,
    /// Nothing.
    Open,
    /// The certificate of an enrolled robot.
    Robot,
    /// A token with this scope.
    Token(Scope),
    /// Either.
    TokenOrRobot(Scope),
}

/// What of tenants a route reaches, for a caller that has one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// The handler is given the tenant and shows, or makes, what is that tenant's only.
    Held,
    /// The job that this parameter of the path names.
    Job(&'static str),
    /// Nothing that is a tenant's.
    Nothing,
    /// The robot that this parameter of the path names.
    Robot(&'static str),
    /// The roll-out that this parameter of the path names.
    Rollout(&'static str),
    /// The skill of the bundle that this parameter of the path names.
    Skill(&'static str),
    /// All tenants at once: a caller of one tenant is refused.
    Whole,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) needs: Needs,
    /// As the OpenAPI document writes it.
    pub(crate) path: &'static str,
    pub(crate) reach: Reach,
}

const fn row(method: &'static str, path: &'static str, needs: Needs, reach: Reach) -> Route {
    Route { method, needs, path, reach }
}

const fn scope(family: Family, right: Right) -> Needs {
    Needs::Token(Scope { family, right })
}

const fn read(family: Family) -> Needs {
    scope(family, Right::Read)
}

const fn write(family: Family) -> Needs {
    scope(family, Right::Write)
}

const fn manage(family: Family) -> Needs {
    scope(family, Right::Manage)
}

const SKILLS: Needs = Needs::TokenOrRobot(Scope { family: Family::Skills, right: Right::Read });

/// Every route of the API.
#[rustfmt::skip] // A table, one row a line.
pub(crate) static ROUTES: &[Route] = {
    use Family as F;
    use Needs::{Code, Open};
    use Reach::{Held, Job, Nothing, Robot, Rollout, Skill, Whole};
    &[
        row("GET",  "/healthz",                           Open,                Nothing),
        row("GET",  "/readyz",                            Open,                Nothing),
        row("GET",  "/metrics",                           read(F::Metrics),    Whole),
        row("GET",  "/v1/audit",                          read(F::Audit),      Held),
        row("POST", "/v1/claim-codes",                    manage(F::Robots),   Held),
        row("POST", "/v1/enrolments",                     Code,                Nothing),
        row("GET",  "/v1/events",                         read(F::Events),     Held),
        row("GET",  "/v1/events/stream",                  read(F::Events),     Held),
        row("GET",  "/v1/jobs",                           read(F::Jobs),       Held),
        row("POST", "/v1/jobs",                           write(F::Jobs),      Held),
        row("GET",  "/v1/jobs/{id}",                      read(F::Jobs),       Job("id")),
        row("POST", "/v1/jobs/{id}/access",               write(F::Jobs),      Job("id")),
        row("POST", "/v1/jobs/{id}/access/revoke",        write(F::Jobs),      Job("id")),
        row("GET",  "/v1/jobs/{id}/approvals",            read(F::Jobs),       Job("id")),
        row("POST", "/v1/jobs/{id}/approvals",            write(F::Jobs),      Job("id")),
        row("POST", "/v1/jobs/{id}/approvals/revoke",     write(F::Jobs),      Job("id")),
        row("POST", "/v1/jobs/{id}/book",                 write(F::Jobs),      Job("id")),
        row("POST", "/v1/jobs/{id}/cancel",               write(F::Jobs),      Job("id")),
        row("POST", "/v1/jobs/{id}/dispatch",             write(F::Jobs),      Job("id")),
        row("GET",  "/v1/jobs/{id}/events",               read(F::Jobs),       Job("id")),
        row("POST", "/v1/jobs/{id}/pause",                write(F::Jobs),      Job("id")),
        row("POST", "/v1/jobs/{id}/quote",                write(F::Jobs),      Job("id")),
        row("GET",  "/v1/jobs/{id}/report",               read(F::Jobs),       Job("id")),
        row("POST", "/v1/jobs/{id}/reschedule",           write(F::Jobs),      Job("id")),
        row("POST", "/v1/jobs/{id}/resume",               write(F::Jobs),      Job("id")),
        row("GET",  "/v1/rings",                          read(F::Skills),     Held),
        row("POST", "/v1/rings",                          manage(F::Skills),   Held),
        row("GET",  "/v1/robots",                         read(F::Robots),     Held),
        row("GET",  "/v1/robots/{id}",                    read(F::Robots),     Robot("id")),
        row("GET",  "/v1/robots/{id}/box",                read(F::Records),    Robot("id")),
        row("POST", "/v1/robots/{id}/certificate",        Needs::Robot,        Nothing),
        row("GET",  "/v1/robots/{id}/commands",           read(F::Commands),   Robot("id")),
        row("POST", "/v1/robots/{id}/commands",           write(F::Commands),  Robot("id")),
        row("GET",  "/v1/robots/{id}/commands/{cid}",     read(F::Commands),   Robot("id")),
        row("GET",  "/v1/robots/{id}/events",             read(F::Robots),     Robot("id")),
        row("POST", "/v1/robots/{id}/labels",             write(F::Robots),    Robot("id")),
        row("GET",  "/v1/robots/{id}/live",               read(F::Records),    Robot("id")),
        row("POST", "/v1/robots/{id}/maintenance",        write(F::Robots),    Robot("id")),
        row("GET",  "/v1/robots/{id}/policy",             read(F::Records),    Robot("id")),
        row("POST", "/v1/robots/{id}/quarantine",         write(F::Robots),    Robot("id")),
        row("GET",  "/v1/robots/{id}/records",            read(F::Records),    Robot("id")),
        row("POST", "/v1/robots/{id}/restore",            write(F::Robots),    Robot("id")),
        row("POST", "/v1/robots/{id}/revoke",             manage(F::Robots),   Robot("id")),
        row("GET",  "/v1/robots/{id}/skills",             read(F::Skills),     Robot("id")),
        row("GET",  "/v1/robots/{id}/verdicts",           read(F::Records),    Robot("id")),
        row("GET",  "/v1/rollouts",                       read(F::Skills),     Held),
        row("POST", "/v1/rollouts",                       write(F::Skills),    Held),
        row("GET",  "/v1/rollouts/{id}",                  read(F::Skills),     Rollout("id")),
        row("POST", "/v1/rollouts/{id}/advance",          write(F::Skills),    Rollout("id")),
        row("GET",  "/v1/rollouts/{id}/events",           read(F::Skills),     Rollout("id")),
        row("GET",  "/v1/rollouts/{id}/jobs",             read(F::Skills),     Rollout("id")),
        row("POST", "/v1/rollouts/{id}/pause",            write(F::Skills),    Rollout("id")),
        row("POST", "/v1/rollouts/{id}/resume",           write(F::Skills),    Rollout("id")),
        row("POST", "/v1/rollouts/{id}/roll_back",        write(F::Skills),    Rollout("id")),
        row("GET",  "/v1/skill-keys",                     read(F::Skills),     Held),
        row("POST", "/v1/skill-keys",                     manage(F::Skills),   Held),
        row("POST", "/v1/skill-keys/{key_id}/revoke",     manage(F::Skills),   Held),
        row("GET",  "/v1/skill-rules/{id}",               read(F::Skills),     Held),
        row("POST", "/v1/skill-rules/{id}",               manage(F::Skills),   Held),
        row("GET",  "/v1/skill-trust",                    SKILLS,              Held),
        row("POST", "/v1/skill-trust",                    manage(F::Skills),   Held),
        row("GET",  "/v1/skills",                         SKILLS,              Held),
        row("POST", "/v1/skills",                         write(F::Skills),    Held),
        row("GET",  "/v1/skills/{digest}",                SKILLS,              Skill("digest")),
        row("GET",  "/v1/skills/{digest}/bundle",         SKILLS,              Skill("digest")),
        row("POST", "/v1/skills/{digest}/revoke",         manage(F::Skills),   Whole),
        row("GET",  "/v1/skills/{digest}/robots",         read(F::Skills),     Skill("digest")),
        row("GET",  "/v1/skills/{digest}/sbom",           read(F::Skills),     Skill("digest")),
        row("GET",  "/v1/skills/{digest}/signature",      SKILLS,              Skill("digest")),
        row("GET",  "/v1/tokens",                         read(F::Tokens),     Held),
        row("POST", "/v1/tokens",                         manage(F::Tokens),   Held),
        row("POST", "/v1/tokens/{id}/revoke",             manage(F::Tokens),   Held),
        row("GET",  "/v1/webhooks",                       read(F::Webhooks),   Held),
        row("POST", "/v1/webhooks",                       manage(F::Webhooks), Held),
        row("GET",  "/v1/webhooks/{id}/dead-letters",     read(F::Webhooks),   Held),
        row("POST", "/v1/webhooks/{id}/end",              manage(F::Webhooks), Held),
        row("POST", "/v1/webhooks/{id}/redeliver",        write(F::Webhooks),  Held),
    ]
};

impl Route {
    /// The row of a route; `HEAD` asks what `GET` asks.
    pub(crate) fn find(method: &str, path: &str) -> Option<&'static Self> {
        let method = if method == "HEAD" { "GET" } else { method };
        ROUTES.iter().find(|route| route.method == method && route.path == path)
    }

    /// It changes something, and is written into the audit trail.
    pub(crate) fn changes(&self) -> bool {
        self.method != "GET"
    }
}
