//! The device operations that a call becomes, by the names that TT-NN's captures and Tracy's profiles give them.
//!
//! A call launches one program for each. [`crate::replay()`] compares the names with those of the real TT-NN.

use bitnetc_plan::{Layout, Memory, MemoryConfig, Op, TensorSpec};

/// Names of the device operations of a call that launches `programs` of them, in the order in which they run; `operands` are the specs of
/// [`Op::operands`]. A call that launches none has none.
pub fn names(op: &Op, operands: &[&TensorSpec], programs: u32) -> Vec<&'static str> {
    let names = main(op, operands);
    let last = names.last().copied();
    // A call that does in one program what it otherwise does in two leaves out the one that helps.
    let skipped = names.len().saturating_sub(programs as usize);
    let one = |name: &'static str| -> Vec<&'static str> { vec![name] };
    match (op, skipped) {
        (_, _) if programs == 0 => Vec::new(),
        // A core for each row, where a tile is searched by one or several otherwise.
        (Op::TopK(_), _) if programs > 2 => {
            vec!["TopkRoutePrepDeviceOperation", "TopkLargeIndicesDeviceOperation", "TopkRouteFinishDeviceOperation"]
        }
        (Op::Embedding(_), 1..) => one("EmbeddingsDeviceOperation"),
        (_, 1..) => last.map(one).unwrap_or_default(),
        (_, 0) => names,
    }
}

/// The names of a call that needs every program it may need.
fn main(op: &Op, operands: &[&TensorSpec]) -> Vec<&'static str> {
    match op {
        Op::Embedding(_) => vec!["EmbeddingsDeviceOperation", "TilizeWithValPaddingDeviceOperation"],
        Op::RmsNorm(_) => vec!["LayerNormDeviceOperation"],
        Op::Matmul(_) => vec!["MatmulDeviceOperation"],
        Op::TernaryLinear(_) | Op::TernaryGated(_) | Op::QuantizeRows(_) | Op::AddRows(_) => {
            vec!["GenericOpDeviceOperation"]
        }
        Op::CreateHeadsDecode(_) => vec!["NLPCreateQKVHeadsDecodeDeviceOperation"],
        Op::CreateHeads(_) => vec!["NlpCreateHeadsDeviceOperation"],
        Op::RotaryFused(_) => vec!["RotaryEmbeddingLlamaFusedQKDeviceOperation"],
        Op::RotaryDecode(_) | Op::Rotary(_) => vec!["RotaryEmbeddingLlamaDeviceOperation"],
        Op::CacheUpdate(_) => vec!["PagedFusedUpdateCacheDeviceOperation"],
        Op::CacheUpdateOne(_) => vec!["PagedUpdateCacheDeviceOperation"],
        Op::CacheFill(_) => vec!["PagedFillCacheDeviceOperation"],
        Op::SdpaDecode(_) => vec!["SdpaDecodeDeviceOperation"],
        Op::Sdpa(_) => vec!["SDPAOperation"],
        Op::ConcatHeadsDecode(_) => vec!["NLPConcatHeadsDecodeDeviceOperation"],
        Op::ConcatHeads(_) => vec!["NLPConcatHeadsDeviceOperation"],
        Op::ToMemoryConfig(args) => vec![moved(operands, &args.memory)],
        Op::ToLayout(args) => vec![ordered(operands, args.layout)],
        Op::Typecast(_) => vec!["TypecastDeviceOperation"],
        Op::Transpose(_) => vec!["TransposeDeviceOperation"],
        Op::Slice(_) | Op::SliceAt(_) => vec!["SliceDeviceOperation"],
        Op::Concat(_) => vec!["ConcatDeviceOperation"],
        Op::Binary(_) => vec!["BinaryNgDeviceOperation"],
        Op::Abs(_) => vec!["UnaryDeviceOperation"],
        Op::RowMax(_) => vec!["FillPadDeviceOperation", "ReduceDeviceOperation"],
        Op::ArgMax(_) | Op::BestColumn(_) => vec!["ArgMaxDeviceOperation"],
        Op::Reshape(_) => vec!["ReshapeViewDeviceOperation"],
        Op::GatherRows(_) => vec!["EmbeddingsDeviceOperation"],
        Op::AddIntegers(_) | Op::TimesInteger(_) => vec!["BinaryNgDeviceOperation"],
        Op::CopyInto(_) => vec!["CopyDeviceOperation"],
        Op::TopK(_) => vec!["FillPadDeviceOperation", "TopKDeviceOperation"],
        Op::ManualSeed(_) => vec!["ManualSeedDeviceOperation"],
        Op::Sampling(_) => vec!["SamplingDeviceOperation"],
        Op::PlusOne(_) => vec!["PlusOneDeviceOperation"],
        Op::View(_) | Op::Deallocate(_) => Vec::new(),
    }
}

/// The operation that brings a tensor into another memory config.
fn moved(operands: &[&TensorSpec], to: &MemoryConfig) -> &'static str {
    let from = operands.first().map(|spec| &spec.memory);
    match (from.is_some_and(MemoryConfig::is_sharded), to.is_sharded()) {
        (true, true) => "ReshardDeviceOperation",
        (true, false) => "ShardedToInterleavedDeviceOperation",
        (false, true) if to.memory() == Memory::L1 => "InterleavedToShardedDeviceOperation",
        (false, true | false) => "CopyDeviceOperation",
    }
}

/// The operation that orders a tensor's elements anew.
fn ordered(operands: &[&TensorSpec], to: Layout) -> &'static str {
    let tiled = |spec: &&TensorSpec| TensorSpec { layout: Layout::Tile, ..(**spec).clone() }.padded() != spec.shape;
    match (to, operands.first().is_some_and(tiled)) {
        (Layout::RowMajor, true) => "UntilizeWithUnpaddingDeviceOperation",
        (Layout::RowMajor, false) => "UntilizeDeviceOperation",
        (Layout::Tile, true) => "TilizeWithValPaddingDeviceOperation",
        (Layout::Tile, false) => "TilizeDeviceOperation",
    }
}
