#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
#   quantize.sh ORACLE_QUANTIZE_PROGRAM
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../skip.sh"
. "$here/../../cmake/setup.sh"
export QDIAL_PEER_GGML=${QDIAL_PEER_GGML:-$peer}
[ -e "$QDIAL_PEER_GGML/libggml-base.so" ] || skip "llama.cpp from npm is not there"
"$1"
