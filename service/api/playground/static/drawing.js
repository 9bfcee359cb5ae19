// Boxes and their labels on a canvas: the same over the picture on the page and in the picture that is downloaded.

import { classColour, INK } from "./colours.js";

const FAMILY = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif';
// Beyond this many only the best boxes have their labels, which would cover the picture otherwise.
const MOST_LABELS = 60;

/**
 * Draws `detections` at `place`: {scale, x, y} from pixels of the picture to those of the context.
 * `unit` is the size of everything that is not the picture's; `marked` the index of the one to stress, or -1.
 */
export function drawDetections(context, detections, { place, unit = 1, marked = -1, bounds }) {
  // The best are drawn last, over the others.
  for (let index = detections.length - 1; index >= 0; index -= 1) {
    if (index !== marked) drawBox(context, detections[index], { place, unit, faint: marked >= 0 });
  }
  if (marked >= 0 && detections[marked]) drawBox(context, detections[marked], { place, unit, filled: true });
  const labels = new Labels(context, { unit, bounds });
  if (detections[marked]) labels.add(detections[marked], frameOf(detections[marked], place), { must: true });
  if (marked >= 0) return;
  for (const detection of detections.slice(0, MOST_LABELS)) labels.add(detection, frameOf(detection, place), {});
}

/** The box of a detection in the context: {x, y, width, height}. */
export function frameOf({ box }, { scale, x, y }) {
  return { x: x + box.x1 * scale, y: y + box.y1 * scale, width: (box.x2 - box.x1) * scale, height: (box.y2 - box.y1) * scale };
}

function drawBox(context, detection, { place, unit, faint = false, filled = false }) {
  const { x, y, width, height } = frameOf(detection, place);
  const colour = classColour(detection.class_id);
  context.save();
  context.globalAlpha = faint ? 0.3 : 1;
  context.lineJoin = "round";
  context.lineCap = "round";
  if (filled) {
    context.globalAlpha = 0.22;
    context.fillStyle = colour;
    context.fillRect(x, y, width, height);
    context.globalAlpha = 1;
  }
  // A dark edge below the colour keeps it visible on any picture.
  stroke(context, () => context.rect(x, y, width, height), "rgb(0 0 0 / 0.45)", 3.5 * unit);
  stroke(context, () => context.rect(x, y, width, height), colour, (filled ? 2.2 : 1.5) * unit);
  const arm = Math.min(14 * unit, width / 3, height / 3);
  stroke(context, () => corners(context, { x, y, width, height }, arm), colour, (filled ? 4.5 : 3.5) * unit);
  context.restore();
}

function stroke(context, shape, colour, width) {
  context.beginPath();
  shape();
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}

function corners(context, { x, y, width, height }, arm) {
  for (const [cornerX, cornerY, right, down] of [[x, y, 1, 1], [x + width, y, -1, 1], [x + width, y + height, -1, -1], [x, y + height, 1, -1]]) {
    context.moveTo(cornerX + right * arm, cornerY);
    context.lineTo(cornerX, cornerY);
    context.lineTo(cornerX, cornerY + down * arm);
  }
}

/** Puts labels where none lies already; what finds no place has none. */
class Labels {
  constructor(context, { unit, bounds }) {
    this._context = context;
    this._unit = unit;
    this._bounds = bounds;
    this._taken = [];
  }

  add(detection, frame, { must = false }) {
    const unit = this._unit;
    const context = this._context;
    const score = detection.score.toFixed(2);
    context.font = `600 ${12 * unit}px ${FAMILY}`;
    const gap = 6 * unit;
    const labelWidth = context.measureText(detection.label).width;
    const width = labelWidth + context.measureText(score).width + gap + 14 * unit;
    const spot = this._spot(frame, width, 20 * unit, must);
    if (!spot) return;
    this._taken.push({ ...spot, width, height: 20 * unit });
    context.fillStyle = classColour(detection.class_id);
    context.beginPath();
    context.roundRect(spot.x, spot.y, width, 20 * unit, 5 * unit);
    context.fill();
    context.fillStyle = INK;
    context.textBaseline = "middle";
    const middle = spot.y + 10.5 * unit;
    context.fillText(detection.label, spot.x + 7 * unit, middle);
    context.globalAlpha = 0.75;
    context.fillText(score, spot.x + 7 * unit + labelWidth + gap, middle);
    context.globalAlpha = 1;
  }

  _spot(frame, width, height, must) {
    const { x, y, right, bottom } = this._bounds;
    const gap = 3 * this._unit;
    const left = Math.max(x, Math.min(frame.x - 1, right - width));
    const wanted = [frame.y - height - gap, frame.y + gap, frame.y + frame.height + gap, frame.y + frame.height - height - gap];
    const inside = wanted.filter((top) => top >= y && top + height <= bottom).map((top) => ({ x: left, y: top }));
    const free = inside.find((spot) => !this._taken.some((taken) => overlaps({ ...spot, width, height }, taken)));
    return free ?? (must ? inside[0] ?? { x: left, y: Math.max(y, wanted[0]) } : null);
  }
}

function overlaps(one, other) {
  return one.x < other.x + other.width && other.x < one.x + one.width
    && one.y < other.y + other.height && other.y < one.y + one.height;
}
