// One step of `yolov7-service bench`, as service/benchmark/k6.py describes it in bench.json.
// Requests of the warm-up are posted and not counted. Latency is what a client waits: for a connection, then to the
// last byte of the answer. It is kept for answers 200 only; of all others the status is counted.
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Gauge, Trend } from 'k6/metrics';
import { open as openShared, SeekMode } from 'k6/experimental/fs';

const bench = JSON.parse(open('./bench.json'));

export const options = bench.options;

const latency = new Trend('bench_latency', true);
const sent = new Counter('bench_sent');
const began = new Gauge('bench_began');
const ended = new Gauge('bench_ended');
const statuses = Object.fromEntries(bench.statuses.map((status) => [status, new Counter(`bench_status_${status}`)]));
const otherStatus = new Counter('bench_status_other');

// One copy for all clients, where k6's plain open() would give each its own.
let pictures;
(async () => {
  pictures = await openShared(bench.pictures_file);
})();

const headers = Object.assign({}, bench.headers);
if (__ENV.BENCH_KEY) {
  headers.Authorization = `Bearer ${__ENV.BENCH_KEY}`;
}

let count = 0;

async function post(timeout) {
  const [offset, length, contentType] = bench.pictures[(exec.vu.idInTest + count) % bench.pictures.length];
  const body = new Uint8Array(length + bench.mark_bytes);
  await pictures.seek(offset, SeekMode.Start);
  await pictures.read(body); // and the beginning of the next one, where the mark comes
  mark(body, length);
  count += 1;
  const parameters = { headers: Object.assign({ 'Content-Type': contentType }, headers), timeout };
  return http.asyncRequest('POST', bench.url, body.buffer, parameters);
}

// Digits that no other request of any run has.
function mark(body, at) {
  const text = `${bench.stamp}-${exec.vu.idInTest}-${count}`.padEnd(bench.mark_bytes);
  for (let index = 0; index < bench.mark_bytes; index += 1) {
    body[at + index] = text.charCodeAt(index);
  }
}

// A client that k6 interrupts amid a request is of no use any more: its next ones end before they are posted. So whoever
// still waits after the warm-up gives up by himself, before k6 takes him for what is measured.
export async function warm() {
  const left = exec.scenario.startTime + bench.warm_ms - Date.now();
  await post(Math.max(1, Math.min(left, bench.timeout_ms)));
}

export async function measured() {
  began.add(Date.now());
  sent.add(1);
  const answer = await post(bench.timeout_ms);
  (statuses[answer.status] || otherStatus).add(1);
  if (answer.status === 200) {
    latency.add(answer.timings.blocked + answer.timings.duration);
    ended.add(Date.now());
  }
}

export function handleSummary(data) {
  return { [bench.summary_file]: JSON.stringify(data) };
}
