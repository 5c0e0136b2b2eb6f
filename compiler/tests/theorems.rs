//! The theorems of the precision pass against the emulated matrix unit: every product, then sums made at random and made to break them.
//!
//! The emulation ([`bitnetc_numerics::mvmul`]) is bit for bit what Tenstorrent's ISA documentation says.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::passes::precision::{Theorem, lower};
use bitnetc_compiler::passes::values::{Content, MatrixProduct};
use bitnetc_compiler::policy::Precision;
use bitnetc_numerics::{Arch, Fidelity, Format, MatmulConfig, Spill, Src, SrcB, Tiled, matmul, mvmul};
use bitnetc_plan as plan;
use half::bf16;
use proptest::prelude::*;

const ARCHS: [Arch; 2] = [Arch::Wormhole, Arch::Blackhole];
const TERNARY: [f32; 3] = [-1.0, 0.0, 1.0];

/// One product alone, from an empty destination register.
fn product(activation: f32, weight: f32, fidelity: Fidelity, fp32: bool, arch: Arch) -> u32 {
    let (mut a, mut b) = ([Src::default(); 16], [Src::default(); 16]);
    a[0] = Src::from_bits(weight.to_bits());
    b[0] = Src::from_bits(activation.to_bits());
    (0..fidelity.phases()).fold(0, |dst, phase| mvmul(&a, &b, dst, phase, fp32, arch))
}

/// `[rows, k] x [k, n]` by the emulated matmul.
struct Product<'a> {
    rows: usize,
    k: usize,
    n: usize,
    activations: &'a [f32],
    weights: &'a [f32],
    /// K-blocks are added up in L1 rather than reloaded one after the other.
    in_l1: bool,
}

impl Product<'_> {
    fn bits(&self, format: Format, fidelity: Fidelity, fp32: bool, block: usize, arch: Arch) -> Vec<u32> {
        let mut in0 = SrcB::new();
        let activations: Vec<_> = self.activations.iter().map(|v| bf16::from_f32(*v)).collect();
        in0.load_bf16(self.rows, self.k, &activations).unwrap();
        let weights = Tiled::pack(format, self.k, self.n, self.weights).unwrap();
        let blocks = self.k.div_ceil(32) / block;
        let config = MatmulConfig {
            arch,
            fidelity,
            fp32_dest: fp32,
            spill: Spill::of(self.in_l1, blocks, false),
            in0_block_w: block,
            out_format: if fp32 { Format::F32 } else { Format::Bf16 },
        };
        matmul(&in0, weights.view(), &config).unwrap().to_f32().into_iter().map(f32::to_bits).collect()
    }
}

/// The fidelity that the pass lowers to, and by which theorems.
fn lowered(fidelity: Fidelity, activation: Content, fp32: bool) -> (Fidelity, Vec<Theorem>) {
    let asked = Precision { weight: plan::DType::Bfp4, fidelity, fp32_dest_acc: fp32 };
    let product = MatrixProduct { activation, weight: Content::TERNARY, inner: 2560 };
    let (used, theorems) = lower(asked, product, plan::Proofs::Products, plan::TtnnRelease::latest());
    (used.fidelity, theorems)
}

const ALL: [Fidelity; 4] = [Fidelity::LoFi, Fidelity::HiFi2, Fidelity::HiFi3, Fidelity::HiFi4];

/// Every bf16 number times every ternary weight.
#[test]
fn every_product_is_what_was_asked() {
    for bits in 0..=u16::MAX {
        let activation = bf16::from_bits(bits).to_f32();
        for (weight, fp32, arch) in
            TERNARY.iter().flat_map(|w| [(w, false), (w, true)]).flat_map(|(w, f)| ARCHS.map(|a| (w, f, a)))
        {
            for fidelity in ALL {
                let (used, _) = lowered(fidelity, Content::BF16, fp32);
                let asked = product(activation, *weight, fidelity, fp32, arch);
                assert_eq!(product(activation, *weight, used, fp32, arch), asked, "{activation} x {weight}");
            }
        }
    }
}

/// Every integer that int8 quantisation makes, in LoFi: the integer itself.
#[test]
fn every_integer_product_is_exact_in_lofi() {
    for q in -128..=127_i16 {
        for (weight, arch) in TERNARY.iter().flat_map(|w| ARCHS.map(|a| (w, a))) {
            for fp32 in [false, true] {
                let found = f32::from_bits(product(f32::from(q), *weight, Fidelity::LoFi, fp32, arch));
                assert_eq!(found, f32::from(q) * weight, "{q} x {weight}");
            }
        }
    }
}

