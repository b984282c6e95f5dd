// Controls in two steps: a form asks, the server says what it would do, and only a confirmation within 30 s does it.
import { clock } from "/charts.js";

const at = (id) => document.getElementById(id);
const KINDS = {
  setpoint: { title: "Setpoint", what: "Hold a power until a lease ends; then the plan takes over. All limits of the board stay in force.", button: "Ask for this setpoint" },
  clear: { title: "End lease", what: "End a running lease now and go on with the plan.", button: "Ask to end the lease" },
  announce: { title: "Announce job", what: "Say that a load will come, as a scheduler does.", button: "Ask to announce it" },
  cancel: { title: "Cancel job", what: "Take an announced job back, or end one that runs.", button: "Ask to cancel it" },
  maintenance: { title: "Maintenance", what: "Hold the battery at 0 W whatever the plan says; 0 minutes: go on as planned.", button: "Ask for maintenance", role: "commission" },
};
// As the server's refusals name them.
const NAMES = { setpoint: "a setpoint", clear: "the end of the lease", announce: "the announcement of a job",
  cancel: "the end of a job", maintenance: "maintenance" };

function field(label, name, properties) {
  const made = Object.assign(document.createElement("label"), { textContent: label });
  const input = Object.assign(document.createElement(properties.options ? "select" : "input"), { name, required: true });
  for (const [value, text] of properties.options ?? []) input.append(new Option(text, value));
  delete properties.options;
  Object.assign(input, properties);
  made.append(input);
  return made;
}

const number = (label, name, value, min, max, step) => field(label, name, { type: "number", value, min, max, step });

const FIELDS = {
  setpoint: () => [
    field("Hold", "mode", { options: [["discharge", "battery: discharge"], ["charge", "battery: charge"], ["import", "PCC: import"], ["export", "PCC: export"]] }),
    number("Power, kW", "power", 2, 0, 1000, 0.1), number("For, minutes", "minutes", 10, 1, 1440, 1)],
  clear: () => [],
  announce: () => [field("Name", "job", { type: "text", maxLength: 128 }), number("Power, kW", "power", 5, 0.1, 1000, 0.1),
    number("Starts in, minutes", "start", 15, 0, 20160, 1), number("Lasts, minutes", "minutes", 60, 1, 20160, 1)],
  cancel: (jobs) => [field("Job", "job", { options: jobs.map((job) => [job.job, job.job]) })],
  maintenance: () => [number("For, minutes", "minutes", 30, 0, 60, 1)],
};

const CHANGES = {
  setpoint: (f) => ({ action: "setpoint", mode: ["discharge", "charge"].includes(f.mode) ? "hold_battery" : "hold_pcc",
    value_w: Math.round(1000 * f.power) * (["discharge", "import"].includes(f.mode) ? 1 : -1), lease_s: Math.round(60 * f.minutes) }),
  clear: () => ({ action: "clear" }),
  announce: (f) => ({ action: "announce", job: f.job, power_w: 1000 * f.power, start_utc_s: Math.round(Date.now() / 1000 + 60 * f.start), duration_s: 60 * f.minutes }),
  cancel: (f) => ({ action: "cancel", job: f.job }),
  maintenance: (f) => ({ action: "maintenance", hold_s: Math.round(60 * f.minutes) }),
};

export class Controls {
  constructor(place, { ask, toast, timezone }) {
    Object.assign(this, { place, ask, toast, timezone, kind: "setpoint", known: [], seen: 0 });
    at("confirm-yes").addEventListener("click", () => this.confirm());
    at("confirm-no").addEventListener("click", () => this.withdraw());
    at("confirm").addEventListener("cancel", (event) => { event.preventDefault(); this.withdraw(); });
  }

  person(who) {
    this.who = who;
    at("control-card").hidden = who.role === "read";
    this.draw();
  }

  jobs(jobs) {
    const names = jobs.map((job) => job.job).join("\n");
    const changed = names !== this.names;
    [this.known, this.names] = [jobs, names];
    if (changed && this.kind === "cancel") this.draw();
  }

  state({ controls }) {
    this.seen = controls.last?.number ?? 0;
    this.controls = controls;
    this.notice();
  }

