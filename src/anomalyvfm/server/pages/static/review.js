// Answers by keys: 1 good, 2 defect, 3 unsure, 4 to 9 the usual kinds of defect, U takes the last one back. In the
// lane the next part follows.
import { given, keep, note } from "./answers.js";
import { _, call, isCommand, say } from "./page.js";

const KEYS = { 1: "good", 2: "defect", 3: "unsure" };
const answers = document.querySelector(".answers");
const inLane = location.pathname === "/review";
const last = document.getElementById("last");
const undo = document.getElementById("undo");
const kinds = Array.from(document.querySelectorAll("[data-kind]"));
let busy = false;

function lane(show) {
  const query = new URLSearchParams(location.search);
  query.delete("show");
  if (show) query.set("show", show);
  const text = query.toString();
  return "/review" + (text ? "?" + text : "");
}

// What an answer did, in one word a person knows; nothing of what the model thinks.
const DONE = {
  learned: _("Learned."), forgotten: _("Forgotten again."), confirmed: _("Learned."), taken_back: _("Forgotten again."),
  none: _("Recorded."),
};
const LABELS = { good: _("Good"), defect: _("Defect"), unsure: _("Unsure") };

function tell() {
  const answer = given[given.length - 1];
  const fits = answer && (inLane || answers && answer.inspection === Number(answers.dataset.inspection));
  last.hidden = !fits;
  if (fits) {
    last.querySelector("p").textContent = answer.name + ": " + (LABELS[answer.label] || answer.label) + ". " + DONE[answer.action];
  }
}

async function locked(work) {
  // One answer at a time: a second key press must not answer for a part not yet seen.
  if (busy) return;
  busy = true;
  if (answers) answers.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (refused) {
    busy = false;
    if (answers) answers.setAttribute("aria-busy", "false");
    say(refused.status === 409 ? refused.message + " " + _("Load the page again to see it.") : refused.message);
  }
}

function answer(label, kind = "") {
  return locked(async () => {
    answers.querySelectorAll("[data-label]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.label === label));
    });
    const inspection = Number(answers.dataset.inspection);
    const seen = answers.dataset.review ? Number(answers.dataset.review) : null;
    const result = await call("POST", "/api/inspections/" + inspection + "/reviews", { label, kind, why: "", seen_review: seen });
    note(inspection, answers.dataset.name, kind || label, result);
    location.replace(inLane ? lane() : location.href);
  });
}

function takeBack() {
  return locked(async () => {
    const answer = given[given.length - 1];
    if (!answer) {
      busy = false;
      return;
    }
    await call("POST", "/api/reviews/" + answer.review + "/undo");
    given.pop();
    keep();
    location.replace(inLane ? lane(answer.inspection) : location.href);
  });
}

if (answers) {
  answers.querySelectorAll("[data-label]").forEach((button) => {
    button.addEventListener("click", () => answer(button.dataset.label));
  });
  kinds.forEach((button) => button.addEventListener("click", () => answer("defect", button.dataset.kind)));
  document.getElementById("kinds").addEventListener("submit", (event) => {
    event.preventDefault();
    const kind = document.getElementById("kind").value.trim();
    if (kind) answer("defect", kind);
  });
}
undo.addEventListener("click", takeBack);
document.addEventListener("keydown", (event) => {
  if (!isCommand(event)) return;
  if (answers && KEYS[event.key]) answer(KEYS[event.key]);
  else if (answers && event.key >= "4" && event.key <= "9" && kinds[event.key - 4]) kinds[event.key - 4].click();
  else if (event.key.toLowerCase() === "u" && !last.hidden) takeBack();
});
tell();
