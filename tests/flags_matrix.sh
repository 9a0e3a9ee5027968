#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
#   flags_matrix.sh COMPILER INCLUDE_FOLDERS(;-separated) WORK_FOLDER [FLAGS...]
#
# One compiler, many flags (each FLAGS one set; all of them when none is named): every program must
# give the golden bytes and print the same checksums.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/skip.sh"
compiler=$1
work=$3
need "$compiler" "${compiler/clang++/clang}"

includes=()
IFS=';' read -ra folders <<< "$2"
for folder in "${folders[@]}"; do
    [ "$folder" = /usr/include ] || includes+=(-I "$folder")
done

# What sets apart x86-64 here is the CPU of this machine: -march=native turns on its backend.
matrix=(
    "-O0"
    "-O1 -ffp-contract=fast"
    "-O2"
    "-O3"
    "-O0 -march=native"
    "-O2 -march=native"
    "-O3 -march=native -ffp-contract=fast"
    "-O3 -march=native -ffp-contract=on"
    "-O3 -march=native -ffp-contract=off"
    "-O2 -march=native -ffp-contract=fast -flto"
)
[ $# -gt 3 ] && matrix=("${@:4}")
mkdir -p "$work"
printf 'int main() { return 0; }\n' > "$work/lto.cpp"
failures=0
tried=0
: > "$work/expected.txt"
for flags in "${matrix[@]}"; do
    # shellcheck disable=SC2206  # flags are words
    words=($flags)
    if [[ $flags == *-flto* && $compiler == clang* ]]; then
        version=${compiler##*-}
        words+=("-fuse-ld=lld-$version")
        if ! "$compiler" "${words[@]}" "$work/lto.cpp" -o "$work/lto" > /dev/null 2>&1; then
            [ "${CI:-}" = true ] && failures=$((failures + 1))
            echo "SKIPPED: $compiler $flags: no linker for LTO (Debian package lld-$version)"
            continue
        fi
    fi
    tried=$((tried + 1))
    if ! "$compiler" -std=c++20 "${words[@]}" "${includes[@]}" "$here/flags_main.cpp" \
        -o "$work/flags_main" > "$work/out.txt" 2>&1; then
        echo "FAILED to compile: $compiler $flags"
        grep -m 3 -A 2 'error' "$work/out.txt"
        failures=$((failures + 1))
        continue
    fi
    if ! "$work/flags_main" "$here/golden/blocks" > "$work/out.txt"; then
        echo "FAILED: $compiler $flags: other bytes than the reference"
        grep -v ' 0 different$' "$work/out.txt"
        failures=$((failures + 1))
    elif [ ! -s "$work/expected.txt" ]; then
        cp "$work/out.txt" "$work/expected.txt"
        cat "$work/expected.txt"
    elif ! diff "$work/expected.txt" "$work/out.txt"; then
        echo "FAILED: $compiler $flags: decodes to other floats than ${matrix[0]}"
        failures=$((failures + 1))
    else
        echo "same: $compiler $flags"
    fi
done
echo "$tried flag sets tried, $failures failed"
[ "$tried" -gt 0 ] && [ "$failures" -eq 0 ]
