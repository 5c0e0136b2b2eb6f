//! Every kernel against the emulated matmul, and what is refused.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::format::Format;
use crate::matmul::{MatmulConfig, matmul};
use crate::mvmul::{Arch, Fidelity};
use crate::operands::SrcB;
use crate::rounding::{bf16_host, bf16_packed};
use crate::spill::Spill;
use crate::tiled::Tiled;

/// Integer sums as the packer writes them from an fp32 Dst to bf16.
fn sums_to_bf16(sums: &[i32], unit: f32, out: &mut [bf16]) {
    for (o, &s) in out.iter_mut().zip(sums) {
        *o = bf16_packed((s as f32 * unit).to_bits());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_kernel_equals_the_emulated_matmul(
        seed: u64,
        m in 1usize..=33,
        k_tiles in 1usize..=5,
        n in 1usize..=70,
        power in -3i32..=3,
        hifi4: bool,
        blackhole: bool,
    ) {
        let k = k_tiles * TILE;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let x: Vec<bf16> =
            (0..m * k).map(|_| bf16_host(f32::from(rng.random::<i8>()))).collect();
        let w: Vec<f32> = (0..k * n)
            .map(|_| f32::from(rng.random_range(-1i8..=1)) * 2f32.powi(power))
            .collect();
        let tiles = Tiled::pack(Format::Bfp4, k, n, &w).unwrap();
        let mut in0 = SrcB::new();
        in0.load_bf16(m, k, &x).unwrap();
        let config = |out_format| MatmulConfig {
            arch: if blackhole { Arch::Blackhole } else { Arch::Wormhole },
            fidelity: if hifi4 { Fidelity::HiFi4 } else { Fidelity::LoFi },
            fp32_dest: true,
            spill: if hifi4 { Spill::L1Accumulate } else { Spill::Reload },
            in0_block_w: 1,
            out_format,
        };
        let want = matmul(&in0, tiles.view(), &config(Format::F32)).unwrap().to_f32();
        let want16 = matmul(&in0, tiles.view(), &config(Format::Bf16)).unwrap().to_f32();

        let weights = TernaryWeights::from_tiled(tiles.view()).unwrap();
        let mut q = vec![0i8; m * k];
        int8_from_bf16(&x, k, &mut q).unwrap();
        let mut scratch = TernaryScratch::default();
        for kernel in Kernel::available() {
            let mut sums = vec![i32::MIN; m * n];
            weights.matmul_on(kernel, m, &q, &mut sums, &mut scratch).unwrap();
            let mut got = vec![0f32; m * n];
            sums_to_f32(&sums, weights.unit(), &mut got);
            prop_assert_eq!(&got, &want, "{:?}", kernel);
            let mut got16 = vec![bf16::ZERO; m * n];
            sums_to_bf16(&sums, weights.unit(), &mut got16);
            prop_assert!(got16.iter().zip(&want16).all(|(&a, &b)| widen(a) == b));
        }
    }
}

#[test]
fn weights_read_back() {
    let w = TernaryWeights::from_fn(64, 45, |k, n| ((k * 7 + n * 5) % 3) as i8 - 1).unwrap();
    assert_eq!(w.bytes(), 64 * 64 / 4);
    for k in 0..64 {
        for n in 0..45 {
            assert_eq!(w.weight(k, n), ((k * 7 + n * 5) % 3) as i8 - 1);
        }
    }
}

#[test]
fn columns_make_the_same_matrix_as_elements() {
    let (k, n) = (96, 45);
    let weight = |k: usize, n: usize| ((k * 7 + n * 5 + k * n) % 3) as i8 - 1;
    let mut columns: Vec<i8> = (0..n * k).map(|i| weight(i % k, i / k)).collect();
    let got = TernaryWeights::from_columns(k, n, &columns).unwrap();
    let want = TernaryWeights::from_fn(k, n, weight).unwrap();
    assert!(got.lines.iter().zip(&want.lines).all(|(a, b)| a.0 == b.0));
    for wrong in [2, -2, i8::MIN] {
        columns[3 * k + 17] = wrong;
        let error = TernaryWeights::from_columns(k, n, &columns).unwrap_err();
        assert!(matches!(&error, NumericsError::NotTernary { k: 17, n: 3, value, .. } if *value == wrong.to_string()));
    }
    assert!(TernaryWeights::from_columns(k, n, &columns[1..]).is_err());
}

#[test]
fn the_largest_sums_do_not_overflow() {
    let k = 65_504;
    let w = TernaryWeights::from_fn(k, 32, |_, n| if n == 0 { 1 } else { -1 }).unwrap();
    for value in [-128i8, 127] {
        let x = vec![value; k];
        for kernel in Kernel::available() {
            let mut out = vec![0; 32];
            w.matmul_on(kernel, 1, &x, &mut out, &mut TernaryScratch::default()).unwrap();
            assert_eq!(out[0], i32::from(value) * k as i32, "{kernel:?}");
            assert_eq!(out[31], -i32::from(value) * k as i32, "{kernel:?}");
        }
    }
}

#[test]
fn what_is_not_ternary_is_refused() {
    let two = TernaryWeights::from_fn(32, 4, |k, n| i8::from(k == 3 && n == 2) * 2);
    assert!(matches!(two, Err(NumericsError::NotTernary { k: 3, n: 2, .. })));
    let scaled = Tiled::pack(Format::Bf16, 32, 32, &[0.75; 1024]).unwrap();
    assert!(matches!(TernaryWeights::from_tiled(scaled.view()), Err(NumericsError::NotTernary { .. })));
    assert!(TernaryWeights::from_fn(33, 4, |_, _| 0).is_err());
    assert!(TernaryWeights::from_fn(65_536, 4, |_, _| 0).is_err());
    let half = [bf16::from_f32(1.0), bf16::from_f32(0.5)];
    assert_eq!(
        int8_from_bf16(&half, 2, &mut [0; 2]).unwrap_err(),
        NumericsError::NotInt8 { row: 0, k: 1, value: "0.5".into() }
    );
}
