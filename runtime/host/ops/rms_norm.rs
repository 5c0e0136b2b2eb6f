//! `ttnn.rms_norm`.

use bitnetc_numerics as numerics;
use bitnetc_numerics::kernels::{self, Compute, NormProgram};
use bitnetc_plan::op::RmsNorm;
use bitnetc_plan::{TILE, program};

use crate::DeviceError;
use crate::host::rows::{floats, settle};
use crate::host::run::Run;
use crate::host::tensor::{Data, HostTensor, elements};

pub fn execute(op: &RmsNorm, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let kernel = run.kernel(op.compute).map(|compute| (op.program, compute));
    run.produce(|x, [out]| rms_norm(x.tensor(0)?, x.tensor(1)?, op.epsilon.value as f32, kernel, out))
}

/// How the kernel lays rows of `columns` on cores.
fn on_cores(program: Option<program::NormProgram>, columns: usize) -> NormProgram {
    match program {
        None => NormProgram::Interleaved,
        Some(program) => {
            let block_w = program.block_w.max(1) as usize;
            let (across, down) = (program.grid.0 as usize, program.grid.1 as usize);
            let cores = columns.div_ceil(block_w * TILE as usize);
            let row = (across > 1 && down > 1 && cores == across * down).then_some(across);
            NormProgram::Sharded { block_w, cores, row }
        }
    }
}

/// `gamma` has an element for each column, in whatever shape.
fn rms_norm(
    input: &HostTensor,
    gamma: &HostTensor,
    epsilon: f32,
    kernel: Option<(Option<program::NormProgram>, Compute)>,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let columns = input.columns();
    if elements(&gamma.spec) != columns {
        return Err(gamma.unexpected(1, format!("{columns} elements")));
    }
    if let (Some((program, how)), Data::Bf16(x), Data::Bf16(g), Data::Bf16(to)) =
        (kernel, &input.data, &gamma.data, &mut out.data)
    {
        kernels::rms_norm(x, g, epsilon, on_cores(program, columns), how, to)?;
        return settle(out);
    }
    floats!(&input.data, input.unexpected(0, "floats"), x => {
        floats!(&gamma.data, gamma.unexpected(1, "floats"), g => {
            floats!(&mut out.data, out.unexpected(2, "floats"), to => Ok(numerics::rms_norm(x, g, epsilon, to)?))
        })
    })?;
    settle(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{tensor, values};
    use bitnetc_plan::DType;

    #[test]
    fn rows_of_length_one_times_gamma() {
        let x = tensor(&[1, 1, 2, 4], DType::F32, &[3.0, -4.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        let gamma = tensor(&[1, 1, 1, 4], DType::F32, &[1.0, 1.0, 1.0, 2.0]);
        let mut out = tensor(&[1, 1, 2, 4], DType::F32, &[0.0; 8]);
        rms_norm(&x, &gamma, 0.0, None, &mut out).unwrap();
        let want = [1.2, -1.6, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0];
        assert!(values(&out).iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
