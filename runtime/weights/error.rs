//! Errors of checkpoints and packed files. Each message is one sentence that names the tensor and the file.

use std::path::PathBuf;

use bitnetc_plan::units::{self, exact_bytes};

/// Why weights cannot be used. Always found before the first step of a plan runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightError {
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its reason.
        error: std::io::Error,
    },
    /// There is no checkpoint here.
    #[error("{}: no model.safetensors and no model.safetensors.index.json here", dir.display())]
    NoCheckpoint {
        /// The directory.
        dir: PathBuf,
    },
    /// Weights of another format.
    #[error(transparent)]
    Folder(#[from] bitnetc_plan::folder::FolderError),
    /// A tensor that no weight of the plan is made of.
    #[error("{} has a tensor `{tensor}` that the plan does not read: its model computes something else", path.display())]
    Leftover {
        /// The tensor.
        tensor: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A safetensors header, an index or a packed file's index that does not parse.
    #[error("{}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The reason why it cannot be used.
        why: String,
    },
    /// A file ends before its last tensor.
    #[error(
        "{}: the file has {}, its header asks for {}: it is truncated or damaged",
        path.display(), exact_bytes(*got), exact_bytes(*want)
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length.
        got: u64,
        /// The length its header asks for.
        want: u64,
    },
    /// The disk, a quota or a limit has no room for a file.
    #[error("cannot write {}: {} are needed, and there is no room for them ({error})", path.display(), units::bytes(*bytes))]
    NoRoom {
        /// The file that was to be written; nothing of it is left.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The error of the system.
        error: std::io::Error,
    },
    /// Writing was called off.
    #[error("{}: interrupted, nothing was written", path.display())]
    Interrupted {
        /// The file that was to be written.
        path: PathBuf,
    },
    /// A tensor the plan needs is not there.
    #[error("tensor `{tensor}` is not in {}", path.display())]
    Missing {
        /// The tensor.
        tensor: String,
        /// Directory or file searched.
        path: PathBuf,
    },
    /// A tensor of another shape than the plan's.
    #[error("tensor `{tensor}` of {} has shape {got:?}; the plan needs {want}", path.display())]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its file.
        path: PathBuf,
        /// Its shape.
        got: Vec<usize>,
        /// The value that would be right.
        want: String,
    },
    /// A tensor of a data type that cannot hold what the plan needs.
    #[error("tensor `{tensor}` of {} has data type {got}; the plan needs {want}", path.display())]
    DType {
        /// The tensor.
        tensor: String,
        /// Its file.
        path: PathBuf,
        /// Its data type.
        got: String,
        /// The value that would be right.
        want: &'static str,
    },
    /// A tensor stored in a way that is not read at all.
    #[error("tensor `{tensor}` of {} is stored as {found}, which is not read; convert or quantise the model again with {supported}", path.display())]
    Unsupported {
        /// The tensor.
        tensor: String,
        /// Its file.
        path: PathBuf,
        /// How it is stored.
        found: String,
        /// The right one.
        supported: &'static str,
    },
    /// A tensor whose numbers cannot be right.
    #[error("tensor `{tensor}` of {}: {why}", path.display())]
    Content {
        /// The tensor.
        tensor: String,
        /// Its file.
        path: PathBuf,
        /// The reason why it cannot be used.
        why: String,
    },
    /// A weight of the plan whose source does not make a tensor of its spec.
    #[error("weight `{weight}` of the plan: {why}")]
    Plan {
        /// The weight.
        weight: String,
        /// The disagreement.
        why: String,
    },
    /// A packed file made for another plan.
    #[error("{}: packed for another plan: {why}; pack it again with `bitnetc pack`", path.display())]
    OtherPlan {
        /// The file.
        path: PathBuf,
        /// The first difference.
        why: String,
    },
    /// Bytes of a packed file that changed since it was written.
    #[error("{}: checksum of `{tensor}` is {got:08x}, not {want:08x}: the file is damaged", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// CRC-32 of the bytes.
        got: u32,
        /// CRC-32 written beside them.
        want: u32,
    },
}

impl WeightError {
    /// An [`WeightError::Io`] at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| WeightError::Io { path, error }
    }
}
