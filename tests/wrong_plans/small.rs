//! A small model with random weights, its plans, and what a plan of it computes.

use std::collections::BTreeMap;
use std::path::Path;

use bitnetc_compiler::graph::{Section, resolve};
use bitnetc_compiler::model::Model;
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile};
use bitnetc_plan::{Plan, VerifiedPlan};
use bitnetc_runtime::host::Numerics;
use bitnetc_runtime::{HostDevice, LoadOptions, Session, Weights};
use half::bf16;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};

/// A decoder of two layers with grouped heads and everything that shipped models have; the names of its dimensions are those of
/// `graphs/tiny-shakespeare.ron`.
pub fn model() -> Model {
    let tiny = bitnetc_compiler::model::find("tiny-shakespeare").unwrap();
    let sizes = [
        ("vocab", 1024, 96),
        ("hidden", 640, 128),
        ("ffn", 1728, 160),
        ("layers", 4, 2),
        ("heads", 20, 4),
        ("kv_heads", 5, 2),
    ];
    let text = sizes.iter().fold(tiny.text.replace("Packed(Multiplies)", "Absmean"), |text, (name, from, to)| {
        let (from, to) = (format!("\"{name}\": {from},"), format!("\"{name}\": {to},"));
        assert!(text.contains(&from), "{from}");
        text.replace(&from, &to)
    });
    // The tables of tokens are rows of one tensor, as the projections of some checkpoints are.
    let rows = |tensor: &str, start: &str, end: &str| {
        let part = format!("weight: Slice(\"model.tables.weight\", {start}, {end})");
        (format!("weight: \"{tensor}.weight\""), part)
    };
    let text = [rows("model.embed_tokens", "0", "\"vocab\""), rows("lm_head", "\"vocab\"", "\"2*vocab\"")]
        .iter()
        .fold(text, |text, (whole, part)| text.replace(whole, part));
    Model::parse("small.ron", &text).unwrap()
}

/// Sound plans of the model: one for each policy, and one without folding.
pub fn plans(model: &Model) -> Vec<Plan> {
    let cases = [(Policy::Balanced, true), (Policy::Exact, true), (Policy::Fast, true), (Policy::Exact, false)];
    let plan = |(policy, folding)| {
        let base = Options { policy, folding, batch: 2, context: 96, block: 32, ..Options::for_model(model) };
        let options = Options { prefill: vec![32, 64], ..base };
        let mut plan = compile(model, &Target::find("n150").unwrap(), &options).unwrap().plan.into_plan();
        // A prompt goes through the phases that are predicted to take the least time. Here each is to go through the smallest one that
        // holds it whole, so that every phase is executed.
        for phase in &mut plan.phases {
            phase.cost.device_us = 100.0 + f64::from(phase.kind.rows());
        }
        plan
    };
    cases.into_iter().map(plan).collect()
}

/// Writes a checkpoint of f32 tensors: norms around 1, everything else around 0, each tensor of another spread.
pub fn checkpoint(model: &Model, dir: &Path) {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut tensors = BTreeMap::new();
    for statement in &model.statements {
        let layers = if statement.section == Section::Layer { model.layers } else { 1 };
        for (weight, layer) in statement.op.weights().into_iter().flat_map(|w| (0..layers).map(move |l| (w, l))) {
            let spread = 0.05 + rng.random::<f32>() * 0.2;
            let mut number = || match weight.shape.len() {
                1 => 0.5 + rng.random::<f32>(),
                _ => (rng.random::<f32>() - 0.5) * spread,
            };
            let mut shape = weight.shape.clone();
            // The last of its parts tells how many rows a tensor has.
            shape[0] = weight.rows.map_or(shape[0], |(_, end)| end);
            let values: Vec<u8> = (0..shape.iter().product())
                .flat_map(|_: usize| bf16::from_f32(number()).to_f32().to_le_bytes())
                .collect();
            tensors.insert(resolve(&weight.name, layer), (shape, values));
        }
    }
    let view = |shape: &[usize], bytes: &'static [u8]| TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
    let views = tensors.into_iter().map(|(name, (shape, bytes))| (name, view(&shape, bytes.leak())));
    std::fs::write(dir.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

const PROMPTS: [&[u32]; 2] = [
    &[7, 50, 3, 33, 20],
    &[
        1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 48, 41, 93, 38, 35, 73, 12, 85, 1, 86, 87, 77, 68, 49, 21, 70, 91, 65, 60,
        29, 89, 22, 15, 37, 52, 90, 46, 40, 86, 30,
    ],
];

/// Logits and tokens of both users' prompts, one in each bucket, and of three decode steps; an error where the plan cannot be run.
pub fn computed(plan: Plan, weights: &Weights) -> Result<Vec<u32>, String> {
    let plan = VerifiedPlan::of_any_function(plan).map_err(|defects| format!("{defects:#?}"))?;
    let device = HostDevice::new(plan.card.arch, Numerics::Fast);
    let options = LoadOptions { trace: false, ..LoadOptions::default() };
    let vocab = plan.model.vocab as usize;
    let mut session = Session::load(plan, weights, device, &options, |_, _| {}).map_err(|e| e.to_string())?;
    let (mut all, mut logits, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
    let mut run = || {
        let mut next = Vec::new();
        for (user, prompt) in PROMPTS.into_iter().enumerate() {
            session.prefill(user, prompt)?;
            let row = (prompt.len() - 1) % 32;
            session.logits(&mut logits)?;
            all.extend(logits[row * vocab..(row + 1) * vocab].iter().map(|logit| logit.to_bits()));
            session.first_tokens(&mut tokens)?;
            all.push(tokens[row]);
            next.push(tokens[row]);
        }
        let positions = PROMPTS.map(|prompt| prompt.len() as u32);
        session.set_users(&next, &positions)?;
        for _ in 0..3 {
            session.decode()?;
            session.logits(&mut logits)?;
            all.extend(logits.iter().map(|logit| logit.to_bits()));
            session.tokens(&mut tokens)?;
            all.extend_from_slice(&tokens);
        }
        Ok::<(), bitnetc_runtime::RuntimeError>(())
    };
    run().map_err(|e| e.to_string())?;
    Ok(all)
}
