// The chosen step in full: its call, what it costs, where its tensors lie, and why it is as it is.

const stepPanel = h("aside", { class: "panel", id: "step", "aria-label": "The chosen step", tabindex: -1 });

const link = (text, change) => h("button", { type: "button", class: "link", click: () => choose(change) }, text);
const list = (rows) =>
  h(
    "dl",
    null,
    rows.filter(Boolean).map(([name, ...content]) => [h("dt", null, name), h("dd", null, content)]),
  );

/** An argument as text: `in0_block_w 24`, nested ones in parentheses. */
function words(value) {
  if (value === null) return "none";
  if (Array.isArray(value)) return `[${value.map(words).join(", ")}]`;
  if (typeof value !== "object") return String(value);
  const fields = Object.entries(value).filter(([, inner]) => inner !== null);
  return fields
    .map(([name, inner]) => (typeof inner === "object" && !Array.isArray(inner) ? `${name}(${words(inner)})` : `${name} ${words(inner)}`))
    .join(", ");
}

/** Arguments beside the tensors. */
function settings(step) {
  const fields = Object.values(step.arguments)[0] ?? {};
  const operands = new Set(step.operands.map(({ argument }) => argument));
  const plain = Object.entries(fields).filter(([name, value]) => !operands.has(name) && value !== null && name !== "memory");
  return plain.map(([name, value]) => [name, h("code", null, words(value))]);
}

function operandRow(phase, operand) {
  const { argument, kind, name, access } = operand;
  const key = keyOf(operand);
  const found = tensor(phase, key);
  const maker = kind === "value" ? phase.maker.get(key) : null;
  const from =
    maker && maker !== chosen.step ? [" of ", link(maker.name, { step: maker, value: key })] : kind === "value" ? [] : [` (${kind})`];
  const where = found ? h("div", { class: "soft mono" }, `${found.spec.dtype} ${found.memory}`) : null;
  return [access === "reads" ? argument : `${argument}, ${access}`, link(name, { value: key }), from, where];
}

function costs(phase, step) {
  const share = phase.document.predicted_us;
  return list([
    ["one run", time(step.us)],
    step.times > 1 && [`${step.times} runs`, `${time(step.total)}, ${percent(step.total, share)} of the phase`],
    step.times === 1 && ["of the phase", percent(step.total, share)],
    step.roofline && ["at peak", `${time(step.floor)}: DRAM ${time(step.roofline.dram_us)}, matrix unit ${time(step.roofline.fpu_us)}`],
    ["bound by", boundNames[step.bound]],
    ["DRAM", `${bytes(step.dram)}${step.times > 1 ? `, ${bytes(step.dramTotal)} in the phase` : ""}`],
    step.programs !== null && ["programs", String(step.programs)],
  ]);
}

function memory(step) {
  const room = plan.card.l1.end - plan.card.l1.base;
  const { circular_buffers: buffers, tensors } = step.l1;
  const bar = h(
    "div",
    { class: "meter", title: "circular buffers from the left, tensors from the right" },
    h("span", { class: "cb" }),
    h("span", { class: "tensors" }),
  );
  bar.children[0].style.width = `${(100 * buffers) / room}%`;
  bar.children[1].style.width = `${(100 * tensors) / room}%`;
  const live = (step.live ?? []).map(({ name, address, bytes: size }) => [
    link(name, { value: keyInL1({ name, address }) }),
    thousands(address),
    thousands(size),
  ]);
  return [
    bar,
    list([
      ["circular buffers", `${thousands(buffers)} B`],
      ["tensors", `${thousands(tensors)} B`],
      ["high-water", `${thousands(step.high)} B, ${percent(step.high, room)}`],
    ]),
    live.length > 0 &&
      h("details", null, h("summary", null, `${live.length} tensors alive in L1`), table(["tensor", "#address", "#bytes"], live)),
  ];
}

/** The value that is chosen, on its cores. */
function value(phase, step) {
  const keys = [...new Set([...step.outputs.map(({ name }) => `value:${name}`), ...step.operands.map(keyOf)])];
  if (chosen.value && !keys.includes(chosen.value)) keys.unshift(chosen.value);
  const found = chosen.value && tensor(phase, chosen.value);
  const label = (key) => (key.startsWith("value:") ? nameOf(key) : `${nameOf(key)} (${key.split(":")[0]})`);
  const tabs = keys.map((key) =>
    h("button", { type: "button", "aria-pressed": String(key === chosen.value), click: () => choose({ value: key }) }, label(key)),
  );
  const readers = phase.readers.get(chosen.value)?.filter((reader) => reader !== step) ?? [];
  const about = found && [
    h("p", { class: "mono" }, `[${found.spec.shape.join(", ")}] ${found.spec.dtype} ${found.memory}`),
    placement(found),
    list([
      found.address !== null &&
        found.address !== undefined && ["address", `${thousands(found.address)}${found.per_layer ? " in the first layer" : ""}`],
      readers.length > 0 && [
        "read by",
        readers.flatMap((reader, at) => [at > 0 && ", ", link(reader.name, { step: reader, value: chosen.value })]),
      ],
    ]),
  ];
  return [h("div", { class: "legend", id: "values" }, tabs), about];
}

