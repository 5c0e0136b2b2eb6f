//! `ttnn.add`, `ttnn.mul` and `ttnn.abs`.
//!
//! The binary kernel reads shards where they are when both operands and the result have one and the same even sharding in L1; otherwise
//! tiles pass through double buffers. An operand with activations has one more buffer for their results.

use super::{Answer, Checks, Outcome, operands, require_placement};
use crate::op::{AbsOp, Binary, BinaryKind, Destination};
use crate::{Card, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

/// `a [..,M,N]` with `b` of the same shape or `[..,M,1]` -> `[..,M,N]`.
///
/// Any mix of placements is accepted, and `output_tensor=a` too. Stricter than TT-NN: tiled bf16, bfp8 and f32 operands only, no row
/// broadcast, and a result in place keeps the dtype of `a`.
///
/// # Errors
/// Every constraint of `binary_ng_device_operation.cpp` that the call breaks.
pub fn check_binary(args: &Binary, given: &[&TensorSpec], card: &Card) -> Answer {
    let [a, b] = operands(given)?;
    let mut checks = Checks::new();
    for (name, spec) in [("a", a), ("b", b)] {
        require_tiled_float(name, spec, &mut checks);
    }
    let column = b.columns() == 1 && a.columns() > 1;
    let leading = a.shape.len().saturating_sub(1);
    let mut sides = a.shape.iter().rev().zip(b.shape.iter().rev());
    checks.require(
        sides.all(|(a, b)| a == b || *a == 1 || *b == 1),
        format_args!("Broadcasting rule violation, a: {:?}, b: {:?}", a.shape, b.shape),
        format_args!("equal shapes, or b with one column"),
    );
    checks.narrow(
        a.shape == b.shape || (column && b.shape.len() == a.shape.len() && a.shape[..leading] == b.shape[..leading]),
        format_args!("{:?} with {:?}", a.shape, b.shape),
        format_args!("equal shapes, or b with one column"),
    );
    checks.narrow(
        !column || a.memory.strategy() != Some(Strategy::Height),
        format_args!("a column broadcast over {}", a.memory),
        format_args!("an operand a that is interleaved or width-sharded"),
    );
    checks.narrow(
        matches!(args.dtype, DType::Bf16 | DType::Bfp8 | DType::F32),
        format_args!("result in {}", args.dtype),
        format_args!("bf16, bfp8 or f32"),
    );
    let (memory, outputs) = match &args.into {
        Destination::InPlace => {
            checks.narrow(
                args.dtype == a.dtype,
                format_args!("a result of {} over a tensor of {}", args.dtype, a.dtype),
                format_args!("dtype {}", a.dtype),
            );
            (&a.memory, Vec::new())
        }
        Destination::New(memory) => {
            let output = TensorSpec::tile(a.shape.clone(), args.dtype, memory.clone());
            require_placement(&output, card, &mut checks);
            (memory, vec![output])
        }
    };
    let circular_buffers = binary_bytes(args, a, b, memory, column);
    checks.finish(|| Outcome { outputs, circular_buffers, temporaries: Vec::new(), programs: 1 })
}

fn require_tiled_float(name: &str, spec: &TensorSpec, checks: &mut Checks) {
    checks.narrow(
        spec.layout == Layout::Tile,
        format_args!("operand {name} is in {:?} layout", spec.layout),
        format_args!("a tiled operand"),
    );
    checks.narrow(
        matches!(spec.dtype, DType::Bf16 | DType::Bfp8 | DType::F32),
        format_args!("operand {name} is {}", spec.dtype),
        format_args!("bf16, bfp8 or f32"),
    );
}

fn binary_bytes(args: &Binary, a: &TensorSpec, b: &TensorSpec, out: &MemoryConfig, column: bool) -> u64 {
    let (a_tile, b_tile, out_tile) = (a.dtype.tile_bytes(), b.dtype.tile_bytes(), args.dtype.tile_bytes());
    let a_extra = u64::from(!args.a_activations.is_empty()) * a_tile;
    let b_extra = u64::from(!args.b_activations.is_empty()) * b_tile;
    if !column && a.memory == b.memory && a.memory == *out && in_shards(out) {
        return tiles_at_once(args, a.dtype, b.dtype) * (a_extra + b_extra);
    }
    // From interleaved L1 tensors the result is packed straight into its shards.
    let direct = !column
        && a.memory == MemoryConfig::L1
        && b.memory == MemoryConfig::L1
        && even_in_l1(a.columns(), a.matrix_rows(), out);
    let out_buffer = if direct { 0 } else { 2 * out_tile };
    2 * (a_tile + b_tile) + out_buffer + a_extra + b_extra + if column { 2 * b_tile } else { 0 }
}

/// True for shards in L1.
fn in_shards(memory: &MemoryConfig) -> bool {
    memory.is_sharded() && memory.memory() == Memory::L1
}

/// True for a sharding in L1 whose last shard is as full as the others.
fn even_in_l1(columns: u32, rows: u64, memory: &MemoryConfig) -> bool {
    match memory {
        MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Width, shard, .. } => {
            columns.next_multiple_of(TILE).is_multiple_of(shard[1].max(1))
        }
        MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Height, shard, .. } => {
            rows.is_multiple_of(u64::from(shard[0].max(1)))
        }
        _ => false,
    }
}

