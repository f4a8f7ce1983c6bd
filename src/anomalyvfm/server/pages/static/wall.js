// The wall: parts come in by server-sent events; the newest is large, the others follow as tiles.
import { _, call, isCommand, localize, number, percent, score } from "./page.js";

const DRAW_MS = 250;   // a line faster than this is drawn in groups
const RETRY_MS = 3000;
const SPEAK_MS = 4000; // screen readers hear of rejected parts no more often
const DAY_MS = 24 * 3600 * 1000;
const AGAIN_MS = 60 * 1000;
const LAST = 50;

const wall = document.getElementById("wall");
const live = document.getElementById("live");
const hold = document.getElementById("hold");
const spoken = document.getElementById("spoken");
const counts = document.querySelector(".counts").dataset;
const most = Number(wall.dataset.most);
const near = Number(wall.dataset.near);
const words = { rejected: _("Rejected"), near: _("Passed, near"), passed: _("Passed") };
const shown = { parts: Number(counts.inspections), rejected: Number(counts.anomalous), waiting: Number(counts.waiting) };
let last = Array.from(counts.last, (verdict) => verdict === "r"); // whether rejected, newest first
let lastAt = counts.lastAt ? Date.parse(counts.lastAt) : 0;
let held = false;
let unspoken = [];

function state(name, text) {
  if (live.dataset.state !== name || name === "held") {
    live.dataset.state = name;
    if (live.textContent !== text) live.textContent = text;
  }
}

const stateOf = (part) => (part.anomalous ? "rejected" : part.threshold - part.score < near ? "near" : "passed");
const nameOf = (part) => part.name || _("Part {number}", { number: part.id });

function showPicture(place, part, kind) {
  const path = "/api/inspections/" + part.id;
  place.querySelector(".photo").src = path + kind;
  const outline = place.querySelector(".heat");
  outline.hidden = !part.anomalous;
  if (part.anomalous) outline.src = path + "/outline.png";
}

function tileOf(part) {
  const tile = document.getElementById("tile").content.firstElementChild.cloneNode(true);
  tile.dataset.id = part.id;
  tile.className = "tile new " + stateOf(part);
  tile.querySelector("a").href = "/inspections/" + part.id;
  showPicture(tile, part, "/thumbnail.jpg");
  tile.querySelector(".tile-verdict").textContent = words[stateOf(part)];
  tile.querySelector(".tile-score").textContent = score(part.score);
  tile.querySelector(".tile-name").textContent = nameOf(part);
  tile.querySelector(".tile-model").textContent = part.model;
  return tile;
}

/** The parts of one model, or of all: the newest large, those before it as tiles. */
class Lane {
  constructor(element) {
    this.model = element.dataset.lane;
    this.latest = element.querySelector(".latest");
    this.tiles = element.querySelector(".tiles");
    this.current = JSON.parse(this.latest.dataset.part); // shown large; number 0: none yet
    this.coming = []; // not drawn yet, oldest first
  }

  receive(part) {
    this.coming.push(part);
    if (this.coming.length > 1000) this.coming.shift();
  }

  draw() {
    const parts = this.coming.slice(-most - 1);
    if (!parts.length) return;
    this.coming = [];
    for (const part of parts) {
      if (this.current.id) this.tiles.prepend(tileOf(this.current));
      this.current = part;
    }
    const part = this.current;
    this.latest.className = "latest " + stateOf(part);
    this.latest.querySelector("a").href = "/inspections/" + part.id;
    showPicture(this.latest, part, "/preview.jpg");
    this.latest.querySelector(".latest-verdict").textContent = words[stateOf(part)];
    this.latest.querySelector(".latest-name").textContent = nameOf(part);
    this.latest.querySelector(".latest-model").textContent = part.model;
    this.latest.querySelector(".latest-score").textContent =
      _("Score {score} · limit {limit}", { score: score(part.score), limit: score(part.threshold) });
    const time = this.latest.querySelector("time");
    time.dateTime = part.at;
    localize(time);
    while (this.tiles.children.length > most) this.tiles.lastElementChild.remove();
  }
}

