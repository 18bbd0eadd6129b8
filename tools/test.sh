#!/usr/bin/env bash
# `make test`: sets itself up, builds, and runs every test. Ends with a line `N passed, N failed`.
. "$(dirname "$0")/common.sh"
tools/setup.sh test
if [ ! -d build/tests ]; then
    rm -f build/build.ninja # configured by make run, before cmocka was there
fi
build_preset release

# What the tests use beside the repository. ../shared is optional (SLUICE_SHARED overrides).
SLUICE_MODEL_DIR=$(tools/fetch.py model)
SLUICE_VOCAB_DIR=$(tools/fetch.py vocab)
python=$(tools/fetch.py venv tests)
export SLUICE_MODEL_DIR SLUICE_VOCAB_DIR
export SLUICE_PACKED_CACHE=off # tests write nothing into the user's cache
export SLUICE_BINARY=${SLUICE_BINARY:-$PWD/build/sluice}

results=build/results
rm -rf "$results"
mkdir -p "$results"

ctest_code=0
# shellcheck disable=SC2086
ctest --test-dir build --output-on-failure --no-tests=error -j "$(jobs)" \
    --output-junit "$PWD/$results/ctest.xml" ${ARGS:-} || ctest_code=$?

# Python suites: every folder of tests/ with test_*.py, each in a run of its own.
pytest_code=0
for folder in tests/*/; do
    suite=$(basename "$folder")
    if [ -z "${ARGS:-}" ] && compgen -G "${folder}test_*.py" > /dev/null; then
        "$python" -B -m pytest -q -p no:cacheprovider --timeout 300 "$folder" \
            --junitxml="$results/$suite.xml" || pytest_code=$?
    fi
done
exec "$python" tools/sum_results.py "$results" "$ctest_code" "$pytest_code"
