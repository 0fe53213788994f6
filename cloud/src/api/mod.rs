//! The HTTP API: every endpoint, its fields, and how the two ends know each other.
//!
//! # How the two ends know each other
//! Both ports speak TLS 1.3 only. The cloud has one private root (ECDSA P-256, made at the
//! first start). Its server certificate is issued directly by that root and renewed at each
//! start; **the chain it sends is leaf, then root**. Its subject alternative names are
//! `localhost`, `127.0.0.1`, `::1`, the addresses it listens on, and every `--host`.
//!
//! * *Before enrolment* an agent knows only the claim code, `noot1.{secret}.{root_sha256_hex}`:
//!   it accepts the connection when one certificate of the chain has that SHA-256 (over its
//!   DER) and the leaf verifies against it as the only root, for the host name or IP address
//!   that was dialled (which is also the SNI, where it is a name).
//! * *After enrolment* it verifies against `ca_pem`, again for the host that it dials: the
//!   host of its `https` URL, or the host of `mqtt`.
//!
//! A **robot's certificate** is an X.509 v3 leaf over the P-256 key of the agent's CSR.
//! Subject `CN={robot}`, one subject alternative name of type URI, `urn:nooterra:robot:{robot}`,
//! key usage digitalSignature (critical), extended key usage clientAuth, not a CA, not before
//! five minutes ago, not after in seven days unless configured otherwise. Nothing of the CSR
//! is taken but its key, after its self-signature was checked. The same P-256 key is the
//! device key: it signs the robot's facts. A connection ends at its certificate's `notAfter`.
//! A robot that enrols again with another key closes its older certificates. A key that was
//! revoked is refused on both ports, with 403 `certificate_revoked` and CONNACK 0x8A, and never
//! opens again. `docs/cloud-link.md` lists what a robot may do and use, and every refusal.
//!
//! # The MQTT endpoint
//! MQTT 5, topics of `nooterra_protocol::topic`. The client id must be the robot's id; user
//! name and password are ignored; a last will may only go to the robot's own `state`. Keep
//! alive is 1 to 60 s (others are set to 60 by `Server Keep Alive`), packets have at most
//! 128 KiB, at most 16 QoS 1 publications may be unacknowledged, QoS 2 is not offered, nothing
//! is retained, no session is kept (`session present` is always 0). A second connection of the
//! same robot ends the first.
//!
//! `up/{class}` takes an `uplink::Batch` of records of that class, ascending. `PUBACK` 0x00 and
//! then `uplink::Ack` on `ack` (QoS 0, only if subscribed before) follow the commit; 0x99 means
//! that the batch is damaged and nothing of it was kept, 0x87 that the topic is not the robot's.
//! `state` takes an `uplink::State`. `cmd` carries one signed `command::RemoteCommand` (at most
//! 40 KiB) as its payload, QoS 1; each is sent again on every connection until a record
//! `command_received` or `command_refused` names it, or it expires.
//!
//! # Who may call
//! *token*: `Authorization: Bearer {token}`, with a token of `POST /v1/tokens` that gives the
//! scope which the route needs, or with the bootstrap token, the one line of `admin_token` in the
//! data directory, which gives all of them, or with the TLS client certificate of a service
//! that has a token. *robot*: the TLS client certificate. *code*: a claim
//! code in the body. `crate::access` has the table of routes and scopes, the OpenAPI document
//! repeats it as each operation's `security`, and `docs/api-access.md` tells the rest: 401
//! `unauthorized`, `token_expired`, `token_revoked`; 403 `scope_missing` (with `scope`),
//! `all_tenants_only`, `beyond_own_token`, `not_your_name`; 429 `rate_limited`. Below, *admin*
//! is a token that gives the route's scope.
//!
//! # Conventions
//! Request and response bodies are JSON; unknown request keys are refused. Times (`…_at`,
//! `last_seen`, `at`) are integers, milliseconds since 1970-01-01T00:00:00Z. Digests are 64
//! lower-case hexadecimal digits. Errors are problem details (RFC 9457,
//! `application/problem+json`) with a status in 400..=599:
//! `{"type","title","status","detail","code","hint"}`; `code` is stable and ends `type`, `detail`
//! and `hint` are for people. Every answer has an `X-Request-Id`: the request's own, where it
//! came with one, else a fresh one; the log names it.
//!
//! A `POST` about jobs or commands may carry `Idempotency-Key: KEY` (1 to 128 visible ASCII
//! characters): what it does is done once. For 24 hours the same request with the same key gets
//! the first answer again, with `Idempotency-Replayed: true`; another request with that key is
//! refused, 422 `idempotency_key_reused`. A refusal changed nothing and is not kept. A job's
//! `head` is its `ETag`: a `POST` with `If-Match` is done only while nothing has happened to the
//! job since, else 412 `head_moved`; a `GET` with `If-None-Match` answers 304 while it is so.
//!
//! # Endpoints
//! ```text
//! GET  /healthz                          -> 200 {"status":"ok","version"}
//! GET  /readyz                           -> 200 {"status":"ready"} once the store commits, or 503
//! GET  /metrics                 admin    -> 200 OpenMetrics text
//! GET  /v1/openapi.json                  -> 200 the OpenAPI document
//!
//! POST /v1/claim-codes          admin  {"robot","ttl_s"?}
//!                                        -> 201 {"code","expires_at","robot"}
//! POST /v1/enrolments           code   {"code","csr_pem"}
//!                                        -> 201 {"certificate_pem","ca_pem","robot","mqtt",
//!                                                "command_key","expires_at"}
//! POST /v1/robots/{id}/certificate
//!                               robot  {"csr_pem"}      (same key as enrolled)
//!                                        -> 201 as for enrolments
//!
//! GET  /v1/robots               admin  ?after=ID&limit=N(<=1000, 1000)
//!                                        -> 200 {"robots":[Robot],"next":ID|null}     by id
//! GET  /v1/robots/{id}          admin    -> 200 Robot
//!      Robot = {"id","online","last_seen"|null,"enrolled_at","device_key",
//!               "standing":{"state":"in_service"|"maintenance"|"quarantined"|"revoked",
//!                           "reason"|null,"since"|null},
//!               "health": uplink::Health|null, "capabilities": observation::Capabilities|null}
//! POST /v1/robots/{id}/revoke       admin  {"reason"}  -> 200 Robot   closes its key for ever
//! POST /v1/robots/{id}/quarantine   admin  {"reason"}  -> 200 Robot   hears only what stops it
//! POST /v1/robots/{id}/maintenance  admin  {"reason"}  -> 200 Robot   gets no further job
//! POST /v1/robots/{id}/restore      admin  {"reason"}  -> 200 Robot   of the last two
//! GET  /v1/robots/{id}/records  admin  ?after=CURSOR&kind=K&class=C&limit=N(<=1000, 200)
//!                                        -> 200 {"records":[Record],"next":CURSOR}
//!      Record = {"cursor","journal","seq","class","kind","boot","at":time::Stamp,"body",
//!                "note"|null}       ascending by cursor; `after` is exclusive, 0 for all
//! GET  /v1/robots/{id}/verdicts admin    the same with kind=verdict
//! GET  /v1/robots/{id}/live     admin    -> 200 text/event-stream: `start`, the newest records,
//!                                           then those that arrive; `Last-Event-ID: CURSOR`
//! GET  /v1/robots/{id}/policy   admin    -> 200 {"at","document","hash","in_force","key_id"}
//! GET  /v1/robots/{id}/box      admin    -> 200 the black box, as far as it came here
//!
//! POST /v1/robots/{id}/commands admin  {"ask": command::Ask, "ttl_ms"?}   (30000)
//!                                        -> 202 Command
//! GET  /v1/robots/{id}/commands admin    -> 200 {"commands":[Command]}    newest first, 200
//! GET  /v1/robots/{id}/commands/{cid}
//!                               admin    -> 200 Command
//!      Command = {"id","robot","ask": command::Ask,"state":"sent"|"accepted"|"refused"|
//!                 "expired","reason"|null,"issued_at","expires_at","job"|null,
//!                 "verdicts":[{"cursor","journal","seq","at","verdict": entry::Verdict}]}
//!      (`verdicts` is filled in the answer for one command, empty in the list)
//!
//! POST /v1/skills               admin  {"bundle_base64","signature","certification"?}
//!                                        -> 201, or 200 if known, {"digest","id","version"}
//!      (`signature`: the text of the .minisig; `certification`: {"record","signature"})
//! GET  /v1/skills               admin|robot
//!                                      ?after=PLACE&id=&developer=&tier=&q=&revoked=&limit=N
//!                                        -> 200 {"skills":[Skill],"next":PLACE|null} oldest first
//! GET  /v1/skills/{digest}      admin|robot  -> 200 Skill
//!      Skill = {"digest","id","version","published_at","manifest","tier","signed_by"|null,
//!               "certification"|null,"revoked":{"at","reason","running"}|null}
//! POST /v1/skills/{digest}/revoke     admin  {"reason","running":"cancel"|"finish"?}
//!                                        -> 200 Skill      no robot is given it again
//! GET  /v1/skills/{digest}/bundle     admin|robot  -> 200 application/octet-stream
//! GET  /v1/skills/{digest}/robots     admin  ?after=ID&limit=N(<=1000, 200)
//!                                        -> 200 {"robots":[{"id","jobs","reported_at"|null,
//!                                                "ring"|null,"state":"active"|"before"|"on_trial"
//!                                                |null}],"next":ID|null}      by id
//! GET  /v1/skills/{digest}/sbom       admin  -> 200 application/vnd.cyclonedx+json
//! GET  /v1/skills/{digest}/signature  admin|robot  -> 200 text/plain
//!
//! POST /v1/skill-trust          admin  {"bytes": base64,"signatures"}  (texts of .minisig files)
//!                                        -> 201, or 200 if known, {"digest","type","version"}
//! GET  /v1/skill-trust          admin|robot  ?after=VERSION  of the document in force
//!                                        -> 200 {"documents":[{"bytes","signatures"}],"list"}
//! GET  /v1/skill-keys           admin    -> 200 {"keys":[SkillKey]}
//! POST /v1/skill-keys           admin  {"holder","key","role","tier"}        -> 201 SkillKey
//! POST /v1/skill-keys/{key_id}/revoke admin  {"reason"}                      -> 200 SkillKey
//! GET  /v1/skill-rules/{skill}  admin    -> 200 {"id","rule":{"everyone","labels","robots"}}
//! POST /v1/skill-rules/{skill}  admin  {"everyone"?,"labels"?,"robots"?}     -> 200 the same
//! GET  /v1/rings                admin    -> 200 {"rings":[{"name","of","tier"}]}
//! POST /v1/rings                admin  {"rings":[…]}   all of them           -> 200 the same
//! POST /v1/robots/{id}/labels   admin  {"labels":[…]}  -> 200 RobotSkills
//! GET  /v1/robots/{id}/skills   admin    -> 200 RobotSkills: its ring's version of each, and why
//! POST /v1/rollouts             admin  {"bundle","reason","gate"?,"gates"?}  -> 201 Rollout
//! GET  /v1/rollouts             admin  ?after=CURSOR&skill=S&limit=N
//!                                        -> 200 {"rollouts":[Rollout],"next"}      newest first
//! GET  /v1/rollouts/{id}        admin    -> 200 Rollout
//! GET  /v1/rollouts/{id}/events admin    -> 200 {"events":[Event]}   each step, with its reason
//! GET  /v1/rollouts/{id}/jobs   admin  ?after=CURSOR&limit=N
//!                                        -> 200 {"jobs":[…],"next"}  which jobs were given it
//! POST /v1/rollouts/{id}/pause | resume | roll_back
//!                               admin  {"reason"}          -> 200 Rollout
//! POST /v1/rollouts/{id}/advance admin {"past":RING,"reason"} -> 200 Rollout
//! `docs/registry.md` says what they mean.
//!
//! POST /v1/jobs                 admin  {"robot","plan": plan::Plan,"requester"?}
//!                                        -> 201 Job                         (CREATED)
//! POST /v1/jobs/{id}/quote      admin  {"amount_minor"?,"currency"?} or no body
//!                                        -> 200 Job                         (QUOTED)
//! POST /v1/jobs/{id}/book       admin    -> 200 Job                         (BOOKED)
//! POST /v1/jobs/{id}/dispatch   admin  {"ttl_ms"?} or no body (600000)
//!                                        -> 200 Job   (MATCHED, SKILL_LICENSED…, RESERVED;
//!                                                      `command` names the StartJob envelope)
//! POST /v1/jobs/{id}/cancel     admin  {"reason"?} or no body
//!                                        -> 200 Job   (ABORTED or ABORTING_SAFE_EXIT)
//! POST /v1/jobs/{id}/pause      admin  {"reason"?} or no body
//!                                        -> 200 Job   (STALLED; its robot is told to rest)
//! POST /v1/jobs/{id}/resume     admin    -> 200 Job   (EXECUTING once its robot says so)
//! POST /v1/jobs/{id}/reschedule admin  {"robot"?,"reason"?} or no body
//!                                        -> 200 Job   (BOOKED; the start that was sent is void)
//! POST /v1/jobs/{id}/access     admin  access::AccessPlan
//!                                        -> 200 Job   (a robot that has the job is told)
//! POST /v1/jobs/{id}/access/revoke
//!                               admin  {"reason"} -> 200 Job  (ABORTED or ABORTING_SAFE_EXIT)
//! GET  /v1/jobs/{id}/approvals  admin    -> 200 {"approvals":[{"at","by","ended"|null,"plan",
//!                                                "until"|null}],"needed","plan"}
//! POST /v1/jobs/{id}/approvals  admin  {"plan","until"?,"by"?}
//!                                        -> 200 Job   (its robot is told who approved the plan)
//! POST /v1/jobs/{id}/approvals/revoke
//!                               admin  {"reason"?,"by"?} or no body
//!                                        -> 200 Job   (BOOKED, or ABORTING_SAFE_EXIT)
//! GET  /v1/jobs                 admin  ?after=CURSOR&limit=N(<=1000, 200)
//!                                        -> 200 {"jobs":[Job],"next":CURSOR|null}     newest first
//! GET  /v1/jobs/{id}            admin    -> 200 Job
//!      Job = {"id","robot","requester","state","plan","progress"(0..1),"stage"|null,
//!             "created_at","updated_at","command"|null,"events"(count),"head"(digest),
//!             "access"|null,"heard_at"|null,"stall"|null}
//!      A job of which nothing is heard for three intervals is STALLED by the cloud, EXECUTING
//!      again with the next heartbeat; a stall that lasts is an incident. Access ends by itself.
//! GET  /v1/jobs/{id}/events     admin  ?after=SEQ
//!                                        -> 200 {"events":[Event]}          ascending
//!      Event = {"stream","seq","prev_hash","hash","late","id","type",
//!               "actor":{"type","id"},"actor_seq","at":time::Stamp,"job"|null,"payload",
//!               "payload_hash","position","key_id","received_at",
//!               "signed"(base64, the COSE_Sign1)}
//! GET  /v1/jobs/{id}/report     admin    -> 200 {"report": report::JobReport,"sha256",
//!                                                "signed"(base64), made of its stream alone;
//!                                                "black_box":{"proofs":[{"robot","journal",
//!                                                "facts","proof"(base64, evidence::Proof)}],
//!                                                "unproven":[{"fact","why"}]}}
//! GET  /v1/robots/{id}/events   admin    the robot's own stream: facts of no known job
//!
//! GET  /v1/events               admin  ?after=POSITION&stream=S&type=T&limit=N(<=1000, 200)
//!                                        -> 200 {"events":[Event],"next":POSITION}
//! GET  /v1/events/stream        admin  the same without `limit`, or `Last-Event-ID: POSITION`
//!                                        -> 200 text/event-stream: id = position, event = type,
//!                                           data = Event; goes on until either side ends it
//!
//! POST /v1/tokens               admin  {"families","principal","role","tenant"?,"ttl_s"?,
//!                                       "certificate"?} -> 201 {"made":Token,"token"|null}
//! GET  /v1/tokens               admin  ?after=CURSOR&limit=N(<=1000, 1000)
//!                                        -> 200 {"tokens":[Token],"next":CURSOR|null}
//! POST /v1/tokens/{id}/revoke   admin    -> 200 Token    and all that were made with it
//! GET  /v1/audit                admin  ?after=N&limit=N(<=1000, 200)&principal=P&outcome=O
//!                                        &request_id=R -> 200 {"entries":[AuditEntry],"next":N}
//!
//! POST /v1/webhooks             admin  {"url","types"?,"after"?} -> 201 {"made":Webhook,"secret"}
//! GET  /v1/webhooks             admin    -> 200 {"webhooks":[Webhook]}
//! POST /v1/webhooks/{id}/end    admin    -> 200 Webhook
//! GET  /v1/webhooks/{id}/dead-letters
//!                               admin  ?after=POSITION&limit=N(<=1000, 1000)
//!                                        -> 200 {"dead_letters":[DeadLetter],"next":P|null}
//! POST /v1/webhooks/{id}/redeliver
//!                               admin  {"position"?} or no body  -> 200 {"waiting"}
//! ```
//! `/` and `/console/...` are the console, a page for people: `docs/console.md`.
//!
//! A command to an offline robot is kept and sent when it connects, until it expires.

