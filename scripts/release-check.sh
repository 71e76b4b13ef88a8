#!/usr/bin/env bash
# release-check.sh: builds the release twice, from copies of the tree in folders
# of different names and with build caches of their own, and compares the bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for copy in first second/of/another/depth; do
    scripts/copy-tree.sh "$work/$copy"
    echo "release-check: building in $work/$copy"
    GOCACHE="$work/cache-${copy%%/*}" "$work/$copy/scripts/release.sh" dist >/dev/null
done
a=$work/first/dist b=$work/second/of/another/depth/dist

(cd "$a" && sha256sum --check --quiet SHA256SUMS)
if ! diff -r "$a" "$b"; then
    diff "$a/SHA256SUMS" "$b/SHA256SUMS" || true
    echo "release-check: the two builds differ" >&2
    exit 1
fi
cat "$a/SHA256SUMS"
echo "release-check: both builds are the same bytes"