  draw() {
    if (!this.who || this.who.role === "read") return;
    const tabs = Object.assign(document.createElement("div"), { className: "tabs" });
    tabs.setAttribute("role", "tablist");
    tabs.setAttribute("aria-label", "What to change");
    const kinds = Object.keys(KINDS).filter((kind) => !KINDS[kind].role || KINDS[kind].role === this.who.role);
    for (const kind of kinds) {
      const tab = Object.assign(document.createElement("button"), { type: "button", textContent: KINDS[kind].title, id: `tab-${kind}` });
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-selected", kind === this.kind);
      tab.tabIndex = kind === this.kind ? 0 : -1;
      tab.addEventListener("click", () => { this.kind = kind; this.draw(); at(`tab-${kind}`).focus(); });
      tab.addEventListener("keydown", (event) => {
        const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (move) at(`tab-${kinds[(kinds.indexOf(kind) + move + kinds.length) % kinds.length]}`).click();
      });
      tabs.append(tab);
    }
    const form = Object.assign(document.createElement("form"), { className: "form", id: "control-form" });
    const what = Object.assign(document.createElement("p"), { className: "what muted", textContent: KINDS[this.kind].what });
    const button = Object.assign(document.createElement("button"), { type: "submit", className: "primary", textContent: `${KINDS[this.kind].button}…` });
    button.disabled = this.kind === "cancel" && !this.known.length;
    form.setAttribute("role", "tabpanel");
    form.setAttribute("aria-labelledby", `tab-${this.kind}`);
    form.append(what, ...FIELDS[this.kind](this.known), button);
    form.addEventListener("submit", (event) => { event.preventDefault(); this.request(Object.fromEntries(new FormData(form))); });
    this.told = Object.assign(document.createElement("div"), { id: "control-told" });
    this.place.replaceChildren(this.told, tabs, form);
    this.notice();
  }

  notice() {
    if (!this.told || !this.controls) return;
    const said = [], { waiting, last } = this.controls;
    for (const one of waiting.filter((other) => other.asked_by !== this.who.name)) {
      said.push(`${one.asked_by} asked for ${NAMES[one.action]} and may confirm it until ${clock(one.confirm_until_utc_s, this.timezone())}.`);
    }
    this.told.className = said.length ? "waiting" : "muted";
    if (!said.length && last) said.push(`Last change: ${last.by}, ${clock(last.utc_s, this.timezone())}: ${last.what}.`);
    this.told.textContent = said.join(" ");
  }

  async request(values) {
    try {
      for (const name of ["power", "minutes", "start"]) if (name in values) values[name] = Number(values[name]);
      this.asked = await this.ask("POST", "/api/v1/controls", { change: CHANGES[this.kind](values), seen: this.seen });
    } catch (problem) {
      this.toast(problem.message);
      return;
    }
    // A number stays on the line of its unit.
    const item = (text) => Object.assign(document.createElement("li"), { textContent: text.replace(/(\d) (?=(kW|V|%|s|min|h)\b|%)/g, "$1\u00a0") });
    at("confirm-title").textContent = `${KINDS[this.kind].title}: confirm?`;
    at("confirm-will").replaceChildren(...this.asked.will.map(item));
    at("confirm-problem").textContent = "";
    at("confirm-yes").disabled = false;
    const ends = performance.now() + 1000 * (this.asked.confirm_until_utc_s - this.asked.asked_utc_s);
    clearInterval(this.timer);
    const count = () => {
      const left = Math.max(0, Math.ceil((ends - performance.now()) / 1000));
      at("confirm-left").textContent = left;
      if (left) return;
      clearInterval(this.timer);
      at("confirm-yes").disabled = true;
      at("confirm-problem").textContent = "The time is over: nothing was done. Ask again.";
    };
    count();
    this.timer = setInterval(count, 250);
    at("confirm").showModal();
    at("confirm-no").focus();
  }

  async confirm() {
    at("confirm-yes").disabled = true;
    try {
      await this.ask("POST", `/api/v1/controls/${this.asked.id}/confirm`);
      this.close();
      this.toast("Done.");
    } catch (problem) {
      at("confirm-problem").textContent = problem.message;
    }
  }

  async withdraw() {
    this.close();
    await this.ask("DELETE", `/api/v1/controls/${this.asked.id}`).catch(() => {});
  }

  close() {
    clearInterval(this.timer);
    at("confirm").close();
  }
}