const lanes = Array.from(document.querySelectorAll(".lane"), (element) => new Lane(element));
let newest = Math.max(...lanes.map((lane) => lane.current.id));

function draw() {
  const coming = lanes.reduce((sum, lane) => sum + lane.coming.length, 0);
  if (held) {
    state("held", coming ? _("Paused, {parts} new", { parts: number(coming) }) : _("Paused"));
    return;
  }
  if (!coming) return;
  lanes.forEach((lane) => lane.draw());
  wall.hidden = false;
  document.getElementById("nothing").hidden = true;
}

function rateOf(rejected, parts) {
  const rate = parts ? rejected / parts : 0;
  return percent(rate, rate >= 0.1 || rate === 0 ? 0 : 1);
}

function ago(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return _("{seconds} s ago", { seconds });
  if (seconds < 3600) return _("{minutes} min ago", { minutes: Math.floor(seconds / 60) });
  return _("{hours} h ago", { hours: number(Math.floor(seconds / 3600)) });
}

function count() {
  const set = (id, text) => {
    const element = document.getElementById(id);
    if (element.textContent !== text) element.textContent = text;
  };
  set("count-parts", number(shown.parts));
  set("count-rejected", number(shown.rejected));
  set("count-rate", rateOf(shown.rejected, shown.parts));
  const rejected = last.filter(Boolean).length;
  set("last-parts", String(last.length));
  set("last-rejected", String(rejected));
  set("last-rate", rateOf(rejected, last.length));
  if (lastAt) set("last-ago", ago(Date.now() - lastAt));
  set("count-waiting", number(shown.waiting));
  const badge = document.getElementById("review-badge");
  if (badge && shown.waiting) badge.firstChild.data = shown.waiting > 99 ? "99+" : String(shown.waiting);
}

function speak() {
  if (!unspoken.length || held) return;
  const part = unspoken[unspoken.length - 1];
  const said = { part: nameOf(part), score: score(part.score), more: number(unspoken.length - 1) };
  spoken.textContent = unspoken.length > 1
    ? _("Rejected: {part}, score {score}, and {more} before it", said) : _("Rejected: {part}, score {score}", said);
  unspoken = [];
}

function receive(part) {
  if (part.id <= newest) return; // replayed on reconnecting
  shown.parts += 1;
  shown.rejected += part.anomalous ? 1 : 0;
  shown.waiting += part.anomalous || part.sampled ? 1 : 0;
  last = [part.anomalous, ...last].slice(0, LAST);
  lastAt = Date.parse(part.at);
  newest = part.id;
  if (part.anomalous) {
    unspoken.push(part);
    ring();
  }
  if (wall.dataset.show === "rejected" && !part.anomalous) return;
  const lane = lanes.find((one) => !one.model || one.model === part.model);
  if (lane) lane.receive(part);
  else location.reload(); // of a model that came in meanwhile
}

hold.addEventListener("click", () => {
  held = !held;
  hold.setAttribute("aria-pressed", String(held));
  hold.querySelector("span").textContent = held ? _("Go on") : _("Pause");
  if (!held) state("on", _("Live"));
  draw();
});
document.addEventListener("keydown", (event) => {
  if (isCommand(event) && event.key.toLowerCase() === "p") hold.click();
});

let asking = null;
function askWaiting() {
  // An answer may or may not shorten the queue: ask, once for many.
  clearTimeout(asking);
  asking = setTimeout(async () => {
    const answer = await fetch("/wall.json" + location.search).catch(() => null);
    if (answer && answer.ok) shown.waiting = (await answer.json()).waiting;
  }, 500);
}

