# SPDX-License-Identifier: Apache-2.0
"""The engine against the real llama.cpp.

    oracle.py small|tokens|smollm2|gemma|quality|imatrix ROOT QDIAL_TOOL QDIAL_ENGINE WORK_FOLDER

The folder with llama.cpp's libraries is named by QDIAL_PEER_GGML (see tests/oracle/llama.py).
"""

import ctypes
import gzip
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

root = pathlib.Path(sys.argv[2])
sys.path.insert(0, str(root / "tests/oracle"))
import llama  # noqa: E402

tool, engine, work = sys.argv[3], sys.argv[4], pathlib.Path(sys.argv[5])
gemma = root / "build/real/gemma.gguf"
smollm2 = root / "build/smollm2/smollm2.gguf"

PROMPTS = [
    "The capital of France is", "Once upon a time", "def fibonacci(n):", "1, 2, 3, 4, 5,",
    "Dear Sir or Madam,", "The three laws of thermodynamics", "#include <stdio.h>\n",
    "Q: Why is the sky blue?\nA:", "In the year 2050, people", "La vie est",
]


class Peer:
    """A model in llama.cpp, with float32 keys and values and without flash attention: its
    attention in binary16 would hide what is compared."""

    def __init__(self, path, context=0):
        self.lib = lib = llama.load()
        opaque, handle = llama.Opaque, ctypes.c_void_p
        tokens = ctypes.POINTER(ctypes.c_int32)
        for name, result, arguments in [
                ("llama_model_default_params", opaque, []),
                ("llama_context_default_params", opaque, []),
                ("llama_model_load_from_file", handle, [ctypes.c_char_p, opaque]),
                ("llama_init_from_model", handle, [handle, opaque]),
                ("llama_set_n_threads", None, [handle, ctypes.c_int32, ctypes.c_int32]),
                ("llama_model_get_vocab", handle, [handle]),
                ("llama_vocab_n_tokens", ctypes.c_int32, [handle]),
                ("llama_tokenize", ctypes.c_int32,
                 [handle, ctypes.c_char_p, ctypes.c_int32, tokens, ctypes.c_int32, ctypes.c_bool,
                  ctypes.c_bool]),
                ("llama_batch_get_one", opaque, [tokens, ctypes.c_int32]),
                ("llama_decode", ctypes.c_int32, [handle, opaque]),
                ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float),
                 [handle, ctypes.c_int32]),
                ("llama_get_memory", handle, [handle]),
                ("llama_memory_clear", None, [handle, ctypes.c_bool]),
                ("llama_log_set", None, [handle, handle])]:
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        self.silence = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p,
                                        ctypes.c_void_p)(lambda level, text, data: None)
        lib.llama_log_set(ctypes.cast(self.silence, handle), None)
        lib.llama_backend_init()
        self.model = lib.llama_model_load_from_file(os.fsencode(path),
                                                    lib.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        self.vocabulary = lib.llama_model_get_vocab(self.model)
        self.size = lib.llama_vocab_n_tokens(self.vocabulary)
        if context:
            parameters = lib.llama_context_default_params()
            parameters.words[0] = context
            parameters.words[13] = 0                         # no flash attention
            parameters.words[26] = parameters.words[27] = 0  # F32 keys and values
            self.context = lib.llama_init_from_model(self.model, parameters)
            lib.llama_set_n_threads(self.context, 1, 1)

    def encode(self, text, special=False):
        buffer = (ctypes.c_int32 * (len(text) + 16))()
        n = self.lib.llama_tokenize(self.vocabulary, text, len(text), buffer, len(buffer), True,
                                    special)
        return list(buffer[:n])

    def logits(self, tokens):
        """Of the last one."""
        ids = (ctypes.c_int32 * len(tokens))(*tokens)  # the batch points to them
        batch = self.lib.llama_batch_get_one(ids, len(ids))
        if self.lib.llama_decode(self.context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        return np.ctypeslib.as_array(self.lib.llama_get_logits_ith(self.context, -1),
                                     (self.size,)).copy()

    def clear(self):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)


def run(*arguments):
    return subprocess.run([engine, *map(str, arguments)], check=True, capture_output=True).stdout


def write_ids(tokens):
    path = work / "ids.txt"
    path.write_text(" ".join(map(str, tokens)))
    return path


def engine_logits(model, tokens, size):
    out = work / "logits.f32"
    run("logits", model, out, "--tokens", write_ids(tokens), "--cache", "f32", "--threads", 2)
    return np.fromfile(out, np.float32).reshape(len(tokens), size)


def relative_error(ours, theirs):
    return float(np.sqrt(((ours - theirs) ** 2).mean()) / theirs.std())


def compare_logits(name, model, tokens, limit):
    """Logits after every token, which go to llama.cpp one by one."""
    peer = Peer(model, context=max(64, len(tokens)))
    theirs = np.stack([peer.logits([t]) for t in tokens])
    ours = engine_logits(model, tokens, peer.size)
    errors = [relative_error(a, b) for a, b in zip(ours, theirs)]
    print(f"{name}: {len(tokens)} positions, error of the logits relative to their deviation: "
          f"median {np.median(errors):.2e}, largest {max(errors):.2e}")
    assert max(errors) < limit, f"{name}: expected less than {limit}"


def write_small_model(path, arch):
    """Random weights, float32, with what the real models at hand do not have."""
    import gguf
    rng = np.random.default_rng(len(arch))
    feed_forward, heads, kv_heads, head, layers = 320, 6, 2, 48, 7
    embedding = heads * head if arch == "qwen2" else 128  # llama.cpp wants it so
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(256)
    writer.add_embedding_length(embedding)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(30000.0)
    writer.add_rope_dimension_count(head)
    if arch == "gemma3":
        writer.add_sliding_window(16)
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(8.0)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(500)

    def add(name, *shape, center=0.0, scale=0.1):
        values = rng.standard_normal(shape) * scale + center
        writer.add_tensor(name, values.astype(np.float32))

    add("token_embd.weight", 500, embedding, scale=1.0)
    add("output_norm.weight", embedding, center=1.0)
    if arch != "gemma3":
        add("output.weight", 500, embedding)
    if arch == "llama":
        add("rope_freqs.weight", head // 2, center=3.0, scale=0.5)
    for i in range(layers):
        at = f"blk.{i}."
        add(at + "attn_norm.weight", embedding, center=1.0)
        add(at + "ffn_norm.weight", embedding, center=1.0)
        for name, rows in [("q", heads * head), ("k", kv_heads * head), ("v", kv_heads * head)]:
            add(at + f"attn_{name}.weight", rows, embedding)
            if arch == "qwen2":
                add(at + f"attn_{name}.bias", rows, scale=0.5)
        add(at + "attn_output.weight", embedding, heads * head)
        if arch in ("qwen3", "gemma3"):
            add(at + "attn_q_norm.weight", head, center=1.0)
            add(at + "attn_k_norm.weight", head, center=1.0)
        if arch == "gemma3":
            add(at + "post_attention_norm.weight", embedding, center=1.0)
            add(at + "post_ffw_norm.weight", embedding, center=1.0)
        add(at + "ffn_gate.weight", feed_forward, embedding)
        add(at + "ffn_up.weight", feed_forward, embedding)
        add(at + "ffn_down.weight", embedding, feed_forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_small():
    tokens = [(i * i * 7 + 3 * i + 5) % 500 for i in range(60)]
    # llama.cpp looks GELU up in a table of binary16.
    for arch, limit in [("llama", 1e-5), ("qwen2", 1e-5), ("qwen3", 1e-5), ("gemma3", 5e-3)]:
        path = work / f"{arch}.gguf"
        write_small_model(path, arch)
        compare_logits(f"small {arch}", path, tokens, limit)
        path.unlink()


def test_tokens():
    text_file = root / "tests/engine/text.bin"
    for model in (smollm2, gemma):
        peer = Peer(model)
        for special in (False, True):
            theirs = peer.encode(text_file.read_bytes(), special)
            ours = run("tokenize", model, "--file", text_file, *["--special"] * special).split()
            assert theirs == list(map(int, ours)), f"{model.name}: token ids differ"
            print(f"{model.name}, special tokens {special}: {len(theirs)} equal ids")


def test_generation(name, model, noise):
    """64 greedy tokens after ten prompts. Where they part, the two best logits of llama.cpp lie
    closer together than the noise, relative to the deviation of the logits."""
    peer = Peer(model, context=256)
    parted = 0
    for prompt in PROMPTS:
        result = json.loads(run("generate", model, "--text", prompt, "--count", 64, "--cache",
                                "f32", "--ignore-end", "--json", "--context", 256))
        peer.clear()
        assert result["prompt"] == peer.encode(prompt.encode())
        logits = peer.logits(result["prompt"])
        for i, token in enumerate(result["tokens"]):
            best = int(logits.argmax())
            if best != token:
                gap = float((logits[best] - logits[token]) / logits.std())
                print(f"{name}: {prompt!r} parts at token {i}, where the best two are {gap:.1e} "
                      "apart")
                assert gap < noise, f"{name}: expected less than {noise}"
                parted += 1
                break
            logits = peer.logits([token])
    print(f"{name}: {len(PROMPTS) - parted} of {len(PROMPTS)} prompts with the same 64 tokens")


def test_model(source, noise):
    """float32 weights on both sides: llama.cpp rounds activations to F16 for F16 weights."""
    model = work / "model-F32.gguf"
    subprocess.run([tool, "quantize", source, model, "F32", "--force"], check=True,
                   capture_output=True)
    text = (root / "README.md").read_bytes()[:1200]
    compare_logits(source.stem, model, Peer(model).encode(text)[:200], noise)
    test_generation(source.stem, model, 10 * noise)
    model.unlink()


def use_tool(*arguments):
    return subprocess.run([tool, *map(str, arguments)], check=True, capture_output=True).stdout


def log_softmax(logits):
    x = logits.astype(np.float64) - logits.max()
    return x - np.log(np.exp(x).sum())


def peer_comparison(reference, candidate, windows, context):
    """Mean divergence, share of equal most likely tokens, and both perplexities, of windows whose
    first token is the model's first of all."""
    first = context // 2
    divergences, same, losses = [], [], []
    for window in windows:
        for peer in (reference, candidate):
            peer.clear()
        for position, token in enumerate(window[:-1]):
            x, y = (log_softmax(peer.logits([token])) for peer in (reference, candidate))
            if position < first:
                continue
            divergences.append(float((np.exp(x) * (x - y)).sum()))
            same.append(x.argmax() == y.argmax())
            losses.append((-x[window[position + 1]], -y[window[position + 1]]))
    return np.mean(divergences), np.mean(same), *np.exp(np.mean(losses, axis=0))


def test_quality():
    """The divergence that `qdial eval` finds is the one that llama.cpp's logits have. Below 0.02
    the rounding of activations, which llama.cpp does in other blocks, weighs as much as the
    weights."""
    context, count = 128, 3
    text = work / "text.txt"
    text.write_bytes((root / "README.md").read_bytes())
    reference = work / "F16.gguf"
    use_tool("quantize", gemma, reference, "F16", "--force")
    peer = Peer(reference, context=context)
    tokens = peer.encode(text.read_bytes())
    windows = [[tokens[0], *tokens[w * context + 1:(w + 1) * context]] for w in range(count)]
    for recipe in ("Q8_0", "Q3_K_M"):
        path = work / f"{recipe}.gguf"
        use_tool("quantize", reference, path, recipe, "--force")
        ours = json.loads(use_tool("eval", path, "--against", reference, "--text", text,
                                   "--context", context, "--chunks", count, "--json"))
        kl, same, ppl_reference, ppl = peer_comparison(peer, Peer(path, context=context), windows,
                                                       context)
        print(f"{recipe}: mean KL {ours['kl_mean']:.6f}, of llama.cpp {kl:.6f}; same top "
              f"{ours['same_top']:.4f}, {same:.4f}; perplexity {ours['ppl']:.4f}, {ppl:.4f}; of "
              f"the reference {ours['ppl_reference']:.4f}, {ppl_reference:.4f}")
        assert ours["tokens_scored"] == count * (context - 1 - context // 2)
        assert abs(ours["kl_mean"] / kl - 1) < (0.03 if kl > 0.02 else 0.2)
        assert abs(ours["same_top"] - same) < 0.02
        assert abs(ours["ppl_reference"] / ppl_reference - 1) < 0.001
        # Perplexity feels every rounding where a divergence averages it out.
        assert abs(ours["ppl"] / ppl - 1) < 0.05
        path.unlink()
    reference.unlink()


def test_imatrix():
    """The importance matrix that llama-imatrix collected: the same entries in the same order,
    equal counts, sums within 1%."""
    import gguf
    text, out, reference = work / "jargon.txt", work / "imatrix.gguf", work / "F16.gguf"
    text.write_bytes(
        gzip.open("/usr/share/doc/jargon-text/jargon.txt.gz").read()[100000:400000])
    use_tool("quantize", gemma, reference, "F16", "--force")
    use_tool("imatrix", reference, text, out, "--context", 512, "--chunks", 16, "--force")
    theirs, ours = ([(tensor.name, tuple(tensor.shape), np.array(tensor.data).reshape(-1))
                     for tensor in gguf.GGUFReader(path).tensors]
                    for path in (root / "tests/golden/models/gemma.imatrix.gguf", out))
    assert [entry[:2] for entry in theirs] == [entry[:2] for entry in ours]
    worst = 0
    for (name, _, a), (_, _, b) in zip(theirs, ours):
        if name.endswith(".counts"):
            assert (a == b).all(), name
        else:
            assert ((a == 0) == (b == 0)).all(), name
            worst = max(worst, float(np.abs(b[a != 0] / a[a != 0] - 1).max()))
    print(f"{len(theirs) // 2} matrices, largest difference of a sum {100 * worst:.2f}%")
    assert worst < 0.01
    reference.unlink()


def main():
    work.mkdir(parents=True, exist_ok=True)
    if sys.argv[1] == "small":
        test_small()
    elif sys.argv[1] == "tokens":
        test_tokens()
    elif sys.argv[1] == "smollm2":
        test_model(smollm2, 2e-4)
    elif sys.argv[1] == "gemma":
        test_model(gemma, 5e-3)  # GELU from llama.cpp's table of binary16
    elif sys.argv[1] == "quality":
        test_quality()
    elif sys.argv[1] == "imatrix":
        test_imatrix()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
