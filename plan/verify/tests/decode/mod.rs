//! The decode plan of BitNet b1.58 2B-4T for 32 users on an n150, written down from the calls TT-NN was seen to accept.

mod tensors;

use std::collections::HashMap;

use crate::function::of_phase;
use crate::op::*;
use crate::program::{FusedActivation, NormProgram, SdpaProgram};
use crate::ttnn;
use crate::walk::settle;
use crate::*;
use tensors::{buffers, weights};

pub const USERS: u32 = 32;
const CONTEXT: u32 = 2048;
const BLOCK: u32 = 64;
const CHUNKS: u32 = 8;

const QUICK: ComputeKernel = ComputeKernel { fidelity: Fidelity::HiFi2, fp32_dest_acc: false, packer_l1_acc: true };
const EXACT: ComputeKernel = ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc: true, packer_l1_acc: true };
const ATTENTION: ComputeKernel =
    ComputeKernel { fidelity: Fidelity::HiFi2, fp32_dest_acc: false, packer_l1_acc: false };

fn stream() -> MemoryConfig {
    MemoryConfig::width(Cores::rectangle(0, 0, 8, 1), [32, 320])
}

fn heads() -> MemoryConfig {
    MemoryConfig::height(Cores::row_major(USERS, (8, 8)), [32, 128])
}

fn value(name: &str) -> Ref {
    Ref::Value(name.into())
}

fn weight(name: &str) -> Ref {
    Ref::Weight(name.into())
}

fn buffer(name: &str) -> Ref {
    Ref::Buffer(name.into())
}

fn card() -> Card {
    Card {
        name: "n150".into(),
        arch: Arch::Wormhole,
        grid: (8, 8),
        l1: card::L1 { base: 105_824, end: 1_499_136, alignment: 16 },
        dram: card::Dram { banks: 12, base: 1_048_640, bank_bytes: 1_072_693_184, alignment: 32, readers_per_bank: 1 },
    }
}

/// Adds calls whose outputs are what the rules say.
struct Maker {
    plan: Plan,
    specs: HashMap<Ref, TensorSpec>,
}

impl Maker {
    fn call(&mut self, name: &str, op: impl Into<Op>, outputs: &[&str]) -> Step {
        let op = op.into();
        let specs: Vec<_> = op.operands().into_iter().map(|r| &self.specs[r]).collect();
        let outcome = ttnn::check(&op, &specs, &self.plan.card).unwrap_or_else(|v| panic!("{name}: {v:#?}"));
        assert_eq!(outcome.outputs.len(), outputs.len(), "{name}");
        let value =
            |(name, spec): (&&str, TensorSpec)| Value { name: (*name).to_owned(), spec, padding: None, address: None };
        let outputs: Vec<Value> = outputs.iter().zip(outcome.outputs).map(value).collect();
        self.specs.extend(outputs.iter().map(|v| (Ref::Value(v.name.clone()), v.spec.clone())));
        let (l1, cost) = (Footprint::default(), Cost::default());
        Step { name: name.to_owned(), op, outputs, l1, cost, note: String::new() }
    }

    fn free(&mut self, name: &str) -> Step {
        self.call(&format!("free.{name}"), Deallocate { input: value(name) }, &[])
    }

    fn moved(&mut self, name: &str, input: &str, memory: MemoryConfig) -> Step {
        self.call(name, ToMemoryConfig { input: value(input), memory }, &[name])
    }

    fn norm(&mut self, name: &str, gamma: &str, input: &str, grid: (u32, u32), width: (u32, u32)) -> Step {
        let program = NormProgram { grid, subblock_w: width.1, block_h: 1, block_w: width.0 };
        let memory = self.specs[&value(input)].memory.clone();
        let args = RmsNorm {
            input: value(input),
            gamma: weight(gamma),
            epsilon: 1e-5.into(),
            program: Some(program),
            compute: EXACT,
            memory,
        };
        self.call(name, args, &[name])
    }

    fn linear(&mut self, name: &str, input: &str, block: u32, (per_core_n, cores): (u32, u32)) -> Step {
        let activation = (name == "gate").then_some(FusedActivation::Relu);
        let program =
            MatmulProgram::DramSharded { in0_block_w: block, per_core_m: 1, per_core_n, activation, readers: 1 };
        let memory = MemoryConfig::width(Cores::row_major(cores, (8, 8)), [32, 32 * per_core_n]);
        let args = Matmul { a: value(input), b: weight(name), program, compute: QUICK, dtype: DType::Bf16, memory };
        self.call(name, args, &[&format!("{name}.out")])
    }

