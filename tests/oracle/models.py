# SPDX-License-Identifier: Apache-2.0
"""Whole files of the qdial tool against the real llama.cpp and the Python packages.

    models.py sample|python|gemma ROOT QDIAL_TOOL WORK_FOLDER

sample   the embedded sample, every recipe: the file of `llama_model_quantize`, byte for byte
python   the embedded sample, every format: PyPI's gguf decodes our files to our floats, PyPI's
         libgguf encodes our floats to our bytes
gemma    the real model: every tensor's golden hash, whole files equal to llama.cpp's, and
         llama.cpp runs what we wrote
"""

import ast
import filecmp
import hashlib
import pathlib
import subprocess
import sys

import gguf
import numpy as np

RECIPES = ["F32", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S",
           "Q4_1", "Q4_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"]
FORMATS = ["BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]

root, tool, work = (pathlib.Path(argument) for argument in sys.argv[2:5])
sample = root / "examples/data/sample.gguf"
golden = root / "tests/golden/models"


def run(*command, **options):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                            errors="replace", **options)
    if result.returncode != 0:
        sys.exit(f"FAILED ({result.returncode}): {' '.join(map(str, command))}\n"
                 f"{result.stdout[-2000:]}{result.stderr[-2000:]}")
    return result.stdout


def qdial(source, target, recipe, *options):
    run(tool, "quantize", source, target, recipe, "--threads", 2, "--force", *options)


def llama(*arguments):
    """In a process of its own: llama.cpp ends the whole process where it meets an error."""
    return run(sys.executable, pathlib.Path(__file__).with_name("llama.py"), *arguments)


def first_difference(ours, theirs):
    """Where two files part: in which tensor, or in the metadata."""
    a, b = np.memmap(ours, np.uint8, "r"), np.memmap(theirs, np.uint8, "r")
    length = min(a.size, b.size)
    different = np.flatnonzero(a[:length] != b[:length])
    if different.size == 0:
        return f"sizes differ: {a.size} and {b.size} bytes"
    where = int(different[0])
    for tensor in gguf.GGUFReader(theirs).tensors:
        begin = int(tensor.data_offset)
        if begin <= where < begin + int(tensor.n_bytes):
            return (f"first difference at byte {where}: byte {where - begin} of {tensor.name}"
                    f" ({tensor.tensor_type.name})")
    return f"first difference at byte {where}, in metadata or padding"


def require_equal(ours, theirs, what):
    if not filecmp.cmp(ours, theirs, shallow=False):
        sys.exit(f"FAILED: {what}: {first_difference(ours, theirs)}")
    print(f"equal: {what} ({ours.stat().st_size} bytes)", flush=True)


def check_files(source, recipe, *options):
    """The tool's file against llama_model_quantize's; returns ours."""
    ours, theirs = work / f"ours-{recipe}.gguf", work / f"theirs-{recipe}.gguf"
    imatrix = [word for word in options if word != "--allow-requantize"]
    qdial(source, ours, recipe, *options)
    llama("quantize", source, theirs, recipe, *imatrix)
    require_equal(ours, theirs, " ".join(map(str, (source.name, "to", recipe, *options))))
    theirs.unlink()
    return ours


def check_hashes(path, table):
    expected = [line.split("\t") for line in (golden / table).read_text().splitlines()[1:]]
    tensors = gguf.GGUFReader(path).tensors
    if len(tensors) != len(expected):
        sys.exit(f"FAILED: {path.name} has {len(tensors)} tensors, {table} {len(expected)}")
    wrong = []
    for tensor, (name, kind, _shape, _bytes, sha256) in zip(tensors, expected):
        found = (tensor.name, tensor.tensor_type.name, hashlib.sha256(tensor.data).hexdigest())
        if found != (name, kind, sha256):
            wrong.append(f"    {found[0]} {found[1]}, expected {name} {kind}")
    if wrong:
        sys.exit(f"FAILED: {len(wrong)} tensors are not as in {table}:\n" + "\n".join(wrong[:20]))
    print(f"equal: {len(tensors)} tensors of {table}", flush=True)


def test_sample():
    for recipe in RECIPES:
        ours = check_files(sample, recipe)
        if recipe == "Q8_0":
            check_files(ours, "Q4_K_M", "--allow-requantize")
            check_files(ours, "F16")


def test_python():
    import libgguf
    qdial(sample, work / "f32.gguf", "F32")
    source = {t.name: t for t in gguf.GGUFReader(work / "f32.gguf").tensors}
    for name in FORMATS:
        encoded, decoded = work / f"{name}.gguf", work / f"{name}-f32.gguf"
        qdial(sample, encoded, name, "--pure")
        qdial(encoded, decoded, "F32")
        floats = {t.name: t.data for t in gguf.GGUFReader(decoded).tensors}
        kind = gguf.GGMLQuantizationType[name]
        checked = 0
        for tensor in gguf.GGUFReader(encoded).tensors:
            if tensor.tensor_type != kind:
                continue
            reference = gguf.dequantize(tensor.data, kind)
            if floats[tensor.name].tobytes() != reference.astype(np.float32).tobytes():
                sys.exit(f"FAILED: {name} {tensor.name}: other floats than gguf's")
            rows = np.ascontiguousarray(source[tensor.name].data, dtype=np.float32)
            if name != "BF16" and bytes(libgguf.quantize_rows(rows, kind)) != tensor.data.tobytes():
                sys.exit(f"FAILED: {name} {tensor.name}: other bytes than libgguf's")
            checked += 1
        if checked == 0:
            sys.exit(f"FAILED: the tool's --pure {name} file has no tensor of that type")
        print(f"equal: {checked} tensors of {name}, decoded by gguf, encoded by libgguf",
              flush=True)


def test_gemma():
    shipped = root / "build/real/gemma.gguf"
    f16 = check_files(shipped, "F16")
    check_hashes(f16, "gemma-f16.tsv")
    for recipe in ("Q6_K", "Q2_K"):
        ours = check_files(f16, recipe)
        check_hashes(ours, f"gemma-{recipe}.tsv")
        ours.unlink()
    ours = check_files(f16, "Q4_K_M", "--imatrix", golden / "gemma.imatrix.gguf")
    check_hashes(ours, "gemma-im-Q4_K_M.tsv")
    ours = check_files(f16, "Q4_K_M")
    check_hashes(ours, "gemma-Q4_K_M.tsv")

    prompt = "The capital of France is"
    answer = llama("generate", ours, 16, prompt).splitlines()
    if len(set(ast.literal_eval(answer[0]))) < 4 or prompt not in answer[1]:
        sys.exit(f"FAILED: llama.cpp runs our Q4_K_M, but says nothing with it: {answer}")
    print(f"llama.cpp runs our Q4_K_M: {answer[1]}")
    print(f"    tokens {answer[0]}")


work.mkdir(parents=True, exist_ok=True)
try:
    {"sample": test_sample, "python": test_python, "gemma": test_gemma}[sys.argv[1]]()
finally:
    for path in work.glob("*.gguf"):
        path.unlink()
