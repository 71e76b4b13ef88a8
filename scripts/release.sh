#!/usr/bin/env bash
# release.sh FOLDER: the binaries of a release and their SHA256SUMS. Programs
# whose folder does not exist are left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly folder=$1
# Flags and experiments of whoever runs this must not get into the bytes. The Go
# release does: two builds compare equal when made with the same one.
export GOFLAGS=-mod=readonly GOEXPERIMENT=
# A file of an earlier release must not get into this one's sums.
rm -rf "$folder"
mkdir -p "$folder"

# build OS ARCH PROGRAM...
build() {
    local os=$1 arch=$2 program present=()
    shift 2
    for program in "$@"; do
        [[ -d cmd/$program ]] && present+=("$program")
    done
    [[ ${#present[@]} -gt 0 ]] || return 0
    GOOS=$os GOARCH=$arch GOAMD64=v1 GOARM64=v8.0 scripts/build.sh "$folder" "_${os}_$arch" "${present[@]}"
}

build linux amd64 agent exec controller ctl
build linux arm64 agent exec controller ctl
build darwin amd64 ctl
build darwin arm64 ctl

# Man pages and completions are what a ktrdrctl for this machine writes.
if [[ -d cmd/ctl ]]; then
    scripts/ctl-share.sh "$folder/ktrdrctl_$(go env GOHOSTOS)_$(go env GOHOSTARCH)" "$folder/ktrdrctl_share.tar.gz"
fi

compgen -G "$folder/ktrdr*" >/dev/null || { echo "release: nothing was built" >&2; exit 1; }
scripts/deb.sh "$folder"
cd "$folder"
touch --date="@${SOURCE_DATE_EPOCH:-0}" -- ktrdr*
LC_ALL=C sha256sum -- ktrdr* >SHA256SUMS
cat SHA256SUMS
