#!/usr/bin/env bash
# Runs a command in a clone of this repository on a bare Debian that is made for it and thrown away:
#
#   tools/fresh.sh make test
#
# The bare system comes from debootstrap (root only) and holds nothing but `make` besides Debian's
# minimum. What this machine's administrator set for apt and pip (sources, proxies, certificates) is
# taken over. ../shared is there read-only where it is here. SLUICE_FRESH_SUITE: bookworm by default.
. "$(dirname "$0")/common.sh"
[ $# -gt 0 ] || die "give the command to run, such as: tools/fresh.sh make test"
[ "$(id -u)" -eq 0 ] || die "only root can make a bare system"
command -v debootstrap > /dev/null || die "needs debootstrap: apt-get install debootstrap"

place=$(mktemp -d "${TMPDIR:-/tmp}/sluice-fresh-XXXXXX")
# All mounts live in a namespace of their own and end with it, so nothing but files is deleted here.
trap 'rm -rf --one-file-system "$place"' EXIT
system=$place/system
debootstrap --variant=minbase --include=make,ca-certificates "${SLUICE_FRESH_SUITE:-bookworm}" \
    "$system" > "$place/debootstrap.log" 2>&1 || {
    tail -n 5 "$place/debootstrap.log" >&2
    die "debootstrap failed"
}
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/apt/apt.conf; do
    if [ -f "$file" ]; then
        cp -L "$file" "$system$file"
    fi
done
if compgen -G '/etc/apt/sources.list.d/*' > /dev/null || [ -f /etc/apt/sources.list ]; then
    rm -f "$system/etc/apt/sources.list"
    cp -r /etc/apt/sources.list* "$system/etc/apt/"
fi
for file in /etc/apt/apt.conf.d/*; do
    # Not those that packages of this machine brought along.
    dpkg -S "$file" > /dev/null 2>&1 || cp "$file" "$system/etc/apt/apt.conf.d/"
done
if [ -d /usr/local/share/ca-certificates ]; then
    cp -r /usr/local/share/ca-certificates "$system/usr/local/share/"
    chroot "$system" update-ca-certificates > /dev/null 2>&1
fi
git clone --quiet --no-hardlinks . "$system/sluice/main"
shared=${SLUICE_SHARED:-../shared}
if [ -d "$shared" ]; then
    mkdir "$system/sluice/shared"
    shared=$(realpath "$shared")
else
    shared=
fi

settings=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8)
while IFS= read -r setting; do
    settings+=("$setting")
done < <(env | grep -iE '^(https?_proxy|no_proxy|pip_[a-z_]*|ssl_cert_(file|dir)|port|prompt)=' || true)

say "fresh: $* on a bare $(. "$system/etc/os-release" && echo "$PRETTY_NAME")"
mount_and_run='
    system=$1 shared=$2
    shift 2
    mount -t proc proc "$system/proc"
    mount --rbind /dev "$system/dev"
    if [ -n "$shared" ]; then
        mount --bind "$shared" "$system/sluice/shared"
        mount -o remount,bind,ro "$system/sluice/shared"
    fi
    exec chroot "$system" env -i "$@"'
unshare --mount --pid --fork --kill-child bash -euc "$mount_and_run" fresh "$system" "$shared" \
    "${settings[@]}" sh -c 'cd /sluice/main && exec "$@"' sh "$@"
