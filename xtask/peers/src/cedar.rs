//! Cedar: one `permit` with all limits. Policy and entities are made once, the request anew for
//! each tick, because its context is what changes.

use crate::measure::{Samples, samples};
use crate::peer;
use crate::questions::{
    MAX_ANGULAR, MAX_COMMAND_AGE, MAX_FASTER, MAX_JOURNAL_AGE, MAX_LINEAR, MAX_ODOMETRY_AGE,
    MAX_REVERSE, MAX_SLOWER, MAX_TURN, Question, Round, Side, fence,
};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, RestrictedExpression,
};
use std::hint::black_box;
use std::time::Instant;

/// Ticks in one sample.
const EACH: usize = 16;

pub(crate) fn measure(questions: &[Question]) {
    let cedar = Cedar::new();
    let fence = fence();
    for question in questions {
        assert_eq!(cedar.is_allowed(question), question.is_allowed(&fence), "{question:?}");
    }
    let (mut took, mut round) = (Samples::default(), Round::new(questions));
    for sample in 0..samples(2000) + 50 {
        let begun = Instant::now();
        for _ in 0..EACH {
            black_box(cedar.is_allowed(black_box(round.next())));
        }
        if sample >= 50 {
            took.push_each(begun.elapsed(), EACH);
        }
    }
    let what = "Cedar 4.14, asked to allow or deny by the same 12 limits and a fence of 50 sides";
    peer("gate.tick_vs_cedar", what, &took);
}

struct Cedar {
    authorizer: Authorizer,
    entities: Entities,
    policy: PolicySet,
    /// Principal, action, resource.
    who: [EntityUid; 3],
}

impl Cedar {
    fn new() -> Self {
        let inside: Vec<String> = fence()
            .iter()
            .map(|Side { most, nx, ny }| format!("{nx} * context.x + {ny} * context.y <= {most}"))
            .collect();
        let inside = inside.join(" && ");
        let policy = format!(
            "permit(principal == Source::\"skill\", action == Action::\"drive\", resource) when {{
                context.linear <= {MAX_LINEAR} && context.linear >= -{MAX_REVERSE} &&
                context.angular <= {MAX_ANGULAR} && context.angular >= -{MAX_ANGULAR} &&
                context.linear - context.linear_before <= {MAX_FASTER} &&
                context.linear_before - context.linear <= {MAX_SLOWER} &&
                context.angular - context.angular_before <= {MAX_TURN} &&
                context.angular_before - context.angular <= {MAX_TURN} &&
                context.command_age <= {MAX_COMMAND_AGE} &&
                context.journal_age <= {MAX_JOURNAL_AGE} &&
                context.pose_age <= {MAX_ODOMETRY_AGE} &&
                context.twist_age <= {MAX_ODOMETRY_AGE} && {inside} }};"
        );
        let id = |text: &str| text.parse().expect("an entity");
        Self {
            authorizer: Authorizer::new(),
            entities: Entities::empty(),
            policy: policy.parse().expect("a policy"),
            who: [id("Source::\"skill\""), id("Action::\"drive\""), id("Robot::\"amr-1\"")],
        }
    }

    fn is_allowed(&self, question: &Question) -> bool {
        let number = |number| RestrictedExpression::new_long(number);
        let pairs = Question::NAMES.into_iter().zip(question.numbers());
        let context = Context::from_pairs(pairs.map(|(n, v)| (n.to_owned(), number(v))));
        let [principal, action, resource] = self.who.clone();
        let request =
            Request::new(principal, action, resource, context.expect("no name twice"), None);
        let request = request.expect("without a schema any request is one");
        let answer = self.authorizer.is_authorized(&request, &self.policy, &self.entities);
        answer.decision() == Decision::Allow
    }
}
