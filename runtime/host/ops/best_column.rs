//! `ttnn.argmax` over the last dimension: the first of the largest elements of each row.

use bitnetc_plan::op::BestColumn;

use super::arg_max::arg_max;
use crate::DeviceError;
use crate::host::run::Run;

pub fn execute(_: &BestColumn, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| arg_max(x.tensor(0)?, out))
}

#[cfg(test)]
mod tests {
    use super::arg_max;
    use crate::host::ops::embedding::from_memory;
    use crate::host::ops::row_max::row_max;
    use crate::host::testing::{tensor, values};
    use bitnetc_plan::DType;

    /// The column that the steps of a search by groups find.
    fn in_groups(logits: &[f32], width: u32) -> u32 {
        let groups = logits.len() as u32 / width;
        let cut = tensor(&[1, 1, groups, width], DType::Bf16, logits);
        let mut maxima = tensor(&[1, 1, groups, 1], DType::Bf16, &[]);
        row_max(&cut, &mut maxima).unwrap();
        let row = tensor(&[1, 1, 1, groups], DType::Bf16, &values(&maxima));
        let mut number = tensor(&[1, 1, 1], DType::U32, &[]);
        arg_max(&row, &mut number).unwrap();
        let group = number.integers(0).unwrap()[0];
        let mut found = tensor(&[1, 1, width], DType::Bf16, &[]);
        from_memory(&[group], &cut, &mut found).unwrap();
        arg_max(&found, &mut number).unwrap();
        group * width + number.integers(0).unwrap()[0]
    }

    #[test]
    fn a_search_by_groups_finds_the_first_of_equal_logits_as_one_over_all_does() {
        // Every row of six logits of four values, two of which are zeros of both signs.
        for row in 0..4_usize.pow(6) {
            let logits: Vec<f32> = (0..6).map(|at| [-1.5, -0.0, 0.0, 2.0][row / 4_usize.pow(at) % 4]).collect();
            let mut token = tensor(&[1, 1, 1], DType::U32, &[]);
            arg_max(&tensor(&[1, 1, 1, 6], DType::Bf16, &logits), &mut token).unwrap();
            for width in [1, 2, 3] {
                assert_eq!(in_groups(&logits, width), token.integers(0).unwrap()[0], "{logits:?} in {width}");
            }
        }
    }
}
