#!/usr/bin/env bash
# Builds a preset: tools/build.sh PRESET [target...]. Without targets: the program.
. "$(dirname "$0")/common.sh"
preset=${1:-release}
shift || true
if [ $# -eq 0 ]; then
    set -- sluice
fi
build_preset "$preset" "$@"
