//! The configs among the arguments of a call: programs and compute kernels.

use bitnetc_plan::program::{FusedActivation, NormProgram};
use bitnetc_plan::{ComputeKernel, Fidelity, MatmulProgram, Unary};

use super::arguments::Arguments;
use super::parse::Mistake;

/// The program config of a matrix product.
///
/// # Errors
/// One that is missing, or of another call.
pub fn matmul_program(a: &mut Arguments<'_>) -> Result<MatmulProgram, Mistake> {
    let mut p = a.config("program_config")?.ok_or_else(|| {
        let help = "DramSharded(...), Multicast1D(...), Multicast2D(...), or TT-NN's names of them";
        a.missing("program_config", help)
    })?;
    let program = match p.name() {
        "MatmulMultiCoreReuseMultiCastDRAMShardedProgramConfig" | "DramSharded" => MatmulProgram::DramSharded {
            in0_block_w: p.number("in0_block_w")?,
            per_core_m: p.number_or("per_core_M", 1)?,
            per_core_n: p.number("per_core_N")?,
            activation: activation(&mut p)?,
            readers: p.number_or("num_workers_per_dram_bank", 1)?,
        },
        "MatmulMultiCoreReuseMultiCast1DProgramConfig" | "Multicast1D" => {
            p.fixed("fuse_batch", true)?;
            p.fixed("mcast_in0", true)?;
            MatmulProgram::Multicast1D {
                grid: p.pair("compute_with_storage_grid_size")?,
                in0_block_w: p.number("in0_block_w")?,
                out_subblock: (p.number("out_subblock_h")?, p.number("out_subblock_w")?),
                per_core_m: p.number_or("per_core_M", 1)?,
                per_core_n: p.number("per_core_N")?,
                activation: activation(&mut p)?,
            }
        }
        "MatmulMultiCoreReuseMultiCastProgramConfig" | "Multicast2D" => {
            p.fixed("fuse_batch", true)?;
            p.fixed("transpose_mcast", false)?;
            let (per_core_m, per_core_n) = (p.number("per_core_M")?, p.number("per_core_N")?);
            MatmulProgram::Multicast2D {
                grid: p.pair("compute_with_storage_grid_size")?,
                in0_block_w: p.number("in0_block_w")?,
                out_subblock: (p.number("out_subblock_h")?, p.number("out_subblock_w")?),
                out_block: (p.number_or("out_block_h", per_core_m)?, p.number_or("out_block_w", per_core_n)?),
                per_core_m,
                per_core_n,
                activation: activation(&mut p)?,
            }
        }
        other => {
            let help = "DramSharded(...), Multicast1D(...), Multicast2D(...), or TT-NN's names of them";
            return Err(p.mistake(format!("`{other}` is no program config of a matmul"), help));
        }
    };
    p.done().map(|()| program)
}

fn activation(p: &mut Arguments<'_>) -> Result<Option<FusedActivation>, Mistake> {
    let Some(mut function) = p.config("fused_activation")? else { return Ok(None) };
    match function.function()? {
        Unary::Relu => Ok(Some(FusedActivation::Relu)),
        Unary::Silu => Ok(Some(FusedActivation::Silu)),
        other => Err(function.mistake(format!("{other:?} is no activation of a matmul here"), "RELU or SILU")),
    }
}

/// The program config of a norm, if one is given.
///
/// # Errors
/// Parameters that are missing or unknown.
pub fn norm_program(a: &mut Arguments<'_>) -> Result<Option<NormProgram>, Mistake> {
    let Some(mut p) = a.config("program_config")? else { return Ok(None) };
    p.fixed("inplace", false)?;
    let program = NormProgram {
        grid: p.pair("compute_with_storage_grid_size")?,
        subblock_w: p.number("subblock_w")?,
        block_h: p.number("block_h")?,
        block_w: p.number("block_w")?,
    };
    p.done().map(|()| Some(program))
}

/// The compute kernel config, of a default fidelity.
///
/// # Errors
/// Parameters that are unknown.
pub fn compute(a: &mut Arguments<'_>, fidelity: Fidelity) -> Result<ComputeKernel, Mistake> {
    let Some(mut c) = a.config("compute_kernel_config")? else {
        return Ok(ComputeKernel { fidelity, fp32_dest_acc: false, packer_l1_acc: false });
    };
    c.fixed("math_approx_mode", false)?;
    let kernel = ComputeKernel {
        fidelity: c.fidelity()?,
        fp32_dest_acc: c.flag("fp32_dest_acc_en", false)?,
        packer_l1_acc: c.flag("packer_l1_acc", false)?,
    };
    c.done().map(|()| kernel)
}
