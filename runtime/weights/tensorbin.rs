//! `.tensorbin` files, which TT-NN's own `ttnn.load_tensor` reads: any program of TT-NN can take a plan's weights from them, without bitnetc
//! and without torch.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | length of the header, `u64` little-endian, a multiple of 128 less 8 |
//! | from 8 | the header: a FlatBuffer of the tensor's spec, without identifier, zeros behind it |
//! | rest | the tensor, as [`super::bytes`] lays it out |
//!
//! The header says that the tensor lies interleaved in DRAM, so that a file fits every card; a program places it where the plan has it by
//! `ttnn.to_device(ttnn.load_tensor(file), device, memory_config=...)`. TT-NN checks neither checksums nor that there are as many bytes as
//! the shape asks for, so a folder of such files has an index, [`INDEX`], with the checksum of each file's tensor, the digest of the model
//! and the scales of its ternary weights.
//!
//! A folder is there whole or not at all: its files have no name until all are written.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bitnetc_plan::{DType, Layout, Plan, TILE, TensorSpec};
use flatbuffers::{FlatBufferBuilder, Push, PushAlignment, TableFinishedWIPOffset, VOffsetT, WIPOffset};
use serde::Serialize;

use super::bytes::byte_len;
use super::packed::Summary;
use super::store::each;
use super::{WeightError, Weights};
use crate::file::Output;

/// The name of a folder's index.
pub const INDEX: &str = "index.json";

/// The tensor starts at a multiple of this, as in files that TT-NN writes.
const ALIGN: usize = 128;

#[derive(Serialize)]
struct Index<'a> {
    model: &'a str,
    digest: &'a str,
    release: &'a str,
    scales: BTreeMap<String, f64>,
    tensors: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    layer: u32,
    file: String,
    spec: &'a TensorSpec,
    bytes: usize,
    crc: u32,
}

/// Writes a file for each weight of `plan` and layer, and the index, into a new folder; `progress` is told bytes done and to do, and says
/// whether to go on.
///
/// # Errors
/// A folder that is there and not empty; an error of the weights or of the file system, after which there is no folder.
pub fn write(
    plan: &Plan,
    weights: &Weights,
    folder: &Path,
    mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Summary, WeightError> {
    weights.check(plan)?;
    let scales = weights.scales(plan)?;
    let io = || WeightError::io(folder);
    let empty = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(io()(error)),
    };
    if !empty {
        let why = "the folder has something in it already; name one that is not there".into();
        return Err(WeightError::Malformed { path: folder.into(), why });
    }
    let beside = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    #[cfg(target_os = "linux")]
    open_more_files(each(plan).count());
    let all = each(plan).filter_map(|(weight, _)| byte_len(&weight.spec)).sum();
    let (mut names, mut files, mut tensors, mut done) = (HashSet::new(), Vec::new(), Vec::new(), 0);
    for (weight, layer) in each(plan) {
        let data = weights.bytes(weight, layer)?;
        let name = file_name(&weight.name, weight.per_layer.then_some(layer), &mut names);
        let mut file = Output::create_in(beside, folder.join(&name)).map_err(io())?;
        file.write_all(&header(&weight.spec, data.len() as u64)).map_err(io())?;
        file.write_all(&data).map_err(io())?;
        let (bytes, crc) = (data.len(), crc32fast::hash(&data));
        tensors.push(Entry { name: &weight.name, layer, file: name, spec: &weight.spec, bytes, crc });
        files.push(file);
        done += bytes as u64;
        weights.release();
        if progress(done, all).is_break() {
            return Err(WeightError::Interrupted { path: folder.into() });
        }
    }
    let (model, digest, release) = (&plan.model.name, &plan.model.digest, &plan.release);
    let index = Index { model, digest, release, scales, tensors };
    let text = serde_json::to_vec_pretty(&index)
        .map_err(|e| WeightError::Malformed { path: folder.into(), why: e.to_string() })?;
    let mut file = Output::create_in(beside, folder.join(INDEX)).map_err(io())?;
    file.write_all(&text).map_err(io())?;
    files.push(file);
    let tensors = files.len() - 1;
    name_all(files, folder).map_err(io())?;
    Ok(Summary { tensors, bytes: done })
}

/// Gives every file its name in the folder, which is made for them.
fn name_all(files: Vec<Output>, folder: &Path) -> std::io::Result<()> {
    let made = match std::fs::create_dir(folder) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    let named = files.into_iter().try_for_each(Output::finish);
    if named.is_err() {
        // The folder was empty before; the first error is the one to tell.
        for entry in std::fs::read_dir(folder)?.flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
        if made {
            let _ = std::fs::remove_dir(folder);
        }
    }
    named
}

