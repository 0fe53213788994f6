//! The guard before every route: who calls, whether they may, how often, and what is written
//! down of it.
//!
//! It asks the one table of routes (`access/routes.rs`). A route of the document that is not in
//! the table answers the bootstrap token and nobody else. A caller of one tenant is told of
//! another's robots, jobs and skills what is told of those that do not exist.

use super::auth::{Caller, Peer, Robot, Within};
use super::error::{ApiError, Code};
use super::extract::{bundle_digest, job_id, robot_id};
use super::observe::RequestId;
use crate::access::{Needs, Reach, Route, Taken, Tenant};
use crate::core::Core;
use crate::store::{StoreError, audit, tenants};
use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::SecurityRequirement;

/// The longest path that the audit trail keeps, bytes; a longer one is that of no robot or job.
const MAX_PATH: usize = 256;

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What the guard knows.
#[derive(Clone)]
pub(crate) struct Gate {
    core: Arc<Core>,
    /// Methods and paths of the document.
    routes: Arc<HashSet<(&'static str, String)>>,
}

impl Gate {
    /// Before the routes of `document`.
    pub(crate) fn new(core: Arc<Core>, document: &OpenApi) -> Self {
        let mut routes = HashSet::new();
        for (path, item) in &document.paths.paths {
            let methods = METHODS.iter().filter(|(_, of)| of(item).is_some());
            routes.extend(methods.map(|(method, _)| (*method, path.clone())));
        }
        Self { core, routes: Arc::new(routes) }
    }
}

type Of = fn(&utoipa::openapi::PathItem) -> Option<&Operation>;

/// The methods that a path of the document may have.
const METHODS: [(&str, Of); 5] = [
    ("DELETE", |item| item.delete.as_ref()),
    ("GET", |item| item.get.as_ref()),
    ("PATCH", |item| item.patch.as_ref()),
    ("POST", |item| item.post.as_ref()),
    ("PUT", |item| item.put.as_ref()),
];

/// Lets a request through, or refuses it.
pub(crate) async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    // Nothing is behind other paths but the console's files and a refusal.
    let Some(path) = path else { return next.run(request).await };
    let method = if request.method() == "HEAD" { "GET" } else { request.method().as_str() };
    let route = Route::find(method, &path);
    let known = METHODS.iter().find(|(name, _)| *name == method).map(|(name, _)| (*name, path));
    if route.is_none() && !known.is_some_and(|known| gate.routes.contains(&known)) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let admitted = match admit(&gate.core, route, &mut parts).await {
        Ok(admitted) => admitted,
        Err(error) => return error.into_response(),
    };
    if let Some(caller) = &admitted.caller {
        parts.extensions.insert(caller.clone());
        parts.extensions.insert(Within(caller.tenant().cloned()));
    }
    if let Some((_, tenant)) = &admitted.robot {
        parts.extensions.insert(Within(Some(tenant.clone())));
    }
    let taken = admitted.bucket().map(|name| gate.core.limits.take(&name, gate.core.clock.mono()));
    if let Some(taken @ Taken { retry_s: Some(seconds), .. }) = taken {
        return limited(&gate.core, taken, seconds);
    }
    let call = route.filter(|route| route.changes()).map(|route| {
        let request_id = parts.extensions.get::<RequestId>();
        let request_id = request_id.and_then(|id| id.0.to_str().ok()).unwrap_or_default();
        let mut path = parts.uri.path().to_owned();
        path.truncate(path.floor_char_boundary(MAX_PATH));
        Arc::new(audit::Call {
            at: gate.core.clock.wall(),
            begun: AtomicBool::default(),
            method: route.method,
            path,
            principal: admitted.principal(),
            request_id: request_id.to_owned(),
            route: route.path,
            tenant: admitted.tenant().cloned(),
            token: admitted.caller.as_ref().and_then(|caller| caller.token.clone()),
            written: AtomicBool::default(),
        })
    });
    let refused = admitted.refused.clone();
    let answer = async move {
        match refused {
            Some(refused) => refused.into_error().into_response(),
            None => next.run(Request::from_parts(parts, body)).await,
        }
    };
    let mut response = match call {
        None => answer.await,
        Some(call) => {
            let response = audit::answering(call.clone(), answer).await;
            // Whoever nobody knows fills no disk: what they were refused is in the log.
            if !call.written.load(Ordering::SeqCst) && !admitted.is_stranger() {
                let code = response.extensions().get::<Code>().map(|code| code.0);
                refuse(&gate.core, call, response.status(), code).await;
            }
            response
        }
    };
    if let Some(taken) = taken {
        tell(&gate.core, &mut response, taken);
    }
    response
}

/// Whom the guard let in, or knows and refuses.
struct Admitted {
    caller: Option<Caller>,
    refused: Option<Refused>,
    /// Its id, and whose it is.
    robot: Option<(String, Tenant)>,
}

