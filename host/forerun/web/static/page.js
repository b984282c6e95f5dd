// The page: logs in, follows the event stream, and puts each part of the snapshot where it belongs.
import { Diagram, inWords, kw, node, set } from "/diagram.js";
import { Chart, clock, sameDay, table } from "/charts.js";
import { Controls } from "/controls.js";
import { element, Reports } from "/reports.js";

const at = (id) => document.getElementById(id);
const STALE_MS = 5000;
const LOST_MS = 3000, AGAIN_MS = 10000; // the host sends several events a second: silence that is told, and that is tried again
const STATES = {
  starting: "Starting", idle: "Idle", planned: "Follows the plan", leased: "Holds a setpoint", fallback: "On its own: fallback", prepare: "Prepares for a load step",
  faulted: "Fault", grid_lost: "The grid is gone", maintenance: "Maintenance",
};
const parts = { site: { import_limit_w: 10000, timezone: "UTC" } };
let who = null, source = null, last = null, heard_ms = 0, contact_ms = 0, tried_ms = 0, again = 0;

// ---- talking to the server

export async function ask(method, path, body) {
  const headers = { "X-CSRF-Token": who?.csrf ?? "" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Error("The site's host cannot be reached; nothing is known of whether this was done.");
  }
  const document_ = answer.status === 204 ? null : await answer.json();
  if (answer.status === 401 && path !== "/api/v1/session") leave("The session is over: log in again.");
  if (!answer.ok) throw Object.assign(new Error(document_.error), { status: answer.status });
  return document_;
}

export function toast(text) {
  at("toast").textContent = text;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { at("toast").textContent = ""; }, 6000);
}

function enter(person) {
  who = person;
  at("login").hidden = true;
  at("app").hidden = false;
  at("token").value = "";
  set(at("who"), `${who.name} · ${who.role}`);
  set(at("site-name"), who.site);
  document.title = `${who.site} – Forerun`;
  controls.person(who);
  follow();
  reports.show(who);
}

function leave(why = "") {
  who = null;
  source?.close();
  source = null;
  at("app").hidden = true;
  at("login").hidden = false;
  at("login-problem").textContent = why;
  at("token").focus();
}

at("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("login-problem").textContent = "";
  try {
    const person = await ask("POST", "/api/v1/session", { token: at("token").value.trim() });
    contact_ms = performance.now();
    enter(person);
  } catch (problem) {
    at("login-problem").replaceChildren(...withCode("span", problem.message).childNodes);
  }
});
at("logout").addEventListener("click", async () => { await ask("DELETE", "/api/v1/session").catch(() => {}); leave(); });

// ---- the event stream; a page that nobody looks at follows nothing

function follow() {
  source?.close();
  tried_ms = performance.now();
  source = new EventSource("/api/v1/events");
  source.addEventListener("live", (event) => live(JSON.parse(event.data)));
  source.addEventListener("parts", (event) => take(JSON.parse(event.data)));
  source.onerror = () => { if (source?.readyState === EventSource.CLOSED && who) later(1000); };
}

// One retry waits at any time, whoever asked for it.
function later(ms) {
  clearTimeout(again);
  again = setTimeout(begin, ms);
}

function watch() {
  const lost = who !== null && !document.hidden && performance.now() - contact_ms > LOST_MS;
  at("offline").hidden = !lost;
  if (lost) {
    const since = last ? ` What is shown is of ${clock(last.utc_s, parts.site.timezone)}.` : "";
    set(at("offline-words"), `This page has heard nothing from the site's host for ${Math.round((performance.now() - contact_ms) / 1000)} s.${since} ` +
      "The site itself may well go on; the page connects again by itself.");
    if (performance.now() - tried_ms > AGAIN_MS) follow();
  }
  return lost;
}
document.addEventListener("visibilitychange", () => {
  if (!who) return;
  if (document.hidden) { source?.close(); source = null; return; }
  contact_ms = performance.now();
  follow();
});

async function begin() {
  try {
    enter(await ask("GET", "/api/v1/session"));
  } catch (problem) {
    if (who && problem.status !== 401) later(5000); // the host is away or busy, the session may still hold
    else leave(who ? "The session is over, or the site's program was started again: log in again." : "");
  }
}

// ---- live values

const diagram = new Diagram(at("diagram"));
const bars = {};

