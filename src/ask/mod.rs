//! `bitnetc ask`: whether TT-NN takes a call, what comes of it, and if not, why and what it would take.

mod answer;
mod arguments;
mod call;
mod config;
#[cfg(test)]
mod hostile_tests;
mod nearest;
mod parse;
mod places;
mod scene;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::PathBuf;

use bitnetc_compiler::excerpt::{self, Excerpt};
use bitnetc_compiler::target::Target;
use bitnetc_plan::ttnn::Violation;
use bitnetc_plan::{Bound, TtnnRelease};
use miette::{MietteDiagnostic, Report};
use owo_colors::OwoColorize as _;
use serde_json::json;

use crate::inspect::Selection;
use crate::render::units::{bytes, thousands, time};
use crate::{input, render};

use answer::{Legal, answer, written};
use call::Question;
use nearest::nearest;
use parse::Mistake;

/// Ask whether TT-NN takes a call on a card, and what comes of it.
///
/// The call is Python, as people write it and `bitnetc emit` prints it; every operand is followed by its spec in the notation in which plans
/// print specs. It may also be a call in RON, as a plan file holds it, or with --plan a step of that plan or a line of the program emitted
/// from it. A call that is refused is answered with the constraints it breaks and the nearest calls that are legal. Times are predictions of
/// the cost model, never measurements.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc ask n150 'rms_norm(x[1,1,128,2560] bf16 DRAM,
      weight=g[1,1,80,32] bf16 RM DRAM)'
  bitnetc ask n150 'linear(a[1,1,32,2560] bf16 L1 WS[32,320] on 8x1,
      w[1,1,2560,3840] bfp4 DRAM WS[2560,320] on 12x1,
      program_config=DramSharded(in0_block_w=10, per_core_N=4),
      memory_config=L1_WIDTH_SHARDED_MEMORY_CONFIG)'
  bitnetc ask n150 'Abs(input: Value(\"x\"), memory: Interleaved(Dram))
      where x[1,1,32,64] bf16 L1'
  bitnetc ask n150 --plan plan.ron qkv
  bitnetc ask p150 --plan plan.ron prefill-128/down

