//! Matmuls on the host, bit for bit the FPU's.

use bitnetc_numerics::{Arch, Format, MatmulConfig, Spill, SrcA, SrcB, Tiled, matmul_into};
use bitnetc_plan::op::Matmul;
use bitnetc_plan::{MatmulProgram, TILE};
use half::bf16;
use rayon::prelude::*;

use super::matmul::finish;
use super::tensor::{Data, HostTensor};
use crate::DeviceError;
use crate::weights::bytes::format_of;

/// Memory that emulated matmuls reuse.
#[derive(Debug, Default)]
pub struct Scratch {
    activations: SrcB,
    tiles: Vec<Tiled>,
}

/// The arguments of the call that decide the bits of an emulated matmul.
pub fn config(op: &Matmul, k: usize, arch: Arch, format: Format) -> MatmulConfig {
    let in0_block_w = op.program.in0_block_w() as usize;
    let blocks = (k / TILE as usize).checked_div(in0_block_w).unwrap_or(1);
    let two_d = matches!(op.program, MatmulProgram::Multicast2D { .. });
    MatmulConfig {
        arch,
        fidelity: op.compute.fidelity,
        fp32_dest: op.compute.fp32_dest_acc,
        spill: Spill::of(op.compute.packer_l1_acc, blocks, two_d),
        in0_block_w,
        out_format: format,
    }
}

/// `a @ w` into `out`.
pub fn matmul(
    w: SrcA<'_>,
    op: &Matmul,
    arch: Arch,
    a: &HostTensor,
    out: &mut HostTensor,
    scratch: &mut Scratch,
) -> Result<(), DeviceError> {
    let (m, k, n) = (a.rows(), a.columns(), out.columns());
    match &a.data {
        Data::Bf16(x) => scratch.activations.load_bf16(m, k, x)?,
        Data::F32(x) => scratch.activations.load_f32(m, k, x)?,
        Data::Integer(_) => return Err(a.unexpected(0, "floats")),
    }
    let wanted = format_of(out.spec.dtype).ok_or_else(|| out.unexpected(2, "floats"))?;
    // An activation comes before the packer: ask for Dst itself, and pack afterwards.
    let format = match op.program.activation() {
        None => wanted,
        Some(_) if op.compute.fp32_dest_acc => Format::F32,
        Some(_) => Format::Bf16,
    };
    let config = config(op, k, arch, format);
    let tiles = &mut scratch.tiles;
    let at = match tiles.iter().position(|t| (t.format(), t.rows(), t.cols()) == (format, m, n)) {
        Some(at) => at,
        None => {
            tiles.push(Tiled::zeros(format, m, n));
            tiles.len() - 1
        }
    };
    matmul_into(&scratch.activations, w, &config, &mut tiles[at])?;
    let view = tiles[at].view();
    if format == wanted && format.code_bits().is_some() {
        // Packed already, and packing twice need not be packing once.
        let Data::Bf16(data) = &mut out.data else { return Err(out.unexpected(2, "a block format")) };
        let rows = data.par_chunks_mut(n).enumerate();
        rows.for_each_init(
            || vec![0f32; n],
            |values, (row, data)| {
                view.read_row(row, values);
                data.iter_mut().zip(values).for_each(|(o, v)| *o = bf16::from_bits((v.to_bits() >> 16) as u16));
            },
        );
        return Ok(());
    }
    finish(op, out, |row, values| view.read_row(row, values));
    Ok(())
}
