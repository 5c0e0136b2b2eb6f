//! The reference evaluator against Hugging Face: the trained model in graphs/tiny-shakespeare and the float32 logits transformers'
//! BitNetForCausalLM computes for it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bitnetc_compiler::graph::eval::{Evaluator, Row, State, Ternary, WeightError, WeightSource};
use bitnetc_compiler::graph::{Encoding, Graph, Phase};
use bitnetc_compiler::model;
use safetensors::SafeTensors;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../graphs/tiny-shakespeare/");

struct Checkpoint<'a>(SafeTensors<'a>);

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
}

impl WeightSource for Checkpoint<'_> {
    fn dense(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        self.0.tensor(name).map(|t| floats(t.data())).map_err(|_| WeightError::Missing(name.into()))
    }

    fn ternary(&self, name: &str, shape: [usize; 2], encoding: Encoding) -> Result<Ternary, WeightError> {
        let Encoding::Packed(convention) = encoding else { panic!("{name} is packed") };
        let scale = f64::from(self.dense(&format!("{name}_scale"))?[0]);
        let packed = self.0.tensor(name).map_err(|_| WeightError::Missing(name.into()))?;
        Ternary::unpack(name, packed.data(), shape, scale, convention)
    }
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(format!("{DIRECTORY}{file}")).unwrap()
}

fn rows(tokens: &[u32], from: usize) -> Vec<Row> {
    tokens.iter().enumerate().map(|(at, &token)| Row { token, user: 0, position: from + at }).collect()
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mean = |v: &[f32]| v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f64::from(x) - ma, f64::from(y) - mb);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    ab / (aa * bb).sqrt()
}

fn argmax(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (at, v)| if *v > row[best] { at } else { best })
}

fn graph(phase: Phase) -> Graph {
    model::find("tiny-shakespeare").unwrap().model().unwrap().to_graph(phase, 256).unwrap()
}

fn golden() -> Vec<(Vec<u32>, Vec<f32>)> {
    let tokens: serde_json::Value = serde_json::from_slice(&read("golden.json")).unwrap();
    let bytes = read("golden.safetensors");
    let logits = SafeTensors::deserialize(&bytes).unwrap();
    let prompts = tokens["tokens"].as_array().unwrap().iter().enumerate().map(|(at, list)| {
        let list = list.as_array().unwrap().iter().map(|t| u32::try_from(t.as_u64().unwrap()).unwrap()).collect();
        let data = logits.tensor(&format!("logits.{at}")).unwrap();
        (list, data.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
    });
    prompts.collect()
}

#[test]
fn prefill_computes_what_hugging_face_does() {
    let bytes = read("model.safetensors");
    let checkpoint = Checkpoint(SafeTensors::deserialize(&bytes).unwrap());
    let evaluator = Evaluator::new(&checkpoint);
    let graph = graph(Phase::Prefill { seq: 64 });
    for (tokens, expected) in golden() {
        let output = evaluator.run(&graph, &mut State::new(), &rows(&tokens, 0), true).unwrap();
        assert_eq!(output.logits.len(), expected.len());
        let pcc = correlation(&output.logits, &expected);
        let worst = output.logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("pcc {pcc:.9}, largest difference {worst}");
        assert!(pcc > 0.99999, "correlation {pcc}");
        for (row, logits) in expected.chunks_exact(output.vocab).enumerate() {
            assert_eq!(output.ids[row] as usize, argmax(logits), "row {row}");
        }
    }
}

#[test]
fn decoding_token_by_token_equals_prefill() {
    let bytes = read("model.safetensors");
    let checkpoint = Checkpoint(SafeTensors::deserialize(&bytes).unwrap());
    let evaluator = Evaluator::new(&checkpoint);
    let (prefill, decode) = (graph(Phase::Prefill { seq: 64 }), graph(Phase::Decode { batch: 1 }));
    let (tokens, expected) = golden().swap_remove(3);
    let mut state = State::new();
    evaluator.run(&prefill, &mut state, &rows(&tokens[..10], 0), false).unwrap();
    for (position, &token) in tokens.iter().enumerate().skip(10) {
        let output = evaluator.run(&decode, &mut state, &rows(&[token], position), false).unwrap();
        let golden = &expected[position * output.vocab..(position + 1) * output.vocab];
        assert!(correlation(&output.logits, golden) > 0.99999, "position {position}");
        assert_eq!(output.ids, [argmax(golden) as u32]);
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    let bytes = read("model.safetensors");
    let checkpoint = Checkpoint(SafeTensors::deserialize(&bytes).unwrap());
    let evaluator = Evaluator::new(&checkpoint);
    let graph = graph(Phase::Decode { batch: 1 });
    let error = evaluator.run(&graph, &mut State::new(), &rows(&[1024], 0), false).unwrap_err();
    assert_eq!(error.to_string(), "token 1024: the vocabulary has 1024");
    let error = evaluator.run(&graph, &mut State::new(), &rows(&[1], 256), false).unwrap_err();
    assert_eq!(error.to_string(), "position 256: the cache holds 256");
}
