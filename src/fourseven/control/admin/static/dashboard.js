/* The dashboard: asks for the state once a second, and shows it. It keeps nothing but this tab's
   token, loads nothing from elsewhere, and rests while nobody looks. */

import { ask, keepToken, token } from "./api.js";
import { Explain } from "./explain.js";
import { ago, bytes, h, percent, plural, put, rate, seconds } from "./format.js";
import { kind, Picture } from "./map.js";
import { Panel } from "./panel.js";
import { Rates } from "./rates.js";

const PACE_MS = 1000;
const TROUBLE_MAX = 5; // lines of what needs a look

const rates = new Rates();
const panel = new Panel(() => look());
const picture = new Picture((...what) => panel.open(...what));
const explain = new Explain((keys) => picture.mark(keys));
const link = document.getElementById("link");
const content = document.getElementById("content");
const login = document.getElementById("login");
let timer = 0;
let state = null;

async function look() {
  clearTimeout(timer);
  const began = performance.now();
  try {
    state = await ask("GET", "/v1/state");
    rates.take(state);
    show();
    say(state.process.draining ? "draining" : "live", state.process.draining ? "warn" : "good");
  } catch (error) {
    if (error.status === 401 || error.status === 403) {
      knock(token() ? error.message : "");
      return;
    }
    say(state ? "no answer" : "connecting", "bad");
  }
  // A state of many servers takes its time; a look must never be most of what it looks at.
  const took = performance.now() - began;
  timer = setTimeout(() => !document.hidden && look(), Math.max(PACE_MS, took * 5));
}

function show() {
  login.hidden = true;
  content.hidden = false;
  facts();
  totals();
  attention();
  explain.show(state);
  const count = picture.show(state, rates);
  put(document.getElementById("shown"), picture.filter ? plural(count, "match").replace(/match(s)$/, "matches") : "");
  panel.show(state, rates);
}

function say(text, quality) {
  put(link, text);
  link.className = `pill ${quality}`;
}

function facts() {
  const found = state.process;
  const rows = [
    ["file", found.file.split("/").pop(), found.file],
    ["loaded", `${ago(found.loaded_at, found.now)} ago`],
    ["up", ago(found.started_at, found.now)],
    ["engine", `${found.pid}, ${plural(found.workers, "worker")}`],
    ["memory", bytes(found.memory_bytes)],
    ["version", found.version],
  ];
  describe("facts", rows);
}

function totals() {
  const rows = state.listeners.map((one) => rates.of(`listener ${one.name}`));
  const sum = (name) => rows.reduce((total, row) => total + row[name], 0);
  const servers = state.backends.reduce((total, one) => total + one.servers.length, 0);
  const usable = state.backends.reduce((total, one) => total + one.usable, 0);
  const times = rows.map((row) => row.p99 ?? 0);
  const open = state.listeners.reduce((total, one) => total + (one.counters.sessions ?? 0) + (one.counters.flows_active ?? 0), 0);
  describe("totals", [
    ["a second", rate(sum("work"))],
    ["failed", percent(sum("work") ? Math.min(1, sum("failed") / sum("work")) : 0)],
    ["slowest p99", seconds(Math.max(...times, 0))],
    ["open", rate(open)],
    ["servers", `${usable} / ${servers}`],
  ]);
}

function describe(id, rows) {
  const list = document.getElementById(id);
  if (list.children.length !== rows.length) {
    list.replaceChildren(...rows.map(([name]) => h("div", {}, h("dt", {}, name), h("dd", {}))));
  }
  rows.forEach(([, value, title], at) => {
    put(list.children[at].lastChild, value);
    if (title) list.children[at].title = title;
  });
}

/* What somebody who was woken up wants to read first. */
function attention() {
  const lines = [];
  const now = state.process.now;
  for (const backend of state.backends) {
    if (!backend.usable && backend.servers.length) {
      lines.push({ quality: "bad", text: `${backend.name} has no usable server`, what: ["backend", backend.name] });
    }
    if (backend.circuit_open) lines.push({ quality: "bad", text: `the circuit of ${backend.name} is open: it gets no requests`, what: ["backend", backend.name] });
    for (const source of backend.sources) {
      if (source.failure) lines.push({ quality: "warn", text: `${source.source} of ${backend.name} finds nobody new: ${source.failure}`, what: ["backend", backend.name] });
    }
    for (const server of backend.servers) {
      if (server.circuit_open) lines.push({ quality: "warn", text: `the circuit of ${server.address} of ${backend.name} is open`, what: ["server", backend.name, server.address] });
      if (server.state === "up" || server.state === "starting") continue;
      const why = server.why && server.word === "enable" ? `: ${server.why}` : "";
      lines.push({ quality: kind(server), text: `${server.address} of ${backend.name} is ${server.state} for ${ago(server.since, now)}${why}`, what: ["server", backend.name, server.address] });
    }
  }
  for (const change of state.changes) {
    if (change.weight !== null) lines.push({ quality: "info", text: `${change.server} of ${change.backend} has weight ${change.weight}`, what: ["server", change.backend, change.server] });
  }
  for (const text of state.warnings) lines.push({ quality: "warn", text });
  const rank = { bad: 0, warn: 1, info: 2 };
  lines.sort((a, b) => rank[a.quality] - rank[b.quality]);
  const wanted = lines.slice(0, TROUBLE_MAX);
  const section = document.getElementById("attention");
  const key = JSON.stringify([wanted, lines.length]);
  if (section.dataset.key === key) return;
  section.dataset.key = key;
  const rest = lines.length - wanted.length;
  section.replaceChildren(...wanted.map((one) => {
    const parts = [h("span", { class: `dot ${one.quality}`, "aria-hidden": "true" }), h("span", {}, one.text)];
    return one.what ? h("button", { type: "button", class: "notice", onclick: () => panel.open(...one.what) }, ...parts)
      : h("p", { class: "notice" }, ...parts);
  }), ...(rest ? [h("p", { class: "notice quiet" }, `and ${rest} more`)] : []));
}

// ---- the token ----

function knock(problem) {
  keepToken("");
  login.hidden = false;
  content.hidden = true;
  say("a token is needed", "warn");
  put(document.getElementById("login-problem"), problem);
  document.getElementById("token").focus();
}

login.addEventListener("submit", (event) => {
  event.preventDefault();
  const field = document.getElementById("token");
  keepToken(field.value.trim());
  field.value = "";
  look();
});

document.getElementById("filter").addEventListener("input", (event) => {
  picture.filter = event.target.value.trim().toLowerCase();
  if (state) show();
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});

look();
