/* The details of one thing, beside the map; a server's also with what an operator may say. */

import { ask, serverPath } from "./api.js";
import { ago, bytes, h, percent, plural, put, rate, seconds } from "./format.js";
import { kind } from "./map.js";

const DEADLINES = [["", "no deadline"], ["60", "1 minute"], ["300", "5 minutes"], ["3600", "1 hour"]];

export class Panel {
  constructor(changed) {
    this.changed = changed;
    this.root = document.getElementById("panel");
    this.title = document.getElementById("panel-title");
    this.kind = document.getElementById("panel-kind");
    this.body = document.getElementById("panel-body");
    document.getElementById("panel-close").addEventListener("click", () => this.close());
    this.root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
    this.what = null;
  }

  open(...what) {
    this.from = document.activeElement;
    this.what = what;
    this.form = null;
    this.root.hidden = false;
    document.body.classList.add("with-panel");
    this.show(this.state, this.rates);
    this.title.focus();
  }

  close() {
    this.what = null;
    this.root.hidden = true;
    document.body.classList.remove("with-panel");
    this.from?.focus();
  }

  show(state, rates) {
    this.state = state;
    this.rates = rates;
    if (!this.what) return;
    const [type, name, inner] = this.what;
    const top = type === "backend" || type === "server" ? state.backends : state.listeners;
    const owner = top.find((one) => one.name === name);
    const found = type === "server" ? owner?.servers.find((one) => one.address === inner)
      : type === "route" ? owner?.routes.find((one) => one.name === inner) : owner;
    put(this.kind, inner === undefined ? type : `${type} of ${name}`);
    put(this.title, inner ?? name);
    if (!found) {
      this.body.replaceChildren(h("p", {}, "It is gone from the file."));
      return;
    }
    const parts = { listener: () => this._listener(found), route: () => this._route(owner, found), backend: () => this._backend(found), server: () => this._server(owner, found) }[type]();
    if (type === "server") this.form ??= this._form(owner.name, found);
    this._form_follows(found);
    const facts = h("div", {}, ...parts);
    // A form that stays where it is keeps its focus, and its list keeps open.
    if (this.form?.parentNode === this.body) this.body.firstChild.replaceWith(facts);
    else this.body.replaceChildren(...[facts, this.form].filter(Boolean));
  }

  _listener(one) {
    const rates = this.rates.of(`listener ${one.name}`);
    return [
      list([
        ["served at", `${one.layer}, plane ${one.plane}`],
        ["because", one.because],
        ...one.refused.map((text) => ["not by", text]),
        ["bound to", one.addresses.join(", ")],
        ["connections", `${one.counters.sessions ?? 0} open, ${one.counters.accepted ?? 0} taken`],
        ...flows(one.counters),
        ["from clients", `${bytes(rates.in)}/s`],
        ["to clients", `${bytes(rates.out)}/s`],
      ]),
      ...answers(one, rates),
      ...table("Ends by a reason of ours", one.reasons),
      ...table("Dropped in the kernel", one.drops),
    ];
  }

  _route(listener, one) {
    const rates = this.rates.of(`route ${listener.name} ${one.name}`);
    const total = one.backends.reduce((sum, share) => sum + share.weight, 0);
    return [
      list([
        ["match", one.match || "everything"],
        ["filters", one.filters.join(", ") || "none"],
        ...one.backends.map((share) => ["to", total && one.backends.length > 1 ? `${share.backend}, ${percent(share.weight / total)}` : share.backend]),
        ["in the file", one.source],
        ["in flight", String(one.in_flight)],
      ]),
      ...answers(one, rates),
      ...table("Ends by a reason of ours", one.reasons),
    ];
  }

  _backend(one) {
    const rates = this.rates.of(`backend ${one.name}`);
    return [
      list([
        ["picks by", one.algorithm.replaceAll("_", " ")],
        ["servers", `${one.usable} of ${plural(one.servers.length, "server")} may have new work`],
        ["health", one.checked ? "checked" : "not checked"],
        ...(one.circuit_open ? [["circuit", "open, or half open"]] : []),
        ["in flight", String(one.in_flight)],
        ...one.sources.map((source) => [source.source, source.failure ? `${plural(source.servers, "server")}, kept from before: ${source.failure}` : plural(source.servers, "server")]),
      ]),
      ...answers(one, rates),
      ...failures(one.counters),
      ...events(one.counters),
    ];
  }

  _server(backend, one) {
    const rates = this.rates.of(`server ${backend.name} ${one.address}`);
    const now = this.state.process.now;
    const checked = one.checked_at === null ? "not checked"
      : `${ago(one.checked_at, now)} ago, ${seconds(one.check_s)}${one.check ? `: ${one.check}` : ", well"}`;
    return [
      h("p", { class: "standing" }, h("span", { class: `dot ${kind(one)}`, "aria-hidden": "true" }),
        h("strong", {}, one.state), ` for ${ago(one.since, now)}${one.why ? `: ${one.why}` : ""}`),
      list([
        ["new work", one.usable ? (one.share < 1 ? `${percent(one.share)} of its share` : "yes") : "no"],
        ...(one.until ? [["until", `${ago(now, one.until)} from now`]] : []),
        ...(one.circuit_open ? [["circuit", "open, or half open"]] : []),
        ["last check", checked],
        ["weight", one.weight === one.weight_in_file ? String(one.weight) : `${one.weight}; the file says ${one.weight_in_file}`],
        ...(one.ejections ? [["ejected", one.ejections === 1 ? "once" : `${one.ejections} times`]] : []),
        ["in flight", one.max_in_flight ? `${one.in_flight} of ${one.max_in_flight}` : String(one.in_flight)],
        ["answers in", seconds(rates.mean)],
        ...flows(one.counters),
        ["to it", `${bytes(rates.in)}/s`],
        ["from it", `${bytes(rates.out)}/s`],
      ]),
      ...answers(one, rates),
      ...failures(one.counters),
    ];
  }

