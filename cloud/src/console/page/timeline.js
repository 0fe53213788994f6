// A job's timeline: facts with their times and signers, and whether their chain holds.

import { el, empty, pill, put } from "/console/dom.js";
import { count, number, phrase, short, time } from "/console/words.js";

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
const hex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

/**
 * Counts how many facts, from the first on, are linked as they say: each hash is SHA-256 over the
 * hash before and the signed bytes. The signatures themselves the cloud checked when they came.
 */
export async function linked(events) {
  let before = "0".repeat(64);
  for (const [at, event] of events.entries()) {
    const signed = bytesOf(event.signed);
    const whole = new Uint8Array(32 + signed.length);
    whole.set(unhex(event.prev_hash), 0);
    whole.set(signed, 32);
    const hash = hex(await crypto.subtle.digest("SHA-256", whole));
    if (event.prev_hash !== before || hash !== event.hash || event.seq !== at + 1) return at;
    before = event.hash;
  }
  return events.length;
}

/** What a fact says, in one phrase. */
function payload(event) {
  const said = event.payload ?? {};
  switch (event.type) {
    case "HEARTBEAT": return `${Math.round((said.progress ?? 0) * 100)} %${said.stage ? `, ${said.stage}` : ""}${said.assist_requested ? ", asks for an operator" : ""}`;
    case "CHECKPOINT_REACHED": return [said.name, said.step].filter(Boolean).join(", in ");
    case "SKILL_USED": case "SKILL_LICENSED": return [said.skill?.id ?? said.skill ?? said.id, said.skill?.version ?? said.version].filter(Boolean).join(" ");
    case "EVIDENCE_CAPTURED": return `${said.name ?? ""}, ${said.media_type ?? ""}`;
    case "QUOTE_PROPOSED": return said.amount_minor ? `${number(said.amount_minor / 100)} ${said.currency}` : "";
    case "JOB_CREATED": return `${said.plan?.steps?.length ?? "?"} steps for ${said.robot ?? "?"}`;
    default: return said.reason ?? "";
  }
}

const TONES = {
  EXECUTION_COMPLETED: "good", SETTLED: "good", EXECUTION_ABORTED: "bad", CANCELLED: "bad",
  EXECUTION_STALLED: "bad", INCIDENT_DETECTED: "bad", ACCESS_REVOKED: "bad",
  APPROVAL_GRANTED: "good", APPROVAL_REVOKED: "bad", APPROVAL_EXPIRED: "bad", HEARTBEAT: "faint",
};

/** The facts, oldest first unless asked otherwise; heartbeats in a row as one line. */
export class Timeline {
  constructor({ newestFirst = false } = {}) {
    this.newestFirst = newestFirst;
    this.list = el("ol", { class: "timeline" });
    this.proof = el("p", { class: "quiet", role: "status" });
    this.node = el("div", {}, this.proof, this.list);
    this.drawn = -1;
  }

  draw(events) {
    if (events.length === this.drawn) return;
    this.drawn = events.length;
    if (events.length === 0) { put(this.list, empty("No fact yet.")); return; }
    const lines = [];
    for (const event of events) {
      const last = lines.at(-1);
      if (event.type === "HEARTBEAT" && !event.late && last?.event.type === "HEARTBEAT") {
        last.event = event;
        last.times += 1;
      } else lines.push({ event, times: 1 });
    }
    const first = events[0].at.wall;
    if (this.newestFirst) lines.reverse();
    put(this.list, lines.map(({ event, times }) => el("li", { class: TONES[event.type] ?? "" },
      el("time", { datetime: new Date(event.at.wall).toISOString(), title: `received ${time(event.received_at)}` },
        time(event.at.wall), el("small", {}, `+${number((event.at.wall - first) / 1000, 1)} s`)),
      el("div", {},
        el("p", {}, el("strong", {}, phrase(event.type)), times > 1 ? ` ×${times}` : "",
          event.late ? [" ", pill("late", "bad", { title: "it came when the job's state could no longer take it; it is kept beside the state" })] : null),
        payload(event) ? el("p", {}, payload(event)) : null,
        el("p", { class: "quiet small" }, `fact ${event.seq}, signed by ${event.actor.type} ${event.actor.id}, key ${short(event.key_id)}${event.at.trust === "untrusted" ? ", by a clock that was not set" : ""}`)))));
    this.prove(events);
  }

  async prove(events) {
    const drawn = this.drawn;
    let good = -1;
    try { good = await linked(events); } catch { /* told below */ }
    if (drawn !== this.drawn) return;
    const whole = good === events.length;
    this.proof.className = whole ? "good small" : "bad small";
    this.proof.textContent = whole
      ? `${count(good)} facts, each linked to the one before: the chain was checked in this browser.`
      : good < 0 ? "This browser cannot check the chain of the facts."
        : `The chain breaks after fact ${good}: fact ${good + 1} is not what its hash says. Verify it with the robot's black box.`;
  }
}
