//! Tests that the lists of constraints say what the rules ask: every constraint is broken by some call, and no rule breaks one that is not
//! on its list.
//!
//! From calls of every kind, mostly legal, each operand and each argument is changed alone: another type, layout, memory config or number.

use std::collections::{BTreeMap, BTreeSet};

use super::mock::{any, integers, n150, p150, row, users};
use super::{RULES, Violation, check};
use crate::op::*;
use crate::program::{Fingerprint, FusedActivation, NormProgram, SdpaProgram, TernaryProgram};
use crate::{Card, ComputeKernel, Cores, DType, Fidelity, Layout, MatmulProgram, MemoryConfig, Op, TensorSpec, Unary};

/// A call to begin with: its card, itself, its operands.
type Seed = (Card, Op, Vec<TensorSpec>);

const COMPUTE: ComputeKernel = ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc: true, packer_l1_acc: true };

fn dram(shape: &[u32], dtype: DType) -> TensorSpec {
    TensorSpec::tile(shape, dtype, MemoryConfig::DRAM)
}

fn rows(shape: &[u32], dtype: DType) -> TensorSpec {
    TensorSpec::row_major(shape, dtype, MemoryConfig::DRAM)
}

/// Memory configs of many kinds.
fn memories() -> Vec<MemoryConfig> {
    let odd = Cores([Cores::rectangle(2, 0, 3, 1).0, Cores::rectangle(0, 3, 2, 1).0].concat());
    let mut all = vec![MemoryConfig::DRAM, MemoryConfig::L1, MemoryConfig::dram_width(12, [2560, 64])];
    for (cores, shard) in [
        (Cores::rectangle(0, 0, 8, 1), [32, 320]),
        (Cores::rectangle(0, 0, 8, 1), [64, 320]),
        (Cores::rectangle(4, 2, 1, 3), [32, 576]),
        (Cores::row_major(27, (8, 8)), [32, 96]),
        (odd, [32, 512]),
    ] {
        all.push(MemoryConfig::width(cores, shard));
    }
    for (cores, shard) in [
        (Cores::rectangle(0, 0, 8, 1), [32, 128]),
        (Cores::rectangle(0, 0, 8, 2), [32, 128]),
        (Cores::rectangle(1, 1, 4, 2), [32, 128]),
        (Cores::rectangle(0, 0, 1, 1), [32, 32]),
        (Cores::rectangle(0, 0, 1, 1), [32, 2560]),
    ] {
        all.push(MemoryConfig::height(cores, shard));
    }
    all
}

fn linear(program: MatmulProgram, memory: MemoryConfig) -> Op {
    Matmul { a: any(), b: any(), program, compute: COMPUTE, dtype: DType::Bf16, memory }.into()
}

fn in_banks(card: &Card, k: u32, n: u32) -> TensorSpec {
    let shard = [k, n.div_ceil(32 * card.dram.banks) * 32];
    TensorSpec::tile([1, 1, k, n], DType::Bfp8, MemoryConfig::dram_width(card.dram.banks, shard))
}

fn matmuls(seeds: &mut Vec<Seed>) {
    let (wh, bh) = (n150(), p150());
    let banks = |readers, per_core_n, cores, card: &Card| {
        let program =
            MatmulProgram::DramSharded { in0_block_w: 10, per_core_m: 1, per_core_n, activation: None, readers };
        linear(program, MemoryConfig::width(Cores::row_major(cores, card.grid), [32, per_core_n * 32]))
    };
    seeds.push((wh.clone(), banks(1, 4, 30, &wh), vec![row(&wh, 32, 2560, 8, 10), in_banks(&wh, 2560, 3840)]));
    seeds.push((bh.clone(), banks(3, 4, 30, &bh), vec![row(&bh, 32, 2560, 8, 10), in_banks(&bh, 2560, 3840)]));
    seeds.push((bh.clone(), banks(3, 4, 30, &bh), vec![row(&bh, 32, 3200, 100, 1), in_banks(&bh, 3200, 3840)]));
    seeds.push((bh.clone(), banks(3, 4, 5, &bh), vec![row(&bh, 32, 2560, 8, 10), in_banks(&bh, 2560, 640)]));
    let (grid, in0_block_w, activation) = ((8, 8), 10, None);
    let one = MatmulProgram::Multicast1D {
        grid,
        in0_block_w,
        out_subblock: (1, 2),
        per_core_m: 1,
        per_core_n: 2,
        activation,
    };
    let weight = dram(&[1, 1, 2560, 2560], DType::Bfp8);
    seeds.push((wh.clone(), linear(one, MemoryConfig::L1), vec![row(&wh, 32, 2560, 8, 10), weight.clone()]));
    let (out_subblock, out_block) = ((1, 2), (4, 10));
    let two = MatmulProgram::Multicast2D {
        grid,
        in0_block_w,
        out_subblock,
        out_block,
        per_core_m: 4,
        per_core_n: 10,
        activation,
    };
    for weight in [weight, in_banks(&wh, 2560, 2560)] {
        let x = dram(&[1, 1, 1024, 2560], DType::Bf16);
        seeds.push((wh.clone(), linear(two.clone(), MemoryConfig::DRAM), vec![x, weight]));
    }
}