/// Lets the process have as many more files open at once, as far as the system allows.
#[cfg(target_os = "linux")]
fn open_more_files(more: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = current.map(|current| current.saturating_add(more as u64));
    let wanted = wanted.map(|wanted| maximum.map_or(wanted, |most| wanted.min(most)));
    // Where this is refused, the file that is one too many is an error that says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum });
}

/// `attn_norm.gamma.3.tensorbin`: the weight's name as far as a file's name can hold it, told apart from the names before it.
fn file_name(weight: &str, layer: Option<u32>, taken: &mut HashSet<PathBuf>) -> String {
    let plain: String = weight
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
        .take(128)
        .collect();
    let plain = plain.trim_start_matches('.');
    let layer = layer.map(|layer| format!(".{layer}")).unwrap_or_default();
    let mut name = format!("{plain}{layer}.tensorbin");
    let mut number = 2;
    while !taken.insert(PathBuf::from(name.to_lowercase())) {
        name = format!("{plain}_{number}{layer}.tensorbin");
        number += 1;
    }
    name
}

/// Everything in a file before its tensor of `bytes` bytes.
pub fn header(spec: &TensorSpec, bytes: u64) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let tensor = tensor(&mut fbb, &spec.stored(), bytes);
    fbb.finish_minimal(tensor);
    let buffer = fbb.finished_data();
    let end = (8 + buffer.len()).next_multiple_of(ALIGN);
    let mut header = ((end - 8) as u64).to_le_bytes().to_vec();
    header.extend_from_slice(buffer);
    header.resize(end, 0);
    header
}

/// Where a tensor's bytes are in the rest of the file: a struct of TT-NN's schema.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    offset: u64,
    size: u64,
}

impl Push for Span {
    type Output = Span;

    unsafe fn push(&self, dst: &mut [u8], _: usize) {
        dst[..8].copy_from_slice(&self.offset.to_le_bytes());
        dst[8..16].copy_from_slice(&self.size.to_le_bytes());
    }

    fn alignment() -> PushAlignment {
        PushAlignment::new(8)
    }
}

type Table = WIPOffset<TableFinishedWIPOffset>;

/// The number by which FlatBuffers know the `n`th field of a table.
const fn slot(n: VOffsetT) -> VOffsetT {
    4 + 2 * n
}

/// A table with the fields that `fill` gives it.
fn table(fbb: &mut FlatBufferBuilder<'_>, fill: impl FnOnce(&mut FlatBufferBuilder<'_>)) -> Table {
    let start = fbb.start_table();
    fill(fbb);
    fbb.end_table(start)
}

/// A table whose only field is a list of numbers: a shape, a coordinate.
fn numbers(fbb: &mut FlatBufferBuilder<'_>, numbers: &[u32]) -> Table {
    let list = fbb.create_vector(numbers);
    table(fbb, |fbb| fbb.push_slot_always(slot(0), list))
}

/// `Tensor` of TT-NN's schema (ttnn/core/tensor/flatbuffer/tensor.fbs); unions are a number and an offset, absent numbers are 0.
fn tensor(fbb: &mut FlatBufferBuilder<'_>, spec: &TensorSpec, bytes: u64) -> Table {
    let shape = fbb.create_vector(&spec.shape);
    let layout = layout(fbb, spec);
    let tensor_spec = table(fbb, |fbb| {
        fbb.push_slot_always(slot(0), shape);
        fbb.push_slot_always(slot(1), layout);
    });
    let mesh = numbers(fbb, &[1, 1]);
    let coordinate = numbers(fbb, &[0, 0]);
    let span = fbb.push(Span { offset: 0, size: bytes });
    let shard = table(fbb, |fbb| {
        fbb.push_slot_always(slot(0), 1u8);
        fbb.push_slot_always(slot(1), span);
        fbb.push_slot_always(slot(2), coordinate);
    });
    let shards = fbb.create_vector(&[shard]);
    table(fbb, |fbb| {
        fbb.push_slot_always(slot(0), tensor_spec);
        fbb.push_slot_always(slot(1), mesh);
        fbb.push_slot_always(slot(2), shards);
    })
}

