// All robots, and how each is.

import { get } from "/console/api.js";
import { el, empty, keep, pill, put, set } from "/console/dom.js";
import { ago, isOver, number } from "/console/words.js";

const EVERY_MS = 2000;

export function fleet({ root, signal, fail }) {
  const list = el("div", { class: "robots" });
  const sum = el("p", { class: "quiet" });
  put(root, el("div", { class: "head" }, el("h1", {}, "Fleet"), sum), list);
  const look = async () => {
    try {
      const [{ robots }, { jobs }] = await Promise.all([get("/v1/robots", signal), get("/v1/jobs", signal)]);
      draw(robots, jobs);
      fail(null);
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
    if (!signal.aborted) timer = setTimeout(look, document.hidden ? 5 * EVERY_MS : EVERY_MS);
  };
  let timer = null;
  signal.addEventListener("abort", () => clearTimeout(timer));

  function draw(robots, jobs) {
    const online = robots.filter((robot) => robot.online).length;
    sum.textContent = robots.length ? `${online} of ${robots.length} connected` : "";
    keep(list, robots.length
      ? robots.map((robot) => ({ key: robot.id, make: () => tile(robot.id), fill: (node) => fill(node, robot, jobs) }))
      : [{ key: "", make: () => empty(
        "No robot is enrolled yet.",
        "Make a claim code with “nooterra-cloud claim ROBOT”, and give it to “nooterra-agent enroll” on the robot."), fill: () => {} }]);
  }
  look();
}

function tile(id) {
  return el("a", { href: `#/robots/${encodeURIComponent(id)}`, "data-robot": id });
}

function fill(node, robot, jobs) {
  const health = robot.health ?? {};
  const job = jobs.find((job) => job.id === health.job) ?? jobs.find((job) => job.robot === robot.id && !isOver(job.state) && job.state !== "CREATED");
  const charge = health.battery?.fraction;
  set(node, { class: `robot ${robot.online ? "" : "away"}` });
  put(node,
    el("span", { class: "row" }, el("strong", {}, robot.id),
      pill(robot.online ? "connected" : "away", robot.online ? "good" : "idle"),
      health.emergency_stop ? pill("emergency stop", "bad") : null,
      health.vetoed ? pill("veto", "bad") : null),
    el("span", { class: "what" }, job ? `${job.state.toLowerCase().replaceAll("_", " ")}${job.stage ? `: ${job.stage}` : ""}` : robot.online ? "no job" : "not connected"),
    job ? el("progress", { max: 1, value: job.progress, "aria-label": `job ${job.id}` }) : el("span", { class: "noprogress" }),
    el("span", { class: "cells" },
      cell("battery", typeof charge === "number" ? `${Math.round(charge * 100)} %${health.battery.charging ? ", charging" : ""}` : "–"),
      cell("mode", health.mode ?? "–"),
      cell("place", health.pose ? `${number(health.pose.x, 1)}, ${number(health.pose.y, 1)}` : "–"),
      cell("last seen", ago(robot.last_seen)),
      cell("policy", health.policy ?? "–"),
      cell("key in", health.key_store ?? "–")));
}

function cell(name, value) {
  return el("span", { class: "cell" }, el("small", {}, name), el("span", {}, value));
}

