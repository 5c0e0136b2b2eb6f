//! Trace: which buffers carry a captured phase from replay to replay.
//!
//! Decode is captured whole: its token, positions and page table are persistent buffers, argmax writes the next token where the next
//! embedding reads it, and positions count up on the card, so a replay needs no host write. Prefill takes the user and the last token's
//! place as arguments of calls, which a trace would freeze, so it runs untraced.

use bitnetc_plan::{Buffer, BufferRole, PhaseKind, Trace};

/// Runs before the capture: one compiles every kernel and fills the program cache.
const WARM_UP: u32 = 1;

/// How a phase is captured.
pub fn trace(kind: PhaseKind, buffers: &[Buffer]) -> Option<Trace> {
    let PhaseKind::Decode { .. } = kind else { return None };
    let named =
        |roles: &[BufferRole]| buffers.iter().filter(|b| roles.contains(&b.role)).map(|b| b.name.clone()).collect();
    let fed_back = [BufferRole::Tokens, BufferRole::Positions, BufferRole::RotaryPositions];
    Some(Trace {
        warm_up: WARM_UP,
        // A host that samples, or that gives a finished user's place to another, writes these between replays.
        inputs: named(&[BufferRole::Tokens, BufferRole::Positions, BufferRole::RotaryPositions, BufferRole::PageTable]),
        feedback: named(&fed_back),
    })
}
