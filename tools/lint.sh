#!/usr/bin/env bash
# `make lint`: tools/lint, formatting, clang-tidy. With --fix it formats instead of checking.
. "$(dirname "$0")/common.sh"
files() {
    find src include cmd tests bench -path tests/lint -prune -o -name '*.[ch]' -print 2> /dev/null |
        xargs -r grep -LE 'not to be edited|do not edit|lint: generated' | sort
}
if [ "${1:-}" = --fix ]; then
    files | xargs -r tools/wrap_comments.py
    files | xargs -r clang-format-14 -i
    exit 0
fi
failed=0
tools/lint || failed=1
files | xargs -r clang-format-14 --dry-run -Werror --ferror-limit=3 || failed=1

# clang-tidy reads the commands of the clang build (its own flags) and never links anything.
if [ ! -f build/clang/compile_commands.json ]; then
    CC=clang-14 cmake --preset clang -DCMAKE_C_COMPILER=clang-14 > /dev/null
fi
cmake build/clang > /dev/null # new files
find src cmd -name '*.c' -print | sort |
    xargs -r -P "$(jobs)" -n 4 clang-tidy-14 --quiet -p build/clang 2> build/tidy.err || failed=1
if [ "$failed" -ne 0 ]; then
    say "lint: violations found (make format mends the formatting)"
fi
exit "$failed"
