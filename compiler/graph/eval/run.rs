//! One run of a graph, operation by operation.

use super::kernels::{self, Matrix};
use super::{Data, EvalError, Output, Row, Run, WeightError};
use crate::graph::{
    Activation, ActivationQuant, Linear, MulInput, NodeId, Offset, Operation, PhaseKind, Rope, Scalar, Section, Shape,
    Value, WeightRef, resolve,
};
use rayon::prelude::*;
use std::sync::Arc;

fn apply(unary: Activation, x: f32) -> f32 {
    match unary {
        Activation::Relu => x.max(0.0),
        Activation::Relu2 => x.max(0.0) * x.max(0.0),
        Activation::Square => x * x,
        Activation::Silu => x / (1.0 + (-x).exp()),
    }
}

impl Run<'_, '_> {
    pub(super) fn section(&mut self, section: Section) -> Result<(), EvalError> {
        for id in self.graph.order(section) {
            self.node(id)?;
        }
        Ok(())
    }

    fn unsound(&self, id: NodeId) -> EvalError {
        EvalError::Graph(self.graph.node(id).name.clone())
    }

    fn input(&self, id: NodeId, at: usize) -> Result<&Data, EvalError> {
        let value = self.graph.inputs(id).get(at).copied();
        value.and_then(|v| self.values.get(&v)).ok_or_else(|| self.unsound(id))
    }

    fn floats(&self, id: NodeId, at: usize) -> Result<Arc<Vec<f32>>, EvalError> {
        match self.input(id, at)? {
            Data::Rows(rows) => Ok(rows.clone()),
            Data::Integers(rows) => Ok(Arc::new(rows.iter().map(|&v| f32::from(v)).collect())),
            Data::Ids(_) | Data::Cache(_) => Err(self.unsound(id)),
        }
    }

    /// Numbers per row of a node's input.
    fn width(&self, id: NodeId, at: usize) -> Result<usize, EvalError> {
        let value = self.graph.inputs(id).get(at).copied().ok_or_else(|| self.unsound(id))?;
        match self.graph.value_type(value).shape {
            Shape::Features(width) if width > 0 => Ok(width),
            Shape::Heads { heads, head_dim, .. } if heads * head_dim > 0 => Ok(heads * head_dim),
            Shape::Features(_) | Shape::Heads { .. } | Shape::Ids | Shape::Cache { .. } => Err(self.unsound(id)),
        }
    }

    /// Numbers that a norm takes the mean of: a row, or a head.
    fn normed_width(&self, id: NodeId) -> Result<usize, EvalError> {
        let value = self.graph.inputs(id).first().copied().ok_or_else(|| self.unsound(id))?;
        match self.graph.value_type(value).shape {
            Shape::Heads { head_dim, .. } if head_dim > 0 => Ok(head_dim),
            Shape::Heads { .. } | Shape::Features(_) | Shape::Ids | Shape::Cache { .. } => self.width(id, 0),
        }
    }

    fn scalar(&self, scalar: &Scalar) -> Result<f64, EvalError> {
        let lookup = |name: &str| {
            let found = self
                .graph
                .nodes()
                .flat_map(|n| self.graph.node(n).op.weights())
                .find(|w| w.encoding.is_ternary() && resolve(&w.name, self.layer) == name);
            let weight = found.ok_or_else(|| WeightError::Missing(name.to_string()))?;
            Ok::<_, EvalError>(self.evaluator.matrix(weight, self.layer)?.1)
        };
        scalar.evaluate(self.layer, lookup)
    }

