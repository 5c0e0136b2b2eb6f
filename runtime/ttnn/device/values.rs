//! The numbers in the bytes of a host tensor.

use bitnetc_numerics::{Format, TiledView};
use bitnetc_plan::{DType, Layout, TILE, TensorSpec};
use bitnetc_runtime::DeviceError;

/// Appends the integers of a tensor, its logical rows one after another.
///
/// # Errors
/// A tensor of floats.
pub(super) fn integers(spec: &TensorSpec, bytes: &[u8], out: &mut Vec<u32>) -> Result<(), DeviceError> {
    let element = integer_bytes(spec)?;
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    let elements = bytes.chunks_exact(element).map(word);
    match spec.layout {
        Layout::RowMajor => out.extend(elements),
        Layout::Tile => {
            let (tiled, tiles): (Vec<u32>, _) = (elements.collect(), spec.tile_columns() as usize);
            let (rows, columns, padded) =
                (spec.rows() as usize, spec.columns() as usize, spec.rows().next_multiple_of(TILE) as usize);
            for row in (0..spec.outer() as usize).flat_map(|plane| (0..rows).map(move |row| plane * padded + row)) {
                let of_tile = |column: usize| (row / 32 * tiles + column / 32) * 1024 + in_tile(row % 32, column % 32);
                out.extend((0..columns).filter_map(|column| tiled.get(of_tile(column))));
            }
        }
    }
    Ok(())
}

/// Where an element is in a tile, whose four faces of 16x16 lie one after another.
const fn in_tile(row: usize, column: usize) -> usize {
    (row / 16 * 2 + column / 16) * 256 + row % 16 * 16 + column % 16
}

/// Bytes of an element, of a tensor of integers.
///
/// # Errors
/// [`DeviceError::Operand`] of a tensor of floats.
pub(super) fn integer_bytes(spec: &TensorSpec) -> Result<usize, DeviceError> {
    match spec.dtype {
        DType::U32 | DType::I32 => Ok(4),
        DType::U16 => Ok(2),
        DType::Bf16 | DType::Bfp8 | DType::Bfp4 | DType::Bfp2 | DType::F32 => Err(unexpected(spec, "integers")),
    }
}

/// Bytes of an element, of a row-major tensor of integers or bf16.
///
/// # Errors
/// [`DeviceError::Operand`] of another.
pub(super) fn writable_bytes(spec: &TensorSpec) -> Result<usize, DeviceError> {
    match (spec.dtype, spec.layout) {
        (DType::Bf16, Layout::RowMajor) => Ok(2),
        (DType::U32 | DType::I32 | DType::U16, Layout::RowMajor) => integer_bytes(spec),
        (DType::U32 | DType::I32 | DType::U16, Layout::Tile)
        | (DType::Bf16 | DType::Bfp8 | DType::Bfp4 | DType::Bfp2 | DType::F32, Layout::RowMajor | Layout::Tile) => {
            Err(unexpected(spec, "integers or bf16 in row-major layout"))
        }
    }
}

fn unexpected(spec: &TensorSpec, want: &str) -> DeviceError {
    DeviceError::Operand { operand: 0, got: spec.to_string(), want: want.into() }
}

/// Appends the logical rows of a tensor, one after another.
///
/// # Errors
/// Bytes that are not as many as the tensor's tiles take.
pub(super) fn floats(spec: &TensorSpec, format: Format, bytes: &[u8], out: &mut Vec<f32>) -> Result<(), DeviceError> {
    let columns = spec.columns() as usize;
    match spec.layout {
        Layout::RowMajor => match format {
            Format::Bf16 => {
                out.extend(bytes.chunks_exact(2).map(|b| f32::from_bits(u32::from_le_bytes([0, 0, b[0], b[1]]))))
            }
            _ => out.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        },
        Layout::Tile => {
            let planes = spec.outer() as usize;
            let rows = spec.rows() as usize;
            let padded = rows.next_multiple_of(TILE as usize);
            let view = TiledView::new(format, planes * padded, columns, bytes)?;
            for row in (0..planes).flat_map(|plane| (0..rows).map(move |row| plane * padded + row)) {
                let at = out.len();
                out.resize(at + columns, 0.0);
                view.read_row(row, &mut out[at..]);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitnetc_plan::MemoryConfig;

    #[test]
    fn integers_come_out_of_tiles_row_by_row() {
        let spec = TensorSpec::tile([1, 1, 2, 40], DType::U16, MemoryConfig::DRAM);
        let mut bytes = vec![0; 2 * 2048];
        let mut put = |row: usize, column: usize, value: u16| {
            let at = 2 * (column / 32 * 1024 + in_tile(row, column % 32));
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        };
        (0..2).for_each(|row| (0..40).for_each(|column| put(row, column, (1000 * row + column) as u16)));
        let mut out = Vec::new();
        integers(&spec, &bytes, &mut out).unwrap();
        assert_eq!(out, (0..40).chain(1000..1040).collect::<Vec<_>>());
        assert_eq!([in_tile(0, 16), in_tile(16, 0), in_tile(31, 31)], [256, 512, 1023]);
    }
}
