// One robot, live: its map with the envelope, interventions as they happen, its job and its box.

import { find, get, post } from "/console/api.js";
import { card, confirm, el, empty, facts, keep, note, pill, put, say, set } from "/console/dom.js";
import { cancel, factsOf } from "/console/jobs.js";
import { Live } from "/console/live.js";
import { RobotMap } from "/console/map.js";
import { Strip } from "/console/strip.js";
import { Timeline } from "/console/timeline.js";
import { ago, bytes, count, isOver, limit, number, phrase, rule, setpoint, short, stateTone, time, weight } from "/console/words.js";

/** Between two looks at what does not come by the stream. */
const EVERY_MS = 3000;
const BOX_EVERY = 4;

/** Interventions in the list. */
const SHOWN = 30;

const path = (id) => `/v1/robots/${encodeURIComponent(id)}`;

export function robot({ root, id, signal, fail, live: up }) {
  const live = new Live();
  const map = new RobotMap();
  const strip = new Strip();
  const timeline = new Timeline({ newestFirst: true });
  const state = { robot: null, job: null, events: [], commands: [], policyHash: null, chosen: null, soft: false };

  const pills = el("span", { class: "row pills" });
  const stop = el("button", { type: "button", class: "stop", onclick: () => askStop() }, "Stop");
  const release = el("button", { type: "button", class: "plain", hidden: true, onclick: () => askRelease() }, "Release the stop…");
  const held = el("p", { class: "held", role: "status", hidden: true });
  const caption = el("p", { class: "quiet small" });
  const now = el("div", {});
  const rows = el("ol", { class: "runs" });
  const soft = el("input", { type: "checkbox", id: "soft", onchange: () => { state.soft = soft.checked; drawRuns(); } });
  const jobCard = card("Job", {}, empty("No job is under way."));
  const boxCard = card("Black box", {}, empty("Nothing has come here from its journal yet."));
  const envelopeCard = card("Envelope", {}, empty("The robot has not reported its policy."));
  const stopsCard = card("Stops and refusals", {}, empty("None here."));

  put(root,
    el("div", { class: "head" }, el("h1", {}, id), pills, el("span", { class: "row" }, release, stop)),
    held,
    el("div", { class: "columns" },
      el("div", { class: "stack" },
        card("Map", { class: "mapcard" }, map.node, legend(), caption),
        card("Speed in its envelope", {}, strip.node, key())),
      el("div", { class: "stack" }, card("Now", { class: "now" }, now),
        card("Held back", {},
          el("p", { class: "quiet small" }, "What was asked, what was let through, and by which rule. Choose one to see both on the map."),
          el("div", { class: "scroll runs-scroll", tabindex: 0, role: "region", "aria-label": "What was held back" }, rows),
          el("label", { class: "small", for: "soft" }, soft, " comfort limits too")))),
    el("div", { class: "lower" }, jobCard, boxCard, el("div", { class: "stack" }, envelopeCard, stopsCard)));
  drawRuns();

  // The stream.
  let redraw = true;
  live.changed = (kind) => { if (kind !== "sample") redraw = true; };
  live.start(id, signal, up);

  // What is polled: the robot's own word, its job, its commands, and more rarely its box.
  let rounds = 0;
  let timer = null;
  const look = async () => {
    clearTimeout(timer);
    try {
      await ask();
      fail(null);
    } catch (error) {
      if (error.status === 404) { unknown(); return; }
      if (!signal.aborted) fail(error);
    }
    if (!signal.aborted) timer = setTimeout(look, document.hidden ? 5 * EVERY_MS : EVERY_MS);
  };

  async function ask() {
    state.robot = await get(path(id), signal);
    const health = state.robot.health;
    if (health && health.policy_hash !== state.policyHash) {
      const policy = await find(`${path(id)}/policy`, signal);
      if (policy?.in_force) state.policyHash = policy.hash;
      map.setPolicy(policy?.document ?? null);
      describe(policy);
    }
    state.commands = (await get(`${path(id)}/commands`, signal)).commands;
    await askJob(health?.job);
    if (rounds % BOX_EVERY === 0) drawBox(await get(`${path(id)}/box`, signal));
    rounds += 1;
    drawPills();
    drawStops();
    drawPlan();
  }

  async function askJob(named) {
    const known = state.job && !isOver(state.job.state) ? state.job.id : null;
    const wanted = named ?? known ?? (await get("/v1/jobs", signal)).jobs.find((job) => job.robot === id)?.id;
    if (!wanted) return;
    const job = await find(`/v1/jobs/${encodeURIComponent(wanted)}`, signal);
    if (!job) return;
    if (job.id !== state.job?.id) state.events = [];
    const head = state.job?.head;
    state.job = job;
    if (job.head === head) return;
    state.events = state.events.concat(await factsOf(job.id, state.events.at(-1)?.seq ?? 0, signal));
    timeline.draw(state.events);
    put(jobCard, el("h2", {}, isOver(job.state) ? "Last job" : "Job"),
      el("p", { class: "row" }, el("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, el("code", {}, short(job.id, 16))),
        pill(phrase(job.state), stateTone(job.state)), el("span", { class: "grow" }, job.stage ?? ""),
        isOver(job.state) ? null : el("button", { type: "button", class: "plain", onclick: () => cancel(job, look) }, "Cancel…")),
      el("progress", { max: 1, value: job.progress, "aria-label": "progress of the job" }),
      el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Timeline of the job" }, timeline.node));
  }

  function unknown() {
    put(root, el("h1", {}, id), empty("The cloud knows no such robot.", "The fleet has those that are enrolled."), el("p", {}, el("a", { href: "#/fleet" }, "Fleet")));
  }

  function describe(policy) {
    const masks = policy?.document?.masks?.length ?? 0;
    put(caption, policy
      ? [`Zones of policy ${policy.document.id}, version ${policy.document.version}, `, el("code", { title: policy.hash }, short(policy.hash)),
        policy.in_force ? ", in force." : ", which is not the one in force; the robot reports that at its next start.",
        masks ? ` ${masks} ${masks === 1 ? "zone is" : "zones are"} drawn as a grid on the robot, and not shown here.` : ""]
      : "This robot has not reported its policy, so no zones are drawn; it does at its next start.");
    if (policy) drawEnvelope(policy.document);
  }

  function drawEnvelope({ limits, zones, privacy, stop: profile, vehicle }) {
    const kinds = (type) => (zones ?? []).filter((zone) => zone.rule.type === type).length;
    const few = (value, unit) => (typeof value === "number" ? `${number(value)} ${unit}` : null);
    put(envelopeCard, el("h2", {}, "Envelope"), facts([
      ["forward", few(limits?.max_linear_mps, "m/s")], ["backward", few(limits?.max_reverse_mps, "m/s")],
      ["turning", few(limits?.max_angular_radps, "rad/s")], ["speeding up", few(limits?.max_linear_accel_mps2, "m/s²")],
      ["sure to brake by", few(limits?.max_decel_mps2, "m/s²")], ["a stop is", phrase(profile)],
      ["vehicle", phrase(vehicle?.type ?? "differential")],
      ["zones", `${kinds("keep_in")} to stay in, ${kinds("keep_out")} to keep out of, ${kinds("speed")} slower, ${privacy?.length ?? 0} private`],
    ]));
  }

  function drawPills() {
    const { online, health, last_seen: seen } = state.robot;
    put(pills, pill(online ? "connected" : `away, last seen ${ago(seen)}`, online ? "good" : "idle"),
      health?.mode ? pill(health.mode, health.mode === "automatic" ? "idle" : "busy") : null,
      health?.vetoed ? pill("veto", "bad") : null);
  }

  /** A latched stop, by the newest sample where there is one; health comes more rarely. */
  function stopped() {
    const sample = live.samples.at(-1);
    if (sample && state.robot?.online !== false) return sample.source === "emergency_stop" || live.acts("estop");
    return state.robot?.health?.emergency_stop ?? false;
  }

  function drawHeld() {
    const why = [];
    if (stopped()) why.push("Emergency stop in force: the robot stands until somebody who may releases it.");
    if (live.acts("veto") || state.robot?.health?.vetoed) why.push("A person's veto is in force.");
    set(held, { hidden: why.length === 0 });
    say(held, why.join(" "));
    set(release, { hidden: !stopped() });
  }

  function askStop() {
    const away = state.robot?.online === false;
    confirm({
      title: `Stop ${id} now?`,
      text: away
        ? `${id} is not connected. The stop reaches it only if it connects within 30 s; use the stop button at the robot.`
        : "It comes to rest by its owner's stop profile, and stands until somebody releases the stop.",
      yes: "Stop it", tone: "stop", field: { label: "Why, for the record", value: "stopped from the console" },
      act: (reason) => send({ type: "emergency_stop", reason: reason || "stopped from the console" }, "The stop"),
    });
  }

  function askRelease() {
    confirm({
      title: "Release the stop?",
      text: "Look that the cause is gone. The robot may move again as soon as somebody who may asks it to.",
      yes: "Release", act: () => send({ type: "release_stop" }, "The release"),
    });
  }

  /** Sends a command, and says what became of it. */
  async function send(ask, what) {
    try {
      const { id: command } = await post(`${path(id)}/commands`, { ask });
      for (let at = 0; at < 60 && !signal.aborted; at += 1) {
        const { state: fate, reason } = await get(`${path(id)}/commands/${encodeURIComponent(command)}`, signal);
        if (fate === "accepted") { note(`${what} was accepted by ${id}.`, "good"); return look(); }
        if (fate === "refused") { note(`${id} refused: ${reason ?? "no reason given"}`); return look(); }
        if (fate === "expired") { note(`${what} expired before ${id} took it.`); return look(); }
        await new Promise((done) => setTimeout(done, 200 + 20 * at));
      }
    } catch (error) {
      if (!signal.aborted) note(error.message);
    }
  }

  function drawPlan() {
    const points = [];
    const { job } = state;
    if (job && !isOver(job.state)) {
      const at = job.plan.steps.findIndex((step) => step.id === job.stage);
      job.plan.steps.forEach((step, place) => {
        for (const value of Object.values(step.params ?? {})) {
          for (const point of Array.isArray(value) ? value : []) {
            if (typeof point.x !== "number") continue;
            const done = at >= 0 && place < at;
            // A place that it comes to again keeps its number.
            const again = points.find(({ x, y }) => x === point.x && y === point.y);
            if (again) again.done &&= done;
            else points.push({ x: point.x, y: point.y, name: String(points.length + 1), title: `${step.id}, point ${points.length + 1}`, done });
          }
        }
      });
    }
    const goal = state.commands.find(({ ask, state: fate, issued_at: issued }) =>
      ask.type === "drive_to" && fate === "accepted" && Date.now() < issued + ask.lease_ms + 1000);
    if (goal) points.push({ ...goal.ask.to, name: "✛", goal: true, title: "where an operator sends it" });
    map.setPlan(points);
  }

  function drawStops() {
    const all = live.newest("stop", "command_refused", "sensor_gated", "crash", "gap", "policy_step").slice(0, 6);
    const words = ({ kind, body }) => ({
      stop: ["stopped", body.reason], command_refused: ["refused", body.reason],
      sensor_gated: ["sensors", body.off?.length ? `${body.off.join(", ").replaceAll("_", " ")} off` : "all may be read"],
      crash: ["crash", "the run before ended without order"], gap: ["gap", `${body.dropped} records lost: ${body.reason}`],
      policy_step: ["policy", `${phrase(body.step)}: ${body.reason}`],
    })[kind];
    const list = all.map((record) => {
      const [what, why] = words(record);
      return el("li", {}, el("time", {}, time(record.at.wall)), el("strong", {}, what), el("span", {}, why ?? ""));
    });
    put(stopsCard, el("h2", {}, "Stops and refusals"), list.length ? el("ul", { class: "plainlist" }, list) : empty("None here."));
  }

  function drawBox(box) {
    const checkpoint = box.checkpoint;
    if (box.journal === null) return;
    const full = box.bytes !== null && box.bound_bytes ? box.bytes / box.bound_bytes : null;
    put(boxCard, el("h2", {}, "Black box"), facts([
      ["on the robot", `${count(box.records_on_robot) ?? "–"} records, ${bytes(box.bytes) ?? "size unknown"}`],
      ["of its bound", full === null ? null : el("span", { class: "row" }, el("progress", { max: 1, value: full, "aria-label": "used" }), bytes(box.bound_bytes))],
      ["newest here", el("span", { id: "newest-seq" }, count(Math.max(box.last_seq, live.journal === box.journal ? live.newestSeq : 0)))],
      ["not here", box.missing === 0 ? "none missing" : `${count(box.missing)} under way or pruned`],
      ["checkpoint", checkpoint ? [`${count(checkpoint.size)} records at ${time(checkpoint.at.wall)} `, pill(checkpoint.genuine ? "genuine" : "not genuine", checkpoint.genuine ? "good" : "bad")] : "none here yet"],
      ["gaps", box.gaps.length === 0 ? "none" : el("ul", { class: "plainlist" }, box.gaps.map((gap) => el("li", {}, `record ${gap.seq}: ${gap.what}`)))],
      ["crashes", box.crashes.length === 0 ? "none" : `${box.crashes.length}, the last at ${time(box.crashes[0].at.wall)}`],
      ["journal", el("code", { title: box.journal }, short(box.journal, 14))],
    ]));
  }

  function drawRuns() {
    const runs = live.runs.filter((run) => {
      run.weight ??= weight(run.first.rule);
      return state.soft || run.weight !== "soft";
    });
    if (state.chosen && !runs.includes(state.chosen)) state.chosen = null;
    keep(rows, runs.length === 0
      ? [{ key: `none ${state.soft}`, make: () => el("li", {}, empty("Nothing was held back, as far as came here.", state.soft ? null : "Comfort limits (how hard it speeds up) are left out.")), fill: () => {} }]
      : runs.slice(0, SHOWN).map((run) => ({
        key: `${run.journal} ${run.seq}`,
        make: () => el("li", {}, el("button", { type: "button", onclick: () => { state.chosen = state.chosen === run ? null : run; drawRuns(); } })),
        fill: (row) => fillRun(row.firstElementChild, run),
      })));
  }

  function fillRun(button, run) {
    const { first, last } = run;
    const lasted = run.ended === null ? "acts now" : `${number((run.ended - run.began) / 1000, 1)} s`;
    set(button, { class: `run ${run.weight}${run.ended === null ? " open" : ""}`, "aria-pressed": String(state.chosen === run) });
    put(button,
      el("span", { class: "when" }, time(run.wall), el("small", {}, lasted)),
      el("span", { class: "why" }, el("strong", {}, last.zone ?? first.rule), ` ${rule(first.rule)}`,
        el("small", {}, `${first.rule}${limit(first) ? `, limit ${limit(first)}` : ""}, for the ${phrase(first.source)}`)),
      el("span", { class: "pair" }, el("span", { class: "asked" }, `asked ${setpoint(first.asked)}`), el("span", { class: "allowed" }, `let through ${setpoint(last.allowed)}`)));
  }

  const value = Object.fromEntries(["speed", "asked", "allowed", "limit", "charge", "doing", "place", "behind"].map((name) => [name, el("span", { id: `now-${name}` }, "–")]));
  put(now, facts([["speed", value.speed], ["asked", value.asked], ["let through", value.allowed], ["limit here", value.limit],
    ["in charge", value.doing], ["place", value.place], ["battery", value.charge], ["shown", value.behind]]));

  function drawNow(sample) {
    say(value.speed, `${number(sample.twist.linear)} m/s, ${number(sample.twist.angular)} rad/s`);
    say(value.asked, setpoint(sample.asked));
    say(value.allowed, setpoint(sample.allowed));
    say(value.limit, `${number(sample.limit_mps)} m/s`);
    const step = sample.source === "skill" ? live.newest("skill_step")[0]?.body.request : null;
    say(value.doing, step ? `${phrase(sample.source)}: ${step}` : phrase(sample.source));
    say(value.place, `${number(sample.pose.x)} m, ${number(sample.pose.y)} m, ${number((sample.pose.yaw * 180) / Math.PI, 0)}°`);
    say(value.charge, typeof sample.battery === "number" ? `${Math.round(sample.battery * 100)} %` : "–");
    const behind = (Date.now() - live.samples.at(-1).wall) / 1000;
    say(value.behind, behind > 5 ? `as it was ${ago(live.samples.at(-1).wall)}` : "1 s after it happened");
    const gate = Math.abs(Math.hypot(sample.asked.linear ?? 0, sample.asked.angular ?? 0) - Math.hypot(sample.allowed.linear ?? 0, sample.allowed.angular ?? 0)) > 0.03;
    map.node.classList.toggle("clamped", gate);
  }

  let drawnAt = 0;
  let slow = 0;
  function frame(at) {
    if (signal.aborted) return;
    requestAnimationFrame(frame);
    if (at - drawnAt < 33) return;
    drawnAt = at;
    if (redraw) { redraw = false; drawRuns(); drawStops(); drawHeld(); }
    const sample = live.now();
    if (!sample) return;
    const past = live.past();
    map.draw(sample, past);
    if (at - slow > 200) {
      slow = at;
      drawNow(sample);
      drawHeld();
      strip.draw(past, live.playhead());
      map.drawRuns(live.runs.filter((run) => state.soft || run.weight !== "soft"), state.chosen, sample.pose);
    }
  }
  requestAnimationFrame(frame);
  look();
  signal.addEventListener("abort", () => { clearTimeout(timer); map.end(); strip.end(); });
}

function legend() {
  return el("ul", { class: "legend" }, [["in", "stay inside"], ["out", "keep out"], ["speed", "slower"], ["privacy", "sensors off"],
    ["asked", "asked, in a second"], ["allowed", "let through"]].map(([kind, words]) => el("li", { class: kind }, words)));
}

function key() {
  return el("ul", { class: "legend" }, [["limit", "limit here"], ["asked", "asked"], ["allowed", "let through"], ["measured", "measured"]].map(([kind, words]) => el("li", { class: kind }, words)));
}
