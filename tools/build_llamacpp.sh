#!/usr/bin/env bash
# Builds llama.cpp's bench programs and server from its pinned source package, for comparisons only.
# Prints the directory of the binaries. LLAMA_CPP_BIN, where set, is printed as it is.
. "$(dirname "$0")/common.sh"
if [ -n "${LLAMA_CPP_BIN:-}" ]; then
    printf '%s\n' "$LLAMA_CPP_BIN"
    exit 0
fi
source=$(tools/fetch.py llamacpp)
build=$(cache_dir)/llama-cpp-build-$(cc -dumpmachine)-$(uname -n)
if [ ! -e "$build/ready" ]; then
    command -v g++ > /dev/null || die "building llama.cpp needs g++: apt-get install g++"
    # gcc 12 may drop the tile configuration that this call reads; without the barrier the program
    # dies on processors with AMX.
    amx=$source/ggml/src/ggml-cpu/amx/mmq.cpp
    if ! grep -q 'memory.*_tile_loadconfig' "$amx"; then
        sed -i 's/^\( *\)_tile_loadconfig(&tc);/\1__asm__ volatile("" ::: "memory"); _tile_loadconfig(\&tc);/' "$amx"
    fi
    say "building llama.cpp (some minutes, once)"
    cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
        -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_MTMD=OFF \
        -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF > "$build.log" 2>&1 || {
        tail -n 20 "$build.log" >&2
        die "llama.cpp could not be configured"
    }
    ninja -C "$build" -j "$(jobs)" llama-bench llama-batched-bench llama-server >> "$build.log" 2>&1 || {
        tail -n 20 "$build.log" >&2
        die "llama.cpp could not be built"
    }
    touch "$build/ready"
fi
printf '%s\n' "$build/bin"
