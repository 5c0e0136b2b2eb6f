//! Random checkpoints: every tensor a plan asks for, in the packed layout of microsoft/bitnet-b1.58-2B-4T, at its real shape.
//!
//! They serve to measure speed, memory and the accuracy of kernels; their text means nothing: ternary values are uniform over -1, 0 and 1, norms are ones, embeddings are
//! normal-like with variance 1. The same seed writes the same bytes. The file is written as a stream, and is there whole or not at all.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use crate::file::Output;
use bitnetc_plan::Plan;
use bitnetc_plan::weight::{Content, Source};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::store::{each, matrices, vectors};
use super::{WeightError, in_layer};

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// Ternary codes, four to a byte; the fan-in decides the scale beside it.
    Packed,
    /// A bf16 matrix of this standard deviation.
    Matrix(f32),
    /// A bf16 tensor of one number.
    Fill(f32),
}

/// Name, kind, shape of every tensor, in the order they are stored.
type Tensors = BTreeMap<String, (Kind, Vec<u64>)>;

/// Writes a checkpoint for `plan` into `dir`, which is made if need be; `progress` is told bytes done and to do every few of them,
/// and says whether to go on. Returns the file's length.
///
/// # Errors
/// A file system that refuses, or has no room: [`WeightError::NoRoom`] tells how much is needed. Then nothing is left, and a directory that
/// was made is removed again.
pub fn write(
    plan: &Plan,
    dir: &Path,
    seed: u64,
    progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<u64, WeightError> {
    let made: Vec<&Path> = dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
    std::fs::create_dir_all(dir).map_err(WeightError::io(dir))?;
    let written = write_file(&tensors(plan), &dir.join("model.safetensors"), seed, progress);
    if written.is_err() {
        // The deepest first; one that somebody has put a file into meanwhile stays, as do those above it.
        let _ = made.iter().try_for_each(std::fs::remove_dir);
    }
    written
}

fn write_file(
    tensors: &Tensors,
    path: &Path,
    seed: u64,
    mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<u64, WeightError> {
    let (header, total) = header(tensors);
    let bytes = 8 + header.len() as u64 + total;
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            WeightError::NoRoom { path: path.into(), bytes, error }
        }
        _ => WeightError::io(path)(error),
    };
    let mut file = Output::create(path).map_err(io)?;
    {
        let mut out = BufWriter::with_capacity(1 << 20, &mut file);
        out.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
        out.write_all(header.as_bytes()).map_err(io)?;
        let mut done = 0;
        let mut buffer = Vec::with_capacity(1 << 16);
        for (index, (kind, shape)) in tensors.values().enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(index as u64);
            let mut left = bytes_of(kind, shape);
            while left > 0 {
                buffer.resize(left.min(1 << 16) as usize, 0);
                fill(kind, &mut rng, &mut buffer);
                out.write_all(&buffer).map_err(io)?;
                left -= buffer.len() as u64;
                done += buffer.len() as u64;
                if progress(done, total).is_break() {
                    return Err(WeightError::Interrupted { path: path.into() });
                }
            }
        }
        out.flush().map_err(io)?;
    }
    file.finish().map_err(io)?;
    Ok(bytes)
}

fn tensors(plan: &Plan) -> Tensors {
    let mut tensors = Tensors::new();
    for (weight, layer) in each(plan) {
        for part in vectors(weight) {
            tensors.insert(in_layer(&part.tensor, layer), (Kind::Fill(1.0), vec![u64::from(part.len)]));
        }
        for matrix in matrices(weight) {
            // A part of a tensor tells how many rows it has at least; together the parts of a plan are the whole.
            let rows = u64::from(matrix.rows.map_or(matrix.shape[0], |(_, end)| end));
            let columns = u64::from(matrix.shape[1]);
            let name = in_layer(&matrix.tensor, layer);
            let unit = (1.5 / columns as f32).sqrt();
            let (kind, stored) = match matrix.content {
                Content::Packed { divides } => {
                    let scale = if divides { 1.0 / unit } else { unit };
                    tensors.insert(format!("{name}_scale"), (Kind::Fill(scale), vec![1]));
                    (Kind::Packed, rows.div_ceil(4))
                }
                Content::Absmean => (Kind::Matrix(unit), rows),
                Content::Dense if matches!(weight.source, Source::Rows(_)) => (Kind::Matrix(1.0), rows),
                Content::Dense => (Kind::Matrix(unit), rows),
            };
            let (known, shape) = tensors.entry(name).or_insert_with(|| (kind.clone(), vec![stored, columns]));
            shape[0] = shape[0].max(stored);
            // A tied matrix is both table and head: the table's spread is the one that counts.
            if kind == Kind::Matrix(1.0) {
                *known = kind;
            }
        }
    }
    tensors
}

