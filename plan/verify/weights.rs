//! Invariants `WeightSource` and, for weights, `Placement`: a weight's spec is that of the tensor which its source makes.

use crate::defect::Defects;
use crate::ttnn::{Checks, require_placement};
use crate::weight::{Content, Matrix, Vector};
use crate::{Card, DType, Invariant, Layout, Memory, Padding, Place, Plan, Source, TILE, TensorSpec, Weight};

/// Stands for the number of the layer in the name of a checkpoint's tensor.
pub const LAYER: &str = "{layer}";

pub fn check(plan: &Plan, defects: &mut Defects) {
    for weight in &plan.weights {
        let place = || Place::Weight(weight.name.clone());
        placement(&weight.spec, &plan.card, place(), defects);
        if weight.per_layer && weight.spec.memory.memory() == Memory::L1 {
            let what = "one per layer, and in L1: all layers' would be there at once";
            defects.push(Invariant::Placement, place(), what, "DRAM");
        }
        for what in source_problems(weight) {
            defects.push(Invariant::WeightSource, place(), what, "");
        }
    }
}

pub fn placement(spec: &TensorSpec, card: &Card, place: Place, defects: &mut Defects) {
    let mut checks = Checks::new();
    require_placement(spec, card, &mut checks);
    for violation in checks.settle().err().into_iter().flatten() {
        defects.broken(Invariant::Placement, place.clone(), "", violation);
    }
}

/// Names of the checkpoint tensors that have a scale.
pub fn ternary_tensors(plan: &Plan) -> impl Iterator<Item = &str> {
    let matrices = plan.weights.iter().flat_map(|w| match &w.source {
        Source::Columns(matrices) => matrices.as_slice(),
        Source::Rows(matrix) => std::slice::from_ref(matrix),
        Source::Vectors(_) | Source::Ones { .. } | Source::RotaryTable { .. } | Source::RotaryTransform => &[],
    });
    matrices.filter(|m| m.content != Content::Dense).map(|m| m.tensor.as_str())
}

fn source_problems(weight: &Weight) -> Vec<String> {
    let mut problems = Vec::new();
    let ternary = match &weight.source {
        Source::Columns(matrices) => matrices.iter().all(|matrix| matrix.content != Content::Dense),
        Source::Rows(_) | Source::Vectors(_) | Source::Ones { .. } => false,
        Source::RotaryTable { .. } | Source::RotaryTransform => false,
    };
    if weight.spec.dtype == DType::Bfp2 && !ternary {
        problems.push("two bits hold -1, 0 and 1, and its source is not ternary".into());
    }
    match &weight.source {
        Source::Columns(matrices) => columns(weight, matrices, &mut problems),
        Source::Rows(matrix) => rows(weight, matrix, &mut problems),
        Source::Vectors(parts) => vectors(weight, parts, &mut problems),
        Source::Ones { .. } | Source::RotaryTable { .. } | Source::RotaryTransform if weight.per_layer => {
            problems.push("one per layer, but its source is the same in all".into());
        }
        Source::Ones { len, factor } => {
            usable(*factor, &mut problems);
            vector(&weight.spec, u64::from(*len), &mut problems);
        }
        Source::RotaryTable { positions, frequencies, amplitude, long, .. } => {
            let further = long.iter().flat_map(|long| &long.frequencies);
            if frequencies.is_empty() || frequencies.iter().chain(further).chain([amplitude]).any(|f| !f.is_finite()) {
                problems.push("its frequencies are not all numbers, or there is none".into());
            }
            if let Some(long) = long.as_ref().filter(|long| long.frequencies.len() != frequencies.len()) {
                problems.push(format!(
                    "{} pairs of long sequences, {} of short",
                    long.frequencies.len(),
                    frequencies.len()
                ));
            }
            matrix_shape(&weight.spec, &mut problems);
            if u64::from(weight.spec.rows()) != u64::from(*positions) {
                problems.push(format!("{} rows, its source makes {positions}", weight.spec.rows()));
            }
            if u64::from(weight.spec.columns()) < 2 * frequencies.len() as u64 {
                let what = format!("{} columns for {} pairs that rotate", weight.spec.columns(), frequencies.len());
                problems.push(what);
            }
            number_format(&weight.spec, &mut problems);
        }
        Source::RotaryTransform => {
            matrix_shape(&weight.spec, &mut problems);
            if weight.spec.columns() != TILE || !weight.spec.rows().is_multiple_of(TILE) {
                problems.push(format!("shape {:?}, a stack of 32x32 matrices is made", weight.spec.shape));
            }
            number_format(&weight.spec, &mut problems);
        }
    }
    problems
}

fn usable(factor: f64, problems: &mut Vec<String>) {
    if !factor.is_finite() || factor == 0.0 {
        problems.push(format!("a factor of {factor}"));
    }
}

