//! A policy graph as a picture: one SVG, complete without scripts; it loads nothing. From left to
//! right goes what is below, from top to bottom what is tried in turn. The same graph gives the
//! same bytes on every machine.

use crate::backtest::report::esc;
use nooterra_skill_host::{Graph, NodeKind, Tree};
use std::fmt::Write as _;
use unicode_width::UnicodeWidthChar as _;

/// Cells in a line of a box, as a terminal counts them: a wide character, such as of Chinese, takes
/// two. What is longer is broken.
const LINE_CELLS: usize = 30;

/// Lines in a box; what is longer is cut, and whole in the box's title.
const MOST_LINES: usize = 6;

/// Pixels, from here on.
const LINE: usize = 16;
const PAD: usize = 8;
const WIDTH: usize = 232;
/// Between a box and those below it, and between boxes of a column.
const ASIDE: usize = 44;
const APART: usize = 12;
/// Of an action's name, above its tree.
const HEAD: usize = 34;
const EDGE: usize = 20;

// A cell of the font below is 0.6 of its 12 pixels wide. A wide character comes from a font of its
// own, and is as wide as it is high: less than two cells.
const _: () = assert!(LINE_CELLS * 72 <= (WIDTH - 2 * PAD) * 10, "a line fits into a box");

/// Colours of a page on paper and of one in the dark.
const STYLE: &str = "
:root { --bg: #ffffff; --ink: #16191d; --quiet: #565e68; --line: #a3abb5; --box: #f7f6f3;
  --check: #8a5200; --run: #0b5296; --row: #14683a; --bound: #5a4fb0; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #121417; --ink: #e9ebee; --quiet: #a3abb5; --line: #565e68; --box: #1b1e23;
    --check: #f0b357; --run: #83bdf5; --row: #6fce96; --bound: #b0a6ff; }
}
.page { fill: var(--bg); }
text { font: 12px ui-monospace, \"DejaVu Sans Mono\", monospace; fill: var(--ink); }
.action { font-size: 16px; font-weight: 600; }
.quiet { fill: var(--quiet); }
.way { fill: none; stroke: var(--line); stroke-width: 1.5; }
rect.node { fill: var(--box); stroke-width: 1.5; }
.kind { font-weight: 600; }
.check { stroke: var(--check); } text.check { stroke: none; fill: var(--check); }
.run { stroke: var(--run); } text.run { stroke: none; fill: var(--run); }
.row { stroke: var(--row); } text.row { stroke: none; fill: var(--row); }
.bound { stroke: var(--bound); } text.bound { stroke: none; fill: var(--bound); }
";

/// The picture of all trees of a graph, one below the other.
pub(super) fn svg(graph: &Graph, title: &str) -> String {
    let (mut body, mut top, mut wide) = (String::new(), EDGE, 0);
    for (action, tree) in graph.trees() {
        let said = format!("{} nodes, tries at most {} leaves", tree.nodes(), tree.attempts());
        let _ = write!(
            body,
            concat!(
                r#"<text class="action" x="{x}" y="{y}">{action}"#,
                r#"<tspan class="quiet" font-size="12" dx="12">{said}</tspan></text>"#,
                "\n"
            ),
            x = EDGE,
            y = top + 16,
            action = esc(action),
            said = said
        );
        let mut drawing = Drawing { svg: &mut body, tree, wide: 0 };
        top = drawing.place(0, EDGE, top + HEAD).next + EDGE;
        wide = wide.max(drawing.wide);
    }
    format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {top}" "#,
            r#"width="{wide}" height="{top}" role="img">"#,
            "\n<title>{title}</title>\n<style>{style}</style>\n",
            r#"<rect class="page" width="100%" height="100%"/>"#,
            "\n{body}</svg>\n"
        ),
        wide = wide + EDGE,
        top = top,
        title = esc(title),
        style = STYLE,
        body = body
    )
}

/// Where a node came to stand.
struct Placed {
    /// The middle of its box.
    middle: usize,
    /// The first free line of pixels below all that belongs to it.
    next: usize,
}

struct Drawing<'d> {
    svg: &'d mut String,
    tree: &'d Tree,
    wide: usize,
}

