//! Small models with their operations rewired at random: whatever a plan is made of must compute what the f32 reference computes, in
//! prefill and in decode. Rewirings that make no model are refused, which is as good.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

#[path = "common/reference.rs"]
mod reference;

use std::sync::atomic::{AtomicUsize, Ordering};

use bitnetc_compiler::model::Model;
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{CompileError, Options, compile};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reference::distances;

/// An operation of the layer as text: `kind(from: .., to: .., rest)`.
#[derive(Debug, Clone)]
struct Operation {
    kind: &'static str,
    from: Vec<String>,
    to: Vec<String>,
    rest: String,
}

impl Operation {
    fn new(kind: &'static str, from: &[&str], to: &[&str], rest: &str) -> Operation {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Operation { kind, from: names(from), to: names(to), rest: rest.to_string() }
    }

    fn text(&self) -> String {
        let names = |list: &[String]| match list {
            [one] => format!("{one:?}"),
            many => format!("{many:?}"),
        };
        format!("{}(from: {}, to: {}{}),\n", self.kind, names(&self.from), names(&self.to), self.rest)
    }
}

/// One change of the layer. Numbers choose operations and values, as many as there are going round.
#[derive(Debug, Clone)]
enum Edit {
    /// An input of an operation becomes another value of its width.
    Redirect { operation: usize, input: usize, value: usize },
    /// The inputs of an operation change places.
    Swap { operation: usize },
    /// Two neighbours in the text change places.
    Reorder { operation: usize },
    /// An operation of a kind reads a value and a second one; later readers of the first read it instead.
    Insert { kind: usize, value: usize, second: usize },
    /// The layer ends in another value.
    End { value: usize },
}

fn edit() -> impl Strategy<Value = Edit> {
    let n = || 0_usize..64;
    prop_oneof![
        4 => (n(), n(), n()).prop_map(|(operation, input, value)| Edit::Redirect { operation, input, value }),
        2 => n().prop_map(|operation| Edit::Swap { operation }),
        1 => n().prop_map(|operation| Edit::Reorder { operation }),
        5 => (n(), n(), n()).prop_map(|(kind, value, second)| Edit::Insert { kind, value, second }),
        1 => n().prop_map(|value| Edit::End { value }),
    ]
}

/// A decoder layer, and what it ends in.
#[derive(Debug, Clone)]
struct Layer {
    operations: Vec<Operation>,
    end: String,
}

const HIDDEN: [&str; 8] = ["x", "attn_norm", "merged", "sub_norm", "o", "attn_out", "ffn_norm", "down"];
const FFN: [&str; 5] = ["gate", "up", "gate_act", "product", "ffn_sub_norm"];
const HEADS: [&str; 8] = ["q_heads", "k_heads", "v_heads", "q_rotated", "k_rotated", "k_cache", "v_cache", "attended"];