  // ---- what an operator may say ----

  _form(backend, server) {
    const path = serverPath(backend, server.address);
    const keep = h("input", { type: "checkbox", id: "op-keep", checked: true });
    const deadline = h("select", { id: "op-deadline" }, ...DEADLINES.map(([value, text]) => h("option", { value }, text)));
    const weight = h("input", { type: "number", id: "op-weight", min: 0, max: 1000000, step: 1, value: server.weight, inputmode: "numeric" });
    const problem = h("p", { class: "problem", role: "alert" });
    const say = async (method, what, body) => {
      put(problem, "");
      try {
        await ask(method, `${path}/${what}?keep=${keep.checked}`, body);
        await this.changed();
      } catch (error) {
        put(problem, error.message);
      }
    };
    const word = (text, what, body, extra = "") => h("button", { type: "button", class: extra, onclick: () => say("POST", what, body()) }, text);
    const seconds_of = () => (deadline.value ? { deadline_s: Number(deadline.value) } : {});
    const enable = word("Enable", "enable", () => ({}), "primary");
    const drain = word("Drain", "drain", seconds_of);
    const maintenance = word("Maintenance", "maintenance", () => ({}));
    const set = h("button", { type: "button", onclick: () => say("PUT", "weight", { weight: Number(weight.value) }) }, "Set");
    const reset = h("button", { type: "button", onclick: () => say("PUT", "weight", { weight: null }) }, "As in the file");
    const form = h("form", { class: "operate", "aria-label": `Change ${server.address}`, onsubmit: (event) => event.preventDefault() },
      h("h3", {}, "Change it"),
      h("div", { class: "line" }, enable, drain, maintenance),
      h("div", { class: "line" }, h("label", { for: "op-deadline" }, "Kept sessions end after"), deadline),
      h("div", { class: "line" }, h("label", { for: "op-weight" }, "Weight"), weight, set, reset),
      h("div", { class: "line" }, keep, h("label", { for: "op-keep" }, "Keep it over a reload of the file")),
      problem);
    return Object.assign(form, { words: { enable, drain, maintenance } });
  }

  _form_follows(server) {
    if (!this.form) return;
    for (const [word, button] of Object.entries(this.form.words)) {
      button.setAttribute("aria-pressed", String(server.word === word));
    }
  }
}

function list(rows) {
  return h("dl", { class: "details" }, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function flows(counters) {
  if (counters.flows_new === undefined) return [];
  const packets = (counters.packets_in ?? counters.packets_to ?? 0) + (counters.packets_out ?? counters.packets_from ?? 0);
  return [["kernel flows", `${counters.flows_active} now, ${counters.flows_new} in all`], ["packets", String(packets)]];
}

const CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

function answers(one, rates) {
  const total = CLASSES.reduce((sum, name) => sum + (one.answers[name] ?? 0), 0);
  if (!total) return [];
  const bars = CLASSES.filter((name) => one.answers[name]).map((name) => {
    const fill = h("span", { class: `fill c${name}` });
    fill.style.width = `${Math.max(1, (100 * one.answers[name]) / total)}%`;
    return h("li", {}, h("span", { class: "code" }, name), h("span", { class: "track", "aria-hidden": "true" }, fill), h("span", { class: "number" }, one.answers[name].toLocaleString("en")));
  });
  const quick = rates.p50 ? [h("p", { class: "quiet" }, `${rate(rates.work)} a second, p50 ${seconds(rates.p50)}, p99 ${seconds(rates.p99)}`)] : [];
  return [h("h3", {}, "Answers"), ...quick, h("ul", { class: "answers" }, ...bars)];
}

function table(title, rows) {
  const some = Object.entries(rows).filter(([, count]) => count).sort((a, b) => b[1] - a[1]);
  if (!some.length) return [];
  return [h("h3", {}, title), list(some.map(([name, count]) => [name.replaceAll("_", " "), count.toLocaleString("en")]))];
}

const FAILURES = { connect_errors: "not connected", timeouts: "too slow", resets: "hung up", bad_answers: "answered wrongly", tls_failed: "TLS failed" };

function failures(counters) {
  return table("Failures", Object.fromEntries(Object.entries(FAILURES).map(([name, text]) => [text, counters[name] ?? 0])));
}

const EVENTS = {
  retries: "tried again", retries_refused: "not tried again: budget", pick_failed: "no server was usable",
  queued: "waited for a server", queue_full: "the queue was full", queue_timeouts: "waited too long",
  hedges: "a second server was asked", hedges_won: "its answer was taken", limited: "met a limit", circuits_opened: "circuits opened", circuit_refused: "refused by a circuit",
  spilled: "went to a further tier", persisted: "kept sessions found", persisted_moved: "kept sessions moved",
};

function events(counters) {
  return table("Limits, retries, sessions", Object.fromEntries(Object.entries(EVENTS).map(([name, text]) => [text, counters[name] ?? 0])));
}
