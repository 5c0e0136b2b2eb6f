//! Price of another placement: between shards, out of them, or into them.

use bitnetc_plan::op;

use super::{Kernel, Priced, laws};

pub fn kernel(args: &op::ToMemoryConfig, priced: &Priced<'_>) -> Kernel {
    let m = priced.movement();
    let us = match (priced.operands[0].memory.is_sharded(), args.memory.is_sharded()) {
        (true, true) => m.reshard_us,
        (true, false) => m.to_interleaved_us,
        (false, true | false) => m.to_sharded_us,
    };
    laws::measured(us, priced)
}
