//! Rows of results: on all cores when there are many, with buffers that each thread keeps, rounded when they are written.

use std::cell::RefCell;

use bitnetc_numerics::{Format, Function, cast_through, pack_slice, through_packer, widen_slice};
use half::bf16;
use rayon::prelude::*;

use super::tensor::{Data, HostTensor};
use crate::DeviceError;
use crate::weights::bytes::format_of;

/// Fewer elements than this are not worth another core.
const MIN_ELEMENTS: usize = 1 << 14;

thread_local! {
    static ROW: RefCell<Vec<f32>> = RefCell::default();
}

/// A row being written.
pub struct RowOut<'a> {
    data: RowData<'a>,
    format: Option<Format>,
}

enum RowData<'a> {
    Bf16(&'a mut [bf16]),
    F32(&'a mut [f32]),
}

impl RowOut<'_> {
    /// The row itself where it is f32: what is put there is not rounded.
    pub fn floats(&mut self) -> Option<&mut [f32]> {
        match &mut self.data {
            RowData::F32(out) => Some(out),
            RowData::Bf16(_) => None,
        }
    }

    /// Rounds `values` as the packer rounds an fp32 destination register and writes them to the row's beginning.
    pub fn write(&mut self, values: &mut [f32]) {
        match (&mut self.data, self.format) {
            (RowData::F32(out), _) => out[..values.len()].copy_from_slice(values),
            (RowData::Bf16(out), Some(format @ (Format::Bfp8 | Format::Bfp4))) => {
                through_packer(format, values);
                out.iter_mut().zip(values).for_each(|(o, v)| *o = bf16::from_bits((v.to_bits() >> 16) as u16));
            }
            (RowData::Bf16(out), _) => pack_slice(values, out),
        }
    }
}

/// Calls `f` for every row of `out` with the row's number and a buffer that the thread keeps. Does nothing for integers.
pub fn each_row(out: &mut HostTensor, f: impl Fn(usize, &mut Vec<f32>, &mut RowOut<'_>) + Sync) {
    let (rows, columns, format) = (out.rows(), out.columns(), format_of(out.spec.dtype));
    let parallel = rows > 1 && rows * columns >= MIN_ELEMENTS;
    let run = |row: usize, data: RowData<'_>| {
        ROW.with(|buffer| f(row, &mut buffer.borrow_mut(), &mut RowOut { data, format }));
    };
    match &mut out.data {
        Data::Bf16(v) if parallel => {
            v.par_chunks_mut(columns).enumerate().for_each(|(row, data)| run(row, RowData::Bf16(data)));
        }
        Data::F32(v) if parallel => {
            v.par_chunks_mut(columns).enumerate().for_each(|(row, data)| run(row, RowData::F32(data)));
        }
        Data::Bf16(v) => v.chunks_mut(columns.max(1)).enumerate().for_each(|(row, data)| run(row, RowData::Bf16(data))),
        Data::F32(v) => v.chunks_mut(columns.max(1)).enumerate().for_each(|(row, data)| run(row, RowData::F32(data))),
        Data::Integer(_) => {}
    }
}

/// Runs `$body` with `$x` the slice of floats in `$data`, whichever they are.
macro_rules! floats {
    ($data:expr, $error:expr, $x:ident => $body:expr) => {
        match $data {
            $crate::host::tensor::Data::Bf16($x) => $body,
            $crate::host::tensor::Data::F32($x) => $body,
            $crate::host::tensor::Data::Integer(_) => Err($error),
        }
    };
}
pub(super) use floats;

/// Rounds a result in a block format to its groups.
pub fn settle(out: &mut HostTensor) -> Result<(), DeviceError> {
    let columns = out.columns();
    if let (Data::Bf16(data), true, Some(format)) =
        (&mut out.data, out.spec.dtype.is_block(), format_of(out.spec.dtype))
    {
        cast_through(format, columns, data)?;
    }
    Ok(())
}

/// Applies functions to every element and rounds to the type of `out`.
///
/// # Errors
/// Integers, or another number of elements.
pub fn unary(functions: &[Function], input: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    floats!(&input.data, input.unexpected(0, "floats"), x => {
        floats!(&mut out.data, out.unexpected(1, "floats"), to => Ok(bitnetc_numerics::unary(functions, x, to)?))
    })?;
    settle(out)
}

impl HostTensor {
    /// Row `row` as f32; integers are no numbers here and read as zeros.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        self.read_at(row * out.len(), out);
    }

    /// The elements from `start` on, as f32.
    pub fn read_at(&self, start: usize, out: &mut [f32]) {
        let range = start..start + out.len();
        match &self.data {
            Data::Bf16(v) => widen_slice(&v[range], out),
            Data::F32(v) => out.copy_from_slice(&v[range]),
            Data::Integer(_) => out.fill(0.0),
        }
    }

    /// Writes the elements from `start` on, rounded as [`RowOut::write`] does; block formats count groups of 16 from there.
    pub fn write_at(&mut self, start: usize, values: &mut [f32]) {
        let (range, format) = (start..start + values.len(), format_of(self.spec.dtype));
        match &mut self.data {
            Data::Bf16(v) => RowOut { data: RowData::Bf16(&mut v[range]), format }.write(values),
            Data::F32(v) => RowOut { data: RowData::F32(&mut v[range]), format }.write(values),
            Data::Integer(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tensor::Pool;
    use bitnetc_plan::{DType, MemoryConfig, TensorSpec};
    use std::sync::Arc;

    #[test]
    fn each_data_type_keeps_what_it_can() {
        let write = |dtype| {
            let spec = Arc::new(TensorSpec::tile([1, 1, 2, 16], dtype, MemoryConfig::DRAM));
            let mut tensor = Pool::default().take(&spec).unwrap();
            let mut values: Vec<f32> = (0..16).map(|i| 1.0 + i as f32 / 300.0).collect();
            tensor.write_at(16, &mut values);
            let mut back = vec![0.0; 16];
            tensor.read_row(1, &mut back);
            back
        };
        assert_eq!(write(DType::F32)[1], 1.0 + 1.0 / 300.0);
        assert_eq!(write(DType::Bf16)[1], 1.0);
        assert_eq!(write(DType::Bf16)[2], 1.0 + 1.0 / 128.0);
        assert_eq!(write(DType::Bfp8)[3], 1.0 + 1.0 / 64.0);
        assert_eq!(write(DType::Bfp4)[15], 1.0);
    }

    #[test]
    fn every_row_is_visited_once_however_many() {
        for rows in [1u32, 3, 600] {
            let spec = Arc::new(TensorSpec::tile([1, 1, rows, 64], DType::F32, MemoryConfig::DRAM));
            let mut tensor = Pool::default().take(&spec).unwrap();
            each_row(&mut tensor, |row, buffer, out| {
                buffer.clear();
                buffer.resize(64, row as f32 + 1.0);
                out.write(buffer);
            });
            let Data::F32(values) = &tensor.data else { panic!() };
            assert!(values.iter().enumerate().all(|(i, &v)| v == (i / 64) as f32 + 1.0));
        }
    }
}
