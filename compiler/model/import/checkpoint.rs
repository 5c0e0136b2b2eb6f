//! The headers of safetensors files: names and types, no data.

use super::ImportError;
use std::collections::BTreeMap;
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
    /// Reads the headers of every `*.safetensors` of a directory; none when there is no such file.
    ///
    /// # Errors
    /// When the directory or a file cannot be read, or a header is broken.
    pub fn read(directory: &Path) -> Result<Option<Checkpoint>, ImportError> {
        let io = |error| ImportError::Io { path: directory.to_path_buf(), error };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let golden = path.file_stem().is_some_and(|s| s == "golden");
            if path.extension().is_some_and(|e| e == "safetensors") && !golden {
                files.push(path);
            }
        }
        files.sort();
        let mut checkpoint = Checkpoint::default();
        for file in &files {
            checkpoint.header(file)?;
        }
        Ok(if files.is_empty() { None } else { Some(checkpoint) })
    }

    fn header(&mut self, path: &Path) -> Result<(), ImportError> {
        let io = |error| ImportError::Io { path: path.to_path_buf(), error };
        let broken = |what: String| ImportError::Header { path: path.to_path_buf(), what };
        let mut file = std::fs::File::open(path).map_err(io)?;
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| broken("shorter than 8 bytes".into()))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(broken(format!("a header of {length} bytes, at most {MAX_HEADER} are allowed")));
        }
        let mut header = Vec::new();
        file.take(length).read_to_end(&mut header).map_err(io)?;
        if header.len() as u64 != length {
            return Err(broken(format!("the header has {} of {length} bytes", header.len())));
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
