#!/usr/bin/env bash
# prometheus.sh: Debian's Prometheus of the machine's own release, for tests of service
# discovery against a real one. It is fetched once and unpacked, not installed, below
# ${XDG_CACHE_HOME:-~/.cache}/ktrdr-fleet/prometheus. Prints the path of the program.
#
# Exit code: 0 it is there, 4 it is not and the reason is said.
set -euo pipefail

cache=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/ktrdr-fleet/prometheus
readonly cache program=$cache/root/usr/bin/prometheus

say() { printf 'prometheus: %s\n' "$*" >&2; }
die() { say "$*"; exit 4; }

if [[ ! -x $program ]]; then
    command -v apt-get >/dev/null || die "no apt-get here to fetch it with"
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    flock --wait 600 9 || die "another process fetches it for more than 600 s"
fi
if [[ ! -x $program ]]; then
    work=$(mktemp -d "$cache/.fetch-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    fetch() { (cd "$work" && timeout 300 apt-get -q -o Acquire::Retries=3 -o APT::Sandbox::User=root download prometheus >&2); }
    # The lists may be stale or absent, so the first try may fail.
    fetch || { timeout 300 apt-get -q update >&2 && fetch; } || die "apt-get can't fetch it"
    dpkg-deb --extract "$work"/prometheus_*.deb "$work/root" || die "its package can't be unpacked"
    "$work/root/usr/bin/prometheus" --version >/dev/null 2>&1 || die "it does not run here"
    rm -rf "$cache/root"
    mv -T "$work/root" "$cache/root"
fi
printf '%s\n' "$program"
