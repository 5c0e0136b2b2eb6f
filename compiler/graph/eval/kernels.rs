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
        .map(|block| {
            let range = block * BLOCK..((block + 1) * BLOCK).min(out);
            match w {
                Matrix::Dense { values, width, .. } => {
                    block_f32(x, &values[range.start * width..range.end * width], *width)
                }
                Matrix::Ternary { values, width, .. } => {
                    let part: Vec<f32> =
                        values[range.start * width..range.end * width].iter().map(|&v| f32::from(v)).collect();
                    block_f32(x, &part, *width)
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
        .map(|block| {
            let range = block * BLOCK..((block + 1) * BLOCK).min(*out);
            let part: Vec<i16> = values[range.start * width..range.end * width].iter().map(|&v| i16::from(v)).collect();
            let mut product = Vec::with_capacity(rows * range.len());
            for row in q.chunks_exact(*width) {
                product.extend(part.chunks_exact(*width).map(|w| dot_int(row, w) as f32));
            }
            product
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

fn dot_int(a: &[i16], b: &[i16]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

/// Rows of `x` four at a time against one weight row each: four independent chains of eight lanes.
fn block_f32(x: &[f32], w: &[f32], width: usize) -> Vec<f32> {
    let columns = w.len() / width.max(1);
    let rows = x.len() / width.max(1);
    let mut product = vec![0.0; rows * columns];
    let mut row = 0;
    while row < rows {
        let take = (rows - row).min(4);
        let four: [&[f32]; 4] = std::array::from_fn(|i| {
            let at = row + i.min(take - 1);
            &x[at * width..(at + 1) * width]
        });
        for (column, w) in w.chunks_exact(width).enumerate() {
            let sums = dot4(four, w);
            for (i, sum) in sums.iter().take(take).enumerate() {
                product[(row + i) * columns + column] = *sum;
            }
        }
        row += take;
    }
    product
}

fn dot4(x: [&[f32]; 4], w: &[f32]) -> [f32; 4] {
    const LANES: usize = 8;
    let mut lanes = [[0.0_f32; LANES]; 4];
    let whole = w.len() / LANES * LANES;
    let x = x.map(|row| &row[..w.len()]);
    for at in (0..whole).step_by(LANES) {
        let w = &w[at..at + LANES];
        for (lanes, x) in lanes.iter_mut().zip(x) {
            let x = &x[at..at + LANES];
            for i in 0..LANES {
                lanes[i] += x[i] * w[i];
            }
        }
    }
    std::array::from_fn(|row| {
        let tail: f32 = (whole..w.len()).map(|at| x[row][at] * w[at]).sum();
        lanes[row].iter().sum::<f32>() + tail
    })
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

/// Causal attention of one head of one row over the cached positions `0..=position`.
///
/// `keys` and `values` are `[context, head_dim]`.
pub(super) fn attend(q: &[f32], keys: &[f32], values: &[f32], positions: usize, scale: f32) -> Vec<f32> {
    let dim = q.len();
    let mut scores: Vec<f32> = keys
        .chunks_exact(dim)
        .take(positions)
        .map(|k| k.iter().zip(q).map(|(a, b)| a * b).sum::<f32>() * scale)
        .collect();
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