fn columns(weight: &Weight, matrices: &[Matrix], problems: &mut Vec<String>) {
    matrix_shape(&weight.spec, problems);
    number_format(&weight.spec, problems);
    let mut width = 0u64;
    let mut height = None;
    for matrix in matrices {
        let [out, input] = matrix_problems(weight, matrix, problems);
        width = width.saturating_add(out);
        if *height.get_or_insert(input) != input {
            problems.push(format!(
                "`{}` has {input} inputs, the matrix before it {}",
                matrix.tensor,
                height.unwrap_or(0)
            ));
        }
    }
    let Some(height) = height else {
        problems.push("it is made of no matrix".into());
        return;
    };
    if weight.spec.layout != Layout::Tile {
        problems.push("a matmul's weight is tiled".into());
    }
    let (rows, columns) = (u64::from(weight.spec.rows()), u64::from(weight.spec.columns()));
    // The plan declares the logical shape; TT-NN pads it to whole tiles and banks.
    if [rows, columns] != [height, width] {
        problems.push(format!("shape [{rows}, {columns}], its matrices make [{height}, {width}]"));
    }
}

fn rows(weight: &Weight, matrix: &Matrix, problems: &mut Vec<String>) {
    matrix_shape(&weight.spec, problems);
    number_format(&weight.spec, problems);
    let [out, input] = matrix_problems(weight, matrix, problems);
    if matrix.outputs.is_some() || matrix.inputs.is_some_and(|padding| padding.groups != 1) {
        problems.push("rows of a table are padded at their ends alone".into());
    }
    let shape = [u64::from(weight.spec.rows()), u64::from(weight.spec.columns())];
    if shape != [out, input] {
        problems.push(format!("shape {shape:?}, its matrix is [{out}, {input}]"));
    }
}

fn vectors(weight: &Weight, parts: &[Vector], problems: &mut Vec<String>) {
    let mut elements = 0u64;
    for part in parts {
        tensor_name(weight, &part.tensor, problems);
        usable(part.factor, problems);
        for (matrix, _) in &part.scales {
            matrix_problems(weight, matrix, problems);
        }
        reordered(&part.tensor, part.rotated, part.padding, problems);
        elements = elements.saturating_add(padded(part.len, part.padding, "its elements", problems));
    }
    if parts.is_empty() {
        problems.push("it is made of no vector".into());
    }
    vector(&weight.spec, elements, problems);
}

/// The leading elements of heads that are reordered in pairs.
fn reordered(tensor: &str, rotated: u32, heads: Option<Padding>, problems: &mut Vec<String>) {
    match heads {
        None if rotated > 0 => {
            problems.push(format!("the pairs of `{tensor}` are to be reordered, but its heads are not told"));
        }
        Some(heads) if !rotated.is_multiple_of(2) || rotated > heads.from => {
            problems.push(format!("{rotated} elements of the heads of `{tensor}` cannot be cut into pairs"));
        }
        Some(_) | None => {}
    }
}

/// `[out, in]` of the matrix on the card, padding included.
fn matrix_problems(weight: &Weight, matrix: &Matrix, problems: &mut Vec<String>) -> [u64; 2] {
    tensor_name(weight, &matrix.tensor, problems);
    let [out, input] = matrix.shape;
    if let Some((start, end)) = matrix.rows
        && (start > end || end - start != out)
    {
        problems.push(format!("rows {start}..{end} of `{}` are not the {out} it uses", matrix.tensor));
    }
    reordered(&matrix.tensor, matrix.rotated, matrix.outputs, problems);
    [padded(out, matrix.outputs, "its outputs", problems), padded(input, matrix.inputs, "its inputs", problems)]
}

fn padded(len: u32, padding: Option<Padding>, what: &str, problems: &mut Vec<String>) -> u64 {
    let Some(padding @ Padding { groups, from, to }) = padding else { return u64::from(len) };
    if u64::from(groups) * u64::from(from) != u64::from(len) || groups == 0 || from == 0 || to < from {
        problems.push(format!("{groups} groups of {from}, widened to {to}, are not {what}, {len}"));
    }
    padding.columns()
}

fn tensor_name(weight: &Weight, tensor: &str, problems: &mut Vec<String>) {
    match (weight.per_layer, tensor.contains(LAYER)) {
        (true, false) => problems.push(format!("one per layer, but `{tensor}` has no {LAYER}")),
        (false, true) => problems.push(format!("`{tensor}` is one per layer, the weight is not")),
        _ => {}
    }
}

fn matrix_shape(spec: &TensorSpec, problems: &mut Vec<String>) {
    if spec.outer() != 1 || spec.shape.len() < 2 {
        problems.push(format!("shape {:?} is no single matrix", spec.shape));
    }
}

fn number_format(spec: &TensorSpec, problems: &mut Vec<String>) {
    if matches!(spec.dtype, DType::U32 | DType::I32 | DType::U16) {
        problems.push(format!("data type {} for numbers with fractions", spec.dtype));
    }
}

fn vector(spec: &TensorSpec, elements: u64, problems: &mut Vec<String>) {
    let tile = u64::from(TILE);
    let shape: Vec<u64> = spec.shape.iter().map(|&d| u64::from(d)).collect();
    let fits = match spec.layout {
        Layout::RowMajor => elements.is_multiple_of(tile) && shape == [1, 1, elements / tile, tile],
        Layout::Tile => shape == [1, 1, 1, elements],
    };
    if !fits {
        let what = format!(
            "{:?} {:?}, but {elements} elements are laid out as [1, 1, n/32, 32] row-major or [1, 1, 1, n] tiled",
            spec.shape, spec.layout
        );
        problems.push(what);
    }
    number_format(spec, problems);
}