    fn node(&mut self, id: NodeId) -> Result<(), EvalError> {
        let graph = self.graph;
        let outputs = match &graph.node(id).op {
            Operation::Tokens => vec![Data::Ids(self.rows.iter().map(|r| r.token).collect())],
            Operation::Embedding { weight } => vec![self.embedding(id, weight)?],
            Operation::Carry => {
                let first = self.input(id, 0)?.clone();
                let around = graph.carried().filter(|_| self.layer > 0).and_then(|v| self.values.get(&v)).cloned();
                vec![around.unwrap_or(first)]
            }
            Operation::RmsNorm { gamma, scale, eps } => {
                let scale = self.scalar(scale)? as f32;
                let gamma = gamma.as_ref().map(|g| self.evaluator.vector(g, self.layer)).transpose()?;
                let eps = self.scalar(eps)?;
                let mut normed = kernels::rms_norm(
                    &self.floats(id, 0)?,
                    self.normed_width(id)?,
                    gamma.as_deref().map(Vec::as_slice),
                    eps,
                );
                normed.iter_mut().for_each(|v| *v *= scale);
                vec![rows(normed)]
            }
            Operation::Quantize { floor } => {
                let (integers, factors) =
                    kernels::quantize(&self.floats(id, 0)?, self.width(id, 0)?, self.scalar(floor)?);
                vec![Data::Integers(Arc::new(integers)), rows(factors)]
            }
            Operation::Dequantize { scale, power } => {
                let scale = self.scalar(scale)?;
                let factors = self.floats(id, 1)?;
                let mut x = (*self.floats(id, 0)?).clone();
                for (row, m) in x.chunks_exact_mut(self.width(id, 0)?).zip(factors.iter()) {
                    let factor = (scale * (f64::from(*m) / 127.0).powi(*power)) as f32;
                    row.iter_mut().for_each(|v| *v *= factor);
                }
                vec![rows(x)]
            }
            Operation::Scale { scale } => {
                let factor = self.scalar(scale)? as f32;
                vec![rows(self.floats(id, 0)?.iter().map(|v| v * factor).collect())]
            }
            Operation::Linear(linear) => vec![self.linear(id, linear)?],
            Operation::Bias(offsets) => vec![self.bias(id, offsets)?],
            Operation::SplitHeads { heads, kv_heads, head_dim } => {
                self.split(id, [*heads, *kv_heads, *kv_heads].map(|h| h * head_dim))?
            }
            Operation::Rope(rope) => {
                let turns = self.turns(rope);
                (0..2).map(|at| self.rotate(id, at, rope.dim, &turns)).collect::<Result<_, _>>()?
            }
            Operation::CacheUpdate { .. } => self.cache(id)?,
            Operation::Attention { scale } => vec![self.attention(id, scale)?],
            Operation::MergeHeads => vec![self.input(id, 0)?.clone()],
            Operation::Activation(unary) => vec![rows(self.floats(id, 0)?.iter().map(|&v| apply(*unary, v)).collect())],
            Operation::Mul { a, b } => {
                let (a, b) = (self.operand(id, 0, a)?, self.operand(id, 1, b)?);
                vec![rows(a.iter().zip(&b).map(|(a, b)| a * b).collect())]
            }
            Operation::Add { b_scale } => {
                let scale = self.scalar(b_scale)? as f32;
                let (a, b) = (self.floats(id, 0)?, self.floats(id, 1)?);
                vec![rows(a.iter().zip(b.iter()).map(|(a, b)| a + scale * b).collect())]
            }
            Operation::LastToken if self.every_row => vec![self.input(id, 0)?.clone()],
            Operation::LastToken => {
                let (x, width) = (self.floats(id, 0)?, self.width(id, 0)?);
                vec![rows(x[x.len().saturating_sub(width)..].to_vec())]
            }
            Operation::Argmax => {
                let (x, width) = (self.floats(id, 0)?, self.width(id, 0)?);
                vec![Data::Ids(x.chunks_exact(width).map(argmax).collect())]
            }
        };
        for (output, data) in outputs.into_iter().enumerate() {
            self.values.insert(Value { node: id, output }, data);
        }
        Ok(())
    }

    fn operand(&self, id: NodeId, at: usize, operand: &MulInput) -> Result<Vec<f32>, EvalError> {
        let scale = self.scalar(&operand.scale)? as f32;
        let x = self.floats(id, at)?;
        Ok(x.iter().map(|v| operand.unary.iter().fold(v * scale, |v, unary| apply(*unary, v))).collect())
    }

    fn embedding(&self, id: NodeId, weight: &WeightRef) -> Result<Data, EvalError> {
        let Data::Ids(ids) = self.input(id, 0)? else { return Err(self.unsound(id)) };
        let (table, _) = self.evaluator.matrix(weight, self.layer)?;
        let Matrix::Dense { values, out, width } = &*table else { return Err(self.unsound(id)) };
        let mut x = Vec::with_capacity(ids.len() * width);
        for &token in ids {
            let at = token as usize;
            if at >= *out {
                return Err(EvalError::Token { token, vocab: *out });
            }
            x.extend_from_slice(&values[at * width..(at + 1) * width]);
        }
        Ok(rows(x))
    }

