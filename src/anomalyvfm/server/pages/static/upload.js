// Upload: images dropped or chosen are judged one by one, a few at a time; a busy station is waited for.
import { _, call, number, score } from "./page.js";

const AT_ONCE = 3;
const MOST_WAITS = 20;
const drop = document.getElementById("drop");

if (drop) {
  const files = document.getElementById("files");
  const results = document.getElementById("results");
  const progress = document.getElementById("progress");
  const bar = document.getElementById("done");
  const waiting = [];
  const tally = { all: 0, done: 0, rejected: 0, failed: 0 };
  let working = 0;

  const report = () => {
    bar.hidden = false;
    bar.max = tally.all;
    bar.value = tally.done;
    const counts = Object.fromEntries(Object.entries(tally).map(([name, many]) => [name, number(many)]));
    let text = _("{done} of {all} done, {rejected} rejected", counts);
    if (tally.failed) text += _(", {failed} not judged", counts);
    progress.textContent = text;
  };

  const pause = (seconds) => new Promise((resolve) => { setTimeout(resolve, 1000 * seconds); });

  async function judge(file) {
    const model = document.getElementById("model").value;
    const url = "/api/judge?" + new URLSearchParams({ model, name: file.name });
    for (let wait = 0; ; wait += 1) {
      try {
        return await call("POST", url, new Blob([file], { type: "application/octet-stream" }));
      } catch (refused) {
        if ((refused.status !== 429 && refused.status !== 503) || wait === MOST_WAITS) throw refused;
        await pause(refused.retryAfter || 1);
      }
    }
  }

  async function work() {
    if (working >= AT_ONCE) return;
    working += 1;
    while (waiting.length) {
      const { file, row } = waiting.shift();
      const tag = row.querySelector(".tag");
      const line = row.querySelector(".small");
      tag.textContent = _("Judging");
      try {
        const part = await judge(file);
        row.querySelector("img").src = "/api/inspections/" + part.id + "/thumbnail.jpg";
        tag.className = "tag " + (part.anomalous ? "rejected" : "passed");
        tag.textContent = part.anomalous ? _("Rejected") : _("Passed");
        const link = document.createElement("a");
        link.href = "/inspections/" + part.id;
        link.textContent = file.name;
        row.querySelector("b").replaceChildren(link);
        line.textContent = _("Score {score} · limit {limit}", { score: score(part.score), limit: score(part.threshold) });
        tally.rejected += part.anomalous ? 1 : 0;
      } catch (refused) {
        row.classList.add("failed");
        tag.className = "tag unsure";
        tag.textContent = _("Not judged");
        line.textContent = refused.message;
        tally.failed += 1;
      }
      tally.done += 1;
      report();
    }
    working -= 1;
  }

  function add(list) {
    for (const file of list) {
      const row = document.getElementById("result").content.firstElementChild.cloneNode(true);
      row.querySelector("b").textContent = file.name;
      results.append(row);
      waiting.push({ file, row });
      tally.all += 1;
    }
    if (tally.all) report();
    for (let i = 0; i < AT_ONCE; i += 1) work();
  }

  files.addEventListener("change", () => {
    add(files.files);
    files.value = "";
  });
  // Anywhere on the page: a file dropped beside the field must not replace the page.
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    add(event.dataTransfer.files);
  });
}
