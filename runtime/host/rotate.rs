//! Rotary embedding by rows of tables of cosines and sines.

use bitnetc_numerics as numerics;
use bitnetc_numerics::kernels::{self, Compute};
use rayon::prelude::*;

use super::rows::settle;
use super::run::Operands;
use super::tensor::{Data, HostTensor};
use crate::DeviceError;

/// The tables of a rotary op.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'a> {
    /// Number of the cosines among the op's operands; the sines follow.
    pub operand: usize,
    /// Cosines.
    pub cos: &'a HostTensor,
    /// Sines.
    pub sin: &'a HostTensor,
}

impl<'a> Tables<'a> {
    /// The tables that are operand `operand` and the one after it.
    ///
    /// # Errors
    /// They are no tensors.
    pub fn of(x: &Operands<'a>, operand: usize) -> Result<Self, DeviceError> {
        Ok(Tables { operand, cos: x.tensor(operand)?, sin: x.tensor(operand + 1)? })
    }
}

/// Decode's `[1, B, heads, D]`: user `b` is rotated by the first row of the tables' matrix `first + b`.
///
/// # Errors
/// As [`rotate`].
pub fn by_user(
    input: &HostTensor,
    tables: Tables<'_>,
    first: usize,
    kernel: Option<Compute>,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let (users, heads, table_rows) = (input.dim(1), input.dim(2), tables.cos.dim(2));
    rotate(input, tables, (first + users) * table_rows, |row| (first + row / heads) * table_rows, kernel, out)
}

/// Rotates every row of `input` by row `table_row(row)` of the tables, of which `rows` are needed: as the kernel does, or by the formula.
///
/// # Errors
/// Tables that are too small, tensors that are not bf16.
pub fn rotate(
    input: &HostTensor,
    Tables { operand: tables, cos, sin }: Tables<'_>,
    rows: usize,
    table_row: impl Fn(usize) -> usize + Sync,
    kernel: Option<Compute>,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let columns = input.columns();
    if out.spec.shape != input.spec.shape {
        return Err(input.unexpected(0, format!("shape {:?}", out.spec.shape)));
    }
    for (operand, table) in [(tables, cos), (tables + 1, sin)] {
        if table.rows() < rows || table.columns() != columns {
            return Err(table.unexpected(operand, format!("{rows} rows of {columns}")));
        }
    }
    let x = input.bf16(0)?;
    let (cos, sin) = (cos.bf16(tables)?, sin.bf16(tables + 1)?);
    let Data::Bf16(to) = &mut out.data else { return Err(out.unexpected(tables + 2, "bf16")) };
    to.par_chunks_mut(columns).with_min_len(64).enumerate().try_for_each(|(row, to)| {
        let at = table_row(row) * columns..(table_row(row) + 1) * columns;
        let x = &x[row * columns..(row + 1) * columns];
        match kernel {
            Some(how) => kernels::rotary(x, &cos[at.clone()], &sin[at], how, to),
            None => numerics::rotary(x, &cos[at.clone()], &sin[at], to),
        }
    })?;
    settle(out)
}
