//! `ttnn.concat` along columns.
//!
//! A core reads whole rows of a row-major result, two at a time when four fit into what L1 leaves; of a tiled one two tiles.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::Concat;
use crate::{Card, DType, Layout, TILE, TensorSpec};

/// Most tensors that one program joins; more are joined in several.
const MOST_AT_ONCE: usize = 47;

constraints! { "concat", "concat_device_operation.cpp", also [placement];
    COUNT: "Two to 47 tensors are joined."
        because "TT-NN joins more in several programs, and returns a single one as it is"
        => "concat of {count} tensors", "2 to {most}";
    RESULT_INTERLEAVED: "The result is interleaved."
        because "plans join logits in DRAM; kernels for shards were not studied"
        => "concat into {memory}", "an interleaved result";
    INTERLEAVED: "The tensors are interleaved, bf16 or f32."
        because "plans join untilized logits and projections; kernels for shards were not studied"
        => "concat of {input} (tensor {at})", "bf16 or f32 tensors, interleaved";
    ONE_LAYOUT: "The tensors are all row-major or all tiled."
        because "TT-NN converts the others, one by one"
        => "tensor {at} is in {layout} layout, the first in {first}", "{first} tensors";
    EQUAL_ROWS: "The tensors have one type, and one shape but for the columns."
        => "All input tensors must have the same dimensions except at the concat dimension: tensor {at} is {input}, the first {first}",
           "equal types and shapes but for the columns";
    WHOLE_TILES: "Columns of tiled tensors are whole tiles."
        because "TT-NN untilizes others, one by one"
        => "{columns} columns of tensor {at} are no whole tiles", "columns in multiples of 32";
    ALIGNED_ROWS: "Rows of every row-major tensor end on the alignment of DRAM."
        because "TT-NN transposes others, one by one"
        => "rows of tensor {at} are {bytes} B, not a multiple of {alignment} B", "columns in multiples of {columns}";
}

/// Interleaved tensors of equal rows, side by side.
pub(super) fn check(args: &Concat, given: &[&TensorSpec], card: &Card) -> Answer {
    let mut checks = Checks::new();
    let count = given.len();
    checks.require(&COUNT, (2..=MOST_AT_ONCE).contains(&count), values![count, most = MOST_AT_ONCE]);
    checks.require(&RESULT_INTERLEAVED, !args.memory.is_sharded(), values![memory = args.memory]);
    checks.settle()?;
    let first = given[0];
    for (at, x) in given.iter().enumerate() {
        require_rows(at, x, first, card, &mut checks);
    }
    checks.settle()?;
    let columns: u32 = given.iter().map(|x| x.columns()).sum();
    let row = u64::from(columns) * first.dtype.element_bytes().unwrap_or(0);
    let circular_buffers = match first.layout {
        Layout::Tile => 2 * first.dtype.tile_bytes(),
        Layout::RowMajor if 4 * row + 2 * card.l1.base <= card.l1.end => 2 * row,
        Layout::RowMajor => row,
    };
    let mut shape = first.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = columns;
    }
    let output = TensorSpec { shape, memory: args.memory.clone(), ..first.clone() };
    require_placement(&output, card, &mut checks);
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

fn require_rows(at: usize, x: &TensorSpec, first: &TensorSpec, card: &Card, checks: &mut Checks) {
    let leading = first.shape.len().saturating_sub(1);
    let (bytes, alignment) = (u64::from(x.columns()) * x.dtype.element_bytes().unwrap_or(0), card.dram.alignment);
    checks.require(
        &INTERLEAVED,
        !x.memory.is_sharded() && matches!(x.dtype, DType::Bf16 | DType::F32),
        values![input = x, at],
    );
    checks.require(&ONE_LAYOUT, x.layout == first.layout, values![at, layout = x.layout, first = first.layout]);
    let equal =
        x.dtype == first.dtype && x.shape.len() == first.shape.len() && x.shape[..leading] == first.shape[..leading];
    checks.require(&EQUAL_ROWS, equal, values![at, input = x, first]);
    checks.require(
        &ALIGNED_ROWS,
        x.layout == Layout::Tile || bytes % alignment == 0,
        values![at, bytes, alignment, columns = alignment / x.dtype.element_bytes().unwrap_or(1)],
    );
    checks.require(
        &WHOLE_TILES,
        x.layout == Layout::RowMajor || x.columns().is_multiple_of(TILE),
        values![columns = x.columns(), at],
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryConfig;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, n150, p150, refusal};

    #[test]
    fn bytes_of_concat() {
        let of = |count, columns, dtype, card: &Card| {
            let x = TensorSpec::row_major([1, 1, 8, columns], dtype, MemoryConfig::DRAM);
            let args = Concat { inputs: vec![any(); count], memory: MemoryConfig::DRAM };
            check(&args.into(), &vec![&x; count], card)
        };
        let bytes = |count, columns, dtype, card: &Card| of(count, columns, dtype, card).unwrap().circular_buffers;
        assert_eq!(bytes(8, 16032, DType::Bf16, &n150()), 513_024);
        assert_eq!(bytes(4, 32064, DType::F32, &n150()), 513_024);
        assert_eq!(bytes(2, 80448, DType::Bf16, &n150()), 643_584);
        assert_eq!(bytes(2, 80480, DType::Bf16, &n150()), 321_920);
        assert_eq!(bytes(2, 84320, DType::Bf16, &p150()), 674_560);
        assert!(refusal(of(16, 8016, DType::Bf16, &p150())).contains("16032 B, not a multiple of 64 B"));
        assert!(refusal(of(48, 640, DType::Bf16, &n150())).contains("concat of 48 tensors"));
        let tiled = |columns| TensorSpec::tile([1, 1, 8, columns], DType::Bf16, MemoryConfig::L1);
        let join = |x: &[&TensorSpec]| {
            check(&Concat { inputs: vec![any(); x.len()], memory: MemoryConfig::L1 }.into(), x, &n150())
        };
        let joined = join(&[&tiled(128), &tiled(32), &tiled(32)]).unwrap();
        assert_eq!((joined.circular_buffers, &joined.outputs[..]), (4096, &[tiled(192)][..]));
        assert!(refusal(join(&[&tiled(128), &tiled(40)])).contains("40 columns of tensor 1"));
    }
}
