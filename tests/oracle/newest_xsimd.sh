#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
#   newest_xsimd.sh COMPILER WORK_FOLDER
#
# The golden bytes with the newest xsimd, for backends as different as this machine runs.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../skip.sh"
. "$here/../../cmake/setup.sh"
[ -e "$newest_xsimd/xsimd/xsimd.hpp" ] || skip "the newer xsimd from PyPI (pythran) is not there"
grep -h '#define XSIMD_VERSION_M' "$newest_xsimd/xsimd/config/xsimd_config.hpp"
flags=("-O2" "-O2 -march=native")
[ "$(uname -m)" = x86_64 ] && flags+=("-O2 -msse4.2")
exec "$here/../flags_matrix.sh" "$1" "$root/include;$newest_xsimd" "$2" "${flags[@]}"
