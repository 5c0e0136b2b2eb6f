// All calls in a table that can be filtered and sorted, and the precision of those that have one.

const stepTable = h("section", { class: "panel", id: "steps", "aria-label": "Table of steps" });
const filter = { text: "", section: "all", bound: "all", sort: null, down: false };

/** The columns: title, whether it is a number, what is shown, what is sorted by. */
const COLUMNS = [
  ["step", false, (step) => [step.name, h("span", { class: "soft" }, step.short)], (step) => step.index],
  ["results", false, (step) => outputsOf(step), (step) => outputsOf(step).join()],
  ["math", false, (step) => step.math, (step) => step.math],
  ["one run", true, (step) => (step.launches ? time(step.us) : ""), (step) => step.us],
  ["phase", true, (step) => (step.launches ? time(step.total) : ""), (step) => step.total],
  [
    "at peak",
    true,
    (step) => (step.launches && step.floor !== null ? time(step.floor * step.times) : ""),
    (step) => (step.floor ?? 0) * step.times,
  ],
  ["bound by", false, (step) => boundNames[step.bound] ?? "", (step) => step.bound],
  ["DRAM", true, (step) => (step.dram ? bytes(step.dramTotal) : ""), (step) => step.dramTotal],
  ["L1 high-water", true, (step) => (step.high ? thousands(step.high) : ""), (step) => step.high],
];

function outputsOf(step) {
  const made = step.outputs.map(({ name, spec }) => (name === step.name ? spec : `${name} ${spec}`));
  const written = step.operands.filter(({ access }) => access === "writes").map(({ name }) => `${name} in place`);
  return [...made, ...written];
}

/** Everything about a step that a person may look for. */
const textOf = (step) =>
  [
    step.name,
    step.call,
    step.section,
    step.math,
    step.bound,
    boundNames[step.bound] ?? "",
    step.note,
    ...outputsOf(step),
    ...step.operands.map(({ name }) => name),
  ]
    .join(" ")
    .toLowerCase();

function shownSteps(phase) {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (step) =>
    (filter.section === "all" || step.section === filter.section) &&
    (filter.bound === "all" || step.bound === filter.bound) &&
    words.every((word) => textOf(step).includes(word));
  const steps = phase.calls.filter(fits);
  if (filter.sort === null) return steps;
  const by = COLUMNS[filter.sort][3];
  const order = (a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0);
  return steps.sort((a, b) => (filter.down ? order(b, a) : order(a, b)));
}

const search = h("input", {
  type: "search",
  placeholder: "filter: name, call, tensor, dtype \u2026",
  "aria-label": "Filter the steps",
  input: () => {
    filter.text = search.value;
    fillTable();
  },
});
const select = (name, label, options) => {
  const box = h(
    "select",
    {
      "aria-label": label,
      change: () => {
        filter[name] = box.value;
        fillTable();
      },
    },
    options.map(([value, text]) => h("option", { value }, text)),
  );
  return box;
};
const body = h("tbody");
const foot = h("tfoot");
const count = h("span", { class: "soft", role: "status" });
const titles = COLUMNS.map(([title, number], at) =>
  h("th", { class: number && "number", scope: "col" }, h("button", { type: "button", title: "sort", click: () => sortBy(at) }, title)),
);

function sortBy(at) {
  // Numbers are wanted largest first; a third press gives back the order in which the steps run.
  if (filter.sort !== at) Object.assign(filter, { sort: at, down: COLUMNS[at][1] });
  else if (filter.down === COLUMNS[at][1]) filter.down = !filter.down;
  else filter.sort = null;
  fillTable();
}

stepTable.append(
  h("header", null, h("h2", null, "Steps"), count),
  h(
    "div",
    { class: "filters" },
    search,
    select("section", "Section", [["all", "all sections"], ...SECTIONS.map((section) => [section, section])]),
    select("bound", "Bound", [["all", "any bound"], ...Object.entries(boundNames).map(([bound, name]) => [bound, `bound by ${name}`])]),
  ),
  h("div", { class: "scroll" }, h("table", null, h("thead", null, h("tr", null, titles)), body, foot)),
);