fn ternary(seeds: &mut Vec<Seed>) {
    let card = n150();
    let call = |activation| TernaryLinear {
        a: any(),
        b: any(),
        program: TernaryProgram {
            in0_block_w: 10,
            readers: 1,
            activation,
            kernels: crate::kernels::TERNARY_LINEAR.fingerprint(),
        },
        compute: ComputeKernel { packer_l1_acc: false, ..COMPUTE },
        dtype: DType::Bf16,
        memory: MemoryConfig::width(Cores::row_major(40, card.grid), [32, 64]),
    };
    for activation in [None, Some(FusedActivation::Silu)] {
        let operands = vec![row(&card, 32, 2560, 8, 10), dram(&[1, 1, 2560, 2560], DType::Bfp2)];
        seeds.push((card.clone(), call(activation).into(), operands));
        let TernaryLinear { a, b, program, compute, memory, .. } = call(activation);
        let gated = TernaryGated { a, gate: b.clone(), up: b, program, compute, memory };
        let weight = dram(&[1, 1, 2560, 2560], DType::Bfp2);
        seeds.push((card.clone(), gated.into(), vec![row(&card, 32, 2560, 8, 10), weight.clone(), weight]));
    }
    let x = row(&card, 32, 2560, 40, 2);
    let kernels = Fingerprint(crate::kernels::QUANTIZE_ROWS.fingerprint());
    let quantize = QuantizeRows { input: any(), floor: 1e-5.into(), kernels };
    seeds.push((card.clone(), quantize.clone().into(), vec![x.clone()]));
    seeds.push((card.clone(), QuantizeRows { kernels: Fingerprint(1), ..quantize }.into(), vec![x.clone()]));
    let b = TensorSpec { dtype: DType::F32, ..x.clone() };
    let factors = TensorSpec::tile([1, 1, 32, 1], DType::F32, MemoryConfig::L1);
    let kernels = Fingerprint(crate::kernels::ADD_ROWS.fingerprint());
    let add = AddRows { a: any(), b: any(), factors: any(), floor: 1e-5.into(), scale: 1.0.into(), kernels };
    seeds.push((
        card.clone(),
        AddRows { kernels: Fingerprint(1), ..add.clone() }.into(),
        vec![x.clone(), b.clone(), factors.clone()],
    ));
    seeds.push((p150(), add.clone().into(), vec![x.clone(), b.clone(), factors.clone()]));
    seeds.push((card, add.into(), vec![x, b, factors]));
}

