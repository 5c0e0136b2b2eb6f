// One column for each step that runs on the card, and below each other what it takes: time against its roofline, DRAM traffic, L1.

const strips = h("section", { class: "panel", id: "strips", "aria-label": "Time, DRAM and L1 of each step" });

/** Times and traffic of the whole phase, or of one run of each step. */
let perRun = false;

const AXIS = 64;
const SECTION_GAP = 16;

/** The places of the columns at a width: their left edges, one width, and the sections' bounds. */
function columnsAt(phase, width) {
  const present = SECTIONS.filter((section) => phase.columns.some((step) => step.section === section));
  const room = width - AXIS - 6 - SECTION_GAP * Math.max(0, present.length - 1);
  const each = Math.max(15, Math.min(46, Math.floor(room / Math.max(1, phase.columns.length))));
  const left = [];
  const bounds = [];
  let x = AXIS;
  for (const section of present) {
    const start = x;
    for (const step of phase.columns.filter((one) => one.section === section)) {
      left[step.column] = x;
      x += each;
    }
    bounds.push({ section, from: start, to: x });
    x += SECTION_GAP;
  }
  return { left, each, bounds, width: x - SECTION_GAP + 6 };
}

/** Round numbers up to a largest one, at most five. */
function ticks(most) {
  if (!(most > 0)) return [0];
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((m) => m >= rough);
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, at) => at * step);
}

function axis(most, top, height, width, show) {
  const y = (value) => top + height - (height * value) / Math.max(most, Number.MIN_VALUE);
  return ticks(most).map((value) => [
    s("line", { class: "axis", x1: AXIS - 4, x2: width, y1: y(value), y2: y(value) }),
    s("text", { class: "soft end", x: AXIS - 8, y: y(value) + 4 }, value === 0 ? "0" : show(value)),
  ]);
}

/** Time of each step: solid up to its roofline, pale above. */
function timeStrip(phase, place, top, height) {
  const of = (step, us) => us * (perRun ? 1 : step.times);
  const most = Math.max(...phase.columns.map((step) => of(step, step.us)), 0);
  const y = (value) => top + height - (height * value) / Math.max(most, Number.MIN_VALUE);
  const bars = phase.columns.map((step) => {
    const x = place.left[step.column] + 2;
    const width = place.each - 4;
    const bar = (us, extra) =>
      s("rect", { class: `${step.bound} ${extra}`, x, width, y: y(of(step, us)), height: Math.max(0, top + height - y(of(step, us))) });
    const visible = step.floor !== null && y(of(step, step.floor)) < top + height - 0.5;
    const floor = !visible
      ? []
      : [
          bar(Math.min(step.floor, step.us), ""),
          s("line", { class: "floor", x1: x - 1, x2: x + width + 1, y1: y(of(step, step.floor)), y2: y(of(step, step.floor)) }),
        ];
    return [bar(step.us, step.floor === null ? "" : "over"), floor];
  });
  return [axis(most, top, height, place.width, time), bars];
}

function dramStrip(phase, place, top, height) {
  const of = (step) => (perRun ? step.dram : step.dramTotal);
  const most = Math.max(...phase.columns.map(of), 0);
  const bar = (step) => {
    const tall = (height * of(step)) / Math.max(most, 1);
    return s("rect", { class: "dram", x: place.left[step.column] + 2, width: place.each - 4, y: top + height - tall, height: tall });
  };
  return [axis(most, top, height, place.width, bytes), phase.columns.filter((step) => step.dram > 0).map(bar)];
}

/** What the tip says of a step. */
function stepRows(step) {
  const once =
    step.times > 1
      ? [
          ["one run", time(step.us)],
          [`${step.times} runs`, time(step.total)],
        ]
      : [["predicted", time(step.us)]];
  const floor = step.floor === null ? [] : [["at the card's peak", time(step.floor)]];
  return [
    ...once,
    ...floor,
    ["bound by", boundNames[step.bound]],
    ["DRAM, one run", bytes(step.dram)],
    ["L1 high-water", `${thousands(step.high)} B`],
  ];
}

