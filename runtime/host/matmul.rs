//! Matmuls on the host: three ways to the same product.
//!
//! | way | when | result |
//! |---|---|---|
//! | integers | [`crate::ResolvedStep::integer`] | the integer sum, which is what the FPU makes of it, bit for bit |
//! | emulated | [`Numerics::Exact`] | bit for bit the FPU's: fidelity phases, destination register, spills between K-blocks, packing |
//! | fast | [`Numerics::Fast`] | sums in fp32 of the exact products, rounded once: closer to the real numbers than the card's |
//!
//! The fast way by a ternary weight turns a row of activations into 16-bit fixed point, relative to its largest element, and runs the
//! integer kernel on the two bytes: an error below 2^-15 of the row's largest activation times the number of nonzero weights' root,
//! below bf16's own. A fused activation is applied to the sum before it is rounded; only for an output in a block format from a bf16
//! destination register with reloaded spills does the emulation put bf16 in the place of that format between K-blocks.

use bitnetc_numerics::{
    Arch, DenseWeights, SignTiles, TernaryScratch, TernaryWeights, Tiled, int8_from_bf16, join_fixed_point,
    split_fixed_point, sums_to_f32,
};
use bitnetc_plan::op::Matmul;
use bitnetc_plan::program::FusedActivation;
use half::bf16;
use rayon::prelude::*;

use super::emulated;
use super::rows::each_row;
use super::tensor::{Data, HostTensor};
use crate::DeviceError;

/// How ops are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Numerics {
    /// Bit for bit as TT-NN's kernels, within what [`super::uncompared`] says: what a card would answer.
    #[default]
    Exact,
    /// The formulas in fp32, each result rounded once: many times faster.
    Fast,
}

/// A weight matrix `[K, N]` in the form its matmuls need.
#[derive(Debug)]
pub enum WeightMatrix {
    /// 2 bits an element.
    Ternary(TernaryWeights),
    /// The card's own tiles.
    Tiles(Tiled),
    /// 2 bits an element, for the emulation.
    Signs(SignTiles),
    /// Panels for streaming.
    Dense(DenseWeights),
}

/// Memory that matmuls reuse.
#[derive(Debug, Default)]
pub struct MatmulScratch {
    emulated: emulated::Scratch,
    bytes: Vec<i8>,
    sums: Vec<i32>,
    ternary: TernaryScratch,
    scales: Vec<f32>,
    bf16: Vec<bf16>,
    f32: Vec<f32>,
    live: Vec<bool>,
    rows: Vec<bf16>,
}

impl WeightMatrix {
    fn shape(&self) -> (usize, usize) {
        match self {
            WeightMatrix::Ternary(w) => (w.k(), w.n()),
            WeightMatrix::Tiles(w) => (w.rows(), w.cols()),
            WeightMatrix::Signs(w) => (w.k(), w.n()),
            WeightMatrix::Dense(w) => (w.k(), w.n()),
        }
    }

    /// Bytes held in memory.
    pub fn bytes(&self) -> usize {
        match self {
            WeightMatrix::Ternary(w) => w.bytes(),
            WeightMatrix::Tiles(w) => w.bytes().len(),
            WeightMatrix::Signs(w) => w.bytes(),
            WeightMatrix::Dense(w) => w.bytes(),
        }
    }
}

/// `a @ w` into `out`.
pub fn matmul(
    op: &Matmul,
    integer: bool,
    arch: Arch,
    a: &HostTensor,
    w: &WeightMatrix,
    out: &mut HostTensor,
    scratch: &mut MatmulScratch,
) -> Result<(), DeviceError> {
    let (k, n) = w.shape();
    if a.columns() != k || out.columns() != n || a.rows() != out.rows() {
        return Err(a.unexpected(0, format!("{} rows of {k}, for {:?}", out.rows(), out.spec.shape)));
    }
    match w {
        WeightMatrix::Ternary(w) if integer => by_integers(w, op, a, out, scratch),
        WeightMatrix::Ternary(w) => by_fixed_point(w, op, a, out, scratch),
        WeightMatrix::Signs(w) => emulated::matmul(w.into(), op, arch, a, out, &mut scratch.emulated),
        WeightMatrix::Tiles(w) => emulated::matmul(w.view().into(), op, arch, a, out, &mut scratch.emulated),
        WeightMatrix::Dense(w) => dense(w, op, a, out, scratch),
    }
}

