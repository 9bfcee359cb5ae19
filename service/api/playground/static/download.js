// The picture with its boxes as a PNG, and the answer as JSON.

import { drawDetections } from "./drawing.js";

/** `drawable` is what shows, `document` what the service said of it. */
export async function savePicture(drawable, document_, name) {
  const { width, height } = document_.image;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(drawable, 0, 0, width, height);
  const unit = Math.max(0.75, Math.max(width, height) / 1100);
  drawDetections(context, document_.detections, {
    place: { scale: 1, x: 0, y: 0 }, unit, bounds: { x: 0, y: 0, right: width, bottom: height },
  });
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
  save(blob, `${name}-detections.png`);
}

export function saveJson(document_, name) {
  save(new Blob([`${JSON.stringify(document_, null, 2)}\n`], { type: "application/json" }), `${name}-detections.json`);
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