    fn add(&mut self, name: &str, b: &str) -> Step {
        let none = Vec::new;
        let args = Binary {
            kind: BinaryKind::Add,
            a: value("x"),
            b: value(b),
            a_activations: none(),
            b_activations: none(),
            activations: none(),
            dtype: DType::Bf16,
            into: Destination::InPlace,
        };
        self.call(name, args, &[])
    }

    /// Rows of a rotary table for every user, for q and again for k, each user's on its core.
    fn rotary_rows(&mut self, name: &str) -> Vec<Step> {
        let [rows, view, turned] = ["rows", "view", "turned"].map(|part| format!("{name}.{part}"));
        let embed = Embedding {
            indices: buffer("rotary_positions"),
            table: weight(name),
            layout: Layout::Tile,
            memory: MemoryConfig::L1,
        };
        let transpose = Transpose { input: value(&view), dims: (1, 2), memory: MemoryConfig::L1 };
        let placed = MemoryConfig::height(Cores::row_major(2 * USERS, (8, 8)), [32, 128]);
        vec![
            self.call(&rows, embed, &[&rows]),
            self.call(&view, View { input: value(&rows), shape: vec![1, 1, 2 * USERS, 128] }, &[&view]),
            self.call(&turned, transpose, &[&turned]),
            self.free(&view),
            self.moved(name, &turned, placed),
            self.free(&turned),
        ]
    }

    fn prologue(&mut self) -> Vec<Step> {
        let embed =
            Embedding { indices: buffer("tokens"), table: weight("embedding"), layout: Layout::Tile, memory: stream() };
        let mut steps = vec![
            self.call("embed", embed, &["rows"]),
            self.call("x", View { input: value("rows"), shape: vec![1, 1, USERS, 2560] }, &["x"]),
        ];
        steps.extend(self.rotary_rows("cos"));
        steps.extend(self.rotary_rows("sin"));
        steps
    }

    fn attention(&mut self) -> Vec<Step> {
        let grid = MemoryConfig::height(Cores::rectangle(0, 0, 8, 8), [32, 128]);
        let split = CreateHeadsDecode { input: value("qkv.out"), heads: 20, kv_heads: 5, overlap: false, memory: grid };
        let rotary = RotaryFused {
            q: value("q"),
            k: value("k"),
            cos: value("cos"),
            sin: value("sin"),
            trans: weight("trans"),
            compute: EXACT,
        };
        let update = CacheUpdate {
            k_cache: buffer("k_cache"),
            k: value("k.turned"),
            v_cache: buffer("v_cache"),
            v: value("v"),
            positions: buffer("positions"),
            page_table: buffer("page_table"),
        };
        let attend = SdpaDecode {
            q: value("q.turned"),
            k_cache: buffer("k_cache"),
            v_cache: buffer("v_cache"),
            positions: buffer("positions"),
            page_table: buffer("page_table"),
            scale: Scalar { value: 128f64.powf(-0.5), scales: vec![("model.layers.{layer}.q.weight".into(), 1)] },
            program: SdpaProgram { grid: (8, 4), q_chunk: 0, k_chunk: 128 },
            compute: ATTENTION,
            memory: MemoryConfig::L1,
        };
        let concat = ConcatHeadsDecode { input: value("heads"), heads: 20, cores: Cores::rectangle(0, 0, 5, 4) };
        vec![
            self.norm("input_norm.out", "input_norm", "x", (8, 1), (10, 2)),
            self.linear("qkv", "input_norm.out", 10, (4, 30)),
            self.free("input_norm.out"),
            self.call("split", split, &["q", "k", "v"]),
            self.free("qkv.out"),
            self.call("rotate", rotary, &["q.turned", "k.turned"]),
            self.free("q"),
            self.free("k"),
            self.call("update", update, &[]),
            self.free("k.turned"),
            self.free("v"),
            self.call("attend", attend, &["attended"]),
            self.free("q.turned"),
            self.moved("heads", "attended", heads()),
            self.free("attended"),
            self.call("concat", concat, &["merged"]),
            self.free("heads"),
            self.norm("attn_sub_norm.out", "attn_sub_norm", "merged", (5, 4), (4, 4)),
            self.free("merged"),
            self.linear("o", "attn_sub_norm.out", 4, (10, 8)),
            self.free("attn_sub_norm.out"),
            self.add("attn.add", "o.out"),
            self.free("o.out"),
        ]
    }