impl Layer {
    fn new() -> Layer {
        let weight = |module: &str, shape: &str| format!(", weight: \"l.{{layer}}.{module}\", shape: [{shape}]");
        let norm = |module: &str, width: &str| weight(module, width) + ", eps: 1e-5";
        let linear = |module: &str, shape: &str, role: &str| weight(module, shape) + ", role: " + role;
        let (qkv, hidden, ffn) = ("\"hidden\", \"hidden\"", "\"hidden\"", "\"ffn\"");
        let op = Operation::new;
        let operations = vec![
            op("RmsNorm", &["x"], &["attn_norm"], &norm("attn_norm", hidden)),
            op("BitLinear", &["attn_norm"], &["q"], &linear("q", qkv, "Qkv")),
            op("BitLinear", &["attn_norm"], &["k"], &linear("k", qkv, "Qkv")),
            op("BitLinear", &["attn_norm"], &["v"], &linear("v", qkv, "Qkv")),
            op(
                "SplitHeads",
                &["q", "k", "v"],
                &["q_heads", "k_heads", "v_heads"],
                ", heads: \"heads\", kv_heads: \"heads\", head_dim: \"head_dim\"",
            ),
            op("Rope", &["q_heads", "k_heads"], &["q_rotated", "k_rotated"], ", theta: 1e4, dim: \"head_dim\""),
            op("CacheUpdate", &["k_rotated", "v_heads"], &["k_cache", "v_cache"], ", context: \"context\""),
            op("Attention", &["q_rotated", "k_cache", "v_cache"], &["attended"], ""),
            op("MergeHeads", &["attended"], &["merged"], ""),
            op("RmsNorm", &["merged"], &["sub_norm"], &norm("sub_norm", hidden)),
            op("BitLinear", &["sub_norm"], &["o"], &linear("o", qkv, "O")),
            op("Add", &["x", "o"], &["attn_out"], ""),
            op("RmsNorm", &["attn_out"], &["ffn_norm"], &norm("ffn_norm", hidden)),
            op("BitLinear", &["ffn_norm"], &["gate"], &linear("gate", "\"ffn\", \"hidden\"", "Gate")),
            op("BitLinear", &["ffn_norm"], &["up"], &linear("up", "\"ffn\", \"hidden\"", "Up")),
            op("Relu2", &["gate"], &["gate_act"], ""),
            op("Mul", &["gate_act", "up"], &["product"], ""),
            op("RmsNorm", &["product"], &["ffn_sub_norm"], &norm("ffn_sub_norm", ffn)),
            op("BitLinear", &["ffn_sub_norm"], &["down"], &linear("down", "\"hidden\", \"ffn\"", "Down")),
            op("Add", &["attn_out", "down"], &["decoded"], ""),
        ];
        Layer { operations, end: "decoded".to_string() }
    }

    /// The values of the width of `value`, those of inserted operations included.
    fn alike(&self, value: &str) -> Vec<String> {
        let class = |name: &str| {
            let root = name.trim_end_matches('\'');
            [&HIDDEN[..], &FFN, &HEADS].iter().position(|names| names.contains(&root))
        };
        let made = self.operations.iter().flat_map(|o| &o.to).cloned();
        std::iter::once("x".to_string()).chain(made).filter(|name| class(name) == class(value)).collect()
    }

    fn apply(&mut self, edit: &Edit) {
        let count = self.operations.len();
        match *edit {
            Edit::Redirect { operation, input, value } => {
                let at = operation % count;
                let inputs = self.operations[at].from.len();
                let values = self.alike(&self.operations[at].from[input % inputs]);
                self.operations[at].from[input % inputs] = values[value % values.len()].clone();
            }
            Edit::Swap { operation } => self.operations[operation % count].from.reverse(),
            Edit::Reorder { operation } => self.operations.swap(operation % (count - 1), operation % (count - 1) + 1),
            Edit::Insert { kind, value, second } => {
                let all: Vec<&str> = HIDDEN.iter().chain(&FFN).copied().collect();
                let value = all[value % all.len()].to_string();
                let at = self.operations.iter().position(|o| o.to.contains(&value)).map_or(0, |at| at + 1);
                let values = self.alike(&value);
                let (second, new) = (values[second % values.len()].clone(), format!("{value}'"));
                let ffn = FFN.contains(&value.as_str());
                let norm = format!(
                    ", weight: \"l.{{layer}}.{new}\", shape: [{:?}], eps: 1e-5",
                    if ffn { "ffn" } else { "hidden" }
                );
                let (kind, from, rest) = match kind % 6 {
                    0 => ("RmsNorm", vec![value.as_str()], norm),
                    1 | 2 => ("Add", vec![value.as_str(), second.as_str()], String::new()),
                    3 => ("Mul", vec![second.as_str(), value.as_str()], String::new()),
                    4 => ("Silu", vec![value.as_str()], String::new()),
                    _ => ("Relu", vec![value.as_str()], String::new()),
                };
                let inserted = Operation::new(kind, &from, &[new.as_str()], &rest);
                for input in self.operations[at..].iter_mut().flat_map(|o| &mut o.from).filter(|v| **v == value) {
                    input.clone_from(&new);
                }
                self.operations.insert(at, inserted);
            }
            Edit::End { value } => {
                let values = self.alike("x");
                self.end.clone_from(&values[value % values.len()]);
            }
        }
    }

