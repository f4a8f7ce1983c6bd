// Region of interest: polygons drawn over an image, kept as the JSON that `anomalyvfm fit --roi` reads.
import { _, number, percent, say } from "./page.js";

const LONGEST_SIDE = 2000; // of the picture on the screen; corners are in pixels of the image
const NEAR = 10; // screen pixels within which a pointer means a corner
const COUNTED_SIDE = 300; // of the raster on which the share that counts is counted
const KINDS = { counts: _("counts"), ignored: _("is ignored"), zone: _("zone") };

const drawing = document.getElementById("drawing");
const picture = document.getElementById("picture");
const svg = document.getElementById("shapes");
const list = document.getElementById("list");
const kind = document.getElementById("kind");
const save = document.getElementById("save");
const undo = document.getElementById("undo");

let size = null; // width and height of the image
let shapes = []; // of kind, corners [x, y], and of a zone name, level and area
let chosen = -1; // the shape whose corners can be dragged
let draft = []; // corners of the shape that is being drawn
let cross = null; // where the keyboard draws
let grip = null; // what the pointer holds: a corner, or where it was pressed
const before = []; // states to go back to

function remember() {
  before.push(JSON.stringify(shapes));
  undo.disabled = false;
}

/** Screen pixels of one pixel of the image. */
const scale = () => svg.getBoundingClientRect().width / size[0];

const clamp = (value, most) => Math.max(0, Math.min(most - 1, Math.floor(value)));

function placeOf(event) {
  const box = svg.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * size[0];
  const y = ((event.clientY - box.top) / box.height) * size[1];
  return [clamp(x, size[0]), clamp(y, size[1])];
}

const near = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) * scale() <= NEAR;

function finish(corners) {
  draft = [];
  if (corners.length < 3) return draw();
  remember();
  const zones = shapes.filter((shape) => shape.kind === "zone").length;
  shapes.push({ kind: kind.value, corners, name: _("zone {number}", { number: zones + 1 }), level: null, area: null });
  chosen = shapes.length - 1;
  show();
}

function corner(place) {
  if (draft.length >= 3 && near(place, draft[0])) return finish(draft);
  if (!draft.length || !near(place, draft.at(-1))) draft.push(place);
  draw();
}

