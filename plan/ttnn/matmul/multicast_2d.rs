//! `MatmulMultiCoreReuseMultiCastProgramConfig`: prefill's matmul, rows over grid rows, columns over grid columns.
//!
//! Activations and result are interleaved; the weight is too, or lies in DRAM as a DRAM-sharded matmul takes it.

use super::Problem;
use super::blocks::{Cut, operand_bytes, require_cut};
use crate::ttnn::constraint::{constraints, values};
use crate::ttnn::{Answer, Checks};

constraints! { "matmul.multicast_2d", "matmul_device_operation.cpp";
    COLUMNS: "The grid of the program config has a column for each block of columns." in "matmul_multicore_reuse_mcast_2d_program_factory.cpp"
        => "Num output blocks along x ({columns}) must be smaller than or equal to the number of columns in compute grid ({width})",
           "per_core_N at least {least}";
    ROWS: "The grid of the program config has a row for each block of rows." in "matmul_multicore_reuse_mcast_2d_program_factory.cpp"
        => "Num output blocks along y ({rows}) must be smaller than or equal to the number of rows in compute grid ({height})",
           "per_core_M at least {least}";
    INTERLEAVED: "Activations and result are interleaved."
        => "a 2D matmul from {a} into {out}", "interleaved activations and result";
    B_PLACE: "The weight is interleaved, or width-sharded over all DRAM banks in the narrowest shards."
        => "a 2D matmul with a weight in {memory}",
           "a weight interleaved, or width-sharded over all DRAM banks in the narrowest shards";
    ROWS_OF_CORE: "No core has more rows than there are."
        because "TT-NN would write past the result"
        => "per_core_M ({per_core_m}) exceeds the {m} row tiles", "per_core_M at most {m}";
    WHOLE_BANKS: "A core's columns of a DRAM-sharded weight are at least those of a bank, in one block."
        because "TT-NN takes less and computes something else: the walk over the banks gives each core the rest of the bank it stands in, however few columns the core has, and the reader knows no second block of columns"
        => "{per_core_n} columns per core, {block} per block, of a weight with {bank} column tiles per bank",
           "per_core_N at least {bank}, in one block: a core reads whole banks' columns";
}

/// Any rows by any columns.
pub(super) fn check(p: &Problem<'_>, cut: &Cut, mut checks: Checks) -> Answer {
    require_cut(p, cut, &mut checks)?;
    let ((width, height), (per_core_m, per_core_n)) = (cut.grid, cut.per_core);
    let (rows, columns) = (p.m.div_ceil(per_core_m), p.n.div_ceil(per_core_n));
    checks.require(&COLUMNS, columns <= width, values![columns, width, least = p.n.div_ceil(width)]);
    checks.require(&ROWS, rows <= height, values![rows, height, least = p.m.div_ceil(height)]);
    checks.require(
        &INTERLEAVED,
        !p.a.memory.is_sharded() && !p.args.memory.is_sharded(),
        values![a = p.a.memory, out = p.args.memory],
    );
    checks.require(&B_PLACE, !p.b.memory.is_sharded() || p.weight_over_all_banks(), values![memory = p.b.memory]);
    checks.require(&ROWS_OF_CORE, per_core_m <= p.m, values![per_core_m, m = p.m]);
    if p.b.memory.is_sharded() {
        let (bank, block) = (p.n.div_ceil(p.card.dram.banks), cut.block.1);
        checks.require(&WHOLE_BANKS, per_core_n >= bank && block == per_core_n, values![per_core_n, block, bank]);
    }
    checks.settle()?;
    let block = u64::from(cut.block.0) * u64::from(cut.block.1);
    let bytes = operand_bytes(p, cut) + p.output_bytes(block, p.k / cut.in0_block_w);
    p.finish(p.args.memory.clone(), bytes, checks)
}

