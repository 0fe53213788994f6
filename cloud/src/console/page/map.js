// The map: zones of the policy, the robot with its outline and trail, what it asked for and what
// was let through. Metres to pixels, y up to y down, at the true size of the element, so that
// lines and letters stay readable on a telephone.

import { set, svg } from "/console/dom.js";
import { number, rule, turning, velocity } from "/console/words.js";

const PAD_PX = 18;
const TRAIL_PIECES = 8;

/** A second of the motion that a setpoint asks for, as points in the map frame. */
function ahead(command, pose) {
  const points = [[pose.x, pose.y]];
  let { x, y, yaw } = pose;
  const [steps, dt] = [10, 0.1];
  for (let step = 0; step < steps; step += 1) {
    const v = velocity(command, { x, y, yaw });
    x += v.x * dt;
    y += v.y * dt;
    yaw += turning(command) * dt;
    points.push([x, y]);
  }
  return points;
}

const days = { mon: "Mon", tue: "Tue", wed: "Wed", thu: "Thu", fri: "Fri", sat: "Sat", sun: "Sun" };

/** When and at which heights a zone holds, in words; empty where it always does. */
export function conditions(zone) {
  const words = (zone.windows ?? []).map((window) => {
    const on = (window.days ?? []).map((name) => days[name] ?? name);
    return `${on.join(" ")} ${window.from ?? ""}–${window.to ?? window.until ?? ""}`.trim();
  });
  const band = zone.altitude;
  if (band) {
    const from = band.min_m === undefined ? "below" : `from ${number(band.min_m, 0)} m`;
    const to = band.max_m === undefined ? "up" : `to ${number(band.max_m, 0)} m`;
    words.push(`${from} ${to} ${band.reference === "above_ground" ? "above ground" : "above take-off"}`);
  }
  return words.join("; ");
}

/** What a zone does: its class and its words. */
export function meaning(zone) {
  const rule = zone.rule?.type;
  if (!rule) {
    const off = (zone.sensors ?? []).map((name) => name.replace("_", " ")).join(", ");
    return ["privacy", off ? `${off} off` : "privacy"];
  }
  if (rule === "keep_in") return ["in", "stay inside"];
  if (rule === "keep_out") return ["out", "keep out"];
  return ["speed", `at most ${number(zone.rule.max_linear_mps)} m/s`];
}

export class RobotMap {
  constructor() {
    this.zones = svg("g", {});
    this.plan = svg("g", { class: "plan" });
    this.trail = svg("g", { class: "trail" });
    this.marks = svg("g", {});
    this.chosen = svg("g", {});
    this.callout = svg("g", { class: "callout", "aria-hidden": "true" });
    this.asked = svg("path", { class: "asked", "marker-end": "url(#head-asked)" });
    this.allowed = svg("path", { class: "allowed", "marker-end": "url(#head-allowed)" });
    this.body = svg("g", { class: "body" });
    this.node = svg("svg", { class: "map", role: "img", "aria-label": "Map" },
      svg("defs", {},
        hatch("hatch-out", "out-line"), hatch("hatch-beyond", "beyond-line"), dots(),
        head("asked"), head("allowed")),
      this.zones, this.plan, this.trail, this.marks, this.chosen, this.asked, this.allowed, this.body, this.callout);
    this.pieces = Array.from({ length: TRAIL_PIECES }, (_, at) => svg("polyline", { opacity: ((at + 1) / TRAIL_PIECES) ** 1.6 }));
    this.trail.append(...this.pieces);
    this.policy = null;
    this.seen = null;
    this.points = [];
    this.size = { width: 800, height: 560 };
    this.watch = new ResizeObserver(([entry]) => {
      const { width } = entry.contentRect;
      if (width > 0 && Math.abs(width - this.size.width) > 1) { this.size.width = width; this.fit(); }
    });
    this.watch.observe(this.node);
  }

  end() { this.watch.disconnect(); }

  /** The policy whose zones are drawn; null where none is known. */
  setPolicy(document) {
    this.policy = document;
    this.fit();
  }

  /** Where the plan goes: `[{ x, y, name, done }]`. */
  setPlan(points) {
    this.points = points;
    if (!points.every((point) => this.isInside(point.x, point.y))) this.fit();
    this.drawPlan();
  }

