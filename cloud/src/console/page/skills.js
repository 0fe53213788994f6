// Skills: what is published, what was revoked, and how far roll-outs have come.

import { get } from "/console/api.js";
import { card, el, empty, pill, put } from "/console/dom.js";
import { ago, phrase, short } from "/console/words.js";

const EVERY_MS = 5000;

const TONES = { completed: "good", paused: "bad", rolled_back: "bad", rolling: "busy" };

export function skills({ root, signal, fail }) {
  const list = el("div", {});
  put(root, el("div", { class: "head" }, el("h1", {}, "Skills")), list);
  let [timer, drawn] = [null, ""];
  const look = async () => {
    try {
      const [{ rollouts }, { skills, next }] = await Promise.all(
        [get("/v1/rollouts?limit=20", signal), get("/v1/skills?limit=1000", signal)]);
      const state = JSON.stringify([rollouts, skills, Math.floor(Date.now() / 10000)]);
      if (state !== drawn) put(list, draw(rollouts, skills, next));
      drawn = state;
      fail(null);
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
    if (!signal.aborted) timer = setTimeout(look, document.hidden ? 4 * EVERY_MS : EVERY_MS);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  look();
}

function draw(rollouts, skills, next) {
  if (!skills.length) return empty("No skill is published yet.", "Publish one with “nooterra-cloud skill publish BUNDLE”.");
  return [
    rollouts.length ? card("Roll-outs", { class: "wide" }, table(["Skill", "State", "Rings", "Why", "Changed"], rollouts.map(rollout))) : null,
    card("Versions", { class: "wide" }, table(["Skill", "Version", "Developer", "Tier", "State", "Bundle"], skills.toReversed().map(version))),
    next ? el("p", { class: "quiet" }, "These are the first thousand; “nooterra-cloud skill list” has them all.") : null,
  ];
}

function table(head, rows) {
  return el("table", {},
    el("thead", {}, el("tr", {}, head.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, at) => el("td", { "data-name": head[at] }, cell))))));
}

function rollout(it) {
  const { failed, succeeded } = it.heard;
  return [
    `${it.skill} ${it.baseline_version ?? "–"} → ${it.version}`,
    pill(phrase(it.state), TONES[it.state] ?? "idle"),
    it.rings.map((ring) => [pill(ring.name, ring.open ? "good" : "idle"), " "]),
    [it.reason, it.state === "rolling" || it.state === "paused" ? el("span", { class: "quiet" }, ` ${succeeded} completed, ${failed} failed in ${it.ring}`) : null],
    ago(it.updated_at),
  ];
}

function version(skill) {
  const { revoked } = skill;
  return [
    skill.id,
    skill.version,
    [skill.manifest.developer, skill.signed_by ? null : el("span", { class: "quiet" }, " (not proven)")],
    skill.tier,
    revoked ? [pill("revoked", "bad"), ` ${revoked.reason}`] : pill("published", "good"),
    el("code", {}, short(skill.digest, 18)),
  ];
}