#[cfg(test)]
mod tests {
    use crate::op::Matmul;
    use crate::program::{ComputeKernel, Fidelity, MatmulProgram};
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, refusal};
    use crate::{DType, MemoryConfig, TensorSpec};

    fn compute(fp32_dest_acc: bool, packer_l1_acc: bool) -> ComputeKernel {
        ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc, packer_l1_acc }
    }

    fn two(
        gy: u32,
        in0_block_w: u32,
        out_subblock: (u32, u32),
        out_block: (u32, u32),
        per_core: (u32, u32),
        compute: ComputeKernel,
    ) -> Matmul {
        let (per_core_m, per_core_n) = per_core;
        let program = MatmulProgram::Multicast2D {
            grid: (8, gy),
            in0_block_w,
            out_subblock,
            out_block,
            per_core_m,
            per_core_n,
            activation: None,
        };
        Matmul { a: any(), b: any(), program, compute, dtype: DType::Bf16, memory: MemoryConfig::DRAM }
    }

    fn dram(rows: u32, columns: u32, dtype: DType) -> TensorSpec {
        TensorSpec::tile([1, 1, rows, columns], dtype, MemoryConfig::DRAM)
    }

    #[test]
    fn bytes_of_2d() {
        let card = n150();
        let args = two(8, 1, (1, 1), (4, 11), (4, 11), compute(true, true));
        assert_eq!(bytes(args, &[&dram(1024, 1024, DType::Bf16), &dram(1024, 2688, DType::Bfp8)], &card), 310_656);
        let args = two(2, 2, (1, 5), (1, 10), (4, 10), compute(false, false));
        let weight = TensorSpec::tile([1, 1, 4096, 2560], DType::Bf16, MemoryConfig::dram_width(12, [4096, 224]));
        assert_eq!(bytes(args, &[&dram(256, 4096, DType::Bf16), &weight], &card), 110_592);
        let args = two(8, 1, (1, 3), (1, 90), (1, 90), compute(true, false));
        let weight = TensorSpec::tile([1, 1, 4096, 23040], DType::Bf16, MemoryConfig::dram_width(12, [4096, 1920]));
        assert_eq!(bytes(args, &[&dram(256, 4096, DType::Bf16), &weight], &card), 925_696);
    }

    #[test]
    fn refusals_of_2d() {
        let card = n150();
        let (x, w) = (dram(1024, 2560, DType::Bf16), dram(2560, 2560, DType::Bfp8));
        let said = |args: Matmul| refusal(check(&args.into(), &[&x, &w], &card));
        let plain = compute(false, true);
        assert!(
            said(two(8, 3, (1, 5), (4, 10), (4, 10), plain)).contains("Kt (80) must be divisible by in0_block_w (3)")
        );
        assert!(
            said(two(8, 8, (1, 5), (4, 10), (3, 10), plain))
                .contains("per_core (3, 10) must be divisible by out_block")
        );
        assert!(said(two(8, 8, (2, 5), (4, 10), (4, 10), plain)).contains("needs to be at most 8"));
        assert!(said(two(8, 8, (1, 5), (4, 10), (4, 10), compute(true, true))).contains("needs to be at most 4"));
        assert!(said(two(4, 8, (1, 5), (4, 10), (4, 10), plain)).contains("Num output blocks along y (8)"));
        assert!(said(two(8, 8, (1, 5), (4, 5), (4, 5), plain)).contains("Num output blocks along x (16)"));
        let large = two(8, 80, (1, 5), (4, 10), (4, 10), plain);
        assert!(said(large).contains("beyond max L1 size of 1499136 B"));
    }

    /// On seven banks 8 columns of cores have 10 tiles of 80, a bank 12: TT-NN would hand each core a whole bank.
    #[test]
    fn a_core_takes_no_less_than_a_bank() {
        let mut card = n150();
        card.dram.banks = 7;
        let x = dram(1024, 2560, DType::Bf16);
        let w = TensorSpec::tile([1, 1, 2560, 2560], DType::Bfp8, MemoryConfig::dram_width(7, [2560, 384]));
        let said = |block, columns| {
            check(&two(8, 8, (1, 2), (4, block), (4, columns), compute(false, true)).into(), &[&x, &w], &card)
        };
        assert!(said(12, 12).is_ok());
        assert!(refusal(said(10, 10)).contains("with 12 column tiles per bank"));
        assert!(refusal(said(6, 12)).contains("12 columns per core, 6 per block"));
        let interleaved = TensorSpec { memory: MemoryConfig::DRAM, ..w.clone() };
        let args = two(8, 8, (1, 2), (4, 10), (4, 10), compute(false, true));
        assert!(check(&args.into(), &[&x, &interleaved], &card).is_ok());
    }
}
