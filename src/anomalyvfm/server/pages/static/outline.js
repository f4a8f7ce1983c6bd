// Where a part's defect is: outlines drawn over its image, sent with the answer that it is a defect.
import { note } from "./answers.js";
import { Drawing } from "./drawing.js";
import { _, call, number, say } from "./page.js";

const list = document.getElementById("list");
const save = document.getElementById("save");
const part = document.getElementById("drawing").dataset;
const drawing = new Drawing(() => ({ kind: "defect" }), show);

/** The list, after a change of outlines. */
function show() {
  list.replaceChildren();
  drawing.shapes.forEach((shape, index) => {
    const row = document.getElementById("shape").content.firstElementChild.cloneNode(true);
    const choose = row.querySelector(".choose");
    choose.textContent = _("outline {number}, {count} corners", { number: index + 1, count: number(shape.corners.length) });
    choose.setAttribute("aria-pressed", index === drawing.chosen);
    choose.addEventListener("click", () => drawing.choose(index === drawing.chosen ? -1 : index));
    row.querySelector(".remove").addEventListener("click", () => drawing.remove(index));
    list.append(row);
  });
  save.disabled = !drawing.shapes.length;
}

save.addEventListener("click", async () => {
  save.disabled = true;
  const inspection = Number(part.inspection);
  const kind = document.getElementById("defect-kind").value.trim();
  const body = {
    label: "defect", kind, why: "", seen_review: part.review ? Number(part.review) : null,
    outline: drawing.shapes.map((shape) => shape.corners),
  };
  try {
    note(inspection, part.name, kind || "defect", await call("POST", `/api/inspections/${inspection}/reviews`, body));
    location.assign(part.next);
  } catch (refused) {
    save.disabled = false;
    say(refused.message);
  }
});

try {
  await drawing.placeNamed();
  drawing.shapes = JSON.parse(part.outline).map((corners) => ({ kind: "defect", corners }));
  drawing.show();
} catch {
  say(_("The part's image cannot be shown; it may have been deleted by its age."));
}
