//! `bitnetc eval`: how well a plan computes its model: bits per byte, agreement with the reference, logits for others to compare.

use std::path::{Path, PathBuf};

use bitnetc_compiler::graph::eval::{Evaluator, Row, State, Ternary, WeightError, WeightSource};
use bitnetc_compiler::graph::{Encoding, Graph, Phase, ScaleConvention};
use bitnetc_plan::Plan;
use bitnetc_plan::weight::{Content, Matrix};
use bitnetc_runtime::weights::Checkpoint;
use bitnetc_runtime::weights::matrix::{self, StoredMatrix};
use bitnetc_runtime::{HostDevice, LoadOptions, Session, Weights};
use clap::ValueEnum;
use miette::{IntoDiagnostic, WrapErr, miette};
use safetensors::tensor::{Dtype, TensorView};

use crate::load::{self, NumericsChoice, Progress, Source};
use crate::text::Text;
use crate::{input, output, render};

/// Measure a plan's accuracy on the host device.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc eval --text play.txt
  bitnetc eval tiny-shakespeare --policy exact --text play.txt --against reference
  bitnetc eval plan.ron --weights path/to/checkpoint --tokens lists.json --logits logits.safetensors")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    input: Inputs,
    /// How matmuls that are not exact on integers are computed
    #[arg(long, value_enum, default_value_t = NumericsChoice::Exact)]
    numerics: NumericsChoice,
    /// Where the logits go: a tensor `logits.N`, [tokens, vocabulary] in f32, for each list
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    /// Compare every logit with another computation
    #[arg(long, value_enum)]
    against: Option<Against>,
}

/// What is read.
#[derive(Debug, Clone, clap::Args)]
pub struct Inputs {
    /// Text to predict, in windows of the context
    #[arg(long, value_name = "FILE", required_unless_present = "tokens", conflicts_with = "tokens")]
    pub text: Option<PathBuf>,
    /// Lists of tokens: JSON, `[[1, 2], [3]]` or `{"tokens": [[1, 2], [3]]}`
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Only the first windows of the text
    #[arg(long)]
    pub windows: Option<usize>,
    /// Tokens of a window [default: the context, or the largest prefill bucket if that is less]
    #[arg(long)]
    pub window: Option<usize>,
    /// Directory of tokenizer.json, when the weights are elsewhere
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
}

/// What a plan can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Against {
    /// The f32 evaluator of the model's logical graph
    Reference,
}

/// Tokens to predict, and the bytes of text that each token but the first adds.
pub struct Window {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Bytes of the text after the first token; 0 for lists of tokens without text.
    pub bytes: usize,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Tokens predicted.
    pub tokens: usize,
    /// Bytes they stand for.
    pub bytes: usize,
    /// Bits their prediction took.
    pub bits: f64,
    /// Agreement with the reference, when it was computed.
    pub agreement: Agreement,
}

impl Measured {
    /// Bits per byte of text; `None` without text.
    pub fn bits_per_byte(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.bits / self.bytes as f64)
    }
}

/// How two computations of the same logits agree.
#[derive(Debug, Clone, Default)]
pub struct Agreement {
    rows: usize,
    top1: usize,
    top5: usize,
    sums: [f64; 5],
    count: f64,
}

impl Agreement {
    /// Takes a row of each.
    fn add(&mut self, ours: &[f32], reference: &[f32]) {
        self.rows += 1;
        let best = largest(reference, 1)[0];
        let five = largest(ours, 5);
        self.top1 += usize::from(five[0] == best);
        self.top5 += usize::from(five.contains(&best));
        self.count += ours.len() as f64;
        for (&x, &y) in ours.iter().zip(reference) {
            let (x, y) = (f64::from(x), f64::from(y));
            self.sums.iter_mut().zip([x, y, x * x, y * y, x * y]).for_each(|(sum, v)| *sum += v);
        }
    }

    /// Rows compared.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Pearson's correlation of all logits.
    pub fn pcc(&self) -> f64 {
        let [x, y, xx, yy, xy] = self.sums.map(|s| s / self.count);
        (xy - x * y) / ((xx - x * x) * (yy - y * y)).sqrt()
    }

    /// Share of rows whose most likely token is the reference's.
    pub fn top1(&self) -> f64 {
        self.top1 as f64 / self.rows as f64
    }

    /// Share of rows that have the reference's most likely token among their five.
    pub fn top5(&self) -> f64 {
        self.top5 as f64 / self.rows as f64
    }
}

/// The indices of the `count` largest, largest first, the first among equals first.
fn largest(row: &[f32], count: usize) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(count + 1);
    for (at, v) in row.iter().enumerate() {
        let place = best.partition_point(|&b| row[b] >= *v);
        if place < count {
            best.insert(place, at);
            best.truncate(count);
        }
    }
    best
}

