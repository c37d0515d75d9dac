// Keys, tabs and colours; and off it goes.

const VIEWS = ["clusters", "events", "tables", "sources"];

function view(name) {
  document.body.dataset.view = name;
  for (const other of VIEWS) {
    const tab = byId(`tab-${other}`), isChosen = other === name || other === "events" && name === "clusters" && isWide();
    mark(tab, "aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
  }
}

const wide = matchMedia("(min-width: 1181px)");
const isWide = () => wide.matches;

function startViews() {
  wide.addEventListener("change", () => view(document.body.dataset.view));
  for (const name of VIEWS) byId(`tab-${name}`).addEventListener("click", () => view(name));
  document.querySelector(".views").addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tabs = VIEWS.map(name => byId(`tab-${name}`)).filter(tab => tab.offsetParent);
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.click();
    next.focus();
    event.preventDefault();
  });
  view("clusters");
}

// As the system has it, or light, or dark; remembered if the browser remembers things.
function startTheme() {
  const button = byId("theme"), names = ["auto", "light", "dark"];
  let chosen = "auto";
  try { chosen = localStorage.getItem("lictor-theme") ?? chosen; } catch { /* then it is as the system has it */ }
  const show = () => {
    document.documentElement.style.colorScheme = chosen === "auto" ? "" : chosen;
    say(button, `theme: ${chosen}`);
  };
  button.addEventListener("click", () => {
    chosen = names[(names.indexOf(chosen) + 1) % names.length];
    try { localStorage.setItem("lictor-theme", chosen); } catch { /* for this page then */ }
    show();
  });
  show();
}

function startKeys(page) {
  const search = byId("search"), help = byId("help");
  byId("keys").addEventListener("click", () => help.showModal());
  const step = by => {
    const all = [...page.list.children].filter(box => !box.hidden).map(box => box.row.button);
    const place = all.indexOf(document.activeElement.closest?.(".row")?.row.button);
    const next = all[place < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, place + by))];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  };
  const turn = open => document.activeElement.closest?.(".row")?.row.toggle(open);
  const keys = {
    "/": () => { view("clusters"); search.focus(); search.select(); }, "?": () => help.showModal(),
    j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
    ArrowRight: () => turn(true), ArrowLeft: () => turn(false),
    c: () => view("clusters"), e: () => view("events"), t: () => view("tables"), s: () => view("sources"),
  };
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const isArrow = event.key.startsWith("Arrow"), inList = page.list.contains(event.target);
    if (event.target === search) {
      if (event.key === "Escape") { search.value = ""; page.search(""); search.blur(); }
      if (event.key === "ArrowDown" || event.key === "Enter") { step(1); event.preventDefault(); }
      return;
    }
    if (event.target.matches("input, select, textarea") || isArrow && !inList) return;
    const act = Object.hasOwn(keys, event.key) && keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

const page = new Page();
startViews();
startTheme();
startKeys(page);
const asked = new URLSearchParams(location.hash.slice(1)).get("q");
if (asked) { byId("search").value = asked; page.search(asked); }
// Ages go on while nothing comes.
setInterval(() => { if (model.facts) page.schedule(); }, 1000);
new Stream({
  heard: (message, isWhole) => page.learn(message, isWhole),
  broken: (wait, why) => page.lost(wait, why),
  refused: wasWrong => token.ask(wasWrong),
  paused: () => page.paused(),
}).run();
