//! A plan that holds everything a file format can be asked for.

use crate::op::*;
use crate::program::{Fingerprint, FusedActivation, NormProgram, SdpaProgram, TernaryProgram};
use crate::weight::{Content, LongAngles, Matrix, RotaryFunction, Vector};
use crate::*;

fn value(name: &str) -> Ref {
    Ref::Value(name.into())
}

/// One step of every op, with every kind of argument; a file format asks no more of a plan.
fn every_op(number: f64, single: f32) -> Vec<Op> {
    let compute = ComputeKernel { fidelity: Fidelity::HiFi2, fp32_dest_acc: true, packer_l1_acc: false };
    let width = MemoryConfig::width(Cores::row_major(30, (8, 8)), [32, 128]);
    let scalar = Scalar { value: number, scales: vec![("model.layers.{layer}.q.weight".into(), -2)] };
    let sdpa = SdpaProgram { grid: (8, 4), q_chunk: 0, k_chunk: 128 };
    let (a, b) = (value("a \"quoted\" \\ name\n"), Ref::Weight("w".into()));
    let (cache, table) = (Ref::Buffer("k".into()), Ref::Buffer("page_table".into()));
    let (input, memory) = (a.clone(), width.clone());
    let programs = [
        MatmulProgram::DramSharded { in0_block_w: 10, per_core_m: 1, per_core_n: 4, activation: None, readers: 3 },
        MatmulProgram::Multicast1D {
            grid: (8, 8),
            in0_block_w: 5,
            out_subblock: (1, 7),
            per_core_m: 1,
            per_core_n: 63,
            activation: Some(FusedActivation::Silu),
        },
        MatmulProgram::Multicast2D {
            grid: (8, 4),
            in0_block_w: 8,
            out_subblock: (1, 8),
            out_block: (2, 8),
            per_core_m: 2,
            per_core_n: 8,
            activation: Some(FusedActivation::Relu),
        },
    ];
    let matmul = |program| {
        Matmul { a: a.clone(), b: b.clone(), program, compute, dtype: DType::Bfp8, memory: width.clone() }.into()
    };
    let unary = vec![
        Unary::Relu,
        Unary::Square,
        Unary::Silu,
        Unary::Recip,
        Unary::MulScalar(scalar.clone()),
        Unary::MaxScalar(Scalar::constant(f64::from(single))),
        Unary::Round,
        Unary::Clamp(-128.0, single),
        Unary::Abs,
    ];
    let binary = |into| Binary {
        kind: BinaryKind::Mul,
        a: a.clone(),
        b: b.clone(),
        a_activations: unary.clone(),
        b_activations: vec![],
        activations: vec![Unary::MulScalar(number.into())],
        dtype: DType::Bf16,
        into,
    };
    let norm = RmsNorm {
        input: input.clone(),
        gamma: b.clone(),
        epsilon: scalar.clone(),
        program: Some(NormProgram { grid: (8, 1), subblock_w: 2, block_h: 1, block_w: 10 }),
        compute,
        memory: memory.clone(),
    };
    let mut ops: Vec<Op> = programs.into_iter().map(matmul).collect();
    let ternary = TernaryProgram { in0_block_w: 18, readers: 3, activation: Some(FusedActivation::Relu), kernels: 7 };
    let (a2, b2, memory2) = (a.clone(), b.clone(), width.clone());
    let (a3, gate, up) = (a.clone(), b.clone(), b.clone());
    ops.push(TernaryGated { a: a3, gate, up, program: ternary, compute, memory: width.clone() }.into());
    ops.push(TernaryLinear { a: a2, b: b2, program: ternary, compute, dtype: DType::F32, memory: memory2 }.into());
    ops.extend([
        Embedding { indices: table.clone(), table: b.clone(), layout: Layout::RowMajor, memory: MemoryConfig::L1 }
            .into(),
        RmsNorm { program: None, ..norm.clone() }.into(),
        norm.into(),
        CreateHeadsDecode { input: a.clone(), heads: 20, kv_heads: 5, overlap: false, memory: memory.clone() }.into(),
        CreateHeads { input: a.clone(), heads: 20, kv_heads: 5, memory: MemoryConfig::DRAM }.into(),
        RotaryFused { q: a.clone(), k: a.clone(), cos: b.clone(), sin: b.clone(), trans: b.clone(), compute }.into(),
        Rotary { input, cos: b.clone(), sin: b.clone(), trans: b.clone(), compute, memory }.into(),
        RotaryDecode { input: a.clone(), cos: b.clone(), sin: b.clone(), trans: b.clone(), compute }.into(),
        CacheUpdateOne { cache: cache.clone(), input: a.clone(), positions: table.clone(), page_table: table.clone() }
            .into(),
        CacheUpdate {
            k_cache: cache.clone(),
            k: a.clone(),
            v_cache: cache.clone(),
            v: a.clone(),
            positions: table.clone(),
            page_table: table.clone(),
        }
        .into(),
        CacheFill { cache: cache.clone(), input: a.clone(), pages: table.clone() }.into(),
        SdpaDecode {
            q: a.clone(),
            k_cache: cache.clone(),
            v_cache: cache.clone(),
            positions: table.clone(),
            page_table: table.clone(),
            scale: scalar.clone(),
            program: sdpa,
            compute,
            memory: MemoryConfig::L1,
        }
        .into(),
    ]);
    let (input, memory) = (a.clone(), MemoryConfig::DRAM);
    ops.extend([
        Sdpa {
            q: a.clone(),
            k_cache: cache.clone(),
            v_cache: cache,
            pages: table.clone(),
            start: table.clone(),
            scale: scalar.clone(),
            program: sdpa,
            compute,
            memory: memory.clone(),
        }
        .into(),
        ConcatHeadsDecode { input: a.clone(), heads: 20, cores: Cores::rectangle(0, 0, 5, 4) }.into(),
        ConcatHeads { input: a.clone(), memory: memory.clone() }.into(),
        ToMemoryConfig { input: a.clone(), memory: MemoryConfig::height(Cores::row_major(5, (8, 8)), [32, 64]) }.into(),
        ToLayout { input: a.clone(), layout: Layout::Tile, memory: memory.clone() }.into(),
        Typecast { input: a.clone(), dtype: DType::Bfp4, memory: memory.clone() }.into(),
        View { input: a.clone(), shape: vec![1, 1, 32, 2560] }.into(),
        Transpose { input: a.clone(), dims: (1, 2), memory: memory.clone() }.into(),
        SliceAt { input: a.clone(), starts: table.clone(), ends: table.clone(), parts: 4, memory: memory.clone() }
            .into(),
        Slice { input: a.clone(), kept: Kept::Rows(32, 64), memory: memory.clone() }.into(),
        Slice { input: a.clone(), kept: Kept::Columns(7), memory: memory.clone() }.into(),
        Concat { inputs: vec![a.clone(), b.clone()], memory: memory.clone() }.into(),
        binary(Destination::New(width.clone())).into(),
        binary(Destination::New(memory.clone())).into(),
        binary(Destination::InPlace).into(),
        AbsOp { input: a.clone(), memory: memory.clone() }.into(),
        RowMax { input: a.clone(), memory }.into(),
        QuantizeRows { input: a.clone(), floor: scalar.clone(), kernels: Fingerprint(3) }.into(),
        AddRows {
            a: a.clone(),
            b: b.clone(),
            factors: a.clone(),
            floor: scalar.clone(),
            scale: scalar.clone(),
            kernels: Fingerprint(4),
        }
        .into(),
        ArgMax { input, output: table.clone() }.into(),
        TopK { input: a.clone(), k: 32, memory: MemoryConfig::DRAM }.into(),
        ManualSeed { seeds: table.clone(), generators: table.clone() }.into(),
        BestColumn { input: a.clone(), memory: MemoryConfig::DRAM }.into(),
        Reshape { input: a.clone(), shape: vec![1, 1, 320, 800], memory: MemoryConfig::L1 }.into(),
        GatherRows { indices: a.clone(), table: a.clone(), memory: MemoryConfig::DRAM }.into(),
        AddIntegers { a: a.clone(), b: a.clone(), memory: MemoryConfig::DRAM }.into(),
        TimesInteger { input: table.clone(), factor: 40, memory: MemoryConfig::DRAM }.into(),
        CopyInto { input: a.clone(), output: table.clone() }.into(),
        Sampling {
            values: a.clone(),
            tokens: a.clone(),
            k: table.clone(),
            p: table.clone(),
            inverse_temperature: table.clone(),
            output: table.clone(),
        }
        .into(),
        PlusOne { buffer: table, skip_negative: true }.into(),
        Deallocate { input: a }.into(),
    ]);
    ops
}

