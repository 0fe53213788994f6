//! What lies on the arm's table, and what its jaws hold.

use super::config::ArmConfig;
use super::joints::Tool;
use nooterra_protocol::geometry::Point;

/// Jaws so much wider than what they hold let it go, metres.
const RELEASE_M: f64 = 0.001;

/// A thing, as it really is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThingTruth {
    /// Its middle, in the `map` frame.
    pub at: Point,
    /// Its lower side, metres over the table.
    pub bottom_m: f64,
    /// The jaws have it.
    pub held: bool,
    /// Its side, metres.
    pub size_m: f64,
}

#[derive(Debug)]
pub(super) struct Table {
    held: Option<Held>,
    things: Vec<ThingTruth>,
    /// Jaws that are open as wide as they go.
    widest_m: f64,
}

/// What the jaws hold, as they took it.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Of its middle from the tool's point, along the fore arm, metres.
    ahead_m: f64,
    /// To the left.
    aside_m: f64,
    /// How much lower than the tool its lower side is, metres.
    below_m: f64,
    thing: usize,
}

impl Table {
    /// Of a checked configuration.
    pub(super) fn new(config: &ArmConfig) -> Self {
        let things = config.things.iter().map(|thing| ThingTruth {
            at: thing.at,
            bottom_m: 0.0,
            held: false,
            size_m: thing.size_m,
        });
        Self { held: None, things: things.collect(), widest_m: config.opening_m }
    }

    pub(super) fn things(&self) -> &[ThingTruth] {
        &self.things
    }

    pub(super) const fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// What happens between jaws that went from one opening to another, the tool being there.
    /// Gives how far they are open then, which is wider where a thing blocks them.
    pub(super) fn jaws(&mut self, tool: Tool, from_m: f64, to_m: f64) -> f64 {
        if self.held.is_none() && to_m < from_m {
            self.held = self.between(tool, from_m, to_m);
        }
        let Some(held) = &mut self.held else { return to_m };
        let Some(thing) = self.things.get_mut(held.thing) else { return to_m };
        // What is pressed onto the table slips up between the jaws.
        held.below_m = held.below_m.min(tool.lift_m);
        let (sin, cos) = tool.yaw.sin_cos();
        thing.at = Point::new(
            tool.at.x + held.ahead_m * cos - held.aside_m * sin,
            tool.at.y + held.ahead_m * sin + held.aside_m * cos,
        );
        thing.bottom_m = tool.lift_m - held.below_m;
        thing.held = to_m < thing.size_m + RELEASE_M;
        if thing.held {
            return to_m.max(thing.size_m);
        }
        thing.bottom_m = 0.0;
        self.held = None;
        to_m
    }

    /// The thing that jaws meet on their way, the one nearest to the tool where there are two.
    fn between(&self, tool: Tool, from_m: f64, to_m: f64) -> Option<Held> {
        let met = self.things.iter().enumerate().filter(|(_, ThingTruth { at, size_m, .. })| {
            at.distance(tool.at) <= size_m / 2.0
                && tool.lift_m < *size_m
                && (to_m..from_m).contains(size_m)
                // Jaws that cannot open any wider would never let it go.
                && size_m + RELEASE_M <= self.widest_m
        });
        let (thing, ThingTruth { at, .. }) =
            met.min_by(|(_, a), (_, b)| a.at.distance(tool.at).total_cmp(&b.at.distance(tool.at)))?;
        let (x, y) = (at.x - tool.at.x, at.y - tool.at.y);
        let (sin, cos) = tool.yaw.sin_cos();
        Some(Held {
            ahead_m: x * cos + y * sin,
            aside_m: y * cos - x * sin,
            below_m: tool.lift_m,
            thing,
        })
    }
}
