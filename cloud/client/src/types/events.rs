//! What happened, and who is told of it.

use super::wire;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::event::{Actor, EventType};
use nooterra_protocol::ids::JobId;
use nooterra_protocol::time::{Stamp, WallMillis};
use serde_json::Value;

wire! {
    /// A fact in its place.
    pub struct Event {
        /// Who states it.
        pub actor: Actor,
        /// The actor's own count.
        pub actor_seq: u64,
        /// Both clocks of the actor.
        pub at: Stamp,
        /// SHA-256 over `prev_hash` and the signed bytes.
        pub hash: Digest,
        /// Derived from actor, journal and count.
        pub id: String,
        /// The job that the fact names.
        pub job: Option<JobId>,
        /// Which key signed.
        pub key_id: String,
        /// Such as `EXECUTION_STARTED`.
        #[serde(rename = "type")]
        pub kind: EventType,
        /// The state could no longer take it.
        pub late: bool,
        /// What exactly; the fields depend on `type`.
        pub payload: Value,
        /// SHA-256 of the canonical payload.
        pub payload_hash: Digest,
        /// Its place in the order of all streams; what `/v1/events` takes as `after`.
        pub position: i64,
        /// Of the entry before; zeros for the first.
        pub prev_hash: Digest,
        /// When it came here.
        pub received_at: WallMillis,
        /// From 1, without gaps.
        pub seq: u64,
        /// The COSE_Sign1, base64: what `hash` is over and what the signature can be checked
        /// on.
        pub signed: String,
        /// Which stream.
        pub stream: String,
    }

    /// Facts of one stream, in order; at most 1000.
    pub struct EventList {
        /// What was asked for, in its order.
        pub events: Vec<Event>,
    }

    /// Events of all streams, in the order in which they got their places.
    pub struct FeedPage {
        /// What was asked for, in its order.
        pub events: Vec<Event>,
        /// What `after` takes to go on.
        pub next: i64,
    }

    /// A subscriber that was just made.
    pub struct NewWebhook {
        /// What was made.
        pub made: Webhook,
        /// What `Nooterra-Signature` is made with. It is shown once.
        pub secret: String,
    }

    /// A subscriber.
    pub struct Webhook {
        /// Failed tries of the event that is next.
        pub attempts: u64,
        /// Events that it could not be told.
        pub dead_letters: u64,
        /// Milliseconds since 1970; nothing is told from then on.
        pub ended_at: Option<WallMillis>,
        /// What the last failure said; null after a success.
        pub error: Option<String>,
        /// Its id.
        pub id: String,
        /// Milliseconds since 1970.
        pub made_at: WallMillis,
        /// The principal who asked for it.
        pub made_by: String,
        /// It was told, or spared, every event up to this position.
        pub position: i64,
        /// Whose events; null for all tenants'.
        pub tenant: Option<String>,
        /// Only events of these types; all where there is none.
        pub types: Vec<String>,
        /// Where it is called.
        pub url: String,
    }

    /// Subscribers in the order in which they were made.
    pub struct WebhookList {
        /// What was asked for, in its order.
        pub webhooks: Vec<Webhook>,
    }

    /// Asks for events to be told to an address.
    pub struct WebhookRequest {
        /// Only events after this position; those from now on unless given.
        pub after: Option<i64>,
        /// Only events of these types, such as `EXECUTION_COMPLETED`; all unless given.
        pub types: Vec<String>,
        /// An `https` address; `http` within networks that this cloud was started to allow.
        pub url: String,
    }

    /// An event of which a subscriber could not be told.
    pub struct DeadLetter {
        /// Tries so far.
        pub attempts: u64,
        /// When it was given up, milliseconds since 1970.
        pub died_at: WallMillis,
        /// What the last failure said.
        pub error: String,
        /// Of the event; `GET /v1/events?after={position - 1}&limit=1` shows it.
        pub position: i64,
        /// `dead`, or `waiting` while it is sent anew.
        pub state: String,
    }

    /// Dead letters in the order of their events.
    pub struct DeadLetterList {
        /// What was asked for, in its order.
        pub dead_letters: Vec<DeadLetter>,
        /// What `after` takes to go on; null after the last.
        pub next: Option<i64>,
    }

    /// Dead letters that are sent anew.
    pub struct Redelivery {
        /// How many.
        pub waiting: u64,
    }

    /// Which dead letters are sent anew.
    #[derive(Default)]
    pub struct RedeliveryRequest {
        /// The one at this position; all unless given.
        pub position: Option<i64>,
    }
}
