//! TT-NN's descriptions of tensors, read into the plan's types.
//!
//! TT-NN prints a memory config the same way everywhere (on a tensor, in a captured graph), so one reader serves both:
//! ```text
//! MemoryConfig(memory_layout=TensorMemoryLayout::WIDTH_SHARDED,buffer_type=BufferType::L1,
//!              shard_spec=ShardSpec{grid=[{"start":{"x":0,"y":0},"end":{"x":7,"y":0}], shape=[32, 320], orientation=...},...)
//! ```
//! A spec that no plan can hold (block sharding, other data types) is an error that shows TT-NN's text.

use bitnetc_plan::{CoreRange, Cores, DType, Layout, Memory, MemoryConfig, Strategy, TensorSpec};

use crate::error::TtnnError;
use crate::python::Object;

fn unexpected(what: &str, answer: &str) -> TtnnError {
    TtnnError::Unexpected { what: what.to_owned(), answer: answer.to_owned() }
}

/// Every unsigned number in `text`, in order.
fn numbers(text: &str) -> impl Iterator<Item = u32> + '_ {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok())
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(start)? + start.len()..];
    Some(&rest[..rest.find(end)?])
}

/// Ranges from text that names the corners of each as four numbers `x y x y`: a shard's grid, or `{[0-0 - 7-3]}`.
pub(crate) fn cores(text: &str) -> Option<Cores> {
    let corners: Vec<u32> = numbers(text).collect();
    let ranges = corners.chunks(4).map(|c| match *c {
        [x0, y0, x1, y1] => Some(CoreRange { start: (x0, y0), end: (x1, y1) }),
        _ => None,
    });
    ranges.collect::<Option<Vec<_>>>().map(Cores)
}

/// A memory config from TT-NN's text.
///
/// # Errors
/// [`TtnnError::Unexpected`] for what a plan cannot say.
pub fn memory_config(text: &str) -> Result<MemoryConfig, TtnnError> {
    let fail = || unexpected("a memory config", text);
    let memory = match between(text, "buffer_type=BufferType::", ",") {
        Some("L1") => Memory::L1,
        Some("DRAM") => Memory::Dram,
        _ => return Err(fail()),
    };
    let strategy = match between(text, "memory_layout=TensorMemoryLayout::", ",") {
        Some("INTERLEAVED") => return Ok(MemoryConfig::Interleaved(memory)),
        Some("WIDTH_SHARDED") => Strategy::Width,
        Some("HEIGHT_SHARDED") => Strategy::Height,
        _ => return Err(fail()),
    };
    let spec = between(text, "shard_spec=ShardSpec{", "orientation=").ok_or_else(fail)?;
    let cores = between(spec, "grid=", "shape=").and_then(cores).ok_or_else(fail)?;
    let shape: Vec<u32> = spec.rsplit("shape=").next().map(|shape| numbers(shape).collect()).unwrap_or_default();
    let &[rows, columns] = shape.as_slice() else { return Err(fail()) };
    let row_major = between(text, "orientation=ShardOrientation::", "}") == Some("ROW_MAJOR");
    if !row_major {
        return Err(fail());
    }
    Ok(MemoryConfig::Sharded { memory, strategy, cores, shard: [rows, columns] })
}

/// A data type from `DataType.BFLOAT16` or `DataType::BFLOAT16`.
///
/// # Errors
/// [`TtnnError::Unexpected`] for a type no plan uses.
pub fn dtype(text: &str) -> Result<DType, TtnnError> {
    Ok(match text.rsplit(['.', ':']).next().unwrap_or_default() {
        "BFLOAT16" => DType::Bf16,
        "BFLOAT8_B" => DType::Bfp8,
        "BFLOAT4_B" => DType::Bfp4,
        "FLOAT32" => DType::F32,
        "UINT32" => DType::U32,
        "INT32" => DType::I32,
        "UINT16" => DType::U16,
        _ => return Err(unexpected("a data type", text)),
    })
}

