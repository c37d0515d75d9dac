// Elements, and figures as words. Nothing here makes markup out of text: what services call themselves is never more than text.

const byId = id => document.getElementById(id);

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element && key !== "role") element[key] = value; else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function draw(name, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// Writes only what has changed: most of a page is the same a second later.
const said = new WeakMap();
function say(element, text) {
  if (said.get(element) === text) return;
  said.set(element, text);
  element.textContent = text;
}

function mark(element, attribute, value) {
  if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
}

// How an endpoint stands: a colour, and how urgent it is that somebody sees it.
const STANDINGS = {
  ejected: { tone: "bad", rank: 0, weight: 30 },
  unhealthy: { tone: "ill", rank: 1, weight: 20 },
  critical: { tone: "rust", rank: 2, weight: 15 },
  probation: { tone: "warn", rank: 3, weight: 10 },
  suspect: { tone: "odd", rank: 4, weight: 5 },
  "by hand": { tone: "off", rank: 5 },
  maintenance: { tone: "off", rank: 5 },
  drained: { tone: "off", rank: 6 },
  eligible: { tone: "good", rank: 8 },
};
const standing = state => STANDINGS[state] ?? { tone: "off", rank: 7 };
// Out although nobody wanted it.
const isOut = state => "weight" in standing(state);
// Whom an operator ejected is out because somebody wanted it: that is another standing, whatever it takes to keep requests away.
const isByHand = ({ state, by_hand }) => state === "ejected" && by_hand.some(({ what }) => what === "ejected");
const stateOf = endpoint => isByHand(endpoint) ? "by hand" : endpoint.state;

const missing = value => value === null || value === undefined || Number.isNaN(value);

function rate(value) {
  if (missing(value)) return "–";
  if (value < 0.05) return "0";
  if (value < 10) return value.toFixed(1);
  if (value < 1e4) return Math.round(value).toLocaleString("en");
  if (value < 1e6) return `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)}k`;
  return `${(value / 1e6).toFixed(1)}M`;
}

function percent(share) {
  if (missing(share)) return "–";
  if (share === 0) return "0 %";
  if (share < 0.001) return "< 0.1 %";
  return share < 0.1 ? `${(share * 100).toFixed(1)} %` : `${Math.round(share * 100)} %`;
}

// [figure, unit], so that a headline can have a small unit.
function span(seconds) {
  if (missing(seconds)) return ["–", ""];
  const ms = seconds * 1e3;
  if (ms < 10) return [ms.toFixed(ms < 1 ? 2 : 1), "ms"];
  if (ms < 1000) return [String(Math.round(ms)), "ms"];
  return [seconds.toFixed(seconds < 10 ? 2 : 1), "s"];
}
const time = seconds => span(seconds).join(" ").trim();

function ago(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1e3));
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

function clock(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString("en-GB", { hour12: false });
}

const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// "a", "a and b", "a, b and 7 more".
function some(names, most = 2) {
  if (names.length <= most) return names.join(" and ");
  return `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
}
