//! Lists that the cloud answers in pages, as one iterator.

use crate::answer::FromBody;
use crate::call::Call;
use crate::error::ClientError;
use crate::types::{
    AuditEntry, AuditPage, DeadLetter, DeadLetterList, Event, EventList, FeedPage, GivenList, Job,
    JobList, Record, RecordList, Robot, RobotList, RobotSkill, RobotSkills, Rollout, RolloutJob,
    RolloutList, Skill, SkillList, Token, TokenList,
};
use std::collections::VecDeque;

/// One page of a list.
pub trait Page: FromBody {
    /// What it is a list of.
    type Item;

    /// Its items, and what `after` takes to go on; none after the last.
    fn split(self) -> (Vec<Self::Item>, Option<String>);
}

macro_rules! pages {
    ($($page:ident of $item:ident: $field:ident, $next:expr;)*) => {
        $(impl Page for $page {
            type Item = $item;
            fn split(self) -> (Vec<$item>, Option<String>) {
                let next: fn(&Self) -> Option<String> = $next;
                let next = next(&self);
                (self.$field, next)
            }
        })*
    };
}

pages! {
    AuditPage of AuditEntry: entries, |page| Some(page.next.to_string());
    DeadLetterList of DeadLetter: dead_letters, |page| page.next.map(|next| next.to_string());
    EventList of Event: events, |page| page.events.last().map(|event| event.seq.to_string());
    FeedPage of Event: events, |page| Some(page.next.to_string());
    GivenList of RolloutJob: jobs, |page| page.next.map(|next| next.to_string());
    JobList of Job: jobs, |page| page.next.map(|next| next.to_string());
    RecordList of Record: records, |page| Some(page.next.to_string());
    RobotList of Robot: robots, |page| page.next.clone();
    RobotSkills of RobotSkill: skills, |page| page.next.clone();
    RolloutList of Rollout: rollouts, |page| page.next.map(|next| next.to_string());
    SkillList of Skill: skills, |page| page.next.clone();
    TokenList of Token: tokens, |page| page.next.map(|next| next.to_string());
}

/// Items of all pages, each asked for when the one before is used up. After an error there is
/// nothing more.
#[derive(Debug)]
pub struct Items<'c, P: Page> {
    after: Option<String>,
    /// None after the last page.
    call: Option<Call<'c, P>>,
    ready: VecDeque<P::Item>,
}

impl<'c, P: Page> Call<'c, P> {
    /// All items from here on, page by page.
    #[must_use]
    pub fn items(self) -> Items<'c, P> {
        Items { after: None, call: Some(self), ready: VecDeque::new() }
    }
}

impl<P: Page> Items<'_, P> {
    fn page(&mut self) -> Result<(), ClientError> {
        let Some(call) = self.call.take() else { return Ok(()) };
        let answer = call.send()?;
        let (name, request_id) = (call.name(), answer.request_id);
        let (items, next) = answer.body.split();
        let Some(next) = next.filter(|_| !items.is_empty()) else {
            self.ready = items.into();
            return Ok(());
        };
        // A cloud that goes in circles would be asked for ever.
        if self.after.as_ref() == Some(&next) {
            let why = format!("its page after {next} ends at {next}");
            return Err(ClientError::Answer { call: name, request_id, why });
        }
        self.ready = items.into();
        self.call = Some(call.parameter("after", &next));
        self.after = Some(next);
        Ok(())
    }
}

impl<P: Page> Iterator for Items<'_, P> {
    type Item = Result<P::Item, ClientError>;
    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.call.is_some() {
            if let Err(error) = self.page() {
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
