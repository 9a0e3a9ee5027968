#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
#   oracle.sh small|tokens|smollm2|gemma|quality|imatrix QDIAL_TOOL QDIAL_ENGINE WORK_FOLDER
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../skip.sh"
. "$here/../../cmake/setup.sh"
python=$root/build/python/bin/python
"$python" -c 'import gguf, numpy' 2> /dev/null || skip "PyPI's gguf is not there"
[ -e "$peer/libllama.so" ] || skip "llama.cpp from npm is not there"
case $1 in
    tokens | gemma | quality | imatrix)
        [ -e "$gemma" ] || skip "the 270M Gemma from PyPI is not there" ;;
esac
[ "$1" != imatrix ] || [ -e /usr/share/doc/jargon-text/jargon.txt.gz ] ||
    skip "Debian's jargon-text is not there"
case $1 in
    tokens | smollm2) [ -e "$smollm2" ] || skip "the 135M SmolLM2 from PyPI is not there" ;;
esac
QDIAL_PEER_GGML=$peer "$python" "$here/oracle.py" "$1" "$root" "$2" "$3" "$4"
