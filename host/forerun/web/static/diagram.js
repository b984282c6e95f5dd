// The single-line diagram: sources above the busbar, battery and servers below; width and arrow of a lead say how much
// power flows and where to.
const NS = "http://www.w3.org/2000/svg";

export function node(name, attributes = {}, ...children) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const kw = (watts, digits = 1) => (watts / 1000).toFixed(digits).replace("-", "−").replace(/^−(0\.?0*)$/, "$1");

const ICONS = {
  grid: "M12 2v28M4 30l8-16 8 16M6 8h12M4 13h16",
  pv: "M3 26l4-14h14l4 14zM14 12v14M5 19h18M8 4l2 3M14 2v4M20 4l-2 3",
  genset: "M3 10h18v14H3zM21 14h4v6h-4M8 10V6h6v4M7 17h10",
  battery: "M4 9h20v16H4zM9 9V5M19 9V5",
  load: "M4 3h18v8H4zM4 12h18v8H4zM4 21h18v8H4zM8 7h0M8 16h0M8 25h0M14 7h4M14 16h4M14 25h4",
};
const NAMES = { grid: "Grid", pv: "PV", genset: "Diesel set", battery: "Battery", load: "Servers" };

// One entry per lead: power into the busbar [W] and what is written in the box.
function leads(live, site) {
  const soc = live.soc_permille / 10;
  return {
    grid: { into_w: live.pcc_import_w, sub: live.pcc_import_w < -50 ? "exports" : `of ${kw(site.import_limit_w, 0)} kW` },
    pv: { into_w: live.pv_w, sub: live.pv_w > 50 ? "generates" : "no sun" },
    genset: { into_w: live.genset_w, sub: live.genset_w > 50 ? "runs" : "stands still" },
    battery: { into_w: live.active_power_w, sub: Math.abs(live.active_power_w) < 50 ? `${soc.toFixed(0)} %, idle` :
      `${soc.toFixed(0)} %, ${live.active_power_w > 0 ? "discharges" : "charges"}` },
    load: { into_w: -live.load_w, sub: "all loads" },
  };
}

export class Diagram {
  constructor(place) {
    this.place = place;
    this.width = 0;
    new ResizeObserver(() => { if (place.clientWidth !== this.width) this.draw(); }).observe(place);
  }

  show(live, site) {
    [this.live, this.site] = [live, site];
    if (!this.svg) this.draw();
    this.update();
  }

  draw() {
    this.width = this.place.clientWidth;
    if (!this.width) return;
    const width = Math.max(300, this.width), small = width < 560;
    const box = small ? { w: (width - 24) / 3, h: 84 } : { w: Math.min(190, (width - 60) / 3), h: 84 };
    const height = small ? 400 : 392, bus = height / 2;
    const third = small ? box.w + 11 : (width - box.w - 2) / 2;
    const top = ["grid", "pv", "genset"].map((name, i) => [name, i * third + box.w / 2 + 1, box.h / 2 + 2, 1, box.w]);
    const bottom = [["battery", width * 0.28], ["load", width * 0.72]].map(([name, x]) => [name, x, height - box.h / 2 - 2, -1, small ? width * 0.42 : box.w]);
    this.svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": "h-flow flow-words", class: small ? "small" : "" });
    this.svg.append(node("line", { class: "bus", x1: box.w / 2 - 20, x2: width - box.w / 2 + 20, y1: bus, y2: bus }));
    this.parts = {};
    for (const [name, x, y, down, w] of [...top, ...bottom]) {
      const end = y + down * box.h / 2, part = {};
      part.lead = node("line", { class: "lead", x1: x, x2: x, y1: end, y2: bus });
      part.flow = node("line", { class: `flow s-${name}`, x1: x, x2: x, y1: end, y2: bus });
      part.dash = node("line", { class: "dash", x1: x, x2: x, y1: end, y2: bus });
      part.arrow = node("path", { class: `f-${name}`, stroke: "var(--card)", "stroke-width": 2 });
      Object.assign(part, { x, middle: (end + bus) / 2, down });
      const group = node("g", {}, node("rect", { class: "box", x: x - w / 2, y: y - box.h / 2, width: w, height: box.h, rx: 12 }));
      const left = x - w / 2 + (small ? 10 : 56);
      if (!small) group.append(node("path", { class: `icon s-${name}`, d: ICONS[name], transform: `translate(${x - w / 2 + 14} ${y - 18}) scale(1.15)` }));
      part.value = node("text", { class: "value", x: left, y: y + 8 });
      part.sub = node("text", { class: "sub", x: left, y: y + 28 });
      group.append(node("text", { class: "name", x: left, y: y - 19 }, NAMES[name]), part.value, part.sub);
      if (small) group.append(node("rect", { class: `f-${name}`, x: x - w / 2, y: y - box.h / 2 + 12, width: 4, height: box.h - 24, rx: 2 }));
      this.svg.append(part.lead, part.flow, part.dash, part.arrow, group);
      this.parts[name] = part;
    }
    const grid = this.parts.grid;
    this.pcc = node("text", { class: "sub", x: grid.x + 20, y: grid.middle - 14 });
    this.svg.append(this.pcc);
    this.place.replaceChildren(this.svg);
    this.stale(this.old ?? false);
    if (this.live !== undefined) this.update();
  }

  stale(yes) {
    this.old = yes;
    this.svg?.classList.toggle("stale", yes);
  }

  update() {
    const live = this.live;
    if (!this.svg || !live) return;
    const full_w = Math.max(this.site.import_limit_w, 5000);
    for (const [name, { into_w, sub }] of Object.entries(leads(live, this.site))) {
      const part = this.parts[name], flows = Math.abs(into_w) >= 50;
      const thick = flows ? 3 + 13 * Math.min(1, Math.abs(into_w) / full_w) : 0;
      const toBus = into_w > 0, down = toBus === (part.down > 0);
      part.flow.setAttribute("stroke-width", thick);
      part.dash.setAttribute("stroke-width", flows ? Math.max(2, thick * 0.45) : 0);
      part.dash.classList.toggle("up", !toBus);
      const half = flows ? 6 + thick / 2 : 0, tip = down ? half * 1.1 : -half * 1.1, { x, middle: y } = part;
      part.arrow.setAttribute("d", flows ? `M${x - half} ${y - tip / 1.6}h${2 * half}L${x} ${y + tip}z` : "");
      set(part.value, `${kw(Math.abs(into_w))} kW`);
      set(part.sub, sub);
    }
    set(this.pcc, `PCC ${(live.pcc_voltage_mv / 1000).toFixed(1)} V`);
  }
}

export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function inWords(live) {
  if (!live) return "No values yet.";
  const said = [Math.abs(live.pcc_import_w) < 50 ? "Nothing is exchanged with the grid" :
    `The grid ${live.pcc_import_w > 0 ? "gives" : "takes"} ${kw(Math.abs(live.pcc_import_w))} kW`];
  if (live.pv_w > 50) said.push(`PV gives ${kw(live.pv_w)} kW`);
  if (live.genset_w > 50) said.push(`the diesel set gives ${kw(live.genset_w)} kW`);
  if (Math.abs(live.active_power_w) >= 50) said.push(`the battery ${live.active_power_w > 0 ? "gives" : "takes"} ${kw(Math.abs(live.active_power_w))} kW`);
  return `${said.join(", ")}; the servers take ${kw(live.load_w)} kW.`;
}
