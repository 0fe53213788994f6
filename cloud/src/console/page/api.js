// The API, with the token that the person gave. It stays in this tab's session storage and goes
// nowhere but into the Authorization header.

const KEY = "nooterra.token";

/** A refusal: the cloud's own words, as problem details (RFC 9457) have them. */
export class Refused extends Error {
  constructor(status, problem) {
    super([problem.detail, problem.hint].filter(Boolean).join("; ") || `the cloud answered ${status}`);
    this.status = status;
    this.code = problem.code;
  }
}

let onSignedOut = () => {};

export const session = {
  get open() { return sessionStorage.getItem(KEY) !== null; },
  begin(token) { sessionStorage.setItem(KEY, token); },
  end() { sessionStorage.removeItem(KEY); },
  /** Calls `done` when the cloud no longer takes the token. */
  whenOver(done) { onSignedOut = done; },
};

function headers(more = {}) {
  return { authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ""}`, ...more };
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  const refused = new Refused(response.status, problem);
  if (response.status === 401) onSignedOut(refused);
  return refused;
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "omit", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the cloud does not answer; look whether nooterra-cloud runs and this machine reaches it");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function get(path, signal) {
  return (await send(path, { headers: headers(), signal })).json();
}

/** As `get`; null where the cloud knows no such thing. */
export async function find(path, signal) {
  try {
    return await get(path, signal);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** Posts once, however often the network makes us ask: the key names the request. */
export async function post(path, body, ifMatch) {
  const more = { "content-type": "application/json", "idempotency-key": crypto.randomUUID() };
  if (ifMatch) more["if-match"] = `"${ifMatch}"`;
  const options = { method: "POST", headers: headers(more), body: JSON.stringify(body ?? {}) };
  return (await send(path, options)).json();
}

/**
 * Follows server-sent events until `signal` ends it, and connects again where it broke off.
 * EventSource cannot send a token except in the URL, where logs would keep it.
 */
export async function follow(path, { signal, on, state }) {
  let last = null;
  let pause = 500;
  while (!signal.aborted) {
    try {
      const more = { accept: "text/event-stream" };
      if (last !== null) more["last-event-id"] = last;
      const response = await send(path, { headers: headers(more), signal });
      state(true);
      pause = 500;
      for await (const event of events(response.body)) {
        if (event.id !== undefined) last = event.id;
        on(event);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) return;
      if (error.status === 404) { state(false, error); return; }
    }
    if (signal.aborted) return;
    state(false);
    await new Promise((done) => setTimeout(done, pause * (0.5 + Math.random() / 2)));
    pause = Math.min(pause * 2, 15000);
  }
}

/** The longest event that is taken in, characters; the cloud sends none that is near it. */
const MAX_EVENT = 1 << 20;

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      let end;
      while ((end = rest.indexOf("\n\n")) >= 0) {
        const event = parse(rest.slice(0, end));
        rest = rest.slice(end + 2);
        if (event) yield event;
      }
      if (rest.length > MAX_EVENT) throw new Error("an event without an end");
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const event = { kind: "message" };
  const data = [];
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    if (at <= 0) continue;
    const value = line.slice(at + 1).replace(/^ /, "");
    const name = line.slice(0, at);
    if (name === "id") event.id = value;
    else if (name === "event") event.kind = value;
    else if (name === "data") data.push(value);
  }
  if (data.length === 0) return null;
  event.data = JSON.parse(data.join("\n"));
  return event;
}