function bar(place, colour, share, marks = []) {
  if (!bars[place]) {
    bars[place] = node("svg", { viewBox: "0 0 300 22", preserveAspectRatio: "none", height: 22, "aria-hidden": "true" });
    bars[place].append(node("rect", { fill: "var(--track)", x: 0, y: 6, width: 300, height: 10, rx: 5 }),
      node("rect", { y: 6, height: 10, rx: 5 }), node("g"));
    bars[place].style.height = "22px";
    at(place).replaceChildren(bars[place]);
  }
  const [, fill, group] = bars[place].children, [from, to] = share.map((x) => 300 * Math.min(1, Math.max(0, x)));
  fill.setAttribute("fill", `var(--${colour})`);
  fill.setAttribute("x", Math.min(from, to));
  fill.setAttribute("width", Math.max(4, Math.abs(to - from)));
  group.replaceChildren(...marks.map((x) => node("rect", { fill: "var(--ink)", x: 300 * x - 1, y: 2, width: 2, height: 18 })));
}

function live(news) {
  [last, heard_ms, contact_ms] = [news, performance.now(), performance.now()];
  const now = news.live, site = parts.site;
  diagram.show(now, site);
  age();
  if (!now) { // a board that has just started: what the one before measured is over
    for (const place of ["voltage", "import", "soc"]) set(at(place), "–");
    for (const place of ["voltage-words", "import-words", "soc-words"]) set(at(place), "");
    for (const place of ["voltage-bar", "import-bar", "soc-bar"]) { at(place).replaceChildren(); delete bars[place]; }
    return;
  }
  const volts = now.pcc_voltage_mv / 1000;
  set(at("voltage"), volts.toFixed(1));
  const outside = volts < 207 || volts > 253;
  bar("voltage-bar", outside ? "critical" : "good", [(volts - 2 - 195) / 70, (volts + 2 - 195) / 70], [12 / 70, 58 / 70]);
  set(at("voltage-words"), `${outside ? "outside" : "within"} 207 to 253 V (EN 50160) · ${(now.frequency_millihz / 1000).toFixed(2)} Hz`);
  set(at("import"), kw(now.pcc_import_w, 2));
  bar("import-bar", now.pcc_import_w > site.import_limit_w ? "critical" : "grid", [0, now.pcc_import_w / site.import_limit_w / 1.2], [1 / 1.2]);
  set(at("import-words"), `${now.pcc_import_w < -50 ? "exports now · " : ""}limits: import ${kw(site.import_limit_w)} kW, export ${kw(site.export_limit_w)} kW`);
  set(at("soc"), (now.soc_permille / 10).toFixed(1));
  bar("soc-bar", "battery", [0, now.soc_permille / 1000]);
  const stored = (now.soc_permille * site.capacity_wh / 1e6).toFixed(1);
  set(at("soc-words"), `${stored} of ${(site.capacity_wh / 1000).toFixed(0)} kWh · setpoint: ${now.setpoint_w > 0 ? "discharge " : now.setpoint_w < 0 ? "charge " : ""}${kw(Math.abs(now.setpoint_w))} kW` +
    (now.lease_ms ? ` · lease ${Math.ceil(now.lease_ms / 1000)} s` : ""));
}

// State and age of what is shown; also while nothing comes any more.
function age() {
  const lost = watch(), now = last?.live, place = at("age"), state = at("state");
  const bound = now && now.bound_by !== "none" ? `, limited by ${now.bound_by.replaceAll("_", " ")}` : "";
  state.classList.toggle("bad", lost || (last && !last.connected) || ["faulted", "grid_lost"].includes(now?.state));
  set(state, lost ? "No connection to the host" : !now ? "Waiting for the board" : !last.connected ? "The board is silent" : (STATES[now.state] ?? now.state) + bound);
  const age_ms = now ? now.age_ms + performance.now() - heard_ms : Infinity, old = age_ms > STALE_MS;
  const seconds = age_ms < 120000 ? `${(age_ms / 1000).toFixed(0)} s` : `${(age_ms / 60000).toFixed(0)} min`;
  if (now) document.documentElement.dataset.ageMs = Math.round(age_ms);
  set(place, !now ? "no values" : age_ms < 1000 ? "live" : `${seconds} old`);
  place.classList.toggle("old", old);
  document.body.classList.toggle("old-values", old);
  diagram.stale(old);
  set(at("flow-words"), now && old ? `Last known, ${seconds} ago: ${inWords(now).replace(/^./, (first) => first.toLowerCase())}` : inWords(now));
  compute();
  at("gauges-old").hidden = !now || !old;
  if (now && old) set(at("gauges-old"), `Last known values, ${seconds} old`);
}
setInterval(age, 500);

// ---- the parts that change seldom

const nextChart = new Chart(at("next"), at("next-read"));
const carbonChart = new Chart(at("carbon"), at("carbon-read"));

