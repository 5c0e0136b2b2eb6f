//! Checkpoints as people have them: read rightly, or refused by name. The inputs are described in `tests/checkpoints/README.md`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::path::{Path, PathBuf};

use bitnetc_compiler::graph::eval::{Evaluator, Row, State, Ternary, WeightError, WeightSource};
use bitnetc_compiler::graph::{Encoding, Phase, ScaleConvention};
use bitnetc_compiler::model::import;
use bitnetc_plan::weight::{Content, Matrix};
use bitnetc_runtime::weights::Checkpoint;
use bitnetc_runtime::weights::matrix::{StoredMatrix, scale};
use common::golden::{argmax, correlation};
use common::{refused, stdout};
use safetensors::SafeTensors;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The tensors `logits.N` of a file.
fn logits(file: &Path) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |n: usize| {
        let tensor = tensors.tensor(&format!("logits.{n}")).ok()?;
        Some(tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
    };
    (0..).map_while(values).collect()
}

/// The checkpoint as the runtime reads it.
struct Stored(Checkpoint);

impl WeightSource for Stored {
    fn dense(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        let stored = self.0.find(name).ok_or_else(|| WeightError::Missing(name.into()))?;
        let mut values = Vec::new();
        stored.floats(0..stored.len(), |v| values.push(v)).unwrap();
        Ok(values)
    }

    fn ternary(&self, name: &str, shape: [usize; 2], encoding: Encoding) -> Result<Ternary, WeightError> {
        let content = match encoding {
            Encoding::Dense => Content::Dense,
            Encoding::Absmean => Content::Absmean,
            Encoding::Packed(convention) => Content::Packed { divides: convention == ScaleConvention::Divides },
        };
        let shape_ = shape.map(|d| d as u32);
        let (rows, heads) = (None, None);
        let matrix =
            Matrix { tensor: name.into(), shape: shape_, rows, content, rotate_pairs: false, heads, input_heads: None };
        let stored = StoredMatrix::open(&self.0, &matrix, 0).unwrap();
        let mut values = vec![0; shape[0] * shape[1]];
        values.chunks_mut(shape[1]).enumerate().for_each(|(row, out)| stored.ternary_row(row, out));
        Ok(Ternary { values, scale: scale(&self.0, &matrix, 0).unwrap() })
    }
}

/// Imports a folder and compares the f32 reference and the host device with transformers' logits.
fn agrees(folder: &Path) {
    let golden = logits(&folder.join("golden.safetensors"));
    let lists: Vec<Vec<u32>> = serde_json::from_slice(&std::fs::read(folder.join("tokens.json")).unwrap()).unwrap();
    assert!(!golden.is_empty() && golden.len() == lists.len());

    let model = import::directory(folder).unwrap().model;
    let graph = model.to_graph(Phase::Prefill { seq: model.context }, model.context).unwrap();
    let stored = Stored(Checkpoint::open(folder).unwrap());
    let evaluator = Evaluator::new(&stored);
    for (tokens, golden) in lists.iter().zip(&golden) {
        let row = |(position, &token): (usize, &u32)| Row { token, user: 0, position };
        let rows: Vec<Row> = tokens.iter().enumerate().map(row).collect();
        let output = evaluator.run(&graph, &mut State::new(), &rows, true).unwrap();
        let pcc = correlation(&output.logits, golden);
        assert!(pcc > 0.99999, "{}: the reference's correlation is {pcc}", folder.display());
    }

    let out = tempfile::tempdir().unwrap();
    let [ron, tensors] = ["model.ron", "logits.safetensors"].map(|name| out.path().join(name));
    stdout(&["import", text(folder), "-o", text(&ron)]);
    let (tokens, exact) = (folder.join("tokens.json"), ["--policy", "exact", "--logits", text(&tensors)]);
    let eval = ["eval", text(&ron), "--weights", text(folder), "--tokens", text(&tokens)];
    stdout(&[&eval[..], &exact].concat());
    let host = logits(&tensors);
    assert_eq!(host.len(), golden.len());
    let (mut same, mut all) = (0, 0);
    for (host, golden) in host.iter().zip(&golden) {
        let pcc = correlation(host, golden);
        assert!(pcc > 0.999, "{}: the host device's correlation is {pcc}", folder.display());
        let rows = host.chunks_exact(64).zip(golden.chunks_exact(64));
        same += rows.clone().filter(|(a, b)| argmax(a) == argmax(b)).count();
        all += rows.count();
    }
    assert!(same * 20 >= all * 19, "{}: {same} of {all} tokens", folder.display());
}

#[test]
fn what_transformers_reads_is_read_alike() {
    for name in [
        "offline-unpacked-weights",
        "rope-type-and-type",
        "rope-parameters-type-and-type",
        "bitnet-default-theta",
        "bitnet-no-quantization-config",
        "no-architectures",
    ] {
        agrees(&case(name));
    }
}
