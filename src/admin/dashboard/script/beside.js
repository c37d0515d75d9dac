// What happened: events, tables with their differences, and the sources that are followed.

// Each kind of event: its colour, its word, and what there is to say beside it.
const KINDS = {
  ejected: { tone: "bad", word: "ejected", why: ({ reason, for_seconds }) => `${reason}, for ${ago(for_seconds * 1e3)}` },
  spared: { tone: "warn", word: "spared", why: ({ reason, rule }) => `fails (${reason}), but was not ejected: ${rule}` },
  returned: { tone: "good", word: "back", why: () => "" },
  panic_began: { tone: "bad", word: "panic", why: () => "so few endpoints are eligible that all of them serve" },
  panic_ended: { tone: "good", word: "no panic", why: () => "only eligible endpoints serve again" },
  level: { tone: "warn", word: "other list", why: ({ level, list }) => level === null ? "all its lists serve together" : `${list} serves, list ${level + 1}` },
  stale_began: { tone: "bad", word: "stale", why: ({ source, served }) => `nothing good was heard of ${source} for too long; ${served ? "its last list serves" : "it is not served any more"}` },
  stale_ended: { tone: "good", word: "not stale", why: ({ source }) => `${source} is followed again` },
  reloaded: { tone: "good", word: "reloaded", why: () => "another configuration was taken over" },
  reload_failed: { tone: "bad", word: "not reloaded", why: ({ error }) => error },
  draining: { tone: "warn", word: "draining", why: () => "not ready any more" },
  log_level: { tone: "off", word: "log level", why: ({ level, for_seconds }) => for_seconds ? `${level}, for ${ago(for_seconds * 1e3)}` : level },
  asked: { tone: "odd", word: "by hand", why: ({ who, method, path, status }) => `${method} ${path} by ${who}: ${status}` },
};
// Of a kind that this page does not know yet, there is still the sentence.
const kindOf = event => KINDS[event.kind] ?? { tone: "off", word: event.kind.replaceAll("_", " "), why: ({ text }) => text };

class Feed {
  constructor() {
    this.list = byId("feed");
    this.lines = new Map();
    this.count = make("span", { className: "count" });
    byId("tab-events").append(this.count);
  }

  paint(isFirst) {
    byId("quiet").hidden = model.events.length > 0;
    say(this.count, model.events.length ? String(model.events.length) : "");
    const left = new Set(this.lines.keys());
    let place = this.list.firstChild;
    for (const event of model.events) {
      left.delete(event.id);
      let line = this.lines.get(event.id);
      if (!line) {
        this.lines.set(event.id, line = this.line(event, isFirst));
        this.list.insertBefore(line, place);
      } else place = line.nextSibling;
    }
    for (const id of left) {
      this.lines.get(id).remove();
      this.lines.delete(id);
    }
  }

  line(event, isFirst) {
    const { tone, word, why } = kindOf(event), at = Date.parse(event.time);
    const where = [event.cluster, event.endpoint].filter(Boolean).join(" ");
    const time = make("time", { dateTime: event.time, title: new Date(at).toLocaleString() }, clock(at));
    const line = make("li", { "data-tone": tone, className: isFirst ? "" : "fresh" }, time,
      make("p", {}, make("i"), make("b", {}, word), where ? " " : "", make("span", { className: "mono" }, where)));
    const words = why(event);
    if (words) line.append(make("p", { className: "why" }, words));
    return line;
  }
}

class History {
  constructor() {
    this.list = byId("history");
    this.lines = new Map();
  }

  paint() {
    byId("blank").hidden = model.tables.length > 0;
    const left = new Set(this.lines.keys());
    let place = this.list.firstChild;
    for (const table of model.tables) {
      left.delete(table.id);
      let line = this.lines.get(table.id);
      if (!line) {
        this.lines.set(table.id, line = this.line(table));
        this.list.insertBefore(line.box, place);
      } else place = line.box.nextSibling;
      say(line.age, `${ago(model.now() - line.at)} ago`);
    }
    for (const id of left) {
      this.lines.get(id).box.remove();
      this.lines.delete(id);
    }
  }

