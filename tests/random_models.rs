//! A property of all models: a random one either becomes a plan that verifies, or is refused with a typed error.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::model::Model;
use bitnetc_compiler::model::import::{Config, import};
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::{NAMES, Target};
use bitnetc_compiler::{CompileError, Options, compile};
use bitnetc_plan::{format, verify};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// The dimensions of a model; some have no plan.
#[derive(Debug, Clone)]
struct Dims {
    bitnet: bool,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    hidden: usize,
    ffn: usize,
    layers: usize,
    vocab: usize,
    tied: bool,
}

fn dims() -> impl Strategy<Value = Dims> {
    let head_dim = prop::sample::select(vec![32, 36, 64, 80, 96, 100, 128, 256]);
    let groups = prop::sample::select(vec![1_usize, 2, 4, 5]);
    (
        any::<bool>(),
        groups,
        1_usize..9,
        head_dim,
        (1_usize..800).prop_map(|n| 4 * n),
        (1_usize..2000).prop_map(|n| 4 * n),
        1_usize..5,
        33_usize..40_000,
        any::<bool>(),
    )
        .prop_map(|(bitnet, group, kv_heads, head_dim, hidden, ffn, layers, vocab, tied)| Dims {
            bitnet,
            heads: group * kv_heads,
            kv_heads,
            head_dim,
            hidden,
            ffn,
            layers,
            vocab,
            tied,
        })
}

impl Dims {
    fn model(&self) -> Option<Model> {
        let architecture = if self.bitnet { "BitNetForCausalLM" } else { "LlamaForCausalLM" };
        let mut config = serde_json::json!({
            "architectures": [architecture],
            "model_type": if self.bitnet { "bitnet" } else { "llama" },
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": 1024,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": if self.bitnet { "relu2" } else { "silu" },
            "tie_word_embeddings": self.tied,
        });
        if self.bitnet {
            config["quantization_config"] = serde_json::json!({ "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline" });
        }
        let config = Config::parse(&config.to_string()).ok()?;
        import(&config, "random", "a test", None).ok().map(|imported| imported.model)
    }
}

fn options(model: &Model, policy: usize, batch: u32, context: u32) -> Options {
    let mut options = Options::for_model(model);
    options.policy = Policy::ALL[policy];
    options.batch = batch;
    options.context = context;
    options.prefill = vec![32, context];
    options
}

/// A model, and what it is compiled for.
#[derive(Debug, Clone)]
struct Case {
    dims: Dims,
    target: usize,
    policy: usize,
    batch: u32,
    context: u32,
}

fn cases() -> impl Strategy<Value = Case> {
    let batch = prop::sample::select(vec![1_u32, 2, 7, 8, 16, 31, 32]);
    let context = prop::sample::select(vec![64_u32, 128, 512, 1024]);
    (dims(), 0..NAMES.len(), 0_usize..3, batch, context).prop_map(|(dims, target, policy, batch, context)| Case {
        dims,
        target,
        policy,
        batch,
        context,
    })
}

impl Case {
    /// Whether it becomes a plan; none when there is no such model. Fails when the plan does not hold, or is refused without a reason.
    fn planned(&self) -> Result<Option<bool>, TestCaseError> {
        let Some(model) = self.dims.model() else { return Ok(None) };
        let target = Target::find(NAMES[self.target]).unwrap();
        match compile(&model, &target, &options(&model, self.policy, self.batch, self.context)) {
            Ok(compiled) => {
                prop_assert!(verify(&compiled.plan).is_ok());
                let bytes = format::to_binary(&compiled.plan).unwrap();
                prop_assert_eq!(&format::read_bytes(&bytes).unwrap(), &*compiled.plan);
                let text = format::to_ron(&compiled.plan).unwrap();
                prop_assert_eq!(&format::read_bytes(text.as_bytes()).unwrap(), &*compiled.plan);
                Ok(Some(true))
            }
            Err(error) => {
                let typed = matches!(
                    error,
                    CompileError::Place { .. } | CompileError::Select { .. } | CompileError::Dram { .. }
                );
                prop_assert!(typed, "{}", error);
                Ok(Some(false))
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_random_model_verifies_or_is_refused(case in cases()) {
        case.planned()?;
    }
}

/// The generator is worth something only if most of its models have plans.
#[test]
fn most_random_models_have_plans() {
    let mut runner = TestRunner::deterministic();
    let mut is_planned = || cases().new_tree(&mut runner).unwrap().current().planned().unwrap() == Some(true);
    let planned = (0..48).filter(|_| is_planned()).count();
    assert!(planned >= 40, "{planned} planned");
}

#[test]
fn models_of_ordinary_dimensions_have_plans() {
    let dims = Dims {
        bitnet: true,
        heads: 20,
        kv_heads: 5,
        head_dim: 32,
        hidden: 640,
        ffn: 1728,
        layers: 2,
        vocab: 1000,
        tied: true,
    };
    for bitnet in [true, false] {
        let model = Dims { bitnet, ..dims.clone() }.model().unwrap();
        for name in NAMES {
            let target = Target::find(name).unwrap();
            for policy in 0..3 {
                compile(&model, &target, &options(&model, policy, 8, 512)).unwrap();
            }
        }
    }
}
