// The wall: parts come in by server-sent events; the newest is large, the others follow as tiles.
import { isCommand, localize, score } from "./page.js";

const DRAW_MS = 250;   // a line faster than this is drawn in groups
const RETRY_MS = 3000;
const DAY_MS = 24 * 3600 * 1000;
const AGAIN_MS = 60 * 1000;
const SPEAK_MS = 4000; // screen readers hear of rejected parts no more often

const wall = document.getElementById("wall");
const latest = document.getElementById("latest");
const tiles = document.getElementById("tiles");
const live = document.getElementById("live");
const hold = document.getElementById("hold");
const spoken = document.getElementById("spoken");
const counts = document.querySelector(".counts").dataset;
const most = Number(wall.dataset.most);
const shown = { parts: Number(counts.inspections), rejected: Number(counts.anomalous), waiting: Number(counts.waiting) };
let coming = [];     // parts not drawn yet, oldest first
let current = JSON.parse(latest.dataset.part); // the part shown large; number 0: none yet
let held = false;
let newest = current.id;
let unspoken = [];

function state(name, text) {
  if (live.dataset.state !== name || name === "held") {
    live.dataset.state = name;
    if (live.textContent !== text) live.textContent = text;
  }
}

function tileOf(part) {
  const tile = document.getElementById("tile").content.firstElementChild.cloneNode(true);
  tile.dataset.id = part.id;
  tile.className = "tile new " + (part.anomalous ? "rejected" : "passed");
  tile.querySelector("a").href = "/inspections/" + part.id;
  tile.querySelector("img").src = "/api/inspections/" + part.id + "/thumbnail.jpg";
  tile.querySelector(".tile-verdict").textContent = part.anomalous ? "Rejected" : "Passed";
  tile.querySelector(".tile-score").textContent = score(part.score);
  tile.querySelector(".tile-name").textContent = part.name;
  return tile;
}

function showLarge(part) {
  latest.className = "latest " + (part.anomalous ? "rejected" : "passed");
  const link = latest.querySelector(".latest-picture");
  link.href = "/inspections/" + part.id;
  const photo = link.querySelector(".photo");
  photo.src = "/api/inspections/" + part.id + "/preview.jpg";
  const outline = link.querySelector(".heat");
  outline.hidden = !part.anomalous;
  if (part.anomalous) outline.src = "/api/inspections/" + part.id + "/outline.png";
  latest.querySelector(".latest-verdict").textContent = part.anomalous ? "Rejected" : "Passed";
  latest.querySelector(".latest-name").textContent = part.name;
  latest.querySelector(".latest-score").textContent =
    "Score " + score(part.score) + " · limit " + score(part.threshold);
  const time = latest.querySelector("time");
  time.dateTime = part.at;
  localize(time);
}

function draw() {
  if (held) {
    state("held", coming.length ? "Paused, " + coming.length + " new" : "Paused");
    return;
  }
  if (!coming.length) return;
  const parts = coming.slice(-most - 1);
  coming = [];
  for (const part of parts) {
    if (current.id) tiles.prepend(tileOf(current));
    current = part;
  }
  showLarge(current);
  while (tiles.children.length > most) tiles.lastElementChild.remove();
  wall.hidden = false;
  document.getElementById("nothing").hidden = true;
}

function count() {
  document.getElementById("count-parts").textContent = shown.parts.toLocaleString("en");
  document.getElementById("count-rejected").textContent = shown.rejected.toLocaleString("en");
  const rate = shown.parts ? 100 * shown.rejected / shown.parts : 0;
  document.getElementById("count-rate").textContent = rate.toFixed(rate >= 10 ? 0 : 1) + " %";
  document.getElementById("count-waiting").textContent = shown.waiting.toLocaleString("en");
  const badge = document.getElementById("review-badge");
  if (badge && shown.waiting) badge.firstChild.data = shown.waiting > 99 ? "99+" : String(shown.waiting);
}

function speak() {
  if (!unspoken.length || held) return;
  const last = unspoken[unspoken.length - 1];
  const more = unspoken.length > 1 ? " and " + (unspoken.length - 1) + " before it" : "";
  spoken.textContent = "Rejected: " + last.name + ", score " + last.score.toFixed(1) + more;
  unspoken = [];
}

function receive(part) {
  if (part.id <= newest) return; // replayed on reconnecting
  shown.parts += 1;
  shown.rejected += part.anomalous ? 1 : 0;
  shown.waiting += part.anomalous || part.sampled ? 1 : 0;
  newest = part.id;
  if (part.anomalous) unspoken.push(part);
  if (wall.dataset.show === "rejected" && !part.anomalous) return;
  coming.push(part);
  if (coming.length > 1000) coming.shift();
}

hold.addEventListener("click", () => {
  held = !held;
  hold.setAttribute("aria-pressed", String(held));
  hold.querySelector("span").textContent = held ? "Go on" : "Pause";
  if (!held) state("on", "Live");
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
    if (!held) state("on", "Live");
    if (!early) return; // reconnected: the station sends what was missed by itself
    if (newest) query.set("after", newest); // an empty wall has missed everything there is
    query.set("limit", 1000);
    const answer = await fetch("/api/inspections?" + query).catch(() => null);
    const missed = answer && answer.ok ? (await answer.json()).items.reverse() : [];
    missed.concat(early).forEach(receive);
    early = null;
  });
  source.addEventListener("error", () => {
    state("lost", "Connection lost, trying again");
    if (source.readyState === EventSource.CLOSED) { // refused, as by a station that is just starting
      removeEventListener("pagehide", close);
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
