// A stream of frames over the WebSocket /v1/stream, as docs/websocket.md describes it.

import { FrameSource } from "./frames.js";
import { lost, Problem, streamTicket } from "./service.js";

// Frames that the service has not answered: one that it looks at, one that waits, one on its way.
const MOST_UNANSWERED = 3;
// A network that does not keep up gets no more frames until it does.
const MOST_BUFFERED = 128 * 1024;
const MAX_AGE_MS = 1000;
const FPS_OVER_MS = 2000;
const OPEN = 1;

/** `on`: {result(message), stats(stats), trouble(problem), ended()}. One object is one run; `stop` ends it. */
export class Live {
  constructor(video, { options, side, on }) {
    this._frames = new FrameSource(video, side);
    this._options = options;
    this._on = on;
    this._socket = null;
    this._opened = false;
    this._paused = false;
    this._stopped = false;
    this._encoding = false;
    this._capturing = false;
    this._retryAfter = null;
    this._problem = null;
    this._reset();
  }

  async start() {
    const ticket = await streamTicket();
    if (this._stopped) return;
    const url = new URL(`/v1/stream?ticket=${encodeURIComponent(ticket)}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this._reset();
    this._opened = false;
    this._retryAfter = this._problem = null;
    const socket = this._socket = new WebSocket(url);
    socket.addEventListener("open", () => socket.send(JSON.stringify({
      type: "open", options: this._options, name: "playground", delivery: "latest", max_age_ms: MAX_AGE_MS,
    })));
    socket.addEventListener("message", ({ data }) => { if (socket === this._socket) this._hear(JSON.parse(data)); });
    socket.addEventListener("close", ({ code }) => { if (socket === this._socket) this._closed(code); });
  }

  /** Other thresholds hold for the frames that follow; another model needs another stream. */
  change(options) {
    const another = options.model !== this._options.model || options.version !== this._options.version;
    this._options = options;
    if (another) {
      this._leave();
      this.start().catch((problem) => this._fail(problem));
      return;
    }
    if (!this._opened || this._socket.readyState !== OPEN) return;
    const { model, version, ...rest } = options;
    this._socket.send(JSON.stringify({ type: "options", options: rest }));
    // The frame that stands still is looked at once more.
    if (this._paused && !this._encoding) this._send(this._socket, performance.now());
  }

  setPaused(paused) {
    this._paused = paused;
    this._answeredAt = [];
  }

  stop() {
    this._stopped = true;
    this._leave();
  }

  _reset() {
    this._sequence = 0;
    this._sentAt = new Map();
    this._answeredAt = [];
    this._dropped = 0;
    this._skipped = 0;
    this._age = null;
  }

  _leave() {
    const socket = this._socket;
    this._socket = null;
    this._opened = false;
    if (socket?.readyState === OPEN) socket.send(JSON.stringify({ type: "end" }));
    socket?.close(1000);
  }

  _hear(message) {
    switch (message.type) {
      case "opened":
        this._opened = true;
        if (!this._capturing) this._capture();
        break;
      case "result":
        this._answered(message);
        break;
      case "dropped":
        this._dropped += message.count;
        for (let sequence = message.first; sequence <= message.last; sequence += 1) this._sentAt.delete(sequence);
        this._tell();
        break;
      case "error":
        this._sentAt.delete(message.sequence);
        this._problem = new Problem(message.problem);
        if (message.sequence !== undefined) this._on.trouble(this._problem);
        break;
      case "closing":
        this._retryAfter = message.retry_after_s;
        break;
    }
  }

  _answered(message) {
    const now = performance.now();
    const sentAt = this._sentAt.get(message.sequence);
    this._sentAt.delete(message.sequence);
    if (sentAt !== undefined) this._age = this._age === null ? now - sentAt : 0.8 * this._age + 0.2 * (now - sentAt);
    this._answeredAt.push(now);
    while (this._answeredAt[0] < now - FPS_OVER_MS) this._answeredAt.shift();
    this._on.result(message);
    this._tell();
  }

  _tell() {
    const times = this._answeredAt;
    const seconds = times.length > 1 ? (times.at(-1) - times[0]) / 1000 : 0;
    const fps = seconds > 0 ? (times.length - 1) / seconds : 0;
    this._on.stats({ fps, ageMs: this._age ?? 0, dropped: this._dropped, skipped: this._skipped });
  }

  _capture() {
    this._capturing = !this._stopped;
    if (this._stopped) return;
    this._frames.next(() => this._capture());
    if (this._paused || !this._opened) return;
    const socket = this._socket;
    if (this._encoding || this._sentAt.size >= MOST_UNANSWERED || socket.bufferedAmount > MOST_BUFFERED) {
      this._skipped += 1;
      return;
    }
    this._send(socket, performance.now());
  }

  async _send(socket, capturedAt) {
    this._encoding = true;
    try {
      const frame = await this._frames.capture();
      // While it was encoded another stream may have been opened, whose frames are counted anew.
      if (!frame || socket !== this._socket || socket.readyState !== OPEN) return;
      this._sentAt.set(this._sequence, capturedAt);
      this._sequence += 1;
      socket.send(frame);
    } finally {
      this._encoding = false;
    }
  }

  _closed(code) {
    if (this._stopped) return;
    if (this._problem) this._problem.retryAfter ??= this._retryAfter ?? (code === 1013 ? 1 : null);
    this._fail(this._problem ?? this._reason(code));
  }

  _reason(code) {
    if (this._retryAfter !== null) {
      return new Problem({ title: "The service is shutting down", detail: "It takes no more frames. Another one may take its place." }, this._retryAfter);
    }
    if (!this._opened && code === 1006) return new Problem({ title: "The stream was refused", detail: "The service did not open it. It may be busy, or this page not one of those that may open streams." }, 1);
    return code === 1006 ? lost() : new Problem({ title: "The stream ended", detail: `The service closed it with the code ${code}.` });
  }

  _fail(problem) {
    if (this._stopped) return;
    this._stopped = true;
    this._socket = null;
    this._on.ended();
    this._on.trouble(problem);
  }
}