    fn model(&self, heads: usize, int8: bool) -> String {
        let activations = if int8 { "Int8PerToken" } else { "None" };
        let operations: String = self.operations.iter().map(Operation::text).collect();
        format!(
            "Model(name: \"rewired\", source: \"a test\",
            dims: {{ \"vocab\": 64, \"hidden\": {}, \"ffn\": 160, \"layers\": 2, \"heads\": {heads}, \"head_dim\": {}, \"context\": 64 }},
            quantization: (weights: Absmean, activations: {activations}),
            graph: [
                Once(name: \"embed\", ops: [Tokens(to: \"ids\"),
                    Embedding(from: \"ids\", to: \"embedded\", weight: \"table\", shape: [\"vocab\", \"hidden\"])]),
                Repeat(name: \"decoder\", times: \"layers\", from: \"embedded\", carry: \"x\", to: {:?}, ops: [{operations}]),
                Once(name: \"head\", ops: [LastToken(from: {:?}, to: \"last\"),
                    RmsNorm(from: \"last\", to: \"normed\", weight: \"norm\", shape: [\"hidden\"], eps: 1e-5),
                    Linear(from: \"normed\", to: \"logits\", weight: \"head\", shape: [\"vocab\", \"hidden\"], role: LmHead),
                    Argmax(from: \"logits\", to: \"next\")]),
            ])",
            64 * heads,
            64,
            self.end,
            self.end,
        )
    }
}

/// How far the plan's logits are from the reference's in prefill and decode, the worst row of each; none when there is no plan.
fn compare(model: &str, int8: bool, folding: bool) -> Option<[f32; 2]> {
    let model = Model::parse("rewired", model).ok()?;
    let mut options = Options::for_model(&model);
    options.policy = if int8 { Policy::Exact } else { Policy::Balanced };
    (options.prefill, options.folding) = (vec![32], folding);
    match compile(&model, &Target::find("n150").unwrap(), &options) {
        Ok(compiled) => Some(distances(&model, compiled.plan)),
        Err(CompileError::Place { .. }) => None,
        // A model that is read has a schedule.
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_a_plan_computes_is_what_the_reference_computes() {
    let planned = AtomicUsize::new(0);
    let config = Config { cases: 300, max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
    let strategy = (prop::collection::vec(edit(), 1..4), any::<bool>(), any::<bool>());
    let result = TestRunner::new(config).run(&strategy, |(edits, int8, folding)| {
        let mut layer = Layer::new();
        edits.iter().for_each(|edit| layer.apply(edit));
        let text = layer.model(2, int8);
        let Some(distances) = compare(&text, int8, folding) else { return Ok(()) };
        planned.fetch_add(1, Ordering::Relaxed);
        prop_assert!(distances.iter().all(|d| *d < 0.2), "{:?}\n{}", distances, text);
        Ok(())
    });
    result.unwrap();
    assert!(planned.into_inner() >= 15);
}

/// The comparison is worth something only if it is close where nothing was rewired.
#[test]
fn the_model_as_it_is_agrees() {
    for (int8, folding) in [(true, true), (true, false), (false, true)] {
        let distances = compare(&Layer::new().model(2, int8), int8, folding).unwrap();
        assert!(distances.iter().all(|d| *d < 0.05), "{distances:?}");
    }
}

/// The scale of a ternary LM head multiplies what the head reads, since its product is the logits as they leave the card: with a norm
/// before it, whose gamma takes the scale, and without. A scale that is lost puts logits more than their spread apart; of integers that round
/// to their neighbours logits are as far apart as this allows.
#[test]
fn a_ternary_lm_head_agrees() {
    for (int8, folding) in [(true, true), (true, false), (false, true), (false, false)] {
        let model = Layer::new().model(2, int8).replace("Linear(from: \"normed\"", "BitLinear(from: \"normed\"");
        let (before, norm) = model.split_once("RmsNorm(from: \"last\"").unwrap();
        let (_, head) = norm.split_once('\n').unwrap();
        let bare = before.to_owned() + &head.replace("from: \"normed\"", "from: \"last\"");
        for model in [&model, &bare] {
            let distances = compare(model, int8, folding).unwrap();
            assert!(distances.iter().all(|d| *d < 0.1), "int8 {int8}, folding {folding}: {distances:?}\n{model}");
        }
    }
}