    fn linear(&self, id: NodeId, linear: &Linear) -> Result<Data, EvalError> {
        let width = self.width(id, 0)?;
        let quantized = match (self.input(id, 0)?, linear.activations) {
            (Data::Integers(integers), _) => Some((integers.clone(), None)),
            (Data::Ids(_) | Data::Rows(_) | Data::Cache(_), ActivationQuant::Int8PerToken) => {
                let (integers, factors) = kernels::quantize(&self.floats(id, 0)?, width, 1e-5);
                Some((Arc::new(integers), Some(factors)))
            }
            (Data::Ids(_) | Data::Rows(_) | Data::Cache(_), ActivationQuant::None) => None,
        };
        let count = self.floats(id, 0)?.len() / width;
        let mut parts = Vec::with_capacity(linear.parts.len());
        for part in &linear.parts {
            let (matrix, _) = self.evaluator.matrix(&part.weight, self.layer)?;
            let scale = self.scalar(&part.scale)?;
            let mut product = match &quantized {
                Some((integers, _)) => {
                    kernels::matmul_int8(integers, count, &matrix).ok_or_else(|| self.unsound(id))?
                }
                None => kernels::matmul(&self.floats(id, 0)?, count, &matrix),
            };
            let out = matrix.out();
            for (row, values) in product.chunks_exact_mut(out).enumerate() {
                let factor = match &quantized {
                    Some((_, Some(factors))) => scale * f64::from(factors[row]) / 127.0,
                    Some((_, None)) | None => scale,
                } as f32;
                for value in values {
                    *value *= factor;
                    if let Some(unary) = linear.unary {
                        *value = apply(unary, *value);
                    }
                }
            }
            parts.push((product, out));
        }
        let mut joined = Vec::with_capacity(count * linear.out_width());
        for row in 0..count {
            for (product, out) in &parts {
                joined.extend_from_slice(&product[row * out..(row + 1) * out]);
            }
        }
        Ok(rows(joined))
    }

    fn bias(&self, id: NodeId, offsets: &[Offset]) -> Result<Data, EvalError> {
        let mut added = Vec::with_capacity(self.width(id, 0)?);
        for offset in offsets {
            let scale = self.scalar(&offset.scale)?;
            let vector = self.evaluator.vector(&offset.weight, self.layer)?;
            added.extend(vector.iter().map(|v| (f64::from(*v) * scale) as f32));
        }
        let mut x = (*self.floats(id, 0)?).clone();
        for row in x.chunks_exact_mut(added.len().max(1)) {
            row.iter_mut().zip(&added).for_each(|(v, bias)| *v += bias);
        }
        Ok(rows(x))
    }

    fn split(&self, id: NodeId, widths: [usize; 3]) -> Result<Vec<Data>, EvalError> {
        if self.graph.inputs(id).len() == 3 {
            return (0..3).map(|at| self.input(id, at).cloned()).collect();
        }
        let x = self.floats(id, 0)?;
        let whole: usize = widths.iter().sum();
        let mut start = 0;
        Ok(widths
            .map(|width| {
                let part = x.chunks_exact(whole).flat_map(|row| row[start..start + width].iter().copied()).collect();
                start += width;
                rows(part)
            })
            .to_vec())
    }

    /// Cosine and sine of each pair in each row. A row of decode ends the sequence that it belongs to, those of a prefill are one sequence.
    fn turns(&self, rope: &Rope) -> Vec<Vec<(f32, f32)>> {
        let whole = self.rows.iter().map(|row| row.position + 1).max().unwrap_or(0);
        let length = |row: &Row| match self.graph.phase {
            PhaseKind::Decode { .. } => row.position + 1,
            PhaseKind::Prefill { .. } => whole,
        };
        let row = |row: &Row| {
            let (frequencies, factor) = rope.frequencies(length(row));
            let turn = |f: f64| {
                let angle = row.position as f64 * f;
                ((angle.cos() * factor) as f32, (angle.sin() * factor) as f32)
            };
            frequencies.into_iter().map(turn).collect()
        };
        self.rows.iter().map(row).collect()
    }

