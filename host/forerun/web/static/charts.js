// Charts over time: panes below each other share one time axis, one cursor and one line of read-out text.
import { node } from "/diagram.js";

const LEFT = 46, RIGHT = 12, GAP = 32, AXIS = 24, LETTER = 6.8;

export function clock(utc_s, timezone, day = false) {
  const options = { hour: "2-digit", minute: "2-digit", hour12: false, timeZone: timezone };
  if (day) options.weekday = "short";
  if (Math.abs(utc_s * 1000 - Date.now()) > 6 * 86400000) Object.assign(options, { day: "numeric", month: "short" });
  return new Intl.DateTimeFormat("en-GB", options).format(utc_s * 1000);
}

export const sameDay = (one_s, other_s, timezone) => [one_s, other_s].map((utc_s) => new Intl.DateTimeFormat("en-GB", { dateStyle: "short", timeZone: timezone })
  .format(utc_s * 1000)).reduce((one, other) => one === other);

// Round steps for an axis that spans `range`.
function step(range, wanted) {
  const raw = range / wanted, base = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((times) => times * base).find((size) => size >= raw);
}

export class Chart {
  // read(utc_s) -> text for the cursor; starts: the moments that the cursor can stand on
  constructor(place, readout) {
    [this.place, this.readout, this.width] = [place, readout, 0];
    new ResizeObserver(() => { if (place.clientWidth !== this.width) this.draw(); }).observe(place);
  }

  show(content) {
    this.content = content;
    this.draw();
  }

  draw() {
    this.width = this.place.clientWidth;
    if (!this.content || !this.width) return;
    const { start, end, panes, timezone, label, starts } = this.content;
    const width = this.width, height = panes.reduce((sum, pane) => sum + pane.height + GAP, AXIS);
    this.x = (utc_s) => LEFT + (utc_s - start) / (end - start) * (width - LEFT - RIGHT);
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": `${label}. Arrow keys move through time.` });
    let top = GAP - 8;
    for (const pane of panes) {
      svg.append(...this.pane(pane, top, width));
      top += pane.height + GAP;
    }
    const bottom = top - GAP;
    const hours = Math.ceil((end - start) / 3600 / Math.max(3, Math.floor(width / 60)));
    const every = 3600 * ([1, 2, 3, 4, 6, 12, 24].find((count) => count >= hours) || 24);
    for (let at = Math.ceil(start / every) * every; at <= end; at += every) {
      if (this.x(at) > width - 20) break;
      svg.append(node("text", { x: this.x(at), y: bottom + 18, "text-anchor": "middle" }, clock(at, timezone)));
    }
    this.cursor = node("line", { class: "cursor", y1: GAP - 8, y2: bottom, visibility: "hidden" });
    svg.append(this.cursor);
    const nearest = (utc_s) => starts.reduce((best, one, i) => (one <= utc_s ? i : best), 0);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      this.point(nearest(start + ((event.clientX - box.left) * width / box.width - LEFT) / (width - LEFT - RIGHT) * (end - start)));
    });
    svg.addEventListener("pointerleave", () => this.point(null));
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      this.point(Math.min(starts.length - 1, Math.max(0, (this.at ?? 0) + move)));
    });
    this.place.replaceChildren(svg);
    this.point(null);
  }

  point(index) {
    const { starts, read, rest } = this.content;
    this.at = index ?? undefined;
    this.cursor.setAttribute("visibility", index === null ? "hidden" : "visible");
    if (index !== null) {
      this.cursor.setAttribute("x1", this.x(starts[index]));
      this.cursor.setAttribute("x2", this.x(starts[index]));
    }
    this.readout.textContent = index === null ? rest : read(index);
  }

  pane({ title, height, low, high, series, marks = [] }, top, width) {
    const size = step(high - low, Math.max(2, height / 30));
    const strip = marks.length ? 16 : 0;  // for the names, above whatever is drawn
    const digits = Math.max(0, -Math.floor(Math.log10(size) + 1e-9));
    const y = (value) => top + strip + (high - value) / (high - low) * (height - strip);
    const made = [node("text", { class: "title", x: 0, y: top - 12 }, title)];
    for (let value = Math.ceil(low / size - 1e-6) * size; value <= high + size * 1e-6; value += size) {
      made.push(node("line", { class: Math.abs(value) < size / 2 && low < 0 ? "zero" : "gridline", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
        node("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(digits).replace(/^-(?=.*[1-9])/, "−").replace("-", "")));
    }
    const seen = marks.map((mark) => ({ ...mark, from: Math.max(LEFT, this.x(mark.start)), to: Math.min(width - RIGHT, this.x(mark.end)) }))
      .filter(({ from, to }) => to > LEFT && from < width - RIGHT).sort((one, other) => one.from - other.from);
    seen.forEach(({ from, to, text }, i) => {
      made.push(node("rect", { class: "job", x: from, y: top, width: Math.max(2, to - from), height }));
      // As much of the name as fits before the next one; the table of jobs has all of it.
      const letters = Math.floor(((seen[i + 1]?.from ?? width - RIGHT) - from - 8) / LETTER);
      if (letters >= 4) made.push(node("text", { x: from + 4, y: top + 12 }, text.length > letters ? `${text.slice(0, letters - 1)}…` : text));
    });
    for (const one of series) made.push(...this.series(one, y, y(Math.max(low, 0)), width));
    return made;
  }

  series({ kind, colour, times, ends, values, lows, value, text }, y, zero, width) {
    const x = this.x;
    if (kind === "limit") {
      return [node("path", { class: "limit", d: `M${LEFT} ${y(value)}H${width - RIGHT}` }),
        node("text", { class: "limit-text", x: width - RIGHT - 2, y: y(value) - 5, "text-anchor": "end" }, text)];
    }
    if (kind === "bars") {
      return values.map((top, i) => node("rect", { class: `f-${colour}`, x: x(times[i]) + 2, width: Math.max(1, x(ends[i]) - x(times[i]) - 4),
        y: y(top), height: Math.max(0, y(lows[i]) - y(top)) }));
    }
    const steps = (list) => list.map((v, i) => `${x(times[i])} ${y(v)}L${x(ends[i])} ${y(v)}`);
    if (kind === "band") {
      const above = steps(values).join("L");
      const below = lows.map((v, i) => `${x(ends[i])} ${y(v)}L${x(times[i])} ${y(v)}`).reverse().join("L");
      return [node("path", { class: `band f-${colour}`, d: `M${above}L${below}z` })];
    }
    const path = `M${steps(values).join("L")}`;
    if (kind === "area") {
      return [node("path", { class: `area f-${colour}`, d: `${path}L${x(ends.at(-1))} ${zero}L${x(times[0])} ${zero}z` })];
    }
    return [node("path", { class: `line s-${colour}`, d: path })];
  }
}

// A table that is filled when somebody opens it.
export function table(place, heads, rows) {
  const fill = () => {
    if (!place.open) return;
    const element = document.createElement("table"), head = element.createTHead().insertRow();
    for (const text of heads) head.append(Object.assign(document.createElement("th"), { textContent: text, scope: "col" }));
    const body = element.createTBody();
    for (const row of rows()) {
      const line = body.insertRow();
      for (const text of row) line.insertCell().textContent = text;
    }
    place.querySelector(".scroll").replaceChildren(element);
  };
  place.ontoggle = fill;
  fill();
}
