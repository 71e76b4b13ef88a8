#!/usr/bin/env bash
# fuzz.sh: runs each fuzz target for FUZZTIME (default 10s), one after the other,
# since `go test -fuzz` takes one target of one package.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=()
targets=0
for package in $(scripts/packages-with.sh 'func Fuzz'); do
    mapfile -t names < <(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$package"/*_test.go | cut -c6-)
    for target in "${names[@]}"; do
        targets=$((targets + 1))
        echo "fuzz: $package $target for ${FUZZTIME:-10s}"
        go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-10s}" -fuzzminimizetime 10x "$package" || failed+=("$package $target")
    done
done
if [[ ${#failed[@]} -gt 0 ]]; then
    printf 'fuzz: FAILED %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "fuzz: $targets targets passed"
