//! `ttnn.abs`.

use super::constraint::constraints;
use super::elementwise::{even_in_l1, require_tiled_float};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::AbsOp;
use crate::ttnn::checks::operands;
use crate::{Card, TensorSpec};

constraints! { "abs", "", also [elementwise, placement]; }

/// `|x|`, any shape.
pub(super) fn check(args: &AbsOp, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    require_tiled_float("input", x, &mut checks);
    let output = TensorSpec::tile(x.shape.clone(), x.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let in_place = x.memory == args.memory && even_in_l1(x.columns(), x.matrix_rows(), &x.memory);
    let circular_buffers = if in_place { 0 } else { 4 * x.dtype.tile_bytes() };
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryConfig;
    use crate::ttnn::mock::{any, bytes, n150, row};

    #[test]
    fn bytes_of_abs() {
        let card = n150();
        let even = row(&card, 32, 2560, 8, 10);
        let uneven = row(&card, 32, 2560, 27, 3);
        let of = |x: &TensorSpec, m: &MemoryConfig| bytes(AbsOp { input: any(), memory: m.clone() }, &[x], &card);
        assert_eq!(of(&even, &even.memory), 0);
        assert_eq!(of(&uneven, &uneven.memory), 8192);
        assert_eq!(of(&even, &MemoryConfig::DRAM), 8192);
    }
}
