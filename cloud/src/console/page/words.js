// Numbers, times and rules in words.

const RULES = {
  "accel.angular": "turning changes too fast",
  "accel.joint": "a joint changes its speed too fast",
  "accel.lateral": "too tight a curve for the speed",
  "accel.linear": "speed changes too fast",
  "accel.vertical": "climbing changes too fast",
  altitude: "braking would end above the ceiling or below the floor",
  "battery.reserve": "the charge is needed to come home",
  "clock.jump": "the clock jumped",
  "command.kind": "a command for another kind of vehicle",
  estop: "an emergency stop is in force",
  grant: "who asks may not move the robot now",
  "input.nan": "a number is no number",
  "input.stale": "pose or speed is too old",
  "input.uncertain": "the place is known too badly",
  "jerk.linear": "speeding up sets in too fast",
  "joint.effort": "a joint is loaded beyond its limit",
  "joint.position": "braking would end beyond a joint's range",
  "journal.behind": "records wait too long for the disk",
  "motion.duration": "it has moved too long without a rest",
  "proximity.separation": "too fast for the distance to what is in the way",
  "proximity.slow": "something is near on the way",
  "proximity.stop": "something is too near on the way",
  "source.stale": "who was in charge fell silent",
  "speed.angular": "turning faster than the policy allows",
  "speed.joint": "a joint is faster than the policy allows",
  "speed.lateral": "sideways faster than the policy allows",
  "speed.linear": "faster than the policy allows",
  "speed.vertical": "climbing faster than the policy allows",
  "steering.angle": "steering too far",
  "steering.rate": "steering too quickly",
  tilt: "leaning too far",
  veto: "a person's veto is in force",
  "zone.closed": "no zone to stay in is open now",
  "zone.keep_in": "braking would end outside",
  "zone.keep_out": "braking would end inside",
  "zone.speed": "faster than the zone allows",
};

/** A rule in words; its own name where a later release has another. */
export const rule = (name) => RULES[name] ?? name;

/** How much a rule weighs to the eye: limits of comfort, the envelope, or a halt. */
export function weight(name) {
  if (/^(accel|jerk|steering\.rate)/.test(name)) return "soft";
  if (/^(estop|veto|input|clock|journal|tilt|zone\.closed|proximity\.stop|source|grant|command)/.test(name)) return "halt";
  return "hard";
}

export function number(value, digits = 2) {
  if (typeof value !== "number") return "no number";
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

/** A setpoint in one phrase: what was asked, or what was let through. */
export function setpoint(command) {
  switch (command?.type) {
    case "drive": return `${number(command.linear)} m/s, ${number(command.angular)} rad/s`;
    case "ackermann": return `${number(command.speed_mps)} m/s, steering ${number(command.steering_rad)} rad`;
    case "omni": return `${number(command.x)} and ${number(command.y)} m/s, ${number(command.angular)} rad/s`;
    case "fly": return `${number(command.x)}, ${number(command.y)}, up ${number(command.z)} m/s`;
    case "joints": return (command.joints ?? []).map((value) => number(value)).join(", ");
    default: return "–";
  }
}

/** The velocity of a setpoint in the map frame, for a robot at `pose`; what turns is left out. */
export function velocity(command, pose) {
  const [ahead, left] = {
    drive: [command.linear, 0], ackermann: [command.speed_mps, 0], omni: [command.x, command.y],
  }[command.type] ?? [0, 0];
  if (command.type === "fly") return { x: command.x ?? 0, y: command.y ?? 0 };
  const [cos, sin] = [Math.cos(pose.yaw), Math.sin(pose.yaw)];
  return { x: (ahead ?? 0) * cos - (left ?? 0) * sin, y: (ahead ?? 0) * sin + (left ?? 0) * cos };
}

export const turning = (command) => command.angular ?? command.yaw_rate ?? 0;

/** In one phrase, what a verdict's limit is. */
export function limit(verdict) {
  const unit = {
    "accel.linear": "m/s²", "accel.lateral": "m/s²", "accel.vertical": "m/s²", "accel.angular": "rad/s²",
    "jerk.linear": "m/s³", "speed.angular": "rad/s", "speed.linear": "m/s", "speed.lateral": "m/s",
    "speed.vertical": "m/s", "zone.speed": "m/s", "zone.keep_in": "m clear", "zone.keep_out": "m clear",
    "proximity.separation": "m/s", "proximity.slow": "m/s", "proximity.stop": "m clear",
    "input.stale": "ms", "journal.behind": "ms", altitude: "m",
  }[verdict.rule];
  return unit ? `${number(verdict.limit)} ${unit}` : "";
}

export function bytes(count) {
  if (typeof count !== "number") return null;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) { count /= 1024; at += 1; }
  return `${count >= 100 || at === 0 ? Math.round(count) : count.toFixed(1)} ${units[at]}`;
}

/** Thousands apart, with thin spaces. */
export function count(value) {
  return typeof value === "number" ? String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f") : null;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });

/** The time of day; with the day where it is not today. */
export function time(ms) {
  if (typeof ms !== "number") return "–";
  const at = new Date(ms);
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock.format(at) : `${day.format(at)}, ${clock.format(at)}`;
}

/** How long ago, in the unit that says it shortest. */
export function ago(ms, now = Date.now()) {
  if (typeof ms !== "number") return "never";
  const s = Math.max(0, Math.round((now - ms) / 1000));
  if (s < 5) return "now";
  if (s < 90) return `${s} s ago`;
  if (s < 5400) return `${Math.round(s / 60)} min ago`;
  if (s < 172800) return `${Math.round(s / 3600)} h ago`;
  return `${Math.round(s / 86400)} d ago`;
}

export const short = (text, length = 12) => (text && text.length > length ? `${text.slice(0, length)}…` : text ?? "–");

/** EXECUTION_STARTED: execution started. */
export const phrase = (name) => String(name ?? "").toLowerCase().replaceAll("_", " ");

/** The colour of a job's state. */
export function stateTone(state) {
  if (["COMPLETED", "SETTLED"].includes(state)) return "good";
  if (["ABORTED", "STALLED", "ABORTING_SAFE_EXIT"].includes(state)) return "bad";
  if (["EN_ROUTE", "ACCESS_GRANTED", "EXECUTING", "ASSISTED"].includes(state)) return "busy";
  return "idle";
}

export const isOver = (state) => ["COMPLETED", "ABORTED", "SETTLED"].includes(state);
