//! `bitnetc check --numerics`: the host device's exact numerics against TT-NN's kernels on Tenstorrent's simulator, step by step.

use std::path::{Path, PathBuf};

use bitnetc_plan::{PhaseKind, Plan, TtnnRelease, VerifiedPlan};
use bitnetc_runtime::host::{Numerics, uncompared_step};
use bitnetc_runtime::{HostDevice, LoadOptions, Session};
use bitnetc_ttnn::{CardKind, CardOptions, ComparedDevice, Comparison, PythonEnv, Simulator, TtnnDevice, Wanted};
use miette::{IntoDiagnostic as _, miette};
use schemars::JsonSchema;
use serde::Serialize;

use crate::chosen::Chosen;
use crate::inspect::Selection;
use crate::load::{self, Source};
use crate::render::units::thousands;
use crate::render::{Align, Column, Page, Table};

/// What to compare, and on which simulator.
#[derive(Debug, clap::Args)]
pub struct Compared {
    /// Also run the plan on Tenstorrent's simulator and on the host, each step from the same operands, and compare the results' bits
    #[arg(long, requires = "simulator", conflicts_with = "ttnn", group = "library")]
    pub numerics: bool,
    /// With --numerics: the simulator, its libttsim for the plan's chip family
    #[arg(long, value_name = "LIB", requires = "numerics")]
    simulator: Option<PathBuf>,
    /// With --numerics: a checkpoint directory, a .gguf, or a file made by `bitnetc pack`
    #[arg(long, value_name = "DIR|FILE", requires = "numerics")]
    weights: Option<PathBuf>,
    /// With --numerics: only this phase: decode, prefill, prefill-128
    #[arg(long, requires = "numerics")]
    phase: Option<Selection>,
    /// With --numerics: only the first layers, and what comes after all layers
    #[arg(long, value_name = "N", requires = "numerics")]
    layers: Option<u32>,
}

/// The comparisons of one run of a phase.
pub struct Run {
    /// The phase and what it was given, for people.
    title: String,
    steps: Vec<Step>,
}

/// One step of a phase, in all its layers.
struct Step {
    name: String,
    call: &'static str,
    /// One comparison for each layer, or the only one.
    layers: Vec<Comparison>,
    /// Why its bits may differ.
    uncompared: Option<&'static str>,
}

/// Runs the phases asked for.
///
/// # Errors
/// No simulator, no TT-NN, no weights; whatever a step refuses.
pub fn compare(args: &Compared, file: &Path, python: Option<&Path>, plan: VerifiedPlan) -> miette::Result<Vec<Run>> {
    let phases = args.phase.map_or_else(|| Ok((0..plan.phases.len()).collect()), |asked| asked.phases(&plan))?;
    let source = Source {
        plan: Some(file.display().to_string()),
        weights: args.weights.clone(),
        choices: Chosen::none().into_diagnostic()?,
    };
    let weights = source.weights(&plan)?;
    if let Some(layers) = args.layers.filter(|layers| *layers == 0 || *layers > plan.model.layers) {
        return Err(miette!("{layers} layers; the model has {}", plan.model.layers));
    }
    let library = args.simulator.as_deref().ok_or_else(|| miette!("--numerics needs --simulator"))?;
    let release = TtnnRelease::find(&plan.release).into_diagnostic()?;
    let env = PythonEnv::find(python, Wanted::Only(release)).into_diagnostic()?;
    let simulator = Simulator::new(library, plan.card.arch).into_diagnostic()?;
    let ttnn =
        TtnnDevice::open(&env, CardKind::Simulator(simulator), CardOptions::default(), &plan).into_diagnostic()?;
    let device = ComparedDevice::new(ttnn, HostDevice::new(plan.card.arch, Numerics::Exact));
    let kinds: Vec<_> = phases.iter().map(|&index| plan.phases[index].kind).collect();
    let mut session =
        load::session(device, plan, &weights, &LoadOptions { layers: args.layers, ..LoadOptions::default() })?;
    let mut runs = Vec::new();
    // Prompts come first, as in use: decode then goes on after one.
    let (prefills, decodes): (Vec<_>, Vec<_>) =
        kinds.into_iter().partition(|kind| matches!(kind, PhaseKind::Prefill { .. }));
    for kind in prefills.into_iter().chain(decodes) {
        match kind {
            PhaseKind::Prefill { tokens } => {
                let start = last_start(session.plan(), tokens);
                let prompt = sample(session.plan(), start + tokens);
                session.prefill_from(0, &prompt, start as usize).into_diagnostic()?;
                runs.push(Run::of(&mut session, kind, format!("{kind}: {tokens} tokens from position {start}")));
            }
            PhaseKind::Decode { batch } => {
                let last = session.plan().options.context - 1;
                // The users spread over the context, and the other way round, so that short and long texts are attended to.
                let spread: Vec<u32> =
                    (0..batch).map(|user| last / 10 + user * (last - last / 10) / batch.max(1)).collect();
                for positions in [spread.clone(), spread.iter().map(|position| last - position + last / 10).collect()] {
                    let tokens = sample(session.plan(), batch);
                    session.set_users(&tokens, &positions).into_diagnostic()?;
                    session.decode().into_diagnostic()?;
                    let (first, end) = (positions.iter().min(), positions.iter().max());
                    let title = match (first, end) {
                        (Some(first), Some(end)) if first != end => format!("{kind}: positions {first} to {end}"),
                        (first, _) => format!("{kind}: position {}", first.copied().unwrap_or_default()),
                    };
                    runs.push(Run::of(&mut session, kind, title));
                }
            }
        }
    }
    Ok(runs)
}