    fn mlp(&mut self) -> Vec<Step> {
        let mut steps = vec![
            self.norm("post_norm.out", "post_norm", "x", (8, 1), (10, 2)),
            self.linear("gate", "post_norm.out", 10, (9, 24)),
            self.linear("up", "post_norm.out", 10, (9, 24)),
        ];
        let gated = Binary {
            kind: BinaryKind::Mul,
            a: value("gate.out"),
            b: value("up.out"),
            a_activations: vec![Unary::Square],
            b_activations: vec![],
            activations: vec![],
            dtype: DType::Bf16,
            into: Destination::New(self.specs[&value("gate.out")].memory.clone()),
        };
        steps.extend([
            self.free("post_norm.out"),
            self.call("mul", gated, &["gated"]),
            self.free("gate.out"),
            self.free("up.out"),
            self.norm("ffn_sub_norm.out", "ffn_sub_norm", "gated", (8, 3), (9, 3)),
            self.free("gated"),
            self.linear("down", "ffn_sub_norm.out", 9, (10, 8)),
            self.free("ffn_sub_norm.out"),
            self.add("mlp.add", "down.out"),
            self.free("down.out"),
        ]);
        steps
    }

    fn epilogue(&mut self) -> Vec<Step> {
        let mut steps = vec![
            self.free("cos"),
            self.free("sin"),
            self.norm("norm.out", "norm", "x", (8, 1), (10, 2)),
            self.free("x"),
        ];
        let rows = |i| format!("rows.{i}");
        for i in 0..CHUNKS {
            let (name, out) = (format!("lm_head.{i}"), format!("lm_head.{i}.out"));
            steps.push(self.linear(&name, "norm.out", 5, (8, 63)));
            let untilize = ToLayout { input: value(&out), layout: Layout::RowMajor, memory: MemoryConfig::DRAM };
            steps.push(self.call(&rows(i), untilize, &[&rows(i)]));
            steps.push(self.free(&out));
        }
        steps.push(self.free("norm.out"));
        let inputs = (0..CHUNKS).map(|i| value(&rows(i))).collect();
        steps.push(self.call("logits", Concat { inputs, memory: MemoryConfig::DRAM }, &["logits"]));
        steps.extend((0..CHUNKS).map(|i| self.free(&rows(i))).collect::<Vec<_>>());
        steps.push(self.call("argmax", ArgMax { input: value("logits"), output: buffer("tokens") }, &[]));
        for name in ["positions", "rotary_positions"] {
            steps.push(self.call(&format!("{name}.next"), PlusOne { buffer: buffer(name), skip_negative: true }, &[]));
        }
        steps
    }
}

/// The plan, settled.
pub fn plan() -> Plan {
    let plan = Plan {
        format: FORMAT_VERSION,
        release: TtnnRelease::latest().to_string(),
        model: ModelInfo {
            name: "bitnet-2b-4t".into(),
            digest: "0".repeat(64),
            function: "0".repeat(64),
            layers: 30,
            vocab: 128_256,
        },
        options: Options {
            policy: "balanced".into(),
            overrides: vec![],
            batch: USERS,
            context: CONTEXT,
            block: BLOCK,
            priced_at: 63,
            proofs: Proofs::Products,
            folding: true,
            sample: false,
            own_kernels: false,
        },
        card: card(),
        weights: weights(),
        buffers: buffers(),
        phases: vec![],
    };
    let weights = plan.weights.iter().map(|w| (Ref::Weight(w.name.clone()), w.spec.clone()));
    let buffers = plan.buffers.iter().map(|b| (Ref::Buffer(b.name.clone()), b.spec.clone()));
    let specs = weights.chain(buffers).collect();
    let mut maker = Maker { plan, specs };
    let prologue = maker.prologue();
    let mut layer = maker.attention();
    layer.extend(maker.mlp());
    let epilogue = maker.epilogue();
    let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect();
    maker.plan.phases.push(Phase {
        kind: PhaseKind::Decode { batch: USERS },
        prologue,
        layer,
        epilogue,
        results: vec!["logits".into()],
        trace: Some(Trace {
            warm_up: 1,
            inputs: names(&["page_table"]),
            feedback: names(&["tokens", "positions", "rotary_positions"]),
        }),
        cost: PhaseCost::default(),
    });
    settle(&mut maker.plan).unwrap();
    let mut plan = maker.plan;
    let executed = of_phase(&plan, &plan.phases[0]).unwrap_or_else(|defects| panic!("{defects:#?}"));
    plan.model.function = executed.function.digest(plan.model.layers);
    plan
}
