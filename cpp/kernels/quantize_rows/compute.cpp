// Integers of `quantize_rows`: the largest magnitude of each row, and the columns of one core times 127 over it, rounded.
//
// A core finds the largest magnitudes of its own columns, as a row of 32 numbers, one for each row of the tensor. The first core gets those
// of all cores, one below the other, finds the largest of each column, and has them sent to all as a column. So two tiles are turned instead
// of one number after another being moved.
//
// Magnitudes and maxima are bf16 numbers, which nothing here rounds. The destination register is fp32, so that the factor and its product
// with a number are f32 until they are integers: the functions and their order are those of TT-NN's `mul` of a bf16 and an f32 operand.

#include <cstdint>

#include "api/compile_time_args.h"
#include "api/compute/bcast.h"
#include "api/compute/binary_max_min.h"
#include "api/compute/cb_api.h"
#include "api/compute/compute_kernel_api.h"
#include "api/compute/compute_kernel_hw_startup.h"
#include "api/compute/eltwise_binary_sfpu.h"
#include "api/compute/eltwise_unary/binop_with_scalar.h"
#include "api/compute/eltwise_unary/clamp.h"
#include "api/compute/eltwise_unary/recip.h"
#include "api/compute/eltwise_unary/rounding.h"
#include "api/compute/pack.h"
#include "api/compute/reduce.h"
#include "api/compute/reg_api.h"
#include "api/compute/tile_move_copy.h"
#include "api/compute/transpose.h"

namespace {

constexpr uint32_t x = get_named_compile_time_arg_val("x");
constexpr uint32_t ones = get_named_compile_time_arg_val("ones");
constexpr uint32_t largest = get_named_compile_time_arg_val("largest");
constexpr uint32_t turned = get_named_compile_time_arg_val("turned");
constexpr uint32_t own = get_named_compile_time_arg_val("own");
constexpr uint32_t gathered = get_named_compile_time_arg_val("gathered");
constexpr uint32_t whole = get_named_compile_time_arg_val("whole");
constexpr uint32_t column = get_named_compile_time_arg_val("column");
constexpr uint32_t received = get_named_compile_time_arg_val("received");
constexpr uint32_t maxima = get_named_compile_time_arg_val("maxima");
constexpr uint32_t integers = get_named_compile_time_arg_val("integers");
constexpr uint32_t tiles = get_named_compile_time_arg_val("tiles");
constexpr uint32_t gathered_tiles = get_named_compile_time_arg_val("gathered_tiles");
// The place of the factor in the destination register, and the tiles that it holds beside it.
constexpr uint32_t factor = 0;
constexpr uint32_t at_once = 7;

// Packs `count` tiles of the register from `first` on.
void pack(uint32_t to, uint32_t first, uint32_t count) {
    tile_regs_commit();
    cb_reserve_back(to, count);
    tile_regs_wait();
    for (uint32_t tile = 0; tile < count; ++tile) {
        pack_tile(first + tile, to);
    }
    tile_regs_release();
    cb_push_back(to, count);
}

// Rows become columns, in the register.
void transpose(uint32_t from) {
    cb_wait_front(from, 1);
    transpose_init(from);
    tile_regs_acquire();
    transpose_tile(from, 0, 0);
    cb_pop_front(from, 1);
}

// The largest number of each column, in the first row of a tile.
void reduce_columns(uint32_t from, uint32_t count, uint32_t to) {
    cb_wait_front(from, count);
    reduce_init<PoolType::MAX, ReduceDim::REDUCE_COL>(from, ones, to);
    tile_regs_acquire();
    for (uint32_t tile = 0; tile < count; ++tile) {
        reduce_tile<PoolType::MAX, ReduceDim::REDUCE_COL>(from, ones, tile, 0, 0);
    }
    cb_pop_front(from, count);
    pack(to, 0, 1);
    reduce_uninit();
}

// The largest magnitudes of this core's columns, in the first row of a tile.
void find_own() {
    copy_init(x);
    tile_regs_acquire();
    for (uint32_t tile = 0; tile < tiles; ++tile) {
        const uint32_t to = tile == 0 ? 0 : 1;
        copy_tile(x, tile, to);
        abs_tile_init();
        abs_tile(to);
        if (tile > 0) {
            binary_max_tile_init();
            binary_max_tile(0, 1, 0);
        }
    }
    pack(largest, 0, 1);
    transpose(largest);
    pack(turned, 0, 1);
    cb_wait_front(ones, 1);
    reduce_columns(turned, 1, own);
}

// The largest magnitudes of whole rows, in the first column of a tile: to be sent, and as the call's result.
void find_whole() {
    reduce_columns(gathered, gathered_tiles, whole);
    transpose(whole);
    tile_regs_commit();
    cb_reserve_back(column, 1);
    cb_reserve_back(maxima, 1);
    tile_regs_wait();
    pack_tile(0, column);
    pack_reconfig_data_format(maxima);
    pack_tile(0, maxima);
    pack_reconfig_data_format(integers);
    tile_regs_release();
    cb_push_back(column, 1);
    cb_push_back(maxima, 1);
}

void quantise(uint32_t floor_bits) {
    cb_wait_front(received, 1);
    for (uint32_t first = 0; first < tiles; first += at_once) {
        const uint32_t count = tiles - first < at_once ? tiles - first : at_once;
        tile_regs_acquire();
        unary_bcast_init<BroadcastType::COL>(received);
        unary_bcast<BroadcastType::COL>(received, 0, factor);
        unary_max_tile_init();
        unary_max_tile(factor, floor_bits);
        recip_tile_init();
        recip_tile(factor);
        binop_with_scalar_tile_init();
        mul_unary_tile(factor, 0x42fe0000u);  // 127
        copy_init(x);
        for (uint32_t tile = 0; tile < count; ++tile) {
            copy_tile(x, first + tile, 1 + tile);
            mul_binary_tile_init();
            mul_binary_tile(1 + tile, factor, 1 + tile);
            rounding_op_tile_init();
            round_tile(1 + tile, 0);
            clamp_tile_init();
            clamp_tile(1 + tile, 0xc3000000u, 0x42fe0000u);  // -128, 127
        }
        pack(integers, 1, count);
    }
    cb_pop_front(received, 1);
}

}  // namespace

void kernel_main() {
    compute_kernel_hw_startup(x, ones, largest);
    cb_wait_front(x, tiles);
    find_own();
    const bool is_first = get_arg_val<uint32_t>(0) != 0;
    if (is_first) {
        find_whole();
    }
    quantise(get_arg_val<uint32_t>(1));
    cb_pop_front(ones, 1);
    cb_pop_front(x, tiles);
}
