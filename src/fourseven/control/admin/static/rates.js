/* Rates out of states that are asked for one after the other, calmed so that numbers can be read.

   A rate is the difference of two counters over the time between; what is shown moves half of the
   way to each new one. An engine that is another one now begins anew. */

const CALM = 0.5;
const HISTORY = 60;

export class Rates {
  constructor() {
    this.before = null;
    this.rows = new Map();
  }

  /* Takes the next state. */
  take(state) {
    const before = this.before;
    const fresh = !before || before.process.pid !== state.process.pid;
    const seconds = fresh ? 0 : state.at_s - before.at_s;
    if (!fresh && seconds <= 0) return; // the same one again
    if (fresh) this.rows.clear();
    this.before = state;
    this.bounds = state.latency_bounds_s;
    const alive = new Set();
    const take = (key, row, names) => {
      alive.add(key);
      this._take(key, row, names, seconds);
    };
    for (const listener of state.listeners) {
      take(`listener ${listener.name}`, listener, LISTENER);
      for (const route of listener.routes) {
        take(`route ${listener.name} ${route.name}`, route, ROUTE);
      }
    }
    for (const backend of state.backends) {
      take(`backend ${backend.name}`, backend, SERVER);
      for (const server of backend.servers) {
        take(`server ${backend.name} ${server.address}`, server, SERVER);
      }
    }
    for (const key of this.rows.keys()) if (!alive.has(key)) this.rows.delete(key);
  }

  of(key) {
    return this.rows.get(key) ?? NOTHING;
  }

  _take(key, row, names, seconds) {
    const now = { failed: 0, latency: row.latency?.counts ?? [] };
    for (const [name, counters] of Object.entries(names)) now[name] = sum(row.counters, counters);
    now.answered = ["1xx", "2xx", "3xx", "4xx", "5xx"].reduce((total, name) => total + (row.answers[name] ?? 0), 0);
    now.took = (row.counters.latency_ns ?? 0) / 1e9;
    now.failed += (row.answers["5xx"] ?? 0) + (row.answers.none ?? 0);
    const old = this.rows.get(key);
    const made = { now, unit: "req", work: 0, failed: 0, in: 0, out: 0, p50: null, p99: null, mean: null, history: old?.history ?? [] };
    if (old && seconds > 0) {
      const grown = (name) => Math.max(0, now[name] - old.now[name]) / seconds;
      const calmed = (name, value) => old[name] + (value - old[name]) * (old.history.length ? CALM : 1);
      const units = ["req", "conn", "flow"].map((unit) => [grown(unit), unit]);
      const [work, unit] = units.reduce((a, b) => (b[0] > a[0] ? b : a));
      made.unit = work > 0 ? unit : old.unit;
      made.work = calmed("work", work);
      made.failed = calmed("failed", grown("failed"));
      made.in = calmed("in", grown("in"));
      made.out = calmed("out", grown("out"));
      if (made.work < 0.05) made.work = 0;
      if (made.failed < 0.02) made.failed = 0;
      const counts = now.latency.map((count, at) => count - (old.now.latency[at] ?? 0));
      made.p50 = quantile(counts, this.bounds, 0.5) ?? fading(old, "p50");
      made.p99 = quantile(counts, this.bounds, 0.99) ?? fading(old, "p99");
      const answered = grown("answered");
      made.mean = answered ? calmed_time(old.mean, grown("took") / answered) : fading(old, "mean");
      made.history = [...old.history.slice(-(HISTORY - 1)), work];
    }
    this.rows.set(key, made);
  }
}

const NOTHING = { unit: "req", work: 0, failed: 0, in: 0, out: 0, p50: null, p99: null, mean: null, history: [], now: {} };
const LISTENER = {
  req: ["requests"], conn: ["accepted"], flow: ["flows", "flows_new"], in: ["bytes_in"], out: ["bytes_out"], failed: [],
};
const ROUTE = { req: ["ended"], conn: [], flow: [], in: ["bytes_in"], out: ["bytes_out"], failed: [] };
const SERVER = {
  req: ["requests"], conn: ["connects"], flow: ["flows_new"], in: ["bytes_to"], out: ["bytes_from"],
  failed: ["connect_errors", "timeouts", "resets", "bad_answers", "tls_failed"],
};

function sum(counters, names) {
  return names.reduce((total, name) => total + (counters[name] ?? 0), 0);
}

function calmed_time(before, value) {
  return before === null ? value : before + (value - before) * CALM;
}

/* With nothing new for a moment the last one still stands. */
function fading(old, name) {
  return old.work > 0 ? old[name] : null;
}

export function quantile(counts, bounds, share) {
  const total = counts.reduce((a, b) => a + b, 0);
  if (total <= 0) return null;
  let below = 0;
  for (let at = 0; at < counts.length; at += 1) {
    if (counts[at] > 0 && below + counts[at] >= share * total) {
      const lower = at ? bounds[at - 1] : 0;
      const upper = bounds[at] ?? lower;
      return lower + ((upper - lower) * (share * total - below)) / counts[at];
    }
    below += counts[at];
  }
  return bounds[bounds.length - 1];
}
