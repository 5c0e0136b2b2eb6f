//! Checks against the answers that TT-NN gave on the mock n150 and p150.

use super::*;
use crate::MemoryConfig;
use crate::op::Ref;
use crate::program::{ComputeKernel, Fidelity};
use crate::ttnn::mock::{n150, refusal};

fn compute(fp32_dest_acc: bool) -> ComputeKernel {
    ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc, packer_l1_acc: true }
}

fn prefill(heads: u32, head_dim: u32, rows: u32, angles: [u32; 2], fp32: bool) -> Answer {
    let tensor = |shape: [u32; 4]| TensorSpec::tile(shape, DType::Bf16, MemoryConfig::DRAM);
    let [input, cos, sin, trans] = ["x", "cos", "sin", "trans"].map(|n| Ref::Value(n.into()));
    let args = Rotary { input, cos, sin, trans, compute: compute(fp32), memory: MemoryConfig::L1 };
    let angle = tensor([1, 1, angles[0], angles[1]]);
    let (x, trans) = (tensor([1, heads, rows, head_dim]), tensor([1, 1, 32, 32]));
    check(&args, &[&x, &angle, &angle, &trans], &n150())
}

/// TT-NN takes a sharded transformation matrix, but no sharded angles.
#[test]
fn a_sharded_matrix_of_prefill_is_left_out() {
    let tensor = |shape: [u32; 4]| TensorSpec::tile(shape, DType::Bf16, MemoryConfig::DRAM);
    let sharded = |shape: [u32; 4]| {
        let on = MemoryConfig::height(crate::Cores::row_major(1, (8, 8)), [shape[2], shape[3]]);
        TensorSpec { memory: on, ..tensor(shape) }
    };
    let [input, cos, sin, trans] = ["x", "cos", "sin", "trans"].map(|n| Ref::Value(n.into()));
    let args = Rotary { input, cos, sin, trans, compute: compute(false), memory: MemoryConfig::L1 };
    let narrower = |angle: TensorSpec, trans: TensorSpec| {
        let broken = check(&args, &[&tensor([1, 8, 32, 128]), &angle, &angle, &trans], &n150()).unwrap_err();
        broken.iter().all(|v| v.is_narrower())
    };
    assert!(narrower(tensor([1, 1, 32, 128]), sharded([1, 1, 32, 32])));
    assert!(!narrower(sharded([1, 1, 32, 128]), tensor([1, 1, 32, 32])));
}

#[test]
fn prefill_bytes_are_the_mocks() {
    for (heads, head_dim, rows, fp32, bytes) in [
        (20, 32, 128, true, 24_576 + 2_048),
        (20, 64, 128, true, 47_104 + 4_096),
        (20, 96, 128, false, 69_632 + 6_144),
        (20, 128, 32, true, 92_160 + 8_192),
        (40, 128, 256, true, 92_160 + 8_192),
        (20, 128, 4096, true, 92_160 + 8_192),
        (20, 256, 128, false, 182_272 + 16_384),
        // Two to four heads of several rows per core: a core keeps the rows of one head and of its angles.
        (2, 128, 2048, true, 100_352),
        (2, 128, 4096, true, 149_504),
        (4, 128, 4096, false, 149_504),
        (5, 128, 4096, false, 100_352),
        (2, 128, 8192, false, 247_808),
        (3, 128, 8192, false, 100_352),
        (1, 128, 8192, false, 100_352),
    ] {
        let outcome = prefill(heads, head_dim, rows, [rows, head_dim], fp32).unwrap();
        assert_eq!(outcome.circular_buffers, bytes);
        let output = TensorSpec::tile([1, heads, rows, head_dim], DType::Bf16, MemoryConfig::L1);
        assert_eq!(outcome.outputs, [output]);
    }
}

#[test]
fn prefill_refusals() {
    assert!(refusal(prefill(20, 256, 128, [128, 256], true)).contains("fp32_dest_acc_en must be False"));
    assert!(refusal(prefill(20, 288, 128, [128, 288], false)).contains("Head dim must be less than 256"));
    assert!(refusal(prefill(20, 100, 128, [128, 100], false)).contains("multiple of TILE_WIDTH"));
    assert!(refusal(prefill(20, 128, 128, [128, 64], true)).contains("Cos dims must match input dims"));
    // TT-NN rotates the first 64 rows and says nothing.
    assert!(refusal(prefill(20, 128, 128, [64, 128], true)).contains("128 rows turned"));
    assert!(prefill(20, 128, 128, [256, 128], true).is_ok());
}
