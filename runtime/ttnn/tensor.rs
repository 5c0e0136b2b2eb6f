//! Tensors between Rust and TT-NN.
//!
//! Host data goes up as bytes: `bytes -> numpy array -> ttnn.Tensor -> device`. TT-NN converts `float32` to any of its float formats; it
//! aborts the process on `float64` and refuses `float16`, so neither can be named here.

use bitnetc_plan::{DType, Layout, Memory, MemoryConfig, Strategy, TensorSpec};

use crate::call::{Expr, PyCall, Scope};
use crate::error::TtnnError;
use crate::open_card::OpenCard;
use crate::python::{Interpreter, Object, Value};

/// Element types that host arrays may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostType {
    /// For every float format of TT-NN.
    F32,
    /// For `uint32` tensors.
    U32,
    /// For `int32` tensors.
    I32,
}

impl HostType {
    const fn name(self) -> &'static str {
        match self {
            HostType::F32 => "float32",
            HostType::U32 => "uint32",
            HostType::I32 => "int32",
        }
    }

    /// The host type that TT-NN makes a tensor of `dtype` from.
    pub const fn of(dtype: DType) -> HostType {
        match dtype {
            DType::Bf16 | DType::Bfp8 | DType::Bfp4 | DType::F32 => HostType::F32,
            DType::U32 => HostType::U32,
            DType::I32 => HostType::I32,
        }
    }
}

/// TT-NN's name of a data type, below `ttnn`.
pub const fn dtype_path(dtype: DType) -> &'static str {
    match dtype {
        DType::Bf16 => "bfloat16",
        DType::Bfp8 => "bfloat8_b",
        DType::Bfp4 => "bfloat4_b",
        DType::F32 => "float32",
        DType::U32 => "uint32",
        DType::I32 => "int32",
    }
}

/// TT-NN's name of a layout, below `ttnn`.
pub const fn layout_path(layout: Layout) -> &'static str {
    match layout {
        Layout::Tile => "TILE_LAYOUT",
        Layout::RowMajor => "ROW_MAJOR_LAYOUT",
    }
}

/// `ttnn.CoreRangeSet([...])`.
pub fn core_range_set(cores: &bitnetc_plan::Cores) -> Expr {
    let core = |(x, y): (u32, u32)| PyCall::ttnn("CoreCoord").arg(x).arg(y);
    let range =
        |range: &bitnetc_plan::CoreRange| PyCall::ttnn("CoreRange").arg(core(range.start)).arg(core(range.end)).into();
    PyCall::ttnn("CoreRangeSet").arg(Expr::List(cores.0.iter().map(range).collect())).into()
}

/// `ttnn.MemoryConfig(...)`, or TT-NN's constant for an interleaved one.
pub fn memory_config(config: &MemoryConfig) -> Expr {
    let (memory, strategy, cores, shard) = match config {
        MemoryConfig::Interleaved(Memory::L1) => return Expr::ttnn("L1_MEMORY_CONFIG"),
        MemoryConfig::Interleaved(Memory::Dram) => return Expr::ttnn("DRAM_MEMORY_CONFIG"),
        MemoryConfig::Sharded { memory, strategy, cores, shard } => (memory, strategy, cores, shard),
    };
    let layout = if *strategy == Strategy::Width { "WIDTH_SHARDED" } else { "HEIGHT_SHARDED" };
    let buffer = if *memory == Memory::L1 { "L1" } else { "DRAM" };
    let spec = PyCall::ttnn("ShardSpec")
        .arg(core_range_set(cores))
        .arg(Expr::ints(*shard))
        .arg(Expr::ttnn("ShardOrientation.ROW_MAJOR"));
    PyCall::ttnn("MemoryConfig")
        .arg(Expr::ttnn(format!("TensorMemoryLayout.{layout}")))
        .arg(Expr::ttnn(format!("BufferType.{buffer}")))
        .arg(spec)
        .into()
}

/// The call that allocates a tensor of `spec` on the device named `device`, without filling it.
pub fn allocate(spec: &TensorSpec, device: &str) -> PyCall {
    PyCall::ttnn("allocate_tensor_on_device")
        .arg(PyCall::ttnn("Shape").arg(Expr::ints(spec.shape.iter().copied())))
        .arg(Expr::ttnn(dtype_path(spec.dtype)))
        .arg(Expr::ttnn(layout_path(spec.layout)))
        .arg(Expr::name(device))
        .arg(memory_config(&spec.memory))
}

