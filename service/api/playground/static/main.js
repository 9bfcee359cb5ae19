// The page as a whole: which picture or video is looked at, with what settings, and where the answers go.

import { Controls } from "./controls.js";
import { saveJson, savePicture } from "./download.js";
import { KeyDialog } from "./key.js";
import { Latency, milliseconds } from "./latency.js";
import { Live } from "./live.js";
import { Results } from "./results.js";
import { drawSample } from "./sample.js";
import { detect, listModels, lost, Problem } from "./service.js";
import { listenForFiles, openCamera } from "./sources.js";
import { Stage } from "./stage.js";
import { Trouble } from "./trouble.js";

const byId = (id) => document.getElementById(id);
// A list that changes with every frame cannot be read.
const LIST_EVERY_MS = 200;
// What takes less needs no sign that it is being worked on.
const PATIENCE_MS = 250;

class Playground {
  constructor() {
    this._picture = null; // {blob, name, element}
    this._video = null; // {element, name, stream}
    this._live = null;
    this._answer = null; // the latest document
    this._asking = null; // AbortController of the request in flight
    this._listedAt = 0;
    this._listing = null; // the timer of the next listing
    this._results = new Results((index) => this._stage.mark(index));
    this._stage = new Stage({
      onPoint: (index) => this._results.point(index),
      onPick: (index) => { if (index >= 0) this._results.keep(index, { reveal: true }); },
    });
    this._latency = new Latency();
    this._controls = new Controls(() => this._settingsChanged());
    this._key = new KeyDialog(() => this._keyChanged());
    this._trouble = new Trouble(() => this._key.open());
    this._wire();
    this._loadModels();
  }

  _wire() {
    listenForFiles({
      picture: (blob, name) => this._showPicture(blob, name),
      video: (blob, name) => this._showVideo(blob, name),
    });
    const sample = async () => this._showPicture(await drawSample(), "sample");
    byId("pick-sample").addEventListener("click", sample);
    byId("invite-sample").addEventListener("click", sample);
    byId("pick-camera").addEventListener("click", () => this._showCamera());
    byId("live-pause").addEventListener("click", () => this._setPaused(!this._video.element.paused));
    byId("live-stop").addEventListener("click", () => this._leave());
    byId("save-json").addEventListener("click", () => saveJson(this._answer, this._name));
    byId("save-picture").addEventListener("click", () => savePicture((this._video ?? this._picture).element, this._answer, this._name));
    byId("frame-side").addEventListener("change", () => { if (this._live) this._startLive(); });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape" && this._live && !document.querySelector("dialog[open]")) this._leave(); });
  }

  get _name() {
    return (this._video ?? this._picture).name;
  }

  async _loadModels() {
    try {
      this._controls.setModels(await listModels());
      this._showServing();
    } catch (problem) {
      this._fail(problem, () => this._loadModels());
    }
  }

  _showServing() {
    const model = this._controls.model;
    const parts = model ? [`${model.name} ${model.version}`, model.variant, model.device, model.precision] : [];
    byId("serving").textContent = parts.filter(Boolean).join(" · ");
  }

  _settingsChanged() {
    this._showServing();
    if (this._live) this._live.change(this._controls.options());
    else if (this._picture) this._detect();
  }

  _keyChanged() {
    this._trouble.clear();
    if (!this._controls.model) this._loadModels();
    if (this._video && !this._live) this._startLive();
    else if (this._picture) this._detect();
  }

  // Pictures.

  async _showPicture(blob, name) {
    this._leave();
    const element = new Image();
    element.alt = "";
    element.src = URL.createObjectURL(blob);
    const picture = this._picture = { blob, name, element };
    try {
      await element.decode();
    } catch {
      // The service may read what this browser cannot show; its boxes then lie on an empty sheet.
      picture.element = null;
    }
    if (picture !== this._picture) return;
    if (picture.element) this._stage.show(element, { width: element.naturalWidth, height: element.naturalHeight });
    this._detect();
  }

  async _detect() {
    this._asking?.abort();
    const asking = this._asking = new AbortController();
    const picture = this._picture;
    const patience = setTimeout(() => { byId("wait").hidden = false; }, PATIENCE_MS);
    try {
      const answer = await detect(picture.blob, this._controls.options(), asking.signal);
      if (asking !== this._asking) return;
      this._trouble.clear();
      this._showAnswer(picture, answer);
    } catch (problem) {
      if (problem.name !== "AbortError" && asking === this._asking) {
        this._forget();
        this._fail(problem, () => this._detect());
      }
    } finally {
      clearTimeout(patience);
      if (asking === this._asking) {
        this._asking = null;
        byId("wait").hidden = true;
      }
    }
  }

  _showAnswer(picture, answer) {
    const { document: found } = answer;
    if (!picture.element) {
      picture.element = emptySheet(found.image);
      this._stage.show(picture.element, found.image);
    }
    const text = this._show(found);
    const cached = this._latency.showAnswer(answer);
    byId("said").textContent = [text, cached, answer.totalMs === null ? "" : milliseconds(answer.totalMs)].filter(Boolean).join(", ");
  }

