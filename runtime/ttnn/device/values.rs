//! The numbers in the bytes of a host tensor.

use bitnetc_numerics::{Format, TiledView};
use bitnetc_plan::{DType, Layout, TILE, TensorSpec};
use bitnetc_runtime::DeviceError;

/// The integers in the bytes of a tensor.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

/// Refuses a tensor that is not of integers, or not one after another in memory.
///
/// # Errors
/// [`DeviceError::Operand`].
pub(super) fn integers(spec: &TensorSpec) -> Result<(), DeviceError> {
    match (spec.dtype, spec.layout) {
        (DType::U32 | DType::I32, Layout::RowMajor) => Ok(()),
        (DType::U32 | DType::I32, Layout::Tile)
        | (DType::Bf16 | DType::Bfp8 | DType::Bfp4 | DType::Bfp2 | DType::F32, Layout::RowMajor | Layout::Tile) => {
            Err(DeviceError::Operand { operand: 0, got: spec.to_string(), want: "integers in row-major layout".into() })
        }
    }
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
