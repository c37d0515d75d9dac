// Small charts: a path over the last minutes, a point a second. A gap is a second in which there was nothing to measure.

const POINTS = 180;
const WIDTH = 360;

class Chart {
  // `kinds`: what is drawn, from the back: each has its class. The first is filled.
  constructor(tone, lines, height) {
    this.height = height;
    this.svg = draw("svg", {
      class: `chart ${tone}`, viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false",
    });
    this.svg.append(draw("path", { class: "rule", d: `M0 ${height - 0.5}H${WIDTH}` }));
    this.fill = draw("path", { class: "fill" });
    this.lines = lines.map(name => draw("path", { class: `line ${name}` }));
    this.svg.append(this.fill, ...this.lines);
  }

  // Draws these, oldest first, so that the highest is at the top; at least `least` is, so that noise is no mountain.
  paint(series, least, scale = most => most) {
    const peak = Math.max(...series.map(highest)), most = scale(Math.max(least, peak));
    this.svg.classList.toggle("calm", peak === 0);
    series.forEach((values, place) => {
      const path = this.path(values, most);
      this.lines[place].setAttribute("d", path.line);
      if (place === 0) this.fill.setAttribute("d", path.fill);
    });
    return most;
  }

  path(values, most) {
    const step = WIDTH / (POINTS - 1), base = this.height - 1;
    let line = "", fill = "", begun = null, x = WIDTH - step * (values.length - 1);
    for (let place = 0; place < values.length; place += 1, x += step) {
      const value = values[place];
      if (missing(value)) {
        if (begun !== null) fill += `V${base}H${begun}Z`;
        begun = null;
        continue;
      }
      const y = (base - (value / most) * (base - 2)).toFixed(1), at = x.toFixed(1);
      line += begun === null ? `M${at} ${y}` : `L${at} ${y}`;
      fill += begun === null ? `M${at} ${base}V${y}` : `L${at} ${y}`;
      begun ??= at;
    }
    if (begun !== null) fill += `V${base}H${begun}Z`;
    return { line, fill };
  }
}

function highest(values) {
  let most = 0;
  for (const value of values) if (value > most) most = value;
  return most;
}

// The next figure that is easy to read, with room above the highest.
function roundUp(value) {
  const room = value * 1.15, power = 10 ** Math.floor(Math.log10(room));
  return power * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find(step => step * power >= room);
}

// A chart with its scale, and the value under the pointer.
class Plot {
  constructor(title, tone, lines, least, read) {
    Object.assign(this, { least, read, at: null, series: [] });
    this.chart = new Chart(tone, lines, 88);
    this.chart.svg.prepend(draw("path", { class: "rule", d: `M0 44.5H${WIDTH}` }));
    this.most = make("span", { className: "most" });
    this.cursor = make("span", { className: "cursor", hidden: true });
    this.value = make("b");
    this.pane = make("div", { className: "pane" }, this.chart.svg, this.most, this.cursor);
    this.figure = make("figure", { className: "plot" },
      make("figcaption", {}, make("span", {}, title), this.value), this.pane,
      make("div", { className: "axis", "aria-hidden": "true" }, make("span", {}, "3 min ago"), make("span", {}, "now")));
    this.pane.addEventListener("pointermove", event => this.point(event));
    this.pane.addEventListener("pointerleave", () => { this.at = null; this.tell(); });
  }

  point(event) {
    const { left, width } = this.pane.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - left) / width));
    this.at = POINTS - 1 - Math.round(share * (POINTS - 1));
    this.cursor.style.left = `${(share * 100).toFixed(2)}%`;
    this.tell();
  }

  paint(series) {
    this.series = series;
    say(this.most, this.read([this.chart.paint(series, this.least, roundUp)]));
    this.tell();
  }

  // Of the second that is pointed at, or else of now.
  tell() {
    const back = this.at ?? 0;
    const values = this.series.map(values => values[values.length - 1 - back]);
    this.cursor.hidden = this.at === null;
    say(this.value, (this.at ? `${back} s ago: ` : "") + this.read(values));
  }
}