/// Evaluates and reports.
///
/// # Errors
/// Whatever planning, weights, tokenizer, files or the plan's steps refuse.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = args.source.plan()?;
    let path = args.source.weights_path(&plan)?;
    let weights = args.source.weights(&plan)?;
    let reads = args.against.map(|Against::Reference| ReferenceWeights::new(&weights)).transpose()?;
    let reference = reads.as_ref().map(|reads| Reference::new(&args.source, &plan, reads)).transpose()?;
    let mut session = load::session(plan, &weights, args.numerics.into(), &LoadOptions::default())?;
    let windows = windows(&args.input, &session, &path)?;
    let mut kept = Vec::new();
    let measured = measure(&mut session, &windows, reference.as_ref(), |index, logits| {
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
    render::print(&report(&measured, windows.len())).map_err(input::cannot_print)
}

fn report(measured: &Measured, windows: usize) -> String {
    let mut text = format!("{} tokens predicted in {windows} windows\n", measured.tokens);
    if let Some(bits) = measured.bits_per_byte() {
        text += &format!("{bits:.4} bits per byte over {} bytes\n", measured.bytes);
    }
    text += &format!("{:.4} bits per token\n", measured.bits / measured.tokens.max(1) as f64);
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

/// The windows to predict.
///
/// # Errors
/// Files that cannot be read or parsed, a window longer than the plan holds, nothing to predict.
pub fn windows(input: &Inputs, session: &Session<HostDevice>, weights: &Path) -> miette::Result<Vec<Window>> {
    let longest = session.largest_bucket();
    if longest == 0 {
        return Err(miette!(help = "plan it with --prefill", "the plan has no prefill phase"));
    }
    let mut windows = match (&input.tokens, &input.text) {
        (Some(path), _) => lists(path)?.into_iter().map(|tokens| Window { tokens, bytes: 0 }).collect(),
        (None, Some(path)) => {
            let beside = if weights.is_dir() { weights } else { weights.parent().unwrap_or(Path::new(".")) };
            let text = Text::open(input.tokenizer.as_deref().unwrap_or(beside))?;
            let content = std::fs::read_to_string(path).into_diagnostic();
            let content = content.wrap_err_with(|| format!("cannot read {}", path.display()))?;
            let tokens = text.tokens_with_ends(&content)?;
            let size = input.window.unwrap_or(session.context().min(longest));
            let window = |part: &[(u32, usize)]| Window {
                tokens: part.iter().map(|t| t.0).collect(),
                bytes: part.last().map_or(0, |t| t.1) - part.first().map_or(0, |t| t.1),
            };
            tokens.chunks(size.max(1)).filter(|part| part.len() > 1).map(window).collect::<Vec<_>>()
        }
        (None, None) => Vec::new(),
    };
    windows.truncate(input.windows.unwrap_or(usize::MAX));
    if let Some(window) = windows.iter().find(|w| w.tokens.len() > longest) {
        let help = format!("plan it with --prefill {}", window.tokens.len().next_multiple_of(32));
        return Err(miette!(
            help = help,
            "a window of {} tokens; the largest prefill phase holds {longest}",
            window.tokens.len()
        ));
    }
    if windows.is_empty() {
        return Err(miette!("nothing to predict: fewer than two tokens"));
    }
    Ok(windows)
}

fn lists(path: &Path) -> miette::Result<Vec<Vec<u32>>> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum File {
        Lists(Vec<Vec<u32>>),
        Named { tokens: Vec<Vec<u32>> },
    }
    let text = std::fs::read_to_string(path).into_diagnostic();
    let text = text.wrap_err_with(|| format!("cannot read {}", path.display()))?;
    let file: File = serde_json::from_str(&text)
        .map_err(|_| miette!("{}: not [[1, 2], [3]] nor {{\"tokens\": [[1, 2], [3]]}}", path.display()))?;
    let (File::Lists(lists) | File::Named { tokens: lists }) = file;
    match lists.iter().position(Vec::is_empty) {
        Some(empty) => Err(miette!("{}: list {empty} is empty", path.display())),
        None => Ok(lists),
    }
}

/// Predicts every window; `each` gets the window's number and all its logits.
///
/// # Errors
/// Whatever the plan's steps or the reference refuse; Ctrl-C.
pub fn measure(
    session: &mut Session<HostDevice>,
    windows: &[Window],
    reference: Option<&Reference<'_>>,
    mut each: impl FnMut(usize, &[f32]),
) -> miette::Result<Measured> {
    let interrupted = load::interrupted()?;
    let vocab = session.plan().model.vocab as usize;
    let mut measured = Measured::default();
    let mut progress = Progress::new("predicting");
    for (index, window) in windows.iter().enumerate() {
        if interrupted.load(std::sync::atomic::Ordering::Relaxed) {
            progress.end();
            return Err(miette!("interrupted after {index} of {} windows", windows.len()));
        }
        let mut logits = Vec::with_capacity(window.tokens.len() * vocab);
        session.prompt_logits(0, &window.tokens, |_, _, rows| logits.extend_from_slice(rows)).into_diagnostic()?;
        for (row, &next) in logits.chunks_exact(vocab).zip(&window.tokens[1..]) {
            measured.bits += surprise(row, next as usize);
        }
        measured.tokens += window.tokens.len() - 1;
        measured.bytes += window.bytes;
        if let Some(reference) = reference {
            let expected = reference.logits(&window.tokens)?;
            let rows = logits.chunks_exact(vocab).zip(expected.chunks_exact(vocab));
            rows.for_each(|(ours, theirs)| measured.agreement.add(ours, theirs));
        }
        each(index, &logits);
        progress.at(index as u64 + 1, windows.len() as u64);
    }
    progress.end();
    Ok(measured)
}

/// Bits of a token under the softmax of its logits.
fn surprise(logits: &[f32], token: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&l| f64::from(l - largest).exp()).sum();
    (total.ln() - f64::from(logits[token] - largest)) / std::f64::consts::LN_2
}

