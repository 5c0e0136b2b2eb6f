//! `bitnetc plan`: compiles a model and writes or shows the plan.

use std::path::PathBuf;
use std::time::Instant;

use bitnetc_compiler::model::Model;
use bitnetc_compiler::policy::{Override, Policy};
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{CompileError, Compiled, Options, compile, fits};
use bitnetc_plan::{Proofs, TtnnRelease, format, verify};
use clap_complete::engine::ArgValueCompleter;
use miette::{IntoDiagnostic, miette};
use schemars::JsonSchema;
use serde::Serialize;

use crate::document::{self, Content};
use crate::recompile::Recompiled;
use crate::render::{self, Width};
use crate::report::{self, Destination};
use crate::{completions, input, inspect, output, trace_search};

/// Compile a model into a plan.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc plan bitnet-2b-4t
  bitnetc plan tiny-shakespeare --html plan.html
  bitnetc plan graphs/bitnet-b1.58-2b-4t.ron --target p150 -o plan.ron
  bitnetc plan bitnet-2b-4t --policy exact --set lm_head=bfp8/HiFi2 -o e.plan")]
pub struct Args {
    /// A shipped model's name, or a model's RON file.
    #[arg(add = ArgValueCompleter::new(completions::models))]
    model: String,
    #[command(flatten)]
    choices: Choices,
    /// Where the plan goes: RON, or binary when the name ends in `.plan`, `-` for RON on stdout. Without it the plan is only described.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Write everything the search considered, as JSON, `-` for stdout.
    #[arg(long, value_name = "FILE")]
    trace_search: Option<PathBuf>,
    /// Print how long each pass took.
    #[arg(long)]
    timings: bool,
    /// Describe the plan as JSON: all that `inspect --json` says of it, and the time of each pass
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    width: Width,
    #[command(flatten)]
    page: Destination,
}

/// The choices that a person has about a plan.
#[derive(Debug, Clone, clap::Args)]
pub struct Choices {
    /// n150, n300, p100, p150, or a target's RON file.
    #[arg(long, default_value = "n150", add = ArgValueCompleter::new(completions::targets))]
    pub target: String,
    /// The release of TT-NN to plan for.
    #[arg(long, value_name = "VERSION", default_value_t = TtnnRelease::latest(), value_parser = TtnnRelease::find)]
    pub release: &'static TtnnRelease,
    /// Users of the decode phase, 1 to 32.
    #[arg(long, default_value_t = 1)]
    pub batch: u32,
    /// Tokens a user's KV cache holds [default: the model's, at most 4096].
    #[arg(long)]
    pub context: Option<u32>,
    /// Prefill buckets in tokens, multiples of 32, or `none` [default: 128,512,2048, those that fit the context].
    #[arg(long, value_parser = buckets)]
    pub prefill: Option<std::sync::Arc<[u32]>>,
    /// Tokens of a KV cache block: 32, 64 or 128 [default: 64].
    #[arg(long)]
    pub block: Option<u32>,
    /// Precision: balanced, exact, fast or fastest.
    #[arg(long, default_value_t = Policy::Balanced, add = ArgValueCompleter::new(completions::policies))]
    pub policy: Policy,
    /// Precision of one role: role=dtype/fidelity[/fp32], for one phase as decode:role=...; may be repeated.
    #[arg(long = "set", value_name = "ROLE=DTYPE/FIDELITY")]
    pub overrides: Vec<Override>,
    /// Data type of the KV cache: bf16, bfp8 or bfp4, the same as `--set sdpa=DTYPE` [default: the policy's].
    #[arg(long, value_name = "DTYPE", value_parser = cache, add = ArgValueCompleter::new(completions::caches))]
    pub cache: Option<Override>,
    /// How much a proof must keep for precision to be lowered by it: bits, products, or none to keep what is asked.
    #[arg(long, default_value_t = Proofs::Products)]
    pub proofs: Proofs,
    /// Multiply every weight scale where it arises, instead of folding it into a constant.
    #[arg(long)]
    pub no_folding: bool,
    /// Draw tokens on the card, by the temperature, top-k up to 32, top-p and seed that `run` is given; without it the card takes the
    /// likeliest, and `run` draws on the host.
    #[arg(long)]
    pub sample: bool,
    /// Let decode run kernels of bitnetc's own where they are predicted to be faster than TT-NN's: ternary weights in two bits. They were
    /// compared on Tenstorrent's simulator of Wormhole; no card has run them.
    #[arg(long)]
    pub own_kernels: bool,
    /// Position at which attention is priced [default: 256, or the last of a shorter context].
    #[arg(long)]
    pub at_position: Option<u32>,
}

impl Choices {
    /// Compiles the model of a name.
    ///
    /// # Errors
    /// When model or target cannot be had, or there is no plan.
    pub fn compile(&self, model: &str) -> miette::Result<Compiled> {
        self.compile_recording(model, false).map(|made| made.compiled)
    }

