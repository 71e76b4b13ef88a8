#!/usr/bin/env bash
# packages.sh NAME...: installs those of the Debian packages that are missing.
# Does nothing, and needs no rights, when all of them are there.
set -euo pipefail

say() { printf 'packages: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

installed() {
    [[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

# as_root runs apt with the rights it needs. Services are not started by the
# installation where no init is there to supervise them: see engine.sh.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "installing needs root: run 'apt-get install $wanted' as root, or install sudo"
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive timeout 900 \
        apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" >&2
}

# update retries, because apt waits for dpkg's lock but not for the lock of its lists.
update() {
    local attempt
    for attempt in 1 2 3 4 5 6; do
        apt update && return
        say "apt-get update failed (attempt $attempt), again in 10 s"
        sleep 10
    done
    return 1
}

missing=()
for name in "$@"; do
    installed "$name" || missing+=("$name")
done
wanted=${missing[*]-}
[[ ${#missing[@]} -gt 0 ]] || exit 0

command -v apt-get >/dev/null || die "no apt-get here; install these yourself: $wanted"
say "installing $wanted"
# Lists that are there may be stale or absent, so the first try may fail.
if ! apt install --no-install-recommends "${missing[@]}"; then
    update || die "apt-get update keeps failing; is the network there?"
    apt install --no-install-recommends "${missing[@]}" || die "apt-get could not install $wanted"
fi
