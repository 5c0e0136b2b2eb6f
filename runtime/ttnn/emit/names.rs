//! Python identifiers for what a phase names.
//!
//! Names in a plan can be any text, and a value, a weight and a buffer may share one. Each gets an identifier of its own: the name itself
//! where it is an identifier (`attn_norm`), with `_` in place of characters that an identifier cannot hold (`merged.in` becomes
//! `merged_in`), and with a number at its end where Python, the program or another name has taken the identifier already.

use std::collections::{HashMap, HashSet};

use bitnetc_plan::{Phase, Ref, Step};

use crate::call::{Expr, PyCall, Statement};
use crate::lower;

/// Python's keywords.
const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// Names that a function of the program uses besides those of its phase.
const OWN: [&str; 15] = [
    "LAYERS",
    "add_rows",
    "buffers",
    "float",
    "layer",
    "np",
    "quantize_rows",
    "range",
    "scalars",
    "show",
    "ternary",
    "ternary_gated",
    "ternary_linear",
    "ttnn",
    "weights",
];

/// The identifiers of one phase, by the keys that [`lower`] uses.
#[derive(Debug)]
pub(super) struct Names(HashMap<String, String>);

/// The key of the `at`th scalar of a step.
pub(super) fn scalar_key(step: &Step, at: usize) -> String {
    format!("scalar {} {at}", step.name)
}

impl Names {
    /// Gives every value, weight, buffer and open scalar of a phase its identifier.
    pub fn of(phase: &Phase) -> Names {
        let mut wanted: Vec<(String, String, bool)> = Vec::new();
        let mut want = |key: String, prefix: &str, name: &str| {
            let (identifier, unchanged) = identifier(prefix, name);
            wanted.push((key, identifier, unchanged));
        };
        for step in phase.steps() {
            for value in &step.outputs {
                want(lower::value_key(&value.name), "", &value.name);
            }
        }
        for step in phase.steps() {
            for operand in step.op.operands() {
                match operand {
                    Ref::Value(name) => want(lower::key(operand), "", name),
                    Ref::Weight(name) => want(lower::key(operand), "w_", name),
                    Ref::Buffer(name) => want(lower::key(operand), "b_", name),
                }
            }
            for (at, _) in step.op.scalars().into_iter().enumerate().filter(|(_, s)| !s.is_constant()) {
                want(scalar_key(step, at), "s_", &format!("{}_{at}", step.name));
            }
        }
        // Those that stay as they are come first, so that none of them has to give way.
        wanted.sort_by_key(|(_, _, unchanged)| !unchanged);
        let mut taken: HashSet<String> = KEYWORDS.into_iter().chain(OWN).map(str::to_owned).collect();
        let mut names = HashMap::new();
        for (key, identifier, _) in wanted {
            names.entry(key).or_insert_with(|| free(identifier, &mut taken));
        }
        Names(names)
    }

    /// The identifier of a key; what is no key is a name of the program's own and stays.
    pub fn get<'a>(&'a self, key: &'a str) -> &'a str {
        self.0.get(key).map_or(key, String::as_str)
    }

    /// A statement with identifiers for keys.
    pub fn rename(&self, statement: &Statement) -> Statement {
        Statement {
            targets: statement.targets.iter().map(|key| self.get(key).to_owned()).collect(),
            call: self.call(&statement.call),
        }
    }

    fn call(&self, call: &PyCall) -> PyCall {
        PyCall {
            module: call.module,
            path: call.path.clone(),
            args: call.args.iter().map(|expr| self.expr(expr)).collect(),
            kwargs: call.kwargs.iter().map(|(name, expr)| (name.clone(), self.expr(expr))).collect(),
        }
    }

