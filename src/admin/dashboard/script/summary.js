// The top of the page: one sentence that says how it goes, and the figures of all clusters together.

class Summary {
  constructor(look, aloud) {
    Object.assign(this, { look, aloud });
    Object.assign(this, { tiles: byId("tiles"), shape: "", texts: [] });
    this.rate = this.tile("Requests", new Chart("rate", ["main"], 36));
    this.errors = this.tile("Errors", new Chart("errors", ["main"], 36));
    this.p50 = this.tile("p50", new Chart("time", ["main"], 36));
    this.p99 = this.tile("p99", new Chart("time", ["main"], 36));
    this.held = this.tile("In flight");
    this.ends = this.tile("Eligible");
  }

  tile(title, chart) {
    const value = document.createTextNode("–"), unit = make("small"), figure = make("dd", {}, value, unit);
    const below = chart ? chart.svg : make("p", { className: "words share" });
    this.tiles.append(make("div", { className: "tile" }, make("dt", {}, title), figure, below));
    return { value, unit, figure, chart, below };
  }

  put(tile, text, unit = "") {
    if (tile.value.data !== text) tile.value.data = text;
    say(tile.unit, unit);
  }

  paint() {
    const { totals, table } = model.facts;
    const past = model.total;
    this.put(this.rate, rate(totals.rate), "/s");
    this.rate.chart.paint([past.rate], 1);
    this.put(this.errors, ...percent(totals.errors).split(/ (?=%)/));
    this.errors.figure.classList.toggle("hot", totals.errors >= 0.05);
    this.errors.chart.paint([past.errors], 0.05);
    for (const key of ["p50", "p99"]) {
      this.put(this[key], ...span(totals[key]));
      this[key].chart.paint([past[key]], 0.001);
    }
    this.put(this.held, totals.in_flight.toLocaleString("en"));
    say(this.held.below, `${rate(totals.retries)} retries/s`);
    let eligible = 0, all = 0;
    for (const cluster of model.clusters.values()) { eligible += cluster.eligible; all += cluster.all; }
    this.put(this.ends, eligible.toLocaleString("en"), `of ${all.toLocaleString("en")}`);
    say(this.ends.below, `in ${count(model.clusters.size, "cluster")}`);
    this.pills(table);
    this.judge(eligible, all);
  }

  pills(table) {
    const { lictor, watches } = model.facts;
    const isDraining = lictor.blocker === "draining";
    say(byId("place"), [lictor.name, lictor.version].filter(Boolean).join(" · "));
    pill("ready", isDraining ? "warn" : lictor.ready ? "good" : "bad", isDraining ? "draining" : lictor.ready ? "ready" : "not ready");
    const [tone, words] = consul(watches);
    pill("consul", tone, words);
    pill("table", "off", !table.version ? "no table yet" : `table ${table.version}${table.time ? `, ${ago(model.now() - table.time)} old` : ""}`);
  }

  // What matters most is said first, and large.
  judge(eligible, all) {
    const [first, ...rest] = verdicts(eligible, all);
    // A title that nobody keeps true says so instead.
    if (!document.body.classList.contains("stale")) document.title = `${first.tone === "good" ? "" : "● "}${first.short} · lictor`;
    const box = byId("verdict");
    if (box.dataset.tone !== first.tone) {
      mark(box, "data-tone", first.tone);
      icon(first.tone);
      this.aloud(first.words.map(part => typeof part === "string" ? part : part.name + (part.after ?? "")).join(""));
    }
    this.write(box, first.words, rest.flatMap((next, place) => [place ? " " : "", ...next.words]));
  }

  // Words change in place as long as the same clusters are named: whoever is at a name by keyboard stays there while ages go on.
  write(box, large, small) {
    const parts = [...large, ...small], shape = JSON.stringify([large.length, parts.map(({ name }) => name ?? "")]);
    if (this.shape !== shape) {
      this.shape = shape;
      const held = box.contains(document.activeElement) ? document.activeElement.textContent : null;
      this.texts = parts.map(() => document.createTextNode(""));
      const nodes = parts.map(({ name }, place) => name === undefined ? this.texts[place] : this.link(name, this.texts[place]));
      box.replaceChildren(...nodes.slice(0, large.length));
      if (small.length) box.append(make("small", {}, ...nodes.slice(large.length)));
      if (held !== null) ([...box.querySelectorAll("button")].find(button => button.textContent === held) ?? byId("clusters")).focus({ preventScroll: true });
    }
    parts.forEach((part, place) => say(this.texts[place], typeof part === "string" ? part : part.after ?? ""));
  }

  // With what follows it, so that no line begins with a comma.
  link(name, after) {
    const button = make("button", { type: "button" }, name);
    button.addEventListener("click", () => this.look(name));
    return make("span", { className: name.length > 24 ? "long" : "" }, button, after);
  }
}

