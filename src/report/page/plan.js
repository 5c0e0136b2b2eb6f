// The plan as the views see it: phases of steps with what each costs in the whole phase, and what is chosen.

const { plan, report } = data;

const SECTIONS = ["prologue", "layer", "epilogue"];
const layers = plan.model.layers;

const phases = plan.phases.map((document, number) => phaseOf(document, report.phases[number]));

function phaseOf(document, extra) {
  const decisionOf = new Map(extra.decisions.flatMap((decision) => decision.steps.map((name) => [name, decision])));
  const steps = document.steps.map((step, index) => stepOf(step, index, extra.steps[index], decisionOf));
  // A deallocation has no row of its own: it is told at the step that it follows.
  let last = null;
  for (const step of steps) {
    if (step.freed === null) last = step;
    else if (last && last.section === step.section) last.frees.push(step.freed);
    else (steps.find((other) => other.section === step.section && other.freed === null) ?? step).freesBefore.push(step.freed);
  }
  const calls = steps.filter((step) => step.freed === null);
  const maker = new Map();
  const readers = new Map();
  for (const step of calls) {
    for (const output of step.outputs) maker.set(`value:${output.name}`, step);
    for (const operand of step.operands) {
      const key = keyOf(operand);
      if (operand.access === "writes" && !maker.has(key)) maker.set(key, step);
      readers.set(key, [...(readers.get(key) ?? []), step]);
    }
  }
  const columns = calls.filter((step) => step.launches);
  columns.forEach((step, at) => (step.column = at));
  return { document, extra, name: document.phase, steps, calls, columns, maker, readers, decisions: extra.decisions };
}

function stepOf(step, index, extra, decisionOf) {
  const times = step.section === "layer" ? layers : 1;
  const { us, dram_bytes: dram, fpu_cycles: fpu, bound } = step.predicted;
  const freed = extra.operands.find((operand) => operand.access === "frees")?.name ?? null;
  return {
    index,
    times,
    us,
    dram,
    fpu,
    freed,
    frees: [],
    freesBefore: [],
    name: step.name,
    section: step.section,
    note: step.note,
    outputs: step.outputs,
    operands: extra.operands,
    call: step.call.replace("ttnn.", ""),
    short: step.call.split(".").pop(),
    arguments: step.arguments,
    math: extra.math,
    launches: extra.launches,
    programs: step.programs,
    bound: extra.launches ? bound.toLowerCase() : "",
    total: us * times,
    dramTotal: dram * times,
    // The least time at the card's peaks; unknown for a card that is no shipped one.
    floor: step.roofline ? Math.max(step.roofline.dram_us, step.roofline.fpu_us) : null,
    roofline: step.roofline,
    l1: step.l1,
    high: step.l1.high_water,
    live: step.l1.live ?? null,
    decision: decisionOf.get(step.name) ?? null,
  };
}

/** A tensor of the phase by its key. */
function tensor(phase, key) {
  const name = nameOf(key);
  if (key.startsWith("value:")) return phase.extra.values[name] ?? null;
  return (key.startsWith("buffer:") ? report.buffers : report.weights).find((one) => one.name === name) ?? null;
}

/** A tensor by kind and name, `value:qkv`: a weight and a value may have one name. */
function keyOf({ kind, name }) {
  return `${kind}:${name}`;
}

const nameOf = (key) => key.slice(key.indexOf(":") + 1);

/** The key of a tensor that lies in L1: a weight's address tells it from a value of its name. */
function keyInL1({ name, address }) {
  const isWeight = report.weights.some((weight) => weight.name === name && weight.address === address && weight.memory.startsWith("L1"));
  return `${isWeight ? "weight" : "value"}:${name}`;
}

/** The tensor that a step is first of all about: its result, or what it writes in place. */
function result({ outputs, operands }) {
  if (outputs.length > 0) return `value:${outputs[0].name}`;
  const operand = operands.find(({ access }) => access === "writes") ?? operands[0];
  return operand ? keyOf(operand) : null;
}

/** What is chosen; every view shows it. */
const chosen = { phase: phases[0] ?? null, step: null, value: null };

const views = [];

/** Chooses a step, a value or a phase, and has every view show it. */
function choose(change) {
  const phase = change.phase ?? chosen.phase;
  if (phase !== chosen.phase) Object.assign(chosen, { phase, step: null, value: null });
  if (change.step !== undefined) Object.assign(chosen, { step: change.step, value: change.step && result(change.step) });
  if (change.value !== undefined) {
    chosen.value = change.value;
    chosen.step ??= chosen.phase.maker.get(change.value) ?? chosen.phase.readers.get(change.value)?.[0] ?? null;
  }
  if (chosen.step === null && phase) {
    // The most expensive step is where a person looks first.
    chosen.step = phase.columns.reduce((a, b) => (b.total > a.total ? b : a), phase.columns[0] ?? null);
    chosen.value = chosen.step && result(chosen.step);
  }
  for (const view of views) view(phase);
  const address = [chosen.phase?.name.replace(" ", "-"), chosen.step?.name].filter(Boolean).map(encodeURIComponent).join("/");
  history.replaceState(null, "", `#${address}`);
}

/** What the address of the page names: `#prefill-128/qkv`. */
function fromAddress() {
  const [phaseName, stepName] = location.hash
    .slice(1)
    .split("/")
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return "";
      }
    });
  const phase = phases.find(({ name }) => name.replace(" ", "-") === phaseName) ?? phases[0];
  const step = phase?.calls.find(({ name }) => name === stepName);
  choose({ phase, ...(step && { step }) });
}

/** The step so many calls after the chosen one. */
function move(by) {
  const { calls } = chosen.phase;
  const at = calls.indexOf(chosen.step);
  choose({ step: calls[Math.max(0, Math.min(calls.length - 1, at + by))] });
}

const boundNames = { dram: "DRAM", compute: "matrix unit", movement: "moving data", launch: "launching" };