/// What a caller that is known was refused for: it goes into the trail.
#[derive(Clone)]
enum Refused {
    Scope(crate::access::Scope, String),
    Unreachable(Reach),
}

impl Refused {
    fn into_error(self) -> ApiError {
        match self {
            Self::Scope(scope, message) => ApiError::lacks_scope(scope, message),
            Self::Unreachable(Reach::Whole) => ApiError::new(
                StatusCode::FORBIDDEN,
                "all_tenants_only",
                "this is about all tenants at once, and the token is one tenant's",
                "ask whoever runs the cloud for a token of all tenants, `*`",
            ),
            Self::Unreachable(reach) => absent(reach),
        }
    }
}

impl Admitted {
    /// Whose bucket a request is taken from.
    fn bucket(&self) -> Option<String> {
        let token = self.caller.as_ref().and_then(|caller| caller.token.clone());
        token.or_else(|| self.robot.as_ref().map(|(robot, _)| format!("robot:{robot}")))
    }

    fn is_stranger(&self) -> bool {
        self.caller.is_none() && self.robot.is_none()
    }

    fn tenant(&self) -> Option<&Tenant> {
        let robots = self.robot.as_ref().map(|(_, tenant)| tenant);
        self.caller.as_ref().map_or(robots, Caller::tenant)
    }

    fn principal(&self) -> String {
        match (&self.caller, &self.robot) {
            (Some(caller), _) => caller.principal().to_owned(),
            (None, Some((robot, _))) => format!("robot:{robot}"),
            (None, None) => "claim-code".to_owned(),
        }
    }
}

async fn admit(
    core: &Arc<Core>,
    route: Option<&'static Route>,
    parts: &mut Parts,
) -> Result<Admitted, ApiError> {
    let nobody = || Admitted { caller: None, refused: None, robot: None };
    let Some(route) = route else {
        let caller = Caller::read(parts, core).await?;
        // Nobody said what it needs: all.
        let refused = caller.grant.is_some().then_some(Refused::Unreachable(Reach::Whole));
        return Ok(Admitted { caller: Some(caller), refused, robot: None });
    };
    let scope = match route.needs {
        Needs::Code | Needs::Open => return Ok(nobody()),
        Needs::TokenOrRobot(scope)
            if parts.headers.contains_key(AUTHORIZATION) || is_service(parts) =>
        {
            scope
        }
        Needs::Robot | Needs::TokenOrRobot(_) => {
            let robot = Robot::from_request_parts(parts, core).await?;
            let id = robot.id.clone();
            let tenant = core.store.read::<_, StoreError, _>(move |tx| tenants::of_robot(tx, &id));
            let tenant = tenant.await?.unwrap_or_default();
            return Ok(Admitted { robot: Some((robot.id.to_string(), tenant)), ..nobody() });
        }
        Needs::Token(scope) => scope,
    };
    let caller = Caller::read(parts, core).await?;
    let mut refused = None;
    if let Some(grant) = caller.grant.as_ref().filter(|grant| !grant.gives(scope)) {
        let message = format!("this needs the scope {scope}; the token gives {}", grant.scopes());
        refused = Some(Refused::Scope(scope, message));
    } else if let Some(tenant) = caller.tenant()
        && !reaches(core, tenant, route.reach, parts).await?
    {
        refused = Some(Refused::Unreachable(route.reach));
    }
    Ok(Admitted { caller: Some(caller), refused, robot: None })
}

/// The other end showed the certificate of a service.
fn is_service(parts: &Parts) -> bool {
    parts.extensions.get::<Peer>().is_some_and(|peer| peer.service.is_some())
}

