def quantize_rows(x, *, floor):
    """Rows of x as integers from -128 to 127, and the largest magnitude of each row.

    x is one row of bf16 tiles, width-sharded in L1; the integers lie as it does. A magnitude below `floor` counts as `floor`.
    """
    import struct

    placed, device = x.memory_config(), x.device()
    cores, tiles = placed.shard_spec.grid, placed.shard_spec.shape[1] // 32
    count = cores.num_cores()
    gathered_tiles = (count + 31) // 32
    integers = ttnn.allocate_tensor_on_device(x.shape, ttnn.bfloat16, ttnn.TILE_LAYOUT, device, placed)
    shape = ttnn.Shape(list(x.shape)[:-1] + [1])
    maxima = ttnn.allocate_tensor_on_device(shape, ttnn.float32, ttnn.TILE_LAYOUT, device, ttnn.L1_MEMORY_CONFIG)
    # The first core of the first rectangle finds the maxima of whole rows and sends them to all others, rectangle by rectangle.
    logical = [
        ttnn.CoreCoord(x, y)
        for r in cores.ranges()
        for y in range(r.start.y, r.end.y + 1)
        for x in range(r.start.x, r.end.x + 1)
    ]
    first = device.worker_core_from_logical_core(logical[0])
    others, rectangles = [], 0
    for at, r in enumerate(cores.ranges()):
        receivers = (r.end.x - r.start.x + 1) * (r.end.y - r.start.y + 1) - (at == 0)
        if receivers > 0:
            start, end = (device.worker_core_from_logical_core(corner) for corner in (r.start, r.end))
            others += [start.x, start.y, end.x, end.y, receivers]
            rectangles += 1
    names = ["x", "ones", "largest", "turned", "own", "gathered", "whole", "column", "received", "maxima", "integers"]
    constants = [(name, index) for index, name in enumerate(names)]
    constants += [("tiles", tiles), ("gathered_tiles", gathered_tiles), ("cores", count)]
    constants += [("first_x", first.x), ("first_y", first.y)]

    def kernel(source, config, arguments, tensor=None):
        return ttnn.KernelDescriptor(
            kernel_source=source,
            source_type=ttnn.KernelDescriptor.SourceType.SOURCE_CODE,
            core_ranges=cores,
            compile_time_args=ttnn.TensorAccessorArgs(tensor).get_compile_time_args() if tensor is not None else [],
            named_compile_time_args=constants,
            common_runtime_args=[tensor.buffer_address()] if tensor is not None else [],
            runtime_args=[(core, [int(at == 0)] + arguments(at)) for at, core in enumerate(logical)],
            config=config,
        )

    def buffer(index, data_format, page, pages):
        formats = [ttnn.CBFormatDescriptor(buffer_index=index, data_format=data_format, page_size=page)]
        return ttnn.CBDescriptor(total_size=page * pages, core_ranges=cores, format_descriptors=formats)

    bits = struct.unpack("<I", struct.pack("<f", floor))[0]
    compute = ttnn.ComputeConfigDescriptor(
        math_fidelity=ttnn.MathFidelity.HiFi4, fp32_dest_acc_en=True, dst_full_sync_en=True, math_approx_mode=False
    )
    program = ttnn.ProgramDescriptor(
        kernels=[
            kernel(QUANTIZE_ROWS_READER, ttnn.ReaderConfigDescriptor(), lambda at: [rectangles] + others),
            kernel(QUANTIZE_ROWS_WRITER, ttnn.WriterConfigDescriptor(), lambda at: [at], maxima),
            kernel(QUANTIZE_ROWS_COMPUTE, compute, lambda at: [bits]),
        ],
        semaphores=[ttnn.SemaphoreDescriptor(id=at, core_ranges=cores, initial_value=0) for at in range(2)],
        cbs=[ttnn.cb_descriptor_from_sharded_tensor(0, x)]
        + [buffer(index, ttnn.bfloat16, 2048, gathered_tiles if names[index] == "gathered" else 1) for index in range(1, 9)]
        + [buffer(9, ttnn.float32, 4096, 1), ttnn.cb_descriptor_from_sharded_tensor(10, integers)],
    )
    ttnn.generic_op([x, integers, maxima], program)
    return integers, maxima
