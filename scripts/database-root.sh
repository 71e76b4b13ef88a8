#!/usr/bin/env bash
# database-root.sh [--have]: makes the root file system of a container with Debian's
# PostgreSQL of the machine's own release, for tests of rotations against a real one.
#
# It is made once below ${XDG_CACHE_HOME:-~/.cache}/ktrdr-fleet/database (a minute, 200
# MB); debootstrap is installed where it is missing. Prints its folder. --have makes and
# installs nothing.
#
# Exit code: 0 it is there, 4 it is not and the reason is said, 2 wrong use.
# KTRDR_DATABASE_ROOT_WAIT is the time limit for making it in seconds (default 600).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
cache=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/ktrdr-fleet/database
readonly cache
readonly wait_seconds=${KTRDR_DATABASE_ROOT_WAIT:-600}

say() { printf 'database-root: %s\n' "$*" >&2; }
die() { say "$*"; exit 4; }

# settle FOLDER leaves out what no test needs: downloads, documentation, the cluster that
# the package has made, and the compiler of queries with its library.
settle() {
    rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/debootstrap "$1"/usr/share/{doc,man,locale}/* \
        "$1"/var/lib/postgresql/* "$1"/usr/lib/*/libLLVM* "$1"/usr/lib/postgresql/*/lib/{llvmjit*,bitcode}
}

make_root() (
    local work log=$cache/debootstrap.log bin
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    flock --wait "$wait_seconds" 9 || die "another process makes the root file system for more than $wait_seconds s"
    [[ ! -d $folder ]] || return 0
    # What a killed run has left, and what other releases or package lists have made.
    find "$cache" -mindepth 1 -maxdepth 1 -type d -exec rm -rf --one-file-system {} +
    work=$(mktemp -d "$cache/.make-XXXXXX")
    chmod 755 "$work"
    trap 'rm -rf --one-file-system "$work"' EXIT
    say "making the root file system of a database from $mirror ($release), log in $log"
    timeout --kill-after=10 "$wait_seconds" debootstrap --variant=minbase --include=postgresql "$release" "$work" "$mirror" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "debootstrap of $release from $mirror has ended with an error"
    }
    settle "$work" || die "the root file system can't be settled"
    bin=$(echo "$work"/usr/lib/postgresql/[0-9]*/bin)
    [[ -x $bin/postgres && -x $bin/psql ]] || die "there is no PostgreSQL in what debootstrap has made"
    # One path for every release.
    ln -sfn "${bin#"$work"}" "$work/usr/lib/postgresql/bin"
    # The last step: a folder of this name is whole.
    mv -T "$work" "$folder" || die "$folder can't be written"
)

case ${1-} in
'' | --have) ;;
*) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac

read -r release mirror < <("$here/mirror.sh") || die "no mirror to make it from; the reason stands above"
folder=$cache/$release-$(sha256sum <"${BASH_SOURCE[0]}" | cut -c 1-12)
readonly release mirror folder
if [[ ! -d $folder ]]; then
    [[ ${1-} != --have ]] || die "there is none in $folder: run scripts/database-root.sh as root"
    [[ $EUID -eq 0 ]] || die "making it needs root"
    "$here/packages.sh" debootstrap || die "debootstrap can't be installed"
    make_root || exit 4
fi
printf '%s\n' "$folder"