function element(name, attributes) {
  const made = document.createElementNS(svg.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  svg.append(made);
  return made;
}

const points = (corners) => corners.map(([x, y]) => `${x + 0.5},${y + 0.5}`).join(" ");

/** The shapes over the picture. */
function draw() {
  svg.replaceChildren();
  if (!size) return;
  shapes.forEach((shape, index) => {
    element("polygon", { points: points(shape.corners), class: shape.kind + (index === chosen ? " chosen" : "") });
  });
  const radius = 5 / scale();
  if (chosen >= 0) {
    for (const [x, y] of shapes[chosen].corners) element("circle", { cx: x + 0.5, cy: y + 0.5, r: radius });
  }
  if (draft.length) {
    element("polyline", { points: points(draft), class: kind.value });
    for (const [x, y] of draft) element("circle", { cx: x + 0.5, cy: y + 0.5, r: radius });
  }
  if (grip && grip.to) {
    const [[x0, y0], [x1, y1]] = [grip.from, grip.to];
    element("polygon", { points: points([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), class: kind.value });
  }
  if (cross) {
    const [x, y] = [cross[0] + 0.5, cross[1] + 0.5];
    const arm = 9 / scale();
    element("path", { d: `M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}`, class: "cross" });
  }
}

/** The share of the image that counts, on a small raster. */
function share() {
  const shrink = Math.min(1, COUNTED_SIDE / Math.max(...size));
  const [width, height] = size.map((side) => Math.max(1, Math.round(side * shrink)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const fill = (wanted, colour) => {
    pen.fillStyle = colour;
    for (const { corners } of shapes.filter((shape) => shape.kind === wanted)) {
      pen.beginPath();
      for (const [x, y] of corners) pen.lineTo((x + 0.5) * shrink, (y + 0.5) * shrink);
      pen.fill();
    }
  };
  pen.fillStyle = shapes.some((shape) => shape.kind === "counts") ? "#000" : "#fff";
  pen.fillRect(0, 0, width, height);
  fill("counts", "#fff");
  fill("ignored", "#000");
  const { data } = pen.getImageData(0, 0, width, height);
  let counting = 0;
  for (let at = 0; at < data.length; at += 4) counting += data[at] > 127;
  return counting / (width * height);
}

/** What the file says: the inverse of `open`. */
function contents() {
  const of = (wanted) => shapes.filter((shape) => shape.kind === wanted);
  const zones = {};
  for (const { name, corners, level, area } of of("zone")) {
    const zone = (zones[name] ||= { name, polygons: [], level: null, area: null });
    zone.polygons.push(corners);
    zone.level ??= level;
    zone.area ??= area;
  }
  return {
    size,
    polygons: of("counts").map((shape) => shape.corners),
    ignore: of("ignored").map((shape) => shape.corners),
    zones: Object.values(zones),
  };
}

/** The list, the share and the file, after a change of shapes. */
function show() {
  list.replaceChildren();
  shapes.forEach((shape, index) => {
    const row = document.getElementById("shape").content.firstElementChild.cloneNode(true);
    const choose = row.querySelector(".choose");
    choose.textContent = _("{kind}, {count} corners", { kind: KINDS[shape.kind], count: number(shape.corners.length) });
    choose.setAttribute("aria-pressed", index === chosen);
    choose.addEventListener("click", () => {
      chosen = index === chosen ? -1 : index;
      show();
    });
    row.querySelector(".remove").addEventListener("click", () => {
      remember();
      shapes.splice(index, 1);
      chosen = -1;
      show();
    });
    const limits = row.querySelector(".limits");
    limits.hidden = shape.kind !== "zone";
    for (const name of ["name", "level", "area"]) {
      const input = limits.querySelector("." + name);
      input.value = shape[name] ?? "";
      input.addEventListener("change", () => {
        remember();
        if (name === "name") shape.name = input.value.trim() || shape.name;
        else shape[name] = input.value === "" ? null : Math.max(0, Number(input.value));
        if (name === "area" && shape.area !== null) shape.area = Math.round(shape.area);
        settle();
        input.value = shape[name] ?? "";
      });
    }
    list.append(row);
  });
  settle();
  draw();
}

function settle() {
  if (!size) return;
  const counting = share();
  const some = shapes.length > 0 && counting > 0;
  document.getElementById("share").textContent = counting > 0
    ? _("{share} of the image of {width} × {height} px counts", { share: percent(counting), width: size[0], height: size[1] })
    : _("Nothing is left that counts");
  URL.revokeObjectURL(save.href);
  save.setAttribute("aria-disabled", !some);
  if (some) save.href = URL.createObjectURL(new Blob([JSON.stringify(contents(), null, 1)], { type: "application/json" }));
  else save.removeAttribute("href");
}

/** Shows an image, or a blank sheet; corners are in pixels of `whole`, of which it may be a smaller copy. */
function place(bitmap, whole) {
  const shrink = Math.min(1, LONGEST_SIDE / Math.max(...whole));
  [picture.width, picture.height] = whole.map((side) => Math.max(1, Math.round(side * shrink)));
  if (bitmap) picture.getContext("2d").drawImage(bitmap, 0, 0, picture.width, picture.height);
  measure(whole);
}

/** Corners are from now on in pixels of `whole`, width and height: shapes stay where they are in the image. */
function measure(whole) {
  if (size && (size[0] !== whole[0] || size[1] !== whole[1]) && shapes.length) {
    remember();
    const [right, down] = [whole[0] / size[0], whole[1] / size[1]];
    for (const shape of shapes) {
      shape.corners = shape.corners.map(([x, y]) => [clamp((x + 0.5) * right, whole[0]), clamp((y + 0.5) * down, whole[1])]);
    }
  }
  size = whole;
  svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
  drawing.style.setProperty("--shape", size[0] / size[1]);
  document.getElementById("no-image").hidden = true;
  drawing.hidden = false;
  show();
}

const isPlaces = (corners) => Array.isArray(corners) && corners.length >= 3
  && corners.every((at) => Array.isArray(at) && at.length === 2 && at.every(Number.isFinite));

/** Shapes of a file; throws where it is none. */
function opened(text) {
  const { size: whole, polygons = [], ignore = [], zones = [] } = JSON.parse(text);
  if (!Array.isArray(whole) || whole.length !== 2 || !whole.every((side) => Number.isInteger(side) && side > 0)) throw new Error();
  const of = (all, shape) => all.map((corners) => {
    if (!isPlaces(corners)) throw new Error();
    return { name: "", level: null, area: null, ...shape, corners: corners.map(([x, y]) => [clamp(x, whole[0]), clamp(y, whole[1])]) };
  });
  const found = [...of(polygons, { kind: "counts" }), ...of(ignore, { kind: "ignored" })];
  for (const { name, polygons: own, level = null, area = null } of zones) {
    found.push(...of(own, { kind: "zone", name: String(name), level, area }));
  }
  return { whole, found };
}

document.getElementById("image").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  try {
    const bitmap = await createImageBitmap(file);
    place(bitmap, [bitmap.width, bitmap.height]);
  } catch {
    say(_("{name}: no image that the browser can show; choose a PNG, JPEG or WebP", { name: file.name }));
  }
});

document.getElementById("drawn").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  let read;
  try {
    read = opened(await file.text());
  } catch {
    say(_("{name}: no drawing of a region of interest", { name: file.name }));
    return;
  }
  remember();
  shapes = read.found;
  chosen = -1;
  draft = [];
  if (!size) return place(null, read.whole);
  const shown = size;
  size = read.whole;
  measure(shown);
});

