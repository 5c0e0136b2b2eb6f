def load(device, source):
    """Every weight, one tensor per layer or one for all, before anything else takes L1: so they lie where the plan says."""
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


def free(results):
    """Gives back what a phase left alive."""
    for tensor in results:
        ttnn.deallocate(tensor)


def prefill(prompt, weights, buffers, scalars, show):
    """Fills each user's cache with the prompt; the first token of each user."""
    bucket = min(size for size in PREFILL if size >= len(prompt))
    padded = np.zeros(bucket)
    padded[: len(prompt)] = prompt
    write(buffers, PROMPTS[bucket], padded)
    tile_start = (len(prompt) - 1) // 32 * 32
    tokens = np.zeros(BATCH, dtype=np.int64)
    for user in range(BATCH):
        free(PREFILL[bucket](weights, buffers, scalars, show if user == 0 else Show(False), user, tile_start))
        tokens[user] = read(buffers[FIRST_TOKENS][0])[(len(prompt) - 1) % 32]
    return tokens


def set_position(buffers, tokens, position):
    """What the next decode step reads; from there on the card carries both along."""
    write(buffers, TOKENS, tokens)
    write(buffers, POSITIONS, np.full(BATCH, position))
    rows = next(row for row in BUFFERS if row[0] == ROTARY_POSITIONS)[4]
    write(buffers, ROTARY_POSITIONS, np.full(rows, position))


def generate(device, steps, weights, buffers, scalars, show):
    """The tokens of each decode step. The first runs call by call, on a real card the others from a trace."""
    generated = []
    if steps > 0:
        free(DECODE(weights, buffers, scalars, show))
        generated.append(read(buffers[TOKENS][0])[:BATCH])
    if MOCK:
        # A mock card takes no operation inside a trace.
        for _ in range(steps - 1):
            free(DECODE(weights, buffers, scalars, Show(False)))
            generated.append(read(buffers[TOKENS][0])[:BATCH])
    elif steps > 1:
        trace = ttnn.begin_trace_capture(device, cq_id=0)
        DECODE(weights, buffers, scalars, Show(False))
        ttnn.end_trace_capture(device, trace, cq_id=0)
        for _ in range(steps - 1):
            ttnn.execute_trace(device, trace, cq_id=0, blocking=False)
            generated.append(read(buffers[TOKENS][0])[:BATCH])
        ttnn.release_trace(device, trace)
    return generated


def token_ids(text):
    return [int(token) for token in text.split(",")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    weights_from = parser.add_mutually_exclusive_group(required=True)
    weights_from.add_argument("--packed", help="weights written by `bitnetc pack`")
    weights_from.add_argument("--random-weights", action="store_true", help="weights made up")
    parser.add_argument("--prompt", type=token_ids, default="1,2,3", help="token ids of the prompt, the same for every user")
    parser.add_argument("--steps", type=int, default=8, help="decode steps")
    parser.add_argument("--json", action="store_true", help="a line for each step of one prefill and one decode step")
    args = parser.parse_args()
    if not all(0 <= token < VOCAB for token in args.prompt):
        parser.error(f"token ids are 0 to {VOCAB - 1}")
    if PREFILL and len(args.prompt) > max(PREFILL):
        parser.error(f"a prompt of {len(args.prompt)} tokens is longer than the largest prefill bucket, {max(PREFILL)}")
    if not PREFILL and len(args.prompt) > 1:
        parser.error("the plan has no prefill: a prompt is one token")
    if len(args.prompt) + args.steps > CONTEXT:
        parser.error(f"{len(args.prompt)} tokens and {args.steps} steps are more than the context, {CONTEXT}")
    return args


def main():
    args = arguments()
    source = Random() if args.random_weights else Packed(args.packed)
    device = ttnn.open_device(device_id=0)
    weights, buffers, scalars, show = load(device, source), make_buffers(device), evaluate(source), Show(args.json)

    tokens = np.full(BATCH, args.prompt[-1])
    if PREFILL:
        tokens = prefill(args.prompt, weights, buffers, scalars, show)
    generated = [tokens]
    if DECODE:
        set_position(buffers, tokens, len(args.prompt) if PREFILL else 0)
        generated += generate(device, args.steps, weights, buffers, scalars, show)
    if not args.json:
        for user, ids in enumerate(np.stack(generated, axis=1)):
            print(f"user {user}: {ids.tolist()}")
    ttnn.close_device(device)


if __name__ == "__main__":
    main()
