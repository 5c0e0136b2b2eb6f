//! Trace: the capture of a phase, and the buffers that carry its state from one replay to the next.
//!
//! Every phase is captured as a whole. In decode, token, positions and page table are persistent buffers, argmax writes the next token to
//! where the next embedding reads it, and positions are incremented on the card, so a replay needs no write by the host. In prefill the host
//! writes the chunk of the prompt, where it lies in the context and in the cache, and where its last token is, before each replay.

use bitnetc_plan::{Buffer, BufferRole, PhaseKind, Trace};

/// The number of runs before the capture. One run compiles every kernel and fills the program cache.
const WARM_UP: u32 = 1;

/// The capture of a phase.
pub fn trace(kind: PhaseKind, buffers: &[Buffer]) -> Trace {
    use BufferRole::{
        ChunkPages, ChunkStart, ContextPages, FirstTokens, Generators, InverseTemperature, LastTileEnds,
        LastTileStarts, PageTable, Positions, Prompt, PromptPositions, RotaryPositions, Seeds, Tokens, TopK, TopP,
    };
    let (inputs, feedback) = match kind {
        // A host writes the fed back ones too, when it samples, or when it gives the place of a finished user to another.
        PhaseKind::Decode { .. } => {
            let carried = vec![Tokens, Positions, RotaryPositions];
            let given = [PageTable, TopK, TopP, InverseTemperature, Seeds, Generators];
            ([&carried[..], &given].concat(), carried)
        }
        PhaseKind::Prefill { tokens } => {
            let chunk = [Prompt(tokens), PromptPositions(tokens), ChunkPages(tokens)];
            let place = [ContextPages, ChunkStart, LastTileStarts, LastTileEnds];
            (chunk.into_iter().chain(place).collect(), vec![FirstTokens])
        }
    };
    let named =
        |roles: &[BufferRole]| buffers.iter().filter(|b| roles.contains(&b.role)).map(|b| b.name.clone()).collect();
    Trace { warm_up: WARM_UP, inputs: named(&inputs), feedback: named(&feedback) }
}
