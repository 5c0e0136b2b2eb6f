"""A module in TT-NN's place that computes with numpy: what emitted programs mean, without a card. Formats and placements are ignored."""

import builtins
import os
import types

import numpy as np

# Emitted programs replay no trace then, as on a mock card.
os.environ["TT_METAL_MOCK_CLUSTER_DESC_PATH"] = "numpy"


class Name:
    """A constant or config object: its dotted name and what it was made with."""

    def __init__(self, name, args=(), named=None):
        self.name, self.args, self.named = name, args, named or {}

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Name(f"{self.name}.{name}")

    def __call__(self, *args, **named):
        return Name(self.name, args, named)


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Name(name)


class Tensor:
    def __init__(self, array, data_type=None, layout=None):
        array = np.asarray(array)
        self.d = array.astype(np.float64) if array.dtype.kind == "f" else array.copy()
        self.dtype = data_type

    @property
    def shape(self):
        return self.d.shape

    def memory_config(self):
        return None

    def buffer_address(self):
        return 0

    def to_list(self):
        return self.d.tolist()

    def to_numpy(self):
        return self.d


def open_device(**_):
    return object()


def close_device(_):
    pass


def deallocate(_):
    pass


def same(x, *_, **__):
    return x


to_device = from_device = to_dtype = same


def copy_host_to_device_tensor(host, device):
    assert host.d.size == device.d.size
    device.d = host.d.reshape(device.d.shape)


UNARY = {
    "RELU": lambda x: np.maximum(x, 0),
    "SQUARE": np.square,
    "SILU": lambda x: x / (1 + np.exp(-x)),
    "ABS": np.abs,
    "POWER_ITERATIVE": np.power,
    "RECIP": lambda x: 1 / x,
    "ROUND": np.round,
    "MUL_UNARY_SFPU": lambda x, factor: x * factor,
    "MAXIMUM": np.maximum,
    "CLAMP_TSS": np.clip,
}


def unary(x, op):
    if op is None:
        return x
    if isinstance(op, str):
        return UNARY[op.upper()](x)
    if op.name == "UnaryWithParam":
        op, *args = op.args
    else:
        args = op.args
    return UNARY[op.name.rsplit(".", 1)[-1]](x, *args)


def binary(function):
    def op(a, b, input_tensor_a_activations=(), input_tensor_b_activations=(), activations=(), output_tensor=None, **_):
        values = [value.d if isinstance(value, Tensor) else value for value in (a, b)]
        for at, ops in enumerate((input_tensor_a_activations, input_tensor_b_activations)):
            for each in ops:
                values[at] = unary(values[at], each)
        result = function(*values)
        for each in activations:
            result = unary(result, each)
        if output_tensor is None:
            return Tensor(result)
        assert output_tensor.d.shape == result.shape
        output_tensor.d = result
        return output_tensor

    return op


add = binary(np.add)
mul = multiply = binary(np.multiply)


def linear(a, b, program_config=None, activation=None, **_):
    result = unary(a.d @ b.d, activation)
    return Tensor(unary(result, program_config.named.get("fused_activation") if program_config else None))


matmul = linear


def rms_norm(x, epsilon, weight=None, **_):
    result = x.d / np.sqrt(np.square(x.d).mean(-1, keepdims=True) + np.float64(np.float32(epsilon)))
    return Tensor(result if weight is None else result * weight.d.reshape(-1))


def abs(x, **_):
    return Tensor(np.abs(x.d))


def max(x, dim, keepdim=False, **_):
    return Tensor(x.d.max(dim, keepdims=keepdim))


def argmax(x, dim, keepdim=False, output_tensor=None, **_):
    result = x.d.argmax(dim, keepdims=keepdim)
    if output_tensor is None:
        return Tensor(result)
    assert output_tensor.d.size == result.size
    output_tensor.d = result.reshape(output_tensor.d.shape)
    return output_tensor


def topk(x, k, dim, largest, sorted, **_):
    assert largest and sorted and dim == 3
    order = np.argsort(-x.d, axis=dim, kind="stable")[..., :k]
    return [Tensor(np.take_along_axis(x.d, order, dim)), Tensor(order)]


# A card has random numbers in each core.
CORES = {}


def manual_seed(seeds, user_ids):
    for seed, user in zip(seeds.d.astype(int), user_ids.d.astype(int)):
        if seed != 0xFFFFFFFF:
            CORES[user] = np.random.default_rng(seed)


def sampling(values, tokens, k, p, temp, output_tensor):
    drawn = []
    for user in range(values.d.shape[2]):
        weights = np.exp((values.d[0, 0, user] - values.d[0, 0, user, 0]) * temp.d[user])[: int(k.d[user])]
        share = np.cumsum(weights) / weights.sum()
        weights = weights[: int(np.searchsorted(share, p.d[user], side="right")) + 1]
        share = np.cumsum(weights) / weights.sum()
        at = int(np.searchsorted(share, CORES[user].random(), side="right"))
        drawn.append(tokens.d[0, 0, user, builtins.min(at, len(weights) - 1)])
    output_tensor.d = np.array(drawn).reshape(output_tensor.d.shape)
    return output_tensor


def embedding(tokens, table, **_):
    rows = table.d.reshape(table.d.shape[-2:])[tokens.d.astype(int)]
    return Tensor(rows.reshape(tokens.d.shape[0], -1, rows.shape[-1]))


def reshape(x, shape, *_, **__):
    # A view of fewer rows than there are leaves out the padding.
    whole = x.d if x.d.size == np.prod(shape) else x.d[..., : shape[-2], :]
    return Tensor(whole.reshape(shape))


def transpose(x, a, b, **_):
    return Tensor(np.swapaxes(x.d, a, b))


def copy(x, *_, **__):
    return Tensor(x.d)