fn weights(number: f64) -> Vec<Weight> {
    let padding = Some(Padding { groups: 32, from: 100, to: 128 });
    let matrix = |content, rows, outputs: Option<Padding>, inputs| Matrix {
        tensor: "model.layers.{layer}.weight".into(),
        shape: [3200, 3200],
        rows,
        content,
        rotated: outputs.map_or(0, |heads| heads.from),
        outputs,
        inputs,
    };
    let sources = [
        Source::Columns(vec![
            matrix(Content::Packed { divides: true }, None, padding, None),
            matrix(Content::Absmean, Some((3, 7)), None, padding),
        ]),
        Source::Rows(matrix(Content::Dense, None, None, None)),
        Source::Vectors(vec![Vector {
            tensor: "norm".into(),
            len: 3200,
            rotated: 64,
            padding,
            factor: number,
            scales: vec![(matrix(Content::Absmean, None, None, None), -1)],
        }]),
        Source::Ones { len: 32, factor: number },
        Source::RotaryTable {
            function: RotaryFunction::Sin,
            positions: 4096,
            frequencies: vec![number, 1.0, 1e-300],
            amplitude: number,
            long: Some(LongAngles { beyond: 64, frequencies: vec![number], one_sequence: true }),
        },
        Source::RotaryTransform,
    ];
    let spec = TensorSpec::tile([1, 1, 32, 32], DType::Bfp4, MemoryConfig::dram_width(12, [32, 32]));
    let weight = |(i, source)| Weight {
        name: format!("w{i}"),
        per_layer: i == 0,
        spec: spec.clone(),
        address: (i == 5).then_some(1_499_136 - 2048),
        source,
    };
    sources.into_iter().enumerate().map(weight).collect()
}