    fn rotate(&self, id: NodeId, at: usize, dim: usize, turns: &[Vec<(f32, f32)>]) -> Result<Data, EvalError> {
        let inputs = self.graph.inputs(id);
        let Shape::Heads { head_dim, .. } = self.graph.value_type(inputs[at]).shape else {
            return Err(self.unsound(id));
        };
        let mut x = (*self.floats(id, at)?).clone();
        let width = self.width(id, at)?;
        for (values, turns) in x.chunks_exact_mut(width).zip(turns) {
            for head in values.chunks_exact_mut(head_dim) {
                for (i, (cos, sin)) in turns.iter().enumerate() {
                    let (low, high) = (head[i], head[i + dim / 2]);
                    head[i] = low * cos - high * sin;
                    head[i + dim / 2] = high * cos + low * sin;
                }
            }
        }
        Ok(rows(x))
    }

    fn cache(&mut self, id: NodeId) -> Result<Vec<Data>, EvalError> {
        let context = self.graph.context;
        for at in 0..2 {
            let x = self.floats(id, at)?;
            let inputs = self.graph.inputs(id);
            let Shape::Heads { heads, head_dim, .. } = self.graph.value_type(inputs[at]).shape else {
                return Err(self.unsound(id));
            };
            for (values, row) in x.chunks_exact(heads * head_dim).zip(self.rows) {
                let size = heads * context * head_dim;
                let cache = self.state.caches.entry((self.layer, at, row.user)).or_default();
                if cache.len() != size {
                    cache.resize(size, 0.0);
                }
                for (head, values) in values.chunks_exact(head_dim).enumerate() {
                    let start = (head * context + row.position) * head_dim;
                    cache[start..start + head_dim].copy_from_slice(values);
                }
            }
        }
        Ok(vec![Data::Cache(0), Data::Cache(1)])
    }

    fn attention(&self, id: NodeId, scale: &Scalar) -> Result<Data, EvalError> {
        let inputs = self.graph.inputs(id);
        let q = self.floats(id, 0)?;
        let Shape::Heads { heads, head_dim, .. } = self.graph.value_type(inputs[0]).shape else {
            return Err(self.unsound(id));
        };
        let Shape::Cache { kv_heads, context, .. } = self.graph.value_type(inputs[1]).shape else {
            return Err(self.unsound(id));
        };
        let (Data::Cache(keys), Data::Cache(values)) = (self.input(id, 1)?, self.input(id, 2)?) else {
            return Err(self.unsound(id));
        };
        let scale = self.scalar(scale)? as f32;
        let group = heads / kv_heads;
        let attended: Result<Vec<Vec<f32>>, EvalError> = q
            .par_chunks_exact(head_dim)
            .enumerate()
            .map(|(at, query)| {
                let (row, head) = (self.rows[at / heads], at % heads / group);
                let cache =
                    |which| self.state.caches.get(&(self.layer, which, row.user)).ok_or_else(|| self.unsound(id));
                let part = head * context * head_dim..(head + 1) * context * head_dim;
                let (keys, values) = (&cache(*keys)?[part.clone()], &cache(*values)?[part]);
                Ok(kernels::attend(query, keys, values, row.position + 1, scale))
            })
            .collect();
        Ok(rows(attended?.concat()))
    }

    pub(super) fn output(self) -> Result<Output, EvalError> {
        let broken = || EvalError::Graph("result".into());
        let result = self.graph.result().ok_or_else(broken)?;
        let Some(Data::Ids(ids)) = self.values.get(&result) else { return Err(broken()) };
        let vocab = self.width(result.node, 0)?;
        let logits = (*self.floats(result.node, 0)?).clone();
        Ok(Output { ids: ids.clone(), logits, vocab })
    }
}

fn rows(values: Vec<f32>) -> Data {
    Data::Rows(Arc::new(values))
}

fn argmax(row: &[f32]) -> u32 {
    let mut best = 0;
    for (at, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = at;
        }
    }
    best as u32
}
