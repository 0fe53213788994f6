// What a robot's live stream says, held within bounds: the newest samples and interventions, and
// a playhead that shows samples at the pace at which they were taken.

import { follow } from "/console/api.js";

/** Samples that are kept: three minutes of a robot that moves. */
const SAMPLES = 1800;

/** Runs of interventions, and records of every other kind, that are kept. */
const KEPT = 120;

/** A pause of less than this does not end a run. */
const PAUSE_MS = 500;

/** Samples come in batches, one a second: shown this much later, the next is always there. */
const BEHIND_MS = 1250;

const ms = (record) => record.at.mono / 1e6;

export class Live {
  constructor() {
    this.begin();
    this.changed = () => {};
  }

  /** Forgets everything: the stream begins with the newest again. */
  begin() {
    this.boot = 0;
    this.fastest = null;
    this.others = [];
    this.runs = [];
    this.samples = [];
    this.newestSeq = 0;
    this.journal = null;
  }

  /** Follows until `signal` ends it; `state` hears whether the stream is up. */
  start(robot, signal, state) {
    return follow(`/v1/robots/${encodeURIComponent(robot)}/live`, {
      signal, state, on: (event) => this.take(event),
    });
  }

  take({ kind, data }) {
    if (kind === "start") this.begin();
    else if (kind === "sample") this.sample(data);
    else if (kind === "verdict") this.verdict(data);
    else this.other(data);
    if (data.seq !== undefined) {
      if (data.journal !== this.journal) [this.journal, this.newestSeq] = [data.journal, 0];
      this.newestSeq = Math.max(this.newestSeq, data.seq);
    }
    this.changed(kind);
  }

  sample(record) {
    const at = ms(record);
    const last = this.samples.at(-1);
    if (last && record.boot !== this.boot && Math.abs(record.at.wall - last.wall - (at - last.at)) > 2000) {
      // The machine started anew, and its clock with it.
      [this.samples, this.fastest] = [[], null];
    } else if (last && at <= last.at) return;
    this.boot = record.boot;
    this.samples.push({ at, wall: record.at.wall, seq: record.seq, ...record.body });
    if (this.samples.length > SAMPLES) this.samples.splice(0, this.samples.length - SAMPLES);
    // The least delay that was seen is the way here; what is above it waited for its batch.
    const delay = performance.now() - at;
    // It is forgotten slowly, because the two clocks drift.
    this.fastest = this.fastest === null ? delay : Math.min(delay, this.fastest + 0.5);
  }

  /**
   * A verdict begins, goes on or ends a run: of one rule and one zone, whoever is in charge, as
   * the robot counts them.
   */
  verdict(record) {
    const said = record.body;
    const key = `${record.boot} ${said.rule} ${said.zone ?? ""}`;
    const at = ms(record);
    const open = this.runs.find((run) => run.key === key && (run.ended === null || at - run.ended < PAUSE_MS));
    if (open) {
      if (said.phase === "ended") open.ended = at;
      else [open.last, open.ended, open.seen] = [said, null, performance.now()];
      return;
    }
    if (said.phase === "ended") return;
    this.runs.unshift({
      key, seq: record.seq, journal: record.journal, boot: record.boot, began: at, wall: record.at.wall,
      ended: null, first: said, last: said, seen: performance.now(),
    });
    if (this.runs.length > KEPT) this.runs.length = KEPT;
  }

  other(record) {
    if (record.kind === "boot") {
      // What an earlier start left open did not outlive it.
      for (const run of this.runs) if (run.boot !== record.boot && run.ended === null) run.ended = run.began;
    }
    this.others.unshift(record);
    if (this.others.length > 4 * KEPT) this.others.length = 4 * KEPT;
  }

  /** The newest records of these kinds, newest first. */
  newest(...kinds) {
    return this.others.filter((record) => kinds.includes(record.kind));
  }

  /** Where the playhead stands, in milliseconds of the robot's clock. */
  playhead(now = performance.now()) {
    return this.fastest === null ? null : now - this.fastest - BEHIND_MS;
  }

  /** The robot at the playhead: between two samples, its pose is between theirs. */
  now() {
    const { samples } = this;
    if (samples.length === 0) return null;
    const head = this.playhead();
    const after = samples.findLastIndex((sample) => sample.at <= head);
    if (after < 0) return samples[0];
    const [a, b] = [samples[after], samples[after + 1]];
    if (!b || b.at - a.at > 2500) return a;
    const part = (head - a.at) / (b.at - a.at);
    const mix = (from, to) => from + (to - from) * part;
    let turn = b.pose.yaw - a.pose.yaw;
    turn -= 2 * Math.PI * Math.round(turn / (2 * Math.PI));
    return { ...a, pose: { x: mix(a.pose.x, b.pose.x), y: mix(a.pose.y, b.pose.y), yaw: a.pose.yaw + turn * part } };
  }

  /** The samples that the playhead has passed. */
  past() {
    const head = this.playhead();
    const count = this.samples.findLastIndex((sample) => sample.at <= head) + 1;
    return this.samples.slice(0, Math.max(1, count));
  }

  /** A rule acts now, as far as anybody here knows. */
  acts(rule) {
    return this.runs.some((run) => run.last.rule === rule && run.ended === null && run.boot === this.boot);
  }
}
