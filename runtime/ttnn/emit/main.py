def load(device, source):
    """Every weight, one tensor per layer or one for all; what stays in L1 goes first, so that it lies where the plan says."""
    weights = {}
    for name, per_layer, dtype, tiled, shape, layout, placement in WEIGHTS:
        layers = range(LAYERS if per_layer else 1)
        weights[name] = [
            to_device(device, source.values(name, layer, dtype, tiled, shape), dtype, layout, placement) for layer in layers
        ]
    return weights


def make_buffers(device):
    """Caches and inputs, zero but for the page table, which gives each user its blocks in order."""
    buffers = {}
    for name, per_layer, dtype, _, shape, layout, placement in BUFFERS:
        array = np.zeros(shape, dtype=np.float32)
        if name == PAGE_TABLE:
            array = np.arange(array.size).reshape(shape)
        buffers[name] = [to_device(device, array, dtype, layout, placement) for _ in range(LAYERS if per_layer else 1)]
    return buffers


def evaluate(source):
    """The numbers of each layer that depend on weight scales."""
    values = {}
    for name, (constant, powers) in SCALARS.items():
        values[name] = []
        for layer in range(LAYERS):
            product = constant
            for tensor, power in powers:
                product *= source.scale(tensor, layer) ** power
            values[name].append(product)
    return values


def write(buffers, name, array):
    """Host values into a persistent buffer, where it lies."""
    row = next(row for row in BUFFERS if row[0] == name)
    array = np.ascontiguousarray(array, dtype=HOST[row[2]]).reshape(row[4])
    ttnn.copy_host_to_device_tensor(ttnn.Tensor(array, data_type=DTYPES[row[2]], layout=row[5]), buffers[name][0])


def read(tensor):
    """The integers of a tensor on the card."""
    return np.array(ttnn.from_device(tensor).to_list()).reshape(-1).astype(np.int64)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    weights_from = parser.add_mutually_exclusive_group(required=True)
    weights_from.add_argument("--packed", help="weights written by `bitnetc pack`")
    weights_from.add_argument("--random-weights", action="store_true", help="weights made up")
    parser.add_argument("--prompt", default="1,2,3", help="token ids of the prompt, the same for every user")
    parser.add_argument("--steps", type=int, default=8, help="decode steps")
    parser.add_argument("--json", action="store_true", help="a line for each step of one prefill and one decode step")
    args = parser.parse_args()

    prompt = [int(token) for token in args.prompt.split(",")]
    bucket = min((size for size in PREFILL if size >= len(prompt)), default=None)
    if PREFILL and bucket is None:
        sys.exit(f"a prompt of {len(prompt)} tokens is longer than the largest prefill bucket, {max(PREFILL)}")
    source = Random() if args.random_weights else Packed(args.packed)
    device = ttnn.open_device(device_id=0, trace_region_size=0 if MOCK else 50 * 1024 * 1024)
    weights, buffers, scalars, show = load(device, source), make_buffers(device), evaluate(source), Show(args.json)
    quiet = Show(False)

    tokens = np.full(BATCH, prompt[-1])
    for user in range(BATCH if PREFILL else 0):
        padded = np.zeros(bucket)
        padded[: len(prompt)] = prompt
        write(buffers, f"prompt.{bucket}", padded)
        start = (len(prompt) - 1) // 32 * 32
        logits = PREFILL[bucket](weights, buffers, scalars, show if user == 0 else quiet, user, start)
        ttnn.deallocate(logits)
        tokens[user] = read(buffers[FIRST_TOKENS][0])[(len(prompt) - 1) % 32]
    position = len(prompt) if PREFILL else 0
    write(buffers, TOKENS, tokens)
    write(buffers, POSITIONS, np.full(BATCH, position))
    if ROTARY_POSITIONS:
        rows = next(row for row in BUFFERS if row[0] == ROTARY_POSITIONS)[4]
        write(buffers, ROTARY_POSITIONS, np.full(rows, position))

    generated = [tokens]
    logits = decode(weights, buffers, scalars, show)
    generated.append(read(buffers[TOKENS][0])[:BATCH])
    if MOCK:
        # A mock card takes no operation inside a trace.
        for _ in range(args.steps - 1):
            ttnn.deallocate(logits)
            logits = decode(weights, buffers, scalars, quiet)
    else:
        ttnn.deallocate(logits)
        trace = ttnn.begin_trace_capture(device, cq_id=0)
        logits = decode(weights, buffers, scalars, quiet)
        ttnn.end_trace_capture(device, trace, cq_id=0)
        for _ in range(args.steps - 1):
            ttnn.execute_trace(device, trace, cq_id=0, blocking=False)
            generated.append(read(buffers[TOKENS][0])[:BATCH])
        ttnn.release_trace(device, trace)
    if not args.json:
        for user, ids in enumerate(np.stack(generated, axis=1)):
            print(f"user {user}: {ids.tolist()}")
    ttnn.close_device(device)


if __name__ == "__main__":
    main()
