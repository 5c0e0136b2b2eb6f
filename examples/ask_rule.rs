//! Asks the op rules what TT-NN would say to a call, as one does when writing TT-NN by hand: here the gate projection of BitNet 2B-4T in
//! decode, with K-blocks of several widths.
//!
//! ```sh
//! cargo run --example ask_rule
//! ```

use std::error::Error;

use bitnetc_compiler::target::Target;
use bitnetc_plan::op::{Matmul, Op, Ref};
use bitnetc_plan::{ComputeKernel, Cores, DType, Fidelity, MatmulProgram, MemoryConfig, TensorSpec, ttnn};

fn main() -> Result<(), Box<dyn Error>> {
    let card = Target::find("n150")?.card;
    // One row of tiles, 2560 columns over 8x5 cores; 2560 x 6912 ternary weights over the 12 DRAM banks.
    let x = MemoryConfig::width(Cores::row_major(40, card.grid), [32, 64]);
    let x = TensorSpec::tile([1, 1, 32, 2560], DType::Bf16, x);
    let weight = TensorSpec::tile([1, 1, 2560, 6912], DType::Bfp4, MemoryConfig::dram_width(12, [2560, 576]));

    for in0_block_w in [1, 2, 3, 40] {
        let call = gate(in0_block_w, MemoryConfig::width(Cores::row_major(54, card.grid), [32, 128]));
        print!("in0_block_w {in0_block_w}: ");
        match ttnn::check(&call, &[&x, &weight], &card) {
            Ok(outcome) => println!("{}, {} bytes of circular buffers", outcome.outputs[0], outcome.circular_buffers),
            // Every constraint that the call breaks, in TT-NN's words, and what would be right.
            Err(violations) => println!("{}", told(&violations)),
        }
    }
    Ok(())
}

fn gate(in0_block_w: u32, memory: MemoryConfig) -> Op {
    let program =
        MatmulProgram::DramSharded { in0_block_w, per_core_m: 1, per_core_n: 4, activation: None, readers: 1 };
    let compute = ComputeKernel { fidelity: Fidelity::LoFi, fp32_dest_acc: false, packer_l1_acc: true };
    let (a, b) = (Ref::Value("x".into()), Ref::Weight("gate".into()));
    Matmul { a, b, program, compute, dtype: DType::Bf16, memory }.into()
}

fn told(violations: &[ttnn::Violation]) -> String {
    violations.iter().map(|v| format!("{v}; {}", v.hint())).collect::<Vec<_>>().join("; ")
}

#[test]
fn it_runs() {
    main().unwrap();
}
