//! Copies: the part that ops share which move elements and do not change them.

use rayon::prelude::*;

use super::tensor::{Data, HostTensor, elements};
use crate::DeviceError;

/// More elements than this are copied by all cores.
const LONG: usize = 1 << 17;

/// Copies runs of `len` elements: `(from, to)` pairs of first elements.
///
/// # Errors
/// Operand `operand` is of another type than the result.
pub fn copy_runs(
    operand: usize,
    from: &HostTensor,
    to: &mut HostTensor,
    len: usize,
    runs: impl Iterator<Item = (usize, usize)>,
) -> Result<(), DeviceError> {
    fn copy<T: Copy + Send + Sync>(from: &[T], to: &mut [T], len: usize, runs: impl Iterator<Item = (usize, usize)>) {
        for (source, target) in runs {
            let (from, to) = (&from[source..source + len], &mut to[target..target + len]);
            if len <= LONG {
                to.copy_from_slice(from);
            } else {
                to.par_chunks_mut(LONG).zip(from.par_chunks(LONG)).for_each(|(to, from)| to.copy_from_slice(from));
            }
        }
    }
    match (&from.data, &mut to.data) {
        (Data::Bf16(a), Data::Bf16(b)) => copy(a, b, len, runs),
        (Data::F32(a), Data::F32(b)) => copy(a, b, len, runs),
        (Data::Integer(a), Data::Integer(b)) => copy(a, b, len, runs),
        (Data::Bf16(_) | Data::F32(_) | Data::Integer(_), _) => {
            return Err(from.unexpected(operand, format!("data type {}", to.spec.dtype)));
        }
    }
    Ok(())
}

/// `Ok` when operand `operand` fits its result; else an error that says which would.
///
/// # Errors
/// [`DeviceError::Operand`] when `fits` is false.
pub fn expect(
    operand: usize,
    tensor: &HostTensor,
    fits: bool,
    want: impl FnOnce() -> String,
) -> Result<(), DeviceError> {
    if fits { Ok(()) } else { Err(tensor.unexpected(operand, want())) }
}

/// Copies all elements.
///
/// # Errors
/// Another number of elements, or another type.
pub fn copy(input: &HostTensor, out: &mut HostTensor) -> Result<(), DeviceError> {
    let len = elements(&out.spec);
    expect(0, input, elements(&input.spec) == len, || format!("{:?}", out.spec.shape))?;
    copy_runs(0, input, out, len, std::iter::once((0, 0)))
}
