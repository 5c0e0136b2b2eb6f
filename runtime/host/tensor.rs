//! A tensor on the host: logical elements row-major, in a type that holds every value of its data type exactly.
//!
//! bfp8 and bfp4 elements are kept as the bf16 numbers they stand for (7 and 3 bits of magnitude fit its 8), rounded to their groups of 16
//! whenever they are written. Tile padding is not kept, because no op lets it into a result; only a `View` may show rows past the
//! logical ones, and they are zeros.

use std::sync::Arc;

use bitnetc_plan::{DType, TensorSpec};
use half::bf16;

use crate::DeviceError;

/// The elements.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// bf16, bfp8, bfp4.
    Bf16(Vec<bf16>),
    /// f32.
    F32(Vec<f32>),
    /// u32 and u16; i32 as their bits.
    Integer(Vec<u32>),
}

impl Data {
    /// Drops the elements from number `len` on.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Data::Bf16(v) => v.truncate(len),
            Data::F32(v) => v.truncate(len),
            Data::Integer(v) => v.truncate(len),
        }
    }
}

/// A tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Shape and data type; the rest is of no account here.
    pub spec: Arc<TensorSpec>,
    /// `spec`'s logical elements.
    pub data: Data,
}

/// Storage of tensors that have ended, kept for tensors to come.
///
/// Sizes are powers of two, and storage is used only for its own size. What one run of a phase took is therefore enough for the next run in
/// any order, and in steady state nothing is allocated.
#[derive(Debug, Default)]
pub struct Pool {
    bf16: Shelves<bf16>,
    f32: Shelves<f32>,
    integer: Shelves<u32>,
    /// Refuses to allocate: a trace is being replayed.
    pub sealed: bool,
}

/// Free storage; shelf `i` holds that of `2^i` elements.
type Shelves<T> = Vec<Vec<Vec<T>>>;

/// Logical elements of a spec.
pub fn elements(spec: &TensorSpec) -> usize {
    spec.shape.iter().map(|&d| d as usize).product()
}

impl Pool {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// Sealed, and nothing in store is large enough.
    pub fn zeros(&mut self, spec: &Arc<TensorSpec>) -> Result<HostTensor, DeviceError> {
        let mut tensor = self.take(spec)?;
        tensor.clear();
        Ok(tensor)
    }

    /// A tensor to be written whole: it holds what the storage held before.
    ///
    /// # Errors
    /// Sealed, and nothing in store is large enough.
    pub fn take(&mut self, spec: &Arc<TensorSpec>) -> Result<HostTensor, DeviceError> {
        let len = elements(spec);
        let data = match spec.dtype {
            DType::Bf16 | DType::Bfp8 | DType::Bfp4 | DType::Bfp2 => {
                Data::Bf16(take(&mut self.bf16, len, self.sealed)?)
            }
            DType::F32 => Data::F32(take(&mut self.f32, len, self.sealed)?),
            DType::U32 | DType::I32 | DType::U16 => Data::Integer(take(&mut self.integer, len, self.sealed)?),
        };
        Ok(HostTensor { spec: Arc::clone(spec), data })
    }

    /// Takes back a tensor's storage.
    pub fn give(&mut self, tensor: HostTensor) {
        match tensor.data {
            Data::Bf16(v) => give(&mut self.bf16, v),
            Data::F32(v) => give(&mut self.f32, v),
            Data::Integer(v) => give(&mut self.integer, v),
        }
    }
}

fn take<T: Clone + Unwritten>(shelves: &mut Shelves<T>, len: usize, sealed: bool) -> Result<Vec<T>, DeviceError> {
    let size = len.next_power_of_two();
    let mut data = match shelves.get_mut(size.ilog2() as usize).and_then(Vec::pop) {
        Some(data) => data,
        None if sealed => return Err(DeviceError::Trace(format!("a replay would allocate {len} elements"))),
        None => Vec::with_capacity(size),
    };
    if cfg!(debug_assertions) {
        data.clear();
    }
    data.resize(len, T::UNWRITTEN);
    Ok(data)
}

/// The value of elements that were never written. With debug assertions, storage that is taken again is filled with it, so that a kernel
/// that leaves elements unwritten is found by tests.
trait Unwritten {
    const UNWRITTEN: Self;
}