  /** Chooses the part of the world that holds everything, and draws what does not move. */
  fit() {
    const corners = [];
    const push = (x, y) => { if (Number.isFinite(x) && Number.isFinite(y)) corners.push([x, y]); };
    for (const zone of [...(this.policy?.zones ?? []), ...(this.policy?.privacy ?? [])]) {
      for (const { x, y } of zone.polygon ?? []) push(x, y);
      if (zone.circle) {
        const { center: { x, y }, radius_m: r } = zone.circle;
        push(x - r, y - r);
        push(x + r, y + r);
      }
    }
    for (const { x, y } of this.points) push(x, y);
    for (const [x, y] of this.seen ?? []) push(x, y);
    if (corners.length === 0) push(0, 0);
    const xs = corners.map(([x]) => x);
    const ys = corners.map(([, y]) => y);
    const grow = corners.length < 3 ? 4 : 0.35;
    let [left, right] = [Math.min(...xs) - grow, Math.max(...xs) + grow];
    const [low, top] = [Math.min(...ys) - grow, Math.max(...ys) + grow];
    const { width } = this.size;
    let scale = (width - 2 * PAD_PX) / (right - left);
    const most = Math.max(300, Math.min(window.innerHeight * 0.56, 620));
    scale = Math.min(scale, (most - 2 * PAD_PX) / (top - low));
    const spare = (width - 2 * PAD_PX) / scale - (right - left);
    [left, right] = [left - spare / 2, right + spare / 2];
    this.view = { left: left - PAD_PX / scale, top: top + PAD_PX / scale, scale };
    this.bounds = { left, right, low, top };
    this.size.height = Math.round((top - low) * scale + 2 * PAD_PX);
    set(this.node, { viewBox: `0 0 ${width} ${this.size.height}`, height: this.size.height });
    this.drawZones();
    this.drawPlan();
  }

  isInside(x, y) {
    const box = this.bounds;
    return box && x >= box.left && x <= box.right && y >= box.low && y <= box.top;
  }

  x(x) { return (x - this.view.left) * this.view.scale; }
  y(y) { return (this.view.top - y) * this.view.scale; }
  at([x, y]) { return `${this.x(x).toFixed(1)},${this.y(y).toFixed(1)}`; }

  line(points) { return points.map((point, at) => `${at ? "L" : "M"}${this.at(point)}`).join(""); }

  ring(points) { return `${this.line(points.map(({ x, y }) => [x, y]))}Z`; }

  outline(zone) {
    if (zone.circle) {
      const { center, radius_m: radius } = zone.circle;
      const r = radius * this.view.scale;
      const [cx, cy] = [this.x(center.x), this.y(center.y)];
      return `M${cx - r},${cy}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`;
    }
    return [zone.polygon ?? [], ...(zone.holes ?? [])].filter((ring) => ring.length > 2).map((ring) => this.ring(ring)).join("");
  }

  drawZones() {
    const { width, height } = this.size;
    const all = [...(this.policy?.zones ?? []), ...(this.policy?.privacy ?? [])];
    const order = ["in", "speed", "privacy", "out"];
    const drawn = all.map((zone) => [zone, ...meaning(zone)]).sort((a, b) => order.indexOf(a[1]) - order.indexOf(b[1]));
    const hasIn = drawn.some(([, kind]) => kind === "in");
    const shapes = drawn.map(([zone, kind, words]) => {
      const when = conditions(zone);
      const title = `${zone.id}: ${words}${when ? `, ${when}` : ""}`;
      return svg("path", { class: `zone ${kind}${when ? " sometimes" : ""}`, d: this.outline(zone), "fill-rule": "evenodd" },
        svg("title", {}, title));
    });
    const labels = drawn.filter(([, kind]) => kind !== "in" || drawn.length < 12).map(([zone, kind, words]) => this.label(zone, kind, words));
    this.zones.replaceChildren(
      svg("rect", { class: hasIn ? "beyond" : "floor", width, height }),
      ...(hasIn ? [svg("rect", { class: "beyond-hatch", width, height })] : []),
      ...shapes.filter((shape) => shape.classList.contains("in")),
      this.grid(),
      ...shapes.filter((shape) => !shape.classList.contains("in")),
      ...labels, this.ruler());
    const say = drawn.map(([zone, , words]) => `${zone.id}: ${words}`).join("; ");
    set(this.node, { "aria-label": say ? `Map with the policy's zones. ${say}.` : "Map without zones." });
  }

