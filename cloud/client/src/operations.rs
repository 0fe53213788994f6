//! Every operation of the API as a method of [`Client`], by the name that the OpenAPI document
//! gives it. A test compares this table with the document.

use crate::call::{Call, Repeat, encoded};
use crate::client::Client;
use crate::stream::{Follow, Live};
use crate::types::{
    AccessRequest, AdvanceRequest, ApprovalList, ApprovalRequest, AuditPage, AuditQuery, BlackBox,
    CancelRequest, ClaimCode, ClaimCodeRequest, Command, CommandList, CommandRequest,
    DeadLetterList, DispatchRequest, Enrolment, EnrolmentRequest, Event, EventList, EventQuery,
    FeedPage, GivenList, Health, Job, JobList, JobReasonRequest, JobReport, JobRequest, KeyRequest,
    LabelsRequest, ListQuery, NamedQuery, NewToken, NewWebhook, Published, PublishedTrust,
    QuoteRequest, Ready, ReasonRequest, RecordList, RecordQuery, Redelivery, RedeliveryRequest,
    RenewalRequest, ReportedPolicy, RescheduleRequest, RevokeApprovalRequest, RevokeRequest, Rings,
    Robot, RobotList, RobotSkills, Rollout, RolloutList, RolloutQuery, RolloutRequest, Selection,
    Skill, SkillKey, SkillKeyList, SkillList, SkillQuery, SkillRequest, SkillRobotList, SkillRule,
    StandingRequest, StreamQuery, Token, TokenList, TokenRequest, TrustRequest, Webhook,
    WebhookList, WebhookRequest,
};
use serde_json::Value;
use std::fmt::Display;

/// One operation of the API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Operation {
    /// What a client sends: the name of a type here, or nothing.
    pub(crate) body: &'static str,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Its name in the document, and that of the method of [`Client`].
    pub name: &'static str,
    /// With its parameters in braces.
    pub path: &'static str,
    /// What is answered: the name of a type here.
    pub(crate) answer: &'static str,
    /// Whether it may be sent again.
    pub repeat: Repeat,
}

