//! A Hugging Face checkpoint directory: memory-mapped safetensors, one file or several behind `model.safetensors.index.json`. A GGUF file is
//! opened as one, too, see [`super::gguf`].
//!
//! Opening reads the headers alone and finds every truncated or malformed file. A tensor that is not
//! stored is an error; nothing is put in its place. (An output head tied to the embedding table is no exception: the model names the table.)

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitnetc_plan::folder::{self, SINGLE, Stored as Found};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;

use super::floats::{self, Dtype};
use super::{WeightError, gguf};

/// An opened checkpoint. Its tensors are read from the mapped files when they are asked for.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    files: Vec<MappedFile>,
    tensors: HashMap<String, Entry>,
    /// Ternary tensors bring their scales along.
    scales_within: bool,
    notes: Vec<String>,
}

#[derive(Debug)]
pub(super) struct MappedFile {
    pub path: PathBuf,
    pub map: Arc<Mmap>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub file: usize,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub start: usize,
    pub end: usize,
    /// Rows of a head, when its halves are stored interleaved.
    pub pairs: Option<usize>,
}

/// A stored tensor: its header and its bytes, little-endian, row-major.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Name it was found under.
    pub name: &'a str,
    /// File it is in.
    pub path: &'a Path,
    /// Data type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: &'a [usize],
    /// Bytes.
    pub data: &'a [u8],
    /// Where they start in the file.
    pub(crate) start: usize,
    pub(crate) map: &'a Arc<Mmap>,
    /// Rows of a head, when its halves are stored interleaved.
    pairs: Option<usize>,
}

impl Checkpoint {
    /// Opens the checkpoint in `dir`, or the GGUF file of that path.
    ///
    /// # Errors
    /// See [`gguf::checkpoint()`] for a file. For a directory:
    /// no checkpoint there, or one of another format; a file that cannot be read, a malformed header or index, a truncated file.
    pub fn open(dir: &Path) -> Result<Self, WeightError> {
        if dir.is_file() {
            return gguf::checkpoint(dir);
        }
        let mut listed = BTreeMap::new();
        let mut index = PathBuf::new();
        let names = match folder::find(dir)? {
            Found::Sharded(path) => {
                listed = weight_map(&path)?;
                index = path;
                shards(&index, &listed)?
            }
            Found::Single(_) => vec![SINGLE.to_string()],
            Found::Nowhere if dir.exists() => return Err(WeightError::NoCheckpoint { dir: dir.into() }),
            Found::Nowhere => return Err(WeightError::io(dir)(std::io::ErrorKind::NotFound.into())),
        };
        let mut checkpoint = Checkpoint {
            dir: dir.into(),
            files: Vec::new(),
            tensors: HashMap::new(),
            scales_within: false,
            notes: Vec::new(),
        };
        for name in names {
            checkpoint.map(dir.join(name))?;
        }
        let there = |name: &str, file: &str| {
            let entry = checkpoint.tensors.get(name);
            entry.is_some_and(|entry| checkpoint.files[entry.file].path.ends_with(file))
        };
        match listed.iter().find(|(name, file)| !there(name, file)) {
            Some((name, file)) => {
                Err(WeightError::Malformed { path: index, why: format!("`{name}` is not in {file}, where it says") })
            }
            None => Ok(checkpoint),
        }
    }

