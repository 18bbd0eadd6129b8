#!/usr/bin/env bash
# Installs the Debian packages that are missing for: build, run, test, lint or fuzz. Lists what it
# is about to install, asks nothing, and does nothing when all is there.
. "$(dirname "$0")/common.sh"

build="gcc libc6-dev cmake ninja-build pkg-config python3 python3-venv ca-certificates
       libjansson-dev libuv1-dev libhwloc-dev"
test="$build libcmocka-dev"
case "${1:-build}" in
build | run) wanted=$build ;;
test) wanted=$test ;;
lint) wanted="$test clang-14 clang-format-14 clang-tidy-14" ;;
fuzz) wanted="$test clang-14 libclang-rt-14-dev" ;;
*) die "tools/setup.sh takes build, run, test, lint or fuzz" ;;
esac

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
    say "setup: this is no Debian system; these packages (or the like) are needed: $(echo $wanted)"
    exit 0
fi

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}

# Packages that only bring a command or module are taken as there when the command is: a machine
# may have its own cmake, ninja or python.
is_there() {
    case "$1" in
    gcc | cmake | pkg-config) command -v "$1" > /dev/null ;;
    ninja-build) command -v ninja > /dev/null ;;
    python3) command -v python3 > /dev/null ;;
    python3-venv) python3 -c 'import ensurepip, venv' 2> /dev/null ;;
    ca-certificates) [ -e /etc/ssl/certs/ca-certificates.crt ] ;;
    clang-14) command -v clang-14 > /dev/null ;;
    clang-format-14 | clang-tidy-14) command -v "$1" > /dev/null ;;
    *) is_installed "$1" ;;
    esac
}

missing=""
for package in $wanted; do
    if ! is_there "$package"; then
        missing="$missing $package"
    fi
done
if [ -z "$missing" ]; then
    exit 0
fi

say "setup: installing$missing"
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null ||
        die "installing needs root: run as root, or install by hand: apt-get install$missing"
    as_root="sudo -n"
    $as_root true 2> /dev/null || as_root="sudo"
fi
install() {
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 $missing
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists of a fresh machine are empty, those of an old one stale: always refresh first.
if ! $as_root apt-get update -q > "$log" 2>&1 || ! install >> "$log" 2>&1 < /dev/null; then
    tail -n 30 "$log" >&2
    die "apt-get could not install$missing"
fi
say "setup: done"
