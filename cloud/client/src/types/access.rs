//! Tokens, and who called for what.

use super::{Family, Role, wire};
use nooterra_protocol::time::WallMillis;

wire! {
    /// A call that changed something, or would have.
    pub struct AuditEntry {
        /// Milliseconds since 1970.
        pub at: WallMillis,
        /// Why it was refused, or what failed, as the answer's `code` says it.
        pub code: Option<String>,
        /// Such as `POST`.
        pub method: String,
        /// Its place in the trail.
        pub n: i64,
        /// `done`: the change and this entry were kept together. `refused`: nothing was
        /// changed. `failed`: the cloud could not, or does not know whether it did.
        pub outcome: String,
        /// What was called, its first 256 bytes.
        pub path: String,
        /// Who called: a token's principal, `bootstrap` for the token of the data directory,
        /// `robot:{id}` for a robot's certificate, `claim-code` for an enrolment.
        pub principal: String,
        /// The answer's `X-Request-Id`.
        pub request_id: String,
        /// The path as this document has it.
        pub route: String,
        /// The tenant that the caller was held to; null for all.
        pub tenant: Option<String>,
        /// The token's id.
        pub token: Option<String>,
    }

    /// Calls, oldest first.
    pub struct AuditPage {
        /// What was asked for, in its order.
        pub entries: Vec<AuditEntry>,
        /// What `after` takes to go on.
        pub next: i64,
    }

    /// A token that was just made.
    pub struct NewToken {
        /// What was made.
        pub made: Token,
        /// What `Authorization: Bearer` takes. It is shown once; null for a certificate.
        pub token: Option<String>,
    }

    /// A token, without its secret.
    pub struct Token {
        /// The name of the certificate that stands in place of its secret.
        pub certificate: Option<String>,
        /// Milliseconds since 1970.
        pub expires_at: WallMillis,
        /// What it is for.
        pub families: Vec<Family>,
        /// What the audit trail calls it; no secret.
        pub id: String,
        /// Milliseconds since 1970.
        pub made_at: WallMillis,
        /// The principal who asked for it.
        pub made_by: String,
        /// The token that it was made with, and is revoked with; null for the bootstrap token.
        pub parent: Option<String>,
        /// Who acts with it.
        pub principal: String,
        /// Milliseconds since 1970.
        pub revoked_at: Option<WallMillis>,
        /// The principal who revoked it.
        pub revoked_by: Option<String>,
        /// What it may do with its families.
        pub role: Role,
        /// `valid`, `expired` or `revoked`.
        pub state: String,
        /// Whose robots, jobs and skills it reaches; `*` for all tenants'.
        pub tenant: String,
    }

    /// Tokens, oldest first.
    pub struct TokenList {
        /// What `after` takes to go on; null after the last.
        pub next: Option<i64>,
        /// What was asked for, in its order.
        pub tokens: Vec<Token>,
    }

    /// Asks for a token.
    pub struct TokenRequest {
        /// The name of a service's certificate that stands in place of a secret, such as
        /// `uri:spiffe://example/erp`, `dns:erp.example` or `cn:erp`.
        pub certificate: Option<String>,
        /// What it is for; each once, at least one.
        pub families: Vec<Family>,
        /// Who acts with it, as the audit trail and the robots' rules know them.
        pub principal: String,
        /// What it may do with them.
        pub role: Role,
        /// Whose robots, jobs and skills it reaches, `*` for all tenants'; the maker's own
        /// unless given, `default` where the maker's reaches all.
        pub tenant: Option<String>,
        /// Seconds until it expires, 60 to 2592000; 3600 unless given, and never later than the
        /// token that it is made with.
        pub ttl_s: Option<u64>,
    }
}
