def ternary_linear(a, b, *, block_tiles, buffers, relu, math_fidelity, fp32_dest_acc_en, dtype, memory_config):
    """a @ b for one row of tiles of activations, width-sharded in L1, by the two-bit codes of a ternary matrix in DRAM.

    `b` is u32, row-major: row n has the codes of the n-th column of tiles. The result is width-sharded in L1 as `memory_config` says; its cores
    compute it, each the columns of its shard.
    """
    shards, result = a.memory_config().shard_spec, memory_config.shard_spec
    inner, shard_tiles, columns = b.shape[-1] // 64, shards.shape[1] // 32, result.shape[1] // 32
    shape = list(a.shape)[:-1] + [b.shape[-2] * 32]
    output = ttnn.allocate_tensor_on_device(ttnn.Shape(shape), dtype, ttnn.TILE_LAYOUT, a.device(), memory_config)
    cores = result.grid
    first = cores.ranges()[0]
    constants = [
        ("activations", 0),
        ("weights", 1),
        ("result", 2),
        ("blocks", inner // block_tiles),
        ("block_tiles", block_tiles),
        ("buffers", buffers),
        ("columns", columns),
        ("shards", inner // shard_tiles),
        ("shard_tiles", shard_tiles),
        ("cores", cores.num_cores()),
        ("grid_x", first.start.x),
        ("grid_y", first.start.y),
        ("grid_width", first.end.x - first.start.x + 1),
    ]

    def kernel(source, config, tensor=None, defines=()):
        return ttnn.KernelDescriptor(
            kernel_source=source,
            source_type=ttnn.KernelDescriptor.SourceType.SOURCE_CODE,
            core_ranges=cores,
            compile_time_args=ttnn.TensorAccessorArgs(tensor).get_compile_time_args() if tensor is not None else [],
            named_compile_time_args=constants,
            common_runtime_args=[tensor.buffer_address()] if tensor is not None else [],
            defines=list(defines),
            config=config,
        )

    def buffer(index, data_format, page, pages):
        formats = [ttnn.CBFormatDescriptor(buffer_index=index, data_format=data_format, page_size=page)]
        return ttnn.CBDescriptor(total_size=page * pages, core_ranges=cores, format_descriptors=formats)

    # All of the destination register, as there is no second result to be computed while the first is packed.
    compute = ttnn.ComputeConfigDescriptor(
        math_fidelity=math_fidelity, fp32_dest_acc_en=fp32_dest_acc_en, dst_full_sync_en=True, math_approx_mode=False
    )
    program = ttnn.ProgramDescriptor(
        kernels=[
            kernel(TERNARY_LINEAR_READER, ttnn.ReaderConfigDescriptor(), b),
            kernel(TERNARY_LINEAR_WRITER, ttnn.WriterConfigDescriptor(), a),
            kernel(TERNARY_LINEAR_COMPUTE, compute, defines=[("RELU", "1")] if relu else []),
        ],
        semaphores=[],
        cbs=[
            buffer(0, ttnn.bfloat16, 2048, inner),
            # TT-NN has no type of two bits; the compute kernel sets the unpacker's.
            buffer(1, ttnn.bfloat4_b, 256, buffers * block_tiles * columns),
            ttnn.cb_descriptor_from_sharded_tensor(2, output),
        ],
    )
    return ttnn.generic_op([a, b, output], program)
