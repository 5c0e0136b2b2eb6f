//! Graphs as text for people, one line per node.

use super::{
    Activation, ActivationQuant, Graph, Heads, Linear, MulInput, Offset, Operation, PhaseKind, Section, Shape, Value,
    ValueType, WeightRef,
};
use std::fmt;

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            Shape::Ids => write!(f, "ids[{}]", self.rows),
            Shape::Features(width) => write!(f, "[{}, {width}]", self.rows),
            Shape::Heads { of, heads, head_dim } => write!(f, "[{}, {heads} x {head_dim}] {of}", self.rows),
            Shape::Cache { of, kv_heads, context, head_dim } => {
                write!(f, "cache[{}, {kv_heads} x {context} x {head_dim}] of {of}", self.rows)
            }
        }
    }
}

impl fmt::Display for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Heads::Queries => "queries",
            Heads::Keys => "keys",
            Heads::Values => "values",
            Heads::Attended => "attended heads",
        })
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activation::Relu => "relu",
            Activation::Relu2 => "relu2",
            Activation::Square => "square",
            Activation::Silu => "silu",
        })
    }
}

impl fmt::Display for WeightRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.rows {
            Some((start, end)) => write!(f, "[{start}..{end}]"),
            None => Ok(()),
        }
    }
}

fn operand(name: &str, operand: &MulInput) -> String {
    let scaled = if operand.scale.is_one() { name.to_string() } else { format!("{name}*{}", operand.scale) };
    operand.unary.iter().fold(scaled, |text, unary| format!("{unary}({text})"))
}

fn linear(linear: &Linear, input: &str) -> String {
    let kind = if linear.is_ternary() { "bit_linear" } else { "linear" };
    let mut text = format!("{kind}({input})");
    for part in &linear.parts {
        text.push_str(&format!(" {}", part.weight));
        if !part.scale.is_one() {
            text.push_str(&format!(" *{}", part.scale));
        }
    }
    if linear.activations == ActivationQuant::Int8PerToken {
        text.push_str(" int8");
    }
    if let Some(unary) = linear.unary {
        text.push_str(&format!(" {unary}"));
    }
    text
}

fn bias(offsets: &[Offset], input: &str) -> String {
    let mut text = format!("bias({input})");
    for offset in offsets {
        text.push_str(&format!(" {}", offset.weight));
        if !offset.scale.is_one() {
            text.push_str(&format!(" *{}", offset.scale));
        }
    }
    text
}

fn describe(op: &Operation, inputs: &[String]) -> String {
    let list = inputs.join(", ");
    match op {
        Operation::Tokens => "tokens".to_string(),
        Operation::Embedding { weight } => format!("embedding({list}) {weight}"),
        Operation::Carry => format!("carry({list})"),
        Operation::RmsNorm { gamma, scale, eps } => {
            let gamma = gamma.as_ref().map_or_else(String::new, |gamma| format!(" {gamma}"));
            let scale = if scale.is_one() { String::new() } else { format!(" *{scale}") };
            format!("rms_norm({list}){gamma}{scale} eps={eps}")
        }
        Operation::Quantize { floor } => format!("quantize({list}) floor={floor}"),
        Operation::Dequantize { scale, power } => format!("dequantize({list}) *{scale} power={power}"),
        Operation::Scale { scale } => format!("scale({list}) *{scale}"),
        Operation::Linear(it) => linear(it, &list),
        Operation::Bias(offsets) => bias(offsets, &list),
        Operation::SplitHeads { heads, kv_heads, .. } => format!("split_heads({list}) {heads}/{kv_heads}"),
        Operation::Rope(rope) => format!("rope({list}) theta={} dim={}", rope.theta, rope.dim),
        Operation::CacheUpdate { context } => format!("cache_update({list}) context={context}"),
        Operation::Attention { scale } => format!("attention({list}) scale={scale}"),
        Operation::MergeHeads => format!("merge_heads({list})"),
        Operation::Activation(unary) => format!("{unary}({list})"),
        Operation::Mul { a, b } => match inputs {
            [left, right] => format!("mul({}, {})", operand(left, a), operand(right, b)),
            _ => format!("mul({list})"),
        },
        Operation::Add { b_scale } if b_scale.is_one() => format!("add({list})"),
        Operation::Add { b_scale } => format!("add({list}*{b_scale})"),
        Operation::LastToken => format!("last_token({list})"),
        Operation::Argmax => format!("argmax({list})"),
    }
}

impl Graph {
    /// The name of a value: that of its node, followed by the number of the output when the node has several.
    pub fn value_name(&self, value: Value) -> String {
        let node = self.node(value.node);
        if node.outputs.len() == 1 { node.name.clone() } else { format!("{}.{}", node.name, value.output) }
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            PhaseKind::Decode { batch } => format!("decode[{batch}]"),
            PhaseKind::Prefill { tokens } => format!("prefill[{tokens}]"),
        };
        writeln!(f, "{} {phase}: {} layers, context {}", self.model, self.layers, self.context)?;
        for section in Section::ALL {
            writeln!(f, "{}", format!("{section:?}").to_lowercase())?;
            for id in self.order(section) {
                let node = self.node(id);
                let inputs: Vec<_> = self.inputs(id).into_iter().map(|v| self.value_name(v)).collect();
                let types: Vec<_> = node.outputs.iter().map(ToString::to_string).collect();
                writeln!(f, "  {:<16} = {:<60} : {}", node.name, describe(&node.op, &inputs), types.join(" "))?;
            }
        }
        for (word, value) in [("carried", self.carried), ("result", self.result)] {
            if let Some(value) = value {
                writeln!(f, "{word} {}", self.value_name(value))?;
            }
        }
        Ok(())
    }
}
