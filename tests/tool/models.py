# SPDX-License-Identifier: Apache-2.0
"""GGUF files for tests, with nothing but Python's own library."""

import math
import struct

# name: (type number, elements a block, bytes a block)
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34),
         "I8": (24, 1, 1), "BF16": (30, 1, 2)}


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, value):
    """A metadata entry: text, or an integer as u32."""
    if isinstance(value, str):
        return string(key) + struct.pack("<I", 8) + string(value)
    return string(key) + struct.pack("<II", 4, value)


def nbytes(kind, shape):
    _, length, size = TYPES[kind]
    return math.prod(shape) // length * size


def write(path, metadata, tensors):
    """tensors: (name, shape with the row length first, type, bytes or None for a hole)."""
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    header += b"".join(entry(key, value) for key, value in metadata.items())
    offset = 0
    for name, shape, kind, _ in tensors:
        header += string(name) + struct.pack("<I", len(shape))
        header += struct.pack(f"<{len(shape)}q", *shape)
        header += struct.pack("<IQ", TYPES[kind][0], offset)
        offset += -(-nbytes(kind, shape) // 32) * 32
    start = -(-len(header) // 32) * 32
    with open(path, "wb") as file:
        file.write(header)
        at = start
        for _, shape, kind, data in tensors:
            if data is not None:
                assert len(data) == nbytes(kind, shape)
                file.seek(at)
                file.write(data)
            at += -(-nbytes(kind, shape) // 32) * 32
        file.truncate(at)


def llama(blocks=1, heads=8, kv_heads=8, experts=0, architecture="llama"):
    metadata = {"general.architecture": architecture, f"{architecture}.block_count": blocks,
                f"{architecture}.attention.head_count": heads,
                f"{architecture}.attention.head_count_kv": kv_heads}
    if experts:
        metadata[f"{architecture}.expert_count"] = experts
    return metadata