to_memory_config = to_layout = typecast = copy


def concat(tensors, dim, **_):
    return Tensor(np.concatenate([tensor.d for tensor in tensors], axis=dim))


def slice(x, start, end, *_, **__):
    if isinstance(start, Tensor):
        start, end = (bound.d.reshape(-1).astype(int).tolist() for bound in (start, end))
    corner = [range(first, last) for first, last in zip(start, end)]
    return Tensor(x.d[np.ix_(*corner)])


def plus_one(x, skip_negative_entries=False, **_):
    x.d = np.where(skip_negative_entries & (x.d < 0), x.d, x.d + 1)
    return x


def split(x, batch_first, num_heads, num_kv_heads):
    """q, k and v of a fused projection, `[1, rows, heads, columns]` or `[1, heads, rows, columns]`."""
    rows, columns = x.d.shape[-2], x.d.shape[-1] // (num_heads + 2 * num_kv_heads)
    heads = x.d.reshape(rows, -1, columns)
    heads = (heads if batch_first else heads.transpose(1, 0, 2))[None]
    ends = [num_heads, num_heads + num_kv_heads]
    return [Tensor(part) for part in np.split(heads, ends, axis=2 if batch_first else 1)]


def turned(x, cos, sin, transform):
    matrix = transform.d.reshape(-1, 32)[:32]
    turn = np.concatenate([x[..., at : at + 32] @ matrix for at in range(0, x.shape[-1], 32)], axis=-1)
    return x * cos + turn * sin


def rotary_embedding_llama_fused_qk(q, k, cos, sin, transform, **_):
    users, second = q.d.shape[1], cos.d.shape[1] // 2
    part = lambda table, at: table.d[:, at : at + users, :1, :]
    return [Tensor(turned(x.d, part(cos, at), part(sin, at), transform)) for x, at in ((q, 0), (k, second))]


def rotary_embedding_llama(x, cos, sin, transform, is_decode_mode=False, **_):
    assert not is_decode_mode
    rows = x.d.shape[-2]
    return Tensor(turned(x.d, cos.d[..., :rows, :], sin.d[..., :rows, :], transform))


def paged_fused_update_cache(k_cache, k, v_cache, v, update_idxs_tensor, page_table, **_):
    for cache, rows in ((k_cache, k), (v_cache, v)):
        block = cache.d.shape[2]
        for user, position in enumerate(update_idxs_tensor.d.reshape(-1)):
            if position < 0:
                continue
            cache.d[page_table.d[user, position // block], :, position % block] = rows.d[0, user, : cache.d.shape[1]]


def paged_fill_cache(cache, rows, page_table, batch_idx=0, **_):
    block = cache.d.shape[2]
    for position in range(rows.d.shape[2]):
        page = page_table.d[batch_idx, position // block]
        if page >= 0:
            cache.d[page, :, position % block] = rows.d[0, :, position]


def attend(q, keys, values, scale, mask=0):
    scores = q @ keys.T * scale + mask
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ values


def paged_scaled_dot_product_attention_decode(q, k, v, page_table_tensor, cur_pos_tensor, scale, **_):
    out, group = np.zeros_like(q.d), q.d.shape[2] // k.d.shape[1]
    for user, position in enumerate(cur_pos_tensor.d.reshape(-1)):
        if position < 0:
            continue
        blocks = page_table_tensor.d[user]
        keys, values = (np.concatenate(cache.d[blocks], axis=1)[:, : position + 1] for cache in (k, v))
        for head in range(q.d.shape[2]):
            out[0, user, head] = attend(q.d[0, user, head], keys[head // group], values[head // group], scale)
    return Tensor(out)


def chunked_scaled_dot_product_attention(q, k, v, page_table, chunk_start_idx_tensor, scale, **_):
    start, heads, rows, group = int(chunk_start_idx_tensor.d.item()), q.d.shape[1], q.d.shape[2], q.d.shape[1] // k.d.shape[1]
    seen = start + rows
    blocks = page_table.d.reshape(-1)[: -(-seen // k.d.shape[2])]
    keys, values = (np.concatenate(cache.d[blocks], axis=1)[:, :seen] for cache in (k, v))
    mask = np.where(np.arange(seen) > start + np.arange(rows)[:, None], -1e30, 0)
    parts = [attend(q.d[0, h], keys[h // group], values[h // group], scale, mask) for h in range(heads)]
    return Tensor(np.stack(parts)[None])


def nlp_concat_heads_decode(x, num_heads, **_):
    joined = x.d[0].reshape(x.d.shape[1], -1)
    out = np.zeros((1, 1, 32, joined.shape[1]))
    out[0, 0, : len(joined)] = joined
    return Tensor(out)


experimental = types.SimpleNamespace(
    nlp_create_qkv_heads_decode=lambda x, num_heads, num_kv_heads, **_: split(x, True, num_heads, num_kv_heads),
    nlp_create_qkv_heads=lambda x, num_heads, num_kv_heads, **_: split(x, False, num_heads, num_kv_heads),
    nlp_concat_heads=lambda x, **_: Tensor(x.d.transpose(0, 2, 1, 3).reshape(1, 1, x.d.shape[2], -1)),
    nlp_concat_heads_decode=nlp_concat_heads_decode,
    rotary_embedding_llama=rotary_embedding_llama,
    rotary_embedding_llama_fused_qk=rotary_embedding_llama_fused_qk,
    paged_fused_update_cache=paged_fused_update_cache,
    paged_fill_cache=paged_fill_cache,
)
transformer = types.SimpleNamespace(
    paged_scaled_dot_product_attention_decode=paged_scaled_dot_product_attention_decode,
    chunked_scaled_dot_product_attention=chunked_scaled_dot_product_attention,
)
