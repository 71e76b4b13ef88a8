#!/usr/bin/env bash
# proto-check.sh: lints the contract and refuses changes that break agents or operators one
# version away: against the main branch, and against what was released last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../proto"
buf() { go tool -modfile=../tools/buf/go.mod buf "$@"; }

buf lint
against=
for branch in origin/main main; do
    if git -c safe.directory='*' cat-file -e "$branch:proto/buf.yaml" 2>/dev/null; then
        against=$branch
        break
    fi
done
if [[ -n $against ]]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    git -C .. -c safe.directory='*' archive "$against:proto" | tar -x -C "$work"
    buf breaking --against "$work"
else
    echo "proto-check: there is no main branch with a contract to compare with" >&2
fi
if [[ -f released.binpb ]]; then
    buf breaking --against released.binpb
fi