mod approvals;
mod audit;
mod auth;
mod call;
mod commands;
mod course;
mod enrol;
mod error;
mod extract;
mod feed;
mod guard;
mod jobs;
mod json;
mod linger;
mod live;
mod observe;
mod registry;
mod reported;
mod robots;
mod rollouts;
mod serve;
mod skill_list;
mod skill_robots;
mod skill_trust;
mod skills;
mod standing;
mod tokens;
mod webhooks;

pub(crate) use error::not_found_route as not_found;
pub(crate) use json::EventJson;
pub(crate) use json::unverified;
pub(crate) use observe::Figures;
pub(crate) use serve::serve;

use crate::console;
use crate::core::Core;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, Uri};
use axum::{Extension, Json, Router, middleware};
use error::{ApiError, not_found_route};
use extract::BodyLimit;
use guard::Gate;
use serde::Serialize;
use std::sync::Arc;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApiBuilder};
use utoipa::{Modify, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The largest request body except for a skill's, in bytes.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// The OpenAPI document of this release, as pretty JSON with a final line break. The copy in
/// `cloud/openapi.json` is made from it: `cargo run -p nooterra-cloud -- openapi`.
///
/// # Errors
/// When the document has no JSON form, which would be a defect of this release.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    let text = serde_json::to_string_pretty(&document(routes().to_openapi()))?;
    // As the registry of formats has them; the library writes them with a hyphen.
    Ok(text.replace(r#""format": "u-int"#, r#""format": "uint"#) + "\n")
}

/// The whole API over `core`.
pub(crate) fn router(core: Arc<Core>) -> Router {
    let (router, paths) = routes().split_for_parts();
    let gate = Gate::new(core.clone(), &paths);
    let document = openapi_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the OpenAPI document is not served");
        "{}".to_owned()
    });
    let document = Bytes::from(document);
    let serve_document = move || {
        let document = document.clone();
        async move { ([(CONTENT_TYPE, "application/json")], document) }
    };
    router
        .route("/v1/openapi.json", axum::routing::get(serve_document))
        .merge(console::router())
        .fallback(not_found_route)
        .method_not_allowed_fallback(async |method: Method, uri: Uri, _: HeaderMap| {
            ApiError::method_not_allowed(&method, uri.path())
        })
        .layer(middleware::from_fn_with_state(gate, guard::guard))
        .layer(middleware::from_fn(serve::within_time))
        .layer(middleware::from_fn_with_state(core.clone(), observe::each))
        .with_state(core)
}