    fn expr(&self, expr: &Expr) -> Expr {
        let all = |items: &[Expr]| items.iter().map(|item| self.expr(item)).collect();
        match expr {
            Expr::Name(key) => Expr::name(self.get(key)),
            Expr::List(items) => Expr::List(all(items)),
            Expr::Tuple(items) => Expr::Tuple(all(items)),
            Expr::Call(call) => self.call(call).into(),
            Expr::None | Expr::Bool(_) | Expr::Int(_) | Expr::Float(_) | Expr::Str(_) | Expr::Path(_) => expr.clone(),
        }
    }
}

/// `prefix` and `name` with `_` for what an identifier cannot hold, and whether that is the name as it was.
fn identifier(prefix: &str, name: &str) -> (String, bool) {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let digit_first = prefix.is_empty() && plain.starts_with(|c: char| c.is_ascii_digit());
    let unchanged = plain == name && !digit_first;
    (format!("{prefix}{}{plain}", if digit_first { "_" } else { "" }), unchanged)
}

/// `wanted`, or the first of `wanted_2`, `wanted_3`, ... that is free; taken from now on.
fn free(wanted: String, taken: &mut HashSet<String>) -> String {
    if taken.insert(wanted.clone()) {
        return wanted;
    }
    let mut number = 2;
    loop {
        let other = format!("{wanted}_{number}");
        if taken.insert(other.clone()) {
            return other;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use bitnetc_plan::op::{AbsOp, PlusOne};
    use bitnetc_plan::{DType, MemoryConfig, Op, PhaseKind, TensorSpec, Value};

    use super::*;

    fn step(name: &str, op: impl Into<Op>, outputs: &[&str]) -> Step {
        let spec = TensorSpec::tile([1, 1, 32, 32], DType::Bf16, MemoryConfig::DRAM);
        let value = |name: &&str| Value { name: (*name).into(), spec: spec.clone(), padding: None, address: None };
        Step {
            name: name.into(),
            op: op.into(),
            outputs: outputs.iter().map(value).collect(),
            l1: Default::default(),
            cost: Default::default(),
            note: String::new(),
        }
    }

    fn phase(outputs: &[&str]) -> Phase {
        let abs = AbsOp { input: Ref::Weight("x".into()), memory: MemoryConfig::DRAM };
        let steps = vec![
            step("one", abs, outputs),
            step("two", PlusOne { buffer: Ref::Buffer("x".into()), skip_negative: true }, &[]),
        ];
        Phase {
            kind: PhaseKind::Decode { batch: 1 },
            prologue: steps,
            layer: vec![],
            epilogue: vec![],
            results: vec![],
            trace: None,
            cost: Default::default(),
        }
    }

    fn named(outputs: &[&str]) -> Vec<String> {
        let names = Names::of(&phase(outputs));
        outputs.iter().map(|name| names.get(&lower::value_key(name)).to_owned()).collect()
    }

    #[test]
    fn names_that_are_identifiers_stay() {
        assert_eq!(named(&["attn_norm", "q", "K2"]), ["attn_norm", "q", "K2"]);
        assert_eq!(named(&["merged.in", "lm_head.0"]), ["merged_in", "lm_head_0"]);
    }

    #[test]
    fn pythons_and_the_programs_own_names_give_way() {
        assert_eq!(named(&["in", "layer", "ttnn", "np", "show"]), ["in_2", "layer_2", "ttnn_2", "np_2", "show_2"]);
    }

    #[test]
    fn different_names_are_different_identifiers() {
        assert_eq!(named(&["a.b", "a_b", "a-b", "a_b_2"]), ["a_b_3", "a_b", "a_b_4", "a_b_2"]);
        assert_eq!(named(&["w_x", "b_x", "0", "_0", "é"]), ["w_x", "b_x", "_0_2", "_0", "_"]);
        let names = Names::of(&phase(&["w_x"]));
        assert_eq!(names.get(&lower::key(&Ref::Weight("x".into()))), "w_x_2");
        assert_eq!(names.get(&lower::key(&Ref::Buffer("x".into()))), "b_x");
    }
}