/// A checkpoint as the reference reads it.
pub struct ReferenceWeights<'w>(&'w Checkpoint);

impl<'w> ReferenceWeights<'w> {
    /// Of a checkpoint.
    ///
    /// # Errors
    /// Weights that are packed: those are rounded to the plan's formats, which is what the reference is to judge.
    pub fn new(weights: &'w Weights) -> miette::Result<Self> {
        match weights {
            Weights::Checkpoint(checkpoint) => Ok(ReferenceWeights(checkpoint)),
            Weights::Packed(_) => {
                let help = "give the checkpoint's directory with --weights";
                Err(miette!(help = help, "the reference reads checkpoints, not packed files"))
            }
        }
    }
}

impl WeightSource for ReferenceWeights<'_> {
    fn dense(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        let stored = self.0.find(name).ok_or_else(|| WeightError::Missing(name.into()))?;
        let mut values = Vec::with_capacity(stored.len());
        let read = stored.floats(0..stored.len(), |v| values.push(v));
        read.map(|()| values).map_err(|error| WeightError::Source { name: name.into(), error: error.into() })
    }

    fn ternary(&self, name: &str, shape: [usize; 2], encoding: Encoding) -> Result<Ternary, WeightError> {
        let content = match encoding {
            Encoding::Dense => Content::Dense,
            Encoding::Absmean => Content::Absmean,
            Encoding::Packed(convention) => Content::Packed { divides: convention == ScaleConvention::Divides },
        };
        let matrix = Matrix {
            tensor: name.into(),
            shape: shape.map(|d| d as u32),
            rows: None,
            content,
            rotate_pairs: false,
            heads: None,
            input_heads: None,
        };
        let read = || -> Result<Ternary, bitnetc_runtime::WeightError> {
            let stored = StoredMatrix::open(self.0, &matrix, 0)?;
            let mut values = vec![0; shape[0] * shape[1]];
            values.chunks_mut(shape[1]).enumerate().for_each(|(row, out)| stored.ternary_row(row, out));
            Ok(Ternary { values, scale: matrix::scale(self.0, &matrix, 0)? })
        };
        read().map_err(|error| WeightError::Source { name: name.into(), error: error.into() })
    }
}

/// The f32 evaluator of a model's logical graph.
pub struct Reference<'w> {
    evaluator: Evaluator<'w>,
    graph: Graph,
}

impl<'w> Reference<'w> {
    /// For the model that `plan` was made of.
    ///
    /// # Errors
    /// A model that cannot be told.
    pub fn new(source: &Source, plan: &Plan, weights: &'w ReferenceWeights<'_>) -> miette::Result<Self> {
        let context = plan.options.context as usize;
        let graph = source.model(plan)?.to_graph(Phase::Prefill { seq: context }, context).into_diagnostic()?;
        Ok(Reference { evaluator: Evaluator::new(weights), graph })
    }

    /// Logits of every token, `[tokens, vocabulary]`.
    ///
    /// # Errors
    /// Whatever the evaluator refuses.
    pub fn logits(&self, tokens: &[u32]) -> miette::Result<Vec<f32>> {
        let rows: Vec<Row> =
            tokens.iter().enumerate().map(|(position, &token)| Row { token, user: 0, position }).collect();
        Ok(self.evaluator.run(&self.graph, &mut State::new(), &rows, true).into_diagnostic()?.logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_counts_rows_and_correlates() {
        let mut agreement = Agreement::default();
        agreement.add(&[1.0, 2.0, 3.0, 0.0, 0.0, 0.0], &[2.0, 4.0, 6.0, 0.0, 0.0, 0.0]);
        assert!((agreement.pcc() - 1.0).abs() < 1e-12);
        agreement.add(&[9.0, 8.0, 7.0, 6.0, 5.0, 4.0], &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!((agreement.rows(), agreement.top1(), agreement.top5()), (2, 0.5, 0.5));
        assert_eq!(largest(&[1.0, 3.0, 3.0, 2.0], 3), [1, 2, 3]);
    }

    #[test]
    fn surprise_is_the_bits_of_the_softmax() {
        assert!((surprise(&[0.0; 8], 3) - 3.0).abs() < 1e-12);
        assert!(surprise(&[1000.0, 0.0], 0) < 1e-9);
    }
}