/// A layout from `Layout.TILE` or `Layout::TILE`.
///
/// # Errors
/// [`TtnnError::Unexpected`] for anything but tile and row-major.
pub fn layout(text: &str) -> Result<Layout, TtnnError> {
    match text.rsplit(['.', ':']).next().unwrap_or_default() {
        "TILE" => Ok(Layout::Tile),
        "ROW_MAJOR" => Ok(Layout::RowMajor),
        _ => Err(unexpected("a layout", text)),
    }
}

/// A shape from `Shape([1, 1, 32, 2560])`.
pub fn shape(text: &str) -> Vec<u32> {
    numbers(text).collect()
}

/// The spec of a live tensor.
///
/// # Errors
/// The object is no tensor, or one that no plan describes.
pub fn of_tensor(tensor: &Object) -> Result<TensorSpec, TtnnError> {
    Ok(TensorSpec {
        shape: shape(&tensor.attribute("shape")?.to_text()?),
        dtype: dtype(&tensor.attribute("dtype")?.to_text()?)?,
        layout: layout(&tensor.attribute("layout")?.to_text()?)?,
        memory: memory_config(&tensor.call_method("memory_config", &[], &[])?.to_text()?)?,
    })
}

/// Address of a device tensor's buffer: the same on every core or bank. 0 while a capture without dispatch runs.
///
/// # Errors
/// The tensor is not on a device or was freed.
pub fn address(tensor: &Object) -> Result<u64, TtnnError> {
    let address = tensor.call_method("buffer_address", &[], &[])?.to_int()?;
    u64::try_from(address).map_err(|_| unexpected("a buffer address", &address.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "nd_shard_spec=std::nullopt,created_with_nd_shard_spec=0,per_core_allocation=0)";

    #[test]
    fn interleaved_and_sharded_configs_are_read() {
        let dram = format!(
            "MemoryConfig(memory_layout=TensorMemoryLayout::INTERLEAVED,buffer_type=BufferType::DRAM,shard_spec=std::nullopt,{TAIL}"
        );
        assert_eq!(memory_config(&dram).unwrap(), MemoryConfig::DRAM);
        // Thirty cores of an 8-wide grid: two ranges. TT-NN leaves out the last closing brace.
        let grid = r#"[{"start":{"x":0,"y":0},"end":{"x":7,"y":2}}, {"start":{"x":0,"y":3},"end":{"x":5,"y":3}]"#;
        let text = format!(
            "MemoryConfig(memory_layout=TensorMemoryLayout::WIDTH_SHARDED,buffer_type=BufferType::L1,shard_spec=ShardSpec{{grid={grid}, shape=[32, 128], orientation=ShardOrientation::ROW_MAJOR}},{TAIL}"
        );
        assert_eq!(memory_config(&text).unwrap(), MemoryConfig::width(Cores::row_major(30, (8, 8)), [32, 128]));
    }

    #[test]
    fn what_a_plan_cannot_say_is_shown() {
        let block =
            "MemoryConfig(memory_layout=TensorMemoryLayout::BLOCK_SHARDED,buffer_type=BufferType::L1,shard_spec=x)";
        assert!(memory_config(block).unwrap_err().to_string().contains("BLOCK_SHARDED"));
        let columns = r#"MemoryConfig(memory_layout=TensorMemoryLayout::WIDTH_SHARDED,buffer_type=BufferType::L1,shard_spec=ShardSpec{grid=[{"start":{"x":0,"y":0},"end":{"x":7,"y":0}], shape=[32, 320], orientation=ShardOrientation::COL_MAJOR},x)"#;
        assert!(memory_config(columns).is_err());
        assert!(dtype("DataType.UINT8").is_err());
    }

    #[test]
    fn types_layouts_shapes_and_core_sets() {
        assert_eq!(dtype("DataType::BFLOAT8_B").unwrap(), DType::Bfp8);
        assert_eq!(layout("Layout.ROW_MAJOR").unwrap(), Layout::RowMajor);
        assert_eq!(shape("Shape([1, 32, 20, 128])"), [1, 32, 20, 128]);
        assert_eq!(cores("{[0-0 - 7-3]}").unwrap(), Cores::rectangle(0, 0, 8, 4));
        assert_eq!(cores("{[0-0 - 7]}"), None);
    }
}
