//! The policy graph by itself: what its reader refuses, what it decides, and what holds of every
//! graph.
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

use nooterra_protocol::codec;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::observation::{Battery, Observation, Scan, Timed};
use nooterra_protocol::plan::Param;
use nooterra_protocol::skill::SkillManifest;
use nooterra_protocol::skill_graph::{GraphPosition, GraphSpot};
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{Child, Decision, Graph, Ticked, Tree, parse_graph};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_millis(100);

fn manifest() -> SkillManifest {
    let manifest = json!({
        "v": 1, "id": "a", "version": "1.0.0", "name": "A", "developer": "d", "licence": "MIT",
        "tier": "dev", "wit": "nooterra:skill@0.2.0", "period_ms": 100, "memory_mib": 4,
        "actions": ["go", "patrol", "charge"], "capabilities": ["drive"],
        "component_sha256": "00".repeat(32),
    });
    serde_json::from_value(manifest).unwrap()
}

fn parsed(text: &str) -> Result<Graph, String> {
    parse_graph(text.as_bytes(), &manifest()).map_err(|error| error.to_string())
}

fn tree_of(root: &Value) -> Arc<Tree> {
    let graph = parsed(&json!({ "v": 1, "actions": { "go": root } }).to_string()).unwrap();
    Arc::clone(graph.tree("go").unwrap())
}

/// What is seen with so much charge.
fn charged(fraction: f64) -> Observation {
    let at = MonoNanos(1);
    let battery = Battery { charging: false, fraction, volts: 25.0 };
    Observation {
        battery: Some(Timed { at, value: battery }),
        docked: false,
        emergency_stop: false,
        gripper: false,
        joints: None,
        pose: Timed { at, value: Pose { x: 1.0, y: 2.0, yaw: 0.0 } },
        scan: None,
        twist: Timed { at, value: Twist::ZERO },
    }
}

/// A tree that is ticked from its begin.
struct Going {
    params: BTreeMap<String, Param>,
    position: GraphPosition,
    tree: Arc<Tree>,
}

impl Going {
    fn new(root: &Value) -> Self {
        let (params, position) = (BTreeMap::new(), GraphPosition::default());
        Self { params, position, tree: tree_of(root) }
    }

    fn tick(&mut self, seen: &Observation, child: &Child) -> Ticked {
        let ticked = self.tree.tick(&self.position, PERIOD, seen, &self.params, child);
        self.position = ticked.position.clone();
        ticked
    }

    /// The name of what runs, `-` while it waits, and how it ended.
    fn goes(&mut self, battery: f64, child: &Child) -> String {
        match self.tick(&charged(battery), child).decision {
            Decision::Run(_) => self.tree.live(&self.position).unwrap().to_owned(),
            Decision::Wait => "-".to_owned(),
            Decision::Done => "done".to_owned(),
            Decision::Failed(why) => why,
        }
    }
}

fn failed() -> Child {
    Child::Failed("no way".to_owned())
}

#[test]
fn a_sequence_goes_on_while_each_succeeds() {
    let mut going = Going::new(&json!({ "sequence": [{ "run": "patrol" }, { "run": "charge" }] }));
    assert_eq!(going.goes(1.0, &Child::Running), "patrol");
    assert_eq!(going.goes(1.0, &Child::Running), "patrol");
    assert_eq!(going.goes(1.0, &Child::Done), "charge");
    assert_eq!(going.goes(1.0, &failed()), "charge: no way");
    assert!(going.position.0.is_empty());
}

#[test]
fn a_fallback_goes_on_until_one_succeeds() {
    let mut going = Going::new(&json!({ "fallback": [
        { "check": { "battery_above": 0.9 } }, { "run": "patrol" }, { "run": "charge" } ] }));
    assert_eq!(going.goes(0.5, &Child::Running), "patrol");
    assert_eq!(going.goes(0.5, &failed()), "charge");
    assert_eq!(going.goes(0.5, &Child::Done), "done");
    let mut at_once = Going::new(&json!({ "fallback": [
        { "check": { "battery_above": 0.9 } }, { "run": "patrol" } ] }));
    assert_eq!(at_once.goes(0.95, &Child::Running), "done");
}

#[test]
fn a_retry_waits_for_the_next_observation_and_ends_after_its_times() {
    let mut going = Going::new(&json!({ "retry": 2, "do": { "run": "patrol" } }));
    assert_eq!(going.goes(1.0, &Child::Running), "patrol");
    assert_eq!(going.goes(1.0, &failed()), "-");
    assert_eq!(going.goes(1.0, &Child::Running), "patrol");
    assert_eq!(going.goes(1.0, &failed()), "patrol: no way");
    assert_eq!(going.tree.attempts(), 2);
}

