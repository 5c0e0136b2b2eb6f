// Operands of `add_rows`: the numbers of the rows; what they multiply, and what that is added to, are this core's shards.
//
// The numbers are the first column of a tile, and so are in the first and the third of its faces. They are repeated in all columns here, as
// TT-NN's own kernels do: a processor that broadcasts columns would cut them to its own format.

#include <cstdint>

#include "api/compile_time_args.h"
#include "api/dataflow/dataflow_api.h"
#include "api/tensor/tensor_accessor.h"

void kernel_main() {
    const uint32_t address = get_common_arg_val<uint32_t>(0);
    constexpr uint32_t a = get_named_compile_time_arg_val("a");
    constexpr uint32_t b = get_named_compile_time_arg_val("b");
    constexpr uint32_t factors = get_named_compile_time_arg_val("factors");
    constexpr uint32_t tiles = get_named_compile_time_arg_val("tiles");
    constexpr uint32_t face_bytes = 16 * 16 * 4;

    cb_reserve_back(factors, 1);
    const auto tensor = TensorAccessor(TensorAccessorArgs<0>(), address);
    const uint32_t to = get_write_ptr(factors);
    for (uint32_t face = 0; face < 4; face += 2) {
        noc_async_read(tensor.get_noc_addr(0, face * face_bytes), to + face * face_bytes, face_bytes);
    }
    cb_reserve_back(a, tiles);
    cb_push_back(a, tiles);
    cb_reserve_back(b, tiles);
    cb_push_back(b, tiles);
    noc_async_read_barrier();
    auto* const tile = reinterpret_cast<volatile tt_l1_ptr uint32_t*>(to);
    for (uint32_t row = 0; row < 32; ++row) {
        auto* const left = tile + row / 16 * 512 + row % 16 * 16;
        const uint32_t factor = left[0];
        for (uint32_t column = 0; column < 16; ++column) {
            left[column] = factor;
            left[256 + column] = factor;
        }
    }
    cb_push_back(factors, 1);
}
