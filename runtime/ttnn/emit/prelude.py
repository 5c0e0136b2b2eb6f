# Everything below this line up to the plan itself is the same in every emitted program.
import argparse
import importlib.metadata
import json
import os
import sys
import time
import zlib

import numpy as np
import ttnn

MOCK = "TT_METAL_MOCK_CLUSTER_DESC_PATH" in os.environ
SIMULATOR = "TT_METAL_SIMULATOR" in os.environ
DTYPES = {
    "bf16": ttnn.bfloat16,
    "bfp8": ttnn.bfloat8_b,
    "bfp4": ttnn.bfloat4_b,
    "f32": ttnn.float32,
    "u32": ttnn.uint32,
    "i32": ttnn.int32,
}
# The seed with which random numbers go on.
LEAVE = 0xFFFFFFFF
HOST = {"u32": np.uint32, "i32": np.int32}


def two_bits(values):
    """A ternary matrix as words of sixteen codes, column of tiles by column of tiles: 0 is 0, 1 is 1, 3 is -1."""
    rows, columns = values.shape[-2:]
    padded = np.zeros((-(-rows // 32) * 32, -(-columns // 32) * 32), dtype=np.uint32)
    padded[:rows, :columns] = np.where(values < 0, 3, values).reshape(rows, columns)
    faces = padded.reshape(len(padded) // 32, 2, 16, -1, 2, 16).transpose(3, 0, 1, 4, 2, 5)
    words = (faces << (2 * np.arange(16, dtype=np.uint32))).sum(axis=-1, dtype=np.uint32)
    return words.reshape(1, 1, len(words), -1)


def to_device(device, array, dtype, layout, memory_config):
    """A host array as a tensor on the card."""
    if dtype == "bfp2":
        array, dtype, layout = two_bits(array), "u32", ttnn.ROW_MAJOR_LAYOUT
    array = np.ascontiguousarray(array, dtype=HOST.get(dtype, np.float32))
    return ttnn.to_device(ttnn.Tensor(array, data_type=DTYPES[dtype], layout=layout), device, memory_config=memory_config)


def untile(raw, dtype, shape):
    """The values of a tiled tensor: 32x32 tiles of four 16x16 faces, block formats with 64 shared exponents first."""
    rows, columns = -(-shape[-2] // 32), -(-shape[-1] // 32)
    outer = int(np.prod(shape[:-2], dtype=np.int64))
    tiles = raw.reshape(outer * rows * columns, -1)
    if dtype == "bf16":
        values = (tiles.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif dtype == "f32":
        values = tiles.view(np.float32)
    else:
        bits = 8 if dtype == "bfp8" else 4
        exponents = tiles[:, :64].astype(np.int32)
        codes = tiles[:, 64:]
        if bits == 4:
            codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(tiles), -1)
        magnitudes = (codes & ((1 << (bits - 1)) - 1)).astype(np.float32)
        signs = np.where(codes >> (bits - 1), -1.0, 1.0).astype(np.float32)
        values = signs * np.ldexp(magnitudes, np.repeat(exponents, 16, axis=1) - 127 - (bits - 2))
    faces = values.reshape(outer, rows, columns, 2, 2, 16, 16)
    matrix = faces.transpose(0, 1, 3, 5, 2, 4, 6).reshape(outer, rows * 32, columns * 32)
    return matrix[:, : shape[-2], : shape[-1]].reshape(shape)


class Stored:
    """Weights that were written for a plan: a file or folder, with an index of the tensors in it."""

    def __init__(self, path, index):
        if index["digest"] != DIGEST:
            sys.exit(f"{path}: made for another model, {index['model']}")
        self.path, self.scales = path, index["scales"]
        self.tensors = {(t["name"], t["layer"]): t for t in index["tensors"]}

    def entry(self, name, layer, dtype, tiled, shape):
        entry = self.tensors.get((name, layer))
        here = {"shape": shape, "dtype": dtype, "layout": "Tile" if tiled else "RowMajor"}
        if entry is None or any(entry["spec"][key] != value for key, value in here.items()):
            sys.exit(f"{self.path}: made for another plan, its weight {name} of layer {layer} is not this one's")
        return entry

    def check(self, name, entry, data):
        if len(data) != entry["bytes"] or zlib.crc32(data) != entry["crc"]:
            sys.exit(f"{self.path}: weight {name} of layer {entry['layer']} is damaged")

    def scale(self, tensor, layer):
        return self.scales[tensor.replace("{layer}", str(layer))]


class Tensorbin(Stored):
    """A folder that `bitnetc pack --tensorbin` wrote: TT-NN maps the files, and nothing is converted."""

    def __init__(self, path):
        try:
            with open(os.path.join(path, "index.json")) as file:
                index = json.load(file)
        except (OSError, ValueError) as error:
            sys.exit(f"{path}: {error}")
        super().__init__(path, index)

    def tensor(self, device, name, layer, dtype, tiled, shape, layout, placement):
        entry = self.entry(name, layer, dtype, tiled, shape)
        path = os.path.join(self.path, entry["file"])
        try:
            data = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            sys.exit(f"{path}: {error}")
        # TT-NN checks neither.
        header = int.from_bytes(data[:8].tobytes(), "little")
        self.check(name, entry, data[8 + header :])
        return ttnn.to_device(ttnn.load_tensor(path), device, memory_config=placement)


class Packed(Stored):
    """A file that `bitnetc pack` wrote: converted by numpy, which takes its time for a large model."""

    def __init__(self, path):
        try:
            self.data = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            sys.exit(f"{path}: {error}")
        if bytes(self.data[:8]) != b"\x89BNWTS\r\n":
            sys.exit(f"{path}: not a packed file; `bitnetc pack` writes one")
        start, length = (int(number) for number in np.frombuffer(self.data[16:32].tobytes(), dtype="<u8"))
        text = self.data[start : start + length].tobytes()
        if len(text) != length or zlib.crc32(text) != int.from_bytes(self.data[12:16].tobytes(), "little"):
            sys.exit(f"{path}: cut short or damaged; pack the weights again")
        super().__init__(path, json.loads(text))

    def tensor(self, device, name, layer, dtype, tiled, shape, layout, placement):
        entry = self.entry(name, layer, dtype, tiled, shape)
        raw = np.frombuffer(self.data[entry["offset"] : entry["offset"] + entry["bytes"]].tobytes(), dtype=np.uint8)
        self.check(name, entry, raw)
        if dtype == "bfp2":
            words = raw.view(np.uint32).reshape(1, 1, -(-shape[-1] // 32), -1)
            return to_device(device, words, "u32", ttnn.ROW_MAJOR_LAYOUT, placement)
        if tiled:
            values = untile(raw, dtype, shape)
        elif dtype == "f32":
            values = raw.view(np.float32).reshape(shape)
        else:
            values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)
        return to_device(device, values, dtype, layout, placement)


class Random:
    """Ternary weights made up, scales of 1."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)

    def tensor(self, device, name, layer, dtype, tiled, shape, layout, placement):
        values = self.rng.integers(-1, 2, size=shape).astype(np.float32)
        return to_device(device, values, dtype, layout, placement)

    def scale(self, tensor, layer):
        return 1.0


class Show:
    """Prints a line for each step when asked to."""

    def __init__(self, on):
        self.on = on

    def __call__(self, phase, layer, step, call, outputs):
        if not self.on:
            return
        for name, tensor in outputs.items():
            line = {"phase": phase, "layer": layer, "step": step, "op": call, "output": name, "shape": list(tensor.shape)}
            line |= {"dtype": str(tensor.dtype), "memory_config": str(tensor.memory_config())}
            print(json.dumps(line | {"address": tensor.buffer_address()}))
