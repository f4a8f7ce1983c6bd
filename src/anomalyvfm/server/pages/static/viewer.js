// One part, large: strength of the heat map, outlines, size, and the odd places one by one.
import { isCommand, percent } from "./page.js";

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
    shown.textContent = percent(strength.value / 100);
    strength.setAttribute("aria-valuetext", shown.textContent);
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
  const MOST = 16;
  let zoom = 1;
  const width = () => {
    const ratio = layers.dataset.width / layers.dataset.height;
    const height = parseFloat(getComputedStyle(stage).maxHeight);
    return Math.min(stage.clientWidth, height * ratio);
  };
  /** Enlarges about a point of the window, which stays where it is; by default the middle. */
  const zoomTo = (wanted, at) => {
    const frame = stage.getBoundingClientRect();
    const point = at || { x: frame.left + frame.width / 2, y: frame.top + frame.height / 2 };
    const before = layers.getBoundingClientRect();
    const share = { x: (point.x - before.left) / before.width, y: (point.y - before.top) / before.height };
    zoom = Math.min(Math.max(wanted, 1), MOST);
    layers.style.width = width() * zoom + "px";
    const after = layers.getBoundingClientRect();
    stage.scrollLeft += after.left + share.x * after.width - point.x;
    stage.scrollTop += after.top + share.y * after.height - point.y;
    stage.classList.toggle("enlarged", zoom > 1);
    viewer.querySelectorAll("[data-zoom]").forEach((button) => {
      button.setAttribute("aria-pressed", String(Number(button.dataset.zoom) === zoom));
    });
  };
  viewer.querySelectorAll("[data-zoom]").forEach((button) => {
    button.addEventListener("click", () => zoomTo(Number(button.dataset.zoom)));
  });
  addEventListener("resize", () => zoomTo(zoom));
  zoomTo(1);

  stage.addEventListener("wheel", (event) => {
    if (zoom === 1 && event.deltaY > 0) return; // the page scrolls
    event.preventDefault();
    zoomTo(zoom * Math.exp(-event.deltaY / 400), { x: event.clientX, y: event.clientY });
  }, { passive: false });

  // One pointer drags, two pinch.
  const pointers = new Map();
  const between = () => {
    const [one, two] = Array.from(pointers.values());
    return { x: (one.x + two.x) / 2, y: (one.y + two.y) / 2, apart: Math.hypot(one.x - two.x, one.y - two.y) };
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (zoom > 1 || pointers.size > 1) stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    const from = pointers.get(event.pointerId);
    if (!from) return;
    const earlier = pointers.size === 2 ? between() : null;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (earlier) {
      const now = between();
      zoomTo(zoom * now.apart / Math.max(earlier.apart, 1), now);
    } else if (zoom > 1) {
      stage.scrollLeft -= event.clientX - from.x;
      stage.scrollTop -= event.clientY - from.y;
    }
  });
  ["pointerup", "pointercancel"].forEach((kind) => {
    stage.addEventListener(kind, (event) => pointers.delete(event.pointerId));
  });
  stage.addEventListener("dragstart", (event) => event.preventDefault());

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
    } else if ((key === "arrowleft" || key === "arrowright") && !event.target.closest("input")) {
      if (zoom > 1 && event.target.closest(".stage")) return; // they move what is enlarged
      const link = document.getElementById(key === "arrowleft" ? "newer" : "older");
      if (link) link.click();
    }
  });
}
