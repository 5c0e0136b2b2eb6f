//! Broken plans for tables, logits and rotation. Differences between phases are tested in `tests/plan_mutations`, on plans with several.

use super::*;
use crate::weight::{Content, Matrix, RotaryFunction};

fn weight<'p>(plan: &'p mut Plan, name: &str) -> &'p mut Weight {
    plan.weights.iter_mut().find(|w| w.name == name).unwrap_or_else(|| panic!("no weight {name}"))
}

fn qkv(plan: &mut Plan) -> &mut Vec<Matrix> {
    if let Source::Columns(matrices) = &mut weight(plan, "qkv").source { matrices } else { unreachable!() }
}

#[test]
fn tables_hold_what_is_looked_up_in_them() {
    // Consistent in itself, source and spec, but short of the vocabulary or of the context.
    broken(Invariant::WeightSource, |p| {
        let table = weight(p, "embedding");
        table.spec.shape[2] -= 256;
        if let Source::Rows(matrix) = &mut table.source {
            matrix.shape[0] -= 256;
        }
    });
    broken(Invariant::WeightSource, |p| p.model.vocab += 1);
    let short = |name: &'static str| {
        broken(Invariant::WeightSource, |p| {
            let table = weight(p, name);
            table.spec.shape[2] -= 32;
            if let Source::RotaryTable { positions, .. } = &mut table.source {
                *positions -= 32;
            }
        });
    };
    short("cos");
    short("sin");
    // The rows of another kind of table.
    broken(Invariant::WeightSource, |p| {
        weight(p, "cos").source = Source::Rows(Matrix { content: Content::Dense, ..qkv(p)[2].clone() });
    });
}

#[test]
fn logits_are_one_for_each_token() {
    let found = defects(|p| p.model.vocab -= 1);
    let told = |part: &str| found.iter().any(|d| d.invariant == Invariant::Function && d.what.contains(part));
    assert!(told("picked of 128256 logits") && told("`logits` has 128256 columns"), "{found:#?}");
}

#[test]
fn queries_and_keys_turn_by_the_same_angles() {
    let table = |change: fn(&mut RotaryFunction, &mut Vec<f64>, &mut f64)| {
        broken(Invariant::Function, |p| {
            if let Source::RotaryTable { function, frequencies, amplitude, .. } = &mut weight(p, "sin").source {
                change(function, frequencies, amplitude);
            }
        });
    };
    table(|function, _, _| *function = RotaryFunction::Cos);
    table(|_, frequencies, _| frequencies[3] *= 1.0001);
    table(|_, frequencies, _| frequencies.truncate(63));
    table(|_, _, amplitude| *amplitude = 1.1);
    broken(Invariant::Function, |p| {
        let Op::RotaryFused(args) = &mut step(p, "rotate").op else { unreachable!() };
        std::mem::swap(&mut args.cos, &mut args.sin);
    });
    only(Invariant::Function, |p| qkv(p)[0].rotated = 0);
    only(Invariant::Function, |p| qkv(p)[1].rotated = 64);
    only(Invariant::Function, |p| {
        qkv(p)[2].outputs = Some(crate::Padding { groups: 5, from: 128, to: 128 });
        qkv(p)[2].rotated = 128;
    });
}

#[test]
fn a_value_made_of_itself_is_answered() {
    broken(Invariant::Defined, |p| {
        let Op::ToMemoryConfig(args) = &mut step(p, "cos").op else { unreachable!() };
        args.input = Ref::Value("cos".into());
    });
}