fn decode(seeds: &mut Vec<Seed>) {
    let card = n150();
    let mut push = |op: Op, operands: Vec<TensorSpec>| seeds.push((n150(), op, operands));
    let input = any;
    let grid = MemoryConfig::height(Cores::rectangle(0, 0, 8, 8), [32, 128]);
    for overlap in [false, true] {
        let heads =
            |heads, kv_heads| CreateHeadsDecode { input: input(), heads, kv_heads, overlap, memory: grid.clone() };
        push(heads(20, 5).into(), vec![row(&card, 32, 3840, 30, 4)]);
        push(heads(16, 8).into(), vec![row(&card, 32, 3200, 25, 4)]);
    }
    let trans = |cores: u32| {
        let memory = MemoryConfig::height(Cores::row_major(cores, card.grid), [32, 32]);
        TensorSpec::tile([1, 1, 32 * cores, 32], DType::Bf16, memory)
    };
    let (q, k, v) = (users(&card, 0, 8, 20, 128), users(&card, 8, 8, 5, 128), users(&card, 0, 8, 5, 128));
    let angles = |users_| users(&card, 0, users_, 32, 128);
    let fused = RotaryFused { q: any(), k: any(), cos: any(), sin: any(), trans: any(), compute: COMPUTE };
    push(fused.into(), vec![q.clone(), k.clone(), angles(16), angles(16), trans(16)]);
    let alone = RotaryDecode { input: any(), cos: any(), sin: any(), trans: any(), compute: COMPUTE };
    push(alone.into(), vec![q.clone(), angles(8), angles(8), trans(8)]);
    let cache = || dram(&[128, 5, 64, 128], DType::Bfp8);
    let (positions, table) = (integers([8]), integers([8, 16]));
    let update =
        CacheUpdate { k_cache: any(), k: any(), v_cache: any(), v: any(), positions: any(), page_table: any() };
    push(update.into(), vec![cache(), k.clone(), cache(), v, positions.clone(), table.clone()]);
    let one = CacheUpdateOne { cache: any(), input: any(), positions: any(), page_table: any() };
    push(one.into(), vec![cache(), k, positions.clone(), table.clone()]);
    let attention = |grid| SdpaDecode {
        q: any(),
        k_cache: any(),
        v_cache: any(),
        positions: any(),
        page_table: any(),
        scale: 0.5.into(),
        program: SdpaProgram { grid, q_chunk: 0, k_chunk: 128 },
        compute: COMPUTE,
        memory: MemoryConfig::L1,
    };
    for grid in [(8, 8), (8, 2)] {
        push(attention(grid).into(), vec![q.clone(), cache(), cache(), positions.clone(), table.clone()]);
    }
    for (q, cores) in [(q, Cores::rectangle(0, 0, 8, 8)), (users(&card, 9, 8, 20, 128), Cores::rectangle(0, 0, 5, 4))] {
        push(ConcatHeadsDecode { input: any(), heads: 20, cores }.into(), vec![q]);
    }
}

fn prefill(seeds: &mut Vec<Seed>) {
    let mut push = |op: Op, operands: Vec<TensorSpec>| seeds.push((n150(), op, operands));
    let bf16 = |shape: &[u32]| dram(shape, DType::Bf16);
    let memory = MemoryConfig::DRAM;
    push(
        CreateHeads { input: any(), heads: 20, kv_heads: 5, memory: memory.clone() }.into(),
        vec![bf16(&[1, 1, 128, 3840])],
    );
    push(ConcatHeads { input: any(), memory: memory.clone() }.into(), vec![bf16(&[1, 20, 128, 128])]);
    let rotary =
        Rotary { input: any(), cos: any(), sin: any(), trans: any(), compute: COMPUTE, memory: memory.clone() };
    let angle = bf16(&[1, 1, 128, 128]);
    push(rotary.into(), vec![bf16(&[1, 20, 128, 128]), angle.clone(), angle, bf16(&[1, 1, 32, 32])]);
    let fill = CacheFill { cache: any(), input: any(), pages: any() };
    let (cache, prompt) = (dram(&[128, 5, 64, 128], DType::Bfp8), dram(&[1, 5, 128, 128], DType::Bfp8));
    push(fill.into(), vec![cache, prompt, integers([8, 16])]);
    let cache = dram(&[128, 5, 64, 128], DType::Bfp8);
    for chunk in [64, 512] {
        let attention = Sdpa {
            q: any(),
            k_cache: any(),
            v_cache: any(),
            pages: any(),
            start: any(),
            scale: 0.5.into(),
            program: SdpaProgram { grid: (8, 8), q_chunk: chunk, k_chunk: chunk },
            compute: COMPUTE,
            memory: memory.clone(),
        };
        let q = bf16(&[1, 20, 1024, 128]);
        push(attention.into(), vec![q, cache.clone(), cache.clone(), integers([1, 16]), integers([1])]);
    }
}

