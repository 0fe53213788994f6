// Elements by hand: text is only ever set as text, so that no word of the API becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `el("p", { class: "quiet", onclick: f }, "text", child, null, [more])`. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same within a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  set(node, attributes);
  append(node, children);
  return node;
}

/** Sets attributes; null takes one away, a function listens to the event after `on`. */
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else {
      const text = value === true ? "" : String(value);
      if (node.getAttribute(name) !== text) node.setAttribute(name, text);
    }
  }
  return node;
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

/** Puts `children` in the place of what is in `node`. */
export function put(node, ...children) {
  node.replaceChildren();
  append(node, children);
  return node;
}

/**
 * Makes `items` the children of `node`, in their order, each known by its `key`. What was there
 * stays the same element, however often the list is drawn: a press that begins on it ends on it,
 * and it keeps the focus. `make()` makes an element, `fill(element)` says in it what is new.
 */
export function keep(node, items) {
  const known = new Map([...node.children].map((child) => [child.dataset.key, child]));
  let at = node.firstElementChild;
  for (const { key, make, fill } of items) {
    let child = known.get(key);
    known.delete(key);
    if (!child) {
      child = make();
      child.dataset.key = key;
    }
    fill(child);
    // Before anything is moved: what has gone must not stand between two that stay.
    while (at && at !== child && !items.some((item) => item.key === at.dataset.key)) {
      const gone = at;
      at = at.nextElementSibling;
      gone.remove();
    }
    if (at === child) at = at.nextElementSibling;
    else node.insertBefore(child, at);
  }
  for (const gone of known.values()) gone.remove();
}

/** Says `text` in `node`, and touches nothing where it says so already. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A list of terms: `facts([["battery", "93 %"], ["mode", null]])`; null is shown as a dash. */
export function facts(pairs) {
  return el("dl", { class: "facts" }, pairs.map(([term, value]) => [
    el("dt", {}, term),
    el("dd", {}, value === null || value === undefined ? "–" : value),
  ]));
}

/** A titled part of the page. */
export function card(title, attributes, ...children) {
  const id = `h-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  const named = { "aria-labelledby": id, ...attributes, class: `card ${attributes.class ?? ""}`.trim() };
  return el("section", named, el("h2", { id }, title), ...children);
}

/** What there is to see where there is nothing: what it means, and what to do. */
export function empty(what, todo) {
  return el("div", { class: "empty" }, el("p", {}, what), todo ? el("p", { class: "quiet" }, todo) : null);
}

/** A word with the colour of what it means. */
export function pill(text, tone, attributes = {}) {
  return el("span", { class: `pill ${tone}`, ...attributes }, text);
}

/** Asks before something is done; calls `act` when the answer is yes. */
export function confirm({ title, text, yes, tone, field, act }) {
  const input = field ? el("input", { type: "text", id: "reason", maxlength: 200, value: field.value ?? "" }) : null;
  const no = el("button", { type: "button", class: "plain", onclick: () => dialog.close() }, "Not now");
  const go = el("button", { type: "submit", class: tone ?? "" }, yes);
  const dialog = el("dialog", { "aria-labelledby": "ask-title" },
    el("form", {
      method: "dialog",
      onsubmit: () => act(input ? input.value.trim() : undefined),
    },
    el("h2", { id: "ask-title" }, title), el("p", {}, text),
    field ? el("label", { for: "reason" }, field.label) : null, input,
    el("div", { class: "row end" }, no, go)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  go.focus();
}

/** A line that goes away by itself, or is taken away. */
export function note(text, tone = "bad") {
  const close = el("button", { type: "button", class: "plain", "aria-label": "Close this message" }, "×");
  const line = el("div", { class: `note ${tone}` }, el("p", {}, text), close);
  close.addEventListener("click", () => line.remove());
  const notes = document.getElementById("notes");
  while (notes.children.length > 3) notes.firstChild.remove();
  notes.append(line);
  if (tone === "good") setTimeout(() => line.remove(), 6000);
}
