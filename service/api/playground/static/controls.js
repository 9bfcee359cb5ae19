// What is asked of the service beside the picture: model, thresholds, classes.

import { classColour } from "./colours.js";
import { makeSwatch } from "./results.js";

const byId = (id) => document.getElementById(id);
// From here on a field finds the class.
const MANY_CLASSES = 24;
// Until a hand that drags rests.
const DEBOUNCE_MS = 80;

/** `onChange` is called once the settings have rested for a moment, with whether another model is meant. */
export class Controls {
  constructor(onChange) {
    this._onChange = onChange;
    this._models = [];
    this._wanted = new Set();
    this._timer = null;
    this._anotherModel = false;
    for (const id of ["confidence", "iou"]) {
      byId(id).addEventListener("input", () => { showValue(byId(id)); this._changed(); });
      showValue(byId(id));
    }
    byId("most").addEventListener("input", () => this._changed());
    byId("agnostic").addEventListener("change", () => this._changed());
    byId("model").addEventListener("change", () => { this._showVersions(); this._changed(true); });
    byId("version").addEventListener("change", () => this._changed(true));
    byId("classes-all").addEventListener("click", () => { this._wanted.clear(); this._showWanted(); this._changed(); byId("classes").querySelector("button")?.focus(); });
    byId("classes-find").addEventListener("input", () => this._find());
    byId("reset").addEventListener("click", () => this._reset());
  }

  /** As GET /v1/models tells them. */
  setModels(models) {
    this._models = models;
    const names = [...new Set(models.map(({ name }) => name))];
    const ready = (name) => models.some((model) => model.name === name && model.ready);
    byId("model").replaceChildren(...names.map((name) => option(name, ready(name) ? name : `${name} (not ready)`)));
    this._showVersions();
  }

  /** The model that the settings mean, or null before there is any. */
  get model() {
    const ofName = this._models.filter(({ name }) => name === byId("model").value);
    const version = byId("version").value;
    return ofName.find((model) => (version ? model.version === version : model.current)) ?? ofName[0] ?? null;
  }

  /** Longest side of a frame of a stream, in pixels. */
  get frameSide() {
    return Number(byId("frame-side").value);
  }

  /** By the names of POST /v1/detect; what is not given is left out. */
  options() {
    const most = Math.min(1000, Math.max(1, Math.round(Number(byId("most").value)) || 300));
    return {
      ...(byId("model").value ? { model: byId("model").value } : {}),
      ...(byId("version").value ? { version: byId("version").value } : {}),
      confidence: Number(byId("confidence").value),
      iou: Number(byId("iou").value),
      max_detections: most,
      class_agnostic: byId("agnostic").checked,
      // By id, as a name may have a comma.
      ...(this._wanted.size ? { classes: [...this._wanted].sort((one, other) => one - other).map(String) } : {}),
    };
  }

  _changed(anotherModel = false) {
    this._anotherModel ||= anotherModel;
    clearTimeout(this._timer);
    this._timer = setTimeout(() => {
      const another = this._anotherModel;
      this._anotherModel = false;
      this._onChange(another);
    }, DEBOUNCE_MS);
  }

  _showVersions() {
    const versions = this._models.filter(({ name }) => name === byId("model").value);
    const current = versions.find((model) => model.current);
    const items = versions.filter((model) => model !== current).map(({ version }) => option(version, version));
    byId("version").replaceChildren(option("", current ? `${current.version} (current)` : "current"), ...items);
    byId("version").disabled = items.length === 0;
    const floor = this.model?.score_floor ?? 0;
    const confidence = byId("confidence");
    confidence.min = String(Math.max(0.01, Math.ceil(floor * 100) / 100));
    showValue(confidence);
    this._showClasses();
  }

  _showClasses() {
    const names = this.model?.class_names ?? [];
    this._wanted = new Set([...this._wanted].filter((id) => id < names.length));
    byId("classes-find").hidden = names.length < MANY_CLASSES;
    byId("classes-find").value = "";
    byId("classes").replaceChildren(...names.map((name, id) => this._chip(name, id)));
    this._showWanted();
  }

  _chip(name, id) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.dataset.classId = String(id);
    chip.append(makeSwatch(id), name);
    chip.style.setProperty("--colour", classColour(id));
    chip.addEventListener("click", () => {
      if (!this._wanted.delete(id)) this._wanted.add(id);
      this._showWanted();
      this._changed();
    });
    return chip;
  }

  _showWanted() {
    const total = this.model?.class_names.length ?? 0;
    for (const chip of byId("classes").children) {
      chip.setAttribute("aria-pressed", String(this._wanted.has(Number(chip.dataset.classId))));
    }
    byId("classes").classList.toggle("some", this._wanted.size > 0);
    byId("classes-all").hidden = this._wanted.size === 0;
    byId("classes-count").textContent = this._wanted.size ? `${this._wanted.size} of ${total}` : total ? "all" : "";
  }

  _find() {
    const text = byId("classes-find").value.trim().toLowerCase();
    for (const chip of byId("classes").children) chip.hidden = !chip.textContent.toLowerCase().includes(text);
  }

  _reset() {
    for (const id of ["confidence", "iou", "most"]) {
      byId(id).value = byId(id).defaultValue;
      if (id !== "most") showValue(byId(id));
    }
    byId("agnostic").checked = false;
    this._wanted.clear();
    this._showWanted();
    this._changed();
  }
}

function showValue(slider) {
  const value = Number(slider.value);
  byId(`${slider.id}-value`).textContent = value.toFixed(2);
  slider.style.setProperty("--part", String((value - Number(slider.min)) / (Number(slider.max) - Number(slider.min))));
}

function option(value, text) {
  const element = document.createElement("option");
  element.value = value;
  element.textContent = text;
  return element;
}