impl Drawing<'_> {
    /// Draws a node and all below it into the stripe that begins at `top`, which no other node
    /// of this depth or a deeper one shares.
    fn place(&mut self, node: u16, left: usize, top: usize) -> Placed {
        let Some(told) = self.tree.told(node) else { return Placed { middle: top, next: top } };
        let lines = lines(&told.words);
        let height = PAD + LINE * (1 + lines.len()) + PAD;
        let mut next = top;
        let mut middles = Vec::with_capacity(told.below.len());
        for child in told.below {
            let placed = self.place(*child, left + WIDTH + ASIDE, next);
            middles.push(placed.middle);
            next = placed.next;
        }
        let middle = match (middles.first(), middles.last()) {
            (Some(first), Some(last)) => usize::midpoint(*first, *last),
            _ => top + height / 2,
        };
        // Within the stripe, which is as high as the box at least.
        next = next.max(top + height + APART);
        let box_top = middle.saturating_sub(height / 2).clamp(top, next - APART - height);
        let middle = box_top + height / 2;
        self.draw_box(told.kind, &told.words, &lines, (left, box_top, height));
        for child in middles {
            let (from, to) = (left + WIDTH, left + WIDTH + ASIDE);
            let bend = from + ASIDE / 2;
            let _ = writeln!(
                self.svg,
                r#"<path class="way" d="M{from} {middle}C{bend} {middle} {bend} {child} {to} {child}"/>"#
            );
        }
        self.wide = self.wide.max(left + WIDTH);
        Placed { middle, next }
    }

    fn draw_box(
        &mut self,
        kind: NodeKind,
        words: &str,
        lines: &[String],
        (left, top, height): (usize, usize, usize),
    ) {
        let (class, name) = shown(kind);
        let _ = write!(
            self.svg,
            concat!(
                r#"<g><title>{words}</title><rect class="node {class}" x="{left}" y="{top}" "#,
                r#"width="{width}" height="{height}" rx="6"/>"#,
                r#"<text class="kind {class}" x="{x}" y="{y}">{name}</text>"#
            ),
            words = esc(words),
            class = class,
            left = left,
            top = top,
            width = WIDTH,
            height = height,
            x = left + PAD,
            y = top + PAD + 12,
            name = name
        );
        for (nth, line) in lines.iter().enumerate() {
            let (x, y) = (left + PAD, top + PAD + 12 + LINE * (nth + 1));
            let _ = write!(self.svg, r#"<text x="{x}" y="{y}">{}</text>"#, esc(line));
        }
        self.svg.push_str("</g>\n");
    }
}

/// Its colour, and what it is called in `graph.json`.
const fn shown(kind: NodeKind) -> (&'static str, &'static str) {
    match kind {
        NodeKind::Check => ("check", "check"),
        NodeKind::Fallback => ("row", "fallback"),
        NodeKind::Retry => ("bound", "retry"),
        NodeKind::Run => ("run", "run"),
        NodeKind::Sequence => ("row", "sequence"),
        NodeKind::Timeout => ("bound", "timeout"),
        NodeKind::While => ("bound", "while"),
    }
}

/// The text in lines that fit into a box: broken at spaces, and within a word only where it does
/// not fit alone.
fn lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for mut word in text.split(' ') {
        while let Some(line) = lines.last_mut() {
            let used = cells(line);
            let space = usize::from(used > 0);
            if used + space + cells(word) <= LINE_CELLS {
                line.extend(std::iter::repeat_n(' ', space));
                line.push_str(word);
                break;
            }
            if used == 0 {
                let (fits, rest) = broken(word, LINE_CELLS);
                line.push_str(fits);
                word = rest;
            }
            lines.push(String::new());
        }
    }
    if lines.len() > MOST_LINES {
        lines.truncate(MOST_LINES);
        if let Some(last) = lines.last_mut() {
            *last = broken(last, LINE_CELLS - 1).0.to_owned() + "…";
        }
    }
    lines
}

/// How wide a text is. Each character counts by itself, and one that is laid over the one before it,
/// or that a terminal does not show, as one cell: too wide is never too narrow.
fn cells(text: &str) -> usize {
    text.chars().map(width).sum()
}

fn width(c: char) -> usize {
    c.width().unwrap_or_default().max(1)
}

