// Frames of a playing video as JPEG. One is encoded at a time, elsewhere than on the page where the browser can.

const QUALITY = 0.8;

export class FrameSource {
  constructor(video, side) {
    this._video = video;
    this._side = side;
    this._canvas = null;
  }

  /** The frame that shows now, no side longer than was asked for; null before there is any. */
  async capture() {
    const { videoWidth, videoHeight } = this._video;
    if (!videoWidth || !videoHeight) return null;
    const scale = Math.min(1, this._side / Math.max(videoWidth, videoHeight));
    const width = Math.max(1, Math.round(videoWidth * scale));
    const height = Math.max(1, Math.round(videoHeight * scale));
    this._fit(width, height);
    this._canvas.getContext("2d", { alpha: false }).drawImage(this._video, 0, 0, width, height);
    if (this._canvas.convertToBlob) return this._canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    return new Promise((resolve) => { this._canvas.toBlob(resolve, "image/jpeg", QUALITY); });
  }

  _fit(width, height) {
    if (this._canvas?.width === width && this._canvas.height === height) return;
    this._canvas = globalThis.OffscreenCanvas
      ? new OffscreenCanvas(width, height)
      : Object.assign(document.createElement("canvas"), { width, height });
  }

  /** Calls back when the next frame shows; where the browser cannot tell, when it paints. */
  next(callback) {
    if (this._video.requestVideoFrameCallback) this._video.requestVideoFrameCallback(callback);
    else requestAnimationFrame(callback);
  }
}