    fn map(&mut self, path: PathBuf) -> Result<(), WeightError> {
        let file = File::open(&path).map_err(WeightError::io(&path))?;
        // SAFETY: the mapping is read-only and private to this process; as with any mapped file, one that is cut short by
        // another process while it is read ends this one, which no interface to mapped files can prevent.
        let map = unsafe { Mmap::map(&file) }.map_err(WeightError::io(&path))?;
        let malformed = |why: String| WeightError::Malformed { path: path.clone(), why };
        if folder::is_lfs_pointer(&map) {
            return Err(malformed(folder::LFS_ADVICE.into()));
        }
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| match wanted_length(&map) {
            Some(want) if want > map.len() => {
                WeightError::Truncated { path: path.clone(), got: map.len() as u64, want: want as u64 }
            }
            _ => malformed(format!("not a safetensors file, or one cut off in its header ({e})")),
        })?;
        let base = header + 8;
        let file = self.files.len();
        for (name, info) in metadata.tensors() {
            let (start, end) = (base + info.data_offsets.0, base + info.data_offsets.1);
            let entry = Entry { file, dtype: info.dtype.into(), shape: info.shape.clone(), start, end, pairs: None };
            if self.tensors.insert(name.clone(), entry).is_some() {
                return Err(malformed(format!("tensor `{name}` is in an earlier file too")));
            }
        }
        self.files.push(MappedFile { path, map: Arc::new(map) });
        Ok(())
    }

    /// The checkpoint that a GGUF file holds.
    ///
    /// # Errors
    /// A tensor that is there twice.
    pub(super) fn of_gguf(
        path: &Path,
        files: Vec<MappedFile>,
        entries: Vec<(String, Entry)>,
        notes: Vec<String>,
    ) -> Result<Self, WeightError> {
        let mut tensors = HashMap::new();
        for (name, entry) in entries {
            let path = files[entry.file].path.clone();
            if tensors.insert(name.clone(), entry).is_some() {
                return Err(WeightError::Malformed { path, why: format!("tensor `{name}` is there twice") });
            }
        }
        Ok(Checkpoint { dir: path.into(), files, tensors, scales_within: true, notes })
    }

    /// True where ternary tensors bring their scales along, and need none beside them.
    pub(super) fn scales_within(&self) -> bool {
        self.scales_within
    }

    /// Notes for a person on how the checkpoint is read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Lets the system take back the memory of what was read.
    pub fn release(&self) {
        self.files.iter().for_each(|file| release(&file.map));
    }

    /// The directory, or the GGUF file.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor of a name.
    ///
    /// # Errors
    /// [`WeightError::Missing`].
    pub fn tensor<'a>(&'a self, name: &'a str) -> Result<Stored<'a>, WeightError> {
        self.find(name).ok_or_else(|| WeightError::Missing { tensor: name.into(), path: self.dir.clone() })
    }

    /// The tensor of a name, if it is stored.
    pub fn find<'a>(&'a self, name: &str) -> Option<Stored<'a>> {
        let (name, entry) = self.tensors.get_key_value(name)?;
        let file = &self.files[entry.file];
        let data = &file.map[entry.start..entry.end];
        Some(Stored {
            name,
            path: &file.path,
            dtype: entry.dtype,
            shape: &entry.shape,
            data,
            start: entry.start,
            map: &file.map,
            pairs: entry.pairs,
        })
    }
}

/// Tells the system that nothing of a mapped file is needed in memory for now.
pub(crate) fn release(map: &Mmap) {
    #[cfg(unix)]
    // SAFETY: the mapping is of a file and read-only: pages that go are read again from the file, and no contents change. A system
    // that refuses leaves everything as it is.
    let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    #[cfg(not(unix))]
    let _ = map;
}

/// The length a file must have, by its header alone.
fn wanted_length(bytes: &[u8]) -> Option<usize> {
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk::<8>()?)).ok()?;
    let header: Metadata = serde_json::from_slice(bytes.get(8..length.checked_add(8)?)?).ok()?;
    Some(8 + length + header.data_len())
}

/// Which file an index says each tensor is in.
fn weight_map(index: &Path) -> Result<BTreeMap<String, String>, WeightError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = bitnetc_plan::input::text(index).map_err(WeightError::io(index))?;
    let malformed = |why: String| WeightError::Malformed { path: index.into(), why };
    if folder::is_lfs_pointer(text.as_bytes()) {
        return Err(malformed(folder::LFS_ADVICE.into()));
    }
    let parsed: Index = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
    if parsed.weight_map.is_empty() { Err(malformed("it names no tensor".into())) } else { Ok(parsed.weight_map) }
}

/// The files of an index, in the order of their first tensors.
fn shards(index: &Path, weight_map: &BTreeMap<String, String>) -> Result<Vec<String>, WeightError> {
    let mut files: Vec<String> = Vec::new();
    for (tensor, file) in weight_map {
        let malformed = |why: &str| {
            Err(WeightError::Malformed { path: index.into(), why: format!("`{file}`, which has `{tensor}`, {why}") })
        };
        if files.contains(file) {
            continue;
        }
        if Path::new(file).components().count() != 1 || file.starts_with('.') {
            return malformed("is not the name of a file beside it");
        }
        if index.parent().is_some_and(|dir| !dir.join(file).is_file()) {
            return malformed("is not there");
        }
        files.push(file.clone());
    }
    if index.with_file_name(SINGLE).is_file() && !files.iter().any(|file| file == SINGLE) {
        let why =
            format!("it names other files than {SINGLE} beside it, which transformers reads: remove one of the two");
        return Err(WeightError::Malformed { path: index.into(), why });
    }
    Ok(files)
}

