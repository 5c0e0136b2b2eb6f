// Meetings of `quantize_rows`: counts the cores that have sent their maxima, and hands those of whole rows to everyone.
//
// Nothing is read: the columns of this core are its shard, and the other cores write into its buffers. Semaphore 0 of the first core counts
// the cores that have written; semaphore 1 of each core says that the maxima have come.

#include <cstdint>

#include "api/compile_time_args.h"
#include "api/dataflow/dataflow_api.h"
#include "ttnn/cpp/ttnn/kernel_lib/reduce_helpers_dataflow.hpp"

namespace {

// The other cores are so many rectangles, of each four corners' coordinates and the number of receivers.
constexpr uint32_t first_rectangle = 2;

uint64_t others(uint32_t rectangle, uint32_t address) {
    const uint32_t at = first_rectangle + 5 * rectangle;
    return get_noc_multicast_addr(
        get_arg_val<uint32_t>(at),
        get_arg_val<uint32_t>(at + 1),
        get_arg_val<uint32_t>(at + 2),
        get_arg_val<uint32_t>(at + 3),
        address);
}

uint32_t receivers(uint32_t rectangle) { return get_arg_val<uint32_t>(first_rectangle + 5 * rectangle + 4); }

}  // namespace

void kernel_main() {
    constexpr uint32_t x = get_named_compile_time_arg_val("x");
    constexpr uint32_t ones = get_named_compile_time_arg_val("ones");
    constexpr uint32_t gathered = get_named_compile_time_arg_val("gathered");
    constexpr uint32_t received = get_named_compile_time_arg_val("received");
    constexpr uint32_t column = get_named_compile_time_arg_val("column");
    constexpr uint32_t tiles = get_named_compile_time_arg_val("tiles");
    constexpr uint32_t gathered_tiles = get_named_compile_time_arg_val("gathered_tiles");
    constexpr uint32_t cores = get_named_compile_time_arg_val("cores");

    const bool is_first = get_arg_val<uint32_t>(0) != 0;
    const uint32_t rectangles = get_arg_val<uint32_t>(1);
    auto* const come = reinterpret_cast<volatile tt_l1_ptr uint32_t*>(get_semaphore(1));

    cb_reserve_back(x, tiles);
    cb_push_back(x, tiles);
    dataflow_kernel_lib::calculate_and_prepare_reduce_scaler<ones, ckernel::PoolType::MAX, ckernel::ReduceDim::REDUCE_COL>();
    if (is_first) {
        cb_reserve_back(gathered, gathered_tiles);
        noc_semaphore_wait(reinterpret_cast<volatile tt_l1_ptr uint32_t*>(get_semaphore(0)), cores);
        cb_push_back(gathered, gathered_tiles);
        cb_wait_front(column, 1);
        const uint32_t source = get_read_ptr(column);
        const uint32_t target = get_write_ptr(received);
        noc_async_write(source, get_noc_addr(target), get_tile_size(column));
        for (uint32_t rectangle = 0; rectangle < rectangles; ++rectangle) {
            noc_async_write_multicast(source, others(rectangle, target), get_tile_size(column), receivers(rectangle));
        }
        // The maxima must be there before anyone is told so.
        noc_async_write_barrier();
        *come = 1;
        for (uint32_t rectangle = 0; rectangle < rectangles; ++rectangle) {
            noc_semaphore_set_multicast(get_semaphore(1), others(rectangle, get_semaphore(1)), receivers(rectangle));
        }
        noc_async_write_barrier();
        cb_pop_front(column, 1);
    }
    cb_reserve_back(received, 1);
    noc_semaphore_wait(come, 1);
    cb_push_back(received, 1);
}