function connect() {
  const query = new URLSearchParams(wall.dataset.model ? { model: wall.dataset.model } : {});
  const source = new EventSource("/api/events?" + query);
  const close = () => source.close();
  let early = []; // what comes before the gap since the page was drawn is filled; later null
  source.addEventListener("open", async () => {
    if (!held) state("on", _("Live"));
    if (!early) return; // reconnected: the station sends what was missed by itself
    if (newest) query.set("after", newest); // an empty wall has missed everything there is
    query.set("limit", 1000);
    const answer = await fetch("/api/inspections?" + query).catch(() => null);
    const missed = answer && answer.ok ? (await answer.json()).items.reverse() : [];
    missed.concat(early).forEach(receive);
    early = null;
  });
  source.addEventListener("error", () => {
    state("lost", _("Connection lost, trying again"));
    if (source.readyState === EventSource.CLOSED) { // refused, as by a station that is just starting
      removeEventListener("pagehide", close);
      // Where the session has ended, asking leads to the sign-in.
      call("GET", "/api/statistics?since=" + new Date().toISOString()).catch(() => {});
      setTimeout(connect, RETRY_MS);
    }
  });
  source.addEventListener("inspection", (event) => {
    const part = JSON.parse(event.data);
    if (early) early.push(part);
    else receive(part);
  });
  source.addEventListener("review", askWaiting);
  source.addEventListener("drift", (event) => { if (JSON.parse(event.data).alarm) location.reload(); });
  addEventListener("pagehide", close);
}

// Two short tones at a rejected part, once a person has switched them on: browsers allow none before.
let audio = null;
const sound = document.getElementById("sound");
sound.addEventListener("click", () => {
  const on = sound.getAttribute("aria-pressed") !== "true";
  sound.setAttribute("aria-pressed", String(on));
  audio = on ? audio || new AudioContext() : null;
  ring();
});
function ring() {
  if (!audio || held) return;
  [660, 440].forEach((frequency, number) => {
    const tone = new OscillatorNode(audio, { frequency });
    const volume = new GainNode(audio, { gain: 0.2 });
    tone.connect(volume).connect(audio.destination);
    tone.start(audio.currentTime + 0.16 * number);
    tone.stop(audio.currentTime + 0.16 * number + 0.14);
  });
}

// Kiosk: the verdict fills the screen. The address keeps it, so that a screen can start with it.
const kiosk = document.getElementById("kiosk");
function setKiosk(on) {
  document.body.classList.toggle("kiosk", on);
  kiosk.setAttribute("aria-pressed", String(on));
  const address = new URL(location.href);
  if (on) address.searchParams.set("kiosk", "1");
  else address.searchParams.delete("kiosk");
  history.replaceState(null, "", address);
}
kiosk.addEventListener("click", () => {
  const on = !document.body.classList.contains("kiosk");
  setKiosk(on);
  if (on) document.documentElement.requestFullscreen().catch(() => {});
  else if (document.fullscreenElement) document.exitFullscreen();
});
document.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement) setKiosk(false); });
document.addEventListener("keydown", (event) => {
  if (isCommand(event) && event.key.toLowerCase() === "k") kiosk.click();
  if (event.key === "Escape" && document.body.classList.contains("kiosk")) setKiosk(false);
});
if (new URLSearchParams(location.search).get("kiosk")) setKiosk(true);

// The last 24 hours move on while the wall is open: parts leave them as well as come.
async function countAgain() {
  const query = new URLSearchParams(wall.dataset.model ? { model: wall.dataset.model } : {});
  query.set("since", new Date(Date.now() - DAY_MS).toISOString());
  const answer = await fetch("/api/statistics?" + query).catch(() => null);
  if (!answer || !answer.ok) return;
  const found = await answer.json();
  shown.parts = found.inspections;
  shown.rejected = found.anomalous;
}

connect();
setInterval(countAgain, AGAIN_MS);
setInterval(() => { draw(); count(); }, DRAW_MS);
setInterval(speak, SPEAK_MS);
