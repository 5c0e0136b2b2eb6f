// Sums of `add_rows`: a + scale * max(factor, floor) * b of one core's columns, with one factor for each row.
//
// Everything is f32 in the destination register, and rounded once, when the sum is packed as bf16 over a.

#include <cstdint>

#include "api/compile_time_args.h"
#include "api/compute/cb_api.h"
#include "api/compute/common.h"
#include "api/compute/compute_kernel_api.h"
#include "api/compute/compute_kernel_hw_startup.h"
#include "api/compute/eltwise_binary_sfpu.h"
#include "api/compute/eltwise_unary/binop_with_scalar.h"
#include "api/compute/pack.h"
#include "api/compute/reconfig_data_format.h"
#include "api/compute/reg_api.h"
#include "api/compute/tile_move_copy.h"

void kernel_main() {
    const uint32_t floor_bits = get_common_arg_val<uint32_t>(0);
    const uint32_t scale_bits = get_common_arg_val<uint32_t>(1);
    constexpr uint32_t a = get_named_compile_time_arg_val("a");
    constexpr uint32_t b = get_named_compile_time_arg_val("b");
    constexpr uint32_t factors = get_named_compile_time_arg_val("factors");
    constexpr uint32_t sum = get_named_compile_time_arg_val("sum");
    constexpr uint32_t tiles = get_named_compile_time_arg_val("tiles");
    // The register holds eight tiles of fp32: the factor, and two for each tile of the sum.
    constexpr uint32_t factor = 0;
    constexpr uint32_t at_once = 3;

    compute_kernel_hw_startup(factors, sum);
    cb_wait_front(a, tiles);
    cb_wait_front(b, tiles);
    cb_wait_front(factors, 1);
    for (uint32_t first = 0; first < tiles; first += at_once) {
        const uint32_t count = tiles - first < at_once ? tiles - first : at_once;
        tile_regs_acquire();
        copy_init(factors);
        copy_tile(factors, 0, factor);
        unary_max_tile_init();
        unary_max_tile(factor, floor_bits);
        binop_with_scalar_tile_init();
        mul_unary_tile(factor, scale_bits);
        reconfig_data_format_srca(factors, b);
        copy_init(b);
        for (uint32_t tile = 0; tile < count; ++tile) {
            copy_tile(b, first + tile, 1 + tile);
        }
        reconfig_data_format_srca(b, a);
        copy_init(a);
        for (uint32_t tile = 0; tile < count; ++tile) {
            copy_tile(a, first + tile, 1 + at_once + tile);
        }
        reconfig_data_format_srca(a, factors);
        for (uint32_t tile = 0; tile < count; ++tile) {
            mul_binary_tile_init();
            mul_binary_tile(1 + tile, factor, 1 + tile);
            add_binary_tile_init();
            add_binary_tile(1 + tile, 1 + at_once + tile, 1 + tile);
        }
        tile_regs_commit();
        cb_reserve_back(sum, count);
        tile_regs_wait();
        for (uint32_t tile = 0; tile < count; ++tile) {
            pack_tile(1 + tile, sum);
        }
        tile_regs_release();
        cb_push_back(sum, count);
    }
    cb_pop_front(factors, 1);
    cb_pop_front(b, tiles);
    cb_pop_front(a, tiles);
}
