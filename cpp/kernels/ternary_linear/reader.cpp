// Feeds the cores that compute `ternary_linear`: streams the weights to them from DRAM, and the activations from the cores that hold them.
//
// A bank of DRAM gives most when one core beside it reads it, a few long requests ahead, and no one else does. So the cores that compute do not
// read their weights themselves: a *streamer* beside each bank does, and writes what it has read into the circular buffers of the cores that
// the columns belong to. These buffers hold all blocks of a core, because at two bits a weight they are small; so a streamer never waits for room.
//
// A weight is a row-major u32 tensor [column tiles, inner tiles * 64]. One page of it is one column of tiles: for each tile of 32x32 weights its
// 256 bytes of codes, tile after tile. Pages are interleaved over the banks, so the columns of a bank are those whose number leaves its own as
// the remainder, and a block of a column is one contiguous read: a *chunk*.
//
// One core more, the *distributor*, gathers the row of activations in the order of the inner dimension and multicasts the shards as they come,
// small ones together. It is one core, so that all arrive everywhere in this order, and the matrix unit can start with the first of them.

#include <cstdint>

#include "api/compile_time_args.h"
#include "api/dataflow/dataflow_api.h"
#include "api/tensor/tensor_accessor.h"

namespace {

constexpr uint32_t activations = get_named_compile_time_arg_val("activations");  // circular buffers
constexpr uint32_t weights = get_named_compile_time_arg_val("weights");
constexpr uint32_t staging = get_named_compile_time_arg_val("staging");
constexpr uint32_t matrices = get_named_compile_time_arg_val("matrices");        // weights of one shape: 1, or 2 for gate and up
constexpr uint32_t outputs = get_named_compile_time_arg_val("outputs");          // column tiles of a matrix
constexpr uint32_t blocks = get_named_compile_time_arg_val("blocks");
constexpr uint32_t block_tiles = get_named_compile_time_arg_val("block_tiles");  // inner tiles of a block
constexpr uint32_t columns = get_named_compile_time_arg_val("columns");          // column tiles of a matrix on a core
constexpr uint32_t slots = get_named_compile_time_arg_val("slots");              // chunks that the staging buffer holds
constexpr uint32_t stride = get_named_compile_time_arg_val("stride");            // streamers
constexpr uint32_t shards = get_named_compile_time_arg_val("shards");            // of the activations
constexpr uint32_t shard_tiles = get_named_compile_time_arg_val("shard_tiles");
constexpr uint32_t group = get_named_compile_time_arg_val("group");              // shards that are multicast at once
constexpr uint32_t arrived = get_named_compile_time_arg_val("arrived");          // the semaphore that counts tiles of activations

constexpr uint32_t chunk_bytes = block_tiles * 32 * 32 * 2 / 8;
// Two slots are being written to their cores while the others are being filled.
constexpr uint32_t in_flight = slots - 2;

constexpr auto weight_args = TensorAccessorArgs<0>();
constexpr auto result_args = TensorAccessorArgs<weight_args.next_compile_time_args_offset()>();
constexpr auto activation_args = TensorAccessorArgs<result_args.next_compile_time_args_offset()>();

// The chunks of a streamer in the order in which they are needed: block by block.
struct Chunk {
    uint32_t first;
    uint32_t column = first;
    uint32_t matrix = 0;
    uint32_t block = 0;

