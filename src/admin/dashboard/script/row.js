// A cluster as a line of the list. It is made once and patched; a line that nobody sees is not painted.

const MOST_CELLS = 30;

class Row {
  constructor(cluster, acts) {
    Object.assign(this, { cluster, acts, isSeen: false, isToggled: false, isMatched: false });
    this.button = make("button", { type: "button", "aria-expanded": "false" }, cluster.name);
    this.button.title = cluster.name;
    this.flags = make("span", { className: "flags" });
    this.meta = make("span");
    this.cells = make("div", { className: "cells", "aria-hidden": "true" });
    this.words = make("p", { className: "words" });
    this.figures = {
      rate: new Figure("rate", ["main"], 1),
      errors: new Figure("errors", ["main"], 0.05),
      time: new Figure("time", ["main", "also"], 0.001),
    };
    this.held = make("span");
    const line = make("div", { className: "line1" },
      make("div", { className: "name" }, this.button, make("p", {}, this.flags, this.meta)),
      make("div", { className: "who" }, this.cells, this.words),
      ...Object.values(this.figures).map(figure => figure.box),
      make("div", { className: "held" }, make("span", { className: "label" }, "in flight"), this.held));
    line.addEventListener("click", () => { if (!String(getSelection())) this.toggle(); });
    this.box = make("li", { className: "row" }, line);
  }

  get isOpen() { return this.isToggled !== this.isMatched; }

  toggle(open = !this.isOpen) {
    if (open === this.isOpen) return;
    this.isToggled = !this.isToggled;
    this.show();
  }

  // A search that is about few endpoints opens what they are in, and closes it again when it is over.
  match(found, few) {
    this.found = found;
    const isMatched = few && found.length > 0;
    if (this.isMatched !== isMatched) {
      if (this.isToggled) this.isToggled = false; else this.isMatched = isMatched;
      if (!isMatched) this.isMatched = false;
    }
    this.show();
  }

  show() {
    mark(this.button, "aria-expanded", String(this.isOpen));
    if (this.isOpen && !this.below) {
      this.below = new Below(this.cluster, this.acts);
      this.box.append(this.below.box);
    }
    if (this.below) this.below.box.hidden = !this.isOpen;
    this.paint(true);
  }

  paint(always = false) {
    if (!this.isSeen && !always) return;
    const { view, past, tone } = this.cluster;
    mark(this.box, "data-tone", tone);
    this.paintName(view);
    this.paintWho();
    // Where there are no requests, there may be connections; those are tries as well.
    const tries = !view.rate && view.attempts > 0.05;
    this.figures.rate.paint(rate(tries ? view.attempts : view.rate), tries ? "tries/s" : "/s", [past.rate]);
    this.figures.errors.paint(percent(view.errors), "", [past.errors], view.errors >= 0.05);
    const [p50, p50unit] = span(view.p50), [p99, unit] = span(view.p99);
    const both = p50unit === unit ? `${p50} · ${p99}` : `${p50} ${p50unit} · ${p99}`;
    this.figures.time.paint(missing(view.p99) ? "–" : both, unit, [past.p99, past.p50]);
    say(this.held, view.in_flight.toLocaleString("en"));
    if (this.isOpen) this.below.paint(this.found ?? []);
  }

  paintName(view) {
    const flags = [];
    if (view.panic) flags.push(["bad", "panic"]);
    if (!view.listed) flags.push(["warn", "no list yet"]);
    if (view.denied) flags.push(["warn", "denied"]);
    if (view.stale) flags.push(["warn", "stale"]);
    if (view.from_disk) flags.push(["off", "from disk"]);
    const key = flags.join();
    if (this.flagged !== key) {
      this.flagged = key;
      this.flags.replaceChildren(...flags.map(([tone, word]) => make("span", { className: "flag", "data-tone": tone }, word)));
    }
    const level = view.levels > 1 ? ` · ${view.level === null ? "all lists" : `list ${view.level + 1} of ${view.levels}`}` : "";
    say(this.meta, `${this.cluster.source} · ${view.policy.replaceAll("_", " ")}${level}`);
  }

  paintWho() {
    const { states, all, view } = this.cluster;
    const key = `${view.listed} ${states}`;
    if (this.counted === key) return;
    this.counted = key;
    // The good ones first, so that what is wrong is at the end, beside its word.
    const cells = Math.min(all, MOST_CELLS), tones = [];
    let before = 0;
    for (const [state, number] of states) {
      before += number;
      while (tones.length < Math.round(before * cells / all)) tones.push(standing(state).tone);
    }
    // Whoever is out is never left out for want of room.
    if (cells) tones[cells - 1] = standing(states.at(-1)[0]).tone;
    while (this.cells.childElementCount > tones.length) this.cells.lastChild.remove();
    while (this.cells.childElementCount < tones.length) this.cells.append(make("i"));
    tones.forEach((tone, place) => mark(this.cells.children[place], "data-tone", tone));
    const words = states.map(([state, number]) => {
      const { tone } = standing(state);
      const text = `${number.toLocaleString("en")} ${state}`;
      return make("span", {}, tone === "good" ? text : make("b", { "data-tone": tone }, text));
    });
    this.words.replaceChildren(...(words.length ? words.flatMap(word => [word, " "]) : [make("span", {}, view.listed ? "no endpoints" : "not known yet")]));
  }
}

// A figure and the way it came to that.
class Figure {
  constructor(tone, lines, least) {
    this.least = least;
    this.chart = new Chart(tone, lines, 24);
    this.value = document.createTextNode("");
    this.unit = make("small");
    this.box = make("div", { className: "figure" }, make("span", {}, this.value, " ", this.unit), this.chart.svg);
  }

  paint(text, unit, series, isHot = false) {
    if (this.value.data !== text) this.value.data = text;
    say(this.unit, unit);
    this.box.classList.toggle("hot", isHot);
    this.chart.paint(series, this.least);
  }
}
