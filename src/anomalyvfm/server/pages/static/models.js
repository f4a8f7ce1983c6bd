// Models: what a change of the false-alarm promise would have done, saving it, and going back.
import { _, call, number, say } from "./page.js";

const model = document.getElementById("model");
const KEPT = "model-change";

let busy = false;

async function change(work) {
  // One change at a time: the next would build on a version that is no longer in use.
  if (busy) return;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    await work();
    location.reload();
  } catch (refused) {
    busy = false;
    document.body.removeAttribute("aria-busy");
    say(refused.message);
  }
}

document.querySelectorAll("[data-default]").forEach((button) => {
  button.addEventListener("click", () => change(() => call("PUT", "/api/models/default", { name: button.dataset.default })));
});

if (model) {
  const url = "/api/models/" + encodeURIComponent(model.dataset.name);
  const active = Number(model.dataset.active);
  const keep = (text) => sessionStorage.setItem(KEPT, JSON.stringify({ model: model.dataset.name, text, back: active }));
  const activate = (version, why) => call("POST", url + "/activate", { version, why, expected: active });

  document.querySelectorAll("[data-activate]").forEach((button) => {
    button.addEventListener("click", () => change(async () => {
      const version = Number(button.dataset.activate);
      await activate(version, document.getElementById("why").value.trim());
      keep(_("Version {version} is in use now.", { version }));
    }));
  });

  const calibrate = document.getElementById("calibrate");
  if (calibrate) {
    calibrate.addEventListener("click", () => change(async () => {
      await call("POST", url + "/calibrate", { why: "reviewed parts" });
      keep(_("Calibrated."));
    }));
  }

  const sure = document.getElementById("sure");
  if (sure) {
    document.getElementById("delete").addEventListener("click", () => sure.showModal());
    document.getElementById("keep").addEventListener("click", () => sure.close());
    document.getElementById("delete-sure").addEventListener("click", async () => {
      try {
        await call("DELETE", url + "?expected=" + active);
        location.assign("/models");
      } catch (refused) {
        sure.close();
        say(refused.message);
      }
    });
  }

  const done = document.getElementById("done");
  const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  sessionStorage.removeItem(KEPT);
  if (kept && kept.model === model.dataset.name && kept.back !== active) {
    done.querySelector("p").textContent = kept.text;
    const back = document.getElementById("take-back");
    back.textContent = _("Back to version {version}", { version: kept.back });
    back.addEventListener("click", () => change(async () => {
      await activate(kept.back, "taken back");
      keep(_("Version {version} is in use again.", { version: kept.back }));
    }));
    done.hidden = false;
  }

  const rate = document.getElementById("rate");
  if (rate) {
    const steps = Array.from(document.querySelectorAll("#curve tr"), (row) => row.dataset);
    const start = Number(rate.defaultValue); // a quick hand may have moved it before this script came
    const marker = document.getElementById("marker");
    const points = marker ? marker.dataset.points.split(" ").map((point) => point.split(",")) : [];
    const save = document.getElementById("rate-save");

    const show = () => {
      const step = steps[rate.value];
      const difference = step.rejected - steps[start].rejected;
      document.getElementById("rate-text").textContent = step.text;
      rate.setAttribute("aria-valuetext", step.text);
      document.getElementById("rate-rejected").textContent = number(step.rejected);
      const caught = document.getElementById("rate-caught");
      if (caught) caught.textContent = number(step.caught);
      const parts = number(Math.abs(difference));
      document.getElementById("rate-change").textContent = Number(rate.value) === start ? _("as now")
        : difference === 0 ? _("no change")
          : difference > 0 ? _("{parts} more than now", { parts }) : _("{parts} fewer than now", { parts });
      document.getElementById("rate-promise").textContent = step.promised === "yes" ? ""
        : _("Too few good parts to promise this: the limit is an estimate.");
      if (marker) {
        const [across, down] = points[rate.value];
        const line = marker.querySelector("path");
        line.setAttribute("d", line.getAttribute("d").replace(/^M[\d.]+/, "M" + across));
        marker.querySelector("circle").setAttribute("cx", across);
        marker.querySelector("circle").setAttribute("cy", down);
      }
      if (save) save.disabled = Number(rate.value) === start;
    };
    rate.addEventListener("input", show);
    show();
    if (save) {
      save.addEventListener("click", () => change(async () => {
        const step = steps[rate.value];
        const why = document.getElementById("rate-why").value.trim();
        await call("PUT", url + "/false-alarm-rate", { rate: Number(step.rate), why, expected: active });
        keep(_("Saved: at most {rate} good parts rejected.", { rate: step.text }));
      }));
    }
  }
}
