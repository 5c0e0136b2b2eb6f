//! `ternary_gated`: gate and up by two-bit weights in one program, and their product. It has the constraints of two products at once.

use super::checks::operands;
use super::constraint::{constraints, values};
use super::ternary_linear::{Cut, products};
use super::{Answer, Checks};
use crate::op::TernaryGated;
use crate::{Card, DType, TensorSpec};

constraints! { "ternary_gated", "generic_op.cpp", also [placement, ternary_linear];
    ONE_SHAPE: "Gate and up have one shape."
        because "a core computes the same columns of both"
        => "gate {gate}, up {up}", "two weights of one shape";
    BF16_SUMS: "Sums are bf16."
        because "of fp32 sums the product would have other bits than of the results of two calls"
        => "fp32 sums", "bf16 sums";
    NO_ACTIVATION: "There is no fused activation beside the gate's."
        because "the product is what the kernel makes of both sums"
        => "a fused activation", "none";
}

/// `[1,1,rows,K]`, `[1,1,K,N]`, `[1,1,K,N]` -> `[1,1,rows,N]`.
pub(super) fn check(args: &TernaryGated, given: &[&TensorSpec], card: &Card) -> Answer {
    let [a, gate, up] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(&ONE_SHAPE, gate == up, values![gate, up]);
    checks.require(&BF16_SUMS, !args.compute.fp32_dest_acc, values![]);
    checks.require(&NO_ACTIVATION, args.program.activation.is_none(), values![]);
    let cut = Cut { program: args.program, compute: args.compute, dtype: DType::Bf16, memory: &args.memory };
    products(&cut, a, [gate, up], card, checks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::mock::{any, n150, row};
    use crate::{ComputeKernel, Cores, Fidelity, MemoryConfig, Op, TernaryProgram, kernels, ttnn};

    fn mlp(change: impl FnOnce(&mut TernaryGated, &mut TensorSpec)) -> Answer {
        let card = n150();
        let kernels = kernels::TERNARY_LINEAR.fingerprint();
        let mut args = TernaryGated {
            a: any(),
            gate: any(),
            up: any(),
            program: TernaryProgram { in0_block_w: 16, readers: 1, activation: None, kernels },
            compute: ComputeKernel { fidelity: Fidelity::LoFi, fp32_dest_acc: false, packer_l1_acc: false },
            memory: MemoryConfig::width(Cores::row_major(54, card.grid), [32, 128]),
        };
        let gate = TensorSpec::tile([1, 1, 2560, 6912], DType::Bfp2, MemoryConfig::DRAM);
        let mut up = gate.clone();
        change(&mut args, &mut up);
        ttnn::check(&Op::from(args), &[&row(&card, 32, 2560, 40, 2), &gate, &up], &card)
    }

    #[test]
    fn a_core_holds_the_codes_of_both() {
        let outcome = mlp(|_, _| {}).unwrap();
        assert_eq!(outcome.circular_buffers, 80 * 2048 + (80 * 2 * 4 + 10 * 16) * 256);
        assert_eq!(outcome.outputs[0].to_string(), "[1, 1, 32, 6912] bf16 L1 WS[32,128] on (0,0)-(7,5)+(0,6)-(5,6)");
    }

    #[test]
    fn what_the_kernel_cannot_do_is_refused() {
        let refusal = |change: &dyn Fn(&mut TernaryGated, &mut TensorSpec)| {
            mlp(|args, up| change(args, up))
                .unwrap_err()
                .iter()
                .map(|v| format!("{}: {v}\n", v.id()))
                .collect::<String>()
        };
        assert!(refusal(&|_, up| up.shape[3] = 2560).contains("ternary_gated.one_shape"));
        assert!(refusal(&|args, _| args.compute.fp32_dest_acc = true).contains("ternary_gated.bf16_sums"));
        let wide = |args: &mut TernaryGated, _: &mut TensorSpec| {
            args.memory = MemoryConfig::width(Cores::row_major(24, (8, 8)), [32, 288]);
        };
        assert!(refusal(&wide).contains("18 tiles of a core"));
    }
}
