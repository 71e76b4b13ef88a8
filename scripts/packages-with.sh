#!/usr/bin/env bash
# packages-with.sh PREFIX: prints ./folder for each package of this module that
# has a test file with a line starting with PREFIX.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

git -c safe.directory="$PWD" grep --untracked -l -e "^$1" -- '*_test.go' |
    while IFS= read -r file; do printf './%s\n' "$(dirname "$file")"; done | sort -u
