//! The headers of a checkpoint's safetensors files: names, types and shapes of its tensors, and whether they are a model's.

use super::ImportError;
use crate::graph::{Encoding, ScaleConvention, Section, resolve};
use crate::model::Model;
use bitnetc_plan::folder::{self, SINGLE, Stored};
use bitnetc_plan::units::{bytes, exact_bytes};
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The most a header may take; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// The tensors of a checkpoint, as its files' headers describe them.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Debug, Clone)]
struct Tensor {
    /// As safetensors calls it.
    dtype: String,
    shape: Vec<usize>,
    file: PathBuf,
    /// Where its bytes are in the file.
    bytes: [u64; 2],
}

/// A tensor as a model needs it.
struct Need {
    /// Element types it may have.
    dtypes: &'static [&'static str],
    shape: Vec<usize>,
    /// Fused tensors are needed in parts; the last row of any part.
    grows: bool,
}

const FLOATS: &[&str] = &["BF16", "F16", "F32"];
const BYTES: &[&str] = &["U8"];

impl Checkpoint {
    /// Reads the headers of a directory's checkpoint, the files the runtime would read: those that `model.safetensors.index.json` names,
    /// else `model.safetensors`. None when there is neither.
    ///
    /// # Errors
    /// When a file cannot be read, the index or a header is broken, or the weights are of another format.
    pub fn read(directory: &Path) -> Result<Option<Checkpoint>, ImportError> {
        let files = match folder::find(directory)? {
            Stored::Nowhere => return Ok(None),
            Stored::Single(file) => vec![file],
            Stored::Sharded(index) => shards(&index)?.iter().map(|file| directory.join(file)).collect(),
        };
        let mut checkpoint = Checkpoint::default();
        for file in &files {
            checkpoint.header(file)?;
        }
        Ok(Some(checkpoint))
    }

