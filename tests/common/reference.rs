//! A plan on the host device against the f32 reference, for models with random weights.

use std::collections::BTreeMap;

use bitnetc_compiler::graph::eval::{Evaluator, Row, State, Ternary, WeightError, WeightSource};
use bitnetc_compiler::graph::{Encoding, PhaseKind, Section, resolve};
use bitnetc_compiler::model::Model;
use bitnetc_plan::VerifiedPlan;
use bitnetc_runtime::host::Numerics;
use bitnetc_runtime::{HostDevice, LoadOptions, Session, Weights};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};

/// A checkpoint of f32 tensors: norms around 1, everything else around 0, each tensor of another spread.
pub struct Tensors(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors {
    pub fn random(model: &Model, seed: u64) -> Tensors {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut tensors = BTreeMap::new();
        for statement in &model.statements {
            let layers = if statement.section == Section::Layer { model.layers } else { 1 };
            for (weight, layer) in statement.op.weights().into_iter().flat_map(|w| (0..layers).map(move |l| (w, l))) {
                let spread = 0.05 + rng.random::<f32>() * 0.2;
                let mut number = || match weight.shape.len() {
                    1 => 0.5 + rng.random::<f32>(),
                    _ => (rng.random::<f32>() - 0.5) * spread,
                };
                // The reference rounds nothing: what bf16 cannot hold is no error of the plan.
                let number = |_| half::bf16::from_f32(number()).to_f32();
                let values = (0..weight.shape.iter().product()).map(number).collect();
                tensors.insert(resolve(&weight.name, layer), (weight.shape.clone(), values));
            }
        }
        Tensors(tensors)
    }

    pub fn write(&self, dir: &std::path::Path) {
        let bytes: Vec<_> = self
            .0
            .iter()
            .map(|(name, (shape, values))| {
                (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, shape, bytes)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
        std::fs::write(dir.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    }
}

impl WeightSource for Tensors {
    fn dense(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        self.0.get(name).map(|t| t.1.clone()).ok_or_else(|| WeightError::Missing(name.into()))
    }

    fn ternary(&self, name: &str, _: [usize; 2], _: Encoding) -> Result<Ternary, WeightError> {
        let values = self.dense(name)?;
        let mean = values.iter().map(|v| f64::from(v.abs())).sum::<f64>() / values.len() as f64;
        let factor = 1.0 / (mean as f32).max(1e-5);
        let values = values.iter().map(|v| (v * factor).round_ties_even().clamp(-1.0, 1.0) as i8).collect();
        Ok(Ternary { values, scale: f64::from(1.0 / factor) })
    }
}

/// Largest difference of two rows of logits, relative to the spread of the second.
pub fn distance(ours: &[f32], reference: &[f32]) -> f32 {
    let mean = reference.iter().sum::<f32>() / reference.len() as f32;
    let spread = (reference.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / reference.len() as f32).sqrt();
    let square = ours.iter().zip(reference).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / reference.len() as f32;
    if square == 0.0 { 0.0 } else { square.sqrt() / spread }
}

const PROMPT: [u32; 5] = [7, 50, 3, 33, 20];
const WRITTEN: [u32; 3] = [11, 60, 2];

/// How far the plan's logits are from the reference's in prefill and decode, the worst row of each. The plan is for one user at least, and
/// its vocabulary has more than 60 tokens.
pub fn distances(model: &Model, plan: VerifiedPlan) -> [f32; 2] {
    let (tensors, dir) = (Tensors::random(model, 5), tempfile::tempdir().unwrap());
    tensors.write(dir.path());
    let device = HostDevice::new(plan.card.arch, Numerics::Fast);
    let (weights, context, vocab) =
        (Weights::open(dir.path()).unwrap(), plan.options.context, plan.model.vocab as usize);
    let mut session = Session::load(plan, &weights, device, &LoadOptions::default(), |_, _| {}).unwrap();

    let evaluator = Evaluator::new(&tensors);
    let mut state = State::new();
    let mut reference = |phase, tokens: &[u32], from: usize| {
        let row = |(at, &token): (usize, &u32)| Row { token, user: 0, position: from + at };
        let rows: Vec<Row> = tokens.iter().enumerate().map(row).collect();
        evaluator.run(&model.to_graph(phase, context as usize).unwrap(), &mut state, &rows, true).unwrap().logits
    };
    let expected = reference(PhaseKind::Prefill { tokens: 32 }, &PROMPT, 0);
    let mut logits = Vec::new();
    session.prompt_logits(0, &PROMPT, |_, _, rows| logits.extend_from_slice(rows)).unwrap();
    assert_eq!(logits.len(), expected.len());
    let worst = |ours: &[f32], reference: &[f32]| {
        ours.chunks(vocab).zip(reference.chunks(vocab)).map(|(a, b)| distance(a, b)).fold(0.0, f32::max)
    };
    let prefill = worst(&logits, &expected);
    let mut decode = 0.0_f32;
    session.prefill(0, &PROMPT).unwrap();
    for (at, token) in WRITTEN.into_iter().enumerate() {
        let position = PROMPT.len() + at;
        session.set_users(&[token], &[position as u32]).unwrap();
        session.decode().unwrap();
        session.logits(&mut logits).unwrap();
        decode = decode.max(worst(&logits[..vocab], &reference(PhaseKind::Decode { batch: 1 }, &[token], position)));
    }
    [prefill, decode]
}
