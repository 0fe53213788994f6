//! An index over things in the plane: which of them may be near a place.
//!
//! A binary tree of bounding boxes over items *in the order in which they are given*, a few to
//! each leaf. The sides of an outline follow each other, so that neighbours in the order are
//! neighbours in the plane; other things are sorted first ([`morton`]). It is built once, its
//! nodes lie in one array in which a node's children need no pointers, and a query keeps what
//! it still has to see in an array of fixed length: it allocates nothing.

use nooterra_protocol::geometry::Point;
use std::ops::{ControlFlow, Range};

/// Items in a leaf.
const LEAF: usize = 4;

/// What a query may have to see later. A walk that goes down one side at a time keeps one node
/// for each level: enough for 2²⁴ leaves, where a document has at most some 2¹⁵. More would be
/// zeroed for nothing at each query.
const PENDING: usize = 24;

/// A box with sides along the axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rect {
    pub(crate) least: Point,
    pub(crate) most: Point,
}

impl Rect {
    /// Around nothing: infinitely far from everything.
    pub(crate) const EMPTY: Self = Self {
        least: Point::new(f64::INFINITY, f64::INFINITY),
        most: Point::new(f64::NEG_INFINITY, f64::NEG_INFINITY),
    };

    /// Around points.
    pub(crate) fn around(points: impl IntoIterator<Item = Point>) -> Self {
        points
            .into_iter()
            .fold(Self::EMPTY, |rect, point| rect.with(&Self { least: point, most: point }))
    }

    /// Around both.
    pub(crate) fn with(&self, other: &Self) -> Self {
        let (least, most) = (self.least, self.most);
        Self {
            least: Point::new(least.x.min(other.least.x), least.y.min(other.least.y)),
            most: Point::new(most.x.max(other.most.x), most.y.max(other.most.y)),
        }
    }

    /// Larger by `by` on each side.
    pub(crate) fn grown(&self, by: f64) -> Self {
        Self {
            least: Point::new(self.least.x - by, self.least.y - by),
            most: Point::new(self.most.x + by, self.most.y + by),
        }
    }

    pub(crate) fn width(&self) -> f64 {
        self.most.x - self.least.x
    }

    pub(crate) fn height(&self) -> f64 {
        self.most.y - self.least.y
    }

    /// Squared distance, m²; 0 inside.
    pub(crate) fn squared_distance(&self, at: Point) -> f64 {
        let dx = (self.least.x - at.x).max(at.x - self.most.x).max(0.0);
        let dy = (self.least.y - at.y).max(at.y - self.most.y).max(0.0);
        dx * dx + dy * dy
    }

    fn meets(&self, other: &Self) -> bool {
        self.least.x <= other.most.x
            && other.least.x <= self.most.x
            && self.least.y <= other.most.y
            && other.least.y <= self.most.y
    }
}

/// The tree.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    items: usize,
    /// The root is 1, the children of `n` are `2n` and `2n + 1`. The second half are leaves.
    nodes: Vec<Rect>,
}

impl Tree {
    pub(crate) fn new(boxes: &[Rect]) -> Self {
        let leaves = boxes.len().div_ceil(LEAF).next_power_of_two();
        let mut nodes = vec![Rect::EMPTY; 2 * leaves];
        for (node, items) in nodes[leaves..].iter_mut().zip(boxes.chunks(LEAF)) {
            *node = items.iter().fold(Rect::EMPTY, |all, item| all.with(item));
        }
        for node in (1..leaves).rev() {
            nodes[node] = nodes[2 * node].with(&nodes[2 * node + 1]);
        }
        Self { items: boxes.len(), nodes }
    }

    /// Around all items.
    pub(crate) fn bounds(&self) -> Rect {
        self.nodes.get(1).copied().unwrap_or(Rect::EMPTY)
    }

    /// Shows `look` leaves in which something may be nearer to `at` than the square root of
    /// `least`, near ones first. `look` answers with the least squared distance so far, which
    /// is given back in the end.
    ///
    /// After `patience` nodes it gives up: `None`. Then nothing is known.
    pub(crate) fn nearest(
        &self,
        at: Point,
        mut least: f64,
        mut patience: u32,
        mut look: impl FnMut(Range<usize>, f64) -> f64,
    ) -> Option<f64> {
        let leaves = self.nodes.len() / 2;
        let mut pending = [(0.0_f64, 0_usize); PENDING];
        let mut count = 0;
        let (mut bound, mut node) = (self.bounds().squared_distance(at), 1);
        loop {
            if bound < least {
                patience = patience.checked_sub(1)?;
                if node >= leaves {
                    least = look(self.range(node - leaves), least);
                } else {
                    let (left, right) = (2 * node, 2 * node + 1);
                    // In one slice, so that one check of its bounds does for both.
                    let [on_left, on_right] = self.nodes.get(left..)?.first_chunk()?;
                    let (to_left, to_right) =
                        (on_left.squared_distance(at), on_right.squared_distance(at));
                    let ((near, by), (far, other)) = if to_left <= to_right {
                        ((left, to_left), (right, to_right))
                    } else {
                        ((right, to_right), (left, to_left))
                    };
                    if other < least {
                        *pending.get_mut(count)? = (other, far);
                        count += 1;
                    }
                    (bound, node) = (by, near);
                    continue;
                }
            }
            if count == 0 {
                return Some(least);
            }
            count -= 1;
            (bound, node) = *pending.get(count)?;
        }
    }

