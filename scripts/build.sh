#!/usr/bin/env bash
# build.sh FOLDER [SUFFIX] [PROGRAM...]: static, reproducible binaries of the
# programs (folders under cmd/; default all) for GOOS and GOARCH, named
# FOLDER/<binary>SUFFIX. VERSION and COMMIT end up in pkg/api.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly folder=$1 suffix=${2-}
shift $(($# < 2 ? $# : 2))

binary_name() {
    case $1 in
    ctl) printf 'ktrdrctl' ;;
    *) printf 'ktrdr-%s' "$1" ;;
    esac
}

programs=("$@")
if [[ ${#programs[@]} -eq 0 ]]; then
    for main in cmd/*/main.go; do
        [[ -e $main ]] && programs+=("$(basename "$(dirname "$main")")")
    done
fi
[[ ${#programs[@]} -gt 0 ]] || { echo "build: no program under cmd/" >&2; exit 1; }

# -s -w and the empty build id leave out what depends on the place of the build.
readonly module=${MODULE:-ktrdr.io/fleet}
readonly ldflags="-s -w -buildid= -X $module/pkg/api.Version=${VERSION:-dev} -X $module/pkg/api.Commit=${COMMIT:-}"

mkdir -p "$folder"
for program in "${programs[@]}"; do
    out=$folder/$(binary_name "$program")$suffix
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$ldflags" -o "$out" "./cmd/$program"
    echo "built $out"
done
