// The page: what comes in is learned at once and painted with the next frame.

class Page {
  constructor() {
    this.rows = new Map();
    this.list = byId("rows");
    this.announcer = new Announcer();
    this.summary = new Summary(name => this.look(name), words => this.announcer.say(words));
    this.feed = new Feed();
    this.history = new History();
    this.sources = new Sources();
    this.words = [];
    this.seen = new IntersectionObserver(entries => {
      for (const { target, isIntersecting } of entries) {
        target.row.isSeen = isIntersecting;
        if (isIntersecting) target.row.paint();
      }
    }, { rootMargin: "200px" });
    byId("order").addEventListener("change", () => this.arrange(true));
    byId("search").addEventListener("input", event => this.search(event.target.value));
    this.isFirst = true;
  }

  learn(message, isWhole) {
    const { added, gone, events } = learn(message, isWhole);
    for (const name of gone) this.forget(name);
    // A handful can be open from the start; of many, whoever looks opens some.
    const open = this.isFirst && model.clusters.size <= 3;
    const rows = document.createDocumentFragment();
    for (const cluster of added) {
      const row = new Row(cluster, askToAct);
      row.box.row = row;
      this.rows.set(cluster.name, row);
      rows.append(row.box);
      if (open) row.toggle(true);
    }
    this.list.append(rows);
    for (const cluster of added) this.seen.observe(this.rows.get(cluster.name).box);
    if (!this.isFirst) this.announcer.hear(events);
    this.unsorted = this.unsorted || added.length > 0;
    this.linked();
    this.schedule();
  }

  forget(name) {
    const row = this.rows.get(name);
    if (!row) return;
    this.seen.unobserve(row.box);
    row.box.remove();
    this.rows.delete(name);
  }

  linked() {
    byId("lost").hidden = true;
    document.body.classList.remove("stale");
    pill("link", "good", "live");
  }

  paused() {
    pill("link", "off", "paused while nobody looks");
    document.body.classList.add("stale");
    document.title = "paused · lictor";
  }

  lost(wait, why) {
    pill("link", "bad", "connection lost");
    document.title = "● connection lost · lictor";
    const box = byId("lost");
    const since = model.facts ? ` What you see is of ${clock(model.facts.now)}.` : "";
    say(box, `Connection lost (${why}).${since} Trying again${wait > 1000 ? ` every ${Math.round(wait / 1000)} s` : ""}…`);
    box.hidden = false;
    document.body.classList.add("stale");
    if (!model.facts) say(byId("verdict"), "No figures: lictor does not answer.");
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    // Frames are not drawn for a tab in the background, whose title should still be true.
    const later = document.hidden ? setTimeout : requestAnimationFrame;
    later(() => { this.scheduled = false; this.paint(); });
  }

  paint() {
    this.summary.paint();
    if (this.words.length || this.unsorted || this.isFirst) this.filter();
    this.arrange(this.unsorted);
    this.unsorted = false;
    for (const row of this.rows.values()) row.paint();
    this.feed.paint(this.isFirst);
    this.history.paint();
    this.sources.paint();
    this.isFirst = false;
  }

  search(text) {
    this.words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const hash = this.words.length ? `#q=${encodeURIComponent(text.trim())}` : "";
    history.replaceState(null, "", location.pathname + location.search + hash);
    this.filter();
    this.arrange(true);
  }

  filter() {
    const found = new Map();
    for (const [name, row] of this.rows) {
      const matching = this.words.length ? row.cluster.matching(this.words) : [];
      if (matching) found.set(name, matching);
    }
    const few = found.size <= 3;
    let ends = 0;
    for (const [name, row] of this.rows) {
      const matching = found.get(name);
      row.box.hidden = !matching;
      row.match(matching ?? [], few && this.words.length > 0);
      ends += matching?.length ?? 0;
    }
    const total = this.rows.size;
    const words = `${found.size} of ${count(total, "cluster")}${ends ? `, ${count(ends, "endpoint")}` : ""}`;
    say(byId("found"), this.words.length ? words : "");
    const none = byId("none");
    none.hidden = found.size > 0;
    say(none, total ? "Nothing by that name, address or standing." : "No clusters yet. What is in the configuration appears here.");
  }

  // Lines move only while nobody points at them or has the focus among them: nobody should miss what they click.
  arrange(always) {
    const isBusy = this.list.matches(":hover") || this.list.contains(document.activeElement);
    if (isBusy && !always) return;
    const by = byId("order").value;
    const value = row => by === "trouble" ? row.cluster.trouble : row.cluster.view[by] ?? -1;
    const rows = [...this.rows.values()].sort((a, b) => (by === "name" ? 0 : value(b) - value(a)) || (a.cluster.name < b.cluster.name ? -1 : 1));
    const focus = document.activeElement;
    let place = this.list.firstChild;
    for (const { box } of rows) {
      if (box === place) place = place.nextSibling; else this.list.insertBefore(box, place);
    }
    if (this.list.contains(focus) && focus !== document.activeElement) focus.focus({ preventScroll: true });
  }

  // Shows a cluster that something was said about.
  look(name) {
    const row = this.rows.get(name);
    if (!row) return;
    view("clusters");
    if (row.box.hidden) { byId("search").value = ""; this.search(""); }
    row.toggle(true);
    row.button.focus({ preventScroll: true });
    row.box.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }
}

// Tells a screen reader what has changed, a sentence every few seconds and no more.
class Announcer {
  constructor() { Object.assign(this, { heard: [], verdict: "" }); }

  // How it goes, now that it goes otherwise; of several only the last is still true.
  say(verdict) {
    this.verdict = verdict;
    this.soon();
  }

  hear(events) {
    this.heard.push(...events.filter(({ kind }) => ["ejected", "returned", "panic_began", "panic_ended"].includes(kind)));
    if (this.heard.length) this.soon();
  }

  soon() {
    this.timer ??= setTimeout(() => { this.timer = null; this.tell(); }, 1500);
  }

  tell() {
    const words = [];
    for (const [kind, one, many] of [["ejected", "was ejected", "were ejected"], ["returned", "is back", "are back"]]) {
      const of = this.heard.filter(event => event.kind === kind);
      if (of.length) words.push(`${some(of.map(event => event.endpoint))} of ${some([...new Set(of.map(event => event.cluster))])} ${of.length === 1 ? one : many}.`);
    }
    for (const event of this.heard.filter(({ kind }) => kind.startsWith("panic"))) {
      words.push(event.kind === "panic_began" ? `Panic in ${event.cluster}.` : `No panic in ${event.cluster} any more.`);
    }
    if (this.verdict) words.push(this.verdict);
    Object.assign(this, { heard: [], verdict: "" });
    const box = byId("say");
    box.append(make("span", {}, `${words.join(" ")} `));
    while (box.childElementCount > 5) box.firstChild.remove();
  }
}
