/* The explain box: a request on trial, and its way marked in the map. */

import { ask } from "./api.js";
import { h, percent, plural } from "./format.js";

const SHOWN = 12; // routes that were tried; of thousands those that came closest

export class Explain {
  constructor(mark) {
    this.mark = mark;
    this.form = document.getElementById("ask");
    this.verdict = document.getElementById("verdict");
    this.listeners = document.getElementById("ask-listener");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
  }

  show(state) {
    const names = ["", ...state.listeners.map((one) => one.name)];
    if (this.names === names.join("\n")) return;
    this.names = names.join("\n");
    const chosen = this.listeners.value;
    this.listeners.replaceChildren(...names.map((name) => h("option", { value: name }, name || "by the URL's port")));
    this.listeners.value = names.includes(chosen) ? chosen : "";
  }

  async ask() {
    const value = (id) => document.getElementById(id).value;
    const url = value("ask-url");
    const question = {
      method: value("ask-method"),
      url: /^[a-z]+:\/\//i.test(url) ? url : `http://${url}`,
      client: value("ask-client") || "127.0.0.1",
      headers: value("ask-headers").split("\n").map((line) => line.trim()).filter(Boolean),
      body: value("ask-body") || null,
      listener: value("ask-listener") || null,
    };
    try {
      this._tell(await ask("POST", "/v1/explain", question));
    } catch (error) {
      this.verdict.replaceChildren(h("p", { class: "problem" }, error.message));
      this.mark([]);
    }
  }

  _tell(found) {
    const tried = found.attempts;
    const shown = tried.length <= SHOWN ? tried
      : [...tried].sort((a, b) => b.taken - a.taken || b.held - a.held || a.number - b.number).slice(0, SHOWN).sort((a, b) => a.number - b.number);
    const steps = shown.map((one) => h("li", { class: one.taken ? "taken" : "missed" },
      h("span", { class: "sign", "aria-label": one.taken ? "taken" : "missed" }, one.taken ? "✓" : "✗"),
      h("span", {}, h("strong", {}, one.name), ...one.misses.map((miss) =>
        h("span", { class: "miss" }, `${miss.field}: wanted ${miss.wanted}; got ${miss.got || "nothing"}`)))));
    const rest = tried.length - shown.length;
    this.verdict.replaceChildren(
      h("p", { class: "ending" }, ending(found)),
      ...(found.why && !found.refused ? [h("p", { class: "quiet" }, found.why)] : []),
      ...(rest ? [h("p", { class: "quiet" }, `${plural(rest, "route")} missed by more; these came closest`)] : []),
      h("ol", { class: "steps" }, ...steps));
    this.mark([`listener ${found.listener}`, `route ${found.listener} ${found.route}`,
      `backend ${found.backend}`, `server ${found.backend} ${found.server}`]);
  }
}

function ending(found) {
  const where = `${found.listener} (${found.layer})`;
  if (found.refused) return `${where} refuses it: ${found.refused}`;
  if (!found.route) return `${where} has no route for it: ${"method" in found.seen ? "404" : "closed"}`;
  if (found.answered) return `${where} → ${found.route}, which answers by itself`;
  const total = found.shares.reduce((sum, [, weight]) => sum + weight, 0);
  const share = found.shares.find(([name]) => name === found.backend);
  const part = found.shares.length > 1 && share ? ` (${percent(share[1] / total)})` : "";
  return `${where} → ${found.route} → ${found.backend}${part} → ${found.server || "no server"}`;
}