function fillTable() {
  const phase = chosen.phase;
  const steps = shownSteps(phase);
  titles.forEach((title, at) => title.setAttribute("aria-sort", filter.sort !== at ? "none" : filter.down ? "descending" : "ascending"));
  const cell =
    (step) =>
    ([title, number, show]) => {
      const content = show(step);
      return h(
        "td",
        { class: number ? "number" : title === "results" ? "mono wrap" : "" },
        Array.isArray(content) ? content.map((line) => h("div", null, line)) : content,
      );
    };
  body.replaceChildren(
    ...steps.map((step) => {
      const row = h("tr", { "data-step": step.name, tabindex: -1, click: () => choose({ step }) }, COLUMNS.map(cell(step)));
      row.step = step;
      return row;
    }),
  );
  const sum = (of) => steps.reduce((all, step) => all + of(step), 0);
  const total = [
    "sum",
    "",
    "",
    "",
    time(sum((step) => step.total)),
    time(sum((step) => (step.floor ?? 0) * step.times)),
    "",
    bytes(sum((step) => step.dramTotal)),
    `max ${thousands(Math.max(0, ...steps.map((step) => step.high)))}`,
  ];
  foot.replaceChildren(
    h(
      "tr",
      null,
      total.map((text, at) => h("td", { class: COLUMNS[at][1] && "number" }, text)),
    ),
  );
  count.textContent = steps.length === phase.calls.length ? `${steps.length} calls` : `${steps.length} of ${phase.calls.length} calls`;
  stepTable.shown = phase;
  markTable();
}

function markTable() {
  for (const row of body.rows) {
    const is = row.step === chosen.step;
    row.classList.toggle("chosen", is);
    row.tabIndex = is ? 0 : -1;
    row.setAttribute("aria-selected", String(is));
  }
}

views.push((phase) => (stepTable.shown === phase ? markTable() : fillTable()));

const precision = h("section", { class: "panel", id: "precision", "aria-label": "Precision" });

function drawPrecision(phase) {
  const rows = phase.decisions
    .filter((decision) => decision.precision)
    .map((decision) => {
      const step =
        phase.calls.find(({ name }) => decision.steps.includes(name) && name === decision.call) ??
        phase.calls.find(({ name }) => decision.steps.includes(name));
      const { asked, used, theorems } = decision.precision;
      const proofs = [...new Set(theorems.map(([proof]) => proof))];
      const row = h(
        "tr",
        { "data-step": step?.name, click: () => step && choose({ step }) },
        [
          decision.call,
          asked,
          used === asked ? "as asked" : used,
          proofs.map((proof) => h("div", null, proof)),
          theorems.map(([, statement]) => h("div", null, statement)),
        ].map((content) => h("td", null, content)),
      );
      return row;
    });
  const heading = h(
    "header",
    null,
    h("h2", null, "Precision"),
    h("span", { class: "soft" }, "asked by the policy, used, and what was proved of the difference"),
  );
  const heads = ["call", "asked", "used", "proved", "because"].map((title) => h("th", null, title));
  const empty = h(
    "p",
    { class: "soft" },
    report.decisions_missing ? `Not known: ${report.decisions_missing}.` : "No call of the phase has the choice.",
  );
  fill(
    precision,
    heading,
    rows.length ? h("div", { class: "scroll" }, h("table", null, h("thead", null, h("tr", null, heads)), h("tbody", null, rows))) : empty,
  );
  precision.shown = phase;
}

views.push((phase) => {
  if (precision.shown !== phase) drawPrecision(phase);
  for (const row of precision.querySelectorAll("tbody tr")) row.classList.toggle("chosen", row.dataset.step === chosen.step?.name);
});
