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
    if ! mount -t tmpfs -o size=1m none "$3/full" 2> /dev/null; then
        # Who is not root may still be so in a namespace of their own.
        [ -z "${QDIAL_NAMESPACE:-}" ] && unshare -rm true 2> /dev/null &&
            QDIAL_NAMESPACE=1 exec unshare -rm "$0" "$@"
        # Not skip(): containers, CI's too, may not give the right to mount.
        echo "SKIPPED: tool.disk_full needs the right to mount a tmpfs"
        exit 77
    fi
    trap 'umount "$3/full"' EXIT
fi
python3 -B "$here/tool.py" "$1" "$2" "$3"