/// Writes rows of sums, the activation applied.
pub(super) fn finish(op: &Matmul, out: &mut HostTensor, sums: impl Fn(usize, &mut [f32]) + Sync) {
    let (columns, activation) = (out.columns(), op.program.activation());
    let fill = |row: usize, values: &mut [f32]| {
        sums(row, values);
        match activation {
            Some(FusedActivation::Relu) => values.iter_mut().for_each(|v| *v = v.max(0.0)),
            Some(FusedActivation::Silu) => values.iter_mut().for_each(|v| *v /= 1.0 + (-*v).exp()),
            None => {}
        }
    };
    each_row(out, |row, buffer, out| match out.floats() {
        Some(values) => fill(row, values),
        None => {
            buffer.resize(columns, 0.0);
            fill(row, buffer);
            out.write(buffer);
        }
    });
}

/// Activations as bf16, borrowed where they are.
fn bf16_of<'a>(a: &'a HostTensor, copy: &'a mut Vec<bf16>) -> Result<&'a [bf16], DeviceError> {
    match &a.data {
        Data::Bf16(v) => Ok(v),
        Data::F32(v) => {
            copy.clear();
            copy.extend(v.iter().map(|&v| bitnetc_numerics::bf16_truncated(v)));
            Ok(copy)
        }
        Data::Integer(_) => Err(a.unexpected(0, "floats")),
    }
}

fn by_integers(
    w: &TernaryWeights,
    op: &Matmul,
    a: &HostTensor,
    out: &mut HostTensor,
    scratch: &mut MatmulScratch,
) -> Result<(), DeviceError> {
    let (m, k, n) = (a.rows(), w.k(), w.n());
    let MatmulScratch { bytes, sums, ternary, bf16, .. } = scratch;
    let x = bf16_of(a, bf16)?;
    bytes.resize(m * k, 0);
    int8_from_bf16(x, k, bytes)?;
    if let (Data::F32(out), None) = (&mut out.data, op.program.activation()) {
        return Ok(w.matmul(m, bytes, out, ternary)?);
    }
    sums.resize(m * n, 0);
    w.matmul(m, bytes, sums, ternary)?;
    let unit = w.unit();
    finish(op, out, |row, values| sums_to_f32(&sums[row * n..], unit, values));
    Ok(())
}

fn by_fixed_point(
    w: &TernaryWeights,
    op: &Matmul,
    a: &HostTensor,
    out: &mut HostTensor,
    scratch: &mut MatmulScratch,
) -> Result<(), DeviceError> {
    let (m, k, n) = (a.rows(), w.k(), w.n());
    let MatmulScratch { bytes, sums, ternary, scales, .. } = scratch;
    // Row r's high bytes, then its low bytes.
    bytes.resize(2 * m * k, 0);
    scales.resize(m, 0.0);
    let split = |row: usize, bytes: &mut [i8], scale: &mut f32, x: &mut Vec<f32>| {
        x.resize(k, 0.0);
        a.read_row(row, x);
        let (high, low) = bytes.split_at_mut(k);
        *scale = split_fixed_point(x, high, low);
    };
    if m == 1 {
        split(0, bytes, &mut scales[0], &mut scratch.f32);
    } else {
        let rows = bytes.par_chunks_mut(2 * k).zip(scales.par_iter_mut()).enumerate();
        rows.for_each_init(Vec::new, |x, (row, (bytes, scale))| split(row, bytes, scale, x));
    }
    sums.resize(2 * m * n, 0);
    w.matmul(2 * m, bytes, sums, ternary)?;
    let unit = f64::from(w.unit());
    finish(op, out, |row, values| {
        let (high, low) = sums[2 * row * n..2 * (row + 1) * n].split_at(n);
        join_fixed_point(high, low, f64::from(scales[row]) * unit, values);
    });
    Ok(())
}

