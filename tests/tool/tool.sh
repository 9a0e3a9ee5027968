#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
#   tool.sh CASE QDIAL_TOOL WORK_FOLDER
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../skip.sh"
need python3 python3
if [ "$1" = disk_full ]; then
    mkdir -p "$3/full"
    mount -t tmpfs -o size=1m none "$3/full" 2> /dev/null ||
        skip "a full disk needs the right to mount a tmpfs (root)"
    trap 'umount "$3/full"' EXIT
fi
python3 -B "$here/tool.py" "$1" "$2" "$3"
