// Activations of `ternary_linear`: gathers the whole row of tiles from the cores that hold its shards.
//
// Every core needs all activations. Each begins at another shard, so that at any time the cores read from different ones and no core's L1 is
// asked for by all the others at once. The matrix unit starts when all have come; weights stream in meanwhile.
//
// Nothing is written by this kernel: the result is packed where it belongs, because its circular buffer is the shard of the result.

#include <cstdint>

#include "api/compile_time_args.h"
#include "api/dataflow/dataflow_api.h"
#include "api/tensor/tensor_accessor.h"

void kernel_main() {
    const uint32_t address = get_common_arg_val<uint32_t>(0);

    constexpr uint32_t buffer = get_named_compile_time_arg_val("activations");
    constexpr uint32_t shards = get_named_compile_time_arg_val("shards");
    constexpr uint32_t shard_tiles = get_named_compile_time_arg_val("shard_tiles");
    constexpr uint32_t cores = get_named_compile_time_arg_val("cores");
    constexpr uint32_t grid_x = get_named_compile_time_arg_val("grid_x");
    constexpr uint32_t grid_y = get_named_compile_time_arg_val("grid_y");
    constexpr uint32_t grid_width = get_named_compile_time_arg_val("grid_width");

    const uint32_t core = (get_absolute_logical_y() - grid_y) * grid_width + get_absolute_logical_x() - grid_x;
    const auto activations = TensorAccessor(TensorAccessorArgs<0>(), address);
    const uint32_t shard_bytes = shard_tiles * get_tile_size(buffer);

    cb_reserve_back(buffer, shards * shard_tiles);
    const uint32_t to = get_write_ptr(buffer);
    uint32_t shard = core * shards / cores;
    for (uint32_t i = 0; i < shards; ++i) {
        noc_async_read(activations.get_shard_noc_addr(shard), to + shard * shard_bytes, shard_bytes);
        shard = shard + 1 == shards ? 0 : shard + 1;
    }
    noc_async_read_barrier();
    cb_push_back(buffer, shards * shard_tiles);
}
