// A minute of speed: what was asked, what was let through, what was measured, and the envelope
// that held at each place.

import { set, svg } from "/console/dom.js";
import { velocity } from "/console/words.js";

const SPAN_MS = 60000;
const HEIGHT = 118;
const LEFT = 30;
const BOTTOM = 18;

const east = { yaw: 0 };
const speed = (command) => { const { x, y } = velocity(command ?? {}, east); return Math.hypot(x, y); };

const LINES = [
  ["limit", (sample) => sample.limit_mps],
  ["asked", (sample) => speed(sample.asked)],
  ["allowed", (sample) => speed(sample.allowed)],
  ["measured", (sample) => Math.abs(sample.twist?.linear ?? 0)],
];

export class Strip {
  constructor() {
    this.area = svg("path", { class: "envelope" });
    this.lines = LINES.map(([name]) => svg("path", { class: `line ${name}` }));
    this.axis = svg("g", { class: "axis" });
    this.node = svg("svg", { class: "strip", role: "img", height: HEIGHT, "aria-label": "Speed of the last minute: asked, let through, measured, and the limit" },
      this.area, this.axis, ...this.lines);
    this.width = 600;
    this.watch = new ResizeObserver(([entry]) => { this.width = Math.max(160, entry.contentRect.width); this.top = 0; });
    this.watch.observe(this.node);
    this.top = 0;
  }

  end() { this.watch.disconnect(); }

  draw(samples, head) {
    const shown = samples.filter((sample) => sample.at >= head - SPAN_MS - 2000);
    const highest = Math.max(0.5, ...shown.flatMap((sample) => [Math.min(sample.limit_mps, 8), speed(sample.asked)]));
    const top = [0.5, 1, 1.5, 2, 2.5, 3, 4, 6, 8, 12, 20, 40].find((value) => value >= highest * 1.05) ?? highest;
    const x = (at) => LEFT + ((at - head + SPAN_MS) / SPAN_MS) * (this.width - LEFT);
    const y = (value) => 6 + (1 - Math.min(value, top) / top) * (HEIGHT - BOTTOM - 6);
    set(this.node, { viewBox: `0 0 ${this.width} ${HEIGHT}` });
    LINES.forEach(([, of], at) => {
      const d = shown.map((sample, place) => `${place ? "L" : "M"}${Math.max(LEFT, x(sample.at)).toFixed(1)},${y(of(sample)).toFixed(1)}`).join("");
      const last = shown.at(-1);
      set(this.lines[at], { d: d && last ? `${d}H${this.width}` : null });
      if (at === 0) set(this.area, { d: d ? `${d}H${this.width}V${y(0)}H${Math.max(LEFT, x(shown[0].at)).toFixed(1)}Z` : null });
    });
    if (top !== this.top) {
      this.top = top;
      const marks = [0, top / 2, top];
      this.axis.replaceChildren(
        ...marks.map((value) => svg("path", { d: `M${LEFT},${y(value)}H${this.width}` })),
        ...marks.map((value) => svg("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, String(value))),
        svg("text", { x: LEFT, y: HEIGHT - 3 }, "60 s ago"),
        svg("text", { x: this.width, y: HEIGHT - 3, "text-anchor": "end" }, "now"));
    }
  }
}
