//! `nlp_create_qkv_heads`: heads out of the fused projection of a prompt, interleaved.

use super::constraint::{constraints, values};
use super::prefill_heads::{placed, require_interleaved, require_movable};
use super::{Answer, Checks, Outcome};
use crate::op::CreateHeads;
use crate::ttnn::checks::operands;
use crate::{Card, TILE, TensorSpec};

constraints! { "create_heads", "nlp_create_qkv_heads_device_operation.cpp", also [prefill_heads, placement];
    SHAPE: "The input is [1, 1, S, columns], and there are q heads and kv heads."
        because "a phase fills one user's prompt; TT-NN takes more users at once"
        => "Unsupported input shape {shape}", "[1, 1, S, (heads + 2 * kv_heads) * head_dim]";
    WHOLE_HEADS: "The columns are a whole number of heads."
        => "Unsupported input shape", "columns {columns} divisible by num_heads + 2*num_kv_heads = {all}";
    HEAD_TILES: "head_dim is a multiple of 32, at most 320."
        => "head_dim {head_dim} is not a multiple of 32 up to 320", "heads padded to a multiple of 32 columns";
}

/// `[1,1,S,(H+2*Hkv)*D]` -> q `[1,H,S,D]`, k and v `[1,Hkv,S,D]`.
///
/// Of a `head_dim` that is no multiple of 32 TT-NN rounds the logical shape up and reads columns of the next head; 320 is the largest whose
/// buffers were measured.
pub(super) fn check(args: &CreateHeads, given: &[&TensorSpec], card: &Card) -> Answer {
    let [input] = operands(given)?;
    let mut checks = Checks::new();
    require_movable(input, &mut checks);
    let all = args.heads.saturating_add(args.kv_heads.saturating_mul(2));
    checks.require(
        &SHAPE,
        matches!(*input.shape.as_slice(), [1, 1, 1..=u32::MAX, 1..=u32::MAX]) && args.heads > 0 && args.kv_heads > 0,
        values![shape = input.shape],
    );
    require_interleaved(&args.memory, &mut checks);
    checks.settle()?;
    let columns = input.columns();
    checks.require(&WHOLE_HEADS, columns.is_multiple_of(all), values![columns, all]);
    let head_dim = columns / all;
    checks.require(&HEAD_TILES, head_dim.is_multiple_of(TILE) && head_dim <= 320, values![head_dim]);
    checks
        .finish(|| {
            let rows = input.rows();
            let heads = |count| TensorSpec::tile([1, count, rows, head_dim], input.dtype, args.memory.clone());
            Outcome {
                outputs: vec![heads(args.heads), heads(args.kv_heads), heads(args.kv_heads)],
                circular_buffers: tiles_in_flight(head_dim / TILE) * input.dtype.tile_bytes(),
                programs: 1,
                ..Outcome::default()
            }
        })
        .and_then(|outcome| placed(outcome, card))
}

/// Tiles of the reader's buffer: heads of 4 and 8 tiles move whole, twice buffered; the others a tile at a time, four times buffered.
fn tiles_in_flight(head_tiles: u32) -> u64 {
    if matches!(head_tiles, 4 | 8) { 2 * u64::from(head_tiles) } else { 4 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::mock::{any, n150, refusal};
    use crate::{Cores, DType, MemoryConfig};

    #[test]
    fn prefill_bytes_are_the_mocks() {
        let card = n150();
        for (heads, head_dim, dtype, split) in [
            ((20, 5), 128, DType::Bf16, 16_384),
            ((20, 5), 128, DType::Bfp8, 8_704),
            ((20, 5), 128, DType::F32, 32_768),
            ((20, 5), 32, DType::Bf16, 8_192),
            ((16, 16), 96, DType::Bf16, 8_192),
            ((8, 4), 256, DType::Bf16, 32_768),
        ] {
            let columns = (heads.0 + 2 * heads.1) * head_dim;
            let input = TensorSpec::tile([1, 1, 100, columns], dtype, MemoryConfig::DRAM);
            let args = CreateHeads { input: any(), heads: heads.0, kv_heads: heads.1, memory: MemoryConfig::DRAM };
            let outcome = check(&args, &[&input], &card).unwrap();
            assert_eq!(outcome.circular_buffers, split);
            assert_eq!(outcome.outputs[0].shape, [1, heads.0, 100, head_dim]);
            assert_eq!(outcome.outputs[2].shape, [1, heads.1, 100, head_dim]);
        }
    }

    #[test]
    fn prefill_refuses_what_it_cannot_split() {
        let card = n150();
        let args = |memory| CreateHeads { input: any(), heads: 20, kv_heads: 5, memory };
        let input = |columns, dtype| TensorSpec::tile([1, 1, 128, columns], dtype, MemoryConfig::DRAM);
        let answer = |memory, columns, dtype| check(&args(memory), &[&input(columns, dtype)], &card);
        assert!(refusal(answer(MemoryConfig::DRAM, 3841, DType::Bf16)).contains("Unsupported input shape"));
        assert!(refusal(answer(MemoryConfig::DRAM, 3840, DType::Bfp4)).contains("Unsupported data format"));
        assert!(refusal(answer(MemoryConfig::DRAM, 3000, DType::Bf16)).contains("head_dim 100"));
        let sharded = MemoryConfig::height(Cores::rectangle(0, 0, 4, 5), [128, 128]);
        assert!(refusal(answer(sharded, 3840, DType::Bf16)).contains("must be INTERLEAVED"));
    }
}
