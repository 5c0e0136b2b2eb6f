//! `ttnn.reshape(x, shape, padded_shape)`: another logical shape over the same buffer.
//!
//! Rows that were padding may become logical and the reverse.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::View;
use crate::ttnn::checks::operands;
use crate::{Card, Layout, TensorSpec};

constraints! { "view", "reshape_common.cpp", also [placement];
    SIDES: "The new shape has one to four dimensions, none of them 0."
        => "shape {shape}", "one to four dimensions, none of them 0";
    TILED: "The tensor is tiled."
        because "plans reshape nothing else"
        => "reshape of {input}", "a tiled tensor";
    NO_FEWER_ROWS: "The new shape has as many padded rows as the old one."
        because "TT-NN takes fewer, and leaves the rest of the buffer to nobody"
        => "reshape of {old} padded rows to {new}", "{old} padded rows";
    VOLUME: "Columns stay as many as they are, and padded rows do not become more."
        => "Attempting to reshape between two shapes with different volumes: {from} to {to}",
           "{columns} columns and {rows} padded rows";
}

/// Accepted when the columns and the number of padded rows stay what they are.
pub(super) fn check(args: &View, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    let output = TensorSpec { shape: args.shape.clone(), ..x.clone() };
    let sides = (1..=4).contains(&args.shape.len()) && args.shape.iter().all(|&d| d > 0);
    let valid = checks.require(&SIDES, sides, values![shape = args.shape]);
    checks.require(&TILED, x.layout == Layout::Tile, values![input = x]);
    let (old, new) = (x.matrix_rows(), output.matrix_rows());
    checks.require(&NO_FEWER_ROWS, !valid || new >= old, values![old, new]);
    checks.require(
        &VOLUME,
        !valid || (output.columns() == x.columns() && new <= old),
        values![from = x.shape, to = args.shape, columns = x.columns(), rows = old],
    );
    checks.settle()?;
    require_placement(&output, card, &mut checks);
    checks.finish(|| Outcome { outputs: vec![output], ..Outcome::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, n150, refusal, row};
    use crate::{DType, MemoryConfig};

    #[test]
    fn views_keep_columns_and_padded_rows() {
        let card = n150();
        let view = |shape: &[u32]| View { input: any(), shape: shape.to_vec() };
        let heads = row(&card, 8, 2560, 20, 4);
        let answer = check(&view(&[1, 1, 32, 2560]).into(), &[&heads], &card).unwrap();
        assert_eq!((answer.programs, &answer.outputs[0].memory), (0, &heads.memory));
        let dram = TensorSpec::tile([1, 1, 128, 2560], DType::Bf16, MemoryConfig::DRAM);
        assert!(check(&view(&[1, 4, 32, 2560]).into(), &[&dram], &card).is_ok());
        for shape in [[1, 1, 160, 2560], [1, 1, 128, 2528]] {
            assert!(refusal(check(&view(&shape).into(), &[&dram], &card)).contains("different volumes"));
        }
    }
}
