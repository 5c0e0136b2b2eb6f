// Results of `quantize_rows` that leave their core: its own maxima to the first core, and from there those of whole rows to their tensor.
//
// The maxima of a core are the first row of a tile, which is 16 numbers in each of two faces. On the first core they become a row of the tile
// that holds those of 32 cores. Rows for which there is no core are filled with the same numbers again, since all rows of a tile count.

#include <cstdint>

#include "api/compile_time_args.h"
#include "api/dataflow/dataflow_api.h"
#include "api/tensor/tensor_accessor.h"

void kernel_main() {
    const uint32_t address = get_common_arg_val<uint32_t>(0);
    constexpr uint32_t own = get_named_compile_time_arg_val("own");
    constexpr uint32_t gathered = get_named_compile_time_arg_val("gathered");
    constexpr uint32_t maxima = get_named_compile_time_arg_val("maxima");
    constexpr uint32_t gathered_tiles = get_named_compile_time_arg_val("gathered_tiles");
    constexpr uint32_t cores = get_named_compile_time_arg_val("cores");
    constexpr uint32_t first_x = get_named_compile_time_arg_val("first_x");
    constexpr uint32_t first_y = get_named_compile_time_arg_val("first_y");
    constexpr uint32_t face_bytes = 16 * 16 * 2;
    constexpr uint32_t row_bytes = 16 * 2;

    const bool is_first = get_arg_val<uint32_t>(0) != 0;
    const uint32_t core = get_arg_val<uint32_t>(1);

    cb_wait_front(own, 1);
    const uint32_t from = get_read_ptr(own);
    const uint32_t to = get_write_ptr(gathered);
    for (uint32_t row = core; row < 32 * gathered_tiles; row += cores) {
        const uint32_t place = to + row / 16 * 2 * face_bytes + row % 16 * row_bytes;
        noc_async_write(from, get_noc_addr(first_x, first_y, place), row_bytes);
        noc_async_write(from + face_bytes, get_noc_addr(first_x, first_y, place + face_bytes), row_bytes);
    }
    noc_async_write_barrier();
    noc_semaphore_inc(get_noc_addr(first_x, first_y, get_semaphore(0)), 1);
    noc_async_atomic_barrier();
    cb_pop_front(own, 1);

    if (is_first) {
        cb_wait_front(maxima, 1);
        const auto tensor = TensorAccessor(TensorAccessorArgs<0>(), address);
        noc_async_write(get_read_ptr(maxima), tensor.get_noc_addr(0), get_tile_size(maxima));
        noc_async_write_barrier();
        cb_pop_front(maxima, 1);
    }
}
