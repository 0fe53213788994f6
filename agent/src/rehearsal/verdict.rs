//! A case as it is run, and what came otherwise than it must.

use super::arm::nearest_thing;
use super::cases::{Case, Expect, Place};
use super::{Ending, Rehearsed, Script, What};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Point;
use nooterra_skill_host::GOES_ON;

impl Case {
    /// The case as it is run.
    #[must_use]
    pub fn script(&self) -> Script {
        Script {
            action: self.action.clone(),
            battery: self.battery,
            faults: self.faults.clone(),
            limit_s: self.limit_s,
            obstacles: self.obstacles.clone(),
            params: self.params.clone(),
            seed: self.seed,
            start: self.start,
        }
    }

    /// What came otherwise than it must, a sentence each.
    #[must_use]
    pub fn misses(&self, ran: &Rehearsed) -> Vec<String> {
        let Expect {
            at,
            checkpoints,
            evidence,
            graph,
            outcome,
            reason,
            rules,
            rules_not,
            things,
            within_s,
        } = &self.expect;
        let mut misses = Vec::new();
        if ran.ending.name() != outcome {
            misses.push(format!("it must end `{outcome}`, and {}", ended_in_words(&ran.ending)));
        }
        if let Some(part) = reason {
            let said = ran.ending.reason().unwrap_or("nothing");
            if !said.contains(part.as_str()) {
                misses.push(format!("its reason must hold `{part}`, and is: {said}"));
            }
        }
        if let Some(within_s) = within_s.filter(|within_s| ran.ended_s > *within_s) {
            misses.push(format!("it must end within {within_s} s, and took {:.1} s", ran.ended_s));
        }
        if let (Some(place), Some(frame)) = (at, ran.frames.last()) {
            let off = frame.pose.point().distance(Point::new(place.x, place.y));
            if off > place.within_m {
                misses.push(format!(
                    "it must stand within {} m of ({}, {}), and is {off:.2} m away",
                    place.within_m, place.x, place.y
                ));
            }
        }
        // No thing lies in two places.
        let mut taken = Vec::new();
        for place in things {
            let Place { within_m, x, y } = *place;
            match ran.frames.last().and_then(|frame| nearest_thing(frame, x, y, &taken)) {
                Some((nth, off)) if off <= within_m => taken.push(nth),
                Some((_, off)) => misses.push(format!(
                    "a thing must lie within {within_m} m of ({x}, {y}), and the nearest is \
                     {off:.3} m away"
                )),
                None => misses.push(format!("a thing must lie at ({x}, {y}), and none lies")),
            }
        }
        let mut reached = Vec::new();
        let mut attached = Vec::new();
        let mut went: Vec<String> = Vec::new();
        for told in &ran.told {
            match &told.what {
                What::Checkpoint { name } => reached.push(name.clone()),
                What::Evidence { name, .. } => attached.push(name.clone()),
                What::Moved { live: Some(live), why } if why != GOES_ON => {
                    went.push(live.clone());
                }
                _ => {}
            }
        }
        if let Some(wanted) = checkpoints.as_ref().filter(|wanted| **wanted != reached) {
            misses.push(format!("its checkpoints must be {wanted:?}, and are {reached:?}"));
        }
        if let Some(wanted) = graph.as_ref().filter(|wanted| **wanted != went) {
            misses.push(format!("its graph must run {wanted:?}, and ran {went:?}"));
        }
        for name in evidence.iter().filter(|name| !attached.contains(name)) {
            misses.push(format!("it must attach `{name}`, and attached {attached:?}"));
        }
        let acted = |rule: &Rule| {
            ran.frames.iter().any(|frame| frame.rules.iter().any(|(acted, ..)| acted == rule))
        };
        for rule in rules.iter().filter(|rule| !acted(rule)) {
            misses.push(format!("`{}` must act, and did not", rule.name()));
        }
        for rule in rules_not.iter().filter(|rule| acted(rule)) {
            misses.push(format!("`{}` must not act, and did", rule.name()));
        }
        misses
    }
}

/// For people.
#[must_use]
pub fn ended_in_words(ending: &Ending) -> String {
    match ending {
        Ending::Crashed(reason) => format!("crashed: {reason}"),
        Ending::Done => "is done".to_owned(),
        Ending::Failed(reason) => format!("failed: {reason}"),
        Ending::Interrupted => "was interrupted".to_owned(),
        Ending::TimedOut => "was still running when its time was over".to_owned(),
    }
}
