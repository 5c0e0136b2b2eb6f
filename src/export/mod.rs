//! `bitnetc export`: a plan in the formats of the tools in which people look at schedules.

mod dot;
mod graph;
mod model_explorer;
mod perf_csv;
mod unrolled;
mod visualizer;

use std::path::PathBuf;

use bitnetc_plan::walk::Walk;
use bitnetc_plan::{DType, Layout, Memory, MemoryConfig, Phase, Plan, Strategy, verify};
use bitnetc_ttnn::Expr;
use clap_complete::engine::ArgValueCompleter;
use miette::miette;

use crate::inspect::Selection;
use crate::{completions, input, output};

/// Write a plan for ttnn-visualizer, tt-perf-report, Graphviz or Model Explorer.
///
/// Every time in these files is predicted, and labelled so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc export plan.ron --visualizer report
  ttnn-visualizer --profiler-path report
  bitnetc export plan.ron --perf-csv perf.csv && tt-perf-report perf.csv
  bitnetc export plan.ron --dot layer.dot && dot -Tsvg layer.dot -o layer.svg
  bitnetc export plan.ron --model-explorer plan.json && model-explorer plan.json
  bitnetc export plan.ron --phase prefill-128 --perf-csv -")]
#[command(group(clap::ArgGroup::new("formats").required(true).multiple(true)))]
pub struct Args {
    /// The plan, RON or binary
    plan: PathBuf,
    /// The phase to write: `decode`, `prefill` (every bucket) or `prefill-TOKENS` [default: the plan's first]
    #[arg(long, value_name = "PHASE", add = ArgValueCompleter::new(completions::phases))]
    phase: Option<Selection>,
    /// Write a report of ttnn-visualizer: its db.sqlite with every call of every layer, all tensors with addresses and lifetimes
    #[arg(long, value_name = "DIR", group = "formats")]
    visualizer: Option<PathBuf>,
    /// Write the CSV that tt-perf-report reads, a row for each program; `-` for stdout
    #[arg(long, value_name = "FILE", group = "formats")]
    perf_csv: Option<PathBuf>,
    /// Write a graph of the phase with one layer, for Graphviz; `-` for stdout
    #[arg(long, value_name = "FILE", group = "formats")]
    dot: Option<PathBuf>,
    /// Write a graph of the phase with one layer, for Google's Model Explorer; `-` for stdout
    #[arg(long, value_name = "FILE", group = "formats")]
    model_explorer: Option<PathBuf>,
}

/// Writes what was asked for.
///
/// # Errors
/// A plan that cannot be read or has a defect, or lacks the phase; files that cannot be written.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = input::plan(&args.plan)?;
    let verified = verify(&plan).map_err(|defects| {
        let help = format!("`bitnetc check {}` lists all {}", args.plan.display(), defects.len());
        let first = defects.first().map_or_else(String::new, ToString::to_string);
        miette!(help = help, "the plan is not exported, because it has defects; {first}")
    })?;
    let numbers = match args.phase {
        Some(selection) => selection.phases(&plan)?,
        None => vec![0],
    };
    let phases: Vec<(&Phase, &Walk)> =
        numbers.into_iter().filter_map(|at| plan.phases.get(at).zip(verified.walks().get(at))).collect();
    if phases.is_empty() {
        miette::bail!("the plan has no phase");
    }
    write(&args, &plan, &phases)
}

fn write(args: &Args, plan: &Plan, phases: &[(&Phase, &Walk)]) -> miette::Result<()> {
    if let Some(path) = &args.perf_csv {
        output::write_text(path, &perf_csv::text(plan, phases)?)?;
    }
    if let Some(path) = &args.dot {
        output::write_text(path, &dot::text(plan, phases))?;
    }
    if let Some(path) = &args.model_explorer {
        output::write_text(path, &model_explorer::text(plan, phases)?)?;
    }
    if let Some(folder) = &args.visualizer {
        visualizer::write(folder, plan, phases)?;
    }
    Ok(())
}

/// What every export says of its times.
fn predicted(plan: &Plan, phase: &Phase) -> String {
    let (model, card) = (&plan.model.name, &plan.card.name);
    format!(
        "{model} on {card}: {}. All times are predicted by bitnetc {}, not measured",
        phase.kind,
        env!("CARGO_PKG_VERSION")
    )
}

/// An argument of a call as text, in which a tensor is called by its name.
fn argument(value: &Expr) -> String {
    match value {
        Expr::Name(key) => key.split_once(' ').map_or(key.as_str(), |(_, name)| name).to_owned(),
        Expr::List(items) => format!("[{}]", items.iter().map(argument).collect::<Vec<_>>().join(", ")),
        Expr::None | Expr::Bool(_) | Expr::Int(_) | Expr::Float(_) | Expr::Str(_) => value.to_string(),
        Expr::Tuple(_) | Expr::Path(_) | Expr::Call(_) => value.to_string(),
    }
}

/// TT-NN's name of a data type, as captures and profiles have it; of two-bit codes that of the words which hold them.
const fn dtype(dtype: DType) -> &'static str {
    match dtype {
        DType::Bf16 => "BFLOAT16",
        DType::Bfp8 => "BFLOAT8_B",
        DType::Bfp4 => "BFLOAT4_B",
        DType::F32 => "FLOAT32",
        DType::U32 | DType::Bfp2 => "UINT32",
        DType::I32 => "INT32",
        DType::U16 => "UINT16",
    }
}

/// TT-NN's name of a layout.
const fn layout(layout: Layout) -> &'static str {
    match layout {
        Layout::Tile => "TILE",
        Layout::RowMajor => "ROW_MAJOR",
    }
}

/// TT-NN's name of a memory.
const fn memory(memory: Memory) -> &'static str {
    match memory {
        Memory::L1 => "L1",
        Memory::Dram => "DRAM",
    }
}

/// TT-NN's name of how a tensor is cut.
const fn memory_layout(config: &MemoryConfig) -> &'static str {
    match config.strategy() {
        None => "INTERLEAVED",
        Some(Strategy::Width) => "WIDTH_SHARDED",
        Some(Strategy::Height) => "HEIGHT_SHARDED",
    }
}