/// A plan with every op, every kind of argument and every source.
pub fn sample(number: f64, single: f32) -> Plan {
    let roles = [
        BufferRole::Tokens,
        BufferRole::Positions,
        BufferRole::RotaryPositions,
        BufferRole::PageTable,
        BufferRole::KeyCache,
        BufferRole::ValueCache,
        BufferRole::Prompt(128),
        BufferRole::PromptPositions(128),
        BufferRole::ChunkPages(128),
        BufferRole::ContextPages,
        BufferRole::ChunkStart,
        BufferRole::LastTileStarts,
        BufferRole::LastTileEnds,
        BufferRole::FirstTokens,
        BufferRole::TopK,
        BufferRole::TopP,
        BufferRole::InverseTemperature,
        BufferRole::Seeds,
        BufferRole::Generators,
    ];
    let spec = TensorSpec::row_major([1, 2], DType::I32, MemoryConfig::DRAM);
    let padding = |i: usize| (i % 2 == 1).then_some(Padding { groups: 20, from: 80, to: 96 });
    let bounds = [Bound::Launch, Bound::Dram, Bound::Compute, Bound::Movement];
    let step = |(i, op): (usize, Op)| Step {
        name: format!("step.{i}"),
        op,
        outputs: vec![
            Value {
                name: "v".into(),
                spec: spec.clone(),
                padding: padding(i),
                address: (i % 2 == 0).then_some(7)
            };
            i % 3
        ],
        l1: Footprint { circular_buffers: i as u64 % 2, tensors: 0 },
        cost: Cost { us: number * i as f64, dram_bytes: u64::MAX, fpu_cycles: 1, bound: bounds[i % 4] },
        note: ["", "proved exact: µ, \"quoted\""][i % 2].into(),
    };
    let steps: Vec<Step> = every_op(number, single).into_iter().enumerate().map(step).collect();
    let phase = |kind, trace| Phase {
        kind,
        prologue: steps.clone(),
        layer: vec![],
        epilogue: steps[..2].to_vec(),
        results: vec!["v".into()],
        trace,
        cost: PhaseCost {
            device_us: number,
            band_us: (number, 0.2),
            waits_us: number,
            positions: vec![(4095, number)],
            host_us: Some(0.1),
            dram_bytes: 3,
        },
    };
    Plan {
        format: FORMAT_VERSION,
        release: TtnnRelease::latest().to_string(),
        model: ModelInfo {
            name: "m".into(),
            digest: "0".repeat(64),
            function: "0".repeat(64),
            layers: 30,
            vocab: 128_256,
        },
        options: Options {
            policy: "balanced".into(),
            overrides: vec!["gate=bfp4/lofi".into()],
            batch: 32,
            context: 4096,
            block: 32,
            priced_at: 256,
            proofs: Proofs::Products,
            folding: false,
            sample: true,
            own_kernels: true,
        },
        card: Card {
            name: "n150".into(),
            arch: Arch::Wormhole,
            grid: (8, 8),
            l1: card::L1 { base: 105_824, end: 1_499_136, alignment: 16 },
            dram: card::Dram { banks: 12, base: 1 << 20, bank_bytes: 1 << 30, alignment: 32, readers_per_bank: 1 },
        },
        weights: weights(number),
        buffers: roles
            .map(|role| Buffer {
                name: format!("{role:?}"),
                per_layer: false,
                spec: spec.clone(),
                address: Some(64),
                role,
            })
            .to_vec(),
        phases: vec![
            phase(
                PhaseKind::Decode { batch: 32 },
                Some(Trace { warm_up: 1, inputs: vec!["page_table".into()], feedback: vec![] }),
            ),
            phase(PhaseKind::Prefill { tokens: 128 }, None),
        ],
    }
}
