#!/usr/bin/env bash
# generate-check.sh: runs the generators in a copy of the tree and compares, so
# that it works, and changes nothing, in a tree with uncommitted work.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scripts/copy-tree.sh "$work/before"
cp -a "$work/before" "$work/after"
(cd "$work/after" && go generate ./...)
if ! (cd "$work" && diff -ru before after); then
    echo "generate-check: run 'make generate' and commit the result" >&2
    exit 1
fi