  /** Puts an answer into the list and onto the canvas. What is said of it. */
  _show(found) {
    this._answer = found;
    byId("save-json").disabled = byId("save-picture").disabled = false;
    const text = this._results.show(found.detections);
    this._stage.setDetections(found.detections, found.image, `Boxes over the picture: ${text}`);
    return text;
  }

  // Videos.

  async _showCamera() {
    this._leave();
    try {
      if (!navigator.mediaDevices) throw new Error("Browsers open the camera only for pages over HTTPS or on this machine.");
      await this._playVideo({ name: "camera", stream: await openCamera() });
    } catch (error) {
      this._fail(error instanceof Problem ? error : new Problem({ title: "No camera", detail: error.message }), () => this._showCamera());
    }
  }

  async _showVideo(blob, name) {
    this._leave();
    try {
      await this._playVideo({ name, url: URL.createObjectURL(blob) });
    } catch (error) {
      this._fail(error instanceof Problem ? error : new Problem({ title: "This browser cannot play the video", detail: error.message }), null);
    }
  }

  async _playVideo({ name, stream = null, url = null }) {
    const element = Object.assign(document.createElement("video"), { muted: true, playsInline: true, loop: true });
    if (stream) element.srcObject = stream;
    else element.src = url;
    const video = this._video = { element, name, stream };
    await element.play();
    if (video !== this._video) return;
    this._stage.show(element, { width: element.videoWidth, height: element.videoHeight });
    byId("live-tools").hidden = byId("hud").hidden = false;
    byId("hud").textContent = "Opening";
    this._results.clear("Live");
    this._setPaused(false);
    this._startLive();
  }

  _startLive() {
    this._live?.stop();
    this._trouble.clear();
    const live = this._live = new Live(this._video.element, {
      options: this._controls.options(),
      side: this._controls.frameSide,
      on: {
        result: (message) => this._showFrame(message),
        stats: (stats) => this._showStats(stats),
        trouble: (problem) => this._fail(problem, () => { if (this._video) this._startLive(); }),
        ended: () => { this._live = null; byId("hud").textContent = "Ended"; },
      },
    });
    byId("said").textContent = "Live";
    live.start().catch((problem) => {
      if (live === this._live) {
        this._live = null;
        byId("hud").textContent = "Ended";
        this._fail(problem, () => { if (this._video) this._startLive(); });
      }
    });
  }

  _showFrame(message) {
    this._answer = message;
    this._stage.setDetections(message.detections, message.image, "Boxes over the video");
    // The latest frame gets into the list in any case, as none may follow it.
    this._listing ??= setTimeout(() => this._list(), Math.max(0, this._listedAt + LIST_EVERY_MS - performance.now()));
  }

  _list() {
    this._listing = null;
    this._listedAt = performance.now();
    this._show(this._answer);
    this._latency.showFrame(this._answer);
  }

  _showStats({ fps, ageMs, dropped, skipped }) {
    byId("hud").textContent = [
      this._video.element.paused ? "paused" : `${fps.toFixed(1)} fps`, `age ${milliseconds(ageMs)}`, `dropped ${dropped}`, `skipped ${skipped}`,
    ].join("  ·  ");
  }

  _setPaused(paused) {
    const { element } = this._video;
    if (paused) element.pause();
    else element.play();
    this._live?.setPaused(paused);
    byId("live-pause").textContent = paused ? "Resume" : "Pause";
    byId("said").textContent = paused ? "Paused" : "Live";
  }

  // What both share.

  /** Ends what is looked at, whichever it is. */
  _leave() {
    this._asking?.abort();
    this._asking = null;
    this._live?.stop();
    this._live = null;
    this._video?.stream?.getTracks().forEach((track) => track.stop());
    this._video?.element.pause();
    for (const looked of [this._picture, this._video]) if (looked?.element?.src) URL.revokeObjectURL(looked.element.src);
    this._picture = this._video = null;
    byId("live-tools").hidden = byId("hud").hidden = byId("wait").hidden = true;
    this._trouble.clear();
    this._stage.show(null);
    this._forget();
  }

  /** An answer that no longer belongs to what shows. */
  _forget() {
    clearTimeout(this._listing);
    this._listing = null;
    this._answer = null;
    byId("save-json").disabled = byId("save-picture").disabled = true;
    this._results.clear("Nothing looked at yet");
    this._stage.setDetections([], this._stage.size, "Boxes over the picture: none");
    this._latency.hide();
  }

  _fail(problem, retry) {
    this._trouble.show(problem instanceof Problem ? problem : lost(), retry);
  }
}

function emptySheet({ width, height }) {
  const sheet = Object.assign(document.createElement("canvas"), { width, height });
  sheet.className = "sheet";
  const context = sheet.getContext("2d");
  context.fillStyle = "#8a9693";
  context.fillRect(0, 0, width, height);
  return sheet;
}

new Playground();
