//! Proofs on the reference evaluator: random small models compute the same before and after each pass.

use super::activations::{dequantise_products, drop_quantisation, explicit};
use super::apply_scales::apply_scales;
use super::fold_scales::fold_scales;
use super::fuse::fuse;
use crate::graph::eval::{Evaluator, Row, State, Ternary, WeightError, WeightSource};
use crate::graph::{Activation, Encoding, Graph, Operation, PhaseKind};
use crate::model::Model;
use crate::model::import::{Config, import};
use proptest::prelude::*;

/// Numbers from -1 to 1 made up from a name: the same name always gives the same numbers.
fn noise(name: &str, count: usize) -> impl Iterator<Item = f32> {
    let mut state =
        name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (0..count).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    })
}

/// Weights made up from their names, of the sizes a model asks for.
struct Sized<'a> {
    model: &'a Model,
    /// Scales are powers of two, which multiply without rounding.
    binary: bool,
}

impl WeightSource for Sized<'_> {
    fn dense(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        let find = |layer| {
            let all = self.model.statements.iter().flat_map(|s| s.op.weights());
            all.filter(|w| crate::graph::resolve(&w.name, layer) == name)
                .map(|w| {
                    let rows = w.rows.map_or(w.shape[0], |(_, end)| end);
                    rows * w.shape.get(1).copied().unwrap_or(1)
                })
                .max()
        };
        let size = (0..self.model.layers).find_map(find).ok_or_else(|| WeightError::Missing(name.into()))?;
        let norm = name.contains("norm") || name.contains("_ln");
        Ok(noise(name, size).map(|v| if norm { 1.0 + 0.3 * v } else { 0.5 * v }).collect())
    }

    fn ternary(&self, name: &str, shape: [usize; 2], _: Encoding) -> Result<Ternary, WeightError> {
        let values = noise(name, shape[0] * shape[1]).map(|v| (v * 1.5).round() as i8).collect();
        let scale = noise(&format!("{name} scale"), 1).next().map_or(1.0, |v| f64::from((v * 1.5).exp()) * 0.2);
        let scale = if self.binary { scale.log2().round().exp2() } else { scale };
        Ok(Ternary { values, scale })
    }
}

#[derive(Debug, Clone)]
struct Shape {
    architecture: &'static str,
    ternary: bool,
    relu2: bool,
    biases: bool,
    /// 1: norms of the inputs of ternary projections, 2: some projections dense, 3: queries alone.
    further: usize,
    heads: (usize, usize),
    head_dim: usize,
    hidden: usize,
    ffn: usize,
    layers: usize,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let architecture = prop_oneof![
        Just("BitNetForCausalLM"),
        Just("BitnetForCausalLM"),
        Just("LlamaForCausalLM"),
        Just("Phi3ForCausalLM"),
        Just("Qwen2ForCausalLM"),
        Just("Qwen3ForCausalLM")
    ];
    let heads = (1..4_usize, 1..4_usize).prop_map(|(kv, group)| (kv * group, kv));
    let kind = (architecture, any::<bool>(), any::<bool>(), any::<bool>(), 0..4_usize);
    (kind, heads, 1..4_usize, 1..3_usize, 1..3_usize, 1..4_usize).prop_map(
        |((architecture, ternary, relu2, biases, further), heads, dim, hidden, ffn, layers)| Shape {
            architecture,
            biases,
            further,
            ternary: ternary && architecture != "Phi3ForCausalLM" || architecture.starts_with("Bit"),
            relu2,
            heads,
            head_dim: 4 * dim,
            hidden: 16 * hidden,
            ffn: 24 * ffn,
            layers,
        },
    )
}

fn model(shape: &Shape) -> Model {
    let further = match shape.further {
        1 => r#", "use_rms_norm": true"#,
        2 => r#", "modules_to_not_convert": ["lm_head", "o_proj", "mlp.up_proj"]"#,
        3 => r#", "modules_to_not_convert": ["lm_head", "q_proj"]"#,
        _ => "",
    };
    let quantizer =
        format!(r#""quantization_config": {{"quant_method": "bitnet", "linear_class": "autobitlinear"{further}}},"#);
    let quantizer = if shape.ternary { quantizer.as_str() } else { "" };
    let config = format!(
        r#"{{"architectures": ["{}"], {quantizer} "vocab_size": 40, "hidden_size": {}, "intermediate_size": {}, "num_hidden_layers": {},
        "num_attention_heads": {}, "num_key_value_heads": {}, "head_dim": {}, "hidden_act": "{}", "max_position_embeddings": 32,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "attention_bias": {}, "mlp_bias": {}}}"#,
        shape.architecture,
        shape.hidden,
        shape.ffn,
        shape.layers,
        shape.heads.0,
        shape.heads.1,
        shape.head_dim,
        if shape.relu2 { "relu2" } else { "silu" },
        shape.biases,
        shape.biases
    );
    import(&Config::parse(&config).unwrap(), "random", "made up", None).unwrap().model
}

