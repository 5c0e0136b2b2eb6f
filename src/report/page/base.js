// What every page needs: elements, numbers as a person reads them, the tip at the pointer, the theme.

const data = JSON.parse(document.getElementById("data").textContent);

const SVG = "http://www.w3.org/2000/svg";

/** What can be a child: lists are opened, and what is left out is dropped. */
const flat = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/** Gives an element other children. */
const fill = (element, ...children) => element.replaceChildren(...flat(children));

/** Sets attributes; a function is a listener. Text comes in as text only, so that no name in a plan can be markup. */
function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...flat(children));
  return element;
}

/** An HTML element. */
const h = (tag, attributes, ...children) => dress(document.createElement(tag), attributes, children);

/** An SVG element. */
const s = (tag, attributes, ...children) => dress(document.createElementNS(SVG, tag), attributes, children);

/** `847,232`. */
const thousands = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ",");

/** `1.21 GB`, `847 kB`, `96 B`, as the command line prints them. */
function bytes(n) {
  const scaled = (unit, name) => {
    const value = n / unit;
    return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${name}`;
  };
  if (n < 1000) return `${n} B`;
  if (n < 999500) return scaled(1e3, "kB");
  if (n < 999500000) return scaled(1e6, "MB");
  return scaled(1e9, "GB");
}

/** `12.4 us`, `8.31 ms`, `1.20 s`. */
function time(us) {
  if (us < 999.95) return `${us.toFixed(1)} us`;
  if (us < 999995) return `${(us / 1e3).toFixed(2)} ms`;
  return `${(us / 1e6).toFixed(2)} s`;
}

const percent = (part, whole) => `${((100 * part) / Math.max(whole, Number.MIN_VALUE)).toFixed(1)} %`;

/** A number with its sign; nothing for none. */
const signed = (n, show) => (n > 0 ? `+${show(n)}` : n < 0 ? `-${show(-n)}` : "");

const tip = h("div", { id: "tip", role: "status" });

/** Shows the rows of a tip beside the pointer. */
function showTip(event, title, rows) {
  const lines = rows.map(([name, value]) => h("tr", null, h("td", null, name), h("td", { class: "number" }, value)));
  tip.replaceChildren(h("b", null, title), h("table", null, lines));
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${event.clientY + height + 22 > innerHeight ? Math.max(4, event.clientY - height - 10) : event.clientY + 14}px`;
  tip.style.visibility = "visible";
}

const hideTip = () => (tip.style.visibility = "hidden");

const dark = matchMedia("(prefers-color-scheme: dark)");

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

const switchTheme = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");

setTheme(dark.matches ? "dark" : "light");
dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));

/** A table; `columns` are titles, those of numbers with a leading `#`. */
function table(columns, rows) {
  const isNumber = columns.map((title) => title.startsWith("#"));
  const cell = (tag) => (content, at) => h(tag, { class: isNumber[at] && "number" }, content);
  return h(
    "table",
    null,
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        columns.map((title, at) => cell("th")(title.replace("#", ""), at)),
      ),
    ),
    h(
      "tbody",
      null,
      rows.map((row) => h("tr", null, row.map(cell("td")))),
    ),
  );
}

/** A row of buttons of which one is pressed. */
function choice(label, options, current, choose) {
  const button = ([value, text]) =>
    h("button", { type: "button", "aria-pressed": String(value === current), click: () => choose(value) }, text);
  return h("span", { class: "choice", role: "group", "aria-label": label }, options.map(button));
}

/** Model, card and options in a line. */
function facts(plan, release) {
  const { options, card } = plan;
  const changed = options.overrides.length ? ` (${options.overrides.join(", ")})` : "";
  return [
    `${plan.model.layers} layers`,
    `batch ${options.batch}`,
    `context ${thousands(options.context)} in blocks of ${options.block}`,
    `${options.policy} policy${changed}`,
    `${card.grid[0]}x${card.grid[1]} cores with ${bytes(card.l1.end - card.l1.base)} of L1`,
    `${card.dram.banks} DRAM banks of ${bytes(card.dram.bank_bytes)}`,
    `TT-NN ${release}`,
  ].join(" \u00b7 ");
}
