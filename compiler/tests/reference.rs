//! The reference evaluator against Hugging Face: the trained model in graphs/tiny-shakespeare and the float32 logits transformers'
//! BitNetForCausalLM computes for it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/common/golden.rs"]
mod golden;

use bitnetc_compiler::graph::eval::{Evaluator, Row, State, Ternary, WeightError, WeightSource};
use bitnetc_compiler::graph::{Encoding, Graph, PhaseKind};
use bitnetc_compiler::model;
use golden::{argmax, correlation, golden, read};
use safetensors::SafeTensors;

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

fn rows(tokens: &[u32], from: usize) -> Vec<Row> {
    tokens.iter().enumerate().map(|(at, &token)| Row { token, user: 0, position: from + at }).collect()
}

fn graph(phase: PhaseKind) -> Graph {
    model::find("tiny-shakespeare").unwrap().model().unwrap().to_graph(phase, 256).unwrap()
}

#[test]
fn prefill_computes_what_hugging_face_does() {
    let bytes = read("model.safetensors");
    let checkpoint = Checkpoint(SafeTensors::deserialize(&bytes).unwrap());
    let evaluator = Evaluator::new(&checkpoint);
    let graph = graph(PhaseKind::Prefill { tokens: 64 });
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
    let (prefill, decode) = (graph(PhaseKind::Prefill { tokens: 64 }), graph(PhaseKind::Decode { batch: 1 }));
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
    let graph = graph(PhaseKind::Decode { batch: 1 });
    let error = evaluator.run(&graph, &mut State::new(), &rows(&[1024], 0), false).unwrap_err();
    assert_eq!(error.to_string(), "token 1024: the vocabulary has 1024");
    let error = evaluator.run(&graph, &mut State::new(), &rows(&[1], 256), false).unwrap_err();
    assert_eq!(error.to_string(), "position 256: the cache holds 256");
}