  grid() {
    const { left, right, low, top } = this.bounds;
    const step = [1, 2, 5, 10, 20, 50, 100, 500].find((step) => step * this.view.scale >= 24) ?? 1000;
    let d = "";
    for (let x = Math.ceil(left / step) * step; x <= right; x += step) d += `M${this.x(x).toFixed(1)},0V${this.size.height}`;
    for (let y = Math.ceil(low / step) * step; y <= top; y += step) d += `M0,${this.y(y).toFixed(1)}H${this.size.width}`;
    this.step = step;
    return svg("path", { class: "grid", d });
  }

  ruler() {
    const length = this.step * this.view.scale;
    const [x, y] = [this.size.width - PAD_PX - length, this.size.height - 10];
    return svg("g", { class: "ruler" }, svg("path", { d: `M${x},${y - 4}v4h${length}v-4` }),
      svg("text", { x: x + length / 2, y: y - 7, "text-anchor": "middle" }, `${this.step} m`));
  }

  label(zone, kind, words) {
    const points = zone.circle
      ? [[zone.circle.center.x - zone.circle.radius_m * 0.7, zone.circle.center.y + zone.circle.radius_m * 0.7],
        [zone.circle.center.x + zone.circle.radius_m * 0.7, zone.circle.center.y]]
      : (zone.polygon ?? []).map(({ x, y }) => [x, y]);
    if (points.length === 0) return svg("g", {});
    const xs = points.map(([x]) => x);
    const left = this.x(Math.min(...xs)) + 7;
    const room = this.x(Math.max(...xs)) - left - 4;
    const top = this.y(Math.max(...points.map(([, y]) => y))) + 17;
    const when = conditions(zone);
    const fits = (text, px) => text.length * px < room;
    const lines = [[zone.id, "name"], [words, "what"], [when, "what"]].filter(([text]) => text && fits(text, 5.8));
    return svg("g", { class: `label ${kind}`, "aria-hidden": "true" },
      lines.map(([text, kind], at) => svg("text", { x: left, y: top + at * 15, class: kind }, text)));
  }

  drawPlan() {
    if (!this.view) return;
    const points = this.points.filter((point) => !point.goal).map((point) => [point.x, point.y]);
    this.plan.replaceChildren(
      svg("path", { class: "way", d: points.length > 1 ? this.line(points) : "" }),
      ...this.points.map((point) => svg("g", { class: point.goal ? "goal" : point.done ? "done" : "next", transform: `translate(${this.x(point.x)},${this.y(point.y)})` },
        svg("circle", { r: point.goal ? 9 : 7 }), svg("text", { y: 3.6, "text-anchor": "middle" }, point.name), svg("title", {}, point.title ?? point.name))));
  }

  /** The robot as it is at the playhead, and the way that it came. */
  draw(now, past) {
    if (!this.view) { this.seen = past.map(({ pose }) => [pose.x, pose.y]); this.fit(); }
    if (!this.isInside(now.pose.x, now.pose.y)) {
      this.seen = past.map(({ pose }) => [pose.x, pose.y]);
      this.seen.push([now.pose.x, now.pose.y]);
      this.fit();
    }
    const way = past.map(({ pose }) => [pose.x, pose.y]);
    way.push([now.pose.x, now.pose.y]);
    const size = Math.ceil(way.length / TRAIL_PIECES);
    this.pieces.forEach((piece, at) => {
      const part = way.slice(at * size, (at + 1) * size + 1);
      set(piece, { points: part.map((point) => this.at(point)).join(" ") });
    });
    this.drawBody(now.pose);
    this.arrows(this.asked, this.allowed, now.asked, now.allowed, now.pose);
  }

  drawBody(pose) {
    const outline = this.policy?.footprint?.outline ?? [];
    const shape = `${outline.length}:${this.view.scale}`;
    if (this.shape !== shape) {
      this.shape = shape;
      const s = this.view.scale;
      const points = outline.length > 2 ? outline.map(({ x, y }) => `${x * s},${-y * s}`).join(" ") : null;
      const front = Math.max(0.2, ...outline.map(({ x }) => x)) * s;
      const margin = (this.policy?.footprint?.margin_m ?? 0) * s;
      const body = points
        ? [svg("polygon", { class: "margin", points, "stroke-width": Math.max(1, 2 * margin) }), svg("polygon", { class: "outline", points })]
        : [svg("circle", { class: "outline", r: 8 })];
      const [back, side] = [front * 0.2, front * 0.42];
      this.body.replaceChildren(...body, svg("path", { class: "nose", d: `M${back},${-side}L${front * 0.86},0L${back},${side}Z` }));
    }
    const turn = (-pose.yaw * 180) / Math.PI;
    set(this.body, { transform: `translate(${this.x(pose.x).toFixed(2)},${this.y(pose.y).toFixed(2)}) rotate(${turn.toFixed(2)})` });
  }

