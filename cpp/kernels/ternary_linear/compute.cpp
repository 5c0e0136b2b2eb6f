// The product of `ternary_linear`: one row of tiles of activations by ternary weights of two bits.
//
// The unpacker knows a block format of two bits, BFP2_b: a sign, one bit of magnitude, and an exponent that sixteen numbers share. With the
// exponent 127 the codes 0, 1 and 3 are 0, +1 and -1, and the matrix unit gets the same bits as of weights in bfloat4_b. All exponents are
// equal, so they are not stored: the unpacker is told to take one from a register instead. A tile is then its 256 bytes of codes.
//
// All sums stay in the destination register until the last tile of the inner dimension, in the order of the tiles. This is what TT-NN's
// matmul does when the whole inner dimension is one block.
//
// With GATED there are two weights, gate and up, whose columns lie side by side in the destination register, and the result is relu(gate)^2 * up.
// The destination register holds bf16 then, so the two sums have the bits that TT-NN's matmuls would have packed, and the functions are those
// of TT-NN's `mul`: the square and the product are each rounded to the nearest bf16, ties to even.

#include <cstdint>

#include "api/compile_time_args.h"
#include "api/compute/cb_api.h"
#include "api/compute/compute_kernel_hw_startup.h"
#include "api/compute/compute_kernel_api.h"
#include "api/compute/eltwise_binary_sfpu.h"
#include "api/compute/eltwise_unary/relu.h"
#include "api/compute/experimental/matmul_custom.h"
#include "api/compute/matmul.h"
#include "api/compute/pack.h"
#include "api/compute/reg_api.h"

#ifdef TRISC_UNPACK
namespace {

// Tenstorrent's number of the format in tile descriptors (DataFormat::Bfp2_b of tensix_types.h). TT-NN has no data type of it, so the circular
// buffer is declared as bfloat4_b, and the registers that differ are written here.
constexpr uint32_t BFP2_B = static_cast<uint32_t>(DataFormat::Bfp2_b);

// Formats of unpacker 0, which fills SrcA: a matmul takes its right operand from there. The fields are those that
// _llk_unpack_reconfig_data_format_srca_impl_ of TT-LLK's llk_unpack_common.h writes; the stall is its, too: unpacker 0 must be idle.
//
// Force_shared_exp has the unpacker skip the exponents in L1, addresses included, and use FORCED_SHARED_EXP (TT-LLK,
// llk_lib/hal/cfg/thcon.h; the cases of Int8 in cunpack_common.h rest on it). That register's other field is always 1: it is stored as
// cunpack_common.h's configure_unpack_AB stores it, and llk_unpack_AB_matmul waits for such stores before it unpacks.
void set_format(uint32_t format, bool force_shared_exponent, uint32_t exponent) {
    TTI_STALLWAIT(p_stall::STALL_CFG, p_stall::UNPACK0);
    cfg_reg_rmw_tensix<THCON_SEC0_REG0_TileDescriptor_ADDR32, 0, 0x0f>(format);
    cfg_reg_rmw_tensix<THCON_SEC0_REG2_Out_data_format_RMW>(format);
    cfg_reg_rmw_tensix<THCON_SEC0_REG2_Force_shared_exp_RMW>(force_shared_exponent);
    tensix_sync();
    get_cfg_pointer()[UNP0_FORCED_SHARED_EXP_shared_exp_ADDR32] =
        1u << UNP0_ADD_DEST_ADDR_CNTR_add_dest_addr_cntr_SHAMT | exponent << UNP0_FORCED_SHARED_EXP_shared_exp_SHAMT;
}

}  // namespace
#endif

void kernel_main() {
    constexpr uint32_t activations = get_named_compile_time_arg_val("activations");
    constexpr uint32_t weights = get_named_compile_time_arg_val("weights");
    constexpr uint32_t result = get_named_compile_time_arg_val("result");
    constexpr uint32_t blocks = get_named_compile_time_arg_val("blocks");
    constexpr uint32_t block_tiles = get_named_compile_time_arg_val("block_tiles");
    constexpr uint32_t results = get_named_compile_time_arg_val("columns");
    constexpr uint32_t columns = get_named_compile_time_arg_val("matrices") * results;
    constexpr uint32_t inner = blocks * block_tiles;

    compute_kernel_hw_startup<SrcOrder::Reverse>(activations, weights, result);
    matmul_block_init(activations, weights, 0, columns, 1, inner);
    UNPACK(set_format(BFP2_B, true, 127));
    // In a block the tiles of a column are neighbours; the unpacker takes one tile of each column in turn.
    matmul_set_in1_column_stride(weights, block_tiles);

    tile_regs_acquire();
    for (uint32_t block = 0; block < blocks; ++block) {
        cb_wait_front(activations, (block + 1) * block_tiles);
        cb_wait_front(weights, block_tiles * columns);
        for (uint32_t tile = 0; tile < block_tiles; ++tile) {
            matmul_block(activations, weights, block * block_tiles + tile, tile, 0, 0, columns, 1, inner);
        }
        cb_pop_front(weights, block_tiles * columns);
    }
    cb_pop_front(activations, inner);
#ifdef GATED
    relu_tile_init();
    for (uint32_t gate = 0; gate < results; ++gate) {
        relu_tile(gate);
    }
    square_tile_init();
    for (uint32_t gate = 0; gate < results; ++gate) {
        square_tile(gate);
    }
    mul_binary_tile_init();
    for (uint32_t gate = 0; gate < results; ++gate) {
        mul_binary_tile(gate, results + gate, gate);
    }
#endif
    tile_regs_commit();

    cb_reserve_back(result, results);
    tile_regs_wait();
#ifdef RELU
    // The packer clamps at zero what it writes, as for TT-NN's own fused RELU (PACK_RELU of its matmul kernels).
    pack_relu_config(ReluConfig::zero());
#endif
    for (uint32_t column = 0; column < results; ++column) {
        pack_tile(column, result);
    }
#ifdef RELU
    pack_relu_config(ReluConfig::none());
#endif
    tile_regs_release();
    cb_push_back(result, results);

    // The next program configures formats, but not where exponents come from.
    UNPACK(set_format(static_cast<uint32_t>(DataFormat::Bfp4_b), false, 0));
}
