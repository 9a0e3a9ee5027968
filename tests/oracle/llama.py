# SPDX-License-Identifier: Apache-2.0
"""The real llama.cpp, through its C interface: what the oracle tests compare qdial with.

    llama.py quantize IN.gguf OUT.gguf RECIPE [--imatrix FILE]
    llama.py generate MODEL.gguf COUNT PROMPT

The folder with the shared libraries (libllama.so, libggml.so, libggml-base.so) is named by the
environment variable QDIAL_PEER_GGML. Structures are passed larger than they are: the first fields
are those of llama.h, the rest stays as the library's own defaults.
"""

import ctypes
import math
import os
import pathlib
import sys

FTYPES = {  # enum llama_ftype
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10,
    "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16,
    "Q5_K_M": 17, "Q6_K": 18, "BF16": 32,
}


class QuantizeParams(ctypes.Structure):
    _fields_ = [
        ("nthread", ctypes.c_int32), ("ftype", ctypes.c_int32),
        ("output_tensor_type", ctypes.c_int32), ("token_embedding_type", ctypes.c_int32),
        ("allow_requantize", ctypes.c_bool), ("quantize_output_tensor", ctypes.c_bool),
        ("only_copy", ctypes.c_bool), ("pure", ctypes.c_bool), ("keep_split", ctypes.c_bool),
        ("dry_run", ctypes.c_bool), ("imatrix", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p), ("tensor_overrides", ctypes.c_void_p),
        ("prune_layers", ctypes.c_void_p), ("later_fields", ctypes.c_uint8 * 192),
    ]


class ImatrixEntry(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)),
                ("size", ctypes.c_size_t)]


class KvValue(ctypes.Union):
    _fields_ = [("integer", ctypes.c_int64), ("string", ctypes.c_char * 128)]


class KvOverride(ctypes.Structure):
    _fields_ = [("tag", ctypes.c_int32), ("key", ctypes.c_char * 128), ("value", KvValue)]


class Opaque(ctypes.Structure):
    """A parameter structure of which only 32-bit fields at the start are set."""
    _fields_ = [("words", ctypes.c_uint32 * 128)]


def load():
    folder = pathlib.Path(os.environ["QDIAL_PEER_GGML"])
    libraries = [ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)
                 for name in ("libggml-base.so", "libggml.so", "libllama.so")]
    libraries[1].ggml_backend_load_all_from_path(os.fsencode(folder))
    return libraries[2]


def read_imatrix(path):
    """Importance per tensor and the metadata that llama-quantize writes of the file."""
    import gguf
    import numpy as np
    reader = gguf.GGUFReader(path)
    tensors = {t.name: t.data for t in reader.tensors}
    entries = {}
    for name, sums in tensors.items():
        if not name.endswith(".in_sum2"):
            continue
        name = name.removesuffix(".in_sum2")
        counts = np.array(tensors[name + ".counts"], np.float32).reshape(-1, 1)
        sums = np.array(sums, np.float32).reshape(counts.size, -1)
        values = np.divide(sums, counts, out=np.ones_like(sums), where=counts > 0)
        entries[name] = np.ascontiguousarray(values.reshape(-1), dtype=np.float32)
    datasets = reader.fields["imatrix.datasets"].contents()
    chunks = reader.fields["imatrix.chunk_count"].contents()
    return entries, datasets, int(chunks)


