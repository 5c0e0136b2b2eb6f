//! The GGUF container: a header of metadata and tensor descriptions, then the tensors' bytes; one file, or several that are named
//! `NAME-00001-of-00003.gguf`.
//!
//! | bytes | content |
//! |---|---|
//! | 4 | `GGUF` |
//! | 4 | version, 2 or 3, `u32` little-endian |
//! | 8, 8 | how many tensors, how many metadata entries |
//! | .. | entries: name, type, value |
//! | .. | tensors: name, dimensions with the innermost first, type, offset |
//! | .. | from the next multiple of `general.alignment` (32) on: the tensors |
//!
//! It is read here and not by a crate because I2_S has a type number that llama.cpp gave to another type and took back since, which the
//! crates that read GGUF refuse, and because a header that lies must end in an error.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use super::Blocks;
use super::reader::{Broken, Kind, Reader, Value};
use crate::weights::WeightError;
use crate::weights::checkpoint::MappedFile;
use crate::weights::floats::Dtype;

const MAGIC: &[u8] = b"GGUF";
/// How a file begins that Git LFS has left in the place of a large one.
const LFS: &[u8] = b"version https://git-lfs";
/// Most shards; their numbers have five digits.
const MOST_SHARDS: u64 = 99_999;
/// Most dimensions of a tensor in ggml.
const MOST_DIMENSIONS: u32 = 4;
/// Types a tensor may have.
const SUPPORTED: &str = "I2_S, TQ1_0 and TQ2_0 (ternary), F32, F16, BF16, Q8_0, Q6_K, Q4_K and Q4_0";

/// An opened GGUF file with all its shards. Tensors are read from the mapped files when they are asked for.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    pub(super) files: Vec<MappedFile>,
    /// Of the first file, and where values lie in it.
    metadata: BTreeMap<String, Value>,
    pub(super) tensors: Vec<Tensor>,
}

/// A tensor's description.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    pub file: usize,
    pub bytes: Range<usize>,
}

/// What one file's header says.
struct Header {
    metadata: BTreeMap<String, Value>,
    tensors: Vec<Tensor>,
}

/// True for a file that begins as GGUF does, and for one that is named so.
pub fn is_gguf(path: &Path) -> bool {
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    let begins = || {
        let mut start = [0; 4];
        File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start)).is_ok() && start == MAGIC
    };
    path.is_file() && (named || begins())
}

impl Gguf {
    /// Opens a file, and the shards beside it when it is one of several.
    ///
    /// # Errors
    /// A file that cannot be read or is cut short, a header that does not hold together, a tensor of a type that is not read here, a shard
    /// that is missing.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        let mut first = MappedFile::open(path)?;
        let mut header = header(&first, 0)?;
        let malformed = |why: String| WeightError::Malformed { path: path.into(), why };
        let shards = match header.metadata.get("split.count") {
            None => 1,
            Some(&Value::Unsigned(count @ 1..=MOST_SHARDS)) => count,
            Some(_) => return Err(malformed(format!("split.count is no count of shards, 1 to {MOST_SHARDS}"))),
        };
        if shards == 1 {
            return Ok(Gguf {
                path: path.into(),
                files: vec![first],
                metadata: header.metadata,
                tensors: header.tensors,
            });
        }
        let paths = shard_paths(path, shards).ok_or_else(|| {
            malformed(format!("one of {shards} shards, which are named like model-00001-of-{shards:05}.gguf"))
        })?;
        if header.metadata.get("split.no") != Some(&Value::Unsigned(0)) {
            first = MappedFile::open(&paths[0])?;
            header = self::header(&first, 0)?;
        }
        let mut gguf =
            Gguf { path: path.into(), files: vec![first], metadata: header.metadata, tensors: header.tensors };
        for (at, shard) in paths.iter().enumerate() {
            let file = MappedFile::open(shard)?;
            let header = self::header(&file, at)?;
            let say = |key: &str| header.metadata.get(key).cloned();
            let want = [Some(Value::Unsigned(at as u64)), Some(Value::Unsigned(shards))];
            if [say("split.no"), say("split.count")] != want {
                let why = format!("its header does not say that it is shard {} of {shards}", at + 1);
                return Err(WeightError::Malformed { path: shard.clone(), why });
            }
            if at > 0 {
                gguf.files.push(file);
                gguf.tensors.extend(header.tensors);
            }
        }
        let count = gguf.tensors.len();
        let whole = |&v: &u64| v == count as u64;
        match gguf.number("split.tensors.count")? {
            Some(said) if !whole(&said) => Err(malformed(format!("the shards have {count} tensors of {said}"))),
            _ => Ok(gguf),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn malformed(&self, why: String) -> WeightError {
        WeightError::Malformed { path: self.path.clone(), why }
    }

    fn wrong(&self, key: &str, want: &str) -> WeightError {
        self.malformed(format!("`{key}` of its metadata is no {want}"))
    }

    /// The names of all metadata.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// The value of a name as an error shows it.
    pub(super) fn shown(&self, key: &str) -> Option<String> {
        Some(match self.metadata.get(key)? {
            Value::Bool(value) => value.to_string(),
            Value::Unsigned(value) => value.to_string(),
            Value::Signed(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(value) => format!("`{}`", value.chars().take(60).collect::<String>()),
            Value::Array { len, .. } => format!("a list of {len}"),
        })
    }

    /// A count, if it is there.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, WeightError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(value)) => Ok(Some(*value)),
            Some(Value::Signed(value)) => u64::try_from(*value).map(Some).map_err(|_| self.wrong(key, "count")),
            Some(Value::Bool(_) | Value::Float(_) | Value::Text(_) | Value::Array { .. }) => {
                Err(self.wrong(key, "count"))
            }
        }
    }

