"""Writes quants.gguf: a tensor of every type that is read, quantised by the gguf package, and what the package reads it as.

    pip install gguf==0.19.0 && python quants.py quants.gguf

For a tensor NAME there is NAME.f32. Values come from formulas, so that tests can make the same. The types that the package only reads, and
I2_S, which it does not know, are packed here: I2_S as utils/convert-hf-to-gguf-bitnet.py of bitnet.cpp packs it.
"""
import sys

import gguf
import numpy as np
from gguf.gguf_writer import TensorInfo

ROWS, COLUMNS = 4, 512
N = ROWS * COLUMNS
I2_S = 36


def bytes_of(count, salt):
    """The same bytes as `hashed` in the tests."""
    at = np.arange(count, dtype=np.uint64) + np.uint64(salt) * np.uint64(1000003)
    at = (at * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    return ((at >> np.uint64(13)) & np.uint64(255)).astype(np.uint8)


ternary = (bytes_of(N, 1) % 3).astype(np.int8) - 1
ternary[:256] = 0
scaled = (ternary.astype(np.float32) * np.float32(0.8125)).reshape(ROWS, COLUMNS)
floats = ((bytes_of(N, 2).astype(np.float32) - 128) / 64).reshape(ROWS, COLUMNS)

writer = gguf.GGUFWriter(sys.argv[1], "llama")
writer.add_name("quants")
writer.add_token_list(["a", "b"])
writer.add_rope_freq_base(10000.0)


def add(name, kind, packed, read):
    shape = [ROWS, COLUMNS]
    writer.tensors[-1][name] = TensorInfo(shape=shape, dtype=kind, nbytes=packed.nbytes, tensor=packed)
    writer.add_tensor(name + ".f32", read.astype(np.float32).reshape(shape))


kinds = gguf.GGMLQuantizationType
for kind, values in [
    (kinds.TQ1_0, scaled), (kinds.TQ2_0, scaled), (kinds.Q8_0, floats), (kinds.Q4_0, floats), (kinds.F16, floats), (kinds.BF16, floats),
]:
    packed = gguf.quants.quantize(values, kind)
    add(kind.name, kind, packed, gguf.quants.dequantize(packed, kind))

blocks = N // 256
half = np.array([0.0625], dtype=np.float16).view(np.uint8)
q4_k = bytes_of(blocks * 144, 3).reshape(blocks, 144)
q4_k[:, 0:2] = q4_k[:, 2:4] = half
q6_k = bytes_of(blocks * 210, 4).reshape(blocks, 210)
q6_k[:, 208:210] = half
for kind, packed in [(kinds.Q4_K, q4_k), (kinds.Q6_K, q6_k)]:
    packed = packed.reshape(ROWS, -1)
    add(kind.name, kind, packed, gguf.quants.dequantize(packed, kind))

codes = (ternary + 1).astype(np.uint8).reshape(-1, 4, 32)
codes = codes[:, 0] << 6 | codes[:, 1] << 4 | codes[:, 2] << 2 | codes[:, 3]
tail = np.zeros(32, dtype=np.uint8)
tail[:4] = np.array([0.8125], dtype=np.float32).view(np.uint8)
add("I2_S", I2_S, np.concatenate([codes.reshape(-1), tail]), scaled)


# LlamaModel.permute of convert_hf_to_gguf.py, for two heads of eight rows.
rows = np.repeat(np.arange(16, dtype=np.float32), 32).reshape(16, 32)
writer.add_tensor("permuted", np.ascontiguousarray(rows.reshape(2, 2, 4, 32).swapaxes(1, 2).reshape(16, 32)))

writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
