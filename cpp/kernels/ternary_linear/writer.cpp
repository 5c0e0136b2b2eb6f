// Hands to the matrix unit what other cores write into this one's circular buffers, see the reader.
//
// Both buffers hold everything that the program needs, so nothing is ever written over, and no one waits for room. Activations arrive in order
// and are counted by one semaphore; weights come from several streamers, each ahead or behind, and a block is there when each column's count is.
//
// Nothing is written by this kernel: the result is packed where it belongs, because its circular buffer is the shard of the result.

#include <cstdint>

#include "api/compile_time_args.h"
#include "api/dataflow/dataflow_api.h"

void kernel_main() {
    constexpr uint32_t activations = get_named_compile_time_arg_val("activations");
    constexpr uint32_t weights = get_named_compile_time_arg_val("weights");
    constexpr uint32_t blocks = get_named_compile_time_arg_val("blocks");
    constexpr uint32_t block_tiles = get_named_compile_time_arg_val("block_tiles");
    constexpr uint32_t columns = get_named_compile_time_arg_val("matrices") * get_named_compile_time_arg_val("columns");
    constexpr uint32_t inner = blocks * block_tiles;

    const auto semaphore = [](uint32_t id) {
        return reinterpret_cast<volatile tt_l1_ptr uint32_t*>(get_semaphore(id));
    };
    const auto arrived = semaphore(get_named_compile_time_arg_val("arrived"));
    cb_reserve_back(activations, inner);
    cb_reserve_back(weights, blocks * block_tiles * columns);
    uint32_t tiles = 0;
    uint32_t block = 0;
    while (tiles < inner || block < blocks) {
        invalidate_l1_cache();
        const uint32_t come = *arrived;
        if (come > tiles) {
            cb_push_back(activations, come - tiles);
            tiles = come;
        }
        uint32_t whole = blocks;
        for (uint32_t column = 0; column < columns; ++column) {
            const uint32_t chunks = *semaphore(column / 4) >> 8 * (column % 4) & 0xff;
            whole = chunks < whole ? chunks : whole;
        }
        if (whole > block) {
            cb_push_back(weights, (whole - block) * block_tiles * columns);
            block = whole;
        }
    }
}
