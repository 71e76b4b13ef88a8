#!/usr/bin/env bash
# licences.sh PROGRAM...: what these programs (folders under cmd/) contain, Go and Go modules,
# and the licence of each. The same modules give the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Who has a text, by its digest; digests in the order of the first who has it.
declare -A owners=() files=()
order=()

# note OWNER FILE...
note() {
    local owner=$1 file digest
    shift
    for file in "$@"; do
        digest=$(sha256sum <"$file")
        [[ -v owners[$digest] ]] || order+=("$digest")
        owners[$digest]+="  $owner"$'\n'
        files[$digest]=$file
    done
}

note "Go $(go env GOVERSION | sed 's/^go//')" "$(go env GOROOT)/LICENSE"
while read -r module version dir; do
    mapfile -t texts < <(find "$dir" -maxdepth 1 -type f -iregex '.*/\(licen[cs]e\|copying\|notice\|copyright\|patents\)[^/]*' ! -name '*.go' | LC_ALL=C sort)
    [[ ${#texts[@]} -gt 0 ]] || { echo "licences: $module $version has no licence in $dir" >&2; exit 1; }
    note "$module $version" "${texts[@]}"
done < <(GOFLAGS=-mod=readonly go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' "${@/#/./cmd/}" | LC_ALL=C sort -u)

echo 'The programs of this package contain what follows, each under its own licence.'
for digest in "${order[@]}"; do
    printf '\n%s\n%s\n' "-----------------------------------------------------------------------------" "${owners[$digest]}"
    cat "${files[$digest]}"
done
