//! The way of partial sums between K-blocks: Dst goes through an intermediate buffer in L1.
//!
//! With an fp32 Dst the buffer is Float32 and nothing is lost. With a bf16 Dst it is bf16 when the packer
//! accumulates in L1 and the output's format when it reloads. The lossy reload of a matmul with a fused bias
//! (TF32) is not modelled: no plan fuses a bias.

use half::bf16;

use crate::device_pack::{pack_group, to_bf16, to_f32};
use crate::format::{Format, GROUP, TILE};
use crate::rounding::{bf16_host, widen};
use crate::unpack::{code_bits, widen_code};

/// How partial sums pass from one K-block to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spill {
    /// Each block is packed, reloaded into Dst and continued (`packer_l1_acc` off).
    Reload,
    /// All blocks but the last start from zero and are added in L1; the last continues from that sum.
    L1Accumulate,
}

impl Spill {
    /// The choice of TT-NN: L1 accumulation needs more than 2 blocks in a 2D matmul, more than 1 in the others.
    pub fn of(packer_l1_acc: bool, blocks: usize, two_d: bool) -> Self {
        if packer_l1_acc && blocks > if two_d { 2 } else { 1 } { Spill::L1Accumulate } else { Spill::Reload }
    }

    /// Format of the intermediate buffer.
    pub fn format(self, fp32_dest: bool, out: Format) -> Format {
        match self {
            _ if fp32_dest => Format::F32,
            Spill::L1Accumulate => Format::Bf16,
            Spill::Reload => out,
        }
    }
}

/// A row of Dst packed to the intermediate buffer and loaded back, as Dst bits.
pub(crate) fn through_buffer(format: Format, fp32_dest: bool, dst: &mut [u32; TILE]) {
    match format {
        Format::F32 => dst.iter_mut().for_each(|d| *d = to_f32(*d, fp32_dest)),
        Format::Bf16 => dst.iter_mut().for_each(|d| *d = wide(to_bf16(*d, fp32_dest))),
        Format::Bfp8 | Format::Bfp4 => {
            for group in dst.as_chunks_mut::<GROUP>().0 {
                let (shared, codes) = pack_group(group, fp32_dest, format);
                for (d, c) in group.iter_mut().zip(codes) {
                    let code = if format == Format::Bfp4 { widen_code(c) } else { c };
                    *d = u32::from(code_bits(code, shared)) << 16;
                }
            }
        }
    }
}

/// Adds a packed row of Dst to the row already in L1. Both are fp32 bits; a bf16 buffer rounds the sum.
pub(crate) fn accumulate_l1(fp32_dest: bool, dst: &[u32; TILE], l1: &mut [u32; TILE]) {
    for (sum, &d) in l1.iter_mut().zip(dst) {
        let (a, b) = (flushed(*sum), flushed(d));
        let total = f32::from_bits(a) + f32::from_bits(b);
        *sum = flushed(if fp32_dest { total.to_bits() } else { wide(bf16_host(total)) });
    }
}

fn wide(h: bf16) -> u32 {
    widen(h).to_bits()
}

fn flushed(bits: u32) -> u32 {
    if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_block_counts() {
        assert_eq!(Spill::of(true, 2, true), Spill::Reload);
        assert_eq!(Spill::of(true, 3, true), Spill::L1Accumulate);
        assert_eq!(Spill::of(true, 2, false), Spill::L1Accumulate);
        assert_eq!(Spill::of(false, 9, false), Spill::Reload);
    }

    #[test]
    fn bf16_accumulation_rounds_to_even_and_flushes() {
        let mut l1 = [256f32.to_bits(); TILE];
        let mut one = [1f32.to_bits(); TILE];
        one[1] = 3f32.to_bits();
        accumulate_l1(false, &one, &mut l1);
        assert_eq!(f32::from_bits(l1[0]), 256.0);
        assert_eq!(f32::from_bits(l1[1]), 260.0);
        let mut tiny = [0x0080_0001; TILE];
        accumulate_l1(true, &[0x8080_0000; TILE], &mut tiny);
        assert_eq!(tiny[0], 0);
    }

    #[test]
    fn an_fp32_spill_loses_nothing() {
        let mut row = [0u32; TILE];
        for (i, r) in row.iter_mut().enumerate() {
            *r = (1234567.0 + i as f32).to_bits();
        }
        let before = row;
        through_buffer(Format::F32, true, &mut row);
        assert_eq!(row, before);
        through_buffer(Format::Bfp8, false, &mut row);
        assert_ne!(row, before);
    }
}