impl Stored<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True without any element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks the shape; `want` describes the right one in an error.
    ///
    /// # Errors
    /// [`WeightError::Shape`].
    pub fn expect_shape(&self, want: &[usize]) -> Result<(), WeightError> {
        if self.shape == want { Ok(()) } else { Err(self.wrong_shape(format!("{want:?}"))) }
    }

    /// [`WeightError::Shape`] for this tensor.
    pub fn wrong_shape(&self, want: String) -> WeightError {
        WeightError::Shape { tensor: self.name.into(), path: self.path.into(), got: self.shape.to_vec(), want }
    }

    /// Checks that the elements are floats.
    ///
    /// # Errors
    /// [`WeightError::DType`].
    pub fn expect_float(&self) -> Result<(), WeightError> {
        if self.dtype.is_float() { Ok(()) } else { Err(self.wrong_dtype("bf16, f16 or f32")) }
    }

    /// [`WeightError::DType`] for this tensor.
    pub fn wrong_dtype(&self, want: &'static str) -> WeightError {
        WeightError::DType { tensor: self.name.into(), path: self.path.into(), got: self.dtype.to_string(), want }
    }

    /// [`WeightError::Content`] for this tensor.
    pub fn bad(&self, why: String) -> WeightError {
        WeightError::Content { tensor: self.name.into(), path: self.path.into(), why }
    }

    /// Checks that the elements of `range` (flat indices) are numbers.
    ///
    /// # Errors
    /// [`WeightError::DType`] when they are not floats, [`WeightError::Content`] for an infinity or NaN.
    pub fn expect_finite(&self, range: std::ops::Range<usize>) -> Result<(), WeightError> {
        self.expect_float()?;
        match floats::all_finite(self.dtype, &self.data[floats::span(self.dtype, range)]) {
            true => Ok(()),
            false => Err(self.bad("holds infinities or NaN".into())),
        }
    }

    /// Calls `f` with every element of `range` (flat indices) as f32.
    ///
    /// # Errors
    /// [`WeightError::DType`] when the elements are not floats.
    pub fn floats(&self, range: std::ops::Range<usize>, mut f: impl FnMut(f32)) -> Result<(), WeightError> {
        self.expect_float()?;
        let columns = self.shape.get(1).copied().unwrap_or(1).max(1);
        if self.pairs.is_none() || !(range.start.is_multiple_of(columns) && range.end.is_multiple_of(columns)) {
            floats::each(self.dtype, &self.data[floats::span(self.dtype, range)], f);
            return Ok(());
        }
        for row in range.start / columns..range.end / columns {
            let at = self.stored_row(row) * columns;
            floats::each(self.dtype, &self.data[floats::span(self.dtype, at..at + columns)], &mut f);
        }
        Ok(())
    }

    /// Where row `row` is stored.
    #[inline]
    pub(super) fn stored_row(&self, row: usize) -> usize {
        self.pairs.map_or(row, |head| paired(row, head))
    }

    /// Rows of a head, when its halves are stored interleaved.
    pub(super) fn pairs(&self) -> Option<usize> {
        self.pairs
    }
}

/// Where row `row` of a matrix of heads is stored, whose halves are interleaved: row `t * head/2 + i` of a head is stored at `2i + t`.
#[inline]
pub(super) fn paired(row: usize, head: usize) -> usize {
    let (first, at) = (row - row % head, row % head);
    first + 2 * (at % (head / 2)) + at / (head / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::testing::{TestTensor, write_checkpoint};
    use bitnetc_plan::folder::INDEX;

    fn one() -> Vec<TestTensor> {
        vec![TestTensor::bf16("model.embed_tokens.weight", &[4, 2], &[1., 2., 3., 4., 5., 6., 7., 8.])]
    }

    #[test]
    fn nothing_stands_in_for_a_head_that_is_not_stored() {
        let dir = write_checkpoint(&one());
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.tensor("model.embed_tokens.weight").unwrap().shape, [4, 2]);
        let error = checkpoint.tensor("lm_head.weight").unwrap_err();
        assert!(error.to_string().contains("`lm_head.weight`"), "{error}");
    }

    #[test]
    fn a_truncated_file_is_named() {
        let dir = write_checkpoint(&one());
        let path = dir.path().join(SINGLE);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let error = Checkpoint::open(dir.path()).unwrap_err();
        assert!(matches!(error, WeightError::Truncated { .. }), "{error}");
        std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n").unwrap();
        let error = Checkpoint::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("git lfs pull"), "{error}");
        std::fs::write(&path, &bytes[..20]).unwrap();
        let error = Checkpoint::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(SINGLE), "{error}");
    }

    #[test]
    fn shards_are_joined_and_their_index_checked() {
        let dir = write_checkpoint(&one());
        std::fs::rename(dir.path().join(SINGLE), dir.path().join("a.safetensors")).unwrap();
        std::fs::write(dir.path().join(INDEX), r#"{"weight_map":{"model.embed_tokens.weight":"a.safetensors"}}"#)
            .unwrap();
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.tensor("model.embed_tokens.weight").unwrap().shape, [4, 2]);
        for (map, what) in [
            (r#"{"x":"../a.safetensors"}"#, "not the name of a file"),
            (r#"{"x":"b.safetensors"}"#, "`b.safetensors`, which has `x`, is not there"),
            (r#"{"x":"a.safetensors"}"#, "`x` is not in a.safetensors"),
            ("{}", "names no tensor"),
        ] {
            std::fs::write(dir.path().join(INDEX), format!("{{\"weight_map\":{map}}}")).unwrap();
            let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(INDEX), "{error}");
        }
    }

    #[test]
    fn an_empty_directory_is_no_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Checkpoint::open(dir.path()), Err(WeightError::NoCheckpoint { .. })));
        assert!(matches!(Checkpoint::open(&dir.path().join("x")), Err(WeightError::Io { .. })));
    }
}
