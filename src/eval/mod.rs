//! `bitnetc eval`: how well a plan computes its model: bits per byte, agreement with the reference, logits for others to compare.

mod agreement;
mod expected;
mod measure;
mod reference;
mod windows;

use std::path::PathBuf;
use std::rc::Rc;

use bitnetc_plan::VerifiedPlan;
use bitnetc_runtime::host::Numerics;
use bitnetc_runtime::{Device, HostDevice, LoadOptions, Weights};
use miette::IntoDiagnostic;
use safetensors::tensor::{Dtype, TensorView};

pub use expected::{Against, Expected};
pub use measure::{Measured, measure};
pub use reference::{Reference, ReferenceWeights};
use windows::Window;
pub use windows::{Computed, Inputs, windows};

use crate::device::DeviceChoice;
use crate::load::{self, NumericsChoice, Source};
use crate::{input, output, render};

/// Measure a plan's accuracy on the host device, or through TT-NN.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc eval --text play.txt
  bitnetc eval --policy exact --text play.txt --against reference
  bitnetc eval --text play.txt --numerics fast --against exact
  bitnetc eval --phase decode --batch 8 --text play.txt
  bitnetc eval plan.ron --weights path/to/checkpoint --tokens lists.json \\
      --logits logits.safetensors")]
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
    /// Compare every logit: with the f32 `reference`, with the plan computed by `exact` numerics, or with a file that --logits wrote
    #[arg(long, value_name = "reference|exact|FILE")]
    against: Option<Against>,
    /// The model a plan was made of [default: the shipped one with the plan's digest]
    #[arg(long, value_name = "MODEL", requires = "against")]
    model: Option<String>,
}

/// Evaluates and reports.
///
/// # Errors
/// Any error of planning, weights, tokenizer, files or the plan's steps.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = args.source.plan()?;
    let path = args.source.weights_path(&plan)?;
    let weights = args.source.weights(&plan)?;
    let referred = args.against == Some(Against::Reference);
    let reads = referred.then(|| ReferenceWeights::new(&weights)).transpose()?;
    let model = reads.as_ref().map(|_| args.source.model(&plan, args.model.as_deref())).transpose()?;
    let reference = model.zip(reads.as_ref()).map(|(model, reads)| Reference::new(&model, &plan, reads)).transpose()?;
    let windows = windows(&args.input, &plan, args.phase, &path)?;
    let expected = match (&args.against, &reference) {
        (Some(Against::Reference), reference) => reference.as_ref().map(Expected::Reference),
        (Some(Against::Exact), _) => Some(by_exact(&plan, &weights, &args, &windows)?),
        (Some(Against::File(path)), _) => Some(Expected::read(path, windows.len())?),
        (None, _) => None,
    };
    let device = args.device.open(&plan, args.numerics.into())?;
    let mut session = load::session(device, plan, &weights, &LoadOptions::default())?;
    let mut kept = Vec::new();
    let measured = measure(&mut session, args.phase, &windows, expected.as_ref(), |index, logits| {
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
        remark!("{}: {} tensors", path.display(), kept.len());
    }
    let text = report(&measured, windows.len(), args.against.as_ref())
        + &format!("{}\n", args.device.numerics(args.numerics, session.plan()));
    render::print(&text).map_err(input::cannot_print)
}

/// The logits of `windows` on the host device with exact numerics.
fn by_exact<'a>(
    plan: &VerifiedPlan,
    weights: &Weights,
    args: &Args,
    windows: &[Window],
) -> miette::Result<Expected<'a>> {
    let device = Box::new(HostDevice::new(plan.card.arch, Numerics::Exact));
    let mut session = load::session(device as Box<dyn Device>, plan.clone(), weights, &LoadOptions::default())?;
    let mut all = Vec::new();
    measure(&mut session, args.phase, windows, None, |_, logits| all.push(Rc::new(logits.to_vec())))?;
    Ok(Expected::Given(all))
}

fn report(measured: &Measured, windows: usize, against: Option<&Against>) -> String {
    let mut text = format!("{} tokens predicted in {windows} windows\n", measured.tokens);
    if let Some(bits) = measured.bits_per_byte() {
        text += &format!("{bits:.4} bits per byte over {} bytes\n", measured.bytes);
    }
    if measured.tokens > 0 {
        text += &format!("{:.4} bits per token\n", measured.bits / measured.tokens as f64);
    }
    let agreement = &measured.agreement;
    match against.filter(|_| agreement.rows() > 0) {
        Some(against) if agreement.is_equal() => text += &format!("against {against}: every logit is equal\n"),
        Some(against) => {
            text += &format!(
                "against {against}: logits PCC {:.6}, rms difference {:.4}, top-1 {:.2} % ({} of {}), top-5 {:.2} %\n",
                agreement.pcc(),
                agreement.rms(),
                100.0 * agreement.top1(),
                agreement.same(),
                agreement.rows(),
                100.0 * agreement.top5()
            );
        }
        None => {}
    }
    text
}
