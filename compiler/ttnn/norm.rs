//! Candidates of RMS norms: sharded for one tile of rows, interleaved for more.

use bitnetc_plan::op::RmsNorm;
use bitnetc_plan::program::NormProgram;
use bitnetc_plan::{ComputeKernel, Fidelity, MemoryConfig, Scalar, TILE};

use super::{Context, Ways, placements};
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

fn program(memory: &MemoryConfig) -> Option<NormProgram> {
    let (cores, [_, width]) = (memory.l1_cores()?, memory.shard()?);
    let block_w = width / TILE;
    let subblock_w = (1..=MAX_SUBBLOCK.min(block_w)).rev().find(|s| block_w.is_multiple_of(*s))?;
    Some(NormProgram { grid: cores.extent(), subblock_w, block_h: 1, block_w })
}
