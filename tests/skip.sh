# SPDX-License-Identifier: Apache-2.0
#
# Sourced by test scripts. skip REASON ends the test: loudly skipped on a person's machine (exit
# code 77 is ctest's "Skipped"), failed where CI=true, because CI must have everything.
skip() {
    if [ "${CI:-}" = true ]; then
        echo "FAILED: $* (CI must have it)"
        exit 1
    fi
    echo "SKIPPED: $*"
    exit 77
}

# need COMMAND PACKAGE: skips without the command, naming the package that has it.
need() {
    command -v "$1" > /dev/null || skip "$1 is not installed (Debian package $2)"
}
