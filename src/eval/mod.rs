//! `bitnetc eval`: how well a plan computes its model: bits per byte, agreement with the reference, logits for others to compare.

mod agreement;
mod measure;
mod reference;
mod windows;

use std::path::PathBuf;

use bitnetc_runtime::LoadOptions;
use clap::ValueEnum;
use miette::IntoDiagnostic;
use safetensors::tensor::{Dtype, TensorView};

pub use measure::{Measured, measure};
pub use reference::{Reference, ReferenceWeights};
pub use windows::{Computed, Inputs, windows};

use crate::device::DeviceChoice;
use crate::load::{self, NumericsChoice, Source};
use crate::{input, output, render};

/// Measure a plan's accuracy on the host device, or through TT-NN.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc eval --text play.txt
  bitnetc eval tiny-shakespeare --policy exact --text play.txt --against reference
  bitnetc eval --phase decode --batch 8 --text play.txt
  bitnetc eval plan.ron --weights path/to/checkpoint --tokens lists.json --logits logits.safetensors")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    pub device: DeviceChoice,
    #[command(flatten)]
    input: Inputs,
    /// The phase that is measured: prefill, a window at once, or decode, a token at a time, as many windows together as the plan has users
    #[arg(long, value_enum, default_value_t = Computed::Prefill)]
    phase: Computed,
    /// How matmuls that are not exact on integers are computed
    #[arg(long, value_enum, default_value_t = NumericsChoice::Exact)]
    numerics: NumericsChoice,
    /// Where the logits go: a tensor `logits.N`, [tokens, vocabulary] in f32, for each list
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    /// Compare every logit with another computation
    #[arg(long, value_enum)]
    against: Option<Against>,
    /// The model a plan was made of [default: the shipped one with the plan's digest]
    #[arg(long, value_name = "MODEL", requires = "against")]
    model: Option<String>,
}

/// The computations that a plan can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Against {
    /// The f32 evaluator of the model's logical graph
    Reference,
}

/// Evaluates and reports.
///
/// # Errors
/// Any error of planning, weights, tokenizer, files or the plan's steps.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = args.source.plan()?;
    let path = args.source.weights_path(&plan)?;
    let weights = args.source.weights(&plan)?;
    let reads = args.against.map(|Against::Reference| ReferenceWeights::new(&weights)).transpose()?;
    let model = reads.as_ref().map(|_| args.source.model(&plan, args.model.as_deref())).transpose()?;
    let reference = model.zip(reads.as_ref()).map(|(model, reads)| Reference::new(&model, &plan, reads)).transpose()?;
    let windows = windows(&args.input, &plan, args.phase, &path)?;
    let device = args.device.open(&plan, args.numerics.into())?;
    let mut session = load::session(device, plan, &weights, &LoadOptions::default())?;
    let mut kept = Vec::new();
    let measured = measure(&mut session, args.phase, &windows, reference.as_ref(), |index, logits| {
        if args.logits.is_some() {
            let bytes: Vec<u8> = logits.iter().flat_map(|v| v.to_le_bytes()).collect();
            kept.push((
                format!("logits.{index}"),
                [windows[index].tokens.len(), logits.len() / windows[index].tokens.len()],
                bytes,
            ));
        }
    })?;
    if let Some(path) = &args.logits {
        let views = kept.iter().map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.to_vec(), bytes).map(|view| (name.as_str(), view)).into_diagnostic()
        });
        let bytes = safetensors::serialize(views.collect::<miette::Result<Vec<_>>>()?, None).into_diagnostic()?;
        output::write(path, &bytes)?;
        eprintln!("{}: {} tensors", path.display(), kept.len());
    }
    let text = report(&measured, windows.len()) + &format!("{}\n", args.device.numerics(args.numerics, session.plan()));
    render::print(&text).map_err(input::cannot_print)
}

fn report(measured: &Measured, windows: usize) -> String {
    let mut text = format!("{} tokens predicted in {windows} windows\n", measured.tokens);
    if let Some(bits) = measured.bits_per_byte() {
        text += &format!("{bits:.4} bits per byte over {} bytes\n", measured.bytes);
    }
    if measured.tokens > 0 {
        text += &format!("{:.4} bits per token\n", measured.bits / measured.tokens as f64);
    }
    let agreement = &measured.agreement;
    if agreement.rows() > 0 {
        text += &format!(
            "against the f32 reference: logits PCC {:.6}, top-1 {:.2} %, top-5 {:.2} %\n",
            agreement.pcc(),
            100.0 * agreement.top1(),
            100.0 * agreement.top5()
        );
    }
    text
}
