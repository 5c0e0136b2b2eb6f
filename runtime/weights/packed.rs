//! The packed file: a plan's weights as the card wants them, written by `bitnetc pack`.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | [`MAGIC`] |
//! | 8..12 | version, `u32` little-endian |
//! | 12..16 | CRC-32 of the index |
//! | 16..24 | offset of the index, `u64` |
//! | 24..32 | length of the index, `u64` |
//! | from 64 | tensors, each at a multiple of 64, as [`super::bytes`] lays them out |
//! | last | the index, JSON: model digest, scales, for each tensor its name, layer, spec, offset, length, CRC-32 |
//!
//! A tensor's checksum is verified when it is read. The file is there whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file::Output;
use bitnetc_numerics::TiledView;
use bitnetc_plan::{DType, Layout, Plan, TensorSpec, Weight};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use super::bytes::{byte_len, format_of};
use super::checkpoint::release;
use super::codes::Codes;
use super::floats::Dtype;
use super::source::{Rows, Tiles};
use super::store::{Scales, each};
use super::{Tensor, WeightError, Weights};

/// First bytes of a packed file; not text, and broken by newline translation.
pub const MAGIC: [u8; 8] = *b"\x89BNWTS\r\n";
const VERSION: u32 = 1;
const FIRST: u64 = 64;
const ALIGN: u64 = 64;

/// An opened packed file.
#[derive(Debug)]
pub struct Packed {
    path: PathBuf,
    map: Arc<Mmap>,
    index: Index,
    at: HashMap<(String, u32), usize>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    model: String,
    digest: String,
    scales: BTreeMap<String, f64>,
    tensors: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    layer: u32,
    spec: TensorSpec,
    ternary: bool,
    offset: u64,
    bytes: u64,
    crc: u32,
}

/// A summary of the file that [`write()`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Tensors.
    pub tensors: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Packs the weights of `plan` into `path`; `progress` is told bytes done and to do, and says whether to go on.
///
/// # Errors
/// An error of the weights or of the file system, after which `path` is as it was before.
pub fn write(
    plan: &Plan,
    weights: &Weights,
    path: &Path,
    mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Summary, WeightError> {
    weights.check(plan)?;
    let scales = weights.scales(plan)?;
    let io = || WeightError::io(path);
    let mut file = Output::create(path).map_err(io())?;
    // The header is written last: a pipe is refused before it is filled.
    file.seek(SeekFrom::Start(0)).map_err(io())?;
    let all = each(plan).filter_map(|(weight, _)| byte_len(&weight.spec)).sum();
    let (mut tensors, mut done) = (Vec::new(), 0);
    let count;
    let bytes = {
        let mut out = BufWriter::new(&mut file);
        out.write_all(&[0; FIRST as usize]).map_err(io())?;
        let mut offset = FIRST;
        for (weight, layer) in each(plan) {
            let data = weights.bytes(weight, layer)?;
            out.write_all(&data).map_err(io())?;
            let end = offset + data.len() as u64;
            let padding = end.next_multiple_of(ALIGN) - end;
            out.write_all(&[0; ALIGN as usize][..padding as usize]).map_err(io())?;
            tensors.push(Entry {
                name: weight.name.clone(),
                layer,
                spec: weight.spec.clone(),
                ternary: weights.tensor(weight, layer)?.is_ternary(),
                offset,
                bytes: data.len() as u64,
                crc: crc32fast::hash(&data),
            });
            offset = end + padding;
            done += data.len() as u64;
            drop(data);
            weights.release();
            if progress(done, all).is_break() {
                return Err(WeightError::Interrupted { path: path.into() });
            }
        }
        count = tensors.len();
        let index = Index {
            model: plan.model.name.clone(),
            digest: plan.model.digest.clone(),
            scales: scales.clone(),
            tensors,
        };
        let text =
            serde_json::to_vec(&index).map_err(|e| WeightError::Malformed { path: path.into(), why: e.to_string() })?;
        out.write_all(&text).map_err(io())?;
        out.seek(SeekFrom::Start(0)).map_err(io())?;
        out.write_all(&header(crc32fast::hash(&text), offset, text.len() as u64)).map_err(io())?;
        out.flush().map_err(io())?;
        offset + text.len() as u64
    };
    file.finish().map_err(io())?;
    Ok(Summary { tensors: count, bytes })
}

fn header(crc: u32, offset: u64, length: u64) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend(crc.to_le_bytes());
    header.extend(offset.to_le_bytes());
    header.extend(length.to_le_bytes());
    header
}

