// A street that is drawn rather than photographed: something to try the page with, which nobody has a right in.
// The cars are large and light, as the shipped model, which has only seen photographs, finds them so.

const WIDTH = 1200;
const HEIGHT = 800;

/** As a file would be: a PNG. */
export async function drawSample() {
  const canvas = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
  const context = canvas.getContext("2d");
  drawStreet(context);
  drawCar(context, 480, 300, 700, ["#e8e8e6", "#9a9c9d"]);
  drawCar(context, 60, 520, 800, ["#8fa9b8", "#4d6472"]);
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
}

function shade(context, [x0, y0, x1, y1], ...colours) {
  const gradient = context.createLinearGradient(x0, y0, x1, y1);
  colours.forEach((colour, index) => gradient.addColorStop(index / (colours.length - 1), colour));
  return gradient;
}

function polygon(context, points, fill) {
  context.beginPath();
  points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
  context.fillStyle = fill;
  context.fill();
}

function drawStreet(context) {
  context.fillStyle = shade(context, [0, 0, 0, 420], "#8fb4d6", "#d8e2e6");
  context.fillRect(0, 0, WIDTH, 430);
  // Trees and no houses: rows of windows look like a bus.
  for (let index = 0; index < 26; index += 1) {
    const x = index * 50 - 20;
    const height = 90 + 70 * Math.abs(Math.sin(index * 2.3));
    context.fillStyle = shade(context, [0, 430 - height * 1.6, 0, 430], index % 2 ? "#6f8a62" : "#5b7853", "#3d5238");
    context.beginPath();
    context.ellipse(x, 430 - height * 0.75, 52, height * 0.8, 0, 0, Math.PI * 2);
    context.fill();
  }
  context.fillStyle = "#9b9a94";
  context.fillRect(0, 425, WIDTH, 45);
  context.fillStyle = shade(context, [0, 465, 0, HEIGHT], "#5d6063", "#3c3e41");
  context.fillRect(0, 465, WIDTH, HEIGHT - 465);
  context.fillStyle = "#d9d6c8";
  for (let x = -40; x < WIDTH; x += 190) polygon(context, [[x, 630], [x + 100, 630], [x + 92, 640], [x - 10, 640]], "#d2cfc2");
}

function drawShadow(context, x, y, width) {
  context.fillStyle = "rgb(0 0 0 / 0.42)";
  context.beginPath();
  context.ellipse(x + width / 2, y, width * 0.52, width * 0.045, 0, 0, Math.PI * 2);
  context.fill();
}

function drawWheel(context, x, y, radius) {
  for (const [part, colour] of [[1, "#131415"], [0.66, "#a9adb0"], [0.56, "#5b5f62"], [0.2, "#c9cccd"]]) {
    context.fillStyle = colour;
    context.beginPath();
    context.arc(x, y, radius * part, 0, Math.PI * 2);
    context.fill();
  }
  context.strokeStyle = "#c3c7c9";
  context.lineWidth = radius * 0.12;
  for (let spoke = 0; spoke < 5; spoke += 1) {
    const angle = (spoke / 5) * Math.PI * 2 - 0.3;
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x + Math.cos(angle) * radius * 0.6, y + Math.sin(angle) * radius * 0.6);
    context.stroke();
  }
}

/** A saloon from its side; `x`, `y` is the upper left corner, all else in parts of its width. */
function drawCar(context, x, y, width, [light, dark]) {
  const at = (part, down) => [x + part * width, y + down * width];
  const height = 0.32 * width;
  drawShadow(context, x, y + height, width);
  context.beginPath();
  context.moveTo(...at(0.02, 0.25));
  context.bezierCurveTo(...at(0, 0.17), ...at(0.02, 0.135), ...at(0.14, 0.12));
  context.bezierCurveTo(...at(0.22, 0.03), ...at(0.3, 0), ...at(0.44, 0));
  context.bezierCurveTo(...at(0.58, 0), ...at(0.63, 0.03), ...at(0.74, 0.115));
  context.bezierCurveTo(...at(0.9, 0.13), ...at(0.98, 0.15), ...at(0.985, 0.2));
  context.lineTo(...at(0.985, 0.25));
  context.quadraticCurveTo(...at(0.985, 0.275), ...at(0.95, 0.275));
  context.lineTo(...at(0.04, 0.275));
  context.quadraticCurveTo(...at(0.02, 0.275), ...at(0.02, 0.25));
  context.fillStyle = shade(context, [0, y, 0, y + height], light, light, dark);
  context.fill();
  const glass = shade(context, [0, y, 0, y + 0.13 * width], "#2b343a", "#75858d");
  polygon(context, [at(0.2, 0.118), at(0.28, 0.035), at(0.42, 0.022), at(0.42, 0.118)], glass);
  polygon(context, [at(0.44, 0.118), at(0.44, 0.022), at(0.56, 0.028), at(0.69, 0.118)], glass);
  context.strokeStyle = "rgb(0 0 0 / 0.35)";
  context.lineWidth = width * 0.004;
  for (const [part, top] of [[0.43, 0.02], [0.7, 0.12], [0.19, 0.12]]) {
    context.beginPath();
    context.moveTo(...at(part, top));
    context.lineTo(...at(part === 0.19 ? 0.24 : part, 0.25));
    context.stroke();
  }
  context.fillStyle = "rgb(255 255 255 / 0.28)";
  context.fillRect(...at(0.05, 0.142), width * 0.9, width * 0.008);
  context.fillStyle = "#1e1f20";
  context.fillRect(...at(0.05, 0.262), width * 0.9, width * 0.018);
  polygon(context, [at(0.93, 0.15), at(0.98, 0.17), at(0.98, 0.195), at(0.92, 0.18)], "#f4f0d8");
  polygon(context, [at(0.02, 0.15), at(0.06, 0.145), at(0.06, 0.185), at(0.018, 0.19)], "#c01f1a");
  for (const part of [0.2, 0.79]) {
    context.fillStyle = "#151617";
    context.beginPath();
    context.arc(...at(part, 0.255), width * 0.085, Math.PI, 0);
    context.fill();
    drawWheel(context, ...at(part, 0.258), width * 0.07);
  }
}
