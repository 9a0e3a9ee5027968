# SPDX-License-Identifier: Apache-2.0
"""The qdial command as a user meets it.

    tool.py CASE QDIAL_TOOL WORK_FOLDER
"""

import json
import math
import os
import pathlib
import pty
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import xml.dom.minidom

import models

case, tool, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
tests = pathlib.Path(__file__).resolve().parent.parent
sample = tests.parent / "examples/data/sample.gguf"
MATRIX = "blk.0.ffn_up.weight"


def run(*words, **options):
    return subprocess.run([tool, *map(str, words)], capture_output=True, text=True,
                          errors="replace", **options)


def succeed(*words, **options):
    result = run(*words, **options)
    assert result.returncode == 0, (words, result)
    return result.stdout


def parse(*words):
    return json.loads(succeed(*words, "--json"))


def fail(code, expected, *words, **options):
    """The command ends with this code and one line on standard error that has the text."""
    result = run(*words, **options)
    assert result.returncode == code, (words, result)
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("qdial: ") and expected in lines[0], (words,
                                                                                        result)


def halves(count, seed=1):
    """Finite binary16 numbers between -2 and 2."""
    generator = random.Random(seed)
    return b"".join(struct.pack("<H", generator.getrandbits(14) | generator.getrandbits(1) << 15)
                    for _ in range(count))


