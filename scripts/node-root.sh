#!/usr/bin/env bash
# node-root.sh [--have]: makes the root file system of the nodes of test/lab: systemd and
# Debian's Docker engine of the machine's own release, for LXC containers.
#
# It is made once below ${XDG_CACHE_HOME:-~/.cache}/ktrdr-fleet/nodes (a minute and a
# half, 500 MB); lxc and debootstrap are installed where they are missing. Prints its
# folder. --have makes and installs nothing.
#
# Exit code: 0 it is there, 4 it is not and the reason is said, 2 wrong use.
# KTRDR_NODE_ROOT_WAIT is the time limit for making it in seconds (default 600).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
cache=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/ktrdr-fleet/nodes
readonly cache
readonly wait_seconds=${KTRDR_NODE_ROOT_WAIT:-600}
readonly packages=systemd,systemd-sysv,dbus,procps,iproute2,iptables,ca-certificates,docker.io,git

say() { printf 'node-root: %s\n' "$*" >&2; }
die() { say "$*"; exit 4; }

# settle FOLDER leaves out what a node does not need: what the package manager has
# downloaded, log-in prompts, and services that wait for hardware.
settle() {
    rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/debootstrap "$1"/usr/share/{doc,man,locale}/*
    # An identity of its own for each node: systemd makes one at the first boot.
    printf '' >"$1/etc/machine-id"
    systemctl --root="$1" --quiet mask console-getty.service getty@.service container-getty@.service systemd-udevd.service \
        systemd-resolved.service systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
        e2scrub_all.timer fstrim.timer systemd-tmpfiles-clean.timer
}

make_root() (
    local work log=$cache/debootstrap.log
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    flock --wait "$wait_seconds" 9 || die "another process makes the root file system for more than $wait_seconds s"
    [[ ! -d $folder ]] || return 0
    # What a killed run has left, and what other releases or package lists have made.
    find "$cache" -mindepth 1 -maxdepth 1 -type d -exec rm -rf --one-file-system {} +
    work=$(mktemp -d "$cache/.make-XXXXXX")
    chmod 755 "$work"
    trap 'rm -rf --one-file-system "$work"' EXIT
    say "making the root file system of nodes from $mirror ($release), log in $log"
    timeout --kill-after=10 "$wait_seconds" debootstrap --variant=minbase --include="$packages" "$release" "$work" "$mirror" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "debootstrap of $release from $mirror has ended with an error"
    }
    settle "$work" || die "the root file system can't be settled"
    # The last step: a folder of this name is whole.
    mv -T "$work" "$folder" || die "$folder can't be written"
)

case ${1-} in
'' | --have) ;;
*) sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac

read -r release mirror < <("$here/mirror.sh") || die "no mirror to make it from; the reason stands above"
folder=$cache/$release-$(sha256sum <"${BASH_SOURCE[0]}" | cut -c 1-12)
readonly release mirror folder
if [[ ! -d $folder || -z $(command -v lxc-start) ]]; then
    [[ ${1-} != --have ]] || die "there is none in $folder, or no lxc: run scripts/node-root.sh as root"
    [[ $EUID -eq 0 ]] || die "making it needs root"
    "$here/packages.sh" lxc debootstrap || die "lxc and debootstrap can't be installed"
    make_root || exit 4
fi
printf '%s\n' "$folder"