/// Every bfp8 number at some exponents times every ternary weight: LoFi has the product of HiFi4, and it is exact.
#[test]
fn every_bfp8_product_is_exact_in_lofi() {
    for (magnitude, exponent) in (0..128_i16).flat_map(|m| [-40, -6, 0, 30].map(|e| (m, e))) {
        let activation = f32::from(magnitude) * 2_f32.powi(exponent);
        for (sign, weight, arch) in
            [-1.0, 1.0].iter().flat_map(|s| TERNARY.map(|w| (s, w))).flat_map(|(s, w)| ARCHS.map(|a| (s, w, a)))
        {
            for fp32 in [false, true] {
                let (used, _) = lowered(Fidelity::HiFi4, Content::BFP8, fp32);
                assert_eq!(used, Fidelity::LoFi);
                let of = |fidelity| f32::from_bits(product(sign * activation, weight, fidelity, fp32, arch));
                assert_eq!(of(used), of(Fidelity::HiFi4), "{activation} x {weight}");
                assert_eq!(of(used), sign * activation * weight, "{activation} x {weight}");
            }
        }
    }
}

/// Every bf16 number times every magnitude a dense bfp4 weight has, at two exponents: the odd phases add nothing.
#[test]
fn every_product_of_a_bfp4_weight_is_what_was_asked() {
    let weights: Vec<f32> = (-7..=7_i16).flat_map(|m| [0.25, 8.0].map(|unit| f32::from(m) * unit)).collect();
    let asked = |fidelity| Precision { weight: plan::DType::Bfp4, fidelity, fp32_dest_acc: true };
    let weight = Content::F32.stored(plan::DType::Bfp4);
    let asked_for = MatrixProduct { activation: Content::BF16, weight, inner: 2560 };
    for bits in (0..=u16::MAX).step_by(3) {
        let activation = bf16::from_bits(bits).to_f32();
        for (weight, arch) in weights.iter().flat_map(|w| ARCHS.map(|a| (w, a))) {
            for (from, to) in [(Fidelity::HiFi2, Fidelity::LoFi), (Fidelity::HiFi4, Fidelity::HiFi3)] {
                let (used, _) = lower(asked(from), asked_for, plan::Proofs::Products, plan::TtnnRelease::latest());
                let used = used.fidelity;
                assert_eq!(used, to);
                let of = |fidelity| product(activation, *weight, fidelity, true, arch);
                assert_eq!(of(used), of(from), "{activation} x {weight}");
            }
        }
    }
}

/// Every format keeps the integers that the value analysis says it keeps; it does not keep -128 to 127 in bfp8, as the analysis says.
#[test]
fn formats_keep_the_integers_that_the_analysis_says_they_keep() {
    for (dtype, format) in
        [(plan::DType::Bf16, Format::Bf16), (plan::DType::Bfp8, Format::Bfp8), (plan::DType::Bfp4, Format::Bfp4)]
    {
        for (content, numbers) in
            [(Content::INT8, -128..=127_i16), (Content::whole(-127, 127), -127..=127), (Content::TERNARY, -1..=1)]
        {
            let count = numbers.clone().count();
            // Steps of 37 mix small and large in every group of 16.
            let values: Vec<f32> =
                (0..32 * 32).map(|at| f32::from(numbers.clone().nth(at * 37 % count).unwrap_or(0))).collect();
            let stored = Tiled::pack(format, 32, 32, &values).unwrap().to_f32();
            assert_eq!(stored == values, content.fits(dtype), "{content:?} in {dtype}");
            let range = content.stored(dtype).grid.unwrap();
            assert!(
                stored.iter().all(|v| v.fract() == 0.0 && (range.min..=range.max).contains(&(*v as i64))),
                "{content:?} in {dtype}"
            );
        }
    }
}

/// Each format holds a ternary matrix, and the values it gives back are the same.
#[test]
fn bfp4_and_bfp8_and_bf16_hold_the_same_ternary_values() {
    // Every pattern of one group of 16 up to its first five places, the rest by turns.
    for pattern in 0..243_usize {
        let digit = |at: usize| (pattern / 3_usize.pow((at % 5) as u32) + at / 5) % 3;
        let values: Vec<f32> = (0..32 * 32).map(|at| TERNARY[digit(at % 16)]).collect();
        for format in [Format::Bf16, Format::Bfp8, Format::Bfp4] {
            assert_eq!(Tiled::pack(format, 32, 32, &values).unwrap().to_f32(), values, "{format:?}, pattern {pattern}");
        }
    }
}

fn ternary(count: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(prop::sample::select(TERNARY.to_vec()), count)
}

fn integers(count: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-128..=127_i16).prop_map(f32::from), count)
}

/// Numbers within `binades` powers of two, both signs.
fn floats(count: usize, binades: i32) -> impl Strategy<Value = Vec<f32>> {
    let one = (0..128_u16, 0..binades, any::<bool>()).prop_map(|(mantissa, e, negative)| {
        let magnitude = f32::from(128 + mantissa) / 128.0 * 2_f32.powi(-e);
        if negative { -magnitude } else { magnitude }
    });
    prop::collection::vec(one, count)
}

