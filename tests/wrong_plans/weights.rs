//! Changes of where a weight's numbers come from, which all phases see.

use bitnetc_plan::weight::{Matrix, RotaryFunction, Vector};
use bitnetc_plan::{Plan, Source};
use rand::Rng as _;
use rand::seq::{IndexedMutRandom as _, IndexedRandom as _};
use rand_chacha::ChaCha8Rng;

pub fn matrices(plan: &mut Plan) -> Vec<&mut Matrix> {
    let of = |source| match source {
        &mut Source::Columns(ref mut matrices) => matrices.iter_mut().collect(),
        &mut Source::Rows(ref mut matrix) => vec![matrix],
        Source::Vectors(_) | Source::Ones { .. } | Source::RotaryTable { .. } | Source::RotaryTransform => vec![],
    };
    plan.weights.iter_mut().flat_map(|w| of(&mut w.source)).collect()
}

fn vectors(source: &mut Source) -> &mut [Vector] {
    match source {
        Source::Vectors(vectors) => vectors,
        Source::Columns(_) | Source::Rows(_) | Source::Ones { .. } => &mut [],
        Source::RotaryTable { .. } | Source::RotaryTransform => &mut [],
    }
}

pub fn tensor(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    if rng.random_bool(0.3) {
        let mut own: Vec<&mut Vector> = plan.weights.iter_mut().flat_map(|w| vectors(&mut w.source)).collect();
        let all: Vec<(String, u32)> = own.iter().map(|v| (v.tensor.clone(), v.len)).collect();
        let vector = own.choose_mut(rng)?;
        if rng.random_bool(0.2) {
            vector.factor *= 1.25;
            return Some(());
        }
        let others: Vec<_> = all.iter().filter(|(t, len)| *len == vector.len && *t != vector.tensor).collect();
        vector.tensor = others.choose(rng)?.0.clone();
        return Some(());
    }
    let mut all = matrices(plan);
    let (a, b) = (rng.random_range(0..all.len()), rng.random_range(0..all.len()));
    if all[a].shape != all[b].shape || all[a].tensor == all[b].tensor {
        return None;
    }
    if rng.random() {
        all[a].tensor = all[b].tensor.clone();
    } else {
        let (low, high) = (a.min(b), a.max(b));
        let (left, right) = all.split_at_mut(high);
        std::mem::swap(left[low], right[0]);
    }
    Some(())
}

pub fn rows_of_weight(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let mut all = matrices(plan);
    let matrix = all.choose_mut(rng)?;
    let out = matrix.shape[0];
    matrix.rows = match matrix.rows {
        None => Some((0, out)),
        Some((start, end)) => [Some((start + 32, end + 32)), Some((start.saturating_sub(32), end.saturating_sub(32)))]
            .choose(rng)
            .copied()?,
    };
    Some(())
}

pub fn order_of_weight(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    if rng.random_bool(0.4) {
        let mut columns: Vec<_> = plan
            .weights
            .iter_mut()
            .filter_map(|w| if let Source::Columns(m) = &mut w.source { (m.len() > 1).then_some(m) } else { None })
            .collect();
        let matrices = columns.choose_mut(rng)?;
        let (a, b) = (rng.random_range(0..matrices.len()), rng.random_range(0..matrices.len()));
        matrices.swap(a, b);
        return (a != b).then_some(());
    }
    let mut all = matrices(plan);
    let matrix = all.iter_mut().filter(|m| m.outputs.is_some()).collect::<Vec<_>>().swap_remove(0).outputs;
    let matrix_heads = matrix;
    let at = rng.random_range(0..all.len());
    let matrix = &mut all[at];
    if matrix.outputs.is_some() {
        matrix.rotated = if matrix.rotated == 0 { 32 } else { 0 };
        return Some(());
    }
    let heads = matrix_heads?;
    let all_of_it = matrix.shape[0].is_multiple_of(heads.from);
    all_of_it.then(|| {
        matrix.outputs = Some(bitnetc_plan::Padding { groups: matrix.shape[0] / heads.from, ..heads });
        matrix.rotated = 32;
    })
}

pub fn rotary(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let mut tables: Vec<_> =
        plan.weights.iter_mut().map(|w| &mut w.source).filter(|s| matches!(s, Source::RotaryTable { .. })).collect();
    let Source::RotaryTable { function, frequencies, amplitude, .. } = tables.choose_mut(rng)? else { return None };
    match rng.random_range(0..4) {
        0 => *function = if *function == RotaryFunction::Cos { RotaryFunction::Sin } else { RotaryFunction::Cos },
        1 => *amplitude *= 1.5,
        2 => *frequencies.choose_mut(rng)? *= 1.1,
        _ => frequencies.reverse(),
    }
    Some(())
}
