//! What a run of the model does: commands of people, words of robots, and what becomes of these
//! on their way.

use crate::standing::Standing;
use nooterra_protocol::event::EventType;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

/// One step. Numbers choose among what there is, whatever they are.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// An access plan that ends so much later.
    Access {
        job: u8,
        millis: u32,
        reviewed: bool,
        revocable: bool,
    },
    /// One of two people approves a plan, the job's or another; for so long, or to the end.
    Approve {
        by: u8,
        job: u8,
        millis: Option<u32>,
        of_it: bool,
    },
    /// A robot writes down that it took or refused a command.
    Answer {
        accepts: bool,
        command: u8,
        robot: u8,
    },
    Book(u8),
    Cancel(u8),
    Create {
        published: bool,
        robot: u8,
    },
    /// Records from somewhere in one life of a robot's journal arrive: late, again, or before
    /// those that stand before them.
    Deliver {
        count: u8,
        from: u8,
        life: u8,
        robot: u8,
    },
    /// Somebody takes back what approved the job.
    Disapprove(u8),
    Dispatch(u8),
    /// The robot is enrolled with another key, and begins another journal.
    Enrol(u8),
    /// A robot writes down what is not its own to say.
    Forge {
        how: Forgery,
        job: u8,
        kind: EventType,
        robot: u8,
    },
    /// Somebody asks to be let in as a robot, with a key that it has or had.
    Knock {
        life: u8,
        robot: u8,
    },
    /// What would be next in the job's life happens and is heard of at once.
    Next {
        choice: u8,
        job: u8,
    },
    Pause(u8),
    Quote(u8),
    /// To the same robot, or to another.
    Reschedule {
        job: u8,
        robot: u8,
    },
    /// A robot writes down a fact, and nobody hears of it yet.
    Report {
        choice: u8,
        job: u8,
        kind: EventType,
        robot: u8,
    },
    Resume(u8),
    Revoke(u8),
    Stand {
        robot: u8,
        to: Standing,
    },
    Wait {
        millis: u32,
    },
    /// The cloud looks whether something is due.
    Watch,
}

/// How a fact is not genuine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Forgery {
    /// A bit of the signature is another.
    Altered,
    /// Its payload is not the one whose hash it names.
    OtherHash,
    /// Another robot's key signs in the robot's name.
    OtherKey,
    /// The robot signs in another's name.
    OtherName,
    /// Another robot's own fact.
    Stolen,
    /// Another fact than before under the same number.
    Twin,
}

/// What robots report of a job that goes well, and of one that does not.
const ON_THE_WAY: [EventType; 9] = [
    EventType::EnRoute,
    EventType::AccessGranted,
    EventType::ExecutionStarted,
    EventType::Heartbeat,
    EventType::CheckpointReached,
    EventType::AssistRequested,
    EventType::ExecutionCompleted,
    EventType::ExecutionAborted,
    EventType::ExecutionResumed,
];

/// One step.
fn act() -> impl Strategy<Value = Act> {
    let number = any::<u8>;
    let kinds = || prop_oneof![3 => select(&ON_THE_WAY[..]), 1 => select(EventType::ALL)];
    let forgeries = select(vec![
        Forgery::Altered,
        Forgery::OtherHash,
        Forgery::OtherKey,
        Forgery::OtherName,
        Forgery::Stolen,
        Forgery::Twin,
    ]);
    let standings = prop_oneof![
        4 => Just(Standing::InService),
        1 => Just(Standing::Maintenance),
        1 => Just(Standing::Quarantined),
        1 => Just(Standing::Revoked),
    ];
    prop_oneof![
        2 => (any::<bool>(), number(), number())
            .prop_map(|(accepts, command, robot)| Act::Answer { accepts, command, robot }),
        1 => (number(), 1_u32..200_000, 0_u8..8).prop_map(|(job, millis, luck)| Act::Access {
            job,
            millis,
            reviewed: luck > 5,
            revocable: luck % 4 > 0,
        }),
        1 => (number(), number(), proptest::option::weighted(0.3, 1_u32..200_000), 0_u8..6).prop_map(
            |(by, job, millis, luck)| Act::Approve { by, job, millis, of_it: luck > 0 },
        ),
        1 => number().prop_map(Act::Disapprove),
        1 => number().prop_map(Act::Book),
        1 => number().prop_map(Act::Cancel),
        2 => (0_u8..10, number())
            .prop_map(|(luck, robot)| Act::Create { published: luck > 0, robot }),
        5 => (number(), number(), number(), number())
            .prop_map(|(count, from, life, robot)| Act::Deliver { count, from, life, robot }),
        2 => number().prop_map(Act::Dispatch),
        1 => number().prop_map(Act::Enrol),
        2 => (forgeries, number(), kinds(), number())
            .prop_map(|(how, job, kind, robot)| Act::Forge { how, job, kind, robot }),
        1 => (number(), number()).prop_map(|(life, robot)| Act::Knock { life, robot }),
        14 => (number(), number()).prop_map(|(choice, job)| Act::Next { choice, job }),
        1 => number().prop_map(Act::Pause),
        1 => number().prop_map(Act::Resume),
        1 => number().prop_map(Act::Quote),
        1 => (number(), number()).prop_map(|(job, robot)| Act::Reschedule { job, robot }),
        1 => number().prop_map(Act::Revoke),
        5 => (number(), number(), kinds(), number())
            .prop_map(|(choice, job, kind, robot)| Act::Report { choice, job, kind, robot }),
        2 => (number(), standings).prop_map(|(robot, to)| Act::Stand { robot, to }),
        4 => (1_u32..40_000).prop_map(|millis| Act::Wait { millis }),
        5 => Just(Act::Watch),
    ]
}

/// The steps of one run.
pub(super) fn acts() -> impl Strategy<Value = Vec<Act>> {
    proptest::collection::vec(act(), 50..150)
}
