//! Price of another placement: between shards, out of them, or into them.

use bitnetc_plan::op;

use super::{Call, Kernel, laws};

pub fn kernel(args: &op::ToMemoryConfig, call: &Call<'_>) -> Kernel {
    let m = call.movement();
    let us = match (call.operands[0].memory.is_sharded(), args.memory.is_sharded()) {
        (true, true) => m.reshard_us,
        (true, false) => m.to_interleaved_us,
        (false, true | false) => m.to_sharded_us,
    };
    laws::measured(us, call)
}
