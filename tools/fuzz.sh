#!/usr/bin/env bash
# `make fuzz`: each target under libFuzzer: tools/fuzz.sh SECONDS. TARGET=name runs only one.
# New inputs go to build/fuzz/corpus/NAME; a finding stops the run and stays in build/fuzz/findings.
# Runs of ten minutes and more are written to docs/fuzz-record.tsv, for tools/show.
. "$(dirname "$0")/common.sh"
seconds=${1:-60}
CC=clang-14 build_preset fuzz libfuzzers
mkdir -p build/fuzz/findings
ran=0
for program in build/fuzz/tests/fuzz/libfuzzer_*; do
    [ -x "$program" ] && [ ! -d "$program" ] || continue
    name=${program##*libfuzzer_}
    if [ -n "${TARGET:-}" ] && [ "$TARGET" != "$name" ]; then
        continue
    fi
    corpus=build/fuzz/corpus/$name
    mkdir -p "$corpus"
    seeds=()
    if [ -d "tests/fuzz/corpus/$name" ]; then
        seeds=("tests/fuzz/corpus/$name")
    fi
    dictionary=()
    if [ -f "tests/fuzz/$name.dict" ]; then
        dictionary=("-dict=tests/fuzz/$name.dict")
    fi
    say "fuzz: $name for $seconds s"
    log=build/fuzz/$name.log
    if ! "$program" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/findings/$name-" "${dictionary[@]}" "$corpus" "${seeds[@]}" \
        > "$log" 2>&1; then
        tail -n 40 "$log" >&2
        die "fuzz target $name found something: see build/fuzz/findings"
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf 'fuzz %s: %s s, %s inputs, no finding\n' "$name" "$seconds" "${runs:-?}"
    if [ "$seconds" -ge 600 ]; then
        record=docs/fuzz-record.tsv
        touch "$record"
        { grep -v "^$name	" "$record" || true; } > "$record.new"
        printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$seconds" "${runs:-?}" \
            "$(git rev-parse --short=12 HEAD 2> /dev/null || echo unknown)" "$(date -u +%F)" >> "$record.new"
        sort "$record.new" > "$record"
        rm -f "$record.new"
    fi
    ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || die "no fuzz target ran"
