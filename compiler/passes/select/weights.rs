//! The weights of the plan for those of the graph: their shapes, padding, and sharding over DRAM banks.
//!
//! A norm over heads that are padded from `d` to `D` columns divides by `D/d` times too many columns: `mean' = mean * d/D`. With `eps' =
//! eps * d/D` and `gamma' = gamma * sqrt(d/D)` it is the same norm.

use bitnetc_plan::weight::{Content, HeadPadding, Matrix, RotaryFunction, Vector};
use bitnetc_plan::{Cores, DType, MemoryConfig, Scalar, Source, TILE, TensorSpec, Weight};

use crate::graph::{Encoding, Linear, Offset, Rope, ScaleConvention, WeightRef};
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
        rotated: 0,
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

/// A norm's factors over `width` columns, padded heads included, the first `rotated` of each head in the order of the rotation.
pub fn gamma(
    name: String,
    per_layer: bool,
    gamma: Option<&WeightRef>,
    width: u32,
    padding: Option<HeadPadding>,
    rotated: u32,
) -> Weight {
    let source = match gamma {
        Some(weight) => Source::Vectors(vec![Vector {
            tensor: weight.name.clone(),
            len: weight.shape[0] as u32,
            rotated,
            heads: padding,
            factor: padded_share(padding).sqrt(),
            scales: Vec::new(),
        }]),
        None => Source::Ones { len: width },
    };
    // The factors are tiled, since an interleaved norm of a long row fits L1 only so. A sharded norm accepts it as well.
    let spec = TensorSpec::tile(vec![1, 1, 1, width], DType::Bf16, MemoryConfig::DRAM);
    Weight { name, per_layer, spec, address: None, source }
}

/// The heads of a fused QKV projection's columns.
#[derive(Debug, Clone, Copy)]
pub struct SplitColumns {
    /// Elements of a head.
    pub head_dim: u32,
    /// Leading elements of a query or key head that are rotated.
    pub rotated: u32,
    /// The first of q, k and v that the columns are: 0, unless each has a projection of its own.
    pub first: usize,
}

impl SplitColumns {
    /// Rotated elements and padding of the `at`th part of the columns, which is so wide.
    fn part(self, at: usize, columns: u32) -> (u32, Option<HeadPadding>) {
        let to = self.head_dim.next_multiple_of(TILE);
        let heads = HeadPadding { heads: columns / self.head_dim, from: self.head_dim, to };
        (if self.first + at < 2 { self.rotated } else { 0 }, Some(heads))
    }
}

fn padded(heads: HeadPadding) -> u64 {
    u64::from(heads.heads) * u64::from(heads.to)
}

/// A bias: a row of vectors beside each other, in the order of the columns that they are added to. `ternary` finds a weight by its name. None
/// when it has 2^31 columns or more.
pub fn bias<'w>(
    name: String,
    per_layer: bool,
    offsets: &[Offset],
    split: Option<SplitColumns>,
    ternary: impl Fn(&str) -> Option<&'w WeightRef>,
) -> Option<Weight> {
    let part = |(at, offset): (usize, &Offset)| {
        let len = offset.weight.shape[0] as u32;
        let (rotated, heads) = split.map_or((0, None), |split| split.part(at, len));
        let scales = offset.scale.factors.iter();
        let scales = scales.filter_map(|f| Some((matrix(ternary(&f.weight)?), f.power))).collect();
        Vector { tensor: offset.weight.name.clone(), len, rotated, heads, factor: offset.scale.value, scales }
    };
    let parts: Vec<Vector> = offsets.iter().enumerate().map(part).collect();
    let columns = parts.iter().map(|p| p.heads.map_or(u64::from(p.len), padded)).sum::<u64>();
    let columns = u32::try_from(columns).ok().filter(|columns| *columns < 1 << 31)?;
    let spec = TensorSpec::tile(vec![1, 1, 1, columns], DType::Bf16, MemoryConfig::DRAM);
    Some(Weight { name, per_layer, spec, address: None, source: Source::Vectors(parts) })
}

/// A projection's weight `[K, N]`, width-sharded over the DRAM banks.
///
/// `split` are the heads of a fused QKV projection's columns, `input` the padded heads it reads. None when a side is 2^31 or longer.
pub fn projection(
    name: &str,
    per_layer: bool,
    linear: &Linear,
    dtype: DType,
    split: Option<SplitColumns>,
    input: Option<HeadPadding>,
    banks: u32,
) -> Option<Weight> {
    let mut parts: Vec<Matrix> = linear.parts.iter().map(|p| matrix(&p.weight)).collect();
    for (at, part) in parts.iter_mut().enumerate() {
        part.input_heads = input;
        if let Some(split) = split {
            (part.rotated, part.heads) = split.part(at, part.shape[0]);
        }
    }
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

/// A rotary table: row-major with every position for `embedding` (decode), or the first `tiled` positions as tiles (prefill).
pub fn rotary_table(
    name: &str,
    function: RotaryFunction,
    rope: &Rope,
    context: u32,
    head_dim: u32,
    tiled: Option<u32>,
) -> Weight {
    let positions = tiled.unwrap_or(context);
    let shape = vec![1, 1, positions, head_dim];
    let spec = match tiled {
        Some(_) => TensorSpec::tile(shape, DType::Bf16, MemoryConfig::DRAM),
        None => TensorSpec::row_major(shape, DType::Bf16, MemoryConfig::DRAM),
    };
    let (frequencies, amplitude) = rope.frequencies(context as usize);
    let source = Source::RotaryTable { function, positions, frequencies, amplitude };
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