function pill(id, tone, words) {
  const box = byId(id);
  box.hidden = false;
  mark(box, "data-tone", tone);
  say(box.lastElementChild, words);
}

function consul(watches) {
  if (!watches.length) return ["off", "no list followed"];
  const failing = watches.filter(watch => watch.failing);
  if (failing.length) return ["bad", failing.length === watches.length ? "Consul: no answer" : `Consul: ${failing.length} of ${watches.length} lists fail`];
  const denied = watches.filter(watch => watch.denied).length;
  if (denied) return ["warn", `Consul: ${count(denied, "list")} denied`];
  if (watches.some(watch => watch.stale)) return ["warn", "Consul: stale"];
  return ["good", `Consul: ${count(watches.length, "list")} followed`];
}

// Sentences, the most urgent first; names of clusters can be clicked.
function verdicts(eligible, all) {
  const { lictor, watches } = model.facts;
  const found = [];
  const tell = (tone, short, ...words) => found.push({ tone, short, words });
  const clusters = [...model.clusters.values()];
  // "a, b, c and 4 more." or with something else for the full stop.
  const named = (list, end = ".") => {
    const shown = list.slice(0, 3), more = list.length - shown.length;
    const after = place => (place < shown.length - 1 ? "," : more ? "" : end);
    const words = shown.flatMap(({ name }, place) => [place ? " " : "", { name, after: after(place) }]);
    return more ? [...words, ` and ${more} more${end}`] : words;
  };
  if (lictor.blocker === "draining") tell("warn", "draining", "Draining: what runs is finished, and nothing new is taken.");
  else if (!lictor.ready) tell("bad", "not ready", `Not ready: ${lictor.blocker ?? "nobody knows why"}.`);
  const empty = clusters.filter(cluster => cluster.isEmpty && !cluster.view.panic);
  if (empty.length) tell("bad", `${empty[0].name}: nobody`, "No endpoint is eligible in ", ...named(empty));
  const panic = clusters.filter(cluster => cluster.view.panic);
  if (panic.length) tell("bad", `panic in ${panic[0].name}`, "Panic in ", ...named(panic, ":"), " so few endpoints are eligible that all of them serve.");
  const failing = watches.filter(watch => watch.failing);
  if (failing.length) {
    const oldest = Math.min(...failing.map(watch => watch.heard ?? model.now()));
    tell("bad", "no Consul", failing.length === watches.length ? "Consul does not answer" : `Consul does not answer for ${count(failing.length, "list")}`, `; the last good lists serve, up to ${ago(model.now() - oldest)} old.`);
  }
  const denied = clusters.filter(cluster => cluster.view.denied);
  if (denied.length) tell("warn", "denied", "Our rights do not show all of ", ...named(denied));
  const out = clusters.filter(cluster => cluster.out > 0).sort((a, b) => b.trouble - a.trouble);
  if (out.length) {
    const number = out.reduce((sum, cluster) => sum + cluster.out, 0);
    tell("warn", `${number} out`, `${count(number, "endpoint")} of ${all.toLocaleString("en")} ${number === 1 ? "is" : "are"} out, in `, ...named(out));
  }
  const erring = clusters.filter(cluster => cluster.view.errors >= 0.05).sort((a, b) => b.view.errors - a.view.errors);
  if (erring.length) tell("warn", `${percent(erring[0].view.errors)} errors`, `${percent(erring[0].view.errors)} of answers are errors in `, ...named(erring.slice(0, 1), erring.length > 1 ? "," : "."), erring.length > 1 ? ` and 5 % or more in ${erring.length - 1} more.` : "");
  if (!clusters.length) tell("off", "no clusters", "There are no clusters: nothing is configured to go anywhere.");
  else if (!found.length) {
    const waiting = clusters.filter(cluster => !cluster.view.listed).length;
    if (waiting) tell("off", "waiting", `${count(waiting, "cluster")} still ${waiting === 1 ? "waits" : "wait"} for a first list.`);
    else if (eligible === all) tell("good", "all well", `All is well: ${count(all, "endpoint")} in ${count(clusters.length, "cluster")} ${all === 1 ? "is" : "are"} eligible.`);
    else tell("good", "all well", `All is well: ${eligible.toLocaleString("en")} of ${count(all, "endpoint")} are eligible, the others are out on purpose.`);
  }
  return found;
}

// So that a tab in the background shows how it goes.
function icon(tone) {
  const colour = { good: "23915a", bad: "d9304a", warn: "c98208" }[tone] ?? "7a8798";
  const shape = tone === "good" ? "<circle cx='8' cy='8' r='6'/>" : "<path d='M8 1 15 8 8 15 1 8z'/>";
  byId("icon").href = `data:image/svg+xml,${encodeURIComponent(`<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='#${colour}'>${shape}</svg>`)}`;
}