  arrows(asked, allowed, wish, passed, pose) {
    const path = (command) => {
      if (!command) return "";
      const points = ahead(command, pose);
      const [[x0, y0], [x1, y1]] = [points[0], points.at(-1)];
      return Math.hypot(x1 - x0, y1 - y0) * this.view.scale < 6 ? "" : this.line(points);
    };
    set(asked, { d: path(wish) || null, visibility: path(wish) ? null : "hidden" });
    set(allowed, { d: path(passed) || null, visibility: path(passed) ? null : "hidden" });
  }

  /** Interventions where they began; the newest are rings that fade, and one is said in words. */
  drawRuns(runs, chosen, pose) {
    const now = performance.now();
    this.say(runs.find((run) => run.ended === null || now - run.seen < 3000), pose);
    this.marks.replaceChildren(...runs.slice(0, 40).map((run) => {
      const { x, y } = run.first.pose;
      const fresh = run.ended === null || now - run.seen < 2500;
      return svg("circle", { class: `mark ${run.weight}${fresh ? " fresh" : ""}`, cx: this.x(x), cy: this.y(y), r: fresh ? 7 : 4 });
    }));
    if (!chosen) { this.chosen.replaceChildren(); return; }
    const { pose: place, asked, allowed } = chosen.first;
    const paths = [svg("path", { class: "asked", "marker-end": "url(#head-asked)" }), svg("path", { class: "allowed", "marker-end": "url(#head-allowed)" })];
    this.arrows(paths[0], paths[1], asked, allowed, place);
    const where = `translate(${this.x(place.x)},${this.y(place.y)}) rotate(${(-place.yaw * 180) / Math.PI})`;
    const outline = (this.policy?.footprint?.outline ?? []).map((at) => `${at.x * this.view.scale},${-at.y * this.view.scale}`).join(" ");
    this.chosen.replaceChildren(svg("polygon", { class: "ghost", points: outline, transform: where }), svg("circle", { class: "halo", cx: this.x(place.x), cy: this.y(place.y), r: 16 }), ...paths);
  }

  /** A line beside the robot about what is held back now. */
  say(run, pose) {
    if (!run || !pose || run.weight === "soft") { this.callout.replaceChildren(); return; }
    const speed = (command) => { const { x, y } = velocity(command, { yaw: 0 }); return number(Math.hypot(x, y)); };
    const lines = run.weight === "halt" ? [rule(run.first.rule), run.first.rule] : [run.last.zone ?? run.first.rule, `${speed(run.last.asked)} → ${speed(run.last.allowed)} m/s`];
    const wide = Math.max(...lines.map((line) => line.length)) * 6.9 + 20;
    const reach = 0.7 * this.view.scale + 8;
    const right = this.x(pose.x) + reach + wide < this.size.width - 4;
    const x = Math.max(4, right ? this.x(pose.x) + reach : this.x(pose.x) - reach - wide);
    const y = Math.max(4, Math.min(this.y(pose.y) - 22, this.size.height - 48));
    this.callout.replaceChildren(svg("rect", { x, y, width: wide, height: 44, rx: 8 }),
      svg("text", { x: x + 10, y: y + 18, class: "name" }, lines[0]), svg("text", { x: x + 10, y: y + 35 }, lines[1]));
  }
}

function hatch(id, line) {
  return svg("pattern", { id, width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("path", { class: line, d: "M0,0V8" }));
}

function dots() {
  return svg("pattern", { id: "dots", width: 10, height: 10, patternUnits: "userSpaceOnUse" },
    svg("circle", { class: "dot", cx: 3, cy: 3, r: 1.3 }));
}

function head(name) {
  return svg("marker", { id: `head-${name}`, viewBox: "0 0 8 8", refX: 5, refY: 4, markerWidth: 15, markerHeight: 15, markerUnits: "userSpaceOnUse", orient: "auto" },
    svg("path", { class: `tip-${name}`, d: "M0,0L8,4L0,8Z" }));
}