    /// The same, with `everything` in the record: also ways that are known to lose.
    fn compile_recording(&self, model: &str, everything: bool) -> miette::Result<Recompiled> {
        let model = input::model(model)?;
        let target = input::target(&self.target, self.release)?;
        let mut options = Options::for_model(&model);
        options.policy = self.policy;
        options.overrides = self.cache.iter().chain(&self.overrides).cloned().collect();
        options.batch = self.batch;
        options.block = self.block.unwrap_or(options.block);
        if let Some(context) = self.context {
            options.context = context;
            options.prefill = Options::default_prefill(&model, context);
        }
        if let Some(prefill) = &self.prefill {
            options.prefill = prefill.to_vec();
        }
        options.proofs = self.proofs;
        options.folding = !self.no_folding;
        options.sample = self.sample;
        options.own_kernels = self.own_kernels;
        options.position = self.at_position;
        options.everything = everything;
        let compiled = compile(&model, &target, &options).map_err(|error| match error {
            CompileError::Dram { .. } => miette!(help = what_fits(&model, &target, &options), "{error}"),
            error => miette!(error),
        })?;
        Ok(Recompiled { compiled, target, options, differs: Vec::new() })
    }
}

/// The options with which a card can hold a model that it cannot hold with `options`.
fn what_fits(model: &Model, target: &Target, options: &Options) -> String {
    let found = fits(model, target, options);
    if found.is_empty() {
        return "no smaller prefill, context or batch alone makes it fit: it takes narrower weights or a card with more DRAM".into();
    }
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The data types of a KV cache.
pub const CACHES: [&str; 3] = ["bf16", "bfp8", "bfp4"];

/// The override that gives the KV cache a data type.
fn cache(dtype: &str) -> Result<Override, String> {
    let wrong = || format!("`{dtype}` is no data type of a KV cache: {}", CACHES.join(", "));
    let named = CACHES.contains(&dtype).then(|| Override::new("sdpa", dtype).ok()).flatten();
    named.ok_or_else(wrong)
}

/// Bucket sizes, or none at all.
fn buckets(text: &str) -> Result<std::sync::Arc<[u32]>, String> {
    if text == "none" {
        return Ok([].into());
    }
    text.split(',').map(|size| size.trim().parse().map_err(|_| format!("`{size}` is no number of tokens"))).collect()
}

/// A plan that was compiled.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Planned")]
pub struct Document {
    /// Milliseconds of planning.
    planned_ms: f64,
    /// The passes in order.
    passes: Vec<Pass>,
    /// The plan.
    plan: inspect::Document,
}

impl Content for Document {
    const KIND: &'static str = "plan";
}

#[derive(Debug, Serialize, JsonSchema)]
struct Pass {
    name: String,
    ms: f64,
}

/// Compiles, then writes or describes.
pub fn run(args: Args) -> miette::Result<()> {
    let started = Instant::now();
    let made = args.choices.compile_recording(&args.model, args.trace_search.is_some())?;
    let compiled = &made.compiled;
    if let Some(why) = &compiled.declined {
        eprintln!(
            "note: without bitnetc's own kernels, for whose weights DRAM has no room beside those of prefill: {why}"
        );
    }
    let spent = started.elapsed();
    match &args.output {
        Some(path) => {
            if output::is_stdout(path) {
                output::write_text(path, &format::to_ron(&compiled.plan).into_diagnostic()?)?;
            } else {
                output::write(path, &format::encode(path, &compiled.plan).into_diagnostic()?)?;
            }
            let name = if output::is_stdout(path) { "stdout".into() } else { path.display().to_string() };
            remark!("{name}: planned in {:.1} ms", spent.as_secs_f64() * 1000.0);
        }
        None if args.json || args.page.is_wanted() => {}
        None => args.width.print(&inspect::overview(&compiled.plan))?,
    }
    if args.json {
        let pass = |(name, time): &(_, std::time::Duration)| Pass {
            name: String::from(*name),
            ms: time.as_secs_f64() * 1000.0,
        };
        let document = Document {
            planned_ms: spent.as_secs_f64() * 1000.0,
            passes: compiled.timings.iter().map(pass).collect(),
            plan: inspect::described(&compiled.plan),
        };
        render::print(&document::text(&document)?).map_err(input::cannot_print)?;
    }
    if args.page.is_wanted() {
        args.page.deliver(&report::of_plan(&compiled.plan, &verify(&compiled.plan), Ok(&made))?)?;
    }
    if let Some(path) = &args.trace_search {
        let text = serde_json::to_string(&trace_search::document(compiled)).into_diagnostic()?;
        output::write_text(path, &text)?;
    }
    if args.timings {
        for (pass, time) in &compiled.timings {
            eprintln!("{pass:>11} {:8.2} ms", time.as_secs_f64() * 1000.0);
        }
    }
    Ok(())
}
