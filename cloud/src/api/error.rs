//! Refusals and failures as clients see them.

use crate::access::Scope;
use crate::approval::ApprovalError;
use crate::ca::CaError;
use crate::commands::CommandError;
use crate::jobs::JobError;
use crate::standing::{Barred, Standing};
use crate::store::StoreError;
use axum::Json;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: &'static str,
    hint: String,
    message: String,
    scope: Option<Scope>,
    status: StatusCode,
}

/// The code of a refusal, beside its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code(pub(crate) &'static str);

/// The body of every answer from 400 on: problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Stable; for programs. The end of `type`.
    code: &'static str,
    /// What is wrong; for people.
    detail: String,
    /// What to do; for people.
    hint: String,
    /// The scope that the token lacks, such as `robots:write`; with `scope_missing` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// The status of the answer.
    status: u16,
    /// What the status is called.
    title: &'static str,
    /// `urn:nooterra:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
}

impl ApiError {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { code, hint: hint.into(), message: message.into(), scope: None, status }
    }

    /// 400.
    pub(crate) fn bad(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message, hint)
    }

    /// 404.
    pub(crate) fn missing(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message, hint)
    }

    /// 403, for a token that does not give what the route needs.
    pub(crate) fn lacks_scope(scope: Scope, message: String) -> Self {
        let hint = "ask for a token with that family and a role that gives the right: viewer read, \
                    operator write, admin manage";
        let status = StatusCode::FORBIDDEN;
        Self { scope: Some(scope), ..Self::new(status, "scope_missing", message, hint) }
    }

    /// 422.
    pub(crate) fn unfit(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message, hint)
    }

    pub(crate) fn method_not_allowed(method: &Method, path: &str) -> Self {
        let message = format!("{path} does not take {method}");
        let hint = "GET /v1/openapi.json lists every path with its methods";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, hint)
    }

    fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            error.to_string(),
            "the cloud's log says more; what was not confirmed was not done",
        )
    }
}

/// For a path that is none of ours.
pub(crate) async fn not_found_route(uri: Uri) -> ApiError {
    let hint = "GET /v1/openapi.json lists every path";
    ApiError::missing("no_such_path", format!("there is no {}", uri.path()), hint)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { code, hint, message, scope, status } = self;
        let problem = Problem {
            code,
            detail: message,
            hint,
            scope: scope.map(|scope| scope.to_string()),
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("error"),
            kind: format!("urn:nooterra:problem:{code}"),
        };
        let media_type = [(CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, media_type, Json(problem)).into_response();
        response.extensions_mut().insert(Code(code));
        // RFC 6750 §3.
        let challenge = match scope {
            Some(scope) => format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""),
            None => "Bearer".to_owned(),
        };
        if (scope.is_some() || status == StatusCode::UNAUTHORIZED)
            && let Ok(challenge) = challenge.parse()
        {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<CaError> for ApiError {
    fn from(error: CaError) -> Self {
        match error {
            CaError::Request(_) => Self::bad(
                "bad_csr",
                error.to_string(),
                "send a PKCS#10 request in PEM, over a P-256 key and signed by it with SHA-256",
            ),
            other => Self::internal(&other),
        }
    }
}

impl From<Barred> for ApiError {
    fn from(barred: Barred) -> Self {
        let (code, hint) = match barred.standing {
            Standing::InService => ("barred", "look at GET /v1/robots/{id}"),
            Standing::Maintenance => (
                "robot_in_maintenance",
                "POST /v1/robots/{id}/restore when the work is done, or choose another robot",
            ),
            Standing::Quarantined => (
                "robot_quarantined",
                "only emergency_stop, veto and a job's cancellation reach it; \
                 POST /v1/robots/{id}/restore when it is cleared",
            ),
            Standing::Revoked => (
                "robot_revoked",
                "enrol it again: POST /v1/claim-codes, and a new key on the robot",
            ),
        };
        Self::new(StatusCode::CONFLICT, code, barred.to_string(), hint)
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        match error {
            CommandError::Barred(barred) => barred.into(),
            CommandError::Lifetime => {
                Self::unfit("bad_ttl", message, "choose ttl_ms within that range")
            }
            CommandError::NotFinite(_) => Self::unfit("not_finite", message, "send finite numbers"),
            CommandError::TooLarge(_) => {
                Self::unfit("command_too_large", message, "split the plan into several jobs")
            }
            CommandError::Entropy(error) => Self::internal(&error),
            CommandError::Sign(error) => Self::internal(&error),
            CommandError::Store(error) => Self::internal(&error),
        }
    }
}

impl From<ApprovalError> for ApiError {
    fn from(error: ApprovalError) -> Self {
        let (code, hint) = match error {
            ApprovalError::Missing => (
                "approval_missing",
                "look at its plan, then POST /v1/jobs/{id}/approvals with its plan_hash",
            ),
            ApprovalError::None => ("no_approval", "cancel the job, if it is to end"),
            ApprovalError::OtherPlan { .. } => (
                "another_plan",
                "look at the plan that the job has now and approve that one; where a ring has \
                 chosen another version since, make the job anew",
            ),
            ApprovalError::Over => ("approval_over", "approve it until a time that is to come"),
            ApprovalError::TooMany => ("too_many_approvals", "make the job anew"),
        };
        Self::new(StatusCode::CONFLICT, code, error.to_string(), hint)
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        let message = error.to_string();
        match error {
            JobError::Access(error) => {
                use crate::access_plan::AccessError;
                match error {
                    AccessError::NoPlan => Self::new(
                        StatusCode::CONFLICT,
                        "no_access_plan",
                        message,
                        "issue one first, or cancel the job",
                    ),
                    AccessError::NotRevocable => Self::new(
                        StatusCode::CONFLICT,
                        "not_revocable",
                        message,
                        "cancel the job, which ends it too",
                    ),
                    AccessError::Over => Self::new(
                        StatusCode::CONFLICT,
                        "access_over",
                        message,
                        "issue an access plan whose time is to come",
                    ),
                    AccessError::Plan(_) => {
                        Self::unfit("bad_access_plan", message, "correct that field")
                    }
                }
            }
            JobError::Action(..) => {
                Self::unfit("unknown_action", message, "the skill's manifest lists its actions")
            }
            JobError::Approval(error) => error.into(),
            JobError::Barred(barred) => barred.into(),
            JobError::Command(error) => error.into(),
            JobError::Entropy(error) => Self::internal(&error),
            JobError::Fold(error) => Self::internal(&error),
            JobError::NotPossible(refused) => Self::new(
                StatusCode::CONFLICT,
                "wrong_state",
                message,
                format!("the next call is: {}", crate::jobs::next_call(refused.state)),
            ),
            JobError::Plan(_) => Self::unfit("bad_plan", message, "correct that step"),
            JobError::Sign(_) => {
                Self::unfit("plan_too_large", message, "split the plan into several jobs")
            }
            JobError::Skill(_) => Self::unfit(
                "unknown_skill",
                message,
                "publish the bundle first (POST /v1/skills) and name its digest, id and version",
            ),
            JobError::Store(error) => Self::internal(&error),
            JobError::UnknownJob(_) => {
                Self::missing("no_such_job", message, "GET /v1/jobs lists the jobs")
            }
            JobError::UnknownRobot(_) => Self::unfit(
                "unknown_robot",
                message,
                "enrol it first: POST /v1/claim-codes, then `nooterra-agent enroll` on the robot",
            ),
            JobError::Withheld(withheld) => (*withheld).into(),
        }
    }
}
