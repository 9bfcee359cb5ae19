// One colour for each class, the same in every picture and in both themes. Neighbouring ids are far apart in hue.

const GOLDEN_ANGLE = 137.508;
const FIRST_HUE = 165;

export const INK = "#0c1413";

/** Light enough that INK on it is easy to read. */
export function classColour(classId) {
  const hue = (FIRST_HUE + classId * GOLDEN_ANGLE) % 360;
  return `oklch(0.83 0.155 ${hue.toFixed(1)})`;
}
