//! What must hold for all models: a random one either becomes a plan that verifies, or is refused with a typed error.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::model::Model;
use bitnetc_compiler::model::import::{Config, import};
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::{NAMES, Target};
use bitnetc_compiler::{CompileError, Options, compile};
use bitnetc_plan::{format, verify};
use proptest::prelude::*;

/// The dimensions of a model; some have no plan.
#[derive(Debug, Clone)]
struct Dims {
    bitnet: bool,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    hidden_tiles: usize,
    ffn_tiles: usize,
    layers: usize,
    vocab: usize,
    tied: bool,
}

fn dims() -> impl Strategy<Value = Dims> {
    let head_dim = prop::sample::select(vec![32, 64, 80, 96, 100, 128, 256]);
    let groups = prop::sample::select(vec![1_usize, 2, 4, 5]);
    (
        any::<bool>(),
        groups,
        1_usize..9,
        head_dim,
        1_usize..100,
        1_usize..250,
        1_usize..5,
        33_usize..40_000,
        any::<bool>(),
    )
        .prop_map(|(bitnet, group, kv_heads, head_dim, hidden_tiles, ffn_tiles, layers, vocab, tied)| Dims {
            bitnet,
            heads: group * kv_heads,
            kv_heads,
            head_dim,
            hidden_tiles,
            ffn_tiles,
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
            "hidden_size": self.hidden_tiles * 32,
            "intermediate_size": self.ffn_tiles * 32,
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_random_model_verifies_or_is_refused(
        dims in dims(),
        target in 0..NAMES.len(),
        policy in 0_usize..3,
        batch in prop::sample::select(vec![1_u32, 2, 7, 8, 16, 31, 32]),
        context in prop::sample::select(vec![64_u32, 128, 512, 1024]),
    ) {
        let Some(model) = dims.model() else { return Ok(()) };
        let target = Target::find(NAMES[target]).unwrap();
        match compile(&model, &target, &options(&model, policy, batch, context)) {
            Ok(compiled) => {
                prop_assert!(verify(&compiled.plan).is_ok());
                let bytes = format::to_binary(&compiled.plan).unwrap();
                prop_assert_eq!(&format::read_bytes(&bytes).unwrap(), &compiled.plan);
                let text = format::to_ron(&compiled.plan).unwrap();
                prop_assert_eq!(&format::read_bytes(text.as_bytes()).unwrap(), &compiled.plan);
            }
            Err(error) => prop_assert!(
                matches!(error, CompileError::Place { .. } | CompileError::Select { .. } | CompileError::Dram { .. }),
                "{}", error
            ),
        }
    }
}

/// The generator is worth something only if most of its models have plans.
#[test]
fn models_of_ordinary_dimensions_have_plans() {
    let dims = Dims {
        bitnet: true,
        heads: 20,
        kv_heads: 5,
        head_dim: 32,
        hidden_tiles: 20,
        ffn_tiles: 54,
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
