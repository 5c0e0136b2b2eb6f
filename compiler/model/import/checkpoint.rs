//! The headers of a checkpoint's safetensors files: names and types, no data.

use super::ImportError;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// The most a header may take; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// Names and types of a checkpoint's tensors.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    types: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Reads the headers of a directory's checkpoint, the files the runtime would read: those that `model.safetensors.index.json` names,
    /// else `model.safetensors`. None when there is neither.
    ///
    /// # Errors
    /// When a file cannot be read, or the index or a header is broken.
    pub fn read(directory: &Path) -> Result<Option<Checkpoint>, ImportError> {
        let (index, single) = (directory.join("model.safetensors.index.json"), directory.join("model.safetensors"));
        let files = if index.is_file() {
            shards(&index)?.iter().map(|file| directory.join(file)).collect()
        } else if single.is_file() {
            vec![single]
        } else {
            return Ok(None);
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
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| broken("no safetensors file: shorter than 8 bytes".into()))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(broken(format!(
                "no safetensors file: a header of {length} bytes, at most {MAX_HEADER} are allowed"
            )));
        }
        let mut header = Vec::new();
        file.take(length).read_to_end(&mut header).map_err(io)?;
        if header.len() as u64 != length {
            return Err(broken(format!("no safetensors file: the header has {} of {length} bytes", header.len())));
        }
        let header: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&header).map_err(|error| ImportError::Json { path: path.to_path_buf(), error })?;
        for (name, tensor) in header {
            if let Some(kind) = tensor.get("dtype").and_then(|d| d.as_str()) {
                self.types.insert(name, kind.to_string());
            }
        }
        Ok(())
    }

    /// Whether the checkpoint holds this tensor.
    pub fn has(&self, name: &str) -> bool {
        self.types.contains_key(name)
    }

    /// The tensor's element type as safetensors calls it, such as `U8` or `BF16`.
    pub fn dtype(&self, name: &str) -> Option<&str> {
        self.types.get(name).map(String::as_str)
    }
}

/// The files an index names, each once, all beside it.
fn shards(index: &Path) -> Result<BTreeSet<String>, ImportError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let path = index.to_path_buf();
    let text = bitnetc_plan::input::text(index).map_err(|error| ImportError::Io { path: path.clone(), error })?;
    let parsed: Index = serde_json::from_str(&text).map_err(|error| ImportError::Json { path: path.clone(), error })?;
    let files: BTreeSet<String> = parsed.weight_map.into_values().collect();
    match files.iter().find(|file| Path::new(file).components().count() != 1 || file.starts_with('.')) {
        Some(file) => Err(ImportError::Header { path, what: format!("`{file}` is not the name of a file beside it") }),
        None => Ok(files),
    }
}
