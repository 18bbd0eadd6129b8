#!/usr/bin/env bash
# `make asan`, `make tsan`: the tests under a sanitizer. tsan runs those that use threads.
. "$(dirname "$0")/common.sh"
preset=$1
shift
build_preset "$preset"
SLUICE_MODEL_DIR=$(tools/fetch.py model)
SLUICE_VOCAB_DIR=$(tools/fetch.py vocab)
export SLUICE_MODEL_DIR SLUICE_VOCAB_DIR
export ASAN_OPTIONS=abort_on_error=0:detect_leaks=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
selection=(-LE lint)
if [ "$preset" = tsan ]; then
    selection=(-L unit -R 'pool|ring|gate|wake|log|mapfile|runner|serve|http|engine|device' -E '_(ref|avx2|avxvnni|avx512)$')
fi
mkdir -p build/results
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$(jobs)" \
    --output-junit "$PWD/build/results/$preset.xml" "${selection[@]}" "$@"
