//! The weights of the plan for those of the graph: their shapes, padding, and sharding over DRAM banks.
//!
//! A norm over heads that are padded from `d` to `D` columns divides by `D/d` times too many columns: `mean' = mean * d/D`. With `eps' =
//! eps * d/D` and `gamma' = gamma * sqrt(d/D)` it is the same norm.

use bitnetc_plan::weight::{Content, HeadPadding, Matrix, RotaryFunction};
use bitnetc_plan::{Cores, DType, MemoryConfig, Scalar, Source, TILE, TensorSpec, Weight};

use crate::graph::{Encoding, Linear, Rope, ScaleConvention, WeightRef};
use crate::ttnn::placements::dram_sharded;

/// Converts a scalar of the graph to one of the plan.
pub fn scalar(scalar: &crate::graph::Scalar) -> Scalar {
    Scalar { value: scalar.value, scales: scalar.factors.iter().map(|f| (f.weight.clone(), f.power)).collect() }
}

/// The number of real columns over that of padded ones.
pub fn padded_share(padding: Option<HeadPadding>) -> f64 {
    padding.map_or(1.0, |p| f64::from(p.from) / f64::from(p.to))
}

/// A matrix of the checkpoint as the plan names it.
pub fn matrix(weight: &WeightRef) -> Matrix {
    Matrix {
        tensor: weight.name.clone(),
        shape: [weight.shape[0] as u32, weight.shape.get(1).map_or(1, |c| *c as u32)],
        rows: weight.rows.map(|(start, end)| (start as u32, end as u32)),
        content: match weight.encoding {
            Encoding::Dense => Content::Dense,
            Encoding::Packed(convention) => Content::Packed { divides: convention == ScaleConvention::Divides },
            Encoding::Absmean => Content::Absmean,
        },
        rotate_pairs: false,
        heads: None,
        input_heads: None,
    }
}

/// The embedding table, bf16 and row-major in DRAM, since TT-NN untilises any other on every call.
pub fn table(name: &str, weight: &WeightRef) -> Weight {
    let shape = vec![1, 1, weight.shape[0] as u32, weight.shape[1] as u32];
    Weight {
        name: name.to_string(),
        per_layer: false,
        spec: TensorSpec::row_major(shape, DType::Bf16, MemoryConfig::DRAM),
        address: None,
        source: Source::Rows(matrix(weight)),
    }
}

/// A norm's factors over `width` columns, padded heads included.
pub fn gamma(
    name: String,
    per_layer: bool,
    gamma: Option<&WeightRef>,
    width: u32,
    padding: Option<HeadPadding>,
) -> Weight {
    let source = match gamma {
        Some(weight) => Source::Vector {
            tensor: weight.name.clone(),
            len: weight.shape[0] as u32,
            heads: padding,
            factor: padded_share(padding).sqrt(),
        },
        None => Source::Ones { len: width },
    };
    // The factors are tiled, since an interleaved norm of a long row fits L1 only so. A sharded norm accepts it as well.
    let spec = TensorSpec::tile(vec![1, 1, 1, width], DType::Bf16, MemoryConfig::DRAM);
    Weight { name, per_layer, spec, address: None, source }
}

/// A projection's weight `[K, N]`, width-sharded over the DRAM banks.
///
/// `split` are the query heads, KV heads and head width of a fused QKV projection; `input` the padded heads it reads. None when a side
/// is 2^31 or longer.
pub fn projection(
    name: &str,
    per_layer: bool,
    linear: &Linear,
    dtype: DType,
    split: Option<(u32, u32, u32)>,
    input: Option<HeadPadding>,
    banks: u32,
) -> Option<Weight> {
    let mut parts: Vec<Matrix> = linear.parts.iter().map(|p| matrix(&p.weight)).collect();
    for (at, part) in parts.iter_mut().enumerate() {
        part.input_heads = input;
        if let Some((_, _, head_dim)) = split {
            let to = head_dim.next_multiple_of(TILE);
            part.rotate_pairs = at < 2;
            part.heads = Some(HeadPadding { heads: part.shape[0] / head_dim, from: head_dim, to });
        }
    }
    let padded = |heads: HeadPadding| u64::from(heads.heads) * u64::from(heads.to);
    let rows = input.map_or(linear.in_width() as u64, padded);
    let columns = parts.iter().map(|p| p.heads.map_or(u64::from(p.shape[0]), padded)).sum::<u64>();
    let side = |length: u64| u32::try_from(length).ok().filter(|side| *side < 1 << 31);
    Some(Weight {
        name: name.to_string(),
        per_layer,
        spec: dram_sharded([side(rows)?, side(columns)?], dtype, banks),
        address: None,
        source: Source::Columns(parts),
    })
}

/// A rotary table with a row for every position, for `embedding` to look up.
pub fn rotary_table(name: &str, function: RotaryFunction, rope: &Rope, context: u32, head_dim: u32) -> Weight {
    let spec = TensorSpec::row_major(vec![1, 1, context, head_dim], DType::Bf16, MemoryConfig::DRAM);
    let (frequencies, amplitude) = rope.frequencies(context as usize);
    let source = Source::RotaryTable { function, positions: context, frequencies, amplitude };
    Weight { name: name.to_string(), per_layer: false, spec, address: None, source }
}

/// The pair-swapping matrix: one tile in DRAM for prefill; for decode one tile on each of the `cores` of queries and keys, in L1 for good.
pub fn rotary_transform(cores: Option<Cores>) -> Weight {
    let (name, rows, memory) = match cores {
        None => ("rotary.transform.tile", TILE, MemoryConfig::DRAM),
        Some(cores) => ("rotary.transform", cores.len() * TILE, MemoryConfig::height(cores, [TILE, TILE])),
    };
    Weight {
        name: name.to_string(),
        per_layer: false,
        spec: TensorSpec::tile(vec![1, 1, rows, TILE], DType::Bf16, memory),
        address: None,
        source: Source::RotaryTransform,
    }
}
