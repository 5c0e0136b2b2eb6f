//! `ttnn.embedding`: rows of a table, which is in memory or still in its file.

use bitnetc_numerics::NumericsError;
use bitnetc_plan::op::Embedding;

use crate::DeviceError;
use crate::host::movement::{copy_runs, expect};
use crate::host::run::{Held, Run};
use crate::host::tensor::{Data, HostTensor};
use crate::weights::Rows;

pub fn execute(_: &Embedding, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| {
        let indices = x.integers(0)?;
        match x.held(1)? {
            Held::Table(table) => from_file(indices, table, out, &mut x.scratch.row),
            held @ (Held::Tensor(_) | Held::Matrix(_) | Held::Empty) => from_memory(indices, held.tensor(1)?, out),
        }
    })
}

/// Rows `indices` of a table in memory.
pub(super) fn from_memory(indices: &[u32], table: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let (columns, rows) = (table.columns(), table.rows());
    check_indices(indices, rows, out.rows())?;
    expect(1, table, out.columns() == columns, || format!("rows of {}", out.columns()))?;
    copy_runs(1, table, out, columns, indices.iter().enumerate().map(|(i, &r)| (r as usize * columns, i * columns)))
}

/// Rows `indices` of a table in a file.
fn from_file(indices: &[u32], table: &Rows, out: &mut HostTensor, row: &mut Vec<f32>) -> Result<(), DeviceError> {
    check_indices(indices, table.rows(), out.rows())?;
    let columns = table.columns();
    let wrong = out.columns() != columns;
    let Data::Bf16(data) = &mut out.data else { return Err(out.unexpected(1, "bf16")) };
    if wrong {
        return Err(out.unexpected(1, format!("rows of {columns}")));
    }
    row.resize(columns, 0.0);
    for (target, &index) in data.chunks_exact_mut(columns).zip(indices) {
        table.read_row(index as usize, row);
        bitnetc_numerics::narrow_slice(row, target);
    }
    Ok(())
}

fn check_indices(indices: &[u32], rows: usize, outputs: usize) -> Result<(), DeviceError> {
    if let Some(&index) = indices.iter().find(|&&i| i as usize >= rows) {
        return Err(DeviceError::Range { what: "index into the table", got: i64::from(index), limit: rows as u64 });
    }
    if indices.len() != outputs {
        let (what, got, want) = ("rows of the embedding", indices.len(), outputs);
        return Err(NumericsError::Dimension { what, got, want }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{numbered, values};

    #[test]
    fn lookups_stay_in_the_table() {
        let table = numbered(&[1, 1, 3, 2]);
        let mut out = numbered(&[1, 2, 2]);
        from_memory(&[2, 0], &table, &mut out).unwrap();
        assert_eq!(values(&out), [4., 5., 0., 1.]);
        assert!(matches!(from_memory(&[3, 0], &table, &mut out), Err(DeviceError::Range { got: 3, limit: 3, .. })));
    }
}
