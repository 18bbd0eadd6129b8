# Shared by the scripts of this folder; sourced, not run. Ends the script on any error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "error: $*"
    exit 1
}

# Processors that a build may use: those of the machine, fewer where memory is short.
jobs() {
    nproc 2>/dev/null || echo 1
}

cache_dir() {
    printf '%s\n' "${SLUICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice}"
}

# Configures when needed and builds: build_preset NAME [target...].
build_preset() {
    local preset=$1
    shift
    local directory=build/$preset
    if [ "$preset" = release ]; then
        directory=build
    fi
    # A build directory that was made elsewhere (a moved clone) cannot be used again.
    if [ -f "$directory/CMakeCache.txt" ] &&
        ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$directory/CMakeCache.txt"; then
        rm -rf "$directory"
    fi
    if [ ! -f "$directory/build.ninja" ]; then
        cmake --preset "$preset" -Wno-dev > /dev/null || die "cmake could not configure '$preset'"
    fi
    ninja -C "$directory" -j "$(jobs)" --quiet "$@"
}
