# SPDX-License-Identifier: Apache-2.0
"""The qdial command as a user meets it.

    tool.py CASE QDIAL_TOOL WORK_FOLDER
"""

import json
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
        "dial": ["--json", "--memory", "--context", "--settings", "--plot", "--threads"],
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
