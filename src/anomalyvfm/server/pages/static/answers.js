// Answers given in this tab, newest last, so that several can be taken back one after another.

export const given = JSON.parse(sessionStorage.getItem("given") || "[]");

export function keep() {
  sessionStorage.setItem("given", JSON.stringify(given.slice(-50)));
}

/** Notes what the station made of an answer for a part. */
export function note(inspection, name, label, result) {
  given.push({ review: result.review.id, inspection, name, label, action: result.learning.action });
  keep();
}
