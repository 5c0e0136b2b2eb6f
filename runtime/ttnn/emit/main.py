def load(device, source):
    """Every weight, one tensor per layer or one for all, before anything else takes L1: so they lie where the plan says."""
    weights = {}
    for name, per_layer, dtype, tiled, shape, layout, placement in WEIGHTS:
        layers = range(LAYERS if per_layer else 1)
        weights[name] = [source.tensor(device, name, layer, dtype, tiled, shape, layout, placement) for layer in layers]
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
            values[name].append(float(np.float32(product)))
    return values


def write(buffers, name, array):
    """Host values into a persistent buffer, where it lies."""
    row = next(row for row in BUFFERS if row[0] == name)
    array = np.ascontiguousarray(array, dtype=HOST.get(row[2], np.float32)).reshape(row[4])
    ttnn.copy_host_to_device_tensor(ttnn.Tensor(array, data_type=DTYPES[row[2]], layout=row[5]), buffers[name][0])


def read(tensor):
    """The integers of a tensor on the card."""
    return np.array(ttnn.from_device(tensor).to_list()).reshape(-1).astype(np.int64)


def read_logits(tensor, rows):
    """Rows of logits on the card, as floats."""
    host = ttnn.to_dtype(ttnn.from_device(tensor), ttnn.float32)
    values = np.asarray(host.to_numpy(), dtype=np.float64)
    return values.reshape(-1, values.shape[-1])[rows, :VOCAB]


def free(results):
    """Gives back what a phase left alive."""
    for tensor in results:
        ttnn.deallocate(tensor)


class Sampler:
    """Chooses tokens: the most likely one, or one drawn at a temperature among the most likely ones."""

    def __init__(self, temperature, top_k, top_p, seed, user):
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.random = np.random.default_rng([seed, user])

    def choose(self, logits):
        if self.temperature == 0:
            return int(logits.argmax())
        order = np.argsort(-logits, kind="stable")[: self.top_k or None]
        weights = np.exp((logits[order] - logits[order[0]]) / self.temperature)
        share = np.cumsum(weights) / weights.sum()
        # As few of the most likely as have this probability together, and at least one.
        kept = int(np.searchsorted(share, self.top_p)) + 1
        drawn = np.searchsorted(np.cumsum(weights[:kept]), self.random.random() * weights[:kept].sum(), side="right")
        return int(order[min(drawn, kept - 1, len(order) - 1)])


class User:
    """One text: what of its prompt has still to be fed, its position, and what was generated."""

    def __init__(self, prompt, sampler):
        self.pending, self.sampler = list(prompt), sampler
        self.position, self.next, self.tokens, self.done = 0, 0, [], False

    def accept(self, token, args):
        """Takes a chosen token. The text ends after as many as were asked for, at an end of text, and where the context is full."""
        self.done = token in args.eos
        if not self.done:
            self.tokens.append(token)
            self.next = token
            self.done = len(self.tokens) > args.steps or self.position >= CONTEXT


