//! The next token, drawn among the likeliest.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.sampling` of each user into a persistent buffer (`output_tensor`), which the next step's embedding reads. Of the candidates of a
    /// user the first `k` are kept, of these as few as have the probability `p` together at the user's temperature, and one of those is drawn
    /// by the random numbers of the user's core, which [`super::ManualSeed`] seeds.
    Sampling = "sampling" -> 0 {
        /// `[1,1,B,32]` bf16, tiled, largest first: logits.
        values: Ref [reads Candidates],
        /// `[1,1,B,32]` u32, row-major: their tokens.
        tokens: Ref [reads CandidateTokens],
        /// `[B]` u32: 1 to 32.
        k: Ref [reads TopK],
        /// `[B]` bf16: 0 to 1.
        p: Ref [reads TopP],
        /// `[B]` bf16: 1 / temperature.
        inverse_temperature: Ref [reads InverseTemperature],
        /// `[1,1,1,B]` u32.
        output: Ref [writes NextToken],
    }
}
