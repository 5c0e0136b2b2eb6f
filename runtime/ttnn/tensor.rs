//! Tensor specs as TT-NN writes them: data types, layouts, memory configs, and the call that allocates a tensor.

use bitnetc_plan::{DType, Layout, Memory, MemoryConfig, Strategy, TensorSpec};

use crate::call::{Expr, PyCall, Scope};
use crate::error::TtnnError;
use crate::open_card::OpenCard;
use crate::python::Object;

/// TT-NN's name of a data type, below `ttnn`; of two-bit codes that of the words which hold them ([`TensorSpec::stored`]).
pub const fn dtype_path(dtype: DType) -> &'static str {
    match dtype {
        DType::Bf16 => "bfloat16",
        DType::Bfp8 => "bfloat8_b",
        DType::Bfp4 => "bfloat4_b",
        DType::F32 => "float32",
        DType::U32 | DType::Bfp2 => "uint32",
        DType::I32 => "int32",
        DType::U16 => "uint16",
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
    let spec = spec.stored();
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

    /// Allocates a host tensor that can be copied to and from a tensor of `spec` on the card.
    ///
    /// # Errors
    /// TT-NN refuses the spec.
    pub fn allocate_on_host(&self, spec: &TensorSpec) -> Result<Object, TtnnError> {
        let spec = spec.stored();
        let mut scope = Scope::default();
        scope.set("device", self.object().clone());
        PyCall::ttnn("allocate_tensor_on_host")
            .arg(PyCall::ttnn("Shape").arg(Expr::ints(spec.shape.iter().copied())))
            .arg(Expr::ttnn(dtype_path(spec.dtype)))
            .arg(Expr::ttnn(layout_path(spec.layout)))
            .arg(Expr::name("device"))
            .kwarg("memory_config", memory_config(&spec.memory))
            .execute(self.interpreter(), &scope)
    }
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
