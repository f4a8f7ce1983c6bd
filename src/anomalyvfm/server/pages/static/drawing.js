// Polygons drawn over an image: by dragging, by clicking corners, by keyboard. Corners are in pixels of the image.

const LONGEST_SIDE = 2000; // of the picture on the screen
const NEAR = 10; // screen pixels within which a pointer means a corner
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export const clamp = (value, most) => Math.max(0, Math.min(most - 1, Math.floor(value)));

const points = (corners) => corners.map(([x, y]) => `${x + 0.5},${y + 0.5}`).join(" ");

export class Drawing {
  /** `next` says what a shape is that is drawn now: its kind and more; `changed` is told of every change. */
  constructor(next, changed) {
    this.next = next;
    this.changed = changed;
    this.size = null; // width and height of the image
    this.shapes = []; // of kind and corners [x, y]
    this.chosen = -1; // the shape whose corners can be dragged
    this.draft = []; // corners of the shape that is being drawn
    this.cross = null; // where the keyboard draws
    this.grip = null; // what the pointer holds: a corner, or where it was pressed
    this.before = []; // states to go back to
    this.stage = document.getElementById("drawing");
    this.picture = document.getElementById("picture");
    this.svg = document.getElementById("shapes");
    this.undo = document.getElementById("undo");
    this.undo.addEventListener("click", () => this.goBack());
    this.svg.addEventListener("pointerdown", (event) => this.press(event));
    this.svg.addEventListener("pointermove", (event) => this.move(event));
    this.svg.addEventListener("pointerup", (event) => this.release(event));
    this.svg.addEventListener("pointercancel", () => {
      this.grip = null;
      this.draw();
    });
    this.svg.addEventListener("dblclick", () => this.finish(this.draft));
    this.stage.addEventListener("keydown", (event) => this.key(event));
    addEventListener("resize", () => this.draw());
  }

  /** Before a change: where `undo` goes back to. */
  remember() {
    this.before.push(JSON.stringify(this.shapes));
    this.undo.disabled = false;
  }

  goBack() {
    this.shapes = JSON.parse(this.before.pop());
    this.undo.disabled = !this.before.length;
    this.choose(-1);
  }

  choose(index) {
    this.chosen = index;
    this.draft = [];
    this.show();
  }

  remove(index) {
    this.remember();
    this.shapes.splice(index, 1);
    this.choose(-1);
  }

  show() {
    this.changed();
    this.draw();
  }

  /** Shows an image, or a blank sheet; corners are in pixels of `whole`, of which it may be a smaller copy. */
  place(bitmap, whole) {
    const shrink = Math.min(1, LONGEST_SIDE / Math.max(...whole));
    [this.picture.width, this.picture.height] = whole.map((side) => Math.max(1, Math.round(side * shrink)));
    if (bitmap) this.picture.getContext("2d").drawImage(bitmap, 0, 0, this.picture.width, this.picture.height);
    this.measure(whole);
  }

  /** Corners are from now on in pixels of `whole`, width and height: shapes stay where they are in the image. */
  measure(whole) {
    const { size } = this;
    if (size && (size[0] !== whole[0] || size[1] !== whole[1]) && this.shapes.length) {
      this.remember();
      const [right, down] = [whole[0] / size[0], whole[1] / size[1]];
      for (const shape of this.shapes) {
        shape.corners = shape.corners.map(([x, y]) => [clamp((x + 0.5) * right, whole[0]), clamp((y + 0.5) * down, whole[1])]);
      }
    }
    this.size = whole;
    this.svg.setAttribute("viewBox", `0 0 ${whole[0]} ${whole[1]}`);
    this.stage.style.setProperty("--shape", whole[0] / whole[1]);
    this.stage.hidden = false;
    this.show();
  }

  /** Shows the image that the page names; throws where the browser cannot. */
  async placeNamed() {
    const answer = await fetch(this.stage.dataset.image);
    if (!answer.ok) throw new Error();
    const bitmap = await createImageBitmap(await answer.blob());
    this.place(bitmap, [Number(this.stage.dataset.width), Number(this.stage.dataset.height)]);
  }

