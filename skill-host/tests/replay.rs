//! A run is repeated from what was recorded of its inputs, and asks for the same.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

mod common;

use common::{Toy, bundle, everything};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::geometry::Point;
use nooterra_protocol::ids::{JobId, SkillId, StepId};
use nooterra_protocol::input::{InputDraft, SkillInput};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::plan::Param;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{
    Host, HostOptions, NoPorts, Ports, Request, Session, SkillError, Status,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Ports that record what the skill sees, until they no longer can.
struct Recording {
    draft: Arc<Mutex<InputDraft>>,
    room: u32,
}

impl Ports for Recording {
    fn assist(&mut self, _reason: &str) {}
    fn checkpoint(&mut self, _name: &str) {}
    fn evidence(&mut self, _name: &str, _media_type: &str, _bytes: &[u8]) {}
    fn input(&mut self, at: MonoNanos, seen: &Observation) -> Result<(), String> {
        let mut draft = self.draft.lock().unwrap();
        if draft.count() == self.room {
            return Err("no room for what it sees".to_owned());
        }
        draft.push(at, seen);
        Ok(())
    }
    fn log(&mut self, _text: &str) {}
}

fn patrol(host: &Host, ports: Box<dyn Ports + Send>) -> Session {
    let route = [(4.0, 0.0), (4.0, 4.0)].map(|(x, y)| Point::new(x, y));
    let params = BTreeMap::from([("waypoints".to_owned(), Param::Points(route.to_vec()))]);
    host.open(&bundle("patrol"), &everything(), "patrol", &params, ports, &[]).unwrap().unwrap()
}

fn record(room: u32) -> (Recording, Arc<Mutex<InputDraft>>) {
    let draft = Arc::<Mutex<InputDraft>>::default();
    (Recording { draft: Arc::clone(&draft), room }, draft)
}

#[test]
fn a_run_repeated_from_its_record_asks_for_the_same_bit_for_bit() {
    let host = Host::new(HostOptions::default()).unwrap();
    let (ports, draft) = record(u32::MAX);
    let mut session = patrol(&host, Box::new(ports));
    let (mut toy, mut asked, mut saw) = (Toy::docked_at(0.0, 0.0, 0.0), Vec::new(), Vec::new());
    loop {
        let seen = toy.seen();
        let (request, status) = session.step(toy.at(), &seen).unwrap();
        saw.push((toy.at(), seen));
        toy.apply(&request);
        let over = !matches!(status, Status::Running { .. });
        asked.push((request, status));
        if over {
            break;
        }
    }
    assert!(asked.len() > 50);
    let (count, rows) = draft.lock().unwrap().take();
    let size = rows.0.len();
    let recorded = SkillInput {
        action: "patrol".to_owned(),
        bundle: Digest::ZERO,
        count,
        first: 1,
        job: JobId::new("job_1").unwrap(),
        rows,
        skill: SkillId::new("patrol").unwrap(),
        step: StepId::new("patrol").unwrap(),
        withheld: false,
    };
    let inputs = recorded.inputs().unwrap();
    assert_eq!(inputs, saw, "what entered it, in order");
    let mut again = patrol(&host, Box::new(NoPorts));
    let repeated: Vec<(Request, Status)> =
        inputs.iter().map(|(at, seen)| again.step(*at, seen).unwrap()).collect();
    assert_eq!(repeated, asked);
    println!("{} bytes for each of {} steps", size / asked.len(), asked.len());
}

#[test]
fn a_skill_whose_input_cannot_be_recorded_never_sees_it() {
    let host = Host::new(HostOptions::default()).unwrap();
    let (ports, _draft) = record(2);
    let mut session = patrol(&host, Box::new(ports));
    let toy = Toy::docked_at(0.0, 0.0, 0.0);
    for _ in 0..2 {
        session.step(toy.at(), &toy.seen()).unwrap();
    }
    let refused = session.step(toy.at(), &toy.seen()).unwrap_err();
    assert!(matches!(&refused, SkillError::Unrecorded(why) if why.contains("no room")));
    assert!(matches!(session.step(toy.at(), &toy.seen()), Err(SkillError::Stopped)));
}
