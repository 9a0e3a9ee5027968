#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
#   aarch64.sh SOURCE_FOLDER WORK_FOLDER
#
# The kernel tests on 64-bit Arm: cross-compiled, run by qemu's user emulator.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/skip.sh"
need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
need qemu-aarch64-static qemu-user-static

cmake -S "$1" -B "$2" -DCMAKE_BUILD_TYPE=Release -DQDIAL_BUILD_TOOLS=OFF \
    -DQDIAL_BUILD_BENCHMARKS=OFF -DCMAKE_TOOLCHAIN_FILE="$1/cmake/aarch64-linux-gnu.cmake"
cmake --build "$2" --target kernel_tests_generic kernel_tests_neon \
    kernel_tests_neon_dotprod kernel_tests_neon_i8mm flags_main
ctest --test-dir "$2" --no-tests=error --output-on-failure -R '^(kernel_|flags_main)'
