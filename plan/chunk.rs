//! Where chunks of a prompt may start.

use crate::{Op, Phase};

impl Phase {
    /// The *stride* of a prefill phase: a chunk starts where its cache blocks, of `block` tokens, and its attention's chunks of queries and keys
    /// start, which is at the multiples of this.
    pub fn stride(&self, block: u32) -> u32 {
        let attention = self.steps().filter_map(|step| {
            let Op::Sdpa(args) = &step.op else { return None };
            Some([args.program.q_chunk, args.program.k_chunk])
        });
        attention.flatten().fold(block, least_common_multiple)
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Of numbers above 0.
fn least_common_multiple(a: u32, b: u32) -> u32 {
    (a / greatest_common_divisor(a, b).max(1)).saturating_mul(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multiple_of_both_is_no_larger_than_need_be() {
        assert_eq!((least_common_multiple(64, 96), least_common_multiple(64, 512)), (192, 512));
    }
}