    /// A number with a fraction, if it is there.
    pub(super) fn float(&self, key: &str) -> Result<Option<f64>, WeightError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) if value.is_finite() => Ok(Some(*value)),
            Some(Value::Unsigned(value)) => Ok(Some(*value as f64)),
            Some(_) => Err(self.wrong(key, "number")),
        }
    }

    /// A yes or no, if it is there.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, WeightError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A text, if it is there.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, WeightError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Text(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong(key, "text")),
        }
    }

    /// The values of a list, if it is there.
    fn list<T>(
        &self,
        key: &str,
        want: &str,
        mut read: impl FnMut(&mut Reader<'_>, Kind) -> Option<T>,
    ) -> Result<Option<Vec<T>>, WeightError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let (Value::Array { kind, len, bytes }, Some(file)) = (value, self.files.first()) else {
            return Err(self.wrong(key, want));
        };
        let mut reader = Reader { bytes: &file.map[..bytes.end], at: bytes.start };
        let values = (0..*len).map(|_| read(&mut reader, *kind)).collect::<Option<Vec<T>>>();
        values.map(Some).ok_or_else(|| self.wrong(key, want))
    }

    /// A list of texts, if it is there.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, WeightError> {
        self.list(key, "list of texts", |reader, kind| match kind {
            Kind::Text => reader.text().ok().map(str::to_string),
            _ => None,
        })
    }

    /// A list of numbers, if it is there.
    pub(super) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, WeightError> {
        self.list(key, "list of numbers", |reader, kind| match reader.value(kind).ok()? {
            Value::Unsigned(value) => Some(value as f64),
            Value::Signed(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            Value::Bool(_) | Value::Text(_) | Value::Array { .. } => None,
        })
    }
}

impl MappedFile {
    /// Maps a file.
    fn open(path: &Path) -> Result<Self, WeightError> {
        let file = File::open(path).map_err(WeightError::io(path))?;
        // SAFETY: as in `Checkpoint::map`: read-only, and a file cut short underneath ends this process whatever we do.
        let map = unsafe { Mmap::map(&file) }.map_err(WeightError::io(path))?;
        Ok(MappedFile { path: path.into(), map: Arc::new(map) })
    }
}

/// The paths of all shards of the file at `path`, by its name.
fn shard_paths(path: &Path, shards: u64) -> Option<Vec<PathBuf>> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(&format!("-of-{shards:05}.gguf"))?;
    let (prefix, number) = stem.split_at_checked(stem.len().checked_sub(5)?)?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((1..=shards).map(|at| path.with_file_name(format!("{prefix}{at:05}-of-{shards:05}.gguf"))).collect())
}

/// Reads the header of `file`, whose number is `number`.
fn header(file: &MappedFile, number: usize) -> Result<Header, WeightError> {
    let path = &file.path;
    let malformed = |why: &str| WeightError::Malformed { path: path.clone(), why: why.into() };
    if file.map.starts_with(LFS) {
        return Err(malformed("a pointer of Git LFS, not the file it stands for: `git lfs pull` fetches that"));
    }
    if !file.map.starts_with(MAGIC) {
        return Err(malformed("not a GGUF file"));
    }
    let broken = |broken: Broken| match broken {
        Broken::Short { want } => WeightError::Truncated { path: path.clone(), got: file.map.len() as u64, want },
        Broken::Wrong(why) => malformed(&why),
    };
    let mut reader = Reader { bytes: &file.map, at: MAGIC.len() };
    match reader.u32().map_err(broken)? {
        2 | 3 => {}
        1 => return Err(malformed("GGUF of version 1; 2 and 3 are read: convert the model again")),
        swapped if matches!(swapped.swap_bytes(), 1..=3) => {
            return Err(malformed("GGUF of a big-endian machine; only little-endian files are read"));
        }
        other => return Err(malformed(&format!("GGUF of version {other}; 2 and 3 are read"))),
    }
    let (metadata, tensors) = entries(&mut reader).map_err(broken)?;
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(&Value::Unsigned(alignment)) if alignment.is_power_of_two() && alignment <= 1 << 20 => alignment as usize,
        Some(_) => return Err(malformed("`general.alignment` is no power of two")),
    };
    let start = reader.at.next_multiple_of(alignment);
    let place = |raw: RawTensor| place(file, number, raw, start, alignment);
    Ok(Header { metadata, tensors: tensors.into_iter().map(place).collect::<Result<_, _>>()? })
}