/// `TensorLayout`: data type, row-major or tiles, interleaved in DRAM, alignment.
fn layout(fbb: &mut FlatBufferBuilder<'_>, spec: &TensorSpec) -> Table {
    let (kind, page, alignment) = match spec.layout {
        Layout::RowMajor => (1u8, table(fbb, |_| {}), fbb.create_vector(&[1u32])),
        Layout::Tile => {
            let tile = table(fbb, |fbb| {
                fbb.push_slot_always(slot(0), TILE);
                fbb.push_slot_always(slot(1), TILE);
            });
            (2, table(fbb, |fbb| fbb.push_slot_always(slot(0), tile)), fbb.create_vector(&[TILE, TILE]))
        }
    };
    let memory = table(fbb, |_| {});
    table(fbb, |fbb| {
        fbb.push_slot_always(slot(0), number(spec.dtype));
        fbb.push_slot_always(slot(1), kind);
        fbb.push_slot_always(slot(2), page);
        fbb.push_slot_always(slot(3), memory);
        fbb.push_slot_always(slot(4), alignment);
    })
}

/// `DataType` of TT-NN's schema.
const fn number(dtype: DType) -> u8 {
    match dtype {
        DType::Bf16 => 0,
        DType::F32 => 1,
        DType::U32 | DType::Bfp2 => 2,
        DType::Bfp8 => 3,
        DType::Bfp4 => 4,
        DType::U16 => 6,
        DType::I32 => 7,
    }
}

#[cfg(test)]
mod tests {
    use bitnetc_plan::MemoryConfig;
    use bitnetc_plan::weight::{Content, Source};

    use super::*;
    use crate::weights::testing::{TestTensor, matrix, plan_of, weight, write_checkpoint};

    #[test]
    fn names_are_files_of_the_folder_and_differ() {
        let mut taken = HashSet::new();
        let mut name = |weight: &str, layer| file_name(weight, layer, &mut taken);
        assert_eq!(name("attn_norm.gamma", Some(3)), "attn_norm.gamma.3.tensorbin");
        assert_eq!(name("head", None), "head.tensorbin");
        assert_eq!(name("Head", None), "Head_2.tensorbin");
        assert_eq!(name("../x/y", None), "_x_y.tensorbin");
        assert_eq!(name("_x/y", None), "_x_y_2.tensorbin");
        assert_eq!(name("", None), ".tensorbin");
    }

    #[test]
    fn a_tensor_starts_at_a_multiple_of_128() {
        let spec = TensorSpec::tile([1, 1, 64, 96], DType::Bfp4, MemoryConfig::DRAM);
        let header = header(&spec, 3456);
        let length = u64::from_le_bytes(header[..8].try_into().unwrap());
        assert_eq!((header.len() % 128, header.len() as u64), (0, 8 + length));
    }

    #[test]
    fn a_folder_is_whole_or_not_there() {
        let checkpoint = write_checkpoint(&[TestTensor::bf16("e", &[2, 32], &[1.0; 64])]);
        let mut e = weight(&[1, 1, 2, 32], Source::Rows(matrix("e", [2, 32], Content::Dense)));
        e.spec = TensorSpec::row_major([1, 1, 2, 32], DType::Bf16, MemoryConfig::DRAM);
        let plan = plan_of(vec![e.clone(), bitnetc_plan::Weight { name: "f".into(), ..e }], 1);
        let weights = Weights::open(checkpoint.path()).unwrap();
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("out");
        let stop = write(&plan, &weights, &folder, |_, _| ControlFlow::Break(()));
        assert!(matches!(stop, Err(WeightError::Interrupted { .. })));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        let mut told = Vec::new();
        let summary = write(&plan, &weights, &folder, |done, all| {
            told.push((done, all));
            ControlFlow::Continue(())
        });
        assert_eq!((summary.unwrap(), told), (Summary { tensors: 2, bytes: 256 }, vec![(128, 256), (256, 256)]));
        let index: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join(INDEX)).unwrap()).unwrap();
        for entry in index["tensors"].as_array().unwrap() {
            let file = std::fs::read(folder.join(entry["file"].as_str().unwrap())).unwrap();
            let data = &file[file.len() - 128..];
            assert_eq!(
                (data, entry["crc"].as_u64()),
                (&[0x80, 0x3f].repeat(64)[..], Some(crc32fast::hash(data).into()))
            );
        }
        let again = write(&plan, &weights, &folder, |_, _| ControlFlow::Continue(())).unwrap_err().to_string();
        assert!(again.contains("has something in it already"), "{again}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 3);
    }
}
