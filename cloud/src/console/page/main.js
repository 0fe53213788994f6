// Who is signed in, which view is shown, and what is said when something is wrong.

import { get, session } from "/console/api.js";
import { el, put, say } from "/console/dom.js";
import { fleet } from "/console/fleet.js";
import { job, jobs } from "/console/jobs.js";
import { robot } from "/console/robot.js";
import { skills } from "/console/skills.js";

const root = document.getElementById("view");
const feed = document.getElementById("feed");
const leave = document.getElementById("leave");
const views = document.getElementById("views");

/** Routes: what is after the `#`. */
const ROUTES = [
  [/^#\/fleet$/, fleet, "Fleet"],
  [/^#\/robots\/([^/]+)$/, robot, "Robot"],
  [/^#\/jobs$/, jobs, "Jobs"],
  [/^#\/jobs\/([^/]+)$/, job, "Job"],
  [/^#\/skills$/, skills, "Skills"],
];

let current = new AbortController();

/** A token is being tried: that it is refused is no news. */
let trying = false;

function show() {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  document.getElementById("notes").replaceChildren();
  feed.className = "feed";
  say(feed, "");
  if (!session.open) { signIn(); return; }
  leave.hidden = false;
  const found = ROUTES.map(([at, view, title]) => [location.hash.match(at), view, title]).find(([match]) => match);
  if (!found) { location.replace("#/fleet"); return; }
  const [match, view, title] = found;
  const id = match[1] === undefined ? undefined : decodeURIComponent(match[1]);
  document.title = `${id ?? title} · Nooterra`;
  put(views, [["#/fleet", "Fleet"], ["#/jobs", "Jobs"], ["#/skills", "Skills"]].map(([href, name]) => {
    const here = location.hash.startsWith(href) || (href === "#/fleet" && location.hash.startsWith("#/robots"));
    return el("a", { href, "aria-current": here ? "page" : null }, name);
  }));
  root.className = "view";
  view({ root, id, signal, fail: (error) => complain(error), live });
}

/** Whether what is shown is what happens. */
function live(state, error) {
  feed.className = `feed ${state ? "up" : "down"}`;
  say(feed, state ? "live" : error?.status === 404 ? "" : "connecting…");
}

function complain(error) {
  if (!error) { if (feed.classList.contains("error")) { feed.className = "feed"; say(feed, ""); } return; }
  if (error.status === 401) return;
  feed.className = "feed error";
  say(feed, error.message);
}

function signIn(refused) {
  leave.hidden = true;
  put(views);
  document.title = "Nooterra console";
  root.className = "view signin";
  feed.className = "feed";
  const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true, spellcheck: "false", "aria-describedby": "token-help" });
  const wrong = el("p", { class: "bad", role: "alert" }, refused ?? "");
  const button = el("button", { type: "submit" }, "Sign in");
  const form = el("form", { class: "card", onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    trying = true;
    session.begin(input.value.trim());
    try {
      await get("/v1/robots");
      trying = false;
      if (location.hash.startsWith("#/")) show();
      else location.replace("#/fleet");
    } catch (error) {
      session.end();
      button.disabled = false;
      say(wrong, error.status === 401 ? "This is not the token of this cloud." : error.message);
      input.select();
    } finally {
      trying = false;
    }
  } },
  el("h1", {}, "What are your robots doing?"),
  el("p", {}, "Sign in to see the fleet, a robot live on its map, and every time its envelope held something back."),
  el("label", { for: "token" }, "Token"), input,
  el("p", { class: "quiet", id: "token-help" }, "The one line of ", el("code", {}, "admin_token"), " in the cloud's data directory. It stays in this tab, and is gone when the tab is closed."),
  wrong, button);
  put(root, form);
  input.focus();
}

session.whenOver(() => {
  if (trying || !session.open) return;
  session.end();
  current.abort();
  signIn("The cloud no longer takes this token. Sign in with its new one.");
});
leave.addEventListener("click", () => { session.end(); show(); });
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); root.focus(); });
window.addEventListener("hashchange", () => { show(); root.focus({ preventScroll: true }); window.scrollTo(0, 0); });
show();
