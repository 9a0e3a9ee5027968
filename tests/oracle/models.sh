#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
#   models.sh sample|python|gemma QDIAL_TOOL WORK_FOLDER
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../skip.sh"
. "$here/../../cmake/setup.sh"
python=$root/build/python/bin/python
"$python" -c 'import gguf, libgguf' 2> /dev/null || skip "PyPI's gguf and libgguf are not there"
[ "$1" = python ] || [ -e "$peer/libllama.so" ] || skip "llama.cpp from npm is not there"
[ "$1" = gemma ] && [ ! -e "$gemma" ] && skip "the 270M Gemma from PyPI is not there"
QDIAL_PEER_GGML=$peer "$python" "$here/models.py" "$1" "$root" "$2" "$3"
