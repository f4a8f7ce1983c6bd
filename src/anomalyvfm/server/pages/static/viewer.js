// One part, large: strength of the heat map, outlines, size, and the odd places one by one.
import { isCommand } from "./page.js";

const viewer = document.querySelector(".viewer");

if (viewer) {
  const layers = viewer.querySelector(".layers");
  const stage = viewer.querySelector(".stage");
  const heat = viewer.querySelector(".heat");
  const outline = viewer.querySelector(".outline");
  const strength = document.getElementById("heat-strength");
  const outlines = document.getElementById("outlines");
  const shown = viewer.querySelector(".slide output");
  // Kept from part to part: whoever reviews a hundred parts sets it once.
  const kept = { heat: localStorage.getItem("heat"), outlines: localStorage.getItem("outlines") };
  let before = 60;

  const paintHeat = () => {
    heat.style.opacity = strength.value / 100;
    shown.textContent = strength.value + " %";
    strength.setAttribute("aria-valuetext", strength.value + " percent");
  };
  const paintOutlines = () => {
    if (!outline) return;
    outline.hidden = !outlines.checked;
    viewer.querySelector(".marks").toggleAttribute("hidden", !outlines.checked);
  };

  if (kept.heat !== null) strength.value = kept.heat;
  if (outlines && kept.outlines !== null) outlines.checked = kept.outlines === "on";
  paintHeat();
  paintOutlines();

  strength.addEventListener("input", () => {
    paintHeat();
    localStorage.setItem("heat", strength.value);
  });
  if (outlines) {
    outlines.addEventListener("change", () => {
      paintOutlines();
      localStorage.setItem("outlines", outlines.checked ? "on" : "off");
    });
  }

  // Fit: the whole part inside the stage, whichever way it is long.
  let zoom = 1;
  const fit = () => {
    const ratio = layers.dataset.width / layers.dataset.height;
    const height = parseFloat(getComputedStyle(stage).maxHeight);
    layers.style.width = Math.min(stage.clientWidth, height * ratio) * zoom + "px";
  };
  viewer.querySelectorAll("[data-zoom]").forEach((button) => {
    button.addEventListener("click", () => {
      const middle = [
        (stage.scrollLeft + stage.clientWidth / 2) / stage.scrollWidth,
        (stage.scrollTop + stage.clientHeight / 2) / stage.scrollHeight,
      ];
      zoom = Number(button.dataset.zoom);
      viewer.querySelectorAll("[data-zoom]").forEach((other) => {
        other.setAttribute("aria-pressed", String(other === button));
      });
      fit();
      stage.scrollTo(
        middle[0] * stage.scrollWidth - stage.clientWidth / 2,
        middle[1] * stage.scrollHeight - stage.clientHeight / 2,
      );
    });
  });
  addEventListener("resize", fit);
  fit();

  const box = (number) => viewer.querySelector('rect[data-region="' + number + '"]');
  document.querySelectorAll(".places button").forEach((button) => {
    const show = (on) => box(button.dataset.region).classList.toggle("shown", on);
    const pressed = () => button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(!pressed()));
      show(pressed());
    });
    button.addEventListener("mouseenter", () => show(true));
    button.addEventListener("mouseleave", () => show(pressed()));
  });

  document.addEventListener("keydown", (event) => {
    if (!isCommand(event)) return;
    const key = event.key.toLowerCase();
    if (key === "m") {
      if (strength.value !== "0") before = strength.value;
      strength.value = strength.value === "0" ? before : 0;
      strength.dispatchEvent(new Event("input"));
    } else if (key === "o" && outlines) {
      outlines.click();
    } else if ((key === "arrowleft" || key === "arrowright") && event.target.closest("input, .stage") === null) {
      const link = document.getElementById(key === "arrowleft" ? "newer" : "older");
      if (link) link.click();
    }
  });
}
