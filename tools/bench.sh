#!/usr/bin/env bash
# `make bench`: the kernels, then the model, on this machine. Figures mean something only when
# nothing else runs.
. "$(dirname "$0")/common.sh"
tools/setup.sh test
build_preset release
model=${MODEL:-}
if [ -z "$model" ]; then
    model=$(tools/fetch.py model)/SmolLM2-135M-Instruct.Q4_1.gguf
fi
for program in build/tests/test_kernel* build/tests/test_*kernels*; do
    if [ -x "$program" ]; then
        "$program" --bench
    fi
done
exec build/sluice bench "$model" --prompt 512 --gen 64 --batch 1,8,32 --depth 0 --reps 3 --packed-cache off
