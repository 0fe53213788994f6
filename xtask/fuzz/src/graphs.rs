//! Policy graphs of skills.

use crate::bundle::parse_manifest;
use crate::graph::{Child, Decision, parse};
use crate::seeds;
use nooterra_protocol::codec;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::observation::{Observation, Timed};
use nooterra_protocol::skill_graph::GraphPosition;
use nooterra_protocol::time::MonoNanos;
use std::collections::BTreeMap;
use std::time::Duration;

/// Reads one, and goes through each of its trees for a while.
pub(crate) fn read(bytes: &[u8]) {
    let manifest = parse_manifest(seeds::GRAPH_MANIFEST.as_bytes()).expect("a manifest");
    let Ok(graph) = parse(bytes, &manifest) else { return };
    let at = MonoNanos(1);
    let seen = Observation {
        battery: None,
        docked: bytes.len().is_multiple_of(2),
        emergency_stop: false,
        gripper: false,
        joints: None,
        pose: Timed { at, value: Pose::default() },
        scan: None,
        twist: Timed { at, value: Twist::ZERO },
    };
    for (_, tree) in graph.trees() {
        assert!(!tree.to_string().is_empty());
        let (mut position, params) = (GraphPosition::default(), BTreeMap::new());
        for byte in bytes.iter().take(64) {
            let child = match byte % 4 {
                0 => Child::Done,
                1 => Child::Failed(String::new()),
                _ => Child::Running,
            };
            let span = Duration::from_millis(u64::from(*byte) * 100);
            let ticked = tree.tick(&position, span, &seen, &params, &child);
            position = ticked.position;
            assert!(tree.has(&position), "a tree leaves its own positions");
            // As the journal and the state of a suspended skill keep it.
            let kept = codec::to_vec(&position).expect("a position can be written");
            assert_eq!(codec::from_slice(&kept).ok().as_ref(), Some(&position));
            if matches!(ticked.decision, Decision::Done | Decision::Failed(_)) {
                break;
            }
        }
    }
}
