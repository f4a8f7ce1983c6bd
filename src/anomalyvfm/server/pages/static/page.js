// On every page: language, light or dark, signing out, local times, and the helpers other scripts use.

export const csrf = document.querySelector('meta[name="csrf-token"]').content;

const root = document.documentElement;
const language = root.lang;
const { words, problems } = JSON.parse(document.getElementById("words").textContent);

/** A text in the page's language, with {name} in it replaced by the value of that name. */
export function _(text, values = {}) {
  return (words[text] || text).replace(/\{(\w+)\}/g, (braced, name) => (name in values ? values[name] : braced));
}

const whole = new Intl.NumberFormat(language);
const hundredths = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2, useGrouping: false });

/** A count as the server writes it. */
export const number = (value) => whole.format(value);

/** A score as the server writes it. */
export const score = (value) => hundredths.format(value).replace("-", "\u2212");

/** A share as percent, with this many digits after the point. */
export function percent(share, digits = 0) {
  const form = { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat(language, form).format(share);
}

export class Refused extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Calls the station; resolves to the answer's JSON (null for none), rejects with Refused. */
export async function call(method, url, body) {
  const json = body !== undefined && !(body instanceof Blob);
  const headers = { Accept: "application/json" };
  if (csrf) headers["X-CSRF-Token"] = csrf;
  if (json) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(url, { method, headers, body: json ? JSON.stringify(body) : body });
  } catch {
    throw new Refused(0, _("The station does not answer. Check the network and try again."));
  }
  if (answer.status === 204) return null;
  const content = await answer.json().catch(() => null);
  if (answer.ok) return content;
  if (answer.status === 401 && location.pathname !== "/login") {
    location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
  }
  const said = content && content.detail;
  // Details are English: in other languages they follow what the status means.
  const meant = language.startsWith("en") && said ? "" : problems[answer.status] || _("Error {status}", { status: answer.status });
  const detail = [meant, said].filter(Boolean).join(": ");
  throw new Refused(answer.status, detail, Number(answer.headers.get("Retry-After")) || 0);
}

const problem = document.getElementById("problem");

/** Says what went wrong where everyone sees and hears it. */
export function say(text) {
  problem.querySelector("p").textContent = text;
  problem.hidden = false;
}

problem.querySelector("button").addEventListener("click", () => { problem.hidden = true; });

/** Whether a key press is a command: not while typing, and not with Ctrl or the like. */
export function isCommand(event) {
  const field = event.target.closest("input:not([type=range], [type=checkbox]), select, textarea");
  return !field && !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat;
}

const timeZone = root.dataset.timeZone; // the site's, wherever it is looked at from
const fields = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone };
const recent = new Intl.DateTimeFormat(language, fields);
const older = new Intl.DateTimeFormat(language, { ...fields, year: "numeric" });
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone });
const year = new Intl.DateTimeFormat("en", { year: "numeric", timeZone });

/** Makes a <time> of the server's show the site's time; the year is left out while it is this one. */
export function localize(element) {
  const at = new Date(element.dateTime);
  element.textContent = (year.format(at) === year.format(new Date()) ? recent : older).format(at);
}

document.querySelectorAll("time").forEach(localize);
document.querySelectorAll("text[data-time]").forEach((text) => {
  const at = new Date(text.dataset.time);
  if (text.textContent.includes(":")) {
    text.textContent = clock.format(at);
  }
});

document.getElementById("language").addEventListener("change", (event) => {
  document.cookie = "language=" + event.target.value + "; Path=/; Max-Age=31536000; SameSite=Strict";
  location.reload();
});

document.getElementById("theme").addEventListener("click", () => {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
  document.cookie = "theme=" + root.dataset.theme + "; Path=/; Max-Age=31536000; SameSite=Strict";
});

const out = document.getElementById("sign-out");
if (out) {
  out.addEventListener("click", async () => {
    try {
      await call("DELETE", "/api/session");
      sessionStorage.clear();
      location.assign("/login");
    } catch (refused) {
      say(refused.message);
    }
  });
}

document.querySelectorAll("form[data-autosubmit] select").forEach((select) => {
  select.addEventListener("change", () => select.form.requestSubmit());
});
