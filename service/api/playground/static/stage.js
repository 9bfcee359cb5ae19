// The picture or the video with the canvas over it, and which box the pointer is at.

import { drawDetections, frameOf } from "./drawing.js";

// Of the canvas around the picture, for labels and lines at its edge.
const MARGIN = 4;

/** `onPoint` is told the index of the detection under the pointer, or -1; `onPick` the one that was clicked. */
export class Stage {
  constructor({ onPoint, onPick }) {
    this.element = document.getElementById("stage");
    this._canvas = document.getElementById("overlay");
    this._invitation = document.getElementById("invitation");
    this._shown = null;
    this._size = { width: 1, height: 1 };
    this._detections = [];
    this._marked = -1;
    new ResizeObserver(() => this._draw()).observe(this.element);
    // Another screen, another zoom: as many pixels as it has.
    matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", () => this._draw());
    this._canvas.addEventListener("pointermove", (event) => onPoint(this._at(event)));
    this._canvas.addEventListener("pointerleave", () => onPoint(-1));
    this._canvas.addEventListener("click", (event) => onPick(this._at(event)));
  }

  /** Shows an image, a video or a canvas of a size in pixels; null shows the invitation again. */
  show(element, { width, height } = { width: 1, height: 1 }) {
    if (element !== this._shown) {
      this._shown?.remove();
      this._shown = element;
      if (element) this.element.prepend(element);
    }
    this._size = { width, height };
    this._detections = [];
    this._invitation.hidden = element !== null;
    this._canvas.hidden = element === null;
    this.element.classList.toggle("filled", element !== null);
    this.element.style.setProperty("--aspect", String(width / height));
    this._draw();
  }

  /** `size` is that of the picture that was looked at, which the boxes are in pixels of. */
  setDetections(detections, size, text) {
    this._detections = detections;
    this._size = { width: size.width, height: size.height };
    this._canvas.setAttribute("aria-label", text);
    this._draw();
  }

  get size() {
    return this._size;
  }

  mark(index) {
    if (index === this._marked) return;
    this._marked = index;
    this._draw();
  }

  _place() {
    const { clientWidth, clientHeight } = this.element;
    const scale = Math.min(clientWidth / this._size.width, clientHeight / this._size.height);
    return { scale, x: (clientWidth - this._size.width * scale) / 2, y: (clientHeight - this._size.height * scale) / 2 };
  }

  _draw() {
    const { clientWidth, clientHeight } = this.element;
    const ratio = devicePixelRatio || 1;
    this._canvas.width = Math.round(clientWidth * ratio);
    this._canvas.height = Math.round(clientHeight * ratio);
    const context = this._canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const bounds = { x: MARGIN, y: MARGIN, right: clientWidth - MARGIN, bottom: clientHeight - MARGIN };
    drawDetections(context, this._detections, { place: this._place(), marked: this._marked, bounds });
  }

  /** The smallest box there is under the pointer. */
  _at(event) {
    const place = this._place();
    const area = ({ width, height }) => width * height;
    let found = -1;
    this._detections.forEach((detection, index) => {
      const frame = frameOf(detection, place);
      const x = event.offsetX - frame.x;
      const y = event.offsetY - frame.y;
      if (x < 0 || y < 0 || x > frame.width || y > frame.height) return;
      if (found < 0 || area(frame) < area(frameOf(this._detections[found], place))) found = index;
    });
    return found;
  }
}