Ends with exit code 0 when the call is legal, 1 when it is refused, 2 when it cannot be read.")]
pub struct Args {
    /// The card: n150, n300, p100, p150, or a target file
    target: String,
    /// The call; with --plan also a step, or phase/step
    call: String,
    /// A plan whose names the call may use
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// The phase of the plan: `decode` or `prefill-TOKENS` [default: the plan's first]
    #[arg(long, requires = "plan")]
    phase: Option<Selection>,
    /// Position at which decode's attention is priced
    #[arg(long, default_value_t = 1024)]
    at_position: u32,
    /// Legal calls to propose for a refused one
    #[arg(long, default_value_t = 3)]
    nearest: usize,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

/// Answers, and tells how to end.
pub fn run(args: &Args) -> u8 {
    match asked(args) {
        Ok((question, target)) => match say(args, &question, &target) {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(report) => failed(&report, 1),
        },
        Err(report) => failed(&report, 2),
    }
}

fn failed(report: &Report, code: u8) -> u8 {
    eprintln!("{report:?}");
    code
}

/// The question and the card it is about.
fn asked(args: &Args) -> miette::Result<(Question, Target)> {
    let target = input::target(&args.target, TtnnRelease::latest())?;
    let plan = args.plan.as_deref().map(input::plan).transpose()?;
    let scene = scene::Scene::new(plan.as_ref(), args.phase, &args.call, target.card.grid)?;
    let question = scene.question().map_err(|mistake| shown(mistake, scene.text()))?;
    Ok((question, target))
}

/// A mistake in its place.
fn shown(mistake: Mistake, text: &str) -> Report {
    let label = excerpt::label("here", mistake.span);
    let mut diagnostic = MietteDiagnostic::new(mistake.what).with_label(label);
    if !mistake.help.is_empty() {
        diagnostic = diagnostic.with_help(mistake.help);
    }
    Report::new(diagnostic).with_source_code(Excerpt::new("", text))
}

/// Prints the answer; whether it is yes.
fn say(args: &Args, question: &Question, target: &Target) -> miette::Result<bool> {
    let answered = answer(question, target, args.at_position);
    let text = match &answered {
        Ok(legal) if args.json => format!("{}\n", json!({ "legal": true, "call": call_json(question, legal, target) })),
        Ok(legal) => accepted(question, legal, target),
        Err(broken) => {
            let near = nearest(question, broken, target, args.at_position, args.nearest);
            if args.json {
                let calls: Vec<_> = near.iter().map(|(question, legal)| call_json(question, legal, target)).collect();
                format!("{}\n", json!({ "legal": false, "broken": broken, "nearest": calls }))
            } else {
                refused(broken, &near, target)
            }
        }
    };
    render::print(&text).map_err(input::cannot_print)?;
    Ok(answered.is_ok())
}

fn call_json(question: &Question, legal: &Legal, target: &Target) -> serde_json::Value {
    json!({
        "call": written(question, &legal.outcome.outputs),
        "results": legal.outcome.outputs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "result_l1_bytes": legal.result_bytes(target),
        "circular_buffer_bytes": legal.outcome.circular_buffers,
        "programs": legal.outcome.programs,
        "predicted": legal.cost,
    })
}

fn accepted(question: &Question, legal: &Legal, target: &Target) -> String {
    let mut text = format!("{} on {}: ttnn.{}\n", "legal".green().bold(), target.card.name, question.op.call());
    for result in &legal.outcome.outputs {
        let _ = writeln!(text, "  returns           {result}");
    }
    if legal.outcome.outputs.is_empty() {
        let _ = writeln!(text, "  returns           nothing: it writes in place");
    }
    let _ = writeln!(text, "  L1 of results     {} per core", bytes(legal.result_bytes(target)));
    let _ = writeln!(text, "  circular buffers  {} per core", bytes(legal.outcome.circular_buffers));
    for temporary in &legal.outcome.temporaries {
        let _ = writeln!(text, "  meanwhile in L1   {}", temporary.spec);
    }
    let _ = writeln!(text, "  programs          {}", legal.outcome.programs);
    let _ = writeln!(text, "  predicted         {}, bound by {}", time(legal.cost.us), bound(legal.cost.bound));
    let _ = writeln!(
        text,
        "                    {} bytes of DRAM, {} cycles of the matrix unit",
        thousands(legal.cost.dram_bytes),
        thousands(legal.cost.fpu_cycles)
    );
    text
}

const fn bound(bound: Bound) -> &'static str {
    match bound {
        Bound::Launch => "launching",
        Bound::Dram => "DRAM",
        Bound::Compute => "the matrix unit",
        Bound::Movement => "moving data",
    }
}

fn refused(broken: &[Violation], near: &[(Question, Legal)], target: &Target) -> String {
    let mut text = format!("{} on {}\n", "refused".red().bold(), target.card.name);
    for violation in broken {
        let _ = writeln!(text, "  {}", violation.id().bold());
        let _ = writeln!(text, "    {}", violation.what().red());
        let _ = writeln!(text, "    must hold: {}", violation.constraint.holds);
        let _ = writeln!(text, "    {}", violation.constraint.source);
        let hint = violation.hint();
        if !hint.is_empty() {
            let _ = writeln!(text, "    right would be: {hint}");
        }
    }
    if near.is_empty() {
        text.push_str("no legal call was found near it\n");
        return text;
    }
    text.push_str("nearest legal calls\n");
    for (question, legal) in near {
        let _ =
            writeln!(text, "  {} predicted\n    {}", time(legal.cost.us), written(question, &legal.outcome.outputs));
    }
    text
}