const SHOWN = {
  alarms, jobs, controls: (state) => controls.state(state),
  plan: next, forecast: next, carbon, commissioning: health, link: health, store: health, site,
};

function take(news) {
  Object.assign(parts, news);
  for (const show of new Set(Object.keys(news).map((name) => SHOWN[name]).filter(Boolean))) show(parts);
}

function site() {
  set(at("site-name"), parts.site.site);
  set(at("software"), parts.site.software);
  set(at("timezone"), parts.site.timezone);
}

// Sentences put commands between backquotes.
function withCode(name, text, properties = {}) {
  const made = element(name, "", properties);
  made.append(...text.split("`").map((piece, i) => (i % 2 ? element("code", piece) : piece)));
  return made;
}

const MOST_ALARMS = 2;

function alarms() {
  const made = parts.alarms.map((alarm) => {
    const made = element("div", "", { className: `alarm ${alarm.severity}` });
    const since = alarm.since_utc_s ? `since ${clock(alarm.since_utc_s, parts.site.timezone)}` : "";
    made.append(element("b", alarm.severity), withCode("p", alarm.cause), element("time", since));
    if (alarm.remedy) made.append(withCode("p", `What to do: ${alarm.remedy}`, { className: "remedy" }));
    return made;
  });
  // Critical ones come first and are always seen; so that values stay in sight, of the others only a few.
  const critical = parts.alarms.filter((alarm) => alarm.severity === "critical").length;
  const shown = made.length > MOST_ALARMS + 1 ? Math.max(critical, MOST_ALARMS) : made.length, more = made.slice(shown);
  const fold = element("details", "", { open: at("alarms").querySelector("details")?.open ?? false });
  if (more.length) fold.append(element("summary", `${more.length} more warnings`), ...more);
  at("alarms").replaceChildren(...made.slice(0, shown), ...(more.length ? [fold] : []));
}

function compute() {
  const now_s = last ? last.utc_s + (performance.now() - heard_ms) / 1000 : Date.now() / 1000;
  const said = (parts.compute ?? []).map((one) => `${one.name}: ${kw(one.power_w)} kW, ${Math.max(0, Math.round(now_s - one.utc_s))} s ago`);
  set(at("compute"), said.length ? `Compute by its own account: ${said.join("; ")}.` : "");
}

