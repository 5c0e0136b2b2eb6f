//! The evaluator's arithmetic: f32, rows in parallel, loops the compiler turns into vector code.

use rayon::prelude::*;

/// Weight rows a task works on at a time: their converted copy stays in the second-level cache.
const BLOCK: usize = 32;

/// A matrix of weights, `[out, in]`.
#[derive(Debug, Clone)]
pub(super) enum Matrix {
    Dense { values: Vec<f32>, out: usize, width: usize },
    Ternary { values: Vec<i8>, out: usize, width: usize },
}

impl Matrix {
    pub fn out(&self) -> usize {
        match self {
            Matrix::Dense { out, .. } | Matrix::Ternary { out, .. } => *out,
        }
    }
}

/// `x @ w^T` for `x` of `[rows, width]`.
pub(super) fn matmul(x: &[f32], rows: usize, w: &Matrix) -> Vec<f32> {
    let out = w.out();
    let blocks: Vec<Vec<f32>> = (0..out.div_ceil(BLOCK))
        .into_par_iter()
        .map(|at| {
            let range = at * BLOCK..((at + 1) * BLOCK).min(out);
            match w {
                Matrix::Dense { values, width, .. } => {
                    block(Block::F32 { x, w: &values[range.start * width..range.end * width], width: *width })
                }
                Matrix::Ternary { values, width, .. } => {
                    let part: Vec<f32> =
                        values[range.start * width..range.end * width].iter().map(|&v| f32::from(v)).collect();
                    block(Block::F32 { x, w: &part, width: *width })
                }
            }
        })
        .collect();
    interleave(&blocks, rows, out)
}

/// `q @ w^T` for integers of at most 8 bits: exact.
pub(super) fn matmul_int8(q: &[i16], rows: usize, w: &Matrix) -> Option<Vec<f32>> {
    let Matrix::Ternary { values, out, width } = w else { return None };
    let blocks: Vec<Vec<f32>> = (0..out.div_ceil(BLOCK))
        .into_par_iter()
        .map(|at| {
            let range = at * BLOCK..((at + 1) * BLOCK).min(*out);
            let part: Vec<i16> = values[range.start * width..range.end * width].iter().map(|&v| i16::from(v)).collect();
            block(Block::Int8 { x: q, w: &part, width: *width })
        })
        .collect();
    Some(interleave(&blocks, rows, *out))
}

/// Puts column blocks side by side.
fn interleave(blocks: &[Vec<f32>], rows: usize, out: usize) -> Vec<f32> {
    let mut product = Vec::with_capacity(rows * out);
    for row in 0..rows {
        for block in blocks {
            let width = block.len() / rows.max(1);
            product.extend_from_slice(&block[row * width..(row + 1) * width]);
        }
    }
    product
}

/// A product of all rows with a block of weight rows, `[rows, columns]`.
#[derive(Clone, Copy)]
enum Block<'a> {
    F32 { x: &'a [f32], w: &'a [f32], width: usize },
    Int8 { x: &'a [i16], w: &'a [i16], width: usize },
}

/// Runs a block with the widest vectors of this machine. The sums are the same with any width: lanes are fixed, and nothing is fused.
fn block(block: Block<'_>) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2, which `block_avx2` is compiled for: it was detected above.
        return unsafe { block_avx2(block) };
    }
    block_plain(block)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn block_avx2(block: Block<'_>) -> Vec<f32> {
    block_plain(block)
}

#[inline(always)]
fn block_plain(block: Block<'_>) -> Vec<f32> {
    match block {
        Block::F32 { x, w, width } => tiles(x, w, width),
        Block::Int8 { x, w, width } => tiles(x, w, width),
    }
}

/// The number type of a block. Its functions are plain loops, because a closure compiled for wide vectors is not inlined into the
/// iterators of the standard library, which are compiled for narrow ones.
trait Number: Copy {
    /// The products of four rows with one weight row.
    fn dot4(rows: [&[Self]; 4], w: &[Self]) -> [f32; 4];
}

/// Multiplies four rows of `x` at a time with each weight row, which gives the processor four independent chains of additions.
#[inline(always)]
fn tiles<T: Number>(x: &[T], w: &[T], width: usize) -> Vec<f32> {
    let columns = w.len() / width.max(1);
    let rows = x.len() / width.max(1);
    let mut product = vec![0.0; rows * columns];
    let mut row = 0;
    while row < rows {
        let take = (rows - row).min(4);
        let mut four = [&x[row * width..(row + 1) * width]; 4];
        for i in 1..take {
            four[i] = &x[(row + i) * width..(row + i + 1) * width];
        }
        for column in 0..columns {
            let sums = T::dot4(four, &w[column * width..(column + 1) * width]);
            for i in 0..take {
                product[(row + i) * columns + column] = sums[i];
            }
        }
        row += take;
    }
    product
}

impl Number for i16 {
    #[inline(always)]
    fn dot4(rows: [&[i16]; 4], w: &[i16]) -> [f32; 4] {
        let n = w.len();
        let (a, b, c, d) = (&rows[0][..n], &rows[1][..n], &rows[2][..n], &rows[3][..n]);
        let mut sums = [0_i32; 4];
        for at in 0..n {
            let w = i32::from(w[at]);
            sums[0] += i32::from(a[at]) * w;
            sums[1] += i32::from(b[at]) * w;
            sums[2] += i32::from(c[at]) * w;
            sums[3] += i32::from(d[at]) * w;
        }
        [sums[0] as f32, sums[1] as f32, sums[2] as f32, sums[3] as f32]
    }
}

