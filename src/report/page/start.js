// Puts the page together, and listens to the keyboard.

document.title = `${plan.model.name} on ${plan.card.name}`;

const tabs = h(
  "nav",
  { id: "phases", role: "tablist", "aria-label": "Phases" },
  phases.map((phase) => {
    const { predicted_us: us, predicted_dram_bytes: traffic, l1_high_water: high, programs } = phase.document;
    // Plans of cost models without bands and waits have neither.
    const { predicted_band_us: band, predicted_waits_us: waits } = phase.document;
    const room = plan.card.l1.end - plan.card.l1.base;
    const button = h(
      "button",
      { type: "button", role: "tab", class: "tab", click: () => choose({ phase }) },
      h("small", null, phase.name),
      h("b", null, time(us)),
      band && h("small", { class: "band-of-phase" }, `${time(band[0])} to ${time(band[1])}`),
      waits > 0 && h("small", null, `${time(waits)} of it waiting for dispatch`),
      h("small", null, `${programs === null ? "?" : thousands(programs)} programs, ${bytes(traffic)} of DRAM`),
      h("small", null, `L1 ${((100 * high) / room).toFixed(0)} % at ${phase.document.l1_high_water_step}`),
    );
    button.phase = phase;
    return button;
  }),
);

views.unshift((phase) => {
  for (const tab of tabs.children) tab.setAttribute("aria-selected", String(tab.phase === phase));
});

const keys = [
  ["\u2190 \u2192 or k j", "the step before, the next"],
  ["[ ]", "the phase before, the next"],
  ["/", "filter the table"],
  ["Esc", "clear the filter"],
  ["t", "light or dark"],
  ["?", "this help"],
];
const help = h(
  "dialog",
  { "aria-label": "Keys" },
  h("h2", null, "Keys"),
  h(
    "table",
    null,
    keys.map(([key, what]) => h("tr", null, h("td", null, h("kbd", null, key)), h("td", null, what))),
  ),
  h("form", { method: "dialog" }, h("button", null, "Close")),
);

const dram = plan.dram?.bank_bytes;
const used = dram && Object.values(dram).reduce((a, b) => a + b, 0);
const banks = plan.card.dram.banks;
const notices = [
  !plan.sound && `The plan has ${report.defects} defects, which bitnetc check lists. What is drawn here may be wrong.`,
  report.decisions_missing && `The page has no decisions: ${report.decisions_missing}.`,
  report.differs.length > 0 &&
    `Compiled again, the plan comes out otherwise (${report.differs.join("; ")}). The decisions are those of the plan compiled again.`,
].filter(Boolean);

document.body.append(
  h(
    "header",
    { class: "top" },
    h("h1", null, `${plan.model.name} on ${plan.card.name}`),
    h("span", { class: "spacer" }),
    h("button", { type: "button", click: switchTheme }, "light / dark"),
    h("button", { type: "button", click: () => help.showModal() }, "keys"),
    h("div", { class: "facts" }, facts(plan, report.release)),
    dram &&
      h(
        "div",
        { class: "facts" },
        `DRAM: ${bytes(dram.weights * banks)} for weights, ${bytes(dram.buffers * banks)} for buffers, at most ${bytes(dram.values * banks)} for values and ${bytes(dram.traces * banks)} for traces: ${((100 * used) / plan.card.dram.bank_bytes).toFixed(0)} % of the card`,
      ),
    notices.map((text) => h("div", { class: "notice facts" }, text)),
  ),
  tabs,
  h("main", null, h("div", { id: "left" }, strips, graphPanel, stepTable, precision), stepPanel),
  h("footer", null, `bitnetc ${report.version}. Times are predictions of a cost model, never measurements.`),
  help,
  tip,
);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const writing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (event.key === "Escape") {
    if (filter.text !== "") {
      search.value = filter.text = "";
      fillTable();
    }
    search.blur();
    hideTip();
  }
  if (writing) return;
  const at = phases.indexOf(chosen.phase);
  const turn = (by) => phases[at + by] && choose({ phase: phases[at + by] });
  const actions = {
    ArrowRight: () => move(1),
    ArrowDown: () => move(1),
    j: () => move(1),
    ArrowLeft: () => move(-1),
    ArrowUp: () => move(-1),
    k: () => move(-1),
    "[": () => turn(-1),
    "]": () => turn(1),
    "/": () => search.focus(),
    t: switchTheme,
    "?": () => help.showModal(),
  };
  // Up and down scroll the page unless a row of the table has the focus.
  const inTable = event.target instanceof Element && event.target.closest("#steps tbody");
  if ((event.key === "ArrowUp" || event.key === "ArrowDown") && !inTable) return;
  const act = actions[event.key];
  if (!act) return;
  event.preventDefault();
  act();
  if (inTable) body.querySelector("tr.chosen")?.focus();
});

let wide = 0;
new ResizeObserver(() => {
  if (strips.clientWidth === wide || !strips.shown) return;
  wide = strips.clientWidth;
  requestAnimationFrame(() => drawStrips(chosen.phase));
}).observe(strips);

addEventListener("hashchange", fromAddress);
if (phases.length > 0) fromAddress();