  /** The shapes over the picture. */
  draw() {
    this.svg.replaceChildren();
    if (!this.size) return;
    const { kind } = this.next();
    const element = (name, attributes) => {
      const made = document.createElementNS(this.svg.namespaceURI, name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      this.svg.append(made);
    };
    this.shapes.forEach((shape, index) => {
      element("polygon", { points: points(shape.corners), class: shape.kind + (index === this.chosen ? " chosen" : "") });
    });
    const radius = 5 / this.scale();
    const dots = (corners) => corners.forEach(([x, y]) => element("circle", { cx: x + 0.5, cy: y + 0.5, r: radius }));
    if (this.chosen >= 0) dots(this.shapes[this.chosen].corners);
    if (this.draft.length) {
      element("polyline", { points: points(this.draft), class: kind });
      dots(this.draft);
    }
    if (this.grip && this.grip.to) element("polygon", { points: points(this.rectangle()), class: kind });
    if (this.cross) {
      const [x, y] = [this.cross[0] + 0.5, this.cross[1] + 0.5];
      const arm = 9 / this.scale();
      element("path", { d: `M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}`, class: "cross" });
    }
  }

  /** Screen pixels of one pixel of the image. */
  scale() {
    return this.svg.getBoundingClientRect().width / this.size[0];
  }

  placeOf(event) {
    const box = this.svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.size[0];
    const y = ((event.clientY - box.top) / box.height) * this.size[1];
    return [clamp(x, this.size[0]), clamp(y, this.size[1])];
  }

  near(a, b) {
    return Math.hypot(a[0] - b[0], a[1] - b[1]) * this.scale() <= NEAR;
  }

  rectangle() {
    const [[x0, y0], [x1, y1]] = [this.grip.from, this.grip.to];
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
  }

  finish(corners) {
    this.draft = [];
    if (corners.length < 3) return this.draw();
    this.remember();
    this.shapes.push({ ...this.next(), corners });
    this.choose(this.shapes.length - 1);
  }

  corner(at) {
    if (this.draft.length >= 3 && this.near(at, this.draft[0])) return this.finish(this.draft);
    if (!this.draft.length || !this.near(at, this.draft.at(-1))) this.draft.push(at);
    this.draw();
  }

  press(event) {
    if (event.button !== 0) return;
    const at = this.placeOf(event);
    const held = this.chosen >= 0 && !this.draft.length
      ? this.shapes[this.chosen].corners.findIndex((one) => this.near(one, at)) : -1;
    if (held >= 0) this.remember();
    this.grip = held >= 0 ? { held } : { from: at, to: null };
    this.cross = null;
    this.svg.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.grip) return;
    const at = this.placeOf(event);
    if (this.grip.held !== undefined) this.shapes[this.chosen].corners[this.grip.held] = at;
    else if (!this.draft.length && !this.near(at, this.grip.from)) this.grip.to = at;
    this.draw();
  }

  release(event) {
    const { held, from, to } = this.grip || {};
    const corners = to ? this.rectangle() : null;
    this.grip = null;
    if (held !== undefined) return this.show();
    if (!from) return this.draw();
    if (!corners) return this.corner(this.placeOf(event));
    this.finish(corners);
  }

  key(event) {
    if (!this.size || event.ctrlKey || event.metaKey || event.altKey) return;
    const middle = this.size.map((side) => Math.floor(side / 2));
    const step = STEPS[event.key];
    if (step) {
      const far = Math.max(1, Math.round(Math.max(...this.size) / 200)) * (event.shiftKey ? 10 : 1);
      this.cross = (this.cross || middle).map((at, axis) => clamp(at + far * step[axis], this.size[axis]));
    } else if (event.key === " ") {
      this.cross = this.cross || middle;
      this.corner(this.cross);
    } else if (event.key === "Enter") this.finish(this.draft);
    else if (event.key === "Backspace") this.draft.pop();
    else if (event.key === "Escape") this.draft = [];
    else return;
    event.preventDefault();
    this.draw();
  }
}