/// The last position at which a chunk of a prefill can start, so that its attention sees what came before it as well; the first one in a
/// phase that no other follows, or of a model whose longer prompts turn otherwise.
fn last_start(plan: &Plan, tokens: u32) -> u32 {
    let follows = tokens.is_multiple_of(plan.options.block) && plan.short_sequence().is_none();
    if follows { (plan.options.context - tokens) / tokens * tokens } else { 0 }
}

/// Tokens that differ, so that lookups do.
fn sample(plan: &Plan, count: u32) -> Vec<u32> {
    (0..count).map(|i| i.wrapping_mul(2_654_435_761) % plan.model.vocab).collect()
}

impl Run {
    fn of(session: &mut Session<ComparedDevice>, kind: PhaseKind, title: String) -> Run {
        let comparisons = session.device_mut().take();
        let plan = session.plan();
        let mut steps: Vec<Step> = Vec::new();
        let planned = plan.phases.iter().filter(|phase| phase.kind == kind).flat_map(|phase| phase.steps());
        for step in planned {
            let of_step = |c: &&Comparison| c.step.split('[').next() == Some(step.name.as_str());
            let layers: Vec<_> = comparisons.iter().filter(of_step).cloned().collect();
            if !layers.is_empty() {
                let (name, call) = (step.name.clone(), step.op.call());
                steps.push(Step { name, call, layers, uncompared: uncompared_step(step, plan) });
            }
        }
        let layers = plan.model.layers;
        Run { title: format!("{title}, {layers} {}", if layers == 1 { "layer" } else { "layers" }), steps }
    }

    /// Steps whose bits differ though exact numerics claim them.
    fn wrong(&self) -> usize {
        self.steps.iter().filter(|step| step.uncompared.is_none() && step.equal() < step.elements()).count()
    }

    fn table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::new("step", Align::Left),
            Column::new("ttnn call", Align::Left).expendable(1),
            Column::new("elements", Align::Right),
            Column::new("equal", Align::Right),
            Column::new("worst ulp", Align::Right),
            Column::new("why", Align::Left).wrapped(24),
        ]);
        for step in &self.steps {
            let (elements, equal) = (step.elements(), step.equal());
            let same = elements == equal;
            let worst = step.layers.iter().map(|layer| layer.worst_ulp).fold(0.0, f64::max);
            let why = if same { "" } else { step.uncompared.unwrap_or("no rule explains it") };
            table.row(vec![
                step.name.clone(),
                step.call.into(),
                thousands(elements),
                if same { "all".into() } else { format!("{:.3} %", 100.0 * equal as f64 / elements as f64) },
                if same { String::new() } else { format!("{worst:.0}") },
                why.into(),
            ]);
        }
        table
    }

    fn json(&self) -> Document {
        let comparison = |step: &Step, layer: &Comparison| StepDocument {
            step: layer.step.clone(),
            call: step.call.into(),
            elements: layer.elements,
            equal: layer.equal,
            worst_ulp: layer.worst_ulp,
            uncompared: step.uncompared.map(Into::into),
        };
        let steps = self.steps.iter().flat_map(|step| step.layers.iter().map(|layer| comparison(step, layer)));
        Document { phase: self.title.clone(), steps: steps.collect() }
    }
}

/// The comparisons of one run of a phase.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Run")]
pub struct Document {
    /// The phase and what it was given.
    phase: String,
    steps: Vec<StepDocument>,
}

/// One step's results on the host and on the simulator.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ComparedStep")]
struct StepDocument {
    step: String,
    call: String,
    elements: u64,
    /// Elements with equal bits.
    equal: u64,
    /// The worst difference in units of the last place.
    worst_ulp: f64,
    /// Why its bits may differ; null where they must not.
    uncompared: Option<String>,
}

impl Step {
    fn elements(&self) -> u64 {
        self.layers.iter().map(|layer| layer.elements).sum()
    }

    fn equal(&self) -> u64 {
        self.layers.iter().map(|layer| layer.equal).sum()
    }
}

/// The comparisons as JSON.
pub fn json(runs: &[Run]) -> Vec<Document> {
    runs.iter().map(Run::json).collect()
}

/// The comparisons for people.
pub fn page(runs: &[Run]) -> Page {
    let sum = |of: fn(&Step) -> u64| -> u64 { runs.iter().flat_map(|run| &run.steps).map(of).sum() };
    let (elements, equal) = (sum(Step::elements), sum(Step::equal));
    let mut page = Page::default();
    for run in runs {
        page.prose(format!("{}\n", run.title));
        page.table(run.table());
    }
    page.prose(match elements == equal {
        true => format!("all {} elements have the kernels' bits\n", thousands(elements)),
        false => format!("{} of {} elements have the kernels' bits\n", thousands(equal), thousands(elements)),
    });
    page
}

/// Whether exact numerics have every bit they claim.
///
/// # Errors
/// When they have not.
pub fn verdict(runs: &[Run]) -> miette::Result<()> {
    match runs.iter().map(Run::wrong).sum() {
        0 => Ok(()),
        wrong => Err(miette!("the host differs from the kernels in {wrong} steps whose bits exact numerics claim")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn comparisons_fit_every_terminal() {
        let layer = |equal| Comparison { step: "attended[3]".into(), elements: 81_920, equal, worst_ulp: 12_345.0 };
        let step = |layers, uncompared| Step {
            name: "rotary.cos.rows.transpose".into(),
            call: "transformer.paged_scaled_dot_product_attention_decode",
            layers,
            uncompared,
        };
        let reason = "the kernels add in an order that depends on when data arrives";
        let steps = vec![step(vec![layer(81_920)], None), step(vec![layer(80_000), layer(81_920)], Some(reason))];
        fits(&page(&[Run { title: "decode 32: positions 25 to 230, 4 layers".into(), steps }]));
    }
}
