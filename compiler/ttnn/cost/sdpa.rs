//! Price of attention in prefill.

use bitnetc_plan::op::Sdpa;
use bitnetc_plan::{TILE, TensorSpec};

use super::attention::{self, Work};
use super::laws::tile_cycles;
use super::{Kernel, Priced};

/// Causal attention of a chunk that starts at position 0, as the first chunk of a prompt does.
///
/// Later chunks of queries see more keys. TT-NN therefore pairs a head's chunks, the first with the last, where their number is even, and
/// deals the pairs of all heads to the grid.
pub fn kernel(args: &Sdpa, priced: &Priced<'_>) -> Kernel {
    let (operands, c) = (priced.operands, priced.constants());
    let (q, k) = (operands[0], operands[1]);
    let cut = Cut::new(args, q);
    let cores = u64::from(args.program.grid.0 * args.program.grid.1).max(1);
    let heads = u64::from(q.shape[1]);
    let n = cut.q_chunks;
    let paired = n.is_multiple_of(2);
    let (units, heaviest) = if paired {
        (n / 2, (0..n / 2).map(|i| cut.seen(i) + cut.seen(n - 1 - i)).max().unwrap_or(0))
    } else {
        (n, cut.seen(n - 1))
    };
    let chunks = (heads * units).div_ceil(cores) * heaviest;
    let cycles = tile_cycles(c, args.compute.fidelity);
    let work = Work::of(chunks, [cut.q, cut.k, q.tile_columns()], k.dtype, cycles);
    attention::kernel(&work, priced.streamed(), 0, c)
}

/// Bytes of keys and values that prefill reads: all that a chunk of queries sees, once for each.
pub fn reads(args: &Sdpa, operands: &[&TensorSpec]) -> u64 {
    let (q, k, v) = (operands[0], operands[1], operands[2]);
    let cut = Cut::new(args, q);
    let seen: u64 = (0..cut.q_chunks).map(|i| cut.seen(i)).sum();
    let tiles = u64::from(q.shape[1]) * seen * cut.k * q.tile_columns();
    tiles * (k.dtype.tile_bytes() + v.dtype.tile_bytes())
}

/// A head's queries and keys in chunks; sizes of chunks in tiles.
struct Cut {
    q_chunks: u64,
    k_chunks: u64,
    q: u64,
    k: u64,
}

impl Cut {
    fn new(args: &Sdpa, q: &TensorSpec) -> Self {
        let (q_chunk, k_chunk) = (args.program.q_chunk.max(TILE), args.program.k_chunk.max(TILE));
        Cut {
            q_chunks: u64::from(q.rows().div_ceil(q_chunk)).max(1),
            k_chunks: u64::from(q.rows().div_ceil(k_chunk)),
            q: u64::from(q_chunk / TILE),
            k: u64::from(k_chunk / TILE),
        }
    }

    /// Chunks of keys that chunk `i` of queries sees.
    fn seen(&self, i: u64) -> u64 {
        ((i + 1) * self.q).div_ceil(self.k).min(self.k_chunks)
    }
}