fn norms_and_tables(seeds: &mut Vec<Seed>) {
    let card = n150();
    let mut push = |op: Op, operands: Vec<TensorSpec>| seeds.push((n150(), op, operands));
    let x = row(&card, 32, 2560, 8, 10);
    let shards = x.memory.clone();
    let norm = |program, memory| RmsNorm {
        input: any(),
        gamma: any(),
        epsilon: 0.5.into(),
        program,
        compute: COMPUTE,
        memory,
    };
    let program = NormProgram { grid: (8, 1), subblock_w: 2, block_h: 1, block_w: 10 };
    let (row_gamma, tiled_gamma) = (rows(&[1, 1, 80, 32], DType::Bf16), dram(&[1, 1, 1, 2560], DType::Bf16));
    push(norm(Some(program), shards.clone()).into(), vec![x, row_gamma.clone()]);
    for gamma in [row_gamma, tiled_gamma] {
        push(norm(None, MemoryConfig::DRAM).into(), vec![dram(&[1, 1, 128, 2560], DType::Bf16), gamma]);
    }
    let table = rows(&[1, 1, 4096, 2560], DType::Bf16);
    for memory in [MemoryConfig::DRAM, shards, MemoryConfig::height(Cores::rectangle(0, 0, 1, 1), [32, 2560])] {
        let args = Embedding { indices: any(), table: any(), layout: Layout::Tile, memory };
        push(args.into(), vec![rows(&[1, 1, 32], DType::U32), table.clone()]);
    }
    push(PlusOne { buffer: any(), skip_negative: true }.into(), vec![integers([32])]);
    let logits = rows(&[1, 1, 8, 32_000], DType::Bf16);
    push(ArgMax { input: any(), output: any() }.into(), vec![logits, rows(&[1, 1, 8], DType::U32)]);
    draws(&mut push);
    two_stages(&mut push);
}

fn two_stages(push: &mut impl FnMut(Op, Vec<TensorSpec>)) {
    let (dram, l1) = (|| MemoryConfig::DRAM, || MemoryConfig::L1);
    let u32s = |shape: &[u32]| rows(shape, DType::U32);
    let reshape = Reshape { input: any(), shape: vec![1, 1, 320, 800], memory: l1() };
    push(reshape.into(), vec![rows(&[1, 1, 8, 32_000], DType::Bf16)]);
    let odd = Reshape { input: any(), shape: vec![1, 1, 32, 32_764], memory: dram() };
    push(odd.into(), vec![rows(&[1, 1, 8, 131_056], DType::Bf16)]);
    let groups = rows(&[1, 1, 320, 800], DType::Bf16);
    push(ToLayout { input: any(), layout: Layout::Tile, memory: l1() }.into(), vec![groups.clone()]);
    let column = TensorSpec::tile([1, 1, 320, 1], DType::Bf16, l1());
    push(Transpose { input: any(), dims: (2, 3), memory: l1() }.into(), vec![column]);
    let row = TensorSpec::tile([1, 1, 1, 320], DType::Bf16, l1());
    push(ToLayout { input: any(), layout: Layout::RowMajor, memory: dram() }.into(), vec![row]);
    push(BestColumn { input: any(), memory: dram() }.into(), vec![rows(&[1, 1, 8, 40], DType::Bf16)]);
    push(TimesInteger { input: any(), factor: 40, memory: dram() }.into(), vec![u32s(&[8])]);
    push(AddIntegers { a: any(), b: any(), memory: dram() }.into(), vec![u32s(&[1, 1, 8]), u32s(&[8])]);
    push(GatherRows { indices: any(), table: any(), memory: dram() }.into(), vec![u32s(&[1, 1, 8]), groups]);
    push(CopyInto { input: any(), output: any() }.into(), vec![u32s(&[1, 1, 8]), u32s(&[1, 1, 8])]);
}

fn draws(push: &mut impl FnMut(Op, Vec<TensorSpec>)) {
    let (memory, users) = (MemoryConfig::DRAM, 8);
    let logits = dram(&[1, 1, users, 1024], DType::Bf16);
    push(TopK { input: any(), k: 32, memory: memory.clone() }.into(), vec![logits]);
    let columns = dram(&[1, 1, users, 32], DType::U16);
    push(ToLayout { input: any(), layout: Layout::RowMajor, memory: memory.clone() }.into(), vec![columns]);
    let columns = rows(&[1, 1, users, 32], DType::U16);
    push(Typecast { input: any(), dtype: DType::U32, memory }.into(), vec![columns]);
    let seeds = || rows(&[users], DType::U32);
    push(ManualSeed { seeds: any(), generators: any() }.into(), vec![seeds(), seeds()]);
    let of = any;
    let draw = Sampling { values: of(), tokens: of(), k: of(), p: of(), inverse_temperature: of(), output: of() };
    let (values, tokens) = (dram(&[1, 1, users, 32], DType::Bf16), rows(&[1, 1, users, 32], DType::U32));
    let share = || rows(&[users], DType::Bf16);
    push(draw.into(), vec![values, tokens, seeds(), share(), share(), rows(&[1, 1, 1, users], DType::U32)]);
}

