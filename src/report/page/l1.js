// The L1 of every core over the steps: circular buffers from below, tensors from above, and what lies between them is free. Tensors are
// often small beside the whole, so their region is drawn once more, magnified.

/** One rectangle for each tensor, as long as it lies in one place. */
function residents(phase) {
  const found = [];
  const open = new Map();
  for (const step of phase.columns) {
    const seen = new Set();
    for (const { name, address, bytes: size } of step.live ?? []) {
      const place = `${address} ${name}`;
      seen.add(place);
      const known = open.get(place);
      if (known && known.to === step.column - 1) known.to = step.column;
      else {
        const one = { key: keyInL1({ name, address }), name, address, size, from: step.column, to: step.column };
        open.set(place, one);
        found.push(one);
      }
    }
    for (const place of [...open.keys()]) if (!seen.has(place)) open.delete(place);
  }
  return found;
}

/** The map from `top` downwards: what is drawn, its lower edge, and what lies at a step and a height. */
function l1Map(phase, place, top) {
  const { base, end } = plan.card.l1;
  if (!phase.columns.some((step) => step.live)) {
    return {
      bottom: top + 24,
      at: () => null,
      legend: null,
      drawn: s(
        "text",
        { class: "soft", x: AXIS, y: top + 14 },
        `No map of L1: the plan has ${report.defects} defects, so where its tensors lie is not known.`,
      ),
    };
  }
  const all = residents(phase);
  const lowest = Math.min(end, ...all.map(({ address }) => address));
  const whole = { top: top + 6, height: 170, from: base, to: end };
  // A little below the lowest, so that its edge can be seen.
  const near = { top: whole.top + whole.height + 34, height: 130, from: Math.max(base, lowest - (end - lowest) / 20), to: end };
  const magnified = lowest > base + (end - base) / 3 && all.length > 0;
  const scales = magnified ? [whole, near] : [whole];
  const y = (scale, address) => scale.top + (scale.height * (scale.to - address)) / Math.max(1, scale.to - scale.from);
  const rectangle = (scale, { key, name, address, size, from, to }) => {
    const [high, low] = [y(scale, Math.min(address + size, scale.to)), y(scale, Math.max(address, scale.from))];
    const [x, width] = [place.left[from] + 1, place.left[to] + place.each - place.left[from] - 2];
    const tall = Math.max(1, low - high);
    const text = tall >= 11 && width > name.length * 5.6 + 6;
    return [
      s("rect", { class: `resident ${key.startsWith("weight:") ? "constant" : ""}`, "data-value": key, x, width, y: high, height: tall }),
      text && s("text", { class: "inside", x: x + 3, y: high + tall / 2 + 3.5 }, name),
    ];
  };
  const buffers = phase.columns
    .filter((step) => step.l1.circular_buffers > 0)
    .map((step) => {
      const high = y(whole, base + step.l1.circular_buffers);
      return s("rect", { class: "buffers", x: place.left[step.column] + 2, width: place.each - 4, y: high, height: y(whole, base) - high });
    });
  // Circular buffers must end below the lowest tensor.
  const limitOf = (step) => Math.min(end, ...step.live.map(({ address }) => address));
  const limit = (scale) =>
    phase.columns.map((step) => `M${place.left[step.column]} ${y(scale, limitOf(step)) + 0.75}h${place.each}`).join("");
  const label = (scale, address, text) => s("text", { class: "soft end", x: AXIS - 8, y: y(scale, address) + 4 }, text);
  const title = (scale, text, what) =>
    s("text", { x: AXIS, y: scale.top - 8, "font-weight": 650 }, text, s("tspan", { "font-weight": 400, dx: 8, opacity: 0.7 }, what));
  const edge = (scale, address, name) =>
    s("line", { class: name, x1: AXIS - 4, x2: place.width, y1: y(scale, address), y2: y(scale, address) });
  const megabytes = ticks(end).filter((at) => at > base && at < end - (end - base) / 12);
  const drawn = [
    title(whole, "L1 of every core", `addresses ${thousands(base)} to ${thousands(end)}`),
    megabytes.map((at) => [edge(whole, at, "axis"), label(whole, at, bytes(at))]),
    edge(whole, base, "axis"),
    label(whole, base, bytes(base)),
    edge(whole, end, "end-of-l1"),
    label(whole, end, bytes(end)),
    buffers,
    magnified && [
      title(near, "its tensors, magnified", `from ${thousands(lowest)}`),
      edge(near, end, "end-of-l1"),
      label(near, end, bytes(end)),
      edge(near, lowest, "axis"),
      label(near, lowest, `\u2212${bytes(end - lowest)}`),
    ],
    scales.map((scale) => [all.map((one) => rectangle(scale, one)), s("path", { class: "limit", d: limit(scale) })]),
  ];
  const last = scales[scales.length - 1];
  const at = (step, height) => {
    const scale = scales.find((one) => height >= one.top - 2 && height <= one.top + one.height + 2);
    if (!scale || !step.live) return null;
    const address = Math.round(scale.to - ((height - scale.top) * (scale.to - scale.from)) / scale.height);
    const under = step.live.find((one) => address >= one.address && address < one.address + one.bytes);
    const inBuffers = scale === whole && address < base + step.l1.circular_buffers;
    const what = under ? under.name : inBuffers ? "circular buffers" : "free";
    const own = under
      ? [
          ["from", thousands(under.address)],
          ["to", thousands(under.address + under.bytes)],
          ["bytes", thousands(under.bytes)],
        ]
      : [];
    return {
      title: `${what}, during ${step.name}`,
      rows: [
        ...own,
        ["address", thousands(address)],
        ["circular buffers", `${thousands(step.l1.circular_buffers)} B`],
        ["tensors", `${thousands(end - limitOf(step))} B`],
        ["free", `${thousands(Math.max(0, limitOf(step) - base - step.l1.circular_buffers))} B`],
      ],
    };
  };
  const key = (colour, text) => h("span", null, h("span", { class: "key", "data-key": colour }), text);
  const legend = h(
    "div",
    { class: "legend" },
    key("cb", "circular buffers, from below"),
    key("l1", "values, from above"),
    key("launch", "weights kept in L1"),
    key("chosen", "the chosen value"),
    h("span", null, "dashed: the limit of circular buffers, the lowest tensor"),
  );
  for (const one of legend.querySelectorAll(".key")) one.style.background = `var(--${one.dataset.key})`;
  return { drawn, at, legend, bottom: last.top + last.height + 4 };
}