def quantize(source, target, recipe, imatrix=None, threads=2):
    llama = load()
    llama.llama_model_quantize_default_params.restype = QuantizeParams
    llama.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p,
                                           ctypes.POINTER(QuantizeParams)]
    params = llama.llama_model_quantize_default_params()
    params.nthread = threads
    params.ftype = FTYPES[recipe]
    params.allow_requantize = True
    if imatrix is not None:
        values, datasets, chunks = read_imatrix(imatrix)
        entries = (ImatrixEntry * (len(values) + 1))()
        for entry, (name, data) in zip(entries, values.items()):
            entry.name = name.encode()
            entry.data = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            entry.size = data.size
        params.imatrix = ctypes.addressof(entries)

        integer_tag, string_tag = 0, 3
        overrides = (KvOverride * 5)()  # the last one stays empty: the end
        facts = [("file", str(imatrix)), ("dataset", datasets[0]),
                 ("entries_count", len(values)), ("chunks_count", chunks)]
        for override, (key, fact) in zip(overrides, facts):
            override.key = f"quantize.imatrix.{key}".encode()
            if isinstance(fact, str):
                override.tag, override.value.string = string_tag, fact.encode()[:127]
            else:
                override.tag, override.value.integer = integer_tag, fact
        params.kv_overrides = ctypes.addressof(overrides)
    status = llama.llama_model_quantize(os.fsencode(source), os.fsencode(target),
                                        ctypes.byref(params))
    if status != 0:
        raise RuntimeError(f"llama_model_quantize to {recipe} ended with {status}")


def generate(model_path, count, prompt):
    """Greedy tokens after the prompt: (text, token ids)."""
    llama = load()
    llama.llama_model_default_params.restype = Opaque
    llama.llama_context_default_params.restype = Opaque
    llama.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Opaque]
    llama.llama_model_load_from_file.restype = ctypes.c_void_p
    llama.llama_init_from_model.argtypes = [ctypes.c_void_p, Opaque]
    llama.llama_init_from_model.restype = ctypes.c_void_p
    llama.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
    llama.llama_model_get_vocab.restype = ctypes.c_void_p
    llama.llama_vocab_n_tokens.argtypes = [ctypes.c_void_p]
    tokens_type = ctypes.POINTER(ctypes.c_int32)
    llama.llama_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, tokens_type,
                                     ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]
    llama.llama_token_to_piece.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p,
                                           ctypes.c_int32, ctypes.c_int32, ctypes.c_bool]
    llama.llama_batch_get_one.argtypes = [tokens_type, ctypes.c_int32]
    llama.llama_batch_get_one.restype = Opaque
    llama.llama_decode.argtypes = [ctypes.c_void_p, Opaque]
    llama.llama_get_logits_ith.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    llama.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)

    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(os.fsencode(model_path),
                                             llama.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp does not load {model_path}")
    context_params = llama.llama_context_default_params()
    context_params.words[0] = 256  # n_ctx
    context = llama.llama_init_from_model(model, context_params)
    if not context:
        raise RuntimeError(f"llama.cpp makes no context of {model_path}")
    llama.llama_set_n_threads(ctypes.c_void_p(context), 2, 2)
    vocabulary = llama.llama_model_get_vocab(model)
    vocabulary_size = llama.llama_vocab_n_tokens(vocabulary)

    buffer = (ctypes.c_int32 * 128)()
    text = prompt.encode()
    length = llama.llama_tokenize(vocabulary, text, len(text), buffer, 128, True, False)
    generated, pieces = [], []
    while len(generated) < count:
        if llama.llama_decode(context, llama.llama_batch_get_one(buffer, length)) != 0:
            raise RuntimeError("llama_decode failed")
        logits = llama.llama_get_logits_ith(context, -1)[:vocabulary_size]
        if not all(map(math.isfinite, logits)):
            raise RuntimeError(f"logits of {model_path} are not finite")
        token = max(range(vocabulary_size), key=logits.__getitem__)
        piece = ctypes.create_string_buffer(128)
        size = llama.llama_token_to_piece(vocabulary, token, piece, 128, 0, True)
        generated.append(token)
        pieces.append(piece.raw[:size])
        buffer[0], length = token, 1
    return b"".join(pieces).decode(errors="replace"), generated


def main(arguments):
    command = arguments[0]
    if command == "quantize":
        imatrix = arguments[5] if arguments[4:5] == ["--imatrix"] else None
        quantize(*arguments[1:4], imatrix)
    elif command == "generate":
        text, tokens = generate(arguments[1], int(arguments[2]), arguments[3])
        print(tokens)
        print(repr(arguments[3] + text))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
