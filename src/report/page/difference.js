// The differences between two plans: their predicted effect, then every decision that differs.

const { difference, plans } = data;

const shown = (value) => value ?? "\u2013";

/** A change with its sign and colour: less is better of everything here. */
function change(by, show) {
  return h("span", { class: by > 0 ? "more" : by < 0 ? "less" : "" }, signed(by, show) || "same");
}

/** A row of the table of effects; one of the pair is missing where only one plan has the phase. `show` gets the number of the plan, too. */
function effect(name, [a, b], show) {
  const both = a !== null && b !== null;
  const part = both && a > 0 && b !== a ? ` (${signed(b - a, (n) => percent(n, a))})` : "";
  return [name, a === null ? "\u2013" : show(a, 0), b === null ? "\u2013" : show(b, 1), both ? [change(b - a, show), part] : ""];
}

/** The band of a phase's time in a plan; nothing for a change. */
function band(phase, plan) {
  const of = plan === undefined ? null : phase.predicted_band_us[plan];
  return of ? ` (${time(of[0])} to ${time(of[1])})` : "";
}

const effects = difference.phases.flatMap((phase) => [
  effect(phase.phase, phase.predicted_us, (us, plan) => [time(us), band(phase, plan)].join("")),
  effect(`${phase.phase}: L1 high-water`, phase.l1_high_water, thousands),
  effect(`${phase.phase}: DRAM traffic`, phase.dram_bytes, bytes),
]);
effects.push(effect("DRAM that the plan takes", difference.dram_bytes, bytes));

/** Bars to the left for steps that take less in the phase, to the right for those that take more. */
function bars(steps) {
  const changed = steps.filter((step) => step.predicted_us[0] !== step.predicted_us[1]);
  if (changed.length === 0) return null;
  const most = Math.max(...changed.map(({ predicted_us: [a, b] }) => Math.abs(b - a)));
  const [names, half, line] = [12 + 7 * Math.max(...changed.map(({ name }) => name.length)), 230, 19];
  const left = changed.some(({ predicted_us: [a, b] }) => b < a) ? half + 80 : 10;
  const middle = names + left;
  const rows = changed.map(({ name, predicted_us: [a, b] }, at) => {
    const long = (half * Math.abs(b - a)) / most;
    const [y, more] = [at * line, b > a];
    return [
      s("text", { class: "mono", x: 0, y: y + 13 }, name),
      s("rect", { class: more ? "grows" : "shrinks", x: more ? middle : middle - long, y: y + 3, width: long, height: line - 6 }),
      s("text", { class: more ? "" : "end", x: more ? middle + long + 5 : middle - long - 5, y: y + 13 }, signed(b - a, time)),
    ];
  });
  const height = changed.length * line + 4;
  return h(
    "div",
    { class: "scroll" },
    s(
      "svg",
      { width: middle + half + 80, height, role: "img", "aria-label": "Change of the time of each step in the phase" },
      s("line", { class: "axis", x1: middle, x2: middle, y1: 0, y2: height }),
      rows,
    ),
  );
}

const fieldRows = (changes) =>
  changes.map(({ field, a, b }) => [h("code", null, field), h("code", null, shown(a)), h("code", null, shown(b))]);

/** The changes of a thing that both plans have, or which plan alone has it. */
function changesOf({ in_first: first, in_second: second, changes }) {
  if (!first || !second) return h("span", { class: "tag" }, first ? "only in the first" : "only in the second");
  return changes.map(({ field, a, b }) =>
    h("div", null, h("span", { class: "soft" }, `${field} `), h("code", null, shown(a)), " \u2192 ", h("code", null, shown(b))),
  );
}

function stepRow(step) {
  const [us, high, traffic] = [step.predicted_us, step.l1_high_water, step.dram_bytes].map(([a, b]) => b - a);
  const cell = (by, show) => (by === 0 ? "" : change(by, show));
  return [step.name, step.section, cell(us, time), cell(high, thousands), cell(traffic, bytes), changesOf(step)];
}

function phasePanel(phase) {
  const [a, b] = phase.predicted_us;
  const only = a === null || b === null;
  const heading = h(
    "header",
    null,
    h("h2", null, phase.phase),
    h(
      "span",
      { class: "soft" },
      only ? `only in the ${a === null ? "second" : "first"} plan` : [`${time(a)} \u2192 ${time(b)}, `, change(b - a, time)],
    ),
  );
  if (only) return h("section", { class: "panel phase" }, heading);
  const steps = phase.steps.map(stepRow);
  return h(
    "section",
    { class: "panel phase" },
    heading,
    steps.length === 0 && phase.changes.length === 0 && h("p", { class: "soft" }, "Every step is the same."),
    phase.changes.length > 0 && table(["field", "first", "second"], fieldRows(phase.changes)),
    bars(phase.steps),
    steps.length > 0 &&
      h(
        "div",
        { class: "scroll" },
        table(["step", "section", "#time in the phase", "#L1", "#DRAM traffic", "decisions, first \u2192 second"], steps),
      ),
  );
}

const things = (title, list) =>
  list.length > 0 &&
  h(
    "section",
    { class: "panel" },
    h("header", null, h("h2", null, title)),
    h(
      "div",
      { class: "scroll" },
      table(
        ["name", "first \u2192 second"],
        list.map((one) => [one.name, changesOf(one)]),
      ),
    ),
  );

const name = ({ model, card }) => `${model.name} on ${card.name}`;
const [first, second] = plans;
const same = name(first) === name(second);
document.title = `Differences: ${name(first)}${same ? "" : `, ${name(second)}`}`;

const search = h("input", {
  type: "search",
  placeholder: "filter: step, field, value \u2026",
  "aria-label": "Filter the differences",
  input: () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of document.querySelectorAll(".phase tbody tr"))
      row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  },
});

document.body.append(
  h(
    "header",
    { class: "top" },
    h("h1", null, same ? `Two plans of ${name(first)}` : `${name(first)} \u2192 ${name(second)}`),
    h("span", { class: "spacer" }),
    h("span", { class: "filters" }, search),
    h("button", { type: "button", click: switchTheme }, "light / dark"),
    plans.map((plan, at) => h("div", { class: "facts" }, h("b", null, at === 0 ? "first: " : "second: "), facts(plan, plan.release))),
  ),
  h(
    "div",
    { id: "difference" },
    h(
      "section",
      { class: "panel", id: "effects" },
      h("header", null, h("h2", null, difference.alike ? "The plans are alike" : "Predicted effect")),
      h("div", { class: "scroll" }, table(["", "#first", "#second", "#change"], effects)),
    ),
    difference.facts.length > 0 &&
      h(
        "section",
        { class: "panel", id: "facts" },
        h("header", null, h("h2", null, "Model, card and options")),
        h("div", { class: "scroll" }, table(["field", "first", "second"], fieldRows(difference.facts))),
      ),
    difference.phases.map(phasePanel),
    things("Weights", difference.weights),
    things("Buffers", difference.buffers),
  ),
  h("footer", null, "Times are predictions of a cost model, never measurements."),
  tip,
);
document.getElementById("effects").querySelector("table").style.width = "auto";

document.addEventListener("keydown", (event) => {
  if (event.target === search || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "t") switchTheme();
  if (event.key === "/") {
    event.preventDefault();
    search.focus();
  }
});
