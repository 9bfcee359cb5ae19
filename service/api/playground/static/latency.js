// Where the time of one answer went: a bar by stage, the same as text, and what the cache did.

const REST = "other";
export const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en")} ms`;

export class Latency {
  constructor() {
    this._section = document.getElementById("latency");
    this._bar = document.getElementById("bar");
    this._stages = document.getElementById("stages");
    this._total = document.getElementById("total");
    this._totalOf = document.getElementById("total-of");
    this._roundTrip = document.getElementById("round-trip");
    this._cache = document.getElementById("cache");
    this._request = document.getElementById("request");
    this._requestId = document.getElementById("request-id");
    document.getElementById("request-copy").addEventListener("click", (event) => this._copy(event.currentTarget));
  }

  hide() {
    this._section.hidden = true;
  }

  /** Of a picture. What it says of the cache, for whoever cannot see the chip. */
  showAnswer({ document: answer, cache, totalMs, roundTripMs }) {
    this._show(answer.timings_ms, totalMs, "in the service");
    this._roundTrip.textContent = `${milliseconds(roundTripMs)} there and back`;
    this._request.hidden = false;
    this._requestId.textContent = answer.request_id;
    this._requestId.title = answer.request_id;
    const text = cacheText(cache, totalMs);
    this._cache.hidden = text === "";
    this._cache.textContent = text;
    this._cache.classList.toggle("hit", cache.hit);
    return text;
  }

  /** Of a frame of a stream. */
  showFrame({ timings_ms: timings, age_ms: ageMs }) {
    this._show(timings, ageMs, "from arrival to answer");
    this._roundTrip.textContent = "";
    this._request.hidden = true;
    this._cache.hidden = true;
  }

  _show(timings, totalMs, of) {
    // A hit of the cache does most of the stages not at all.
    const stages = Object.entries(timings).filter(([, value]) => value > 0);
    const sum = stages.reduce((all, [, value]) => all + value, 0);
    const total = Math.max(totalMs ?? sum, sum);
    if (total - sum > 0.05) stages.push([REST, total - sum]);
    this._section.hidden = false;
    this._total.textContent = milliseconds(total);
    this._totalOf.textContent = of;
    this._bar.replaceChildren(...stages.map(([name, value]) => segment(name, value / total)));
    this._stages.replaceChildren(...stages.map(([name, value]) => entry(name, value)));
  }

  async _copy(button) {
    try {
      await navigator.clipboard.writeText(this._requestId.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(this._requestId);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
}

function cacheText({ hit, where }, totalMs) {
  if (hit) return `cache hit${where === "redis" ? " in Redis" : ""}${totalMs === null ? "" : ` · ${milliseconds(totalMs)}`}`;
  return { miss: "computed", request: "computed anew", bypass: "cache off" }[where] ?? "";
}

function segment(name, part) {
  const element = document.createElement("i");
  element.dataset.stage = name;
  element.style.setProperty("--part", String(part));
  return element;
}

function entry(name, value) {
  const item = document.createElement("li");
  item.dataset.stage = name;
  const label = document.createElement("span");
  label.textContent = name;
  const number = document.createElement("b");
  number.textContent = milliseconds(value);
  item.append(label, " ", number);
  return item;
}
