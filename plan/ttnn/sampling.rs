//! `ttnn.sampling`: a core for each user draws its token.

use super::constraint::{constraints, values};
use super::top_k::CANDIDATES;
use super::{Answer, Checks, Outcome};
use crate::op::Sampling;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, MemoryConfig, TILE, TensorSpec};

constraints! { "sampling", "sampling_device_operation.cpp", also [];
    VALUES: "The values are bf16, tiled and interleaved."
        => "Only BFLOAT16, TILE_LAYOUT and INTERLEAVED are supported for inputs: {values}", "tiled bf16 values in DRAM";
    TOKENS: "The tokens are integers, row-major and interleaved."
        => "Only ROW_MAJOR UINT32 & INT32 are supported for input indices: {tokens}", "row-major u32 tokens in DRAM";
    ONE_SHAPE: "There is a token for each value."
        => "Input values and indices must have the same shape: {values} and {tokens}", "tokens of the values' shape";
    CANDIDATES_OF_USERS: "The values are [1, 1, B, 32] for up to 32 users."
        because "the kernel sorts wider ones, which plans do not need"
        => "sampling of {shape}", "[1, 1, B, 32] with B up to 32";
    PARAMETERS: "The parameters of the draw are row-major [B]: k u32, p and 1/temperature bf16."
        => "k, p and temp are {k}, {p}, {temperature}", "row-major [{users}] in DRAM, of u32, bf16 and bf16";
    RESULT: "The tensor written to is [1, 1, 1, B] of integers, interleaved."
        => "Sampling preallocated output must be rank-4 [1, 1, 1, {users}], got {output}", "a row-major u32 tensor [1, 1, 1, {users}] in DRAM";
    WORDS_IN_DRAM: "Every tensor is in DRAM, and tokens are u32, row-major where they are written."
        because "plans keep them so; other placements were not studied"
        => "sampling of {values} and {tokens} by {k}, {p} and {temperature} into {output}", "tensors in DRAM, and tokens of u32 in rows";
}

/// Values and tokens `[1,1,B,32]`, and what each user wants -> `[1,1,1,B]` u32, into the tensor given.
pub(super) fn check(_args: &Sampling, given: &[&TensorSpec], _card: &Card) -> Answer {
    let [x, tokens, k, p, temperature, output] = operands(given)?;
    let mut checks = Checks::new();
    let words = |spec: &TensorSpec| matches!(spec.dtype, DType::U32 | DType::I32) && !spec.memory.is_sharded();
    let tiled = x.dtype == DType::Bf16 && x.layout == Layout::Tile && !x.memory.is_sharded();
    checks.require(&VALUES, tiled, values![values = x]);
    checks.require(&TOKENS, words(tokens) && tokens.layout == Layout::RowMajor, values![tokens]);
    checks.require(&ONE_SHAPE, x.shape == tokens.shape, values![values = x, tokens]);
    let candidates = x.shape.len() == 4 && x.outer() == 1 && x.columns() == CANDIDATES && x.rows() <= TILE;
    checks.require(&CANDIDATES_OF_USERS, candidates, values![shape = x.shape]);
    let users = x.rows();
    let of =
        |spec: &TensorSpec, dtype| spec.dtype == dtype && spec.layout == Layout::RowMajor && *spec.shape == [users];
    let parameters = of(k, DType::U32) && of(p, DType::Bf16) && of(temperature, DType::Bf16);
    checks.require(&PARAMETERS, parameters, values![k, p, temperature, users]);
    checks.require(&RESULT, words(output) && *output.shape == [1, 1, 1, users], values![output, users]);
    let in_dram = given.iter().all(|spec| spec.memory == MemoryConfig::DRAM);
    let plain =
        in_dram && tokens.dtype == DType::U32 && output.dtype == DType::U32 && output.layout == Layout::RowMajor;
    checks.require(&WORDS_IN_DRAM, plain, values![values = x, tokens, k, p, temperature, output]);
    // Tiles of bf16 and u16, the rows of tokens, and for each user k, p, 1/temperature and what becomes of it.
    let circular_buffers = 27 * DType::Bf16.tile_bytes() + 128 + 8 * u64::from(users);
    checks.finish(|| Outcome { outputs: Vec::new(), circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, refusal};

    fn draw() -> Sampling {
        Sampling { values: any(), tokens: any(), k: any(), p: any(), inverse_temperature: any(), output: any() }
    }

    fn operands(users: u32) -> [TensorSpec; 6] {
        let list = |shape: &[u32], dtype| TensorSpec::row_major(shape, dtype, MemoryConfig::DRAM);
        [
            TensorSpec::tile([1, 1, users, 32], DType::Bf16, MemoryConfig::DRAM),
            list(&[1, 1, users, 32], DType::U32),
            list(&[users], DType::U32),
            list(&[users], DType::Bf16),
            list(&[users], DType::Bf16),
            list(&[1, 1, 1, users], DType::U32),
        ]
    }

    #[test]
    fn bytes_of_sampling() {
        for (users, expected) in [(32, 55_680), (8, 55_488), (1, 55_432)] {
            assert_eq!(bytes(draw(), &operands(users).each_ref(), &n150()), expected);
        }
    }

    #[test]
    fn a_result_of_three_dimensions_is_refused() {
        let mut given = operands(8);
        given[5] = TensorSpec::row_major([1, 1, 8], DType::U32, MemoryConfig::DRAM);
        assert!(refusal(check(&draw().into(), &given.each_ref(), &n150())).contains("must be rank-4"));
    }
}
