/* The picture: cards in two halves, and links between them as thick as their rates.

   Cards are made once for each name and then only changed, so that focus and selection stay where
   they are. A backend with many servers shows those in trouble and the busiest as rows, and all
   others as tiles; a listener with many routes shows the busiest. Links are drawn anew each time:
   there are some hundreds at most. */

import { h, percent, plural, put, rate, seconds, svg } from "./format.js";

const ROWS_MAX = 6; // servers of a backend as rows; the rest are tiles
const ROUTES_MAX = 12; // of a listener; "all" shows every one
const TILES_MAX = 400; // beyond, one cannot be told from another; the filter finds any
const WIDTH_MAX = 13;
const FAILED_BAD = 0.05; // shares of what a link carries; below a hundredth it is told in numbers alone
const FAILED_WARN = 0.01;

export class Picture {
  constructor(select) {
    this.select = select;
    this.left = document.getElementById("left");
    this.right = document.getElementById("right");
    this.links = document.getElementById("links");
    this.made = new Map();
    this.open = new Set(); // listeners and backends that show everything
    this.filter = "";
    this.marked = new Set();
    new ResizeObserver(() => this.draw()).observe(document.getElementById("map"));
  }

  show(state, rates) {
    this.state = state;
    this.rates = rates;
    const seen = new Set();
    this.pairs = [];
    this.shown = 0;
    this._children(this.left, state.listeners.map((one) => this._listener(one, seen)));
    this._children(this.right, state.backends.map((one) => this._backend(one, seen)));
    for (const key of this.made.keys()) if (!seen.has(key)) this.made.delete(key);
    this.draw();
    return this.shown;
  }

  // ---- listeners and routes ----

