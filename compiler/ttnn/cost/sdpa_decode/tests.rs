use bitnetc_plan::op::SdpaDecode;
use bitnetc_plan::program::SdpaProgram;
use bitnetc_plan::{ComputeKernel, DType, Fidelity, MemoryConfig, Scalar, TensorSpec};

use crate::pricer::{Pricer, operand};
use crate::target::Target;

/// One user's token, heads and cache as asked.
fn decode_us(target: &Target, position: u32, grid: (u32, u32), k_chunk: u32, [users, kv_heads]: [u32; 2]) -> f64 {
    let op = SdpaDecode {
        q: operand(),
        k_cache: operand(),
        v_cache: operand(),
        positions: operand(),
        page_table: operand(),
        scale: Scalar::from(1.0),
        program: SdpaProgram { grid, q_chunk: 0, k_chunk },
        compute: ComputeKernel { fidelity: Fidelity::HiFi2, fp32_dest_acc: false, packer_l1_acc: false },
        memory: MemoryConfig::L1,
    };
    let q = TensorSpec::tile(vec![1, users, 32, 128], DType::Bf16, MemoryConfig::DRAM);
    let cache = TensorSpec::tile(vec![4096, kv_heads, 32, 128], DType::Bfp8, MemoryConfig::DRAM);
    let ids = TensorSpec::row_major(vec![1], DType::I32, MemoryConfig::DRAM);
    let operands = [&q, &cache, &cache, &ids, &ids];
    let out = TensorSpec { memory: MemoryConfig::L1, ..q.clone() };
    Pricer::new(target, position).priced(op, &operands, out).us
}

/// Wormhole, one user, 32 heads on 8 kv heads of 128, bfp8 (FlashDecode report): the kernel measured let one core of a head combine the
/// other seven's results, where the release the figures were read from (`bitnetc_plan::release`) takes three rounds.
#[test]
fn the_published_rows_are_near() {
    let target = Target::find("n150").unwrap();
    for (context, measured) in
        [(4 << 10, 165.0), (8 << 10, 205.0), (25 << 10, 425.0), (50 << 10, 700.0), (128 << 10, 1575.0)]
    {
        let in_turn = 4.0 * target.cost.attention.combine_us;
        let predicted = decode_us(&target, context - 1, (8, 8), 512, [1, 8]) + in_turn;
        assert!((predicted / measured - 1.0).abs() < 0.06, "{context}: {predicted} us, measured {measured}");
    }
}

#[test]
fn a_longer_position_never_gets_cheaper() {
    for name in ["n150", "p150"] {
        let target = Target::find(name).unwrap();
        for (grid, shape) in [((8, 8), [1, 5]), ((8, 8), [8, 5]), ((8, 4), [32, 5]), ((8, 8), [1, 8])] {
            for chunk in [32, 128, 512] {
                let times: Vec<f64> = (0..200).map(|i| decode_us(&target, i * 37, grid, chunk, shape)).collect();
                assert!(times.is_sorted(), "{name} {grid:?} {shape:?} {chunk}");
            }
        }
    }
}

#[test]
fn more_cores_pay_once_the_context_is_long() {
    let target = Target::find("n150").unwrap();
    let at = |position, grid| decode_us(&target, position, grid, 128, [1, 5]);
    assert!(at(4000, (8, 8)) < at(4000, (8, 1)));
    assert!(decode_us(&target, 256, (8, 8), 128, [8, 5]) < decode_us(&target, 256, (8, 1), 128, [8, 5]));
}
