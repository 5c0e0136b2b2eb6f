// A section as a graph. Its layout comes with the data; here it is only drawn.

const graphPanel = h("section", { class: "panel", id: "graph", "aria-label": "The steps as a graph" });

/** The section that is shown. */
let graphSection = "layer";

function drawGraph(phase) {
  const present = phase.extra.graphs.filter((graph) => graph.cards.length > 0);
  const graph = present.find(({ section }) => section === graphSection) ?? present.find(({ section }) => section === "layer") ?? present[0];
  const options = present.map(({ section }) => [section, section === "layer" && layers > 1 ? `layer \u00d7 ${layers}` : section]);
  const heading = h(
    "header",
    null,
    h("h2", null, "Graph"),
    h("span", { class: "soft" }, "calls from above to below; each result says where it lies, and lines lead to its readers"),
    h("span", { class: "spacer" }),
    choice("Section", options, graph?.section, (section) => {
      graphSection = section;
      drawGraph(chosen.phase);
    }),
  );
  if (!graph) {
    fill(graphPanel, heading, h("p", { class: "soft" }, "The phase has no steps."));
    return;
  }
  graphSection = graph.section;
  const lines = graph.lines.map(({ value, memory, path }) => s("path", { class: `line ${memory}`, "data-value": value, d: path }));
  const cards = graph.cards.map((card) => drawCard(phase, card));
  const svg = s(
    "svg",
    {
      width: graph.width,
      height: graph.height,
      viewBox: `0 0 ${graph.width} ${graph.height}`,
      role: "group",
      "aria-label": `Graph of the ${graph.section} of ${phase.name}`,
    },
    lines,
    cards,
  );
  // It shrinks a little before it has to be scrolled.
  svg.style.setProperty("--natural", `${graph.width}px`);
  const key = (colour, text) => h("span", null, h("span", { class: "key", "data-key": colour }), text);
  const legend = h(
    "div",
    { class: "legend" },
    key("l1", "in L1"),
    key("dram", "in DRAM"),
    h("span", null, "WS, HS: shards of the width or the height, [rows, columns] on cores"),
  );
  for (const one of legend.querySelectorAll(".key")) one.style.background = `var(--${one.dataset.key})`;
  fill(graphPanel, heading, legend, h("div", { class: "scroll" }, svg));
  graphPanel.shown = phase;
  markGraph();
}

function drawCard(phase, { step: index, x, y, width, height, reads, ports }) {
  const step = index === null ? null : phase.steps[index];
  const text = (class_, at, left, content) => s("text", { class: class_, x: left, y: at }, content);
  const body = step && [
    s("rect", { class: "body", width, height, rx: 4 }),
    text("title", 15, 9, [step.name, s("tspan", { class: "mono", "font-weight": 400, dx: 8, opacity: 0.75 }, step.short)]),
    step.launches && s("text", { class: "end soft mono", x: width - 9, y: 15 }, `${step.us.toFixed(1)} us`),
    reads.map((line, at) => text("soft mono", 30 + 15 * at, 9, line)),
  ];
  const port = ({ value, text: words, memory, x: left, width: wide }) =>
    s(
      "g",
      {
        class: `port ${memory}`,
        "data-value": value,
        transform: `translate(${left} ${height - 19})`,
        click: (event) => {
          event.stopPropagation();
          choose(step ? { step, value } : { value });
        },
      },
      s("rect", { width: wide, height: 19, rx: 3 }),
      s("text", { class: "mono", x: 9, y: 13.5 }, words),
      s("title", null, `${nameOf(value)}: ${words}`),
    );
  const pick = () => step && choose({ step });
  return s(
    "g",
    {
      class: "card",
      "data-step": step?.name,
      transform: `translate(${x} ${y})`,
      click: pick,
      mouseleave: hideTip,
      ...(step && {
        tabindex: 0,
        role: "button",
        "aria-label": `${step.name}, ${step.short}`,
        keydown: (event) => {
          if (event.key === "Enter" || event.key === " ") {
            event.preventDefault();
            pick();
          }
        },
      }),
      ...(step?.launches && { mousemove: (event) => showTip(event, step.name, stepRows(step)) }),
    },
    body,
    ports.map(port),
  );
}

/** Marks what is chosen. */
function markGraph() {
  for (const card of graphPanel.querySelectorAll(".card")) card.classList.toggle("chosen", card.dataset.step === chosen.step?.name);
  for (const part of graphPanel.querySelectorAll(".port, .line")) part.classList.toggle("chosen", part.dataset.value === chosen.value);
}

views.push((phase) => {
  const section = chosen.step?.section;
  const changed =
    section && section !== graphSection && phase.extra.graphs.some((graph) => graph.section === section && graph.cards.length > 0);
  if (changed) graphSection = section;
  if (graphPanel.shown !== phase || changed) drawGraph(phase);
  else markGraph();
});