fn dense(
    w: &DenseWeights,
    op: &Matmul,
    a: &HostTensor,
    out: &mut HostTensor,
    scratch: &mut MatmulScratch,
) -> Result<(), DeviceError> {
    let (k, n) = (w.k(), w.n());
    let MatmulScratch { bf16, f32: sums, live, rows, .. } = scratch;
    let x = bf16_of(a, bf16)?;
    // A row of zeros comes out as one: rows that a prefill does not need are such.
    live.clear();
    live.extend(x.chunks_exact(k).map(|row| row.iter().any(|v| v.to_bits() << 1 != 0)));
    rows.clear();
    rows.extend(x.chunks_exact(k).zip(&*live).filter(|(_, live)| **live).flat_map(|(row, _)| row));
    sums.resize(rows.len() / k * n, 0.0);
    w.matmul(rows.len() / k, rows, sums)?;
    let at = |row: usize| live[..row].iter().filter(|live| **live).count();
    finish(op, out, |row, values| match live[row] {
        true => values.copy_from_slice(&sums[at(row) * n..][..n]),
        false => values.fill(0.0),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::tensor::{Pool, elements};
    use bitnetc_numerics::{Format, NumericsError};
    use bitnetc_plan::op::Ref;
    use bitnetc_plan::{ComputeKernel, DType, MatmulProgram, MemoryConfig, TensorSpec};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn op(activation: Option<FusedActivation>, fp32_dest_acc: bool, dtype: DType) -> Matmul {
        Matmul {
            a: Ref::Value("a".into()),
            b: Ref::Weight("b".into()),
            program: MatmulProgram::DramSharded {
                in0_block_w: 2,
                per_core_m: 1,
                per_core_n: 1,
                activation,
                readers: 1,
            },
            compute: ComputeKernel { fidelity: bitnetc_plan::Fidelity::HiFi4, fp32_dest_acc, packer_l1_acc: true },
            dtype,
            memory: MemoryConfig::L1,
        }
    }

    fn tensor(rows: u32, columns: u32, dtype: DType) -> HostTensor {
        Pool::default().zeros(&Arc::new(TensorSpec::tile([1, 1, rows, columns], dtype, MemoryConfig::L1))).unwrap()
    }

    fn values(tensor: &HostTensor) -> Vec<f32> {
        let mut out = vec![0.0; elements(&tensor.spec)];
        tensor.read_at(0, &mut out);
        out
    }

    const M: u32 = 3;
    const K: usize = 128;
    const N: usize = 70;

    fn weight(k: usize, n: usize) -> i8 {
        ((k * 7 + n * 13 + k * n) % 3) as i8 - 1
    }

    fn tiles() -> WeightMatrix {
        WeightMatrix::Tiles(Tiled::pack_with(Format::Bfp4, K, N, |k, n| f32::from(weight(k, n))))
    }

    fn ternary() -> WeightMatrix {
        WeightMatrix::Ternary(TernaryWeights::from_fn(K, N, weight).unwrap())
    }

    fn run(op: &Matmul, integer: bool, a: &HostTensor, w: &WeightMatrix) -> Vec<f32> {
        let mut out = tensor(M, N as u32, op.dtype);
        matmul(op, integer, Arch::Wormhole, a, w, &mut out, &mut MatmulScratch::default()).unwrap();
        values(&out)
    }

    #[test]
    fn integers_give_the_emulations_bits_whatever_comes_after() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut a = tensor(M, K as u32, DType::Bf16);
        let mut x: Vec<f32> = (0..M as usize * K).map(|_| f32::from(rng.random_range(-128i16..=127))).collect();
        a.write_at(0, &mut x);
        for activation in [None, Some(FusedActivation::Relu), Some(FusedActivation::Silu)] {
            for dtype in [DType::Bf16, DType::F32, DType::Bfp8] {
                let op = op(activation, true, dtype);
                assert_eq!(run(&op, true, &a, &ternary()), run(&op, false, &a, &tiles()), "{activation:?} {dtype}");
            }
        }
        let mut halves: Vec<f32> = x.iter().map(|v| v + 0.5).collect();
        a.write_at(0, &mut halves);
        let mut out = tensor(M, N as u32, DType::Bf16);
        let error = matmul(
            &op(None, true, DType::Bf16),
            true,
            Arch::Wormhole,
            &a,
            &ternary(),
            &mut out,
            &mut MatmulScratch::default(),
        );
        assert!(matches!(error, Err(DeviceError::Numerics(NumericsError::NotInt8 { .. }))));
    }

    #[test]
    fn the_fast_ways_are_close_to_the_real_numbers() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut a = tensor(M, K as u32, DType::Bf16);
        let mut x: Vec<f32> = (0..M as usize * K).map(|_| rng.random_range(-4.0f32..4.0)).collect();
        a.write_at(0, &mut x);
        let x = values(&a);
        let exact: Vec<f64> = (0..M as usize * N)
            .map(|i| (0..K).map(|k| f64::from(x[i / N * K + k]) * f64::from(weight(k, i % N))).sum())
            .collect();
        let WeightMatrix::Tiles(tiled) = tiles() else { panic!() };
        let dense = WeightMatrix::Dense(DenseWeights::from_tiled(tiled.view()));
        for (w, bound) in [(ternary(), 2e-3), (dense, 1e-4)] {
            let got = run(&op(None, true, DType::F32), false, &a, &w);
            let worst = got.iter().zip(&exact).map(|(g, e)| (f64::from(*g) - e).abs()).fold(0.0, f64::max);
            assert!(worst < bound, "{worst}");
        }
        let emulated = run(&op(None, true, DType::F32), false, &a, &tiles());
        let worst = emulated.iter().zip(&exact).map(|(g, e)| (f64::from(*g) - e).abs()).fold(0.0, f64::max);
        assert!(worst > 1e-4 && worst < 0.2, "{worst}");
    }
}