    /// Shows `look` leaves in which something may meet `rect`, until it breaks off. Leaves
    /// whose items all come before `from` are left out. A tree that were deeper than any is
    /// shown as one leaf.
    pub(crate) fn meeting<B>(
        &self,
        rect: &Rect,
        from: usize,
        mut look: impl FnMut(Range<usize>) -> ControlFlow<B>,
    ) -> Option<B> {
        let leaves = self.nodes.len() / 2;
        let mut pending = [0_usize; PENDING];
        let (mut count, mut node) = (0, 1);
        loop {
            let meets = self.nodes.get(node).is_some_and(|node| node.meets(rect));
            if meets && self.last(node, leaves) > from {
                if node < leaves {
                    let Some(later) = pending.get_mut(count) else {
                        return look(0..self.items).break_value();
                    };
                    *later = 2 * node + 1;
                    count += 1;
                    node *= 2;
                    continue;
                }
                if let ControlFlow::Break(found) = look(self.range(node - leaves)) {
                    return Some(found);
                }
            }
            if count == 0 {
                return None;
            }
            count -= 1;
            node = pending.get(count).copied().unwrap_or_default();
        }
    }

    /// One past the last item below a node.
    fn last(&self, node: usize, leaves: usize) -> usize {
        // Both are powers of two and more, or there is no such node.
        let level = leaves.leading_zeros().abs_diff(node.leading_zeros());
        (((node + 1) << level) - leaves) * LEAF
    }

    fn range(&self, leaf: usize) -> Range<usize> {
        let from = (leaf * LEAF).min(self.items);
        from..(from + LEAF).min(self.items)
    }
}

/// An order of boxes in which neighbours are near each other: their places in it by the middle
/// of each, along a Z-shaped curve.
pub(crate) fn morton(boxes: &[Rect]) -> Vec<usize> {
    let middle = |rect: &Rect| {
        Point::new(
            f64::midpoint(rect.least.x, rect.most.x),
            f64::midpoint(rect.least.y, rect.most.y),
        )
    };
    let all = Rect::around(boxes.iter().map(middle));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Saturates.
    let step = |from: f64, to: f64, at: f64| ((at - from) / (to - from) * 65_535.0) as u32;
    let key = |index: &usize| {
        let at = middle(&boxes[*index]);
        let (x, y) = (step(all.least.x, all.most.x, at.x), step(all.least.y, all.most.y, at.y));
        (0..16).fold(0_u64, |key, bit| {
            key | u64::from(x >> bit & 1) << (2 * bit) | u64::from(y >> bit & 1) << (2 * bit + 1)
        })
    };
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by_key(key);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, proptest};

    fn boxes() -> impl Strategy<Value = Vec<Rect>> {
        let one = (-9.0..9.0, -9.0..9.0, 0.0..2.0, 0.0..2.0).prop_map(|(x, y, width, height)| {
            Rect { least: Point::new(x, y), most: Point::new(x + width, y + height) }
        });
        prop::collection::vec(one, 1..90)
    }

    proptest! {
        #[test]
        fn the_nearest_item_is_found_as_a_scan_finds_it(
            boxes in boxes(), x in -12.0..12.0, y in -12.0..12.0
        ) {
            let (tree, at) = (Tree::new(&boxes), Point::new(x, y));
            let scan = boxes.iter().map(|rect| rect.squared_distance(at));
            let expected = scan.fold(f64::INFINITY, f64::min);
            let found = tree.nearest(at, f64::INFINITY, u32::MAX, |range, least| {
                boxes[range].iter().map(|rect| rect.squared_distance(at)).fold(least, f64::min)
            });
            prop_assert_eq!(found, Some(expected));
        }

        #[test]
        fn all_that_meet_a_box_are_shown(boxes in boxes(), rect in boxes(), from in 0_usize..90) {
            let (tree, rect) = (Tree::new(&boxes), rect[0]);
            let mut shown = vec![false; boxes.len()];
            let never: Option<()> = tree.meeting(&rect, from, |range| {
                shown[range].fill(true);
                ControlFlow::Continue(())
            });
            prop_assert!(never.is_none());
            for (index, item) in boxes.iter().enumerate().skip(from) {
                prop_assert!(shown[index] || !item.meets(&rect), "{index}");
            }
        }

        #[test]
        fn an_order_along_the_curve_leaves_nothing_out(boxes in boxes()) {
            let mut order = morton(&boxes);
            order.sort_unstable();
            prop_assert_eq!(order, (0..boxes.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn without_patience_nothing_is_said() {
        let point = |x| Rect::around([Point::new(x, 0.0)]);
        let tree = Tree::new(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0].map(point));
        let found = tree.nearest(Point::new(2.5, 0.0), f64::INFINITY, 2, |_, least| least);
        assert_eq!(found, None);
    }
}