fn elementwise_and_movement(seeds: &mut Vec<Seed>) {
    let card = n150();
    let mut push = |op: Op, operands: Vec<TensorSpec>| seeds.push((n150(), op, operands));
    let (input, memory, x) = (any, MemoryConfig::DRAM, row(&card, 32, 2560, 8, 10));
    let matrix = dram(&[1, 1, 128, 2560], DType::Bf16);
    let binary = |into| Binary {
        kind: BinaryKind::Mul,
        a: any(),
        b: any(),
        a_activations: vec![Unary::Relu],
        b_activations: vec![],
        activations: vec![],
        dtype: DType::Bf16,
        into,
    };
    for into in [Destination::InPlace, Destination::New(MemoryConfig::L1)] {
        push(binary(into).into(), vec![x.clone(), x.clone()]);
    }
    let column = TensorSpec::tile([1, 1, 32, 1], DType::Bf16, MemoryConfig::L1);
    push(binary(Destination::New(MemoryConfig::L1)).into(), vec![x.clone(), column]);
    push(AbsOp { input: input(), memory: memory.clone() }.into(), vec![x.clone()]);
    for tensor in [x.clone(), users(&card, 0, 8, 5, 128)] {
        push(RowMax { input: input(), memory: memory.clone() }.into(), vec![tensor]);
    }
    for tensor in [x.clone(), integers([1, 17])] {
        push(ToMemoryConfig { input: input(), memory: MemoryConfig::L1 }.into(), vec![tensor]);
    }
    push(ToLayout { input: input(), layout: Layout::RowMajor, memory: memory.clone() }.into(), vec![x.clone()]);
    for tensor in [x.clone(), matrix.clone()] {
        push(Typecast { input: input(), dtype: DType::Bfp8, memory: tensor.memory.clone() }.into(), vec![tensor]);
    }
    push(View { input: input(), shape: vec![1, 4, 32, 2560] }.into(), vec![matrix.clone()]);
    let heads = dram(&[1, 1, 64, 128], DType::Bf16);
    push(Transpose { input: input(), dims: (1, 2), memory: memory.clone() }.into(), vec![heads]);
    let indices = || rows(&[4], DType::U32);
    push(Slice { input: input(), kept: Kept::Rows(32, 64), memory: memory.clone() }.into(), vec![matrix.clone()]);
    for starts in [indices(), rows(&[1, 4], DType::U32)] {
        let slice = SliceAt { input: input(), starts: any(), ends: any(), parts: 4, memory: memory.clone() };
        push(slice.into(), vec![matrix.clone(), starts, indices()]);
    }
    let logits = rows(&[1, 1, 8, 640], DType::Bf16);
    push(Slice { input: input(), kept: Kept::Columns(633), memory: memory.clone() }.into(), vec![logits]);
    for count in [1, 2] {
        let piece = rows(&[1, 1, 8, 640], DType::Bf16);
        push(Concat { inputs: vec![any(); count], memory: memory.clone() }.into(), vec![piece; count]);
    }
    let tiled = dram(&[1, 1, 64, 128], DType::Bf16);
    push(Concat { inputs: vec![any(); 2], memory: memory.clone() }.into(), vec![tiled; 2]);
    push(Deallocate { input: input() }.into(), vec![x]);
}

/// Other numbers in the place of one.
fn numbers(n: u32) -> impl Iterator<Item = u32> {
    let near = [n / 2, n.saturating_sub(1), n.saturating_add(1), n.saturating_add(32), n.saturating_mul(2)];
    near.into_iter().chain([0, 1, 2, 3, 4, 8, 33, 1000, 3000, 4096])
}

/// Tensors that differ from one in a single point.
fn other_tensors(spec: &TensorSpec) -> Vec<TensorSpec> {
    use DType::{Bf16, Bfp2, Bfp4, Bfp8, F32, I32, U32};
    let mut all = Vec::new();
    all.extend([Bf16, Bfp8, Bfp4, Bfp2, F32, I32, U32].map(|dtype| TensorSpec { dtype, ..spec.clone() }));
    all.extend([Layout::Tile, Layout::RowMajor].map(|layout| TensorSpec { layout, ..spec.clone() }));
    all.extend(memories().into_iter().map(|memory| TensorSpec { memory, ..spec.clone() }));
    for at in 0..spec.shape.len() {
        for side in numbers(spec.shape[at]) {
            let mut other = spec.clone();
            other.shape[at] = side;
            all.push(other);
        }
    }
    all.push(TensorSpec { shape: spec.shape[1..].to_vec(), ..spec.clone() });
    all
}

