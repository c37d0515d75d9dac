// An open cluster: its last minutes, what it goes by, and its endpoints one by one.

const MOST_SHOWN = 200;

// The median and the slowest hundredth, or the highest of the scale.
const both = ([p99, p50]) => missing(p50) ? time(p99) : `${time(p50)} · ${time(p99)}`;

class Below {
  constructor(cluster, acts) {
    Object.assign(this, { cluster, acts, ends: new Map(), isWhole: false });
    this.plots = {
      rate: new Plot("Requests", "rate", ["main"], 1, ([now]) => `${rate(now)} /s`),
      errors: new Plot("Errors", "errors", ["main"], 0.04, ([now]) => percent(now)),
      time: new Plot("Duration, p50 below p99", "time", ["main", "also"], 0.001, both),
    };
    this.facts = make("p", { className: "facts" });
    this.body = make("tbody");
    const heads = [["Standing"], ["Endpoint"], ["Weight", "num"], ["In flight", "num"], ["Connections", "num"], ["Expected", "num"]];
    const cells = heads.map(([text, className = ""]) => make("th", { scope: "col", className }, text));
    cells.push(make("th", { scope: "col", className: "do" }, make("span", { className: "unseen" }, "What to do")));
    this.table = make("table", { className: "ends" }, make("thead", {}, make("tr", {}, ...cells)), this.body);
    this.table.setAttribute("aria-label", `Endpoints of ${cluster.name}`);
    this.more = make("button", { type: "button", className: "quiet more", hidden: true });
    this.untold = make("p", { className: "untold", hidden: true });
    this.more.addEventListener("click", () => { this.isWhole = true; this.paint(this.found); });
    const plots = Object.values(this.plots).map(plot => plot.figure);
    this.box = make("div", { className: "open" }, make("div", { className: "plots" }, ...plots), this.facts, this.table, this.more, this.untold);
    this.box.addEventListener("click", event => event.stopPropagation());
  }

  paint(found) {
    this.found = found;
    const { view, past } = this.cluster;
    this.plots.rate.paint([past.rate]);
    this.plots.errors.paint([past.errors]);
    this.plots.time.paint([past.p99, past.p50]);
    this.paintFacts(view);
    const all = found.length ? found : this.cluster.endpoints;
    const shown = this.isWhole ? all : all.slice(0, MOST_SHOWN);
    this.more.hidden = shown.length === all.length;
    say(this.more, `Show all ${all.length.toLocaleString("en")} endpoints`);
    this.table.hidden = all.length === 0;
    const { name, untold } = this.cluster;
    this.untold.hidden = found.length > 0 || untold === 0;
    say(this.untold, `And ${untold.toLocaleString("en")} more, which /v1/clusters/${encodeURIComponent(name)} shows.`);
    this.arrange(shown);
  }

  paintFacts(view) {
    const facts = [
      ["attempts", `${rate(view.attempts)} /s`], ["retries", `${rate(view.retries)} /s`],
      ["connections", view.connections.toLocaleString("en")],
    ];
    const heard = model.facts.watches.filter(({ name }) => view.sources.includes(name)).map(watch => watch.heard);
    if (heard.length && heard.every(Boolean)) facts.push(["last heard of its list", `${ago(model.now() - Math.min(...heard))} ago`]);
    const key = facts.join();
    if (this.told === key) return;
    this.told = key;
    this.facts.replaceChildren(...facts.map(([what, value]) => make("span", {}, `${what} `, make("b", {}, value))));
  }

  arrange(shown) {
    const left = new Set(this.ends.keys());
    let place = this.body.firstChild;
    for (const endpoint of shown) {
      left.delete(endpoint.address);
      let end = this.ends.get(endpoint.address);
      if (!end) this.ends.set(endpoint.address, end = new End(this.cluster.name, this.acts));
      end.paint(endpoint);
      if (end.line === place) place = place.nextSibling; else this.body.insertBefore(end.line, place);
    }
    for (const address of left) {
      this.ends.get(address).line.remove();
      this.ends.delete(address);
    }
  }
}

// An endpoint as a line of the table.
class End {
  constructor(cluster, acts) {
    Object.assign(this, { cluster, acts });
    this.word = make("b");
    this.why = make("small");
    this.address = make("span");
    this.id = make("small");
    this.numbers = ["weight", "in flight", "connections", "expected"].map(label => make("td", { className: "num", "data-label": label }));
    this.acting = make("td", { className: "do" });
    this.line = make("tr", {},
      make("td", { className: "standing" }, make("i"), this.word, this.why),
      make("td", { className: "where" }, this.address, this.id), ...this.numbers, this.acting);
  }

  paint(endpoint) {
    this.endpoint = endpoint;
    mark(this.line, "data-tone", standing(stateOf(endpoint)).tone);
    say(this.word, stateOf(endpoint));
    say(this.why, this.because(endpoint));
    say(this.address, endpoint.address);
    say(this.id, endpoint.id ?? "");
    const weight = endpoint.percent < 100 ? `${endpoint.weight} at ${endpoint.percent} %` : String(endpoint.weight);
    const values = [weight, endpoint.in_flight, endpoint.connections, endpoint.latency === null ? "–" : time(endpoint.latency)];
    this.numbers.forEach((cell, place) => say(cell, String(values[place])));
    this.paintActs(endpoint);
  }

  because({ state, status, why, until, by_hand }) {
    const more = end => end && end > model.now() ? `, for ${ago(end - model.now())} more` : "";
    const parts = by_hand.map(({ what, weight, by, note, until }) =>
      `${weight === null ? what : `weight ${weight}`} by ${by}${note ? ` (${note})` : ""}${until ? more(until) : ", until it is taken back"}`);
    const isMeant = by_hand.some(({ what }) => what === state);
    if (why && !isMeant) parts.unshift(`${why.replaceAll("_", " ")}${more(until)}`);
    if (status === "warning" && !parts.length) parts.push("its checks warn");
    return parts.join("; ");
  }

  // What can be done to it depends on how it stands.
  paintActs(endpoint) {
    const acts = actsFor(endpoint);
    const key = acts.join();
    if (this.offered === key) return;
    this.offered = key;
    this.acting.replaceChildren(...acts.map(act => {
      const button = make("button", { type: "button", "aria-label": `${ACTS[act].word} ${endpoint.address} of ${this.cluster}` }, ACTS[act].word);
      button.addEventListener("click", () => this.acts(act, this.cluster, this.endpoint));
      return button;
    }));
  }
}
