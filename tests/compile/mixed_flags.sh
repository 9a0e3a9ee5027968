#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
#   mixed_flags.sh COMPILER INCLUDE_FOLDER WORK_FOLDER
#
# Object files compiled for different CPUs end in one program, where the linker keeps one copy of
# each inline function: one that both contain could be the copy that the other CPU cannot run. So
# they must have no function of qdial's in common, but the one that ends the program.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../skip.sh"
need nm binutils
[ "$(uname -m)" = x86_64 ] || skip "there is only one backend on $(uname -m)"
mkdir -p "$3"

shared_functions() {
    "$1" -std=c++20 -O1 -I "$2" -msse4.2 -c "$here/mixed_flags.cpp" -o "$3/sse4.o"
    "$1" -std=c++20 -O1 -I "$2" -mavx2 -mfma -mf16c -c "$here/mixed_flags.cpp" -o "$3/avx2.o"
    for object in sse4 avx2; do
        nm --defined-only -C "$3/$object.o" | awk '$2 ~ /[WVu]/' | cut -d ' ' -f 3- |
            grep 'qdial::' | sort -u > "$3/$object.txt"
        echo "$(wc -l < "$3/$object.txt") functions in $object.o" >&2
    done
    comm -12 "$3/sse4.txt" "$3/avx2.txt" | grep -v '^qdial::detail::assertion_failed(' || true
}

shared=$(shared_functions "$@")
if [ -n "$shared" ]; then
    printf 'FAILED: the same functions in objects for different CPUs:\n%s\n' "$shared"
    exit 1
fi
