def add_rows(a, b, factors, *, floor, scale):
    """a += scale * max(factors, floor) * b, where `factors` has one number for each row.

    a and b are one row of tiles each, bf16 and f32, width-sharded in L1 alike; `factors` is an f32 column, interleaved.
    """
    import struct

    cores, tiles = a.memory_config().shard_spec.grid, a.memory_config().shard_spec.shape[1] // 32
    names = ["a", "b", "factors", "sum"]
    constants = [(name, index) for index, name in enumerate(names)] + [("tiles", tiles)]

    def kernel(source, config, tensor=None, arguments=()):
        return ttnn.KernelDescriptor(
            kernel_source=source,
            source_type=ttnn.KernelDescriptor.SourceType.SOURCE_CODE,
            core_ranges=cores,
            compile_time_args=ttnn.TensorAccessorArgs(tensor).get_compile_time_args() if tensor is not None else [],
            named_compile_time_args=constants,
            common_runtime_args=list(arguments),
            config=config,
        )

    formats = [ttnn.CBFormatDescriptor(buffer_index=2, data_format=ttnn.float32, page_size=4096)]
    bits = [struct.unpack("<I", struct.pack("<f", number))[0] for number in (floor, scale)]
    compute = ttnn.ComputeConfigDescriptor(
        math_fidelity=ttnn.MathFidelity.HiFi4, fp32_dest_acc_en=True, dst_full_sync_en=True, math_approx_mode=False
    )
    # f32 numbers go to the destination register itself, since the sources of the matrix unit would cut them.
    whole = (1, 2)
    compute.unpack_to_dest_mode = [
        ttnn.UnpackToDestMode.UnpackToDestFp32 if index in whole else ttnn.UnpackToDestMode.Default for index in range(64)
    ]
    program = ttnn.ProgramDescriptor(
        kernels=[
            kernel(ADD_ROWS_READER, ttnn.ReaderConfigDescriptor(), factors, [factors.buffer_address()]),
            kernel(ADD_ROWS_WRITER, ttnn.WriterConfigDescriptor()),
            kernel(ADD_ROWS_COMPUTE, compute, arguments=bits),
        ],
        semaphores=[],
        cbs=[
            ttnn.cb_descriptor_from_sharded_tensor(0, a),
            ttnn.cb_descriptor_from_sharded_tensor(1, b),
            ttnn.CBDescriptor(total_size=4096, core_ranges=cores, format_descriptors=formats),
            ttnn.cb_descriptor_from_sharded_tensor(3, a),
        ],
    )
    ttnn.generic_op([b, factors, a], program)
