//! Candidates of RMS norms: sharded for one tile of rows, interleaved for more.

use bitnetc_plan::op::{RmsNorm, ToMemoryConfig};
use bitnetc_plan::program::NormProgram;
use bitnetc_plan::{ComputeKernel, Fidelity, MemoryConfig, Ref, Scalar, TILE};

use super::{Context, Ways, heads, placements};
use crate::schedule::Call;

/// Norms are computed at full fidelity with fp32 sums. They take a small part of the time, and an error in them reaches all columns.
const COMPUTE: ComputeKernel = ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc: true, packer_l1_acc: true };

/// Tiles per subblock with fp32 sums.
const MAX_SUBBLOCK: u32 = 4;

/// Input and output share one placement. TT-NN also accepts a larger output shard, for which there is no use here.
pub fn ways(call: &Call, cx: &Context<'_>, epsilon: &Scalar, ways: &mut Ways) {
    let Some(input) = call.values().next() else { return };
    let spec = cx.spec(input, MemoryConfig::DRAM);
    for memory in placements::features(&spec, placements::head_count(cx, input), &cx.target.card) {
        let program = program(&memory);
        let what = || match &program {
            Some(p) => format!(
                "{} cores in a {}x{} grid",
                memory.l1_cores().map_or(0, bitnetc_plan::Cores::len),
                p.grid.0,
                p.grid.1
            ),
            None => "interleaved in DRAM".to_string(),
        };
        ways.consider(cx, call, vec![memory.clone()], what, |d| {
            let (input, gamma) = (d.input(0), d.input(1));
            let epsilon = epsilon.clone();
            d.step(RmsNorm { input, gamma, epsilon, program, compute: COMPUTE, memory: memory.clone() })
        });
    }
}

/// Norms of heads. TT-NN's sharded norm takes width shards only, so that the heads of decode, which lie one user to a core, are moved to an
/// interleaved placement and back.
pub fn heads(call: &Call, cx: &Context<'_>, epsilon: &Scalar, ways: &mut Ways) {
    let (Some(input), Some(output)) = (call.values().next(), call.outputs.first()) else { return };
    let shape = &cx.schedule.values[input].shape;
    let norm = |input, gamma, memory| {
        let epsilon = epsilon.clone();
        RmsNorm { input, gamma, epsilon, program: None, compute: COMPUTE, memory }
    };
    if !cx.decode() {
        ways.consider(
            cx,
            call,
            vec![MemoryConfig::DRAM],
            || "interleaved in DRAM".into(),
            |d| d.step(norm(d.input(0), d.input(1), MemoryConfig::DRAM)),
        );
        return;
    }
    let (users, count, head_dim) = (shape[1], shape[2], shape[3]);
    let name = &cx.schedule.values[*output].name;
    for skip in [0, users] {
        let shards = heads::users_on(cx, skip, users, count, head_dim);
        for home in [MemoryConfig::L1, MemoryConfig::DRAM] {
            ways.consider(
                cx,
                call,
                vec![shards.clone()],
                || format!("in {home}, users from core {skip} on"),
                |d| {
                    let [gathered, normed] = ["gathered", "normed"].map(|part| format!("{name}.{part}"));
                    let gather = ToMemoryConfig { input: d.input(0), memory: home.clone() };
                    d.named_step(gathered.clone(), gather, vec![gathered.clone()])?;
                    let gamma = d.input(1);
                    d.named_step(
                        call.name.clone(),
                        norm(Ref::Value(gathered), gamma, home.clone()),
                        vec![normed.clone()],
                    )?;
                    let spread = ToMemoryConfig { input: Ref::Value(normed), memory: shards.clone() };
                    d.named_step(format!("{}.spread", call.name), spread, vec![d.output_name(0)])
                },
            );
        }
    }
}

fn program(memory: &MemoryConfig) -> Option<NormProgram> {
    let (cores, [_, width]) = (memory.l1_cores()?, memory.shard()?);
    let block_w = width / TILE;
    let subblock_w = (1..=MAX_SUBBLOCK.min(block_w)).rev().find(|s| block_w.is_multiple_of(*s))?;
    Some(NormProgram { grid: cores.extent(), subblock_w, block_h: 1, block_w })
}