undo.addEventListener("click", () => {
  shapes = JSON.parse(before.pop());
  undo.disabled = !before.length;
  chosen = -1;
  draft = [];
  show();
});

svg.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  const at = placeOf(event);
  const held = chosen >= 0 && !draft.length ? shapes[chosen].corners.findIndex((one) => near(one, at)) : -1;
  if (held >= 0) remember();
  grip = held >= 0 ? { held } : { from: at, to: null };
  cross = null;
  svg.setPointerCapture(event.pointerId);
});

svg.addEventListener("pointermove", (event) => {
  if (!grip) return;
  const at = placeOf(event);
  if (grip.held !== undefined) shapes[chosen].corners[grip.held] = at;
  else if (!draft.length && !near(at, grip.from)) grip.to = at;
  draw();
});

svg.addEventListener("pointerup", (event) => {
  const { held, from, to } = grip || {};
  grip = null;
  if (held !== undefined) return show();
  if (!from) return draw();
  if (!to) return corner(placeOf(event));
  const [[x0, y0], [x1, y1]] = [from, to];
  finish([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]);
});

svg.addEventListener("pointercancel", () => {
  grip = null;
  draw();
});

svg.addEventListener("dblclick", () => finish(draft));

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

drawing.addEventListener("keydown", (event) => {
  if (!size || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = STEPS[event.key];
  if (step) {
    const far = Math.max(1, Math.round(Math.max(...size) / 200)) * (event.shiftKey ? 10 : 1);
    cross = cross || size.map((side) => Math.floor(side / 2));
    cross = cross.map((at, axis) => clamp(at + far * step[axis], size[axis]));
  } else if (event.key === " ") corner(cross || (cross = size.map((side) => Math.floor(side / 2))));
  else if (event.key === "Enter") finish(draft);
  else if (event.key === "Backspace") draft.pop();
  else if (event.key === "Escape") draft = [];
  else return;
  event.preventDefault();
  draw();
});

kind.addEventListener("change", draw);
addEventListener("resize", draw);

if (drawing.dataset.image) {
  try {
    const answer = await fetch(drawing.dataset.image);
    if (!answer.ok) throw new Error();
    const bitmap = await createImageBitmap(await answer.blob());
    place(bitmap, [Number(drawing.dataset.width), Number(drawing.dataset.height)]);
  } catch {
    say(_("The part's image cannot be shown; it may have been deleted by its age."));
  }
}
