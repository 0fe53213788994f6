//! What the API, the endpoint and the background tasks share.

use crate::access::{Limits, Streams};
use crate::api::Figures;
use crate::ca::Ca;
use crate::clock::Clock;
use crate::endpoint::Registry;
use crate::jobs::Server;
use crate::services::Authorities;
use crate::store::Store;
use crate::webhooks::Caller;
use nooterra_protocol::codec::Digest;
use std::sync::Arc;
use std::time::Duration;

/// One running cloud, from the inside.
pub(crate) struct Core {
    /// SHA-256 of the admin token: comparing digests tells nothing about the token.
    pub(crate) admin: Digest,
    pub(crate) ca: Ca,
    /// What calls webhooks.
    pub(crate) caller: Caller,
    pub(crate) claim_code_lifetime: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) figures: Figures,
    /// How much each caller of the API may ask.
    pub(crate) limits: Limits,
    /// `host:port` that robots are told to connect to.
    pub(crate) mqtt: String,
    /// The name of this process, beside others on one database.
    pub(crate) process: String,
    pub(crate) registry: Registry,
    pub(crate) robot_certificate_lifetime: Duration,
    pub(crate) server: Arc<Server>,
    /// Who vouches for services; none where they have no certificates.
    pub(crate) services: Option<Arc<Authorities>>,
    pub(crate) store: Store,
    /// How many streams each tenant follows.
    pub(crate) streams: Arc<Streams>,
    /// Networks were allowed in which webhooks may be called by `http`.
    pub(crate) webhooks_in_the_clear: bool,
}
