//! Plan files: RON for people and a compact binary for machines. Both hold the same plan, bit for bit.
//!
//! | form | file | content |
//! |---|---|---|
//! | RON | any name | UTF-8; one step per block of lines, every constant in full; the same plan gives the same bytes |
//! | binary | `*.plan` | [`MAGIC`], then little-endian `u32` format version, `u64` payload length, `u32` CRC-32 of the bytes of version, length and payload; then the payload, MessagePack with field names |
//!
//! [`read_bytes`] tells the two apart by the magic, not by the file's name. The header of the binary form is the same in every version,
//! so that an old or a newer plan is told apart from a damaged one. Reading allocates in proportion to the bytes that are there, whatever
//! lengths they claim. Reading checks the form only; [`crate::verify()`] checks the content.

use std::io;
use std::path::{Path, PathBuf};

use ron::extensions::Extensions;
use ron::ser::PrettyConfig;
use serde::Deserialize;
use thiserror::Error;

use crate::units::exact_bytes;
use crate::{FORMAT_VERSION, Plan, input};

/// First bytes of a binary plan. They are no text in any encoding, and any translation of newlines damages them visibly.
pub const MAGIC: [u8; 8] = *b"\x89BNPLN\r\n";

/// Bytes before the payload of a binary plan.
pub const HEADER_BYTES: usize = 24;

/// Why a plan could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file system refused.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Neither of the two forms.
    #[error("not a plan: {found}; a plan is what `bitnetc plan MODEL -o FILE` writes")]
    NotAPlan {
        /// A description of the content that was found instead.
        found: String,
    },
    /// A plan of another version.
    #[error(
        "the plan has format version {found}, this bitnetc reads {FORMAT_VERSION}; {}",
        if *found > FORMAT_VERSION { "a newer bitnetc is needed" } else { "compile the model again with `bitnetc plan`" }
    )]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// A binary plan whose bytes changed.
    #[error("the plan is damaged: {what}; compile the model again or copy the file anew")]
    Damaged {
        /// Length or checksum, found and expected.
        what: String,
    },
    /// RON that is no plan.
    #[error("line {line}, column {column}: {what}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The parser's finding and its expectation.
        what: String,
    },
    /// An intact binary whose payload is no plan: written by a broken or a foreign program.
    #[error("the plan's payload cannot be decoded: {what}")]
    Payload {
        /// The decoder's message.
        what: String,
    },
    /// A value the form cannot hold.
    #[error("the plan cannot be written as {form}: {what}")]
    Encode {
        /// `RON` or `binary`.
        form: &'static str,
        /// The encoder's message.
        what: String,
    },
}

/// Reads a plan of either form.
///
/// # Errors
/// [`FormatError`]: every variant but `Encode`.
pub fn read(path: &Path) -> Result<Plan, FormatError> {
    let bytes = input::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => FormatError::NotAPlan { found: format!("a file {source}") },
        _ => FormatError::Io { path: path.to_owned(), source },
    })?;
    read_bytes(&bytes)
}

/// Reads a plan of either form.
///
/// ```
/// # let text = r#"
/// # (
/// #     format: FORMAT, release: "RELEASE",
/// #     model: (name: "m", digest: "DIGEST", function: "DIGEST", layers: 1, vocab: 32),
/// #     options: (
/// #         policy: "balanced", overrides: [], batch: 1, context: 64, block: 64, priced_at: 0, proofs: products, folding: true,
/// #     ),
/// #     card: (
/// #         name: "n150", arch: Wormhole, grid: (8, 8), l1: (base: 105824, end: 1499136, alignment: 16),
/// #         dram: (banks: 12, base: 1048640, bank_bytes: 1072693184, alignment: 32, readers_per_bank: 1),
/// #     ),
/// #     weights: [], buffers: [], phases: [],
/// # )
/// # "#.replace("FORMAT", &bitnetc_plan::FORMAT_VERSION.to_string()).replace("RELEASE", bitnetc_plan::TtnnRelease::latest().version).replace("DIGEST", &"0".repeat(64));
/// use bitnetc_plan::format::{read_bytes, to_binary, to_ron};
///
/// // `text` is what `bitnetc plan MODEL -o plan.ron` writes.
/// let plan = read_bytes(text.as_bytes())?;
/// assert_eq!(read_bytes(to_ron(&plan)?.as_bytes())?, plan);
/// assert_eq!(read_bytes(&to_binary(&plan)?)?, plan);
/// # Ok::<(), bitnetc_plan::format::FormatError>(())
/// ```
///
/// # Errors
/// [`FormatError`]: every variant but `Io` and `Encode`.
pub fn read_bytes(bytes: &[u8]) -> Result<Plan, FormatError> {
    let plan = match bytes.strip_prefix(&MAGIC) {
        Some(rest) => from_binary(rest)?,
        None => from_ron(bytes)?,
    };
    if plan.format == FORMAT_VERSION { Ok(plan) } else { Err(FormatError::Version { found: plan.format }) }
}

