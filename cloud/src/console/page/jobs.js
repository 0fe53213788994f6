// Jobs: the list, one with its timeline, making one from a plan, cancelling.

import { find, follow, get, post } from "/console/api.js";
import { card, confirm, el, empty, facts, keep, note, pill, put, say, set } from "/console/dom.js";
import { Timeline } from "/console/timeline.js";
import { ago, isOver, number, phrase, short, stateTone, time } from "/console/words.js";

const EVERY_MS = 2500;

/** Calls `look` now and then until the view is left. */
function often(signal, look, fail) {
  let timer = null;
  const again = async () => {
    clearTimeout(timer);
    try {
      await look();
      fail(null);
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
    if (!signal.aborted) timer = setTimeout(again, document.hidden ? 4 * EVERY_MS : EVERY_MS);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  again();
  return again;
}

export function jobs({ root, signal, fail }) {
  const list = el("div", {});
  put(root, el("div", { class: "head" }, el("h1", {}, "Jobs"),
    el("button", { type: "button", onclick: () => make() }, "New job from a plan…")), list);
  const body = el("tbody", {});
  let drawn = "";
  often(signal, async () => {
    const { jobs } = await get("/v1/jobs", signal);
    const state = JSON.stringify(jobs.map((job) => [job.id, job.head, Math.floor(Date.now() / 10000)]));
    if (state === drawn) return;
    drawn = state;
    if (jobs.length === 0) {
      put(list, empty("No job yet.", "Make one from a plan file here, or with “nooterra-cloud job run FILE”."));
      return;
    }
    if (!body.isConnected) put(list, table(body));
    keep(body, jobs.map((job) => ({ key: job.id, make: () => row(job), fill: (node) => fillRow(node, job) })));
  }, fail);
}

function table(body) {
  return el("div", { class: "card wide" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Job", "Robot", "State", "Progress", "For", "Changed"].map((name) => el("th", { scope: "col" }, name)))),
    body));
}

/** What never changes of a job's row; `fillRow` says the rest. */
function row(job) {
  return el("tr", {},
    el("td", { "data-name": "Job" }, el("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, el("code", {}, short(job.id, 18)))),
    el("td", { "data-name": "Robot" }, el("a", { href: `#/robots/${encodeURIComponent(job.robot)}` }, job.robot)),
    el("td", { "data-name": "State" }),
    el("td", { "data-name": "Progress" }, el("progress", { max: 1, value: 0, "aria-label": "progress" })),
    el("td", { "data-name": "For" }, job.requester),
    el("td", { "data-name": "Changed" }));
}

function fillRow(node, job) {
  const [, , state, progress, , changed] = node.children;
  put(state, pill(phrase(job.state), stateTone(job.state)), job.stage ? ` ${job.stage}` : "");
  set(progress.firstElementChild, { value: job.progress });
  say(changed, ago(job.updated_at));
}

/** Asks for a plan: `{ "robot": …, "plan": { "steps": […] } }`, as the command line takes it. */
function make() {
  const input = el("textarea", { id: "plan", rows: 12, spellcheck: "false", required: true, "aria-describedby": "plan-help" });
  const file = el("input", { type: "file", accept: ".json,application/json", "aria-label": "Plan file", onchange: async () => {
    const chosen = file.files[0];
    if (!chosen) return;
    if (chosen.size > 200 * 1024) { wrong.textContent = "This file is larger than a plan can be (200 KiB)."; return; }
    input.value = await chosen.text();
  } });
  const wrong = el("p", { class: "bad", role: "alert" });
  const go = el("button", { type: "submit" }, "Make and dispatch");
  const dialog = el("dialog", { class: "large", "aria-labelledby": "make-title" }, el("form", { onsubmit: async (event) => {
    event.preventDefault();
    let body;
    try { body = JSON.parse(input.value); } catch (error) { wrong.textContent = `This is no JSON: ${error.message}`; return; }
    go.disabled = true;
    try {
      let made = await post("/v1/jobs", body);
      for (const step of ["quote", "book", "dispatch"]) made = await post(`/v1/jobs/${encodeURIComponent(made.id)}/${step}`, {}, made.head);
      dialog.close();
      location.hash = `#/jobs/${encodeURIComponent(made.id)}`;
    } catch (error) {
      wrong.textContent = error.message;
      go.disabled = false;
    }
  } },
  el("h2", { id: "make-title" }, "New job from a plan"),
  el("p", { class: "quiet", id: "plan-help" }, "A file as “nooterra-cloud job run” takes it: ", el("code", {}, '{ "robot": "…", "plan": { "steps": […] } }'), ". It is quoted at no price, booked, and sent to its robot, which may take it for ten minutes."),
  el("p", {}, file), el("label", { for: "plan" }, "Plan"), input, wrong,
  el("div", { class: "row end" }, el("button", { type: "button", class: "plain", onclick: () => dialog.close() }, "Not now"), go)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** Asks whether a job is to end, and ends it. */
export function cancel(job, done) {
  confirm({
    title: "Cancel this job?",
    text: "A robot that is under way comes to a safe rest first. What was done stays in the job's stream.",
    yes: "Cancel the job", tone: "danger", field: { label: "Why, for the record", value: "cancelled from the console" },
    act: (reason) => post(`/v1/jobs/${encodeURIComponent(job.id)}/cancel`, reason ? { reason } : {})
      .then(done, (error) => note(error.message)),
  });
}

/** All facts of a job after `after`, page by page. */
export async function factsOf(id, after, signal) {
  const all = [];
  for (;;) {
    const from = all.at(-1)?.seq ?? after;
    const { events } = await get(`/v1/jobs/${encodeURIComponent(id)}/events?after=${from}`, signal);
    all.push(...events);
    if (events.length < 1000) return all;
  }
}

export function job({ root, id, signal, fail, live }) {
  const about = card("What and where", {});
  const steps = card("Plan", {});
  const timeline = new Timeline();
  const line = card("Timeline", { class: "tall" }, timeline.node);
  const title = el("h1", {}, "Job ", el("code", {}, short(id, 18)));
  const act = el("span", { class: "row" });
  put(root, el("div", { class: "head" }, title, act), el("div", { class: "columns" }, line, el("div", { class: "stack" }, about, steps)));
  let events = [];
  let drawn = null;
  const look = often(signal, async () => {
    const job = await find(`/v1/jobs/${encodeURIComponent(id)}`, signal);
    if (!job) {
      put(root, el("h1", {}, "Job"), empty("The cloud knows no such job.", "The list of jobs has those that it knows."), el("p", {}, el("a", { href: "#/jobs" }, "All jobs")));
      return;
    }
    events = events.concat(await factsOf(id, events.at(-1)?.seq ?? 0, signal));
    timeline.draw(events);
    if (drawn === job.head) return;
    drawn = job.head;
    put(act, pill(phrase(job.state), stateTone(job.state)),
      isOver(job.state) ? null : el("button", { type: "button", class: "danger", onclick: () => cancel(job, look) }, "Cancel…"));
    put(about, el("h2", {}, "What and where"), facts([
      ["robot", el("a", { href: `#/robots/${encodeURIComponent(job.robot)}` }, job.robot)],
      ["requester", job.requester], ["made", time(job.created_at)], ["changed", time(job.updated_at)],
      ["progress", el("progress", { max: 1, value: job.progress, "aria-label": "progress" })],
      ["step under way", job.stage], ["facts", job.events],
      ["late facts", events.filter((event) => event.late).length],
      ["head", el("code", { title: job.head }, short(job.head))],
    ]));
    put(steps, el("h2", {}, "Plan"), el("ol", { class: "steps" }, job.plan.steps.map((step) => el("li", { "aria-current": step.id === job.stage ? "step" : null },
      el("strong", {}, step.id), ` ${step.skill.id} ${step.skill.version}, at most ${step.timeout_s} s`,
      el("p", { class: "quiet small" }, params(step.params))))));
  }, fail);
  // What was is read above; from here on each new fact is a reason to look again.
  follow(`/v1/events/stream?stream=${encodeURIComponent(`job.${id}`)}`, { signal, state: live, on: ({ data }) => {
    if (data.seq > (events.at(-1)?.seq ?? 0)) look();
  } });
}

const UNITS = { m: "m", mps: "m/s", rad: "rad", radps: "rad/s", s: "s" };

function params(all) {
  return Object.entries(all ?? {}).map(([name, value]) => {
    const [, plain, unit] = name.match(/^(.*)_(m|mps|rad|radps|s)$/) ?? [null, name, ""];
    const shown = Array.isArray(value) ? `${value.length} ${value.length === 1 ? "point" : "points"}` : typeof value === "number" ? number(value) : String(value);
    return `${plain.replaceAll("_", " ")} ${shown} ${UNITS[unit] ?? ""}`.trim();
  }).join(", ");
}
