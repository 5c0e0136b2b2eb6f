//! Trace: the capture of a phase, and the buffers that carry its state from one replay to the next.
//!
//! Decode is captured as a whole. Its token, positions and page table are persistent buffers, argmax writes the next token to where the
//! next embedding reads it, and positions are incremented on the card, so a replay needs no write by the host. Prefill takes the user and
//! the place of the last token as arguments of calls, which a trace would freeze, so it runs untraced.

use bitnetc_plan::{Buffer, BufferRole, PhaseKind, Trace};

/// The number of runs before the capture. One run compiles every kernel and fills the program cache.
const WARM_UP: u32 = 1;

/// The capture of a phase; `None` for a phase that runs untraced.
pub fn trace(kind: PhaseKind, buffers: &[Buffer]) -> Option<Trace> {
    let PhaseKind::Decode { .. } = kind else { return None };
    let named =
        |roles: &[BufferRole]| buffers.iter().filter(|b| roles.contains(&b.role)).map(|b| b.name.clone()).collect();
    let fed_back = [BufferRole::Tokens, BufferRole::Positions, BufferRole::RotaryPositions];
    Some(Trace {
        warm_up: WARM_UP,
        // A host writes these between replays when it samples, or when it gives the place of a finished user to another.
        inputs: named(&[BufferRole::Tokens, BufferRole::Positions, BufferRole::RotaryPositions, BufferRole::PageTable]),
        feedback: named(&fed_back),
    })
}
