// Weights of `ternary_linear`: streams the columns of one core from DRAM, as two-bit codes and nothing else.
//
// The weight is a row-major u32 tensor [column tiles, inner tiles * 64]. One page of it is one column of tiles: for each tile of 32x32 weights
// its 256 bytes of codes, tile after tile. Pages are interleaved over the DRAM banks, so neighbouring columns come from different banks, and a
// block of a column is one contiguous read.
//
// Blocks are written one after another into the circular buffer; in a block, a column's tiles are neighbours. Reads of up to three blocks are
// under way at once, told apart by their transaction ids, so that DRAM never waits for the answer to a block before it sees the next request.

#include <cstdint>

#include "api/compile_time_args.h"
#include "api/dataflow/dataflow_api.h"
#include "api/tensor/tensor_accessor.h"

void kernel_main() {
    // Address of the weight, the same on every bank and every core.
    const uint32_t address = get_common_arg_val<uint32_t>(0);

    constexpr uint32_t buffer = get_named_compile_time_arg_val("weights");
    constexpr uint32_t blocks = get_named_compile_time_arg_val("blocks");
    constexpr uint32_t block_tiles = get_named_compile_time_arg_val("block_tiles");  // inner tiles of a block
    constexpr uint32_t buffers = get_named_compile_time_arg_val("buffers");          // blocks that the circular buffer holds
    constexpr uint32_t columns = get_named_compile_time_arg_val("columns");          // column tiles of a core
    constexpr uint32_t grid_x = get_named_compile_time_arg_val("grid_x");            // first core of the grid
    constexpr uint32_t grid_y = get_named_compile_time_arg_val("grid_y");
    constexpr uint32_t grid_width = get_named_compile_time_arg_val("grid_width");
    constexpr uint32_t tile_bytes = 32 * 32 * 2 / 8;
    constexpr uint32_t column_bytes = block_tiles * tile_bytes;
    constexpr uint32_t room = blocks < buffers ? blocks : buffers;
    constexpr uint32_t in_flight = room < 3 ? room : 3;

    const uint32_t core = (get_absolute_logical_y() - grid_y) * grid_width + get_absolute_logical_x() - grid_x;
    const auto weight = TensorAccessor(TensorAccessorArgs<0>(), address);

    // The buffer holds whole blocks and its size is a multiple of a block's, so a block never wraps around its end.
    const uint32_t start = get_write_ptr(buffer);
    uint32_t slot = 0;
    for (uint32_t block = 0; block < blocks + in_flight - 1; ++block) {
        if (block < blocks) {
            // Room for this block and for those that are under way but not yet handed on.
            const uint32_t pending = block < in_flight - 1 ? block : in_flight - 1;
            cb_reserve_back(buffer, (pending + 1) * block_tiles * columns);
            noc_async_read_set_trid(1 + block % in_flight);
            uint32_t to = start + slot * columns * column_bytes;
            for (uint32_t column = 0; column < columns; ++column) {
                const uint64_t from = weight.get_noc_addr(core * columns + column, block * column_bytes);
                noc_async_read(from, to, column_bytes);
                to += column_bytes;
            }
            slot = slot + 1 == buffers ? 0 : slot + 1;
        }
        if (block + 1 >= in_flight) {
            noc_async_read_barrier_with_trid(1 + (block + 1 - in_flight) % in_flight);
            cb_push_back(buffer, block_tiles * columns);
        }
    }
    // The kernels that follow expect untagged reads.
    noc_async_read_set_trid(0);
}