macro_rules! operations {
    ($($(#[$doc:meta])* $repeat:ident $method:ident $path:literal
        $name:ident($($param:ident),*) => $answer:ty
        $(, query $query:ty)? $(, body $body:ty)?;)*) => {
        /// Every operation of the API that this client has, in the order of their paths; streams
        /// last.
        pub const OPERATIONS: &[Operation] = &[
            $(Operation {
                answer: stringify!($answer),
                body: concat!($(stringify!($body))?),
                method: stringify!($method),
                name: stringify!($name),
                path: $path,
                repeat: Repeat::$repeat,
            },)*
            Operation {
                answer: "Event",
                body: "",
                method: "GET",
                name: "follow_events",
                path: "/v1/events/stream",
                repeat: Repeat::Always,
            },
            Operation {
                answer: "Live",
                body: "",
                method: "GET",
                name: "watch_robot",
                path: "/v1/robots/{id}/live",
                repeat: Repeat::Always,
            },
        ];

        impl Client {
            $($(#[$doc])*
            pub fn $name(
                &self,
                $($param: impl Display,)*
                $(query: &$query,)?
                $(body: &$body,)?
            ) -> Call<'_, $answer> {
                let parts: &[String] = &[$($param.to_string()),*];
                Call::new(self, stringify!($method), path($path, parts), Repeat::$repeat)
                    $(.with_query::<$query>(query))?
                    $(.with_body::<$body>(body))?
            })*
        }
    };
}

operations! {
    /// Whether the process answers.
    Always GET "/healthz" health() => Health;
    /// Figures in the format of OpenMetrics.
    Always GET "/metrics" metrics() => String;
    /// Whether the store commits. A no is an answer: it is not asked again.
    Never GET "/readyz" ready() => Ready;
    /// Who called for what change, and what was refused to whom; oldest first.
    Always GET "/v1/audit" list_audit() => AuditPage, query AuditQuery;
    /// A claim code, with which one robot can be enrolled once.
    Never POST "/v1/claim-codes" create_claim_code() => ClaimCode, body ClaimCodeRequest;
    /// Enrols a robot with a claim code, which is used up.
    Never POST "/v1/enrolments" enrol_robot() => Enrolment, body EnrolmentRequest;
    /// What happened, in pages.
    Always GET "/v1/events" list_events() => FeedPage, query EventQuery;
    /// The jobs, newest first.
    Always GET "/v1/jobs" list_jobs() => JobList, query ListQuery;
    /// Makes a job.
    Keyed POST "/v1/jobs" create_job() => Job, body JobRequest;
    /// One job.
    Always GET "/v1/jobs/{id}" show_job(id) => Job;
    /// Says how and when the job's robot may be let in.
    Keyed POST "/v1/jobs/{id}/access" issue_access(id) => Job, body AccessRequest;
    /// Takes the access back, which ends the job.
    Keyed POST "/v1/jobs/{id}/access/revoke" revoke_access(id) => Job, body JobReasonRequest;
    /// Every approval that the job was given.
    Always GET "/v1/jobs/{id}/approvals" list_approvals(id) => ApprovalList;
    /// Lets the job be carried out with the plan that was looked at.
    Keyed POST "/v1/jobs/{id}/approvals" approve_job(id) => Job, body ApprovalRequest;
    /// Takes the approvals back: the right to go on ends.
    Keyed POST "/v1/jobs/{id}/approvals/revoke" revoke_approval(id) => Job, body RevokeApprovalRequest;
    /// Accepts the job's price.
    Keyed POST "/v1/jobs/{id}/book" book_job(id) => Job;
    /// Ends the job, by a safe exit where its robot is under way.
    Keyed POST "/v1/jobs/{id}/cancel" cancel_job(id) => Job, body CancelRequest;
    /// Sends the job to its robot.
    Keyed POST "/v1/jobs/{id}/dispatch" dispatch_job(id) => Job, body DispatchRequest;
    /// The facts of the job.
    Always GET "/v1/jobs/{id}/events" list_job_events(id) => EventList, query StreamQuery;
    /// Holds the job: its robot comes to rest and keeps it.
    Keyed POST "/v1/jobs/{id}/pause" pause_job(id) => Job, body JobReasonRequest;
    /// Proposes a price.
    Keyed POST "/v1/jobs/{id}/quote" quote_job(id) => Job, body QuoteRequest;
    /// What the job's stream says of it, signed by the cloud.
    Always GET "/v1/jobs/{id}/report" report_job(id) => JobReport;
    /// Starts dispatch over.
    Keyed POST "/v1/jobs/{id}/reschedule" reschedule_job(id) => Job, body RescheduleRequest;
    /// Lets the robot go on with a job that was held.
    Keyed POST "/v1/jobs/{id}/resume" resume_job(id) => Job;
    /// The rings, in their order.
    Always GET "/v1/rings" list_rings() => Rings;
    /// Sets all rings. Sent again it could undo what another did meanwhile.
    Never POST "/v1/rings" set_rings() => Rings, body Rings;
    /// The robots, by id.
    Always GET "/v1/robots" list_robots() => RobotList, query NamedQuery;
    /// One robot.
    Always GET "/v1/robots/{id}" show_robot(id) => Robot;
    /// The robot's black box, as far as it came to the cloud.
    Always GET "/v1/robots/{id}/box" show_box(id) => BlackBox;
    /// A fresh certificate for the robot whose certificate this client has.
    Always POST "/v1/robots/{id}/certificate" renew_certificate(id) => Enrolment,
        body RenewalRequest;
    /// What the robot was told, newest first.
    Always GET "/v1/robots/{id}/commands" list_commands(id) => CommandList;
    /// Sends the robot a signed command.
    Keyed POST "/v1/robots/{id}/commands" send_command(id) => Command, body CommandRequest;
    /// One command, with what the robot's gate said about it.
    Always GET "/v1/robots/{id}/commands/{cid}" show_command(id, cid) => Command;
    /// The robot's own stream: facts of no job.
    Always GET "/v1/robots/{id}/events" list_robot_events(id) => EventList, query StreamQuery;
    /// Sets the robot's labels. Sent again it could undo what another did meanwhile.
    Never POST "/v1/robots/{id}/labels" label_robot(id) => RobotSkills, body LabelsRequest;
    /// Gives the robot no further job. Sent again it could undo a quarantine of meanwhile.
    Never POST "/v1/robots/{id}/maintenance" maintain_robot(id) => Robot, body StandingRequest;
    /// The policy that the robot reported.
    Always GET "/v1/robots/{id}/policy" show_reported_policy(id) => ReportedPolicy;
    /// Takes the robot out of work.
    Always POST "/v1/robots/{id}/quarantine" quarantine_robot(id) => Robot, body StandingRequest;
    /// Records of the robot's journal.
    Always GET "/v1/robots/{id}/records" list_records(id) => RecordList, query RecordQuery;
    /// Puts the robot into service. Sent again it could undo a quarantine of meanwhile.
    Never POST "/v1/robots/{id}/restore" restore_robot(id) => Robot, body StandingRequest;
    /// Closes the robot's key for ever.
    Always POST "/v1/robots/{id}/revoke" revoke_robot(id) => Robot, body StandingRequest;
    /// What the robot's ring has of each skill, and why.
    Always GET "/v1/robots/{id}/skills" list_robot_skills(id) => RobotSkills, query NamedQuery;
    /// Where the robot's gate changed or refused a wish.
    Always GET "/v1/robots/{id}/verdicts" list_verdicts(id) => RecordList, query RecordQuery;
    /// The roll-outs, newest first.
    Always GET "/v1/rollouts" list_rollouts() => RolloutList, query RolloutQuery;
    /// Begins a roll-out.
    Keyed POST "/v1/rollouts" start_rollout() => Rollout, body RolloutRequest;
    /// One roll-out.
    Always GET "/v1/rollouts/{id}" show_rollout(id) => Rollout;
    /// Opens the next ring before its gate says so.
    Keyed POST "/v1/rollouts/{id}/advance" advance_rollout(id) => Rollout, body AdvanceRequest;
    /// Each step of the roll-out, with its reason.
    Always GET "/v1/rollouts/{id}/events" list_rollout_events(id) => EventList, query StreamQuery;
    /// Which jobs were given its version.
    Always GET "/v1/rollouts/{id}/jobs" list_rollout_jobs(id) => GivenList, query ListQuery;
    /// Holds the roll-out.
    Keyed POST "/v1/rollouts/{id}/pause" pause_rollout(id) => Rollout, body ReasonRequest;
    /// Goes on with it.
    Keyed POST "/v1/rollouts/{id}/resume" resume_rollout(id) => Rollout, body ReasonRequest;
    /// Gives every ring the version before.
    Keyed POST "/v1/rollouts/{id}/roll_back" roll_back(id) => Rollout, body ReasonRequest;
    /// The keys whose signatures count.
    Always GET "/v1/skill-keys" list_skill_keys() => SkillKeyList;
    /// Lets the signatures of a key count.
    Never POST "/v1/skill-keys" add_skill_key() => SkillKey, body KeyRequest;
    /// Closes a key.
    Always POST "/v1/skill-keys/{key_id}/revoke" revoke_skill_key(key_id) => SkillKey,
        body ReasonRequest;
    /// Which robots may have a skill.
    Always GET "/v1/skill-rules/{id}" show_skill_rule(id) => SkillRule;
    /// Says which robots may have it. Sent again it could undo what another did meanwhile.
    Never POST "/v1/skill-rules/{id}" set_skill_rule(id) => SkillRule, body Selection;
    /// The trust documents and the revocation list that robots ask for.
    Always GET "/v1/skill-trust" read_skill_trust() => Value, query StreamQuery;
    /// Publishes a trust document or a revocation list.
    Always POST "/v1/skill-trust" publish_skill_trust() => PublishedTrust, body TrustRequest;
    /// Published versions, oldest first.
    Always GET "/v1/skills" list_skills() => SkillList, query SkillQuery;
    /// Publishes a bundle; again it changes nothing.
    Always POST "/v1/skills" publish_skill() => Published, body SkillRequest;
    /// One version.
    Always GET "/v1/skills/{digest}" show_skill(digest) => Skill;
    /// Its bundle, byte for byte.
    Always GET "/v1/skills/{digest}/bundle" download_bundle(digest) => Vec<u8>;
    /// Takes a version back for good.
    Always POST "/v1/skills/{digest}/revoke" revoke_skill(digest) => Skill, body RevokeRequest;
    /// The robots that have it, and those that get it, by id.
    Always GET "/v1/skills/{digest}/robots" list_skill_robots(digest) => SkillRobotList,
        query NamedQuery;
    /// What its component was made of: a CycloneDX document, byte for byte.
    Always GET "/v1/skills/{digest}/sbom" download_sbom(digest) => Vec<u8>;
    /// The text of its `.minisig` file.
    Always GET "/v1/skills/{digest}/signature" download_signature(digest) => String;
    /// The tokens, oldest first, without their secrets.
    Always GET "/v1/tokens" list_tokens() => TokenList, query ListQuery;
    /// Makes a token.
    Never POST "/v1/tokens" create_token() => NewToken, body TokenRequest;
    /// Ends a token, and every token that was made with it.
    Always POST "/v1/tokens/{id}/revoke" revoke_token(id) => Token;
    /// Subscribers that are called.
    Always GET "/v1/webhooks" list_webhooks() => WebhookList;
    /// Has events told to an address.
    Never POST "/v1/webhooks" create_webhook() => NewWebhook, body WebhookRequest;
    /// What could not be told.
    Always GET "/v1/webhooks/{id}/dead-letters" list_dead_letters(id) => DeadLetterList,
        query ListQuery;
    /// Tells it no more.
    Always POST "/v1/webhooks/{id}/end" end_webhook(id) => Webhook;
    /// Tells anew what could not be told.
    Never POST "/v1/webhooks/{id}/redeliver" redeliver(id) => Redelivery, body RedeliveryRequest;
}

impl Client {
    /// What happens, as it happens; [`Follow::after`] says after which position.
    #[must_use]
    pub fn follow_events(&self, query: &EventQuery) -> Follow<Event> {
        self.follow("/v1/events/stream", query)
    }

    /// A robot as it is watched: the newest of its journal, then what arrives.
    #[must_use]
    pub fn watch_robot(&self, id: impl Display) -> Follow<Live> {
        let path = path("/v1/robots/{id}/live", &[id.to_string()]);
        Follow::new(&Call::<()>::get(self, path))
    }

    /// [`Self::follow_events`] as the JSON that is sent.
    #[must_use]
    pub fn follow_events_as_sent(&self, query: &EventQuery) -> Follow<Value> {
        self.follow("/v1/events/stream", query)
    }

    /// An operation by its name, as JSON in and out: for tools that pass on what people write.
    /// None where there is no such operation, or it has other parameters.
    #[must_use]
    pub fn operation(&self, name: &str, parameters: &[&str]) -> Option<Call<'_, Value>> {
        let found = OPERATIONS.iter().find(|operation| operation.name == name)?;
        let parts: Vec<String> = parameters.iter().map(|&part| part.to_owned()).collect();
        let fits = found.path.matches('{').count() == parts.len();
        fits.then(|| Call::new(self, found.method, path(found.path, &parts), found.repeat))
    }

    fn follow<T: crate::stream::FromEvent>(&self, path: &str, query: &EventQuery) -> Follow<T> {
        let mut query = query.clone();
        // A stream that connects again says where it was in a header.
        let after = query.after.take();
        let follow = Follow::new(&Call::<()>::get(self, path.to_owned()).with_query(&query));
        match after {
            Some(after) => follow.after(after),
            None => follow,
        }
    }
}

/// A path with its parameters.
fn path(template: &str, parts: &[String]) -> String {
    let mut parts = parts.iter();
    let part = |segment: &str| {
        let named = segment.starts_with('{');
        // As many parameters as the path names: the table is compared with the document.
        if named { encoded(parts.next().map_or("", String::as_str)) } else { segment.to_owned() }
    };
    template.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_takes_its_place_in_the_path_and_no_more() {
        let parts = ["a/b".to_owned(), "c d".to_owned()];
        assert_eq!(
            path("/v1/robots/{id}/commands/{cid}", &parts),
            "/v1/robots/a%2Fb/commands/c%20d"
        );
        assert_eq!(path("/healthz", &[]), "/healthz");
    }
}
