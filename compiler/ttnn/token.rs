//! Candidates of the calls that pick the next token of the logits: the likeliest, or one drawn among the likeliest.

use bitnetc_plan::op::{
    AddIntegers, ArgMax, BestColumn, CopyInto, GatherRows, ManualSeed, Reshape, RowMax, Sampling, TimesInteger,
    ToLayout, TopK, Transpose, Typecast,
};
use bitnetc_plan::ttnn::{CANDIDATES, Violation};
use bitnetc_plan::{Buffer, BufferRole, DType, Layout, MemoryConfig, Op, Ref, TILE, TensorSpec};

use super::{Context, Drafting, Ways};
use crate::schedule::Call;

/// Writes the index of the largest logit: by one search over all of them, or by the largest of groups of columns, which the matrix unit
/// finds, and a search within the group that holds the largest of all.
pub fn argmax(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    ways.consider(
        cx,
        call,
        vec![MemoryConfig::DRAM],
        || "row-major in DRAM".into(),
        |d| d.step(ArgMax { input: d.input(0), output: d.input(1) }),
    );
    let Some(logits) = call.values().next().map(|id| &cx.schedule.values[id]) else { return };
    // The matrix unit compares f32 with 10 bits of fraction only, so that unequal logits would be equal.
    if !cx.decode() || logits.dtype != DType::Bf16 {
        return;
    }
    let columns = logits.shape.last().copied().unwrap_or(0);
    for width in (4..=32).map(|tiles| tiles * TILE).filter(|width| columns > *width && columns.is_multiple_of(*width)) {
        for memory in [MemoryConfig::L1, MemoryConfig::DRAM] {
            let what = || format!("in groups of {width} columns in {memory}, then in the group of the largest");
            ways.consider(cx, call, vec![MemoryConfig::DRAM], what, |d| in_groups(d, call, width, &memory));
        }
    }
}

/// The steps of a search by groups. Of equal logits each step takes the first: the first group that holds the largest, and its first column
/// that does.
fn in_groups(d: &mut Drafting<'_>, call: &Call, width: u32, memory: &MemoryConfig) -> Result<(), Vec<Violation>> {
    let (dram, name) = (|| MemoryConfig::DRAM, |part: &str| format!("{}.{part}", call.name));
    let value = |part: &str| Ref::Value(name(part));
    let (logits, tokens) = (d.input(0), d.input(1));
    let users = d.input_spec(0).map_or(1, TensorSpec::rows);
    let groups = d.input_spec(0).map_or(0, TensorSpec::columns) / width;
    let step = |d: &mut Drafting<'_>, part: &str, op: Op| d.named_step(name(part), op, vec![name(part)]);
    let cut = Reshape { input: logits, shape: vec![1, 1, users * groups, width], memory: memory.clone() };
    step(d, "groups", cut.into())?;
    let tilize = ToLayout { input: value("groups"), layout: Layout::Tile, memory: memory.clone() };
    step(d, "tiles", tilize.into())?;
    step(d, "maxima", RowMax { input: value("tiles"), memory: MemoryConfig::L1 }.into())?;
    let turn = Transpose { input: value("maxima"), dims: (2, 3), memory: MemoryConfig::L1 };
    step(d, "row", turn.into())?;
    let untilize = ToLayout { input: value("row"), layout: Layout::RowMajor, memory: dram() };
    step(d, "all_maxima", untilize.into())?;
    let mut maxima = "all_maxima";
    if users > 1 {
        let cut = Reshape { input: value(maxima), shape: vec![1, 1, users, groups], memory: dram() };
        maxima = "users_maxima";
        step(d, maxima, cut.into())?;
    }
    step(d, "group", BestColumn { input: value(maxima), memory: dram() }.into())?;
    let numbers = d.buffer(Buffer {
        name: "generators".into(),
        per_layer: false,
        spec: TensorSpec::row_major([users], DType::U32, dram()),
        address: None,
        role: BufferRole::Generators,
    });
    step(d, "first_row", TimesInteger { input: numbers, factor: groups, memory: dram() }.into())?;
    step(d, "group_row", AddIntegers { a: value("group"), b: value("first_row"), memory: dram() }.into())?;
    let gather = GatherRows { indices: value("group_row"), table: value("groups"), memory: dram() };
    step(d, "found", gather.into())?;
    step(d, "place", BestColumn { input: value("found"), memory: dram() }.into())?;
    step(d, "first_column", TimesInteger { input: value("group"), factor: width, memory: dram() }.into())?;
    step(d, "column", AddIntegers { a: value("first_column"), b: value("place"), memory: dram() }.into())?;
    d.step(CopyInto { input: value("column"), output: tokens })
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
