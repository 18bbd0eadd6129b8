#!/usr/bin/env bash
# Builds llama.cpp's bench programs from its pinned source package, for comparisons only.
#
#   tools/build_llamacpp.sh          for this processor; prints the directory of the programs
#   tools/build_llamacpp.sh LEVEL    the same programs held down to a level of SLUICE_CPU_MASK
#
# A level has a directory of its own, with a CPU library built for it and programs that load that one.
# LLAMA_CPP_BIN, where set, is printed as it is, for this processor only.
. "$(dirname "$0")/common.sh"
level=${1:-native}
if [ -n "${LLAMA_CPP_BIN:-}" ] && [ "$level" = native ]; then
    printf '%s\n' "$LLAMA_CPP_BIN"
    exit 0
fi
programs="llama-bench llama-batched-bench llama-server llama-completion llama-perplexity
          llama-quantize"
recipe=2 # raised when a build that is there will not do any more
source=$(tools/fetch.py llamacpp)
native=$(cache_dir)/llama-cpp-build-$(cc -dumpmachine)-$(uname -n)

# Each line is given to sed only where what it puts in is not there yet.
mend() {
    grep -q "$2" "$1" || sed -i "$3" "$1"
}

mend_source() {
    # gcc 12 may drop the tile configuration that this call reads; without the barrier the program
    # dies on processors with AMX.
    mend "$source/ggml/src/ggml-cpu/amx/mmq.cpp" 'memory.*_tile_loadconfig' \
        's/^\( *\)_tile_loadconfig(&tc);/\1__asm__ volatile("" ::: "memory"); _tile_loadconfig(\&tc);/'
    # Results go through the log, whose thread is not waited for: one run of ten lost them.
    mend "$source/tools/batched-bench/batched-bench.cpp" common_log_flush \
        's/^\( *\)llama_backend_free();/\1llama_backend_free();\n\1common_log_flush(common_log_main());/'
}

level_flags() {
    local avx2="-DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
    local vnni="$avx2 -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON"
    case "$1" in
    native) echo "-DGGML_NATIVE=ON" ;;
    avx2) echo "-DGGML_NATIVE=OFF $avx2" ;;
    avxvnni) echo "-DGGML_NATIVE=OFF $avx2 -DGGML_AVX_VNNI=ON" ;;
    avx512) echo "-DGGML_NATIVE=OFF $avx2 -DGGML_AVX512=ON" ;;
    avx512vnni) echo "-DGGML_NATIVE=OFF $vnni" ;;
    avx512bf16) echo "-DGGML_NATIVE=OFF $vnni -DGGML_AVX512_BF16=ON" ;;
    *) die "tools/build_llamacpp.sh takes avx2, avxvnni, avx512, avx512vnni or avx512bf16, or nothing" ;;
    esac
}

# build DIRECTORY FLAGS TARGETS
build() {
    command -v g++ > /dev/null || die "building llama.cpp needs g++: apt-get install g++"
    say "building llama.cpp ($level; some minutes, once)"
    # shellcheck disable=SC2086
    cmake -S "$source" -B "$1" -G Ninja -DCMAKE_BUILD_TYPE=Release $2 \
        -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_MTMD=OFF \
        -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF > "$1.log" 2>&1 || {
        tail -n 20 "$1.log" >&2
        die "llama.cpp could not be configured"
    }
    # shellcheck disable=SC2086
    ninja -C "$1" -j "$(jobs)" $3 >> "$1.log" 2>&1 || {
        tail -n 20 "$1.log" >&2
        die "llama.cpp could not be built"
    }
}

is_ready() {
    [ "$(cat "$1/ready" 2> /dev/null)" = "$recipe" ]
}

flags=$(level_flags "$level")
exec 9> "$native.lock"
flock 9 # two may want it at once
if ! is_ready "$native"; then
    mend_source
    (level=native && build "$native" "$(level_flags native)" "$programs")
    echo "$recipe" > "$native/ready"
fi
if [ "$level" = native ]; then
    printf '%s\n' "$native/bin"
    exit 0
fi
place=$native-$level
if ! is_ready "$place"; then
    build "$place" "$flags" ggml-cpu
    mkdir -p "$place/programs"
    for name in $programs; do
        printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "'$place/bin'" "'$native/bin/$name'" \
            > "$place/programs/$name"
        chmod +x "$place/programs/$name"
    done
    echo "$recipe" > "$place/ready"
fi
printf '%s\n' "$place/programs"