    void advance() {
        if (++matrix == matrices) {
            matrix = 0;
            column += stride;
            if (column >= outputs) {
                column = first;
                ++block;
            }
        }
    }
};

void stream(uint32_t first, uint32_t vc) {
    if (first >= outputs) {
        return;
    }
    const uint32_t result_address = get_common_arg_val<uint32_t>(0);
    const auto result = TensorAccessor(result_args, result_address);
    const uint32_t ring = get_write_ptr(staging);
    const uint32_t buffer = get_write_ptr(weights);

    // A chunk is signalled to its core after the next one has been written, when it has certainly left. Transaction ids tell the chunks apart.
    uint64_t signal = 0;
    uint32_t credit = 0;
    Chunk reading{first};
    Chunk writing{first};
    for (uint32_t chunk = 0; writing.block < blocks; ++chunk) {
        if (reading.block < blocks) {
            const auto weight = TensorAccessor(weight_args, get_common_arg_val<uint32_t>(2 + reading.matrix));
            const uint64_t from = weight.get_noc_addr(reading.column, reading.block * chunk_bytes);
            noc_async_read_set_trid(1 + chunk % in_flight);
            noc_async_read_one_packet(from, ring + chunk % slots * chunk_bytes, chunk_bytes, noc_index, vc);
            reading.advance();
        }
        if (chunk + 1 >= in_flight) {
            const uint32_t done = chunk + 1 - in_flight;
            noc_async_read_barrier_with_trid(1 + done % in_flight);
            const uint32_t place = writing.matrix * columns + writing.column % columns;
            const uint64_t core = result.get_shard_noc_addr(writing.column / columns) - result_address;
            const uint64_t to = core + buffer + (writing.block * matrices * columns + place) * chunk_bytes;
            noc_async_write_one_packet_with_trid(ring + done % slots * chunk_bytes, to, chunk_bytes, 1 + done % 2);
            if (done > 0) {
                noc_async_write_flushed_with_trid(1 + (done - 1) % 2);
                noc_semaphore_inc(signal, credit);
            }
            // A byte of a semaphore counts the chunks of one column.
            signal = core + get_semaphore(place / 4);
            credit = 1u << 8 * (place % 4);
            writing.advance();
        }
    }
    noc_async_write_barrier_with_trid(1);
    noc_async_write_barrier_with_trid(2);
    noc_semaphore_inc(signal, credit);
    noc_async_atomic_barrier();
    // The kernels that follow expect untagged transfers.
    noc_async_read_set_trid(0);
    noc_async_write_set_trid(0);
}

// Multicasts to a rectangle of cores, of which `dests` are others than this one.
void distribute(uint32_t left, uint32_t top, uint32_t right, uint32_t bottom, uint32_t dests) {
    const auto from = TensorAccessor(activation_args, get_common_arg_val<uint32_t>(1));
    const uint32_t shard_bytes = shard_tiles * get_tile_size(activations);
    const uint32_t to = get_write_ptr(activations);
    // The numbers that are multicast to the semaphore, each in a place of its own, where it stays until it has left.
    const uint32_t counts = get_write_ptr(staging);
    const uint32_t semaphore = get_semaphore(arrived);
    const uint64_t cores = get_noc_multicast_addr(left, top, right, bottom, 0);

    uint32_t sent = 0;
    for (uint32_t i = 0; i < shards + in_flight - 1; ++i) {
        if (i < shards) {
            noc_async_read_set_trid(1 + i % in_flight);
            noc_async_read(from.get_shard_noc_addr(i), to + i * shard_bytes, shard_bytes);
        }
        if (i + 1 >= in_flight) {
            const uint32_t shard = i + 1 - in_flight;
            noc_async_read_barrier_with_trid(1 + shard % in_flight);
            if ((shard + 1) % group != 0 && shard + 1 < shards) {
                continue;
            }
            const uint32_t tiles = (shard + 1) * shard_tiles;
            if (dests > 0) {
                const uint32_t count = counts + shard * L1_ALIGNMENT;
                *reinterpret_cast<volatile tt_l1_ptr uint32_t*>(count) = tiles;
                const uint32_t at = to + sent * shard_bytes;
                noc_async_write_multicast(at, cores | at, (shard + 1 - sent) * shard_bytes, dests, true);
                noc_semaphore_set_multicast(count, cores | semaphore, dests);
            }
            sent = shard + 1;
            // A multicast leaves out the core that it comes from.
            noc_semaphore_set(reinterpret_cast<volatile tt_l1_ptr uint32_t*>(semaphore), tiles);
        }
    }
    noc_async_write_barrier();
    noc_async_read_set_trid(0);
}

}  // namespace

void kernel_main() {
    // The first column of a streamer and the virtual channel of its reads; or the distributor's rectangle.
    if (get_arg_val<uint32_t>(0) == 0) {
        stream(get_arg_val<uint32_t>(1), get_arg_val<uint32_t>(2));
    } else {
        const auto argument = [](uint32_t index) { return get_arg_val<uint32_t>(index); };
        distribute(argument(1), argument(2), argument(3), argument(4), argument(5));
    }
}