#[test]
fn a_while_ends_what_it_holds_as_soon_as_it_no_longer_holds() {
    let mut going = Going::new(&json!({ "fallback": [
        { "while": { "battery_above": 0.3 }, "do": { "run": "patrol" } },
        { "run": "charge" } ] }));
    assert_eq!(going.goes(0.5, &Child::Running), "patrol");
    assert_eq!(going.goes(0.2, &Child::Running), "charge");
    assert_eq!(going.goes(0.5, &Child::Running), "charge", "nothing goes back by itself");
    // What was done when it still held is done.
    let mut done = Going::new(&json!({ "while": { "battery_above": 0.3 }, "do":
        { "run": "patrol" } }));
    assert_eq!(done.goes(0.5, &Child::Running), "patrol");
    assert_eq!(done.goes(0.2, &Child::Done), "done");
}

#[test]
fn the_outer_of_two_conditions_is_asked_first() {
    let mut going = Going::new(&json!({ "fallback": [
        { "while": { "battery_above": 0.3 }, "do": { "fallback": [
            { "while": { "battery_above": 0.5 }, "do": { "run": "patrol" } },
            { "run": "go" } ] } },
        { "run": "charge" } ] }));
    assert_eq!(going.goes(0.8, &Child::Running), "patrol");
    assert_eq!(going.goes(0.1, &Child::Running), "charge", "`go` never ran");
}

#[test]
fn a_timeout_counts_what_was_observed() {
    let mut going = Going::new(&json!({ "timeout_s": 0.35, "do": { "run": "patrol" } }));
    let ran = (0..9).take_while(|_| going.goes(1.0, &Child::Running) == "patrol").count();
    assert_eq!(ran, 4, "at 0, 0.1, 0.2 and 0.3 s");
    let mut going = Going::new(&json!({ "timeout_ticks": 3, "do": { "run": "patrol" } }));
    let ran = (0..9).take_while(|_| going.goes(1.0, &Child::Running) == "patrol").count();
    assert_eq!(ran, 3);
}

#[test]
fn what_is_not_known_holds_neither_way() {
    let holds = |condition: Value, seen: &Observation, params: &[(&str, Param)]| {
        let mut manifest = manifest();
        manifest.capabilities = serde_json::from_value(json!(["scan"])).unwrap();
        let text = json!({ "v": 1, "actions": { "go": { "check": condition } } }).to_string();
        let graph = parse_graph(text.as_bytes(), &manifest).unwrap();
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let ticked = graph.tree("go").unwrap().tick(
            &GraphPosition::default(),
            PERIOD,
            seen,
            &params.collect(),
            &Child::Running,
        );
        ticked.decision == Decision::Done
    };
    let seen = charged(0.5);
    let blind = Observation { battery: None, ..seen.clone() };
    for key in ["battery_above", "battery_below"] {
        assert!(!holds(json!({ key: 0.5 }), &blind, &[]), "{key}");
    }
    for charging in [true, false] {
        assert_eq!(holds(json!({ "charging": charging }), &seen, &[]), !charging);
        assert!(!holds(json!({ "charging": charging }), &blind, &[]));
        assert_eq!(holds(json!({ "docked": charging }), &seen, &[]), !charging);
        assert_eq!(holds(json!({ "emergency_stop": charging }), &seen, &[]), !charging);
    }
    for key in ["range_above_m", "range_below_m"] {
        assert!(!holds(json!({ key: 1.0 }), &seen, &[]), "{key}");
    }
    let ranges = vec![f32::NAN, 4.0, 0.75, f32::INFINITY];
    let at = MonoNanos(1);
    let scan = Some(Timed { at, value: Scan { ranges, range_max: 10.0, ..Scan::default() } });
    let sees = Observation { scan, ..seen.clone() };
    assert!(holds(json!({ "range_below_m": 0.8 }), &sees, &[]));
    assert!(holds(json!({ "range_above_m": 0.7 }), &sees, &[]));
    let square =
        json!([{ "x": 0, "y": 0 }, { "x": 3, "y": 0 }, { "x": 3, "y": 3 }, { "x": 0, "y": 3 }]);
    assert!(holds(json!({ "inside": square }), &seen, &[]));
    assert!(!holds(json!({ "outside": square }), &seen, &[]));
    for key in ["inside", "outside"] {
        assert!(!holds(json!({ key: { "param": "area" } }), &seen, &[]), "{key} of nothing");
    }
    let nearby = json!({ "param": "dock", "within_m": 0.5 });
    let dock = Param::Points(vec![nooterra_protocol::geometry::Point::new(1.2, 2.0)]);
    assert!(holds(json!({ "near": nearby }), &seen, &[("dock", dock)]));
    assert!(!holds(json!({ "far": nearby }), &seen, &[]));
    assert!(holds(json!({ "far": { "x": 9, "y": 2, "within_m": 7.9 } }), &seen, &[]));
    let lost = Observation {
        pose: Timed { at, value: Pose { x: f64::NAN, y: 0.0, yaw: 0.0 } },
        ..seen.clone()
    };
    for key in ["near", "far"] {
        assert!(!holds(json!({ key: { "x": 1, "y": 2, "within_m": 1 } }), &lost, &[]), "{key}");
    }
    let times = json!({ "param": { "name": "times", "above": 2 } });
    assert!(holds(times.clone(), &seen, &[("times", Param::Number(3.0))]));
    assert!(!holds(times.clone(), &seen, &[("times", Param::Text("3".to_owned()))]));
    assert!(!holds(times, &seen, &[]));
    let fast = json!({ "param": { "name": "fast", "is": true } });
    assert!(holds(fast.clone(), &seen, &[("fast", Param::Flag(true))]) && !holds(fast, &seen, &[]));
}