  _listener(one, seen) {
    const key = `listener ${one.name}`;
    const group = this._get(`group ${key}`, seen, () => h("div", { class: "group" }));
    const card = this._card(key, seen, ["listener", one.name]);
    const rates = this.rates.of(key);
    put(card.name, one.name);
    put(card.note, one.addresses.map((text) => text.replace(/^tcp:\/\//, "")).join(", "));
    put(card.badge, one.plane === "http" ? one.layer : `${one.layer} · ${one.plane}`);
    this._numbers(card, rates, one.latency);
    const routes = one.routes.filter((route) => this._fits(one.name, route.name, route.match));
    const all = this.open.has(key) || this.filter;
    const rows = all ? routes : busiest(routes, ROUTES_MAX, (route) => this.rates.of(`route ${one.name} ${route.name}`).work);
    const list = this._get(`list ${key}`, seen, () => h("ul", { class: "rows" }));
    const lines = rows.map((route) => this._route(one, route, seen, card));
    if (rows.length < routes.length || (this.open.has(key) && routes.length > ROUTES_MAX)) {
      lines.push(this._more(key, seen, routes.length - rows.length, "route"));
    }
    this._children(list, lines);
    this._children(group, [card.root, list]);
    group.hidden = this.filter !== "" && !routes.length && !this._fits(one.name, ...one.addresses);
    this.shown += group.hidden ? 0 : 1 + rows.length;
    return group;
  }

  _route(listener, route, seen, card) {
    const key = `route ${listener.name} ${route.name}`;
    const row = this._get(key, seen, () => {
      const name = h("span", { class: "name" });
      const match = h("code", { class: "match" });
      const number = h("span", { class: "number" });
      const button = h("button", { type: "button", class: "row", onclick: () => this.select("route", listener.name, route.name) }, h("span", { class: "words" }, name, match), number);
      return Object.assign(h("li"), { button, name, match, number });
    });
    const rates = this.rates.of(key);
    const unnamed = /^(routes\[\d+\]|backend)$/.test(route.name);
    put(row.name, unnamed && route.match ? "" : route.name === "backend" ? "everything" : route.name);
    put(row.match, route.match || (route.name === "backend" ? "" : "everything"));
    row.button.title = [route.name, route.match || "everything", ...route.filters].join("\n");
    put(row.number, rates.work ? rate(rates.work) : route.backends.length ? "" : route.filters.join(" "));
    const label = `Route ${route.name} of ${listener.name}, ${rate(rates.work)} requests a second`;
    this._label(row.button, label, key);
    row.button.classList.toggle("idle", !rates.work);
    // One that listens below Layer 7 has no requests to count: its connections go the only way.
    const work = listener.layer === "L7" ? rates.work : this.rates.of(`listener ${listener.name}`).work;
    const failed = rates.work ? rates.failed / rates.work : 0;
    this.pairs.push({ from: card.root, to: row.button, work, failed, key: `${key} in` });
    const total = route.backends.reduce((sum, share) => sum + share.weight, 0);
    for (const share of route.backends) {
      const part = total ? (work * share.weight) / total : 0;
      this.pairs.push({ from: row.button, name: `backend ${share.backend}`, work: part, failed, key: `${key} ${share.backend}` });
    }
    return row;
  }

  // ---- backends and servers ----

  _backend(one, seen) {
    const key = `backend ${one.name}`;
    const group = this._get(`group ${key}`, seen, () => h("div", { class: "group" }));
    const card = this._card(key, seen, ["backend", one.name]);
    const rates = this.rates.of(key);
    put(card.name, one.name);
    put(card.note, one.algorithm.replaceAll("_", " "));
    put(card.badge, `${one.usable} / ${one.servers.length}`);
    card.badge.className = `badge ${one.usable === one.servers.length ? "good" : one.usable ? "warn" : "bad"}`;
    card.badge.title = `${one.usable} of ${plural(one.servers.length, "server")} may have new work`;
    this._numbers(card, rates, one.latency);
    const servers = one.servers.filter((server) => this._fits(one.name, server.address, server.state));
    const many = servers.length > ROWS_MAX + 2 && !this.open.has(key);
    const trouble = (server) => (standing(server) === "up" ? 0 : 1e9) + this.rates.of(`server ${one.name} ${server.address}`).work;
    const rows = many ? busiest(servers, ROWS_MAX, trouble) : servers;
    const list = this._get(`list ${key}`, seen, () => h("ul", { class: "rows servers" }));
    const most = Math.max(...servers.map((server) => this.rates.of(`server ${one.name} ${server.address}`).work), 0.1);
    const lines = rows.map((server) => this._server(one, server, seen, card, most));
    if (many) lines.push(this._tiles(one, servers.filter((server) => !rows.includes(server)), seen, card, most));
    if (many || this.open.has(key)) lines.push(this._more(key, seen, many ? servers.length - rows.length : 0, "server"));
    this._children(list, lines);
    this._children(group, [card.root, list]);
    const led = this.filter && this.state.listeners.some((listener) => listener.routes.some((route) =>
      route.backends.some((share) => share.backend === one.name) && this._fits(listener.name, route.name, route.match)));
    if (!servers.length && led) list.replaceChildren();
    group.hidden = this.filter !== "" && !servers.length && !this._fits(one.name) && !led;
    this.shown += group.hidden ? 0 : 1 + servers.length;
    return group;
  }

  _server(backend, server, seen, card, most) {
    const key = `server ${backend.name} ${server.address}`;
    const row = this._get(key, seen, () => {
      const dot = h("span", { class: "dot", "aria-hidden": "true" });
      const name = h("span", { class: "name" });
      const state = h("span", { class: "state" });
      const number = h("span", { class: "number" });
      const time = h("span", { class: "time" });
      const bar = h("span", { class: "bar", "aria-hidden": "true" });
      const select = () => this.select("server", backend.name, server.address);
      const button = h("button", { type: "button", class: "row server", onclick: select }, bar, dot, h("span", { class: "words" }, name, state), number, time);
      return Object.assign(h("li"), { button, dot, name, state, number, time, bar });
    });
    const rates = this.rates.of(key);
    put(row.name, middle_out(server.address));
    row.name.title = server.address;
    row.dot.className = `dot ${kind(server)}`;
    const weight = server.weight === server.weight_in_file ? "" : ` · weight ${server.weight}`;
    const state = standing(server);
    put(row.state, state === "up" ? weight.slice(3) : state + weight);
    row.state.className = `state ${kind(server)}`;
    put(row.number, rates.work ? rate(rates.work) : "");
    put(row.time, rates.work && rates.mean ? seconds(rates.mean) : "");
    row.bar.style.transform = `scaleX(${rates.work ? Math.max(rates.work / most, 0.01) : 0})`;
    row.bar.classList.toggle("bad", rates.failed > 0);
    const label = `Server ${server.address}, ${state}, ${rate(rates.work)} a second`;
    this._label(row.button, label, key);
    this.pairs.push({ from: card.root, to: row.button, work: rates.work, failed: rates.work ? rates.failed / rates.work : 0, key, down: !server.usable });
    return row;
  }

  _tiles(backend, servers, seen, card, most) {
    const key = `tiles ${backend.name}`;
    const item = this._get(key, seen, () => {
      const grid = h("div", { class: "tiles" });
      return Object.assign(h("li", { class: "tiles-item" }, grid), { grid });
    });
    let work = 0;
    const tiles = servers.slice(0, TILES_MAX).map((server) => {
      const name = `server ${backend.name} ${server.address}`;
      const rates = this.rates.of(name);
      work += rates.work;
      const select = () => this.select("server", backend.name, server.address);
      const tile = this._get(`tile ${name}`, seen, () => h("button", { type: "button", class: "tile", onclick: select }));
      tile.className = `tile ${kind(server)} heat${Math.min(4, Math.ceil((rates.work / most) * 4))}`;
      tile.title = `${server.address}\n${standing(server)}, ${rate(rates.work)} ${rates.unit}/s`;
      this._label(tile, `Server ${server.address}, ${standing(server)}`, name);
      return tile;
    });
    this._children(item.grid, tiles);
    this.pairs.push({ from: card.root, to: item.grid, work, failed: 0, key });
    return item;
  }

  _more(key, seen, hidden, word) {
    const item = this._get(`more ${key}`, seen, () => {
      const toggle = () => {
        if (!this.open.delete(key)) this.open.add(key);
        this.show(this.state, this.rates);
      };
      const button = h("button", { type: "button", class: "plain more", onclick: toggle });
      return Object.assign(h("li"), { button });
    });
    if (!item.firstChild) item.append(item.button);
    put(item.button, hidden ? `Show ${plural(hidden, `more ${word}`)} as rows` : `Show fewer ${word}s`);
    return item;
  }

  // ---- parts ----

  _card(key, seen, selects) {
    return this._get(key, seen, () => {
      const name = h("span", { class: "name" });
      const badge = h("span", { class: "badge" });
      const note = h("span", { class: "note" });
      const work = h("span", { class: "work" });
      const unit = h("span", { class: "unit" });
      const times = h("span", { class: "times" });
      const failed = h("span", { class: "failed" });
      const spark = svg("svg", { class: "spark", viewBox: "0 0 60 20", preserveAspectRatio: "none", "aria-hidden": "true" });
      const area = svg("path", { class: "area" });
      const line = svg("path", { class: "curve" });
      spark.append(area, line);
      const root = h("button", { type: "button", class: "card node", onclick: () => this.select(...selects) },
        spark, h("span", { class: "head" }, name, badge), note,
        h("span", { class: "figures" }, h("span", {}, work, unit), failed, times));
      return { root, name, badge, note, work, unit, times, failed, area, line, kind: selects[0] };
    });
  }

  _numbers(card, rates, latency) {
    put(card.work, rates.work ? rate(rates.work) : "idle");
    put(card.unit, rates.work ? ` ${rates.unit}/s` : "");
    card.root.classList.toggle("idle", !rates.work);
    put(card.times, latency.counts.length && rates.p50 ? `p50 ${seconds(rates.p50)} · p99 ${seconds(rates.p99)}` : "");
    put(card.failed, rates.failed && rates.work ? `${percent(Math.min(1, rates.failed / rates.work))} failed` : "");
    card.name.title = card.name.textContent;
    card.note.title = card.note.textContent;
    const label = `${card.kind} ${card.name.textContent}, ${card.badge.textContent}, ${rate(rates.work)} ${rates.unit} a second ${card.failed.textContent}`;
    this._label(card.root, label, `${card.kind} ${card.name.textContent}`);
    sparkline(card, rates.history);
  }

  _label(button, label, key) {
    if (button.getAttribute("aria-label") !== label) button.setAttribute("aria-label", label);
    button.classList.toggle("marked", this.marked.has(key));
  }

  _get(key, seen, make) {
    seen.add(key);
    let found = this.made.get(key);
    if (!found) {
      found = make();
      if (found.button) found.append(found.button);
      this.made.set(key, found);
    }
    return found;
  }

  /* Makes these the children, in this order, and moves nothing that is there already. */
  _children(parent, wanted) {
    wanted.forEach((child, at) => {
      if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
    });
    while (parent.children.length > wanted.length) parent.lastChild.remove();
  }

  _fits(...texts) {
    return !this.filter || texts.some((text) => text.toLowerCase().includes(this.filter));
  }

  // ---- links ----

  draw() {
    if (!this.pairs) return;
    const frame = document.getElementById("map").getBoundingClientRect();
    const most = Math.max(...this.pairs.map((pair) => pair.work), 1);
    const paths = [];
    for (const pair of this.pairs) {
      const to = pair.to ?? this.made.get(pair.name)?.root;
      if (!to || !pair.from.offsetParent || !to.offsetParent) continue;
      const a = pair.from.getBoundingClientRect();
      const b = to.getBoundingClientRect();
      if (b.left <= a.right) continue; // narrow: they stand below one another
      const [x1, y1] = [a.right - frame.left, middle(a, pair.from) - frame.top];
      const [x2, y2] = [b.left - frame.left, middle(b, to) - frame.top];
      const bend = Math.max((x2 - x1) * 0.5, 12);
      const width = pair.work ? 1.2 + (WIDTH_MAX - 1.2) * Math.sqrt(pair.work / most) : 1;
      const quality = pair.down ? "down" : pair.failed > FAILED_BAD ? "bad" : pair.failed > FAILED_WARN ? "warn" : "";
      paths.push(svg("path", {
        d: `M${x1.toFixed(1)} ${y1.toFixed(1)}C${(x1 + bend).toFixed(1)} ${y1.toFixed(1)} ${(x2 - bend).toFixed(1)} ${y2.toFixed(1)} ${x2.toFixed(1)} ${y2.toFixed(1)}`,
        "stroke-width": width.toFixed(2),
        class: `${pair.work ? "" : "idle"} ${quality} ${this._marks(pair) ? "marked" : ""}`,
      }));
    }
    this.links.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    this.links.replaceChildren(...paths);
  }

  _marks(pair) {
    const at = (element) => element?.classList?.contains("marked");
    return this.marked.size > 0 && at(pair.from) && at(pair.to ?? this.made.get(pair.name)?.root);
  }

  /* Shows the way of a request that was explained. */
  mark(keys) {
    this.marked = new Set(keys);
    this.show(this.state, this.rates);
  }
}

/* Where a link meets a card: at its heading, so that tall cards keep their links together. */
function middle(box, element) {
  return box.top + (element.classList.contains("tiles") ? Math.min(box.height, 28) : box.height) / 2;
}

export function kind(server) {
  if (server.state === "up" && server.circuit_open) return "warn";
  return { up: "good", starting: "warn", "coming up": "warn", "going down": "warn", draining: "info", drained: "info", maintenance: "info" }[server.state] ?? "bad";
}

/* A server that is up gets nothing all the same while its circuit is open. */
export function standing(server) {
  return server.state === "up" && server.circuit_open ? "circuit open" : server.state;
}

/* The first by rank, in the order in which they stood. */
function busiest(rows, count, rank) {
  if (rows.length <= count) return rows;
  const ranked = rows.map((row, at) => [rank(row), at]).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  const kept = new Set(ranked.slice(0, count).map(([, at]) => at));
  return rows.filter((_, at) => kept.has(at));
}

/* Long names of servers differ at their ends. */
function middle_out(text) {
  return text.length > 24 ? `${text.slice(0, 6)}…${text.slice(-15)}` : text;
}

function sparkline(card, history) {
  if (history.length < 8) return; // a few points say nothing
  const most = Math.max(...history, 1);
  const step = 60 / (history.length - 1);
  const points = history.map((value, at) => `${(at * step).toFixed(1)} ${(19 - 15 * (value / most)).toFixed(1)}`);
  const line = `M${points.join("L")}`;
  card.line.setAttribute("d", line);
  card.area.setAttribute("d", `${line}L60 20L0 20Z`);
}
