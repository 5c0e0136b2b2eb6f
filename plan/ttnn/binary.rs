//! `ttnn.add` and `ttnn.mul`.
//!
//! The kernel reads shards where they are when both operands and the result have one and the same even sharding in L1; otherwise tiles pass
//! through double buffers. An operand with activations has one more buffer for their results.

use super::constraint::{constraints, values};
use super::elementwise::{even_in_l1, in_shards, require_tiled_float};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::{Binary, BinaryKind, Destination};
use crate::ttnn::checks::operands;
use crate::{Card, DType, MemoryConfig, Strategy, TensorSpec};

constraints! { "binary", "binary_ng_device_operation.cpp", also [elementwise, placement];
    BROADCAST: "Sides of the operands, aligned at the last, are equal, or one of the two is 1."
        => "Broadcasting rule violation, a: {a}, b: {b}", "equal shapes, or b with one column or one row";
    SAME_SHAPE: "Operands have one shape, but for b, which may have a single column or a single row."
        because "plans broadcast nothing but a number per row and a bias; buffers of other broadcasts were not studied"
        => "{a} with {b}", "equal shapes, or b with one column or one row";
    COLUMN_OVER_WIDTH: "Where b is a single column or row, a is not height-sharded."
        because "no plan has such operands; the buffers were not studied"
        => "a column or row broadcast over {memory}", "an operand a that is interleaved or width-sharded";
    RESULT_TYPE: "The result is bf16, bfp8 or f32."
        because "plans compute in these types"
        => "result in {dtype}", "bf16, bfp8 or f32";
    IN_PLACE_TYPE: "A result written over a has its type."
        because "the tensor written keeps its type"
        => "a result of {result} over a tensor of {dtype}", "dtype {dtype}";
}

/// `a [..,M,N]` with `b` of the same shape, `[..,M,1]` or `[..,1,N]` -> `[..,M,N]`, any mix of placements, `output_tensor=a` too.
pub(super) fn check(args: &Binary, given: &[&TensorSpec], card: &Card) -> Answer {
    let [a, b] = operands(given)?;
    let mut checks = Checks::new();
    for (name, spec) in [("a", a), ("b", b)] {
        require_tiled_float(name, spec, &mut checks);
    }
    let column = b.columns() == 1 && a.columns() > 1;
    let row = !column && b.rows() == 1 && a.rows() > 1;
    let mut sides = a.shape.iter().rev().zip(b.shape.iter().rev());
    let broadcasts = sides.all(|(a, b)| a == b || *a == 1 || *b == 1);
    checks.require(&BROADCAST, broadcasts, values![a = a.shape, b = b.shape]);
    let broadcast = |dim: usize| {
        let from_end = a.shape.len().checked_sub(dim);
        let sides = a.shape.iter().zip(&b.shape).enumerate();
        b.shape.len() == a.shape.len() && sides.into_iter().all(|(at, (a, b))| a == b || Some(at) == from_end)
    };
    let same = a.shape == b.shape || (column && broadcast(1)) || (row && broadcast(2));
    checks.require(&SAME_SHAPE, same, values![a = a.shape, b = b.shape]);
    checks.require(
        &COLUMN_OVER_WIDTH,
        !(column || row) || a.memory.strategy() != Some(Strategy::Height),
        values![memory = a.memory],
    );
    checks.require(
        &RESULT_TYPE,
        matches!(args.dtype, DType::Bf16 | DType::Bfp8 | DType::F32),
        values![dtype = args.dtype],
    );
    let (memory, outputs) = match &args.into {
        Destination::InPlace => {
            checks.require(&IN_PLACE_TYPE, args.dtype == a.dtype, values![result = args.dtype, dtype = a.dtype]);
            (&a.memory, Vec::new())
        }
        Destination::New(memory) => {
            let output = TensorSpec::tile(a.shape.clone(), args.dtype, memory.clone());
            require_placement(&output, card, &mut checks);
            (memory, vec![output])
        }
    };
    let circular_buffers = bytes(args, a, b, memory, column || row);
    checks.finish(|| Outcome { outputs, circular_buffers, temporaries: Vec::new(), programs: 1 })
}

fn bytes(args: &Binary, a: &TensorSpec, b: &TensorSpec, out: &MemoryConfig, broadcast: bool) -> u64 {
    let (a_tile, b_tile, out_tile) = (a.dtype.tile_bytes(), b.dtype.tile_bytes(), args.dtype.tile_bytes());
    let a_extra = u64::from(!args.a_activations.is_empty()) * a_tile;
    let b_extra = u64::from(!args.b_activations.is_empty()) * b_tile;
    if !broadcast && a.memory == b.memory && a.memory == *out && in_shards(out) {
        return tiles_at_once(args, a.dtype, b.dtype) * (a_extra + b_extra);
    }
    // From interleaved L1 tensors the result is packed straight into its shards.
    let direct = !broadcast
        && a.memory == MemoryConfig::L1
        && b.memory == MemoryConfig::L1
        && even_in_l1(a.columns(), a.matrix_rows(), out);
    let out_buffer = if direct { 0 } else { 2 * out_tile };
    2 * (a_tile + b_tile) + out_buffer + a_extra + b_extra + if broadcast { 2 * b_tile } else { 0 }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, refusal, row};
    use crate::{Cores, Unary};

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

    /// As the mock counts them.
    #[test]
    fn bytes_of_a_row_added_to_every_row() {
        let card = n150();
        let add = |memory: &MemoryConfig| Binary {
            kind: BinaryKind::Add,
            ..mul(&[], DType::Bf16, Destination::New(memory.clone()))
        };
        let bias = TensorSpec::tile([1, 1, 1, 8192], DType::Bf16, MemoryConfig::DRAM);
        let x = row(&card, 32, 8192, 32, 8);
        let tokens = TensorSpec::tile([1, 1, 128, 8192], DType::Bf16, MemoryConfig::DRAM);
        for x in [&x, &tokens] {
            assert_eq!(bytes(add(&x.memory), &[x, &bias], &card), 16_384);
        }
        let users = TensorSpec::tile(
            [1, 1, 32, 8192],
            DType::Bf16,
            MemoryConfig::height(Cores::row_major(1, (8, 8)), [32, 8192]),
        );
        assert!(
            refusal(check(&add(&MemoryConfig::DRAM).into(), &[&users, &bias], &card)).contains("row broadcast over")
        );
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
}