fn logits(model: &Model, graph: &Graph) -> Vec<f32> {
    evaluated(graph, Sized { model, binary: false })
}

fn evaluated(graph: &Graph, source: Sized<'_>) -> Vec<f32> {
    let evaluator = Evaluator::new(&source);
    let row = |position, token| Row { token, user: 0, position };
    let rows: Vec<_> = [3, 17, 0, 39, 8].into_iter().enumerate().map(|(p, t)| row(p, t)).collect();
    evaluator.run(graph, &mut State::new(), &rows, true).unwrap().logits
}

/// The largest difference, relative to the root mean square of the expected.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    let rms = (expected.iter().map(|v| v * v).sum::<f32>() / expected.len() as f32).sqrt();
    assert!(rms.is_finite() && rms > 0.0, "rms {rms}");
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / rms
}

/// The squared difference over the squares of the expected.
fn mean_error(found: &[f32], expected: &[f32]) -> f32 {
    let squares = found.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    squares / expected.iter().map(|b| b * b).sum::<f32>()
}

fn graph(model: &Model) -> Graph {
    model.to_graph(PhaseKind::Prefill { tokens: 5 }, 32).unwrap()
}

fn unscaled(graph: &Graph) -> bool {
    graph.nodes().all(|n| match &graph.node(n).op {
        Operation::Linear(linear) => linear.parts.iter().all(|p| p.scale.is_one()),
        Operation::Tokens
        | Operation::Embedding { .. }
        | Operation::Carry
        | Operation::RmsNorm { .. }
        | Operation::Quantize { .. }
        | Operation::Dequantize { .. }
        | Operation::Scale { .. }
        | Operation::Bias(_)
        | Operation::SplitHeads { .. }
        | Operation::Rope(_)
        | Operation::CacheUpdate { .. }
        | Operation::Attention { .. }
        | Operation::MergeHeads
        | Operation::Activation(_)
        | Operation::Mul { .. }
        | Operation::Add { .. }
        | Operation::LastToken
        | Operation::Argmax => true,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fusing_and_folding_keep_the_function(shape in shapes()) {
        let model = model(&shape);
        let mut g = graph(&model);
        drop_quantisation(&mut g);
        let before = logits(&model, &g);
        fuse(&mut g).unwrap();
        prop_assert_eq!(g.check(), Ok(()));
        prop_assert!(error(&logits(&model, &g), &before) < 1e-5, "fusing");
        let both = dequantised_twice(&g);
        dequantise_products(&mut g).unwrap();
        prop_assert_eq!(g.check(), Ok(()));
        let behind = g.nodes().filter(|&n| matches!(g.node(n).op, Operation::Dequantize { power: 3, .. })).count();
        let silu = |n| matches!(&g.node(n).op, Operation::Mul { a, .. } if a.unary.contains(&Activation::Silu));
        let kept = shape.further == 1 || g.nodes().any(silu);
        prop_assert_eq!((behind, dequantised_twice(&g)), if kept { (0, both) } else { (both, 0) });
        prop_assert!(mean_error(&logits(&model, &g), &before) < 1e-3, "dequantised products");
        let mut applied = g.clone();
        apply_scales(&mut applied).unwrap();
        prop_assert_eq!(applied.check(), Ok(()));
        prop_assert!(unscaled(&applied), "every scale finds a place:\n{}", applied);
        let after = error(&logits(&model, &applied), &before);
        prop_assert!(after < 2e-4, "applying: {}\n{}", after, applied);
        fold_scales(&mut g);
        prop_assert_eq!(g.check(), Ok(()));
        prop_assert!(unscaled(&g), "every scale finds a place:\n{}", g);
        let after = error(&logits(&model, &g), &before);
        prop_assert!(after < 2e-4, "folding: {}\n{}", after, g);
    }

    /// The explicit form multiplies by the weight's scale and by the row's factor in turn, the implicit one by their product. Where the
    /// scales are powers of two that is the same, and so is every bit. Otherwise a last bit differs, which rounding to integers turns
    /// into a whole step now and then: applied and folded scales are compared in the mean.
    #[test]
    fn explicit_quantisation_keeps_the_function(shape in shapes()) {
        let model = model(&shape);
        let mut g = graph(&model);
        let before = logits(&model, &g);
        fuse(&mut g).unwrap();
        explicit(&mut g).unwrap();
        prop_assert_eq!(g.check(), Ok(()));
        let quantised = g.nodes().filter(|&n| matches!(g.node(n).op, Operation::Quantize { .. })).count();
        let expected = match (shape.ternary, shape.further) {
            (false, _) => 0,
            (true, 1) => 7,
            (true, 2) => 3,
            (true, _) => 4,
        };
        prop_assert_eq!(quantised, expected, "one for qkv, o, gate and up, down; one for each that norms its input");
        let binary = |g: &Graph| evaluated(g, Sized { model: &model, binary: true });
        prop_assert_eq!(binary(&g), binary(&graph(&model)), "explicit quantisation");
        let mut applied = g.clone();
        apply_scales(&mut applied).unwrap();
        prop_assert!(unscaled(&applied), "every scale finds a place:\n{}", applied);
        prop_assert!(mean_error(&logits(&model, &applied), &before) < 1e-3, "applying");
        fold_scales(&mut g);
        prop_assert_eq!(g.check(), Ok(()));
        prop_assert!(unscaled(&g), "every scale finds a place:\n{}", g);
        let mean = mean_error(&logits(&model, &g), &before);
        prop_assert!(mean < 1e-3, "folding: {}\n{}", mean, g);
    }
}

/// Products of two dequantised values.
fn dequantised_twice(g: &Graph) -> usize {
    let dequantised = |value: crate::graph::Value| matches!(g.node(value.node).op, Operation::Dequantize { .. });
    let product = |&n: &crate::graph::NodeId| matches!(g.node(n).op, Operation::Mul { .. });
    g.nodes().filter(product).filter(|&n| g.inputs(n).into_iter().all(dequantised)).count()
}

/// The constants that folding leaves in a 2B-4T layer, written out.
#[test]
fn bitnet_2b_folds_into_the_constants_the_design_names() {
    let model = crate::model::find("bitnet-2b-4t").unwrap().model().unwrap();
    let mut g = model.to_graph(PhaseKind::Decode { batch: 32 }, 4096).unwrap();
    drop_quantisation(&mut g);
    fuse(&mut g).unwrap();
    let folds = fold_scales(&mut g);
    let into: Vec<_> = folds.iter().map(|f| (f.from.as_str(), f.into.join(","))).collect();
    let expected = [
        ("qkv[0]", "attended"),
        ("qkv[1]", "attended"),
        ("qkv[2]", "attn_sub_norm"),
        ("o", "attn_out"),
        ("gate", "ffn_sub_norm"),
        ("up", "ffn_sub_norm"),
        ("down", "decoded"),
    ];
    assert_eq!(into, expected.map(|(a, b)| (a, b.to_string())));
    insta::assert_snapshot!(g);
}

#[test]
fn silu_keeps_the_gates_scale_on_its_operand() {
    let model = crate::model::find("falcon3-1b").unwrap().model().unwrap();
    let mut g = model.to_graph(PhaseKind::Decode { batch: 1 }, 128).unwrap();
    fuse(&mut g).unwrap();
    explicit(&mut g).unwrap();
    fold_scales(&mut g);
    insta::assert_snapshot!(g);
}

/// A scale that the residual stream itself would have to carry cannot leave its projection.
#[test]
fn a_scale_on_the_residual_stream_stays() {
    let shape = Shape {
        architecture: "LlamaForCausalLM",
        ternary: true,
        relu2: false,
        biases: false,
        further: 0,
        heads: (2, 1),
        head_dim: 8,
        hidden: 16,
        ffn: 24,
        layers: 2,
    };
    let mut g = graph(&model(&shape));
    drop_quantisation(&mut g);
    let add = g.find("attn_out").unwrap();
    let (x, o) = (g.inputs(add)[0], g.inputs(add)[1]);
    g.redirect(crate::graph::Use { node: add, input: 0 }, o);
    g.redirect(crate::graph::Use { node: add, input: 1 }, x);
    let folds = fold_scales(&mut g);
    assert!(folds.iter().all(|f| f.from != "o"), "{folds:?}");
    let Operation::Linear(linear) = &g.node(g.find("o").unwrap()).op else { panic!("a projection") };
    assert!(!linear.parts[0].scale.is_one());
}
