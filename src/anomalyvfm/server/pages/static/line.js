// The line: sources are paused, gone on with, removed and added.
import { _, call, say } from "./page.js";

const form = document.getElementById("add-source");

async function change(work) {
  try {
    await work();
    location.reload();
  } catch (refused) {
    say(refused.message);
  }
}

const address = (name, below = "") => "/api/line/sources/" + encodeURIComponent(name) + below;

document.querySelectorAll("[data-pause]").forEach((button) => {
  const paused = button.dataset.paused === "false";
  button.addEventListener("click", () => change(() => call("PUT", address(button.dataset.pause, "/paused"), { paused })));
});

document.querySelectorAll("[data-remove]").forEach((button) => {
  const name = button.dataset.remove;
  button.addEventListener("click", () => {
    if (confirm(_("Remove {name}? What it brought stays.", { name }))) change(() => call("DELETE", address(name)));
  });
});

if (form) {
  const { kind, trigger, every } = form.elements;
  const fit = () => {
    // Single pictures show no motion, and who is asked needs no clock.
    trigger.querySelector('[value="motion"]').disabled = kind.value === "snapshot";
    if (trigger.selectedOptions[0].disabled) trigger.value = "time";
    every.disabled = trigger.value !== "time";
  };
  kind.addEventListener("change", fit);
  trigger.addEventListener("change", fit);
  fit();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    const table = { kind: given.kind, trigger: given.trigger };
    const where = given.address.trim();
    if (given.kind === "snapshot") table.url = where;
    else table.address = /^\d+$/.test(where) ? Number(where) : where;
    if (given.every) table.every = Number(given.every);
    if (given.model) table.model = given.model;
    change(() => call("PUT", address(given.name.trim()), table));
  });
}