def chunks(count):
    """How a prompt of so many tokens is cut: bucket, first token and number of each chunk. Those that no bucket takes are left out."""
    buckets = [bucket for bucket in PREFILL if SHORT is None or (bucket <= SHORT) == (count <= SHORT)]
    start = 0
    while start < count:
        starting = [bucket for bucket in buckets if start % STRIDES[bucket] == 0]
        last = [bucket for bucket in starting if bucket >= count - start]
        if last:
            yield min(last), start, count - start
            return
        # Another chunk begins where a stride of this one ends.
        advance, bucket = max(((bucket // STRIDES[bucket] * STRIDES[bucket], bucket) for bucket in starting), default=(0, 0))
        if advance == 0:
            if start == 0 and buckets:
                yield max(buckets), 0, max(buckets)
            return
        yield bucket, start, advance
        start += advance


def place_chunk(buffers, bucket, tokens, number, start):
    """Where the tokens of a user's prompt lie: their positions, the cache blocks they go to, and the tile of rows with the last of them."""
    padded = np.zeros(bucket)
    padded[: len(tokens)] = tokens
    write(buffers, PROMPTS[bucket], padded)
    if bucket in PROMPT_POSITIONS:
        write(buffers, PROMPT_POSITIONS[bucket], np.minimum(np.arange(bucket) + start, CONTEXT - 1))
    per_user = -(-CONTEXT // BLOCK)
    blocks = np.arange(per_user) + number * per_user
    written = np.full(-(-bucket // BLOCK), -1)
    count, first = -(-len(tokens) // BLOCK), start // BLOCK
    written[:count] = blocks[first : first + count]
    write(buffers, CHUNK_PAGES[bucket], written)
    context = np.zeros(next(row for row in BUFFERS if row[0] == CONTEXT_PAGES)[4][1])
    context[:per_user] = blocks
    write(buffers, CONTEXT_PAGES, context)
    write(buffers, CHUNK_START, [start])
    tile = (len(tokens) - 1) // 32 * 32
    write(buffers, LAST_TILE_STARTS, [0, 0, tile, 0])
    write(buffers, LAST_TILE_ENDS, [1, 1, tile + 32, WIDTH])


def prefill(user, number, args, weights, buffers, scalars, show):
    """Fills a user's cache with as much of the prompt as the buckets take, and chooses the first token when that is all of it."""
    tokens, results = user.pending, []
    for bucket, start, count in chunks(len(tokens)):
        free(results)
        place_chunk(buffers, bucket, tokens[start : start + count], number, start)
        results = PREFILL[bucket](weights, buffers, scalars, show)
        user.position = start + count
    user.pending = tokens[user.position :]
    row = (user.position - 1) % 32
    if user.pending:
        user.next = user.pending.pop(0)
    elif args.temperature == 0:
        user.accept(int(read(buffers[FIRST_TOKENS][0])[row]), args)
    else:
        user.accept(user.sampler.choose(read_logits(results[0], row)), args)
    free(results)


def picks(args):
    """Whether the card picks tokens by itself: the likeliest, or one that it draws among as few as it can."""
    return args.temperature == 0 or (TOP_K is not None and 1 <= args.top_k <= 32)


def write_draw(buffers, args):
    """How the card draws the tokens of each user, and where its random numbers start; nothing where it takes the likeliest."""
    if GENERATORS is not None:
        write(buffers, GENERATORS, np.arange(BATCH))
    if TOP_K is None:
        return
    greedy = args.temperature == 0 or args.top_k == 1 or not picks(args)
    write(buffers, TOP_K, np.full(BATCH, 1 if greedy else args.top_k))
    write(buffers, TOP_P, np.full(BATCH, 0 if greedy else args.top_p))
    write(buffers, INVERSE_TEMPERATURE, np.full(BATCH, 1 if greedy else 1 / args.temperature))
    seeds = [np.random.SeedSequence([args.seed, user]).generate_state(1)[0] for user in range(BATCH)]
    write(buffers, SEEDS, [0 if seed == LEAVE else seed for seed in seeds])


def write_users(buffers, users):
    """What the next decode step reads; from there on the card carries both along. Users that have ended are idle: at position -1."""
    tokens = [0 if user.done else user.next for user in users]
    positions = [-1 if user.done else user.position for user in users]
    write(buffers, TOKENS, tokens)
    write(buffers, POSITIONS, positions)
    if ROTARY_POSITIONS is not None:
        rows = next(row for row in BUFFERS if row[0] == ROTARY_POSITIONS)[4]
        write(buffers, ROTARY_POSITIONS, np.tile(np.maximum(positions, 0), int(np.prod(rows)) // BATCH))


def generate(users, step, args, buffers):
    """Decodes all users together until each has ended; the number of steps. `step` runs one and returns its logits on the card."""
    steps = 0
    write_users(buffers, users)
    write_draw(buffers, args)
    while not all(user.done for user in users):
        logits = step()
        steps += 1
        if SEEDS is not None and steps == 1:
            # From here on random numbers go on.
            write(buffers, SEEDS, np.full(BATCH, LEAVE))
        chosen = read(buffers[TOKENS][0])[:BATCH]
        if not picks(args):
            logits = read_logits(logits, slice(BATCH))
        changed = False
        for at, user in enumerate(users):
            if user.done:
                continue
            user.position += 1
            if user.pending:
                user.next = user.pending.pop(0)
            else:
                user.accept(int(chosen[at]) if picks(args) else user.sampler.choose(logits[at]), args)
            changed |= user.done or user.next != chosen[at]
        if changed:
            write_users(buffers, users)
    return steps


def check(device):
    """Refuses a TT-NN or a card that the plan was not made for: it may take other calls and place tensors elsewhere."""
    try:
        found = importlib.metadata.version("ttnn")
    except importlib.metadata.PackageNotFoundError:
        # Not installed by pip, such as one built from source, which tells no release.
        found = RELEASE
    facts = [("TT-NN", RELEASE, found)]
    if hasattr(device, "arch"):
        size = device.compute_with_storage_grid_size()
        grid = (size.x, size.y)
        if SIMULATOR and size.x >= GRID[0] and size.y >= GRID[1]:
            # The simulated chip has no harvested rows.
            grid = GRID
        facts += [("chip", ARCH, str(device.arch()).split(".")[-1]), ("grid of cores", GRID, grid)]
    for what, planned, found in facts:
        if found != planned:
            sys.exit(f"the plan is for {what} {planned}, but this is {found}: plan the model for it, `bitnetc plan --target`")


def check_compiler():
    """Refuses to make kernels for a real card with the compiler that stands in for one on mock cards."""
    path = os.path.join(os.path.dirname(ttnn.__file__ or ""), COMPILER)
    if not MOCK and os.path.exists(path):
        with open(path, "rb") as file:
            if STAND_IN.encode() in file.read(512):
                sys.exit(f"{path} compiles nothing: install Tenstorrent's SFPI in /opt/tenstorrent/sfpi and delete it")


class Text:
    """Prompts and texts as a tokenizer has them, or as numbers of tokens where none was given."""

    def __init__(self, path):
        self.tokenizer = None
        if path is None:
            return
        try:
            import tokenizers
        except ImportError:
            sys.exit("--tokenizer needs the package tokenizers: pip install tokenizers")
        file = os.path.join(path, "tokenizer.json") if os.path.isdir(path) else path
        try:
            self.tokenizer = tokenizers.Tokenizer.from_file(file)
        except Exception as error:
            sys.exit(f"{file}: {error}")

    def tokens(self, prompt):
        if self.tokenizer is not None:
            return self.tokenizer.encode(prompt).ids
        try:
            return [int(token) for token in prompt.split(",")]
        except ValueError:
            sys.exit(f"--prompt {prompt!r}: without --tokenizer a prompt is token ids, such as 1,2,3")

    def text(self, tokens):
        return tokens if self.tokenizer is None else self.tokenizer.decode(tokens)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    weights_from = parser.add_mutually_exclusive_group(required=True)
    weights_from.add_argument("--tensorbin", help="folder of weights written by `bitnetc pack --tensorbin`: the fastest")
    weights_from.add_argument("--packed", help="file of weights written by `bitnetc pack`")
    weights_from.add_argument("--random-weights", action="store_true", help="weights made up")
    parser.add_argument("--tokenizer", help="tokenizer.json or its folder: prompts and texts are text, not token ids")
    parser.add_argument("--prompt", action="append", help="a user's prompt; users without one take these again in turn (default: 1,2,3)")
    parser.add_argument("--steps", type=int, default=8, help="most tokens after the first of each text")
    parser.add_argument("--eos", type=int, action="append", default=[], help="a token that ends a text; may be repeated")
    parser.add_argument("--temperature", type=float, default=0, help="divides the logits; 0 takes the most likely token")
    usual = 0 if TOP_K is None else 32
    help = "draw among so many of the most likely tokens; 0 for all, which the host draws (default: %(default)s)"
    parser.add_argument("--top-k", type=int, default=usual, help=help)
    parser.add_argument("--top-p", type=float, default=1, help="draw among the most likely tokens of this probability")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same tokens")
    parser.add_argument("--json", action="store_true", help="a line for each step of one prefill and one decode step")
    args = parser.parse_args()
    for name, good in [
        ("steps", args.steps >= 0),
        ("temperature", 0 <= args.temperature < np.inf),
        ("top-k", args.top_k >= 0),
        ("top-p", 0 < args.top_p <= 1),
        ("seed", args.seed >= 0),
    ]:
        if not good:
            parser.error(f"--{name} is out of range")
    text = Text(args.tokenizer)
    prompts = [text.tokens(prompt) for prompt in args.prompt or (["1,2,3"] if args.tokenizer is None else [])]
    if not prompts or len(prompts) > BATCH:
        parser.error(f"the plan has {BATCH} users: give 1 to {BATCH} prompts")
    for prompt in prompts:
        if not prompt:
            parser.error("a prompt has no tokens")
        if not all(0 <= token < VOCAB for token in prompt):
            parser.error(f"token ids are 0 to {VOCAB - 1}")
        if len(prompt) + args.steps > CONTEXT:
            parser.error(f"{len(prompt)} tokens and {args.steps} steps are more than the context, {CONTEXT}")
        taken = sum(count for _, _, count in chunks(len(prompt)))
        if not DECODE and taken < len(prompt):
            parser.error(f"the plan has no decode, and its prefill takes {taken} of a prompt's {len(prompt)} tokens")
    return args, text, prompts


def main():
    args, text, prompts = arguments()
    source = Tensorbin(args.tensorbin) if args.tensorbin else Packed(args.packed) if args.packed else Random()
    check_compiler()
    start = time.perf_counter()
    device = ttnn.open_device(device_id=0)
    check(device)
    weights, buffers, scalars, show = load(device, source), make_buffers(device), evaluate(source), Show(args.json)
    write_draw(buffers, args)
    loaded = time.perf_counter()

    users = []
    for number in range(BATCH):
        sampler = Sampler(args.temperature, args.top_k, args.top_p, args.seed, number)
        users.append(User(prompts[number % len(prompts)], sampler))
    # A decode step that is to be traced is warmed up and captured before a cache is filled: both write at position 0 only.
    step, release = (lambda: None), (lambda: None)
    if DECODE:
        step, release = decode_step(device, users, weights, buffers, scalars, show)
    for number, user in enumerate(users):
        if PREFILL:
            prefill(user, number, args, weights, buffers, scalars, show if number == 0 else Show(False))
        else:
            user.next = user.pending.pop(0)
        user.done |= not DECODE
    filled = time.perf_counter()
    steps = generate(users, step, args, buffers) if DECODE else 0
    ended = time.perf_counter()
    release()

    if not args.json:
        for number, user in enumerate(users):
            print(f"user {number}: {text.text(user.tokens)}")
        each = f", {1000 * (ended - filled) / steps:.2f} ms each" if steps else ""
        times = f"loaded in {loaded - start:.2f} s; warm-up and prompts {filled - loaded:.2f} s"
        print(f"[{times}; {steps} decode steps{each}]", file=sys.stderr)
    ttnn.close_device(device)


def decode_step(device, users, weights, buffers, scalars, show):
    """A function that runs a decode step and returns its logits, and one that ends it. On a real card the step is replayed from a trace."""
    write_users(buffers, users)
    if MOCK:
        # A mock card takes no operation inside a trace.
        alive, first = [], [show]

        def step():
            free(alive)
            alive[:] = DECODE(weights, buffers, scalars, first.pop() if first else Show(False))
            return alive[0]

        return step, lambda: free(alive)
    free(DECODE(weights, buffers, scalars, show))
    write_users(buffers, users)
    trace = ttnn.begin_trace_capture(device, cq_id=0)
    results = DECODE(weights, buffers, scalars, Show(False))
    ttnn.end_trace_capture(device, trace, cq_id=0)

    def step():
        ttnn.execute_trace(device, trace, cq_id=0, blocking=False)
        return results[0]

    def release():
        ttnn.release_trace(device, trace)
        free(results)

    return step, release


if __name__ == "__main__":
    main()
