//! TT-NN's constructors of core sets and memory configs.

use std::ops::Range;

use bitnetc_plan::{CoreRange, Cores, Memory, MemoryConfig, Strategy};

use super::arguments::{Arguments, Known, kind, number};
use super::parse::{Call, Expr, Kind, Mistake};

/// `ttnn.CoreRangeSet([...])`.
pub fn core_set(value: &Expr) -> Result<Cores, Mistake> {
    let wrong = || kind(value, "CoreRangeSet([CoreRange(CoreCoord(0, 0), CoreCoord(7, 0))])");
    let call = |value: &Expr, wanted: &str| match &value.kind {
        Kind::Call(call) if call.name == wanted => Ok(call.args.clone()),
        _ => Err(wrong()),
    };
    let core = |value: &Expr| match call(value, "CoreCoord")?.as_slice() {
        [x, y] => Ok((number(x)?, number(y)?)),
        _ => Err(wrong()),
    };
    let range = |value: &Expr| match call(value, "CoreRange")?.as_slice() {
        [start, end] => Ok(CoreRange { start: core(start)?, end: core(end)? }),
        _ => Err(wrong()),
    };
    match call(value, "CoreRangeSet")?.as_slice() {
        [Expr { kind: Kind::List(ranges), .. }] => ranges.iter().map(range).collect::<Result<_, _>>().map(Cores),
        _ => Err(wrong()),
    }
}

/// `MemoryConfig(layout, buffer, ShardSpec(cores, shape, orientation))`.
pub fn sharded_config(call: &Call, span: Range<usize>, known: &dyn Known) -> Result<MemoryConfig, Mistake> {
    let mut a = Arguments::new(call, span.clone(), known);
    let strategies = [
        ("TensorMemoryLayout.WIDTH_SHARDED", Strategy::Width),
        ("TensorMemoryLayout.HEIGHT_SHARDED", Strategy::Height),
    ];
    let strategy = a.one_of("memory_layout", &strategies, None)?;
    let memory = a.one_of("buffer_type", &[("BufferType.L1", Memory::L1), ("BufferType.DRAM", Memory::Dram)], None)?;
    let spec = match &a.need("shard_spec")?.kind {
        Kind::Call(spec) if spec.name == "ShardSpec" => spec,
        _ => return Err(a.missing("ShardSpec", "ShardSpec(cores, [32, 320], ShardOrientation.ROW_MAJOR)")),
    };
    let mut s = Arguments::new(spec, span, known);
    let cores = s.cores("grid")?;
    let (rows, columns) = s.pair("shape")?;
    s.one_of("orientation", &[("ShardOrientation.ROW_MAJOR", ())], None)?;
    Ok(MemoryConfig::Sharded { memory, strategy, cores, shard: [rows, columns] })
}