/// Where the parenthesis that opens at `at` closes.
fn closing(text: &str, at: usize) -> usize {
    let mut depth = 0;
    for (i, c) in text[at..].char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth == 0 && c == ')' {
            return at + i + 1;
        }
    }
    text.len()
}

/// Calls that differ from one in a single argument: the written call with a word or a number exchanged.
fn other_calls(op: &Op) -> Vec<Op> {
    let text = ron::to_string(op).unwrap();
    let mut texts = Vec::new();
    let mut replace = |at: usize, end: usize, with: &str| texts.push(format!("{}{with}{}", &text[..at], &text[end..]));
    for (at, word) in text.match_indices(|c: char| !c.is_alphanumeric()).map(|(at, _)| at + 1).map(|at| {
        let end = text[at..].find(|c: char| !c.is_alphanumeric()).map_or(text.len(), |len| at + len);
        (at, &text[at..end])
    }) {
        let end = at + word.len();
        match word {
            "Interleaved" | "Sharded" => {
                let end = closing(&text, end);
                memories().iter().for_each(|memory| replace(at, end, &ron::to_string(memory).unwrap()));
            }
            "true" => replace(at, end, "false"),
            "false" => replace(at, end, "true"),
            "Tile" => replace(at, end, "RowMajor"),
            "RowMajor" => replace(at, end, "Tile"),
            "bf16" | "bfp8" => ["f32", "bf16", "bfp4", "u32"].iter().for_each(|dtype| replace(at, end, dtype)),
            _ => {
                if let Ok(number) = word.parse() {
                    numbers(number).for_each(|other| replace(at, end, &other.to_string()));
                }
            }
        }
    }
    // A number of a fraction can become text that is no call.
    texts.iter().filter_map(|text| ron::from_str(text).ok()).collect()
}

/// Everything broken by a call or by one a step away, with the rule's name.
fn broken(seed: &Seed, found: &mut BTreeMap<&'static str, BTreeSet<String>>) {
    let (card, op, operands) = seed;
    let mut ask = |op: &Op, operands: &[&TensorSpec]| {
        let violations = check(op, operands, card).err().unwrap_or_default();
        for violation in &violations {
            whole(violation);
        }
        found.entry(op.name()).or_default().extend(violations.iter().map(Violation::id));
    };
    let all: Vec<&TensorSpec> = operands.iter().collect();
    ask(op, &all);
    ask(op, &all[1..]);
    other_calls(op).iter().for_each(|other| ask(other, &all));
    for at in 0..operands.len() {
        for other in other_tensors(&operands[at]) {
            let mut changed = all.clone();
            changed[at] = &other;
            ask(op, &changed);
        }
    }
}

/// Every value that text and hint name is there, and every value there is named.
fn whole(violation: &Violation) {
    let (constraint, id) = (violation.constraint, violation.id());
    let template = format!("{}{}", constraint.text, constraint.hint).replace("{{", "").replace("}}", "");
    let named: BTreeSet<&str> = template.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
    let given: BTreeSet<&str> = violation.values.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, given, "{id}");
}

#[test]
fn every_constraint_is_reached_and_listed() {
    let mut seeds = Vec::new();
    for collect in [matmuls, ternary, decode, prefill, norms_and_tables, elementwise_and_movement] {
        collect(&mut seeds);
    }
    let mut found = BTreeMap::new();
    seeds.iter().for_each(|seed| broken(seed, &mut found));
    let mut declared = BTreeSet::new();
    for rule in RULES {
        let listed: BTreeSet<String> = rule.constraints().map(|c| c.id()).collect();
        let reached = found.get(rule.name).cloned().unwrap_or_default();
        assert!(reached.is_subset(&listed), "{}: not listed: {:?}", rule.name, reached.difference(&listed));
        declared.extend(listed);
    }
    let reached: BTreeSet<String> = found.into_values().flatten().collect();
    let missed: Vec<_> = declared.difference(&reached).collect();
    assert!(missed.is_empty(), "no call breaks {missed:?}");
}

#[test]
fn ids_are_unique() {
    let mut known: BTreeMap<String, &'static super::Constraint> = BTreeMap::new();
    for constraint in RULES.iter().flat_map(|rule| rule.constraints()) {
        let before = known.insert(constraint.id(), constraint);
        assert!(before.is_none_or(|before| std::ptr::eq(before, constraint)), "{}", constraint.id());
        assert!(!constraint.holds.is_empty() && constraint.holds.ends_with('.'), "{}", constraint.id());
    }
}