impl OpenCard {
    /// Allocates a tensor without filling it: what checking needs of weights and caches.
    ///
    /// # Errors
    /// TT-NN refuses the spec, or there is no memory left.
    pub fn allocate(&self, spec: &TensorSpec) -> Result<Object, TtnnError> {
        let mut scope = Scope::default();
        scope.set("device", self.object().clone());
        allocate(spec, "device").execute(self.interpreter(), &scope)
    }

    /// Uploads row-major host data (little-endian, of [`HostType::of`] the spec's data type) as a tensor of `spec`.
    ///
    /// # Errors
    /// The data has the wrong length; TT-NN refuses the spec, or there is no memory left.
    pub fn upload(&self, data: &[u8], spec: &TensorSpec) -> Result<Object, TtnnError> {
        let interpreter = self.interpreter();
        let host = host_tensor(interpreter, data, spec)?;
        let mut scope = Scope::default();
        scope.set("tensor", host);
        scope.set("device", self.object().clone());
        let to_device = PyCall::ttnn("to_device").arg(Expr::name("tensor")).arg(Expr::name("device"));
        to_device.kwarg("memory_config", memory_config(&spec.memory)).execute(interpreter, &scope)
    }
}

/// A numpy array over a copy of `data`.
///
/// # Errors
/// `data` has another length than `shape` says.
pub fn array(interpreter: &Interpreter, data: &[u8], host: HostType, shape: &[u32]) -> Result<Object, TtnnError> {
    let dtype = Value::Str(host.name().into());
    let bytes = Object::bytearray(data)?;
    let flat = interpreter.numpy().call_method("frombuffer", &[bytes.into()], &[("dtype", dtype)])?;
    let sides = shape.iter().map(|&side| Value::Int(i64::from(side))).collect();
    Ok(flat.call_method("reshape", &[Value::List(sides)], &[])?)
}

/// A tensor on the host, in the spec's data type and layout.
///
/// # Errors
/// The data has the wrong length, or TT-NN cannot convert it.
pub fn host_tensor(interpreter: &Interpreter, data: &[u8], spec: &TensorSpec) -> Result<Object, TtnnError> {
    let mut scope = Scope::default();
    scope.set("array", array(interpreter, data, HostType::of(spec.dtype), &spec.shape)?);
    let tensor = PyCall::ttnn("Tensor").arg(Expr::name("array"));
    let tensor = tensor.kwarg("data_type", Expr::ttnn(dtype_path(spec.dtype)));
    tensor.kwarg("layout", Expr::ttnn(layout_path(spec.layout))).execute(interpreter, &scope)
}

/// The elements of a host tensor as row-major little-endian bytes; float formats come back as `float32`.
///
/// # Errors
/// The tensor is on a device, or TT-NN cannot convert it.
pub fn host_bytes(interpreter: &Interpreter, tensor: &Object) -> Result<Vec<u8>, TtnnError> {
    let dtype = tensor.attribute("dtype")?;
    // to_numpy has no bfloat16.
    let tensor = if dtype.to_text()?.ends_with("BFLOAT16") {
        let float32 = interpreter.ttnn().attribute("float32")?;
        interpreter.ttnn().call_method("to_dtype", &[tensor.into(), float32.into()], &[])?
    } else {
        tensor.clone()
    };
    let array = tensor.call_method("to_numpy", &[], &[])?;
    let array = interpreter.numpy().call_method("ascontiguousarray", &[array.into()], &[])?;
    Ok(array.call_method("tobytes", &[], &[])?.to_bytes()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitnetc_plan::Cores;

    #[test]
    fn memory_configs_print_as_ttnn_writes_them() {
        assert_eq!(memory_config(&MemoryConfig::DRAM).to_string(), "ttnn.DRAM_MEMORY_CONFIG");
        let sharded = MemoryConfig::width(Cores::rectangle(0, 0, 8, 1), [32, 320]);
        assert_eq!(
            memory_config(&sharded).to_string(),
            "ttnn.MemoryConfig(ttnn.TensorMemoryLayout.WIDTH_SHARDED, ttnn.BufferType.L1, ttnn.ShardSpec(ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(7, 0))]), [32, 320], ttnn.ShardOrientation.ROW_MAJOR))"
        );
    }
}
