//! `ttnn.embedding`: rows of the table of tokens, or of a rotary table.

use super::{Execution, Meaning};
use crate::function::Unclear;
use crate::function::matrices::lookup;
use crate::function::value::{Rows, RowsOf, Value};
use crate::op::Embedding;
use crate::{BufferRole, PhaseKind, Source, Step};

pub(super) fn meaning(args: &Embedding, step: &Step, run: &mut Execution<'_>) -> Meaning {
    let role = run.role(&args.indices)?;
    let users = matches!(run.kind(), PhaseKind::Decode { .. });
    match (role, run.source(&args.table)?) {
        (BufferRole::Tokens, Source::Rows(table)) => {
            let columns = lookup(&mut run.terms, table)?;
            Ok(vec![Value::flat(Rows::new(RowsOf::Users, run.kind().rows()), columns)])
        }
        (BufferRole::Prompt(tokens), Source::Rows(table)) => {
            let columns = lookup(&mut run.terms, table)?;
            Ok(vec![Value::flat(Rows::new(RowsOf::Prompt, tokens), columns)])
        }
        (BufferRole::RotaryPositions, Source::RotaryTable { .. }) if users => {
            // The positions of all users, once or twice.
            let rows = step.outputs.first().map_or(0, |output| output.spec.rows());
            let angles = run.value(&args.table)?;
            Ok(vec![Value { rows: Rows::new(RowsOf::Users, rows), ..angles }])
        }
        (BufferRole::PromptPositions(tokens), Source::RotaryTable { .. }) if !users => {
            let angles = run.value(&args.table)?;
            Ok(vec![Value { rows: Rows::new(RowsOf::Prompt, tokens), ..angles }])
        }
        (
            BufferRole::Tokens
            | BufferRole::Positions
            | BufferRole::RotaryPositions
            | BufferRole::PageTable
            | BufferRole::KeyCache
            | BufferRole::ValueCache
            | BufferRole::Prompt(_)
            | BufferRole::PromptPositions(_)
            | BufferRole::ChunkPages(_)
            | BufferRole::ContextPages
            | BufferRole::ChunkStart
            | BufferRole::LastTileStarts
            | BufferRole::LastTileEnds
            | BufferRole::FirstTokens
            | BufferRole::TopK
            | BufferRole::TopP
            | BufferRole::InverseTemperature
            | BufferRole::Seeds
            | BufferRole::Generators,
            _,
        ) => {
            let what = format!("`{}` are looked up in `{}`", args.indices, args.table);
            Err(Unclear::new(what, "tokens in a table of the checkpoint, positions in a rotary table").into())
        }
    }
}
