//! A checkpoint's folder as people have it: which of its files hold the weights, and what to do where none does that can be read.

use std::path::{Path, PathBuf};

/// The one file of a small checkpoint.
pub const SINGLE: &str = "model.safetensors";
/// The file that says which tensor of a large checkpoint is in which file.
pub const INDEX: &str = "model.safetensors.index.json";

/// The advice on a file that Git LFS has left in the place of a large one.
pub const LFS_ADVICE: &str = "a pointer of Git LFS, not the file it stands for: `git lfs pull` fetches that";

/// Whether a file that begins with `bytes` is a pointer of Git LFS.
pub fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs")
}

/// Where the weights of a folder are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// In [`SINGLE`].
    Single(PathBuf),
    /// In the files that [`INDEX`] names.
    Sharded(PathBuf),
    /// Nowhere: there is no file of weights of any kind.
    Nowhere,
}

/// Why a folder's weights cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct FolderError {
    /// The file that is in the way.
    pub path: PathBuf,
    /// Its kind, and what to do.
    pub why: &'static str,
}

const PICKLE: &str = "a pickle of PyTorch, which may run code when it is read: save it as safetensors, \
    with transformers' `from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)`";

/// Finds the weights in `folder`.
///
/// # Errors
/// A folder of another format, an adapter, an embedding model, shards without their index, or a link to a file that is not there.
pub fn find(folder: &Path) -> Result<Stored, FolderError> {
    let [single, index, adapter] = [SINGLE, INDEX, "adapter_config.json"].map(|name| folder.join(name));
    // transformers puts the adapter's matrices on top of the model's when it finds one.
    if adapter.is_file() {
        let why = "the folder has an adapter, which changes the model: merge it (peft's `merge_and_unload`) and save the result";
        return Err(FolderError { path: adapter, why });
    }
    let modules = folder.join("modules.json");
    if modules.is_file() {
        let why = "the folder has an embedding model of sentence-transformers, which gives one vector for a text; bitnetc runs models that write text";
        return Err(FolderError { path: modules, why });
    }
    for path in [&index, &single] {
        if path.is_symlink() && !path.exists() {
            let why = "a link to a file that is not there: download it again, or copy the folder with what its links stand for";
            return Err(FolderError { path: path.clone(), why });
        }
    }
    if index.is_file() {
        return Ok(Stored::Sharded(index));
    }
    if single.is_file() {
        return Ok(Stored::Single(single));
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Stored::Nowhere) };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let weights = |file: &Path| {
        let name = file.file_name()?.to_str()?;
        let is = |start: &str, ends: &[&str]| name.starts_with(start) && ends.iter().any(|end| name.ends_with(end));
        if is("pytorch_model", &[".bin", ".bin.index.json"]) || is("", &[".pth", ".pt", ".ckpt"]) {
            Some(PICKLE)
        } else if is("model-", &[".safetensors"]) {
            Some(
                "one of several files, and model.safetensors.index.json, which says what each holds, is missing: fetch it too",
            )
        } else if ["consolidated", "pytorch_model", "model."].iter().any(|start| is(start, &[".safetensors"])) {
            Some(
                "its tensors may be named otherwise than transformers names them: the file that is read is model.safetensors",
            )
        } else if is("", &[".gguf", ".GGUF"]) {
            Some("give this file itself, in the folder's place: it has the model and its weights")
        } else if is("", &[".h5", ".msgpack", ".onnx", ".npz"]) {
            Some("weights of another format: save them as safetensors, with transformers' `save_pretrained`")
        } else {
            None
        }
    };
    match files.iter().find_map(|file| Some((file, weights(file)?))) {
        Some((path, why)) => Err(FolderError { path: path.clone(), why }),
        None => Ok(Stored::Nowhere),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_folder_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        let error = || find(folder.path()).unwrap_err().to_string();
        assert_eq!(find(folder.path()), Ok(Stored::Nowhere));
        put("training_args.bin");
        assert_eq!(find(folder.path()), Ok(Stored::Nowhere));
        put("pytorch_model-00001-of-00002.bin");
        assert!(error().contains("pytorch_model-00001-of-00002.bin: a pickle"), "{}", error());
        put("model-00001-of-00002.safetensors");
        assert!(error().contains("model.safetensors.index.json"), "{}", error());
        for (name, says) in [
            ("model-i2_s.gguf", "model-i2_s.gguf: give this file itself"),
            ("model.onnx", "model.onnx: weights of another format"),
            ("consolidated.safetensors", "the file that is read is model.safetensors"),
            ("consolidated.00.pth", "a pickle"),
            ("modules.json", "an embedding model"),
        ] {
            let other = tempfile::tempdir().unwrap();
            std::fs::write(other.path().join(name), "").unwrap();
            let error = find(other.path()).unwrap_err().to_string();
            assert!(error.contains(says), "{name}: {error}");
        }
        #[cfg(unix)]
        {
            let other = tempfile::tempdir().unwrap();
            std::os::unix::fs::symlink("../blobs/0", other.path().join(SINGLE)).unwrap();
            let error = find(other.path()).unwrap_err().to_string();
            assert!(error.contains("model.safetensors: a link to a file that is not there"), "{error}");
        }
        put(SINGLE);
        assert_eq!(find(folder.path()), Ok(Stored::Single(folder.path().join(SINGLE))));
        put(INDEX);
        assert_eq!(find(folder.path()), Ok(Stored::Sharded(folder.path().join(INDEX))));
        put("adapter_config.json");
        assert!(error().contains("merge"), "{}", error());
    }
}