function alternative({ what, us, phase_longer_us: longer, more_reshards: more, stands_for: stands, why_not: why }) {
  const numbers = [
    h("span", null, `itself ${time(us)}`),
    longer !== null && h("span", null, `phase +${time(longer)}`),
    more !== null && more !== 0 && h("span", null, `reshards ${more > 0 ? "+" : ""}${more}`),
  ];
  return h(
    "div",
    { class: "alternative" },
    h("div", null, what, stands > 1 && h("span", { class: "soft" }, ` (best of ${stands})`)),
    h("div", { class: "numbers" }, numbers),
    h("div", { class: "soft" }, why),
  );
}

function why(step) {
  const decision = step.decision;
  if (!decision)
    return h(
      "p",
      { class: "soft" },
      report.decisions_missing ? `Not known: ${report.decisions_missing}.` : "Nothing was decided about this step.",
    );
  const { precision: proved } = decision;
  const proofs = proved?.theorems.map(([proof, statement]) => h("li", null, `${proof}: ${statement}`)) ?? [];
  const refusal = ({ ways, constraint, what, hint }) =>
    h(
      "div",
      { class: "alternative" },
      h("div", { class: "numbers" }, h("span", null, `${thousands(ways)} ways`), h("code", null, constraint)),
      h("div", null, what, hint && ` (${hint})`),
    );
  return [
    h("p", null, decision.call !== step.name && `Part of ${decision.call}. `, decision.chosen || "As it is."),
    decision.moves.map(({ step: name, what, because }) => h("p", null, h("b", null, name), ` moves ${what}, because ${because}.`)),
    h(
      "ul",
      null,
      decision.reads.map(([name, wants, how]) => h("li", null, `reads ${name} in `, h("code", null, wants), `: ${how}`)),
      decision.leaves.slice(0, 1).map((where) => h("li", null, "leaves its result in ", h("code", null, where))),
      decision.folds.map((fold) => h("li", null, `folded the scale ${fold}`)),
    ),
    proved && [
      h("h3", null, "Precision"),
      list([
        ["asked", proved.asked],
        ["used", proved.used === proved.asked ? "as asked" : proved.used],
        ["activations", `${proved.significant_bits} significant bits`],
      ]),
      h("ul", null, proofs),
    ],
    h("h3", null, "Alternatives"),
    h(
      "p",
      { class: "soft" },
      `${thousands(decision.legal)} legal ways in all${decision.alternatives.length ? "; the best of the others, each with the cheapest phase around it" : ", no other was asked"}.`,
    ),
    decision.alternatives.map(alternative),
    decision.refused > 0 &&
      h(
        "details",
        null,
        h("summary", null, `${thousands(decision.refused)} ways refused by TT-NN's rules`),
        decision.refusals.map(refusal),
      ),
  ];
}

views.push((phase) => {
  const { step } = chosen;
  if (!step) {
    stepPanel.replaceChildren(h("p", { class: "soft" }, "No step is chosen."));
    return;
  }
  const when =
    step.section === "layer"
      ? `in each of ${layers} layers`
      : step.section === "prologue"
        ? "once, before the layers"
        : "once, after the layers";
  fill(
    stepPanel,
    h("header", null, h("h2", null, step.name), h("span", { class: "soft" }, when)),
    h("p", { class: "mono" }, `ttnn.${step.call}`, step.math && h("span", { class: "tag" }, step.math)),
    list([
      ...step.operands.map((operand) => operandRow(phase, operand)),
      ...settings(step),
      step.frees.length > 0 && ["frees", step.frees.join(", ")],
      step.freesBefore.length > 0 && ["freed before", step.freesBefore.join(", ")],
    ]),
    step.launches
      ? [h("h3", null, "Predicted"), costs(phase, step), h("h3", null, "L1 of every core"), memory(step)]
      : h("p", { class: "soft" }, "It only gives the tensor another shape: no program runs on the card."),
    h("h3", null, "Where it lies"),
    value(phase, step),
    h("h3", null, "Why"),
    why(step),
  );
  if (stepPanel.last !== step) stepPanel.scrollTop = 0;
  stepPanel.last = step;
});
