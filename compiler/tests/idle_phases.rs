//! Phases that multiply zeros can still change a sum: what the precision pass may and may not claim of leaving them out.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::passes::precision::{Proof, lower};
use bitnetc_compiler::passes::values::{Content, MatrixProduct};
use bitnetc_compiler::policy::Precision;
use bitnetc_numerics::{Arch, Fidelity, Format, MatmulConfig, Spill, SrcB, Tiled, matmul};
use bitnetc_plan::{DType, Proofs, TtnnRelease};
use half::bf16;

/// The sum of `activations` (by place in K, the others 0), each times a ternary 1.
fn sum(activations: &[(usize, f32)], fidelity: Fidelity, fp32_dest: bool, arch: Arch) -> f32 {
    let mut row = vec![bf16::ZERO; 32];
    for (place, value) in activations {
        row[*place] = bf16::from_f32(*value);
    }
    let mut in0 = SrcB::default();
    in0.load_bf16(1, 32, &row).unwrap();
    let ones = Tiled::pack(Format::Bfp4, 32, 32, &[1.0; 32 * 32]).unwrap();
    let (spill, in0_block_w, out_format) = (Spill::Reload, 1, Format::F32);
    let config = MatmulConfig { arch, fidelity, fp32_dest, spill, in0_block_w, out_format };
    matmul(&in0, ones.view(), &config).unwrap().to_f32()[0]
}

/// The first half of K cancels, the second is far smaller: the idle phase aligns the sum to the first half's exponents.
#[test]
fn a_sum_that_cancelled_has_other_bits_with_an_idle_phase_and_is_no_better_for_it() {
    for (fp32, large, small) in [(false, 256.0, 0.40625), (true, 1_048_576.0, 0.004_882_812_5)] {
        let small_half = [(16, small), (17, small / 64.0)];
        let all = [&[(0, large), (1, -large)][..], &small_half[..]].concat();
        let exact: f32 = small_half.iter().map(|(_, v)| v).sum();
        for arch in [Arch::Wormhole, Arch::Blackhole] {
            let [lofi, hifi2] = [Fidelity::LoFi, Fidelity::HiFi2].map(|f| sum(&all, f, fp32, arch));
            assert_ne!(lofi.to_bits(), hifi2.to_bits(), "fp32 {fp32}");
            assert!((lofi - exact).abs() < (hifi2 - exact).abs(), "LoFi {lofi}, HiFi2 {hifi2}, exact {exact}");
        }
    }
}

#[test]
fn integers_that_cancel_keep_every_bit() {
    let all = [(0, 127.0), (1, -127.0), (16, 1.0), (17, 64.0), (18, -65.0), (31, 1.0)];
    for fp32 in [false, true] {
        for fidelity in [Fidelity::LoFi, Fidelity::HiFi2, Fidelity::HiFi3, Fidelity::HiFi4] {
            assert_eq!(sum(&all, fidelity, fp32, Arch::Wormhole), 1.0, "{fidelity:?} fp32 {fp32}");
        }
    }
}

/// So the pass says "bit-identical" of integers only.
#[test]
fn only_integers_are_called_bit_identical() {
    let asked = Precision { weight: DType::Bfp8, fidelity: bitnetc_plan::Fidelity::HiFi2, fp32_dest_acc: false };
    let kept = |activation| {
        let product = MatrixProduct { activation, weight: Content::TERNARY, inner: 2560 };
        lower(asked, product, Proofs::Products, TtnnRelease::latest())
            .1
            .iter()
            .all(|t| t.proof() == Proof::BitIdentical)
    };
    assert!(kept(Content::INT8));
    assert!(!kept(Content::BF16));
}