function drawStrips(phase) {
  const heading = h(
    "header",
    null,
    h("h2", null, "Step by step"),
    h("span", { class: "soft" }, "predicted, not measured; a column for each call that runs on the card"),
    h("span", { class: "spacer" }),
    choice(
      "Times of",
      [
        [false, "whole phase"],
        [true, "one run"],
      ],
      perRun,
      (value) => {
        perRun = value;
        drawStrips(chosen.phase);
      },
    ),
  );
  if (!phase || phase.columns.length === 0) {
    fill(strips, heading, h("p", { class: "soft" }, "The phase runs nothing on the card."));
    return;
  }
  const width = Math.max(320, (strips.clientWidth || 860) - 30);
  const place = columnsAt(phase, width);
  const [timeTop, timeHeight, dramTop, dramHeight] = [38, 130, 198, 64];
  const map = l1Map(phase, place, 292);
  const names = phase.columns.map((step) => {
    const x = place.left[step.column] + place.each / 2 + 4;
    return s(
      "text",
      { class: "soft", x, y: map.bottom + 10, transform: `rotate(-55 ${x} ${map.bottom + 10})`, "text-anchor": "end" },
      step.name,
    );
  });
  const longest = Math.max(...phase.columns.map((step) => step.name.length));
  const height = map.bottom + 22 + Math.min(170, longest * 5.1);
  const title = (y, text, what) =>
    s(
      "text",
      { x: AXIS, y, "font-weight": 650 },
      text,
      s("tspan", { class: "soft", "font-weight": 400, dx: 8, fill: "currentColor", opacity: 0.7 }, what),
    );
  const bounds = place.bounds.map(({ section, from, to }) => [
    s("rect", { class: "band", x: from - 3, width: to - from + 6, y: 2, height: 16 }),
    s("text", { class: "middle soft", x: (from + to) / 2, y: 14 }, section === "layer" && layers > 1 ? `layer \u00d7 ${layers}` : section),
    section !== place.bounds[0].section &&
      s("line", { class: "axis", x1: from - SECTION_GAP / 2, x2: from - SECTION_GAP / 2, y1: 2, y2: map.bottom }),
  ]);
  const pick = s("rect", { class: "pick", width: place.each, y: 20, height: map.bottom - 18, visibility: "hidden" });
  const hit = (step) =>
    s("rect", {
      class: "hit",
      "data-step": step.name,
      x: place.left[step.column],
      width: place.each,
      y: 20,
      height: height - 20,
      click: () => choose({ step }),
      mouseleave: hideTip,
      mousemove: (event) => {
        const box = svg.getBoundingClientRect();
        const y = ((event.clientY - box.top) * height) / box.height;
        const inside = map.at(step, y);
        if (inside) showTip(event, inside.title, inside.rows);
        else showTip(event, step.name, stepRows(step));
      },
    });
  const svg = s(
    "svg",
    {
      width: place.width,
      height,
      viewBox: `0 0 ${place.width} ${height}`,
      role: "img",
      tabindex: 0,
      "aria-label": `Time, DRAM traffic and L1 of the steps of ${phase.name}; the table below has the numbers`,
    },
    bounds,
    title(timeTop - 6, "Time", perRun ? "of one run" : "in the phase"),
    timeStrip(phase, place, timeTop, timeHeight),
    title(dramTop - 8, "DRAM traffic", perRun ? "of one run" : "in the phase"),
    dramStrip(phase, place, dramTop, dramHeight),
    map.drawn,
    names,
    phase.columns.map(hit),
    pick,
  );
  const known = phase.columns.some((step) => step.floor !== null);
  const key = (name, text) => h("span", null, h("span", { class: "key", "data-key": name }), text);
  const legend = h(
    "div",
    { class: "legend" },
    Object.entries(boundNames).map(([bound, text]) => key(bound, `bound by ${text}`)),
    known && h("span", null, "solid up to the line: the least at the card's peak of DRAM and matrix unit"),
  );
  for (const one of legend.querySelectorAll(".key")) one.style.background = `var(--${one.dataset.key})`;
  fill(strips, heading, legend, h("div", { class: "scroll" }, svg), map.legend);
  strips.pick = (step) => {
    pick.setAttribute("visibility", step?.launches ? "visible" : "hidden");
    if (step?.launches) pick.setAttribute("x", place.left[step.column]);
    for (const rect of svg.querySelectorAll(".resident")) rect.classList.toggle("chosen", rect.dataset.value === chosen.value);
  };
  strips.shown = phase;
  strips.pick(chosen.step);
}

views.push((phase) => (strips.shown === phase ? strips.pick(chosen.step) : drawStrips(phase)));
