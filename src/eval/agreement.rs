//! Measures of logits: how likely they find a token, and how far two computations of them agree.

/// How two computations of the same logits agree.
#[derive(Debug, Clone, Default)]
pub struct Agreement {
    rows: usize,
    top1: usize,
    top5: usize,
    sums: [f64; 5],
    squares: f64,
    equal: u64,
    count: f64,
}

impl Agreement {
    /// Takes a row of each.
    pub fn add(&mut self, ours: &[f32], reference: &[f32]) {
        self.rows += 1;
        let best = largest(reference, 1)[0];
        let five = largest(ours, 5);
        self.top1 += usize::from(five[0] == best);
        self.top5 += usize::from(five.contains(&best));
        self.count += ours.len() as f64;
        for (&x, &y) in ours.iter().zip(reference) {
            let (x, y) = (f64::from(x), f64::from(y));
            self.sums.iter_mut().zip([x, y, x * x, y * y, x * y]).for_each(|(sum, v)| *sum += v);
            self.squares += (x - y) * (x - y);
            self.equal += u64::from(x == y);
        }
    }

    /// Rows compared.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Pearson's correlation of all logits.
    pub fn pcc(&self) -> f64 {
        let [x, y, xx, yy, xy] = self.sums.map(|s| s / self.count);
        (xy - x * y) / ((xx - x * x) * (yy - y * y)).sqrt()
    }

    /// Root of the mean square of the differences.
    pub fn rms(&self) -> f64 {
        (self.squares / self.count).sqrt()
    }

    /// True when every logit is the reference's.
    pub fn is_equal(&self) -> bool {
        self.equal as f64 == self.count
    }

    /// Rows whose most likely token is the reference's.
    pub fn same(&self) -> usize {
        self.top1
    }

    /// Share of rows whose most likely token is the reference's.
    pub fn top1(&self) -> f64 {
        self.top1 as f64 / self.rows as f64
    }

    /// Share of rows that have the reference's most likely token among their five.
    pub fn top5(&self) -> f64 {
        self.top5 as f64 / self.rows as f64
    }
}

/// The indices of the `count` largest, largest first, the first among equals first.
fn largest(row: &[f32], count: usize) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(count + 1);
    for (at, v) in row.iter().enumerate() {
        let place = best.partition_point(|&b| row[b] >= *v);
        if place < count {
            best.insert(place, at);
            best.truncate(count);
        }
    }
    best
}

/// Bits of a token under the softmax of its logits.
pub fn surprise(logits: &[f32], token: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&l| f64::from(l - largest).exp()).sum();
    (total.ln() - f64::from(logits[token] - largest)) / std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_counts_rows_and_correlates() {
        let mut agreement = Agreement::default();
        agreement.add(&[1.0, 2.0, 3.0, 0.0, 0.0, 0.0], &[2.0, 4.0, 6.0, 0.0, 0.0, 0.0]);
        assert!((agreement.pcc() - 1.0).abs() < 1e-12);
        assert!((agreement.rms() - (14.0f64 / 6.0).sqrt()).abs() < 1e-12 && !agreement.is_equal());
        agreement.add(&[9.0, 8.0, 7.0, 6.0, 5.0, 4.0], &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!((agreement.rows(), agreement.same(), agreement.top1(), agreement.top5()), (2, 1, 0.5, 0.5));
        let mut alike = Agreement::default();
        alike.add(&[1.0, 0.0], &[1.0, -0.0]);
        assert!(alike.is_equal());
        assert_eq!(largest(&[1.0, 3.0, 3.0, 2.0], 3), [1, 2, 3]);
    }

    #[test]
    fn surprise_is_the_bits_of_the_softmax() {
        assert!((surprise(&[0.0; 8], 3) - 3.0).abs() < 1e-12);
        assert!(surprise(&[1000.0, 0.0], 0) < 1e-9);
    }
}
