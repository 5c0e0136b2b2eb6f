//! The kernels against what TT-NN's own computed: recorded operands and results, one file an op, each case equal in every bit.
//!
//! `tests/vectors` holds a selection; `bitnetc check --numerics` compares every step of a plan with the kernels themselves.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use bitnetc_numerics::kernels::{self, Compute, DecodeSoftmax, NormProgram, PrefillSoftmax};
use bitnetc_numerics::{Arch, Binary, Broadcast, Cache, Chains, Chunk, Fidelity, Format, Function, Pages};
use half::bf16;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::Value;

/// A case: its name, which begins its tensors' names, and the arguments of its op.
#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(flatten)]
    arguments: serde_json::Map<String, Value>,
}

impl Case {
    fn number(&self, name: &str) -> f64 {
        self.arguments[name].as_f64().unwrap()
    }

    fn count(&self, name: &str) -> usize {
        self.number(name) as usize
    }

    fn compute(&self) -> Compute {
        let fidelity = match self.arguments.get("fidelity").and_then(Value::as_u64) {
            Some(2) => Fidelity::HiFi2,
            _ => Fidelity::HiFi4,
        };
        let arch = if self.arguments["arch"] == "blackhole" { Arch::Blackhole } else { Arch::Wormhole };
        let fp32_dest = self.arguments.get("fp32").and_then(Value::as_bool).unwrap_or(true);
        Compute { arch, fidelity, fp32_dest }
    }

    fn chain(&self, name: &str) -> Vec<Function> {
        let functions = self.arguments.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let parse = |function: &Value| {
            let scalar = |i: usize| function[i].as_f64().unwrap() as f32;
            match function.as_str().or(function[0].as_str()).unwrap() {
                "square" => Function::Square,
                "recip" => Function::Recip,
                "round" => Function::Round,
                "mul" => Function::Mul(scalar(1)),
                "max" => Function::Maximum(scalar(1)),
                "clamp" => Function::Clamp(scalar(1), scalar(2)),
                other => panic!("no function {other}"),
            }
        };
        functions.iter().map(parse).collect()
    }
}

/// The tensors of one case.
struct Tensors<'a>(&'a SafeTensors<'a>, &'a str);

impl Tensors<'_> {
    fn bytes(&self, name: &str) -> (&[u8], Vec<usize>, Dtype) {
        let tensor = self.0.tensor(&format!("{}/{name}", self.1)).unwrap();
        let (shape, dtype) = (tensor.shape().to_vec(), tensor.dtype());
        (tensor.data(), shape, dtype)
    }

    fn bf16(&self, name: &str) -> Vec<bf16> {
        self.bytes(name).0.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b)).collect()
    }

    fn f32(&self, name: &str) -> Option<Vec<f32>> {
        let (bytes, _, dtype) = self.bytes(name);
        (dtype == Dtype::F32).then(|| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.bytes(name).1
    }
}

