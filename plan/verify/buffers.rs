//! Invariants `BufferRole` and, for buffers, `Placement`: a persistent buffer has the spec that its role asks for.

use super::weights::placement;
use crate::defect::Defects;
use crate::{Buffer, BufferRole, DType, Invariant, Layout, MemoryConfig, PhaseKind, Place, Plan, TensorSpec};

pub fn check(plan: &Plan, defects: &mut Defects) {
    for (i, buffer) in plan.buffers.iter().enumerate() {
        let place = || Place::Buffer(buffer.name.clone());
        placement(&buffer.spec, &plan.card, place(), defects);
        if plan.buffers[..i].iter().any(|other| other.role == buffer.role) {
            let what = format!("another buffer is for {:?} too", buffer.role);
            defects.push(Invariant::Names, place(), what, "one buffer for each role");
        }
        if buffer.spec.memory != MemoryConfig::DRAM {
            let what = format!("it is in {}", buffer.spec.memory);
            defects.push(Invariant::Placement, place(), what, "persistent buffers are interleaved in DRAM");
        }
        if let Some(expected) = role_problem(plan, buffer) {
            let what = format!("{:?} is {}", buffer.role, buffer.spec);
            defects.push(Invariant::BufferRole, place(), what, expected);
        }
        let cache = buffer.role.is_cache();
        if buffer.per_layer != cache {
            let what = if cache { "a cache shared by all layers" } else { "one per layer" };
            defects.push(Invariant::BufferRole, place(), what, "each layer has its own caches and nothing else");
        }
    }
    if let (Some(k), Some(v)) = (plan.buffer_for(BufferRole::KeyCache), plan.buffer_for(BufferRole::ValueCache))
        && k.spec != v.spec
    {
        let what = format!("it is {}, the key cache {}", v.spec, k.spec);
        defects.push(Invariant::BufferRole, Place::Buffer(v.name.clone()), what, "the caches are alike");
    }
}

/// The spec that the buffer's role asks for, when the buffer has another.
fn role_problem(plan: &Plan, buffer: &Buffer) -> Option<String> {
    let (batch, block) = (plan.options.batch, plan.options.block);
    let blocks = plan.options.context.div_ceil(block);
    let list = |shape: &[u32], dtype| TensorSpec::row_major(shape, dtype, buffer.spec.memory.clone());
    let expected = match buffer.role {
        // The call that draws tokens writes four dimensions.
        BufferRole::Tokens if *buffer.spec.shape == [1, 1, 1, batch] => list(&[1, 1, 1, batch], DType::U32),
        BufferRole::Tokens => list(&[1, 1, batch], DType::U32),
        BufferRole::Positions => list(&[batch], DType::I32),
        // One position for each user where q and k lie on the same cores, two where they lie on different ones.
        BufferRole::RotaryPositions if *buffer.spec.shape == [1, batch] => list(&[1, batch], DType::U32),
        BufferRole::RotaryPositions => list(&[1, 2 * batch], DType::U32),
        BufferRole::PageTable => list(&[batch, blocks], DType::I32),
        BufferRole::Prompt(tokens) => list(&[1, 1, tokens], DType::U32),
        BufferRole::PromptPositions(tokens) => list(&[1, tokens], DType::U32),
        BufferRole::ChunkPages(tokens) => list(&[1, tokens.div_ceil(block)], DType::I32),
        BufferRole::ContextPages => return context_pages_problem(plan, &buffer.spec),
        BufferRole::ChunkStart => list(&[1], DType::I32),
        BufferRole::LastTileStarts | BufferRole::LastTileEnds => list(&[4], DType::U32),
        BufferRole::FirstTokens => list(&[1, 1, 32], DType::U32),
        BufferRole::TopK | BufferRole::Seeds | BufferRole::Generators => list(&[batch], DType::U32),
        BufferRole::TopP | BufferRole::InverseTemperature => list(&[batch], DType::Bf16),
        BufferRole::KeyCache | BufferRole::ValueCache => return cache_problem(&buffer.spec, batch * blocks, block),
    };
    (buffer.spec != expected).then(|| expected.to_string())
}

/// A chunk may start at any position of the context, and attention looks up the block of each of its rows, those of the padding too.
fn context_pages_problem(plan: &Plan, spec: &TensorSpec) -> Option<String> {
    let chunk = plan.phases.iter().map(|phase| match phase.kind {
        PhaseKind::Prefill { tokens } => tokens,
        PhaseKind::Decode { .. } => 0,
    });
    let least = (plan.options.context + chunk.max().unwrap_or(0)).div_ceil(plan.options.block);
    let shaped = matches!(*spec.shape.as_slice(), [1, blocks] if blocks >= least);
    let typed = spec.dtype == DType::I32 && spec.layout == Layout::RowMajor;
    (!shaped || !typed).then(|| format!("row-major i32 of [1, blocks] with at least {least} blocks"))
}

fn cache_problem(spec: &TensorSpec, blocks: u32, block: u32) -> Option<String> {
    let shaped =
        matches!(*spec.shape.as_slice(), [n, heads, b, d] if n == blocks && heads > 0 && b == block && d % 32 == 0);
    let typed = spec.layout == Layout::Tile && matches!(spec.dtype, DType::Bf16 | DType::Bfp8 | DType::Bfp4);
    (!shaped || !typed).then(|| format!("tiled bf16, bfp8 or bfp4 of [{blocks}, heads, {block}, head_dim]"))
}
