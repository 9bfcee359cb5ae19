// The detections as a table and as counts: what the canvas shows, for eyes, keyboards and screen readers.

import { classColour } from "./colours.js";

const plural = (count) => (count === 1 ? "1 object" : `${count.toLocaleString("en")} objects`);

/** `onMark` is told which detection is looked at, or -1. */
export class Results {
  constructor(onMark) {
    this._summary = document.getElementById("summary");
    this._counts = document.getElementById("counts");
    this._table = document.getElementById("table");
    this._body = document.getElementById("rows");
    this._nothing = document.getElementById("nothing");
    this._onMark = onMark;
    this._kept = -1;
    this._rows = [];
    this._body.addEventListener("keydown", (event) => this._step(event));
  }

  /** Shows detections, best first. What is said of them in a sentence. */
  show(detections) {
    const counts = countByClass(detections);
    this._summary.textContent = detections.length ? plural(detections.length) : "No objects";
    this._showCounts(counts);
    this._table.hidden = detections.length === 0;
    this._nothing.hidden = detections.length > 0;
    this._nothing.textContent = "Nothing in this picture has a score above the confidence that you set. A lower one shows more.";
    if (this._kept >= detections.length) this.keep(-1);
    this._showRows(detections);
    return detections.length
      ? `${plural(detections.length)}: ${counts.map(({ label, count }) => `${count} ${label}`).join(", ")}`
      : "No objects";
  }

  clear(text) {
    this.show([]);
    this._summary.textContent = text;
    this._nothing.hidden = true;
    this.keep(-1);
  }

  /** Lights up the row of what the pointer is at in the picture. */
  point(index) {
    this._rows.forEach(({ row }, at) => row.classList.toggle("marked", at === (index >= 0 ? index : this._kept)));
    this._onMark(index >= 0 ? index : this._kept);
  }

  /** Keeps one marked, or the same one no longer. */
  keep(index, { reveal = false } = {}) {
    this._kept = index === this._kept ? -1 : index;
    this._rows.forEach(({ button }, at) => button.setAttribute("aria-pressed", String(at === this._kept)));
    if (reveal && this._kept >= 0) this._rows[this._kept].row.scrollIntoView({ block: "nearest" });
    this.point(-1);
  }

  _showCounts(counts) {
    this._counts.replaceChildren(...counts.map(({ label, classId, count }) => {
      const item = document.createElement("li");
      const swatch = makeSwatch(classId);
      const number = document.createElement("b");
      number.textContent = String(count);
      item.append(swatch, `${label} `, number);
      return item;
    }));
  }

  _showRows(detections) {
    while (this._rows.length > detections.length) this._rows.pop().row.remove();
    while (this._rows.length < detections.length) this._rows.push(this._makeRow(this._rows.length));
    detections.forEach((detection, index) => fill(this._rows[index], detection));
  }

  _makeRow(index) {
    const row = document.createElement("tr");
    const [object, score, box] = ["th", "td", "td"].map((tag) => document.createElement(tag));
    object.scope = "row";
    const button = document.createElement("button");
    button.type = "button";
    button.tabIndex = index === 0 ? 0 : -1;
    button.setAttribute("aria-pressed", "false");
    const swatch = makeSwatch(0);
    const label = document.createElement("span");
    button.append(swatch, label);
    object.append(button);
    const number = document.createElement("span");
    const meter = document.createElement("i");
    meter.className = "meter";
    score.append(number, meter);
    box.className = "box";
    row.append(object, score, box);
    row.addEventListener("pointerenter", () => this.point(index));
    row.addEventListener("pointerleave", () => this.point(-1));
    row.addEventListener("click", () => this.keep(index));
    button.addEventListener("focus", () => {
      this._rows.forEach(({ button: other }, at) => { other.tabIndex = at === index ? 0 : -1; });
      this.point(index);
    });
    button.addEventListener("blur", () => this.point(-1));
    this._body.append(row);
    return { row, button, swatch, label, number, meter, box };
  }

  _step(event) {
    const at = this._rows.findIndex(({ button }) => button === document.activeElement);
    const last = this._rows.length - 1;
    const to = { ArrowDown: Math.min(at + 1, last), ArrowUp: Math.max(at - 1, 0), Home: 0, End: last }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    this._rows[to].button.focus();
  }
}

function fill({ swatch, label, number, meter, box }, detection) {
  const colour = classColour(detection.class_id);
  swatch.style.setProperty("--colour", colour);
  meter.style.setProperty("--colour", colour);
  meter.style.setProperty("--part", String(detection.score));
  label.textContent = detection.label;
  number.textContent = detection.score.toFixed(2);
  const { x1, y1, x2, y2 } = detection.box;
  const round = (value) => String(Math.round(value));
  box.replaceChildren(`${round(x1)}, ${round(y1)}`, arrow(), `${round(x2)}, ${round(y2)}`);
}

function arrow() {
  const sign = document.createElement("span");
  sign.textContent = " – ";
  return sign;
}

export function makeSwatch(classId) {
  const swatch = document.createElement("i");
  swatch.className = "swatch";
  swatch.setAttribute("aria-hidden", "true");
  swatch.style.setProperty("--colour", classColour(classId));
  return swatch;
}

function countByClass(detections) {
  const found = new Map();
  for (const { label, class_id: classId } of detections) {
    const entry = found.get(classId) ?? { label, classId, count: 0 };
    entry.count += 1;
    found.set(classId, entry);
  }
  return [...found.values()].sort((one, other) => other.count - one.count || one.label.localeCompare(other.label));
}