const span = (seconds) => (seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${+(seconds / 3600).toFixed(1)} h`);
const READY = { announced: "announced", told: "the board knows", preparing: "is being prepared", ready: "ready", late: "not ready in time", running: "runs" };

function jobs() {
  const place = at("jobs");
  if (!parts.jobs.length) {
    place.replaceChildren(element("p", "No job is announced. A scheduler announces them to /v1/jobs.", { className: "muted" }));
  } else {
    const made = element("table"), head = made.createTHead().insertRow(), body = made.createTBody();
    for (const text of ["Job", "Power", "Starts", "Lasts", "Readiness"]) head.append(element("th", text, { scope: "col" }));
    for (const job of parts.jobs) {
      const row = body.insertRow();
      const ahead = job.ready_ahead_s !== null ? `, ${Math.round(job.ready_ahead_s / 60)} min ahead` : "";
      for (const text of [job.job, `${kw(job.power_w)} kW`, clock(job.start_utc_s, parts.site.timezone, !sameDay(job.start_utc_s, Date.now() / 1000, parts.site.timezone)),
        span(job.duration_s)]) row.insertCell().textContent = text;
      row.insertCell().append(element("span", READY[job.readiness] + ahead, { className: ["ready", "late"].includes(job.readiness) ? job.readiness : "" }));
    }
    place.replaceChildren(made);
  }
  controls.jobs(parts.jobs);
  next();
}

function next() {
  const { plan, forecast, site: limits } = parts;
  at("relaxed").replaceChildren(...(plan?.relaxed ?? []).map((text) => element("li", `The plan does not keep: ${text}`)));
  if (!plan || !forecast) return;
  const k = (list) => list.map((w) => w / 1000);
  const start = forecast.start_utc_s, end = start + forecast.step_s * forecast.load_q50_w.length;
  const times = forecast.load_q50_w.map((_, i) => start + i * forecast.step_s), ends = times.map((t) => t + forecast.step_s);
  const kept = plan.step_start_utc_s.map((t, i) => i).filter((i) => plan.step_start_utc_s[i] < end);
  const p = (name) => kept.map((i) => plan[name][i]);
  const planTimes = p("step_start_utc_s"), planEnds = kept.map((i) => Math.min(end, plan.step_start_utc_s[i] + plan.step_s[i]));
  const battery = k(p("battery_w")), imported = k(p("pcc_import_w")), soc = p("soc_permille").map((x) => x / 10), genset = k(p("genset_w"));
  const line = (colour, values, kind = "line", more = {}) => ({ kind, colour, times: planTimes, ends: planEnds, values, ...more });
  const cast = (colour, name) => [
    { kind: "band", colour, times, ends, values: k(forecast[`${name}_q90_w`]), lows: k(forecast[`${name}_q10_w`]) },
    { kind: "line", colour, times, ends, values: k(forecast[`${name}_q50_w`]) },
  ];
  const most = Math.max(...k(forecast.load_q90_w), ...k(forecast.pv_q90_w), 1) * 1.05, limit = limits.import_limit_w / 1000;
  const marks = parts.jobs.map((job) => ({ start: job.start_utc_s, end: job.start_utc_s + job.duration_s, text: job.job }));
  const wide = at("next").clientWidth > 600;
  const panes = [
    { title: "Forecast, kW (band: 10 to 90 %)", height: wide ? 140 : 120, low: 0, high: most, series: [...cast("load", "load"), ...cast("pv", "pv")], marks },
    { title: "Plan, kW (battery above 0 discharges)", height: wide ? 150 : 130, low: Math.min(...battery, ...imported, 0) * 1.05, high: Math.max(...battery, ...imported, limit) * 1.2,
      series: [line("battery", battery, "area"), line("grid", imported), ...(genset.some((w) => w > 0) ? [line("genset", genset)] : []),
        { kind: "limit", value: limit, text: `import limit ${limit} kW` }] },
    { title: "State of charge, %", height: 80, low: 0, high: 100, series: [line("battery", soc, "area"), line("battery", soc)] },
  ];
  legend(at("next"), [["load", "load"], ["pv", "PV"], ["battery", "battery"], ["grid", "import"], ...(genset.some((w) => w > 0) ? [["genset", "diesel set"]] : [])]);
  const stepOf = (t) => planTimes.reduce((best, one, i) => (one <= t ? i : best), 0);
  const q = (name, i) => kw(forecast[name][i]);
  const read = (i) => {
    const s = stepOf(times[i]);
    return `${clock(times[i], limits.timezone)}  load ${q("load_q50_w", i)} kW (${q("load_q10_w", i)} to ${q("load_q90_w", i)}), PV ${q("pv_q50_w", i)} kW; ` +
      `battery ${kw(1000 * battery[s])} kW, import ${kw(1000 * imported[s])} kW, then ${soc[s].toFixed(0)} %`;
  };
  const set_ = genset.some((w) => w > 0) ? `the diesel set runs up to ${kw(1000 * Math.max(...genset))} kW` : "the diesel set stays off";
  const span_h = Math.round(plan.step_s.reduce((sum, one) => sum + one, 0) / 3600);
  const rest = `Planned: import up to ${kw(1000 * Math.max(...imported))} of ${limit} kW, state of charge ${Math.min(...soc).toFixed(0)} to ${Math.max(...soc).toFixed(0)} %, ` +
    `${set_}. The plan of ${span_h} h costs ${plan.cost.toFixed(2)} ${plan.currency}.`;
  set(at("next-basis"), `Forecast from ${forecast.basis}.`);
  nextChart.show({ start, end, panes, timezone: limits.timezone, label: "Forecast and plan of the next 24 hours", starts: times, read, rest });
  table(at("next-table"), ["Time", "Load kW", "10 to 90 %", "PV kW", "Battery kW", "Import kW", "SoC %"], () => times.map((_, i) => i).filter((i) => times[i] % 3600 === 0 || i === 0).map((i) => {
    const s = stepOf(times[i]);
    return [clock(times[i], limits.timezone), q("load_q50_w", i), `${q("load_q10_w", i)} to ${q("load_q90_w", i)}`, q("pv_q50_w", i), kw(1000 * battery[s]), kw(1000 * imported[s]), soc[s].toFixed(0)];
  }));
}

function legend(place, items) {
  if (place.previousElementSibling?.className !== "legend") place.before(element("div", "", { className: "legend" }));
  place.previousElementSibling.replaceChildren(...items.map(([colour, text]) => element("span", text, { className: `c-${colour}` })));
}

function carbon() {
  const today = parts.carbon;
  if (!today) return;
  const hours = today.hours, zone = today.timezone, first = hours[0].start_utc_s;
  const passed = Number(clock(first, zone).slice(0, 2)) * 3600, start = first - passed, end = start + 86400;
  const times = hours.map((hour) => hour.start_utc_s), ends = times.map((t) => t + 3600);
  let lows = hours.map(() => 0);
  const stack = ["pv", "battery", "grid", "genset"].map((colour) => {
    const values = hours.map((hour, i) => lows[i] + hour[`${colour}_wh`] / 1000), bars_ = { kind: "bars", colour, times, ends, values, lows };
    lows = values;
    return bars_;
  });
  const kg = hours.map((hour) => hour.load_g / 1000);
  const panes = [
    { title: "Emissions of the load, kg CO₂e per hour", height: 100, low: 0, high: Math.max(0.1, ...kg) * 1.1, series: [{ kind: "bars", colour: "load", times, ends, values: kg, lows: kg.map(() => 0) }] },
    { title: "Energy of the load, kWh per hour", height: 130, low: 0, high: Math.max(0.1, ...lows) * 1.1, series: stack },
  ];
  legend(at("carbon"), [["load", "emissions"], ["pv", "PV"], ["battery", "battery"], ["grid", "grid"], ["genset", "diesel set"]]);
  const kwh = (wh) => (wh / 1000).toFixed(2);
  const read = (i) => `${clock(times[i], zone)} to ${clock(ends[i], zone)}: ${kg[i].toFixed(2)} kg CO₂e; load ${kwh(hours[i].load_wh)} kWh = PV ${kwh(hours[i].pv_wh)} + battery ${kwh(hours[i].battery_wh)} + grid ${kwh(hours[i].grid_wh)} + diesel ${kwh(hours[i].genset_wh)} (${hours[i].quality})`;
  const share = today.on_site_permille === null ? "" : `, ${(today.on_site_permille / 10).toFixed(0)} % of it made on site`;
  const rest = `${today.day}: the load took ${(today.load_wh / 1000).toFixed(1)} kWh${share}, and carries ${(today.load_g / 1000).toFixed(2)} kg CO₂e (location-based).`;
  carbonChart.show({ start, end, panes, timezone: zone, label: "Emissions and energy of today by the hour", starts: times, read, rest });
  table(at("carbon-table"), ["Hour", "kg CO₂e", "Load kWh", "PV", "Battery", "Grid", "Diesel", "Data"], () => hours.map((hour, i) =>
    [clock(times[i], zone), kg[i].toFixed(2), ...["load_wh", "pv_wh", "battery_wh", "grid_wh", "genset_wh"].map((name) => kwh(hour[name])), hour.quality]));
}

function health() {
  const { commissioning, link, store } = parts;
  if (!commissioning || !link || !store) return;
  const bytes = (count) => (count === null ? "not known" : count > 1e9 ? `${(count / 1e9).toFixed(1)} GB` : `${(count / 1e6).toFixed(1)} MB`);
  const rows = [
    ["Commissioning", commissioning.problem || (commissioning.sealed ? "sealed" : `not sealed; next: forerun commission ${commissioning.next}`)],
    ["Board", link.board ? `${link.board}, ${link.board_software}, boot ${link.boot_count}` : "not heard yet"],
    ["Link", `${link.port}: ${link.connected ? "connected" : link.port_open ? "open, no answer" : "port is not there"}`],
    ["Frames", `${link.counts.frames_in} in, ${link.counts.frames_out} out, ${link.counts.retransmissions} sent again, ${link.counts.bad_crc} damaged`],
    ["Clock of the board", link.clock_uncertainty_us === null ? "not compared yet" : `known to ±${(link.clock_uncertainty_us / 1000).toFixed(1)} ms`],
    ["Journal", store.problem || `${store.entries} entries, ${bytes(store.bytes)}${store.missing_records ? `; ${store.missing_records} records never came` : ", nothing missing"}`],
    ["Disk", `${bytes(store.disk_free_bytes)} free`],
  ];
  if (at("health").children.length !== 2 * rows.length) at("health").replaceChildren(...rows.flatMap(() => [element("dt"), element("dd")]));
  rows.forEach(([name, text], i) => { set(at("health").children[2 * i], name); set(at("health").children[2 * i + 1], text); });
}

// ---- colours

const THEMES = ["auto", "light", "dark"];
function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = name;
  localStorage.setItem("theme", name);
  at("theme").textContent = `Theme: ${name}`;
}
theme(THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto");
at("theme").addEventListener("click", () => theme(THEMES[(THEMES.indexOf(localStorage.getItem("theme")) + 1) % 3]));

const reports = new Reports(at("reports"), { ask, toast });
const controls = new Controls(at("controls"), { ask, toast, timezone: () => parts.site.timezone });
begin();
