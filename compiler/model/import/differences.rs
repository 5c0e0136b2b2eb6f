//! In what two models differ that read tensors of the same names.

use crate::graph::{Operation, Role};
use crate::model::{Model, Statement};
use std::fmt::Debug;

/// The differences between what `model` and `found` compute, one sentence each: dimensions, storage of ternary weights, epsilons, rotation, activations,
/// the LM head. Contexts are not compared, nor is precision: both may be chosen.
pub fn differences(model: &Model, found: &Model) -> Vec<String> {
    let mut differs = Vec::new();
    let mut compare = |what: &str, [ours, theirs]: [String; 2]| {
        if ours != theirs {
            differs.push(format!("{what}: {theirs} in the folder, {ours} in the model"));
        }
    };
    for dim in ["vocab", "hidden", "ffn", "layers", "heads", "kv_heads", "head_dim"] {
        if let (Some(ours), Some(theirs)) = (model.dims.get(dim), found.dims.get(dim)) {
            compare(dim, [ours.to_string(), theirs.to_string()]);
        }
    }
    let both = [model, found];
    compare("quantization", both.map(|model| format!("{:?}", model.quantization)));
    compare(
        "eps",
        both.map(|model| {
            all(model, |s| if let Operation::RmsNorm { eps, .. } = &s.op { Some(eps.value) } else { None })
        }),
    );
    compare(
        "rotary embedding",
        both.map(|model| all(model, |s| if let Operation::Rope(rope) = &s.op { Some(rope) } else { None })),
    );
    compare(
        "activation",
        both.map(|model| all(model, |s| if let Operation::Activation(unary) = &s.op { Some(unary) } else { None })),
    );
    let head =
        |s: &Statement| (s.role == Role::LmHead).then(|| s.op.weights().first().map(|w| w.name.clone())).flatten();
    compare("LM head", both.map(|model| all(model, head)));
    differs
}

/// The findings of `of`, each once.
fn all<'m, T: Debug>(model: &'m Model, of: impl Fn(&'m Statement) -> Option<T>) -> String {
    let mut found: Vec<String> = model.statements.iter().filter_map(of).map(|found| format!("{found:?}")).collect();
    found.sort();
    found.dedup();
    found.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::find;

    #[test]
    fn each_change_of_the_function_is_told() {
        let shipped = find("tiny-shakespeare").unwrap();
        let model = shipped.model().unwrap();
        assert_eq!(differences(&model, &model), [""; 0]);
        for (from, to, says) in [
            ("\"ffn\": 1728", "\"ffn\": 1760", "ffn: 1760 in the folder, 1728 in the model"),
            ("Multiplies", "Divides", "quantization"),
            ("eps: 1e-5", "eps: 1e-6", "eps: 1e-6 in the folder, 1e-5 in the model"),
            ("theta: 500000.0", "theta: 10000.0", "rotary embedding"),
            ("Relu2(", "Silu(", "activation"),
            ("lm_head.weight", "model.embed_tokens.weight", "LM head"),
        ] {
            assert!(shipped.text.contains(from), "{from}");
            let other = Model::parse("other", &shipped.text.replace(from, to)).unwrap();
            let differs = differences(&model, &other);
            assert!(differs.len() == 1 && differs[0].starts_with(says), "{says}: {differs:?}");
        }
        let text = shipped.text.replace("\"context\": 256", "\"context\": 128");
        assert_eq!(differences(&model, &Model::parse("other", &text).unwrap()), [""; 0]);
    }
}