const K: usize = 256;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Integers from -128 to 127 times ternary weights: every fidelity gives the bits of LoFi, in fp32 the exact sum, however K is cut.
    #[test]
    fn integer_sums(
        activations in integers(2 * K),
        weights in ternary(K * 32),
        block in prop::sample::select(vec![1_usize, 2, 4, 8]),
        in_l1 in any::<bool>(),
    ) {
        let it = Product { rows: 2, k: K, n: 32, activations: &activations, weights: &weights, in_l1 };
        for arch in ARCHS {
            let exact: Vec<f32> = (0..2 * 32).map(|at| (0..K).map(|k| activations[at / 32 * K + k] * weights[k * 32 + at % 32]).sum()).collect();
            for fp32 in [false, true] {
                let (used, theorems) = lowered(Fidelity::HiFi4, Content::INT8, fp32);
                prop_assert_eq!(used, Fidelity::LoFi);
                let lofi = it.bits(Format::Bfp4, used, fp32, block, arch);
                for fidelity in ALL {
                    prop_assert_eq!(&it.bits(Format::Bfp8, fidelity, fp32, block, arch), &lofi);
                }
                prop_assert_eq!(theorems.contains(&Theorem::IntegerSumsAreExact), fp32);
                if fp32 {
                    prop_assert_eq!(lofi, exact.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
                }
            }
        }
    }

    /// Other integers at the edge of the rule, 7 and 5 significant bits with magnitudes up to 2^6 and 2^4 - 1: the same.
    #[test]
    fn small_integer_sums(
        activations in prop::collection::vec((-64..=64_i16).prop_map(f32::from), 2 * K),
        weights in prop::collection::vec((-15..=15_i16).prop_map(f32::from), K * 32),
        block in prop::sample::select(vec![1_usize, 4, 8]),
        in_l1 in any::<bool>(),
    ) {
        let on = |bound: i64| Content::whole(-bound, bound);
        let product = MatrixProduct { activation: on(64), weight: on(15), inner: K };
        prop_assert!(product.fit_phase_zero() && product.exact_sum().is_some());
        let it = Product { rows: 2, k: K, n: 32, activations: &activations, weights: &weights, in_l1 };
        let exact = (0..2 * 32).map(|at| (0..K).map(|k| activations[at / 32 * K + k] * weights[k * 32 + at % 32]).sum::<f32>().to_bits());
        let exact: Vec<u32> = exact.collect();
        for (arch, fidelity) in ARCHS.iter().flat_map(|a| ALL.map(|f| (*a, f))) {
            prop_assert_eq!(&it.bits(Format::Bf16, fidelity, true, block, arch), &exact, "{}", fidelity);
        }
    }

    /// bf16 activations of which the largest of the two halves of every tile of K are near each other, at most 2^5 apart with bf16
    /// sums and 2^18 with fp32 sums: every lowering of the pass gives the same bits.
    #[test]
    fn bf16_sums(
        near in floats(2 * K, 6),
        far in floats(2 * K, 19),
        weights in ternary(K * 32),
        block in prop::sample::select(vec![1_usize, 2, 8]),
        in_l1 in any::<bool>(),
    ) {
        for (arch, fp32) in ARCHS.iter().flat_map(|a| [(*a, false), (*a, true)]) {
            let activations = if fp32 { &far } else { &near };
            let it = Product { rows: 2, k: K, n: 32, activations, weights: &weights, in_l1 };
            for fidelity in ALL {
                let (used, _) = lowered(fidelity, Content::BF16, fp32);
                let asked = it.bits(Format::Bfp8, fidelity, fp32, block, arch);
                prop_assert_eq!(it.bits(Format::Bfp4, used, fp32, block, arch), asked, "{} fp32 {}", fidelity, fp32);
            }
        }
    }
}

/// Where bits differ: 1024 - 1024 cancels, what remains is far smaller than what cancelled, and a phase of zeros still aligns the sum
/// to the exponents of its products. Without the phase the sum is exact.
#[test]
fn a_cancelled_sum_is_exact_without_the_phase_of_zeros() {
    let small = 1.0 + 1.0 / 64.0;
    let value = |largest: f32, fidelity, fp32, arch| {
        let mut activations = vec![0.0; 32];
        (activations[0], activations[1], activations[16]) = (largest, -largest, small);
        let it = Product { rows: 1, k: 32, n: 32, activations: &activations, weights: &[1.0; 32 * 32], in_l1: false };
        f32::from_bits(it.bits(Format::Bfp4, fidelity, fp32, 1, arch)[0])
    };
    for arch in ARCHS {
        assert_eq!(value(1024.0, Fidelity::LoFi, false, arch), small);
        assert_eq!(value(1024.0, Fidelity::HiFi2, false, arch), 1.0 + 1.0 / 32.0);
        // With fp32 sums 2^10 is near enough; with bf16 sums 2^5 is.
        assert_eq!(value(1024.0, Fidelity::HiFi2, true, arch), small);
        assert_eq!(value(32.0, Fidelity::HiFi2, false, arch), small);
    }
}
