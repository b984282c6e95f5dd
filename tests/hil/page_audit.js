// Run in the page: {faint: texts whose contrast is below 4.5 (WCAG 2.1, 1.4.3), nameless: fields without a name}.
const rgb = (text) => text.match(/[\d.]+/g).map(Number);
const linear = (x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
const luminance = (colour) => [0.2126, 0.7152, 0.0722].reduce((sum, part, i) => sum + part * linear(colour[i] / 255), 0);
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const colour = rgb(getComputedStyle(element).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const contrast = (element) => {
  const style = getComputedStyle(element);
  const one = luminance(rgb(element.tagName === "text" ? style.fill : style.color)), other = luminance(behind(element));
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
};
const texts = "p, span, h1, h2, h3, td, th, dt, dd, button, a, label, li, b, summary, time".split(", ").map((name) => `#app ${name}`);
const seen = (e) => e.getBoundingClientRect().width > 0 && e.textContent.trim() && !e.disabled;
const veiled = (e) => { for (; e; e = e.parentElement) if (getComputedStyle(e).opacity < 1) return true; return false; };
const faint = [...document.querySelectorAll([...texts, "#app svg text"])].filter(seen)
  .filter((e) => contrast(e) < 4.5 || veiled(e)).map((e) => `${contrast(e).toFixed(2)} ${e.textContent.slice(0, 40)}`);
const named = (e) => e.labels?.length || (e.tagName === "BUTTON" && e.textContent.trim()) || e.getAttribute("aria-label") ||
  e.getAttribute("aria-labelledby");
const nameless = [...document.querySelectorAll("input, select, button, svg[role=img]")].filter((e) => !named(e)).map((e) => e.outerHTML);
return { faint, nameless };
