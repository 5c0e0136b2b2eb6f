//! The weights of the plan for those of the graph: their shapes, padding, and sharding over DRAM banks.

use bitnetc_plan::weight::{Content, LongAngles, Matrix, RotaryFunction, Vector};
use bitnetc_plan::{Cores, DType, MemoryConfig, Padding, Scalar, Source, TILE, TensorSpec, Weight};

use crate::graph::{Encoding, Linear, Offset, Rope, ScaleConvention, WeightRef};
use crate::ttnn::placements::{dram_sharded, two_bits};

/// Converts a scalar of the graph to one of the plan.
pub fn scalar(scalar: &crate::graph::Scalar) -> Scalar {
    Scalar { value: scalar.value, scales: scalar.factors.iter().map(|f| (f.weight.clone(), f.power)).collect() }
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
        outputs: None,
        inputs: None,
    }
}

/// The embedding table, bf16 and row-major in DRAM, since TT-NN untilises any other on every call.
pub fn table(name: &str, weight: &WeightRef, padding: Option<Padding>) -> Weight {
    let columns = padding.map_or(weight.shape[1] as u32, |padding| padding.to);
    let shape = vec![1, 1, weight.shape[0] as u32, columns];
    Weight {
        name: name.to_string(),
        per_layer: false,
        spec: TensorSpec::row_major(shape, DType::Bf16, MemoryConfig::DRAM),
        address: None,
        source: Source::Rows(Matrix { inputs: padding, ..matrix(weight) }),
    }
}

/// Ternary matrices whose scales multiply a vector. `weight` finds one by its name.
fn scales<'w>(scale: &crate::graph::Scalar, weight: impl Fn(&str) -> Option<&'w WeightRef>) -> Vec<(Matrix, i32)> {
    scale.factors.iter().filter_map(|f| Some((matrix(weight(&f.weight)?), f.power))).collect()
}

/// A norm's factors, and what multiplies them, over so many columns, padding included, the first `rotated` of each head in the order of the
/// rotation. `weight` finds a weight by its name.
pub fn gamma<'w>(
    name: String,
    per_layer: bool,
    gamma: Option<(&WeightRef, &crate::graph::Scalar)>,
    (width, padding): (u32, Option<Padding>),
    rotated: u32,
    weight: impl Fn(&str) -> Option<&'w WeightRef>,
) -> Weight {
    let factor = padding.map_or(1.0, Padding::share).sqrt();
    let source = match gamma {
        Some((gamma, scale)) => {
            let (tensor, len) = (gamma.name.clone(), gamma.shape[0] as u32);
            let (factor, scales) = (factor * scale.value, scales(scale, weight));
            Source::Vectors(vec![Vector { tensor, len, rotated, padding, factor, scales }])
        }
        None => Source::Ones { len: width, factor },
    };
    // The factors are tiled, since an interleaved norm of a long row fits L1 only so. A sharded norm accepts it as well.
    let spec = TensorSpec::tile(vec![1, 1, 1, width], DType::Bf16, MemoryConfig::DRAM);
    Weight { name, per_layer, spec, address: None, source }
}

/// The heads of a projection's columns.
#[derive(Debug, Clone, Copy)]
pub struct SplitColumns {
    /// The model's numbers of a head.
    pub head_dim: u32,
    /// Leading numbers of a query or key head that are rotated.
    pub rotated: u32,
    /// The first of q, k and v that the columns are: 0, unless each has a projection of its own.
    pub first: usize,
}

impl SplitColumns {
    /// Rotated numbers and padding of the `at`th part of the columns, which is so wide in the model; `columns` is the padding of them all.
    fn part(self, at: usize, width: u32, columns: Option<Padding>) -> (u32, Option<Padding>) {
        let from = self.head_dim;
        let padding = Padding { groups: width / from, from, to: columns.map_or(from, |padding| padding.to) };
        (if self.first + at < 2 { self.rotated } else { 0 }, Some(padding))
    }
}

/// A bias of so many columns, padding included: vectors beside each other in the order of the columns that they are added to. `weight` finds
/// a weight by its name.
pub fn bias<'w>(
    name: String,
    per_layer: bool,
    offsets: &[Offset],
    split: Option<SplitColumns>,
    (columns, padding): (u32, Option<Padding>),
    weight: impl Fn(&str) -> Option<&'w WeightRef>,
) -> Weight {
    let part = |(at, offset): (usize, &Offset)| {
        let len = offset.weight.shape[0] as u32;
        let (rotated, padding) = split.map_or((0, padding), |split| split.part(at, len, padding));
        let scales = scales(&offset.scale, &weight);
        Vector { tensor: offset.weight.name.clone(), len, rotated, padding, factor: offset.scale.value, scales }
    };
    let source = Source::Vectors(offsets.iter().enumerate().map(part).collect());
    let spec = TensorSpec::tile(vec![1, 1, 1, columns], DType::Bf16, MemoryConfig::DRAM);
    Weight { name, per_layer, spec, address: None, source }
}

/// What a projection's weight is called, and how it is stored.
pub struct Storage<'a> {
    /// Its name in the plan.
    pub name: &'a str,
    /// Whether each layer has its own.
    pub per_layer: bool,
    /// Its data type.
    pub dtype: DType,
    /// The DRAM banks over which its columns are sharded.
    pub banks: u32,
}

/// A projection's weight `sides = [K, N]`, padding included, width-sharded over the DRAM banks, or interleaved if in two bits. `paddings` are those of what it reads and
/// of what it makes, `split` the heads into which the product is cut.
pub fn projection(
    storage: Storage<'_>,
    linear: &Linear,
    split: Option<SplitColumns>,
    sides: [u32; 2],
    [inputs, outputs]: [Option<Padding>; 2],
) -> Weight {
    let mut parts: Vec<Matrix> = linear.parts.iter().map(|p| matrix(&p.weight)).collect();
    for (at, part) in parts.iter_mut().enumerate() {
        part.inputs = inputs;
        part.outputs = outputs;
        if let Some(split) = split {
            (part.rotated, part.outputs) = split.part(at, part.shape[0], outputs);
        }
    }
    Weight {
        name: storage.name.to_string(),
        per_layer: storage.per_layer,
        spec: match storage.dtype == DType::Bfp2 {
            true => two_bits(sides),
            false => dram_sharded(sides, storage.dtype, storage.banks),
        },
        address: None,
        source: Source::Columns(parts),
    }
}

/// A rotary table with a row for every position, for `embedding` to look up. A `prompt` phase of more tokens than the first frequencies are for
/// has a table of its own, in which every row is of a longer sequence.
pub fn rotary_table(
    name: &str,
    function: RotaryFunction,
    rope: &Rope,
    context: u32,
    head_dim: u32,
    prompt: Option<u32>,
) -> Weight {
    let spec = TensorSpec::row_major(vec![1, 1, context, head_dim], DType::Bf16, MemoryConfig::DRAM);
    let (frequencies, amplitude) = rope.frequencies(1);
    let short = rope.short_sequence().map(|short| short as u32).filter(|short| *short < context);
    let one_sequence = short.is_some_and(|short| prompt.is_some_and(|tokens| tokens > short));
    let long =
        short.map(|beyond| LongAngles { beyond, frequencies: rope.frequencies(context as usize).0, one_sequence });
    let name = if one_sequence { &format!("{name}.long") } else { name };
    let source = Source::RotaryTable { function, positions: context, frequencies, amplitude, long };
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