fn bytes_of(kind: &Kind, shape: &[u64]) -> u64 {
    shape.iter().product::<u64>() * if *kind == Kind::Packed { 1 } else { 2 }
}

/// The safetensors header, padded so that tensors start at a multiple of 8, and the bytes of all tensors.
fn header(tensors: &Tensors) -> (String, u64) {
    let mut at = 0;
    let mut entries = vec![r#""__metadata__":{"format":"pt"}"#.to_string()];
    for (name, (kind, shape)) in tensors {
        let dtype = if *kind == Kind::Packed { "U8" } else { "BF16" };
        let end = at + bytes_of(kind, shape);
        entries.push(
            serde_json::json!(name).to_string()
                + ":"
                + &serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]}).to_string(),
        );
        at = end;
    }
    let mut text = format!("{{{}}}", entries.join(","));
    while text.len() % 8 != 0 {
        text.push(' ');
    }
    (text, at)
}

fn fill(kind: &Kind, rng: &mut ChaCha8Rng, out: &mut [u8]) {
    match kind {
        Kind::Packed => {
            // 81 = 3^4 bytes are four codes; 243 = 3 * 81 wastes 5 % of the draws.
            rng.fill_bytes(out);
            for byte in out.iter_mut() {
                while *byte >= 243 {
                    *byte = rng.next_u32() as u8;
                }
                let v = *byte % 81;
                *byte = (v % 3) | ((v / 3 % 3) << 2) | ((v / 9 % 3) << 4) | ((v / 27) << 6);
            }
        }
        Kind::Matrix(spread) => {
            for pair in out.as_chunks_mut::<2>().0 {
                // The sum of four uniform bytes: mean 510, variance 4 * (256^2 - 1) / 12.
                let sum: i32 = rng.next_u32().to_le_bytes().iter().map(|&b| i32::from(b)).sum();
                *pair = half::bf16::from_f32((sum - 510) as f32 / 147.8 * spread).to_le_bytes();
            }
        }
        Kind::Fill(value) => {
            let bytes = half::bf16::from_f32(*value).to_le_bytes();
            out.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| *pair = bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;
    use crate::weights::testing::{matrix, plan_of, vector, weight};

    fn plan() -> Plan {
        let packed = matrix("l.{layer}.w.weight", [70, 320], Content::Packed { divides: false });
        let mut w = weight(&[1, 1, 320, 96], Source::Columns(vec![packed]));
        w.per_layer = true;
        let mut e =
            weight(&[1, 1, 64, 320], Source::Rows(matrix("model.embed_tokens.weight", [64, 320], Content::Dense)));
        e.name = "e".into();
        let part = |first: u32| {
            let mut part = matrix("model.embed_tokens.weight", [32, 320], Content::Dense);
            part.rows = Some((first, first + 32));
            let mut head = weight(&[1, 1, 320, 32], Source::Columns(vec![part]));
            head.name = format!("head.{first}");
            head
        };
        let mut n = weight(&[1, 1, 1, 320], Source::Vectors(vec![vector("n", 320)]));
        n.name = "n".into();
        plan_of(vec![w, part(0), e, part(32), n], 2)
    }

    #[test]
    fn a_random_checkpoint_fits_its_plan_and_its_seed() {
        let (plan, dir, again) = (plan(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bytes = write(&plan, dir.path(), 7, |_, _| ControlFlow::Continue(())).unwrap();
        write(&plan, again.path(), 7, |_, _| ControlFlow::Continue(())).unwrap();
        let read = |d: &tempfile::TempDir| std::fs::read(d.path().join("model.safetensors")).unwrap();
        assert_eq!(read(&dir).len() as u64, bytes);
        assert_eq!(read(&dir), read(&again));
        let weights = Weights::open(dir.path()).unwrap();
        weights.check(&plan).unwrap();
        let values = weights.tensor(&plan.weights[0], 1).unwrap().values();
        let (drawn, padding) = (70. * 320., values.len() as f64 - 70. * 320.);
        for v in [-1.0, 0.0, 1.0] {
            let share = values.iter().filter(|&&x| x == v).count() as f64 / drawn;
            // 22,400 draws of probability a third, and the zeros of the padding: 4 standard deviations are 0.0126.
            let share = share - if v == 0.0 { padding / drawn } else { 0.0 };
            assert!((share - 1.0 / 3.0).abs() < 0.0126, "{v}: {share}");
        }
        let e = weights.tensor(&plan.weights[2], 0).unwrap().values();
        let variance = e.iter().map(|v| v * v).sum::<f32>() / e.len() as f32;
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }
}
