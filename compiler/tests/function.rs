//! The functions of models and plans: every pass over the graph keeps the function of every shipped model, and digests tell functions apart
//! and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::graph::function;
use bitnetc_compiler::model::{Model, find, shipped};
use bitnetc_compiler::passes::prepare;
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, prove};
use bitnetc_plan::PhaseKind;
use bitnetc_plan::function::difference;

#[test]
fn passes_keep_the_function_of_every_shipped_model() {
    for shipped in shipped() {
        let model = shipped.model().unwrap();
        let context = model.context.min(4096);
        for policy in Policy::ALL {
            let expected = model.function(context, policy).unwrap();
            for (kind, folding) in [(PhaseKind::Decode { batch: 3 }, true), (PhaseKind::Prefill { tokens: 64 }, false)]
            {
                let mut graph = model.to_graph(kind, context).unwrap();
                prepare(&mut graph, policy, folding).unwrap();
                let found = function(&graph).unwrap();
                if let Some(difference) = difference(&found, &expected) {
                    panic!("{} under {policy}, folding {folding}: {difference:#?}\n{graph}", shipped.name);
                }
            }
        }
    }
}

#[test]
fn shipped_models_have_digests_of_their_own() {
    let digests: Vec<(&str, String)> =
        shipped().iter().map(|s| (s.name, s.model().unwrap().digest().unwrap())).collect();
    for (at, (name, digest)) in digests.iter().enumerate() {
        let other = digests[..at].iter().find(|(_, other)| other == digest);
        assert!(other.is_none(), "{name} and {other:?} have one digest");
    }
}

fn tiny(change: impl Fn(&str) -> String) -> Model {
    Model::parse("tiny.ron", &change(find("tiny-shakespeare").unwrap().text)).unwrap()
}

#[test]
fn two_spellings_of_a_model_have_one_digest() {
    let digest = |change: &dyn Fn(&str) -> String| tiny(change).digest().unwrap();
    let own = digest(&str::to_owned);
    let same: [&dyn Fn(&str) -> String; 5] = [
        // Values, dimensions and comments by other names.
        &|text| text.replace("\"attn_sub_norm\"", "\"scaled\"").replace("\"ffn\"", "\"inner\""),
        &|text| format!("// A comment.\n{}", text.replace("1e-5", "0.00001")),
        // Products and sums in another order.
        &|text| text.replace("[\"gate_act\", \"up\"]", "[\"up\", \"gate_act\"]"),
        &|text| text.replace("[\"x\", \"o\"]", "[\"o\", \"x\"]"),
        // A function as two.
        &|text| {
            text.replace(
                "Relu2(from: \"gate\", to: \"gate_act\")",
                "Relu(from: \"gate\", to: \"r\"), Square(from: \"r\", to: \"gate_act\")",
            )
        },
    ];
    for (at, change) in same.into_iter().enumerate() {
        assert_eq!(digest(change), own, "spelling {at}");
    }
    let others: [&dyn Fn(&str) -> String; 6] = [
        &|text| text.replace("1e-5", "1.0001e-5"),
        &|text| text.replace("500000.0", "500001.0"),
        &|text| text.replace("\"layers\": 4", "\"layers\": 5"),
        &|text| text.replace("Relu2(", "Silu("),
        &|text| text.replace("Packed(Multiplies)", "Packed(Divides)"),
        &|text| text.replace("mlp.up_proj", "mlp.other_proj"),
    ];
    for (at, change) in others.into_iter().enumerate() {
        assert_ne!(digest(change), own, "model {at}");
    }
}

#[test]
fn a_plan_is_of_its_model_and_of_no_other() {
    let model = tiny(str::to_owned);
    for policy in Policy::ALL {
        let options = Options { policy, batch: 2, prefill: vec![32, 64], ..Options::for_model(&model) };
        let compiled = compile(&model, &Target::find("n150").unwrap(), &options).unwrap_or_else(|e| panic!("{e}"));
        prove(&compiled.plan, &model).unwrap();
        let other = tiny(|text| {
            text.replace("[\"gate_act\", \"up\"]", "[\"gate_act\", \"gate\"]").replace(
            "BitLinear(from: \"ffn_norm\", to: \"up\", weight: \"model.layers.{layer}.mlp.up_proj.weight\", shape: [\"ffn\", \"hidden\"], role: Up),",
            "",
        )
        });
        let defects = prove(&compiled.plan, &other).unwrap_err();
        assert_eq!(defects.len(), 3, "{defects:#?}");
        assert!(
            defects.iter().all(|d| d.to_string().contains("step `up`") && d.hint.contains("`product`")),
            "{defects:#?}"
        );
    }
}