const LANES: usize = 8;

impl Number for f32 {
    #[inline(always)]
    fn dot4(rows: [&[f32]; 4], w: &[f32]) -> [f32; 4] {
        let n = w.len();
        let (a, b, c, d) = (&rows[0][..n], &rows[1][..n], &rows[2][..n], &rows[3][..n]);
        let (mut la, mut lb, mut lc, mut ld) = ([0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES]);
        let mut at = 0;
        while at + LANES <= n {
            let (w, a, b, c, d) =
                (&w[at..at + LANES], &a[at..at + LANES], &b[at..at + LANES], &c[at..at + LANES], &d[at..at + LANES]);
            for i in 0..LANES {
                la[i] += a[i] * w[i];
                lb[i] += b[i] * w[i];
                lc[i] += c[i] * w[i];
                ld[i] += d[i] * w[i];
            }
            at += LANES;
        }
        let mut sums = [0.0; 4];
        for i in 0..LANES {
            sums[0] += la[i];
            sums[1] += lb[i];
            sums[2] += lc[i];
            sums[3] += ld[i];
        }
        while at < n {
            sums[0] += a[at] * w[at];
            sums[1] += b[at] * w[at];
            sums[2] += c[at] * w[at];
            sums[3] += d[at] * w[at];
            at += 1;
        }
        sums
    }
}

/// `x / sqrt(mean(x^2) + eps) * gamma`, row by row.
pub(super) fn rms_norm(x: &[f32], width: usize, gamma: Option<&[f32]>, eps: f64) -> Vec<f32> {
    let mut out = x.to_vec();
    for row in out.chunks_exact_mut(width) {
        let mean = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>() / width as f64;
        let factor = (1.0 / (mean + eps).sqrt()) as f32;
        match gamma {
            Some(gamma) => row.iter_mut().zip(gamma).for_each(|(v, g)| *v = *v * factor * g),
            None => row.iter_mut().for_each(|v| *v *= factor),
        }
    }
    out
}

/// 8-bit integers and each row's `m`.
pub(super) fn quantize(x: &[f32], width: usize, floor: f64) -> (Vec<i16>, Vec<f32>) {
    let mut factors = Vec::with_capacity(x.len() / width.max(1));
    let mut integers = Vec::with_capacity(x.len());
    for row in x.chunks_exact(width) {
        let m = row.iter().fold(0.0_f32, |m, v| m.max(v.abs())).max(floor as f32);
        let factor = 127.0 / m;
        integers.extend(row.iter().map(|v| (v * factor).round_ties_even().clamp(-128.0, 127.0) as i16));
        factors.push(m);
    }
    (integers, factors)
}

/// A dot product in eight chains.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_tail) = a.as_chunks::<8>();
    let (b, b_tail) = b.as_chunks::<8>();
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f32>() + a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum::<f32>()
}

/// Causal attention of one head of one row over the cached positions `0..=position`.
///
/// `keys` and `values` are `[context, head_dim]`.
pub(super) fn attend(q: &[f32], keys: &[f32], values: &[f32], positions: usize, scale: f32) -> Vec<f32> {
    let dim = q.len();
    let mut scores: Vec<f32> = keys.chunks_exact(dim).take(positions).map(|k| dot(k, q) * scale).collect();
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for score in &mut scores {
        *score = (*score - most).exp();
        total += *score;
    }
    let mut out = vec![0.0; dim];
    for (score, v) in scores.iter().zip(values.chunks_exact(dim)) {
        let share = score / total;
        out.iter_mut().zip(v).for_each(|(o, v)| *o += share * v);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_products_equal_plain_ones() {
        let (rows, width, out) = (7, 37, 70);
        let x: Vec<f32> = (0..rows * width).map(|i| (i % 11) as f32 - 5.0).collect();
        let w: Vec<i8> = (0..out * width).map(|i| (i * 7 % 3) as i8 - 1).collect();
        let plain: Vec<f32> = (0..rows * out)
            .map(|i| (0..width).map(|k| x[i / out * width + k] * f32::from(w[i % out * width + k])).sum())
            .collect();
        let ternary = Matrix::Ternary { values: w.clone(), out, width };
        let dense = Matrix::Dense { values: w.iter().map(|&v| f32::from(v)).collect(), out, width };
        let q: Vec<i16> = x.iter().map(|&v| v as i16).collect();
        assert_eq!(matmul(&x, rows, &ternary), plain);
        assert_eq!(matmul(&x, rows, &dense), plain);
        assert_eq!(matmul_int8(&q, rows, &ternary).unwrap(), plain);
    }

    #[test]
    fn quantisation_rounds_half_to_even_and_keeps_a_floor() {
        let (q, m) = quantize(&[127.0, 0.5, 1.5, -127.0, 0.0, 0.0, 0.0, 1e-9], 4, 1e-5);
        assert_eq!(q, [127, 0, 2, -127, 0, 0, 0, 0]);
        assert_eq!(m, [127.0, 1e-5]);
    }
}
