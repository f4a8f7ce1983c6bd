// Region of interest: polygons drawn over an image, kept as the JSON that `anomalyvfm fit --roi` reads.
import { Drawing, clamp } from "./drawing.js";
import { _, number, percent, say } from "./page.js";

const COUNTED_SIDE = 300; // of the raster on which the share that counts is counted
const KINDS = { counts: _("counts"), ignored: _("is ignored"), zone: _("zone") };

const list = document.getElementById("list");
const kind = document.getElementById("kind");
const save = document.getElementById("save");

// A shape's kind, and of a zone its name, level and area.
const drawing = new Drawing(next, show);

function next() {
  const zones = drawing.shapes.filter((shape) => shape.kind === "zone").length;
  return { kind: kind.value, name: _("zone {number}", { number: zones + 1 }), level: null, area: null };
}

/** The share of the image that counts, on a small raster. */
function share() {
  const { size, shapes } = drawing;
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

/** What the file says: the inverse of `opened`. */
function contents() {
  const of = (wanted) => drawing.shapes.filter((shape) => shape.kind === wanted);
  const zones = {};
  for (const { name, corners, level, area } of of("zone")) {
    const zone = (zones[name] ||= { name, polygons: [], level: null, area: null });
    zone.polygons.push(corners);
    zone.level ??= level;
    zone.area ??= area;
  }
  return {
    size: drawing.size,
    polygons: of("counts").map((shape) => shape.corners),
    ignore: of("ignored").map((shape) => shape.corners),
    zones: Object.values(zones),
  };
}

/** The list, the share and the file, after a change of shapes. */
function show() {
  list.replaceChildren();
  drawing.shapes.forEach((shape, index) => {
    const row = document.getElementById("shape").content.firstElementChild.cloneNode(true);
    const choose = row.querySelector(".choose");
    choose.textContent = _("{kind}, {count} corners", { kind: KINDS[shape.kind], count: number(shape.corners.length) });
    choose.setAttribute("aria-pressed", index === drawing.chosen);
    choose.addEventListener("click", () => drawing.choose(index === drawing.chosen ? -1 : index));
    row.querySelector(".remove").addEventListener("click", () => drawing.remove(index));
    const limits = row.querySelector(".limits");
    limits.hidden = shape.kind !== "zone";
    for (const name of ["name", "level", "area"]) {
      const input = limits.querySelector("." + name);
      input.value = shape[name] ?? "";
      input.addEventListener("change", () => {
        drawing.remember();
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
}

function settle() {
  const { size } = drawing;
  if (!size) return;
  document.getElementById("no-image").hidden = true;
  const counting = share();
  const some = drawing.shapes.length > 0 && counting > 0;
  document.getElementById("share").textContent = counting > 0
    ? _("{share} of the image of {width} × {height} px counts", { share: percent(counting), width: size[0], height: size[1] })
    : _("Nothing is left that counts");
  URL.revokeObjectURL(save.href);
  save.setAttribute("aria-disabled", !some);
  if (some) save.href = URL.createObjectURL(new Blob([JSON.stringify(contents(), null, 1)], { type: "application/json" }));
  else save.removeAttribute("href");
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
    drawing.place(bitmap, [bitmap.width, bitmap.height]);
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
  drawing.remember();
  drawing.shapes = read.found;
  drawing.chosen = -1;
  drawing.draft = [];
  if (!drawing.size) return drawing.place(null, read.whole);
  const shown = drawing.size;
  drawing.size = read.whole;
  drawing.measure(shown);
});

kind.addEventListener("change", () => drawing.draw());

if (drawing.stage.dataset.image) {
  try {
    await drawing.placeNamed();
  } catch {
    say(_("The part's image cannot be shown; it may have been deleted by its age."));
  }
}