  line(table) {
    const sum = kind => table.clusters.reduce((all, change) => all + change[`${kind}_total`], 0);
    const sums = make("span", { className: "sums" });
    for (const [kind, sign, tone] of SIGNS) {
      const number = sum(kind);
      if (number) sums.append(make("span", { "data-tone": tone, title: `${count(number, "endpoint")} ${kind}` }, `${sign}${number}`));
    }
    const age = make("span"), at = Date.parse(table.time);
    const diff = make("div", { className: "diff" }, ...table.clusters.map(change => this.change(change)));
    const unsaid = table.clusters_changed - table.clusters.length;
    if (unsaid > 0) diff.append(make("p", {}, `and ${count(unsaid, "cluster")} more`));
    if (table.routes_changed) diff.append(make("p", {}, "The routes are others."));
    if (!diff.childElementCount) diff.append(make("p", {}, "No endpoint came, went or changed."));
    const causes = table.causes.map(because);
    const box = make("li", {}, make("details", {},
      make("summary", {}, make("span", {}, make("b", {}, `Version ${table.version}`)), sums,
        make("span", { className: "cause" }, `${causes.length ? some([...new Set(causes)]) : "no cause"} · ${clock(at)}, `, age)), diff));
    return { box, age, at };
  }

  change(change) {
    const words = { added: "new", removed: "gone", listed: "first list", changed: "" }[change.change] ?? change.change;
    const lines = SIGNS.flatMap(([kind, sign, tone]) => {
      const all = change[kind].map(what => make("p", { "data-tone": tone }, `${sign} ${what}`));
      const unsaid = change[`${kind}_total`] - all.length;
      return unsaid > 0 ? [...all, make("p", { "data-tone": tone }, `${sign} ${unsaid} more`)] : all;
    });
    return make("div", {}, make("h3", {}, words ? `${change.cluster} (${words})` : change.cluster), ...lines);
  }
}

// What a table was made for.
function because({ cause, source, index }) {
  const words = {
    start: "the start", from_disk: "a list from disk", reload: "another configuration", documents: "documents in the KV store", claims: "what services claim",
    name: "a name that was asked for", place: "other places", by_hand: "by hand", time: "time",
  };
  return cause === "list" ? `${source} at index ${index}` : words[cause] ?? cause.replaceAll("_", " ");
}

const SIGNS = [["added", "+", "good"], ["removed", "−", "bad"], ["changed", "~", "warn"]];

class Sources {
  constructor() {
    this.list = byId("watches");
    this.lines = new Map();
  }

  paint() {
    const { watches } = model.facts;
    byId("alone").hidden = watches.length > 0;
    const left = new Set(this.lines.keys());
    for (const watch of watches) {
      left.delete(watch.name);
      let line = this.lines.get(watch.name);
      if (!line) {
        line = { word: make("b"), age: make("small") };
        line.box = make("li", {}, make("span", { className: "what" }, watch.name), line.word, line.age);
        this.lines.set(watch.name, line);
        this.list.append(line.box);
      }
      const [tone, word] = howIs(watch);
      mark(line.box, "data-tone", tone);
      say(line.word, word);
      const index = watch.index ? ` · index ${watch.index}` : "";
      say(line.age, (watch.heard ? `last good answer ${ago(model.now() - watch.heard)} ago` : "no good answer yet") + index);
    }
    for (const name of left) {
      this.lines.get(name).box.remove();
      this.lines.delete(name);
    }
  }
}

function howIs(watch) {
  if (watch.failing) return ["bad", "no answer"];
  if (watch.denied) return ["warn", "denied"];
  if (watch.stale) return ["warn", "stale"];
  if (watch.from_disk) return ["warn", "from disk"];
  return watch.heard ? ["good", "followed"] : ["off", "awaited"];
}
