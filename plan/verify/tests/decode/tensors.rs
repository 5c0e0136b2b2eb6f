//! The tensors of the plan that live as long as it runs: weights, tables and persistent buffers.

use super::{BLOCK, CHUNKS, CONTEXT, USERS};
use crate::weight::{Content, Matrix, RotaryFunction, Vector};
use crate::*;

fn matrix(tensor: &str, shape: [u32; 2]) -> Matrix {
    Matrix {
        tensor: tensor.into(),
        shape,
        rows: None,
        content: Content::Packed { divides: false },
        rotated: 0,
        outputs: None,
        inputs: None,
    }
}

fn dram(name: &str, [k, n]: [u32; 2], dtype: DType, matrices: Vec<Matrix>) -> Weight {
    let memory = MemoryConfig::dram_width(12, [k, n.next_multiple_of(32 * 12) / 12]);
    let spec = TensorSpec::tile([1, 1, k, n], dtype, memory);
    Weight { name: name.into(), per_layer: true, spec, address: None, source: Source::Columns(matrices) }
}

fn gamma(name: &str, len: u32, per_layer: bool) -> Weight {
    let tensor =
        if per_layer { format!("model.layers.{{layer}}.{name}.weight") } else { format!("model.{name}.weight") };
    Weight {
        name: name.into(),
        per_layer,
        spec: TensorSpec::row_major([1, 1, len / 32, 32], DType::Bf16, MemoryConfig::DRAM),
        address: None,
        source: Source::Vectors(vec![Vector { tensor, len, rotated: 0, padding: None, factor: 1.0, scales: vec![] }]),
    }
}

fn table(name: &str, function: RotaryFunction) -> Weight {
    let source = Source::RotaryTable {
        function,
        positions: CONTEXT,
        frequencies: (0..64).map(|i| 500_000f64.powf(-f64::from(i) / 64.0)).collect(),
        amplitude: 1.0,
        long: None,
    };
    let spec = TensorSpec::row_major([1, 1, CONTEXT, 128], DType::Bf16, MemoryConfig::DRAM);
    Weight { name: name.into(), per_layer: false, spec, address: None, source }
}

pub fn weights() -> Vec<Weight> {
    let layer = |name: &str| format!("model.layers.{{layer}}.{name}.weight");
    let rotated = |name: &str, count: u32| Matrix {
        rotated: 128,
        outputs: Some(Padding { groups: count, from: 128, to: 128 }),
        ..matrix(&layer(name), [128 * count, 2560])
    };
    let qkv = vec![rotated("q", 20), rotated("k", 5), matrix(&layer("v"), [640, 2560])];
    let embedding = Matrix { content: Content::Dense, ..matrix("model.embed_tokens.weight", [128_256, 2560]) };
    let columns = 128_256 / CHUNKS;
    let chunk = |i: u32| {
        let part = Matrix { rows: Some((i * columns, (i + 1) * columns)), shape: [columns, 2560], ..embedding.clone() };
        Weight { per_layer: false, ..dram(&format!("lm_head.{i}"), [2560, columns], DType::Bfp8, vec![part]) }
    };
    let trans = MemoryConfig::height(Cores::row_major(2 * USERS, (8, 8)), [32, 32]);
    let mut all = vec![
        Weight {
            name: "embedding".into(),
            per_layer: false,
            spec: TensorSpec::row_major([1, 1, 128_256, 2560], DType::Bf16, MemoryConfig::DRAM),
            address: None,
            source: Source::Rows(embedding.clone()),
        },
        table("cos", RotaryFunction::Cos),
        table("sin", RotaryFunction::Sin),
        Weight {
            name: "trans".into(),
            per_layer: false,
            spec: TensorSpec::tile([1, 1, 64 * USERS, 32], DType::Bf16, trans),
            address: None,
            source: Source::RotaryTransform,
        },
        gamma("input_norm", 2560, true),
        dram("qkv", [2560, 3840], DType::Bfp8, qkv),
        gamma("attn_sub_norm", 2560, true),
        dram("o", [2560, 2560], DType::Bfp8, vec![matrix(&layer("o"), [2560, 2560])]),
        gamma("post_norm", 2560, true),
        dram("gate", [2560, 6912], DType::Bfp8, vec![matrix(&layer("gate"), [6912, 2560])]),
        dram("up", [2560, 6912], DType::Bfp8, vec![matrix(&layer("up"), [6912, 2560])]),
        gamma("ffn_sub_norm", 6912, true),
        dram("down", [6912, 2560], DType::Bfp8, vec![matrix(&layer("down"), [2560, 6912])]),
        gamma("norm", 2560, false),
    ];
    all.extend((0..CHUNKS).map(chunk));
    all
}

pub fn buffers() -> Vec<Buffer> {
    let list = |name: &str, role, shape: Vec<u32>, dtype| Buffer {
        name: name.into(),
        per_layer: false,
        spec: TensorSpec::row_major(shape, dtype, MemoryConfig::DRAM),
        address: None,
        role,
    };
    let blocks = CONTEXT / BLOCK;
    let cache = |name: &str, role| Buffer {
        name: name.into(),
        per_layer: true,
        spec: TensorSpec::tile([USERS * blocks, 5, BLOCK, 128], DType::Bfp8, MemoryConfig::DRAM),
        address: None,
        role,
    };
    vec![
        list("tokens", BufferRole::Tokens, vec![1, 1, USERS], DType::U32),
        list("positions", BufferRole::Positions, vec![USERS], DType::I32),
        list("rotary_positions", BufferRole::RotaryPositions, vec![1, 2 * USERS], DType::U32),
        list("page_table", BufferRole::PageTable, vec![USERS, blocks], DType::I32),
        cache("k_cache", BufferRole::KeyCache),
        cache("v_cache", BufferRole::ValueCache),
    ]
}
