// What the page asks the service over HTTP. Every failure is a Problem, also that of a network.

import { apiKey } from "./key.js";

/** An RFC 9457 problem document; `retryAfter` in seconds where the service gave one. */
export class Problem extends Error {
  constructor(document, retryAfter = null) {
    super(document.title);
    this.document = document;
    this.retryAfter = retryAfter;
  }
}

export const lost = () => new Problem({
  title: "The service does not answer",
  detail: "The request got no answer. Is the service running, and is this page from it?",
});

async function ask(path, { headers = {}, ...init } = {}) {
  const key = apiKey();
  const authorised = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
  let response;
  try {
    response = await fetch(path, { ...init, headers: authorised, credentials: "same-origin" });
  } catch (error) {
    throw error.name === "AbortError" ? error : lost();
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  const seconds = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  const bare = { title: response.statusText || "Error", status: response.status, detail: "" };
  let document = bare;
  try { document = { ...bare, ...await response.json() }; } catch { /* what is between us and the service answered */ }
  return new Problem(document, Number.isFinite(seconds) ? seconds : null);
}

/** One picture's answer: {document, cache, totalMs, roundTripMs}. `options` as of POST /v1/detect. */
export async function detect(picture, options, signal) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(options)) query.set(name, String(value));
  const type = picture.type.startsWith("image/") ? picture.type : "image/*";
  const startedAt = performance.now();
  const response = await ask(`/v1/detect?${query}`, {
    method: "POST", body: picture, headers: { "Content-Type": type, Accept: "application/json" }, signal,
  });
  const document = await response.json();
  return {
    document,
    cache: readCacheStatus(response.headers.get("Cache-Status") ?? ""),
    totalMs: readTotal(response.headers.get("Server-Timing") ?? ""),
    roundTripMs: performance.now() - startedAt,
  };
}

export async function listModels() {
  return (await (await ask("/v1/models")).json()).models;
}

/** What opens a stream in place of the key, which a WebSocket of a browser cannot send. */
export async function streamTicket() {
  return (await (await ask("/v1/stream/ticket", { method: "POST" })).json()).ticket;
}

function readCacheStatus(text) {
  if (/;\s*hit/.test(text)) return { hit: true, where: /detail=(\w+)/.exec(text)?.[1] ?? "" };
  return { hit: false, where: /fwd=(\w+)/.exec(text)?.[1] ?? "" };
}

function readTotal(text) {
  const found = /total;dur=([\d.]+)/.exec(text);
  return found ? Number(found[1]) : null;
}