    fn header(&mut self, path: &Path) -> Result<(), ImportError> {
        let io = |error| ImportError::Io { path: path.to_path_buf(), error };
        let broken = |what: String| ImportError::Header { path: path.to_path_buf(), what };
        let mut file = std::fs::File::open(path).map_err(io)?;
        let mut start = Vec::new();
        file.by_ref().take(64).read_to_end(&mut start).map_err(io)?;
        if folder::is_lfs_pointer(&start) {
            return Err(broken(folder::LFS_ADVICE.into()));
        }
        let Some(length) = start.first_chunk::<8>() else {
            return Err(broken("no safetensors file: shorter than 8 bytes".into()));
        };
        let length = u64::from_le_bytes(*length);
        if length > MAX_HEADER {
            return Err(broken(format!(
                "no safetensors file: a header of {}, at most {} are allowed",
                bytes(length),
                bytes(MAX_HEADER)
            )));
        }
        let mut header = Vec::new();
        file.seek(SeekFrom::Start(8)).map_err(io)?;
        file.take(length).read_to_end(&mut header).map_err(io)?;
        if header.len() as u64 != length {
            let (got, want) = (exact_bytes(header.len() as u64), exact_bytes(length));
            return Err(broken(format!("no safetensors file: the header has {got} of {want}")));
        }
        let there = std::fs::metadata(path).map_err(io)?.len();
        let json = |error| ImportError::Json { path: path.to_path_buf(), error };
        let entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&header).map_err(json)?;
        for (name, entry) in entries.into_iter().filter(|(name, _)| name != "__metadata__") {
            #[derive(serde::Deserialize)]
            struct Entry {
                dtype: String,
                shape: Vec<usize>,
                data_offsets: [u64; 2],
            }
            let Entry { dtype, shape, data_offsets } = serde_json::from_value(entry).map_err(json)?;
            let place = data_offsets.map(|offset| offset.saturating_add(8 + length));
            if place[1] > there {
                return Err(broken(format!(
                    "the file has {}, its tensor `{name}` ends after {}: it is truncated or damaged",
                    exact_bytes(there),
                    exact_bytes(place[1])
                )));
            }
            if let Some(other) = self.tensors.get(&name) {
                return Err(broken(format!("tensor `{name}` is in {} too", other.file.display())));
            }
            self.tensors.insert(name, Tensor { dtype, shape, file: path.to_path_buf(), bytes: place });
        }
        Ok(())
    }

    /// Whether the checkpoint holds this tensor.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor's element type as safetensors calls it, such as `U8` or `BF16`.
    pub fn dtype(&self, name: &str) -> Option<&str> {
        self.tensors.get(name).map(|tensor| tensor.dtype.as_str())
    }

    /// Checks that the checkpoint has the tensors of `model`, each of its shape and of a type that can be read, and no others: one that
    /// the config says nothing of, such as a bias, belongs to another function than the config's.
    ///
    /// # Errors
    /// The first tensor that is missing, wrong or left over.
    pub(super) fn fits(&self, model: &Model) -> Result<(), ImportError> {
        let needs = self.needs(model);
        for (name, need) in &needs {
            let Some(tensor) = self.tensors.get(name) else {
                return Err(ImportError::Missing { tensor: name.clone() });
            };
            if !need.dtypes.contains(&tensor.dtype.as_str()) {
                let (found, supported) = (tensor.dtype.clone(), need.dtypes.join(", "));
                return Err(ImportError::Tensor { tensor: name.clone(), what: "type", found, supported });
            }
            if tensor.shape != need.shape {
                let (found, supported) = (format!("{:?}", tensor.shape), format!("{:?}", need.shape));
                return Err(ImportError::Tensor { tensor: name.clone(), what: "shape", found, supported });
            }
        }
        let head = "lm_head.weight";
        for name in self.tensors.keys().filter(|name| !needs.contains_key(name.as_str())) {
            // Tables that older versions of transformers saved, computed from the config.
            if name.ends_with("rotary_emb.inv_freq") {
                continue;
            }
            if name == head && self.same_bytes(head, "model.embed_tokens.weight")? {
                continue;
            }
            return Err(ImportError::Leftover { tensor: name.clone() });
        }
        Ok(())
    }

    /// Every tensor that the model reads in any layer, in the model's order.
    fn needs(&self, model: &Model) -> IndexMap<String, Need> {
        let mut needs: IndexMap<String, Need> = IndexMap::new();
        for statement in &model.statements {
            let layers = if statement.section == Section::Layer { model.layers } else { 1 };
            for (layer, weight) in (0..layers).flat_map(|l| statement.op.weights().into_iter().map(move |w| (l, w))) {
                let name = resolve(&weight.name, layer);
                let mut shape = weight.shape.clone();
                if let (Some((_, end)), Some(rows)) = (weight.rows, shape.first_mut()) {
                    *rows = end;
                }
                let packed = self.dtype(&name).is_none_or(|dtype| dtype == "U8");
                let dtypes = match weight.encoding {
                    Encoding::Dense | Encoding::Absmean => FLOATS,
                    Encoding::Packed(ScaleConvention::Multiplies) if !packed => FLOATS,
                    Encoding::Packed(_) => {
                        shape[0] = shape[0].div_ceil(4);
                        BYTES
                    }
                };
                if let Encoding::Packed(_) = weight.encoding {
                    let scale = Need { dtypes: FLOATS, shape: self.scale_shape(&name), grows: false };
                    needs.insert(format!("{name}_scale"), scale);
                }
                let grows = weight.rows.is_some();
                let need = needs.entry(name).or_insert(Need { dtypes, shape: shape.clone(), grows });
                if need.grows {
                    need.shape[0] = need.shape[0].max(shape[0]);
                }
            }
        }
        needs
    }

    /// One number, be it a vector's or none's.
    fn scale_shape(&self, weight: &str) -> Vec<usize> {
        let found = self.tensors.get(&format!("{weight}_scale")).map(|tensor| &tensor.shape);
        found.filter(|shape| shape.iter().all(|&d| d == 1)).cloned().unwrap_or(vec![1])
    }

    /// Whether two tensors are equal in all. A tied head may be stored; one that differs from the table is left alone by some versions of
    /// transformers and replaced by others.
    fn same_bytes(&self, a: &str, b: &str) -> Result<bool, ImportError> {
        let (Some(a), Some(b)) = (self.tensors.get(a), self.tensors.get(b)) else { return Ok(false) };
        if (&a.dtype, &a.shape) != (&b.dtype, &b.shape) {
            return Ok(false);
        }
        let (mut a, mut b) = (a.open()?, b.open()?);
        let mut buffers = [vec![0; 1 << 16], vec![0; 1 << 16]];
        let [left, right] = &mut buffers;
        loop {
            let (x, y) = (a.fill(left)?, b.fill(right)?);
            if left[..x] != right[..y] {
                return Ok(false);
            }
            if x == 0 {
                return Ok(true);
            }
        }
    }
}

/// The bytes of one tensor.
struct Bytes {
    file: std::io::Take<std::fs::File>,
    path: PathBuf,
}

impl Tensor {
    fn open(&self) -> Result<Bytes, ImportError> {
        let io = |error| ImportError::Io { path: self.file.clone(), error };
        let mut file = std::fs::File::open(&self.file).map_err(io)?;
        file.seek(SeekFrom::Start(self.bytes[0])).map_err(io)?;
        Ok(Bytes { file: file.take(self.bytes[1].saturating_sub(self.bytes[0])), path: self.file.clone() })
    }
}

impl Bytes {
    /// Fills the buffer as far as there are bytes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ImportError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self.file.read(&mut buffer[filled..]);
            match read.map_err(|error| ImportError::Io { path: self.path.clone(), error })? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }
}

/// The files an index names, each once, all beside it.
fn shards(index: &Path) -> Result<BTreeSet<String>, ImportError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let path = index.to_path_buf();
    let text = super::text(index)?;
    let parsed: Index = serde_json::from_str(&text).map_err(|error| ImportError::Json { path: path.clone(), error })?;
    let files: BTreeSet<String> = parsed.weight_map.into_values().collect();
    if let Some(file) = files.iter().find(|file| Path::new(file).components().count() != 1 || file.starts_with('.')) {
        return Err(ImportError::Header { path, what: format!("`{file}` is not the name of a file beside it") });
    }
    if index.with_file_name(SINGLE).is_file() && !files.contains(SINGLE) {
        let what =
            format!("it names other files than {SINGLE} beside it, which transformers reads: remove one of the two");
        return Err(ImportError::Header { path, what });
    }
    Ok(files)
}
