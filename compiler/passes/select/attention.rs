//! Selection of the calls for heads, the KV cache and attention.

use bitnetc_plan::{BufferRole, DType, MemoryConfig, TensorSpec};

use super::weights;
use super::{SelectError, Selector};
use crate::graph::{NodeId, Scalar, Section, Value};
use crate::schedule::{HeadCores, Input, Kind, ValueId};

impl Selector<'_> {
    pub(super) fn split_heads(
        &mut self,
        node: NodeId,
        section: Section,
        heads: usize,
        kv_heads: usize,
        head_dim: usize,
    ) -> Result<(), SelectError> {
        let input = match self.graph.inputs(node).len() {
            1 => self.input(node, 0)?,
            parts => self.join(node, section, parts)?,
        };
        let head_dim = self.paddings.head(heads, head_dim);
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

    /// Projections that could not be fused, side by side: TT-NN cuts heads off one tensor.
    fn join(&mut self, node: NodeId, section: Section, parts: usize) -> Result<Input, SelectError> {
        let inputs = (0..parts).map(|at| self.input(node, at)).collect::<Result<Vec<_>, _>>()?;
        let width = inputs.iter().map(|input| self.width(input)).sum();
        let name = format!("{}.joined", self.graph.node(node).name);
        let out = self.schedule.value(name.clone(), vec![1, 1, self.rows(), width], DType::Bf16);
        self.helper(&name, section, Kind::Join, inputs, vec![out]);
        Ok(Input::Value(out))
    }

    /// A value that holds heads: `[1, users, heads, head_dim]` in decode, `[1, heads, tokens, head_dim]` in prefill.
    fn heads_value(&mut self, node: NodeId, suffix: &str, heads: u32, head_dim: u32) -> ValueId {
        let rows = self.rows();
        let shape = if self.decode() { vec![1, rows, heads, head_dim] } else { vec![1, heads, rows, head_dim] };
        self.schedule.value(format!("{}.{suffix}", self.graph.node(node).name), shape, DType::Bf16)
    }

    fn caches(&mut self, kv_heads: u32, head_dim: u32) -> Result<[Input; 2], SelectError> {
        let blocks = (self.graph.context as u32).div_ceil(self.setting.block) * self.setting.batch;
        let spec = TensorSpec::tile(
            vec![blocks, kv_heads, self.setting.block, head_dim],
            self.setting.cache,
            MemoryConfig::DRAM,
        );
        Ok([
            self.buffer("k_cache", true, spec.clone(), BufferRole::KeyCache)?,
            self.buffer("v_cache", true, spec, BufferRole::ValueCache)?,
        ])
    }

    pub(super) fn cache_update(&mut self, node: NodeId, section: Section) -> Result<(), SelectError> {
        let (k, v) = (self.input(node, 0)?, self.input(node, 1)?);
        let Input::Value(rows) = k else {
            return Err(self.unsupported(node, "a cache update of no value", "feed it keys and values"));
        };
        let shape = &self.schedule.values[rows].shape;
        let (kv_heads, head_dim) = (if self.decode() { shape[2] } else { shape[1] }, shape[3]);
        let [k_cache, v_cache] = self.caches(kv_heads, head_dim)?;
        let page_table = self.page_table()?;
        if self.decode() {
            let positions = self.positions()?;
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
            let stored = self.as_cached(node, section, input, name)?;
            let name = format!("{}.{name}", self.graph.node(node).name);
            self.helper(&name, section, Kind::CacheFill, vec![cache, Input::Value(stored), page_table.clone()], vec![]);
            self.ids.insert(Value { node, output }, stored);
        }
        Ok(())
    }

    /// Keys or values of a prompt in the data type of the cache, so that the attention of prefill reads the same numbers as that of decode.
    fn as_cached(
        &mut self,
        node: NodeId,
        section: Section,
        input: Input,
        suffix: &str,
    ) -> Result<ValueId, SelectError> {
        let Input::Value(id) = input else {
            return Err(self.unsupported(node, "a cache update of no value", "feed it keys and values"));
        };
        if self.schedule.values[id].dtype == self.setting.cache {
            return Ok(id);
        }
        let name = format!("{}.{suffix}.cast", self.graph.node(node).name);
        let shape = self.schedule.values[id].shape.clone();
        let out = self.schedule.value(name.clone(), shape, self.setting.cache);
        self.helper(&name, section, Kind::Typecast, vec![input], vec![out]);
        Ok(out)
    }

    pub(super) fn attention(&mut self, node: NodeId, section: Section, scale: &Scalar) -> Result<(), SelectError> {
        let q = self.input(node, 0)?;
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
            let caches = ["k_cache", "v_cache"].map(|name| Input::Buffer(name.to_string()));
            let [k_cache, v_cache] = caches;
            vec![q.clone(), k_cache, v_cache, self.positions()?, self.page_table()?]
        } else {
            vec![q.clone(), self.input(node, 1)?, self.input(node, 2)?]
        };
        let Input::Value(id) = q else {
            return Err(self.unsupported(node, "attention of no value", "feed it queries"));
        };
        let shape = self.schedule.values[id].shape.clone();
        let out = self.schedule.value(self.graph.node(node).name.clone(), shape, DType::Bf16);
        self.call(node, section, kind, inputs, vec![out]);
        Ok(())
    }

    pub(super) fn merge_heads(&mut self, node: NodeId, section: Section) -> Result<(), SelectError> {
        let input = self.input(node, 0)?;
        let Input::Value(id) = input else {
            return Err(self.unsupported(node, "a merge of no value", "feed it heads"));
        };
        let heads = self.schedule.values[id].shape[if self.decode() { 2 } else { 1 }];
        let out = self.features(node, DType::Bf16)?;
        self.call(node, section, Kind::ConcatHeads { heads }, vec![input], vec![out]);
        Ok(())
    }
}
