//! Small tensors for tests.

use std::sync::Arc;

use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::tensor::{HostTensor, Pool, elements};

/// A tensor that begins with `values`; zeros follow.
pub fn tensor(shape: &[u32], dtype: DType, values: &[f32]) -> HostTensor {
    let spec = Arc::new(TensorSpec::tile(shape, dtype, MemoryConfig::L1));
    let mut tensor = Pool::default().zeros(&spec).unwrap();
    tensor.write_at(0, &mut values.to_vec());
    tensor
}

/// All its elements.
pub fn values(tensor: &HostTensor) -> Vec<f32> {
    let mut out = vec![0.0; elements(&tensor.spec)];
    tensor.read_at(0, &mut out);
    out
}

/// f32 elements 0, 1, 2 and so on.
pub fn numbered(shape: &[u32]) -> HostTensor {
    let count = shape.iter().product::<u32>();
    tensor(shape, DType::F32, &(0..count).map(|i| i as f32).collect::<Vec<_>>())
}
