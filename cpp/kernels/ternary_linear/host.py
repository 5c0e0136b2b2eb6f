def ternary_linear(a, b, *, relu, **options):
    """a @ b for one row of tiles of activations, by the two-bit codes of a ternary matrix in DRAM; see `ternary`."""
    return ternary(a, [b], [("RELU", "1")] if relu else [], **options)


def ternary_gated(a, gate, up, **options):
    """relu(a @ gate)^2 * (a @ up) for one row of tiles of activations, by two ternary matrices of one shape; see `ternary`."""
    return ternary(a, [gate, up], [("GATED", "1")], **options)


def ternary(a, weights, defines, *, block_tiles, readers, math_fidelity, fp32_dest_acc_en, dtype, memory_config):
    """Runs the kernels. Activations are width-sharded in L1, and so is the result, as `memory_config` says; its cores compute it, each the
    columns of its shard. A weight is u32, row-major: row n has the codes of the n-th column of tiles. `readers` cores beside each bank of
    DRAM stream the codes to the cores of the result.
    """
    device, b = a.device(), weights[0]
    shards, cores = a.memory_config().shard_spec, memory_config.shard_spec.grid
    inner, shard_tiles = b.shape[-1] // 64, shards.shape[1] // 32
    blocks, columns = inner // block_tiles, memory_config.shard_spec.shape[1] // 32
    shape = list(a.shape)[:-1] + [b.shape[-2] * 32]
    output = ttnn.allocate_tensor_on_device(ttnn.Shape(shape), dtype, ttnn.TILE_LAYOUT, device, memory_config)

    # Buffers and semaphores have the same addresses on every core, so that cores can write into those of others.
    size = device.compute_with_storage_grid_size()
    grid = [(x, y) for y in range(size.y) for x in range(size.x)]
    everywhere = ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(size.x - 1, size.y - 1))])
    streamers = [(core.x, core.y) for core in ttnn.device.get_optimal_dram_bank_to_logical_worker_assignment(device, 0)]
    banks = len(streamers)
    for _ in range(1, readers):
        for x, y in streamers[:banks]:
            free = [core for core in grid if core not in streamers]
            streamers.append(min(free, key=lambda core: abs(core[0] - x) + abs(core[1] - y)))
    arguments = ttnn.RuntimeArgs()
    for index, (x, y) in enumerate(streamers):
        same_row = [other for other in streamers[:index] if other[1] == y]
        arguments[x][y] = [0, index, len(same_row) % 4]
    distributor = next(core for core in grid if core not in streamers)
    ranges = cores.ranges()
    left, top = min(r.start.x for r in ranges), min(r.start.y for r in ranges)
    right, bottom = max(r.end.x for r in ranges), max(r.end.y for r in ranges)
    first, last = (device.worker_core_from_logical_core(ttnn.CoreCoord(*core)) for core in [(left, top), (right, bottom)])
    inside = left <= distributor[0] <= right and top <= distributor[1] <= bottom
    others = (right - left + 1) * (bottom - top + 1) - inside
    arguments[distributor[0]][distributor[1]] = [1, first.x, first.y, last.x, last.y, others]

    slots, chunk = 10, 256 * block_tiles
    constants = [
        ("activations", 0),
        ("weights", 1),
        ("result", 2),
        ("staging", 3),
        ("arrived", 4),
        ("matrices", len(weights)),
        ("outputs", b.shape[-2]),
        ("blocks", blocks),
        ("block_tiles", block_tiles),
        ("columns", columns),
        ("slots", slots),
        ("stride", len(streamers)),
        ("shards", inner // shard_tiles),
        ("shard_tiles", shard_tiles),
        ("group", -(-8 // shard_tiles)),
    ]

    def kernel(source, where, config, **others):
        return ttnn.KernelDescriptor(
            kernel_source=source,
            source_type=ttnn.KernelDescriptor.SourceType.SOURCE_CODE,
            core_ranges=where,
            named_compile_time_args=constants,
            config=config,
            **others,
        )

    def buffer(index, data_format, page, pages):
        formats = [ttnn.CBFormatDescriptor(buffer_index=index, data_format=data_format, page_size=page)]
        return ttnn.CBDescriptor(total_size=page * pages, core_ranges=everywhere, format_descriptors=formats)

    feeders = [ttnn.CoreRange(ttnn.CoreCoord(*core), ttnn.CoreCoord(*core)) for core in [*streamers, distributor]]
    tensors = [b, output, a]
    # All of the destination register, as there is no second result to be computed while the first is packed.
    compute = ttnn.ComputeConfigDescriptor(
        math_fidelity=math_fidelity, fp32_dest_acc_en=fp32_dest_acc_en, dst_full_sync_en=True, math_approx_mode=False
    )
    program = ttnn.ProgramDescriptor(
        kernels=[
            kernel(
                TERNARY_LINEAR_READER,
                ttnn.CoreRangeSet(feeders),
                ttnn.ReaderConfigDescriptor(),
                compile_time_args=[n for t in tensors for n in ttnn.TensorAccessorArgs(t).get_compile_time_args()],
                runtime_args=arguments,
                common_runtime_args=[t.buffer_address() for t in [output, a, *weights]],
            ),
            kernel(TERNARY_LINEAR_WRITER, cores, ttnn.WriterConfigDescriptor()),
            kernel(TERNARY_LINEAR_COMPUTE, cores, compute, defines=defines),
        ],
        semaphores=[ttnn.SemaphoreDescriptor(id=n, core_ranges=everywhere, initial_value=0) for n in range(5)],
        cbs=[
            buffer(0, ttnn.bfloat16, 2048, inner),
            # TT-NN has no type of two bits; the compute kernel sets the unpacker's.
            buffer(1, ttnn.bfloat4_b, 256, inner * columns * len(weights)),
            ttnn.cb_descriptor_from_sharded_tensor(2, output),
            buffer(3, ttnn.bfloat4_b, chunk, slots),
        ],
    )
    return ttnn.generic_op([a, *weights, output], program)