fn routes() -> OpenApiRouter<Arc<Core>> {
    let skills = OpenApiRouter::new()
        .routes(routes!(skills::publish, skills::list))
        .layer(DefaultBodyLimit::max(skills::MAX_BODY_BYTES))
        .layer(Extension(BodyLimit(skills::MAX_BODY_BYTES)));
    let trust = OpenApiRouter::new()
        .routes(routes!(skill_trust::publish, skill_trust::news))
        .layer(DefaultBodyLimit::max(skill_trust::MAX_BODY_BYTES))
        .layer(Extension(BodyLimit(skill_trust::MAX_BODY_BYTES)));
    let calls = OpenApiRouter::new()
        .routes(routes!(commands::send, commands::list))
        .routes(routes!(jobs::create, jobs::list))
        .routes(routes!(jobs::quote))
        .routes(routes!(jobs::book))
        .routes(routes!(jobs::dispatch))
        .routes(routes!(jobs::cancel))
        .routes(routes!(course::pause))
        .routes(routes!(course::resume))
        .routes(routes!(course::reschedule))
        .routes(routes!(course::issue_access))
        .routes(routes!(course::revoke_access))
        .routes(routes!(approvals::list, approvals::grant))
        .routes(routes!(approvals::revoke))
        .routes(routes!(rollouts::start, rollouts::list))
        .routes(routes!(rollouts::pause))
        .routes(routes!(rollouts::resume))
        .routes(routes!(rollouts::advance))
        .routes(routes!(rollouts::roll_back))
        .layer(middleware::from_fn(call::mark));
    OpenApiRouter::new()
        .merge(calls)
        .routes(routes!(health))
        .routes(routes!(observe::ready))
        .routes(routes!(observe::metrics))
        .routes(routes!(enrol::claim_code))
        .routes(routes!(enrol::enrol))
        .routes(routes!(enrol::renew))
        .routes(routes!(robots::list))
        .routes(routes!(robots::show))
        .routes(routes!(robots::records))
        .routes(routes!(robots::verdicts))
        .routes(routes!(robots::events))
        .routes(routes!(live::watch))
        .routes(routes!(reported::policy))
        .routes(routes!(reported::black_box))
        .routes(routes!(standing::maintain))
        .routes(routes!(standing::quarantine))
        .routes(routes!(standing::restore))
        .routes(routes!(standing::revoke))
        .routes(routes!(commands::show))
        .routes(routes!(registry::keys, registry::add_key))
        .routes(routes!(registry::revoke_key))
        .routes(routes!(registry::rings, registry::set_rings))
        .routes(routes!(registry::robot_skills))
        .routes(routes!(registry::label))
        .routes(routes!(registry::rule, registry::set_rule))
        .routes(routes!(rollouts::show))
        .routes(routes!(rollouts::events))
        .routes(routes!(rollouts::given))
        .routes(routes!(skills::show))
        .routes(routes!(skills::revoke))
        .routes(routes!(skills::bundle))
        .routes(routes!(skill_robots::list))
        .routes(routes!(skills::sbom))
        .routes(routes!(skills::signature))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::events))
        .routes(routes!(jobs::report))
        .routes(routes!(feed::list))
        .routes(routes!(feed::follow))
        .routes(routes!(audit::list))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(webhooks::end))
        .routes(routes!(webhooks::dead_letters))
        .routes(routes!(webhooks::redeliver))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(Extension(BodyLimit(MAX_BODY_BYTES)))
        .merge(skills)
        .merge(trust)
}