#[test]
fn what_is_wrong_with_a_graph_is_told_with_its_place() {
    let go = |root: &str| format!("{{ \"v\": 1, \"actions\": {{\n  \"go\": {root} }} }}");
    let deep = |times: usize| {
        format!("{}{{\"run\":\"go\"}}{}", "{\"sequence\":[".repeat(times), "]}".repeat(times))
    };
    let keeps = r#"{ "run": "go", "keep": true }"#;
    let many = format!(r#"{{ "sequence": [{}] }}"#, [r#"{ "run": "go" }"#; 256].join(","));
    for (text, told) in [
        ("{".to_owned(), "line 1 column 1"),
        (r#"{ "v": 2, "actions": { "go": { "run": "go" } } }"#.to_owned(), "`v` is 2"),
        (r#"{ "v": 1, "actions": {} }"#.to_owned(), "`actions` is empty"),
        (
            r#"{ "v": 1, "actions": { "fly": { "run": "go" } } }"#.to_owned(),
            "tree of `fly`, at its root",
        ),
        (
            r#"{ "v": 1, "actions": { "go": { "run": "go" }, "go": { "run": "go" } } }"#.to_owned(),
            "`go` stands there twice",
        ),
        (go(r#"{ "run": "fly" }"#), "do not hold `fly`"),
        (go(r#"{ "run": "go", "surprise": 1 }"#), "unknown field `surprise`, expected"),
        (go(r#"{ "run": "go", "run": "go" }"#), "duplicate field `run` at line 2 column"),
        (go(r#"{ "run": null }"#), "invalid type: null, expected a string at line 2 column"),
        (go("{}"), "exactly one of"),
        (go(r#"{ "run": "go", "sequence": [] }"#), "exactly one of"),
        (go(r#"{ "sequence": [] }"#), "`sequence` is empty at line 2 column"),
        (go(r#"{ "retry": 2 }"#), "`do` goes with"),
        (go(r#"{ "run": "go", "do": { "run": "go" } }"#), "`do` goes with"),
        (go(r#"{ "check": { "docked": true }, "keep": true }"#), "go with `run` alone"),
        (go(r#"{ "run": "go", "name": "two words" }"#), "`name` must be"),
        (go(r#"{ "retry": 0, "do": { "run": "go" } }"#), "`retry` is 0"),
        (go(r#"{ "retry": 1001, "do": { "run": "go" } }"#), "`retry` is 1001"),
        (go(r#"{ "timeout_s": 0, "do": { "run": "go" } }"#), "`timeout_s` must be"),
        (go(r#"{ "timeout_s": 1e999, "do": { "run": "go" } }"#), "number out of range"),
        (go(r#"{ "timeout_ticks": 0, "do": { "run": "go" } }"#), "`timeout_ticks` must be"),
        (go(r#"{ "check": { "battery_above": 1.5 } }"#), "a charge is 0 to 1 at line 2 column"),
        (go(r#"{ "check": { "battery_above": 0.1, "docked": true } }"#), "line 2 column"),
        (go(r#"{ "check": { "moon": "full" } }"#), "unknown variant `moon`"),
        (go(r#"{ "check": { "near": { "x": 1, "within_m": 1 } } }"#), "a place has"),
        (
            go(r#"{ "check": { "near": { "param": "a b", "within_m": 1 } } }"#),
            "cannot name a parameter",
        ),
        (go(r#"{ "check": { "inside": [{ "x": 1, "y": 1 }] } }"#), "line 2 column"),
        (go(r#"{ "check": { "param": { "name": "a" } } }"#), "`above` or `below`"),
        (go(r#"{ "check": { "range_below_m": 1 } }"#), "capability `scan`"),
        (go(r#"{ "run": "go", "params": { "a": { "param": "b", "c": 1 } } }"#), "line 2 column"),
        (go(r#"{ "run": "go", "params": { "a": 1, "a": 2 } }"#), "`a` stands there twice"),
        (go(&deep(16)), "16 nodes deep"),
        (go(&deep(200)), "recursion limit exceeded at line 2 column"),
        (go(&many), "256 nodes"),
        (
            go(&format!(r#"{{ "sequence": [{}] }}"#, [keeps; 5].join(","))),
            "at sequence[4]: at most 4",
        ),
        (
            go(r#"{ "retry": 200, "do": { "retry": 200, "do": { "run": "go" } } }"#),
            "40000 attempts",
        ),
        (" ".repeat(64 * 1024 + 1), "65537 bytes"),
    ] {
        let refused = parsed(&text).expect_err(&text);
        assert!(refused.contains(told), "{text}\n{refused}\n{told}");
    }
    assert!(parsed(&go(&deep(15))).is_ok());
}

#[test]
fn a_tree_is_drawn_as_it_is() {
    let tree = tree_of(&json!({ "retry": 3, "do": { "sequence": [
        { "fallback": [
            { "check": { "battery_above": 0.3 } },
            { "timeout_s": 600, "do": { "run": "charge", "params": {
                "dock": { "param": "dock" }, "until": 0.9 } } } ] },
        { "while": { "battery_above": 0.25 }, "do": {
            "run": "patrol", "name": "round", "keep": true,
            "params": { "waypoints": { "param": "route" } } } } ] } }));
    let drawn = "\
until it succeeds, 3 times at most
└─ in order, each if the one before succeeds
   ├─ the first that succeeds of
   │  ├─ check that the battery is above 30 %
   │  └─ within 600 s
   │     └─ run charge(dock of the plan, until = 0.9)
   └─ as long as the battery is above 25 %
      └─ round: run patrol(waypoints = route of the plan), goes on where it was";
    assert_eq!(tree.to_string(), drawn);
    assert_eq!((tree.nodes(), tree.attempts()), (8, 9));
}

#[test]
fn a_position_of_another_tree_is_known_as_such() {
    let tree = tree_of(&json!({ "retry": 2, "do": { "sequence": [
        { "run": "go" }, { "run": "charge" }] } }));
    let at = |nodes: &[(u16, u32)]| {
        let spot = |&(node, count): &(u16, u32)| GraphSpot { count, elapsed_ns: 0, node };
        GraphPosition(nodes.iter().map(spot).collect())
    };
    for good in [at(&[]), at(&[(0, 1)]), at(&[(0, 1), (1, 0), (3, 0)])] {
        assert!(tree.has(&good), "{good:?}");
    }
    for bad in [
        at(&[(1, 0)]),
        at(&[(0, 2)]),
        at(&[(0, 0), (1, 0)]),
        at(&[(0, 0), (2, 0)]),
        at(&[(0, 0), (1, 1), (2, 0)]),
        at(&[(0, 0), (1, 0), (2, 0), (3, 0)]),
        at(&[(9, 0)]),
    ] {
        assert!(!tree.has(&bad), "{bad:?}");
    }
}

fn condition() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0_u8..=10).prop_map(|tenth| json!({ "battery_above": f64::from(tenth) / 10.0 })),
        (0_u8..=10).prop_map(|tenth| json!({ "battery_below": f64::from(tenth) / 10.0 })),
        any::<bool>().prop_map(|docked| json!({ "docked": docked })),
        any::<bool>().prop_map(|fast| json!({ "param": { "name": "fast", "is": fast } })),
    ]
}

/// Any tree of a few dozen nodes.
fn root() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        condition().prop_map(|condition| json!({ "check": condition })),
        prop::sample::select(vec!["go", "patrol", "charge"])
            .prop_map(|action| json!({ "run": action })),
    ];
    leaf.prop_recursive(5, 40, 4, |below| {
        let row = prop::collection::vec(below.clone(), 1..4);
        prop_oneof![
            row.clone().prop_map(|row| json!({ "sequence": row })),
            row.prop_map(|row| json!({ "fallback": row })),
            (1_u8..4, below.clone())
                .prop_map(|(times, node)| json!({ "retry": times, "do": node })),
            (1_u8..9, below.clone())
                .prop_map(|(ticks, node)| json!({ "timeout_ticks": ticks, "do": node })),
            (1_u8..9, below.clone()).prop_map(|(tenths, node)| {
                json!({ "timeout_s": f64::from(tenths) / 10.0, "do": node })
            }),
            (condition(), below).prop_map(|(holds, node)| json!({ "while": holds, "do": node })),
        ]
    })
}

/// What a run meets: charge, dock, and what the step that runs says.
fn met() -> impl Strategy<Value = Vec<(u8, bool, u8)>> {
    prop::collection::vec((0_u8..=10, any::<bool>(), 0_u8..4), 60)
}

fn meets(tenth: u8, docked: bool, says: u8) -> (Observation, Child) {
    let seen = Observation { docked, ..charged(f64::from(tenth) / 10.0) };
    let child = match says {
        0 => Child::Done,
        1 => failed(),
        _ => Child::Running,
    };
    (seen, child)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn a_position_that_went_through_the_journal_at_any_tick_leads_to_the_same(
        root in root(), met in met(), cut in 0_usize..60,
    ) {
        let (mut through, mut again) = (Going::new(&root), Going::new(&root));
        for (nth, (tenth, docked, says)) in met.into_iter().enumerate() {
            let (seen, child) = meets(tenth, docked, says);
            let ticked = through.tick(&seen, &child);
            prop_assert_eq!(&ticked, &again.tick(&seen, &child));
            prop_assert!(through.tree.has(&through.position), "{:?}", through.position);
            if matches!(ticked.decision, Decision::Done | Decision::Failed(_)) {
                prop_assert!(through.position.0.is_empty() && ticked.moved.is_some());
                break;
            }
            if nth == cut {
                // Another agent, that reads the journal and the bundle.
                let bytes = codec::to_vec(&through.position).unwrap();
                again = Going::new(&root);
                again.position = codec::from_slice(&bytes).unwrap();
            }
        }
    }

    #[test]
    fn every_tree_ends_and_tries_no_more_than_it_says(root in root(), met in met(), patience in 1_u8..5) {
        let mut going = Going::new(&root);
        let (most, mut starts, mut ran) = (going.tree.attempts(), 0_u64, 0_u8);
        let (mut over, mut child) = (false, Child::Running);
        // Each step runs for so long at most; a retry waits for one observation.
        let ticks = (most + 1) * (u64::from(patience) + 2);
        for (nth, (tenth, docked, says)) in (0..ticks).zip(met.iter().copied().cycle()) {
            let ticked = going.tick(&meets(tenth, docked, says).0, &child);
            child = Child::Running;
            match ticked.decision {
                Decision::Done | Decision::Failed(_) => {
                    over = true;
                    break;
                }
                Decision::Wait => {}
                Decision::Run(_) => {
                    if ticked.moved.is_some() {
                        (starts, ran) = (starts + 1, 0);
                    }
                    ran += 1;
                    child = if ran >= patience {
                        if nth % 2 == 0 { Child::Done } else { failed() }
                    } else {
                        meets(tenth, docked, says).1
                    };
                }
            }
        }
        prop_assert!(over, "it goes on after {} ticks", ticks);
        prop_assert!(starts <= most, "{} starts, {} said", starts, most);
    }

    #[test]
    fn a_timeout_ends_whatever_it_holds(root in root(), met in met(), ticks in 1_u32..30) {
        let mut going = Going::new(&json!({ "timeout_ticks": ticks, "do": root }));
        let over = met.into_iter().take(ticks as usize + 1).any(|(tenth, docked, _)| {
            // Nothing in it ever ends by itself.
            let (seen, _) = meets(tenth, docked, 3);
            let ticked = going.tick(&seen, &Child::Running);
            matches!(ticked.decision, Decision::Done | Decision::Failed(_))
        });
        prop_assert!(over);
    }

    #[test]
    fn no_change_to_a_graph_makes_its_reader_panic(
        root in root(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut text = json!({ "v": 1, "actions": { "go": root } }).to_string().into_bytes();
        for (at, value) in changes {
            let at = at.index(text.len());
            text[at] = value;
        }
        if let Ok(graph) = parse_graph(&text, &manifest()) {
            for (_, tree) in graph.trees() {
                let _ = tree.to_string();
            }
        }
    }
}
