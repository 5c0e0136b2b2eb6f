//! Candidates of the calls that pick the next token of the logits: the likeliest, or one drawn among the likeliest.

use bitnetc_plan::op::{ArgMax, ManualSeed, Sampling, ToLayout, TopK, Typecast};
use bitnetc_plan::ttnn::CANDIDATES;
use bitnetc_plan::{DType, Layout, MemoryConfig, Ref};

use super::{Context, Ways};
use crate::schedule::Call;

/// Writes the index of the largest logit.
pub fn argmax(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    ways.consider(
        cx,
        call,
        vec![MemoryConfig::DRAM],
        || "row-major in DRAM".into(),
        |d| d.step(ArgMax { input: d.input(0), output: d.input(1) }),
    );
}

/// Searches the largest logits of each row. Their columns come in tiles, and of a short row as u16; the draw takes rows of u32.
pub fn top_k(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    ways.consider(
        cx,
        call,
        vec![MemoryConfig::DRAM],
        || format!("{CANDIDATES} of each row in DRAM"),
        |d| {
            let memory = || MemoryConfig::DRAM;
            let (values, tokens) = (d.output_name(0), d.output_name(1));
            let tiles = format!("{tokens}.tiles");
            let search = TopK { input: d.input(0), k: CANDIDATES, memory: memory() };
            d.named_step(call.name.clone(), search, vec![values, tiles.clone()])?;
            let short = d.spec(&tiles).is_some_and(|spec| spec.dtype == DType::U16);
            let rows = if short { format!("{tokens}.rows") } else { tokens.clone() };
            let untilize = ToLayout { input: Ref::Value(tiles), layout: Layout::RowMajor, memory: memory() };
            d.named_step(format!("{}.rows", call.name), untilize, vec![rows.clone()])?;
            if short {
                let widen = Typecast { input: Ref::Value(rows), dtype: DType::U32, memory: memory() };
                d.named_step(format!("{}.widen", call.name), widen, vec![tokens])?;
            }
            Ok(())
        },
    );
}

/// Seeds the random numbers of each user's core.
pub fn seed(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    let what = || "a core for each user".into();
    ways.consider(cx, call, vec![], what, |d| d.step(ManualSeed { seeds: d.input(0), generators: d.input(1) }));
}

/// Draws a token of each user.
pub fn sample(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    ways.consider(
        cx,
        call,
        vec![MemoryConfig::DRAM; 2],
        || "a core for each user".into(),
        |d| {
            d.step(Sampling {
                values: d.input(0),
                tokens: d.input(1),
                k: d.input(2),
                p: d.input(3),
                inverse_temperature: d.input(4),
                output: d.input(5),
            })
        },
    );
}
