//! The weights of the plan for those of the graph: their shapes, padding, and sharding over DRAM banks.

use bitnetc_plan::weight::{Content, Matrix, RotaryFunction};
use bitnetc_plan::{Cores, DType, MemoryConfig, Padding, Scalar, Source, TILE, TensorSpec, Weight};

use crate::graph::{Encoding, Linear, Rope, ScaleConvention, WeightRef};
use crate::ttnn::placements::dram_sharded;

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
        rotate_pairs: false,
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

/// A norm's factors over `width` columns, padding included.
pub fn gamma(name: String, per_layer: bool, gamma: Option<&WeightRef>, width: u32, padding: Option<Padding>) -> Weight {
    let factor = padding.map_or(1.0, Padding::share).sqrt();
    let source = match gamma {
        Some(weight) => Source::Vector { tensor: weight.name.clone(), len: weight.shape[0] as u32, padding, factor },
        None => Source::Ones { len: width, factor },
    };
    // The factors are tiled, since an interleaved norm of a long row fits L1 only so. A sharded norm accepts it as well.
    let spec = TensorSpec::tile(vec![1, 1, 1, width], DType::Bf16, MemoryConfig::DRAM);
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

/// A projection's weight `sides = [K, N]`, padding included, width-sharded over the DRAM banks. `paddings` are those of what it reads and
/// of what it makes. `head_dim` are the model's numbers of a head, where the product is split into queries, keys and values.
pub fn projection(
    storage: Storage<'_>,
    linear: &Linear,
    head_dim: Option<u32>,
    sides: [u32; 2],
    [inputs, outputs]: [Option<Padding>; 2],
) -> Weight {
    let mut parts: Vec<Matrix> = linear.parts.iter().map(|p| matrix(&p.weight)).collect();
    for (at, part) in parts.iter_mut().enumerate() {
        part.inputs = inputs;
        part.outputs = outputs;
        if let Some(from) = head_dim {
            part.rotate_pairs = at < 2;
            part.outputs = Some(Padding { groups: part.shape[0] / from, from, to: outputs.map_or(from, |p| p.to) });
        }
    }
    Weight {
        name: storage.name.to_string(),
        per_layer: storage.per_layer,
        spec: dram_sharded(sides, storage.dtype, storage.banks),
        address: None,
        source: Source::Columns(parts),
    }
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