/// A text before and after so many cells.
fn broken(text: &str, most: usize) -> (&str, &str) {
    let mut used = 0;
    let first_beyond = text.char_indices().find(|(_, c)| {
        used += width(*c);
        used > most
    });
    text.split_at(first_beyond.map_or(text.len(), |(at, _)| at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_skill_host::parse_graph;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn manifest() -> nooterra_protocol::skill::SkillManifest {
        serde_json::from_value(json!({
            "actions": ["go"], "capabilities": [], "component_sha256": "0".repeat(64),
            "developer": "Acme", "id": "patrol", "licence": "MIT", "memory_mib": 4,
            "name": "Patrol", "period_ms": 100, "tier": "dev", "v": 1, "version": "1.0.0",
            "wit": nooterra_protocol::skill::WIT,
        }))
        .unwrap()
    }

    fn tree() -> impl Strategy<Value = Value> {
        let run = "[a-z]{1,12}( [a-z<&>\"]{1,60}){0,12}"
            .prop_map(|text: String| json!({ "run": "go", "params": { "note": text } }));
        let leaf = prop_oneof![Just(json!({ "check": { "docked": true } })), run];
        leaf.prop_recursive(6, 60, 5, |below| {
            prop_oneof![
                proptest::collection::vec(below.clone(), 1..5)
                    .prop_map(|row| json!({ "sequence": row })),
                proptest::collection::vec(below.clone(), 1..5)
                    .prop_map(|row| json!({ "fallback": row })),
                below.clone().prop_map(|below| json!({ "timeout_s": 5, "do": below })),
                below.prop_map(|below| json!({ "while": { "docked": false }, "do": below })),
            ]
        })
    }

    /// The boxes of the nodes: left, top, width, height.
    fn boxes(svg: &str) -> Vec<[usize; 4]> {
        let number = |tag: &str, key: &str| -> usize {
            let from = tag.find(&format!(" {key}=\"")).unwrap() + key.len() + 3;
            tag[from..].split('"').next().unwrap().parse().unwrap()
        };
        svg.split("<rect class=\"node")
            .skip(1)
            .map(|tag| ["x", "y", "width", "height"].map(|key| number(tag, key)))
            .collect()
    }

    #[test]
    fn wide_characters_take_two_cells_and_stay_in_their_box() {
        let halves = ["倉庫の通路を巡回して異常を記録", "する"];
        assert_eq!(lines(&halves.concat()), halves);
        // One does not fit behind 29 narrow ones.
        let narrow = "x".repeat(29);
        assert_eq!(lines(&format!("{narrow}倉")), [narrow.as_str(), "倉"]);
        assert_eq!(lines(&"é".repeat(31))[0].chars().count(), 30);
        // Marks upon marks make no line that is longer than it seems.
        let marks = format!("e{}", "\u{301}".repeat(40));
        assert_eq!(lines(&marks).len(), 2);
        let cut = lines(&"倉".repeat(200));
        assert_eq!(cut.len(), MOST_LINES);
        assert_eq!(cut[MOST_LINES - 1], format!("{}…", "倉".repeat(14)));
    }

    proptest! {
        #[test]
        fn no_box_covers_another_or_leaves_the_picture(root in tree()) {
            let json = json!({ "v": 1, "actions": { "go": root } }).to_string();
            // Of a few there are too many nodes.
            let Ok(graph) = parse_graph(json.as_bytes(), &manifest()) else { return Ok(()) };
            let svg = svg(&graph, "a <title> & more");
            let boxes = boxes(&svg);
            prop_assert_eq!(boxes.len(), graph.tree("go").unwrap().nodes());
            let size: Vec<usize> = svg.split("viewBox=\"0 0 ").nth(1).unwrap().split('"').next()
                .unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
            for (nth, [x, y, w, h]) in boxes.iter().copied().enumerate() {
                prop_assert!(x + w <= size[0] && y + h <= size[1], "outside");
                for [ox, oy, ow, oh] in boxes[nth + 1..].iter().copied() {
                    let apart = x + w <= ox || ox + ow <= x || y + h <= oy || oy + oh <= y;
                    prop_assert!(apart, "one covers another");
                }
            }
            prop_assert_eq!(svg.matches('<').count(), svg.matches('>').count());
        }

        #[test]
        fn a_text_is_broken_into_lines_that_fit_and_is_whole_unless_it_is_cut(
            text in "[a-z]{0,40}( [a-zé]{1,70}| [a-z検査した🤖]{1,40}){0,3}",
        ) {
            let lines = lines(&text);
            let cells = |line: &str| -> usize {
                line.chars().map(|c| if c.is_ascii() || "é…".contains(c) { 1 } else { 2 }).sum()
            };
            prop_assert!(lines.iter().all(|line| cells(line) <= LINE_CELLS), "{lines:?}");
            prop_assert!(lines.len() <= MOST_LINES);
            if !lines.last().unwrap().ends_with('…') {
                let without = |text: &str| text.replace(' ', "");
                prop_assert_eq!(without(&lines.concat()), without(&text));
            }
        }
    }
}