/// A tensor as the header describes it.
struct RawTensor {
    name: String,
    shape: Vec<u64>,
    code: u32,
    offset: u64,
}

type Entries = (BTreeMap<String, Value>, Vec<RawTensor>);

/// The metadata and the tensors' descriptions.
fn entries(reader: &mut Reader<'_>) -> Result<Entries, Broken> {
    // An entry has a name's length, a type and a value of a byte; a tensor a name's length, a count, a type and an offset.
    let (tensor_count, count) = (reader.count(24)?, reader.count(13)?);
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let (name, kind) = (reader.name()?, reader.kind()?);
        let value = reader.value(kind)?;
        if metadata.contains_key(&name) {
            return Err(Broken::Wrong(format!("its metadata has `{name}` twice")));
        }
        metadata.insert(name, value);
    }
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        let (name, dimensions) = (reader.name()?, reader.u32()?);
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
            return Err(Broken::Wrong(format!("tensor `{name}` has {dimensions} dimensions")));
        }
        let mut shape = (0..dimensions).map(|_| reader.u64()).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        tensors.push(RawTensor { name, shape, code: reader.u32()?, offset: reader.u64()? });
    }
    Ok((metadata, tensors))
}

/// Checks a tensor's description against its file.
fn place(
    file: &MappedFile,
    number: usize,
    raw: RawTensor,
    start: usize,
    alignment: usize,
) -> Result<Tensor, WeightError> {
    let RawTensor { name, shape, code, offset } = raw;
    let bad = |why: String| WeightError::Content { tensor: name.clone(), path: file.path.clone(), why };
    let dtype = dtype(code).map_err(|found| WeightError::Unsupported {
        tensor: name.clone(),
        path: file.path.clone(),
        found,
        supported: SUPPORTED,
    })?;
    let uncounted = || bad("has more elements than can be counted".into());
    let shape: Vec<usize> =
        shape.iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>().map_err(|_| uncounted())?;
    let columns = shape.last().copied().unwrap_or(1);
    let outer = &shape[..shape.len().saturating_sub(1)];
    let rows = outer.iter().try_fold(1usize, |all, &d| all.checked_mul(d)).ok_or_else(uncounted)?;
    let bytes = match dtype {
        Dtype::Blocks(blocks) => blocks.tensor_bytes(rows, columns).map_err(bad)?,
        Dtype::F32 => rows.checked_mul(columns).and_then(|n| n.checked_mul(4)).ok_or_else(uncounted)?,
        Dtype::F16 | Dtype::BF16 => rows.checked_mul(columns).and_then(|n| n.checked_mul(2)).ok_or_else(uncounted)?,
        Dtype::U8 | Dtype::Other(_) => rows.checked_mul(columns).ok_or_else(uncounted)?,
    };
    if offset % alignment as u64 != 0 {
        return Err(bad(format!("begins at {offset}, no multiple of {alignment}")));
    }
    let begin = usize::try_from(offset).ok().and_then(|offset| start.checked_add(offset)).ok_or_else(uncounted)?;
    let end = begin.checked_add(bytes).ok_or_else(uncounted)?;
    if end > file.map.len() {
        return Err(WeightError::Truncated { path: file.path.clone(), got: file.map.len() as u64, want: end as u64 });
    }
    Ok(Tensor { name, dtype, shape, file: number, bytes: begin..end })
}

/// ggml's number of a type.
///
/// # Errors
/// The name of a type that is not read.
fn dtype(code: u32) -> Result<Dtype, String> {
    Ok(match code {
        0 => Dtype::F32,
        1 => Dtype::F16,
        2 => Dtype::Blocks(Blocks::Q4_0),
        8 => Dtype::Blocks(Blocks::Q8_0),
        12 => Dtype::Blocks(Blocks::Q4_K),
        14 => Dtype::Blocks(Blocks::Q6_K),
        30 => Dtype::BF16,
        34 => Dtype::Blocks(Blocks::TQ1_0),
        35 => Dtype::Blocks(Blocks::TQ2_0),
        36 => Dtype::Blocks(Blocks::I2_S),
        3 => return Err("Q4_1".into()),
        6 => return Err("Q5_0".into()),
        7 => return Err("Q5_1".into()),
        9 => return Err("Q8_1".into()),
        10 => return Err("Q2_K".into()),
        11 => return Err("Q3_K".into()),
        13 => return Err("Q5_K".into()),
        15 => return Err("Q8_K".into()),
        16..=23 | 29 => return Err(format!("IQ (type {code})")),
        24..=27 => return Err(format!("integers (type {code})")),
        28 => return Err("F64".into()),
        38 => return Err("TL1 (laid out for one machine's kernels)".into()),
        39 => return Err("MXFP4, or bitnet.cpp's TL2 (laid out for one machine's kernels)".into()),
        other => return Err(format!("type {other}")),
    })
}