/// Tiles of shards that the kernel takes at a time: 2 where the vector unit computes, otherwise what the destination register holds.
fn tiles_at_once(args: &Binary, a: DType, b: DType) -> u64 {
    let vector_unit = match args.kind {
        BinaryKind::Mul => !a.is_block() && !b.is_block(),
        BinaryKind::Add => a == DType::F32 && b == DType::F32,
    };
    match vector_unit {
        true => 2,
        false if [a, b, args.dtype].contains(&DType::F32) => 4,
        false => 8,
    }
}

/// `|x|`, any shape.
///
/// # Errors
/// What no tensor may break, and an input that is not tiled or not of a float type.
pub fn check_abs(args: &AbsOp, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    require_tiled_float("input", x, &mut checks);
    let output = TensorSpec::tile(x.shape.clone(), x.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let circular_buffers = if x.memory == args.memory && even_in_l1(x.columns(), x.matrix_rows(), &x.memory) {
        0
    } else {
        4 * x.dtype.tile_bytes()
    };
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unary;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, refusal, row};

    fn mul(a: &[Unary], dtype: DType, into: Destination) -> Binary {
        Binary {
            kind: BinaryKind::Mul,
            a: any(),
            b: any(),
            a_activations: a.to_vec(),
            b_activations: Vec::new(),
            activations: Vec::new(),
            dtype,
            into,
        }
    }

    fn of(x: &TensorSpec, dtype: DType) -> TensorSpec {
        TensorSpec { dtype, ..x.clone() }
    }

    #[test]
    fn bytes_of_equal_shards() {
        let card = n150();
        let x = row(&card, 32, 6912, 24, 9);
        let new = || Destination::New(x.memory.clone());
        let square = [Unary::Relu, Unary::Square];
        assert_eq!(bytes(mul(&[], DType::Bf16, new()), &[&x, &x], &card), 0);
        assert_eq!(bytes(mul(&square, DType::Bf16, new()), &[&x, &x], &card), 4096);
        let (f32, bfp8) = (of(&x, DType::F32), of(&x, DType::Bfp8));
        assert_eq!(bytes(mul(&square, DType::F32, new()), &[&f32, &f32], &card), 8192);
        assert_eq!(bytes(mul(&square, DType::Bfp8, new()), &[&bfp8, &bfp8], &card), 8704);
        let add = |dtype| Binary { kind: BinaryKind::Add, ..mul(&square, dtype, new()) };
        assert_eq!(bytes(add(DType::Bf16), &[&x, &x], &card), 16_384);
        assert_eq!(bytes(add(DType::F32), &[&x, &x], &card), 8192);
        assert_eq!(bytes(add(DType::F32), &[&f32, &x], &card), 16_384);
    }

    #[test]
    fn bytes_of_other_placements() {
        let card = n150();
        let dram = TensorSpec::tile([1, 1, 96, 640], DType::Bf16, MemoryConfig::DRAM);
        assert_eq!(bytes(mul(&[Unary::Square], DType::Bf16, Destination::InPlace), &[&dram, &dram], &card), 14_336);
        let new = |m: &MemoryConfig| Destination::New(m.clone());
        assert_eq!(bytes(mul(&[], DType::F32, new(&MemoryConfig::L1)), &[&dram, &dram], &card), 16_384);
        let x = row(&card, 32, 8192, 32, 8);
        let column = TensorSpec::tile([1, 1, 32, 1], DType::Bf16, MemoryConfig::L1);
        assert_eq!(bytes(mul(&[], DType::Bf16, new(&x.memory)), &[&x, &column], &card), 16_384);
        assert_eq!(bytes(mul(&[Unary::Abs], DType::Bf16, Destination::InPlace), &[&x, &column], &card), 18_432);
        let l1 = TensorSpec { memory: MemoryConfig::L1, ..x.clone() };
        assert_eq!(bytes(mul(&[Unary::Abs], DType::Bf16, new(&x.memory)), &[&l1, &l1], &card), 10_240);
    }

    #[test]
    fn in_place_returns_nothing() {
        let card = n150();
        let x = row(&card, 8, 2560, 8, 10);
        let answer = check(&mul(&[], DType::Bf16, Destination::InPlace).into(), &[&x, &x], &card).unwrap();
        assert!(answer.outputs.is_empty() && answer.programs == 1);
        let wide = mul(&[], DType::F32, Destination::InPlace);
        assert!(refusal(check(&wide.into(), &[&x, &x], &card)).contains("a result of f32 over a tensor of bf16"));
        let other = row(&card, 8, 2048, 8, 8);
        let args = mul(&[], DType::Bf16, Destination::InPlace);
        assert!(refusal(check(&args.into(), &[&x, &other], &card)).contains("Broadcasting rule violation"));
    }

    #[test]
    fn bytes_of_abs() {
        let card = n150();
        let even = row(&card, 32, 2560, 8, 10);
        let uneven = row(&card, 32, 2560, 27, 3);
        let of = |x: &TensorSpec, m: &MemoryConfig| bytes(AbsOp { input: any(), memory: m.clone() }, &[x], &card);
        assert_eq!(of(&even, &even.memory), 0);
        assert_eq!(of(&uneven, &uneven.memory), 8192);
        assert_eq!(of(&even, &MemoryConfig::DRAM), 8192);
    }
}
