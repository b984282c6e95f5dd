// Reports to download, and a form that has one made.
export const element = (name, text = "", properties = {}) => Object.assign(document.createElement(name), { textContent: text, ...properties });

export class Reports {
  constructor(place, { ask, toast }) {
    Object.assign(this, { place, ask, toast });
  }

  async show(who) {
    this.who = who;
    try {
      const { reports: files } = await this.ask("GET", "/api/v1/reports");
      const made = [files.length ? this.list(files) : element("p", "No report has been made yet.", { className: "muted" })];
      if (who.role !== "read") made.push(this.form());
      this.place.replaceChildren(...made);
    } catch (problem) {
      this.place.replaceChildren(element("p", problem.message, { className: "problem" }));
    }
  }

  list(files) {
    const made = element("table"), body = made.createTBody(), scroll = element("div", "", { className: "scroll" });
    for (const file of files.slice(0, 40)) {
      const row = body.insertRow();
      row.insertCell().append(element("a", file.name, { href: `/api/v1/reports/${file.name.split("/").map(encodeURIComponent).join("/")}`, download: "" }));
      row.insertCell().textContent = file.kind;
      row.insertCell().textContent = `${Math.ceil(file.bytes / 1000)} kB`;
    }
    scroll.append(made);
    return scroll;
  }

  form() {
    const made = element("form", "", { className: "form" }), today = new Date().toISOString().slice(0, 10);
    made.style.marginTop = ".8rem";
    const [first, last] = ["First day (UTC)", "Last day (UTC)"].map((text) => {
      const label = element("label", text);
      label.append(element("input", "", { type: "date", value: today, min: "2000-01-01", max: today, required: true }));
      made.append(label);
      return label.lastChild;
    });
    const button = element("button", "Make report", { type: "submit" });
    made.append(button);
    made.addEventListener("submit", async (event) => {
      event.preventDefault();
      [button.disabled, button.textContent] = [true, "Is being made…"];
      try {
        await this.ask("POST", "/api/v1/reports", { first: first.value, last: last.value });
      } catch (problem) {
        this.toast(problem.message);
      }
      this.show(this.who);
    });
    return made;
  }
}
