//! Heads, rotary embedding, KV cache and attention.

use bitnetc_plan::weight::{HeadPadding, RotaryFunction};
use bitnetc_plan::{BufferRole, Cores, DType, MemoryConfig, TILE, TensorSpec};

use super::weights;
use super::{SelectError, Selector};
use crate::graph::{NodeId, Rope, Scalar, Section, Value};
use crate::schedule::{HeadCores, Kind, Operand, ValueId};

impl Selector<'_> {
    pub(super) fn split_heads(
        &mut self,
        node: NodeId,
        section: Section,
        heads: usize,
        kv_heads: usize,
        head_dim: usize,
    ) -> Result<(), SelectError> {
        if self.graph.inputs(node).len() != 1 {
            return Err(self.unsupported(
                node,
                "q, k and v come from three projections",
                "let the fuse pass make one of them",
            ));
        }
        let input = self.operand(node, 0)?;
        let head_dim = (head_dim as u32).next_multiple_of(TILE);
        let (heads, kv_heads) = (heads as u32, kv_heads as u32);
        let outputs: Vec<_> = ["q", "k", "v"]
            .iter()
            .zip([heads, kv_heads, kv_heads])
            .map(|(name, count)| self.heads_value(node, name, count, head_dim))
            .collect();
        self.call(
            node,
            section,
            Kind::CreateHeads { heads, kv_heads, head_dim, cores: self.setting.heads },
            vec![input],
            outputs,
        );
        Ok(())
    }

    /// `[1, users, heads, head_dim]` in decode, `[1, heads, tokens, head_dim]` in prefill.
    fn heads_value(&mut self, node: NodeId, suffix: &str, heads: u32, head_dim: u32) -> ValueId {
        let rows = self.rows();
        let shape = if self.decode() { vec![1, rows, heads, head_dim] } else { vec![1, heads, rows, head_dim] };
        self.schedule.value(format!("{}.{suffix}", self.graph.node(node).name), shape, DType::Bf16)
    }

    pub(super) fn rope(&mut self, node: NodeId, section: Section, rope: &Rope) -> Result<(), SelectError> {
        let (q, k) = (self.operand(node, 0)?, self.operand(node, 1)?);
        let head_dim = self.width(&q);
        let logical = match self.graph.value_type(self.input(node, 0)).shape {
            crate::graph::Shape::Heads { head_dim, .. } => head_dim,
            _ => 0,
        };
        if rope.dim != logical {
            let what = format!("{} of {logical} elements of a head are rotated", rope.dim);
            return Err(self.unsupported(node, what, "rotary_embedding_llama rotates whole heads"));
        }
        let [cos, sin, transform] = match self.rotary.clone() {
            Some(rotary) => rotary,
            None => self.rotary_tables(rope, head_dim),
        };
        let mut outputs = Vec::new();
        for (at, suffix) in ["q", "k"].iter().enumerate() {
            let Operand::Value(before) = [&q, &k][at] else { continue };
            let shape = self.schedule.values[*before].shape.clone();
            outputs.push(self.schedule.value(format!("{}.{suffix}", self.graph.node(node).name), shape, DType::Bf16));
        }
        if self.decode() && self.setting.heads == HeadCores::Disjoint {
            self.call(node, section, Kind::RotaryFused, vec![q, k, cos, sin, transform], outputs);
            return Ok(());
        }
        for ((input, suffix), id) in [(q, "q"), (k, "k")].into_iter().zip(&outputs) {
            let name = format!("{}.{suffix}", self.graph.node(node).name);
            let inputs = vec![input, cos.clone(), sin.clone(), transform.clone()];
            self.helper(&name, section, Kind::Rotary, inputs, vec![*id]);
        }
        for (output, id) in outputs.into_iter().enumerate() {
            self.ids.insert(Value { node, output }, id);
        }
        Ok(())
    }

    /// Decode looks the users' rows up once per step; prefill reads whole tables.
    fn rotary_tables(&mut self, rope: &Rope, head_dim: u32) -> [Operand; 3] {
        let rows = self.rows();
        let context = self.graph.context as u32;
        let functions = [("cos", RotaryFunction::Cos), ("sin", RotaryFunction::Sin)];
        let [cos, sin] = if self.decode() {
            functions.map(|(name, function)| {
                let positions = self.rotary_positions();
                let table = self.weight(weights::rotary_table(
                    &format!("rotary.{name}"),
                    function,
                    rope,
                    context,
                    head_dim,
                    None,
                ));
                let shape = vec![1, self.rotary_copies() * rows, 1, head_dim];
                let out = self.schedule.value(format!("rotary.{name}.rows"), shape, DType::Bf16);
                self.helper(
                    &format!("rotary.{name}.rows"),
                    Section::Prologue,
                    Kind::RotaryRows,
                    vec![positions, table],
                    vec![out],
                );
                Operand::Value(out)
            })
        } else {
            functions.map(|(name, function)| {
                self.weight(weights::rotary_table(
                    &format!("rotary.{name}.{rows}"),
                    function,
                    rope,
                    context,
                    head_dim,
                    Some(rows),
                ))
            })
        };
        let cores = self.decode().then(|| Cores::row_major(self.rotary_copies() * rows, self.setting.card.grid));
        let transform = self.weight(weights::rotary_transform(cores));
        let rotary = [cos, sin, transform];
        self.rotary = Some(rotary.clone());
        rotary
    }

    fn caches(&mut self, kv_heads: u32, head_dim: u32) -> [Operand; 2] {
        let blocks = (self.graph.context as u32).div_ceil(self.setting.block) * self.setting.batch;
        let spec = TensorSpec::tile(
            vec![blocks, kv_heads, self.setting.block, head_dim],
            self.setting.cache,
            MemoryConfig::DRAM,
        );
        [
            self.buffer("k_cache", true, spec.clone(), BufferRole::KeyCache),
            self.buffer("v_cache", true, spec, BufferRole::ValueCache),
        ]
    }

    pub(super) fn cache_update(&mut self, node: NodeId, section: Section) -> Result<(), SelectError> {
        let (k, v) = (self.operand(node, 0)?, self.operand(node, 1)?);
        let Operand::Value(rows) = k else {
            return Err(self.unsupported(node, "a cache update of no value", "feed it keys and values"));
        };
        let shape = &self.schedule.values[rows].shape;
        let (kv_heads, head_dim) = (if self.decode() { shape[2] } else { shape[1] }, shape[3]);
        let [k_cache, v_cache] = self.caches(kv_heads, head_dim);
        let page_table = self.page_table();
        if self.decode() {
            let positions = self.positions();
            if self.setting.heads == HeadCores::Disjoint {
                let inputs = vec![k_cache, k, v_cache, v, positions, page_table];
                self.call(node, section, Kind::CacheUpdate, inputs, vec![]);
                return Ok(());
            }
            for (cache, input, name) in [(k_cache, k, "k"), (v_cache, v, "v")] {
                let name = format!("{}.{name}", self.graph.node(node).name);
                let inputs = vec![cache, input, positions.clone(), page_table.clone()];
                self.helper(&name, section, Kind::CacheUpdateOne, inputs, vec![]);
            }
            return Ok(());
        }
        for (output, (cache, input, name)) in [(k_cache, k, "k"), (v_cache, v, "v")].into_iter().enumerate() {
            let stored = self.as_cached(node, section, input, name);
            let name = format!("{}.{name}", self.graph.node(node).name);
            self.helper(
                &name,
                section,
                Kind::CacheFill,
                vec![cache, Operand::Value(stored), page_table.clone()],
                vec![],
            );
            self.ids.insert(Value { node, output }, stored);
        }
        Ok(())
    }

    /// Keys or values of a prompt in the cache's data type: what decode will read, prefill's attention reads too.
    fn as_cached(&mut self, node: NodeId, section: Section, input: Operand, suffix: &str) -> ValueId {
        let Operand::Value(id) = input else { return 0 };
        if self.schedule.values[id].dtype == self.setting.cache {
            return id;
        }
        let name = format!("{}.{suffix}.cast", self.graph.node(node).name);
        let shape = self.schedule.values[id].shape.clone();
        let out = self.schedule.value(name.clone(), shape, self.setting.cache);
        self.helper(&name, section, Kind::Typecast, vec![input], vec![out]);
        out
    }

    pub(super) fn attention(&mut self, node: NodeId, section: Section, scale: &Scalar) -> Result<(), SelectError> {
        let q = self.operand(node, 0)?;
        let Some(decision) = self.setting.precision.get(&node) else {
            return Err(self.unsupported(node, "attention without a precision", "run the precision pass first"));
        };
        let kind = Kind::Attention {
            scale: weights::scalar(scale),
            precision: decision.used,
            context: self.graph.context as u32,
            block: self.setting.block,
        };
        let inputs = if self.decode() {
            let caches = ["k_cache", "v_cache"].map(|name| Operand::Buffer(name.to_string()));
            let [k_cache, v_cache] = caches;
            vec![q.clone(), k_cache, v_cache, self.positions(), self.page_table()]
        } else {
            vec![q.clone(), self.operand(node, 1)?, self.operand(node, 2)?]
        };
        let Operand::Value(id) = q else {
            return Err(self.unsupported(node, "attention of no value", "feed it queries"));
        };
        let shape = self.schedule.values[id].shape.clone();
        let out = self.schedule.value(self.graph.node(node).name.clone(), shape, DType::Bf16);
        self.call(node, section, kind, inputs, vec![out]);
        Ok(())
    }

    pub(super) fn merge_heads(&mut self, node: NodeId, section: Section) -> Result<(), SelectError> {
        let input = self.operand(node, 0)?;
        let Operand::Value(id) = input else {
            return Err(self.unsupported(node, "a merge of no value", "feed it heads"));
        };
        let shape = &self.schedule.values[id].shape;
        let (heads, padded) = (if self.decode() { shape[2] } else { shape[1] }, shape[3]);
        if let crate::graph::Shape::Heads { head_dim, .. } = self.graph.value_type(self.input(node, 0)).shape
            && head_dim as u32 != padded
        {
            self.keep_padding(node, Some(HeadPadding { heads, from: head_dim as u32, to: padded }));
        }
        let out = self.features(node, heads * padded, DType::Bf16);
        self.call(node, section, Kind::ConcatHeads { heads }, vec![input], vec![out]);
        Ok(())
    }
}
