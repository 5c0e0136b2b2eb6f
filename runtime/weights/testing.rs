//! Small checkpoints for tests.

use std::collections::HashMap;

use bitnetc_plan::card::{Dram, L1};
use bitnetc_plan::weight::{Content, Matrix, Source, Vector};
use bitnetc_plan::{Arch, Card, DType, MemoryConfig, ModelInfo, Options, Plan, Proofs, TensorSpec, Weight};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A tensor to be written.
pub struct TestTensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl TestTensor {
    pub fn u8(name: &str, shape: &[usize], data: Vec<u8>) -> Self {
        TestTensor { name: name.into(), dtype: Dtype::U8, shape: shape.to_vec(), data }
    }

    pub fn f32(name: &str, shape: &[usize], values: &[f32]) -> Self {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        TestTensor { name: name.into(), dtype: Dtype::F32, shape: shape.to_vec(), data }
    }

    pub fn bf16(name: &str, shape: &[usize], values: &[f32]) -> Self {
        let data = values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
        TestTensor { name: name.into(), dtype: Dtype::BF16, shape: shape.to_vec(), data }
    }
}

/// Writes `model.safetensors` into a new directory.
pub fn write_checkpoint(tensors: &[TestTensor]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let views: HashMap<&str, TensorView<'_>> = tensors
        .iter()
        .map(|t| (t.name.as_str(), TensorView::new(t.dtype, t.shape.clone(), &t.data).unwrap()))
        .collect();
    safetensors::serialize_to_file(views, None, &dir.path().join("model.safetensors")).unwrap();
    dir
}

/// Packs ternary rows, four to a stored row.
pub fn pack(values: &[i8], rows: usize, columns: usize) -> Vec<u8> {
    let stored = rows.div_ceil(4);
    let mut packed = vec![0u8; stored * columns];
    for (i, byte) in packed.iter_mut().enumerate() {
        let (r, c) = (i / columns, i % columns);
        for q in 0..4 {
            let row = r + q * stored;
            let value = if row < rows { values[row * columns + c] } else { -1 };
            *byte |= ((value + 1) as u8) << (2 * q);
        }
    }
    packed
}

pub fn matrix(tensor: &str, shape: [u32; 2], content: Content) -> Matrix {
    Matrix { tensor: tensor.into(), shape, rows: None, content, rotated: 0, outputs: None, inputs: None }
}

pub fn vector(tensor: &str, len: u32) -> Vector {
    Vector { tensor: tensor.into(), len, rotated: 0, padding: None, factor: 1.0, scales: Vec::new() }
}

pub fn weight(shape: &[u32], source: Source) -> Weight {
    let spec = TensorSpec::tile(shape, DType::Bf16, MemoryConfig::DRAM);
    Weight { name: "w".into(), per_layer: false, spec, address: None, source }
}

/// A plan of these weights and no phases.
pub fn plan_of(weights: Vec<Weight>, layers: u32) -> Plan {
    Plan {
        format: bitnetc_plan::FORMAT_VERSION,
        release: bitnetc_plan::TtnnRelease::latest().to_string(),
        model: ModelInfo { name: "test".into(), digest: "0".repeat(64), function: "0".repeat(64), layers, vocab: 64 },
        options: Options {
            policy: "balanced".into(),
            overrides: vec![],
            batch: 1,
            context: 64,
            block: 32,
            priced_at: 63,
            proofs: Proofs::Products,
            folding: true,
            sample: false,
            own_kernels: false,
        },
        card: Card {
            name: "n150".into(),
            arch: Arch::Wormhole,
            grid: (8, 8),
            l1: L1 { base: 105_824, end: 1_499_136, alignment: 16 },
            dram: Dram { banks: 12, base: 1 << 20, bank_bytes: 1 << 30, alignment: 32, readers_per_bank: 1 },
        },
        weights,
        buffers: vec![],
        phases: vec![],
    }
}
