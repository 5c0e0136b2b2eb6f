//! `ttnn.embedding` of a value: rows at numbers that were computed.

use super::constraint::{constraints, values};
use super::embedding::rows_bytes;
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::GatherRows;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, MemoryConfig, TILE, TensorSpec};

constraints! { "gather_rows", "embedding_device_operation.cpp", also [placement];
    ROW_OF_NUMBERS: "Row numbers are one row of u32, row-major, interleaved in DRAM, 32 at most."
        because "there is one for each user; others were not studied"
        => "rows {indices}", "one row of up to 32 u32, row-major in DRAM";
    TABLE: "The table is row-major bf16 [1, 1, V, D], interleaved, D a multiple of 32."
        because "rows of logits are; TT-NN untilizes a tiled table whole"
        => "rows of {table}", "a row-major bf16 table [1, 1, V, D], interleaved, D a multiple of 32";
    RESULT_IN_DRAM: "The result is interleaved in DRAM."
        because "other placements were not studied"
        => "rows into {memory}", "DRAM";
}

/// Rows of a row-major bf16 table `[1,1,V,D]` at u32 numbers `[..,N]` -> row-major `[1,N,D]`.
pub(super) fn check(args: &GatherRows, given: &[&TensorSpec], card: &Card) -> Answer {
    let [indices, table] = operands(given)?;
    let mut checks = Checks::new();
    let row = |x: &TensorSpec| x.layout == Layout::RowMajor && x.matrix_rows() == 1 && x.memory == MemoryConfig::DRAM;
    let numbers = row(indices) && indices.dtype == DType::U32 && indices.columns() <= TILE;
    checks.require(&ROW_OF_NUMBERS, numbers, values![indices]);
    let rows = table.layout == Layout::RowMajor && table.dtype == DType::Bf16 && !table.memory.is_sharded();
    let shaped = table.shape.len() == 4 && table.outer() == 1 && table.columns().is_multiple_of(TILE);
    checks.require(&TABLE, rows && shaped, values![table]);
    checks.require(&RESULT_IN_DRAM, args.memory == MemoryConfig::DRAM, values![memory = args.memory]);
    checks.settle()?;
    let output = TensorSpec::row_major([1, indices.columns(), table.columns()], DType::Bf16, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let circular_buffers = rows_bytes(table.columns(), card);
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, n150, p150, refusal};

    #[test]
    fn bytes_as_mock_cards_report_them() {
        let indices = TensorSpec::row_major([1, 1, 32], DType::U32, MemoryConfig::DRAM);
        let table = |memory| TensorSpec::row_major([1, 1, 5344, 768], DType::Bf16, memory);
        let args = GatherRows { indices: any(), table: any(), memory: MemoryConfig::DRAM };
        for memory in [MemoryConfig::L1, MemoryConfig::DRAM] {
            let of = |card| check(&args.clone().into(), &[&indices, &table(memory.clone())], &card).unwrap();
            assert_eq!([n150(), p150()].map(|card| of(card).circular_buffers), [1792, 2048]);
            assert_eq!(of(n150()).outputs[0].shape, [1, 32, 768]);
        }
        let floats = TensorSpec { dtype: DType::Bf16, ..indices.clone() };
        assert!(
            refusal(check(&args.into(), &[&floats, &table(MemoryConfig::DRAM)], &n150())).contains("rows [1, 1, 32]")
        );
    }
}
