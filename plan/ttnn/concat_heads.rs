//! `nlp_concat_heads`: heads of a prompt side by side, interleaved. Two rows of tiles of all heads are buffered.

use super::constraint::{constraints, values};
use super::prefill_heads::{placed, require_interleaved, require_movable};
use super::users::whole_tiles;
use super::{Answer, Checks, Outcome};
use crate::op::ConcatHeads;
use crate::ttnn::checks::operands;
use crate::{Card, TensorSpec};

constraints! { "concat_heads", "nlp_concat_heads_device_operation.cpp", also [prefill_heads, placement];
    SHAPE: "The input is [1, H, S, head_dim] with a head_dim that is a multiple of 32."
        because "TT-NN would return padded columns as data"
        => "Unsupported input shape {shape}", "[1, H, S, head_dim] with a head_dim that is a multiple of 32";
}

/// `[1,H,S,D]` -> `[1,1,S,H*D]`.
pub(super) fn check(args: &ConcatHeads, given: &[&TensorSpec], card: &Card) -> Answer {
    let [input] = operands(given)?;
    let mut checks = Checks::new();
    require_movable(input, &mut checks);
    require_interleaved(&args.memory, &mut checks);
    checks.require(
        &SHAPE,
        matches!(*input.shape.as_slice(), [1, 1..=u32::MAX, 1..=u32::MAX, n] if whole_tiles(n)),
        values![shape = input.shape],
    );
    checks
        .finish(|| {
            let (heads, columns) = (input.shape[1], input.columns());
            let row = u64::from(heads).saturating_mul(input.tile_columns() * input.dtype.tile_bytes());
            let shape = [1, 1, input.rows(), heads.saturating_mul(columns)];
            Outcome {
                outputs: vec![TensorSpec::tile(shape, input.dtype, args.memory.clone())],
                circular_buffers: row.saturating_mul(2),
                programs: 1,
                ..Outcome::default()
            }
        })
        .and_then(|outcome| placed(outcome, card))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::mock::{any, n150};
    use crate::{DType, MemoryConfig};

    #[test]
    fn prefill_bytes_are_the_mocks() {
        let card = n150();
        for (heads, head_dim, dtype, join) in [
            (20, 128, DType::Bf16, 327_680),
            (20, 128, DType::Bfp8, 174_080),
            (20, 128, DType::F32, 655_360),
            (20, 32, DType::Bf16, 81_920),
            (16, 96, DType::Bf16, 196_608),
            (8, 256, DType::Bf16, 262_144),
        ] {
            let input = TensorSpec::tile([1, heads, 100, head_dim], dtype, MemoryConfig::DRAM);
            let args = ConcatHeads { input: any(), memory: MemoryConfig::L1 };
            let joined = check(&args, &[&input], &card).unwrap();
            assert_eq!(joined.circular_buffers, join);
            let want = TensorSpec::tile([1, 1, 100, heads * head_dim], dtype, MemoryConfig::L1);
            assert_eq!(joined.outputs, [want]);
        }
    }
}