def large_model(path, megabytes=96):
    """Takes long enough to encode to be interrupted; one matrix's weights over and over."""
    data = halves(1 << 18) * 4
    models.write(path, models.llama(megabytes // 2), [
        (f"blk.{i}.ffn_up.weight", [1024, 1024], "F16", data) for i in range(megabytes // 2)])
    return path


def test_usage():
    assert "quantize" in succeed("--help")
    assert re.fullmatch(r"qdial \d+\.\d+\.\d+\n", succeed("--version"))
    options = {
        "inspect": ["--json"], "compare": ["--json", "--threads"],
        "estimate": ["--json", "--context"],
        "dial": ["--json", "--memory", "--context", "--settings", "--plot", "--threads", "--text",
                 "--tasks", "--max-kl", "--max-ppl-increase", "--min-pass-rate", "--max-pass-loss",
                 "--window", "--chunks", "--cache", "--imatrix", "--all"],
        "eval": ["--json", "--against", "--text", "--tasks", "--context", "--chunks", "--cache",
                 "--memory", "--threads"],
        "imatrix": ["--json", "--context", "--chunks", "--memory", "--threads", "--force"],
        "quantize": ["--json", "--pure", "--imatrix", "--tensor-type", "--output-tensor-type",
                     "--token-embedding-type", "--allow-requantize", "--no-fallback", "--threads",
                     "--dry-run", "--force"]}
    for command, names in options.items():
        text = succeed(command, "--help")
        for name in names:
            assert name in text, (command, name)
    quantize = ["quantize", sample, work / "out.gguf"]
    fail(2, "expected a command")
    fail(2, "frobnicate", "frobnicate")
    fail(2, "FILE", "inspect")
    fail(2, "RECIPE", *quantize)
    fail(2, "--nonsense", "inspect", sample, "--nonsense")
    fail(2, "unknown recipe \"Q9\"", *quantize, "Q9")
    fail(2, "IQ4_XS cannot be encoded", *quantize, "IQ4_XS")
    fail(2, "Q8_1 cannot be encoded", *quantize, "Q8_1", "--pure")
    fail(2, "expected REGEX=TYPE", *quantize, "Q4_0", "--tensor-type", "attn")
    fail(2, "not a regular expression", *quantize, "Q4_0", "--tensor-type", "a(=Q8_0")
    fail(2, "--output-tensor-type", *quantize, "Q4_0", "--output-tensor-type", "Q7")
    fail(2, "--token-embedding-type", *quantize, "Q4_0", "--token-embedding-type", "Q7")
    fail(2, "--threads", *quantize, "Q4_0", "--threads", "0")
    fail(2, "--context", "estimate", sample, "--context", "-1")
    fail(2, "unknown setting", "dial", sample, "--settings", "Q4_K_M,Q9")
    for size in ("8", "GB", "-1GB", "8PB", "8GB!"):
        fail(2, "size", "dial", sample, f"--memory={size}")
    fail(1, "cannot open", "inspect", work / "missing.gguf")
    fail(1, "folder", "inspect", work)
    assert not list(work.iterdir())
    with open("/dev/full", "w") as full:
        result = subprocess.run([tool, "inspect", sample], stdout=full, stderr=subprocess.PIPE)
        assert result.returncode == 1 and result.stderr.startswith(b"qdial: "), result


def test_inspect():
    found = parse("inspect", sample)
    assert found["file_bytes"] == sample.stat().st_size
    keys = {entry["key"]: entry for entry in found["metadata"]}
    assert keys["general.architecture"] == {"key": "general.architecture", "type": "string",
                                            "value": "bert"}
    assert len(keys["tokenizer.ggml.tokens"]["value"]) == 1024
    assert keys["tokenizer.ggml.tokens"]["element_type"] == "string"
    tensors = {tensor["name"]: tensor for tensor in found["tensors"]}
    assert tensors["token_embd.weight"]["shape"] == [256, 1024]
    assert tensors["token_embd.weight"]["type"] == "F16"
    assert tensors["token_embd.weight"]["bytes"] == 256 * 1024 * 2
    assert tensors["token_embd.weight"]["bits_per_weight"] == 16
    assert found["tensor_bytes"] == sum(tensor["bytes"] for tensor in found["tensors"])
    text = succeed("inspect", sample)
    assert len(text.splitlines()) == len(keys) + len(tensors) + 7 and max(map(len, text)) == 1
    assert re.search(r"token_embd\.weight +\[256, 1024\] +F16 +524288 +16\n", text)
    # What a terminal would act on is shown, not sent.
    models.write(work / "escape.gguf", {"a\x1b[31m": "\x1b]0;x\x07"}, [])
    text = succeed("inspect", work / "escape.gguf")
    assert "\x1b" not in text and "a\\x1b[31m" in text, text


def test_estimate():
    sizes = {"F16": 15317, "Q8_0": 8138, "Q6_K": 6283, "Q5_K_M": 5460, "Q4_K_M": 4685,
             "Q3_K_M": 3825, "Q2_K": 3024}
    found = parse("estimate", "llama-3.1-8b")
    by_recipe = {line["recipe"]: line for line in found["recipes"]}
    assert {name: round(by_recipe[name]["file_bytes"] / 2**20) for name in sizes} == sizes
    assert found["kv_cache_bytes"] == 512 << 20 and found["context"] == 4096
    assert by_recipe["Q4_K_M"]["fits"] == {"4 GB": False, "8 GB": True, "16 GB": True,
                                           "24 GB": True, "32 GB": True}
    text = succeed("estimate", "Llama-3.1-8B")
    for mebibytes in sizes.values():
        assert f" {mebibytes:,} " in text
    longer = parse("estimate", "llama-3.1-8b", "--context", "8192")
    assert longer["kv_cache_bytes"] == 1024 << 20
    for shape in ("qwen3-0.6b", "mixtral-8x7b"):
        assert len(parse("estimate", shape)["recipes"]) == len(found["recipes"])
    # Of a file: what quantize then writes.
    estimated = {line["recipe"]: line["file_bytes"] for line in parse("estimate", sample)["recipes"]}
    for recipe in ("F32", "BF16", "Q8_0", "Q4_K_M", "Q2_K"):
        succeed("quantize", sample, work / "out.gguf", recipe, "--force")
        assert (work / "out.gguf").stat().st_size == estimated[recipe], recipe
    fail(1, "neither a file", "estimate", "gpt-99")


def test_dry_run():
    # Models of 1 to 90 GB without any weights: files that are one hole.
    shapes = {"llama-3.1-8b": ("llama", 32, 32, 8, 0), "mixtral-8x7b": ("llama", 32, 32, 8, 8),
              "qwen2.5-0.5b": ("qwen2", 24, 14, 2, 0), "qwen3-0.6b": ("qwen3", 28, 16, 8, 0)}
    for name, (architecture, blocks, heads, kv_heads, experts) in shapes.items():
        lines = [line.split("\t") for line in
                 (tests / f"golden/recipes/{name}.tsv").read_text().splitlines()]
        header = lines[0]
        footer = {line[0]: line for line in lines if line[0].startswith("#")}
        rows = [line for line in lines[1:] if not line[0].startswith("#")]
        path = work / f"{name}.gguf"
        models.write(path, models.llama(blocks, heads, kv_heads, experts, architecture), [
            (row[0], [int(n) for n in row[1].split("x")], row[2].upper(), None) for row in rows])
        checked = 0
        for column in range(3, len(header)):
            recipe = header[column]
            if re.match(r"IQ|TQ|MXFP4|Q1_0|Q2_0|Q2_K_S", recipe):
                continue  # no encoder, or no importance matrix
            found = parse("quantize", path, work / "out.gguf", recipe, "--dry-run")
            types = {tensor["name"]: tensor["type"].lower() for tensor in found["tensors"]}
            assert types == {row[0]: row[column].lower() for row in rows}, (name, recipe)
            shape = {row[0]: elements_of(row[1]) for row in rows}
            assert {t["name"]: elements_of(t["shape"]) for t in found["tensors"]} == shape
            total = sum(tensor["bytes"] for tensor in found["tensors"])
            assert f"{total / 2**20:.2f}" == footer["#size_MiB"][column], (name, recipe)
            assert (f"{found['bits_per_weight']:.2f}" == footer["#bits_per_weight"][column])
            assert str(found["fallbacks"]) == footer["#fallback_tensors"][column], (name, recipe)
            assert len(found["fallback_tensors"]) == found["fallbacks"]
            assert found["file_bytes"] >= total
            checked += 1
        assert checked >= 14, (name, checked)
        assert not (work / "out.gguf").exists()
        path.unlink()
    # As JSON and as text: what is then written.
    planned = parse("quantize", sample, work / "out.gguf", "Q4_K_M", "--dry-run")
    text = succeed("quantize", sample, work / "out.gguf", "Q4_K_M", "--dry-run")
    succeed("quantize", sample, work / "out.gguf", "Q4_K_M")
    written = parse("inspect", work / "out.gguf")
    assert planned["file_bytes"] == written["file_bytes"]
    assert planned["tensors"] == [{key: tensor[key] for key in ("name", "shape", "type", "bytes")}
                                  for tensor in written["tensors"]]
    for tensor in planned["tensors"]:
        assert re.search(rf"^{re.escape(tensor['name'])} .* {tensor['type']} +{tensor['bytes']}",
                         text, re.M), tensor


def elements_of(shape):
    values = [int(n) for n in (shape.split("x") if isinstance(shape, str) else shape)]
    product = 1
    for value in values:
        product *= value
    return product


def types_of(path):
    return {tensor["name"]: tensor["type"] for tensor in parse("inspect", path)["tensors"]}


def test_refusals():
    original = sample.read_bytes()
    model, out = work / "in.gguf", work / "out.gguf"
    model.write_bytes(original)
    out.write_text("old")
    fail(1, "exists", "quantize", model, out, "Q4_0")
    assert out.read_text() == "old"
    succeed("quantize", model, out, "Q4_0", "--force")
    quantized = out.read_bytes()
    (work / "link.gguf").symlink_to(model)
    os.link(model, work / "hard.gguf")
    for same in (model, work / "link.gguf", work / "hard.gguf", work / "." / "in.gguf"):
        fail(1, "same file", "quantize", model, same, "Q4_0", "--force")
    assert model.read_bytes() == original
    fail(1, "cannot write", "quantize", model, work / "no" / "folder.gguf", "Q4_0")
    fail(1, "not a regular file", "quantize", model, "/dev/null", "Q4_0", "--force")
    fail(1, "already quantized (Q6_K)", "quantize", out, work / "new.gguf", "Q8_0")
    succeed("quantize", out, work / "new.gguf", "Q8_0", "--allow-requantize")
    for recipe in ("F32", "F16", "BF16"):
        succeed("quantize", out, work / f"{recipe}.gguf", recipe)
    models.write(work / "odd.gguf", models.llama(), [(MATRIX, [96, 4], "F16", halves(384))])
    fail(1, "do not divide", "quantize", work / "odd.gguf", work / "no.gguf", "Q4_K_M",
         "--no-fallback")
    text = succeed("quantize", work / "odd.gguf", work / "odd-out.gguf", "Q4_K_M")
    assert "1 of 1 tensors fell back" in text and "Q4_K to Q5_0" in text, text
    assert "5.50 bits per weight" in text, text
    assert out.read_bytes() == quantized and not (work / "no.gguf").exists()

    # Choices of types.
    succeed("quantize", model, out, "q4_k_m", "--force", "--pure")
    assert set(types_of(out).values()) == {"F32", "Q4_K"}
    succeed("quantize", model, out, "Q3_K", "--force", "--pure")
    assert set(types_of(out).values()) == {"F32", "Q3_K"}
    succeed("quantize", model, out, "Q4_0", "--force", "--tensor-type", "ATTN_[qk]=q8_0",
            "--tensor-type", "attn_=Q5_1", "--token-embedding-type", "F16")
    types = types_of(out)
    assert types["blk.0.attn_q.weight"] == "Q8_0" and types["blk.1.attn_k.weight"] == "Q8_0"
    assert types["blk.0.attn_v.weight"] == "Q5_1" and types["blk.0.ffn_up.weight"] == "Q4_0"
    assert types["token_embd.weight"] == "F16"


def test_bad_weights():
    path, out = work / "in.gguf", work / "out.gguf"
    offset = {tensor["name"]: tensor["offset"] for tensor in parse("inspect", sample)["tensors"]}
    for half, text in ((0x7E00, "NaN"), (0xFC00, "infinity")):
        data = bytearray(sample.read_bytes())
        struct.pack_into("<H", data, offset[MATRIX] + 2 * (17 * 256 + 5), half)
        path.write_bytes(data)
        for recipe in ("Q4_K_M", "F32", "F16"):
            fail(1, f'tensor "{MATRIX}": row 17, column 5 ', "quantize", path, out, recipe)
            fail(1, text, "quantize", path, out, recipe)
        fail(1, MATRIX, "dial", path, "--settings", "Q8_0")
    assert [item.name for item in work.iterdir()] == ["in.gguf"]


def test_threads():
    model = large_model(work / "in.gguf", 16)
    for recipe in ("Q4_K_M", "Q8_0", "F32"):
        outputs = []
        for threads in (1, 2, 7):
            succeed("quantize", model, work / "out.gguf", recipe, "--force", "--threads", threads)
            outputs.append((work / "out.gguf").read_bytes())
        assert outputs[0] == outputs[1] == outputs[2], recipe
    errors = [parse("compare", model, work / "out.gguf", "--threads", n) for n in (1, 3)]
    assert errors[0] == errors[1]


def write_dat(path, tensors):
    """The older form of an importance matrix."""
    data = struct.pack("<i", len(tensors))
    for name, values in tensors.items():
        data += struct.pack("<i", len(name)) + name.encode()
        data += struct.pack("<ii", 1, len(values)) + struct.pack(f"<{len(values)}f", *values)
    path.write_bytes(data)


def test_imatrix():
    out, matrix = work / "out.gguf", work / "m.dat"
    write_dat(matrix, {MATRIX: [1 + i % 7 for i in range(256)]})
    succeed("quantize", sample, work / "plain.gguf", "Q4_K_M")
    succeed("quantize", sample, out, "Q4_K_M", "--imatrix", matrix)
    compared = parse("compare", work / "plain.gguf", out)["tensors"]
    assert [t["name"] for t in compared if t["relative_rmse"] > 0] == [MATRIX]
    keys = {entry["key"]: entry["value"] for entry in parse("inspect", out)["metadata"]}
    assert keys["quantize.imatrix.file"] == str(matrix)[:127]
    assert keys["quantize.imatrix.entries_count"] == 1
    fail(1, "same file", "quantize", sample, matrix, "Q4_K_M", "--imatrix", matrix, "--force")
    write_dat(matrix, {MATRIX: [1] * 255})
    fail(1, MATRIX, "quantize", sample, out, "Q4_K_M", "--imatrix", matrix, "--force")
    write_dat(matrix, {MATRIX: [1] * 255 + [float("nan")]})
    fail(1, MATRIX, "quantize", sample, out, "Q4_K_M", "--imatrix", matrix, "--force")
    write_dat(matrix, {"other": [1]})
    fail(1, "none of the tensors", "quantize", sample, out, "Q4_0", "--imatrix", matrix, "--force")
    fail(1, "importance", "quantize", sample, out, "Q2_K_S", "--force")


def test_shards():
    names = ["blk.0.ffn_up.weight", "token_embd.weight", "blk.0.ffn_down.weight"]
    tensors = [(name, [256, 64], "F16", halves(256 * 64, i)) for i, name in enumerate(names)]
    models.write(work / "whole.gguf", models.llama(), tensors)
    for i, part in enumerate((tensors[:1], tensors[1:])):
        split = {"split.no": i, "split.count": 2, "split.tensors.count": 3}
        models.write(work / f"m-0000{i + 1}-of-00002.gguf",
                     {**(models.llama() if i == 0 else {}), **split}, part)
    first, second = work / "m-00001-of-00002.gguf", work / "m-00002-of-00002.gguf"
    succeed("quantize", work / "whole.gguf", work / "a.gguf", "Q4_K_M")
    succeed("quantize", first, work / "b.gguf", "Q4_K_M")
    assert (work / "a.gguf").read_bytes() == (work / "b.gguf").read_bytes()
    assert parse("compare", first, work / "whole.gguf")["total"]["relative_rmse"] == 0
    assert parse("estimate", first)["recipes"] == parse("estimate", work / "whole.gguf")["recipes"]
    fail(1, "expected the first", "quantize", second, work / "c.gguf", "Q4_K_M")
    fail(1, "same file", "quantize", first, second, "Q4_K_M", "--force")
    second.unlink()
    fail(1, second.name, "quantize", first, work / "c.gguf", "Q4_K_M")


def test_compare():
    same = parse("compare", sample, sample)
    assert same["total"]["relative_rmse"] == 0 and same["total"]["largest_error"] == 0
    assert same["total"]["cosine"] == 1 or abs(same["total"]["cosine"] - 1) < 1e-12
    errors = {}
    for recipe in ("Q8_0", "Q4_K_M", "Q2_K"):
        succeed("quantize", sample, work / f"{recipe}.gguf", recipe)
        found = parse("compare", sample, work / f"{recipe}.gguf")
        per_tensor = [tensor["relative_rmse"] for tensor in found["tensors"]]
        assert per_tensor == sorted(per_tensor, reverse=True) and per_tensor[-1] == 0
        errors[recipe] = found["matrices"]["relative_rmse"]
        assert found["total"]["relative_rmse"] < errors[recipe] < per_tensor[0]
    assert 0.001 < errors["Q8_0"] < 0.02 < errors["Q4_K_M"] < 0.1 < errors["Q2_K"] < 0.5, errors
    text = succeed("compare", sample, work / "Q2_K.gguf").splitlines()
    assert text[1].split()[1:3] == ["F16", "Q2_K"] or "Q3_K" in text[1], text[1]

    a, b = work / "a.gguf", work / "b.gguf"
    data = halves(256 * 4)
    models.write(a, models.llama(), [("x", [256, 4], "F16", data), ("y", [256, 4], "F16", data),
                                     ("ids", [4], "I8", b"1234")])
    models.write(b, models.llama(), [("x", [256, 4], "F16", data), ("y", [512, 2], "F16", data),
                                     ("z", [256, 4], "F16", data), ("ids", [4], "I8", b"1235")])
    fail(1, "3 tensors could not be compared", "compare", a, b)
    result = run("compare", a, b, "--json")
    assert result.returncode == 1
    problems = json.loads(result.stdout)["not_compared"]
    assert len(problems) == 3 and "found shape [512, 2], expected [256, 4]" in problems[0], problems
    assert "I8 cannot be decoded" in problems[1] and '"z": not found in' in problems[2], problems


def test_dial():
    plot = work / "dial.svg"
    found = parse("dial", sample, "--plot", plot)
    names = ["FP16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"]
    settings = {line["setting"]: line for line in found["settings"]}
    assert list(settings) == names
    assert found["pick"] == "FP16" and found["memory_is_this_machines"]
    errors = [settings[name]["relative_rmse"] for name in names]
    assert errors[0] == 0 and errors == sorted(errors), errors
    for line in settings.values():
        assert line["advice"] and line["fits"] and 0.05 < line["speed_vs_fp16"] < 50, line
        assert line["worst_relative_rmse"] >= line["relative_rmse"]
        assert (line["worst_tensor"] == "") == (line["setting"] == "FP16")
    assert settings["FP16"]["speed_vs_fp16"] == 1
    drawn = xml.dom.minidom.parse(str(plot))
    labels = [node.firstChild.data for node in drawn.getElementsByTagName("text")]
    assert all(name in labels for name in names), labels
    assert len(drawn.getElementsByTagName("circle")) == 2 * len(names)

    # The errors are those of the files that quantize writes.
    succeed("quantize", sample, work / "out.gguf", "Q4_K_M")
    compared = parse("compare", sample, work / "out.gguf")["matrices"]["relative_rmse"]
    assert abs(compared / settings["Q4_K_M"]["relative_rmse"] - 1) < 1e-9
    assert settings["Q4_K_M"]["file_bytes"] == (work / "out.gguf").stat().st_size

    # The pick is the highest setting whose memory fits; the order of the list does not matter.
    memory = settings["Q8_0"]["memory_bytes"]
    listed = ["--settings", "Q2_K,f16,q8_0"]
    for given, pick in ((memory + 1024, "Q8_0"), (memory - 1024, "Q2_K"), (1024, None)):
        chosen = parse("dial", sample, *listed, "--memory", f"{given / 1024:.3f}K")
        assert [line["setting"] for line in chosen["settings"]] == ["FP16", "Q8_0", "Q2_K"]
        assert chosen["pick"] == pick and not chosen["memory_is_this_machines"]
    text = succeed("dial", sample, *listed, "--memory", "1GB")
    assert "Pick: FP16" in text and "not how good the answers are" in text, text
    assert "--memory" in text and "sweet spot" in text
    text = succeed("dial", work / "out.gguf", *listed)
    assert "quantized already (Q4_K)" in text, text
    # Weights that were quantized once give themselves away.
    assert found["source_seems_to_come_from"] is None
    succeed("quantize", work / "out.gguf", work / "back.gguf", "F16")
    again = parse("dial", work / "back.gguf", "--settings", "F16,Q5_K_M,Q4_K_M")
    assert again["source_seems_to_come_from"] == "Q4_K_M", again
    fail(1, "same file", "dial", work / "out.gguf", "--plot", work / "out.gguf")


def words(count, seed=5):
    """Text that nobody wrote."""
    generator = random.Random(seed)
    return " ".join("".join(generator.choice("abcdefghijklmnop") for _ in
                            range(generator.randint(1, 8))) for _ in range(count))


def language_models():
    """A model in F16 and in Q4_0, a text, and cases."""
    models.language_model(work / "f16.gguf")
    succeed("quantize", work / "f16.gguf", work / "q4.gguf", "Q4_0")
    (work / "text.txt").write_text(words(700))
    tasks = [{"prompt": "abc", "answer": "x", "max_tokens": 3},
             {"prompt": "the", "regex": "^[a-z]", "max_tokens": 4, "stop": ["q"]},
             {"prompt": "in an", "schema": {"type": "integer"}, "max_tokens": 2},
             {"prompt": "there", "choices": [" the", " zq", "s"], "correct": 0, "name": "pick"},
             {"prompt": "other", "choices": [" a", " b"], "correct": 1}]
    (work / "tasks.jsonl").write_text("".join(json.dumps(t) + "\n" for t in tasks))
    return work / "f16.gguf", work / "q4.gguf", work / "text.txt", work / "tasks.jsonl"


def within(found, key):
    low, high = found[key + "_interval"]
    assert low <= found[key] <= high, (key, found)


def test_eval():
    f16, q4, text, tasks = language_models()
    on_text = ["--text", text, "--context", 64]
    same = parse("eval", f16, "--against", f16, *on_text)
    assert same["kl_mean"] == 0 and same["kl_max"] == 0 and same["same_top"] == 1, same
    assert same["ppl"] == same["ppl_reference"] and same["ppl_ratio"] == 1
    assert same["in_words"] == "near-identical"

    found = parse("eval", q4, "--against", f16, *on_text)
    assert found["windows"] > 20 and found["tokens_scored"] == 31 * found["windows"], found
    assert found["blocks"] * found["windows_per_block"] >= found["windows"]
    assert found["ppl_reference"] == same["ppl"]
    assert 0.001 < found["kl_mean"] < found["kl_p99"] < found["kl_p999"] <= found["kl_max"] * 1.02
    assert found["kl_p90"] < found["kl_p99"] and 0.3 < found["same_top"] < 1
    assert abs(found["ppl"] / found["ppl_reference"] - found["ppl_ratio"]) < 1e-9
    for key in ("kl_mean", "kl_p90", "kl_p99", "kl_p999", "same_top", "ppl", "ppl_reference",
                "ppl_ratio"):
        within(found, key)
    # The same numbers whatever the threads; a part of the text is a part of the windows.
    assert parse("eval", q4, "--against", f16, *on_text, "--threads", 1) == found
    part = parse("eval", q4, "--against", f16, *on_text, "--chunks", 5)
    assert part["windows"] == 5 and part["kl_mean"] != found["kl_mean"]
    one = parse("eval", q4, "--against", f16, *on_text, "--chunks", 1)
    assert one["ppl_interval"] == [0, None] and one["kl_mean_interval"] == [0, None], one
    report = succeed("eval", q4, "--against", f16, *on_text)
    assert "mean KL divergence" in report and "In words" in report, report

    # Kept results: the same numbers, and what was interrupted goes on.
    cached = [*on_text, "--cache", work / "cache"]
    assert parse("eval", q4, "--against", f16, *cached) == found
    kept, = (work / "cache").iterdir()
    whole = kept.read_bytes()
    assert len(whole) < 30 * found["tokens_scored"] + 1000
    assert parse("eval", q4, "--against", f16, *cached) == found
    kept.write_bytes(whole[:len(whole) // 2])
    assert parse("eval", q4, "--against", f16, *cached) == found
    assert kept.read_bytes() == whole
    assert parse("eval", f16, "--against", f16, *cached)["kl_mean"] == 0
    assert len(list((work / "cache").iterdir())) == 2


def test_eval_tasks():
    f16, q4, _, tasks = language_models()
    at_tasks = ["--tasks", tasks, "--cache", work / "cache"]
    same = parse("eval", f16, "--against", f16, *at_tasks)
    assert same["cases"] == 5 and same["lost"] == same["won"] == 0 and same["pass_loss"] == 0
    assert same["mcnemar_p"] == 1
    found = parse("eval", q4, "--against", f16, *at_tasks)
    assert [line["line"] for line in found["outcomes"]] == [1, 2, 3, 4, 5]
    assert found["outcomes"][3]["name"] == "pick"
    assert found["outcomes"][3]["answer"] in (" the", " zq", "s")
    for line in found["outcomes"][3:]:
        assert line["passed"] == (line["answer"] == {4: " the", 5: " b"}[line["line"]])
    assert not any(line["answer"] != line["answer"].strip() for line in found["outcomes"][:3])
    passed = [line["passed"] for line in found["outcomes"]]
    before = [line["passed_reference"] for line in found["outcomes"]]
    assert found["passed"] == sum(passed) and found["passed_reference"] == sum(before)
    assert found["lost"] == sum(b and not a for a, b in zip(passed, before))
    assert found["won"] == sum(a and not b for a, b in zip(passed, before))
    for key in ("pass_rate", "pass_rate_reference", "pass_loss"):
        within(found, key)
    assert "cases" in succeed("eval", q4, "--against", f16, *at_tasks)
    # Again without the kept outcomes, on one thread; and with half of them.
    assert parse("eval", q4, "--against", f16, "--tasks", tasks, "--threads", 1) == found
    for kept in (work / "cache").iterdir():
        data = kept.read_bytes()
        kept.write_bytes(data[:len(data) * 2 // 3])
    assert parse("eval", q4, "--against", f16, *at_tasks) == found


def test_eval_errors():
    f16, q4, text, tasks = language_models()
    against = ["eval", q4, "--against", f16]
    fail(2, "--against", "eval", q4, "--text", text)
    fail(2, "either --text or --tasks", *against)
    fail(2, "either --text or --tasks", *against, "--text", text, "--tasks", tasks)
    fail(2, "--context", *against, "--text", text, "--context", 3)
    fail(2, "--chunks", *against, "--text", text, "--chunks", 0)
    fail(2, "size", *against, "--text", text, "--memory", "lots")
    fail(1, "cannot read", *against, "--text", work / "missing.txt")
    fail(1, "not enough memory", *against, "--text", text, "--memory", "1M")
    (work / "empty.txt").write_text(" \n\n")
    fail(1, "the text is empty", *against, "--text", work / "empty.txt")
    (work / "short.txt").write_text("the end")
    fail(1, "expected at least a context of 512", *against, "--text", work / "short.txt")
    models.language_model(work / "mute.gguf", tokenizer=False)
    fail(1, "tokenizer", "eval", work / "mute.gguf", "--against", work / "mute.gguf", "--text",
         text)
    fail(1, "tokenizer", "imatrix", work / "mute.gguf", text, work / "m.gguf")
    fail(1, "mute.gguf", "dial", work / "mute.gguf", "--text", text)
    fail(1, "bert", "eval", sample, "--against", sample, "--text", text)

    good = '{"prompt": "a", "answer": "b"}\n'
    broken = {
        '{"prompt": "a", "answer": "b"': "no valid JSON", "[1]": "expected an object",
        '{"answer": "b"}': 'no "prompt"', '{"prompt": "a"}': "found 0 of",
        '{"prompt": "a", "answer": "b", "regex": "c"}': "found 2 of",
        '{"prompt": "a", "regex": "("}': "regex", '{"prompt": "a", "answer": 4}': '"answer"',
        '{"prompt": "a", "schema": {"type": "nonsense"}}': "schema",
        '{"prompt": "a", "choices": ["b"], "correct": 0}': "at least two",
        '{"prompt": "a", "choices": ["b", "c"], "correct": 2}': "0 to 1",
        '{"prompt": "a", "choices": ["b", "c"], "correct": 0, "stop": ["x"]}': '"stop"',
        '{"prompt": "a", "answer": "b", "max_tokens": 0}': '"max_tokens"',
        '{"prompt": "a", "answer": "b", "anwser": "c"}': '"anwser"'}
    for line, expected in broken.items():
        (work / "broken.jsonl").write_text(good + "\n" + line + "\n" + good)
        fail(1, "broken.jsonl: line 3: ", *against, "--tasks", work / "broken.jsonl")
        fail(1, expected, *against, "--tasks", work / "broken.jsonl")
    (work / "broken.jsonl").write_text("\n \n")
    fail(1, "no cases", *against, "--tasks", work / "broken.jsonl")
    (work / "long.jsonl").write_text(json.dumps({"prompt": words(300), "answer": "b"}))
    fail(1, "trained for 512", *against, "--tasks", work / "long.jsonl")
    # The sample that ships is whole.
    assert len((tests.parent / "examples/data/tasks.jsonl").read_text().splitlines()) == 40


def test_collect_imatrix():
    f16, _, text, _ = language_models()
    out = work / "matrix.gguf"
    found = parse("imatrix", f16, text, out, "--context", 64, "--chunks", 8)
    assert found["entries"] == 14 and found["chunks"] == 8, found
    keys = {entry["key"]: entry["value"] for entry in parse("inspect", out)["metadata"]}
    assert keys == {"general.type": "imatrix", "imatrix.datasets": ["text.txt"],
                    "imatrix.chunk_count": 8, "imatrix.chunk_size": 64}
    tensors = {tensor["name"]: tensor for tensor in parse("inspect", out)["tensors"]}
    data = out.read_bytes()
    for name, tensor in tensors.items():
        if name.endswith(".counts"):
            assert struct.unpack_from("<f", data, tensor["offset"]) == (512,), name
        else:
            values = struct.unpack_from("<256f", data, tensor["offset"])
            assert all(v > 0 and math.isfinite(v) for v in values), name
    # After a norm with weights of one, the mean square of a row is one.
    sums = struct.unpack_from("<256f", data, tensors["blk.0.attn_q.weight.in_sum2"]["offset"])
    assert abs(sum(sums) / 256 / 512 - 1) < 1e-3
    first = out.read_bytes()
    fail(1, "exists", "imatrix", f16, text, out, "--context", 64)
    succeed("imatrix", f16, text, out, "--context", 64, "--chunks", 8, "--force", "--threads", 1)
    assert out.read_bytes() == first
    succeed("quantize", f16, work / "q.gguf", "Q2_K_S", "--imatrix", out)
    fail(1, "same file", "imatrix", f16, text, text, "--force")
    fail(1, "same file", "imatrix", f16, text, f16, "--force")


def test_dial_quality():
    f16, q4, text, tasks = language_models()
    cache, plot = work / "cache", work / "dial.svg"
    on_text = ["--text", text, "--window", 64, "--settings", "F16,Q8_0,Q5_0,Q4_0"]
    every = parse("dial", f16, *on_text, "--all", "--cache", cache, "--plot", plot)
    lines = {line["setting"]: line for line in every["settings"]}
    assert list(lines) == ["FP16", "Q8_0", "Q5_0", "Q4_0"]
    assert lines["FP16"]["is_reference"] and lines["FP16"]["verdict"] == "passes"
    kl = [lines[name]["kl_mean"] for name in ("Q8_0", "Q5_0", "Q4_0")]
    assert 0 < kl[0] < kl[1] < kl[2], kl
    for line in lines.values():
        assert line["prompt_tokens_per_second"] > 0 and line["generated_tokens_per_second"] > 0
    # What eval says of the file that quantize writes.
    alone = parse("eval", q4, "--against", f16, "--text", text, "--context", 64)
    for key in ("kl_mean", "kl_mean_interval", "same_top", "ppl", "windows"):
        assert alone[key] == lines["Q4_0"][key], key
    drawn = xml.dom.minidom.parse(str(plot))
    labels = [node.firstChild.data for node in drawn.getElementsByTagName("text")]
    assert all(name in labels for name in lines), labels
    assert len([name for name in cache.iterdir() if name.suffix == ".gguf"]) == 3

    # The lowest setting within the limit, and why.
    def pick(*limit):
        return parse("dial", f16, *on_text, "--cache", cache, *limit)
    between = (lines["Q5_0"]["kl_mean_interval"][1] + lines["Q4_0"]["kl_mean_interval"][0]) / 2
    assert lines["Q5_0"]["kl_mean_interval"][1] < between
    chosen = pick("--max-kl", between)
    assert chosen["pick"] == "Q5_0", chosen
    assert any("Q4_0 fails" in note for note in chosen["notes"])
    assert pick("--max-kl", 100)["pick"] == "Q4_0"
    ended = pick("--max-kl", 1e-9)
    assert ended["pick"] == "FP16" and ended["settings"][1]["verdict"] == "fails", ended
    assert ended["settings"][2]["verdict"] is None
    doubtful = pick("--max-kl", kl[2] * 1.001)
    assert doubtful["settings"][3]["verdict"] == "undecided" and doubtful["pick"] == "Q5_0"
    assert doubtful["settings"][3]["windows_needed"] > alone["windows"]
    assert any("Cannot decide about Q4_0" in note for note in doubtful["notes"])
    assert pick("--max-ppl-increase", 1000)["pick"] == "Q4_0"
    # Memory: what does not fit is neither run nor picked.
    small = parse("dial", f16, *on_text, "--cache", cache, "--max-kl", 100, "--memory", "1M")
    assert small["pick"] is None and small["settings"][3]["verdict"] is None

    # Without a folder nothing stays behind; as text.
    before = set(pathlib.Path("/tmp").glob("qdial-*"))
    report = succeed("dial", f16, *on_text, "--max-kl", 100, "--chunks", 6)
    assert "Pick: Q4_0" in report and "reference" in report, report
    assert set(pathlib.Path("/tmp").glob("qdial-*")) <= before

    at_tasks = parse("dial", f16, "--tasks", tasks, "--settings", "F16,Q4_0", "--cache", cache,
                     "--max-pass-loss", 1)
    assert at_tasks["settings"][0]["is_reference"] and at_tasks["settings"][0]["lost"] == 0
    line = at_tasks["settings"][1]
    assert line["cases"] == 5 and line["verdict"] in ("undecided", "fails")
    if line["lost"] == line["won"] == 0:
        assert at_tasks["pick"] == "FP16" and line["cases_needed"] > 300, at_tasks
    assert "Pick: Q4_0" in succeed("dial", f16, "--tasks", tasks, "--settings", "F16,Q4_0",
                                   "--max-pass-loss", 100)
    fail(2, "found both", "dial", f16, "--text", text, "--tasks", tasks)
    fail(2, "--text or --tasks", "dial", f16, "--max-kl", 1)
    fail(2, "need --tasks", "dial", f16, "--text", text, "--min-pass-rate", 50)
    fail(2, "need --text", "dial", f16, "--tasks", tasks, "--max-kl", 1)
    fail(1, "same file", "dial", f16, *on_text, "--plot", text)
    # Weights that were quantized once give themselves away.
    succeed("quantize", q4, work / "back.gguf", "F16")
    again = parse("dial", work / "back.gguf", "--text", text, "--window", 64, "--settings",
                  "F16,Q5_1,Q4_0", "--all", "--chunks", 8)
    assert any("been Q4_0 before" in note for note in again["notes"]), again["notes"]


def test_malformed():
    data = sample.read_bytes()
    start = min(tensor["offset"] for tensor in parse("inspect", sample)["tensors"])
    path = work / "bad.gguf"
    cuts = [0, 3, 4, 20, 100, start // 2, start - 1, start, len(data) // 2, len(data) - 4096]
    commands = [["inspect", path], ["quantize", path, work / "out.gguf", "Q4_0"],
                ["compare", sample, path], ["estimate", path], ["dial", path]]
    for i, cut in enumerate(cuts):
        path.write_bytes(data[:cut])
        fail(1, str(path), *commands[i % len(commands)])
    path.write_bytes(b"not a model" * 100)
    for command in commands:
        fail(1, "magic", *command)
    path.write_bytes(data)
    fail(1, "skip.sh", "quantize", sample, work / "out.gguf", "Q4_0", "--imatrix",
         tests / "skip.sh")
    assert [item.name for item in work.iterdir()] == ["bad.gguf"]


def test_memory():
    # 1.5 GB of zeros that take no room on the disk.
    path, out = work / "in.gguf", work / "out.gguf"
    models.write(path, models.llama(), [(f"blk.0.x{i}.weight", [4096, 32768], "F16", None)
                                        for i in range(6)])
    succeed("quantize", path, out, "Q4_0", "--threads", 2)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert peak < 300 * 1024, f"{peak} KiB"
    assert out.stat().st_size > 400e6


def test_progress():
    model, out = large_model(work / "in.gguf", 256), work / "out.gguf"
    quiet = run("quantize", model, out, "Q3_K_M", "--threads", 1)
    assert quiet.returncode == 0 and quiet.stderr == "" and "B/s of" in quiet.stdout, quiet
    controller, terminal = pty.openpty()
    process = subprocess.Popen([tool, "quantize", model, out, "Q3_K_M", "--threads", "1",
                                "--force"], stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            data = os.read(controller, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
        if not data:
            break
        shown += data
    assert process.wait() == 0
    assert re.search(rb"\[=+ *\] +\d+%  [\d.]+ [KMG]iB/s  \d+:\d\d left", shown), shown
    assert shown.endswith(b"\r\033[K"), shown[-20:]


def test_kill():
    model, out = large_model(work / "in.gguf"), work / "out.gguf"
    original = model.read_bytes()
    generator = random.Random(7)
    command = [tool, "quantize", model, out, "Q2_K", "--threads", "2", "--force"]
    begin = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.monotonic() - begin
    complete = out.read_bytes()
    out.unlink()
    interrupted = 0
    for i in range(24):
        number = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP)[i % 4]
        old = b"old" if i % 3 == 0 else None
        if old:
            out.write_bytes(old)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(generator.uniform(0, whole))
        process.send_signal(number)
        ended = process.wait()
        if ended == 0:
            assert out.read_bytes() == complete
        else:
            interrupted += 1
            assert ended == -number, ended
            # Signals may come after the rename, when the file is complete.
            found = out.read_bytes() if out.exists() else None
            assert found in (old, complete), len(found or b"")
            parts = list(work.glob("*.qdial-part"))
            assert number == signal.SIGKILL or not parts, parts
        out.unlink(missing_ok=True)
    assert interrupted >= 8, interrupted
    assert model.read_bytes() == original
    subprocess.run(command, check=True, capture_output=True)  # clears up what SIGKILL left
    assert sorted(item.name for item in work.iterdir()) == ["in.gguf", "out.gguf"]


def test_file_limit():
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    out = work / "out.gguf"
    out.write_text("old")
    fail(1, "ulimit", "quantize", sample, out, "F16", "--force", preexec_fn=limit)
    assert out.read_text() == "old" and [item.name for item in work.iterdir()] == ["out.gguf"]


def test_disk_full():
    """On a disk of 1 MiB, which the calling script mounts as the folder `full`."""
    full = work / "full"
    out = full / "out.gguf"
    out.write_text("old")
    fail(1, "no room for", "quantize", sample, out, "F16", "--force")
    assert out.read_text() == "old" and [item.name for item in full.iterdir()] == ["out.gguf"]
    succeed("quantize", sample, out, "Q2_K", "--force")
    (full / "rest").write_bytes(bytes(300 << 10))
    fail(1, "no room for", "quantize", sample, full / "new.gguf", "Q2_K")
    assert sorted(item.name for item in full.iterdir()) == ["out.gguf", "rest"]


if case != "disk_full":
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
globals()[f"test_{case}"]()
if case != "disk_full":
    shutil.rmtree(work)
