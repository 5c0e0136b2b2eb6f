//! Calls that move a tensor without changing a number: `ttnn.to_memory_config`, `ttnn.reshape` as a view, `ttnn.transpose`.

use super::{Answer, Checks, Outcome, operands, require_placement};
use crate::op::{ToMemoryConfig, Transpose, View};
use crate::{Card, DType, Layout, Memory, MemoryConfig, TILE, TensorSpec};

/// Any tiled tensor to any placement; a row-major one between interleaved L1 and DRAM.
///
/// Between shards, and between shards and interleaved memory, nothing is buffered. Stricter than TT-NN: the placement must change (TT-NN
/// returns the same tensor), row-major shards are not taken.
///
/// # Errors
/// What no tensor may break, and the above.
pub fn check_to_memory_config(args: &ToMemoryConfig, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    moved(x, &args.memory, card, Checks::new())
}

/// `x` copied to `memory`.
pub(super) fn moved(x: &TensorSpec, memory: &MemoryConfig, card: &Card, mut checks: Checks) -> Answer {
    checks.narrow(
        x.memory != *memory,
        format_args!("the tensor already is in {memory}: no copy is made"),
        format_args!("leave the call out"),
    );
    checks.narrow(
        x.layout == Layout::Tile || (!x.memory.is_sharded() && !memory.is_sharded()),
        format_args!("row-major tensor from {} to {memory}", x.memory),
        format_args!("a tiled tensor, or interleaved placements"),
    );
    let output = TensorSpec { memory: memory.clone(), ..x.clone() };
    require_placement(&output, card, &mut checks);
    let circular_buffers = match (x.memory.is_sharded() || memory.is_sharded(), x.layout) {
        (true, _) => 0,
        (false, Layout::Tile) => 2 * x.dtype.tile_bytes(),
        (false, Layout::RowMajor) => {
            let row = u64::from(x.columns()) * x.dtype.element_bytes().unwrap_or(0);
            2 * row.next_multiple_of(alignment(memory.memory(), card)) + row
        }
    };
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

/// Alignment of pages in a memory.
pub(super) const fn alignment(memory: Memory, card: &Card) -> u64 {
    match memory {
        Memory::L1 => card.l1.alignment,
        Memory::Dram => card.dram.alignment,
    }
}

/// `ttnn.reshape(x, shape, padded_shape)`: another logical shape over the same buffer.
///
/// Accepted when the columns and the number of padded rows stay what they are; rows that were padding may become logical and the reverse.
/// Stricter than TT-NN, which takes fewer rows too, and row-major tensors.
///
/// # Errors
/// A shape of other columns or padded rows.
pub fn check_view(args: &View, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    let output = TensorSpec { shape: args.shape.clone(), ..x.clone() };
    let valid = checks.require(
        (1..=4).contains(&args.shape.len()) && args.shape.iter().all(|&d| d > 0),
        format_args!("shape {:?}", args.shape),
        format_args!("one to four dimensions, none of them 0"),
    );
    checks.narrow(x.layout == Layout::Tile, format_args!("reshape of {x}"), format_args!("a tiled tensor"));
    checks.narrow(
        !valid || output.matrix_rows() >= x.matrix_rows(),
        format_args!("reshape of {} padded rows to {}", x.matrix_rows(), output.matrix_rows()),
        format_args!("{} padded rows", x.matrix_rows()),
    );
    checks.require(
        !valid || (output.columns() == x.columns() && output.matrix_rows() <= x.matrix_rows()),
        format_args!(
            "Attempting to reshape between two shapes with different volumes: {:?} to {:?}",
            x.shape, args.shape
        ),
        format_args!("{} columns and {} padded rows", x.columns(), x.matrix_rows()),
    );
    checks.settle()?;
    require_placement(&output, card, &mut checks);
    checks.finish(|| Outcome { outputs: vec![output], ..Outcome::default() })
}

/// `[A,B,C,D] -> [A,C,B,D]` of an interleaved tiled bf16 or f32 tensor.
///
/// Stricter than TT-NN, which transposes any two dimensions.
///
/// # Errors
/// The above and what no tensor may break.
pub fn check_transpose(args: &Transpose, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    checks.narrow(
        matches!(args.dims, (1, 2) | (2, 1)) && x.shape.len() == 4,
        format_args!("transpose of dimensions {:?} of {:?}", args.dims, x.shape),
        format_args!("dimensions 1 and 2 of four"),
    );
    checks.narrow(
        x.layout == Layout::Tile && !x.memory.is_sharded(),
        format_args!("transpose of {x}"),
        format_args!("a tiled, interleaved tensor"),
    );
    checks.narrow(
        matches!(x.dtype, DType::Bf16 | DType::F32),
        format_args!("transpose of {}", x.dtype),
        format_args!("bf16 or f32"),
    );
    checks.settle()?;
    let mut shape = x.shape.clone();
    shape.swap(1, 2);
    // Rows of the result that only fill up tiles are written from a buffer of one face.
    let padding = if shape[2] % TILE == 0 { 0 } else { x.dtype.tile_bytes() / 4 };
    let output = TensorSpec::tile(shape, x.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let circular_buffers = 2 * x.dtype.tile_bytes() + padding;
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cores;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, integers, n150, p150, refusal, row};

    fn to(memory: MemoryConfig) -> ToMemoryConfig {
        ToMemoryConfig { input: any(), memory }
    }

    #[test]
    fn shards_move_without_buffers() {
        let card = n150();
        let (x, y) = (row(&card, 8, 2560, 8, 10), row(&card, 8, 2560, 20, 4));
        for memory in [y.memory.clone(), MemoryConfig::L1, MemoryConfig::DRAM] {
            let answer = check(&to(memory.clone()).into(), &[&x], &card).unwrap();
            assert_eq!((answer.circular_buffers, answer.programs), (0, 1));
            assert_eq!(answer.outputs, [TensorSpec { memory, ..x.clone() }]);
        }
        assert!(refusal(check(&to(x.memory.clone()).into(), &[&x], &card)).contains("no copy is made"));
        let short = MemoryConfig::width(Cores::rectangle(0, 0, 8, 1), [20, 320]);
        assert!(refusal(check(&to(short).into(), &[&x], &card)).contains("(20, 320) must be tile {32, 32} sized!"));
    }

    #[test]
    fn interleaved_copies() {
        let dram = TensorSpec::tile([1, 1, 32, 2560], DType::Bfp8, MemoryConfig::DRAM);
        assert_eq!(bytes(to(MemoryConfig::L1), &[&dram], &n150()), 2176);
        assert_eq!(bytes(to(MemoryConfig::L1), &[&integers([1, 17])], &n150()), 228);
        let l1 = TensorSpec { memory: MemoryConfig::L1, ..integers([1, 17]) };
        assert_eq!(bytes(to(MemoryConfig::DRAM), &[&l1], &n150()), 260);
        assert_eq!(bytes(to(MemoryConfig::DRAM), &[&l1], &p150()), 324);
    }

    #[test]
    fn views_keep_columns_and_padded_rows() {
        let card = n150();
        let view = |shape: &[u32]| View { input: any(), shape: shape.to_vec() };
        let heads = row(&card, 8, 2560, 20, 4);
        let answer = check(&view(&[1, 1, 32, 2560]).into(), &[&heads], &card).unwrap();
        assert_eq!((answer.programs, &answer.outputs[0].memory), (0, &heads.memory));
        let dram = TensorSpec::tile([1, 1, 128, 2560], DType::Bf16, MemoryConfig::DRAM);
        assert!(check(&view(&[1, 4, 32, 2560]).into(), &[&dram], &card).is_ok());
        for shape in [[1, 1, 160, 2560], [1, 1, 128, 2528]] {
            assert!(refusal(check(&view(&shape).into(), &[&dram], &card)).contains("different volumes"));
        }
    }

    #[test]
    fn transposes() {
        let of = |shape: [u32; 4], dtype| {
            let x = TensorSpec::tile(shape, dtype, MemoryConfig::L1);
            let args = Transpose { input: any(), dims: (1, 2), memory: MemoryConfig::L1 };
            bytes(args, &[&x], &n150())
        };
        assert_eq!(of([1, 1, 64, 128], DType::Bf16), 4608);
        assert_eq!(of([1, 64, 1, 128], DType::Bf16), 4096);
        assert_eq!(of([1, 1, 64, 128], DType::F32), 9216);
    }
}
