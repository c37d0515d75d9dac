// What is known: the last word on everything, and the last minutes of each cluster.

const PAST = ["rate", "errors", "p50", "p99"];
// What figures are of: for so long one that was heard holds, if the next is late.
const HOLD = 5;
const MOST_EVENTS = 200;
const MOST_TABLES = 50;

const model = {
  facts: null, clusters: new Map(), events: [], tables: [], totals: new Map(),
  // The clock over there may be another than ours.
  offset: 0,
  now() { return Date.now() + this.offset; },
};

class Past {
  constructor() { for (const key of PAST) this[key] = []; }

  // What the last so many seconds were like.
  push(view, seconds) {
    for (const key of PAST) {
      const value = view[key] ?? NaN, before = seconds > HOLD ? NaN : value;
      for (let second = Math.min(seconds, POINTS); second > 1; second -= 1) this[key].push(before);
      this[key].push(value);
      this[key].splice(0, Math.max(0, this[key].length - POINTS));
    }
  }

  // The last point once more: of the same second, and newer.
  amend(view) {
    for (const key of PAST) if (this[key].length) this[key][this[key].length - 1] = view[key] ?? NaN;
  }

  // What is told of it, after so many seconds in which nothing was heard, and before that what is known: for whoever comes back after a
  // moment and was alone, lictor begins anew.
  take(past, seconds) {
    for (const key of PAST) {
      const told = (past[key] ?? []).slice(-POINTS).map(value => value ?? NaN);
      const known = this[key].length ? [...this[key], ...Array(Math.min(seconds, POINTS)).fill(NaN)] : [];
      const older = known.length - told.length;
      const newer = older < 0 ? told : told.map((value, at) => Number.isNaN(value) ? known[older + at] : value);
      this[key] = [...known.slice(0, Math.max(0, older)), ...newer].slice(-POINTS);
    }
  }
}

// How many stand how, those counted as well that are not told one by one.
function statesOf({ endpoints, states: told }) {
  const states = new Map(Object.entries(told ?? {}));
  for (const endpoint of endpoints) {
    const state = stateOf(endpoint);
    if (told && state === endpoint.state) continue;
    states.set(state, (states.get(state) ?? 0) + 1);
    if (told) states.set(endpoint.state, (states.get(endpoint.state) ?? 0) - 1);
  }
  return new Map([...states].filter(([, number]) => number > 0));
}

class Cluster {
  constructor(view) {
    this.name = view.name;
    this.past = new Past();
    this.take(view);
  }

  take(view) {
    this.view = view;
    this.changed = true;
    this.endpoints = [...view.endpoints].sort((a, b) => standing(stateOf(a)).rank - standing(stateOf(b)).rank);
    const states = statesOf(view);
    this.states = [...states].sort(([a], [b]) => standing(b).rank - standing(a).rank);
    const sum = value => this.states.reduce((sum, [state, number]) => sum + number * value(state), 0);
    this.all = sum(() => 1);
    this.eligible = states.get("eligible") ?? 0;
    this.out = sum(state => Number(isOut(state)));
    this.weight = sum(state => standing(state).weight ?? 0);
    this.source = view.sources.length ? `Consul ${view.sources.join(", ")}` : "static";
    this.text = [view.name, this.source, view.policy].join("\n").toLowerCase();
    this.tone = this.judge();
  }

  // Of a large cluster only some are told one by one, those first that somebody should look at.
  get untold() { return this.all - this.endpoints.length; }

  get isEmpty() { return this.view.listed && this.all > 0 && this.eligible === 0; }

  judge() {
    const { panic, stale, denied, errors } = this.view;
    if (panic || this.isEmpty) return "bad";
    return this.out > 0 || stale || denied || errors >= 0.05 ? "warn" : "good";
  }

  // The higher, the sooner somebody should look.
  get trouble() {
    const { panic, stale, denied, errors } = this.view;
    return (panic ? 1e9 : 0) + (this.isEmpty ? 5e8 : 0) + (denied || stale ? 1e6 : 0) + this.weight * 100 + Math.round((errors ?? 0) * 20) * 2500;
  }

  // Which endpoints a search is about; none in particular if it is about the cluster.
  matching(words) {
    if (words.every(word => this.text.includes(word))) return [];
    const found = this.endpoints.filter(endpoint => {
      const text = `${this.text}\n${endpoint.address}\n${endpoint.id ?? ""}\n${endpoint.state}\n${stateOf(endpoint)}`.toLowerCase();
      return words.every(word => text.includes(word));
    });
    return found.length ? found : null;
  }
}

// Sources that are followed: all are told at first, and then those of whom there is something new.
function followed(message, isWhole) {
  const watches = new Map(isWhole ? [] : model.facts.watches.map(watch => [watch.name, watch]));
  for (const watch of message.watches) watches.set(watch.name, watch);
  for (const name of message.unwatched) watches.delete(name);
  return [...watches.values()].sort((a, b) => a.name < b.name ? -1 : 1);
}

// Takes a message in; says which clusters are new and which are gone.
function learn(message, isWhole) {
  model.offset = message.now - Date.now();
  model.facts = { ...model.facts, ...message, watches: followed(message, isWhole) };
  const gone = isWhole ? new Set(model.clusters.keys()) : new Set(message.gone);
  const added = [];
  const missed = Math.max(0, Math.round((message.now - (model.ticked ?? message.now)) / 1000));
  for (const view of message.clusters) {
    const known = model.clusters.get(view.name);
    const cluster = known ?? new Cluster(view);
    if (known) known.take(view); else { model.clusters.set(view.name, cluster); added.push(cluster); }
    if (view.past) cluster.past.take(view.past, missed);
    gone.delete(view.name);
  }
  for (const name of gone) model.clusters.delete(name);
  const whole = model.total ??= new Past();
  if (isWhole && message.past) whole.take(message.past, missed);
  if (message.tick && !isWhole) {
    const seconds = Math.max(1, missed);
    for (const cluster of model.clusters.values()) cluster.past.push(cluster.view, seconds);
    whole.push(message.totals, seconds);
  } else if (!isWhole) whole.amend(message.totals);
  if (message.tick || isWhole) model.ticked = message.now;
  // After a reconnect everything comes once more: what was known is no news.
  const told = new Set(model.events.map(event => event.id));
  const events = (message.events ?? []).filter(event => !told.has(event.id));
  if (isWhole) {
    const kept = new Set((message.events ?? []).map(event => event.id));
    model.events = model.events.filter(event => kept.has(event.id));
    model.tables = [];
  }
  model.events = [...events.toReversed(), ...model.events].slice(0, MOST_EVENTS);
  model.tables = [...(message.tables ?? [])].reverse().concat(model.tables).slice(0, MOST_TABLES);
  return { added, gone: [...gone], events };
}