fn document(paths: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    struct Schemes;
    impl Modify for Schemes {
        fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
            let components = document.components.get_or_insert_default();
            let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
            components.add_security_scheme("token", SecurityScheme::Http(bearer));
            let mutual = SecurityScheme::MutualTls {
                deprecated: None,
                description: Some("the robot's certificate".to_owned()),
                extensions: None,
            };
            components.add_security_scheme("robot", mutual);
            let mutual = SecurityScheme::MutualTls {
                deprecated: None,
                description: Some("the certificate of a service that has a token".to_owned()),
                extensions: None,
            };
            components.add_security_scheme("service", mutual);
        }
    }
    #[derive(OpenApi)]
    #[openapi(modifiers(&Schemes), components(schemas(error::Problem)))]
    struct Base;
    let info = InfoBuilder::new()
        .title("Nooterra cloud")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Robots, skills, jobs and signed commands."));
    let mut document = OpenApiBuilder::from(Base::openapi()).info(info.build()).build();
    document.merge(paths);
    guard::document(&mut document);
    document
}

/// The process is up.
#[derive(Serialize, ToSchema)]
struct Health {
    /// Always `ok`.
    status: &'static str,
    /// Of this release.
    version: &'static str,
}

/// Whether the process answers.
#[utoipa::path(get, operation_id = "health", path = "/healthz", responses((status = 200, description = "the process answers", body = Health)))]
async fn health() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}