/// Elements and how many of them are equal, over all cases of the op; zeros of either sign are the same.
fn compare(op: &str, run: impl Fn(&Case, &Tensors<'_>) -> Vec<bf16>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(op).with_extension("safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let (mut wrong, mut elements) = (Vec::new(), 0);
    for case in &cases {
        let tensors = Tensors(&all, &case.name);
        let (want, got) = (tensors.bf16("want"), run(case, &tensors));
        assert_eq!(want.len(), got.len(), "{}", case.name);
        let equal = want.iter().zip(&got).filter(|(w, g)| w.to_bits() == g.to_bits() || **w == **g).count();
        elements += want.len();
        if equal < want.len() {
            let at = want.iter().zip(&got).position(|(w, g)| w.to_bits() != g.to_bits()).unwrap();
            let first = format!("first [{at}]: {} for {}", got[at], want[at]);
            wrong.push(format!("{}: {equal} of {} equal; {first}", case.name, want.len()));
        }
    }
    println!("{}: {elements} elements of {} cases", file.display(), cases.len());
    assert!(elements > 0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rms_norm() {
    compare("rms_norm", |case, t| {
        let program = match case.arguments.contains_key("cores") {
            false => NormProgram::Interleaved,
            true => NormProgram::Sharded {
                block_w: case.count("block_w"),
                cores: case.count("cores"),
                row: Some(case.count("row")).filter(|row| *row > 0),
            },
        };
        let x = t.bf16("x");
        let mut out = vec![bf16::ZERO; x.len()];
        let epsilon = case.number("epsilon") as f32;
        kernels::rms_norm(&x, &t.bf16("gamma"), epsilon, program, case.compute(), &mut out).unwrap();
        out
    });
}

#[test]
fn rotary() {
    compare("rotary", |case, t| {
        let (x, cos, sin) = (t.bf16("x"), t.bf16("cos"), t.bf16("sin"));
        let mut out = vec![bf16::ZERO; x.len()];
        let positions = cos.len() / 32;
        for (row, (out, x)) in out.chunks_mut(32).zip(x.chunks(32)).enumerate() {
            let at = row % positions * 32..(row % positions + 1) * 32;
            kernels::rotary(x, &cos[at.clone()], &sin[at], case.compute(), out).unwrap();
        }
        out
    });
}

#[test]
fn typecast() {
    compare("typecast", |_, t| {
        let mut x = t.bf16("x");
        kernels::typecast(Format::Bfp8, 32, &mut x).unwrap();
        x
    });
}

#[test]
fn binary() {
    compare("binary", |case, t| {
        let (a_chain, b_chain, out_chain) = (case.chain("a"), case.chain("b"), case.chain("out"));
        let op = if case.arguments["op"] == "add" { Binary::Add } else { Binary::Mul };
        let chains = Chains { a: &a_chain, b: &b_chain, out: &out_chain };
        let (shape, b_shape, b) = (t.shape("a"), t.shape("b"), t.bf16("b"));
        let broadcast = if b_shape[1] == 1 { Broadcast::Column } else { Broadcast::None };
        let how = (broadcast, shape[1]);
        let mut out = vec![bf16::ZERO; shape[0] * shape[1]];
        match t.f32("a") {
            Some(a) => {
                let mut scaled = vec![bf16::ZERO; b.len()];
                bitnetc_numerics::unary(&b_chain, &b, &mut scaled).unwrap();
                bitnetc_numerics::binary(op, &a, &scaled, how, Chains::default(), &mut out).unwrap();
            }
            None => kernels::binary(op, &t.bf16("a"), &b, how, chains, Arch::Wormhole, &mut out).unwrap(),
        }
        out
    });
}

#[test]
fn sdpa_prefill() {
    compare("sdpa_prefill", |case, t| {
        let (q, k, v) = (t.bf16("q"), t.bf16("k"), t.bf16("v"));
        // The last of all positions are the chunk's; all are one block.
        let (rows, positions) = (t.shape("q")[1], t.shape("k")[1]);
        let shape = (1, case.count("kv_heads"), positions, 32);
        let caches = (Cache::new(shape, &k).unwrap(), Cache::new(shape, &v).unwrap());
        let softmax = PrefillSoftmax { scale: case.number("scale") as f32, k_chunk: case.count("k_chunk") };
        let mut out = vec![bf16::ZERO; q.len()];
        let chunk = Chunk { start: positions - rows, rows };
        kernels::sdpa_prefill(&q, caches, Pages::Contiguous, chunk, softmax, case.compute(), &mut out).unwrap();
        out
    });
}

#[test]
fn sdpa_decode() {
    compare("sdpa_decode", |case, t| {
        let (q, k, v, shape) = (t.bf16("q"), t.bf16("k"), t.bf16("v"), t.shape("k"));
        let shape = (shape[0], shape[1], shape[2], shape[3]);
        let caches = (Cache::new(shape, &k).unwrap(), Cache::new(shape, &v).unwrap());
        // The recorded calls had as many cores as chunks, or more.
        let softmax = DecodeSoftmax { scale: case.number("scale") as f32, k_chunk: case.count("k_chunk"), cores: 64 };
        let mut out = vec![bf16::ZERO; q.len()];
        let positions = [case.count("position") as u32];
        let pages = Pages::Table(&[0, 1, 2, 3]);
        kernels::sdpa_decode(&q, caches, pages, &positions, softmax, case.compute(), &mut out).unwrap();
        out
    });
}