/// Whether what the path names is of this tenant.
async fn reaches(
    core: &Core,
    tenant: &Tenant,
    reach: Reach,
    parts: &mut Parts,
) -> Result<bool, ApiError> {
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let named = |name: &str| {
        let params = params.as_ref().ok()?;
        params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let of = tenant.clone();
    let read = match reach {
        Reach::Held | Reach::Nothing => return Ok(true),
        Reach::Whole => return Ok(false),
        Reach::Job(name) => {
            let Some(Ok(job)) = named(name).map(|text| job_id(&text)) else { return Ok(false) };
            core.store.read::<_, StoreError, _>(move |tx| tenants::has_job(tx, &of, &job)).await
        }
        Reach::Robot(name) => {
            let Some(Ok(robot)) = named(name).map(|text| robot_id(&text)) else {
                return Ok(false);
            };
            core.store.read(move |tx| tenants::has_robot(tx, &of, &robot)).await
        }
        Reach::Rollout(name) => {
            let Some(rollout) = named(name) else { return Ok(false) };
            core.store.read(move |tx| tenants::has_rollout(tx, &of, &rollout)).await
        }
        Reach::Skill(name) => {
            let Some(Ok(skill)) = named(name).map(|text| bundle_digest(&text)) else {
                return Ok(false);
            };
            core.store.read(move |tx| tenants::has_skill(tx, &of, &skill)).await
        }
    };
    Ok(read?)
}

/// The same words for what does not exist and for what is another tenant's.
fn absent(reach: Reach) -> ApiError {
    let (code, message, hint) = match reach {
        Reach::Job(_) => ("no_such_job", "there is no such job", "GET /v1/jobs lists the jobs"),
        Reach::Rollout(_) => {
            ("no_such_rollout", "there is no such roll-out", "GET /v1/rollouts lists the roll-outs")
        }
        Reach::Skill(_) => {
            ("no_such_skill", "there is no such skill", "GET /v1/skills lists the skills")
        }
        _ => ("no_such_robot", "there is no such robot", "GET /v1/robots lists the robots"),
    };
    ApiError::missing(code, message, hint)
}

/// Writes down what was refused to somebody who is known. Not to be able to costs no answer:
/// nothing was changed.
async fn refuse(
    core: &Core,
    call: Arc<audit::Call>,
    status: StatusCode,
    code: Option<&'static str>,
) {
    let outcome = match status {
        status if status.is_server_error() => "failed",
        status if status.is_success() => "done",
        _ => "refused",
    };
    let (of, id) = (call.route, call.request_id.clone());
    let written = core.store.write(move |tx| audit::add(tx, &call, outcome, code)).await;
    if let Err(error) = written {
        let error: StoreError = error;
        tracing::error!(%error, route = of, request = id, "a refusal is not in the audit trail");
    }
}

fn limited(core: &Core, taken: Taken, seconds: u64) -> Response {
    let per_s = core.limits.limit().per_s;
    let error = ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        format!("this caller may send {per_s} requests a second"),
        "wait as many seconds as Retry-After says; several programs want several tokens",
    );
    let mut response = error.into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    tell(core, &mut response, taken);
    response
}

/// What is left, as draft-ietf-httpapi-ratelimit-headers has it.
fn tell(core: &Core, response: &mut Response, taken: Taken) {
    let limit = core.limits.limit();
    let policy = format!("\"caller\";q={};w={}", limit.burst, limit.window_s());
    let left = format!("\"caller\";r={};t={}", taken.left, taken.whole_s);
    for (name, text) in [(&RATE_LIMIT_POLICY, policy), (&RATE_LIMIT, left)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// Puts into the document what the table says.
pub(crate) fn document(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("DELETE", &mut item.delete),
            ("GET", &mut item.get),
            ("PATCH", &mut item.patch),
            ("POST", &mut item.post),
            ("PUT", &mut item.put),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            operation.security = security(Route::find(method, path));
        }
    }
}

fn security(route: Option<&Route>) -> Option<Vec<SecurityRequirement>> {
    let token = |scope: String| SecurityRequirement::new("token", [scope]);
    let service =
        |scope: crate::access::Scope| SecurityRequirement::new("service", [scope.to_string()]);
    let robot = || SecurityRequirement::new("robot", Vec::<String>::new());
    Some(match route.map(|route| route.needs) {
        None => vec![token("bootstrap".to_owned())],
        Some(Needs::Code | Needs::Open) => return None,
        Some(Needs::Robot) => vec![robot()],
        Some(Needs::Token(scope)) => vec![token(scope.to_string()), service(scope)],
        Some(Needs::TokenOrRobot(scope)) => {
            vec![token(scope.to_string()), service(scope), robot()]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::ROUTES;

    #[test]
    fn every_route_of_the_document_is_in_the_table_and_every_row_is_a_route() {
        let document = crate::api::routes().to_openapi();
        let mut found = HashSet::new();
        for (path, item) in &document.paths.paths {
            for (method, of) in METHODS {
                if of(item).is_some() {
                    let row = Route::find(method, path);
                    assert!(row.is_some(), "access/routes.rs has no row for {method} {path}");
                    assert!(found.insert((method, path.as_str())));
                }
            }
            let others = [&item.head, &item.options, &item.trace];
            assert!(others.iter().all(|it| it.is_none()), "{path} has a method of no table");
        }
        for row in ROUTES {
            let key = (row.method, row.path);
            assert!(found.remove(&key), "{key:?} is no route, or has two rows");
        }
    }

    #[test]
    fn a_row_that_names_something_of_a_tenant_names_a_parameter_of_its_path() {
        for row in ROUTES {
            let open = matches!(row.needs, Needs::Code | Needs::Open | Needs::Robot);
            match row.reach {
                Reach::Job(name)
                | Reach::Robot(name)
                | Reach::Rollout(name)
                | Reach::Skill(name) => {
                    assert!(row.path.contains(&format!("{{{name}}}")), "{}", row.path);
                }
                // What needs a token is held to the tenant, or closed to callers of one.
                Reach::Nothing => assert!(open, "{} {}", row.method, row.path),
                Reach::Held | Reach::Whole => {}
            }
        }
    }
}