impl Packed {
    /// Opens a packed file and reads its index.
    ///
    /// # Errors
    /// Not a packed file, another version, truncated, an index that does not match its checksum or points out of the file.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        let file = File::open(path).map_err(WeightError::io(path))?;
        // SAFETY: the mapping is read-only and private to this process; as with any mapped file, one that is cut short by
        // another process while it is read ends this one, which no interface to mapped files can prevent.
        let map = unsafe { Mmap::map(&file) }.map_err(WeightError::io(path))?;
        let malformed = |why: String| WeightError::Malformed { path: path.into(), why };
        if map.len() < FIRST as usize || map[..8] != MAGIC {
            return Err(malformed(
                "not a file written by `bitnetc pack`; a checkpoint is given as its directory or as a .gguf".into(),
            ));
        }
        let word = |at: usize| u32::from_le_bytes([map[at], map[at + 1], map[at + 2], map[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if word(8) != VERSION {
            return Err(malformed(format!("version {}; this bitnetc reads {VERSION}: pack again", word(8))));
        }
        let (start, length) = (long(16), long(24));
        let end = start.checked_add(length).ok_or_else(|| malformed("the header is damaged".into()))?;
        if end > map.len() as u64 {
            return Err(WeightError::Truncated { path: path.into(), got: map.len() as u64, want: end });
        }
        let text = &map[start as usize..end as usize];
        let (got, want) = (crc32fast::hash(text), word(12));
        if got != want {
            return Err(WeightError::Checksum { path: path.into(), tensor: "(index)".into(), got, want });
        }
        let index: Index = serde_json::from_slice(text).map_err(|e| malformed(e.to_string()))?;
        if let Some((name, scale)) = index.scales.iter().find(|(_, s)| !(s.is_finite() && **s > 0.0)) {
            return Err(malformed(format!("the scale of `{name}` is {scale}; it must be a positive number")));
        }
        let mut at = HashMap::new();
        for (i, entry) in index.tensors.iter().enumerate() {
            let fits = entry.offset.checked_add(entry.bytes).is_some_and(|e| e <= start);
            if !fits || byte_len(&entry.spec) != Some(entry.bytes) {
                return Err(malformed(format!("the index places `{}` wrongly", entry.name)));
            }
            at.insert((entry.name.clone(), entry.layer), i);
        }
        Ok(Packed { path: path.into(), map: Arc::new(map), index, at })
    }

    /// Lets the system take back the memory of what was read.
    pub fn release(&self) {
        release(&self.map);
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Scales of the ternary tensors, by name.
    pub fn scales(&self) -> &Scales {
        &self.index.scales
    }

    /// Checks that the file was packed for this model and holds every weight of `plan` as the plan wants it.
    ///
    /// # Errors
    /// [`WeightError::OtherPlan`].
    pub fn check(&self, plan: &Plan) -> Result<(), WeightError> {
        if self.index.digest != plan.model.digest {
            let why = format!(
                "its model is `{}`, the plan's `{}`, or another version of it",
                self.index.model, plan.model.name
            );
            return Err(WeightError::OtherPlan { path: self.path.clone(), why });
        }
        each(plan).try_for_each(|(weight, layer)| self.entry(weight, layer).map(drop))
    }

    fn entry(&self, weight: &Weight, layer: u32) -> Result<&Entry, WeightError> {
        let other = |why: String| WeightError::OtherPlan { path: self.path.clone(), why };
        let at = self.at.get(&(weight.name.clone(), layer));
        let entry = &self.index.tensors[*at.ok_or_else(|| other(format!("no weight `{}` {layer}", weight.name)))?];
        // Placement is the card's affair: it does not change a byte here.
        let same = entry.spec.shape == weight.spec.shape
            && entry.spec.dtype == weight.spec.dtype
            && entry.spec.layout == weight.spec.layout;
        if same {
            Ok(entry)
        } else {
            Err(other(format!("weight `{}` is {}, not {}", weight.name, entry.spec, weight.spec)))
        }
    }

    /// A weight's bytes, their checksum verified.
    ///
    /// # Errors
    /// [`WeightError::OtherPlan`], [`WeightError::Checksum`].
    pub fn bytes(&self, weight: &Weight, layer: u32) -> Result<&[u8], WeightError> {
        let entry = self.entry(weight, layer)?;
        let data = &self.map[entry.offset as usize..(entry.offset + entry.bytes) as usize];
        let (got, want) = (crc32fast::hash(data), entry.crc);
        if got != want {
            let tensor = format!("{} {layer}", weight.name);
            return Err(WeightError::Checksum { path: self.path.clone(), tensor, got, want });
        }
        Ok(data)
    }

    /// A weight's numbers, as rounded when it was packed.
    ///
    /// # Errors
    /// As [`Packed::bytes`].
    pub fn tensor(&self, weight: &Weight, layer: u32) -> Result<Tensor<'_>, WeightError> {
        let data = self.bytes(weight, layer)?;
        let spec = &weight.spec;
        let disagree = |why: String| WeightError::Plan { weight: weight.name.clone(), why };
        let format =
            format_of(spec.dtype).ok_or_else(|| disagree(format!("data type {} holds no weight", spec.dtype)))?;
        let (rows, columns) = (spec.outer() as usize * spec.rows() as usize, spec.columns() as usize);
        let entry = self.entry(weight, layer)?;
        if spec.dtype == DType::Bfp2 {
            return Ok(Tensor::Codes(Codes::new(rows, columns, data)));
        }
        if spec.layout == Layout::Tile {
            let view = TiledView::new(format, rows, columns, data).map_err(|e| disagree(e.to_string()))?;
            return Ok(Tensor::Tiled(Tiles { view, bytes: data, ternary: entry.ternary }));
        }
        let dtype = if spec.dtype == DType::F32 { Dtype::F32 } else { Dtype::BF16 };
        let (map, start, stored) = (Arc::clone(&self.map), entry.offset as usize, columns);
        Ok(Tensor::Rows(Rows { map, start, dtype, rows, stored, columns }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::testing::{TestTensor, matrix, pack, plan_of, weight, write_checkpoint};
    use bitnetc_plan::MemoryConfig;
    use bitnetc_plan::weight::{Content, Source};

    fn sample() -> (tempfile::TempDir, Plan) {
        let rows: Vec<i8> = (0..64 * 32).map(|i| (i * 7 % 3) as i8 - 1).collect();
        let dir = write_checkpoint(&[
            TestTensor::u8("l.1.w.weight", &[16, 32], pack(&rows, 64, 32)),
            TestTensor::u8("l.0.w.weight", &[16, 32], pack(&rows, 64, 32)),
            TestTensor::bf16("l.0.w.weight_scale", &[1], &[0.5]),
            TestTensor::bf16("l.1.w.weight_scale", &[1], &[2.0]),
            TestTensor::bf16("e", &[3, 32], &(0..96).map(|i| i as f32).collect::<Vec<_>>()),
        ]);
        let ternary = matrix("l.{layer}.w.weight", [64, 32], Content::Packed { divides: false });
        let mut w = weight(&[1, 1, 32, 64], Source::Columns(vec![ternary]));
        w.per_layer = true;
        w.spec.dtype = DType::Bfp4;
        let mut e = weight(&[1, 1, 3, 32], Source::Rows(matrix("e", [3, 32], Content::Dense)));
        e.name = "e".into();
        e.spec = TensorSpec::row_major([1, 1, 3, 32], DType::Bf16, MemoryConfig::DRAM);
        (dir, plan_of(vec![w, e], 2))
    }

    #[test]
    fn a_packed_file_holds_what_the_checkpoint_does() {
        let (dir, plan) = sample();
        let weights = Weights::open(dir.path()).unwrap();
        let path = dir.path().join("packed.bin");
        let summary = write(&plan, &weights, &path, |_, _| ControlFlow::Continue(())).unwrap();
        assert_eq!(summary.bytes, std::fs::metadata(&path).unwrap().len());
        let packed = Weights::open(&path).unwrap();
        packed.check(&plan).unwrap();
        assert_eq!(packed.scales(&plan).unwrap(), weights.scales(&plan).unwrap());
        for (weight, layer) in each(&plan) {
            assert_eq!(packed.bytes(weight, layer).unwrap(), weights.bytes(weight, layer).unwrap());
            let (a, b) = (packed.tensor(weight, layer).unwrap(), weights.tensor(weight, layer).unwrap());
            assert_eq!((a.values(), a.is_ternary()), (b.values(), b.is_ternary()));
        }
    }

    #[test]
    fn damage_and_other_plans_are_told_apart() {
        let (dir, mut plan) = sample();
        let weights = Weights::open(dir.path()).unwrap();
        let path = dir.path().join("packed.bin");
        write(&plan, &weights, &path, |_, _| ControlFlow::Continue(())).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[70] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let packed = Weights::open(&path).unwrap();
        assert!(matches!(packed.bytes(&plan.weights[0], 0), Err(WeightError::Checksum { .. })));
        plan.weights[0].spec.dtype = DType::Bfp8;
        assert!(matches!(packed.check(&plan), Err(WeightError::OtherPlan { .. })));
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(matches!(Weights::open(&path), Err(WeightError::Truncated { .. })));
    }

    /// The file with its index changed, and the checksum that goes with it.
    fn with_index(bytes: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let start = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
        let mut index = serde_json::from_slice(&bytes[start as usize..]).unwrap();
        change(&mut index);
        let text = serde_json::to_vec(&index).unwrap();
        let mut changed = header(crc32fast::hash(&text), start, text.len() as u64);
        changed.extend(&bytes[changed.len()..start as usize]);
        changed.extend(text);
        changed
    }

    #[test]
    fn an_index_that_cannot_be_is_refused() {
        let (dir, plan) = sample();
        let path = dir.path().join("packed.bin");
        write(&plan, &Weights::open(dir.path()).unwrap(), &path, |_, _| ControlFlow::Continue(())).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let open = |change: fn(&mut serde_json::Value)| {
            std::fs::write(&path, with_index(&bytes, change)).unwrap();
            Packed::open(&path).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(open(|_| {}), Ok(()));
        let error = open(|index| index["tensors"][0]["spec"]["shape"] = vec![u32::MAX; 4].into()).unwrap_err();
        assert!(error.contains("places `w` wrongly"), "{error}");
        let error = open(|index| index["scales"]["l.0.w.weight"] = (-1.0).into()).unwrap_err();
        assert!(error.contains("the scale of `l.0.w.weight` is -1"), "{error}");
    }

    #[test]
    fn a_checkpoint_without_a_tensor_packs_nothing() {
        let (dir, mut plan) = sample();
        plan.model.layers = 3;
        let weights = Weights::open(dir.path()).unwrap();
        let path = dir.path().join("packed.bin");
        let error = write(&plan, &weights, &path, |_, _| ControlFlow::Continue(())).unwrap_err();
        assert!(error.to_string().contains("l.2.w.weight"), "{error}");
        assert!(!path.exists());
    }
}