impl Unwritten for bf16 {
    const UNWRITTEN: bf16 = bf16::NAN;
}

impl Unwritten for f32 {
    const UNWRITTEN: f32 = f32::NAN;
}

impl Unwritten for u32 {
    const UNWRITTEN: u32 = u32::MAX;
}

fn give<T>(shelves: &mut Shelves<T>, data: Vec<T>) {
    if let Some(shelf) = data.capacity().checked_ilog2() {
        let shelf = shelf as usize;
        if shelves.len() <= shelf {
            shelves.resize_with(shelf + 1, Vec::new);
        }
        shelves[shelf].push(data);
    }
}

impl HostTensor {
    /// Length of the last dimension.
    pub fn columns(&self) -> usize {
        self.spec.columns() as usize
    }

    /// Rows of the tensor seen as a matrix.
    pub fn rows(&self) -> usize {
        elements(&self.spec).checked_div(self.columns()).unwrap_or(0)
    }

    /// Dimension `axis` from the left of the shape filled up to rank 4 with ones.
    pub fn dim(&self, axis: usize) -> usize {
        let shape = &self.spec.shape;
        axis.checked_sub(4 - shape.len().min(4)).map_or(1, |at| shape[at] as usize)
    }

    /// Makes all elements zero.
    pub fn clear(&mut self) {
        match &mut self.data {
            Data::Bf16(v) => v.fill(bf16::ZERO),
            Data::F32(v) => v.fill(0.0),
            Data::Integer(v) => v.fill(0),
        }
    }

    /// Its integers.
    ///
    /// # Errors
    /// `operand` is the number told when it holds none.
    pub fn integers(&self, operand: usize) -> Result<&[u32], DeviceError> {
        match &self.data {
            Data::Integer(v) => Ok(v),
            Data::Bf16(_) | Data::F32(_) => Err(self.unexpected(operand, "integers")),
        }
    }

    /// Its bf16 elements.
    ///
    /// # Errors
    /// `operand` is the number told when it holds others.
    pub fn bf16(&self, operand: usize) -> Result<&[bf16], DeviceError> {
        match &self.data {
            Data::Bf16(v) => Ok(v),
            Data::F32(_) | Data::Integer(_) => Err(self.unexpected(operand, "bf16, bfp8 or bfp4")),
        }
    }

    /// [`DeviceError::Operand`] for this tensor.
    pub fn unexpected(&self, operand: usize, want: impl Into<String>) -> DeviceError {
        DeviceError::Operand { operand, got: self.spec.to_string(), want: want.into() }
    }
}

impl HostTensor {
    /// Replaces all elements of a tensor of integers.
    ///
    /// # Errors
    /// A tensor of floats, or another number of them.
    pub fn set_integers(&mut self, numbers: impl ExactSizeIterator<Item = u32>) -> Result<(), DeviceError> {
        let count = numbers.len();
        match &mut self.data {
            Data::Integer(held) if held.len() == count => {
                held.iter_mut().zip(numbers).for_each(|(held, number)| *held = number);
                Ok(())
            }
            Data::Integer(_) | Data::Bf16(_) | Data::F32(_) => Err(self.unexpected(0, format!("{count} integers"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitnetc_plan::MemoryConfig;

    #[test]
    fn a_sealed_pool_hands_out_what_it_was_given_and_no_more() {
        let spec = |n: u32| Arc::new(TensorSpec::tile([1, 1, 1, n], DType::Bf16, MemoryConfig::DRAM));
        let mut pool = Pool::default();
        let mut tensor = pool.take(&spec(64)).unwrap();
        if let Data::Bf16(v) = &mut tensor.data {
            v.fill(bf16::ONE);
        }
        pool.give(tensor);
        pool.sealed = true;
        assert!(matches!(pool.take(&spec(32)), Err(DeviceError::Trace(_))));
        let again = pool.take(&spec(33)).unwrap();
        assert!(matches!(pool.take(&spec(64)), Err(DeviceError::Trace(_))));
        pool.give(again);
        let zeros = pool.zeros(&spec(40)).unwrap();
        assert_eq!(zeros.bf16(0).unwrap(), [bf16::ZERO; 40]);
        pool.give(zeros);
        assert!(pool.take(&spec(64)).is_ok());
    }
}