/// The bytes of a plan for a file at `path`: binary when its extension is `plan`, RON otherwise.
///
/// # Errors
/// [`FormatError::Encode`].
pub fn encode(path: &Path, plan: &Plan) -> Result<Vec<u8>, FormatError> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("plan")) {
        to_binary(plan)
    } else {
        Ok(to_ron(plan)?.into_bytes())
    }
}

/// The plan as RON. Equal plans give equal bytes.
///
/// # Errors
/// [`FormatError::Encode`].
pub fn to_ron(plan: &Plan) -> Result<String, FormatError> {
    // Three levels lead to the fields of a step, each of which is written as one line.
    let pretty = PrettyConfig::new()
        .depth_limit(3)
        .compact_arrays(true)
        .indentor("  ")
        .new_line("\n")
        .struct_names(false)
        .extensions(Extensions::IMPLICIT_SOME | Extensions::UNWRAP_NEWTYPES | Extensions::UNWRAP_VARIANT_NEWTYPES);
    let mut text = ron::ser::to_string_pretty(plan, pretty)
        .map_err(|e| FormatError::Encode { form: "RON", what: e.to_string() })?;
    text.push('\n');
    Ok(text)
}

/// The plan as binary. Equal plans give equal bytes.
///
/// # Errors
/// [`FormatError::Encode`].
pub fn to_binary(plan: &Plan) -> Result<Vec<u8>, FormatError> {
    let payload =
        rmp_serde::to_vec_named(plan).map_err(|e| FormatError::Encode { form: "binary", what: e.to_string() })?;
    let (version, length) = (plan.format.to_le_bytes(), (payload.len() as u64).to_le_bytes());
    let sum = checksum(&[&version, &length, &payload]);
    Ok([&MAGIC[..], &version, &length, &sum.to_le_bytes(), &payload].concat())
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// `rest` is what follows the magic.
fn from_binary(rest: &[u8]) -> Result<Plan, FormatError> {
    let damaged = |what: String| FormatError::Damaged { what };
    let Some((&[v0, v1, v2, v3, l0, l1, l2, l3, l4, l5, l6, l7, s0, s1, s2, s3], payload)) = rest.split_first_chunk()
    else {
        return Err(damaged(format!("it ends after {} bytes, inside its header", rest.len() + MAGIC.len())));
    };
    let (version, length) = ([v0, v1, v2, v3], [l0, l1, l2, l3, l4, l5, l6, l7]);
    let claimed = u64::from_le_bytes(length);
    if claimed != payload.len() as u64 {
        return Err(damaged(format!(
            "its header claims {} of payload, {} are there",
            exact_bytes(claimed),
            exact_bytes(payload.len() as u64)
        )));
    }
    let (stored, computed) = (u32::from_le_bytes([s0, s1, s2, s3]), checksum(&[&version, &length, payload]));
    if stored != computed {
        return Err(damaged(format!("its checksum is {computed:08x}, {stored:08x} was written")));
    }
    match u32::from_le_bytes(version) {
        FORMAT_VERSION => rmp_serde::from_slice(payload).map_err(|e| FormatError::Payload { what: e.to_string() }),
        found => Err(FormatError::Version { found }),
    }
}

fn from_ron(bytes: &[u8]) -> Result<Plan, FormatError> {
    if bytes.is_empty() {
        return Err(FormatError::NotAPlan { found: "an empty file".into() });
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(FormatError::NotAPlan { found: "neither a binary plan's first bytes nor text".into() });
    };
    let text = text.strip_prefix(input::MARK).unwrap_or(text);
    ron::from_str(text).map_err(|e| explain(text, &e))
}

/// The version alone, which can be read from a plan whose other fields are those of another version.
#[derive(Deserialize)]
#[serde(rename = "Plan")]
struct VersionOnly {
    format: u32,
}

fn explain(text: &str, error: &ron::error::SpannedError) -> FormatError {
    match ron::from_str::<VersionOnly>(text) {
        Ok(VersionOnly { format }) if format != FORMAT_VERSION => FormatError::Version { found: format },
        Err(ron::error::SpannedError { code: ron::Error::MissingStructField { .. }, .. }) => {
            FormatError::NotAPlan { found: "RON without a field `format`".into() }
        }
        Err(ron::error::SpannedError { code: ron::Error::ExpectedDifferentStructName { found, .. }, .. }) => {
            let found = if found == "Model" { "a model".into() } else { format!("RON of a `{found}`") };
            FormatError::NotAPlan { found }
        }
        _ => FormatError::Syntax {
            line: error.span.start.line,
            column: error.span.start.col,
            what: error.code.to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
