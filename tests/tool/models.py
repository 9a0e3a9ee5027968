# SPDX-License-Identifier: Apache-2.0
"""GGUF files for tests, with nothing but Python's own library."""

import math
import random
import struct

# name: (type number, elements a block, bytes a block)
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34),
         "I8": (24, 1, 1), "BF16": (30, 1, 2)}


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def scalar(value):
    """Type number and bytes of a value: text, truth, float32, or an integer as u32."""
    if isinstance(value, str):
        return 8, string(value)
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    return 4, struct.pack("<I", value)


def entry(key, value):
    """A metadata entry: a scalar, or a list of scalars of one type (not empty)."""
    if isinstance(value, list):
        items = [scalar(item) for item in value]
        return (string(key) + struct.pack("<IIQ", 9, items[0][0], len(items)) +
                b"".join(data for _, data in items))
    kind, data = scalar(value)
    return string(key) + struct.pack("<I", kind) + data


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


def language_model(path, seed=1, blocks=2, width=256, heads=4, tokenizer=True):
    """A Llama of random weights in F16 that reads bytes and some words; 512 tokens at most."""
    generator = random.Random(seed)
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += ["\u2581"] + [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces += ["th", "he", "in", "er", "\u2581t", "\u2581the", "an", "re"]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(pieces) - 259)
    metadata = {
        **llama(blocks, heads, heads), "llama.embedding_length": width,
        "llama.feed_forward_length": width, "llama.context_length": 512,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 10000.0,
        "llama.rope.dimension_count": width // heads, "llama.vocab_size": len(pieces)}
    if tokenizer:
        metadata |= {
            "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.tokens": pieces,
            "tokenizer.ggml.scores": [float(-i) for i in range(len(pieces))],
            "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.ggml.add_bos_token": True}

    def matrix(rows, columns, scale):
        values = [generator.gauss(0, scale) for _ in range(rows * columns)]
        return struct.pack(f"<{len(values)}e", *values)

    ones = struct.pack(f"<{width}f", *[1.0] * width)
    tensors = [("token_embd.weight", [width, len(pieces)], "F16", matrix(len(pieces), width, 1)),
               ("output_norm.weight", [width], "F32", ones),
               ("output.weight", [width, len(pieces)], "F16", matrix(len(pieces), width, 0.2))]
    for i in range(blocks):
        for name in ("attn_norm", "ffn_norm"):
            tensors.append((f"blk.{i}.{name}.weight", [width], "F32", ones))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up",
                     "ffn_down"):
            tensors.append((f"blk.{i}.{name}.weight", [width, width], "F16",
                            matrix(width, width, width ** -0.5)))
    write(path, metadata, tensors)
